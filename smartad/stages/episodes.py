"""What collect and evaluate have in common: an agent on many (question, sample) pairs, and what came of it."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from smartad import agents
from smartad.agents.limits import CodeLimits
from smartad.dialect import DIALECTS, PROMPTS, stop_strings
from smartad.fingerprint import digest
from smartad.site import EngineSite
from smartad.stage import Metrics, Runtime
from smartad.stages.playing import EngineFailed, Episode, Played, Player
from smartad.stages.rows import ROWS, TOP_LOGPROBS, Rows
from smartad.types import Question, Trajectory, UserError

if TYPE_CHECKING:
    from smartad.engines.completer import Completer

__all__ = ["ROWS", "TOP_LOGPROBS", "EpisodeConfig", "check", "run_episodes", "seed_of", "summary"]
REPORT_EVERY_S = 5.0
"""Where episodes end one by one."""


class EpisodeConfig(Protocol):
    """The part of a stage's config that decides how an episode goes."""

    @property
    def agent(self) -> str: ...
    @property
    def passages(self) -> bool: ...
    @property
    def fallback(self) -> bool: ...
    @property
    def first_thought(self) -> bool: ...
    @property
    def candidates(self) -> int: ...
    @property
    def dialect(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def temperature(self) -> float: ...
    @property
    def max_steps(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def top_k(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def code(self) -> CodeLimits: ...
    @property
    def top_p(self) -> float | None: ...
    @property
    def episode_tokens(self) -> int | None: ...


def check(config: EpisodeConfig, stage: str) -> None:
    """Raise UserError for a number that makes no sense, naming it ``stage.field``."""
    agents.check(config.agent, f"{stage}.agent")
    for name in ("max_steps", "max_tokens", "top_k", "batch_size", "candidates"):
        if getattr(config, name) < 1:
            raise UserError(f"{stage}.{name} must be at least 1, got {getattr(config, name)}")
    if not 0 <= config.temperature < float("inf"):
        raise UserError(f"{stage}.temperature must be a finite number of at least 0, got {config.temperature}")
    if config.candidates > 1 and config.temperature == 0:
        raise UserError(f"{stage}.candidates={config.candidates}: at temperature 0 they are all the same; set "
                        f"{stage}.temperature (0.4 in the paper)")
    for name, agent in (("passages", "cot"), ("first_thought", "codeact"), ("fallback", "codeact")):
        if getattr(config, name) and config.agent != agent:
            raise UserError(f"{stage}.{name} is an option of the agent {agent}, and {stage}.agent={config.agent}; leave it out")
    if config.top_p is not None and not 0 < config.top_p <= 1:
        raise UserError(f"{stage}.top_p must be above 0 and at most 1, got {config.top_p}; null is 1, all tokens")
    if config.episode_tokens is not None and config.episode_tokens < 1:
        raise UserError(f"{stage}.episode_tokens must be at least 1, got {config.episode_tokens}; null is no limit")


def run_episodes(config: EpisodeConfig, questions: Sequence[Question], samples: int, completer: "Completer",
                 index: Path | None, out: Path, runtime: Runtime, top_logprobs: int | None = None) -> list[Trajectory]:
    """Every question ``samples`` times, into ``out``/trajectories.jsonl, in the order of the questions, then samples.

    At an engine that computes batches, ``config.batch_size`` episodes go in lock-step, and their rows are written together: a
    batch that a kill left incomplete is run again as a whole, since its composition decides the last digits of what its model
    computes.  At a server, many are in flight, each row is written when its episode ends, and a run that carries on asks only
    for what is missing.
    ``top_logprobs``: keep so many of the likeliest tokens at each token, in ``out``/top_logprobs.jsonl.

    Raises UserError when ``out`` holds rows of something else, or ``runtime.token_budget`` was spent before all episodes had
    begun; RuntimeError when the engine failed in a whole batch; EngineFailed when it failed again and again, or in more than
    ``runtime.engine_errors`` of all episodes.  Up to that share a failure is a row, which says ``engine_error`` and why.
    """
    from smartad.agents.executor import Interpreters

    episodes = {(question.id, sample): (question, sample) for question, sample in product(questions, range(samples))}
    rows = Rows(out, list(episodes), choices=top_logprobs is not None)
    _drop(rows, config.batch_size if completer.together else 1, runtime.engine_errors)
    width = config.batch_size if completer.together else (runtime.engine or EngineSite()).in_flight
    late: list[Played] = []
    # Threads outside: when the run ends early, they are waited for after what their code runs in has ended.
    with ThreadPoolExecutor(width, thread_name_prefix="episode") as threads, \
            Interpreters(config.code, runtime.sandbox) if config.agent in agents.ACTING else nullcontext() as interpreters:
        runtime.note(prompt=digest(PROMPTS[config.prompt]),
                     **({} if interpreters is None else {"sandbox": interpreters.wall.about}),
                     **({} if completer.together else {"in_flight": width}))
        setup = _setup(config, index, runtime)
        player = Player(agents.get(config.agent), setup, completer, interpreters, threads, seed_of, top_logprobs,
                        config.episode_tokens)
        budget = _Budget(runtime.token_budget, rows, player)
        live = _Live(rows, player, runtime)
        missing = [episodes[key] for key in rows.missing()]
        plays: Generator[list[Played], None, None] = _batches(player, missing, width, budget) if completer.together else \
            ([played] for played in player.each(missing, width, budget.spent))
        with closing(plays):
            for played in plays:
                late += [one for one in played if one.transient]
                _keep(rows, [one for one in played if not one.transient])
                if any(one.row.stop == "engine_error" for one in played):
                    _check_errors(rows, late, runtime.engine_errors)
                live.tell(played)
    budget.check(len(rows.found) + len(late))
    # Not before: a run that is stopped or fails tries them again.
    _keep(rows, late)
    return rows.in_order()


def _drop(rows: Rows, batch_size: int, engine_errors: float) -> None:
    """Rows that an earlier run left, and that are to be made again: of incomplete batches, and where the engine failed too
    often for a result."""
    failed = {key for key, row in rows.found.items() if row.stop == "engine_error"}
    kept = rows.found.keys() - (failed if len(failed) > engine_errors * len(rows.order) else set())
    batches = [rows.order[start:start + batch_size] for start in range(0, len(rows.order), batch_size)]
    kept = {key for batch in batches if kept.issuperset(batch) for key in batch} if batch_size > 1 else kept
    if len(kept) < len(rows.found):
        rows.keep(kept)


def _batches(player: Player, missing: Sequence[Episode], size: int, budget: "_Budget") -> Generator[list[Played], None, None]:
    for start in range(0, len(missing), size):
        if budget.spent():
            return
        yield player.batch(missing[start:start + size])


def _keep(rows: Rows, played: Sequence[Played]) -> None:
    if played:
        rows.add([one.row for one in played], [one.choices for one in played])


def _check_errors(rows: Rows, late: Sequence[Played], allowed: float) -> None:
    """Raises EngineFailed when the engine has failed in more than the share ``allowed`` of all episodes."""
    reasons = Counter(row.reason for row in (*rows.found.values(), *(one.row for one in late)) if row.stop == "engine_error")
    if reasons.total() > allowed * len(rows.order):
        reason, count = reasons.most_common(1)[0]
        raise EngineFailed(f"the engine failed in {reasons.total()} of {len(rows.order)} episodes, more than the share of "
                           f"{allowed:g} that engine_errors in the site profile allows; {count} times: {reason}. What is "
                           "finished is kept; run the same command again to have the others tried again")


def summary(rows: Sequence[Trajectory]) -> Metrics:
    """n, answered (share), tokens, seconds (summed over episodes, which run side by side); and how many episodes stopped, and
    how many steps went, which way (``stop/...`` and ``step/...``).  Of episodes that looked for a first thought, the share that
    found one (``first_thought``); of turns that were voted on, see ``_votes``."""
    stops = Counter(f"stop/{row.stop}" for row in rows)
    steps = Counter(f"step/{step.status}" for row in rows for step in row.steps)
    tokens, seconds = [row.tokens for row in rows], [row.seconds for row in rows]
    return {"n": len(rows), "answered": _share_answered(rows),
            **dict(sorted(stops.items())), **dict(sorted(steps.items())), **_beginnings(rows), **_votes(rows),
            "tokens": None if None in tokens else sum(t for t in tokens if t is not None),
            "seconds": None if None in seconds else round(sum(s for s in seconds if s is not None), 3)}


def _beginnings(rows: Sequence[Trajectory]) -> Metrics:
    looked = [row for row in rows if row.first_thought is not None]
    return {"first_thought": sum(bool(row.first_thought) for row in looked) / len(looked)} if looked else {}


def _votes(rows: Sequence[Trajectory]) -> Metrics:
    """Over all turns: candidates, distinct and failed ones of them (see ``types.Ballot``); agreement, the share of the votes
    that were for what was kept, None when nobody had one."""
    ballots = [ballot for row in rows for ballot in row.ballots]
    if not ballots:
        return {}
    candidates, failed = sum(b.candidates for b in ballots), sum(b.failed for b in ballots)
    return {"votes/candidates": candidates, "votes/distinct": sum(b.distinct for b in ballots), "votes/failed": failed,
            "votes/agreement": sum(b.agreed for b in ballots) / (candidates - failed) if failed < candidates else None}


def seed_of(question_id: str, sample: int) -> int:
    """The sampling seed of an episode, 63 bits: of nothing else, so pools of different size share their samples."""
    return int.from_bytes(hashlib.sha256(f"{question_id}#{sample}".encode()).digest()[:8]) >> 1


def _setup(config: EpisodeConfig, index: Path | None, runtime: Runtime) -> agents.Setup:
    from smartad.engines import retrieval

    search: Callable[[str], str] = agents.no_search
    if index is not None:
        search = retrieval.tool(retrieval.connect(index, runtime), config.top_k)
        runtime.note(retriever=runtime.retriever or "in-process")
    form = DIALECTS[config.dialect]
    return agents.Setup(PROMPTS[config.prompt], form, config.max_steps, search, stop_strings(form), config.max_tokens,
                        config.temperature, 1.0 if config.top_p is None else config.top_p, config.candidates,
                        config.first_thought, config.fallback, config.passages)


def _longest(rows: Sequence[Trajectory]) -> float:
    return max(row.seconds for row in rows if row.seconds is not None)


def _share_answered(rows: Sequence[Trajectory]) -> float | None:
    return sum(row.stop == "answered" for row in rows) / len(rows) if rows else None


class _Budget:
    """``token_budget``: generated tokens that a stage may spend."""

    def __init__(self, tokens: int | None, rows: Rows, player: Player) -> None:
        self._tokens, self._rows, self._tally = tokens, rows, player.tally
        self._before = sum(row.tokens or 0 for row in rows.found.values())

    def spent(self) -> bool:
        """Raises UserError when that cannot be known."""
        if self._tokens is None:
            return False
        if self._tally.uncounted:
            raise UserError(f"token_budget={self._tokens}: this engine does not say how many tokens it generates; leave "
                            "token_budget out of the site profile")
        return self._before + self._tally.tokens >= self._tokens

    def check(self, ended: int) -> None:
        """Raise UserError when episodes are missing, since the tokens are spent."""
        if ended < len(self._rows.order):
            raise UserError(f"token_budget={self._tokens} is spent ({self._before + self._tally.tokens} tokens): {ended} of "
                            f"{len(self._rows.order)} episodes are there, and kept. To go on, raise token_budget in the site "
                            "profile and run the same command again")


class _Live:
    """Tells whoever watches how far it is, and how fast."""

    def __init__(self, rows: Rows, player: Player, runtime: Runtime) -> None:
        self._rows, self._player, self._runtime = rows, player, runtime
        self._played: list[Trajectory] = []
        self._tokens, self._time = 0, time.monotonic()

    def tell(self, played: Sequence[Played]) -> None:
        done, now, tokens = len(self._rows.found), time.monotonic(), self._player.tally.tokens
        self._played += [one.row for one in played]
        self._runtime.progress(done, len(self._rows.order))
        if not (done == len(self._rows.order) or len(played) > 1 or now - self._time >= REPORT_EVERY_S):
            return
        passed = max(now - self._time, 1e-3)
        self._runtime.report(done, answered=_share_answered(self._played), seconds=_longest(self._played),
                             episodes_per_s=len(self._played) / passed, tokens_per_s=(tokens - self._tokens) / passed,
                             in_flight=self._player.playing)
        self._played, self._tokens, self._time = [], tokens, now
