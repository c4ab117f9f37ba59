"""What it takes to make a cell again is printed; and on the toy world it is made again, verdict by verdict."""

import dataclasses
import json
import shutil
import subprocess

import pytest
import yaml

from conftest import ROOT
from made_up_sweeps import called, made_up, synthetic
from smartad import experiment
from smartad.analysis.arms import spot
from smartad.analysis.instructions import instructions
from smartad.analysis.likeness import fresh, likeness
from smartad.cli import main
from smartad.cli.reproducing import _judged
from smartad.config import load
from smartad.experiment import Experiment, plan
from smartad.records import read_jsonl, write_jsonl
from smartad.stages.train import TRAIN
from smartad.store import Store
from smartad.sweep import ledger
from smartad.types import Verdict

pytestmark = pytest.mark.slow

CELL = "SmartAD, select.first=10, train.learning_rate=0.0001/math500"
SMALL = {"limits.questions": 6, "limits.train_questions": 8, "collect.samples": 2, "select.first": 2, "train.epochs": 1,
         "benchmarks.in_domain": ["toy_math"], "benchmarks.out_of_domain": []}


@pytest.fixture
def found(tmp_path):
    """A store with a made-up sweep, and a cell of it."""
    store, sweep = made_up(tmp_path / "found")
    return store, spot(store, f"{sweep}:{CELL}")


def change_record(store, stage, **environment):
    path = store.folder(stage) / "record.json"
    record = json.loads(path.read_text())
    record["environment"].update(environment)
    path.write_text(json.dumps(record))


def change_verdicts(store, stage, first):
    """The verdicts turned round from the first on, so many of them, under a record that fits."""
    path = store.folder(stage) / "verdicts.jsonl"
    rows = [dataclasses.replace(v, correct=not v.correct) if at < first else v for at, v in enumerate(read_jsonl(path, Verdict))]
    write_jsonl(path, rows)


def notes(store, cell):
    return "\n".join(instructions(store, cell, {}, None).notes)


def test_reproduce_writes_files_that_plan_the_row_and_name_commit_packages_and_data(found, tmp_path, capsys):
    store, cell = found
    assert main(["reproduce", cell.name, "--store", str(store.root), "--to", str(tmp_path / "to")]) == 0
    said = capsys.readouterr().out
    assert f"the same {len(cell.run.stages)} stages: every fingerprint is the recorded one" in said
    assert plan(load(Experiment, [str(tmp_path / "to" / "experiment.yaml")])).goal.fingerprint == cell.run.goal
    environment = store.record(cell.run.goal)["environment"]
    commands = (tmp_path / "to" / "commands.sh").read_text()
    assert f"git checkout {environment['git']['commit']}" in commands and "data=" in commands and "run-" in commands
    assert subprocess.run(["sh", "-n", str(tmp_path / "to" / "commands.sh")]).returncode == 0
    requirements = (tmp_path / "to" / "requirements.txt").read_text()
    assert f"torch=={environment['packages']['torch']}" in requirements and environment["python"] in requirements
    assert "files below data=FOLDER" in said and "math500 sha256" in said
    assert "Qwen/Qwen2.5-1.5B-Instruct has no revision on record" in said


def test_reproduce_into_a_file_is_refused_in_a_line(found, tmp_path, capsys):
    store, cell = found
    (tmp_path / "file").write_text("mine")
    assert main(["reproduce", cell.name, "--store", str(store.root), "--to", str(tmp_path / "file")]) == 2
    assert f"--to {tmp_path / 'file'} cannot be written: File exists" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_reproduce_of_a_row_that_is_called_like_commands_runs_none_of_them(found, tmp_path, capsys):
    store, cell = found
    cell = called(store, cell, "max\nrm -rf x; touch PWNED\n# `touch PWNED` $(touch PWNED) '\" \r\x1b]0;PWNED\x07")
    assert main(["reproduce", cell.name, "--store", str(store.root)]) == 0
    assert not set("\x1b\x07\r") & set(capsys.readouterr().out)
    assert main(["reproduce", cell.name, "--store", str(store.root), "--to", str(tmp_path / "to")]) == 0
    script = tmp_path / "to" / "commands.sh"
    assert subprocess.run(["sh", "-n", str(script)]).returncode == 0
    named = [line for name in ("commands.sh", "experiment.yaml") for line in (tmp_path / "to" / name).read_text().splitlines()
             if "PWNED" in line or "rm -rf" in line]
    assert len(named) == 2 and all(line.startswith("# ") for line in named)


