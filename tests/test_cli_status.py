"""status: the state of every stage, why it waits, how long it takes; on any terminal, and while one watches."""

import os
import signal
import time

import pytest

from command import on_a_terminal, smartad
from conftest import ROOT
from made_up import declare, fail, finish, launch, of, shown
from smartad.cli.status import ROWS, duration, time_left
from smartad.cluster.queue import Queued
from smartad.records import write_json
from smartad.stage import upstream_first
from smartad.store import PROGRESS
from smartad.sweep import ledger
from smartad.sweep.driver import Driver
from smartad.sweep.ledger import Ledger, LedgerTrial, Run
from smartad.sweep.space import read
from smartad.sweep.state import INPUTS, NOBODY, TURN, Jobs, Left, in_words, jobs_of, look
from smartad.sweep.stopping import Stop


@pytest.fixture
def sweep(tmp_path):
    return declare(tmp_path)


@pytest.mark.parametrize("file", ["quickstart", "table3_ablation", "table6_k"])
def test_inputs_of_a_run_are_those_of_its_plan(store, file):
    driver = Driver(read(str(ROOT / f"sweeps/{file}.yaml")), store, dry_run=True)
    driver.ask()
    driver.save()
    specs = upstream_first(driver.goals())
    assert ledger.load(store, file).inputs() == {
        spec.fingerprint: tuple(parent.fingerprint for parent in spec.inputs.values()) for spec in specs}


def test_waiting_stages_say_what_for(store, sweep):
    book, specs = launch(store, sweep)
    first = {spec.fingerprint for spec in of(specs, "prepare", "index")}
    now = look(store, book, Jobs())
    assert set(now.states.values()) == {"waiting"} and now.driver is None and not now.over()
    assert {f for f, why in now.why.items() if why == NOBODY} == first
    assert {f for f, why in now.why.items() if why == INPUTS} == set(now.states) - first
    with store.lock(f"sweeps/{book.name}"):
        now = look(store, book, Jobs())
        assert now.driver["pid"] == os.getpid() and time.time() - now.driver["since"] < 60
        assert {f for f, why in now.why.items() if why == TURN} == first


def test_running_stage_shows_progress_and_since_when(store, sweep):
    book, specs = launch(store, sweep)
    finish(store, of(specs, "prepare", "index"))
    collect = of(specs, "collect")[0].fingerprint
    with store.claim(collect):
        write_json(store.folder(collect) / PROGRESS, {"done": 30, "total": 120, "time": time.time()})
        now = look(store, book, Jobs())
        assert now.states[collect] == "running" and now.running[collect].progress == (30, 120)
        assert f"running  {collect} 30/120 since " in shown(store, book)
    assert look(store, book, Jobs()).states[collect] == "waiting"


def test_failure_names_what_is_blocked_by_it_and_nothing_else_is(store, sweep):
    book, specs = launch(store, sweep)
    finish(store, of(specs, "prepare", "index", "collect", "score", "select"))
    trains = of(specs, "train")
    failed = fail(store, trains[0])
    now = look(store, book, Jobs())
    of_failed = {f for trial in book.trials for run in trial.runs if run.train == failed for f in run.stages}
    assert now.states[failed] == "failed" and now.states[trains[1].fingerprint] == "waiting"
    blocked = {f for f, state in now.states.items() if state == "blocked"}
    assert blocked and blocked == {f for f in of_failed if f.split("-")[0] in ("evaluate", "aggregate")} | {
        spec.fingerprint for spec in of(specs, "grade") if spec.inputs["attempts"].fingerprint in of_failed
        and spec.inputs["attempts"].stage.name == "evaluate"}
    assert {now.why[f] for f in blocked} == {f"{failed}, which failed"}
    text = shown(store, book)
    assert f"failed   {failed} (oom, " in text and "out of memory" in text
    assert f"log {store.folder(failed)}/.failure.log" in text


def test_stages_only_a_stopped_trial_wanted_are_stopped(store, sweep):
    book, specs = launch(store, sweep)
    finish(store, of(specs, "prepare", "index", "collect"))
    trial = book.trials[2]
    stop = Stop("wilcoxon", ("toy_math, seed 0",), "min", 12.5, 80.0, 0.001)
    ledger.add(store, book.name, [LedgerTrial(trial.label, trial.values, trial.runs, stop)])
    book = ledger.load(store, book.name)
    now = look(store, book, Jobs())
    others = {f for t in book.trials[:2] for run in t.runs for f in run.stages}
    assert {f for f, state in now.states.items() if state == "stopped"} == set(trial.runs[0].stages) - others
    assert "stopped  max: 12.5 at toy_math, seed 0, where min has 80.0 (wilcoxon)" in shown(store, book)
    finish(store, [spec for spec in specs if spec.fingerprint in others], avg=50.0)
    assert look(store, book, Jobs()).over() and "complete" in shown(store, book)


