"""Rows compared question by question: is the difference more than chance?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from smartad import paired, stats
from smartad.analysis.arms import Arm, benchmarks_of
from smartad.analysis.outcomes import Outcomes, grade_of, outcomes, questions_of
from smartad.paired import Paired
from smartad.stats import Difference
from smartad.store import Store
from smartad.sweep.ledger import Ledger, LedgerTrial, Run
from smartad.types import UserError

Read = Callable[[str], Outcomes]
"""The outcomes of a grade stage."""
MCNEMAR, BOOTSTRAP = "McNemar", "bootstrap"


@dataclass(frozen=True)
class Discordant:
    """The questions on which a run of A and a run of B differ."""

    seeds: tuple[int, int]
    only_a: int
    """Right in A's, wrong in B's."""
    only_b: int
    p: float
    """McNemar's, exact."""


@dataclass(frozen=True)
class Line:
    """One benchmark."""

    benchmark: str
    grader: str
    """Who decided, with its version."""
    n: int
    """Questions that all runs of both arms are graded on."""
    a: float
    """Percent of these, the mean over the seeds."""
    b: float
    difference: Difference
    pairs: tuple[Discordant, ...]
    """By seeds of the same number, or in their order where no number is the same; of an arm with one run, that one each time.
    Empty where questions were asked several times."""
    ungraded: tuple[str, ...]
    """Questions left out, since a run has no verdict on them."""
    unshared: int
    """Questions left out, since not both arms were asked them."""
    p: float
    """Two-sided."""
    test: str
    """Whose ``p`` is, MCNEMAR's or BOOTSTRAP's.  Over several seeds the pairs of one question are alike, and McNemar's test
    would take them for pairs of many questions: it is made for each pair of runs, and the whole is the bootstrap's."""
    holm: float = np.nan
    """``p`` for there being several benchmarks, of all rows of a table."""


@dataclass(frozen=True)
class Comparison:
    """A row A and a row B on the same questions; differences are A minus B, in points."""

    a: Arm
    b: Arm
    seeds_a: tuple[int, ...] = ()
    """Of the runs that are compared.  Runs of one source for several seeds, as of the untrained student, are one."""
    seeds_b: tuple[int, ...] = ()
    lines: tuple[Line, ...] = ()
    macro: Difference | None = None
    """Of the macro average over ``lines``; None where nothing can be compared, and in ``against`` where one is missing."""
    holm: float = np.nan
    """``macro.p`` for there being several rows."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Benchmark -> why it is not compared."""
    refused: str = ""
    """Why nothing is."""

    @property
    def average_a(self) -> float:
        """The macro average of ``lines``, percent."""
        return float(np.mean([line.a for line in self.lines]))

    @property
    def average_b(self) -> float:
        """Likewise."""
        return float(np.mean([line.b for line in self.lines]))


@dataclass(frozen=True)
class _Side:
    """An arm with those of its runs that have something."""

    arm: Arm
    runs: tuple[Run, ...]
    grades: tuple[Mapping[str, str], ...]
    """Of each run: benchmark -> fingerprint."""
    lone: bool
    """``Paired.lone``."""
    gone: Mapping[str, str]
    """Benchmark -> what is said of verdicts that a finished run was counted from, and that are no longer there."""

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.seed for run in self.runs)


@dataclass(frozen=True)
class _Matched:
    """What two arms came to on the baseline's questions of a benchmark."""

    a: paired.Runs
    b: paired.Runs
    grader: str = ""
    ungraded: tuple[str, ...] = ()
    unshared: int = 0


def compare(store: Store, a: Arm, b: Arm, *, grader: str | None = None, shared: bool = False,
            draws: int = stats.DRAWS) -> Comparison:
    """A against B, on what both have finished.  ``grader``: its verdicts, where it graded.  ``shared``: where the questions
    differ, compare those that are the same.

    Raises UserError when the arms were graded by different graders or asked different questions, one was stopped, or they have
    nothing in common.
    """
    found = _adjusted(_all(store, [a], b, grader, shared, draws))[0]
    if found.refused:
        raise UserError(found.refused)
    return found


