"""Keeps keys and passwords out of everything that is kept or shown: the store, logs, trackers, reports, the terminal."""

import netrc
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, TextIO, cast

HIDDEN = "<redacted>"
# The last word decides: api_key, hf_token and HF_TOKEN are secrets; max_tokens, top_k and turn_tokens are not.
SECRET = re.compile(r"(^|[_\-.]|(?-i:^PG|(?<=[a-z])(?=[A-Z])))"
                    r"(key|apikey|token|jwt|secret|password|passwd|pwd|credentials?|authorization|auth)$", re.I)
SHORTEST = 8
"""Shorter environment values are no keys, and would be found in innocent text."""
LOOKED_AT = 100_000_000
"""Bytes of a file that is looked through."""
# Keys that say by their form what they are.  W&B's older ones are 40 hex digits, as a commit is: those are known by name only.
FORMS = re.compile(r"""(?x)
    \b sk-[\w-]{20,} | \b hf_[A-Za-z0-9]{20,} | \b wandb_v\d_\w{20,} | \b gh[pousr]_[A-Za-z0-9]{30,} | \b github_pat_\w{30,}
  | \b glpat-[\w-]{20,} | \b xox[abprs]-[\w-]{10,} | \b A(?:KIA|SIA)[0-9A-Z]{16} \b | \b AIza[\w-]{35}
  | \b eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+ | (?<= ://) (?: [^/\s:@]* : [^/\s@]+ | [^/\s:@]{12,} ) (?= @)
  | (?<= Bearer\s) [\w.~+/=-]{16,}""")
FROM_ENVIRONMENT = re.compile(r"\$\{oc\.env:\s*(\w+)")


def redact(value: Any) -> Any:
    """``value``, JSON-shaped, with every secret hidden: what has the name or the form of one, or is in the environment as one."""
    return _redact(value, _environment_secrets())


def _redact(value: Any, secrets: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {k: HIDDEN if SECRET.search(k) and _is_text(v) else _redact(v, secrets) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(v, secrets) for v in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return FORMS.sub(HIDDEN, value)
    return value


def _is_text(value: Any) -> bool:
    """Whether there is any in it; numbers are called keys and tokens, too."""
    return bool(value) if isinstance(value, str) else isinstance(value, list | tuple) and any(map(_is_text, value))


def find(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Secrets in a JSON-shaped ``value``: the dotted key each is under, and how it is known for one, without saying it."""
    secrets = _environment_secrets()
    for key, text in _strings(value, path):
        if names := [name for secret, name in secrets.items() if secret in text]:
            yield key, f"it holds what is in {'your netrc file' if names[0] == 'netrc' else '$' + names[0]}"
        elif (match := FROM_ENVIRONMENT.search(text)) and SECRET.search(match[1]):
            yield key, f"it takes over what is in ${match[1]}"
        elif FORMS.search(text):
            yield key, "it looks like a key or a password"
        elif text and SECRET.search(key.partition("[")[0]):
            yield key, "its name is that of a secret"


def holds_secret(path: Path) -> bool:
    """Whether a file holds a secret of the environment.  Large ones, as adapters are, are not looked at."""
    if path.stat().st_size > LOOKED_AT:
        return False
    content = path.read_bytes()
    return any(secret.encode() in content for secret in _environment_secrets())


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _strings(inner, f"{path}[{number}]")
    elif isinstance(value, str):
        yield path, value


def _environment_secrets() -> dict[str, str]:
    """Secret -> the variable it is in.  One that contains another one goes first."""
    found = {v: k for k, v in os.environ.items() if SECRET.search(k) and len(v) >= SHORTEST and not _is_path(k, v)}
    found |= dict.fromkeys(_netrc(os.environ.get("NETRC") or os.path.expanduser("~/.netrc")), "netrc")
    return dict(sorted(found.items(), key=lambda pair: -len(pair[0])))


@cache
def _netrc(path: str) -> tuple[str, ...]:
    """Passwords of a netrc file; W&B keeps its key there."""
    try:
        return tuple(password for _, _, password in netrc.netrc(path).hosts.values() if password and len(password) >= SHORTEST)
    except (OSError, netrc.NetrcParseError):
        return ()


def _is_path(name: str, value: str) -> bool:
    """$PWD, and variables that say where a key is kept."""
    return name in ("PWD", "OLDPWD") or (os.path.isabs(value) and os.path.exists(value))


class _Guarded:
    """A text stream into which no secret is written, as long as it is written in one piece."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def guarded() -> Iterator[None]:
    """What Python prints meanwhile goes through ``redact``; the traceback of what is raised out of it does not."""
    with redirect_stdout(cast(TextIO, _Guarded(sys.stdout))), redirect_stderr(cast(TextIO, _Guarded(sys.stderr))):
        yield
