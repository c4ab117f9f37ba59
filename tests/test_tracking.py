"""metrics.jsonl, what trackers may know, and what is refused before anything runs."""

import json
import math
import pickle
import re

import pytest

from smartad.tracking import RunInfo, Tracking, configure, read_rows
from smartad.types import UserError

TRAIN = "train-0123456789ab"


@pytest.fixture
def alone(tmp_path):
    """``metrics.jsonl`` and no tracker."""
    (tmp_path / TRAIN).mkdir()
    return lambda: Tracking(tmp_path).run(RunInfo(TRAIN, "train", {}, {}, tmp_path / TRAIN))


def steps_and_losses(tmp_path):
    return [(row.step, row.metrics["loss"]) for row in read_rows(tmp_path / TRAIN / "metrics.jsonl")]


def test_metrics_are_on_disk_as_soon_as_they_are_reported(alone, tmp_path):
    with alone() as run:
        run.log(1, loss=2.5, lr=1)
        line = json.loads((tmp_path / TRAIN / "metrics.jsonl").read_text())
        assert (line["step"], line["loss"], line["lr"]) == (1, 2.5, 1)
        assert run.finish({"loss": 2.5}) == {}


def test_metrics_none_is_left_out_and_nan_is_kept(alone, tmp_path):
    with alone() as run:
        run.log(1, loss=float("nan"), grad=float("inf"), accuracy=None)
    row, = read_rows(tmp_path / TRAIN / "metrics.jsonl")
    assert math.isnan(row.metrics["loss"]) and row.metrics["grad"] == math.inf and "accuracy" not in row.metrics


def test_metrics_named_like_a_column_are_refused(alone):
    with pytest.raises(ValueError, match="cannot be called 'time'"), alone() as run:
        run.log(1, time=3.0)


def test_metrics_stage_that_goes_back_to_a_checkpoint_replaces_what_followed_it(alone, tmp_path):
    with alone() as run:
        for step in range(1, 6):
            run.log(step, loss=step)
    with (tmp_path / TRAIN / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "time": 1.0, "lo')  # torn by the kill
    with alone() as run:  # from the checkpoint after step 3
        for step in range(4, 8):
            run.log(step, loss=10 * step)
    assert steps_and_losses(tmp_path) == [(1, 1), (2, 2), (3, 3), (4, 40), (5, 50), (6, 60), (7, 70)]


def test_metrics_stage_that_goes_on_where_it_was_keeps_everything(alone, tmp_path):
    with alone() as run:
        run.log(1, loss=1)
    with alone() as run:
        run.log(2, loss=2)
        run.log(2, loss=3)
    assert steps_and_losses(tmp_path) == [(1, 1), (2, 2), (2, 3)]


def test_metrics_damaged_line_is_named(alone, tmp_path):
    (tmp_path / TRAIN / "metrics.jsonl").write_text('{"step": 1, "time": 1.0, "loss": 1}\n{"loss": 1}\n')
    with pytest.raises(UserError, match=r"metrics.jsonl:2 is not a row of metrics"):
        alone()


def test_configure_none_means_metrics_only_and_travels_to_workers(tmp_path):
    tracking = configure(["none"], tmp_path, "my-sweep")
    assert tracking == Tracking(tmp_path, (), "my-sweep")
    assert pickle.loads(pickle.dumps(tracking)) == tracking
    assert not list(tmp_path.iterdir())


def test_where_tells_how_to_look(tmp_path):
    command, = Tracking(tmp_path, ("trackio",)).where()
    assert re.fullmatch(rf"(\S+/)?smartad dashboard --store {tmp_path}", command)
    assert Tracking(tmp_path).where() == []


def test_configure_wrong_names_are_refused_with_the_right_ones(tmp_path):
    with pytest.raises(UserError, match=r"no tracker 'mlflow'; there are trackio, wandb, and 'none'"):
        configure(["mlflow"], tmp_path)
    with pytest.raises(UserError, match="--track none goes alone, not with trackio"):
        configure(["none", "trackio"], tmp_path)


def test_configure_store_whose_trackio_folder_cannot_be_made_stops_before_anything_runs(tmp_path):
    (tmp_path / "trackio").write_text("in the way")
    with pytest.raises(UserError, match="trackio cannot write to .*--track none"):
        configure(["trackio"], tmp_path)
