"""A retriever in another process: the client of :mod:`server`."""

import time
from collections.abc import Sequence
from typing import Any

import httpx

from smartad.records import RecordError, from_json
from smartad.types import Passage, ToolDown, UserError

TIMEOUT_S = 120.0
"""Of an answer; a flat search through Wikipedia takes seconds on a CPU."""
TRIES, PAUSE_S = 4, 0.5
"""The pause doubles from try to try."""
LOOK_TIMEOUT_S = 10.0


def served(url: str) -> str:
    """The fingerprint of the index that is served at ``url``, asked once.

    Raises UserError when something else is served there, ToolDown when nothing answers.
    """
    with httpx.Client(timeout=LOOK_TIMEOUT_S, trust_env=False) as client:
        return _health(client, url.rstrip("/"), tries=1)


def _health(client: httpx.Client, url: str, tries: int) -> str:
    try:
        said = _ask(client, url, tries, "GET", "/health")
    except (ValueError, RecordError) as error:
        raise UserError(f"retriever={url} is no retriever of smartad: {error}") from error
    if not isinstance(said.get("fingerprint"), str):
        raise UserError(f"retriever={url} is no retriever of smartad: its /health names no index")
    return str(said["fingerprint"])


def _ask(client: httpx.Client, url: str, tries: int, method: str, path: str, content: Any = None) -> dict[str, Any]:
    """Raises ToolDown when there is no answer after some tries, ValueError for one that is no object of JSON."""
    pause, why = PAUSE_S, ""
    for attempt in range(tries):
        if attempt:
            time.sleep(pause)
            pause *= 2
        try:
            answer = client.request(method, url + path, json=content)
        except httpx.HTTPError as error:
            why = f"{type(error).__name__}: {error}"
            continue
        if answer.status_code < 500:
            break
        why = f"status {answer.status_code}: {answer.text[:200]}"
    else:
        raise ToolDown(f"the retriever at {url} did not answer{f' in {tries} tries' if tries > 1 else ''}: {why}")
    if answer.status_code != 200:
        raise ValueError(f"status {answer.status_code}: {answer.text[:200]}")
    said = answer.json()
    if not isinstance(said, dict):
        raise ValueError(f"expected an object, got {said!r:.60}")
    return said


class Remote:
    """The index ``fingerprint``, served at ``url``."""

    def __init__(self, url: str, fingerprint: str) -> None:
        """Raises UserError when something else is served there, ToolDown when nothing answers."""
        self.url, self.fingerprint = url.rstrip("/"), fingerprint
        self._client = httpx.Client(timeout=TIMEOUT_S, trust_env=False)  # a proxy has no business with a retriever
        if (found := _health(self._client, self.url, TRIES)) != fingerprint:
            raise UserError(f"retriever={url} serves {found}, and this stage searches {fingerprint}; start "
                            f"`smartad serve-retriever {fingerprint}`, or leave retriever out of the profile to search in the "
                            "stage's own process")

    def search_all(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query at most ``k`` passages, the best first.  Raises ToolDown when they cannot be had."""
        try:
            said = _ask(self._client, self.url, TRIES, "POST", "/search", {"queries": list(queries), "k": k})
            if said["fingerprint"] != self.fingerprint:
                raise ToolDown(f"{self.url} serves {said['fingerprint']} by now, and this stage searches {self.fingerprint}")
            return [[from_json(Passage, passage) for passage in found] for found in said["results"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ToolDown(f"{self.url} gave no answer that can be read: {error}") from error
