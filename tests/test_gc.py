"""Clearing up: what is cited stays and is whole, what is not goes, and nothing goes from under somebody's hands."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command import environment, smartad, start
from conftest import ROOT
from made_up import declare, finish, launch, of
from small_adapters import swept
from small_stages import job, spec
from smartad import claims, registry
from smartad.cluster import Resources, code, submission
from smartad.cluster.queue import queue
from smartad.cluster.submission import Submission, submit
from smartad.records import to_json, write_json
from smartad.sweep import garbage, ledger
from smartad.sweep.state import Jobs
from smartad.types import UserError

LONG_AGO = time.time() - 2 * garbage.YOUNG_S


def names(specs):
    return {spec.fingerprint for spec in specs}


def found(store, jobs=None):
    """Names of what could go."""
    return {item.path.name for item in garbage.find(store, jobs or Jobs())}


def cleared(store):
    """Names of what has gone."""
    return {item.path.name for item in garbage.clear(store)}


def old(path: Path) -> Path:
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def whole(store):
    """Every finished stage is as it was recorded, and so is what it was made from."""
    for fingerprint in store.fingerprints():
        assert store.verify(fingerprint) == []
        assert all(store.has(f) for f in store.record(fingerprint)["identity"]["inputs"].values())
    return set(store.fingerprints())


def submitted(store, *fingerprints, cluster="local", snapshot=None):
    """The folder of a submission of long ago."""
    tag = f"{store.id()}-{int(LONG_AGO * 1000):012x}{len(list((store.root / 'jobs').glob('*'))):04x}"
    path = store.root / "jobs" / tag
    path.mkdir(parents=True)
    write_json(path / "submission.json", to_json(Submission(tag, cluster, "x", LONG_AGO, (fingerprints,), (), snapshot)))
    return old(path)


def test_gc_removes_what_no_ledger_cites_and_leaves_the_rest_whole(store, tmp_path):
    kept = swept(store, tmp_path)
    others = swept(store, tmp_path, "other", seeds=[0, 1])
    ledger.path(store, "other").unlink()
    assert found(store) == names(others) - names(kept) != set()
    assert cleared(store) == names(others) - names(kept)
    assert whole(store) == names(kept)
    assert cleared(store) == set()


@pytest.mark.slow
def test_gc_says_what_would_go_and_does_it_when_told(store, tmp_path):
    kept = swept(store, tmp_path)
    finish(store, [spec("uncited")])
    said = smartad("gc", store=store.root).stdout
    name = spec("uncited").fingerprint
    assert name in said and "no table and no alias cites it" in said and "1 stage: " in said and "gc --yes" in said
    assert not any(fingerprint in said for fingerprint in names(kept)) and store.has(name)
    said = smartad("gc", "--yes", store=store.root).stdout
    assert f"removed {name}" in said and "1 stage: " in said and not store.folder(name).exists()
    assert "nothing in" in smartad("gc", store=store.root).stdout
    assert "0 bytes removed" in smartad("gc", "--yes", store=store.root).stdout


def test_gc_keeps_an_aliased_adapter_with_all_it_came_from_and_how_it_was_evaluated(store, tmp_path):
    specs = swept(store, tmp_path)
    mine = next(spec for spec in of(specs, "train") if spec.inputs["selected"].config.rule == "max")
    registry.promote(store, "mine", mine.fingerprint, reason="I like it")
    ledger.path(store, "declared").unlink()
    cleared(store)
    attempts = [spec for spec in of(specs, "evaluate") if spec.inputs.get("adapter") is mine]
    grades = [spec for spec in of(specs, "grade") if spec.inputs["attempts"] in attempts]
    needed = {f for goal in [mine, *grades] for f in names(goal.upstream_first())}
    assert len(grades) == 3 and whole(store) == needed
    registry.withdraw(store, "mine", reason="no more")
    assert cleared(store) == needed


def test_gc_keeps_half_done_work_that_a_ledger_cites_and_removes_other(store, tmp_path):
    _, specs = launch(store, declare(tmp_path))
    finish(store, of(specs, "prepare"))
    checkpoint = store.folder(of(specs, "train")[0].fingerprint) / "checkpoints" / "checkpoint-100"
    checkpoint.mkdir(parents=True)
    abandoned = store.folder(spec("abandoned").fingerprint)
    abandoned.mkdir()
    (abandoned / "rows").write_text("half")
    assert cleared(store) == {abandoned.name}
    assert checkpoint.is_dir() and not abandoned.exists()


def test_gc_removes_users_before_their_inputs(store):
    chain = [first := spec("a"), second := spec("b", first), spec("c", second)]
    finish(store, chain)
    order = [item.path.name for item in garbage.find(store, Jobs())]
    assert order == [s.fingerprint for s in reversed(chain)]


def test_gc_removes_what_killed_processes_left_but_nothing_that_is_new(store, tmp_path):
    kept = swept(store, tmp_path)
    gone = store.root / ".gone-0123abcd"
    gone.mkdir()
    leftovers = [gone, *(old(path) for path in map(touched, [
        store.root / ".probe-0123abcd", store.folder(kept[0].fingerprint) / ".output.0123abcd.tmp",
        store.root / "sweeps" / ".x.tmp", store.root / "drivers" / "run-0123abcd.lock"]))]
    new = touched(store.root / ".probe-new")
    assert cleared(store) == {path.name for path in leftovers}
    assert not any(path.exists() for path in leftovers) and new.exists()
    whole(store)


def touched(path):
    path.parent.mkdir(exist_ok=True)
    path.touch()
    return path


def test_gc_removes_job_folders_that_have_nothing_left_to_do(store, tmp_path):
    _, specs = launch(store, declare(tmp_path))
    done, to_do = of(specs, "prepare")[0], of(specs, "collect")[0]
    finish(store, [done])
    ended = submitted(store, done.fingerprint, spec("of a forgotten sweep").fingerprint)
    going_on = submitted(store, done.fingerprint, to_do.fingerprint)
    driver, stray = store.root / "jobs/driver-declared-17", store.root / "jobs/driver-forgotten-17"
    for path in (driver, stray):
        path.mkdir()
        old(path)
    fresh = submitted(store, done.fingerprint)
    os.utime(fresh)
    assert cleared(store) == {ended.name, stray.name}
    assert going_on.is_dir() and driver.is_dir() and fresh.is_dir()


def test_gc_removes_snapshots_that_no_job_is_left_of(store, tmp_path):
    launch(store, declare(tmp_path))
    repository, at = tmp_path / "repository", code.folder(store)
    git(tmp_path, "init", "-q", str(repository))
    git(repository, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "--allow-empty", "-m", "x")
    for name in ("used", "unused", "new"):
        git(repository, "worktree", "add", "-q", "--detach", str(at / name))
    lost = at / "lost"
    lost.mkdir()
    for name in ("used", "unused", "lost"):
        old(at / name)
    submitted(store, next(s for s in ledger.load(store, "declared").stages()), snapshot=str(at / "used"))
    assert cleared(store) == {"unused", "lost"}
    worktrees = git(repository, "worktree", "list")
    assert str(at / "used") in worktrees and str(at / "new") in worktrees and str(at / "unused") not in worktrees


def git(at, *words):
    return subprocess.run(["git", "-C", str(at), *words], check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_submission_says_which_code_it_runs(store):
    own, jobs = submit(dataclasses.replace(job(store), code=ROOT), "local", [[spec("a")]], Resources(timeout_min=5))
    jobs[0].wait()
    assert submission.read(store, own.tag).code == str(ROOT) and store.has(spec("a").fingerprint)


@pytest.mark.slow
@pytest.mark.parametrize("lock, said", [("sweeps/other", "sweep other is driven by process"),
                                        ("drivers/run-0123abcd", "run 0123abcd is driven by process")])
def test_gc_removes_nothing_while_somebody_drives(store, tmp_path, lock, said):
    finish(store, [spec("uncited")])
    with store.lock(lock):
        assert f"not now: {said} {os.getpid()}" in smartad("gc", store=store.root).stdout
        assert f"{said} {os.getpid()}" in smartad("gc", "--yes", store=store.root, status=2).stderr
    assert store.has(spec("uncited").fingerprint)
    assert cleared(store) == names([spec("uncited")])


def test_gc_does_not_mind_a_driver_that_was_killed(store, tmp_path):
    finish(store, [spec("uncited")])
    lock = touched(store.root / "sweeps/other.lock")
    write_json(lock, {"token": "t", **claims.whoami(), "started": "1"})  # of a process whose number is another's now
    assert cleared(store) == names([spec("uncited")])


def test_gc_removes_nothing_while_somebody_is_at_what_nobody_cites(store):
    finish(store, [spec("input of who knows what")])
    with store.claim(spec("uncited").fingerprint):
        with pytest.raises(UserError, match=rf"process {os.getpid()} .* at {spec('uncited').fingerprint}, and what that needs"):
            cleared(store)
        assert spec("uncited").fingerprint not in found(store)


def test_gc_goes_on_beside_somebody_at_a_cited_stage(store, tmp_path):
    _, specs = launch(store, declare(tmp_path))
    finish(store, [*of(specs, "prepare"), spec("uncited")])
    with store.claim(of(specs, "collect")[0].fingerprint):
        assert cleared(store) == names([spec("uncited")])
    assert whole(store) == names(of(specs, "prepare"))


def test_gc_without_squeue_does_not_guess_what_is_queued(store, tmp_path, monkeypatch):
    launch(store, declare(tmp_path))
    submitted(store, spec("uncited").fingerprint, cluster="slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=f"{spec('uncited').fingerprint} was submitted to SLURM, .* there is no squeue here"):
        cleared(store)


def test_gc_is_one_at_a_time_and_nobody_names_adapters_meanwhile(store, monkeypatch):
    monkeypatch.setattr(registry, "WAIT_S", 0.2)
    finish(store, [spec("a"), spec("b")])
    clearing = garbage.clear(store)
    next(clearing)
    with pytest.raises(UserError, match="somebody else is clearing up"):
        cleared(store)
    with pytest.raises(UserError, match=f"process {os.getpid()} on .* has kept .*registry.jsonl to itself"):
        registry.promote(store, "mine", "train-0123456789ab", reason="")
    assert len([*clearing]) == 1 and not store.locked(garbage.GC)


def test_gc_of_a_folder_that_is_no_store_removes_nothing(tmp_path):
    (tmp_path / "train-0123456789ab").mkdir()
    assert "is not a store" in smartad("gc", "--yes", store=tmp_path, status=2).stderr
    assert (tmp_path / "train-0123456789ab").is_dir()


@pytest.mark.slow
def test_gc_killed_in_the_middle_leaves_whole_stages_and_goes_on(store, tmp_path):
    kept = swept(store, tmp_path)
    others = swept(store, tmp_path, "other", seeds=list(range(12)))
    ledger.path(store, "other").unlink()
    for _ in range(3):
        process = start_gc(store)
        for _ in range(5):
            assert process.stdout.readline().startswith("removed ")
        process.kill()
        process.wait()
        process.stdout.close()
        assert names(kept) < whole(store) < names(kept) | names(others)
    smartad("gc", "--yes", store=store.root)
    assert whole(store) == names(kept)
    assert not [path for path in store.root.iterdir() if path.name.startswith(garbage.GONE)]


@pytest.mark.slow
def test_gc_killed_within_a_large_stage_does_not_leave_it_called_finished(store):
    large = spec("large")
    folder = store.folder(large.fingerprint)
    folder.mkdir()
    for number in range(5000):
        (folder / f"{number}").write_text("x")
    finish(store, [large, *(spec(f"user {number}", large) for number in range(3))])
    process = start_gc(store)
    for _ in range(3):
        assert "x-" in process.stdout.readline()
    time.sleep(0.005)  # if it is too early or too late the test says less, and holds
    process.kill()
    process.wait()
    process.stdout.close()
    whole(store)
    cleared(store)
    assert not store.fingerprints() and not folder.exists()


def start_gc(store):
    return subprocess.Popen([sys.executable, "-u", "-m", "smartad", "gc", "--yes"], cwd=ROOT, env=environment(store.root),
                            stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_run_waits_while_somebody_clears_up_and_is_seen_by_whoever_does(store):
    words = ["run", "configs/toy.yaml", "--until", "prepare", "--track", "none", "--jobs", "0"]
    with store.lock(garbage.GC):
        process = start(*words, store=store.root)
        try:
            said = process.stderr.readline()
            assert f"process {os.getpid()} on " in said and "is clearing up" in said, said
            (lock,) = (store.root / garbage.RUNS).glob("*.lock")
            assert store.locked(f"drivers/{lock.stem}")["pid"] == process.pid
            assert process.poll() is None and not store.fingerprints()
        except BaseException:
            process.kill()
            raise
    assert process.wait(timeout=120) == 0
    process.stderr.close()
    assert store.fingerprints() and not list((store.root / garbage.RUNS).glob("*.lock"))


@pytest.mark.slow
def test_gc_leaves_what_a_queued_job_needs(store, slurm):
    waiting = spec("waiting", spec("its input"))
    finish(store, [spec("its input")])
    submit(job(store), "slurm", [[waiting]], Resources(timeout_min=5, sbatch={"hold": True}))
    with pytest.raises(UserError, match=f"is queued for {waiting.fingerprint}, and what that needs cannot be known"):
        cleared(store)
    (queued,) = queue(store)
    slurm.command("scancel", queued.id)
    slurm.until(lambda: not queue(store), "the job has left the queue")
    assert cleared(store) == names([spec("its input")])
    slurm.dev("controller", "kill")
    with pytest.raises(UserError, match=f"{waiting.fingerprint} was submitted to SLURM, .* SLURM does not answer"):
        cleared(store)
    slurm.dev("controller", "start")
