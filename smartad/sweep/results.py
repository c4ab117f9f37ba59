"""A sweep's results: its table, and its best adapter."""

import re
from collections.abc import Iterator, Mapping, Sequence

from smartad import grading, papers, registry, tables
from smartad.papers import PaperTable
from smartad.papers.layout import laid_out
from smartad.records import read_jsonl
from smartad.stages.grade import cell_of
from smartad.store import Store
from smartad.sweep import teachers
from smartad.sweep.ledger import Ledger, LedgerTrial, Run
from smartad.tables import RunCells, Table
from smartad.types import Cell, Question, UserError, Verdict

SIZE = re.compile(r"(?<![\w.])\d+(\.\d+)?[bm](?![a-z0-9])", re.IGNORECASE)
"""How many parameters, in the name of a model: Qwen2.5-1.5B-Instruct."""

Chosen = tuple[LedgerTrial, Run, float | None]
"""An adapter: whose it is, and what the metric is by which it was chosen."""


def cells(store: Store, goal: str, grader: str | None = None) -> RunCells:
    """The cells of a finished aggregate.  ``grader``: its cells, where it graded, instead of those that count."""
    found = {cell.benchmark: cell for cell in read_jsonl(store.folder(goal) / "cells.jsonl", Cell)}
    others = read_jsonl(store.folder(goal) / "other_cells.jsonl", Cell) if grader else ()
    return RunCells(found | {cell.benchmark: cell for cell in others if cell.grader.partition("/")[0] == grader})


def run_cells(store: Store, run: Run, grader: str | None = None) -> RunCells:
    """The cells of a run.  Of one that is not finished those there are, and a note on why there are no more yet."""
    if store.has(run.goal):
        return cells(store, run.goal, grader)
    failed = any(store.failure(f) for f in run.stages if not store.has(f))
    started = any(store.has(f) for f in run.stages)
    return RunCells(_early_cells(store, run, grader), "failed" if failed else "unfinished" if started else "")


def _early_cells(store: Store, run: Run, grader: str | None) -> dict[str, Cell]:
    """What ``cells`` will be, as far as it is graded."""
    found: dict[str, Cell] = {}
    for grades in grades_of(run):
        for grade in filter(store.has, grades):
            cell = graded(store, grade)
            if grade == grades[0] or cell.grader.partition("/")[0] == grader:
                found[cell.benchmark] = cell
    return found


def grades_of(run: Run) -> list[list[str]]:
    """The grade stages of each benchmark, finished or not: first the one that counts, then those of other graders."""
    inputs = run.inputs()
    found: dict[str, list[str]] = {}
    for grade in inputs[run.goal]:
        found.setdefault(inputs[grade][-1], []).append(grade)  # its attempts, which graders of one benchmark share
    return list(found.values())


def graded(store: Store, grade: str) -> Cell:
    """What a finished grade stage of one benchmark comes to."""
    record = store.record(grade)
    benchmark = next(role.removeprefix("questions/") for role in record["identity"]["inputs"] if role.startswith("questions/"))
    first = next(read_jsonl(store.folder(grade) / "verdicts.jsonl", Verdict), None)
    return cell_of(benchmark, record["metrics"], grade, first.by if first else "")


def rows(store: Store, book: Ledger, grader: str | None = None) -> dict[str, list[RunCells]]:
    """Label -> its runs, in the order of the sweep."""
    return {trial.label: [_stopped(store, run, found) if trial.was_stopped(store) else found
                          for run in trial.runs for found in [run_cells(store, run, grader)]] for trial in book.trials}


def _stopped(store: Store, run: Run, found: RunCells) -> RunCells:
    """A run of a stopped trial.  What is finished of it is there, and is no score of the trial."""
    return RunCells(found.cells if store.has(run.goal) else {}, tables.STOPPED)


def sizes(book: Ledger) -> dict[str, str]:
    """Label -> the size of its student as that's name says it, 1.5B; else the name."""
    shared = book.config.get("base") or {}  # a run that is no sweep has declared none
    found = {}
    for trial in book.trials:
        own = {**(book.config.get("arms", {}).get(trial.values.get("arm")) or {}), **trial.values}
        student = own.get("evaluate.student", own.get("student", shared.get("evaluate", {}).get("student", "")))
        name = str(student).partition("@")[0].rstrip("/").rpartition("/")[2]
        size = SIZE.search(name)
        found[trial.label] = size[0].upper() if size else name
    return found


def seeds(book: Ledger) -> dict[str, list[int]]:
    """Label -> the seeds of its runs."""
    return {trial.label: [run.seed for run in trial.runs] for trial in book.trials}


def check_grader(store: Store, book: Ledger, name: str) -> None:
    """Raises UserError for a grader that is none, or by whom nothing of the sweep is graded yet."""
    grading.get(name)
    there = {cell.grader for trial in book.trials for run in trial.runs for cell in _every_cell(store, run)}
    if not any(by.startswith(f"{name}/") for by in there):
        raise UserError(f"nothing of {book.name} is graded by {name}; there are verdicts of "
                        f"{', '.join(sorted(there)) or 'nobody'}. To have it grade the same, name it behind the others, as in "
                        "grade.math=[math_strict,math_paper], and run the sweep again: no agent runs twice")


