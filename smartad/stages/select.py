"""Select: keep the trajectories that are worth learning from, then one of them per question."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smartad.config import same_as
from smartad.records import read_jsonl, write_jsonl
from smartad.selection import RULES, choose
from smartad.stage import Metrics, Runtime, Stage
from smartad.types import ScoredTrajectory, Selected, Trajectory, UserError, Verdict

Key = tuple[str, int]
"""(question id, sample)."""
FAILURES = ("exec_error", "parse_error", "timeout", "oom")
REASONS = ("ungraded", "no_answer", "wrong", *FAILURES, "unscored")
"""Why a trajectory is dropped; the first that holds."""


@dataclass(frozen=True)
class SelectConfig:
    """The filter and the rule."""

    rule: str = "min"
    """A key of ``selection.RULES``."""
    first: int = 10
    """K: only the first K samples of each question are looked at, so the pools of different K are nested."""
    seed: int | None = same_as("seed")
    """Of the random rule; None with every other."""
    keep_wrong: bool = False
    """Keep trajectories whatever their answer is (wrong, missing, or not to be graded)."""
    keep_tool_failures: bool = False
    """Keep trajectories with a step that failed: code that could not be parsed, raised, or hit a limit."""

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

    Of a single sample every rule takes the same one, and only the random rule looks at the seed.
    """
    rule = "first" if config.first == 1 else config.rule
    return dataclasses.replace(config, rule=rule, seed=config.seed if rule == "random" else None)


def run(config: SelectConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """Inputs pool, verdicts, scores.  Writes selected.jsonl, one row per question that has a candidate, in their order.

    Metrics: questions, selected, coverage (selected / questions), pool (trajectories looked at), candidates,
    dropped/<why>, mean_nll (chosen) and candidates_mean_nll in nats per token.  Raises UserError when ``first``
    asks for more samples than the pool has, or no question has a candidate.
    """
    pool = _first_samples(config.first, list(read_jsonl(inputs["pool"] / "trajectories.jsonl", Trajectory)))
    verdicts = {(v.question_id, v.sample): v for v in read_jsonl(inputs["verdicts"] / "verdicts.jsonl", Verdict)}
    scores = {(s.question_id, s.sample): s for s in read_jsonl(inputs["scores"] / "scores.jsonl", ScoredTrajectory)}
    dropped = {_key(t): _why_dropped(config, t, verdicts.get(_key(t)), _key(t) in scores) for t in pool}
    candidates: dict[str, list[ScoredTrajectory]] = defaultdict(list)
    for key in (key for key, why in dropped.items() if why is None):
        candidates[key[0]].append(scores[key])
    selected = [_select(config, of_question) for of_question in candidates.values()]
    reasons = Counter(why for why in dropped.values() if why)
    if not selected:
        raise UserError(f"none of the {len(pool)} trajectories can be selected: "
                        + ", ".join(f"{reasons[why]} {why}" for why in REASONS if reasons[why])
                        + ". select.keep_wrong and select.keep_tool_failures loosen the filter")
    write_jsonl(out / "selected.jsonl", selected)
    questions = len({t.question_id for t in pool})
    every = [s.nll for of_question in candidates.values() for s in of_question]
    return {"questions": questions, "selected": len(selected), "coverage": len(selected) / questions, "pool": len(pool),
            "candidates": len(every), **{f"dropped/{why}": reasons[why] for why in REASONS},
            "mean_nll": sum(s.nll for s in selected) / len(selected), "candidates_mean_nll": sum(every) / len(every)}


def _first_samples(first: int, pool: Sequence[Trajectory]) -> list[Trajectory]:
    samples = max((t.sample for t in pool), default=-1) + 1
    if first > samples:
        raise UserError(f"select.first={first} asks for more than the {samples} samples per question in the pool; "
                        f"collect more (collect.samples={first}) or lower select.first")
    return [t for t in pool if t.sample < first]


def _key(trajectory: Trajectory) -> Key:
    return trajectory.question_id, trajectory.sample


def _why_dropped(config: SelectConfig, trajectory: Trajectory, verdict: Verdict | None, scored: bool) -> str | None:
    """One of REASONS, None for a candidate."""
    if not config.keep_wrong and (verdict is None or verdict.correct is not True):
        if trajectory.answer is None and trajectory.stop != "engine_error":
            return "no_answer"
        return "ungraded" if verdict is None or verdict.correct is None else "wrong"
    if not config.keep_tool_failures:
        failed = {step.status for step in trajectory.steps}
        if why := next((status for status in FAILURES if status in failed), None):
            return why
    return None if scored else "unscored"


def _select(config: SelectConfig, candidates: Sequence[ScoredTrajectory]) -> Selected:
    chosen = choose(config.rule, candidates, config.seed)
    return Selected(chosen.question_id, chosen.sample, chosen.nll, len(candidates))


SELECT = Stage("select", version=1, run=run)
