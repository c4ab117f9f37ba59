"""logs, cancel, retry: read what was written about a sweep's stages, and steer it."""

import argparse
import contextlib
import platform
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from smartad.cli.console import again, program
from smartad.cluster import queue
from smartad.cluster.base import RETRIES
from smartad.cluster.submission import Place, places
from smartad.records import write_json
from smartad.store import LOG, Store, StoreError, explained
from smartad.sweep import detached, ledger
from smartad.sweep.detached import Detached
from smartad.sweep.ledger import Ledger
from smartad.sweep.state import Jobs, book_of, jobs_of, look
from smartad.types import UserError

TAIL = 40
TAIL_BYTES = 4000
"""Lines of a log that are shown when several are; and bytes, when they are followed."""
POLL_S, LOOK_S = 0.5, 5.0
"""Between two looks at a log, and at which jobs there are."""
GONE_S = 90.0
"""How long a driver is waited for: its stages may take a while to give back what they have."""


def logs_command(args: argparse.Namespace) -> int:
    """What stages wrote: of one, or of those of a sweep that failed or run."""
    store = Store(args.store)
    one, fingerprints = _meant(store, args.target)
    jobs = places(store) if (store.root / "jobs").is_dir() else {}
    kinds = [kind for kind in ("out", "err") if getattr(args, kind)] or ["out", "err"]
    for fingerprint in fingerprints:
        _print_logs(store, fingerprint, jobs.get(fingerprint), [] if args.follow else kinds, None if one else TAIL)
    driver = None if one else _driver_to_show(store, ledger.name_of(args.target), bool(fingerprints))
    if driver:
        print(f"==== driver of {ledger.name_of(args.target)}: job {driver.job}")
        _print_files([path for path in driver.logs() if path.suffix.removeprefix(".") in kinds], TAIL)
    if not fingerprints and not driver:
        print(f"nothing of {args.target} failed or is running")
    if args.follow:  # what a worker process runs writes no log of its own
        _follow(store, [f for f in fingerprints if f in jobs or not store.claimed(f)], kinds, 10**9 if one else TAIL_BYTES)
    return 0


def _meant(store: Store, target: str) -> tuple[bool, list[str]]:
    """Whether ``target`` is a single stage, and which stages it means."""
    names = ledger.names(store)
    if ledger.candidates(store, target):
        stages = [f for f in ledger.load(store, target).stages() if not store.has(f)]
        return False, [f for f in stages if store.claimed(f) or store.failure(f)]
    known = set(store.begun())
    for name in names:
        known.update(ledger.load(store, name).stages())
    return True, [_one(store, target, known)]


def _driver_to_show(store: Store, name: str, others: bool) -> Detached | None:
    """The detached driver of a sweep, when it has left it unfinished, or there are no ``others`` whose logs are shown."""
    now = look(store, ledger.load(store, name), jobs_of(store))
    return now.ended or (None if others else detached.last(store, name))


def _one(store: Store, target: str, known: set[str]) -> str:
    """The one of ``known`` that begins with ``target``, or whose hash does."""
    found = sorted(f for f in known if f.startswith(target) or f.rpartition("-")[2].startswith(target))
    if len(found) == 1 or target in found:
        return target if target in found else found[0]
    if found:
        raise StoreError(f"{target!r} is ambiguous in {store.root}: {', '.join(found[:8])}")
    raise StoreError(f"no sweep and no stage {target!r} in {store.root}; there are the sweeps "
                     f"{', '.join(ledger.names(store)) or '(none)'}, and `{program()} status SWEEP` names stages")


