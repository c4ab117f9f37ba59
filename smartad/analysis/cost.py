"""What a sweep has cost so far, by kind of stage.  What a record does not say is not known, which is not 0."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from smartad.analysis.finished import Finished
from smartad.cluster import STAGES
from smartad.store import Store
from smartad.sweep import bill
from smartad.sweep.bill import Cost
from smartad.sweep.ledger import Ledger

QUANTITIES = tuple(field.name for field in fields(Cost))


@dataclass(frozen=True)
class Amount:
    """A sum over stages."""

    known: float | None
    """Over those that say it; None when none does."""
    unknown: int
    """How many do not say it."""


@dataclass(frozen=True)
class Spent:
    """What stages of one kind took."""

    stage: str
    stages: int
    """Of the sweep; one that several rows share is one."""
    finished: int
    earlier: int | None
    """Of the finished ones: were there before the sweep was started, and are in no amount.  None: nobody wrote down when that
    was, and they are in the amounts."""
    amounts: dict[str, Amount]
    """Quantity, as in ``bill.Cost`` -> its sum over what the sweep itself has run."""


def spent(store: Store, book: Ledger, stages: Sequence[Finished]) -> list[Spent]:
    """By kind, in the order of the pipeline.  ``stages``: the sweep's finished ones."""
    expected = bill.saved(store, book.name)
    foreseen = {f for line in expected.lines for f in line.fingerprints} if expected else set()
    every = [f.rpartition("-")[0] for f in book.stages()]
    rows = []
    for kind in sorted(set(every), key=lambda kind: STAGES.index(kind) if kind in STAGES else len(STAGES)):
        done = [stage for stage in stages if stage.stage == kind]
        own = [s for s in done if expected is None or s.fingerprint in foreseen or s.started >= expected.time]
        rows.append(Spent(kind, every.count(kind), len(done), None if expected is None else len(done) - len(own),
                          amounts(stage.cost for stage in own)))
    return rows


def amounts(costs: Iterable[Cost]) -> dict[str, Amount]:
    """The sum of each quantity.  Of nothing at all, it is 0."""
    costs = list(costs)
    return {name: _amount([getattr(cost, name) for cost in costs]) for name in QUANTITIES}


def _amount(values: list[float | None]) -> Amount:
    known = [value for value in values if value is not None]
    return Amount(sum(known) if known or not values else None, len(values) - len(known))


def overall(rows: Sequence[Spent]) -> dict[str, Amount]:
    """The sum over all kinds."""
    def of(name: str) -> Amount:
        found = [row.amounts[name] for row in rows]
        known = [amount.known for amount in found if amount.known is not None]
        return Amount(sum(known) if known or not found else None, sum(amount.unknown for amount in found))

    return {name: of(name) for name in QUANTITIES}