def test_reproduce_of_what_a_second_grader_said_is_about_that_and_not_about_the_first(tmp_path, capsys):
    store, sweep = made_up(tmp_path, graders="math_strict,math_paper")
    inputs = store.record(spot(store, f"{sweep}:{CELL}").run.goal)["identity"]["inputs"]
    for grade, grader in ((inputs["math500"], "math_strict"), (inputs["math500@math_paper"], "math_paper")):
        assert main(["reproduce", grade, "--store", str(store.root)]) == 0
        said = capsys.readouterr().out
        right = sum(verdict.correct for verdict in read_jsonl(store.folder(grade) / "verdicts.jsonl", Verdict))
        assert f"{right} of 6 right" in said.splitlines()[0] and f"{grader}/" in said.splitlines()[0]
        assert f"this run/math500' --grader {grader} --store" in said
    assert main(["walk", inputs["math500@math_paper"], "--store", str(store.root)]) == 0
    assert f"reproduce {inputs['math500@math_paper']}" in capsys.readouterr().out


def test_reproduce_without_a_folder_prints_the_files(found, capsys):
    store, cell = found
    assert main(["reproduce", cell.name, "--store", str(store.root)]) == 0
    said = capsys.readouterr().out
    text = said.partition("--- experiment.yaml\n")[2].partition("\n--- requirements.txt")[0]
    assert yaml.safe_load(text)["select"]["first"] == 10
    assert "--- commands.sh" in said


def test_reproduce_of_stages_from_uncommitted_or_several_commits_says_so(found):
    store, cell = found
    assert "commit" not in notes(store, cell).lower()
    change_record(store, cell.run.train, git={"commit": "a" * 40, "dirty": True}, packages={"torch": "1.0"})
    change_record(store, cell.run.goal, git=None)
    said = notes(store, cell)
    assert "UNCOMMITTED CHANGES" in said and cell.run.train in said
    assert f"no commit is on record for 1 stages ({cell.run.goal})" in said
    assert "several commits made it, and commands.sh takes the last: " in said and f"{'a' * 12} 1 stages" in said
    assert "# other stages: torch 1.0" in instructions(store, cell, {}, None).files["requirements.txt"]


def test_reproduce_of_a_row_that_a_server_or_a_gpu_had_a_part_in_says_what_it_takes(found):
    store, cell = found
    assert "asked a server (engine none)" in notes(store, cell)
    change_record(store, cell.run.train, gpus=["NVIDIA H200"])
    assert "made on NVIDIA H200" in notes(store, cell)


def test_reproduce_of_a_local_model_needs_its_folder_and_names_it(tmp_path, capsys, monkeypatch):
    folder = str(ROOT / "smartad" / "toyworld" / "student")
    monkeypatch.setattr(synthetic, "MODEL", folder)
    store, sweep = made_up(tmp_path)
    words = ["reproduce", f"{sweep}:{CELL}", "--store", str(store.root)]
    assert main([*words, "--run"]) == 2
    out = capsys.readouterr()
    assert "local/student@" in out.err and "give --model FOLDER" in out.err and "is not known here" in out.out
    assert main([*words, "--model", folder]) == 0
    said = capsys.readouterr().out
    assert f"student: {folder}" in said and f"is {folder}" in said and "fingerprint is the recorded one" in said


def test_reproduce_where_code_has_moved_on_names_what_parted_and_refuses_to_run(found, tmp_path, capsys, monkeypatch):
    store, cell = found
    version = TRAIN.version
    monkeypatch.setattr(experiment, "TRAIN", dataclasses.replace(TRAIN, version=version + 1))
    assert main(["reproduce", cell.name, "--store", str(store.root)]) == 0
    assert "THIS SMARTAD PLANS OTHER STAGES" in (said := capsys.readouterr().out)
    assert f"train.version: {version} -> {version + 1}" in said
    assert main(["reproduce", cell.name, "--store", str(store.root), "--run", "--store-to", str(tmp_path / "other")]) == 2
    assert "would not make" in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_reproduce_of_an_unfinished_row_is_refused(found, capsys):
    store, cell = found
    shutil.rmtree(store.folder(cell.run.train))
    assert main(["reproduce", cell.name, "--store", str(store.root)]) == 2
    assert f"not finished in {store.root} ({cell.run.train}" in capsys.readouterr().err


