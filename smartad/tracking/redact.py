"""Keeps keys and passwords out of what trackers are told."""

import os
import re
from typing import Any

from smartad.fingerprint import canonical

HIDDEN = "<redacted>"
# The last word decides: api_key, hf_token and HF_TOKEN are secrets; max_tokens, top_k and turn_tokens are not.
SECRET = re.compile(r"(^|[_\-.])(key|apikey|token|secret|password|passwd|pwd|credentials?|authorization|auth)$", re.I)
SHORTEST = 8
"""Shorter environment values are no keys, and would be found in innocent text."""


def redact(value: Any) -> Any:
    """``value`` as canonical JSON, with strings under a secret's name, and secrets of the environment, hidden."""
    return _redact(canonical(value), _environment_secrets())


def _redact(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, dict):
        return {k: HIDDEN if isinstance(v, str) and v and SECRET.search(k) else _redact(v, secrets)
                for k, v in value.items()}
    if isinstance(value, list):
        return [_redact(v, secrets) for v in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
    return value


def _environment_secrets() -> list[str]:
    found = {v for k, v in os.environ.items() if SECRET.search(k) and len(v) >= SHORTEST}
    return sorted(found, key=len, reverse=True)  # a secret that contains another one goes first
