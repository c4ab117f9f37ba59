"""Drive a plan to its end while a person watches, and say how it ended."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from smartad import benchmarks, corpora
from smartad.claims import Claim
from smartad.cli import INTERRUPTED
from smartad.cli.acceptance import check_accepted
from smartad.cli.console import Watch, at_store, program
from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.cluster.base import POLL_S
from smartad.cluster.submission import STARTED_AGAIN
from smartad.config import load
from smartad.experiment import missing_data
from smartad.grading import qa_judge
from smartad.stage import Runtime, StageSpec
from smartad.stages.grade import GRADE
from smartad.stages.train import TRAIN
from smartad.store import LOG, Store
from smartad.sweep.bill import save_estimate
from smartad.sweep.driver import Driver, drive, start
from smartad.sweep.garbage import GC
from smartad.tracking import configure
from smartad.types import UserError


class Stopped(Exception):
    """The driver ends before the plan does; the message says why."""

    def __init__(self, why: str, status: int) -> None:
        super().__init__(why)
        self.status = status


def profile_of(args: argparse.Namespace) -> ClusterConfig:
    """The site profile that was named, checked; worker processes here when none was."""
    profile = load(ClusterConfig, [args.cluster] if args.cluster else [])
    if getattr(args, "detach", False) and profile.cluster != "slurm":
        raise UserError(f"--detach hands the driver to SLURM, and {args.cluster or 'no --cluster'} is not a profile of one")
    if args.jobs and profile.cluster == "slurm":
        raise UserError(f"--jobs {args.jobs} is for this machine; how many jobs a site takes is max_jobs in {args.cluster}")
    if args.snapshot and profile.cluster == "workers":
        raise UserError(f"--snapshot {args.snapshot} is for code that runs as jobs; name their profile with --cluster")
    return profile


def job_of(args: argparse.Namespace, profile: ClusterConfig, store: Store, group: str | None, data: str | None,
           models: dict[str, str], files: dict[str, str]) -> Job:
    """What runs any stage of a plan.  Jobs that import smartad later are given the code as it is now."""
    tracking = configure(args.track.split(",") if args.track else None, store.root, group)
    runtime = Runtime(data=Path(data).absolute() if data else None,
                      models={identity: str(Path(folder).absolute()) for identity, folder in models.items()}, files=files)
    code = None
    if profile.cluster != "workers" and args.jobs != 0:
        from smartad.cluster.code import snapshot

        code = snapshot(store, args.snapshot)
    return Job(store, runtime, tracking, code)


def bring_to_end(args: argparse.Namespace, profile: ClusterConfig, job: Job, work: Driver | list[StageSpec],
                 lock: Claim | None = None) -> int:
    """Run what is missing of a driver's sweep, or of some goals.  The exit status.

    ``lock``: the right to drive the sweep, which a process that was not heard of for a minute loses to another one.
    """
    store = job.store
    _await_clearing(store)
    cancel = store.root / "sweeps" / f"{work.sweep.name}.cancel" if isinstance(work, Driver) else None
    if cancel:  # an old one; what comes from now on is meant for us
        cancel.unlink(missing_ok=True)
    executor = connect(profile, job, args.jobs)
    # A driver that SLURM has started again goes on as if it had never been away; a person who starts one wants another try.
    restarted = int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0 or STARTED_AGAIN in os.environ
    dispatcher = Dispatcher(store, executor, keep_failures=restarted)
    try:
        if isinstance(work, Driver):
            start(work, dispatcher)
            save_estimate(store, work.sweep.name, list(dispatcher.specs.values()))
        else:
            dispatcher.add(work)
        check_data(dispatcher.unfinished.values(), job.runtime)
        check_split(dispatcher.unfinished.values(), profile)
        check_judges(dispatcher.unfinished.values(), profile)
        if profile.cluster == "slurm" and not (args.command == "sweep" and is_copy(store, args.file)):
            check_accepted(profile, args.cluster, store.root, {spec.stage.name for spec in dispatcher.unfinished.values()})
        owners, given_up = (work.owners, work.stopped) if isinstance(work, Driver) else (dict, dict)
        with Watch(dispatcher, owners, given_up, queue=profile.cluster == "slurm") as watch:
            def each_round() -> None:
                with dispatcher.patient():
                    watch()
                    _stop_if_asked(args, dispatcher, cancel)
                    if lock and not lock.held():
                        raise Stopped("another process drives this sweep now: nothing was heard of this one for a minute", 1)
            if isinstance(work, Driver):
                drive(work, dispatcher, each_round)
            else:
                while dispatcher.open():
                    dispatcher.step()
                    each_round()
    except (KeyboardInterrupt, Stopped) as why:
        print(f"\nsmartad: {_stopped(why, profile, dispatcher, work)}", file=sys.stderr)
        return why.status if isinstance(why, Stopped) else INTERRUPTED
    finally:
        executor.close()
    return _report_failures(dispatcher)


def _await_clearing(store: Store) -> None:
    """While somebody clears up, what is finished may go at any moment."""
    if who := store.locked(GC):
        print(f"process {who.get('pid')} on {who.get('host')} is clearing up {store.root}; this goes on when it has ended",
              file=sys.stderr)
    while store.locked(GC):
        time.sleep(POLL_S)


def _stop_if_asked(args: argparse.Namespace, dispatcher: Dispatcher, cancel: Path | None) -> None:
    if cancel and cancel.exists():
        dispatcher.withdraw(list(dispatcher.goals.values()))
        raise Stopped("cancelled", INTERRUPTED)
    if args.fail_fast and dispatcher.failures:
        fingerprint, failure = next(iter(dispatcher.failures.items()))
        dispatcher.withdraw(list(dispatcher.goals.values()))
        raise Stopped(f"stopped because {fingerprint} failed ({failure.kind}): {failure.message}", 1)


def _stopped(why: BaseException, profile: ClusterConfig, dispatcher: Dispatcher, work: Driver | list[StageSpec]) -> str:
    """What is kept, what goes on without us, and how to go on."""
    done = sum(dispatcher.store.has(f) for f in dispatcher.specs)
    kept = f"{why if isinstance(why, Stopped) else 'stopped'}. {done} of {len(dispatcher.specs)} stages are finished and kept"
    queued = sum(state == "running" for state in dispatcher.states.values())
    if profile.cluster == "slurm" and isinstance(why, KeyboardInterrupt):
        name = work.sweep.name if isinstance(work, Driver) else ""
        return (f"{kept}; {queued} more are in SLURM's queue and go on, but what needs them is submitted only while this "
                f"runs:\n  {again()}" + (f"\nor, without a terminal, with --detach. To take them out of the queue:\n"
                                         f"  {program()} cancel {name}{at_store(dispatcher.store)}" if name else ""))
    return f"{kept}; what was under way is carried on by\n  {again()}"


def check_data(specs: Iterable[StageSpec], runtime: Runtime) -> None:
    """Fail at the desk: a file that is not there is named before anything runs."""
    if missing := missing_data(specs, runtime):
        where = f"not in {runtime.data}" if runtime.data else "needed"
        hub = [name for name in corpora.names() for download in corpora.downloads(name) if download.file in missing]
        sets = [name for name in benchmarks.names() if (source := benchmarks.get(name).SOURCE) and source.file in missing]
        ways = [f"{program()} data prefetch {' '.join(sets)} --to FOLDER"] if sets else []
        ways += [f"{program()} fetch {hub[0]} --data FOLDER"] if hub else []
        fetch = f", or have them fetched: {'; '.join(ways)}" if ways else ""
        raise UserError(f"{', '.join(missing)}: {where}; say which folder holds them with data=FOLDER{fetch}")


def check_split(specs: Iterable[StageSpec], profile: ClusterConfig) -> None:
    """Fail at the desk: a batch that the profile's processes cannot share is named before anything runs."""
    for spec in specs:
        if spec.stage is TRAIN:
            spec.config.accumulation(profile.ranks(TRAIN.name))


