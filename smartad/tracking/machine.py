"""What a stage takes of the machine while it runs: processors, memory and GPUs, sampled beside it."""

import contextlib
import importlib.util
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from smartad.records import append_jsonl
from smartad.tracking.base import Row

FILE = "machine.jsonl"
FIRST_S, EVERY_S, LAST_S = 1.0, 15.0, 2.0
"""When the first sample is taken, the time between two others, and how long the end waits for the last one."""


class Sampler:
    """Writes ``machine.jsonl`` in a stage's folder, and passes the rows on."""

    def __init__(self, folder: Path, tell: Callable[[Row], None]) -> None:
        self.path, self._tell = folder / FILE, tell
        self.rows: list[Row] = []
        self._known: dict[int, psutil.Process] = {}
        self._gpus = _gpus()
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="machine", daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, float]:
        """Take the last sample.  The means of shares, and the peaks of memory, of this attempt; empty when nothing was seen."""
        self._over.set()
        self._thread.join(LAST_S)  # a driver that hangs must not hold up what is finished
        rows = list(self.rows)
        columns = {name: [row.metrics[name] for row in rows if name in row.metrics] for row in rows[-1:] for name in row.metrics}
        return {name: round(max(values) if name.endswith("_gb") else sum(values) / len(values), 3)
                for name, values in columns.items()}

    def abandon(self) -> None:
        """Take no more samples."""
        self._over.set()

    def _sample(self) -> None:
        wait = FIRST_S
        with contextlib.suppress(Exception):  # no more samples then; the stage has nothing to do with it
            self._look()  # the share of a processor is one since the look before
            while not self._over.wait(wait):
                self._add()
                wait = EVERY_S
            self._add()

    def _add(self) -> None:
        row = Row(round(time.monotonic() - self._began), round(time.time(), 6), self._look())
        self.rows.append(row)
        with contextlib.suppress(OSError):  # a full disk is for the stage to find out
            append_jsonl(self.path, [{"seconds": row.step, "time": row.time, **row.metrics}])
        self._tell(row)

    def _look(self) -> dict[str, float]:
        """This process and its children.  One core in full use is 100 %."""
        percent, memory = 0.0, 0
        with contextlib.suppress(psutil.Error):
            me = psutil.Process(os.getpid())
            now = {process.pid: process for process in [me, *me.children(recursive=True)]}
            self._known = {pid: self._known.get(pid, process) for pid, process in now.items()}
        for process in self._known.values():
            with contextlib.suppress(psutil.Error):  # it has ended just now
                percent += process.cpu_percent()
                memory += process.memory_info().rss
        return {"cpu_percent": round(percent, 1), "memory_gb": round(memory / 1e9, 3), **self._gpus()}


def read_samples(folder: Path) -> Iterator[Row]:
    """The samples that a stage's attempts have left; none where there is no file.  A torn line is left out."""
    try:
        lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        with contextlib.suppress(ValueError, KeyError):
            fields = json.loads(line)
            yield Row(fields.pop("seconds"), fields.pop("time"), fields)


def _gpus() -> Callable[[], dict[str, float]]:
    """What looks at the GPUs this process may use; nothing where there is none."""
    if not importlib.util.find_spec("pynvml") or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return dict
    import pynvml

    try:
        pynvml.nvmlInit()
        wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
        numbers = [int(word) for word in wanted.split(",")] if wanted else range(pynvml.nvmlDeviceGetCount())
        devices = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in numbers]
    except (pynvml.NVMLError, ValueError):
        return dict

    def look() -> dict[str, float]:
        found = {}
        for number, device in enumerate(devices):
            with contextlib.suppress(pynvml.NVMLError):
                found[f"gpu{number}_percent"] = float(pynvml.nvmlDeviceGetUtilizationRates(device).gpu)
                found[f"gpu{number}_memory_gb"] = round(pynvml.nvmlDeviceGetMemoryInfo(device).used / 1e9, 3)
        return found
    return look
