"""Select: keep the trajectories that are worth learning from, then one of them per question."""

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from smartad.config import same_as
from smartad.records import read_jsonl, write_jsonl
from smartad.selection import RULES, Candidate, choose, tied
from smartad.stage import Metrics, Runtime, Stage
from smartad.types import ScoredTrajectory, Selected, Trajectory, UserError, Verdict

Key = tuple[str, int]
"""(question id, sample)."""


@dataclass(frozen=True)
class Drop:
    """What the filter drops, a switch each; the paper drops it all (section 3.2).  In the order in which a reason is given."""

    max_steps: bool = True
    """It ran out of steps, whether it was then asked for its answer or not."""
    no_answer: bool = True
    """``final_answer`` was not called.  Such a one is wrong, or ungraded, as well."""
    ungraded: bool = True
    wrong: bool = True
    parse_error: bool = True
    """A turn had no code to run.  This and what follows: in any of its steps."""
    exec_error: bool = True
    timeout: bool = True
    oom: bool = True


SWITCHES = tuple(f.name for f in dataclasses.fields(Drop))
REASONS = (*SWITCHES, "unscored")
"""Why a trajectory is dropped; the first that holds.  Without an NLL that is a number none can be chosen."""


@dataclass(frozen=True)
class SelectConfig:
    """The filter and the rule."""

    rule: str = "min"
    """A key of ``selection.RULES``."""
    first: int = 10
    """K: only the first K samples of each question are looked at, so the pools of different K are nested."""
    seed: int | None = same_as("seed")
    """Of the random rule; None with every other."""
    drop: Drop = field(default_factory=Drop)
    empty: Literal["drop", "fail"] = "drop"
    """A question without a candidate is left out, or named by the error that ends the stage."""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UserError(f"no selection rule {self.rule!r}; there are {', '.join(sorted(RULES))}. "
                            "To add one, write a function in smartad/selection.py and list it in RULES")
        if self.first < 1:
            raise UserError(f"select.first must be at least 1, got {self.first}")
        if self.rule == "random" and self.seed is None:
            raise UserError("select.rule=random draws by chance: set select.seed")


def decisive(config: SelectConfig) -> SelectConfig:
    """``config`` with what cannot change the choice set to one value, so that choices that are equal are one stage.

    Of a single sample every rule takes the same one, and only the random rule looks at the seed.  What has no answer is
    wrong or ungraded: where both are dropped, so is that.
    """
    rule = "first" if config.first == 1 else config.rule
    drop = dataclasses.replace(config.drop, no_answer=config.drop.no_answer or (config.drop.wrong and config.drop.ungraded))
    return dataclasses.replace(config, rule=rule, seed=config.seed if rule == "random" else None, drop=drop)


