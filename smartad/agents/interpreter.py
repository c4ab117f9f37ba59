"""The process that runs model-written code: ``python -m smartad.agents.interpreter``, started by agents/executor.py.

It imports what the code may use once and forks a child per episode, which takes milliseconds.  Standard input is a packet
socket to the parent: ``{"start": {...}}`` with one end of a fresh stream socket forks a child that serves it, ``{"end": pid}``
kills and reaps that child, ``{"copy": pid}`` allows it to copy itself once, and ``{"adopt": pid, "of": pid}`` takes the
copy among the children.  On the stream, JSON lines: the parent sends code, the child answers with what came of it, and in
between asks for tools.  Nothing is pickled, so a child cannot make its parent run anything.

This process and its children are behind the wall that agents/walls.py put around them; each child is in the filter of
agents/seccomp.py besides, which keeps it from its siblings.  So the code of an episode has nothing but its own memory, and
no process but its own: killed, it leaves nothing.
"""

import ctypes
import gc
import importlib
import json
import mmap
import os
import random
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fcntl import F_DUPFD_CLOEXEC, fcntl
from typing import Any

from smolagents.local_python_executor import BASE_BUILTIN_MODULES, LocalPythonExecutor
from smolagents.utils import truncate_content

from smartad.agents import landlock, seccomp

NOBODY = 65534
LATE_IMPORTS = ("_strptime",)
"""What authorised modules import when first used; a child that changed its user may no longer read the files."""
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
REPORT_BYTES = 64 * 2**20
"""Room to say that the memory ran out."""
LINK = 3
"""The child's end of its stream: the only descriptor it keeps besides the three standard ones."""


@dataclass
class Episode:
    """The processes of one interpreter: the one that was forked, and its copies."""

    group: int
    """Process group of all of them."""
    listener: int | None
    """Where the filter asks whether a copy may be made."""
    members: set[int] = field(default_factory=set)
    copies: int = 0
    """That are allowed and were not made yet."""


def main() -> None:
    """Serve until the parent goes away.  The only argument, JSON: parent, filtered, readable, imports."""
    control = socket.socket(fileno=0)
    settings = json.loads(sys.argv[1])
    die_with_parent(settings["parent"])
    for module in (*BASE_BUILTIN_MODULES, *LATE_IMPORTS):
        importlib.import_module(module)
    # As the code will do it: smolagents copies a module with all in it, which imports the last lazy parts.
    LocalPythonExecutor(settings["imports"])("".join(f"import {name.removesuffix('.*')}\n" for name in settings["imports"]))
    wall = {"filtered": settings["filtered"], "own_bytes": address_space(),
            "rules": None if settings["readable"] is None else landlock.ruleset(settings["readable"])}
    gc.collect()
    gc.freeze()  # shared pages stay shared when a child collects
    control.send(b"{}")
    episodes: list[Episode] = []
    try:
        serve(control, episodes, wall)
    finally:
        for episode in episodes:
            for pid in list(episode.members):
                end(episode, pid)


def serve(control: socket.socket, episodes: list[Episode], wall: Mapping[str, Any]) -> None:
    """Fork, copy and end children as told, one request at a time."""
    while True:
        poll = select.poll()
        poll.register(control, select.POLLIN)
        listeners = {episode.listener: episode for episode in episodes if episode.listener is not None}
        for listener in listeners:
            poll.register(listener, select.POLLIN)
        ready = dict(poll.poll())
        for listener, episode in listeners.items():
            if ready.get(listener, 0) & select.POLLIN:
                episode.copies -= seccomp.answer(listener, episode.copies > 0)
            elif listener in ready:  # all its processes have ended
                os.close(listener)
                episode.listener = None
        if control.fileno() in ready:
            packet, links, _, _ = socket.recv_fds(control, 1 << 16, 1)
            if not packet:
                return
            control.send(json.dumps(obey(json.loads(packet), links, episodes, wall)).encode())
            for link in links:
                os.close(link)


def obey(request: dict[str, Any], links: Sequence[int], episodes: list[Episode], wall: Mapping[str, Any]) -> dict[str, Any]:
    """Do what the parent asks, and the answer to it."""
    if "start" in request:
        pid, listener = fork_child(links[0], {**request["start"], **wall})
        episodes.append(Episode(pid, listener, {pid}))
        return {"pid": pid}
    # Only children that were not reaped are killed by number: until then the number is theirs.
    wanted = request.get("of", request.get("copy", request.get("end")))
    episode = next((episode for episode in episodes if wanted in episode.members), None)
    if episode is None:
        return {"status": None}
    if "copy" in request:
        episode.copies += 1
    elif "adopt" in request:
        episode.copies = 0
        if not is_new_child(request["adopt"], episodes):
            return {"status": None}
        episode.members.add(request["adopt"])
    else:
        status = end(episode, wanted)
        if not episode.members:
            episodes.remove(episode)
        return {"status": status}
    return {"status": 0}


