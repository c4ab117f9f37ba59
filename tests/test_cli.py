"""The command line: help that teaches, errors that help, one failing arm among others."""

import json
import subprocess
import sys

import pytest

from command import all_of, on_a_terminal, smartad
from conftest import ROOT
from smartad import cli
from smartad.cli.arguments import parser
from smartad.cli.running import until
from smartad.config import load
from smartad.experiment import Experiment, plan
from smartad.store import Store

COMMANDS = ["plan", "run", "sweep", "preview", "status", "table", "buckets", "show", "why", "aliases", "promote", "pull", "ask",
            "gc", "forget", "logs", "cancel", "retry", "doctor", "dashboard", "publish"]


def test_help_names_every_command_and_shows_the_way_in(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    text = capsys.readouterr().out
    assert all(f"\n    {command}" in text for command in COMMANDS)
    assert "smartad sweep sweeps/quickstart.yaml" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_says_what_it_does(capsys, command):
    with pytest.raises(SystemExit):
        parser().parse_args([command, "--help"])
    assert len(capsys.readouterr().out.splitlines()) > 8


def test_every_command_is_there():
    actions = next(action for action in parser()._actions if action.dest == "command")
    assert cli.COMMANDS.keys() == actions.choices.keys() and all(callable(cli._command(name)) for name in cli.COMMANDS)


def test_plan_names_each_stage_and_writes_nothing(tmp_path):
    said = smartad("plan", "sweeps/quickstart.yaml", "--store", tmp_path / "store").stdout
    assert "99 stages for 12 row(s)" in said and "collect" in said and "9 saved" in said
    assert not (tmp_path / "store").exists()


def test_plan_says_what_it_is_in_one_line_on_a_narrow_terminal(tmp_path):
    process, screen = on_a_terminal("plan", "sweeps/weights_tpe.yaml", store=tmp_path, columns=60)
    said = all_of(screen)
    assert process.wait() == 0
    assert any(line.startswith("sweep weights_tpe, ") and line.endswith(" row(s)") for line in said.splitlines()), said


def test_overrides_may_stand_after_options(tmp_path):
    done = smartad("run", "configs/toy.yaml", "--until", "nothing", "select.first=99", "--store", tmp_path, status=2)
    assert "select.first=99 asks for more" in done.stderr
    assert "unrecognized arguments: --jbos" in smartad("run", "--jbos", "2", "--store", tmp_path, status=2).stderr


def test_plan_does_not_import_torch():
    code = ("import sys; from smartad.cli import main; failed = main(['plan', 'configs/toy.yaml']);"
            "sys.exit(failed or bool({'torch', 'transformers', 'smolagents', 'wandb', 'optuna'} & sys.modules.keys()))")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("words, message", [
    (["run", "selct.rule=max"], "Did you mean: 'select'"),
    (["run", "select.first=99"], "asks for more than collect.samples=15"),
    (["run", "--until", "nothing"], "the stages are"),
    (["run", "--track", "mlflow"], "no tracker 'mlflow'"),
    (["run", "--cluster", "slurm/nowhere.yaml"], "no file slurm/nowhere.yaml; beside it there are dev.yaml"),
    (["sweep", "sweeps/nothing.yaml"], "no file sweeps/nothing.yaml; beside it there are grid96.yaml"),
    (["run", "sweeps/quickstart.yaml"], "declares a sweep: smartad sweep sweeps/quickstart.yaml"),
    (["sweep", "quickstart"], "no file quickstart; did you mean sweeps/quickstart.yaml?"),
    (["run", "--cluster", "dev"], "no file dev; did you mean slurm/dev.yaml?"),
    (["sweep", "sweeps/quickstart.yaml", "seeds=[0]"], "seeds belongs to the sweep file"),
    (["ask", "--adapter", "configs", " "], "there is no question"),
    (["sweep", "configs/toy.yaml"], "declares an experiment: smartad run configs/toy.yaml"),
    (["run", "--jobs", "-1"], "--jobs -1"),
    (["table", "nothing"], "no sweep 'nothing'"),
    (["show", "train-000"], "nothing finished"),
    (["why", "a", "b"], "nothing finished"),
    (["pull", "best", "--to", "somewhere"], "no alias 'best'"),
    (["promote", "train-000", "mine", "--reason", "x"], "nothing finished"),
    (["promote", "train-0123456789ab", "mine", "--reason", "x"], "train-0123456789ab is not finished"),
    (["aliases", "--sweep", "nothing"], "no sweep 'nothing'"),
    (["gc"], "is not a store"),
    (["forget", "nothing"], "no sweep 'nothing'"),
    (["ask", "--adapter", "configs", "?"], "configs is not a pulled adapter"),
])
def test_bad_input_is_one_clear_line(tmp_path, words, message):
    done = smartad(*words, "--store", tmp_path / "store", status=2)
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_missing_data_folder_says_how_to_name_it(tmp_path):
    done = smartad("run", "configs/real_smoke.yaml", "--until", "prepare", "--track", "none", "--store", tmp_path, status=2)
    assert "data=FOLDER" in done.stderr and "data prefetch bamboogle math500 --to FOLDER" in done.stderr
    assert "math_500" in done.stderr and "2wikimultihopqa_corpus" not in done.stderr
    assert not list(tmp_path.glob("prepare-*"))


FAILING = """base: [{toy}, limits.questions=2, limits.train_questions=4]
arms:
  base: {{train: null}}
  broken: {{train.max_length: 8}}
  deaf: {{evaluate.max_tokens: 1, train: null}}
"""


@pytest.mark.slow
def test_one_failing_arm_does_not_stop_the_others_and_is_named(tmp_path):
    file = tmp_path / "failing.yaml"
    file.write_text(FAILING.format(toy=ROOT / "configs/toy.yaml"))
    done = smartad("sweep", file, "--store", tmp_path / "store", "--track", "none", status=1)
    assert "1 stage(s) failed" in done.stderr and "train.max_length=8" in done.stderr and "more wait for them" in done.stderr
    table = smartad("table", "failing", "--store", tmp_path / "store", "--format", "md").stdout
    assert "| broken | failed | failed | failed | failed |" in table and "| deaf | " in table
    status = smartad("status", "failing", "--store", tmp_path / "store").stdout
    assert "failed   train-" in status and "user error" in status and ".failure.log" in status


@pytest.mark.slow
def test_corrupt_row_of_a_finished_stage_is_named_with_file_and_line(tmp_path):
    store = Store(tmp_path / "store")
    small = ["configs/toy.yaml", "limits.train_questions=4", "collect.samples=2", "select.first=2", "--track", "none",
             "--store", store.root]
    smartad("run", *small, "--until", "collect")
    pool = next(store.root.glob("collect-*/trajectories.jsonl"))
    lines = pool.read_text().splitlines()
    pool.write_text("\n".join([lines[0], json.dumps({"question_id": 3}), *lines[2:]]) + "\n")
    done = smartad("run", *small, "--until", "select", status=1)
    assert f"{pool}:2 is not a Trajectory" in done.stderr


@pytest.mark.slow
def test_real_questions_are_evaluated_to_the_end(tmp_path, real_data):
    """MATH500 and Bamboogle, 20 each, over the 2Wiki passages, with the toy student: real files, real grading."""
    done = smartad("run", "configs/real_smoke.yaml", f"data={real_data}", "--store", tmp_path / "store", "--track", "none")
    assert "math500 (n=20)" in done.stdout and "bamboogle (n=20)" in done.stdout
    store = Store(tmp_path / "store")
    for fingerprint in store.fingerprints():
        if fingerprint.startswith("evaluate-"):
            metrics = store.record(fingerprint)["metrics"]
            assert metrics["n"] == 20 == sum(v for k, v in metrics.items() if k.startswith("stop/"))
            assert str(real_data) not in json.dumps(store.record(fingerprint)["identity"])


def test_run_until_grade_grades_the_pool_and_trains_nothing():
    planned = plan(load(Experiment, [str(ROOT / "configs/toy.yaml")]))
    [spec] = until(planned, "grade")
    assert spec.fingerprint == planned.train.inputs["selected"].inputs["verdicts"].fingerprint
    assert {s.stage.name for s in until(planned, "evaluate")} == {"evaluate"}
    untrained = plan(load(Experiment, ["train=null"]))
    assert len(until(untrained, "grade")) == 3


@pytest.mark.slow
def test_plan_for_processes_that_cannot_share_the_batch_is_refused(tmp_path):
    profile = tmp_path / "three.yaml"
    profile.write_text("processes: 3\n")
    said = smartad("plan", "configs/toy.yaml", "train.micro_batch_size=1", "--cluster", profile, status=2).stderr
    assert "train.batch_size=4 does not divide over processes=3" in said
