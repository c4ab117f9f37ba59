"""data: the benchmarks' files, listed, checked, fetched and compared."""

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table as RichTable

from smartad import benchmarks, tables
from smartad.cli.console import console
from smartad.data import fetching, ids, overlap
from smartad.data.files import check, counted, defects_among, located, read
from smartad.records import read_jsonl
from smartad.store import Store
from smartad.types import Question, Unreachable, UserError

TRAINING = ("hotpotqa_train", "math_hard", "math_medium")
"""The papers'."""
TEXT_FIELDS = ("text", "question", "problem", "prompt")
"""What the question may be called in somebody's own file."""


def data_command(args: argparse.Namespace) -> int:
    """One of the actions."""
    return {"list": _list, "check": _check, "prefetch": _prefetch, "overlap": _overlap}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    rows = []
    for name in benchmarks.names():
        module, listed, path = benchmarks.get(name), ids.known(name), located(name, args.data)
        count = len(listed.rows) if listed else len(module.load(None)) if module.SOURCE is None else None
        here = "generated" if module.SOURCE is None else str(path.relative_to(args.data)) if path else tables.HOLE
        rows.append([name, module.KIND, tables.HOLE if count is None else str(count), benchmarks.licence(module) or tables.HOLE,
                     _redistribution(name), here, listed.original[:12] if listed else tables.HOLE])
    _print(["name", "kind", "questions", "licence", "may its text be passed on", "here", "sha256"], rows)
    return 0


def _redistribution(name: str) -> str:
    """As far as the named licence and the texts' owners say."""
    module = benchmarks.get(name)
    licence = benchmarks.licence(module)
    if module.SOURCE and module.SOURCE.rights:
        return f"not clear: {module.SOURCE.rights}"
    if licence is None:
        return "not clear: no licence is named"
    return "yes, with attribution" + (", under the same licence" if "-sa-" in licence else "")


def _check(args: argparse.Namespace) -> int:
    folder = _folder(args, "--data")
    reports = [check(name, folder) for name in _named(args.names)]
    rows = []
    for report in reports:
        there = len(report.questions)
        kinds = ", ".join(f"{kind} {count}" for kind, count in counted(report.name, report.questions).items())
        rows.append([report.name, "not here" if not report.path and report.wrong else "wrong" if report.wrong else "as known",
                     str(report.path.relative_to(folder)) if report.path else tables.HOLE,
                     *([str(there), str(there - report.without_gold), kinds or tables.HOLE] if there else [tables.HOLE] * 3)])
    _print(["name", "", "file", "questions", "with a gold", "known defects"], rows)
    wrong = [f"{report.name}: {line}" for report in reports for line in report.wrong]
    print("".join(f"{line}\n" for line in wrong), end="")
    for report in reports if args.names else []:
        _print_defects(report.name, report.questions)
    return 1 if wrong else 0


def _print_defects(name: str, questions: Sequence[Question]) -> None:
    for defect in defects_among(name, questions):
        answers = "" if defect.answers is None else f": {_either(defect.was)} becomes {_either(defect.answers)}"
        text = f": loses {defect.cut!r}" if defect.cut else ""
        print(f"  {defect.question_id}  {defect.kind}{answers}{text}  ({defect.why})")


def _either(answers: Sequence[str]) -> str:
    return " or ".join(answers) or "none"


def _prefetch(args: argparse.Namespace) -> int:
    folder, failed = _folder(args, "--to"), 0
    for name in _named(args.names):
        try:
            path = fetching.fetch(name, folder, args.place, lambda line: print(line, file=sys.stderr, flush=True))
        except UserError as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            failed += 1
            if isinstance(error, Unreachable):
                print("nothing answers from here: the other sets were not tried", file=sys.stderr, flush=True)
                break
        else:
            print(f"{name}: {path} ({path.stat().st_size:,} bytes)", flush=True)
    return 1 if failed else 0


