"""Pictures of what a sweep varies: K, the weights of Eq. 5, and how much each key mattered."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import log
from typing import TYPE_CHECKING, Any

from smartad.analysis.pictures.rows import Finished, NotDrawable, Row
from smartad.figures import curves, searches, style
from smartad.figures.points import Point
from smartad.figures.scores import WHAT, overall, points
from smartad.figures.searches import CORNERS, Scale, Weights
from smartad.sweep.ledger import LedgerTrial
from smartad.sweep.space import ARM, label
from smartad.tables import AVERAGE

if TYPE_CHECKING:
    from smartad.figures import Figure

K = "select.first"
APART = 0.08
"""Of an axis of the parallel coordinates: what two ticks must be apart, or one hides the other."""


def k_curve(found: Finished) -> "Figure":
    """Table 6: pass@1 against K, and how many questions have a right sample among K."""
    by_line: dict[str, list[tuple[int, tuple[bool, float], Row]]] = defaultdict(list)
    for row in found.rows:
        select = _stage_of(found, row.trial, "select")
        if select:
            by_line[_but_k(found, row.trial)].append(
                (select["identity"]["config"]["first"], overall(row.entries, found.benchmarks), row))
    lines = [rows for rows in by_line.values() if len({first for first, _, _ in rows}) > 1]
    if not lines:
        raise NotDrawable(f"{found.book.name} has no two finished rows that differ in {K} alone, which is K: a sweep over it is "
                          "sweeps/table6_k.yaml")
    kept = sorted(lines, key=lambda rows: max(score for _, score, _ in rows), reverse=True)[:style.SERIES]
    kept = [rows for rows in lines if any(rows is one for one in kept)]
    titles = [AVERAGE, "coverage", *found.benchmarks]
    panels: dict[str, dict[str, list[tuple[float, Point | None]]]] = {title: {} for title in titles}
    for rows in kept:
        name = _line(found, [row for _, _, row in rows])
        at: list[tuple[int, dict[str, Point | None]]] = [(first, {}) for first in _unfinished(found, rows[0][2])]
        at += [(first, {**points(row.entries, found.benchmarks), "coverage": _coverage(found, row)}) for first, _, row in rows]
        for first, of_row in sorted(at, key=lambda one: one[0]):
            for title, of_title in panels.items():
                of_title.setdefault(name, []).append((first, of_row.get(title)))
    few = f"The {len(kept)} best of {len(lines)} lines. " if len(kept) < len(lines) else ""
    drawn = [row for rows in kept for _, _, row in rows]
    shown = {title: of for title, of in panels.items() if any(point for line in of.values() for _, point in line)}
    return curves.curves(shown, "K", "%", (
        f"pass@1 against K, the samples that a trajectory is chosen from, with 95 % Wilson intervals ({WHAT}); {AVERAGE}: macro "
        f"average. coverage: the share of n questions of the pool that have a candidate among their "
        f"first K samples. {few}{found.notes(drawn, drawn)}").strip())


def weights(found: Finished) -> "Figure":
    """Where a search over the weights of Eq. 5 has been, and what came of it."""
    metric = found.book.config["metric"]
    sign = 1 if (found.book.config["objectives"] or {metric: found.book.config["direction"]}).get(metric) != "minimize" else -1
    scored = [(row, triple, score) for row in found.rows if (triple := _weights(found, row))
              and (score := row.trial.score(found.store, metric)) is not None]
    different = {tuple(round(w / sum(triple), 6) for w in triple) for _, triple, _ in scored}
    if len(different) < 3:
        raise NotDrawable(f"{found.book.name} has finished rows with {len(different)} different train.weights, and it takes "
                          "three to see anything: a search over them is sweeps/toy_weights_tpe.yaml")
    rows, triples, scores = zip(*scored, strict=True)
    best = max(range(len(scores)), key=lambda at: sign * scores[at])
    scales = [*_scales(found, rows, triples), _numeric(metric, scores, logarithmic=False)]
    return searches.weights(triples, scores, scales, best, metric, (
        f"Left: the weights of reason, action and final (Eq. 5) of {len(scores)} trials as shares of their sum. Right: what they "
        f"were, and what else was swept; a line is a trial. Colour: {metric}, the mean over seeds, in percent; best "
        f"{scores[best]:.1f} ({rows[best].label}). {found.notes(rows, rows)}").strip())


def importances(found: Finished) -> "Figure":
    """Which of the swept keys set the best trials apart."""
    from smartad.sweep.importances import LEAST
    from smartad.sweep.importances import importances as computed

    keys = {key for row in found.rows for key in row.trial.values}
    if len(keys) < 2:
        raise NotDrawable(f"{found.book.name} sweeps {' and '.join(keys) or 'nothing'} alone: that is nothing to weigh")
    shares = computed(found.store, found.book)
    if not shares:
        finished = sum(row.whole for row in found.rows)
        raise NotDrawable(f"{found.book.name} has {finished} finished trials, and it takes {LEAST}" if finished < LEAST else
                          f"no key of {found.book.name} sets its best trials apart")
    return searches.importances(shares, f"How much of what sets the best trials of {found.book.name} apart lies in each swept "
                                f"key, together 1 (PED-ANOVA); n = {sum(row.whole for row in found.rows)} finished trials. "
                                f"{found.notes(found.rows)}".strip())


def _but_k(found: Finished, trial: LedgerTrial) -> str:
    """What trials of one line have in common."""
    return json.dumps({key: value for key, value in _settings(found, trial).items() if key != K}, sort_keys=True, default=str)


def _unfinished(found: Finished, row: Row) -> list[int]:
    """K of the trials on the line of ``row`` that have no number yet; of those whose K stands in no declaration, only when it was
    selected."""
    there = {row.label for row in found.rows}
    line = _but_k(found, row.trial)
    trials = [trial for trial in found.book.trials if trial.label not in there and _but_k(found, trial) == line]
    selected = [_stage_of(found, trial, "select") for trial in trials]
    firsts = [select["identity"]["config"]["first"] if select else _settings(found, trial).get(K)
              for trial, select in zip(trials, selected, strict=True)]
    return [first for first in firsts if first is not None]


def _settings(found: Finished, trial: LedgerTrial) -> dict[str, Any]:
    """dotted.key -> value of all that a trial's arm and its point of the space set."""
    values = dict(trial.values)
    arm = found.book.config["arms"].get(values.pop(ARM, None)) or {}
    return {**arm, **values}


