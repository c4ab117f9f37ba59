"""Run one stage: find its inputs, skip it if it is done, run it, seal it, tell the trackers."""

import dataclasses
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from smartad.claims import Claim, ClaimLost
from smartad.processes import ProcessDied
from smartad.records import read_json, write_json
from smartad.stage import Runtime, StageSpec
from smartad.store import JUDGED, PROGRESS, RAN, Store, StoreError, away, explained
from smartad.tracking import RunInfo, Tracking
from smartad.types import ToolDown, UserError

PROGRESS_EVERY_S = 0.5
PACKAGES = ("torch", "transformers", "peft", "accelerate", "smolagents", "omegaconf", "bm25s", "faiss-cpu",
            "sentence-transformers", "vllm")


def run_one(spec: StageSpec, store: Store, runtime: Runtime, tracking: Tracking) -> bool:
    """Run ``spec``, whose inputs are in the store.  True when it is finished now, False when another process is at it.

    An exception of the stage leaves a note of the failure beside the unfinished output, and is raised again.
    """
    if store.has(spec.fingerprint):
        return True
    missing = [f"{role}={parent.fingerprint}" for role, parent in spec.inputs.items() if not store.has(parent.fingerprint)]
    if missing:
        if not store.present():
            raise away(store.root)
        raise UserError(f"{spec.fingerprint} needs {', '.join(missing)}, not finished in {store.root}")
    with store.claim(spec.fingerprint) as claim:
        if claim is None:
            return store.has(spec.fingerprint)
        try:
            with explained(store.root):
                _run_claimed(spec, claim, store, runtime, tracking)
        except ClaimLost:
            return False
        except Exception as error:
            if not isinstance(error, StoreError) and not store.present():  # a library has its own words for that
                raise away(store.root, str(error)) from error
            store.note_failure(spec.fingerprint, classify(error), str(error) or type(error).__name__,
                               "".join(traceback.format_exception(error)), final=False)  # the driver decides that
            raise
    return True


def _run_claimed(spec: StageSpec, claim: Claim, store: Store, runtime: Runtime, tracking: Tracking) -> None:
    out = store.folder(spec.fingerprint)
    inputs = {role: store.folder(parent.fingerprint) for role, parent in spec.inputs.items()}
    started = time.time()
    info = RunInfo(fingerprint=spec.fingerprint, stage=spec.stage.name, config=spec.identity["config"],
                   inputs=spec.identity["inputs"], group=tracking.group, folder=out, tags=tags(spec.stage.name, spec.inputs),
                   about=spec.about, version=spec.stage.version)
    with tracking.run(info) as run:
        ran = _Ran(out / RAN)
        live = dataclasses.replace(runtime, report=run.log, note=ran.note, progress=_Progress(out / PROGRESS),
                                   cache=runtime.cache or store.root / JUDGED)
        metrics = dict(spec.stage.run(spec.config, inputs, out, live))
        trackers = run.finish(metrics)
    store.seal(claim, {"fingerprint": spec.fingerprint, "identity": spec.identity, "metrics": metrics,
                       "started": started, "seconds": round(time.time() - started, 3),
                       "environment": environment(), "trackers": trackers, "machine": run.machine, "ran": ran.facts,
                       "allotted": {"threads": runtime.threads, "gpus": runtime.gpus}})


def tags(stage: str, roles: Iterable[str]) -> tuple[str, ...]:
    """What trackers may filter a run of ``stage`` by: its kind, and the benchmarks that its inputs' ``roles`` name."""
    benchmarks = roles if stage == "aggregate" else \
        [role.removeprefix("questions/") for role in roles if role.startswith("questions/")]
    return (stage, *sorted(benchmarks))


class _Ran:
    """What a stage notes of where and how it ran, kept beside its output: one that carries on adds to what was noted before.
    Of a fact that has changed meanwhile, all values, in their order."""

    def __init__(self, path: Path) -> None:
        self.path, self.facts = path, read_json(path) or {}

    def note(self, **facts: str | float) -> None:
        for name, fact in facts.items():
            known = self.facts.get(name, fact)
            known = known if isinstance(known, list) else [known]
            known = known if fact in known else [*known, fact]
            self.facts[name] = known if len(known) > 1 else known[0]
        write_json(self.path, self.facts)


class _Progress:
    """Writes ``{"done", "total", "time"}`` beside the output, at most every PROGRESS_EVERY_S, for whoever watches."""

    def __init__(self, path: Path) -> None:
        self.path, self.written = path, 0.0
        path.unlink(missing_ok=True)  # how far an earlier attempt was

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self.written >= PROGRESS_EVERY_S:
            self.written = time.monotonic()
            write_json(self.path, {"done": done, "total": total, "time": time.time()})


def classify(error: BaseException) -> str:
    """The class of a failure: user error, node, disk, oom, nan, engine, timeout, or error."""
    if isinstance(error, StoreError):
        return "disk"
    if isinstance(error, ConnectionError | TimeoutError | ToolDown):  # a model server, a retriever or a hub that does not answer
        return "engine"
    if "timed-out too many times" in str(error):  # submitit's word for a job that SLURM has cut off again and again
        return "timeout"
    if isinstance(error, ProcessDied):
        return "node"
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "oom"
    if isinstance(error, FloatingPointError):
        return "nan"
    return "user error" if isinstance(error, UserError) else "error"


def environment() -> Mapping[str, Any]:
    """Where this process runs: commit, versions, machine.  For the record; nothing of it is in a fingerprint."""
    return {**_machine(), "gpus": _gpus()}


@cache
def _machine() -> dict[str, Any]:
    return {"python": platform.python_version(), "platform": platform.platform(), "host": platform.node(),
            "cpus": os.cpu_count(), "git": _git(), "smartad": _version("smartad"),
            "packages": {name: _version(name) for name in PACKAGES},
            "slurm_job": os.environ.get("SLURM_JOB_ID")}


def _git() -> dict[str, Any] | None:
    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(Path(__file__).parent), *words], capture_output=True, text=True, timeout=10,
                              check=True).stdout.strip()
    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _gpus() -> list[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
