"""The train stage: the gradient it follows, and that nothing stops it from ending in the same place."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from conftest import ROOT
from small_pools import question, ragged
from small_stages import Config, bring_to_end
from small_students import TRAINED, adapter_bytes, config_for, make_inputs, make_student, recorder, train
from smartad.config import load
from smartad.dialect import PROMPTS
from smartad.engines.encoding import encode
from smartad.engines.loading import load_model, load_tokenizer
from smartad.engines.lora import attach
from smartad.engines.watching import Diverged
from smartad.experiment import Experiment
from smartad.records import write_jsonl
from smartad.runner import classify
from smartad.stage import Runtime, Stage, StageSpec
from smartad.stages.train import TRAIN, TrainConfig
from smartad.types import Segment, SegmentWeights, Selected, UserError

OF_THE_MACHINE = {"tokens_per_s", "peak_memory_gb"}


class Stopped(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return make_student(tmp_path_factory.mktemp("student"))


@pytest.fixture
def inputs(tmp_path):
    return make_inputs(tmp_path)


@pytest.mark.slow
def test_train_writes_an_adapter_that_names_its_student_and_nothing_else(student, inputs, tmp_path):
    steps, runtime = recorder()
    metrics = train(student, inputs, tmp_path / "out", runtime)
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")) == [
        "adapter", "adapter/adapter_config.json", "adapter/adapter_model.safetensors"]
    assert json.loads((tmp_path / "out/adapter/adapter_config.json").read_text())["base_model_name_or_path"] == student[0]
    assert str(tmp_path) not in (tmp_path / "out/adapter/adapter_config.json").read_text()
    assert metrics["examples"] == TRAINED
    cases = {name.removeprefix("cases/"): count for name, count in metrics.items() if name.startswith("cases/") and count}
    assert cases == {"single_block": sum(len(t.steps) == 1 for t in ragged(TRAINED, 1))}
    assert metrics["cases/exec_error"] == 0, "looked for, and not found"
    assert metrics["tokens"] == sum(metrics[f"tokens/{segment.name.lower()}"] for segment in Segment)
    assert metrics["cases/single_block"] == 3
    assert [step for step, _ in steps] == [1, 2, 3, 4]
    segments = {"loss/reason", "loss/action", "loss/final"}
    assert set(steps[0][1]) == {"loss", "learning_rate", "grad_norm", "tokens_per_s", "peak_memory_gb", *segments}
    assert {name for name in metrics if name.startswith("last_loss")} == {"last_loss", *(f"last_{name}" for name in segments)}
    assert metrics["first_loss"] == steps[0][1]["loss"]
    assert metrics["last_loss"] == steps[-1][1]["loss"] < metrics["first_loss"]


@pytest.mark.slow
def test_train_again_gives_the_same_bytes_and_another_seed_does_not(student, inputs, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(student, inputs, tmp_path / name, seed=seed)
    assert adapter_bytes(tmp_path / "a") == adapter_bytes(tmp_path / "b") != adapter_bytes(tmp_path / "c")


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["trajectory", "batch"])
def test_train_in_1_2_or_4_forwards_a_step_padded_or_packed_follows_the_same_gradient(student, inputs, tmp_path, reduction):
    """The toy prompts make a trajectory 70 to 200 tokens: 1,000 take a step in one forward, 300 in several, 1 in four."""
    runs = []
    for i, forwards in enumerate(({"micro_batch_size": 4}, {"micro_batch_size": 2}, {"micro_batch_size": 1},
                                  {"micro_batch_tokens": 1000}, {"micro_batch_tokens": 300}, {"micro_batch_tokens": 1})):
        steps, runtime = recorder()
        train(student, inputs, tmp_path / str(i), runtime, **forwards, dropout=0.0, epochs=2, loss_reduction=reduction,
              max_grad_norm=0.0)
        runs.append([{name: value for name, value in scalars.items() if name not in OF_THE_MACHINE} for _, scalars in steps])
    assert len(runs[0]) == 4  # 4 and 3 trajectories, twice
    for other in runs[1:]:
        assert [step.keys() for step in other] == [step.keys() for step in runs[0]]
        for step, other_step in zip(runs[0], other, strict=True):
            assert other_step == pytest.approx(step, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("weights", [SegmentWeights(), SegmentWeights(1, 1, 1), SegmentWeights(0, 1, 3)], ids=str)
def test_train_first_step_is_eq_5_of_its_trajectories(student, inputs, tmp_path, weights):
    """All seven in one batch, so that no order matters; transformers' own losses where they apply."""
    steps, runtime = recorder()
    train(student, inputs, tmp_path / "out", runtime, weights=weights, dropout=0.0, epochs=1, batch_size=7,
          max_grad_norm=0.0)
    tokenizer, model = load_tokenizer(*student), load_model(student[0], Runtime(models=student[1]))
    torch.manual_seed(0)
    adapted = attach(model, config_for(student, dropout=0.0))
    losses = []
    for t in ragged(TRAINED, 1):
        example = encode(tokenizer, question(int(t.question_id[4:])), t, system=PROMPTS["toy"])
        ids = torch.tensor([example.input_ids])
        sums = norms = 0
        for segment, weight in ((Segment.REASON, weights.reason), (Segment.ACTION, weights.action),
                                (Segment.FINAL, weights.final)):
            here = torch.tensor([example.segments]) == segment
            if weight and here.any():
                mean = adapted(input_ids=ids, labels=ids.masked_fill(~here, -100)).loss
                sums, norms = sums + weight * here.sum() * mean, norms + weight * here.sum()
        losses.append(sums / norms)
    loss = sum(losses) / len(losses)
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in adapted.parameters() if p.grad is not None]).norm()
    assert steps[0][1]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert steps[0][1]["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)


@pytest.mark.slow
def test_train_sees_every_trajectory_once_an_epoch_in_a_new_order(student, inputs, tmp_path):
    """With a learning rate that changes nothing, a trajectory's loss is its name."""
    steps, runtime = recorder()
    train(student, inputs, tmp_path / "out", runtime, learning_rate=1e-12, dropout=0.0, batch_size=1)
    losses = [round(scalars["loss"], 5) for _, scalars in steps]
    first, second = losses[:TRAINED], losses[TRAINED:]
    assert len(set(first)) == TRAINED
    assert sorted(first) == sorted(second)
    assert first != second


@pytest.mark.slow
def test_train_with_gradient_checkpointing_gives_the_same_bytes(student, inputs, tmp_path):
    off = train(student, inputs, tmp_path / "off", Runtime(gradient_checkpointing="off"))
    on = train(student, inputs, tmp_path / "on", Runtime(gradient_checkpointing="on"))
    assert (off["gradient_checkpointing"], on["gradient_checkpointing"]) == (0, 1)
    assert adapter_bytes(tmp_path / "off") == adapter_bytes(tmp_path / "on")


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [1, 2, 3, 6])
def test_train_stopped_and_started_again_ends_with_the_same_bytes(student, inputs, tmp_path, stop_at):
    """Dropout and order are random, so this compares their state too; 2 steps an epoch, a checkpoint every step."""
    train(student, inputs, tmp_path / "whole", epochs=3)

    def progress(done, total):
        if done == stop_at:
            raise Stopped

    with pytest.raises(Stopped):
        train(student, inputs, tmp_path / "out", Runtime(progress=progress, checkpoint_every=1), epochs=3)
    half_written = tmp_path / "out" / "checkpoints" / "checkpoint-99"
    half_written.mkdir()
    (half_written / "adapter_model.safetensors").write_bytes(b"torn")
    steps, runtime = recorder()
    metrics = train(student, inputs, tmp_path / "out", dataclasses.replace(runtime, checkpoint_every=1), epochs=3)
    assert [step for step, _ in steps] == list(range(stop_at, 7))
    assert metrics["steps"] == 6
    assert adapter_bytes(tmp_path / "out") == adapter_bytes(tmp_path / "whole")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["adapter"]


