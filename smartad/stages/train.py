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
from smartad.types import Selected, Trajectory, UserError

if TYPE_CHECKING:
    from smartad.engines.loading import Tokenizer
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

    Metrics: examples, tokens, tokens/<segment>, cases/<edge case of the dialect> (trajectories), steps, first_loss,
    last_loss.
    """
    from smartad.engines import encoding, loading, lora, training

    trajectories = _selected(inputs)
    tokenizer = loading.load_tokenizer(config.student, runtime.models)
    examples = _encode(config, tokenizer, trajectories, inputs)
    encoding.refuse_untrainable(examples, config.max_length, config.weights)
    model = loading.load_model(config.student, runtime)
    checkpoints = out / "checkpoints"
    adapted, losses = training.fine_tune(model, examples, config, config.seed, checkpoints, runtime)
    lora.save_adapter(adapted, config.student, out / "adapter")
    shutil.rmtree(checkpoints)
    segments = encoding.count_segments(examples)
    return {"examples": len(examples), "tokens": sum(segments.values()),
            **{f"tokens/{segment}": count for segment, count in segments.items()},
            **_count_cases(config, trajectories),
            "steps": len(losses), "first_loss": losses[0], "last_loss": losses[-1]}


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


def _count_cases(config: TrainConfig, trajectories: list[Trajectory]) -> dict[str, float]:
    counts = Counter(case for t in trajectories for case in edge_cases(t.steps, DIALECTS[config.dialect]))
    return {f"cases/{case}": counts[case] for case in CASES}


TRAIN = Stage("train", version=1, run=run)
