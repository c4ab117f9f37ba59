"""The score stage on a small pool."""

import dataclasses
import multiprocessing
import shutil

import pytest
import torch

from small_pools import folder, question, ragged, trajectory
from smartad.dialect import PROMPTS, chat
from smartad.engines.encoding import render
from smartad.engines.loading import load_model, load_tokenizer
from smartad.models import TOY_FOLDER, identify
from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Runtime
from smartad.stages.score import SCORE, ScoreConfig, Scored
from smartad.types import ScoredTrajectory, UserError

CONFIG = ScoreConfig(identify("toy"), "paper", "toy")


class Stopped(Exception):
    """The process ends here."""


@pytest.fixture
def inputs(tmp_path):
    return {"questions/toy": folder(tmp_path / "prepare", {"questions.jsonl": [question(n) for n in range(4)]}),
            "pool": folder(tmp_path / "collect", {"trajectories.jsonl": ragged(4, 3)})}


def stop_after(questions, **where):
    def progress(done, total):
        nonlocal questions
        questions -= 1
        if questions == 0:
            raise Stopped
    return Runtime(progress=progress, **where)


def rows_of(out):
    return list(read_jsonl(out / "scores.jsonl", ScoredTrajectory))


def run(inputs, out, runtime=None, config=CONFIG):
    out.mkdir(exist_ok=True)
    return SCORE.run(config, inputs, out, runtime or Runtime())


def test_score_writes_a_row_per_trajectory_in_the_pools_order(inputs, tmp_path):
    metrics = run(inputs, tmp_path / "out")
    rows = list(read_jsonl(tmp_path / "out" / "scores.jsonl", ScoredTrajectory))
    pool = ragged(4, 3)
    assert [(r.question_id, r.sample, len(r.turn_nll)) for r in rows] == [
        (t.question_id, t.sample, len(t.steps)) for t in pool]
    assert len({r.chat_sha256 for r in rows}) == len(rows)
    assert metrics["scored"] == len(pool)
    assert metrics["tokens"] == sum(sum(r.turn_tokens) for r in rows)
    assert metrics["mean_nll"] == pytest.approx(sum(r.nll for r in rows) / len(rows))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["scores.jsonl"]


@pytest.mark.parametrize("questions", [1, 3])
def test_score_stopped_and_started_again_computes_only_the_rest_and_ends_the_same(inputs, tmp_path, questions):
    run(inputs, tmp_path / "whole")
    with pytest.raises(Stopped):
        run(inputs, tmp_path / "out", stop_after(questions))
    part = tmp_path / "out" / "part-fp32-0.jsonl"
    rows = list(read_jsonl(part, Scored))
    assert len(rows) == 3 * questions
    rows[0] = dataclasses.replace(rows[0], row=dataclasses.replace(rows[0].row, chat_sha256="kept"))
    write_jsonl(part, rows)
    if questions > 1:
        # A kill in the middle of a write: the last question is torn, and computed again as a whole.
        part.write_bytes(part.read_bytes()[:-20])
    run(inputs, tmp_path / "out")
    whole = rows_of(tmp_path / "whole")
    assert rows_of(tmp_path / "out") == [dataclasses.replace(whole[0], chat_sha256="kept"), *whole[1:]]


@pytest.mark.slow
def test_score_begun_in_one_process_and_finished_by_two_ends_the_same(inputs, tmp_path):
    run(inputs, tmp_path / "whole")
    with pytest.raises(Stopped):
        run(inputs, tmp_path / "out", stop_after(1))
    told = []
    metrics = run(inputs, tmp_path / "out", Runtime(processes=2, report=lambda step, **numbers: told.append(numbers)))
    assert metrics["scored"] == 12
    assert len(told) == 3, "what was there was not computed again"
    assert not multiprocessing.active_children(), "they end with the stage"
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "whole")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["scores.jsonl"]


def test_score_reports_likelihood_and_speed_of_each_question(inputs, tmp_path):
    told = []
    run(inputs, tmp_path / "out", Runtime(report=lambda step, **numbers: told.append((step, numbers))))
    assert [step for step, _ in told] == [0, 1, 2, 3]
    assert all(numbers["mean_nll"] > 0 and numbers["tokens_per_s"] > 0 for _, numbers in told)


