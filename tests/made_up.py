"""Sweeps whose stages are real requests and whose outputs are made up: what status, bill and the rest read."""

import io
from pathlib import Path

import yaml
from rich.console import Console

from conftest import ROOT
from smartad.cli.status import LINES, view
from smartad.stage import StageSpec, upstream_first
from smartad.store import Store
from smartad.sweep import ledger
from smartad.sweep.driver import Driver
from smartad.sweep.ledger import Ledger
from smartad.sweep.space import Sweep, read
from smartad.sweep.state import Jobs, look

ARMS = {"base": {"train": None}, "min": {"select.rule": "min"}, "max": {"select.rule": "max"}}


def declare(folder: Path, name: str = "declared", **keys: object) -> Sweep:
    """A sweep of three arms on the toy world, which is not run."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"base": [str(ROOT / "configs/toy.yaml")], "arms": ARMS, **keys}, sort_keys=False))
    return read(str(path))


def launch(store: Store, sweep: Sweep) -> tuple[Ledger, list[StageSpec]]:
    """Its ledger, as a driver leaves it before anything has run, and its stages."""
    driver = Driver(sweep, store)
    driver.ask()
    driver.save()
    return ledger.load(store, sweep.name), upstream_first(driver.goals())


def finish(store: Store, specs: list[StageSpec], seconds: float = 2.0, **metrics: float | None) -> None:
    """Seal made-up outputs of ``specs``."""
    for spec in specs:
        with store.claim(spec.fingerprint) as claim:
            if claim:
                (store.folder(spec.fingerprint) / "output").write_bytes(b"x" * 1000)
                store.seal(claim, {"fingerprint": spec.fingerprint, "identity": spec.identity, "metrics": metrics, "started": 1.0,
                                   "seconds": seconds, "environment": {"gpus": []}, "trackers": {},
                                   "allotted": {"threads": 1, "gpus": 0}})


def shown(store: Store, book: Ledger, jobs: Jobs | None = None, width: int = 200, rows: int | None = None) -> str:
    """What status shows on a terminal of ``width`` columns."""
    out = io.StringIO()
    Console(file=out, width=width).print(view(store, book, look(store, book, jobs or Jobs()), width, rows, rows and LINES))
    return out.getvalue()


def of(specs: list[StageSpec], *kinds: str) -> list[StageSpec]:
    """Those of some kinds of stage."""
    return [spec for spec in specs if spec.stage.name in kinds]


def fail(store: Store, spec: StageSpec, kind: str = "oom", message: str = "out of memory") -> str:
    """Leave a note as a worker does.  The fingerprint."""
    store.folder(spec.fingerprint).mkdir(exist_ok=True)
    store.note_failure(spec.fingerprint, kind, message, f"Traceback\nof {spec.fingerprint}\n")
    return spec.fingerprint
