"""What the runner writes down of how a stage ran."""

from argparse import Namespace
from dataclasses import dataclass

import pytest

from small_stages import job
from smartad.cli.looking import show_command
from smartad.runner import run_one
from smartad.stage import Stage, StageSpec
from smartad.store import Store


@dataclass(frozen=True)
class Config:
    name: str = "x"


def run(config, inputs, out, runtime):
    first = not (out / "tried").exists()
    (out / "tried").touch()
    runtime.note(engine="http" if first else "vllm", in_flight=64)
    runtime.note(sandbox="bubblewrap 0.8.0")
    if first:
        raise ConnectionError("lost")
    return {}


def test_record_says_where_and_how_every_attempt_ran_and_the_fingerprint_does_not(tmp_path, capsys):
    store = Store(tmp_path / "store").open()
    spec, work = StageSpec(Stage("noting", 1, run), Config()), job(store)
    with pytest.raises(ConnectionError):
        run_one(spec, store, work.runtime, work.tracking)
    run_one(spec, store, work.runtime, work.tracking)
    record = store.record(spec.fingerprint)
    assert record["ran"] == {"engine": ["http", "vllm"], "in_flight": 64, "sandbox": "bubblewrap 0.8.0"}
    assert "http" not in str(record["identity"])
    assert not [path.name for path in store.folder(spec.fingerprint).iterdir() if "ran" in path.name]
    show_command(Namespace(store=store.root, fingerprint=spec.fingerprint, json=False))
    shown = capsys.readouterr().out.split("\n\nran\n")[1].split("\n\n")[0]
    assert "sandbox    bubblewrap 0.8.0" in shown and "in_flight  64" in shown and "vllm" in shown