def test_score_in_bf16_says_how_many_choices_it_moves(inputs, tmp_path):
    exact = run(inputs, tmp_path / "fp32")
    config = dataclasses.replace(CONFIG, dtype="bf16", check_questions=3)
    metrics = run(inputs, tmp_path / "bf16", config=config)
    assert "check/questions" not in exact
    by = [{(r.question_id, r.sample): r.nll for r in rows_of(tmp_path / folder)} for folder in ("fp32", "bf16")]
    assert by[0] != by[1]
    assert metrics["check/questions"] == 3
    assert 0 < metrics["check/largest_difference"] <= max(abs(by[0][key] - by[1][key]) for key in by[0])
    moved = [min((s for s in range(3)), key=lambda s, q=q, nll=nll: nll[f"toy/{q}", s]) for q in range(4) for nll in by]
    changed = sum(moved[i] != moved[i + 1] for i in range(0, 8, 2))
    assert changed - 1 <= round(metrics["check/argmin_moved"] * 3) <= changed, "three of the four questions"


def test_score_in_bf16_of_questions_without_a_choice_has_nothing_to_say(inputs, tmp_path):
    write_jsonl(inputs["pool"] / "trajectories.jsonl", ragged(4, 1))
    metrics = run(inputs, tmp_path / "out", config=dataclasses.replace(CONFIG, dtype="bf16"))
    assert (metrics["check/questions"], metrics["check/argmin_moved"]) == (0, None)
    assert metrics["scored"] == 4


@pytest.fixture
def thinking(tmp_path):
    """The toy student with a template that leaves thoughts out of earlier turns, as Qwen3's does."""
    student = tmp_path / "thinking"
    shutil.copytree(TOY_FOLDER, student)
    tokenizer = load_tokenizer(identify("toy"), {})
    tokenizer.chat_template = (
        "{%- for m in messages %}{{- '<|im_start|>' + m['role'] + '\n' }}"
        "{{- m['content'].split('Code:')[1] if m['role'] == 'assistant' and not loop.last else m['content'] }}"
        "{{- '<|im_end|>\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}")
    tokenizer.save_pretrained(student)
    return student


def test_score_with_a_template_that_rewrites_turns_scores_each_with_its_own_history(inputs, tmp_path, thinking, caplog):
    identity = identify(str(thinking))
    runtime = Runtime(models={identity: str(thinking)})
    metrics = run(inputs, tmp_path / "out", runtime, dataclasses.replace(CONFIG, student=identity))
    pool = ragged(4, 3)
    assert metrics["turn_loop"] == sum(len(t.steps) > 1 for t in pool)
    assert caplog.text.count("rewrites earlier turns, and trajectories are scored turn by turn") == 1
    tokenizer, model = load_tokenizer(identity, runtime.models), load_model(identity, runtime)
    for row, t in zip(rows_of(tmp_path / "out"), pool, strict=True):
        messages = chat(question(int(t.question_id.removeprefix("toy/"))), t.steps, PROMPTS["toy"])
        for turn, nll in enumerate(row.turn_nll):
            before = render(tokenizer, messages[:2 + 2 * turn], generate=True)
            assert before.count("Thought:") == 0
            ids = [tokenizer(text, add_special_tokens=False)["input_ids"]
                   for text in (before, t.steps[turn].text + "<|im_end|>")]
            labels = torch.tensor([[-100] * len(ids[0]) + ids[1]])
            with torch.no_grad():
                loss = model(torch.tensor([ids[0] + ids[1]]), labels=labels).loss.item()
            assert nll == pytest.approx(loss, abs=1e-5)
            assert row.turn_tokens[turn] == len(ids[1])
    plain = run(inputs, tmp_path / "plain")
    assert plain["turn_loop"] == 0
    assert plain["mean_nll"] != pytest.approx(metrics["mean_nll"], abs=1e-3)


def test_score_of_a_trajectory_without_a_turn_is_counted_and_not_written(inputs, tmp_path):
    pool = ragged(4, 3)
    pool[5] = dataclasses.replace(pool[5], steps=(), answer=None, stop="engine_error")
    write_jsonl(inputs["pool"] / "trajectories.jsonl", pool)
    metrics = run(inputs, tmp_path / "out")
    assert (metrics["pool"], metrics["scored"], metrics["unscorable"]) == (12, 11, 1)
    rows = list(read_jsonl(tmp_path / "out" / "scores.jsonl", ScoredTrajectory))
    assert (pool[5].question_id, pool[5].sample) not in {(r.question_id, r.sample) for r in rows}