def _print_logs(store: Store, fingerprint: str, place: Place | None, kinds: Sequence[str], tail: int | None) -> None:
    state = "finished" if store.has(fingerprint) else "running" if store.claimed(fingerprint) else "not finished"
    note = None if store.has(fingerprint) else store.failure(fingerprint)
    job = f", job {place.element}" if place and place.element else ""
    print(f"==== {fingerprint}: {state if note is None else 'failed, ' + note['class']}{job}")
    if note:
        print(f"{time.strftime('%F %T', time.localtime(note['time']))} on {note['host']}: {note['message']}")
    shown = [*([store.folder(fingerprint) / LOG] if note else []), *_job_logs(place, kinds)]
    _print_files([path for path in shown if path.exists()], tail)
    if kinds and not any(path.exists() for path in shown) and not note:
        print("no log: it was not submitted as a job" if place is None else "no log yet")


def _print_files(paths: Sequence[Path], tail: int | None) -> None:
    for path in paths:
        print(f"---- {path}")
        for line in _lines(path, tail):
            print(line)


def _job_logs(place: Place | None, kinds: Sequence[str]) -> list[Path]:
    return [path for path in place.logs() if path.suffix.removeprefix(".") in kinds] if place else []


def _lines(path: Path, tail: int | None) -> Iterator[str]:
    """A log's lines, or the last ``tail`` and how many there are before them."""
    with path.open(encoding="utf-8", errors="replace") as file:
        if tail is None:
            yield from (line.rstrip("\n") for line in file)
            return
        count, last = 0, deque[str](maxlen=tail)
        for line in file:
            count += 1
            last.append(line.rstrip("\n"))
    if count > tail:
        yield f"... {count - tail} lines before"
    yield from last


def _follow(store: Store, fingerprints: Sequence[str], kinds: Sequence[str], tail: int) -> None:
    """Print the last ``tail`` bytes of jobs' logs and what is added, until the stages have ended.  Ctrl-C only stops looking."""
    paths, looked, last = _logs_of(store, fingerprints, kinds), time.monotonic(), None
    shown = {path: max(0, path.stat().st_size - tail) for path in paths}
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            going = [f for f in fingerprints if not store.has(f) and (store.claimed(f) or not store.failure(f))]
            if time.monotonic() - looked >= LOOK_S or not going:  # tried again, a stage is in another job
                paths, looked = _logs_of(store, fingerprints, kinds), time.monotonic()
            for path in paths:
                if added := _added(path, shown.get(path, 0)):
                    shown[path] = shown.get(path, 0) + len(added)
                    print("" if path == last else f"---- {path}\n", added.decode("utf-8", "replace"), sep="", end="", flush=True)
                    last = path
            if not going:
                return
            time.sleep(POLL_S)


def _added(path: Path, since: int) -> bytes:
    with path.open("rb") as file:
        file.seek(since)
        return file.read()


def _logs_of(store: Store, fingerprints: Sequence[str], kinds: Sequence[str]) -> list[Path]:
    """The logs of their jobs, each once."""
    jobs = places(store) if (store.root / "jobs").is_dir() else {}
    return list(dict.fromkeys(path for f in fingerprints if f in jobs for path in _job_logs(jobs[f], kinds)))


def cancel_command(args: argparse.Namespace) -> int:
    """Stop a sweep: its driver, what it runs, and its jobs in SLURM's queue.  What is finished is kept."""
    store = Store(args.store)
    book = book_of(store, args.sweep, jobs_of(store))
    with explained(store.root):
        (store.root / "sweeps").mkdir(exist_ok=True)
        write_json(store.root / "sweeps" / f"{book.name}.cancel", {"time": time.time(), "host": platform.node()})
    driver = store.locked(f"sweeps/{book.name}")
    if driver:
        _await_gone(store, book.name, driver)
        print(f"its driver, process {driver.get('pid')} on {driver.get('host')}, has stopped what it ran, and ended")
    jobs = jobs_of(store)
    if jobs.problem:
        raise UserError(f"{jobs.problem}; what {book.name} has in its queue stays there. Run this again when it does")
    doomed, kept = _jobs_of_nobody_else(store, book, jobs)
    if waiting := jobs.drivers.get(book.name):
        doomed.add(waiting.id)
    try:
        queue.cancel(doomed)
    except queue.SlurmError as error:
        raise UserError(f"SLURM does not answer: {error}; {len(doomed)} jobs stay in its queue. "
                        "Run this again when it does") from error
    if doomed:
        print(f"{len(doomed)} job(s) taken out of SLURM's queue")
    for name, count in Counter(kept.values()).items():
        print(f"{count} job(s) stay in it: {name} needs what they run")
    if not driver and not doomed:
        print(f"nobody drives {book.name}, and none of its jobs is queued")
    stages = book.stages()
    done = sum(store.has(f) for f in stages)
    print(f"{done} of {len(stages)} stages are finished and kept; to go on: {again(store, book)}")
    return 0


