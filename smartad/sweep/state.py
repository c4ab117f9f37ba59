"""How far a sweep is: the state of every stage, why it waits, and how long the rest may take.

Read from the store, and from SLURM's queue where there is one.  Nothing is written, and nothing is asked of the driver.
"""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from smartad.cluster import queue, submission
from smartad.store import PROGRESS, Store, StoreError
from smartad.sweep import detached, ledger
from smartad.sweep.detached import Detached
from smartad.sweep.ledger import Ledger
from smartad.sweep.space import most

State = Literal["done", "running", "queued", "waiting", "failed", "blocked", "stopped"]
"""queued: SLURM has its job.  waiting: nobody has been given it.  blocked: something it needs has failed.  stopped: only
trials that were stopped early wanted it."""
STATES: tuple[State, ...] = get_args(State)
ENDED: tuple[State, ...] = ("done", "stopped")
SAMPLE = 20
"""Records looked at to know how long stages of a kind take: reading all of them is what takes time in a large store."""

INPUTS = "inputs that are not finished"
TURN = "its turn: the driver submits it next"
SLOT = "its turn, as soon as a slot is free"
NOBODY = "nobody drives this sweep"
COMING = "its driver has yet to begin"
NO_SQUEUE = "there is no squeue here: what is queued is not known"

REASONS = {
    "Resources": "no node is free", "Priority": "others are before it", "None": "just submitted",
    "JobHeldUser": "held; release it with scontrol release {job}", "JobHeldAdmin": "held by an administrator",
    "JobArrayTaskLimit": "as many jobs of its array are running as may at once", "BeginTime": "started again after a moment",
    "QOS": "a limit of its QOS", "Assoc": "a limit of its account", "MaxJobs": "a limit of its account",
    "ReqNodeNotAvail": "its nodes are down or reserved", "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition is inactive", "PartitionTimeLimit": "it asks for more time than its partition gives",
    "PartitionNodeLimit": "it asks for more nodes than its partition gives", "BadConstraints": "no node has what it asks for",
    "Licenses": "a licence is not free", "Dependency": "another job is to end first"}
"""SLURM's reasons by how they begin, in plain words."""


@dataclass(frozen=True)
class Running:
    """A stage somebody is working on."""

    since: float | None
    host: str
    progress: tuple[int, int] | None
    """(done, total) in the stage's own units; None when it has said nothing yet."""
    job: str | None
    """SLURM's id, ``1234_5``; None when it is not a job."""


@dataclass(frozen=True)
class Left:
    """How long the rest may take: an estimate from what the store has recorded."""

    seconds: float
    at_once: int
    """Stages running side by side, as seen now."""
    unknown: tuple[str, ...]
    """Kinds of stages still to run of which none was ever finished here: they are not in ``seconds``."""
    to_come: int = 0
    """Trials that may yet be proposed."""
    counted: bool = True
    """Whether what they may take is in ``seconds``."""


@dataclass(frozen=True)
class Jobs:
    """What SLURM has of a store."""

    of: Mapping[str, queue.Queued] = field(default_factory=dict)
    """Fingerprint -> its job."""
    drivers: Mapping[str, queue.Queued] = field(default_factory=dict)
    """Sweep -> its detached driver's job."""
    problem: str = ""
    """What went wrong when SLURM was asked."""


@dataclass(frozen=True)
class Look:
    """A sweep at one moment."""

    states: Mapping[str, State]
    why: Mapping[str, str]
    """Of each stage that is queued, waiting or blocked."""
    running: Mapping[str, Running]
    jobs: Mapping[str, str]
    """SLURM's id of the job of each stage that is queued."""
    failures: Mapping[str, Mapping[str, Any]]
    """The notes of failed stages: class, message, time, host."""
    driver: Mapping[str, Any] | None
    """Who drives it: host, pid, job, since."""
    coming: str
    """Why its driver, a job in SLURM's queue, is not there yet; empty when none is queued."""
    ended: Detached | None
    """The driver that has left it unfinished; None when it was no job."""
    left: Left
    problem: str

    def over(self) -> bool:
        """Whether nothing more will happen by itself."""
        driven = self.driver or self.coming
        return not driven and all(state in (*ENDED, "failed", "blocked") for state in self.states.values())


