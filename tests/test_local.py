"""Jobs on this machine through submitit, and what a profile may ask for."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT
from small_stages import Config, bring_to_end, job
from smartad.cluster import ClusterConfig, connect
from smartad.cluster.submission import script
from smartad.config import load
from smartad.stage import Stage, StageSpec
from smartad.types import UserError


def which_gpus(config, inputs, out, runtime):
    time.sleep(config.seconds)
    return {"gpu": float(os.environ.get("CUDA_VISIBLE_DEVICES") or -1), "gpus": runtime.gpus, "threads": runtime.threads}


def overlap(records):
    """Pairs of names that ran at the same time."""
    spans = {r["identity"]["config"]["name"]: (r["started"], r["started"] + r["seconds"]) for r in records}
    return {a + b for a, (begin, _) in spans.items() for b, (other, end) in spans.items() if a != b and other <= begin < end}


@pytest.mark.slow
def test_jobs_on_one_machine_share_its_gpus_and_cores_out(store):
    profile = ClusterConfig(cluster="local", slots=4, gpus=2, stages={"train": {"gpus": 1}})
    trains = [StageSpec(Stage("train", 1, which_gpus), Config(name, seconds=1.5)) for name in "abc"]
    grade = StageSpec(Stage("grade", 1, which_gpus), Config("d", seconds=1.5))
    bring_to_end(store, [*trains, grade], profile, jobs=None)
    records = [store.record(spec.fingerprint) for spec in trains]
    assert {r["metrics"]["gpu"] for r in records} == {0.0, 1.0} and {r["metrics"]["gpus"] for r in records} == {1}
    assert store.record(grade.fingerprint)["metrics"]["gpu"] == -1
    spans = sorted((r["started"], r["started"] + r["seconds"]) for r in records)
    assert spans[2][0] >= min(spans[0][1], spans[1][1]), "the third waits for a GPU"


ABANDON = """
import os, sys; sys.path.insert(0, sys.argv[2])
from pathlib import Path
from smartad.store import Store
from smartad.cluster import ClusterConfig, Dispatcher, connect
from smartad.stage import Stage, StageSpec
from small_stages import Config, job
from test_local import which_gpus
if __name__ == "__main__":
    store = Store(Path(sys.argv[1]))
    profile = ClusterConfig(cluster="local", slots=1, gpus=1, stages={"train": {"gpus": 1}})
    dispatcher = Dispatcher(store, connect(profile, job(store)))
    goal = StageSpec(Stage("train", 1, which_gpus), Config("left alone", seconds=4.0))
    dispatcher.add([goal])
    while not store.claimed(goal.fingerprint):
        dispatcher.step()
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_jobs_that_a_killed_driver_left_keep_their_place_on_the_machine(store, tmp_path):
    script = tmp_path / "abandon.py"
    script.write_text(ABANDON)
    subprocess.run([sys.executable, str(script), str(store.root), str(Path(__file__).parent)], timeout=120)
    goal = StageSpec(Stage("train", 1, which_gpus), Config("next"))
    bring_to_end(store, [goal], ClusterConfig(cluster="local", slots=1, gpus=1, stages={"train": {"gpus": 1}}), jobs=None)
    left = next(store.record(f) for f in store.fingerprints() if f != goal.fingerprint)
    after = store.record(goal.fingerprint)
    assert left["identity"]["config"]["name"] == "left alone" and after["started"] >= left["started"] + left["seconds"]
    assert (left["metrics"]["gpu"], after["metrics"]["gpu"]) == (0.0, 0.0)


@pytest.mark.slow
def test_job_that_needs_every_core_runs_alone_and_gets_its_turn(store):
    cores = os.cpu_count()
    profile = ClusterConfig(cluster="local", slots=4 * cores, stages={"score": {"cpus": cores}})
    small = [StageSpec(Stage("grade", 1, which_gpus), Config(name, seconds=0.3)) for name in "abcd"]
    large = StageSpec(Stage("score", 1, which_gpus), Config("L", seconds=0.3))
    bring_to_end(store, [small[0], large, *small[1:]], profile, jobs=None)
    records = [store.record(spec.fingerprint) for spec in (*small, large)]
    assert not {pair for pair in overlap(records) if "L" in pair}
    assert store.record(large.fingerprint)["metrics"]["threads"] == cores


@pytest.mark.parametrize("stages, said", [
    ({"train": {"gpus": 3}}, "stages.train.gpus=3: this machine has 2"),
    ({"train": {"cpus": 4000}}, "stages.train.cpus=4000: this machine has"),
    ({"trian": {}}, "stages.trian: there is no such stage; there are prepare"),
    ({"train": {"partitoin": "gpu"}}, "stages.train: .*partitoin"),
    ({"train": {"timeout_min": 0}}, "timeout_min must be at least 1")])
def test_profile_that_cannot_be_met_is_refused_at_the_desk(store, stages, said):
    with pytest.raises(UserError, match=said):
        connect(ClusterConfig(cluster="local", gpus=2, stages=stages), job(store))


def test_sbatch_script_asks_for_what_the_profile_says(store):
    profile = load(ClusterConfig, [str(ROOT / "slurm/h200_site.yaml")])
    text = script(dataclasses.replace(job(store), code=Path("/code")), "evaluate", profile.resources("evaluate"), 40)
    for line in ("#SBATCH --partition=gpu", "#SBATCH --account=my-project", "#SBATCH --gres=gpu:h200:1",
                 "#SBATCH --array=0-39%32", "#SBATCH --mem=65536MB", "#SBATCH --time=240", "#SBATCH --signal=USR2@90",
                 "module load cuda/12.8",
                 "export OMP_NUM_THREADS=8", "export PYTHONPATH=/code"):
        assert line in text
    assert "apptainer exec --nv /scratch/shared/smartad.sif" in text and "--cpus-per-task=8" in text
    assert profile.resources("train").devices() == profile.ranks("train") == 2
    assert profile.resources("train").constraint == "nvlink"
    assert profile.resources("grade").devices() == 0


@pytest.mark.parametrize("values", [{"slots": -1}, {"threads": 0}])
def test_impossible_profile_is_refused(values):
    with pytest.raises(UserError, match="must be at least"):
        dataclasses.replace(ClusterConfig(), **values)