def _await_gone(store: Store, name: str, driver: Mapping[str, Any]) -> None:
    until = time.monotonic() + GONE_S
    while store.locked(f"sweeps/{name}"):
        if time.monotonic() > until:
            how = f"scancel {driver['job']}" if driver.get("job") else f"kill {driver.get('pid')}, on {driver.get('host')}"
            raise UserError(f"{name} was told to stop {GONE_S:g} s ago, and its driver is still there; {how}, and run this again")
        time.sleep(POLL_S)


def _jobs_of_nobody_else(store: Store, book: Ledger, jobs: Jobs) -> tuple[set[str], dict[str, str]]:
    """The jobs that run nothing but this sweep's stages; and those that somebody else needs, with who."""
    own, packs, doomed, kept = set(book.stages()), dict[str, set[str]](), set[str](), dict[str, str]()
    for fingerprint, job in jobs.of.items():
        packs.setdefault(job.id, set()).add(fingerprint)
    driven = [ledger.load(store, name) for name in ledger.names(store) if name != book.name and store.locked(f"sweeps/{name}")]
    for id, pack in packs.items():
        if not pack & own:
            continue
        users = [other.name for other in driven if pack & set(other.stages())]
        if users or not pack <= own:
            kept[id] = " and ".join(users) or "something else"
        else:
            doomed.add(id)
    return doomed, kept


def retry_command(args: argparse.Namespace) -> int:
    """Take failures away, so that their stages are tried again."""
    store = Store(args.store)
    book = ledger.load(store, args.sweep)
    classes = [word.strip() for word in args.classes.split(",")] if args.classes else list(RETRIES)
    if unknown := [word for word in classes if word not in RETRIES]:
        raise UserError(f"no class of failure {unknown[0]!r}; there are {', '.join(RETRIES)}")
    stages = book.stages()
    wanted = [_one(store, name, set(stages)) for name in args.fingerprints] or stages
    failed = {f: note for f in wanted if not store.has(f) and (note := store.failure(f))}
    chosen = {f: note for f, note in failed.items() if note["class"] in classes}
    for fingerprint, note in chosen.items():
        with explained(store.root):
            store.forget_failure(fingerprint)
        print(f"{fingerprint} ({note['class']}): {note['message']}")
    for fingerprint in wanted if args.fingerprints else []:
        if fingerprint not in failed:
            print(f"{fingerprint} {_no_failure(store, fingerprint)}")
    others = Counter(note["class"] for f, note in failed.items() if f not in chosen)
    left = f" ({', '.join(f'{count} of class {kind}' for kind, count in others.items())} left as they are)" if others else ""
    if not failed:
        print(f"nothing to retry: nothing {'of those' if args.fingerprints else f'of {book.name}'} has failed")
    elif not chosen:
        print(f"nothing to retry: no failure of {book.name} is of class {', '.join(classes)}{left}")
    elif store.locked(f"sweeps/{book.name}"):
        print(f"{len(chosen)} stage(s) to try again{left}; the driver takes them up by itself")
    else:
        print(f"{len(chosen)} stage(s) to try again{left}, and nobody drives {book.name} now. Run:\n  {again(store, book)}")
    return 0


def _no_failure(store: Store, fingerprint: str) -> str:
    """Why there is nothing to take away."""
    if store.has(fingerprint):
        return "is finished"
    if store.claimed(fingerprint):
        return "is running"
    return "has no failure: it was taken away before, or has not run yet"
