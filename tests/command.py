"""The command line as a person starts it: a real process."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

ROOT = Path(__file__).parent.parent
QUICKSTART = str(ROOT / "sweeps/quickstart.yaml")


def environment(store: Path | None) -> dict[str, str]:
    """This environment without what would send metrics somewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "SMARTAD_STORE", "TRACKIO_"))}
    return {**kept, "COLUMNS": "200", **({"SMARTAD_STORE": str(store)} if store else {})}


def smartad(*words: str, store: Path | None = None, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with ``env`` besides; its exit status must be ``status``."""
    done = subprocess.run([sys.executable, "-m", "smartad", *map(str, words)], cwd=ROOT, env={**environment(store), **env},
                          capture_output=True, text=True, timeout=900)
    assert done.returncode == status, f"{words}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


def start(*words: str, store: Path, **env: str) -> "subprocess.Popen[str]":
    """Start a command, with ``env`` besides, and do not wait."""
    return subprocess.Popen([sys.executable, "-m", "smartad", *map(str, words)], cwd=ROOT, env={**environment(store), **env},
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def on_a_terminal(*words: str, store: Path, columns: int = 100, lines: int = 40) -> "tuple[subprocess.Popen[bytes], int]":
    """Start a command on a terminal of its own: the process, and what reads its screen."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    variables = {k: v for k, v in environment(store.root).items() if k != "COLUMNS"}
    process = subprocess.Popen([sys.executable, "-m", "smartad", *words], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
                               env={**variables, "TERM": "xterm-256color"}, start_new_session=True)
    os.close(theirs)
    return process, ours


def all_of(screen: int) -> str:
    """What is printed on a terminal until its command ends, without colours.  Closes it."""
    seen = b""
    with contextlib.suppress(OSError):  # how Linux says that nobody has the other end any more
        while part := os.read(screen, 4096):
            seen += part
    os.close(screen)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode("utf-8", "replace")).replace("\r\n", "\n")


def children(pid: int) -> list[int]:
    """Processes that ``pid`` started itself."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``."""
    return [p for child in children(pid) for p in (child, *descendants(child))]


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(pid: int) -> None:
    """SIGKILL, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
