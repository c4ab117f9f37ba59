"""smartad publish against a double of W&B's server: from the store alone, told twice, cut off, and when it cannot be done."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from command import smartad, start
from online import ARMS, NAME, declare, online, run_untracked
from smartad import registry
from smartad.cli import publishing
from smartad.store import Store
from smartad.sweep import ledger
from smartad.tracking.trackio import states
from wandb_double import WandbDouble

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_untracked(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def server():
    with WandbDouble() as double:
        yield double


def publish(server, store, home, status=0, **env):
    """What the command says."""
    return smartad("publish", NAME, "--to", "wandb", store=store, status=status, **online(server, home, **env)).stdout


def records(store):
    return {f: Store(store).record(f) for f in ledger.load(Store(store), NAME).stages()}


def as_in_the_store(server, store):
    """Whether the server has every stage whole, with its lineage, and every alias on its adapter."""
    names = {"newest" if e.alias == "latest" else e.alias.replace(":", "-").replace("/", "-"): e.fingerprint
             for e in registry.current(Store(store), NAME)}
    linked = server.linked(f"smartad-{NAME}")
    return all(linked.get(alias) == f for alias, f in names.items()) and all(
        (run := server.runs.get(f)) and run.state == "finished" and set(run.used) == set(record["identity"]["inputs"].values())
        and server.files(f"{f}:v0") == {name: (store / f / name).read_bytes() for name in record["files"]}
        for f, record in records(store).items())


def views(run):
    """Name -> what its summary says of that table or page."""
    return {key.removeprefix("views/"): value for key, value in json.loads(run.summaryMetrics).items() if "views/" in key}


def test_publish_makes_everything_from_the_store_and_then_has_nothing_to_do(server, finished, tmp_path):
    assert "0 stages were right, 23 things are mended, 0 wrong" in publish(server, finished, tmp_path)
    assert as_in_the_store(server, finished) and len(server.runs) == 20
    for fingerprint, record in records(finished).items():
        run, stage = server.runs[fingerprint], record["identity"]["stage"]
        told = json.loads(run.summaryMetrics)
        assert (run.jobType, run.groupName, run.tags[0]) == (stage, NAME, stage)
        assert {k: told[k] for k, v in record["metrics"].items() if v is not None} == \
            {k: v for k, v in record["metrics"].items() if v is not None}
        assert json.loads(server.artifacts[f"{fingerprint}:v0"].metadata)["files"] == [
            f"{file['sha256']} {file['size']} {name}" for name, file in sorted(record["files"].items())]
    rows = [json.loads(server.runs[f].config) for f in records(finished) if f.startswith("aggregate-")]
    assert {row["arm"]["value"] for row in rows} == set(ARMS) and {row["seed"]["value"] for row in rows} == {0}
    trained = next(f for f in records(finished) if f.startswith("train-"))
    assert [row["loss"] for row in server.runs[trained].history if "loss" in row] == [
        json.loads(line)["loss"] for line in (finished / trained / "metrics.jsonl").read_text().splitlines()]
    assert server.unknown == []
    told = list(server.changes)
    assert "nothing to do, 19 stages are as in the store" in publish(server, finished, tmp_path)
    assert server.changes == told


def test_publish_shows_tables_samples_and_the_sweep_as_a_whole(server, finished, tmp_path):
    said = publish(server, finished, tmp_path)
    shown = {run.jobType: views(run) for run in server.runs.values()}
    assert {kind: set(found) for kind, found in shown.items() if found} == {
        "collect": {"attempts", "samples"}, "evaluate": {"attempts", "samples"}, "grade": {"verdicts"}, "score": {"scores"},
        "select": {"buckets toy_train", "selected"}, "train": {"training samples"}, "aggregate": {"cells"},
        "sweep": {"comparison", "trials"}}
    trained = next(run for run in server.runs.values() if run.jobType == "train")
    page = server.blobs[f"run/{trained.name}/{views(trained)['training samples']['path']}"]
    assert b'class="s2"' in page and b"http" not in page
    whole = server.runs[f"sweep-{NAME}"]
    table = json.loads(server.blobs[f"run/{whole.name}/{views(whole)['comparison']['path']}"])
    assert [row[0] for row in table["data"]] == list(ARMS) and (whole.jobType, whole.groupName) == ("sweep", NAME)
    figure = json.loads(whole.summaryMetrics)["scores"]
    assert figure["_type"] == "image-file" and server.blobs[f"run/{whole.name}/{figure['path']}"].startswith(b"\x89PNG")
    view, = server.project(None, "smartad").views
    spec = json.loads(view.spec)
    assert "config:arm.value" in view.spec and "summary:avg" in view.spec and view.displayName == f"sweep {NAME}"
    assert {block["type"] for block in spec["blocks"]} >= {"panel-grid"} and f'"value":"{NAME}"' in view.spec.replace(" ", "")
    assert view.id.rstrip("=") in said


def test_publish_mends_what_is_missing_there_and_makes_nothing_twice(server, finished, tmp_path):
    publish(server, finished, tmp_path)
    runs = server.runs
    trained = [f for f in runs if f.startswith("train-")]
    grade = next(f for f in runs if f.startswith("grade-"))
    runs[trained[0]].inputs.clear()
    runs[grade].state = "crashed"
    runs[trained[1]].outputs[:] = [a for a in runs[trained[1]].outputs if a.name != trained[1]]
    project = server.project(None, "smartad")
    del project.by_name[next(f for f in runs if f.startswith("score-"))]
    best = server.linked(f"smartad-{NAME}")["best"]
    collection = server.entities["local-org"].by_name["wandb-registry-model"].collections[f"smartad-{NAME}"]
    other = next(f for f in trained if f != best)
    collection.add(server.artifacts[f"{other}:v0"], ["best"])
    said = publish(server, finished, tmp_path)
    assert "15 stages were right, 5 things are mended, 0 wrong" in said
    assert as_in_the_store(server, finished) and {a.version for a in server.artifacts.values() if a.name in runs} == {"v0"}
    assert "nothing to do" in publish(server, finished, tmp_path)


def test_publish_cut_off_half_way_goes_on_where_it_was(server, finished, tmp_path):
    process = start("publish", NAME, "--to", "wandb", store=finished, **online(server, tmp_path))
    while sum(run.state == "finished" for run in server.runs.values()) < 6:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=100)
    assert process.returncode == 130 and not as_in_the_store(server, finished)
    said = publish(server, finished, tmp_path)
    assert "0 wrong" in said and int(said.split("wandb: ")[1].split(" stages were right")[0]) >= 6
    assert as_in_the_store(server, finished) and {a.version for a in server.artifacts.values()} == {"v0"}


def test_publish_names_what_is_wrong_in_the_end(server, finished, tmp_path):
    victim = [f for f in records(finished) if f.startswith("select-")][-1]
    path = finished / victim / "selected.jsonl"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole + b"\n")
        said = publish(server, finished, tmp_path, status=1, SMARTAD_WANDB_REGISTRY="wandb-registry-of-nobody")
    finally:
        path.write_bytes(whole)
    assert f"{victim}  is not published: {path} has" in said
    assert "the registry  " in said and "there is no registry wandb-registry-of-nobody" in said
    assert f"is not linked to its input {victim}" in said
    assert victim not in server.runs and len(server.runs) > 15


@pytest.mark.parametrize("env, problem", [
    ({"WANDB_MODE": "offline"}, "publish needs W&B's server, and WANDB_MODE is offline"),
    ({"WANDB_API_KEY": "b" * 40}, "does not know this key"),
    ({"WANDB_BASE_URL": "http://127.0.0.1:9"}, "does not answer")])
def test_publish_that_cannot_begin_says_why(server, finished, tmp_path, env, problem):
    done = smartad("publish", NAME, "--to", "wandb", store=finished, status=2, **{**online(server, tmp_path), **env})
    assert problem in done.stderr and not server.runs


def test_publish_to_an_unknown_tracker_names_those_there_are(finished):
    done = smartad("publish", NAME, "--to", "mlflow", store=finished, status=2)
    assert "no tracker 'mlflow'; there are trackio, wandb" in done.stderr


def test_publish_to_trackio_makes_every_run_and_the_sweep_and_then_has_nothing_to_do(finished):
    for said in ("0 stages were right, 19 things are mended, 0 wrong", "nothing to do, 19 stages are as in the store"):
        assert said in smartad("publish", NAME, "--to", "trackio", store=finished).stdout
    assert states(finished) == dict.fromkeys(records(finished), "finished")


def test_publish_stops_asking_a_server_that_only_fails(server, finished, tmp_path):
    server.refused = "upsertBucket"
    done = smartad("publish", NAME, "--to", "wandb", store=finished, status=2, **online(server, tmp_path))
    assert "wandb failed 3 times in a row" in done.stderr and "publish again later" in done.stderr
    server.refused = None
    assert "0 wrong" in publish(server, finished, tmp_path) and as_in_the_store(server, finished)


def test_sweep_offline_then_synced_gets_lineage_and_aliases_from_publish(server, tmp_path):
    store = tmp_path / "store"
    smartad("sweep", declare(tmp_path), "--track", "wandb", store=store, HOME=str(tmp_path), WANDB_MODE="offline",
            OMP_NUM_THREADS="1")
    assert all(record["trackers"]["wandb"]["status"] == "ok" for record in records(store).values())
    offline = sorted(map(str, (store / "wandb").glob("offline-run-*")))
    subprocess.run([sys.executable, "-m", "wandb", "sync", *offline], cwd=tmp_path, capture_output=True, check=True, timeout=300,
                   env={**os.environ, **online(server, tmp_path, WANDB_MODE="online")})
    assert all(run.state == "finished" for run in server.runs.values()) and len(server.runs) == 19
    assert not any(run.used for run in server.runs.values()) and not server.linked(f"smartad-{NAME}")
    publish(server, store, tmp_path)
    assert as_in_the_store(server, store) and {a.version for a in server.artifacts.values()} == {"v0"}
    assert "nothing to do" in publish(server, store, tmp_path) and server.unknown == []


def test_end_of_a_sweep_leaves_a_silent_server_behind(server, finished, tmp_path, monkeypatch, capfd):
    """Whatever had begun there is over: no process is left, and nothing keeps this one from ending."""
    for name, value in online(server, tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(publishing, "END_S", 3.0)
    server.silent.set()
    store, before = Store(finished), set(psutil.Process().children())
    publishing.publish_at_end(store, ledger.load(store, NAME), ["wandb"])
    said = capfd.readouterr().err
    assert "wandb was not told everything within 3 s" in said and f"publish {NAME} --to wandb" in said
    assert set(psutil.Process().children()) == before
