"""An interpreter, once it is forked and bounded: runs the code of one episode, in one state, and copies itself."""

import json
import os
import random
import resource
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from smolagents.local_python_executor import CodeOutput, LocalPythonExecutor, PrintContainer
from smolagents.utils import truncate_content

from smartad.agents import seccomp
from smartad.agents.bounds import LINK, die_with_parent


class Stream:
    """JSON lines to and from the parent, and the descriptors that come with them."""

    def __init__(self, link: socket.socket) -> None:
        self.handed: list[int] = []
        self._link = link
        self._received = bytearray()

    def lines(self) -> Iterator[dict[str, Any]]:
        """What the parent sends, until it closes."""
        while (message := self.read()) is not None:
            yield message

    def read(self) -> dict[str, Any] | None:
        """The next message; None at the end."""
        while (end := self._received.find(b"\n")) < 0:
            part, descriptors, _, _ = socket.recv_fds(self._link, 1 << 16, 1)
            self.handed += descriptors
            if not part:
                return None
            self._received += part
        line = bytes(self._received[:end])
        del self._received[:end + 1]
        return json.loads(line)

    def write(self, message: Mapping[str, Any]) -> None:
        """Send one message."""
        self._link.sendall(json.dumps(message, default=str).encode() + b"\n")


def seed_chance(seed: int) -> None:
    """Seed ``random``, and with it numpy's generators, also those that code makes without a seed, and sympy's."""
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed % 2**32)
        numpy.random.bit_generator.randbits = random.getrandbits
    if sympy := sys.modules.get("sympy"):
        sympy.core.random.seed(seed)


def run_episode(link: Stream, options: Mapping[str, Any], server: int) -> None:
    """Run code as it comes, in one state, until the parent closes the link."""
    chars = options["output_chars"]
    executor = Plain() if options["plain"] else \
        LocalPythonExecutor(options["imports"], max_print_outputs_length=chars, timeout_seconds=None)
    executor.send_tools({"final_answer": _final_answer} | {name: _remote(name, link) for name in options["tools"]})
    for message in link.lines():
        if "code" in message:
            link.write(_run(executor, message["code"], chars))
        else:
            copy(link, server)


def copy(link: Stream, server: int) -> None:
    """Make a copy of this process that serves the link that was handed over, and tell its pid on this one."""
    other = link.handed.pop()
    highest = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    chance = random.getstate()
    try:
        resource.setrlimit(resource.RLIMIT_NPROC, (highest, highest))
        pid = seccomp.copy_process()
    except OSError as error:
        link.write({"error": str(error)})
        os.close(other)
        return
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, highest))
    if pid:
        os.close(other)
        link.write({"pid": pid})
    else:
        os.dup2(other, LINK)
        os.close(other)
        die_with_parent(server)
        random.setstate(chance)  # Python seeds it anew in every fork


class Plain:
    """Runs code as Python does: what smolagents' interpreter keeps from it, the wall must keep from it alone."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"__name__": "__main__"}

    def send_tools(self, tools: Mapping[str, Callable[..., Any]]) -> None:
        """Make these known to the code."""
        self.state.update(tools)

    def __call__(self, code: str) -> CodeOutput:
        """Run code; it has no value and is never an answer."""
        self.state["_print_outputs"] = said = PrintContainer()
        self.state["print"] = lambda *values: said.append(" ".join(map(str, values)) + "\n")
        exec(code, self.state)
        return CodeOutput("", str(said), False)


def _run(executor: LocalPythonExecutor | Plain, code: str, chars: int) -> dict[str, str]:
    executor.state["_print_outputs"] = ""
    try:
        result = executor(code)
        status, output, error = "final" if result.is_final_answer else "ok", str(result.output), ""
    except BaseException as failure:  # code may raise SystemExit; it ends its step, not its interpreter
        status, output = "exec_error", ""
        if _ran_out_of_memory(failure):
            status, room = "oom", resource.getrlimit(resource.RLIMIT_AS)[1]
            resource.setrlimit(resource.RLIMIT_AS, (room, room))
        error = str(failure) if isinstance(failure, Exception) else f"{type(failure).__name__}: {failure}"
    logs = truncate_content(str(executor.state["_print_outputs"]), chars)
    return {"status": status, "logs": logs, "output": truncate_content(output, chars),
            "error": truncate_content(error, chars)}


def _ran_out_of_memory(failure: BaseException | None) -> bool:
    """Whether a MemoryError is behind it; smolagents turns every exception into its own."""
    while failure is not None and not isinstance(failure, MemoryError):
        failure = failure.__context__
    return failure is not None


def _final_answer(answer: Any) -> Any:
    return answer


def _remote(name: str, link: Stream) -> Callable[..., Any]:
    """A function of the parent's, callable here."""
    def tool(*args: Any, **kwargs: Any) -> Any:
        link.write({"call": name, "args": args, "kwargs": kwargs})
        answer = link.read()
        if answer is None:
            raise SystemExit
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["value"]

    tool.__name__ = name
    return tool