def check_judges(specs: Iterable[StageSpec], profile: ClusterConfig) -> None:
    """Fail at the desk: a judge that the profile does not know, or whose key is not here, is named before anything is asked."""
    for name in {name for spec in specs if spec.stage is GRADE for name in (spec.config.judge, spec.config.second_judge) if name}:
        site = qa_judge.site_of(name, profile.judge_sites())
        by_job = profile.cluster != "workers" and any(site.key_variable in line for line in profile.resources(GRADE.name).setup
                                                      if site.key_variable)
        if not by_job:
            qa_judge.key_of(name, site)


def is_copy(store: Store, file: str) -> bool:
    """Whether a sweep's file is the copy that a detached driver reads."""
    return Path(file).absolute().parent.parent == store.root / "sweeps"


def again() -> str:
    """The command that was given."""
    return f"{program()} {shlex.join(sys.argv[1:])}"


def driven(store: Store, sweep: str) -> str:
    """Who drives ``sweep``, for whoever wanted to."""
    who = store.locked(f"sweeps/{sweep}") or {}
    job = f", SLURM job {who['job']}" if who.get("job") else ""
    return (f"sweep {sweep} is being driven already, by process {who.get('pid', '?')} on {who.get('host', '?')}{job}. "
            f"Watch it: {program()} status {sweep} --live; stop it: {program()} cancel {sweep}")


def _report_failures(dispatcher: Dispatcher) -> int:
    if not dispatcher.failures:
        return 0
    blocked = sum(state == "blocked" for state in dispatcher.states.values())
    print(f"\nsmartad: {len(dispatcher.failures)} stage(s) failed, {blocked} more wait for them:", file=sys.stderr)
    for fingerprint, failure in dispatcher.failures.items():
        print(f"  {fingerprint} ({failure.kind}): {failure.message}", file=sys.stderr)
        if (log := dispatcher.store.folder(fingerprint) / LOG).exists():
            print(f"    log {log}", file=sys.stderr)
    print(f"Mend the cause and run it again; what is finished is kept:\n  {again()}", file=sys.stderr)
    return 1
