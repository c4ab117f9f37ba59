"""status: which jobs run and wait, what is true of those that have not begun, and what a search has yet to propose."""

import dataclasses

import pytest

from made_up import ARMS, declare, finish, launch, of, shown
from smartad.cluster.queue import Queued
from smartad.stage import upstream_first
from smartad.store import write_json
from smartad.sweep import ledger
from smartad.sweep.driver import Driver
from smartad.sweep.ledger import Start
from smartad.sweep.state import COMING, NO_SQUEUE, SLOT, TURN, Jobs, look

SILENT = "SLURM does not answer: squeue: error"
SEARCH = {"backend": "optuna", "arms": {}, "space": {"train.weights.final": {"low": 1.0, "high": 4.0}}, "trials": 6,
          "parallel": 1}


@pytest.fixture
def sweep(tmp_path):
    return declare(tmp_path)


def started(book, cluster):
    return dataclasses.replace(book, start=Start(("sweep", "declared.yaml"), "/", cluster))


def queued(specs, reason="Resources", state="PENDING"):
    return Jobs({spec.fingerprint: Queued(f"7_{i}", "abc-1", i, state, reason) for i, spec in enumerate(specs)})


def test_queued_stages_name_the_first_of_their_jobs(store, sweep):
    book, specs = launch(store, sweep)
    prepares = of(specs, "prepare")
    assert len(prepares) == 4
    assert "queued   4 stages: no node is free (Resources); jobs 7_0, 7_1, 7_2 and 1 more" in shown(store, book, queued(prepares))
    assert "queued   1 stage: no node is free (Resources); job 7_0\n" in shown(store, book, queued(prepares[:1]))
    packed = Jobs({spec.fingerprint: Queued("8", "abc-1", 0, "PENDING", "Priority") for spec in prepares})
    assert "queued   4 stages: others are before it (Priority); job 8" in shown(store, book, packed)


def test_running_stage_names_its_job(store, sweep):
    book, specs = launch(store, sweep)
    (collect,) = of(specs, "collect")
    with store.claim(collect.fingerprint) as claim:
        write_json(claim.path, {**store.worker(collect.fingerprint), "job": "1234_5", "host": "n1"})
        assert look(store, book, Jobs()).running[collect.fingerprint].job == "1234_5"
        assert " on n1, job 1234_5" in shown(store, book)


@pytest.mark.parametrize("cluster, jobs, why", [
    ("workers", Jobs(), SLOT), ("local", Jobs(problem=SILENT), SLOT), ("slurm", Jobs(), TURN),
    ("slurm", Jobs(problem=SILENT), "its turn, or queued: SLURM does not answer")])
def test_stage_that_could_begin_says_what_it_waits_for(store, sweep, monkeypatch, tmp_path, cluster, jobs, why):
    (tmp_path / "squeue").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    book, specs = launch(store, sweep)
    with store.lock(f"sweeps/{book.name}"):
        now = look(store, started(book, cluster), jobs)
    assert {now.why[spec.fingerprint] for spec in of(specs, "prepare", "index")} == {why}


def test_queue_that_cannot_be_seen_from_here_is_not_taken_for_empty(store, sweep, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    book, specs = launch(store, sweep)
    with store.lock(f"sweeps/{book.name}"):
        now = look(store, started(book, "slurm"), Jobs())
    assert now.problem == NO_SQUEUE
    assert now.why[of(specs, "prepare")[0].fingerprint] == "its turn, or queued: there is no squeue here"


def test_stages_of_a_driver_that_is_queued_wait_for_it(store, sweep):
    book, specs = launch(store, sweep)
    jobs = Jobs(drivers={book.name: Queued("9", f"abc-{book.name}", 0, "PENDING", "Resources")})
    assert look(store, book, jobs).why[of(specs, "prepare")[0].fingerprint] == COMING


def search(store, tmp_path, trials):
    """A search of six trials of which so many are proposed, and what they are made of."""
    sweep = declare(tmp_path, **SEARCH)
    driver = Driver(sweep, store)
    while len(driver.trials) < trials:
        driver.open.clear()
        driver.ask()
    driver.save()
    return ledger.load(store, sweep.name), upstream_first(driver.goals())


def test_time_left_of_a_search_has_the_trials_to_come_and_what_they_share_once(store, tmp_path):
    book, specs = search(store, tmp_path, 2)
    finish(store, specs, seconds=10.0)
    added = [spec for spec in specs if spec.fingerprint not in book.trials[0].runs[0].stages]
    left = look(store, book, Jobs()).left
    assert (left.to_come, left.counted, left.seconds) == (4, True, 4 * 10.0 * len(added))
    assert not of(added, "prepare", "collect", "score", "select"), "every trial shares them"


def test_time_left_of_a_search_with_one_trial_says_what_it_leaves_out(store, tmp_path):
    book, specs = search(store, tmp_path, 1)
    finish(store, specs, seconds=10.0)
    left = look(store, book, Jobs()).left
    assert (left.to_come, left.counted, left.seconds) == (5, False, 0.0)


def test_search_that_nobody_drives_is_not_complete_while_trials_may_come(store, tmp_path):
    book, specs = search(store, tmp_path, 2)
    finish(store, specs, avg=50.0)
    text = shown(store, book)
    assert "2 of up to 6 trials were proposed, and nobody drives this sweep" in text and "complete" not in text
    book, specs = search(store, tmp_path, 6)
    finish(store, specs, avg=50.0)
    assert "complete" in shown(store, book)


def test_grid_has_no_trials_to_come(store, sweep):
    book, _ = launch(store, sweep)
    assert look(store, book, Jobs()).left.to_come == 0 and len(book.trials) == len(ARMS)