def test_score_depends_on_the_prompt_but_hardly_on_the_batches(inputs, tmp_path):
    base = run(inputs, tmp_path / "a")["mean_nll"]
    assert run(inputs, tmp_path / "b", Runtime(batch_tokens=1))["mean_nll"] == pytest.approx(base, abs=1e-5)
    assert run(inputs, tmp_path / "c", config=dataclasses.replace(CONFIG, prompt="student"))["mean_nll"] != pytest.approx(
        base, abs=1e-3)


def test_score_with_a_student_that_is_not_here_says_how_to_name_it(inputs, tmp_path):
    with pytest.raises(UserError, match="student=FOLDER"):
        run(inputs, tmp_path / "out", config=dataclasses.replace(CONFIG, student="local/mine@0123456789ab"))


def test_score_with_a_truncated_student_says_it_cannot_be_loaded(inputs, tmp_path):
    student = tmp_path / "student"
    shutil.copytree(TOY_FOLDER, student)
    weights = student / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    identity = identify(str(student))
    with pytest.raises(UserError, match=f"the model {identity} cannot be loaded"):
        run(inputs, tmp_path / "out", Runtime(models={identity: str(student)}),
            dataclasses.replace(CONFIG, student=identity))


def test_score_config_with_less_than_no_questions_to_check_is_refused():
    with pytest.raises(UserError, match="check_questions must be at least 0, got -1"):
        ScoreConfig(check_questions=-1)


def test_score_of_a_trajectory_longer_than_the_students_positions_is_missing_by_name(inputs, tmp_path, caplog):
    pool = ragged(4, 3)
    pool[4] = trajectory(1, sample=1, words=4200)
    write_jsonl(inputs["pool"] / "trajectories.jsonl", pool)
    metrics = run(inputs, tmp_path / "out")
    assert (metrics["scored"], metrics["too_long"], metrics["non_finite"], metrics["unscorable"]) == (11, 1, 0, 0)
    assert [(r.question_id, r.sample) for r in rows_of(tmp_path / "out")] == [
        (t.question_id, t.sample) for t in pool if t is not pool[4]]
    assert "toy/1 sample 1 has no score: it has more tokens than the student has positions" in caplog.text


@pytest.mark.parametrize("damaged", ["a word of one trajectory", "a word of all"])
def test_score_of_a_likelihood_that_is_no_number_is_missing_by_name(inputs, tmp_path, caplog, damaged):
    model, tokenizer = load_model(identify("toy"), Runtime()), load_tokenizer(identify("toy"), {})
    pool = ragged(4, 3)
    pool[2] = trajectory(0, sample=2, words=9)
    ids = {key: set(tokenizer("".join(step.text for step in t.steps))["input_ids"]) for key, t in enumerate(pool)}
    special = tokenizer("zyx")["input_ids"][0]
    pool[2] = dataclasses.replace(pool[2], steps=(dataclasses.replace(
        pool[2].steps[0], text=pool[2].steps[0].text.replace("it ", "zyx ")), *pool[2].steps[1:]))
    assert not any(special in of for key, of in ids.items())
    write_jsonl(inputs["pool"] / "trajectories.jsonl", pool)
    with torch.no_grad():
        model.get_input_embeddings().weight[special if damaged == "a word of one trajectory" else slice(None)] = float("nan")
    model.config.tie_word_embeddings = False
    student = tmp_path / "student"
    model.save_pretrained(student)
    tokenizer.save_pretrained(student)
    config = dataclasses.replace(CONFIG, student=identify(str(student)))
    where = Runtime(models={config.student: str(student)})
    if damaged == "a word of all":
        with pytest.raises(UserError, match="no trajectory has a finite likelihood under .*weights are damaged"):
            run(inputs, tmp_path / "out", where, config)
        return
    metrics = run(inputs, tmp_path / "out", where, config)
    assert (metrics["scored"], metrics["non_finite"]) == (11, 1)
    assert "toy/0 sample 2 has no score: its likelihood is not a finite number" in caplog.text


def test_score_with_a_damaged_part_says_how_to_go_on(inputs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part-fp32-0.jsonl").write_text("{}\n{}\n")
    with pytest.raises(UserError, match=r"part-fp32-0.jsonl:1 .*remove it, and its questions are scored again"):
        run(inputs, tmp_path / "out")
