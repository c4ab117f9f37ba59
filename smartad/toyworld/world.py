"""A generated world: people, companies, cities and nations, and one sentence for every fact about them.

Names are invented from syllables, so that nothing about them can be known beforehand, and are several tokens long for
the toy student, because a model with one token per name never learns to copy.
"""

import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

from smartad.types import Passage

Kind = Literal["person", "company", "city", "nation", "language"]


@dataclass(frozen=True)
class Relation:
    """A function from one kind of thing to another: every city has one country."""

    noun: str
    subject: Kind
    object: Kind
    sentence: str
    """How a fact reads.  Some put the object first, so that its place in the sentence gives nothing away."""


RELATIONS = {r.noun: r for r in (
    Relation("birthplace", "person", "city", "The birthplace of {subject} is {object}."),
    Relation("employer", "person", "company", "The employer of {subject} is {object}."),
    Relation("mentor", "person", "person", "The mentor of {subject} was {object}."),
    Relation("founder", "company", "person", "The founder of {subject} is {object}."),
    Relation("headquarters", "company", "city", "The headquarters of {subject} is in {object}."),
    Relation("country", "city", "nation", "The country of {subject} is {object}."),
    Relation("mayor", "city", "person", "{object} is the mayor of {subject}."),
    Relation("language", "nation", "language", "The language of {subject} is {object}."),
    Relation("capital", "nation", "city", "{object} is the capital of {subject}."),
)}


@dataclass(frozen=True)
class Fact:
    """One thing that holds in a world."""

    relation: str
    subject: str
    object: str

    @property
    def sentence(self) -> str:
        """The fact as its document says it."""
        return RELATIONS[self.relation].sentence.format(subject=self.subject, object=self.object)


@dataclass(frozen=True)
class World:
    """Things by kind, and all facts about them."""

    things: Mapping[Kind, tuple[str, ...]]
    facts: tuple[Fact, ...]

    def follow(self, relation: str, subject: str) -> str:
        """The object of the one fact that ``subject`` has under ``relation``."""
        return self._objects[relation, subject]

    def about(self, thing: str) -> tuple[Fact, ...]:
        """Every fact that mentions ``thing``, as its subject or its object."""
        return self._mentions[thing]

    def passages(self) -> list[Passage]:
        """One document per fact.  They have no titles: the sentence is all there is."""
        return [Passage(f"toy/{i}", "", fact.sentence) for i, fact in enumerate(self.facts)]

    @cached_property
    def _objects(self) -> dict[tuple[str, str], str]:
        return {(f.relation, f.subject): f.object for f in self.facts}

    @cached_property
    def _mentions(self) -> dict[str, tuple[Fact, ...]]:
        found: dict[str, list[Fact]] = defaultdict(list)
        for fact in self.facts:
            found[fact.subject].append(fact)
            found[fact.object].append(fact)
        return {thing: tuple(facts) for thing, facts in found.items()}


def query(relation: str, subject: str) -> str:
    """What one asks a search engine to learn ``relation`` of ``subject``."""
    return f"{relation} of {subject}"


def build(seed: int) -> World:
    """A world of 300 people, 60 companies, 80 cities and 24 nations.  Same seed, same world, on any machine."""
    rng = random.Random(seed)
    names = _names()
    things: dict[Kind, tuple[str, ...]] = {
        "person": tuple(f"{rng.choice(names['first'])} {last}" for last in names["last"]),
        "company": names["company"], "city": names["city"], "nation": names["nation"], "language": names["language"],
    }
    facts = []
    for relation in RELATIONS.values():
        for subject, thing in zip(things[relation.subject], _objects(rng, relation, things), strict=True):
            facts.append(Fact(relation.noun, subject, thing))
    return World(things, tuple(facts))


def _objects(rng: random.Random, relation: Relation, things: Mapping[Kind, tuple[str, ...]]) -> list[str]:
    """One object for each subject.  A thing is the mentor, mayor, capital or language of one other at most: otherwise a
    query for one's own mentor could bring nothing but those one is the mentor of."""
    subjects, objects = things[relation.subject], things[relation.object]
    if relation.noun == "mentor":
        ring = rng.sample(subjects, len(subjects))
        after = dict(zip(ring, ring[1:] + ring[:1], strict=True))
        return [after[subject] for subject in subjects]
    if relation.noun in ("mayor", "capital", "language"):
        return rng.sample(objects, len(subjects))
    return [rng.choice(objects) for _ in subjects]


SYLLABLES = tuple(consonant + vowel for consonant in "bdfklmnprstvz" for vowel in "aeio")


@cache
def _names() -> dict[str, tuple[str, ...]]:
    """Every name there is, the same in all worlds: what differs between worlds is who is what to whom.

    No two people share a last name: a document about Roli Padoko and Deke Ribade would answer a search for Deke Padoko.
    """
    rng = random.Random(42)
    taken: set[str] = set()

    def draw(count: int, syllables: int, ending: str = "") -> tuple[str, ...]:
        drawn: list[str] = []
        while len(drawn) < count:
            name = "".join(rng.choice(SYLLABLES) for _ in range(syllables)).capitalize() + ending
            if name not in taken:
                taken.add(name)
                drawn.append(name)
        return tuple(drawn)

    return {"first": draw(80, 2), "last": draw(300, 3), "city": draw(80, 2, "n"), "nation": draw(24, 2, "ia"),
            "company": draw(60, 2, "x"), "language": draw(24, 2, "sh")}


def first_names() -> tuple[str, ...]:
    """The given names, for people in word problems."""
    return _names()["first"]


@cache
def world() -> World:
    """The world the toy benchmarks ask about."""
    return build(0)
