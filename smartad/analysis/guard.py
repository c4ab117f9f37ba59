"""Whether the numbers of a table may be compared: what differs in how they came about, though nobody declared that it should.

What a sweep declares to differ between its rows (a prompt, an agent, how it searches) is what the table compares, and is not
marked.  Who decides what is right, which questions are asked and what the answers ran in are never that.
"""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from smartad.analysis.arms import Arm
from smartad.fingerprint import canonical
from smartad.store import Store
from smartad.sweep import results
from smartad.sweep.ledger import Ledger, LedgerTrial
from smartad.tables import RunCells, Table

PACKAGES = {"transformers in this process": ("torch", "transformers"), "vllm": ("vllm",)}
"""Engine -> packages whose minor version may change an answer.  What a server runs on is not known."""
NOTED = ("sandbox", "engine", "engine_server", "engine_command", "adapters")
"""Of how an evaluation ran: what may change an answer.  Where, how fast, and with how many at once may not."""
NAMED = 6
"""Cells named in a note; of more, it says how many."""

Facts = Mapping[str, Any]
"""What a cell came about by, by name.  A setting that is not there is null.  A note (``@``) that is not there was not taken, and
is not compared: a student without an adapter has none to merge, a chain of thought runs no code."""


@dataclass(frozen=True)
class Difference:
    """A cell of one seed that did not come about as the others of its column did."""

    label: str
    seed: int
    benchmark: str
    what: str
    value: str
    usual: str
    """What most of the others have."""

    @property
    def text(self) -> str:
        """``sandbox landlock instead of bubblewrap 0.8.0``."""
        return f"{self.what} {self.value} instead of {self.usual}"


@dataclass(frozen=True)
class Guarded:
    """What is to be said below a table."""

    marks: Mapping[tuple[str, str], str]
    """(label, benchmark) -> mark."""
    notes: Mapping[str, str]
    """Mark -> what differs, and where."""
    remarks: tuple[str, ...]
    """What may be known, and is no difference that changes a number by itself."""
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class _Cell:
    label: str
    seed: int
    benchmark: str
    own: Mapping[str, Any]
    """What its row declares otherwise than the sweep's base."""
    facts: Facts
    commit: str


def guard(store: Store, book: Ledger, rows: Mapping[str, Sequence[RunCells]] | None = None) -> Guarded:
    """Compare what the cells of each column came about by.  ``rows``: those of the table, where they are by another grader."""
    rows = results.rows(store, book) if rows is None else rows
    return _guarded(store, [(book, trial, trial.label, rows[trial.label]) for trial in book.trials])


def guard_arms(store: Store, arms: Sequence[Arm], grader: str | None = None) -> Guarded:
    """The same of rows that may be of several sweeps, then called by their whole names."""
    same = len({arm.book.name for arm in arms}) == 1
    found = []
    for arm in arms:
        book = dataclasses.replace(arm.book, trials=(arm.trial,))
        name = arm.trial.label if same else arm.name
        found.append((arm.book, arm.trial, name, results.rows(store, book, grader)[arm.trial.label]))
    return _guarded(store, found)


def _guarded(store: Store, rows: Sequence[tuple[Ledger, LedgerTrial, str, Sequence[RunCells]]]) -> Guarded:
    """``rows``: each with what it is called, and its runs."""
    columns: dict[str, list[_Cell]] = defaultdict(list)
    gone = 0
    about = _reader(store)
    for book, trial, label, runs in rows:
        own, seen = _own(book, trial.values), set[str]()
        for run, found in zip(trial.runs, runs, strict=True):
            for cell in found.cells.values():
                if cell.source in seen:
                    continue
                seen.add(cell.source)
                if store.has(cell.source):
                    columns[cell.benchmark].append(_Cell(label, run.seed, cell.benchmark, own, *about(cell.source)))
                else:
                    gone += 1
    cells = [cell for column in columns.values() for cell in column]
    differences = tuple(found for column in columns.values() for found in _differences(column))
    remarks = [*_commits(cells), *([f"{gone} cells cannot be compared: the stages that graded them are no longer in the store"]
                                   if gone else [])]
    return Guarded(*_marked(differences, cells), tuple(remarks), differences)


def guarded(table: Table, found: Guarded) -> Table:
    """``table`` with what is to be said below it."""
    return dataclasses.replace(table, marks=found.marks, notes=found.notes, remarks=(*table.remarks, *found.remarks))


def _own(book: Ledger, values: Mapping[str, Any]) -> dict[str, Any]:
    """dotted.key -> value of what a trial sets otherwise than all share."""
    declared = {**(book.config.get("arms", {}).get(values.get("arm")) or {}), **values}
    shared = dict(_leaves(book.config.get("base") or {}))
    settings = [leaf for key, value in declared.items() for leaf in _leaves(canonical(value), key)]
    return {key: value for key, value in settings if key != "arm" and value != shared.get(key)}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield path, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, f"{path}.{key}" if path else str(key))


