"""Collect: let a teacher agent solve every training question ``samples`` times."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from smartad.agents import ACTING, walls
from smartad.agents.limits import CodeLimits
from smartad.config import same_as
from smartad.models import TOY
from smartad.stage import Metrics, Runtime, Stage
from smartad.stages import questions_of
from smartad.stages.episodes import check, run_episodes, summary
from smartad.types import UserError

if TYPE_CHECKING:
    from smartad.engines.completer import Completer


@dataclass(frozen=True)
class CollectConfig:
    """Who teaches, how often, and within which bounds."""

    teacher: str = TOY
    """toy is the scripted teacher of the toy world; anything else is a model (a folder, or a hub id)."""
    samples: int = 15
    """Trajectories per question; ``select.first`` takes a smaller pool from them for nothing."""
    agent: str = "codeact"
    """One of ``agents.AGENTS``: codeact acts, cot writes one chain of thought."""
    first_thought: bool = False
    """Begin the first turn with the first thought of a chain of thought (Agent Distillation's first-thought prefix)."""
    fallback: bool = False
    """Ask a teacher that ran out of steps once more, for the answer alone, and end with ``stop/fallback``."""
    passages: bool = False
    """With ``agent: cot``: search for the question, and show what is found before it is asked."""
    temperature: float = 1.0
    top_p: float | None = None
    """Sample from the likeliest tokens only, which reach this probability together; null is all."""
    max_steps: int = 5
    max_tokens: int = 512
    """Of one turn."""
    episode_tokens: int | None = None
    """An episode ends as ``budget`` instead of another turn when it has generated so many tokens; null is no limit."""
    prompt: str = "teacher"
    """System prompt (a key of ``dialect.PROMPTS``)."""
    dialect: str = same_as("dialect")
    top_k: int = 3
    """Passages a search returns."""
    batch_size: int = 64
    """Episodes in lock-step.  They are computed together, so it can show in the last digits of a sampled token."""
    code: CodeLimits = field(default_factory=CodeLimits)
    """What the teacher's code may use."""
    top_logprobs: int | None = None
    """Keep the teacher's log-probabilities of so many of the likeliest tokens at each token, for ``train.loss=sad_kl``; null
    keeps none.  Five take about 30 kB a trajectory."""

    @property
    def candidates(self) -> int:
        """A teacher's turns are taken as they come."""
        return 1

    def __post_init__(self) -> None:
        check(self, "collect")
        if self.samples < 1:
            raise UserError(f"collect.samples must be at least 1, got {self.samples}")
        if self.top_logprobs is not None and self.top_logprobs < 1:
            raise UserError(f"collect.top_logprobs must be at least 1, got {self.top_logprobs}; null keeps none")
        if self.top_logprobs is not None and self.teacher.partition("@")[0] == TOY:
            raise UserError(f"collect.top_logprobs={self.top_logprobs}: the scripted teacher has no log-probabilities; leave "
                            "it out, or give collect.teacher a model")


def run(config: CollectConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """Inputs questions/*, and index if there is one.  Writes trajectories.jsonl, ordered by question, then sample,
    and with ``top_logprobs`` top_logprobs.jsonl, row by row as the former.

    Metrics: those of ``episodes.summary``.
    """
    if config.agent in ACTING:
        walls.choose(runtime.sandbox)  # before an engine is started, which can take minutes
    questions = list(questions_of(inputs).values())
    with _teacher(config.teacher, runtime, out) as teacher:
        return summary(run_episodes(config, questions, config.samples, teacher, inputs.get("index"), out, runtime,
                                    config.top_logprobs))


def _teacher(name: str, runtime: Runtime, out: Path) -> "AbstractContextManager[Completer]":
    if name.partition("@")[0] == TOY:
        from smartad.toyworld.teacher import ScriptedTeacher
        runtime.note(engine="scripted")
        return nullcontext(ScriptedTeacher())
    from smartad.engines.opening import opened
    return opened(name, runtime, out)


COLLECT = Stage("collect", version=2, run=run)
