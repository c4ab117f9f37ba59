"""The process that runs model-written code: ``python -m smartad.agents.interpreter``, started by agents/executor.py.

It imports smolagents once and forks a child per episode, which takes milliseconds.  Standard input is a packet socket
to the parent: ``{"start": {...}}`` with one end of a fresh stream socket forks a child that serves it, ``{"end": pid}``
kills and reaps that child.  On the stream, JSON lines: the parent sends code, the child answers with what came of it,
and in between asks for tools.  Nothing is pickled, so a child cannot make its parent run anything.
"""

import ctypes
import gc
import importlib
import json
import os
import random
import resource
import signal
import socket
import sys
from collections.abc import Callable
from io import BufferedRWPair
from typing import Any

from smolagents.local_python_executor import BASE_BUILTIN_MODULES, LocalPythonExecutor
from smolagents.utils import truncate_content

NOBODY = 65534
LATE_IMPORTS = ("_strptime",)
"""What authorised modules import when first used; a child that changed its user may no longer read the files."""
PR_SET_PDEATHSIG = 1
REPORT_BYTES = 64 * 2**20
"""Room to say that the memory ran out."""
LINK = 3
"""The child's end of its stream: the only descriptor it keeps besides the three standard ones."""


def main() -> None:
    """Serve until the parent goes away."""
    control = socket.socket(fileno=0)
    die_with_parent(int(sys.argv[1]))
    for module in (*BASE_BUILTIN_MODULES, *LATE_IMPORTS):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # shared pages stay shared when a child collects
    control.send(b"{}")
    children: set[int] = set()
    try:
        serve(control, children)
    finally:
        for pid in children:
            end(pid)


def serve(control: socket.socket, children: set[int]) -> None:
    """Fork and end children as told, one request at a time."""
    while True:
        packet, links, _, _ = socket.recv_fds(control, 1 << 16, 1)
        if not packet:
            return
        request = json.loads(packet)
        if "start" in request:
            pid = fork_child(links[0], request["start"])
            children.add(pid)
            os.close(links[0])
            control.send(json.dumps({"pid": pid}).encode())
        else:
            # Only children that were not reaped are killed by number: until then the number is theirs.
            status = end(request["end"]) if request["end"] in children else None
            children.discard(request["end"])
            control.send(json.dumps({"status": status}).encode())


def end(pid: int) -> int:
    """Kill and reap a child; its exit code, negative for a signal (the one that came first)."""
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends, however it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def fork_child(link: int, options: dict[str, Any]) -> int:
    """Fork a child that serves one episode on ``link``; its pid."""
    parent = os.getpid()
    if pid := os.fork():
        return pid
    status = 1
    try:
        keep_only(link)
        stream = socket.socket(fileno=LINK).makefile("rwb")
        try:
            restrict(options)
        except Exception as error:  # not the code's fault, so the parent must know
            _write(stream, {"broken": f"{type(error).__name__}: {error}"})
            stream.read()  # closing now, with code unread, would take the message along
            raise
        die_with_parent(parent)  # after the change of user, which resets it
        random.seed(options["seed"])
        run_episode(stream, options)
        status = 0
    finally:
        os._exit(status)


def keep_only(link: int) -> None:
    """Close everything but ``link``, which becomes LINK; the standard streams lead nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(LINK):
        os.dup2(null, stream)
    os.dup2(link, LINK)
    os.closerange(LINK + 1, 1 << 16)


def restrict(options: dict[str, Any]) -> None:
    """Set the limits, and give up root where there is any to give up: root is above the limit on processes."""
    with open("/proc/self/statm") as file:
        own_bytes = int(file.read().split()[0]) * resource.getpagesize()
    memory = own_bytes + int(options["memory_gb"] * 2**30)
    lower_limit(resource.RLIMIT_AS, memory, memory + REPORT_BYTES)
    # The soft limit's signal says that it was CPU time; only the hard one's cannot be ignored.
    lower_limit(resource.RLIMIT_CPU, options["cpu_s"], options["cpu_s"] + 1)
    lower_limit(resource.RLIMIT_NOFILE, 16, 16)
    for name in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        lower_limit(name, 0, 0)
    if os.geteuid() == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        except OSError:
            pass  # a user namespace that maps nobody else: its root is none outside


def lower_limit(name: int, soft: int, hard: int) -> None:
    """Set a limit, or leave it where it is lower already; the cluster may have its own."""
    highest = resource.getrlimit(name)[1]
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(name, (soft, hard))


def run_episode(link: BufferedRWPair, options: dict[str, Any]) -> None:
    """Run code as it comes, in one state, until the parent closes the link."""
    chars = options["output_chars"]
    executor = LocalPythonExecutor([], max_print_outputs_length=chars, timeout_seconds=None)
    executor.send_tools({"final_answer": _final_answer} | {name: _remote(name, link) for name in options["tools"]})
    for line in link:
        _write(link, _run(executor, json.loads(line)["code"], chars))


def _run(executor: LocalPythonExecutor, code: str, chars: int) -> dict[str, str]:
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


def _remote(name: str, link: BufferedRWPair) -> Callable[..., Any]:
    """A function of the parent's, callable here."""
    def tool(*args: Any, **kwargs: Any) -> Any:
        _write(link, {"call": name, "args": args, "kwargs": kwargs})
        answer = json.loads(link.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["value"]

    tool.__name__ = name
    return tool


def _write(link: BufferedRWPair, message: dict[str, Any]) -> None:
    link.write(json.dumps(message, default=str).encode() + b"\n")
    link.flush()


if __name__ == "__main__":
    main()
