"""Which trajectories a report holds: of a small sweep all, of a large one those that are looked at first."""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from smartad.analysis.arms import benchmarks_of
from smartad.analysis.outcomes import grade_of
from smartad.store import Store
from smartad.sweep.ledger import Ledger, LedgerTrial, Run

MOST_STAGES = 200
"""After which no row's evaluations are opened any more: a sweep of a thousand rows has ten thousand, and nobody looks at all."""
Key = tuple[str, int]
"""(question id, sample)."""
Flip = str
"""fixed, broken, or "" where a question came out as it did for the baseline."""
FIXED, BROKEN = "fixed", "broken"


@dataclass(frozen=True)
class Place:
    """One seed of one row."""

    row: int
    """Its number in the sweep, from 0."""
    run: Run


@dataclass(frozen=True)
class Said:
    """A verdict, as a page needs it."""

    correct: bool | None
    by: str
    reason: str


@dataclass(frozen=True)
class Source:
    """The episodes of one stage."""

    stage: str
    """Fingerprint of evaluate, collect or import."""
    benchmark: str | None
    """None: it is a pool."""
    places: tuple[Place, ...]
    """Of which rows and seeds."""
    verdicts: Sequence[Mapping[Key, Said]]
    """One for each grader, the one that counts first; none when nothing is graded yet."""

    @property
    def counts(self) -> Mapping[Key, Said]:
        """The verdicts that count."""
        return self.verdicts[0] if self.verdicts else {}


def sources(store: Store, book: Ledger, baseline: LedgerTrial | None, averages: Mapping[str, float | None]) -> list[Source]:
    """The finished pools of all rows; and evaluations of the baseline, then of the rows with the best averages, until there are
    MOST_STAGES.  ``places`` are whole: a page would take a row that is not among them for one that trains on nothing.

    ``averages``: row -> its average; None while it has none.
    """
    def order(trial: LedgerTrial) -> tuple[bool, float]:
        average = averages.get(trial.label)
        return trial is not baseline, float("inf") if average is None else -average

    numbers = {trial.label: number for number, trial in enumerate(book.trials)}
    users: dict[str, list[Place]] = {}
    for trial in sorted(book.trials, key=order):
        wanted = ("evaluate", "collect", "import") if len(users) < MOST_STAGES else ("collect", "import")
        for run in trial.runs:
            for stage in run.stages:
                if stage in users or (stage.rpartition("-")[0] in wanted and store.has(stage)):
                    users.setdefault(stage, []).append(Place(numbers[trial.label], run))
    return [_source(store, book, stage, places) for stage, places in users.items()]


def _source(store: Store, book: Ledger, stage: str, places: list[Place]) -> Source:
    roles = [role for role in store.record(stage)["identity"]["inputs"] if role.startswith("questions/")]
    benchmark = roles[0].removeprefix("questions/") if stage.startswith("evaluate-") else None
    graded = [f for f in dict.fromkeys(f for place in places for f in place.run.stages if f.startswith("grade-"))
              if store.has(f) and store.record(f)["identity"]["inputs"]["attempts"] == stage]
    if benchmark in benchmarks_of(book):
        counts = {grade_of(store, place.run, str(benchmark)) for place in places}
        graded.sort(key=lambda f: f not in counts)
    return Source(stage, benchmark, tuple(places), [verdicts(store, grade) for grade in graded])


def verdicts(store: Store, grade: str) -> dict[Key, Said]:
    """What a grade stage says of each attempt."""
    with store.text(grade, "verdicts.jsonl") as file:
        rows = (json.loads(line) for line in file)
        return {(row["question_id"], row["sample"]): Said(row["correct"], row["by"], row["reason"]) for row in rows}


def flips(book: Ledger, baseline: LedgerTrial | None, found: Sequence[Source]) -> dict[tuple[str, int, int], dict[Key, Flip]]:
    """(stage, row, seed) -> attempt -> whether this seed of the row has fixed or broken the question, for those that it has.

    Held against the same seed of the baseline, or its first where it has not that one.
    """
    if baseline is None:
        return {}
    own: dict[tuple[str | None, int], Mapping[Key, Said]] = {
        (source.benchmark, place.run.seed): source.counts for source in found for place in source.places
           if source.benchmark is not None and book.trials[place.row] is baseline}
    first = baseline.runs[0].seed
    changed = {}
    for source in found:
        for place in source.places if source.benchmark is not None else ():
            before = own.get((source.benchmark, place.run.seed)) or own.get((source.benchmark, first)) or {}
            changed[source.stage, place.row, place.run.seed] = {
                key: FIXED if said.correct else BROKEN for key, said in source.counts.items()
                if key in before and None not in (said.correct, before[key].correct) and said.correct != before[key].correct}
    return changed


def choose(found: Sequence[Source], keys: Mapping[str, Sequence[Key]], flipped: Mapping[str, set[Key]], most: int,
           seed: int = 0) -> list[tuple[str, Key]]:
    """At most ``most`` (stage, key), the most wanted first: of attempts, those that flipped, then those that are
    not right, then the others; of a pool, whole questions.  Within each, the stages take turns, in an order drawn by ``seed``.

    A pool gets a quarter, and what attempts leave.  ``keys``: what each stage has; ``flipped``: stage -> attempts.
    """
    pools = sum(len(keys[source.stage]) for source in found if source.benchmark is None)
    ranks: dict[int, list[list[tuple[str, Key]]]] = defaultdict(list)
    for source in found:
        drawn = random.Random(f"{seed}/{source.stage}")
        if source.benchmark is None:
            questions = list(dict.fromkeys(question for question, _ in keys[source.stage]))
            place = {question: number for number, question in enumerate(drawn.sample(questions, len(questions)))}
            ranks[3].append([(source.stage, key) for key in sorted(keys[source.stage], key=lambda key: (place[key[0]], key))])
            continue
        of: dict[int, list[tuple[str, Key]]] = defaultdict(list)
        for key in drawn.sample(list(keys[source.stage]), len(keys[source.stage])):
            said = source.counts.get(key)
            rank = 0 if key in flipped.get(source.stage, ()) else 1 if said and not said.correct else 2
            of[rank].append((source.stage, key))
        for rank, of_rank in of.items():
            ranks[rank].append(of_rank)
    attempts = [chosen for rank in range(3) for chosen in in_turn(ranks[rank])][:max(most * 3 // 4, most - pools)]
    return [*attempts, *list(in_turn(ranks[3]))[:most - len(attempts)]]


def in_turn(lists: Iterable[Sequence[tuple[str, Key]]]) -> Iterator[tuple[str, Key]]:
    """The first of each, then the second of each, ..."""
    return (one for turn in zip_longest(*lists) for one in turn if one is not None)
