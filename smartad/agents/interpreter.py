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

import gc
import importlib
import json
import mmap
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smolagents.local_python_executor import BASE_BUILTIN_MODULES, LocalPythonExecutor

from smartad.agents import landlock, seccomp
from smartad.agents.bounds import LINK, die_with_parent, enclose, keep_only, restrict
from smartad.agents.programs import ROLES
from smartad.agents.running import Stream, run_episode, seed_chance

LATE_IMPORTS = ("_strptime",)
"""What authorised modules import when first used; a child that changed its user may no longer read the files."""


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
    """Serve until the parent goes away.  Arguments: its pid, and as JSON imports, filtered, readable, sees_parent."""
    control = socket.socket(fileno=0)
    settings = json.loads(sys.argv[2])
    die_with_parent(int(sys.argv[1]) if settings["sees_parent"] else None)
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
        pid, listener, bounded = fork_child(links[0], {**request["start"], **wall})
        episodes.append(Episode(pid, listener, {pid}))
        return {"pid": pid, "bounded": bounded}
    # Only children that were not reaped are killed by number: until then the number is theirs.
    wanted: int = request.get("of") or request.get("copy") or request["end"]
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


def is_new_child(pid: Any, episodes: Sequence[Episode]) -> bool:
    """Whether ``pid``, which code may have made up, is a child of this process that no episode has."""
    if not isinstance(pid, int) or pid <= 0 or any(pid in episode.members for episode in episodes):
        return False
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (OSError, OverflowError):
        return False
    return True


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


def fork_child(link: int, options: dict[str, Any]) -> tuple[int, int | None, bool]:
    """Fork a child that serves one episode on ``link``: its pid, where its filter asks for copies, and whether it is bounded; if
    not, it says why on ``link`` and ends."""
    parent = os.getpid()
    ours, theirs = socket.socketpair()
    with ours:
        if pid := os.fork():
            theirs.close()
            done, listeners, _, _ = socket.recv_fds(ours, 1, 1)
            return pid, listeners[0] if listeners else None, bool(done)
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
                raise
            seed_chance(options["seed"])
            if role := options.get("role"):
                ROLES[role](stream)
            else:
                run_episode(stream, options, parent)
            status = 0
        finally:
            os._exit(status)


if __name__ == "__main__":
    main()
