"""The records that flow between stages.  Frozen, JSON-shaped, and free of any library."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Literal, TypedDict

StepStatus = Literal["ok", "parse_error", "exec_error", "timeout", "oom", "final"]
FAILURES: tuple[StepStatus, ...] = ("parse_error", "exec_error", "timeout", "oom")
"""How a step can fail."""
StopReason = Literal["answered", "fallback", "max_steps", "parse_error", "context_overflow", "engine_error", "budget"]
"""``fallback``: the steps ran out, and the model was asked once more for the answer alone.  ``budget``: the episode's tokens were
spent.  ``engine_error``: nobody knows what the model would have said."""

Kind = Literal["exact", "math", "qa", "code"]
"""What decides whether an answer is right: being the same text, the same mathematical object, the same thing named, or a program
that passes tests."""

LICENCE = "apache-2.0"
"""Of this project, and so of the toy world that it generates; as the model hub spells it."""


class UserError(ValueError):
    """Something its reader can mend: the command line prints the message and no traceback."""


class Unreachable(UserError):
    """A server that nobody gets at from this machine, whatever is asked of it."""


class ToolDown(RuntimeError):
    """What a tool needs does not answer.  That is no result, and no agent must be told of it as if it were one."""


class Message(TypedDict):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Question:
    """One problem with its accepted answers."""

    id: str
    """``<benchmark>/<row key>``; stable across machines and downloads."""
    text: str
    answers: tuple[str, ...]
    """Any one of these counts as right.  Empty: the gold is missing, so nothing can be graded."""
    level: str | None = None
    """How hard its makers say it is, as they write it; None where they do not."""
    subject: str | None = None
    """What it is about or how it was made ("Precalculus", "bridge"), as its makers write it; None where they do not."""
    tests: str | None = None
    """Of a program to be written: Python that defines ``check(candidate)``, which raises when the candidate is wrong.  For
    graders only: no agent is shown it."""
    entry_point: str | None = None
    """Of a program to be written: the name of the function that ``tests`` call."""


@dataclass(frozen=True)
class Passage:
    """One retrievable document."""

    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Step:
    """One assistant turn and what followed it (Eq. 1: r_t and a_t are in ``text``, o_t is ``observation``)."""

    text: str
    """The assistant's turn as the model wrote it, closing marker included.  Scored and trained on as it is."""
    action: str
    """The Python that ran, without its markers; empty when none could be parsed."""
    observation: str
    """The user message that answered it, verbatim; after the last step it was never shown to the model."""
    status: StepStatus


@dataclass(frozen=True)
class Ballot:
    """How the candidates of one turn voted."""

    candidates: int
    """That were written."""
    distinct: int
    """Different codes that ran; of chains of thought, different answers."""
    failed: int
    """Candidates without a vote: their code failed or was none, or their text states no answer."""
    agreed: int
    """Votes for the outcome that was kept."""


@dataclass(frozen=True)
class Trajectory:
    """One agent run on one question: a teacher's sample, or a student's attempt."""

    question_id: str
    sample: int
    """0..K-1.  The sampling seed is derived from (question_id, sample), so the K=5 pool is the first five of K=10."""
    steps: tuple[Step, ...]
    answer: str | None
    """What ``final_answer`` was given; None when it was never called."""
    stop: StopReason
    tokens: int | None
    """Tokens the model generated; None when the engine does not count them."""
    seconds: float | None
    """None when nobody measured them: the trajectory was made elsewhere."""
    reason: str = ""
    """What the engine said when it failed (``engine_error``)."""
    passages: str = ""
    """What was looked up for the question before anything was asked; part of the message that opens the chat."""
    first_thought: str | None = None
    """What the first turn was made to begin with, "Thought: " included; "" when nothing was found to begin with, None when
    nobody looked."""
    ballots: tuple[Ballot, ...] = ()
    """One per step, where several candidates voted."""

    @property
    def tool_calls(self) -> int:
        """How often its code was run, the call of ``final_answer`` included (section 4.7, Appendix B)."""
        return sum(bool(step.action) and step.status != "parse_error" for step in self.steps)


