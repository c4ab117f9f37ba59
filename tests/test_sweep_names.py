"""What a sweep is called, how little of its name is enough, and the command that goes on with it."""

import subprocess
import sys

import pytest
import yaml

from command import environment, smartad
from conftest import ROOT
from made_up import declare, fail, launch, of
from smartad.cli.console import again
from smartad.store import Store, StoreError
from smartad.sweep import ledger
from smartad.sweep.driver import Driver
from smartad.sweep.ledger import Ledger, Start
from smartad.sweep.space import declaration, most, read

ONE_ROW = {"base": [str(ROOT / "configs/toy.yaml"), "limits.questions=2", "train=null"], "arms": {"base student": {}}}


def keep(store, *names):
    for name in names:
        ledger.save(store, Ledger(name, {"metric": "avg"}, {}, ()))


@pytest.mark.parametrize("word, name", [
    ("toy", "toy"), ("toy+", "toy+1f2e3d"), ("toy_", "toy_k"), ("qui", "quick+aaa111"), ("sweeps/toy.yaml", "toy"),
    ("sweeps/quick.yaml", "quick+aaa111")])
def test_sweep_is_known_by_the_beginning_of_its_name_or_by_its_file(store, word, name):
    keep(store, "toy", "toy+1f2e3d", "toy_k", "quick+aaa111")
    assert ledger.load(store, word).name == name


@pytest.mark.parametrize("word, message", [
    ("to", r"'to' may mean each of toy\+1f2e3d, toy\+9a8b7c, toy_k in .*; say more of its name"),
    ("sweeps/toy.yaml", r"may mean each of toy\+1f2e3d, toy\+9a8b7c in "),
    ("k", r"no sweep 'k' in .*; there are toy\+1f2e3d, toy\+9a8b7c, toy_k"),
    ("sweeps/toy_.yaml", "no sweep 'toy_' in ")])
def test_word_that_means_several_sweeps_or_none_names_those_there_are(store, word, message):
    keep(store, "toy+1f2e3d", "toy+9a8b7c", "toy_k")
    with pytest.raises(StoreError, match=message):
        ledger.load(store, word)


def test_every_command_takes_the_beginning_of_a_name(store, tmp_path):
    book, specs = launch(store, declare(tmp_path))
    failed = fail(store, of(specs, "collect")[0])
    for words in (["status", "decl"], ["table", "decl"], ["logs", "decl"], ["retry", "decl"], ["cancel", "decl"]):
        said = smartad(*words, store=store.root).stdout
        assert {"status": book.name, "table": "base", "logs": failed, "retry": failed, "cancel": book.name}[words[0]] in said
    keep(store, "declined")
    for words in (["status", "decl"], ["pull", "best", "--sweep", "decl", "--to", tmp_path / "to"]):
        assert "'decl' may mean each of declared, declined" in smartad(*words, store=store.root, status=2).stderr


def test_start_of_a_sweep_is_no_part_of_what_it_is(store, tmp_path):
    sweep = declare(tmp_path)
    driver = Driver(sweep, store, start=Start(("sweep", "declared.yaml"), "/here", "workers"))
    driver.ask()
    driver.save()
    again_started = Driver(sweep, store, start=Start(("sweep", "declared.yaml", "--jobs", "3"), "/there", "slurm"))
    assert len(again_started.trials) == 3, "what an earlier start proposed is still there"
    again_started.save()
    assert ledger.load(store, "declared").start == Start(("sweep", "declared.yaml", "--jobs", "3"), "/there", "slurm")


@pytest.mark.parametrize("folder, before", [(".", ""), ("elsewhere", "cd ELSEWHERE && ")])
@pytest.mark.parametrize("words, after", [
    (("sweep", "x.yaml", "train.weights={reason: 1}"), "sweep x.yaml 'train.weights={reason: 1}' --store STORE"),
    (("sweep", "x.yaml", "--store", "s"), "sweep x.yaml --store s")])
def test_command_that_goes_on_is_the_one_that_was_given(store, tmp_path, monkeypatch, folder, before, words, after):
    (tmp_path / folder).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path)
    book = Ledger("x", {}, {}, (), start=Start(words, str((tmp_path / folder).absolute()), "workers"))
    said = again(store, book)
    assert said.startswith(before.replace("ELSEWHERE", str(tmp_path / "elsewhere")))
    assert said.endswith(f" {after.replace('STORE', str(store.root))}") and said.count("--store") == 1


@pytest.mark.slow
def test_sweep_says_its_name_and_status_cancel_and_retry_the_command_that_goes_on(tmp_path):
    """The command is run as it is printed, from another folder."""
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(ONE_ROW))
    store = Store(tmp_path / "a store").open()
    said = smartad("sweep", tmp_path / "one.yaml", "evaluate.max_steps=3", "--track", "none", store=store.root).stderr
    (name,) = ledger.names(store)
    assert said.splitlines()[0] == f"sweep {name}: 1 trial, in worker processes here; store {store.root}"
    (goal,) = [f for f in ledger.load(store, name).stages() if f.startswith("aggregate-")]
    (store.folder(goal) / "record.json").unlink()
    store.note_failure(goal, "node", "gone")
    told = [elsewhere(tmp_path, [sys.executable, "-m", "smartad", word, "one", "--store", str(store.root)])
            for word in ("status", "cancel", "retry")]
    (command,) = {line[line.index("cd /"):] for text in told for line in text.splitlines() if "cd /" in line}
    elsewhere(tmp_path, ["sh", "-c", command])
    assert store.has(goal)


def elsewhere(folder, words):
    """Run ``words`` from ``folder``, where neither the sweep's file nor its store is.  What it prints."""
    done = subprocess.run(words, cwd=folder, env={**environment(None), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("keys, count", [
    ({"arms": {"a": {}, "b": {}}, "space": {"seed": [1, 2, 3]}}, 6), ({"space": {"seed": [1, 2]}, "trials": 1}, 1),
    ({"arms": {"a": {}}}, 1), ({"space": {"train.rank": {"low": 1, "high": 2}}, "backend": "optuna", "trials": 9}, 9)])
def test_number_of_trials_is_known_before_they_are_proposed(tmp_path, keys, count):
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({"base": [str(ROOT / "configs/toy.yaml")], **keys}))
    sweep = read(str(tmp_path / "x.yaml"))
    assert most(declaration(sweep)) == count
