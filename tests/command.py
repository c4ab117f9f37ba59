"""The command line as a person starts it: a real process."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
QUICKSTART = str(ROOT / "sweeps/quickstart.yaml")


def environment(store: Path | None) -> dict[str, str]:
    """This environment without what would send metrics somewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "SMARTAD_STORE", "TRACKIO_"))}
    return {**kept, "COLUMNS": "200", **({"SMARTAD_STORE": str(store)} if store else {})}


def smartad(*words: str, store: Path | None = None, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its exit status must be ``status``."""
    done = subprocess.run([sys.executable, "-m", "smartad", *map(str, words)], cwd=ROOT, env=environment(store),
                          capture_output=True, text=True, timeout=900)
    assert done.returncode == status, f"{words}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


def start(*words: str, store: Path) -> "subprocess.Popen[str]":
    """Start a command and do not wait."""
    return subprocess.Popen([sys.executable, "-m", "smartad", *map(str, words)], cwd=ROOT, env=environment(store),
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


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
