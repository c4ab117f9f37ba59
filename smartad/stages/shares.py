"""A stage's work split over processes of this machine, which end with the one that started them."""

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Generator, Iterable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from smartad.processes import ProcessDied, die_with_parent, exit_reason, portable

S = TypeVar("S")
R = TypeVar("R")
STOP_S = 10.0
"""How long a process that is told to end may take before it is killed."""


def each(work: Callable[[S], Iterable[R]], shares: Sequence[S], gpus: int = 0) -> Generator[R, None, None]:
    """What ``work`` yields for each of ``shares``, as it comes.  One share is worked at in this process, of several each in a
    process of its own, with one of this process's ``gpus``.

    ``work``, the shares and what it yields are pickled.  An exception of ``work`` is raised here; ProcessDied for a process
    that was ended from outside.  Close the iterator (``contextlib.closing``), and all processes are ended.
    """
    if len(shares) <= 1:
        for share in shares:
            yield from work(share)
        return
    context, devices = multiprocessing.get_context("spawn"), _devices(gpus)
    processes: dict[Connection, Any] = {}
    try:
        for number, share in enumerate(shares):
            ours, theirs = context.Pipe(duplex=False)
            device = devices[number % len(devices)] if gpus else None
            process = context.Process(target=_work, args=(theirs, work, share, device, os.getpid()), daemon=True)
            process.start()
            theirs.close()
            processes[ours] = process
        at_work = list(processes)
        while at_work:
            for pipe in wait(at_work):
                assert isinstance(pipe, Connection)
                try:
                    kind, value = pipe.recv()
                except (EOFError, OSError) as error:
                    processes[pipe].join()
                    reason = exit_reason(processes[pipe].exitcode)
                    raise ProcessDied(f"one of {len(shares)} processes of this stage died ({reason})") from error
                if kind == "error":
                    raise pickle.loads(value)
                if kind == "end":
                    at_work.remove(pipe)
                else:
                    yield value
    finally:
        for process in processes.values():
            process.terminate()
        for pipe, process in processes.items():
            process.join(STOP_S)
            if process.is_alive():
                process.kill()
                process.join()
            pipe.close()


def _work(pipe: Connection, work: Callable[[S], Iterable[R]], share: S, device: str | None, parent: int) -> None:
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device  # read when CUDA is first used
    try:
        for item in work(share):
            pipe.send(("item", item))
        pipe.send(("end", None))
    except Exception as error:
        pipe.send(("error", portable(error, f"process {os.getpid()} of this stage")))


def _devices(gpus: int) -> list[str]:
    """The names of this process's first ``gpus`` GPUs."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(gpus)]
