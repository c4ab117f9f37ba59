"""trackio, in processes of their own: it is bound to one folder per process."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Runs stages one after another and fails the test if anything opens a connection; argv: store, mode, names.
WRITER = """
import os, signal, sys, time
from pathlib import Path
from smartad.tracking import RunInfo, configure

def forbid(event, args):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo"):
        print(event, args, file=sys.stderr, flush=True)
        os._exit(99)
sys.addaudithook(forbid)
store, mode, *names = sys.argv[1:]
tracking = configure(["trackio"], Path(store), "my-sweep")
for name in names:
    folder = Path(store) / name
    folder.mkdir(exist_ok=True)
    config = {"lr": 0.1, "judge": {"api_key": "sk-verysecret"}}
    info = RunInfo(name, "index", config, {"pool": "collect-00000000000c"}, folder, "my-sweep",
                   ("index", "toy_math"), {"trial": "K=5", "seed": 0, "select.first": 5})
    with tracking.run(info) as run:
        for step in range(5 if mode == "resume" else 1, 11):
            run.log(step, loss=100 + step if mode == "resume" else step)
        if mode == "kill":
            from trackio.sqlite_storage import SQLiteStorage
            while not any("index/loss" in row for row in SQLiteStorage.get_logs("smartad", name, run_id=name)):
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "raise":
            raise MemoryError("no room")
        status = run.finish({"pass@1": 0.5, "not_measured": None})
    assert status == {"trackio": {"status": "ok", "id": name}} or mode == "damaged", status
    print(status)
"""

# What trackio's own API then says.
READER = """
import json, trackio
from trackio import fragments
from trackio.sqlite_storage import SQLiteStorage
fragments.import_inbox_dir()
print(json.dumps({run.id: {"name": run.name, "config": run.config,
                           "rows": SQLiteStorage.get_logs("smartad", run.name, run_id=run.id)}
                  for run in trackio.Api().runs("smartad")}))
"""
INDEX = "index-0123456789ab"


def start(script: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
    # A token of the hub must not make trackio ask the hub whose it is.
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_TOKEN": "hf_planted_for_the_test", **env}
    return subprocess.Popen([sys.executable, "-c", script, *arguments], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=env)


def write(store: Path, mode: str, *names: str, code: int = 0, **env: str) -> str:
    process = start(WRITER, str(store), mode, *names, **env)
    out, err = process.communicate(timeout=100)
    assert process.returncode == code, err
    return out


def read(store: Path) -> dict:
    process = start(READER, TRACKIO_DIR=str(store / "trackio"))
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def losses(run: dict) -> list[tuple[int, float]]:
    return [(row["step"], row["index/loss"]) for row in run["rows"] if "index/loss" in row]


@pytest.mark.slow
def test_trackio_shows_curve_result_config_and_sweep_and_connects_to_nothing(tmp_path):
    out = write(tmp_path, "plain", INDEX)
    assert "*" not in out  # trackio's own announcements stay out of ours
    run = read(tmp_path)[INDEX]
    assert losses(run) == [(step, step) for step in range(1, 11)]
    assert [row["index/pass@1"] for row in run["rows"] if "index/pass@1" in row] == [0.5]
    assert run["name"] == f"K=5, seed 0 ({INDEX})"
    assert run["config"] | {"_Created": ""} == {
        "stage": "index", "state": "finished", "tags": "index, toy_math", "inputs": {"pool": "collect-00000000000c"}, "lr": 0.1,
        "judge": {"api_key": "<redacted>"}, "trial": "K=5", "seed": 0,
        "select.first": 5, "_Group": "my-sweep", "_Created": ""}


@pytest.mark.slow
def test_trackio_stage_killed_and_run_again_is_one_run_that_went_back(tmp_path):
    write(tmp_path, "kill", INDEX, code=-9)
    before = read(tmp_path)[INDEX]
    assert losses(before)[:1] == [(1, 1)] and before["config"]["state"] == "running"
    write(tmp_path, "resume", INDEX)
    after = read(tmp_path)
    assert list(after) == [INDEX] and after[INDEX]["config"]["state"] == "finished"
    assert losses(after[INDEX]) == [(1, 1), (2, 2), (3, 3), (4, 4)] + [(step, 100 + step) for step in range(5, 11)]


@pytest.mark.slow
def test_trackio_stage_that_raises_is_shown_as_failed(tmp_path):
    write(tmp_path, "raise", INDEX, code=1)
    config = read(tmp_path)[INDEX]["config"]
    assert (config["state"], config["reason"]) == ("failed", "MemoryError: no room")


@pytest.mark.slow
def test_trackio_on_a_network_file_system_writes_fragments_that_trackio_reads(tmp_path):
    write(tmp_path, "plain", INDEX, TRACKIO_STORAGE_MODE="jsonl")
    assert not list((tmp_path / "trackio").glob("*.db")) and list((tmp_path / "trackio").rglob("*.jsonl"))
    run = read(tmp_path)[INDEX]
    assert losses(run) == [(step, step) for step in range(1, 11)] and run["config"]["state"] == "finished"


def test_trackio_database_that_is_damaged_leaves_the_stage_alone(tmp_path):
    (tmp_path / "trackio").mkdir()
    (tmp_path / "trackio/smartad.db").write_bytes(b"not a database at all" * 100)
    assert "'status': 'behind', 'reason': 'DatabaseError: " in write(tmp_path, "damaged", INDEX)
    assert (tmp_path / INDEX / "metrics.jsonl").read_text().count("\n") == 10


# A small pool with a table and a page, shown as often as there are more arguments; argv: store, once per start.
POOL = """
import sys
from pathlib import Path
from smartad.records import write_jsonl
from smartad.tracking import Row, RunInfo
from smartad.tracking.base import Settings
from smartad.tracking.trackio import TrackioTracker, known
from smartad.types import Question, Step, Trajectory
store = Path(sys.argv[1])
questions, pool = store / "prepare-00000000000a", store / "collect-00000000000b"
for folder in (questions, pool):
    folder.mkdir(exist_ok=True)
