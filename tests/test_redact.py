"""Secrets reach no store, log, tracker or terminal: planted in configs, the environment, exceptions and what stages print."""

import os
import re
import subprocess
import sys

import pytest

from command import environment
from conftest import ROOT
from small_stages import Config, bring_to_end, spec
from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.redact import HIDDEN, find, redact
from smartad.stage import Runtime, Stage, StageSpec
from smartad.tracking import Tracking
from wandb_double import KEY, WandbDouble

PLANTED = {"OPENAI_API_KEY": "sk-proj-" + "Q7x" * 9, "HF_TOKEN": "hf_" + "Zk3" * 9, "MY_PASSWORD": "correct-horse-battery",
           "WANDB_API_KEY": KEY}


@pytest.fixture
def planted(monkeypatch):
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)


def leaks(folder):
    """(file, variable) of every secret in any file below ``folder``, or in a file's name."""
    return [(str(path), name) for path in folder.rglob("*") for name, value in PLANTED.items()
            if value in str(path) or (path.is_file() and value.encode() in path.read_bytes())]


def test_redact_hides_secrets_by_name_and_by_value_and_leaves_the_rest(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "live-12345")
    config = {"judge": {"api_key": "abc", "HF_TOKEN": "x", "url": "https://live-12345@host", "password": ""},
              "max_tokens": 512, "top_k": 3, "tokens": "many", "key": 7, "inputs": ["live-12345", None]}
    assert redact(config) == {
        "judge": {"api_key": HIDDEN, "HF_TOKEN": HIDDEN, "url": f"https://{HIDDEN}@host", "password": ""},
        "max_tokens": 512, "top_k": 3, "tokens": "many", "key": 7, "inputs": [HIDDEN, None]}


@pytest.mark.parametrize("secret", ["sk-proj-" + "a1" * 20, "hf_" + "a1" * 17, "ghp_" + "a1" * 18, "AKIA" + "A1" * 8,
                                    "wandb_v1_" + "a1" * 20, "https://me:hunter2@host/x", "Bearer abcdefghijklmnop"])
def test_redact_knows_keys_by_their_form(secret):
    assert HIDDEN in redact(f"said {secret}!")
    assert list(find({"model": secret})) == [("model", "it looks like a key or a password")]


@pytest.mark.parametrize("text", ["Qwen/Qwen2.5-1.5B@" + "0a" * 20, "toy@0123456789ab", "https://host:8080/v1", "task-sk-1",
                                  "10:30@noon"])
def test_redact_leaves_what_only_resembles_a_secret(text):
    assert redact(text) == text and not list(find({"model": text}))


@pytest.mark.parametrize("name", ["PGPASSWORD", "SLURM_JWT", "accessToken", "MYSQL_PWD", "HF_TOKEN", "judge.api-key"])
def test_redact_knows_secrets_by_the_names_people_give_them(monkeypatch, name):
    monkeypatch.setenv(name.replace(".", "_").replace("-", "_"), "live-12345")
    assert redact("it is live-12345") == f"it is {HIDDEN}"
    assert redact({name: ["abc"]}) == {name: HIDDEN} and [key for key, _ in find({name: ["abc"]})] == [f"{name}[0]"]


@pytest.mark.parametrize("name", ["turkey", "monkey", "max_tokens", "tokens", "MAXTOKENS", "hotkeys"])
def test_redact_leaves_names_that_only_end_alike(name):
    assert redact({name: "some text"}) == {name: "some text"} and not list(find({name: "some text"}))


def test_redact_knows_what_is_in_netrc(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "0a" * 20 + "\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert redact("key " + "0a" * 20) == f"key {HIDDEN}"
    assert list(find({"model": "0a" * 20})) == [("model", "it holds what is in your netrc file")]


CRASH = """
import os, sys
from smartad import cli
def fall(args):
    sys.stdout.writelines(["said ", os.environ["MY_PASSWORD"], "\\n"])
    raise RuntimeError("the server refused " + os.environ["MY_PASSWORD"])
cli._main = fall
sys.exit(cli.main(["status"]))
"""


def test_command_that_crashes_shows_its_traceback_and_no_secret():
    done = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, text=True, env={**environment(None), **PLANTED})
    assert done.returncode == 1 and f"RuntimeError: the server refused {HIDDEN}" in done.stderr and "Traceback" in done.stderr
    assert done.stdout == f"said {HIDDEN}\n"


