"""One piece of work in several processes of this machine, started by torchrun and watched by this one.

The ranks and this process talk through a folder: the work, what rank 0 reports, and how each rank ended.
"""

import dataclasses
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from smartad.processes import ProcessDied, die_with_parent, exit_reason, portable
from smartad.stage import Runtime
from smartad.types import UserError

T = TypeVar("T")
POLL_S = 0.1
STOP_S = 10.0
"""How long torchrun may take to end its ranks before all of them are killed; the stage's own process has 20 s."""
TOLD_LINES = 40
"""Of their log, when nobody knows why they ended."""
LOOPBACK = "127.0.0.1"
WORK, MESSAGES, RESULT, EXITS, LOG = "work.pickle", "messages.jsonl", "result.pickle", "exits.json", "log"


def spread(work: Callable[[Runtime], T], runtime: Runtime, folder: Path) -> T:
    """``work(runtime)`` in ``runtime.processes`` processes at once, which are the ranks of one torch.distributed group.

    ``work`` can be pickled; it finds its rank through torch.  Each rank has its share of the threads.  ``folder``: where
    they talk; what a kill left there is removed, and at the end it is gone.  Returns what rank 0 returns, and passes on
    what it reports.  Raises what a rank raised, UserErrors before all others, and ProcessDied for one that was ended from
    outside.  However this ends, no rank is left.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    share = dataclasses.replace(runtime, threads=max(1, runtime.threads // runtime.processes),
                                report=Runtime.report, note=Runtime.note, progress=Runtime.progress)  # nobody's
    (folder / WORK).write_bytes(pickle.dumps((work, share)))
    with (folder / LOG).open("wb") as log:
        words = [sys.executable, "-m", "smartad.engines.ranks", "launch", str(folder.absolute()), str(os.getpid())]
        launcher = subprocess.Popen(words, stdout=log, stderr=log, env=_variables(share), start_new_session=True)
    try:
        messages = _Messages(folder / MESSAGES)
        while launcher.poll() is None:
            messages.pass_on(runtime)
            time.sleep(POLL_S)
        messages.pass_on(runtime)
        if not (folder / RESULT).exists():
            raise _failure(folder, runtime.processes, launcher.returncode)
        result: T = pickle.loads((folder / RESULT).read_bytes())
        return result
    finally:
        _end(launcher, folder)
        shutil.rmtree(folder, ignore_errors=True)


def _variables(share: Runtime) -> dict[str, str]:
    """The environment of the ranks, who are all on this machine: gloo and NCCL would listen where the host's name leads."""
    threads = {name: str(share.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    own = {} if share.gpus else {"DS_ACCELERATOR": "cpu"}
    here = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    return {**os.environ, **threads, **own, **here, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


class _Messages:
    """What rank 0 has reported since the last look."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def pass_on(self, runtime: Runtime) -> None:
        """To ``runtime``'s own listeners, in order."""
        for line in self._new():
            message = json.loads(line)
            if "total" in message:
                runtime.progress(message["done"], message["total"])
            else:
                runtime.report(message["step"], **message["metrics"])

    def _new(self) -> Iterator[bytes]:
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):  # it is being written
                    return
                self._read += len(line)
                yield line


def _end(launcher: "subprocess.Popen[bytes]", folder: Path) -> None:
    """No rank outlives this: torchrun ends them when it is told to, and those it does not are killed."""
    if launcher.poll() is None:
        launcher.terminate()
        with suppress(subprocess.TimeoutExpired):
            launcher.wait(STOP_S)
    if launcher.poll() is None:
        launcher.kill()  # whereupon the kernel kills its ranks; elsewhere than on Linux, they are killed below
        launcher.wait()
    if sys.platform != "linux":
        for path in folder.glob("pid-*"):
            with suppress(ProcessLookupError):
                os.kill(int(path.read_text()), signal.SIGKILL)


def _failure(folder: Path, processes: int, status: int) -> BaseException:
    """What ended the ranks: one may have raised because another was gone."""
    raised = [pickle.loads(path.read_bytes()) for path in sorted(folder.glob("raised-*"), key=lambda p: p.stat().st_mtime_ns)]
    if told := next((error for error in raised if isinstance(error, UserError)), None):
        return told
    exits = json.loads((folder / EXITS).read_text()) if (folder / EXITS).exists() else {}
    last = "\n".join((folder / LOG).read_text(errors="replace").strip().splitlines()[-TOLD_LINES:])
    if killed := next(((rank, code) for rank, code in exits.items() if code < 0), None):
        died = ProcessDied(f"rank {killed[0]} of {processes} processes ended with {exit_reason(killed[1])}")
        died.add_note(f"the last that its launcher and the ranks wrote:\n{last}")
        return died
    return raised[0] if raised else ProcessDied(f"torchrun ended with {exit_reason(status)}:\n{last}")


def launch(folder: Path, parent: int) -> None:
    """torchrun, in a process of its own that ends with ``parent``.  Notes the exit status of each rank that failed."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    die_with_parent(parent)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # SLURM tells the whole job to leave; ours are told by their parent
    _, runtime = pickle.loads((folder / WORK).read_bytes())
    try:
        # They meet in files: torch's TCP store would listen on every interface, to whoever finds it.
        main(["--rdzv-backend", "c10d", "--rdzv-endpoint", str(folder / "agents"), "--rdzv-conf", "store_type=file",
              "--rdzv-id", "smartad", "--local-addr", LOOPBACK, "--nproc-per-node", str(runtime.processes), "--max-restarts", "0",
              "-m", "smartad.engines.ranks", "work", str(folder), str(os.getpid())])
    except ChildFailedError as error:
        (folder / EXITS).write_text(json.dumps({rank: failure.exitcode for rank, failure in error.failures.items()}))
        sys.exit(1)


def work_as_rank(folder: Path, parent: int) -> None:
    """One rank."""
    import torch

    die_with_parent(parent, signal.SIGKILL)
    rank = int(os.environ["RANK"])
    (folder / f"pid-{rank}").write_text(str(os.getpid()))
    work, runtime = pickle.loads((folder / WORK).read_bytes())
    if runtime.gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if runtime.gpus else "gloo", init_method=f"file://{folder / 'ranks'}", rank=rank,
                                         world_size=runtime.processes)
    try:
        result = work(_told(folder / MESSAGES, runtime) if rank == 0 else runtime)
        if rank == 0:
            _write(folder / RESULT, pickle.dumps(result))
        torch.distributed.destroy_process_group()
    except Exception as error:
        _write(folder / f"raised-{rank}", portable(error, f"rank {rank} of {runtime.processes} processes"))
        os._exit(1)  # leaving in good order would wait for the other ranks


def _told(path: Path, runtime: Runtime) -> Runtime:
    """``runtime`` whose reports are written down for the process that started the ranks."""
    file = path.open("a", buffering=1)

    def report(step: int, **metrics: float) -> None:
        file.write(json.dumps({"step": step, "metrics": metrics}) + "\n")

    def progress(done: int, total: int) -> None:
        file.write(json.dumps({"done": done, "total": total}) + "\n")

    return dataclasses.replace(runtime, report=report, progress=progress)


def _write(path: Path, content: bytes) -> None:
    """By rename, so that what is there is whole."""
    path.with_name(f".{path.name}").write_bytes(content)
    path.with_name(f".{path.name}").rename(path)


if __name__ == "__main__":
    {"launch": launch, "work": work_as_rank}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
