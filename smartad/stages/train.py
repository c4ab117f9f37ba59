"""Train: LoRA on the selected trajectories, with the segment-weighted loss."""

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from smartad.config import same_as
from smartad.dialect import CASES, DIALECTS, PROMPTS, edge_cases
from smartad.engines.recipe import Recipe
from smartad.records import read_jsonl
from smartad.stage import Metrics, Runtime, Stage
from smartad.stages import questions_of
from smartad.stages.episodes import TOP_LOGPROBS
from smartad.types import Segment, Selected, TeacherChoices, Trajectory, UserError

if TYPE_CHECKING:
    from smartad.engines.loading import Tokenizer
    from smartad.engines.teacher import Distribution
    from smartad.types import TrainingExample


@dataclass(frozen=True)
class TrainConfig(Recipe):
    """Who learns, from what text; how is in Recipe."""

    student: str = same_as("student")
    dialect: str = same_as("dialect")
    prompt: str = "student"
    """System prompt in front of the trajectory (a key of ``dialect.PROMPTS``); the student acts on the same."""
    end_of_turn: Literal["reason", "inherit"] = "reason"
    """What the token that ends a turn counts as: reason, as the paper reads literally, or what the turn ended in."""
    markers: bool = True
    """Whether ``Code:`` and ``<end_code>`` belong to the block they enclose, as in the paper, or are reason."""
    max_length: int = 10240
    """Tokens.  A longer trajectory is refused by name, never cut."""
    seed: int = same_as("seed")
    """Of LoRA's initial weights, dropout, and the order of the trajectories."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length < 1:
            raise UserError(f"train.max_length must be at least 1, got {self.max_length}")


def run(config: TrainConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """Inputs questions/*, pool, selected.  Writes adapter/ (PEFT, safetensors).

    Metrics: examples, tokens, tokens/<segment>, cases/<edge case of the dialect> (trajectories), steps, first_loss and
    last_loss, and their first_loss/<segment> and last_loss/<segment> in nats per token; with sad_kl labels/teacher and
    labels/hard, how many supervised tokens had the teacher's probabilities and how many only their own; and how it ran, see
    ``engines.training.Trained``.
    """
    from smartad.engines import encoding, loading, training

    trajectories = _selected(inputs)
    tokenizer = loading.load_tokenizer(config.student, runtime.models)
    examples = _encode(config, tokenizer, trajectories, inputs)
    encoding.refuse_untrainable(examples, config.max_length, config.weights,
                                loading.positions(config.student, runtime.models))
    teacher = _teacher(tokenizer, trajectories, examples, inputs["pool"]) if config.loss == "sad_kl" else None
    steps, ran = training.train_adapter(config.student, examples, config, config.seed, out, runtime, teacher)
    shutil.rmtree(out / "checkpoints")
    segments = encoding.count_segments(examples)
    return {"examples": len(examples), "tokens": sum(segments.values()),
            **{f"tokens/{segment}": count for segment, count in segments.items()},
            **_count_cases(config, trajectories),
            "cases/control_token": encoding.control_tokens(tokenizer, examples), **_count_labels(examples, teacher),
            "steps": len(steps),
            **{f"{when}_{name}": value for when, step in (("first", steps[0]), ("last", steps[-1]))
               for name, value in step.items() if name.partition("/")[0] == "loss"}, **ran}


def _selected(inputs: Mapping[str, Path]) -> list[Trajectory]:
    chosen = {(s.question_id, s.sample): s for s in read_jsonl(inputs["selected"] / "selected.jsonl", Selected)}
    pool = {(t.question_id, t.sample): t for t in read_jsonl(inputs["pool"] / "trajectories.jsonl", Trajectory)}
    if missing := [key for key in chosen if key not in pool]:
        raise UserError(f"{inputs['selected']} selects {missing[0][0]} sample {missing[0][1]}, "
                        f"which is not in {inputs['pool']}")
    return [pool[key] for key in chosen]


def _encode(config: TrainConfig, tokenizer: "Tokenizer", trajectories: list[Trajectory],
            inputs: Mapping[str, Path]) -> "list[TrainingExample]":
    from smartad.engines import encoding

    questions = questions_of(inputs)
    return [encoding.encode(tokenizer, questions[t.question_id], t, system=PROMPTS[config.prompt],
                            dialect=DIALECTS[config.dialect], end_of_turn=config.end_of_turn, markers=config.markers)
            for t in trajectories]


def _teacher(tokenizer: "Tokenizer", trajectories: list[Trajectory], examples: "list[TrainingExample]",
             pool: Path) -> "list[dict[int, Distribution]]":
    """Of each example, the teacher's probabilities by position."""
    from smartad.engines.teacher import TeacherTokens

    path = pool / TOP_LOGPROBS
    if not path.exists():
        raise UserError(f"train.loss=sad_kl needs the teacher's probabilities, and {pool} holds no {TOP_LOGPROBS}; collect it "
                        "with collect.top_logprobs")
    wanted = {(t.question_id, t.sample) for t in trajectories}
    kept = {key: row for row in read_jsonl(path, TeacherChoices) if (key := (row.question_id, row.sample)) in wanted}
    if missing := sorted(wanted - kept.keys()):
        raise UserError(f"{path} lacks {missing[0][0]} sample {missing[0][1]}, which is in the pool; collect it again")
    tokens = TeacherTokens(tokenizer)
    return [tokens.of(example, [step.text for step in t.steps], kept[t.question_id, t.sample])
            for example, t in zip(examples, trajectories, strict=True)]


def _count_labels(examples: "list[TrainingExample]", teacher: "list[dict[int, Distribution]] | None") -> dict[str, float]:
    if teacher is None:
        return {}
    soft = sum(len(positions) for positions in teacher)
    return {"labels/teacher": soft, "labels/hard": sum(s != Segment.CONTEXT for e in examples for s in e.segments) - soft}


def _count_cases(config: TrainConfig, trajectories: list[Trajectory]) -> dict[str, float]:
    counts = Counter(case for t in trajectories for case in edge_cases(t.steps, DIALECTS[config.dialect]))
    return {f"cases/{case}": counts[case] for case in CASES}


TRAIN = Stage("train", version=2, run=run)
