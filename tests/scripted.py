"""An engine that says what a test tells it to, and turns as models write them."""

from smartad.dialect import DIALECTS
from smartad.types import Completion, Question

QUESTION = Question("toy/1", "How much is {{ 6 }} times 7?", ("42",))
PAPER = DIALECTS["paper"]


class Script:
    """Writes given turns, one after the other, and remembers what it was shown.  A list is of a turn's candidates."""

    def __init__(self, *turns):
        self.turns, self.seen, self.requests = list(turns), [], []

    def __call__(self, request):
        self.seen.append(list(request.messages))
        self.requests.append(request)
        turn = self.turns[len(self.seen) - 1]
        candidates = turn if isinstance(turn, list) else [turn]
        return tuple(one if isinstance(one, Completion) else stopped(one) for one in candidates)


def stopped(text, dialect=PAPER):
    """A completion as engines make them: cut at the closing marker."""
    cut = text.find(dialect.end)
    return Completion(text[:cut], "stop", 5, dialect.end) if cut >= 0 else Completion(text, "stop", 5)


def block(code, thought="I think.", dialect=PAPER):
    return f"Thought: {thought}\n{dialect.start}{code}{dialect.end}"
