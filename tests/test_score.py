"""The score stage on a small pool."""

import dataclasses
import shutil

import pytest

from small_pools import folder, question, ragged
from smartad.models import TOY_FOLDER, identify
from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Runtime
from smartad.stages.score import SCORE, ScoreConfig
from smartad.types import ScoredTrajectory, UserError

CONFIG = ScoreConfig(identify("toy"), "paper", "toy", batch_tokens=400)


class Stopped(Exception):
    """The process ends here."""


@pytest.fixture
def inputs(tmp_path):
    return {"questions/toy": folder(tmp_path / "prepare", {"questions.jsonl": [question(n) for n in range(4)]}),
            "pool": folder(tmp_path / "collect", {"trajectories.jsonl": ragged(4, 3)})}


def stop_after(batches):
    def progress(done, total):
        nonlocal batches
        batches -= 1
        if batches == 0:
            raise Stopped
    return Runtime(progress=progress)


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


@pytest.mark.parametrize("batches", [1, 3])
def test_score_stopped_and_started_again_computes_only_the_rest_and_ends_the_same(inputs, tmp_path, batches):
    run(inputs, tmp_path / "whole")
    with pytest.raises(Stopped):
        run(inputs, tmp_path / "out", stop_after(batches))
    part = tmp_path / "out" / "batches.jsonl"
    kept = len(part.read_text().splitlines())
    assert 0 < kept < 12
    rows = list(read_jsonl(part, ScoredTrajectory))
    rows[0] = dataclasses.replace(rows[0], chat_sha256="kept")
    write_jsonl(part, rows)
    if batches > 1:
        # A kill in the middle of a write: the last batch is torn, and computed again as a whole.
        part.write_bytes(part.read_bytes()[:-20])
    run(inputs, tmp_path / "out")
    whole = [dataclasses.replace(row, chat_sha256="kept") if (row.question_id, row.sample) == (
        rows[0].question_id, rows[0].sample) else row
        for row in read_jsonl(tmp_path / "whole" / "scores.jsonl", ScoredTrajectory)]
    assert list(read_jsonl(tmp_path / "out" / "scores.jsonl", ScoredTrajectory)) == whole


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
    assert run(inputs, tmp_path / "b", config=dataclasses.replace(CONFIG, batch_tokens=5000))["mean_nll"] == pytest.approx(
        base, abs=1e-5)
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


def test_score_config_without_room_for_a_token_is_refused():
    with pytest.raises(UserError, match="batch_tokens must be at least 1, got 0"):
        ScoreConfig(batch_tokens=0)