@dataclass(frozen=True)
class Origin:
    """Where an imported trajectory is from, and what was said of it there."""

    question_id: str
    sample: int
    teacher: str
    file: str
    line: int
    claimed: bool | None
    """Whether its maker found the answer right; None when the file does not say."""
    marks: tuple[str, ...]
    """What is odd about it, in the words of its format (``importers``)."""


@dataclass(frozen=True)
class Quarantined:
    """A row of an imported file that is no trajectory, or none that is wanted."""

    file: str
    line: int
    kind: str
    """One word to count it by."""
    reason: str


@dataclass(frozen=True)
class Verdict:
    """Whether one answer is right, who says so, and why."""

    question_id: str
    sample: int
    correct: bool | None
    """None: could not be graded.  Counted apart, never as 0 or as 1."""
    by: str
    """Grader and version, ``exact/1``."""
    reason: str
    score: float | None = None
    """From 0 to 1, of graders that know more than right and wrong (F1); None of others."""


@dataclass(frozen=True)
class ScoredTrajectory:
    """A trajectory's difficulty for the untrained student."""

    question_id: str
    sample: int
    turn_nll: tuple[float, ...]
    """Mean negative log-likelihood of each assistant turn, nats per token."""
    turn_tokens: tuple[int, ...]
    """How many tokens each of these means is over."""
    turn_rank: tuple[float, ...]
    """Mean rank of each turn's tokens among the student's predictions, 1 the likeliest, clipped at 100."""
    chat_sha256: str
    """Of the rendered chat that was scored; where it was scored turn by turn, of each turn's history and text in order."""

    @property
    def nll(self) -> float:
        """Eq. 3: the mean over turns of the mean over tokens, so a long turn weighs no more than a short one."""
        return sum(self.turn_nll) / len(self.turn_nll)


@dataclass(frozen=True)
class Selected:
    """The trajectory chosen for one question (Eq. 4)."""

    question_id: str
    sample: int
    nll: float
    candidates: int
    """How many trajectories the choice was made from."""


class Segment(IntEnum):
    """What a token is for (section 3.3).  CONTEXT (prompt, observation, template) is never trained on."""

    CONTEXT = 0
    REASON = 1
    ACTION = 2
    FINAL = 3


@dataclass(frozen=True)
class SegmentWeights:
    """Per-segment loss weights of Eq. 5.  (1, 1, 1) is the uniform loss; the default is the paper's."""

    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "smartad": {"reason": 1.0, "action": 1.5, "final": 2.0},
        "uniform": {"reason": 1.0, "action": 1.0, "final": 1.0},
        "thought_heavy": {"reason": 2.0, "action": 1.0, "final": 1.0},
        "action_heavy": {"reason": 1.0, "action": 2.0, "final": 1.0},
    }
    """Table 5's; a config may say the name for the triple."""

    reason: float = 1.0
    action: float = 1.5
    final: float = 2.0

    def __post_init__(self) -> None:
        for name in ("reason", "action", "final"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"weights.{name} must be a finite number of at least 0, got {getattr(self, name)}")
        if self.reason == self.action == self.final == 0:
            raise UserError("weights are all 0: nothing would be trained on")


@dataclass(frozen=True)
class TrainingExample:
    """One tokenised trajectory; both tuples have one entry per token."""

    question_id: str
    sample: int
    input_ids: tuple[int, ...]
    segments: tuple[Segment, ...]
    """CONTEXT carries label -100."""
    turns: tuple[int, ...]
    """Index of the assistant turn a token belongs to; -1 outside of them."""
    characters: tuple[int, ...] = ()
    """The character of its turn's text that a token begins with; -1 outside of turns."""


