"""Where model-written code runs: a process of its own for every episode, with limits, and killed when it breaks them.

smolagents' interpreter keeps honest code honest; what holds against code that means harm is the wall around the process
(agents/walls.py).
"""

import contextlib
import json
import logging
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smolagents.local_python_executor import CodeOutput, PythonExecutor

from smartad.agents import walls
from smartad.agents.limits import CodeLimits
from smartad.records import writable
from smartad.types import StepStatus, ToolDown

log = logging.getLogger(__name__)
START_TIMEOUT_S = 120
"""A cold file system can take its time over an import."""
STOP_TIMEOUT_S = 10
MAX_REPLY_BYTES = 16 << 20
TOOL_SHARE = 0.1
"""Of a step's time, what one call of a tool can take of it: a search that has to wait must not fail its step, and one in an
endless loop must not keep it alive."""
LOST = "It was stopped, and all variables are lost."
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")


@dataclass(frozen=True)
class Ran:
    """What came of one step's code."""

    status: StepStatus
    logs: str = ""
    """What it printed."""
    output: str = ""
    """The value of its last expression, or what ``final_answer`` was given."""
    error: str = ""


class CodeError(Exception):
    """The code failed, as it may; the agent tells its model."""


class Interpreters:
    """The server that interpreters are forked from, and all of them.  A context manager; leaving it ends every process.

    Open it in a thread that outlives it: the kernel ends the server with the thread that started it.
    """

    def __init__(self, limits: CodeLimits, sandbox: str | walls.Wall = "auto") -> None:
        self.limits = limits
        self.wall = walls.choose(sandbox) if isinstance(sandbox, str) else sandbox
        if self.wall.name == "none":
            log.warning("sandbox=none: code that models write can do here all that you can")
        self.host_pid: int | None = None
        """The server's pid as this process sees it, once it has started; those it tells may be of a namespace of its own."""
        # An episode whose step waits for a processor must not time out, so no more steps run than there are processors.
        self.slots = threading.Semaphore(max(2, len(os.sched_getaffinity(0))))
        self._lock = threading.Lock()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(START_TIMEOUT_S)
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        settings = {"filtered": self.wall.filtered, "readable": self.wall.readable, "imports": limits.imports,
                    "sees_parent": not self.wall.command}
        # Without -S the folders of this machine's site would be looked at, and its hooks run.
        server = [walls.python(), "-S", "-P", "-m", "smartad.agents.interpreter", str(os.getpid()), json.dumps(settings)]
        with theirs:
            self.server = subprocess.Popen([*self.wall.command, *server], stdin=theirs.fileno(), stdout=subprocess.DEVNULL,
                                           stderr=self._errors, cwd="/", start_new_session=True, env=walls.environment())
        self._started = False

    def __enter__(self) -> "Interpreters":
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()  # the server sees it, ends and reaps its children, and leaves
        try:
            self.server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        self._errors.close()

    def start(self, options: Mapping[str, Any]) -> tuple[int, socket.socket]:
        """Fork an interpreter: its pid, and the stream to it.  Raises RuntimeError when the machine cannot bound it."""
        ours, theirs = socket.socketpair()
        with theirs:
            said = self._ask({"start": {**asdict(self.limits), **options}}, theirs)
        if said["bounded"]:
            return int(said["pid"]), ours
        with ours:
            try:
                why = Conversation(ours, time.monotonic() + START_TIMEOUT_S).receive()["broken"]
            except OSError as error:
                why = error
        self.end(int(said["pid"]))
        raise RuntimeError(f"an interpreter could not be set up: {why}")

    def copy(self, pid: int, make: Callable[[], int]) -> bool:
        """Allow the interpreter ``pid`` to copy itself once; ``make`` tells it to, and returns the copy's pid.  Whether there
        is such a copy."""
        if self._ask({"copy": pid})["status"] is None:
            return False
        return self._ask({"adopt": make(), "of": pid})["status"] is not None

    def end(self, pid: int) -> int | None:
        """Kill an interpreter that ``start`` returned; how it ended: its exit code, negative for a signal."""
        return self._ask({"end": pid})["status"]

    def starved_s(self, pid: int) -> float | None:
        """Seconds for which the interpreter ``pid`` could have run and had no processor; None where the kernel does not tell."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError, KeyError):  # others' processes end meanwhile
                told = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
                if int(told["PPid"]) == self.host_pid and int(told["NSpid"].split()[-1]) == pid:
                    _, waited_ns, turns = map(int, (folder / "schedstat").read_text().split())
                    return waited_ns / 1e9 if turns else None  # all zero where it is not counted
        return None

    def _ask(self, request: Mapping[str, Any], link: socket.socket | None = None) -> dict[str, Any]:
        with self._lock:
            try:
                if not self._started:
                    self._receive()
                    self._started = True
                socket.send_fds(self._control, [json.dumps(request).encode()], [link.fileno()] if link else [])
                return self._receive()
            except OSError as error:
                self._errors.seek(0)
                said = self._errors.read().decode(errors="replace").strip()
                raise RuntimeError(f"the interpreter server is gone ({error}); it said: {said[-2000:]!r}") from error

    def _receive(self) -> dict[str, Any]:
        packet, credentials, _, _ = self._control.recvmsg(1 << 16, socket.CMSG_SPACE(12))
        if not packet:
            raise ConnectionResetError("it closed its socket")
        if self.host_pid is None:
            self.host_pid = struct.unpack("iII", credentials[0][2])[0]
        return json.loads(packet)


class ChildExecutor(PythonExecutor):
    """smolagents' executor seam: one interpreter, started when first needed and replaced after it had to be killed."""

    def __init__(self, interpreters: Interpreters, seed: int, plain: bool = False) -> None:
        """``plain``: run code as Python does, not in smolagents' interpreter; for those who try the wall."""
        self.last = Ran("ok")
        """What came of the latest code."""
        self.pid: int | None = None
        self._interpreters, self._seed, self._plain = interpreters, seed, plain
        self._tools: dict[str, Callable[..., Any]] = {}
        self._link: socket.socket | None = None

    def send_tools(self, tools: dict[str, Callable[..., Any]]) -> None:
        """These run in this process; code calls them over the stream."""
        self._tools = {name: tool for name, tool in tools.items() if name != "final_answer"}

    def send_variables(self, variables: dict[str, Any]) -> None:
        """Episodes start without variables."""

    def __call__(self, code_action: str) -> CodeOutput:
        """Run one step's code.  Raises CodeError when it fails; either way ``last`` says what happened."""
        with self._interpreters.slots:
            self.last = self._run(code_action)
        if self.last.status not in ("ok", "final"):
            raise CodeError(self.last.error)
        return CodeOutput(self.last.output, self.last.logs, self.last.status == "final")

    def branch(self) -> "ChildExecutor":
        """A copy with all the variables of this one, in a process of its own; each can go on, and end, without the other.

        Raises CodeError when code has broken the interpreter, RuntimeError when the machine cannot make the copy.
        """
        twin = ChildExecutor(self._interpreters, self._seed, self._plain)
        twin._tools, twin.last = self._tools, self.last
        if self._link is None or self.pid is None:
            return twin  # nothing has run: a fresh interpreter is a copy
        stream = Conversation(self._link, time.monotonic() + START_TIMEOUT_S)
        ours, theirs = socket.socketpair()

        def make() -> int:
            with theirs:
                stream.send({"copy": True}, theirs)
                answer = stream.receive()
            if "error" in answer:
                raise RuntimeError(f"an interpreter could not be copied: {answer['error']}")
            twin.pid, twin._link = int(answer["pid"]), ours
            return int(answer["pid"])

        try:
            copied = self._interpreters.copy(self.pid, make)
            if not copied:
                raise ValueError("it named a copy that there is not")
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            ours.close()
            self.last = self._post_mortem(error)
            raise CodeError(self.last.error) from error
        return twin

    def cleanup(self) -> int | None:
        """End the interpreter, if there is one; how it ended."""
        if self._link is None or self.pid is None:
            return None
        self._link.close()
        pid, self._link, self.pid = self.pid, None, None
        return self._interpreters.end(pid)

    def _run(self, code: str) -> Ran:
        limits = self._interpreters.limits
        if self._link is None:
            options = {"seed": self._seed, "tools": sorted(self._tools), "plain": self._plain}
            self.pid, self._link = self._interpreters.start(options)
        stream = Conversation(self._link, time.monotonic() + limits.step_timeout_s)
        try:
            ran = self._converse(stream, code)
        except TimeoutError:
            self.cleanup()
            return Ran("timeout", error=f"The code ran for more than {limits.step_timeout_s:g} s. {LOST}")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            return self._post_mortem(error)
        if ran.status == "oom":
            self.cleanup()
            return Ran("oom", ran.logs, error=f"The code needed more than {limits.memory_gb:g} GB of memory. {LOST}")
        return ran

    def _converse(self, stream: "Conversation", code: str) -> Ran:
        """Send code, answer the calls of tools, and return what came of it.

        Raises TimeoutError; OSError, ValueError, KeyError or TypeError for an interpreter that ended or babbles.
        """
        stream.send({"code": code})
        while "call" in (message := stream.receive()):
            called = time.monotonic()
            answer = self._call(message)
            stream.forgive(time.monotonic() - called - TOOL_SHARE * self._interpreters.limits.step_timeout_s)
            stream.send(answer)
        if message["status"] not in ("ok", "final", "exec_error", "oom"):
            raise ValueError(f"an answer of status {message['status']!r:.60}")
        logs, output, error = (message[field] for field in ("logs", "output", "error"))
        if not all(isinstance(text, str) for text in (logs, output, error)):
            raise ValueError("an answer that is no text")
        return Ran(message["status"], _printable(logs), _printable(output), _printable(error))

    def _call(self, message: dict[str, Any]) -> dict[str, Any]:
        self._interpreters.slots.release()  # what waits for an answer needs no processor
        try:
            return {"value": str(self._tools[message["call"]](*message["args"], **message["kwargs"]))}
        except ToolDown:
            raise
        except Exception as error:  # a tool called with the wrong arguments is the code's mistake
            return {"error": f"{type(error).__name__}: {error}"}
        finally:
            self._interpreters.slots.acquire()

    def _post_mortem(self, error: Exception) -> Ran:
        """The interpreter ended, or sent something else than an answer."""
        status, limits = self.cleanup(), self._interpreters.limits
        if status == -signal.SIGXCPU:
            return Ran("timeout", error=f"The code took more than {limits.cpu_s} s of CPU time. {LOST}")
        if status == -signal.SIGKILL and isinstance(error, OSError):
            return Ran("oom", error=f"The machine ran out of memory. {LOST}")
        return Ran("exec_error", error=f"The code broke its interpreter ({error or type(error).__name__}). {LOST}")


