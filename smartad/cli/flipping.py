"""compare --flips, --question: who flipped, and both attempts side by side."""

import csv
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from smartad import dialect, tables
from smartad.analysis.arms import Arm, benchmarks_of
from smartad.analysis.compare import counted, questions_in_common, runs_of
from smartad.analysis.flips import Flip, both
from smartad.analysis.outcomes import attempts_of
from smartad.cli.console import console, say
from smartad.records import visible
from smartad.store import Store
from smartad.sweep.ledger import Run
from smartad.tracking.views import COLOURS
from smartad.types import Segment, Trajectory, UserError, Verdict

HEADER = ("question", "flip", "seeds", "part at step", "gold", "A answered", "B answered")
CSV = ("benchmark", "question", "sample", "flip", "seed_a", "seed_b", "part_at_step", "gold", "answer_a", "answer_b")
WIDTH = 40
"""Of an answer in a table, characters."""
WIDE = 120
"""Columns of a terminal on which two attempts stand side by side."""
HERE = "<- here they part"
FLIPPED = ("fixed", "broken")
FORMULA = ("=", "+", "-", "@", "\t")
"""What a cell begins with that a spreadsheet computes."""

Found = Sequence[tuple[Run, Run, Flip]]


def show_flips(store: Store, a: Arm, b: Arm, benchmark: str | None, grader: str | None, shared: bool,
               form: str) -> None:
    """The questions that B fixed or broke, of one benchmark or of all that both have finished."""
    there = [name for name in benchmarks_of(a.book) if name in benchmarks_of(b.book)]
    if benchmark is not None and benchmark not in there:
        raise UserError(f"--flips {benchmark}: {a.name} and {b.name} have no such benchmark in common; they have "
                        f"{', '.join(there) or 'none'}")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if form == "csv":
        writer.writerow(CSV)
    else:
        say(f"A: {a.name}\nB: {b.name}\nfixed: wrong in A, right in B; broken: right in A, wrong in B")
    for name in [benchmark] if benchmark else there:
        pairs = [(x, y) for x, y in runs_of(store, a, b) if benchmark or _finished(store, (x, y), name, grader)]
        asked = questions_in_common(store, a, b, name, grader, shared) if benchmark or pairs else set()
        kinds = Counter[str]()
        found: list[tuple[Run, Run, Flip]] = []
        for x, y in pairs:
            for flip in both(store, x, y, name, grader):
                if flip.question.id in asked:
                    kinds[flip.kind] += 1
                    found += [(x, y, flip)] if flip.kind in FLIPPED else []
        if form == "csv":
            writer.writerows(_fields(name, *one) for one in found)
        else:
            _print(name, found, kinds, pairs, form)


def _finished(store: Store, runs: tuple[Run, Run], benchmark: str, grader: str | None) -> bool:
    return all(counted(store, run, benchmark, grader) for run in runs)


def _print(benchmark: str, found: Found, kinds: Counter[str], pairs: Sequence[tuple[Run, Run]], form: str) -> None:
    seeds = ", ".join(_seed(x, y) for x, y in pairs)
    over = f" over seeds {seeds}" if len(pairs) > 1 else ""
    without = f"; {kinds['ungraded']} not graded in one of them" if kinds["ungraded"] else ""
    print(f"\n{benchmark}: {kinds['fixed']} fixed, {kinds['broken']} broken of {kinds.total() - kinds['ungraded']} compared"
          f"{over}{without}" if pairs else f"\n{benchmark}: not finished in both")
    lines = [_line(group) for group in _grouped(found)]
    if lines and form == "md":
        print("\n" + tables.plain_markdown(HEADER, lines), end="")
    elif lines:
        grid = RichTable()
        for column in HEADER:
            grid.add_column(escape(column), overflow="fold")
        for line in lines:
            grid.add_row(*map(escape, line))
        console().print(grid)


def _grouped(found: Found) -> list[Found]:
    """By question and way, those that flip with the most seeds first."""
    groups: dict[tuple[str, int, str], list[tuple[Run, Run, Flip]]] = {}
    for one in found:
        groups.setdefault((one[2].question.id, one[2].verdicts[0].sample, one[2].kind), []).append(one)
    return sorted(groups.values(), key=lambda group: -len(group))


def _line(group: Found) -> list[str]:
    """The step and the answers are those of the first seeds."""
    flip = group[0][2]
    sample = flip.verdicts[0].sample
    question = visible(flip.question.id)
    return [f"{question} #{sample}" if sample else question, flip.kind,
            ", ".join(_seed(x, y) for x, y, _ in group), _step(flip), _short(" or ".join(flip.question.answers)),
            *(_short(_answer(attempt)) for attempt in flip.attempts)]


