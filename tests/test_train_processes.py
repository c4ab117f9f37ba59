"""Training in two processes of one machine: the same steps, the same weights, and nobody left when one of them dies."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from command import alive, descendants, start
from conftest import ROOT
from small_students import adapter_bytes, config_for, farthest, make_inputs, make_student, recorder, train, weights
from smartad.cli.driving import check_split
from smartad.cluster import ClusterConfig
from smartad.config import load
from smartad.engines.watching import Diverged
from smartad.experiment import Experiment, plan
from smartad.runner import classify
from smartad.stage import Runtime, StageSpec
from smartad.stages.train import TRAIN, TrainConfig
from smartad.types import UserError

TWO = Runtime(processes=2, checkpoint_every=5)
EPOCHS = 8
"""Of two steps: checkpoints are within an epoch and at the end of one."""
DEADLINE_S = 240


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return make_student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def in_two(student, inputs, tmp_path_factory):
    """An undisturbed training in two processes: its folder, what it reported, its metrics."""
    out = tmp_path_factory.mktemp("in_two") / "out"
    steps, runtime = recorder()
    metrics = train(student, inputs, out, dataclasses.replace(TWO, report=runtime.report), epochs=EPOCHS)
    return out, steps, metrics


def ranks_of(pid):
    """rank -> process id, of those below ``pid``."""
    found = {}
    for child in descendants(pid):
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if b"smartad.engines.ranks" in words and b"work" in words:
            found[dict(v.split(b"=", 1) for v in Path(f"/proc/{child}/environ").read_bytes().split(b"\0") if b"=" in v)[
                b"RANK"].decode()] = child
    return found


def await_end(pids):
    until = time.monotonic() + DEADLINE_S
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < until, f"still there: {[pid for pid in pids if alive(pid)]}"
        time.sleep(0.05)


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(student, inputs, in_two, tmp_path):
    """Seven trajectories in batches of four, dropout on: the last batch leaves one process without a trajectory."""
    steps, runtime = recorder()
    train(student, inputs, tmp_path / "one", runtime, epochs=EPOCHS)
    out, steps_in_two, metrics = in_two
    assert farthest(weights(tmp_path / "one"), weights(out)) <= 1e-5
    for (step, one), (step_in_two, two) in zip(steps, steps_in_two, strict=True):
        assert step == step_in_two and two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
    assert metrics["processes"] == 2 and metrics["steps"] == 2 * EPOCHS
    assert [p.name for p in out.iterdir()] == ["adapter"]
    # The control: other batches are told apart by far.
    train(student, inputs, tmp_path / "other", epochs=EPOCHS, batch_size=2)
    assert farthest(weights(tmp_path / "one"), weights(tmp_path / "other")) > 1e-3


@pytest.mark.slow
def test_two_processes_killed_and_started_again_end_with_the_same_bytes(student, inputs, in_two, tmp_path):
    out = tmp_path / "out"
    config = {k: v for k, v in dataclasses.asdict(config_for(student, epochs=EPOCHS)).items() if k != "weights"}
    words = json.dumps([config, {k: str(v) for k, v in inputs.items()}, str(out), student[1]])
    child = subprocess.Popen([sys.executable, "-c", CHILD, words], stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    until = time.monotonic() + 120
    while not list(out.glob("checkpoints/checkpoint-*/whole")):
        assert time.monotonic() < until and child.poll() is None
        time.sleep(0.001)
    orphans = descendants(child.pid)
    for pid in orphans:
        os.kill(pid, signal.SIGSTOP)  # not to be through before it is killed
    child.kill()
    for pid in orphans:
        os.kill(pid, signal.SIGCONT)
    child.communicate()
    assert len(orphans) == 3  # torchrun and two ranks
    await_end(orphans)
    steps, runtime = recorder()
    train(student, inputs, out, dataclasses.replace(TWO, report=runtime.report), epochs=EPOCHS)
    assert steps[0][0] >= 6  # it went on from a checkpoint
    assert adapter_bytes(out) == adapter_bytes(in_two[0])


CHILD = """
import json, sys
from pathlib import Path
from smartad.stage import Runtime
from smartad.stages.train import TRAIN, TrainConfig
config, inputs, out, models = json.loads(sys.argv[1])
TRAIN.run(TrainConfig(**config), {k: Path(v) for k, v in inputs.items()}, Path(out), Runtime(
    models=models, processes=2, checkpoint_every=5, report=lambda step, **scalars: print(step, flush=True)))
