"""Evaluate: let the student, with or without its adapter, solve every question of a benchmark, once or several times."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smartad.agents import ACTING, walls
from smartad.agents.limits import CodeLimits
from smartad.config import same_as
from smartad.stage import Metrics, Runtime, Stage
from smartad.stages import questions_of
from smartad.stages.episodes import check, run_episodes, summary
from smartad.types import UserError


@dataclass(frozen=True)
class EvaluateConfig:
    """Whose pass@1, and within which bounds."""

    student: str = same_as("student")
    dialect: str = same_as("dialect")
    prompt: str = "student"
    """System prompt (a key of ``dialect.PROMPTS``); the one the student was trained on."""
    temperature: float = 0.0
    """0 is greedy."""
    samples: int = 1
    """Attempts at each question, each with random numbers of its own; of several, the grades tell pass@k (``stages.grade``)."""
    top_p: float | None = None
    """Sample from the likeliest tokens only, which reach this probability together; null is all."""
    agent: str = "codeact"
    """One of ``agents.AGENTS``: codeact acts, cot writes one chain of thought."""
    candidates: int = 1
    """Of each turn.  Of more than one the outcome that most agree on is taken: self-consistent action generation (N=8 at
    temperature 0.4 in Agent Distillation), and with ``agent: cot`` self-consistency of the answers."""
    fallback: bool = False
    """Ask a student that ran out of steps once more, for the answer alone, and end with ``stop/fallback``; without it pass@1 is
    strict."""
    passages: bool = False
    """With ``agent: cot``: search for the question, and show what is found before it is asked."""
    max_steps: int = 5
    max_tokens: int = 512
    """Of one turn."""
    episode_tokens: int | None = None
    """An episode ends as ``budget`` instead of another turn when it has generated so many tokens; null is no limit."""
    top_k: int = 3
    """Passages a search returns."""
    batch_size: int = 64
    """Episodes in lock-step.  They are computed together, so it can show in the last digits of a logit."""
    code: CodeLimits = field(default_factory=CodeLimits)
    """What the student's code may use."""

    @property
    def first_thought(self) -> bool:
        """Only a teacher's turns are begun for it."""
        return False

    def __post_init__(self) -> None:
        check(self, "evaluate")
        if self.samples < 1:
            raise UserError(f"evaluate.samples must be at least 1, got {self.samples}")
        if self.samples > 1 and self.temperature == 0:
            raise UserError(f"evaluate.samples={self.samples}: at temperature 0 they are all the same; set evaluate.temperature "
                            "(0.2 for pass@1, 0.8 for pass@k in Chen et al. 2021)")


def run(config: EvaluateConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """Inputs questions/*, index and adapter if there are any.  Writes trajectories.jsonl in the order of questions, then samples.

    Whatever goes wrong in an episode is how it ended: a turn without code in its last step is ``stop/parse_error``, a
    prompt that outgrew the model ``stop/context_overflow``, neither answer nor step left ``stop/max_steps``.
    Metrics: those of ``episodes.summary``.
    """
    from smartad.engines.opening import opened

    if config.agent in ACTING:
        walls.choose(runtime.sandbox)  # before an engine is started, which can take minutes
    adapter = inputs["adapter"] / "adapter" if "adapter" in inputs else None
    questions = list(questions_of(inputs).values())
    with opened(config.student, runtime, out, adapter) as student:
        return summary(run_episodes(config, questions, config.samples, student, inputs.get("index"), out, runtime))


EVALUATE = Stage("evaluate", version=2, run=run)
