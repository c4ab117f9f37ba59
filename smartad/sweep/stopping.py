"""Early stopping: a trial whose first benchmarks or seeds are already hopeless is not brought to its end.

A rule is one function of what is finished of a trial and of the others, and one line in RULES.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import fmean
from typing import NamedTuple

from smartad.records import read_jsonl
from smartad.stage import StageSpec
from smartad.stages.aggregate import SECOND
from smartad.store import Store
from smartad.types import UserError, Verdict

KEPT = 256
"""Benchmarks whose verdicts are kept in memory."""


class Part(NamedTuple):
    """One benchmark of one seed."""

    seed: int
    benchmark: str

    def __str__(self) -> str:
        return f"{self.benchmark}, seed {self.seed}"


@dataclass(frozen=True)
class StoppingConfig:
    """When a trial is hopeless."""

    rule: str
    """wilcoxon: against the best finished trial.  asha: not among the best of those that have come as far."""
    p: float = 0.02
    """wilcoxon: how probable it may be at most that a trial is stopped which is as good as the best."""
    questions: int = 30
    """wilcoxon: on how many at least both must have a verdict."""
    eta: int = 3
    """asha: the best one in so many goes on after ``grace``, ``grace * eta``, ``grace * eta^2``, ... seeds."""
    grace: int = 1
    """asha: seeds that everyone may finish; benchmarks, where there is one seed."""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UserError(f"stopping.rule={self.rule!r} is unknown; there are {', '.join(RULES)}")
        own = RULES[self.rule][1]
        for option in dataclasses.fields(self)[1:]:
            if option.name not in own and getattr(self, option.name) != option.default:
                raise UserError(f"stopping.{option.name}: {self.rule} has no such option; there are {', '.join(own)}")
        if not 0 < self.p < 0.5:
            raise UserError(f"stopping.p must be between 0 and 0.5, got {self.p}")
        for name, least in (("questions", 1), ("eta", 2), ("grace", 1)):
            if getattr(self, name) < least:
                raise UserError(f"stopping.{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Stop:
    """Why a trial was stopped."""

    rule: str
    at: tuple[str, ...]
    """What it was judged by: ``toy_math, seed 0``."""
    against: str
    """Label of the best finished trial, or of the last that is good enough to go on."""
    score: float
    """Percent: its mean over ``at``."""
    bar: float
    """The other's mean over the same."""
    p: float | None = None
    """wilcoxon: how probable so many lost questions are between equals."""


Verdicts = Mapping[str, float]
"""Question -> the share of its graded attempts that is right: with one attempt 0 or 1.  Without what could not be graded."""


@dataclass
class Standing:
    """How far one trial has come."""

    label: str
    verdicts: Callable[[Part], Verdicts]
    """Of a finished part."""
    scores: dict[Part, float] = field(default_factory=dict)
    """Percent right of each finished part that the metric looks at."""
    done: bool = False

    def mean(self, parts: Sequence[Part]) -> float:
        """Percent, over ``parts``."""
        return fmean(self.scores[part] for part in parts)


@dataclass(frozen=True)
class Course:
    """What all trials have to run, and how they are compared."""

    config: StoppingConfig
    sign: int
    """1: more is better; -1: less is."""
    laps: tuple[tuple[Part, ...], ...]
    """The parts that the metric looks at, in the order in which they are compared: by seed, or by benchmark."""

    def parts(self) -> list[Part]:
        """All of them."""
        return [part for lap in self.laps for part in lap]


def wilcoxon(course: Course, mine: Standing, others: Sequence[Standing]) -> Stop | None:
    """It has lost more questions to the best finished trial than chance would have an equal lose.

    Wilcoxon's signed-rank test of the questions that both were graded on, one-sided.  Verdicts are right or wrong, so all
    differences have the same rank, and it is the exact sign test; of several attempts, a question's share of right ones counts,
    and how far apart two are does not.  ``p`` is shared out (Bonferroni): a trial is looked at again with each part it
    finishes, and the best of many equals has been lucky.
    """
    finished = [other for other in others if other.done]
    if not finished:
        return None
    best = max(finished, key=lambda other: course.sign * other.mean(list(other.scores)))
    at = [part for part in course.parts() if part in mine.scores and part in best.scores]
    won, lost, drawn = _compare(course.sign, mine, best, at)
    if won + lost + drawn < course.config.questions or course.sign * (mine.mean(at) - best.mean(at)) >= 0:
        return None
    p = _chance(won, won + lost)
    if p > course.config.p / (len(course.parts()) * len(finished)):
        return None
    return Stop("wilcoxon", tuple(map(str, at)), best.label, mine.mean(at), best.mean(at), p)


def _compare(sign: int, mine: Standing, other: Standing, at: Sequence[Part]) -> tuple[int, int, int]:
    """Questions won, lost and drawn."""
    won = lost = drawn = 0
    for part in at:
        theirs = other.verdicts(part)
        for question, right in mine.verdicts(part).items():
            if question in theirs:
                difference = sign * (right - theirs[question])
                won, lost, drawn = won + (difference > 0), lost + (difference < 0), drawn + (difference == 0)
    return won, lost, drawn


