"""An OpenAI-compatible server as an engine: many requests at once, with limits on everything that can take long."""

import asyncio
import contextlib
import hashlib
import itertools
import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

import openai

from smartad.engines.answers import Garbled, completions
from smartad.engines.served import is_loopback, refused_key
from smartad.redact import HIDDEN, redact
from smartad.site import EngineSite
from smartad.types import Completion, Message, Request, UserError

log = logging.getLogger(__name__)
# In the words of vLLM, OpenAI, SGLang and llama.cpp.
TOO_LONG = re.compile(r"context.?(length|window|size)|max_model_len|longer than the model|prompt is too long", re.I)
# What a model was released with must not decide: servers take top_k=20 and a repetition penalty from Qwen2.5's own config.
PLAIN = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
TELL = {"return_token_ids": True, "logprobs": True}
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
FORMS = ("json_schema", "json_object", None)
"""How a server is told of a request's schema, the strictest first.  Some know only the second, or nothing of it."""
PASSING = (408, 409, 425, 429)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
ASKED_PAUSE_S = 120.0
"""The longest that a server may ask for with Retry-After."""


def _still_there() -> str:
    """Nobody knows more about a server of somebody else."""
    return ""


class HttpEngine:
    """``model`` at the server ``url``.  A context manager; leaving it closes its connections.

    What passes (408, 409, 425, 429, 5xx, a time-out, a broken connection) is tried again ``site.retries`` times, after pauses
    that grow or that the server asks for, and then is a completion of ``error`` that is ``transient``; so is an answer that is
    none.  Other refusals are one that is not.  The server is asked for the model's own probabilities: no top-k, no penalties.
    """

    together = False

    def __init__(self, site: EngineSite, url: str, model: str, vllm: bool, key: str | None = None,
                 why_gone: Callable[[], str] = _still_there) -> None:
        self.site, self.url, self.model, self.vllm = site, url, model, vllm
        self._key, self._why_gone = key, why_gone
        self._loop = asyncio.new_event_loop()
        # Connections belong to an event loop, and callers come with loops of their own.
        self._thread = threading.Thread(target=self._loop.run_forever, name="http engine", daemon=True)
        limits = openai.Timeout(site.request_s, connect=site.connect_s)
        self._client = openai.AsyncOpenAI(  # tried again here: its own tries know no limit but silence
            base_url=url, api_key=key or "none", max_retries=0, timeout=limits,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=not is_loopback(url), timeout=limits))
        self._slots = asyncio.Semaphore(site.in_flight)
        self._continues: asyncio.Task[None] | None = None
        self._form = 0
        """The first of FORMS that the server is not known to refuse."""
        self._thread.start()

    def __enter__(self) -> "HttpEngine":
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.close()

    async def complete(self, requests: Sequence[Request]) -> list[tuple[Completion, ...]]:
        """Each request's candidates, ``site.in_flight`` at once.

        Raises UserError for what no other request would get past: a model that the server has not, a key that it refuses, a
        server that cannot continue a ``prefill``.
        """
        answered = asyncio.run_coroutine_threadsafe(self._complete(requests), self._loop)
        return await asyncio.wrap_future(answered)

    async def _complete(self, requests: Sequence[Request]) -> list[tuple[Completion, ...]]:
        answers = await asyncio.gather(*map(self._candidates, requests), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def _candidates(self, request: Request) -> tuple[Completion, ...]:
        if request.prefill:
            await self._check_prefill(request)
        if request.temperature == 0:  # vLLM refuses n > 1 there; they would all be the same
            return (await self._ask(request, 1, 0))[:1] * request.n
        found = list(await self._ask(request, request.n, 0))
        while len(found) < request.n and all(c.finish != "error" for c in found):  # many servers know no n
            first, missing = len(found), request.n - len(found)
            for more in await asyncio.gather(*(self._ask(request, 1, first + number) for number in range(missing))):
                found += more[:1]
        failed = [completion for completion in found if completion.finish == "error"]
        return tuple(failed[:1] or found[:request.n])

    async def _ask(self, request: Request, n: int, first: int) -> tuple[Completion, ...]:
        """Some of ``n`` candidates, the first of which is number ``first``; one of ``error`` when it failed."""
        body = self._body(request, n, first)
        try:
            try:
                return completions(await self._formed(body, request.schema), request, self.model)
            except openai.BadRequestError as error:
                if not TOO_LONG.search(self._said(error)):
                    raise
            # There is less room than max_tokens, or none.
            return completions(await self._formed({**body, "max_tokens": None}, request.schema), request, self.model)
        except openai.APIStatusError as error:
            if error.status_code == 400 and TOO_LONG.search(self._said(error)):
                return (Completion("", "context_overflow", 0),)
            return (self._refused(error),)
        except (openai.APITimeoutError, TimeoutError):
            return (self._silent(f"engine.request_s={self.site.request_s:g} and engine.retries={self.site.retries} are over"),)
        except openai.APIConnectionError as error:
            return (self._silent(f"{type(error.__cause__).__name__} {error.__cause__}"),)
        except (Garbled, openai.APIResponseValidationError) as error:
            return (_failed(f"the server at {self.url} answered what is no completion: {error}", transient=True),)

    def _said(self, error: openai.APIStatusError) -> str:
        """The server's words, which are kept, without the key: it may repeat what it was sent."""
        text = error.response.text.replace(self._key, HIDDEN) if self._key else error.response.text
        return " ".join(text.split())[:500]

    def _silent(self, why: str) -> Completion:
        words = [f"the server at {self.url} does not answer: {why}", self._why_gone()]
        return _failed("; ".join(filter(None, words)), transient=True)

    def _refused(self, error: openai.APIStatusError) -> Completion:
        if error.status_code in (401, 403):
            raise refused_key(self.url, error.status_code, self.site.key_variable) from error
        if error.status_code == 404:
            raise UserError(f"the server at {self.url} has no model {self.model!r} ({self._said(error)}); name one that it "
                            "serves with engine.model") from error
        return _failed(f"the server at {self.url} answered {error.status_code}: {self._said(error)}", transient=_passes(error))

    async def _formed(self, body: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Any:
        """What ``_post`` gives, the server told of ``schema`` as strictly as it lets itself be told."""
        if schema is None:
            return await self._post(body)
        for number in range(self._form, len(FORMS)):
            try:
                answered = await self._post({**body, "response_format": _response_format(FORMS[number], schema)})
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if number + 1 == len(FORMS) or TOO_LONG.search(self._said(error)):
                    raise
            else:  # a request that is refused in every form was refused for something else
                self._form = max(self._form, number)
                return answered

    async def _post(self, body: Mapping[str, Any]) -> Any:
        """The JSON that the server answers ``body`` with.  Raises openai's errors, TimeoutError and Garbled."""
        given = {name: value for name, value in body.items() if value is not None}
        for tried in itertools.count():
            try:
                return await self._try(given)
            except (openai.APIConnectionError, openai.APIStatusError, TimeoutError) as error:
                if tried == self.site.retries or not _passes(error):
                    raise
                pause_s = _pause_s(error, tried)
                log.info("asking %s again in %.1f s: %s", self.url, pause_s, error)
            await asyncio.sleep(pause_s)

    async def _try(self, body: Mapping[str, Any]) -> Any:
        async with self._slots, asyncio.timeout(self.site.request_s):
            raw = await self._client.chat.completions.with_raw_response.create(model=self.model, messages=[], extra_body=body)
        try:
            return json.loads(raw.text)
        except ValueError as error:
            raise Garbled(f"{raw.text!r:.200}") from error

    def _body(self, request: Request, n: int, first: int) -> dict[str, Any]:
        # vLLM adds a candidate's number within the request to its seed.  31 bits are a seed everywhere.
        turn = sum(message["role"] == "assistant" for message in request.messages)
        seed = int.from_bytes(hashlib.sha256(f"{request.seed}#{turn}#{first}".encode()).digest()[:4]) >> 1
        prefill: list[Message] = [{"role": "assistant", "content": request.prefill}] if request.prefill else []
        ranked = {"logprobs": True, "top_logprobs": request.top_logprobs} if request.top_logprobs else {}
        return {"messages": [*request.messages, *prefill], "max_tokens": request.max_tokens, "seed": seed,
                "temperature": request.temperature, "top_p": request.top_p, "stop": list(request.stop) or None,
                "n": n if n > 1 else None, **(PLAIN | TELL if self.vllm else {}), **ranked, **(CONTINUE if prefill else {})}

    async def _check_prefill(self, request: Request) -> None:
        """Once, before the first answer that is to be continued: a server that cannot would silently begin another turn."""
        if self._continues is None:
            self._continues = asyncio.ensure_future(self._try_prefill(request))
        await asyncio.shield(self._continues)

    async def _try_prefill(self, request: Request) -> None:
        """A chat that is to be continued is shorter than the same with the turn closed and another one opened."""
        asked = self._body(request, 1, 0) | {"max_tokens": 1, "stop": None}
        closed = {name: value for name, value in asked.items() if name not in CONTINUE}
        try:
            lengths = [(await self._post(body))["usage"]["prompt_tokens"] for body in (asked, closed)]
        except (openai.BadRequestError, openai.UnprocessableEntityError, Garbled, LookupError, TypeError) as error:
            said = f"it says {' '.join(str(error).split())[:300]}"
        except (openai.APIStatusError, openai.APIConnectionError, TimeoutError):
            self._continues = None  # that passes; the request itself will tell
            return
        else:
            if lengths[0] < lengths[1]:
                return
            said = f"with the beginning of an answer to go on from, its prompt is as long ({lengths[0]} tokens) as without"
        raise UserError(f"the server at {self.url} does not go on from the beginning of an answer, which a first-thought prefix "
                        f"needs: {said}. Use vLLM, which does (engine.kind=vllm), or no server (engine.kind=hf)")


def _response_format(form: str | None, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    strict = {"json_schema": {"name": "reply", "strict": True, "schema": schema}} if form == "json_schema" else {}
    return {"type": form, **strict} if form else None


def _passes(error: Exception) -> bool:
    """Whether another try may succeed."""
    return not isinstance(error, openai.APIStatusError) or error.status_code in PASSING or error.status_code >= 500


def _pause_s(error: Exception, tried: int) -> float:
    """How long to wait after try number ``tried``, from 0: as the server asks for, else ever longer, and not all at once."""
    asked = error.response.headers.get("retry-after", "") if isinstance(error, openai.APIStatusError) else ""
    with contextlib.suppress(ValueError):  # it may also be a date
        return min(max(0.0, float(asked)), ASKED_PAUSE_S)
    with contextlib.suppress(ValueError):
        return min(max(0.0, parsedate_to_datetime(asked).timestamp() - time.time()), ASKED_PAUSE_S)
    return min(FIRST_PAUSE_S * 2**tried, LONGEST_PAUSE_S) * random.uniform(0.75, 1.0)


def _failed(detail: str, transient: bool) -> Completion:
    return Completion("", "error", None, detail=redact(detail), transient=transient)
