"""doctor: every finding is of something real, and each that is not in order says the way out."""

import shutil
from pathlib import Path

import pytest

from command import all_of, on_a_terminal, smartad
from conftest import ROOT
from smartad.agents import walls
from smartad.cli import doctor, doctor_engines, doctor_slurm

DEV = str(ROOT / "slurm/dev.yaml")


@pytest.fixture
def no_slurm(tmp_path, monkeypatch):
    """A PATH with git and nothing else."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").symlink_to(shutil.which("git"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def lines(text, level):
    return [line.split(level, 1)[1].strip() for line in text.splitlines() if line.startswith(f"  {level}")]


@pytest.mark.slow
def test_doctor_without_slurm_has_nothing_to_mend(tmp_path, no_slurm):
    said = smartad("doctor", "--store", tmp_path / "store").stdout
    assert lines(said, "fail") == [] and "0 to mend" in said
    assert any(line.startswith("no sbatch, squeue") for line in lines(said, "warn"))
    assert any("packages as they must be" in line and "optuna" in line for line in lines(said, "ok"))
    assert not (tmp_path / "store").exists(), "looking makes nothing"


@pytest.mark.slow
def test_doctor_fits_a_terminal_and_keeps_its_commands_whole(tmp_path, no_slurm):
    process, screen = on_a_terminal("doctor", store=tmp_path, columns=70)
    said = all_of(screen)
    assert process.wait() == 0
    (at,) = [i for i, line in enumerate(said.splitlines()) if "packages as they must be" in line]
    assert all(len(line) <= 70 for line in said.splitlines()[at:at + 3]) and said.splitlines()[at + 1].startswith(" " * 8), said


@pytest.mark.slow
def test_doctor_fails_a_slurm_profile_where_there_is_no_slurm(tmp_path, no_slurm):
    said = smartad("doctor", "--store", tmp_path, "--cluster", DEV, status=1).stdout
    assert [line for line in lines(said, "fail") if line.startswith("no sbatch")] and "run it on a login node" in said


@pytest.mark.slow
def test_doctor_refuses_signals_for_a_profile_without_slurm(tmp_path):
    said = smartad("doctor", "--store", tmp_path, "--cluster", ROOT / "slurm/local.yaml", "--signals", status=2).stderr
    assert "--signals asks a SLURM cluster" in said and "cluster=local" in said


@pytest.mark.parametrize("broken", ["a file", "/proc/store"])
def test_store_that_cannot_be_written_fails_with_the_way_out(tmp_path, broken):
    path = Path(broken)
    if broken == "a file":
        path = tmp_path / "store"
        path.write_text("")
    (finding,) = doctor.store(path)
    assert finding.level == "fail" and "cannot be written" in finding.told and "--store DIR" in finding.way_out


def test_store_is_tried_without_leaving_anything_behind(tmp_path):
    assert {finding.level for finding in doctor.store(tmp_path)} <= {"ok", "warn"}
    assert list(tmp_path.iterdir()) == []


def test_package_older_than_its_floor_is_named_with_the_command_that_mends_it(tmp_path, monkeypatch):
    (tmp_path / "rich-1.0.dist-info").mkdir()
    (tmp_path / "rich-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: rich\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    (finding,) = [finding for finding in doctor.versions() if finding.level == "fail"]
    assert finding.told.startswith("rich 1.0; it must be >=") and finding.way_out.startswith("pip install 'rich>=")


def test_torch_that_cannot_be_imported_fails(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (finding,) = doctor.gpus()
    assert finding.level == "fail" and "libcudart" in finding.told


def test_wandb_that_does_not_answer_fails_only_when_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert {finding.level for finding in doctor.trackers(tmp_path, online=False)} == {"ok"}
    assert ["does not answer" in f.told for f in doctor.trackers(tmp_path, online=True) if f.level == "fail"] == [True]


def test_file_system_is_that_of_the_innermost_mount():
    assert doctor.file_system_type(Path("/proc/self/anything")) == "proc"


@pytest.mark.parametrize("config, level, words", [
    ({}, "ok", "nobody is preempted"),
    ({"PreemptType": "preempt/none"}, "ok", "nobody is preempted"),
    ({"PreemptType": "preempt/qos", "SlurmctldParameters": "enable_configless"}, "warn", "not told by SIGUSR2"),
])
def test_preemption_is_judged_by_what_scontrol_says(config, level, words):
    (finding,) = doctor_slurm.preemption(config, None)
    assert finding.level == level and words in finding.told


@pytest.mark.slow
def test_doctor_finds_a_slurm_cluster_in_order(slurm, tmp_path):
    said = smartad("doctor", "--store", tmp_path, "--cluster", DEV).stdout
    ok = "\n".join(lines(said, "ok"))
    for words in ("cluster dev: the controller answers", "partition batch*: 3 nodes, 4 CPUs", "told by SIGUSR2",
                  "jobs may requeue themselves", "MaxArraySize=10001", "train, evaluate: a job would be accepted"):
        assert words in ok, said
    assert any("sacct does not answer" in line for line in lines(said, "warn"))


@pytest.mark.slow
def test_doctor_names_every_stage_whose_job_the_cluster_would_not_take(slurm, tmp_path):
    profile = tmp_path / "site.yaml"
    profile.write_text("""
cluster: slurm
max_array: 20000
default: {mem_gb: 1}
stages:
  train: {partition: gpu}
  score: {constraint: h200}
  collect: {mem_gb: 900}
  evaluate: {timeout_min: 2000}