CHILD = """
import json, sys
from pathlib import Path
from smartad.stage import Runtime
from smartad.stages.train import TRAIN, TrainConfig
config, inputs, out, models = json.loads(sys.argv[1])
TRAIN.run(TrainConfig(**config), {k: Path(v) for k, v in inputs.items()}, Path(out), Runtime(
    models=models, checkpoint_every=3, report=lambda step, **scalars: print(step, flush=True)))
"""


@pytest.mark.slow
def test_train_killed_again_and_again_ends_with_the_same_bytes(student, inputs, tmp_path):
    changes = {"epochs": 30}
    train(student, inputs, tmp_path / "whole", **changes)
    out = tmp_path / "out"
    out.mkdir()
    config = {k: v for k, v in dataclasses.asdict(config_for(student, **changes)).items() if k != "weights"}
    arguments = json.dumps([config, {k: str(v) for k, v in inputs.items()}, str(out), student[1]])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = 0
    # After how many steps and then seconds: before the first checkpoint, while one may be half written, and at the end.
    for steps, seconds in ((2, 0.0), (3, 0.004), (9, 0.002), (14, 0.0), (60, 0.0)):
        child = subprocess.Popen([sys.executable, "-c", CHILD, arguments], stdout=subprocess.PIPE, text=True,
                                 env=environment)
        for _ in range(steps):
            if not child.stdout.readline():
                break
            done += 1
        time.sleep(seconds)
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert done > 2 + 3 + 9
    train(student, inputs, out, **changes)
    assert adapter_bytes(out) == adapter_bytes(tmp_path / "whole")
    assert [p.name for p in out.iterdir()] == ["adapter"]


