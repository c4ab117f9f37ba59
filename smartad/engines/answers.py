"""What an OpenAI-compatible server answered, read into completions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from smartad.records import writable
from smartad.types import Choices, Completion, Request, UserError

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""In a token's text: it is no whole character."""


class Garbled(ValueError):
    """An answer that no OpenAI-compatible server gives."""


def completions(body: Any, request: Request, model: str) -> tuple[Completion, ...]:
    """The candidates in ``body``, the JSON that ``model`` was to answer ``request`` with; at least one.

    ``stopped_by`` is what the server says (vLLM's ``stop_reason``), or the first stop string in the text of a server that
    leaves it in.  One that takes it out and does not say which it was makes it look as if the model had ended its turn.
    ``length`` before ``max_tokens`` is ``context_overflow``.  Token ids, log-probabilities and choices are there when the
    server gives them.

    Raises Garbled when that is no such answer, UserError when another model answered.
    """
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not isinstance(choices, list) or not choices:
        raise Garbled(f"no choices in {body!r:.200}")
    answered = body.get("model")
    # Some add the date or the revision to the name.
    if answered is not None and not str(answered).startswith(model):
        raise UserError(f"the server was asked for the model {model!r}, and {answered!r} answered; name what is wanted, and "
                        "what it serves, with engine.model")
    usage = body.get("usage") or {}
    counted = usage.get("completion_tokens") if isinstance(usage, Mapping) and len(choices) == 1 else None
    try:
        return tuple(_completion(choice, request, counted) for choice in choices)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Garbled(f"{type(error).__name__} ({error}) in {choices!r:.200}") from error


def _completion(choice: Mapping[str, Any], request: Request, counted: int | None) -> Completion:
    told: list[Mapping[str, Any]] = (choice.get("logprobs") or {}).get("content") or []
    ids = tuple(int(token) for token in choice.get("token_ids") or ())
    tokens = len(ids) or len(told) or counted
    text, reason, ended = writable(choice["message"].get("content") or ""), choice.get("finish_reason"), choice.get("stop_reason")
    if reason not in ("stop", "length"):
        return Completion("", "error", tokens, detail=f"the server ended its answer with {reason!r}", transient=reason == "abort")
    found = [(text.find(stop), stop) for stop in request.stop if stop in text]
    at, stopped_by = min(found) if found else (len(text), ended if ended in request.stop else None)
    finish: Literal["stop", "length", "context_overflow"] = "stop"  # also where a server that takes no stop strings went on
    if stopped_by is None and reason == "length":
        finish = "context_overflow" if tokens is not None and tokens < request.max_tokens else "length"
    spoken = finish == "stop" and stopped_by is None
    likeliest = tuple(_choices(told, text + ("" if found else stopped_by or ""), spoken)) if request.top_logprobs else ()
    return Completion(text[:at], finish, tokens, stopped_by, choices=likeliest, token_ids=ids,
                      logprobs=tuple(round(float(token["logprob"]), 6) for token in told))


def _choices(told: Sequence[Mapping[str, Any]], text: str, spoken: bool) -> Iterator[Choices]:
    """What was likeliest at each token that is whole characters of ``text``.  A server may write a part of a character as a
    broken one, or as nothing and then all of it with its last part.

    ``spoken``: the model ended its turn itself, so that the last token is the one that ends turns if the text is over before
    it.  Where it is among the likeliest, it is "" as everywhere; in an answer that ended otherwise nobody knows which it is.
    """
    last = told[-1]["token"] if told else ""
    end = last if spoken and last and not text.endswith(last) else None
    position, broken, begun = 0, 0, False
    for number, token in enumerate(told):
        over = token["token"] == end and number == len(told) - 1
        said = "" if over else token["token"]
        if BROKEN in said:
            broken += len(said)
            continue
        if not said and not over:
            begun = True
            continue
        if broken:  # parts of characters that no whole token is a part of, so the first place is the right one
            position, broken = text.find(said, position + 1, position + broken + len(said)) if said else len(text), 0
        if position < 0 or not text.startswith(said, position):
            return  # the text was cut here
        if begun:
            position, begun = position + len(said), False
            continue
        ranked = [("" if other["token"] == end else writable(other["token"]), float(other["logprob"]))
                  for other in token.get("top_logprobs") or ()]
        whole = [(name, logprob) for name, logprob in ranked if BROKEN not in name]
        yield Choices(position, position + len(said), tuple(name for name, _ in whole),
                      tuple(round(logprob, 6) for _, logprob in whole))
        position += len(said)
