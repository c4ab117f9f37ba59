"""Evaluate with the student that is committed: it must act, whatever it says; every way to end is counted."""

import dataclasses

import pytest
import torch
from peft import LoraConfig, get_peft_model

from smartad import benchmarks, corpora, models
from smartad.engines import retrieval
from smartad.engines.loading import load_model
from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Runtime
from smartad.stages.episodes import ROWS
from smartad.stages.evaluate import EVALUATE, EvaluateConfig
from smartad.types import Trajectory, UserError

CONFIG = EvaluateConfig(student=models.identify(models.TOY), dialect="paper", prompt="toy", max_steps=2, max_tokens=32,
                        top_k=2, batch_size=4)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("questions", "index"):
        (folder / name).mkdir()
    questions = benchmarks.get("toy_math").load(None)[:5] + benchmarks.get("toy_qa").load(None)[:5]
    write_jsonl(folder / "questions" / "questions.jsonl", questions)
    retrieval.build(corpora.get("toy").load(None), folder / "index")
    return {"questions/mixed": folder / "questions", "index": folder / "index"}


@pytest.fixture(scope="module")
def attempts(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("attempts")
    return EVALUATE.run(CONFIG, inputs, out, Runtime()), rows(out)


def rows(out):
    return [dataclasses.replace(row, seconds=0.0) for row in read_jsonl(out / ROWS, Trajectory)]


def test_every_question_is_attempted_once_and_every_end_is_counted(attempts):
    metrics, found = attempts
    assert [row.sample for row in found] == [0] * 10 and metrics["n"] == 10
    assert sum(value for name, value in metrics.items() if name.startswith("stop/")) == 10
    assert sum(value for name, value in metrics.items() if name.startswith("step/")) == sum(len(r.steps) for r in found)
    assert metrics["answered"] == metrics.get("stop/answered", 0) / 10
    assert metrics["tokens"] == sum(row.tokens for row in found) > 0
    for row in found:
        assert (row.answer is not None) == (row.stop == "answered") == (row.steps[-1].status == "final")


@pytest.mark.slow
@pytest.mark.parametrize("cut", [0.0, 0.3, 0.6, 0.99])
def test_half_written_attempts_are_carried_on_to_the_same(attempts, inputs, tmp_path, cut):
    write_jsonl(tmp_path / ROWS, attempts[1])
    whole = (tmp_path / ROWS).read_bytes()
    (tmp_path / ROWS).write_bytes(whole[:int(cut * len(whole))])
    EVALUATE.run(CONFIG, inputs, tmp_path, Runtime())
    assert rows(tmp_path) == attempts[1]


def test_context_that_runs_out_is_a_way_to_end(inputs, tmp_path):
    crowded = dataclasses.replace(CONFIG, prompt="teacher", max_steps=1)
    questions = [dataclasses.replace(q, text=q.text * 300) for q in benchmarks.get("toy_math").load(None)[:2]]
    (tmp_path / "questions").mkdir()
    write_jsonl(tmp_path / "questions" / "questions.jsonl", questions)
    metrics = EVALUATE.run(crowded, {"questions/long": tmp_path / "questions"}, tmp_path, Runtime())
    assert metrics["stop/context_overflow"] == 2 and metrics["answered"] == 0


@pytest.mark.slow
def test_adapter_changes_the_student(attempts, inputs, tmp_path):
    torch.manual_seed(0)
    model = get_peft_model(load_model(CONFIG.student, Runtime()),
                           LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(tmp_path / "trained" / "adapter")
    (tmp_path / "out").mkdir()
    EVALUATE.run(CONFIG, {**inputs, "adapter": tmp_path / "trained"}, tmp_path / "out", Runtime())
    assert [r.steps for r in rows(tmp_path / "out")] != [r.steps for r in attempts[1]]


def test_student_of_another_version_is_refused(inputs, tmp_path):
    with pytest.raises(UserError, match="not the toy student of this smartad"):
        EVALUATE.run(dataclasses.replace(CONFIG, student="toy@000000000000"), inputs, tmp_path, Runtime())


@pytest.mark.parametrize(("field", "value"), [("max_tokens", 0), ("top_k", 0), ("temperature", float("nan"))])
def test_config_without_sense_is_refused_by_name(field, value):
    with pytest.raises(UserError, match=f"evaluate.{field} must be"):
        dataclasses.replace(CONFIG, **{field: value})


@pytest.mark.slow
def test_samples_of_a_question_have_random_numbers_of_their_own(inputs, tmp_path):
    several = dataclasses.replace(CONFIG, samples=3, temperature=1.0, max_steps=1)
    assert EVALUATE.run(several, inputs, tmp_path, Runtime())["n"] == 30
    found = rows(tmp_path)
    assert [row.sample for row in found] == [0, 1, 2] * 10 and len({row.question_id for row in found}) == 10
    texts = [[row.steps[0].text for row in found[start:start + 3]] for start in range(0, 30, 3)]
    assert any(len(set(written)) == 3 for written in texts)