@pytest.mark.slow
def test_train_that_diverges_stops_says_on_what_and_keeps_its_last_good_checkpoint(student, inputs, tmp_path):
    for _ in range(2):  # started again as it is, it ends the same way
        with pytest.raises(Diverged, match=r"the loss is (nan|inf) on toy/\d sample 0 in step \d; .*/checkpoint-\d, whose "
                                           r"weights are finite, is kept.* lower train\.learning_rate .* fingerprint") as error:
            train(student, inputs, tmp_path / "out", Runtime(checkpoint_every=1), learning_rate=1e30, max_grad_norm=0.0,
                  epochs=5, batch_size=1)
    assert isinstance(error.value, UserError) and classify(error.value) == "nan"
    (kept,) = (tmp_path / "out").rglob("adapter_model.safetensors")
    assert str(kept.parent) in str(error.value)
    assert all(torch.isfinite(weight).all() for weight in load_file(kept).values())


@pytest.mark.slow
def test_train_whose_weights_are_no_numbers_any_more_writes_no_checkpoint_of_them(student, inputs, tmp_path):
    """A decay that takes the weights themselves over what fp32 can hold, while loss and gradient are still finite."""
    with pytest.raises(Diverged, match="a weight or its moment is not finite in step 1; there is no checkpoint yet"):
        train(student, inputs, tmp_path / "out", Runtime(checkpoint_every=1), learning_rate=2.0, weight_decay=2e38)
    assert not [*(tmp_path / "out").rglob("*.safetensors")]


@pytest.mark.slow
def test_train_that_diverges_is_no_finished_stage(student, store, tmp_path):
    """Nothing to pull, to alias or to cite; its class says that another try would end the same way."""
    inputs = {role: StageSpec(Stage("given", 1, given), Config(str(folder)))
              for role, folder in make_inputs(tmp_path).items()}
    diverging = StageSpec(TRAIN, config_for(student, learning_rate=1e30, max_grad_norm=0.0, epochs=5), inputs)
    failures = bring_to_end(store, [diverging], jobs=0, models=student[1]).failures
    assert failures[diverging.fingerprint].kind == "nan"
    assert not store.has(diverging.fingerprint) and diverging.fingerprint not in store.fingerprints()


def given(config, inputs, out, runtime):
    shutil.copytree(config.name, out, dirs_exist_ok=True)
    return {}


@pytest.mark.slow
def test_train_in_bf16_keeps_lora_in_fp32_and_is_another_adapter(student, inputs, tmp_path):
    fp32, bf16 = train(student, inputs, tmp_path / "fp32"), train(student, inputs, tmp_path / "bf16", dtype="bf16")
    assert bf16["first_loss"] == pytest.approx(fp32["first_loss"], rel=0.01) and bf16["first_loss"] != fp32["first_loss"]
    assert {str(w.dtype) for w in load_file(tmp_path / "bf16/adapter/adapter_model.safetensors").values()} == {"torch.float32"}
    assert adapter_bytes(tmp_path / "bf16") != adapter_bytes(tmp_path / "fp32")