def _fields(benchmark: str, x: Run, y: Run, flip: Flip) -> list[object]:
    return [benchmark, _cell(flip.question.id), flip.verdicts[0].sample, flip.kind, x.seed, y.seed, _step(flip),
            _cell(" or ".join(flip.question.answers)), *(_cell(attempt.answer or "") for attempt in flip.attempts)]


def _cell(text: str) -> str:
    """What neither a terminal obeys nor a spreadsheet takes for a formula."""
    return visible(f"'{text}" if text.startswith(FORMULA) else text)


def _seed(x: Run, y: Run) -> str:
    return str(x.seed) if x.seed == y.seed else f"{x.seed}/{y.seed}"


def _step(flip: Flip) -> str:
    return tables.HOLE if flip.parts_at is None else str(flip.parts_at + 1)


def _answer(attempt: Trajectory) -> str:
    return f"nothing: {attempt.stop}" if attempt.answer is None else attempt.answer


def _short(text: str) -> str:
    text = visible(" ".join(text.split()))
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}…"


def show_question(store: Store, a: Arm, b: Arm, question: str, grader: str | None, shared: bool) -> None:
    """Both attempts at one question, for every pair of runs."""
    benchmark = question.partition("/")[0]
    there = [name for name in benchmarks_of(a.book) if name in benchmarks_of(b.book)]
    if benchmark not in there:
        raise UserError(f"--question {question}: it begins with no benchmark that {a.name} and {b.name} have in common; they "
                        f"have {', '.join(there) or 'none'}, and a question is called as in --flips")
    asked = questions_in_common(store, a, b, benchmark, grader, shared)
    shown = 0
    for x, y in runs_of(store, a, b):
        every = [one for one in both(store, x, y, benchmark, grader) if one.question.id in asked]
        for flip in [one for one in every if one.question.id == question]:
            if not shown:
                say(f"A: {a.name}\nB: {b.name}\n{question}\n{flip.question.text}\n"
                    f"gold: {' or '.join(flip.question.answers) or 'none'}")
            shown += 1
            forms = [dialect.DIALECTS[_dialect(store, run, benchmark, grader)] for run in (x, y)]
            _side_by_side(flip, _seed(x, y), forms)
        if not shown:
            raise UserError(f"--question {question}: not both were asked it; "
                            + (f"one they were is {every[0].question.id}" if every else f"nor any other of {benchmark}"))


def _dialect(store: Store, run: Run, benchmark: str, grader: str | None) -> str:
    grade = counted(store, run, benchmark, grader)
    return str(store.record(attempts_of(store, str(grade)))["identity"]["config"].get("dialect") or "paper")


def _side_by_side(flip: Flip, seed: str, forms: Sequence[dialect.Dialect]) -> None:
    """In two columns where there is room, else one after the other."""
    screen = console()
    heads = [Text(f"{name}, {verdict}", "bold") for name, verdict in zip("AB", map(_verdict, flip.verdicts), strict=True)]
    columns = [list(_steps(attempt, form, flip.parts_at)) for attempt, form in zip(flip.attempts, forms, strict=True)]
    title = f"\nseed {seed}: {flip.kind}, " + (
        "the same text in both" if flip.parts_at is None else f"they part at step {flip.parts_at + 1}")
    screen.print(Text(title, "bold"))
    if screen.width < WIDE:
        for head, steps in zip(heads, columns, strict=True):
            screen.print(Group("", head, *steps))
        return
    grid = RichTable.grid(expand=True, padding=(0, 1))
    for _ in columns:
        grid.add_column(ratio=1, overflow="fold")
    grid.add_row(*heads)
    for row in zip_longest(*columns, fillvalue=""):
        grid.add_row(*row)
    screen.print(grid)


def _verdict(verdict: Verdict) -> str:
    word = {True: "right", False: "wrong", None: "ungraded"}[verdict.correct]
    return visible(f"{word} ({verdict.by}{': ' + verdict.reason if verdict.reason else ''})")


def _steps(attempt: Trajectory, form: dialect.Dialect, parts_at: int | None) -> Iterator[RenderableType]:
    """Numbered, coloured by segment; at the end, what came of them."""
    for at, (step, turn) in enumerate(zip(attempt.steps, dialect.segments(attempt.steps, form), strict=True)):
        text = Text(f"{at + 1} {step.status}", "bold")
        if at == parts_at:
            text.append(f"  {HERE}", "reverse")
        text.append("\n")
        for start, end, segment in turn:
            text.append(visible(step.text[start:end]), COLOURS[segment])
        text.append(f"\n{visible(step.observation)}\n", COLOURS[Segment.CONTEXT])
        yield text
    yield Text(visible(f"answer: {_answer(attempt)}"))
