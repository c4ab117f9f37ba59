"""Which questions two sets share, word for word or nearly: contamination of a benchmark by what a student was trained on.

Texts are compared as words: NFKC, case folded, everything that is no letter or digit a blank (so LaTeX loses its backslashes, and
``x-2`` and ``x+2`` are the same: the report errs on the side of naming too much).  As in GPT-3's analysis (Brown et al. 2020,
Appendix C) n consecutive words in common are a collision, 13 unless told, and n-grams in more than ten questions are phrases of
the trade ("relatively prime positive integers find") and do not count.  Most questions here are shorter than documents, so two
more signs are looked at: how many runs of 8 words, and how many words at all, two questions share.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from smartad.types import Question

Words = tuple[str, ...]
How = Literal["exact", "ngram", "share", "words"]
NGRAM = 13
SHORT = 8
"""Words of the n-grams that the share is of."""
SHARE = 0.5
"""A pair with at least this share of them is listed."""
ALIKE = 2 / 3
"""And one with at least this share of their words in common."""
RARE = 3
"""Only texts with a run of so many words in common, and not too common a one, are compared by their words."""
COMMON = 10
"""An n-gram that is in more questions than this does not count."""
WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Pair:
    """Two questions that are alike."""

    first_set: str
    first: str
    second_set: str
    second: str
    how: How
    """The first that holds.  exact: the same words.  ngram: n consecutive words in common.  share: many runs of 8.  words: most
    of their words, in any order."""
    ngrams: int
    """Different n-grams that both have, common phrases left out."""
    share: float
    """Of the 8-grams of the one with fewer, how many the other has too; 0 where it is shorter than that."""
    words: float
    """Of the different words of either, how many both have."""


def words(text: str) -> Words:
    """What is compared of a text."""
    return tuple(WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def grams(text: Words, n: int) -> frozenset[Words]:
    """Every run of ``n`` words."""
    return frozenset(text[i:i + n] for i in range(len(text) - n + 1))


def overlaps(training: Mapping[str, Sequence[Question]], tests: Mapping[str, Sequence[Question]], n: int = NGRAM) -> list[Pair]:
    """Pairs of a training question and a test question that are alike, then pairs of questions of different test sets, then pairs
    within a set that are the same; in the order of the sets.

    ``training``, ``tests``: questions by the set's name.
    """
    sets = {**training, **tests}
    texts = {(name, i): words(question.text) for name, questions in sets.items() for i, question in enumerate(questions)}
    long, short = _Index(texts, n), _Index(texts, SHORT)
    alike = dict.fromkeys([*_same(texts), *long.pairs(), *short.pairs(), *_Index(texts, RARE).pairs()])
    order = {name: place for place, name in enumerate(sets)}
    found = []
    for first, second in sorted(alike, key=lambda pair: [(order[name], i) for name, i in pair]):
        (first_set, i), (second_set, j) = first, second
        same = texts[first] == texts[second]
        if not (same if first_set == second_set else {first_set, second_set} - training.keys()):
            continue
        ngrams, share = len(long.shared(first, second)), short.share(first, second)
        both, either = set(texts[first]) & set(texts[second]), set(texts[first]) | set(texts[second])
        signs: dict[How, bool] = {"exact": same, "ngram": ngrams > 0, "share": share >= SHARE,
                                  "words": len(both) >= ALIKE * len(either)}
        if how := next((sign for sign, holds in signs.items() if holds), None):
            found.append(Pair(first_set, sets[first_set][i].id, second_set, sets[second_set][j].id, how, ngrams, share,
                              len(both) / len(either) if either else 1.0))
    return found


Place = tuple[str, int]
"""Set, and the question's place in it."""


class _Index:
    """Which texts have which n-grams."""

    def __init__(self, texts: Mapping[Place, Words], n: int) -> None:
        self.grams = {place: grams(text, n) for place, text in texts.items()}
        self.places: dict[Words, list[Place]] = defaultdict(list)
        for place, of_place in self.grams.items():
            for gram in of_place:
                self.places[gram].append(place)

    def pairs(self) -> Iterable[tuple[Place, Place]]:
        """Texts with an n-gram in common that is not too common."""
        for places in self.places.values():
            if len(places) <= COMMON:
                yield from _each_two(places)

    def shared(self, first: Place, second: Place) -> list[Words]:
        """The n-grams of both that are not too common."""
        return [gram for gram in self.grams[first] & self.grams[second] if len(self.places[gram]) <= COMMON]

    def share(self, first: Place, second: Place) -> float:
        """Of the n-grams of the one with fewer."""
        fewer = min(len(self.grams[first]), len(self.grams[second]))
        return len(self.grams[first] & self.grams[second]) / fewer if fewer else 0.0


def _same(texts: Mapping[Place, Words]) -> Iterable[tuple[Place, Place]]:
    places: dict[Words, list[Place]] = defaultdict(list)
    for place, text in texts.items():
        places[text].append(place)
    for of_text in places.values():
        yield from _each_two(of_text)


def _each_two(places: Sequence[Place]) -> Iterable[tuple[Place, Place]]:
    """In the order in which the sets were given, which is that of ``places``."""
    return ((first, second) for i, first in enumerate(places) for second in places[i + 1:])
