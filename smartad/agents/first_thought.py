"""First-thought prefix: a teacher's first turn begins as its chain of thought would (Agent Distillation, section 4, Eq. 5).

Instruction-tuned models reason better when asked to reason than when asked to act; what they would have begun with carries over.
Only while collecting: the student learns the beginning as part of its first thought.
"""

from smartad.agents import Setup
from smartad.dialect import PROMPTS, chat, first_thought
from smartad.types import Ask, Completion, Question, Request

PARAGRAPH = "\n\n"


def ask_for_it(question: Question, seed: int, setup: Setup, ask: Ask) -> tuple[str, Completion]:
    """What the first turn is to begin with, and the completion it is from.

    y_1 of Eq. 5: the first paragraph of a chain of thought, at the temperature of the turns.  Empty when the chain has no
    first thought, since it begins with code or with its answer, or the engine gave up: then ``finish`` says so.
    """
    # Another seed than the first turn's, which would draw the same random numbers.
    request = Request(tuple(chat(question, [], PROMPTS["cot"])), (PARAGRAPH,), setup.max_tokens, setup.temperature, seed ^ 1,
                      top_p=setup.top_p)
    completion = ask(request)[0]
    thought = first_thought(completion.text, setup.dialect)
    return (f"Thought: {thought}" if thought else ""), completion