""")
    failed = "\n".join(lines(smartad("doctor", "--store", tmp_path, "--cluster", profile, status=1).stdout, "fail"))
    for words in ("max_array=20000 is above MaxArraySize=10001", "train: sbatch: sbatch: error: invalid partition specified: gpu",
                  "score: sbatch: allocation failure: Invalid feature", "collect: sbatch: allocation failure: Requested node",
                  "evaluate: timeout_min=2000 is above its partition's 1440 minutes"):
        assert words in failed, failed
    assert len(failed.splitlines()) == 5


@pytest.mark.slow
def test_partition_without_time_to_save_is_named(slurm):
    config = {"PreemptType": "preempt/partition_prio", "SlurmctldParameters": "preempt_send_user_signal"}
    assert [f.level for f in doctor_slurm.preemption(config, None)] == ["ok"]
    slurm.command("scontrol", "update", "PartitionName=batch", "GraceTime=0")
    try:
        assert ["GraceTime=0" in f.told for f in doctor_slurm.preemption(config, None)] == [False, True]
    finally:
        slurm.command("scontrol", "update", "PartitionName=batch", "GraceTime=10")


@pytest.mark.slow
def test_doctor_says_when_the_controller_is_away(slurm, tmp_path):
    slurm.dev("controller", "kill")
    said = smartad("doctor", "--store", tmp_path, "--cluster", DEV, status=1).stdout
    assert any("the controller does not answer" in line for line in lines(said, "fail"))
    slurm.dev("controller", "start")


@pytest.mark.slow
def test_doctor_sees_a_job_told_of_its_end_and_requeued(slurm, tmp_path):
    said = smartad("doctor", "--store", tmp_path, "--cluster", DEV, "--signals").stdout
    assert any("the job put itself back into the queue" in line for line in lines(said, "ok")), said
    assert slurm.jobs() == [] and not list(tmp_path.glob(".doctor-*"))


def test_wall_that_stands_here_is_named():
    (finding,) = doctor.sandbox()
    assert finding.level == "ok" and finding.told.startswith("it runs behind ")


def test_machine_without_a_wall_has_something_to_mend(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(walls.landlock, "abi", lambda: 0)
    walls.stands.cache_clear()
    findings = list(doctor.sandbox())
    walls.stands.cache_clear()
    assert [finding.level for finding in findings] == ["warn", "warn", "warn", "fail"]
    assert "bwrap is not installed" in findings[0].told and "apt-get install bubblewrap" in findings[-1].way_out


def test_wall_that_the_profile_names_is_the_one_that_is_judged(monkeypatch):
    monkeypatch.setenv("PATH", "")
    walls.stands.cache_clear()
    (finding,) = doctor.sandbox("bubblewrap")
    walls.stands.cache_clear()
    assert finding.level == "fail" and "sandbox=bubblewrap does not stand here" in finding.told
    assert "bwrap is not installed" in finding.told and "install bubblewrap" in finding.way_out
    (finding,) = doctor.sandbox("none")
    assert finding.level == "warn" and "no wall" in finding.told


@pytest.mark.slow
def test_doctor_judges_the_wall_and_the_retriever_of_the_profile(tmp_path, no_slurm):
    (profile := tmp_path / "site.yaml").write_text("sandbox: bubblewrap\nretriever: http://127.0.0.1:9\n")
    failed = lines(smartad("doctor", "--store", tmp_path, "--cluster", profile, status=1).stdout, "fail")
    assert [line.split(" here")[0] for line in failed[:1]] == ["sandbox=bubblewrap does not stand"]
    assert failed[1].startswith("collect and evaluate: the retriever at http://127.0.0.1:9 did not answer: ConnectError")
    assert len(failed) == 2


def test_retriever_that_does_not_answer_fails_with_its_address_and_on_a_cluster_warns():
    here, = doctor_engines.retriever("http://127.0.0.1:9", elsewhere=False)
    assert here.level == "fail" and "the retriever at http://127.0.0.1:9 did not answer: " in here.told
    assert "smartad serve-retriever" in here.way_out
    there, = doctor_engines.retriever("http://127.0.0.1:9", elsewhere=True)
    assert there.level == "warn" and "nodes may reach it" in there.way_out


def test_unknown_wall_is_refused_before_anything_is_looked_at(tmp_path):
    said = smartad("doctor", "--store", tmp_path, "--sandbox", "bogus", status=2)
    assert said.stdout == "" and "sandbox=bogus: there is no such wall; there are auto, bubblewrap" in said.stderr


@pytest.mark.slow
def test_payloads_are_not_run_where_they_could_do_harm_and_the_report_goes_on(tmp_path, no_slurm):
    said = smartad("doctor", "--store", tmp_path, "--sandbox", "none", status=1).stdout
    (refused,) = lines(said, "fail")
    assert "no payload is run" in refused and "held" not in said
    assert said.index("no payload is run") < said.index("\nSLURM\n") and "1 to mend" in said
    assert "install bubblewrap, which makes one" in said and "bwrap --" not in said, "there is none on this PATH"


def test_payloads_behind_a_wall_that_does_not_stand_are_a_failure_with_the_way_out(monkeypatch):
    monkeypatch.setenv("PATH", "")
    walls.stands.cache_clear()
    (finding,) = doctor.payloads("bubblewrap")
    walls.stands.cache_clear()
    assert finding.level == "fail" and "bwrap is not installed" in finding.told
    assert finding.way_out.startswith("Install bubblewrap (apt-get")