write_jsonl(questions / "questions.jsonl", [Question("q/0", "How many <b>eggs</b>?", ("3",))])
write_jsonl(pool / "trajectories.jsonl", [Trajectory("q/0", 0, (Step("Thought: three.", "", "", "final"),), "3",
                                                     "answered", 7, 0.5)])
(pool / ".progress.json").touch()
(pool / "record.json").touch()
for start in sys.argv[2:]:
    tracker = TrackioTracker(RunInfo(pool.name, "collect", {}, {"questions/q": questions.name}, pool), Settings(store, 20))
    tracker.start([Row(1, 1000.0, {"answered": 1})])
    print(known(store, [pool.name, "train-00000000000c"]))
    tracker.machine([Row(1, 1001.0, {"cpu_percent": 50.0}), Row(2, 1002.0, {"cpu_percent": 70.0})])
    tracker.finish({"n": 1})
    print(known(store, [pool.name, "train-00000000000c"]))
"""

# What the dashboard's server would then say of it; argv: store.
LOOKER = """
import json, sys
from pathlib import Path
from smartad.tracking.trackio_runs import gather
gather(Path(sys.argv[1]))
gather(Path(sys.argv[1]))
from trackio.sqlite_storage import SQLiteStorage as s
artifacts = {a["name"]: a for a in s.list_artifacts("smartad")}
pool = s.get_artifact_manifest("smartad", "collect-00000000000b", "latest")
print(json.dumps({
    "rows": s.get_logs("smartad", "collect-00000000000b"), "machine": s.get_system_logs("smartad", "collect-00000000000b"),
    "files": {a: [f["path"] for f in s.get_artifact_manifest("smartad", a, "latest")["manifest"]] for a in artifacts},
    "versions": {name: len(artifact["versions"]) for name, artifact in artifacts.items()},
    "ref": pool["manifest"][0]["ref"], "producer": pool["producer_run_name"],
    "edges": [(e["source"], e["target"]) for e in s.get_artifact_lineage("smartad", pool["version_id"])["edges"]]}))