def test_train_by_default_is_the_papers():
    """SmartAD, Appendix A; what it does not state is Agent Distillation's code.  papers.yaml changes none of it."""
    papers = load(Experiment, [str(ROOT / "configs/papers.yaml")])
    for config in (TrainConfig(student="s", dialect="paper", seed=0), papers.train):
        assert (config.epochs, config.batch_size, config.learning_rate, config.max_length) == (2, 4, 2e-4, 10240)  # Appendix A
        assert config.micro_batch_size == 1 and config.accumulation(processes=2) == 2  # Appendix A: 2 GPUs x 1 x 2
        assert (config.rank, config.alpha, config.dropout, config.targets) == (64, 128, 0.05, "all-linear")  # its code
        assert config.weights == SegmentWeights(1.0, 1.5, 2.0)  # section 4.1
    # Appendix A checkpoints gradients and runs ZeRO-0: where and how, not what.  ZeRO-0 is data parallelism; a profile says it.
    assert Runtime().gradient_checkpointing == "auto" and Runtime().deepspeed is None


@pytest.mark.parametrize("targets", ["lm_head", "q_proj,embed_tokens"])
def test_train_with_tied_embeddings_as_targets_is_refused(student, inputs, tmp_path, targets):
    with pytest.raises(UserError, match="ties its input and output embeddings"):
        train(student, inputs, tmp_path / "out", targets=targets)


@pytest.mark.slow
def test_train_with_chosen_targets_adapts_those(student, inputs, tmp_path):
    train(student, inputs, tmp_path / "out", targets="q_proj, v_proj", epochs=1)
    weights = load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors")
    assert {name.split(".")[-3] for name in weights} == {"q_proj", "v_proj"}


def test_train_with_an_unknown_target_lists_the_linear_layers(student, inputs, tmp_path):
    with pytest.raises(UserError, match="train.targets=c_attn .* linear layers are .*q_proj"):
        train(student, inputs, tmp_path / "out", targets="c_attn")


def test_train_over_length_is_refused_before_anything_is_trained(student, inputs, tmp_path):
    with pytest.raises(UserError, match="7 of 7 trajectories are over train.max_length=20"):
        train(student, inputs, tmp_path / "out", max_length=20)
    assert list((tmp_path / "out").iterdir()) == []


def test_train_on_a_selection_from_another_pool_names_the_row(student, inputs, tmp_path):
    write_jsonl(inputs["selected"] / "selected.jsonl", [Selected("toy/1", 9, 1.0, 1)])
    with pytest.raises(UserError, match="selects toy/1 sample 9, which is not in"):
        train(student, inputs, tmp_path / "out")


@pytest.mark.parametrize(("changes", "message"), [
    ({"batch_size": 4, "micro_batch_size": 3}, "batch_size=4 is not a multiple"),
    ({"micro_batch_tokens": 0}, "train.micro_batch_tokens=0 must be at least 1"),
    ({"micro_batch_tokens": 100, "micro_batch_size": 2}, "goes with train.micro_batch_size=1 .got 2."),
    ({"loss": "sad_sum"}, "train.loss=sad_sum knows no final segment: train.weights.final=2.0 must equal"),
    ({"loss": "sad_mean", "weights": SegmentWeights(1, 2, 2), "loss_reduction": "batch"}, "is an option of train.loss=segment"),
    ({"rank": 0}, "train.rank must be at least 1, got 0"),
    ({"learning_rate": 0.0}, "train.learning_rate must be a finite number above 0"),
    ({"dropout": 1.0}, "train.dropout must be at least 0 and below 1"),
    ({"max_grad_norm": float("nan")}, "train.max_grad_norm must be a finite number"),
    ({"max_length": 0}, "train.max_length must be at least 1"),
])
def test_train_config_out_of_range_names_the_field(changes, message):
    with pytest.raises(UserError, match=message):
        TrainConfig(**changes)