def run(config: SelectConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """Inputs pool, verdicts, scores.  Writes selected.jsonl, one row per question that has a candidate, in their order.

    Metrics: questions, selected, coverage (selected / questions), coverage/k=<k> (what it is for every K up to the pool's
    samples), fewer_than_k (questions with fewer candidates than K), ties (choices that only the order of samples
    decided), pool (trajectories looked at), candidates, dropped/<why>; mean_nll (chosen), candidates_mean_nll and
    pool_mean_nll (all that were scored, right and wrong) in nats per token.  Raises UserError when ``first`` asks for more
    samples than the pool has, when no question has a candidate, or with ``empty=fail`` when one has none.
    """
    every = list(read_jsonl(inputs["pool"] / "trajectories.jsonl", Trajectory))
    verdicts = {(v.question_id, v.sample): v for v in read_jsonl(inputs["verdicts"] / "verdicts.jsonl", Verdict)}
    scores = {(s.question_id, s.sample): s for s in read_jsonl(inputs["scores"] / "scores.jsonl", ScoredTrajectory)}
    why = {_key(t): _why_dropped(config.drop, t, verdicts.get(_key(t)), scores.get(_key(t))) for t in every}
    pool = _first_samples(config.first, every)
    reasons = Counter(why[_key(t)] for t in pool)
    candidates = _by_question([Candidate(t, scores[_key(t)]) for t in pool if why[_key(t)] is None])
    _refuse_empty(config, pool, candidates, reasons)
    selected = [_select(config, of_question) for of_question in candidates.values()]
    write_jsonl(out / "selected.jsonl", selected)
    questions = len({t.question_id for t in pool})
    return {"questions": questions, "selected": len(selected), "coverage": len(selected) / questions,
            **_coverage(every, why), "fewer_than_k": questions - sum(len(c) == config.first for c in candidates.values()),
            "ties": sum(tied(config.rule, c) for c in candidates.values()),
            "pool": len(pool), "candidates": reasons[None], **{f"dropped/{reason}": reasons[reason] for reason in REASONS},
            "mean_nll": _mean([s.nll for s in selected]),
            "candidates_mean_nll": _mean([c.nll for of_question in candidates.values() for c in of_question]),
            "pool_mean_nll": _mean([scores[_key(t)].nll for t in pool if _key(t) in scores])}


def _first_samples(first: int, pool: Sequence[Trajectory]) -> list[Trajectory]:
    samples = _samples(pool)
    if first > samples:
        raise UserError(f"select.first={first} asks for more than the {samples} samples per question in the pool; "
                        f"collect more (collect.samples={first}) or lower select.first")
    return [t for t in pool if t.sample < first]


def _samples(pool: Sequence[Trajectory]) -> int:
    return max((t.sample for t in pool), default=-1) + 1


def _key(trajectory: Trajectory) -> Key:
    return trajectory.question_id, trajectory.sample


def _why_dropped(drop: Drop, trajectory: Trajectory, verdict: Verdict | None, score: ScoredTrajectory | None) -> str | None:
    """One of REASONS, None for a candidate."""
    unanswered = trajectory.answer is None
    correct = verdict.correct if verdict else None
    holds: dict[str, bool] = {
        "max_steps": trajectory.stop in ("max_steps", "fallback"), "no_answer": unanswered and trajectory.stop != "engine_error",
        "ungraded": correct is None, "wrong": correct is False or (unanswered and correct is not None)}
    holds |= {step.status: True for step in trajectory.steps}
    dropped = next((reason for reason in SWITCHES if getattr(drop, reason) and holds.get(reason)), None)
    return dropped or (None if score else "unscored")


def _by_question(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    found: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        found[candidate.trajectory.question_id].append(candidate)
    return found


def _refuse_empty(config: SelectConfig, pool: Sequence[Trajectory], candidates: Mapping[str, Sequence[Candidate]],
                  reasons: Mapping[str | None, int]) -> None:
    if not candidates:
        raise UserError(f"none of the {len(pool)} trajectories can be selected: "
                        + ", ".join(f"{reasons[why]} {why}" for why in REASONS if reasons[why])
                        + ". The switches of select.drop loosen the filter, as in select.drop.exec_error=false")
    empty = [question for question in dict.fromkeys(t.question_id for t in pool) if question not in candidates]
    if empty and config.empty == "fail":
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        raise UserError(f"{len(empty)} questions have no candidate among their first {config.first} samples: "
                        f"{', '.join(empty[:5])}{more}. select.empty=drop leaves them out")


def _select(config: SelectConfig, candidates: Sequence[Candidate]) -> Selected:
    chosen = choose(config.rule, candidates, config.seed)
    return Selected(chosen.trajectory.question_id, chosen.sample, chosen.nll, len(candidates))


def _coverage(pool: Sequence[Trajectory], why: Mapping[Key, str | None]) -> dict[str, float]:
    """``coverage/k=<k>``: the share of questions that have a candidate among their first k samples."""
    earliest: dict[str, int] = {}
    for question, sample in (key for key, reason in why.items() if reason is None):
        earliest[question] = min(sample, earliest.get(question, sample))
    questions = len({t.question_id for t in pool})
    return {f"coverage/k={k}": sum(sample < k for sample in earliest.values()) / questions for k in range(1, _samples(pool) + 1)}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


SELECT = Stage("select", version=1, run=run)
