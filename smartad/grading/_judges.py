"""Models that judge, asked at their servers: each thing once in a store, and every failure is said of the thing it befell."""

import asyncio
import dataclasses
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from smartad.engines import opening, served
from smartad.grading import _cache
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
    counts: Counter[str] = field(default_factory=Counter)
    """``calls``: things it was asked; ``cached``: things it was asked before; and of the calls those that were ``unparsed`` and
    those that ``failed``."""
    tokens: int | None = 0
    """That it wrote; None when its server does not tell."""


def site_of(name: str, judges: Mapping[str, EngineSite]) -> EngineSite:
    """Where the judge ``name`` is asked.  Raises UserError when the site profile does not say."""
    if name not in judges:
        known = f"it knows {', '.join(judges)}" if judges else "it knows no judge"
        raise UserError(f"the judge {name} is to be asked, and the site profile does not say where ({known}): write into it "
                        f"judges: {{{name}: {{url: https://HOST/v1, key_variable: JUDGE_KEY}}}}, and name it with --cluster FILE")
    return judges[name]


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
    asked = Asked([])
    found: dict[str, Opinion] = {}
    missing: dict[str, tuple[Mapping[str, Any], Request]] = {}
    for about, request in requests:
        key = repr(about)
        if key in found or key in missing:
            continue
        kept = _cache.read(runtime.cache, about)
        if isinstance(kept, dict) and isinstance(kept.get("correct"), bool) and isinstance(kept.get("why"), str):
            found[key] = Opinion(kept["correct"], kept["why"])
            asked.counts["cached"] += 1
            heard()
        else:
            missing[key] = about, request
    site = site_of(name, runtime.judges)
    tokens: list[int | None] = []
    if missing:
        from smartad.engines.http import HttpEngine

        secret, url = key_of(name, site), served.base_url(site.url or "")
        runtime.note(judge=f"{site.model or name} at {url}")

        def hear(key: str, completion: Completion | None) -> None:
            opinion = _opinion(name, completion, read, asked.counts)
            opinion = Opinion(opinion.correct, _without(secret, opinion.why))
            tokens.append(completion.tokens if completion and completion.finish != "error" else 0)
            if opinion.correct is not None:
                _cache.write(runtime.cache, missing[key][0], dataclasses.asdict(opinion))
            found[key] = opinion
            heard()

        # The names of hosted models are not asked for: many list none, or hundreds.
        with HttpEngine(site, url, site.model or name, site.server == "vllm", secret) as engine:
            try:
                asyncio.run(_ask(engine, {key: request for key, (_, request) in missing.items()}, hear))
            except UserError as error:
                raise _named(name, error) from error
    opinions = [found[repr(about)] for about, _ in requests]
    if silent := asked.counts["unparsed"] + asked.counts["failed"]:
        first = next(opinion.why for opinion in opinions if opinion.correct is None)
        log.warning("%d of %d answers are not judged; first: %s. What was judged is kept: graded again (smartad forget GRADE "
                    "--yes, and the same command), only these are asked for", silent, len(found), first)
    return Asked(opinions, asked.counts, None if None in tokens else sum(count or 0 for count in tokens))


async def _ask(engine: "HttpEngine", requests: Mapping[str, Request], hear: Callable[[str, Completion | None], None]) -> None:
    """Each of ``requests``, as many at once as its site allows, until the judge is gone: the rest is heard of as None."""
    slots = asyncio.Semaphore(engine.site.in_flight)
    failed_in_a_row = 0

    async def one(key: str, request: Request) -> None:
        nonlocal failed_in_a_row
        async with slots:
            if failed_in_a_row >= max(HOPELESS, engine.site.in_flight):
                hear(key, None)
                return
            [[completion]] = await engine.complete([request])
            failed_in_a_row = failed_in_a_row + 1 if completion.transient else 0
            hear(key, completion)

    await asyncio.gather(*(one(key, request) for key, request in requests.items()))


def _opinion(name: str, completion: Completion | None, read: Callable[[str], Opinion | None], counts: Counter[str]) -> Opinion:
    if completion is None:
        counts["failed"] += 1
        return Opinion(None, f"{name} was not asked: it had failed too often in a row")
    counts["calls"] += 1
    if completion.finish == "error":
        counts["failed"] += 1
        return Opinion(None, f"{name} gave no answer: {completion.detail}")
    opinion = read(completion.text)
    if opinion is None:
        counts["unparsed"] += 1
        cut = "" if completion.finish == "stop" else f" ({completion.finish})"
        return Opinion(None, f"{name} gave no verdict{cut}: {completion.text!r:.200}")
    return opinion


def _without(secret: str | None, text: str) -> str:
    """A judge may repeat what it was sent."""
    return str(redact(text.replace(secret, HIDDEN) if secret else text))


def _named(name: str, error: UserError) -> UserError:
    """In the words of the site profile's ``judges``, where an engine speaks of itself."""
    return UserError(f"the judge {name}: " + SETTINGS.sub(f"judges.{name}.", str(error)))