def against(store: Store, book: Ledger, baseline: LedgerTrial, *, grader: str | None = None, shared: bool = False,
            draws: int = stats.DRAWS) -> list[Comparison]:
    """Every other row of a sweep against ``baseline``, in the sweep's order.  Holm is over all macro averages, and over all
    benchmarks of all rows.  A row that cannot be compared says why (``refused``); one that lacks benchmarks has no macro average,
    as that would be of others than the next row's."""
    rows = [Arm(book, trial) for trial in book.trials if trial.label != baseline.label]
    found = _all(store, rows, Arm(book, baseline), grader, shared, draws)
    return _adjusted([replace(one, macro=None) if one.missing else one for one in found])


def questions_in_common(store: Store, a: Arm, b: Arm, benchmark: str, grader: str | None, shared: bool) -> set[str]:
    """Ids of the questions on which runs of A and B may be held against each other.  Raises UserError as ``compare`` does."""
    sides = _side(store, a, grader), _side(store, b, grader)
    found = [[outcomes(store, grades[benchmark]) for grades in side.grades if benchmark in grades] for side in sides]
    if not all(found):
        raise UserError(_lacks(sides[0], benchmark) or _lacks(sides[1], benchmark))
    return _common(store, *sides, found, benchmark, shared)[0]


def runs_of(store: Store, a: Arm, b: Arm) -> list[tuple[Run, Run]]:
    """Which run of A is held against which of B (``Line.pairs``)."""
    sides = _side(store, a, None), _side(store, b, None)
    return [(sides[0].runs[i], sides[1].runs[j]) for i, j in _pairs(sides[0].seeds, sides[1].seeds)]


def _all(store: Store, rows: Sequence[Arm], baseline: Arm, grader: str | None, shared: bool, draws: int) -> list[Comparison]:
    """All of ``rows`` against ``baseline``, whose questions are the columns of what is compared."""
    read: Read = lru_cache(maxsize=256)(lambda grade: outcomes(store, grade))
    b = _side(store, baseline, grader)
    found: list[tuple[Comparison, Mapping[str, _Matched]]] = []
    pairs: list[Paired] = []
    ended = f"{baseline.name} was stopped early" if baseline.trial.was_stopped(store) else ""
    for row in rows:
        a = _side(store, row, grader)
        matched: dict[str, _Matched] = {}
        missing, refused = _missing(a, b), f"{row.name} was stopped early" if row.trial.was_stopped(store) else ended
        for name in benchmarks_of(baseline.book):
            try:
                matched[name] = _empty(read, b, name) if name in missing else _matched(store, read, a, b, name, shared)
            except UserError as error:
                refused = refused or str(error)
        if not refused and len(missing) == len({*benchmarks_of(row.book), *benchmarks_of(baseline.book)}):
            refused = f"{row.name} and {baseline.name} have nothing to compare: {'; '.join(dict.fromkeys(missing.values()))}"
        found.append((Comparison(row, baseline, a.seeds, b.seeds, missing=missing, refused=refused), matched))
        if not refused:
            pairs.append(Paired([of.a for of in matched.values()], [of.b for of in matched.values()], a.lone or b.lone))
    results = iter(paired.differences(pairs, draws))
    return [one if one.refused else _filled(one, matched, *next(results)) for one, matched in found]


def _side(store: Store, arm: Arm, grader: str | None) -> _Side:
    """Runs of which nothing is finished are left out, and of equal ones all but the first."""
    runs: dict[tuple[str, ...], tuple[Run, dict[str, str]]] = {}
    gone: dict[str, str] = {}
    for run in arm.trial.runs:
        grades = {name: grade for name in benchmarks_of(arm.book) if (grade := counted(store, run, name, grader))}
        if grades:
            runs.setdefault(tuple(grades.values()), (run, grades))
        if len(grades) < len(benchmarks_of(arm.book)) and store.has(run.goal):
            gone |= {name: f"the verdicts on {name} of {arm.name}, seed {run.seed}, are no longer in {store.root}: delete "
                     f"{run.goal} there and run the sweep again" for name in benchmarks_of(arm.book) if name not in grades}
    lone = len(runs) == 1 and arm.trial.runs[0].train is not None
    return _Side(arm, tuple(run for run, _ in runs.values()), tuple(grades for _, grades in runs.values()), lone, gone)


