"""The wall around the process that runs model-written code: which there are, what it may see, and which one stands here.

The ladder: bubblewrap, then apptainer, then Landlock; each shows the code Python and its packages, read-only, and nothing
else.  Behind every one of them the code is under the filter of system calls too (agents/seccomp.py).  Without any it is
not run, unless ``sandbox: none`` asks for that by name.
"""

import atexit
import functools
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import smartad
from smartad.agents import landlock
from smartad.agents.bounds import NOBODY
from smartad.types import UserError

log = logging.getLogger(__name__)
LADDER = ("bubblewrap", "apptainer", "landlock")
TRIAL_TIMEOUT_S = 60
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""The environment model-written code may see: no keys, no home."""
SETTLED = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""The order of a printed set must not change from run to run; and interpreters are made by fork, which takes no thread along."""
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom")
"""What programs need of a Linux system.  No /proc, no /sys, no /tmp, and of /etc what says nothing about its users."""


@dataclass(frozen=True)
class Wall:
    """One way to run the interpreter server."""

    name: str
    about: str
    """Name and version, for records."""
    command: tuple[str, ...] = ()
    """Put before the server's own."""
    readable: tuple[str, ...] | None = None
    """What the server's children may read by Landlock's rules; None leaves that to the command."""
    filtered: bool = True
    """Whether they are under the filter of system calls."""


def choose(name: str = "auto") -> Wall:
    """The wall called ``name``; auto is the first of the ladder that stands on this machine.

    Raises UserError saying what each lacks and what to do, also when ``name`` is no wall.
    """
    if name == "none":
        if why := _out_of_reach():
            log.warning("sandbox=none: %s", why)
        return Wall("none", "none", filtered=False)
    check_name(name)
    missing = {}
    for rung in LADDER if name == "auto" else (name,):
        found = stands(rung)
        if isinstance(found, Wall):
            return found
        missing[rung] = found
    told = "\n".join(f"  {rung}: {why}" for rung, why in missing.items())
    raise UserError(f"sandbox={name}: code that models write has no wall to run behind on this machine.\n{told}\n"
                    "Install bubblewrap (apt-get install bubblewrap, dnf install bubblewrap); `smartad doctor --sandbox` "
                    "tries it.  `sandbox: none` in the site profile runs without a wall: then such code can read and change "
                    "what you can, and records say so")


def check_name(name: str) -> None:
    """Raises UserError with those there are when ``name`` is none of them."""
    if name not in ("auto", *LADDER, "none"):
        raise UserError(f"sandbox={name}: there is no such wall; there are auto, {', '.join(LADDER)}, none")


@functools.cache
def stands(rung: str) -> Wall | str:
    """A wall of the ladder, tried once in this process; or why it does not stand on this machine."""
    return {"bubblewrap": _bubblewrap, "apptainer": _apptainer, "landlock": _landlock}[rung]()


def _bubblewrap() -> Wall | str:
    program = shutil.which("bwrap")
    if program is None:
        return "bwrap is not installed"
    command = bubblewrap_command(program, readable(), root=os.geteuid() == 0)
    if said := _trial(command):
        return (f"it does not work: {said}.  It needs user namespaces: sysctl user.max_user_namespaces must be above 0, and "
                "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns may forbid them; in a "
                "container, ask for --security-opt seccomp=unconfined")
    return Wall("bubblewrap", _version(program), tuple(command))


def bubblewrap_command(program: str, paths: Sequence[str], root: bool) -> list[str]:
    """What runs a program behind bubblewrap: namespaces of its own of every kind, no capabilities, nothing writable.

    ``root``: its own view first, in which a user without rights can reach what lies in root's folders; then, as that user,
    the wall itself.  Root's limits do not hold, and a root's user namespace would leave it the owner of its files.
    """
    # bubblewrap would make the folders above what it shows for their owner alone.
    above = dict.fromkeys(str(folder) for path in paths for folder in reversed(Path(path).parents[:-1]))
    view = [part for folder in above if folder not in paths for part in ("--perms", "0755", "--dir", folder)]
    for path in paths:
        if os.path.islink(path) and path in SYSTEM and not path.startswith("/etc/"):
            view += ["--symlink", os.readlink(path), path]
        else:
            view += ["--dev-bind" if path.startswith("/dev/") else "--ro-bind", path, path]
    wall = [program, "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
            "--cap-drop", "ALL", *view, "--remount-ro", "/", "--chdir", "/"]
    if not root:
        return wall
    become_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
    # The second bubblewrap starts to build on /tmp and asks that there be one.
    return [program, "--die-with-parent", *view, "--perms", "0755", "--dir", "/tmp", "--bind", "/proc", "/proc", *become_nobody,
            *wall]


