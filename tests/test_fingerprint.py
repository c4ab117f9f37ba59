"""Identities: the same everywhere, moved by what matters and by nothing else."""

import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from smartad.cluster import ClusterConfig, Job, connect
from smartad.fingerprint import canonical, differences, digest
from smartad.stage import Runtime, Stage, StageSpec
from smartad.tracking import Tracking


@dataclass(frozen=True)
class Before:
    rule: str = "min"
    rate: float = 2e-4


@dataclass(frozen=True)
class After:
    rule: str = "min"
    rate: float = 2e-4
    new_option: int | None = None


def test_fingerprint_of_a_known_config_is_the_same_on_every_machine():
    assert StageSpec(Stage("select", 1, lambda *a: {}), Before()).fingerprint == "select-1dabb855094e"


def test_new_option_that_defaults_to_none_moves_nothing():
    assert digest(canonical(Before())) == digest(canonical(After()))
    assert digest(canonical(Before())) != digest(canonical(After(new_option=3)))


@pytest.mark.parametrize("a, b", [(Before(rate=1.0), Before(rate=1)), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ([1, 2], (1, 2))])
def test_equal_values_written_differently_have_one_digest(a, b):
    assert digest(canonical(a)) == digest(canonical(b))


@pytest.mark.parametrize("value, error", [(print, TypeError), (object(), TypeError), (float("nan"), ValueError),
                                          ({"a": {1, 2}}, TypeError)])
def test_value_without_a_canonical_form_is_refused(value, error):
    with pytest.raises(error, match="cannot fingerprint"):
        canonical(value)


def test_fingerprint_does_not_depend_on_the_process():
    code = ("from smartad.config import load; from smartad.experiment import Experiment, plan;"
            "print([s.fingerprint for s in plan(load(Experiment, [])).goal.upstream_first()])")
    outputs = {subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed},
                              capture_output=True, text=True, check=True).stdout for seed in ("1", "2")}
    assert len(outputs) == 1


@pytest.mark.parametrize("profile", [{"threads": 2}, {"slots": 3}, {"checkpoint_every": 7}, {"batch_tokens": 512}])
def test_where_a_stage_runs_does_not_move_its_folder(store, profile):
    goal = StageSpec(Stage("x", 1, lambda *a: {}), Before())
    executor = connect(ClusterConfig(**profile), Job(store, Runtime(), Tracking(store.root)), jobs=0)
    executor.take([goal])
    assert store.fingerprints() == [goal.fingerprint] == [StageSpec(Stage("x", 1, print), Before()).fingerprint]


def test_an_inputs_change_moves_everything_below_it():
    stage = Stage("x", 1, lambda *a: {})
    parents = [StageSpec(stage, Before(rule=rule)) for rule in ("min", "max")]
    assert len({StageSpec(stage, Before(), {"in": parent}).fingerprint for parent in parents}) == 2


def test_differences_name_the_leaf():
    assert differences(canonical(Before()), canonical(Before(rule="max"))) == ["rule: 'min' -> 'max'"]