@pytest.mark.parametrize("state, reason, words", [
    ("PENDING", "Resources", "no node is free (Resources)"),
    ("PENDING", "Priority", "others are before it (Priority)"),
    ("PENDING", "JobHeldUser", "held; release it with scontrol release 12 (JobHeldUser)"),
    ("PENDING", "QOSMaxJobsPerUserLimit", "a limit of its QOS (QOSMaxJobsPerUserLimit)"),
    ("PENDING", "ReqNodeNotAvail, UnavailableNodes:n1", "its nodes are down or reserved (ReqNodeNotAvail, UnavailableNodes:n1)"),
    ("PENDING", "SomethingNew", "SomethingNew"),
    ("CONFIGURING", "None", "its job is configuring, and nobody is at it yet or any more")])
def test_reason_of_slurm_is_said_in_plain_words_and_in_its_own(state, reason, words):
    assert in_words(Queued("12_5", "abc-1", 5, state, reason)) == words


def test_queued_stage_says_why_its_job_waits(store, sweep):
    book, specs = launch(store, sweep)
    jobs = Jobs({spec.fingerprint: Queued(f"7_{i}", "abc-1", i, "PENDING", "Resources")
                 for i, spec in enumerate(of(specs, "prepare"))})
    assert set(jobs.of) == {f for f, state in look(store, book, jobs).states.items() if state == "queued"}
    assert f"queued   {len(jobs.of)} stages: no node is free (Resources)" in shown(store, book, jobs)


def test_detached_driver_that_is_queued_is_said(store, sweep):
    book, _ = launch(store, sweep)
    now = look(store, book, Jobs(drivers={book.name: Queued("9", f"abc-{book.name}", 0, "PENDING", "Resources")}))
    assert now.coming == "job 9: no node is free (Resources)" and not now.over()


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A PATH with nothing but a folder of the test's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_slurm_is_not_asked_where_there_is_none(store, path):
    (store.root / "jobs").mkdir()
    assert jobs_of(store) == Jobs()


def test_slurm_that_does_not_answer_is_one_line(store, sweep, path):
    book, _ = launch(store, sweep)
    (path / "squeue").write_text("#!/bin/sh\necho 'squeue: error: Unable to contact slurm controller' >&2\nexit 1\n")
    (path / "squeue").chmod(0o755)
    assert jobs_of(store).problem == "", "a store without submissions asks nobody"
    (store.root / "jobs").mkdir()
    jobs = jobs_of(store)
    assert jobs.problem == "SLURM does not answer: squeue: squeue: error: Unable to contact slurm controller"
    assert shown(store, book, jobs).count("SLURM") == 1


def test_time_left_is_the_work_shared_among_those_at_it_and_no_less_than_its_longest_chain(store, sweep):
    book, specs = launch(store, sweep)
    finish(store, specs, seconds=10.0)
    now = look(store, book, Jobs())
    assert now.left.seconds == 0
    evaluates = of(specs, "evaluate")
    for spec in [*evaluates, *of(specs, "aggregate")]:
        (store.folder(spec.fingerprint) / "record.json").unlink()
    assert look(store, book, Jobs()).left == Left(0.0, 1, ("aggregate", "evaluate")), "nothing recorded, nothing known"
    finish(store, evaluates[:1], seconds=100.0)
    left = look(store, book, Jobs()).left
    assert left.seconds == 100.0 * (len(evaluates) - 1) and left.unknown == ("aggregate",)
    with store.claim(evaluates[1].fingerprint), store.claim(evaluates[2].fingerprint):
        left = look(store, book, Jobs()).left
        assert left.at_once == 2 and left.seconds == pytest.approx(100.0 * (len(evaluates) - 1) / 2, abs=2)


def test_running_stage_is_expected_to_go_on_as_it_began(store, sweep):
    book, specs = launch(store, sweep)
    finish(store, of(specs, "prepare", "index"))
    collect = of(specs, "collect")[0].fingerprint
    with store.claim(collect) as claim:
        who = {**store.worker(collect), "since": time.time() - 60}
        write_json(claim.path, who)
        write_json(store.folder(collect) / PROGRESS, {"done": 30, "total": 120, "time": time.time()})
        assert look(store, book, Jobs()).left.seconds == pytest.approx(180, abs=5)