def _line(found: Finished, rows: Sequence[Row]) -> str:
    """What the rows of one line have in common."""
    values = {key: value for key, value in rows[0].trial.values.items() if key != K}
    if len({row.trial.values.get(ARM) for row in rows}) > 1:
        values = {key: value for key, value in _settings(found, rows[0].trial).items() if key != K}
    return label(values) if values else found.book.name


def _stage_of(found: Finished, trial: LedgerTrial, kind: str) -> dict[str, Any] | None:
    """The record of a trial's stage of a kind, of any seed; None where it has none."""
    return next(iter(_stages_of(found, trial, kind)), None)


def _stages_of(found: Finished, trial: LedgerTrial, kind: str) -> Iterator[dict[str, Any]]:
    """The records of a trial's finished stages of a kind, those that seeds share once."""
    names = dict.fromkeys(f for run in trial.runs for f in run.stages if f.startswith(f"{kind}-"))
    return (found.store.record(f) for f in names if found.store.has(f))


def _coverage(found: Finished, row: Row) -> Point:
    records = list(_stages_of(found, row.trial, "select"))
    value = 100 * sum(record["metrics"]["coverage"] for record in records) / len(records)
    return Point(value, value, value, records[0]["metrics"]["questions"])


def _weights(found: Finished, row: Row) -> Weights | None:
    """As the adapter was trained, presets by their numbers; None where its loss has none, and where nothing was trained."""
    record = _stage_of(found, row.trial, "train")
    if record is None or record["identity"]["config"].get("loss", "segment") != "segment":
        return None
    given = record["identity"]["config"]["weights"]
    return given["reason"], given["action"], given["final"]


def _scales(found: Finished, rows: Sequence[Row], triples: Sequence[Weights]) -> list[Scale]:
    """An axis per weight that varies, then per other swept key; arms only where the weights do not tell them apart."""
    space: Mapping[str, Any] = found.book.config["space"]
    scales = []
    for at, name in enumerate(CORNERS):
        declared = space.get(f"train.weights.{name}")
        if len({triple[at] for triple in triples}) > 1:
            logarithmic = isinstance(declared, dict) and bool(declared.get("log")) and min(t[at] for t in triples) > 0
            scales.append(_numeric(name, [triple[at] for triple in triples], logarithmic))
    for key in dict.fromkeys(key for row in rows for key in row.trial.values):
        values = [row.trial.values.get(key) for row in rows]
        told_apart = key == ARM and len({(value, t) for value, t in zip(values, triples, strict=True)}) == len(set(triples))
        if key.startswith("train.weights") or told_apart or len({json.dumps(value, default=str) for value in values}) < 2:
            continue
        numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
        declared = space.get(key)
        if len(numbers) == len(values):
            scales.append(_numeric(key, numbers, isinstance(declared, dict) and bool(declared.get("log")) and min(numbers) > 0))
        else:
            scales.append(_named(key, [value if isinstance(value, str) else json.dumps(value, default=str) for value in values]))
    return scales


def _numeric(name: str, values: Sequence[float], logarithmic: bool) -> Scale:
    measure = log if logarithmic else float
    low, high = measure(min(values)), measure(max(values))
    heights = [(measure(value) - low) / ((high - low) or 1.0) for value in values]
    at = {height: f"{value:.4g}" for height, value in zip(heights, values, strict=True)}
    few = sorted(at) if len(at) <= 5 else [0.0, min(at, key=lambda height: abs(height - 0.5)), 1.0]
    return Scale(name, _apart([(height, at[height]) for height in few]), tuple(heights))


def _named(name: str, values: Sequence[str]) -> Scale:
    names = list(dict.fromkeys(values))
    at = {value: number / max(1, len(names) - 1) for number, value in enumerate(names)}
    return Scale(name, _apart([(height, value) for value, height in at.items()]), tuple(at[value] for value in values))


def _apart(ticks: Sequence[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    kept: list[tuple[float, str]] = []
    for height, text in ticks:
        if not kept or height - kept[-1][0] >= APART:
            kept.append((height, text))
    return tuple(kept)
