"""A real SLURM on loopback for the tests that need one: slurm/dev starts it, one for each worker of pytest-xdist."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

DEV = Path(__file__).parent.parent / "slurm/dev"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
INSTALL = "apt-get install slurmctld slurmd slurm-client munge"
NODES = 3


@dataclass(frozen=True)
class Job:
    """A line of squeue."""

    id: str
    name: str
    state: str
    reason: str
    node: str


class Cluster:
    """What a test may do to the cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gpus = 2 * NODES if os.getuid() == 0 else 0
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "SLURM_DEV": str(folder)}

    def dev(self, script: str, *words: str, **variables: str) -> str:
        """Run a script of slurm/dev."""
        return self.command(str(DEV / script), *words, **variables)

    def command(self, *words: str, **variables: str) -> str:
        """Run a client command of SLURM.  What it prints."""
        done = subprocess.run(words, env={**os.environ, **self.environment, **variables}, capture_output=True, text=True,
                              timeout=120)
        assert done.returncode == 0, f"{words}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def jobs(self, state: str = "") -> list[Job]:
        """Jobs in the queue, array elements one by one, but for those that are over and being tidied up after.

        Only those in ``state``, when it is given.
        """
        lines = self.command("squeue", "-h", "-r", "-o", "%i|%j|%T|%r|%N").splitlines()
        return [job for job in (Job(*line.split("|")) for line in lines) if job.state == (state or job.state)
                and (state or job.state != "COMPLETING")]

    def state(self, job: str) -> str:
        """What SLURM remembers of a job, also after its end."""
        return self.command("scontrol", "show", "job", "-o", job).split("JobState=")[1].split()[0]

    def until(self, condition: Callable[[], object], what: str, within_s: float = 120.0) -> None:
        """Wait for ``condition``; fail with what the queue looks like instead."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, f"not after {within_s:g} s: {what}\n" + self.command("squeue") \
                + "\n" + self.command("sinfo", "-N")
            time.sleep(0.2)

    def kill_node(self, node: str) -> None:
        """Node and everything on it are gone at once; SLURM finds out after half a minute."""
        self.dev("node", "kill", node)

    def tidy(self) -> None:
        """No jobs, every node and the controller up."""
        if not (self.folder / "run/slurmctld.pid").exists():
            self.dev("controller", "start")
        for number in range(1, NODES + 1):
            if not (self.folder / f"run/slurmd.n{number}.pid").exists():
                self.dev("node", "start", f"n{number}")
        self.command("scancel", "--me")
        self.until(lambda: not self.jobs(), "the queue is empty after scancel")


@pytest.fixture(scope="session")
def slurm_of_session() -> Iterator[Cluster]:
    """The cluster of this worker."""
    if missing := [p for p in PROGRAMS if not shutil.which(p, path=f"{os.environ['PATH']}:/usr/sbin")]:
        reason = f"no {', '.join(missing)} here: {INSTALL}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="slurm-")))  # pytest's own folders are too deep for sockets
    try:
        cluster.dev("up", NODES=str(NODES), PORT=str(_free_ports()))
        yield cluster
    finally:
        cluster.dev("down")


@pytest.fixture
def slurm(slurm_of_session: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A SLURM cluster without jobs, which this process and those it starts find."""
    for name, value in slurm_of_session.environment.items():
        monkeypatch.setenv(name, value)
    yield slurm_of_session
    slurm_of_session.tidy()


def _free_ports() -> int:
    """The first of twenty ports nobody listens on, below those that the kernel gives away; other workers look elsewhere."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for first in range(26800 + 20 * worker, 32000, 200):
        if not any(_listening(port) for port in range(first, first + 20)):
            return first
    raise AssertionError("no twenty free ports between 26800 and 32000")


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