def test_time_left_is_said_as_an_estimate_and_unknown_as_unknown():
    assert time_left(Left(720.0, 4, ())) == "about 12 min left (estimate, 4 at a time)"
    assert time_left(Left(720.0, 1, ("train",))).startswith("more than 12 min left (estimate, 1 at a time; of train none was")
    assert time_left(Left(0.0, 1, ("train",))) == "time left unknown (of train none was ever finished here)"
    assert time_left(Left(720.0, 2, (), 5)) == "about 12 min left (estimate, 2 at a time; with up to 5 trials to come)"
    assert time_left(Left(720.0, 2, (), 5, counted=False)) == (
        "more than 12 min left (estimate, 2 at a time; of the trials proposed so far, without up to 5 to come)")
    assert "unknown" in time_left(Left(0.0, 1, (), 5, counted=False)) and time_left(Left(0.0, 1, ())) == "almost done"
    assert [duration(s) for s in (0.0, 4.25, 59, 300, 7200, 400000)] == ["0 s", "4.2 s", "59 s", "5 min", "2.0 h", "4.6 days"]


@pytest.mark.parametrize("width", [80, 140])
def test_view_fits_the_terminal(store, sweep, width):
    book, specs = launch(store, sweep)
    finish(store, specs[:20], avg=50.0)
    fail(store, specs[21], message="a message that is rather long " * 10)
    lines = shown(store, book, width=width).splitlines()
    assert max(len(line) for line in lines) <= width
    assert any("trial" in line and ("evaluate" if width == 140 else "eval ") in line for line in lines)
    adapters = [run.train for trial in book.trials for run in trial.runs if run.train]
    assert width == 80 or all(any(line.rstrip().endswith(adapter) for line in lines) for adapter in adapters)


def wide(store, trials=1000):
    """A sweep of many trials: some failed, most finished."""
    rows = []
    for i in range(trials):
        stages = (f"train-{i:012x}", f"aggregate-{i:012x}")
        rows.append(LedgerTrial(f"trial {i}", {"i": i}, (Run(0, stages[1], stages[0], stages, ((), (0,))),)))
        for name in stages:
            (store.root / name).mkdir()
            if i % 100:
                write_json(store.root / name / "record.json", {"metrics": {"avg": float(i)}, "seconds": 1.0})
        if i % 100 == 0:
            store.note_failure(stages[0], "node", "gone")
    book = Ledger("wide", {"metric": "avg"}, {"In-domain": ["toy"]}, tuple(rows))
    ledger.save(store, book)
    return book


def test_wide_sweep_shows_where_something_happens_and_folds_the_rest(store):
    book = wide(store, 200)
    text = shown(store, book, rows=ROWS)
    assert "trial 100 " in text and f"and {200 - ROWS} more ({200 - ROWS} done): --all" in text
    assert len(text.splitlines()) < ROWS + 30
    everything = shown(store, book)
    assert "trial 199 " in everything and "--all" not in everything


def test_status_reads_the_records_of_what_it_shows_and_no_others(store):
    """What keeps it quick in a large store: a record that is not shown may even be damaged."""
    book = wide(store, 200)
    (store.root / "aggregate-000000000096" / "record.json").write_text("{")
    assert "and 170 more" in shown(store, book, rows=ROWS)


def test_status_without_a_name_lists_the_sweeps(store, sweep):
    book, specs = launch(store, sweep)
    finish(store, specs[:3])
    fail(store, specs[3])
    said = smartad("status", store=store.root).stdout
    assert said.startswith(f"declared  {' ' * 15}3 of {len(book.stages())} stages finished, ") and ", 1 failed, " in said


def until(screen, text, seen=""):
    """Read from a terminal until ``text`` is on it."""
    while text not in seen:
        seen += os.read(screen, 4096).decode("utf-8", "replace")
    return seen


@pytest.mark.slow
def test_live_status_follows_until_all_is_done(store, sweep):
    book, specs = launch(store, sweep)
    finish(store, specs[:-1], avg=50.0)
    process, screen = on_a_terminal("status", book.name, "--live", store=store)
    try:
        seen = until(screen, f"{len(specs) - 1} of {len(specs)} stages finished")
        finish(store, specs[-1:], avg=50.0)
        until(screen, f"{len(specs)} of {len(specs)} stages finished", seen[-1:])
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        os.close(screen)


@pytest.mark.slow
def test_live_status_is_left_with_ctrl_c(store, sweep):
    book, specs = launch(store, sweep)
    process, screen = on_a_terminal("status", book.name, "--live", store=store)
    try:
        until(screen, f"0 of {len(specs)} stages finished")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        os.close(screen)