def _apptainer() -> Wall | str:
    program = shutil.which("apptainer") or shutil.which("singularity")
    if program is None:
        return "apptainer is not installed"
    image = _empty_folder()
    command = apptainer_command(program, readable(), image)
    if said := _trial(command):
        return f"it does not work: {said}"
    return Wall("apptainer", _version(program), tuple(command))


def apptainer_command(program: str, paths: Sequence[str], image: str) -> list[str]:
    """What runs a program behind apptainer: an empty image, and in it what the program needs.

    ``--containall`` takes the environment away, and PYTHONPATH with it; ``env -i`` gives it back, and only that.
    """
    binds = [part for path in paths if not path.startswith("/dev/") for part in ("--bind", f"{path}:{path}:ro")]
    return [program, "--silent", "exec", "--userns", "--containall", "--no-home", "--no-eval", "--drop-caps", "all",
            *binds, image, "/usr/bin/env", "-i", *(f"{name}={value}" for name, value in environment().items())]


@functools.cache
def _empty_folder() -> str:
    folder = tempfile.mkdtemp(prefix="smartad-image-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _landlock() -> Wall | str:
    if not (version := landlock.abi()):
        return "this kernel has no Landlock (Linux 5.13 or newer, with landlock among its security modules)"
    if said := _trial(()):
        return f"it does not work: {said}"
    if why := _out_of_reach():
        log.warning("sandbox=landlock: %s", why)
    return Wall("landlock", f"landlock ABI {version}", readable=tuple(readable()))


def _out_of_reach() -> str:
    """What keeps Python from the user without rights that root's interpreters become, and with it what modules import when first
    used: code would fail at that as if it were wrong.  Empty when nothing does."""
    if os.geteuid() != 0 or not _knows(NOBODY):
        return ""
    for path in readable():
        for folder in Path(path).resolve().parents:
            if not folder.stat().st_mode & 0o001:
                return (f"started by root, code runs as a user without rights, who cannot enter {folder}, where {path} is; "
                        f"install bubblewrap, start as somebody else, or chmod o+x {folder}")
    return ""


def _knows(user: int) -> bool:
    """Whether this process' user namespace has such a user; where it has not, root stays what it is."""
    spans = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(inside <= user < inside + count for inside, _, count in spans)


def _trial(command: Sequence[str]) -> str:
    """What is wrong for a program that ``command`` runs: that it does not start, sees a file that it must not see, or cannot be
    put under the filter of system calls.  Empty when nothing is."""
    with tempfile.NamedTemporaryFile(prefix="smartad-trial-") as secret:
        os.chmod(secret.name, 0o644)
        look = f"print('it shows files that it must hide' if os.path.exists({secret.name!r}) else 'hidden')\n" if command else ""
        code = f"import os\nfrom smartad.agents import seccomp\n{look}seccomp.install(seccomp.program(os.getpid()))"
        try:
            done = subprocess.run([*command, python(), "-S", "-P", "-c", code], capture_output=True, text=True, cwd="/",
                                  env=environment(), timeout=TRIAL_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    if done.returncode:
        return _last_line(done.stderr) or f"exit status {done.returncode}"
    return "" if done.stdout.strip() in ("", "hidden") else _last_line(done.stdout)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


def _version(program: str) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip()


def python() -> str:
    """The interpreter itself: a virtual environment's link to it may lead out of what is shown."""
    return os.path.realpath(sys.executable)


def environment() -> dict[str, str]:
    """Variables for what runs behind a wall."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**passed_on, **SETTLED, "PYTHONPATH": os.pathsep.join(packages())}


def packages() -> list[str]:
    """Folders that Python looks for packages in, but for those of a checkout or a working folder, where keys may lie."""
    installed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages") and os.path.isdir(path)]
    return [*map(os.path.abspath, installed), str(Path(smartad.__file__).parent.parent)]


def readable() -> list[str]:
    """Files and folders that the interpreter server needs, a folder before what is in it."""
    bases = [Path(sys.base_prefix), Path(os.path.realpath(sys.base_prefix))]
    own = [python(), *(base / folder for base in bases for folder in ("lib", sys.platlibdir)), sysconfig.get_path("stdlib"),
           sysconfig.get_path("platstdlib"), *packages()[:-1], Path(smartad.__file__).parent]
    libraries = [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if path.startswith("/") and path != "/"]
    paths = [path for path in dict.fromkeys([*SYSTEM, *map(str, own), *map(os.path.normpath, libraries)]) if os.path.exists(path)]
    inside_usr = [path for path in paths if path.startswith("/usr/")]
    return sorted(set(paths) - set(inside_usr), key=lambda path: (len(path), path))
