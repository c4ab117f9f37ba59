"""What a server says of itself, and adapters that it is given: the part of its protocol that is not about completions."""

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from smartad.redact import HIDDEN
from smartad.types import UserError

TIMEOUT_S = 10.0
LOAD_S = 300.0
"""For an adapter from a slow file system to the GPU."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Served:
    """The models of one server."""

    roots: Mapping[str, str]
    """Name -> where it was loaded from, as far as the server says; the name itself where it does not."""
    vllm: bool


def base_url(url: str) -> str:
    """``url`` as clients want it: with /v1 if it names no path, without a slash at its end."""
    return url.rstrip("/") if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/v1"


def is_loopback(url: str) -> bool:
    """Whether it is on this machine: then no proxy stands between."""
    return urlsplit(url).hostname in LOOPBACK


def models(url: str, key: str | None = None, key_variable: str | None = None) -> Served:
    """What the server at ``url`` serves.  ``key_variable``: where the key came from, for the message.

    Raises ConnectionError when nobody answers as one, UserError when the key is refused or the address is another one's.
    """
    try:
        listed = json.loads(_call(f"{url}/models", key, None, TIMEOUT_S))["data"]
        return Served({str(card["id"]): str(card.get("root") or card["id"]) for card in listed},
                      any(card.get("owned_by") == "vllm" for card in listed))
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise refused_key(url, error.code, key_variable) from error
        if error.code == 404:
            raise UserError(f"the server at {url} has no {url}/models (404): is there /v1 at the end of the address? A server "
                            "that lists no models is asked as it is with engine.server=openai and engine.model") from error
        raise ConnectionError(f"the server at {url} cannot list its models: {_said(error, key)}") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConnectionError(f"no model server answers at {url}: {error}") from error


def refused_key(url: str, status: int, variable: str | None) -> UserError:
    """What to say when the server at ``url`` answers ``status`` to the key in $``variable``, or to none."""
    if variable is None:
        return UserError(f"the server at {url} wants a key ({status}); name the environment variable that holds it with "
                         "engine.key_variable")
    return UserError(f"the key in ${variable} is refused by the server at {url} ({status}); export the right one where the stage "
                     "runs, or name another variable with engine.key_variable")


def check_listed(url: str, model: str, listed: Served) -> None:
    """Raise UserError when the server at ``url`` does not list ``model`` among its models."""
    if model not in listed.roots:
        raise UserError(f"engine.model={model}: the server at {url} serves {', '.join(listed.roots) or 'nothing'}; name one "
                        "of these")


def adapter_name(folder: Path) -> str:
    """What an adapter is called at a server: its content, so one that is there already is the same one.  Its config is of that,
    since the same weights scaled by another alpha are another adapter."""
    with (folder / "adapter_model.safetensors").open("rb") as weights:
        content = hashlib.file_digest(weights, "sha256")
    content.update((folder / "adapter_config.json").read_bytes())
    return f"adapter-{content.hexdigest()[:16]}"


def rank_of(folder: Path) -> int:
    """The rank of the adapter in ``folder``."""
    return int(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["r"])


def load_adapter(url: str, key: str | None, folder: Path) -> str:
    """Have the server at ``url`` load the adapter in ``folder``, unless it has it.  What it is called there.

    Raises UserError when the server loads none, or not this one.
    """
    name = adapter_name(folder)
    if name in models(url, key).roots:
        return name
    try:
        _call(f"{url}/load_lora_adapter", key, {"lora_name": name, "lora_path": str(folder.absolute())}, LOAD_S)
    except urllib.error.HTTPError as error:
        said = _said(error, key)
        if name in models(url, key).roots:  # another process was quicker
            return name
        if error.code in (404, 405):
            raise UserError(f"the server at {url} loads no adapters while it runs; start it with --enable-lora and "
                            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment, let the job start its own "
                            "(engine.kind=vllm), or merge the adapter (smartad pull --merge) and name the folder as the "
                            "student") from error
        raise UserError(f"the server at {url} cannot load the adapter {folder}: {said}") from error
    except OSError as error:
        raise ConnectionError(f"the server at {url} broke off while it loaded the adapter {folder}: {error}") from error
    return name


def _call(url: str, key: str | None, body: Mapping[str, Any] | None, timeout_s: float) -> bytes:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(url, json.dumps(body).encode() if body is not None else None, headers)
    handlers = [urllib.request.ProxyHandler({})] if is_loopback(url) else []
    with urllib.request.build_opener(*handlers).open(request, timeout=timeout_s) as response:
        return response.read()


def _said(error: urllib.error.HTTPError, key: str | None) -> str:
    text = error.read().decode(errors="replace")
    return f"{error.code} {' '.join((text.replace(key, HIDDEN) if key else text).split())[:500]}"