def _overlap(args: argparse.Namespace) -> int:
    if args.ngram < 1:
        raise UserError(f"--ngram must be at least 1, got {args.ngram}")
    training = {name: _questions(name, args) for name in args.train or TRAINING}
    names = args.against.split(",") if args.against else [name for name in _named([]) if name not in (*training, *TRAINING)]
    tests = {name: _questions(name, args) for name in names if name not in training}
    pairs = overlap.overlaps(training, tests, args.ngram)
    form = args.format or ("terminal" if sys.stdout.isatty() else "md")
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["first_set", "first", "second_set", "second", "how", "ngrams", "share", "words"])
        writer.writerows([p.first_set, p.first, p.second_set, p.second, p.how, p.ngrams, f"{p.share:.3f}", f"{p.words:.3f}"]
                         for p in pairs)
        return 0
    compared = ", ".join(f"{name} {len(questions)}" for name, questions in {**training, **tests}.items())
    print(f"compared: {compared} questions; {args.ngram}-grams\n")
    counts = Counter((p.first_set, p.second_set, p.how) for p in pairs)
    found = dict.fromkeys((p.first_set, p.second_set) for p in pairs)
    _print(["sets", "exact", "ngram", "share", "words"],
           [[" and ".join(dict.fromkeys(sets)), *(str(counts[*sets, how]) for how in ("exact", "ngram", "share", "words"))]
            for sets in found], form)
    if pairs:
        print()
        _print(["question", "is like", "how", f"{args.ngram}-grams", "of 8-grams", "of words"],
               [[p.first, p.second, p.how, str(p.ngrams), f"{p.share:.0%}", f"{p.words:.0%}"]
                for p in sorted(pairs, key=lambda p: (p.how != "exact", -p.words, -p.share))], form)
    return 0


def _questions(name: str, args: argparse.Namespace) -> list[Question]:
    """Of a benchmark, a file, or a stage.  Raises UserError when it is none of them."""
    if name in benchmarks.names():
        return read(name, _folder(args, "--data") if benchmarks.get(name).SOURCE else None)
    path = Path(name)
    if path.suffix == ".jsonl":
        return _own(path)
    store = Store(args.store)
    fingerprint = store.find(name)
    file = store.folder(fingerprint) / "questions.jsonl"
    if not file.is_file():
        raise UserError(f"{fingerprint} has no questions; name a benchmark ({', '.join(benchmarks.names())}), a file.jsonl, or a "
                        "stage of prepare or import")
    return list(read_jsonl(file, Question))


def _own(path: Path) -> list[Question]:
    """Somebody's own questions; only their texts are looked at.  Raises UserError naming the first line that has none."""
    if not path.is_file():
        raise UserError(f"no file {path}")
    questions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line:
            continue
        try:
            row = json.loads(line)
            text = next(row[field] for field in TEXT_FIELDS if isinstance(row.get(field), str))
        except (ValueError, AttributeError, StopIteration) as error:
            raise UserError(f"{path}:{number} has no question: a line is a JSON object with one of "
                            f"{', '.join(TEXT_FIELDS)}") from error
        questions.append(Question(str(row.get("id", f"{path.stem}:{number}")), text, ()))
    return questions


def _named(names: Sequence[str]) -> list[str]:
    """``names``, each a benchmark; without any, all that have a file."""
    for name in names:
        benchmarks.get(name)
    return list(names) or [name for name in benchmarks.names() if benchmarks.get(name).SOURCE]


def _folder(args: argparse.Namespace, option: str) -> Path:
    if args.data is None:
        raise UserError(f"which folder? Say so with {option} DIR, or in $SMARTAD_DATA")
    folder: Path = args.data
    if option == "--data" and not folder.is_dir():
        raise UserError(f"no folder {folder}; `smartad data prefetch --to {folder}` makes it and brings the files")
    return folder


def _print(header: Sequence[str], rows: Sequence[Sequence[str]], form: str | None = None) -> None:
    if (form or ("terminal" if sys.stdout.isatty() else "md")) == "md":
        print(tables.plain_markdown(header, rows), end="")
        return
    grid = RichTable()
    for column in header:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*map(escape, row))
    console().print(grid)
