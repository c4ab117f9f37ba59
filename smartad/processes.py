"""How processes of ours begin and end together."""

import ctypes
import os
import pickle
import signal
import sys
import traceback


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


def portable(error: Exception, where: str) -> bytes:
    """``error`` pickled, with a note of its traceback in the process that ``where`` names; what cannot be is told by its text."""
    error.add_note(f"in {where}:\n{''.join(traceback.format_exception(error))}")
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:
        content = pickle.dumps(RuntimeError("\n".join([f"{type(error).__name__}: {error}", *error.__notes__])))
    return content