def end(episode: Episode, pid: int) -> int:
    """Kill and reap a child; its exit code, negative for a signal (the one that came first).  The last takes along what its
    code hid from us."""
    os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    episode.members.discard(pid)
    if not episode.members:
        try:
            os.killpg(episode.group, signal.SIGKILL)
            while True:
                os.waitpid(-episode.group, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        if episode.listener is not None:
            os.close(episode.listener)
            episode.listener = None
    return status


def is_new_child(pid: int, episodes: Sequence[Episode]) -> bool:
    """Whether ``pid``, which code may have made up, is a child of this process that no episode has."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (ChildProcessError, OverflowError, TypeError):
        return False
    return pid > 0 and all(pid not in episode.members for episode in episodes)


def die_with_parent(parent: int | None) -> None:
    """Be killed when the parent ends, however it ends.  None: it cannot be seen from here."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def address_space() -> int:
    """Bytes of address space that this process uses: below that limit nothing more can be had.  There may be no /proc."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    low, high = 0, 1 << 46
    while high - low > 1 << 20:
        middle = (low + high) // 2
        resource.setrlimit(resource.RLIMIT_AS, (middle, hard))
        try:
            mmap.mmap(-1, mmap.PAGESIZE).close()
            high = middle
        except (OSError, MemoryError):
            low = middle
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    return high


def fork_child(link: int, options: dict[str, Any]) -> tuple[int, int | None]:
    """Fork a child that serves one episode on ``link``: its pid, and where its filter asks for copies."""
    parent = os.getpid()
    ours, theirs = socket.socketpair()
    with ours:
        if pid := os.fork():
            theirs.close()
            _, listeners, _, _ = socket.recv_fds(ours, 1, 1)  # nothing, from a child without a filter
            return pid, listeners[0] if listeners else None
        status = 1
        try:
            keep_only(link, theirs.fileno(), options["rules"])
            stream = Stream(socket.socket(fileno=LINK))
            try:
                restrict(options)
                # After the change of user, which resets it.
                die_with_parent(parent)
                enclose(options)
            except Exception as error:  # not the code's fault, so the parent must know
                stream.write({"broken": f"{type(error).__name__}: {error}"})
                os.close(LINK + 1)
                stream.wait()  # closing now, with code unread, would take the message along
                raise
            random.seed(options["seed"])
            run_episode(stream, options, parent)
            status = 0
        finally:
            os._exit(status)


def keep_only(*descriptors: int | None) -> None:
    """Close everything but ``descriptors``, which become LINK and those after it; the standard streams lead nowhere."""
    kept = [None if one is None else fcntl(one, F_DUPFD_CLOEXEC, 100) for one in descriptors]
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(LINK):
        os.dup2(null, stream)
    for place, one in enumerate(kept, LINK):
        if one is not None:
            os.dup2(one, place)
    os.closerange(LINK + len([one for one in kept if one is not None]), 1 << 16)


def enclose(options: Mapping[str, Any]) -> None:
    """Put this process under the wall's rules and the filter, and hand the filter's listener to the server."""
    os.setpgid(0, 0)
    if options["rules"] is not None:
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        landlock.restrict(LINK + 2)
        os.close(LINK + 2)
    with socket.socket(fileno=LINK + 1) as report:
        if options["filtered"]:
            listener = seccomp.install(seccomp.program(os.getpid()))
            socket.send_fds(report, [b"."], [listener])
            os.close(listener)


def restrict(options: Mapping[str, Any]) -> None:
    """Set the limits, and give up root where there is any to give up: root is above the limit on processes."""
    memory = options["own_bytes"] + int(options["memory_gb"] * 2**30)
    lower_limit(resource.RLIMIT_AS, memory, memory + REPORT_BYTES)
    # The soft limit's signal says that it was CPU time; only the hard one's cannot be ignored.
    lower_limit(resource.RLIMIT_CPU, options["cpu_s"], options["cpu_s"] + 1)
    lower_limit(resource.RLIMIT_NOFILE, 16, 16)
    for name in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        lower_limit(name, 0, 0)
    # Soft, since a copy is a fork; what holds against code that means harm is the filter.
    lower_limit(resource.RLIMIT_NPROC, 0, resource.getrlimit(resource.RLIMIT_NPROC)[1])
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

    def wait(self) -> None:
        """Return when the parent has closed."""
        while self._link.recv(1 << 16):
            pass


def run_episode(link: Stream, options: Mapping[str, Any], server: int) -> None:
    """Run code as it comes, in one state, until the parent closes the link."""
    chars = options["output_chars"]
    executor = LocalPythonExecutor(options["imports"], max_print_outputs_length=chars, timeout_seconds=None)
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


if __name__ == "__main__":
    main()