@dataclass(frozen=True)
class Cell:
    """One number of a comparison table, with what stands behind it."""

    benchmark: str
    correct: int
    n: int
    """Graded attempts.  With one attempt a question, as nearly always, they are independent and ``correct / n`` is pass@1; with
    several, those of one question are alike, and what chance may have done is a matter of ``questions``."""
    ungraded: int
    source: str
    """Fingerprint of the grade stage it was counted from."""
    grader: str = ""
    """Who decided, with its version."""
    questions: int | None = None
    """How many questions the ``n`` attempts are of; None: each of its own."""
    mean: float | None = None
    """Percent, where there are ``questions``: the mean over them of the share of their graded attempts that is right."""

    @property
    def percent(self) -> float | None:
        """pass@1; None when nothing was graded."""
        return self.mean if self.questions is not None else 100 * self.correct / self.n if self.n else None

    @property
    def draws(self) -> tuple[float, int]:
        """(right, out of) as an interval must take them: a question is one draw, however often it was asked.  That is as wide as
        it can be: it is exact where the attempts of a question all come to the same."""
        return (self.correct, self.n) if self.questions is None else ((self.mean or 0.0) * self.questions / 100, self.questions)


@dataclass(frozen=True)
class Request:
    """One completion asked of an engine."""

    messages: tuple[Message, ...]
    stop: tuple[str, ...] = ()
    """Generation ends at the first of these; the completion's text does not contain it."""
    max_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0
    top_logprobs: int | None = None
    """How many of the likeliest tokens to tell at each token; None is not to tell."""
    top_p: float = 1.0
    """Only the likeliest tokens that reach this probability together are sampled from."""
    n: int = 1
    """Candidates wanted: as many completions of the same chat, each with random numbers of its own."""
    prefill: str = ""
    """The beginning of the assistant's turn, from which the model goes on; the completion's text is what follows it."""
    schema: Mapping[str, Any] | None = None
    """A JSON schema for the text, which servers that can see to it are told; elsewhere the text may be anything."""


@dataclass(frozen=True)
class Choices:
    """What a model found likeliest where it wrote one token."""

    start: int
    end: int
    """The token's characters in what was generated, a stop string included.  Equal: the token that ended the turn."""
    texts: tuple[str, ...]
    """Of the likeliest tokens, likeliest first; "" ends the turn.  Tokens that are no whole characters are left out."""
    logprobs: tuple[float, ...]
    """Their log-probabilities at temperature 1, nats."""


@dataclass(frozen=True)
class Completion:
    """What an engine answered."""

    text: str
    finish: Literal["stop", "length", "context_overflow", "error"]
    """``stop``: end of turn or a stop string; ``length``: max_tokens ran out; ``context_overflow``: no room to answer."""
    tokens: int | None
    """Generated tokens; None when not counted."""
    stopped_by: str | None = None
    """The stop string that ended it; None when the model ended its turn itself."""
    detail: str = ""
    """For ``error``: what the engine said."""
    choices: tuple[Choices, ...] = ()
    """For each generated token with characters of its own, if the request asked for ``top_logprobs``."""
    token_ids: tuple[int, ...] = ()
    """What was generated, the end of turn included; empty when the engine does not tell."""
    logprobs: tuple[float, ...] = ()
    """Of each of ``token_ids``, at temperature 1, nats; empty when the engine does not tell."""
    transient: bool = False
    """For ``error``: the same request may succeed later."""


Ask = Callable[[Request], tuple[Completion, ...]]
"""How an episode asks its engine: waits for the request's ``n`` candidates, or for one of ``error``."""


@dataclass(frozen=True)
class TeacherChoices:
    """What the teacher found likeliest in a trajectory, kept beside it."""

    question_id: str
    sample: int
    turns: tuple[tuple[Choices, ...], ...]
    """For each step, of the tokens that its ``text`` kept as they were generated; characters are those of that text."""


@dataclass(frozen=True)
class Merged:
    """A full model made of a base model and an adapter, and how it was compared with them."""

    dtype: str
    """Of its weights, which is the base model's; merging was computed in float32."""
    prompts: int
    equal: int
    """Prompts that both answer with the same greedy tokens."""
    difference: float
    """The largest difference of a logit, over every token of those answers."""
    bound: float
    """What ``difference`` must not exceed."""
