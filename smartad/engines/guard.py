"""Run a program that must not outlive the process that wants it: ``python -I guard.py STOP_S PROGRAM...``

Standard input is a pipe from that process.  When it closes, even by SIGKILL, the program's process group is told to end, and
is killed when it has not after STOP_S seconds.  No other process is ever signalled.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

POLL_S = 0.2


def main(stop_s: float, program: list[str]) -> int:
    """Run ``program`` in a process group of its own until it ends or standard input does; its exit status as a shell has it."""
    try:
        # After a pipe whose other end somebody holds, the program's own input must not read from it.
        child = subprocess.Popen(program, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{program[0]} cannot be started: {error}", file=sys.stderr)
        return 127
    while not _ended(child.pid) and not select.select([sys.stdin], [], [], POLL_S)[0]:
        pass
    _signal(child.pid, signal.SIGTERM)
    until = time.monotonic() + stop_s
    while not _ended(child.pid) and time.monotonic() < until:
        time.sleep(POLL_S)
    # Also what the program has left behind.  It is not waited for before, so that its number is nobody else's.
    _signal(child.pid, signal.SIGKILL)
    status = child.wait()
    return 128 - status if status < 0 else status


def _ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


if __name__ == "__main__":
    for deaf_to in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the end of standard input says when
        signal.signal(deaf_to, lambda *_: None)  # SIG_IGN would be the program's, too
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
