"""What SLURM would refuse is said at the desk, and only that: not what may pass, and not because it is silent."""

import pytest
import yaml

from command import smartad
from smartad.cli.acceptance import answers, check_accepted
from smartad.cluster import ClusterConfig
from smartad.types import UserError

PROFILE = {"cluster": "slurm", "poll_s": 0.5, "default": {"mem_gb": 1, "timeout_min": 10, "signal_s": 20}}
REFUSED = {"train": {"partition": "gpu"}, "collect": {"mem_gb": 900}, "evaluate": {"timeout_min": 2000}}
ONE = ["run", "configs/toy.yaml", "limits.train_questions=2", "--track", "none"]


def profile_in(folder, **stages):
    (folder / "site.yaml").write_text(yaml.safe_dump({**PROFILE, "stages": stages}))
    return str(folder / "site.yaml")


@pytest.fixture
def said(tmp_path, monkeypatch):
    """A site whose sbatch says what one wants it to; all its nodes are up."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def say(words, node="idle", sinfo=0):
        answer = f'case "$*" in *%T*) echo "batch*|{node}";; *) echo "batch*|1-00:00:00";; esac; exit {sinfo}'
        for program, script in (("sbatch", f"echo '{words}' >&2; exit 1"), ("sinfo", answer)):
            (folder / program).write_text(f"#!/bin/sh\n{script}\n")
            (folder / program).chmod(0o755)
    return say


@pytest.mark.parametrize("words, node, word", [
    ("sbatch: error: invalid partition specified: gpu", "idle", "refused"),
    ("sbatch: error: a word of the site that nobody knows", "idle", "refused"),
    ("allocation failure: Requested node configuration is not available", "idle", "refused"),
    ("allocation failure: Requested node configuration is not available", "drained", "perhaps"),
    ("allocation failure: Requested node configuration is not available", "idle*", "perhaps"),
    ("allocation failure: Required partition not available (inactive or drain)", "idle", "perhaps"),
    ("allocation failure: Requested nodes are busy", "idle", "perhaps"),
    ("allocation failure: Unable to contact slurm controller (connect failure)", "idle", "silent"),
    ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", "idle", "silent"),
    ("Job violates accounting/QOS policy (job submit limit, size and/or time limits)", "idle", "silent")])
def test_only_what_waiting_does_not_mend_is_refused(said, tmp_path, capsys, words, node, word):
    said(words, node)
    profile = ClusterConfig(cluster="slurm")
    assert {answer.word for answer in answers(profile, tmp_path)} == {word}
    if word == "refused":
        with pytest.raises(UserError, match="would refuse jobs of site.yaml"):
            check_accepted(profile, "site.yaml", tmp_path, ["train"])
    else:
        check_accepted(profile, "site.yaml", tmp_path, ["train"])
    assert ("may refuse" in capsys.readouterr().err) == (word == "perhaps")


def test_slurm_that_cannot_be_asked_holds_up_nobody(said, tmp_path, capsys):
    said("sbatch: fatal: Could not establish a configuration source", sinfo=1)
    check_accepted(ClusterConfig(cluster="slurm"), "site.yaml", tmp_path, ["train"])
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_jobs_that_slurm_would_refuse_are_named_at_the_desk_with_the_profile(slurm, tmp_path):
    site = profile_in(tmp_path, **REFUSED)
    dry = smartad("sweep", "sweeps/toy_k.yaml", "--cluster", site, "--dry-run", "--store", tmp_path / "store", status=2)
    assert "#SBATCH" in dry.stdout, "the plan comes first"
    wet = smartad(*ONE, "--cluster", site, "--snapshot", "testing", "--store", tmp_path / "store", status=2)
    for text in (dry.stderr, wet.stderr):
        assert f"SLURM would refuse jobs of {site}:\n" in text
        for words in ("\n  train: sbatch: sbatch: error: invalid partition specified: gpu", "asks for partition=gpu",
                      "\n  collect: sbatch: allocation failure: Requested node configuration is not available",
                      "\n  evaluate: timeout_min=2000 is above its partition's 1440 minutes"):
            assert words in text, text
        assert "prepare" not in text
    assert slurm.jobs() == [] and not list((tmp_path / "store").glob("jobs/*"))


@pytest.mark.slow
def test_stages_that_are_not_to_run_may_ask_for_what_they_like(slurm, tmp_path):
    site = profile_in(tmp_path, **REFUSED)
    smartad(*ONE, "--until", "prepare", "--cluster", site, "--snapshot", "testing", "--store", tmp_path / "store")
    assert list((tmp_path / "store").glob("prepare-*/record.json")), "they were not in the way"


@pytest.mark.slow
def test_cluster_whose_nodes_are_drained_for_a_while_is_not_refused(slurm, tmp_path):
    words = ["sweep", "sweeps/toy_k.yaml", "--cluster", profile_in(tmp_path), "--dry-run", "--store", tmp_path / "store"]
    slurm.command("scontrol", "update", "NodeName=n[1-3]", "State=DRAIN", "Reason=test")
    try:
        done = smartad(*words)
    finally:
        slurm.command("scontrol", "update", "NodeName=n[1-3]", "State=RESUME")
    assert "SLURM may refuse these jobs, as things are: prepare, index, collect" in done.stderr
