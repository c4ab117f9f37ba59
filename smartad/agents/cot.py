"""One question, one chain of thought: a trajectory of one step that ran nothing.

In a dialect of whole turns it is a plain completion: the turn is the answer.

With ``setup.passages`` the question is searched first ("+ RAG" in the papers); with several candidates the answer that most of
them give is taken (self-consistency, Wang et al. 2023).
"""

import time
from collections import Counter
from collections.abc import Sequence

from smartad import dialect
from smartad.agents import Setup
from smartad.types import Ask, Ballot, Completion, Question, Request, Step, StopReason, Trajectory


def solve(question: Question, sample: int, seed: int, setup: Setup, ask: Ask, interpreters: None = None) -> Trajectory:
    """Ask once.  ``stop`` is ``parse_error`` when the text states no answer (``dialect.stated_answer``).

    Of several candidates the earliest is kept whose answer most of them give; answers are the same when their words are.
    """
    started = time.monotonic()
    passages = setup.search(question.text) if setup.passages else ""
    messages = tuple(dialect.chat(question, [], setup.system, passages))
    candidates = ask(Request(messages, setup.stop, setup.max_tokens, setup.temperature, seed, top_p=setup.top_p,
                             n=setup.candidates))
    counts = [candidate.tokens for candidate in candidates]
    tokens = None if None in counts else sum(count or 0 for count in counts)
    written = [candidate for candidate in candidates if candidate.finish not in ("context_overflow", "error")]
    steps: tuple[Step, ...] = ()
    ballots: tuple[Ballot, ...] = ()
    answer, failed = None, candidates[0]
    stop: StopReason = "context_overflow" if failed.finish == "context_overflow" else "engine_error"
    if written:
        step, answer, ballot = _elected(written, setup)
        steps, stop = (step,), "parse_error" if answer is None else "answered"
        ballots = (ballot,) if setup.candidates > 1 else ()
    return Trajectory(question.id, sample, steps, answer, stop, tokens, round(time.monotonic() - started, 3),
                      failed.detail if stop == "engine_error" else "", passages=passages, ballots=ballots)


def _elected(candidates: Sequence[Completion], setup: Setup) -> tuple[Step, str | None, Ballot]:
    texts = [_text(candidate, setup) for candidate in candidates]
    answers = [dialect.stated_answer(text, candidate.finish == "length", setup.dialect)
               for candidate, text in zip(candidates, texts, strict=True)]
    keys = [None if answer is None else " ".join(answer.casefold().split()) for answer in answers]
    votes = Counter(key for key in keys if key is not None)
    elected, agreed = votes.most_common(1)[0] if votes else (None, 0)  # of equals the one that was counted first
    winner = keys.index(elected)
    answer = answers[winner]
    step = Step(texts[winner], "", "", "parse_error" if answer is None else "final")
    return step, answer, Ballot(len(keys), len(votes), len(keys) - votes.total(), agreed)


def _text(completion: Completion, setup: Setup) -> str:
    if completion.finish == "length":  # an answer that was cut is none
        return dialect.plain(completion.text).rstrip()
    return dialect.normalise(completion.text, completion.stopped_by, setup.dialect)
