"""Pictures of a sweep: what there is, and what of it a sweep can give."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartad.analysis.pictures import attempts, pools, sweeps
from smartad.analysis.pictures.rows import Finished, NotDrawable, finished
from smartad.store import Store
from smartad.sweep.ledger import Ledger
from smartad.types import UserError

if TYPE_CHECKING:
    from smartad.figures import Figure

__all__ = ["PICTURES", "Finished", "NotDrawable", "Picture", "draw", "finished"]


@dataclass(frozen=True)
class Picture:
    """One kind of picture."""

    brief: str
    of: Callable[[Finished], "Figure"]
    """Raises NotDrawable when a sweep does not have what it shows."""


PICTURES: Mapping[str, Picture] = {
    "scores": Picture("pass@1 of every row on every benchmark", attempts.scores),
    "k_curve": Picture("pass@1 and coverage against K, the samples chosen from (SmartAD, Table 6)", sweeps.k_curve),
    "nll_buckets": Picture("NLL and accuracy of easy, medium and hard trajectories (SmartAD, Fig. 3)", pools.nll_buckets),
    "hard_minus_easy": Picture("hard minus easy trajectories, as a heat-map (SmartAD, Fig. 4)", pools.hard_minus_easy),
    "weights": Picture("a search over the segment weights: triangle and parallel coordinates (SmartAD, Table 5)", sweeps.weights),
    "importances": Picture("which swept keys set the best trials apart", sweeps.importances),
    "math_levels": Picture("accuracy by level of the question (Agent Distillation, Fig. 4)", attempts.math_levels),
    "math_subjects": Picture("accuracy by subject of the question (Agent Distillation, Fig. 4)", attempts.math_subjects),
    "tokens": Picture("generated tokens of an answer (Agent Distillation, Fig. 6)", attempts.tokens),
    "code_errors": Picture("steps whose code cannot be read or fails, with and without SAG (Agent Distillation, Fig. 7)",
                           attempts.code_errors),
    "retrieval_calls": Picture("searches of an episode, by model size (Agent Distillation, Fig. 8)", attempts.retrieval_calls),
}


def draw(store: Store, book: Ledger, name: str, rows: Sequence[str] = (), of: Finished | None = None) -> "Figure":
    """The picture ``name`` of a sweep, or of those ``rows`` of it.  ``of``: what ``finished`` said, for who draws several.

    Raises UserError when there is no such picture, and NotDrawable when this sweep cannot give it.
    """
    if name not in PICTURES:
        raise UserError(f"no picture {name!r}; there are {', '.join(PICTURES)}")
    return PICTURES[name].of(of or finished(store, book, rows))
