"""Training under DeepSpeed on two processes of the CPU: the weights of plain training.

Runs where DeepSpeed is installed with a C++ compiler and ninja; its first start compiles for a minute or more, so the suite does
without it, and tests/test_train_processes.py carries the guarantee for PyTorch's own data parallelism.
"""

import dataclasses
import importlib.util
import json
import shutil

import pytest

from conftest import ROOT
from small_students import adapter_bytes, farthest, make_inputs, make_student, recorder, train, weights
from smartad.engines.checkpoints import WHOLE
from smartad.stage import Runtime
from smartad.types import UserError

CONFIGS = sorted((ROOT / "configs/deepspeed").glob("*.json"))
MISSING = [name for name, there in (("deepspeed", importlib.util.find_spec("deepspeed")), ("g++", shutil.which("g++")),
                                    ("ninja", shutil.which("ninja"))) if not there]
with_deepspeed = pytest.mark.skipif(bool(MISSING), reason=f"not here: {', '.join(MISSING)}; pip install 'smartad[deepspeed]'")


class Stopped(Exception):
    """The process ends here."""


@pytest.fixture
def student(tmp_path):
    (tmp_path / "student").mkdir()
    return make_student(tmp_path / "student")


@pytest.fixture
def inputs(tmp_path):
    return make_inputs(tmp_path)


@with_deepspeed
@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_zero_on_two_processes_stopped_and_started_again_ends_with_the_weights_of_one(config, student, inputs, tmp_path):
    steps, runtime = recorder()
    train(student, inputs, tmp_path / "one", runtime, epochs=8)

    def stop(step, **_):
        if step == 6:
            raise Stopped

    zero = Runtime(processes=2, checkpoint_every=5, deepspeed=json.loads(config.read_text()))
    with pytest.raises(Stopped):
        train(student, inputs, tmp_path / "two", dataclasses.replace(zero, report=stop), epochs=8)
    with pytest.raises(UserError, match="written by training as deepspeed on 2 processes, which training as plain cannot read"):
        train(student, inputs, tmp_path / "two", epochs=8)
    steps_in_two, runtime = recorder()
    train(student, inputs, tmp_path / "two", dataclasses.replace(zero, report=runtime.report), epochs=8)
    assert farthest(weights(tmp_path / "one"), weights(tmp_path / "two")) <= 1e-5
    losses = {step: scalars["loss"] for step, scalars in steps}
    assert len(steps_in_two) < len(steps)  # it went on
    assert {step: s["loss"] for step, s in steps_in_two} == pytest.approx({s: losses[s] for s, _ in steps_in_two}, rel=1e-5)


@pytest.mark.skipif(bool(importlib.util.find_spec("deepspeed")), reason="DeepSpeed is here")
@pytest.mark.slow
def test_profile_that_wants_deepspeed_without_it_says_how_to_get_it(student, inputs, tmp_path):
    with pytest.raises(UserError, match=r"pip install 'smartad\[deepspeed\]', or leave deepspeed out"):
        train(student, inputs, tmp_path / "out", Runtime(deepspeed={}))


@pytest.mark.slow
def test_checkpoint_of_another_layout_is_refused_by_name(student, inputs, tmp_path):
    train(student, inputs, tmp_path / "whole")
    checkpoint = tmp_path / "out" / "checkpoints" / "checkpoint-1"
    checkpoint.mkdir(parents=True)
    (checkpoint / WHOLE).write_text("deepspeed on 2 processes")
    with pytest.raises(UserError, match="checkpoint-1 was written by training as deepspeed on 2 processes, which"):
        train(student, inputs, tmp_path / "out")
    shutil.rmtree(checkpoint)
    train(student, inputs, tmp_path / "out")
    assert adapter_bytes(tmp_path / "out") == adapter_bytes(tmp_path / "whole")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_deepspeed_config_says_only_what_is_deepspeeds_to_say(path):
    """Batch, clipping and precision are the recipe's: a second word on them would be a second truth."""
    config = json.loads(path.read_text())
    assert config.keys() == {"zero_optimization"} and f"zero{config['zero_optimization']['stage']}" == path.stem