def jobs_of(store: Store) -> Jobs:
    """This store's jobs in SLURM's queue; none where there is no SLURM or the store never submitted anything."""
    if not submission.folder(store).is_dir() or not shutil.which("squeue"):
        return Jobs()
    try:
        queued = queue.queue(store)
    except queue.SlurmError as error:
        return Jobs(problem=f"SLURM does not answer: {error}")
    submitted = {tag: found for tag in {job.tag for job in queued} if (found := submission.read(store, tag))}
    return Jobs({f: job for job in queued if job.tag in submitted for f in submitted[job.tag].packs[job.index]},
                {job.tag.partition("-")[2]: job for job in queued if job.tag not in submitted})


def book_of(store: Store, name: str, jobs: Jobs) -> Ledger:
    """The ledger of ``name``, a sweep's name or its file; an empty one while its detached driver has yet to begin."""
    try:
        return ledger.load(store, name)
    except StoreError:
        if ledger.name_of(name) not in jobs.drivers:
            raise
        return Ledger(ledger.name_of(name), {}, {}, ())


def look(store: Store, book: Ledger, jobs: Jobs) -> Look:
    """The state of every stage of a sweep."""
    states: dict[str, State] = {}
    running: dict[str, Running] = {}
    failures: dict[str, Mapping[str, Any]] = {}
    driver = store.locked(f"sweeps/{book.name}")
    started = set(os.listdir(store.root))  # one look at the root instead of one at each stage that has no folder yet
    wanted = {f for trial in book.trials if not trial.was_stopped(store) for run in trial.runs for f in run.stages}
    for fingerprint in book.stages():
        states[fingerprint] = "waiting" if fingerprint in wanted else "stopped"
        if fingerprint not in started:
            continue
        if store.has(fingerprint):
            states[fingerprint] = "done"
        elif (worker := store.worker(fingerprint)) is not None:
            states[fingerprint] = "running"
            part = progress(store, fingerprint)
            running[fingerprint] = Running(worker.get("since"), worker.get("host", "?"), part, worker.get("job"))
        elif fingerprint in wanted and (note := store.failure(fingerprint)) and (note["final"] or not driver):
            states[fingerprint], failures[fingerprint] = "failed", note
    inputs = book.inputs()
    queued = jobs.drivers.get(book.name)
    coming = f"job {queued.id}: {in_words(queued)}" if queued and driver is None else ""
    on_slurm = book.start is not None and book.start.cluster == "slurm"
    over = bool(states) and all(state in ENDED for state in states.values())
    here = jobs.problem == "" and shutil.which("squeue")  # else its job may still be there
    ended = detached.ended(store, book.name) if here and not (driver or coming or over) else None
    if on_slurm and driver and not shutil.which("squeue"):
        jobs = Jobs(problem=NO_SQUEUE)
    turn = _turn(book, on_slurm, jobs) if driver else COMING if coming else NOBODY
    why = _why(states, inputs, jobs, turn)
    to_come = max(0, (most(book.config) or 0) - len(book.trials))
    adds = _added_by_a_trial(book, states) if to_come else {}
    left = _left(states, inputs, running, _recorded(store, states, started, adds), adds, to_come)
    queued_as = {f: jobs.of[f].id for f, state in states.items() if state == "queued"}
    return Look(states, why, running, queued_as, failures, driver, coming, ended, left, jobs.problem)


def _turn(book: Ledger, on_slurm: bool, jobs: Jobs) -> str:
    """Why a stage whose inputs are finished has not begun, though the sweep is driven."""
    if book.start and not on_slurm:
        return SLOT
    return f"its turn, or queued: {jobs.problem.partition(':')[0]}" if on_slurm and jobs.problem else TURN


def progress(store: Store, fingerprint: str) -> tuple[int, int] | None:
    """How far a running stage is."""
    try:
        part = json.loads((store.folder(fingerprint) / PROGRESS).read_text())
        return part["done"], part["total"]
    except (OSError, ValueError, KeyError):
        return None


def kind_of(fingerprint: str) -> str:
    """The stage that a fingerprint is of."""
    return fingerprint.rpartition("-")[0]


