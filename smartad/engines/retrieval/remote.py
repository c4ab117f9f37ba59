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


class Remote:
    """The index ``fingerprint``, served at ``url``."""

    def __init__(self, url: str, fingerprint: str) -> None:
        """Raises UserError when something else is served there, ToolDown when nothing answers."""
        self.url, self.fingerprint = url.rstrip("/"), fingerprint
        self._client = httpx.Client(timeout=TIMEOUT_S, trust_env=False)  # a proxy has no business with a retriever
        try:
            said = self._ask("GET", "/health")
        except (ValueError, RecordError) as error:
            raise UserError(f"retriever={url} is no retriever of smartad: {error}") from error
        if (served := said.get("fingerprint")) != fingerprint:
            raise UserError(f"retriever={url} serves {served}, and this stage searches {fingerprint}; start "
                            f"`smartad serve-retriever {fingerprint}`, or leave retriever out of the profile to search in the "
                            "stage's own process")

    def search_all(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """For each query at most ``k`` passages, the best first.  Raises ToolDown when they cannot be had."""
        try:
            said = self._ask("POST", "/search", {"queries": list(queries), "k": k})
            if said["fingerprint"] != self.fingerprint:
                raise ToolDown(f"{self.url} serves {said['fingerprint']} by now, and this stage searches {self.fingerprint}")
            return [[from_json(Passage, passage) for passage in found] for found in said["results"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ToolDown(f"{self.url} gave no answer that can be read: {error}") from error

    def _ask(self, method: str, path: str, content: Any = None) -> dict[str, Any]:
        """Raises ToolDown when there is no answer after some tries, ValueError for one that is no object of JSON."""
        pause, why = PAUSE_S, ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(pause)
                pause *= 2
            try:
                answer = self._client.request(method, self.url + path, json=content)
            except httpx.HTTPError as error:
                why = f"{type(error).__name__}: {error}"
                continue
            if answer.status_code < 500:
                break
            why = f"status {answer.status_code}: {answer.text[:200]}"
        else:
            raise ToolDown(f"the retriever at {self.url} did not answer in {TRIES} tries: {why}")
        if answer.status_code != 200:
            raise ValueError(f"status {answer.status_code}: {answer.text[:200]}")
        said = answer.json()
        if not isinstance(said, dict):
            raise ValueError(f"expected an object, got {said!r:.60}")
        return said
