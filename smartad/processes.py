"""How processes of ours begin and end together."""

import ctypes
import os
import signal
import sys


class ProcessDied(RuntimeError):
    """A process that worked for this one was ended from outside."""


def die_with_parent(parent: int, by: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel signal this process when its parent dies, even by SIGKILL (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, by)  # 1 is PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit(143)


def exit_reason(code: int | None) -> str:
    """``code`` as multiprocessing and subprocess give it, in words."""
    if code is not None and code < 0:
        hint = ", perhaps out of memory" if -code == signal.SIGKILL else ""
        return f"{signal.Signals(-code).name}{hint}"
    return f"exit status {code}"