def counted(store: Store, run: Run, benchmark: str, grader: str | None = None) -> str | None:
    """``grade_of`` as far as it is there, also of a run that is not finished: its benchmarks may be."""
    if store.has(run.goal):
        grade = grade_of(store, run, benchmark, grader)
        return grade if grade and store.has(grade) else None
    inputs, found, seen = run.inputs(), dict[str, str](), set[str]()
    for grade in inputs[run.goal]:
        attempts = inputs[grade][-1]
        first = attempts not in seen  # of the graders of the same attempts, the one that counts stands first
        seen.add(attempts)
        if store.has(grade) and benchmark in (by := store.record(grade)["identity"]["config"]["graders"]):
            name = by[benchmark].partition("/")[0]
            if first or name == grader:
                found.setdefault(name, grade)
    return found.get(grader or "") or next(iter(found.values()), None)


def _missing(a: _Side, b: _Side) -> dict[str, str]:
    """Benchmark -> why it cannot be compared, of those that either sweep has."""
    names = dict.fromkeys([*benchmarks_of(b.arm.book), *benchmarks_of(a.arm.book)])
    return {name: why for name in names if (why := _lacks(a, name) or _lacks(b, name))}


def _lacks(side: _Side, benchmark: str) -> str:
    if benchmark not in benchmarks_of(side.arm.book):
        return f"{side.arm.book.name} does not have {benchmark}"
    if benchmark in side.gone:
        return side.gone[benchmark]
    if not side.runs:
        return f"nothing of {side.arm.name} is finished"
    seeds = [str(run.seed) for run, grades in zip(side.runs, side.grades, strict=True) if benchmark not in grades]
    return f"{side.arm.name} has not finished {benchmark} with seed {', '.join(seeds)}" if seeds else ""


def _matched(store: Store, read: Read, a: _Side, b: _Side, benchmark: str, shared: bool) -> _Matched:
    """Raises UserError when the arms were graded, or asked, differently."""
    sides = [[read(grades[benchmark]) for grades in side.grades] for side in (a, b)]
    common, unshared = _common(store, a, b, sides, benchmark, shared)
    ids = sides[1][0].questions
    both = [np.stack([_columns(of, ids) for of in side]) for side in sides]
    for runs in both:
        runs[:, [name not in common for name in ids]] = np.nan
    missed = np.isnan(np.concatenate(both)).any(axis=0)
    ungraded = tuple(name for name, gone in zip(ids, missed, strict=True) if gone and name in common)
    by = sorted({of.grader for of in sides[1]} - {""})
    return _Matched(both[0], both[1], " and ".join(by) or "nobody", ungraded, unshared)


def _common(store: Store, a: _Side, b: _Side, sides: Sequence[Sequence[Outcomes]], benchmark: str,
            shared: bool) -> tuple[set[str], int]:
    """The questions that are the same in both, and how many are not.  Raises UserError when the arms were graded, or, without
    ``shared``, asked, differently."""
    by = [sorted({of.grader for of in side} - {""}) for side in sides]
    if by[0] != by[1]:
        raise UserError(f"{benchmark}: {a.arm.name} is graded by {' and '.join(by[0]) or 'nobody'}, {b.arm.name} by "
                        f"{' and '.join(by[1]) or 'nobody'}; their difference would be the graders', too.  --grader NAME takes "
                        "the verdicts of one that has graded both")
    asked = [set.intersection(*(set(of.questions) for of in side)) for side in sides]
    common = (asked[0] & asked[1]) - _changed(store, [of.source for side in sides for of in side])
    unshared = len((asked[0] | asked[1]) - common)
    if unshared and not shared:
        raise UserError(f"{benchmark}: {a.arm.name} was asked {len(asked[0])} questions, {b.arm.name} {len(asked[1])}, and "
                        f"{len(common)} of them are the same.  --shared compares those")
    return common, unshared