"""


def look(store: Path) -> dict:
    process = start(LOOKER, str(store), TRACKIO_DIR=str(store / "trackio"))
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sqlite", "jsonl"])
def test_trackio_shows_output_tables_machine_and_lineage_however_often_it_is_told(tmp_path, mode):
    pool, questions = "collect-00000000000b", "prepare-00000000000a"
    seen = []
    for starts in (["once"], ["again", "and again"]):
        out, err = start(POOL, str(tmp_path), *starts, TRACKIO_STORAGE_MODE=mode).communicate(timeout=100)
        assert out.splitlines()[-1] == str({pool: "finished"}), err
        seen.append(look(tmp_path))
    first, last = seen
    assert first["versions"] == last["versions"] == {questions: 1, pool: 1}
    assert first["edges"] == last["edges"] == [["art:2", f"run:{pool}"], [f"run:{pool}", "art:1"]]
    assert last["files"] == {questions: ["questions.jsonl"], pool: ["trajectories.jsonl"]}
    assert last["ref"] == (tmp_path / pool / "trajectories.jsonl").as_uri() and last["producer"] == pool
    assert not list((tmp_path / "trackio").rglob("blobs"))
    for found in seen:
        numbers = [{k: v for k, v in row.items() if k.startswith("collect/")} for row in found["rows"]]
        assert [row for row in numbers if row] == [{"collect/answered": 1}, {"collect/n": 1}]
        assert [row["cpu_percent"] for row in found["machine"]] == [50.0, 70.0]
        views, = (row for row in found["rows"] if "attempts" in row)
        assert views["attempts"]["_value"][0]["text"] == "How many <b>eggs</b>?"
    page = tmp_path / "trackio/media" / views["samples"]["file_path"]
    assert "How many &lt;b&gt;eggs&lt;/b&gt;?" in page.read_text()
    assert mode == "jsonl" or list((tmp_path / "trackio/media").rglob("*.html")) == [page]


# Stages that finish while trackio cannot; argv: folder of each.
IN_TROUBLE = """
import logging, sys
from pathlib import Path
from smartad.tracking import RunInfo, Tracking
logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
for folder in map(Path, sys.argv[1:]):
    folder.mkdir(parents=True)
    tracking = Tracking(folder.parent, ("trackio",), patience_s=1.5)
    with tracking.run(RunInfo(folder.name, "index", {}, {}, folder)) as run:
        run.log(1, loss=1.0)
        print("status", run.finish({})["trackio"])
"""


def test_trackio_in_trouble_is_one_warning_and_behind_in_every_record(tmp_path):
    a, b, c = (tmp_path / store / INDEX for store in ("first", "second", "third"))  # one process has one trackio folder
    out, err = start(IN_TROUBLE, str(a), str(b), str(c)).communicate(timeout=100)
    statuses = [line for line in out.splitlines() if line.startswith("status")]
    assert "'ok'" in statuses[0] and all("'behind'" in s and "cannot change to" in s for s in statuses[1:]), err
    assert out.count("trackio is behind on") == 1
    assert (c / "metrics.jsonl").exists()


@pytest.mark.slow
def test_trackio_that_makes_a_stage_wait_is_left_alone_by_the_next(tmp_path):
    (tmp_path / "trackio").mkdir()
    with (tmp_path / "trackio/smartad.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        out, err = start(IN_TROUBLE, str(tmp_path / INDEX), str(tmp_path / "index-b")).communicate(timeout=100)
    statuses = [line for line in out.splitlines() if line.startswith("status")]
    assert "did not answer in time" in statuses[0] and "failed within the last" in statuses[1], err


@pytest.mark.slow
def test_trackio_four_writers_at_once_lose_nothing(tmp_path):
    names = [[f"index-{writer}{run:011x}" for run in range(15)] for writer in range(4)]
    writers = [start(WRITER, str(tmp_path), "plain", *mine) for mine in names]
    for writer in writers:
        _, err = writer.communicate(timeout=100)
        assert writer.returncode == 0, err
    runs = read(tmp_path)
    assert sorted(runs) == sorted(name for mine in names for name in mine)
    for run in runs.values():
        assert losses(run) == [(step, step) for step in range(1, 11)] and run["config"]["state"] == "finished"