def test_likeness_of_another_outcome_is_explained_only_by_engines_that_do_not_repeat_and_only_within_chance(tmp_path):
    store, sweep = made_up(tmp_path, questions=20)
    cell = spot(store, f"{sweep}:{CELL}")
    grade = next(stage for stage in cell.run.stages if stage.startswith("grade-")
                 and "questions/math500" in store.record(stage)["identity"]["inputs"])
    shutil.copytree(store.root, tmp_path / "other")
    other = Store(tmp_path / "other")
    assert likeness(store, cell, other).same and likeness(store, cell, other).explained
    _lose_verdicts(store, cell, other, grade)
    changed = list(read_jsonl(store.folder(grade) / "verdicts.jsonl", Verdict))
    wrong = [at for at, verdict in enumerate(changed) if not verdict.correct]
    for count, explained in ((1, True), (8, False)):  # McNemar: 1 of 1 has p = 1, 8 of 8 have p = 0.008
        write_jsonl(other.folder(grade) / "verdicts.jsonl", [dataclasses.replace(v, correct=v.correct or at in wrong[:count])
                                                             for at, v in enumerate(changed)])
        like = likeness(store, cell, other)
        assert not like.same and not like.repeatable and like.explained == explained, count
        assert len(like.verdicts.pairs) == count == like.again.correct - like.recorded.correct
        assert like.p == pytest.approx(2 * 0.5**count)
        assert ("with n = 20 not distinguishable" in _judged(like)) == explained
    for where in (store, other):
        for stage in cell.run.stages:
            record = json.loads((where.folder(stage) / "record.json").read_text()) | {"ran": {}}
            (where.folder(stage) / "record.json").write_text(json.dumps(record))
    change = list(read_jsonl(store.folder(grade) / "verdicts.jsonl", Verdict))
    change[0] = dataclasses.replace(change[0], correct=not change[0].correct)
    write_jsonl(other.folder(grade) / "verdicts.jsonl", change)
    assert likeness(store, cell, other).repeatable and not likeness(store, cell, other).explained, "a CPU says the same again"
    change_record(other, cell.run.train, gpus=["NVIDIA H200"])
    assert likeness(store, cell, other).explained


def _lose_verdicts(store, cell, other, grade):
    """Of all, ungraded or not there, none is right here and wrong there: McNemar's test has nothing to say."""
    there = list(read_jsonl(store.folder(grade) / "verdicts.jsonl", Verdict))
    for rows, lost in (([dataclasses.replace(verdict, correct=None) for verdict in there], 20), (there[:-1], 1)):
        write_jsonl(other.folder(grade) / "verdicts.jsonl", rows)
        like = likeness(store, cell, other)
        assert (like.lost, like.explained) == (lost, False) and not like.repeatable
        assert f"{lost} attempts have a verdict in one of the two alone" in _judged(like)


def test_fresh_folder_is_beside_the_store_and_never_one_that_is_there(store):
    first = fresh(store, "aggregate-0123456789ab")
    assert first.parent == store.root.parent and "0123456789ab" in first.name
    first.mkdir()
    assert fresh(store, "aggregate-0123456789ab").name == f"{first.name}-2"


@pytest.mark.slow
def test_reproduce_of_a_toy_cell_runs_it_again_to_the_same_verdicts_and_notices_one_that_was_changed(tmp_path, capsys):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(
        {"base": [str(ROOT / "configs" / "toy.yaml")], "arms": {"SmartAD": {**SMALL, "train.weights": "smartad"}}}))
    where = ["--store", str(tmp_path / "store")]
    assert main(["sweep", str(tmp_path / "small.yaml"), *where, "--track", "none", "--jobs", "0"]) == 0
    store = Store(tmp_path / "store")
    (run,) = ledger.load(store, "small").trials[0].runs
    capsys.readouterr()
    again = ["reproduce", "small:SmartAD/toy_math", *where, "--run", "--store-to", str(tmp_path / "again"), "--jobs", "0"]
    assert main(again) == 0
    said = capsys.readouterr().out
    assert "verdicts: all 6 the same" in said and "attempts: all 6 the same" in said and "pool: all 16 the same" in said
    assert "adapter: the same bytes" in said and "The same cell, verdict by verdict." in said
    other = Store(tmp_path / "again")
    assert other.fingerprints() == store.fingerprints()
    assert other.record(run.train)["started"] > store.record(run.goal)["started"], "nothing was copied"
    grade = next(stage for stage in run.stages if stage.startswith("grade-")
                 and "questions/toy_math" in store.record(stage)["identity"]["inputs"])
    change_verdicts(store, grade, first=1)
    assert main(again) == 1
    said = capsys.readouterr().out
    assert "DAMAGED" in said and "1 of 6 differ" in said and "toy_math/0 sample 0" in said and "NOT THE SAME CELL" in said
