"""What people mean when they name a row of a table, or one of its cells."""

from dataclasses import dataclass

from smartad.store import Store, StoreError
from smartad.sweep import ledger
from smartad.sweep.ledger import Ledger, LedgerTrial, Run
from smartad.types import UserError

ROWS = "a row is SWEEP:ROW, as in quickstart:SmartAD, where ROW is its label or the beginning of it"
NAMING = f"{ROWS}; a cell is SWEEP:ROW/BENCHMARK, and with its seed SWEEP:ROW@1/BENCHMARK"


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
        """``quickstart:SmartAD@0/toy_math``, which ``spot`` understands.  Where another row is called ``SmartAD@0``, it is
        ``SmartAD@00``."""
        labels = {trial.label for trial in self.arm.book.trials}
        seed = str(self.run.seed)
        while f"{self.arm.trial.label}@{seed}" in labels:
            seed = f"0{seed}"
        return f"{self.arm.name}@{seed}/{self.benchmark}"


def benchmarks_of(book: Ledger) -> list[str]:
    """In the order of the table's columns."""
    return [name for names in book.groups.values() for name in names]


def arm(store: Store, word: str, near: Ledger | None = None) -> Arm:
    """The row that ``word`` means: ``SWEEP:ROW``; of ``near``, a sweep that was named already, ROW alone; or the fingerprint of
    a row or an adapter, or its beginning.

    Raises StoreError naming what there is when it means none or several.
    """
    sweep, colon, label = word.partition(":")
    book = ledger.load(store, sweep) if colon and ledger.candidates(store, sweep) else None
    own = near is not None and _called(near, word) is not None
    if book is not None and own and _called(book, label):
        assert near is not None
        raise StoreError(f"{word!r} may mean the row of {near.name} that is called so, and that of {book.name}; say "
                         f"{f'{near.name}:{word}'!r} or the fingerprint of the other")
    if book is not None and not own:
        return Arm(book, _labelled(book, label))
    if near is not None and (colon or _labels(near, word)):
        return Arm(near, _labelled(near, word))
    found = [Arm(book, trial) for book in _books(store) for trial in book.trials for run in trial.runs
             if any(f is not None and f.startswith(word) and "-" in word for f in (run.goal, run.train))]
    if found:
        return found[0]
    if near is not None:
        return Arm(near, _labelled(near, word))
    raise StoreError(f"{word!r} names no row in {store.root}: {ROWS}.  Sweeps here: "
                     f"{', '.join(ledger.names(store)) or 'none'}")


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
    if is_grade(word):
        return _counted_from(store, store.find(word))
    row, slash, benchmark = word.rpartition("/")
    if not slash:
        raise StoreError(f"{word!r} names no cell: {NAMING}")
    label, seed = _seeded(store, row)
    chosen = arm(store, label)
    if benchmark not in benchmarks_of(chosen.book):
        raise StoreError(f"{chosen.book.name} has no benchmark {benchmark!r}; it has {', '.join(benchmarks_of(chosen.book))}")
    runs = chosen.trial.runs
    run = runs[0] if seed is None else _of_seed(chosen.trial, seed)
    if run is None:
        raise StoreError(f"{chosen.name} has no seed {seed}; it has {', '.join(str(run.seed) for run in runs)}")
    return Spot(chosen, run, benchmark)


def is_grade(word: str) -> bool:
    """Whether ``word`` is the fingerprint of a grade stage, or its beginning, and not a row of a sweep that is called so."""
    return word.startswith("grade-") and ":" not in word


def _seeded(store: Store, row: str) -> tuple[str, int | None]:
    """The row and the seed that ``SWEEP:ROW`` or ``SWEEP:ROW@SEED`` means.  A label may end in what looks like a seed: what is
    called exactly so comes first."""
    shorter, at, seed = row.rpartition("@")
    if not (at and seed.isascii() and seed.isdecimal()):
        return row, None
    sweep, _, label = row.partition(":")
    if ledger.candidates(store, sweep):
        book = ledger.load(store, sweep)
        whole, part = _called(book, label), _called(book, shorter.partition(":")[2])
        run = _of_seed(part, int(seed)) if part else None
        if whole and part and run:
            one, other = (Spot(Arm(book, trial), of, "").name[:-1] for trial, of in ((whole, whole.runs[0]), (part, run)))
            raise StoreError(f"{row!r} may mean each of {one!r} and {other!r}; say which")
        if whole:
            return row, None
    return shorter, int(seed)


def _of_seed(trial: LedgerTrial, seed: int) -> Run | None:
    return next((run for run in trial.runs if run.seed == seed), None)


def _books(store: Store) -> list[Ledger]:
    return [ledger.load(store, name) for name in ledger.names(store)]


def _called(book: Ledger, label: str) -> LedgerTrial | None:
    return next((trial for trial in book.trials if trial.label == label), None)


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
    raise StoreError(f"{word!r} {'may mean each of' if found else 'is no row of ' + book.name + '; it has'} {some}; {ROWS}")


def _counted_from(store: Store, grade: str) -> Spot:
    inputs = store.record(grade)["identity"]["inputs"]
    benchmark = next(role.removeprefix("questions/") for role in inputs if role.startswith("questions/"))
    for book in _books(store):
        for trial in book.trials:
            for run in trial.runs:
                if grade in run.stages and benchmark in benchmarks_of(book):
                    return Spot(Arm(book, trial), run, benchmark)
    raise StoreError(f"{grade} is of no sweep's table in {store.root}: its verdicts are of a pool, or of a run of its own")