def _why(states: dict[str, State], inputs: Mapping[str, Sequence[str]], jobs: Jobs, turn: str) -> dict[str, str]:
    """Why what has not begun has not, ``turn`` of what could; ``states`` are made more precise on the way, upstream first."""
    why: dict[str, str] = {}
    for fingerprint in [f for f, state in states.items() if state == "waiting"]:
        hopeless = [f for f in inputs[fingerprint] if states[f] in ("failed", "blocked")]
        if fingerprint in jobs.of:
            states[fingerprint], why[fingerprint] = "queued", in_words(jobs.of[fingerprint])
        elif hopeless:
            states[fingerprint] = "blocked"
            why[fingerprint] = why.get(hopeless[0], f"{hopeless[0]}, which failed")
        elif any(states[f] != "done" for f in inputs[fingerprint]):
            why[fingerprint] = INPUTS
        else:
            why[fingerprint] = turn
    return why


def in_words(job: queue.Queued) -> str:
    """Why a job in the queue does not run its stage yet: in plain words, and in SLURM's."""
    if job.state != "PENDING":
        return f"its job is {job.state.lower()}, and nobody is at it yet or any more"
    plain = next((words for begin, words in REASONS.items() if job.reason.startswith(begin)), "")
    return f"{plain.format(job=job.id.partition('_')[0])} ({job.reason})" if plain else job.reason


def _added_by_a_trial(book: Ledger, states: Mapping[str, State]) -> dict[str, float]:
    """Kind -> how many stages each trial after the first has added on average; empty while there is no second one."""
    known, added = set[str](), Counter[str]()
    for number, trial in enumerate(book.trials):
        own = {f for run in trial.runs for f in run.stages if states[f] != "stopped"} - known
        known |= own
        added.update(kind_of(f) for f in own if number)
    return {kind: count / (len(book.trials) - 1) for kind, count in added.items()}


def _recorded(store: Store, states: Mapping[str, State], started: Iterable[str], more: Iterable[str]) -> dict[str, float]:
    """Kind -> mean seconds of some that are finished: of this sweep, else of any in the store.  For kinds that are still to
    run, and ``more``."""
    kinds = {*more, *(kind_of(f) for f, state in states.items() if state in ("running", "queued", "waiting"))}
    own = [f for f, state in states.items() if state == "done"]
    means = {}
    for kind in kinds:
        here = [f for f in own if kind_of(f) == kind] or [f for f in started if kind_of(f) == kind and store.has(f)]
        if some := here[-SAMPLE:]:
            means[kind] = sum(store.record(f).get("seconds", 0.0) for f in some) / len(some)
    return means


def _left(states: Mapping[str, State], inputs: Mapping[str, Sequence[str]], running: Mapping[str, Running],
          recorded: Mapping[str, float], adds: Mapping[str, float], to_come: int) -> Left:
    """The work left shared among as many as run now, and no less than the longest chain of it.

    ``adds``: by kind, the stages of its own that each trial ``to_come`` will have.
    """
    unknown = adds.keys() - recorded.keys()
    total, chains = to_come * sum(count * recorded.get(kind, 0.0) for kind, count in adds.items()), dict[str, float]()
    for fingerprint, state in states.items():
        if state not in ("running", "queued", "waiting"):
            continue
        seconds = recorded.get(kind_of(fingerprint))
        if fingerprint in running:
            seconds = _rest(running[fingerprint], seconds)
        if seconds is None:
            unknown.add(kind_of(fingerprint))
        total += seconds or 0.0
        chains[fingerprint] = (seconds or 0.0) + max((chains.get(f, 0.0) for f in inputs[fingerprint]), default=0.0)
    at_once = max(1, len(running))
    seconds = max(total / at_once, max(chains.values(), default=0.0))
    return Left(seconds, at_once, tuple(sorted(unknown)), to_come, counted=bool(adds) or not to_come)


def _rest(running: Running, recorded: float | None) -> float | None:
    """Seconds a running stage still needs: by its own progress, else by what others took."""
    if running.since is None:
        return recorded
    elapsed = max(0.0, time.time() - running.since)
    if running.progress and (share := running.progress[0] / max(1, running.progress[1])) > 0.05:
        return elapsed * (1 - share) / share
    return None if recorded is None else max(0.0, recorded - elapsed)