"""


@pytest.mark.slow
def test_two_processes_of_which_one_meets_nan_stop_with_its_words(student, inputs, tmp_path):
    with pytest.raises(Diverged, match=r"the (loss|gradient's norm) is (nan|inf).*lower train\.learning_rate") as error:
        train(student, inputs, tmp_path / "out", TWO, learning_rate=1e30, max_grad_norm=0.0, epochs=5)
    assert classify(error.value) == "nan"
    assert any("in rank" in note for note in error.value.__notes__)
    assert not ranks_of(os.getpid())


@pytest.mark.slow
def test_run_in_two_processes_outlives_a_killed_one_and_ends_with_the_adapter_of_one(store, tmp_path):
    sources = [str(ROOT / "configs/toy.yaml"), "limits.train_questions=6", "collect.samples=4", "select.first=4",
               "train.micro_batch_size=2", "train.epochs=20", "train.learning_rate=1e-4"]
    spec = plan(load(Experiment, sources)).train
    folder = store.folder(spec.fingerprint)
    profile = tmp_path / "together.yaml"
    profile.write_text("{slots: 1, processes: 2, checkpoint_every: 1}")
    process = start("run", *sources, "--until", "train", "--cluster", str(profile), "--store", str(store.root), store=store.root)
    until = time.monotonic() + DEADLINE_S
    while not [*folder.glob("checkpoints/*/whole")]:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    ranks = ranks_of(process.pid)
    assert listening(ranks.values()) <= {"127.0.0.1"}
    os.kill(ranks["1"], signal.SIGKILL)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, said
    assert store.record(spec.fingerprint)["metrics"]["processes"] == 2
    (tmp_path / "one").mkdir()
    TRAIN.run(spec.config, {role: store.folder(parent.fingerprint) for role, parent in spec.inputs.items()}, tmp_path / "one",
              Runtime())
    assert farthest(weights(tmp_path / "one"), weights(folder)) <= 1e-5


def listening(pids):
    """Addresses that processes, and who started them, accept connections on."""
    everybody = {*pids, *(psutil.Process(pid).ppid() for pid in pids)}
    return {connection.laddr.ip for pid in everybody for connection in psutil.Process(pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize(("profile", "processes"), [
    (ClusterConfig(processes=4), 4), (ClusterConfig(processes=2, gpus=2), 2),
    (ClusterConfig(cluster="slurm", stages={"train": {"gpus": 2}}), 2),
    (ClusterConfig(cluster="slurm", stages={"train": {"gres": "gpu:h200:3"}}), 3),
    (ClusterConfig(cluster="local", stages={"train": {"processes": 2, "cpus": 2}}), 2), (ClusterConfig(), 1)], ids=str)
def test_profile_says_how_many_processes_train(profile, processes):
    assert profile.ranks("train") == processes
    batch = TrainConfig(student="toy", dialect="paper", seed=0, batch_size=12)
    assert batch.accumulation(processes) * processes == 12


def test_batch_that_does_not_divide_is_refused_at_the_desk():
    spec = StageSpec(TRAIN, TrainConfig(student="toy", dialect="paper", seed=0))
    check_split([spec], ClusterConfig(processes=2))
    with pytest.raises(UserError, match=r"train.batch_size=4 does not divide over processes=3 x train.micro_batch_size=1"):
        check_split([spec], ClusterConfig(processes=3))


@pytest.mark.parametrize(("values", "said"), [
    ({"processes": 0}, "processes must be at least 1"),
    ({"processes": 2, "gpus": 1}, "processes=2 need a GPU each, and gpus=1"),
    ({"cluster": "slurm", "processes": 2}, r"stages: \{train: \{processes: 2\}\}"),
    ({"cluster": "slurm", "stages": {"train": {"processes": 4, "gpus": 2}}}, "processes=4 with gpus=2: each process has"),
    ({"deepspeed": "configs/deepspeed/zero9.json"}, "zero9.json cannot be read.*examples in configs/deepspeed"),
    ({"deepspeed": "configs/toy.yaml"}, "toy.yaml cannot be read")])
def test_profile_with_impossible_processes_is_refused(values, said, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=said):
        ClusterConfig(**values)


@pytest.mark.parametrize("key", ["optimizer", "bf16", "train_batch_size"])
def test_deepspeed_file_that_would_make_another_adapter_is_refused(key, tmp_path):
    (tmp_path / "zero.json").write_text(json.dumps({"zero_optimization": {"stage": 2}, key: {}}))
    with pytest.raises(UserError, match=f"zero.json sets {key}, and a profile says where a training runs, not what it is"):
        ClusterConfig(deepspeed=str(tmp_path / "zero.json"))


def test_what_a_killed_group_left_is_gone_when_one_process_goes_on(student, inputs, tmp_path):
    left = tmp_path / "out" / "ranks" / "work.pickle"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"")
    train(student, inputs, tmp_path / "out", epochs=1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["adapter"]
