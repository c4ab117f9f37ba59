"""An OpenAI-compatible server as an engine: many requests at once, with limits on everything that can take long."""

import asyncio
import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import openai

from smartad.engines.answers import Garbled, completions
from smartad.engines.served import is_loopback
from smartad.redact import redact
from smartad.site import EngineSite
from smartad.types import Completion, Message, Request, UserError

# In the words of vLLM, OpenAI, SGLang and llama.cpp.
TOO_LONG = re.compile(r"context.?(length|window|size)|max_model_len|longer than the model|prompt is too long", re.I)
# What a model was released with must not decide: servers take top_k=20 and a repetition penalty from Qwen2.5's own config.
PLAIN = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
TELL = {"return_token_ids": True, "logprobs": True}
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
PASSING = (408, 409, 425, 429)


def _still_there() -> str:
    """Nobody knows more about a server of somebody else."""
    return ""


class HttpEngine:
    """``model`` at the server ``url``.  A context manager; leaving it closes its connections.

    What passes (408, 409, 425, 429, 5xx, a time-out, a broken connection, an answer that is none) is tried again by the
    client, ``site.retries`` times, and then is a completion of ``error`` that is ``transient``; other refusals are one that
    is not.  The server is asked for the model's own probabilities: no top-k, no penalties.
    """

    together = False

    def __init__(self, site: EngineSite, url: str, model: str, vllm: bool, key: str | None = None,
                 why_gone: Callable[[], str] = _still_there) -> None:
        self.site, self.url, self.model, self.vllm = site, url, model, vllm
        self._why_gone = why_gone
        self._loop = asyncio.new_event_loop()
        # Connections belong to an event loop, and callers come with loops of their own.
        self._thread = threading.Thread(target=self._loop.run_forever, name="http engine", daemon=True)
        self._client = openai.AsyncOpenAI(
            base_url=url, api_key=key or "none", max_retries=site.retries,
            timeout=openai.Timeout(site.request_s, connect=site.connect_s),
            http_client=openai.DefaultAsyncHttpxClient(trust_env=not is_loopback(url),
                                                       timeout=openai.Timeout(site.request_s, connect=site.connect_s)))
        self._slots = asyncio.Semaphore(site.in_flight)
        self._continues: asyncio.Task[None] | None = None
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
                return completions(await self._post(body), request, self.model)
            except openai.BadRequestError as error:
                if not TOO_LONG.search(_said(error)):
                    raise
            # There is less room than max_tokens, or none.
            return completions(await self._post({**body, "max_tokens": None}), request, self.model)
        except openai.APIStatusError as error:
            if error.status_code == 400 and TOO_LONG.search(_said(error)):
                return (Completion("", "context_overflow", 0),)
            return (self._refused(error),)
        except (openai.APITimeoutError, TimeoutError):
            return (self._silent(f"engine.request_s={self.site.request_s:g} and engine.retries={self.site.retries} are over"),)
        except openai.APIConnectionError as error:
            return (self._silent(f"{type(error.__cause__).__name__} {error.__cause__}"),)
        except (Garbled, openai.APIResponseValidationError) as error:
            return (_failed(f"the server at {self.url} answered what is no completion: {error}", transient=True),)

    def _silent(self, why: str) -> Completion:
        words = [f"the server at {self.url} does not answer: {why}", self._why_gone()]
        return _failed("; ".join(filter(None, words)), transient=True)

    def _refused(self, error: openai.APIStatusError) -> Completion:
        if error.status_code in (401, 403):
            raise UserError(f"the server at {self.url} refuses the key ({error.status_code}); name the environment variable that "
                            "holds it with engine.key_variable") from error
        if error.status_code == 404:
            raise UserError(f"the server at {self.url} has no model {self.model!r} ({_said(error)}); name one that it serves "
                            "with engine.model") from error
        passing = error.status_code in PASSING or error.status_code >= 500
        return _failed(f"the server at {self.url} answered {error.status_code}: {_said(error)}", passing)

    async def _post(self, body: Mapping[str, Any]) -> Any:
        """The JSON that the server answers ``body`` with.  Raises openai's errors, TimeoutError and Garbled."""
        given = {name: value for name, value in body.items() if value is not None}
        async with self._slots, asyncio.timeout(self.site.request_s * (1 + self.site.retries)):
            raw = await self._client.chat.completions.with_raw_response.create(model=self.model, messages=[], extra_body=given)
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


def _said(error: openai.APIStatusError) -> str:
    return " ".join(error.response.text.split())[:500]


def _failed(detail: str, transient: bool) -> Completion:
    """``detail`` is kept in the trajectory, and a server may repeat what it was sent."""
    return Completion("", "error", None, detail=redact(detail), transient=transient)
