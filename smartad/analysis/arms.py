"""What people mean when they name a row of a table, or one of its cells."""

from dataclasses import dataclass

from smartad.store import Store, StoreError
from smartad.sweep import ledger
from smartad.sweep.ledger import Ledger, LedgerTrial, Run
from smartad.types import UserError

NAMING = ("a row is SWEEP:ROW, as in quickstart:SmartAD, where ROW is its label or the beginning of it; a cell is "
          "SWEEP:ROW/BENCHMARK, and with its seed SWEEP:ROW@1/BENCHMARK")


PREDECESSOR = "agent distill"
"""In the label of the row that papers compare with."""


@dataclass(frozen=True)
class Arm:
    """One row of a sweep's table."""

    book: Ledger
    trial: LedgerTrial

    @property
    def name(self) -> str:
        """``quickstart:SmartAD``, which ``arm`` understands."""
        return f"{self.book.name}:{self.trial.label}"


@dataclass(frozen=True)
class Spot:
    """One cell of one seed of a row."""

    arm: Arm
    run: Run
    benchmark: str

    @property
    def name(self) -> str:
        """``quickstart:SmartAD@0/toy_math``, which ``spot`` understands."""
        return f"{self.arm.name}@{self.run.seed}/{self.benchmark}"


def benchmarks_of(book: Ledger) -> list[str]:
    """In the order of the table's columns."""
    return [name for names in book.groups.values() for name in names]


def arm(store: Store, word: str, near: Ledger | None = None) -> Arm:
    """The row that ``word`` means: ``SWEEP:ROW``; of ``near``, a sweep that was named already, ROW alone; or the fingerprint of
    a row or an adapter, or its beginning.

    Raises StoreError naming what there is when it means none or several.
    """
    sweep, colon, label = word.partition(":")
    if colon and ledger.candidates(store, sweep):
        book = ledger.load(store, sweep)
        return Arm(book, _labelled(book, label))
    if near is not None and (colon or _labels(near, word)):
        return Arm(near, _labelled(near, word))
    found = [Arm(book, trial) for book in _books(store) for trial in book.trials for run in trial.runs
             if any(f is not None and f.startswith(word) and "-" in word for f in (run.goal, run.train))]
    if not found:
        raise StoreError(f"{word!r} names no row in {store.root}: {NAMING}.  Sweeps here: "
                         f"{', '.join(ledger.names(store)) or 'none'}")
    return found[0]


def baseline(store: Store, book: Ledger, word: str | None) -> LedgerTrial:
    """The row of ``book`` that the others are held against: the one that ``word`` means; without a word the first that is called
    agent distillation, else the first.

    Raises UserError when ``word`` is of another sweep, or there is no row yet.
    """
    if word:
        found = arm(store, word, near=book)
        if found.book.name != book.name:
            raise UserError(f"--baseline {word} is a row of {found.book.name}, not of {book.name}; rows of two sweeps are "
                            "compared as `smartad compare A B`")
        return found.trial
    if not book.trials:
        raise UserError(f"{book.name} has no row yet")
    named = (trial for trial in book.trials if PREDECESSOR in trial.label.lower().replace("_", " "))
    return next(named, book.trials[0])


def spot(store: Store, word: str) -> Spot:
    """The cell that ``word`` means: ``SWEEP:ROW/BENCHMARK``, ``SWEEP:ROW@SEED/BENCHMARK``, or the fingerprint of the grade stage
    it was counted from, or its beginning.  Without a seed, the sweep's first.

    Raises StoreError naming what there is when it means none or several.
    """
    if word.startswith("grade-"):
        return _counted_from(store, store.find(word))
    row, slash, benchmark = word.rpartition("/")
    label, at, seed = row.rpartition("@")
    seeded = bool(at) and seed.isdecimal()
    chosen = arm(store, label if seeded else row) if slash else None
    if chosen is None:
        raise StoreError(f"{word!r} names no cell: {NAMING}")
    if benchmark not in benchmarks_of(chosen.book):
        raise StoreError(f"{chosen.book.name} has no benchmark {benchmark!r}; it has {', '.join(benchmarks_of(chosen.book))}")
    runs = chosen.trial.runs
    run = next((run for run in runs if run.seed == int(seed)), None) if seeded else runs[0]
    if run is None:
        raise StoreError(f"{chosen.name} has no seed {seed}; it has {', '.join(str(run.seed) for run in runs)}")
    return Spot(chosen, run, benchmark)


def _books(store: Store) -> list[Ledger]:
    return [ledger.load(store, name) for name in ledger.names(store)]


def _labels(book: Ledger, word: str) -> list[LedgerTrial]:
    """The trials that ``word`` may mean: the one so called, else those so called but for case, else those that begin so."""
    for fits in (lambda label: label == word, lambda label: label.lower() == word.lower(),
                 lambda label: label.lower().startswith(word.lower())):
        if found := [trial for trial in book.trials if fits(trial.label)]:
            return found
    return []


def _labelled(book: Ledger, word: str) -> LedgerTrial:
    found = _labels(book, word)
    if len(found) == 1:
        return found[0]
    some = ", ".join(repr(trial.label) for trial in (found or book.trials)[:20])
    raise StoreError(f"{word!r} {'may mean each of' if found else 'is no row of ' + book.name + '; it has'} {some}; {NAMING}")


def _counted_from(store: Store, grade: str) -> Spot:
    inputs = store.record(grade)["identity"]["inputs"]
    benchmark = next(role.removeprefix("questions/") for role in inputs if role.startswith("questions/"))
    for book in _books(store):
        for trial in book.trials:
            for run in trial.runs:
                if grade in run.stages and benchmark in benchmarks_of(book):
                    return Spot(Arm(book, trial), run, benchmark)
    raise StoreError(f"{grade} is of no sweep's table in {store.root}: its verdicts are of a pool, or of a run of its own")
