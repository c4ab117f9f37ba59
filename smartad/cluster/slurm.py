"""Stages as jobs in a SLURM queue, through submitit.

Nothing here is needed to go on after the driver dies: what is in flight is read from the queue, what a job was is read from
its submission, and whether a stage is done is read from the store.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache

from smartad.cluster import queue
from smartad.cluster.base import RETRIES, Failure, Job
from smartad.cluster.profile import STAGES, ClusterConfig, Resources
from smartad.cluster.submission import Place, Refused, places_of, read, recent, script, submit
from smartad.stage import StageSpec
from smartad.types import UserError

GRACE_S = 10.0
"""How long a submission whose job id nobody noted may be missing in the queue: its driver died within sbatch."""
POLL_MOST_S = 0.5
"""Between two looks at the store."""

log = logging.getLogger(__name__)


class Slurm:
    """A queue that takes everything that is ready, as job arrays."""

    retries: Mapping[str, int] = {**RETRIES, "node": 4, "oom": 2}
    """Nodes come and go.  Out of memory is tried again with twice the memory, where the profile says how much that is."""

    def __init__(self, job: Job, config: ClusterConfig) -> None:
        self.job, self.config = job, config
        self.resources = cache(config.resources)
        for stage in STAGES:  # what sbatch could not even be asked is said now
            try:
                script(job, stage, self.resources(stage), 2)
            except Exception as error:
                raise UserError(f"the profile's resources of {stage} are not sbatch's: {' '.join(str(error).split())}") from error
        try:
            queue.queue(job.store)
        except queue.SlurmError as error:
            raise UserError(f"SLURM does not answer ({error}); `smartad doctor` looks closer. Without SLURM: "
                            "--cluster slurm/local.yaml") from error
        self.places: dict[str, Place] = {}
        """What is in flight, or was when we looked last."""
        self.growth: dict[str, int] = {}
        """Fingerprint -> how often it ran out of memory."""
        self.alone: set[str] = set()
        """What died in a pack: next time it gets a job of its own, so that it takes nobody with it."""
        self.failed: dict[str, Failure] = {}
        """What the next ``collect`` reports."""
        self.adopted: set[tuple[str, int]] = set()
        self.mine: set[str] = set()
        """Tags of our own submissions."""
        self.jobs = 0
        self.known = False
        self.looked = -config.poll_s
        for submission in recent(job.store, GRACE_S):  # of a driver that died within sbatch
            self.places |= places_of(job.store, submission)

    def take(self, ready: Iterable[StageSpec]) -> list[StageSpec]:
        """One array per stage and size of memory, tiny stages packed."""
        groups: dict[tuple[str, int, bool], list[list[StageSpec]]] = {}
        room = self.config.max_jobs - self.jobs
        for spec in ready if room > 0 else ():
            alone = spec.fingerprint in self.alone
            packs = groups.setdefault((spec.stage.name, self.growth.get(spec.fingerprint, 0), alone), [])
            if packs and not alone and len(packs[-1]) < self.resources(spec.stage.name).pack:
                packs[-1].append(spec)
            elif room > 0:
                packs.append([spec])
                room -= 1
            else:
                break
        taken: list[StageSpec] = []
        for (stage, growth, _), packs in groups.items():
            resources = _grown(self.resources(stage), growth)
            for start in range(0, len(packs), self.config.max_array):
                array = packs[start:start + self.config.max_array]
                if not self._submit(array, resources):
                    return taken
                taken += [spec for pack in array for spec in pack]
        return taken

    def _submit(self, packs: list[list[StageSpec]], resources: Resources) -> bool:
        try:
            submission, _ = submit(self.job, "slurm", packs, resources)
        except Refused as error:
            grown = any(spec.fingerprint in self.growth for pack in packs for spec in pack)
            refused = Failure("oom" if grown else "user error", f"SLURM refuses the job: {error}", final=True)
            self.failed |= {spec.fingerprint: refused for pack in packs for spec in pack}
            return True
        except UserError:
            raise
        except Exception as error:  # submitit passes on whatever sbatch said
            self._unsure(f"sbatch: {' '.join(str(error).split())[-300:]}")
            return False
        self.mine.add(submission.tag)
        self.places |= places_of(self.job.store, submission)
        self.jobs += len(packs)
        return True

    def _unsure(self, why: str) -> None:
        """What is in flight cannot be told until the queue answers again."""
        log.warning("%s; nothing is taken for lost, trying again in %g s", why, self.config.poll_s)
        self.known, self.looked = False, time.monotonic()

    def in_flight(self) -> set[str] | None:
        return set(self.places) if self.known else None

    def collect(self) -> dict[str, Failure]:
        """Look at the queue every ``poll_s``; what has left it without finishing has failed."""
        time.sleep(min(self.config.poll_s, POLL_MOST_S))
        if time.monotonic() - self.looked < self.config.poll_s:
            return self._failures()
        try:
            jobs = queue.queue(self.job.store)
            queue.cancel(job.id for job in jobs if job.hopeless())
        except queue.SlurmError as error:
            self._unsure(str(error))
            return self._failures()
        self.known, self.looked, self.jobs = True, time.monotonic(), len(jobs)
        here = {(job.tag, job.index) for job in jobs if not job.hopeless()}
        for job in jobs:
            if not job.hopeless() and job.tag not in self.mine:
                self._adopt(job)
        gone = {f: place for f, place in self.places.items() if (place.submission.tag, place.index) not in here
                and (place.job or time.time() - place.submission.time > GRACE_S)}
        for fingerprint, place in gone.items():
            if failure := self._ended(fingerprint, place):
                self.failed[fingerprint] = failure
            del self.places[fingerprint]
        return self._failures()

    def _failures(self) -> dict[str, Failure]:
        failed, self.failed = self.failed, {}
        return failed

    def _adopt(self, job: queue.Queued) -> None:
        """A job of a driver that is gone, or of another one."""
        if (job.tag, job.index) in self.adopted or not (submission := read(self.job.store, job.tag)):
            return
        self.adopted.add((job.tag, job.index))
        self.places |= {f: replace(place, job=job.id.partition("_")[0]) for f, place in
                        places_of(self.job.store, submission).items() if place.index == job.index}

    def _ended(self, fingerprint: str, place: Place) -> Failure | None:
        """None when it is finished, or somebody else is at it."""
        store = self.job.store
        if store.has(fingerprint):
            return None
        note, worker = store.failure(fingerprint), store.worker(fingerprint)
        # A claim is believed for a minute after its last heartbeat; that of a job which is gone is not.
        if worker and worker.get("job") != place.element:
            return None
        if note and note["job"] == place.element:
            failure = Failure(note["class"], note["message"])
        else:
            failure = queue.ended(place)
            pack = place.submission.packs[place.index]
            if len(pack) > 1 and failure.kind != "user error":  # one of them has died; which, a job of its own will tell
                failure = Failure("node", failure.message)
        self.alone.add(fingerprint)
        if failure.kind == "oom":
            self.growth[fingerprint] = self.growth.get(fingerprint, 0) + 1
            grows = self.resources(place.submission.stage).mem_gb and "CUDA" not in failure.message
            return replace(failure, final=not grows)
        return failure

    def cancel(self, fingerprints: set[str]) -> None:
        """Take our own of their jobs out of the queue, where no other stage is in the same job; others' may be wanted."""
        doomed = {place.element for f, place in self.places.items() if f in fingerprints and place.element
                  and place.submission.tag in self.mine
                  and fingerprints.issuperset(place.submission.packs[place.index])}
        try:
            queue.cancel(doomed)
        except queue.SlurmError as error:
            log.warning("%s; %d jobs that nobody needs any more stay in the queue", error, len(doomed))
            return
        self.places = {f: place for f, place in self.places.items() if place.element not in doomed}

    def close(self) -> None:
        """The queue goes on without us."""


def _grown(resources: Resources, times: int) -> Resources:
    return replace(resources, mem_gb=resources.mem_gb * 2**times) if resources.mem_gb else resources
