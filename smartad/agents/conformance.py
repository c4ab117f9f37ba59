"""Does a wall hold?  Every payload is run behind it, and each must come to what is written beside it, and do nothing else.

After each, a witness must be as it was: an interpreter of the same server with its variables, a folder that everyone may
write, a socket that listens, and the list of processes.  A new wall is run against this as it is: ``conform`` takes whatever
opens interpreters.

It refuses to begin where a wall that does not hold could do harm: the payloads' processes must be in a user namespace other
than the machine's, and none may be root.
"""

import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from smartad.agents.executor import ChildExecutor, CodeError, Interpreters, Ran
from smartad.agents.limits import CodeLimits
from smartad.agents.payloads import MARKS, PAYLOADS, PRELUDE, Payload
from smartad.types import UserError

LIMITS = CodeLimits(step_timeout_s=60, cpu_s=30, memory_gb=0.25, output_chars=2000)
ENDLESS_S = 1.0
"""Time for what must be stopped."""
GONE_S = 30
INITIAL = ["0", "0", "4294967295"]
"""How the user namespace of the machine maps its users."""
CANARY = "SMARTAD_CONFORMANCE_CANARY"

Backend = Callable[[CodeLimits], AbstractContextManager[Interpreters]]


@dataclass(frozen=True)
class Outcome:
    """What came of one payload."""

    payload: str
    fault: str
    """What it should not have done; empty when the wall held."""


class Refused(UserError):
    """No payload is run, since that could do harm."""

    def __init__(self, why: str, way_out: str) -> None:
        super().__init__(f"{why}; {way_out}")
        self.why, self.way_out = why, way_out


def conform(backend: Backend, payloads: Sequence[Payload] = PAYLOADS) -> Iterator[Outcome]:
    """Run every payload behind what ``backend`` opens.  Raises Refused when that could do harm."""
    with Witness() as witness, backend(LIMITS) as interpreters:
        by_stander = ChildExecutor(interpreters, seed=1)
        _run(by_stander, "kept = 6")
        refuse_to_harm(interpreters)
        for payload in payloads:
            child = ChildExecutor(interpreters, seed=1, plain=payload.plain)
            child.send_tools({"web_search": lambda query: MARKS})
            interpreters.limits = replace(LIMITS, step_timeout_s=ENDLESS_S) if payload.endless else LIMITS
            ran = _run(child, witness.told(payload, by_stander.pid))
            interpreters.limits = LIMITS
            faults = [*_unexpected(payload, ran, witness), *witness.touched()]
            if not payload.endless and (said := _run(child, "1 + 1").status) != "ok":
                faults.append(f"the next step was {said}")
            child.cleanup()
            if (kept := _run(by_stander, "kept * 7")).output != "42":
                faults.append(f"another episode's variables are gone: {kept}")
            if extra := _left_over(interpreters):
                faults.append(f"processes {extra} were left")
            yield Outcome(payload.name, "; ".join(faults))
        by_stander.cleanup()


def refuse_to_harm(interpreters: Interpreters) -> None:
    """Raise Refused, with all that is wrong, unless the interpreters are in a user namespace of their own, and run as someone
    without rights."""
    about = interpreters.wall.about
    pids = children(interpreters.host_pid) if interpreters.host_pid else []
    if not pids:
        raise Refused(f"{about}: nothing says which processes its code runs in, so no payload is run", "try another wall")
    mappings = [line.split() for pid in pids for line in Path(f"/proc/{pid}/uid_map").read_text().splitlines()]
    in_the_machines = INITIAL in mappings
    wrong = []
    if any("0" in _status(pid, "Uid").split() for pid in pids):
        wrong.append("code would run as root")
    elif any(mapping[1] == "0" for mapping in mappings if mapping != INITIAL):
        wrong.append("outside of its namespace its code would be root")
    if in_the_machines:
        wrong.append("its code would run in the machine's own user namespace, where a wall that does not hold does harm")
    if wrong:
        # Started by root, a namespace that is put around it has root's files.
        as_root = wrong[0].endswith("root") or os.geteuid() == 0
        told = f"{about}: {', and '.join(wrong)} (process {pids[0]}), so no payload is run"
        raise Refused(told, _way_out(interpreters.wall.name, as_root, in_the_machines))