class Conversation:
    """JSON lines to and from an interpreter, until a deadline (``time.monotonic``).

    ``more_s``: asked when the deadline has passed: seconds to put it off by.
    """

    def __init__(self, link: socket.socket, deadline: float, more_s: Callable[[], float] = lambda: 0.0) -> None:
        self._link, self._deadline, self._more_s = link, deadline, more_s
        self._received = bytearray()

    def send(self, message: Mapping[str, Any], descriptor: socket.socket | None = None) -> None:
        """With a ``descriptor`` to hand over, if there is one.  Raises TimeoutError, or OSError when the interpreter is gone."""
        self._wait_no_longer()
        line = json.dumps(message).encode() + b"\n"
        if descriptor is not None:
            socket.send_fds(self._link, [line], [descriptor.fileno()])
        else:
            self._link.sendall(line)

    def receive(self) -> dict[str, Any]:
        """Raises TimeoutError, OSError when the interpreter is gone, ValueError for what is not a line of JSON."""
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > MAX_REPLY_BYTES:
                raise ValueError(f"an answer of more than {MAX_REPLY_BYTES} bytes")
            self._wait_no_longer()
            try:
                part = self._link.recv(1 << 20)
            except TimeoutError:
                continue  # there may be more
            if not part:
                raise ConnectionResetError("it ended")
            self._received += part
        line = bytes(self._received[:end])
        del self._received[:end + 1]
        return json.loads(line)

    def forgive(self, seconds: float) -> None:
        """Put the deadline off, if these are more than none."""
        self._deadline += max(0.0, seconds)

    def _wait_no_longer(self) -> None:
        if self._deadline <= time.monotonic():
            self.forgive(self._more_s())
        if (left := self._deadline - time.monotonic()) <= 0:
            raise TimeoutError
        self._link.settimeout(left)


def _printable(text: str) -> str:
    """Text that can be written as UTF-8, and that does not change with where an object happens to lie in memory."""
    return ADDRESS.sub("at 0x0", writable(text))
