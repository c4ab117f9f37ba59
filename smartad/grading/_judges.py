"""Models that judge, asked at their servers: each thing once in a store, and every failure is said of the thing it befell."""

import asyncio
import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartad.engines import opening, served
from smartad.grading import _cache
from smartad.records import writable
from smartad.redact import HIDDEN, redact
from smartad.site import EngineSite
from smartad.stage import Runtime
from smartad.types import Completion, Request, UserError

if TYPE_CHECKING:
    from smartad.engines.http import HttpEngine

log = logging.getLogger(__name__)
HOPELESS = 16
"""So many failures in a row, or as many as are in flight: then the judge is gone, and is asked nothing more."""
SETTINGS = re.compile(rf"\bengine\.(?=({'|'.join(f.name for f in dataclasses.fields(EngineSite))})\b)")


@dataclass(frozen=True)
class Opinion:
    """What a judge says of one thing."""

    correct: bool | None
    """None: it said nothing, or what cannot be read."""
    why: str


@dataclass(frozen=True)
class Asked:
    """What came of asking a judge."""

    opinions: list[Opinion]
    counts: Counter[str]
    """``calls``: things it was asked; ``cached``: things it was asked before; and of the calls those that were ``unparsed`` and
    those that ``failed``."""
    tokens: int | None
    """That it wrote; None when its server does not tell."""


def site_of(name: str, judges: Mapping[str, EngineSite]) -> EngineSite:
    """Where the judge ``name`` is asked.  Raises UserError when the site profile does not say."""
    if name not in judges:
        known = f"it knows {', '.join(judges)}" if judges else "it knows no judge"
        raise UserError(f"the judge {name} is to be asked, and the site profile does not say where ({known}): write into it "
                        f"judges: {{{name}: {{url: https://HOST/v1, key_variable: JUDGE_KEY}}}}, and name it with --cluster FILE")
    return judges[name]


def model_of(name: str, judges: Mapping[str, EngineSite]) -> str:
    """What the judge's server calls the model: two profiles may call different ones by one name."""
    return site_of(name, judges).model or name


def key_of(name: str, site: EngineSite) -> str | None:
    """The judge's key, from the environment; None where none is named.  Raises UserError when it is not there."""
    try:
        return opening.key_of(site)
    except UserError as error:
        raise _named(name, error) from error


def ask(name: str, requests: Sequence[tuple[Mapping[str, Any], Request]], read: Callable[[str], Opinion | None], runtime: Runtime,
        heard: Callable[[], None] = lambda: None) -> Asked:
    """What the judge ``name`` says.  ``requests``: everything that an answer depends on, and how it is asked for; what is there
    twice is asked once.  ``read``: what a reply says, None when it cannot be read, which is not cached.  ``heard``: called for
    each of them.

    Raises UserError for what no other request would get past: a refused key, a model that is not there.
    """
    judge = _Judge(name, read, runtime, heard)
    things = {repr(about): (about, request) for about, request in requests}
    missing = {key: thing for key, thing in things.items() if not judge.recalls(key, thing[0])}
    if missing:
        judge.ask(missing)
    silent = [opinion.why for opinion in judge.opinions.values() if opinion.correct is None]
    if silent:
        log.warning("%d of %d answers are not judged; one: %s. What was judged is kept: graded again, only these are asked for "
                    "(of a stage, smartad forget GRADE --yes and the same command; of smartad grade, the same command)",
                    len(silent), len(things), silent[0])
    tokens = None if None in judge.tokens else sum(count or 0 for count in judge.tokens)
    return Asked([judge.opinions[repr(about)] for about, _ in requests], judge.counts, tokens)


class _Judge:
    """A judge at work: what it has said of each thing, by key, and how that went."""

    def __init__(self, name: str, read: Callable[[str], Opinion | None], runtime: Runtime, heard: Callable[[], None]) -> None:
        self.opinions: dict[str, Opinion] = {}
        self.counts: Counter[str] = Counter()
        self.tokens: list[int | None] = []
        self._name, self._read, self._runtime, self._heard = name, read, runtime, heard
        self._secret: str | None = None

    def recalls(self, key: str, about: Mapping[str, Any]) -> bool:
        """Whether it was asked before."""
        kept = _cache.read(self._runtime.cache, about)
        known = isinstance(kept, dict) and isinstance(kept.get("correct"), bool) and isinstance(kept.get("why"), str)
        if known:
            self.opinions[key] = Opinion(kept["correct"], kept["why"])
            self.counts["cached"] += 1
            self._heard()
        return known

    def ask(self, things: Mapping[str, tuple[Mapping[str, Any], Request]]) -> None:
        """Ask all of ``things``; what it said is kept as soon as it is said."""
        from smartad.engines.http import HttpEngine

        site = site_of(self._name, self._runtime.judges)
        self._secret, url, model = key_of(self._name, site), served.base_url(site.url or ""), site.model or self._name
        self._runtime.note(judge=f"{model} at {url}")
        # Its server is not asked what it serves: hosted ones list hundreds of models, or none.
        with HttpEngine(site, url, model, site.server == "vllm", self._secret) as engine:
            try:
                asyncio.run(self._ask(engine, things))
            except UserError as error:
                raise _named(self._name, error) from error

    async def _ask(self, engine: "HttpEngine", things: Mapping[str, tuple[Mapping[str, Any], Request]]) -> None:
        """As many at once as its site allows, until it is gone."""
        slots = asyncio.Semaphore(engine.site.in_flight)
        failed_in_a_row = 0

        async def one(key: str, about: Mapping[str, Any], request: Request) -> None:
            nonlocal failed_in_a_row
            async with slots:
                if failed_in_a_row >= max(HOPELESS, engine.site.in_flight):
                    self._hear(key, about, None)
                    return
                [[completion]] = await engine.complete([request])
                failed_in_a_row = failed_in_a_row + 1 if completion.transient else 0
                self._hear(key, about, completion)

        await asyncio.gather(*(one(key, *thing) for key, thing in things.items()))

    def _hear(self, key: str, about: Mapping[str, Any], completion: Completion | None) -> None:
        opinion = self._opinion(completion)
        self.opinions[key] = opinion = Opinion(opinion.correct, writable(_without(self._secret, opinion.why)))
        if opinion.correct is not None:
            _cache.write(self._runtime.cache, about, dataclasses.asdict(opinion))
        self._heard()

    def _opinion(self, completion: Completion | None) -> Opinion:
        if completion is None:
            self.counts["failed"] += 1
            return Opinion(None, f"{self._name} was not asked: it had failed too often in a row")
        self.counts["calls"] += 1
        if completion.finish == "error":
            self.counts["failed"] += 1
            return Opinion(None, f"{self._name} gave no answer: {completion.detail}")
        self.tokens.append(completion.tokens)
        opinion = self._read(completion.text)
        if opinion is None:
            self.counts["unparsed"] += 1
            cut = "" if completion.finish == "stop" else f" ({completion.finish})"
            return Opinion(None, f"{self._name} gave no verdict{cut}: {completion.text!r:.200}")
        return opinion


def _without(secret: str | None, text: str) -> str:
    """A judge may repeat what it was sent."""
    return str(redact(text.replace(secret, HIDDEN) if secret else text))


def _named(name: str, error: UserError) -> UserError:
    """In the words of the site profile's ``judges``, where an engine speaks of itself."""
    return UserError(f"the judge {name}: " + SETTINGS.sub(f"judges.{name}.", str(error)))
