"""A vLLM server that a job starts, waits for, and ends.  vLLM itself lives in an environment of its own; this speaks to it."""

import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from smartad.engines import served
from smartad.processes import exit_reason
from smartad.site import EngineSite
from smartad.types import UserError

log = logging.getLogger(__name__)
HOST = "127.0.0.1"
GUARD = Path(__file__).with_name("guard.py")
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for --max-lora-rank."""
POLL_S = 0.5
TAIL = 4000
"""Characters of its log in an error."""
GRACE_S = 10.0
"""For the guard to have killed the server."""


@dataclass
class Server:
    """One that runs."""

    url: str
    name: str
    """What the base model is called there, and at no other server."""
    key: str
    guard: "subprocess.Popen[bytes]"
    log: Path
    adapters: dict[Path, str] = field(default_factory=dict)
    """What those that it has are called."""

    def model(self, adapter: Path | None) -> str:
        """What to ask for: the base model, or ``adapter``, which is loaded if it is not there."""
        if adapter is None:
            return self.name
        if adapter not in self.adapters:
            self.adapters[adapter] = served.load_adapter(self.url, self.key, adapter)
        return self.adapters[adapter]

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return self.name in served.models(self.url, self.key).roots
        except (ConnectionError, UserError):
            return False

    def why_gone(self) -> str:
        """How it ended and its last words; empty while it runs."""
        status = self.guard.poll()
        if status is None:
            return ""
        how = exit_reason(-(status - 128) if 128 < status < 160 else status)
        return f"the server that this job started has ended ({how}); the end of its log {self.log}:\n{tail(self.log)}"


def tail(path: Path) -> str:
    """The last lines of a log."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")[-TAIL:].strip()
    except OSError as error:
        return f"(it cannot be read: {error})"


class _Kept:
    """Servers that go on from stage to stage."""

    def __init__(self) -> None:
        self.servers = dict[tuple[object, ...], Server]()
        self.stack = ExitStack()

    def get(self, *wanted: object) -> Server | None:
        found = self.servers.get(wanted)
        return found if found and found.answers() else None

    def add(self, server: AbstractContextManager[Server], *wanted: object) -> Server:
        self.servers[wanted] = self.stack.enter_context(server)
        return self.servers[wanted]

    def clear(self) -> None:
        """End them: another one needs the GPU."""
        self.servers.clear()
        self.stack.close()


_kept: _Kept | None = None


@contextmanager
def kept() -> Iterator[None]:
    """Servers that are started inside go on until its end, for the next stage that wants the same one."""
    global _kept
    before, _kept = _kept, _Kept()
    try:
        yield
    finally:
        _kept.clear()
        _kept = before


@contextmanager
def serving(site: EngineSite, model: str, revision: str | None, adapter: Path | None, log_file: Path) -> Iterator[Server]:
    """A server of ``model`` (a folder or a hub id) as ``site`` describes it, ready to answer.

    With ``adapters: one`` it has this ``adapter`` and takes no other; with many it takes any.

    Raises UserError when it cannot be started, does not come up, or cannot serve the adapter; TimeoutError when it takes
    longer than ``start_s``.
    """
    if site.adapters == "one":
        with _started(site, model, revision, adapter, log_file) as server:
            yield server
        return
    if adapter is not None and served.rank_of(adapter) > site.max_rank:
        raise UserError(f"the adapter {adapter} has rank {served.rank_of(adapter)}, and engine.max_rank={site.max_rank}; "
                        "raise it")
    if _kept is None:
        with _started(site, model, revision, None, log_file) as server:
            yield server
        return
    wanted = (repr(site), model, revision)
    found = _kept.get(*wanted)
    if found is None:
        _kept.clear()
        found = _kept.add(_started(site, model, revision, None, log_file), *wanted)
    yield found


@contextmanager
def _started(site: EngineSite, model: str, revision: str | None, adapter: Path | None, log_file: Path) -> Iterator[Server]:
    program = shutil.which(site.command[0])
    if program is None:
        raise UserError(f"no program {site.command[0]!r} to start a server with: vLLM lives in an environment of its own, so "
                        "give its whole path, engine.command=[/PATH/TO/vllm/bin/vllm, serve]")
    port, key, name = _port(site.port), secrets.token_hex(16), f"smartad-{secrets.token_hex(6)}"
    revisions = ["--revision", revision, "--tokenizer-revision", revision] if revision else []
    known = {adapter: served.adapter_name(adapter)} if adapter else {}
    words = [program, *site.command[1:], model, *revisions, "--host", HOST, "--port", str(port), "--served-model-name", name,
             *_lora(site, known), *site.flags]
    with log_file.open("ab") as out:
        guard = subprocess.Popen([sys.executable, "-I", str(GUARD), str(site.stop_s), *words], stdin=subprocess.PIPE,
                                 stdout=out, stderr=out, start_new_session=True, env=_variables(key))
    assert guard.stdin is not None
    server = Server(f"http://{HOST}:{port}/v1", name, key, guard, log_file, known)
    try:
        _wait(server, site.start_s)
        log.info("the server %s of %s answers at %s", name, model, server.url)
        yield server
    finally:
        guard.stdin.close()
        try:
            guard.wait(site.stop_s + GRACE_S)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()


def _variables(key: str) -> Mapping[str, str]:
    """What the server finds in its environment: on a machine with other users, a key of its own."""
    # The path of the modules is this interpreter's; the server has an environment of its own.
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    return {**own, "VLLM_API_KEY": key, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}


def _lora(site: EngineSite, known: Mapping[Path, str]) -> list[str]:
    if site.adapters == "one" and not known:
        return []
    largest = max(map(served.rank_of, known)) if known else site.max_rank
    allowed = next((rank for rank in RANKS if rank >= largest), None)
    if allowed is None:
        raise UserError(f"vLLM takes adapters up to rank {RANKS[-1]}, and this is one of {largest}; use engine.kind=hf")
    modules = ["--lora-modules", *(f"{name}={folder.absolute()}" for folder, name in known.items())] if known else []
    return ["--enable-lora", "--max-loras", str(1 if known else site.max_adapters), "--max-lora-rank", str(allowed), *modules]


def _port(wanted: int | None) -> int:
    """``wanted`` if nobody has it, or any that is free.  Raises UserError that says whose it is."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was closed a minute ago is free
        try:
            probe.bind((HOST, wanted or 0))
        except OSError as error:
            try:
                whose = f"by a server of {', '.join(served.models(f'http://{HOST}:{wanted}/v1').roots.values())}"
            except (ConnectionError, UserError):
                whose = "by another program"
            raise UserError(f"engine.port={wanted} is taken on this machine, {whose}; name another port, or null for a free one. "
                            "To use a server that runs already: engine.kind=http") from error
        return int(probe.getsockname()[1])


def _wait(server: Server, start_s: float) -> None:
    """Until ``server`` lists the model that it was started with."""
    until = time.monotonic() + start_s
    while time.monotonic() < until:
        if gone := server.why_gone():
            raise UserError(f"no engine: {gone}")
        try:
            found = served.models(server.url, server.key).roots
        except (ConnectionError, UserError):  # not yet, or another's, who does not know our key
            found = {}
        if server.name in found:
            return
        if found:
            raise UserError(f"a server of {', '.join(found)} has taken {server.url} while ours was starting; try again")
        time.sleep(POLL_S)
    raise TimeoutError(f"the server {server.name} does not answer after {start_s:g} s (engine.start_s); the end of its log "
                       f"{server.log}:\n{tail(server.log)}")