def _way_out(wall: str, as_root: bool, in_the_machines: bool) -> str:
    """How to start the suite so that it can do no harm."""
    ways = (["not as root"] if as_root else []) + (["inside a user namespace of its own"] if in_the_machines else [])
    start = f"start this {', and '.join(ways)}"
    if not in_the_machines:
        return start
    if shutil.which("bwrap") is None:
        return f"{start}; install bubblewrap, which makes one (apt-get install bubblewrap, dnf install bubblewrap)"
    return f"{start}: bwrap --unshare-all --dev-bind / / --tmpfs /tmp --proc /proc smartad doctor --sandbox {wall}"


def children(pid: int) -> list[int]:
    """The processes that ``pid`` is the parent of, and that have not ended."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if int(_status(int(folder.name), "PPid")) == pid and _status(int(folder.name), "State")[0] != "Z":
                    found.append(int(folder.name))
            except (OSError, ValueError):
                continue  # it has ended
    return found


class Witness:
    """What payloads are to leave alone: a folder with a file, two sockets, a variable in the environment."""

    def __init__(self) -> None:
        self.secret = secrets.token_hex(8)
        self._open = ExitStack()

    def __enter__(self) -> "Witness":
        self.folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="smartad-conformance-")))
        self.folder.chmod(0o777)
        self.canary = self.folder / "canary"
        self.canary.write_text(self.secret)
        self.canary.chmod(0o666)
        self._before = self._seen()
        os.environ[CANARY] = self.secret
        self.abstract = f"\0smartad-{self.secret}"
        self._tcp = self._open.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._unix = self._open.enter_context(socket.socket(socket.AF_UNIX))
        self._unix.bind(self.abstract)
        self._unix.listen()
        for listener in (self._tcp, self._unix):
            listener.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        del os.environ[CANARY]
        self._open.close()

    def told(self, payload: Payload, sibling: int | None) -> str:
        """The payload's code, told where the witness is and who is its sibling."""
        where = {"outside": str(self.folder), "canary": str(self.canary), "abstract": self.abstract,
                 "port": self._tcp.getsockname()[1], "suite": os.getpid(), "sibling": sibling}
        return ((PRELUDE if payload.plain else "") + payload.code).format(**where)

    def touched(self) -> Iterator[str]:
        """What is not as it was."""
        if (now := self._seen()) != self._before:
            yield f"the folder outside was changed: {now}"
        for listener in (self._tcp, self._unix):
            try:
                listener.accept()[0].close()
                yield "it reached a socket of this machine"
            except BlockingIOError:
                pass

    def _seen(self) -> list[tuple[str, int, str]]:
        return [(path.name, path.lstat().st_mode, path.read_text() if path.is_file() else "")
                for path in sorted(self.folder.iterdir())]


def _run(child: ChildExecutor, code: str) -> Ran:
    with suppress(CodeError):
        child(code)
    return child.last


def _unexpected(payload: Payload, ran: Ran, witness: Witness) -> Iterator[str]:
    said = "".join((ran.logs, ran.output, ran.error))
    if ran.status not in payload.status:
        yield f"the step was {ran.status}, not {' or '.join(payload.status)}: {ran.error[-300:]}"
    if payload.prints is not None and ran.logs != payload.prints:
        yield f"it printed {ran.logs[:600]!r}, not {payload.prints!r}"
    if payload.gives is not None and ran.output != payload.gives:
        yield f"its value was {ran.output!r}, not {payload.gives!r}"
    if payload.prints is None and ran.status == "ok" and ran.logs != MARKS + "\n":
        yield f"a tool's words came back changed: {ran.logs!r}"
    if witness.secret in said:
        yield "it read what it must not"
    if len(said) > 3 * (LIMITS.output_chars + 500):
        yield f"it said {len(said)} characters"
    if said.encode("utf-8", "replace").decode() != said:
        yield "what it said is no UTF-8"


def _left_over(interpreters: Interpreters) -> list[int]:
    """Processes besides the by-stander's, once those that are ending have ended."""
    until = time.monotonic() + GONE_S
    while len(left := children(interpreters.host_pid or 0)) > 1 and time.monotonic() < until:
        time.sleep(0.01)
    return left[1:]


def _status(pid: int, field: str) -> str:
    text = Path(f"/proc/{pid}/status").read_text()
    return text.partition(f"\n{field}:")[2].partition("\n")[0].strip()
