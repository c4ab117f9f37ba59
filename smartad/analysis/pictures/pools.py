"""Pictures of the pools that a sweep trained on (section 4.7)."""

from dataclasses import replace
from typing import TYPE_CHECKING

from smartad import difficulty
from smartad.analysis.pictures.rows import Finished, NotDrawable
from smartad.figures import difficulty as drawn
from smartad.figures.points import Point, share

if TYPE_CHECKING:
    from smartad.figures import Figure

WAYS = {"G": "all trajectories of a set together", "PQ": "those of each question"}
NAMES = {"E": "easy", "M": "medium", "H": "hard"}


def nll_buckets(found: Finished) -> "Figure":
    """Fig. 3: mean NLL and accuracy of easy, medium and hard trajectories."""
    numbers = _tables(found)
    panels: dict[str, dict[str, list[Point | None]]] = {}
    for row, title in (("Mean NLL", "mean NLL"), ("Acc. (%)", "accuracy")):
        for way, meaning in WAYS.items():
            panels[f"{title}: {meaning}"] = {name: [_point(of, f"{way}-{bucket}", row) for bucket in difficulty.BUCKETS]
                                           for name, of in numbers.items()}
    return drawn.bars(panels, list(NAMES.values()), ["nats per token"] * 2 + ["% right"] * 2, (
        "Trajectories of the pool parted in three by their NLL under the untrained student (Eq. 3). In each bar its n: "
        "trajectories, and of accuracy the graded ones. 95 % Wilson intervals of accuracy, in which a question "
        f"counts once. {_few(found)}").strip())


def hard_minus_easy(found: Finished) -> "Figure":
    """Fig. 4: by how much hard trajectories differ from easy ones."""
    numbers = _tables(found)
    panels = {title: {name: [_difference(of, way, row) for way in difficulty.WAYS] for name, of in numbers.items()}
              for row, title in (("Acc. (%)", "accuracy (points)"), ("Tool calls", "tool calls"))}
    counts = ", ".join(f"{name} {of['N_traj']['G-E']} and {of['N_traj']['G-H']}" for name, of in numbers.items())
    return drawn.heat(panels, list(WAYS.values()), (
        "Hard minus easy trajectories, parted in three by their NLL under the untrained student. "
        f"n, easy and hard of all together: {counts}. {_few(found)}").strip())


def _tables(found: Finished) -> dict[str, dict[str, dict[str, float | None]]]:
    if not found.pools:
        raise NotDrawable(f"{found.book.name} has no finished select stage, and a pool, its verdicts and its scores meet there: "
                          "it trains nothing, or has not got so far")
    return {name: difficulty.table(rows) for name, rows in found.pools.items()}


def _few(found: Finished) -> str:
    return f"The first {len(found.pools)} of {found.sets} sets." if len(found.pools) < found.sets else ""


def _point(of: dict[str, dict[str, float | None]], column: str, row: str) -> Point | None:
    value = of[row][column]
    if value is None:
        return None
    if row == "Acc. (%)":
        # Trajectories of one question are alike: as elsewhere, a question is one draw.
        graded, questions = (int(of[name][column] or 0) for name in ("n graded", "N_q"))
        draws = min(graded, questions)
        return replace(found, n=graded) if (found := share(value * draws / 100, draws)) else None
    return Point(value, value, value, int(of["N_traj"][column] or 0))


def _difference(of: dict[str, dict[str, float | None]], way: str, row: str) -> float | None:
    hard, easy = of[row][f"{way}-H"], of[row][f"{way}-E"]
    return None if hard is None or easy is None else hard - easy