def _columns(of: Outcomes, ids: Sequence[str]) -> paired.Runs:
    if of.questions == ids:
        return of.right
    right = dict(zip(of.questions, of.right, strict=True))
    return np.array([right.get(name, np.nan) for name in ids])


def _changed(store: Store, grades: Sequence[str]) -> set[str]:
    """Questions that are called the same in all of ``grades`` and are not."""
    inputs = [store.record(grade)["identity"]["inputs"] for grade in grades]
    if len({f for of in inputs for role, f in of.items() if role.startswith("questions/")}) == 1:
        return set()
    first, *others = [questions_of(store, grade) for grade in grades]
    return {name for of in others for name, one in of.items()
            if name in first and (one.text, one.answers) != (first[name].text, first[name].answers)}


def _empty(read: Read, b: _Side, benchmark: str) -> _Matched:
    """Of a benchmark that is not compared: as many columns as in the other rows of a table, with nothing in them."""
    n = next((len(read(grades[benchmark]).questions) for grades in b.grades if benchmark in grades), 0)
    nothing = np.full((1, n), np.nan)
    return _Matched(nothing, nothing)


def _filled(one: Comparison, matched: Mapping[str, _Matched], macro: Difference, parts: Sequence[Difference]) -> Comparison:
    """``one`` with its numbers."""
    lines, missing = [], dict(one.missing)
    for (name, of), part in zip(matched.items(), parts, strict=True):
        if not np.isnan(part.points):
            lines.append(_line(name, of, part, one))
        else:
            missing.setdefault(name, f"{name} has fewer than two questions that both are graded on")
    if not lines:
        return replace(one, missing=missing, refused=f"{one.a.name} and {one.b.name} have nothing to compare: "
                       f"{'; '.join(dict.fromkeys(missing.values()))}")
    return replace(one, lines=tuple(lines), macro=macro, missing=missing)


def _line(name: str, of: _Matched, difference: Difference, one: Comparison) -> Line:
    complete = ~np.isnan(np.concatenate([of.a, of.b])).any(axis=0)
    a, b = of.a[:, complete], of.b[:, complete]
    once = bool(np.isin(np.concatenate([a, b]), (0.0, 1.0)).all())
    which = _pairs(one.seeds_a, one.seeds_b) if once else []
    pairs = tuple(_discordant((one.seeds_a[i], one.seeds_b[j]), a[i], b[j]) for i, j in which)
    p, test = (pairs[0].p, MCNEMAR) if once and len(a) == len(b) == 1 else (difference.p, BOOTSTRAP)
    return Line(name, of.grader, int(complete.sum()), 100 * float(a.mean()), 100 * float(b.mean()), difference, pairs,
                of.ungraded, of.unshared, p, test)


def _pairs(a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int]]:
    """Places in A and in B."""
    if len(a) == 1 or len(b) == 1:
        return [(i, j) for i in range(len(a)) for j in range(len(b))]
    same = [(i, b.index(seed)) for i, seed in enumerate(a) if seed in b]
    return same or [(i, i) for i in range(min(len(a), len(b)))]


def _discordant(seeds: tuple[int, int], a: paired.Runs, b: paired.Runs) -> Discordant:
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    return Discordant(seeds, only_a, only_b, stats.mcnemar(only_a, only_b))


def _adjusted(found: Sequence[Comparison]) -> list[Comparison]:
    """With Holm's p, over all of them."""
    macro = iter(stats.holm([one.macro.p for one in found if one.macro]))
    lines = iter(stats.holm([line.p for one in found for line in one.lines]))
    return [replace(one, holm=next(macro) if one.macro else np.nan,
                    lines=tuple(replace(line, holm=next(lines)) for line in one.lines)) for one in found]
