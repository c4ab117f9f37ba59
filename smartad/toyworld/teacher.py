"""The scripted teacher: an engine that answers like a model, and knows every toy question."""

import random
from collections.abc import Sequence

from smartad import dialect
from smartad.toyworld.maths import MathProblem
from smartad.toyworld.problems import Problem, by_text
from smartad.toyworld.reasoning import chain_of_thought
from smartad.toyworld.styles import CHAIN_STYLES, MATH_STYLES, Style, Turn
from smartad.types import Completion, Message, Request, UserError

REASONING = (dialect.PROMPTS["cot"], dialect.PROMPTS["toy_cot"])
"""The system prompts that ask for a chain of thought."""
BY_HEART = 1 / 3
"""The share of questions to which the teacher knows the answer by heart, and sometimes just says it."""


def style_of(question: str, seed: int) -> str:
    """The style the teacher takes for a question text under a sampling seed: ``math/concise``, ``chain/memory``."""
    problem = _problem(question)
    kind = "math" if isinstance(problem, MathProblem) else "chain"
    return f"{kind}/{_style(problem, _generator(question, seed)).name}"


class ScriptedTeacher:
    """Completes requests from a script, without state: the question says which problem, the request's seed which style,
    and the number of turns so far which turn of it.  Under a system prompt of REASONING it does not act."""

    together = True

    async def complete(self, requests: Sequence[Request]) -> list[tuple[Completion, ...]]:
        """See ``answer``."""
        return self.answer(requests)

    def answer(self, requests: Sequence[Request]) -> list[tuple[Completion, ...]]:
        """For each request its ``n`` candidates, cut before the closing marker as a model's would be.  Each candidate but the
        first is what another seed would have said; after a ``prefill`` that the script does not begin with, it says all of its
        thought.

        Raises UserError for a question that is not of the toy world, and when asked for log-probabilities.
        """
        return [tuple(self._one(request, candidate) for candidate in range(request.n)) for request in requests]

    def _one(self, request: Request, candidate: int) -> Completion:
        if request.top_logprobs is not None:
            raise UserError("the scripted teacher has no log-probabilities; leave collect.top_logprobs out, or give it a "
                            "teacher that is a model")
        problem = _problem(_question(request.messages))
        rng = _generator(problem.text, f"{request.seed}/{candidate}" if candidate else request.seed)
        if request.messages[0]["content"] in REASONING:
            return _cut(chain_of_thought(rng, problem), request.stop)
        turns = _style(problem, rng).turns(rng, problem)
        written = sum(message["role"] == "assistant" for message in request.messages)
        thought, code = turns[written] if written < len(turns) else _lost(problem)
        end = dialect.PAPER.end
        text = dialect.render_turn(thought, code).removesuffix(end)
        if request.prefill and not text.startswith(request.prefill):
            text = f"{request.prefill} {text.removeprefix('Thought: ')}"
        return Completion(text.removeprefix(request.prefill), "stop", tokens=None, stopped_by=end)


def _question(messages: Sequence[Message]) -> str:
    opening = dialect.task_message("")
    tasks = [m["content"] for m in messages if m["role"] == "user" and m["content"].startswith(opening)]
    if not tasks:
        raise UserError(f"the scripted teacher was asked without a task: no user message starts with {opening!r}")
    return tasks[0].removeprefix(opening).partition(dialect.PASSAGES)[0]


def _cut(text: str, stops: Sequence[str]) -> Completion:
    """``text`` up to the first stop string in it."""
    found = [(text.find(stop), stop) for stop in stops if stop in text]
    end, stopped_by = min(found) if found else (len(text), None)
    return Completion(text[:end], "stop", tokens=None, stopped_by=stopped_by)


def _problem(question: str) -> Problem:
    if question not in by_text():
        raise UserError(f"the scripted teacher knows only the toy questions, not {question!r:.200}; "
                        "give another benchmark a teacher that is a model")
    return by_text()[question]


def _generator(question: str, seed: int | str) -> random.Random:
    """Another one for each question, so that one seed does not mean one style."""
    return random.Random(f"{seed} {question}")


def _style(problem: Problem, rng: random.Random) -> Style:
    by_heart = random.Random(problem.text).random() < BY_HEART
    styles = MATH_STYLES if isinstance(problem, MathProblem) else CHAIN_STYLES
    possible = [style for style in styles if style.everywhere or by_heart]
    return rng.choices(possible, [style.weight for style in possible])[0]


def _lost(problem: Problem) -> Turn:
    return "Nothing of this worked. I say what I know.", f'final_answer("{problem.answer}")'
