"""What the teacher would have written, in the student's tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from smartad.engines.loading import Tokenizer
from smartad.types import Choices, Segment, TeacherChoices, TrainingExample


@dataclass(frozen=True)
class Distribution:
    """The teacher's probabilities of some of the student's tokens, at least one, and of all others together."""

    ids: tuple[int, ...]
    probabilities: tuple[float, ...]
    rest: float


class TeacherTokens:
    """Finds the teacher's choices among a student's tokens, and remembers what it has looked up."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, int | None] = {}

    def of(self, example: TrainingExample, texts: Sequence[str], kept: TeacherChoices) -> dict[int, Distribution]:
        """By position, for the supervised tokens that both models begin and end at the same characters of a turn.

        ``texts``: of the turns.  A likely token of the teacher's is the student's of the same text; those that the student
        has no single token for are with the rest.
        """
        choices = {(turn, c.start, c.end): c for turn, cs in enumerate(kept.turns) for c in cs}
        ends = {turn: position for position, turn in enumerate(example.turns)}
        found = {}
        for i, (segment, turn, start) in enumerate(zip(example.segments, example.turns, example.characters, strict=True)):
            if segment == Segment.CONTEXT:
                continue
            end = start if ends[turn] == i else example.characters[i + 1]
            if (turn, start, end) in choices:
                written = {texts[turn][start:end]: example.input_ids[i], "": example.input_ids[ends[turn]]}
                distribution = self._distribution(choices[turn, start, end], written)
                if distribution.ids:
                    found[i] = distribution
        return found

    def _distribution(self, choices: Choices, written: dict[str, int]) -> Distribution:
        probabilities: dict[int, float] = {}
        for text, logprob in zip(choices.texts, choices.logprobs, strict=True):
            token = written[text] if text in written else self._token(text)
            if token is not None:
                probabilities[token] = probabilities.get(token, 0.0) + math.exp(logprob)
        total = max(1.0, sum(probabilities.values()))  # more than 1 by rounding alone
        return Distribution(tuple(probabilities), tuple(p / total for p in probabilities.values()),
                            1 - min(1.0, sum(probabilities.values())))

    def _token(self, text: str) -> int | None:
        """The student's only token for ``text``; None when it takes several, or writes it otherwise."""
        if text not in self._known:
            ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
            same = len(ids) == 1 and self._tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
            self._known[text] = ids[0] if same else None
        return self._known[text]