def _every_cell(store: Store, run: Run) -> Iterator[Cell]:
    """By every grader; of a run that is not finished those there are."""
    if store.has(run.goal):
        for name in ("cells.jsonl", "other_cells.jsonl"):
            yield from read_jsonl(store.folder(run.goal) / name, Cell)
    else:
        yield from (graded(store, grade) for grades in grades_of(run) for grade in grades if store.has(grade))


def table(store: Store, book: Ledger) -> Table:
    """The comparison table as it is now, laid out as the sweep declares."""
    layout = layout_of(book)
    return arranged(book, rows_for(store, book, layout), layout)


def rows_for(store: Store, book: Ledger, layout: PaperTable | None, grader: str | None = None) -> dict[str, list[RunCells]]:
    """What a table laid out so is made of: ``rows``, or the pools of the sweep."""
    return teachers.rows(store, book) if layout and layout.kind == "pools" else rows(store, book, grader)


def layout_of(book: Ledger, name: str | None = None) -> PaperTable | None:
    """The printed table that is called ``name``, else the one that the sweep declares; None when there is neither.

    Raises UserError for one that no table of a sweep can be laid out as.
    """
    chosen = name or book.config.get("layout")
    return papers.of_rows(chosen) if chosen else None


def arranged(book: Ledger, found: Mapping[str, Sequence[RunCells]], layout: PaperTable | None, beside: bool = False) -> Table:
    """The table of ``found``, as ``rows`` has them.  ``beside``: with what the paper prints."""
    if layout is None:
        return tables.build(book.name, book.groups, found, sizes(book))
    groups = teachers.groups(found) if layout.kind == "pools" else book.groups
    return laid_out(layout, book.name, groups, found, sizes(book), beside)


def some_question(store: Store, run: Run) -> str:
    """The text of a question that a finished run was evaluated on."""
    cell = next(iter(cells(store, run.goal).cells.values()))
    grade = store.record(cell.source)["identity"]["inputs"]
    questions = store.folder(grade[f"questions/{cell.benchmark}"]) / "questions.jsonl"
    return next(read_jsonl(questions, Question)).text


def best(store: Store, book: Ledger, metric: str) -> Chosen | None:
    """The finished trial with the best mean of ``metric``, and of its seeds the best run; ties go to the first.

    Only trials with adapters count; None while there is none.
    """
    aims = book.config["objectives"] or {book.config["metric"]: book.config["direction"]}
    sign = 1 if aims.get(metric, "maximize") == "maximize" else -1
    scored = [(values, trial) for trial in book.trials
              if trial.runs[0].train and None not in (values := [_value(store, run, metric) for run in trial.runs])]
    if not scored:
        return None
    values, trial = max(scored, key=lambda pair: sign * sum(v for v in pair[0] if v is not None))
    value, run = max(zip(values, trial.runs, strict=True), key=lambda pair: sign * (pair[0] or 0.0))
    return trial, run, value


def _value(store: Store, run: Run, metric: str) -> float | None:
    return store.record(run.goal)["metrics"].get(metric) if store.has(run.goal) else None


def promote_best(store: Store, book: Ledger) -> tuple[LedgerTrial, Run] | None:
    """Let ``best`` of this sweep mean its best adapter, ``best:<metric>`` the best by that metric, and ``latest`` the newest.

    The trial and run that ``best`` means; None while no adapter is evaluated.  What an alias says already is not said again.
    """
    metrics = ["avg", *(f"pass@1/{name}" for names in book.groups.values() for name in names)]
    chosen: dict[str, tuple[str, Chosen]] = {f"best:{metric}": (metric, found) for metric in metrics
                                             if (found := best(store, book, metric))}
    if overall := best(store, book, book.config["metric"]):
        chosen = {"best": (book.config["metric"], overall), **chosen}
    if newest := latest(store, book, book.config["metric"]):
        chosen[registry.LATEST] = (book.config["metric"], newest)
    meaning = {entry.alias: entry.fingerprint for entry in registry.current(store, book.name)}
    for alias, (metric, (trial, run, value)) in chosen.items():
        if run.train is not None and meaning.get(alias) != run.train:
            registry.promote(store, alias, run.train, metric=metric, value=value, by=registry.BY_SWEEP, sweep=book.name,
                             reason=f"{trial.label}, seed {run.seed}")
    return overall[:2] if overall else None


def latest(store: Store, book: Ledger, metric: str) -> Chosen | None:
    """The evaluated adapter that was trained last, and its ``metric``; None while there is none."""
    found = [(trial, run) for trial in book.trials for run in trial.runs if run.train and store.has(run.goal)]
    if not found:
        return None
    trial, run = max(found, key=lambda pair: _finished(store, str(pair[1].train)))
    return trial, run, _value(store, run, metric)


def _finished(store: Store, fingerprint: str) -> float:
    """When, in seconds since the epoch."""
    record = store.record(fingerprint)
    return float(record["started"] + record["seconds"])