def _chance(won: int, tosses: int) -> float:
    """Of at most ``won`` heads in so many tosses of a fair coin.  Exact: there may be thousands."""
    ways = total = 1
    for heads in range(won):
        ways = ways * (tosses - heads) // (heads + 1)
        total += ways
    return total / 2**tosses


def asha(course: Course, mine: Standing, others: Sequence[Standing]) -> Stop | None:
    """It is not in the best 1/eta of those that have come as far: asynchronous successive halving (Li et al. 2020).

    How far is counted in laps, so that all are compared by the same seeds and benchmarks.  The first to arrive goes on.
    """
    reached = next((i for i, lap in enumerate(course.laps) if not mine.scores.keys() >= set(lap)), len(course.laps))
    rung = course.config.grace
    if reached < rung:
        return None
    while rung * course.config.eta <= reached:
        rung *= course.config.eta
    at = [part for lap in course.laps[:rung] for part in lap]
    there = [standing for standing in (mine, *others) if standing.scores.keys() >= set(at)]
    ranked = sorted(there, key=lambda standing: -course.sign * standing.mean(at))
    last = ranked[max(1, len(ranked) // course.config.eta) - 1]
    if course.sign * (mine.mean(at) - last.mean(at)) >= 0:
        return None
    return Stop("asha", tuple(map(str, at)), last.label, mine.mean(at), last.mean(at))


Rule = Callable[[Course, Standing, Sequence[Standing]], Stop | None]
RULES: Mapping[str, tuple[Rule, tuple[str, ...]]] = {
    "wilcoxon": (wilcoxon, ("p", "questions")),
    "asha": (asha, ("eta", "grace")),
}
"""Name -> the rule, and its options in StoppingConfig."""


def course(config: StoppingConfig, metric: str, sign: int, seeds: Sequence[int], benchmarks: Sequence[str]) -> Course:
    """What the trials of a sweep are compared by.  Raises UserError when there is nothing that stopping could save."""
    several = len(seeds) > 1
    laps, what = (len(seeds), "seeds") if several else (len(benchmarks), "benchmarks")
    first = config.grace if config.rule == "asha" else 1
    if laps <= first:
        raise UserError(f"stopping: there is nothing to save: the first comparison comes after {first} of {laps} {what}")
    counted = list(benchmarks) if metric == "avg" else [metric.removeprefix("pass@1/")]
    if several:
        return Course(config, sign, tuple(tuple(Part(seed, name) for name in counted) for seed in seeds))
    return Course(config, sign, tuple((Part(seeds[0], name),) for name in counted))


class Race:
    """The trials of one sweep side by side.  It remembers who has come how far; all it knows is in the store."""

    def __init__(self, course: Course, store: Store) -> None:
        self.course, self.store = course, store
        self.standings: dict[str, Standing] = {}
        self.grades: dict[str, dict[Part, str]] = {}
        self.seen: dict[str, set[Part]] = {}
        self.counted = frozenset(course.parts())
        self.verdicts = lru_cache(KEPT)(self._verdicts)

    def enter(self, label: str, goals: Mapping[int, StageSpec]) -> None:
        """A trial takes part.  ``goals``: its aggregate for each seed."""
        grades = {Part(seed, name): grade.fingerprint for seed, goal in goals.items() for name, grade in goal.inputs.items()
                  if SECOND not in name}
        self.grades[label], self.seen[label] = grades, set()
        self.standings[label] = Standing(label, lambda part: self.verdicts(grades[part]))

    def end(self, label: str, done: bool) -> None:
        """A trial runs no more; from now on the others are compared with it."""
        self._see(label, self.store.has)
        self.standings[label].done = done

    def look(self, label: str, finished: Callable[[str], bool]) -> Stop | None:
        """Why a trial is to be stopped, if something that it has finished since says so.  ``finished``: of a fingerprint."""
        before = len(self.seen[label])
        self._see(label, finished)
        mine = self.standings[label]
        if len(self.seen[label]) in (before, len(self.grades[label])) or not mine.scores:
            return None
        rule, _ = RULES[self.course.config.rule]
        return rule(self.course, mine, [other for other in self.standings.values() if other is not mine and other.scores])

    def _see(self, label: str, finished: Callable[[str], bool]) -> None:
        for part, grade in self.grades[label].items():
            if part not in self.seen[label] and finished(grade):
                self.seen[label].add(part)
                score = self.store.record(grade)["metrics"]["pass@1"] if part in self.counted else None
                if score is not None:
                    self.standings[label].scores[part] = score

    def _verdicts(self, grade: str) -> Verdicts:
        rows = read_jsonl(self.store.folder(grade) / "verdicts.jsonl", Verdict)
        found: dict[str, list[bool]] = {}
        for row in rows:
            if row.correct is not None:
                found.setdefault(row.question_id, []).append(row.correct)
        return {question: fmean(correct) for question, correct in found.items()}
