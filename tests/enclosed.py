"""Namespaces around a whole test: what is tried there can do no harm, whether or not the wall that is tried holds."""

import os
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT
from smartad.agents import walls

SCRATCH = "/scratch"


def bwrap():
    """bubblewrap's program.  Skips where there is none, but not in CI."""
    program = shutil.which("bwrap")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("CI lacks bubblewrap")
        pytest.skip("there is no bubblewrap (apt-get install bubblewrap)")
    return program


def enclosed(code, *arguments):
    """Run Python code in user, mount, process and network namespaces of its own, as somebody without rights: its output.

    It sees what a machine has that payloads look for: /etc, /proc, folders to write to, and no /tmp of this machine.
    """
    shown = [path for path in walls.readable() if not path.startswith("/etc/")]
    paths = ["/etc", *shown, str(ROOT / "tests"), os.path.dirname(bwrap())]
    command = walls.bubblewrap_command(bwrap(), list(dict.fromkeys(paths)), root=os.geteuid() == 0)
    at = command.index("--remount-ro")
    command[at:at] = ["--proc", "/proc", "--perms", "1777", "--tmpfs", SCRATCH, "--setenv", "TMPDIR", SCRATCH]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([*walls.packages(), str(ROOT / "tests")])}
    done = subprocess.run([*command, walls.python(), "-S", "-c", code, *arguments], capture_output=True, text=True,
                          env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


if __name__ == "__main__":
    sys.stdout.write(enclosed("print(open('/proc/self/status').read())"))