def _reader(store: Store) -> Callable[[str], tuple[Facts, str]]:
    """A function of a grade stage: (facts, commit of the evaluation).  Records that cells share are read once."""
    shared = cache(lambda fingerprint, name: _settings(store.record(fingerprint), name))

    @cache
    def about(grade: str) -> tuple[Facts, str]:
        graded = store.record(grade)
        config, inputs = graded["identity"]["config"], graded["identity"]["inputs"]
        role = next(role for role in inputs if role.startswith("questions/"))
        evaluated = store.record(inputs["attempts"])
        ran, index = evaluated.get("ran", {}), evaluated["identity"]["inputs"].get("index")
        facts = {"grader": config["graders"][role.removeprefix("questions/")], "judge": config.get("judge"),
                 "second judge": config.get("second_judge"), "grade.version": graded["identity"]["version"],
                 **shared(inputs[role], "questions"), **_settings(evaluated, "evaluate"),
                 **(shared(index, "index") if index else {}),
                 **{f"@{name}": ran[name] for name in NOTED if name in ran}, **_of_environment(evaluated)}
        if "sandbox" in graded.get("ran", {}):
            facts["@grader's sandbox"] = graded["ran"]["sandbox"]
        if "prompt" in ran:
            facts["@text of the prompt"] = ran["prompt"]
        if "retriever" in ran:
            facts["@retriever"] = "in-process" if ran["retriever"] == "in-process" else "a server"
        return facts, _commit(evaluated)

    return about


def _settings(record: Mapping[str, Any], name: str) -> Facts:
    identity = record["identity"]
    return {f"{name}.version": identity["version"], **{f"{name}.{key}": value for key, value in _leaves(identity["config"])}}


def _of_environment(evaluated: Mapping[str, Any]) -> Facts:
    packages = evaluated.get("environment", {}).get("packages", {})
    needed = PACKAGES.get(str(evaluated.get("ran", {}).get("engine")), ())
    return {f"@{name}": ".".join(packages[name].split(".")[:2]) for name in needed if packages.get(name)}


def _commit(evaluated: Mapping[str, Any]) -> str:
    git = evaluated.get("environment", {}).get("git")
    return f"{git['commit'][:7]}{' with uncommitted changes' if git['dirty'] else ''}" if git else "no commit"


def _differences(column: Sequence[_Cell]) -> Iterator[Difference]:
    """Cells that are alike in what they declare are compared with one another, in one fact after the other."""
    for what in dict.fromkeys(name for cell in column for name in cell.facts):
        alike: dict[tuple[Any, ...], list[tuple[_Cell, str]]] = defaultdict(list)
        for cell in column:
            if what in cell.facts or not what.startswith("@"):
                alike[_declared(cell.own, what)].append((cell, _said(cell.facts.get(what))))
        for cells in alike.values():
            usual = Counter(value for _, value in cells).most_common(1)[0][0]
            for cell, value in cells:
                if value != usual:
                    yield Difference(cell.label, cell.seed, cell.benchmark, what.removeprefix("@"), value, usual)


def _declared(own: Mapping[str, Any], what: str) -> tuple[Any, ...]:
    """What a row declares that may change fact ``what``."""
    stage, _, setting = what.partition(".")
    if stage == "index":
        keys = [key for key in own if key.partition(".")[0] in ("corpus", "retrieval")
                or key in ("evaluate", "evaluate.agent", "evaluate.passages")]
    elif what == "@text of the prompt":
        keys = ["evaluate.prompt"]
    elif stage == "evaluate":
        keys = [what, setting]  # the student and the dialect are those of the whole experiment, unless evaluate has its own
    else:
        return ()
    return tuple((key, str(own[key])) for key in keys if key in own)


def _said(value: Any) -> str:
    return "null" if value is None else ", then ".join(map(str, value)) if isinstance(value, list) else str(value)


def _marked(differences: Sequence[Difference], cells: Sequence[_Cell]) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """A mark for each set of differences."""
    seeds: dict[tuple[str, str], set[int]] = defaultdict(set)
    for cell in cells:
        seeds[cell.label, cell.benchmark].add(cell.seed)
    where: dict[tuple[str, str], dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for one in differences:
        where[one.label, one.benchmark][one.text].add(one.seed)
    sharing: dict[tuple[str, ...], list[tuple[tuple[str, str], str]]] = defaultdict(list)
    for (label, benchmark), texts in where.items():
        own = set().union(*texts.values())
        of_seeds = "" if own == seeds[label, benchmark] else f", seed {' and '.join(map(str, sorted(own)))}"
        sharing[tuple(texts)].append(((label, benchmark), f"{benchmark} of {label}{of_seeds}"))
    marks, notes = {}, {}
    for number, (what, found) in enumerate(sharing.items()):
        mark = _letters(number)
        marks.update(dict.fromkeys((place for place, _ in found), mark))
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        notes[mark] = f"{'; '.join(what)} ({'; '.join(name for _, name in found[:NAMED])}{more})"
    return marks, notes


def _letters(number: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    return (_letters(number // 26 - 1) if number >= 26 else "") + "abcdefghijklmnopqrstuvwxyz"[number % 26]


def _commits(cells: Sequence[_Cell]) -> list[str]:
    """A line where code may differ between cells, or is none that anybody else has."""
    counts = Counter(cell.commit for cell in cells)
    if len(counts) < 2 and not any(commit.endswith("changes") for commit in counts):
        return []
    said = ", ".join(f"{commit} ({count} cells)" for commit, count in counts.most_common())
    return [f"evaluated at {len(counts)} commits: {said}" if len(counts) > 1 else f"evaluated at {said}"]
