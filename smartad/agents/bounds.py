"""The bounds on one interpreter: what it keeps open, its limits, its user, the wall's rules and the filter."""

import ctypes
import os
import resource
import signal
import socket
from collections.abc import Mapping
from fcntl import F_DUPFD_CLOEXEC, fcntl
from typing import Any

from smartad.agents import landlock, seccomp

NOBODY = 65534
LINK = 3
"""An interpreter's end of its stream: the only descriptor it keeps besides the three standard ones."""
PR_SET_PDEATHSIG = 1
REPORT_BYTES = 64 * 2**20
"""Room to say that the memory ran out."""


def die_with_parent(parent: int | None) -> None:
    """Be killed when the parent ends, however it ends.  None: it cannot be seen from here."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


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
    """Put this process under the wall's rules and the filter, and tell the server so, with the filter's listener."""
    os.setpgid(0, 0)
    if options["rules"] is not None:
        ctypes.CDLL(None).prctl(seccomp.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        landlock.restrict(LINK + 2)
        os.close(LINK + 2)
    with socket.socket(fileno=LINK + 1) as report:
        if options["filtered"]:
            listener = seccomp.install(seccomp.program(os.getpid()))
            socket.send_fds(report, [b"."], [listener])
            os.close(listener)
        else:
            report.send(b".")


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