def test_redact_takes_no_path_for_a_secret(monkeypatch, tmp_path):
    for name in ("PWD", "OLDPWD", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.setenv(name, str(tmp_path) if name != "OLDPWD" else "/no/such/folder")
    assert redact([str(tmp_path / "x"), "/no/such/folder/x"]) == [str(tmp_path / "x"), "/no/such/folder/x"]


def test_find_names_the_variable_and_the_place_and_never_the_secret(planted):
    found = dict(find({"setup": ["module load cuda", f"export K={PLANTED['MY_PASSWORD']}"], "a": {"b": "${oc.env:HF_TOKEN}"},
                       "judge": {"api_key": "x"}}))
    assert found == {"setup[1]": "it holds what is in $MY_PASSWORD", "a.b": "it takes over what is in $HF_TOKEN",
                     "judge.api_key": "its name is that of a secret"}


TOY, SWEEP = (ROOT / "configs/toy.yaml").read_text(), (ROOT / "sweeps/toy_k.yaml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("words, file, text", [
    (["run", "FILE"], "experiment.yaml", re.sub("(?m)^student: .*", "student: SECRET", TOY)),
    (["run", "FILE"], "variable.yaml", re.sub("(?m)^student: .*", "student: ${oc.env:OPENAI_API_KEY}", TOY)),
    (["run", str(ROOT / "configs/toy.yaml"), "student=SECRET"], "unused.yaml", ""),
    (["run", str(ROOT / "configs/toy.yaml"), "--cluster", "FILE"], "profile.yaml",
     "cluster: local\ndefault: {setup: ['export KEY=SECRET']}"),
    (["sweep", "FILE"], "sweep.yaml", SWEEP + "\narms: {leaky: {student: SECRET}}"),
    (["sweep", str(ROOT / "sweeps/toy_k.yaml"), "student=SECRET"], "unused", "")])
def test_secret_in_a_config_is_refused_before_anything_is_written(planted, tmp_path, words, file, text):
    secret, here = PLANTED["OPENAI_API_KEY"], tmp_path / "here"
    here.mkdir()
    (tmp_path / file).write_text(text.replace("SECRET", secret))
    words = [word.replace("FILE", str(tmp_path / file)).replace("SECRET", secret) for word in words]
    done = subprocess.run([sys.executable, "-m", "smartad", *words, "--store", "store"], cwd=here, capture_output=True,
                          text=True, env={**environment(None), **PLANTED})
    assert done.returncode == 2 and "must not be a secret" in done.stderr, done.stderr
    assert not any(value in done.stdout + done.stderr for value in PLANTED.values()) and leaks(here) == []


def leak(config, inputs, out, runtime):
    secrets = " ".join(PLANTED.values())
    print("printed", secrets)
    print("warned", secrets, file=sys.stderr)
    runtime.report(1, loss=1.0)
    raise ValueError(f"the server refused the key {secrets}")


@pytest.mark.slow
@pytest.mark.parametrize("where", ["workers", "local", "inline"])
def test_secrets_in_exceptions_and_output_reach_nothing_that_is_kept_or_shown(planted, store, monkeypatch, capfd, where):
    monkeypatch.setenv("WANDB_MODE", "online")
    with WandbDouble() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        tracking = Tracking(store.root, ("trackio", "wandb"), "leaky")
        goal = StageSpec(Stage("x", 1, leak), Config("leaky"))
        executor = connect(ClusterConfig(cluster="local" if where == "local" else "workers", slots=1),
                           Job(store, Runtime(), tracking), 0 if where == "inline" else None)
        dispatcher = Dispatcher(store, executor)
        dispatcher.add([goal])
        try:
            while dispatcher.open():
                dispatcher.step()
        finally:
            executor.close()
        told = b"\n".join(server.received).decode("latin-1")
    said = capfd.readouterr()
    failure = dispatcher.failures[goal.fingerprint]
    assert failure.message.startswith(f"the server refused the key {HIDDEN}"), failure
    assert "Traceback" in (store.folder(goal.fingerprint) / ".failure.log").read_text()
    assert goal.fingerprint in told, "W&B was told of it"
    shown = [failure.message, said.out, said.err, told]
    assert not [name for name, value in PLANTED.items() if any(value in text for text in shown)] and leaks(store.root) == []


def give_away(config, inputs, out, runtime):
    (out / "answers.txt").write_text(f"the model said {PLANTED['MY_PASSWORD']}")
    return {"n": 1}


@pytest.mark.slow
def test_file_that_holds_a_secret_stays_in_the_store_and_the_record_says_why(planted, store, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    with WandbDouble() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        goal = StageSpec(Stage("x", 1, give_away), Config("generous"))
        executor = connect(ClusterConfig(), Job(store, Runtime(), Tracking(store.root, ("wandb",), "leaky")), 1)
        dispatcher = Dispatcher(store, executor)
        dispatcher.add([goal])
        while dispatcher.open():
            dispatcher.step()
        executor.close()
    assert not any(PLANTED["MY_PASSWORD"].encode() in body for body in server.received)
    told = store.record(goal.fingerprint)["trackers"]["wandb"]
    assert told["status"] == "behind" and "answers.txt would show a secret" in told["reason"], told


def test_environment_of_a_stage_is_not_in_its_record(planted, store):
    goal = spec("quiet")
    bring_to_end(store, [goal])
    assert store.has(goal.fingerprint) and leaks(store.root) == [] and os.environ["HF_TOKEN"] == PLANTED["HF_TOKEN"]
