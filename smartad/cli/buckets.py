"""buckets: what goes along with a trajectory's NLL under the untrained student (Tables 7-9, Fig. 4)."""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table as RichTable

from smartad import difficulty, tables
from smartad.cli.console import console, program
from smartad.records import read_jsonl
from smartad.store import Store
from smartad.sweep import ledger
from smartad.types import Question, ScoredTrajectory, Trajectory, UserError, Verdict


@dataclass(frozen=True)
class Source:
    """What one analysis is made from: fingerprints of finished stages."""

    pool: str
    verdicts: str
    scores: str


def buckets_command(args: argparse.Namespace) -> int:
    """A table per training set, student and pool."""
    store = Store(args.store)
    form = args.format or ("terminal" if sys.stdout.isatty() else "md")
    sources = _sources(store, args.target)
    found = [(name, student, source.pool, list(difficulty.rows_of(difficulty.table(rows))))
             for source in sources for name, student, rows in _measured(store, source)]
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["set", "student", "pool", *difficulty.HEADER])
        writer.writerows([name, student, pool, *row] for name, student, pool, rows in found for row in rows)
        return 0
    several = len({source.pool for source in sources}) > 1
    for name, student, pool, rows in found:
        title = f"{name or 'all questions'} under {student}" + (f", {pool}" if several else "")
        _print(form, title, [[_text(row[0], value) for value in row] for row in rows])
    if form == "terminal":
        print("E, M, H: easy, medium, hard by NLL; G: of all trajectories together, PQ: of each question's.  Accuracy is over "
              "what was graded.\nH-E: hard minus easy (Fig. 4).  Trajectory length is that of the teacher's own text.")
    return 0


def _print(form: str, title: str, lines: Sequence[Sequence[str]]) -> None:
    if form == "md":
        print(f"{title}\n\n{tables.plain_markdown(difficulty.HEADER, lines)}")
    elif form == "tex":
        print(tables.plain_latex(difficulty.HEADER, lines, f"Buckets of trajectories: {title}."), end="")
    else:
        grid = RichTable(title=escape(title), title_justify="left")
        for column in difficulty.HEADER:
            grid.add_column(column, justify="left" if column == difficulty.HEADER[0] else "right", no_wrap=True)
        for line in lines:
            grid.add_row(*map(escape, line))
        console().print(grid)


def _text(name: object, value: str | float | None) -> str:
    """A cell for reading."""
    return tables.HOLE if value is None else value if isinstance(value, str) else f"{value:{difficulty.ROWS[str(name)]}}"


def _sources(store: Store, target: str) -> list[Source]:
    """What the finished select stages of a sweep, or the one behind a stage, were made from, each once."""
    if ledger.candidates(store, target):
        begun = [f for f in ledger.load(store, target).stages() if store.has(f)]
    else:
        begun = [store.find(target)]
    records = {f: store.record(f)["identity"]["inputs"] for f in store.upstream(begun)
               if f.startswith("select-") and store.has(f)}
    if not records:
        raise UserError(f"no select stage of {target} is finished in {store.root}, and a pool, its verdicts and its scores meet "
                        f"there.  Name a sweep, a select stage or what was made of one; `{program()} run ... --until select` "
                        "brings it about")
    return list(dict.fromkeys(Source(*(inputs[role] for role in ("pool", "verdicts", "scores"))) for inputs in records.values()))


def _measured(store: Store, source: Source) -> Iterator[tuple[str, str, list[difficulty.Measured]]]:
    """(training set, student, trajectories) of each training set."""
    identity = store.record(source.scores)["identity"]
    questions = {q.id: q for role, f in identity["inputs"].items() if role.startswith("questions/")
                 for q in read_jsonl(store.folder(f) / "questions.jsonl", Question)}
    rows = difficulty.measure(questions, read_jsonl(store.folder(source.pool) / "trajectories.jsonl", Trajectory),
                              read_jsonl(store.folder(source.scores) / "scores.jsonl", ScoredTrajectory),
                              read_jsonl(store.folder(source.verdicts) / "verdicts.jsonl", Verdict))
    for name, of_set in difficulty.by_set(rows).items():
        yield name, identity["config"]["student"], of_set
