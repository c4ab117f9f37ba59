"""Early stopping: the rules, how often they are wrong, and what becomes of a stopped trial.  Real workers, trivial stages."""

import itertools
import random

import pytest

from small_sweeps import QUESTIONS, declare, executions, run
from smartad import tables
from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.config import ConfigError
from smartad.stage import Runtime, Stage, StageSpec
from smartad.sweep import ledger, results
from smartad.sweep.driver import Driver
from smartad.sweep.stopping import RULES, Part, Standing, Stop, StoppingConfig, asha, course, wilcoxon
from smartad.tracking import Tracking

BENCHMARKS = ["a", "b", "c"]


def standing(label, verdicts, done=False):
    """``verdicts``: part -> right or wrong (or None, ungraded) of each question."""
    graded = {part: {f"{part.benchmark}/{i}": right for i, right in enumerate(row) if right is not None}
              for part, row in verdicts.items()}
    scores = {part: 100 * sum(rights.values()) / len(rights) for part, rights in graded.items()}
    return Standing(label, graded.__getitem__, scores, done)


def first(n, of=QUESTIONS):
    return [i < n for i in range(of)]


def three(label, *rights, done=False):
    """So many right of 40 on each of the benchmarks a, b, c of seed 0 that are finished."""
    return standing(label, {Part(0, name): first(n) for name, n in zip("abc", rights, strict=False)}, done)


def rules(rule="wilcoxon", metric="avg", sign=1, seeds=(0,), **options):
    return course(StoppingConfig(rule, **options), metric, sign, seeds, BENCHMARKS)


def test_wilcoxon_stops_what_has_lost_to_the_best_finished_trial():
    found = wilcoxon(rules(), three("bad", 10), [three("fair", 30, 20, 20, done=True), three("best", 30, 30, 30, done=True)])
    assert (found.rule, found.against, found.at) == ("wilcoxon", "best", ("a, seed 0",))
    assert (found.score, found.bar, found.p) == (25.0, 75.0, 0.5**20)


def test_wilcoxon_has_no_one_to_compare_the_first_trial_with():
    assert wilcoxon(rules(), three("bad", 0), []) is None
    assert wilcoxon(rules(), three("bad", 0), [three("on its way", 40, 40)]) is None


def test_wilcoxon_lets_equals_and_betters_go_on():
    best = three("best", 30, 30, 30, done=True)
    for right in (29, 30, 40):
        assert wilcoxon(rules(), three("other", right), [best]) is None


def test_wilcoxon_respects_the_direction():
    best = three("best", 10, 10, 10, done=True)
    assert wilcoxon(rules(sign=-1), three("more", 30), [best]).against == "best"
    assert wilcoxon(rules(sign=-1), three("less", 0), [best]) is None


def test_wilcoxon_leaves_out_questions_that_one_of_them_was_not_graded_on():
    best = standing("best", {Part(0, "a"): [None] * 15 + [True] * 25}, done=True)
    mine = standing("mine", {Part(0, "a"): [False] * 40})
    assert wilcoxon(rules(questions=26), mine, [best]) is None
    assert wilcoxon(rules(questions=25), mine, [best]).p == 0.5**25


def test_wilcoxon_does_not_stop_what_leads_by_the_metric():
    """Many questions lost on one benchmark, but two small benchmarks won."""
    best = standing("best", {Part(0, "a"): first(90, 100), Part(0, "b"): first(1, 10), Part(0, "c"): first(0, 10)}, done=True)
    mine = standing("mine", {Part(0, "a"): first(60, 100), Part(0, "b"): first(9, 10)})
    assert wilcoxon(rules(), mine, [best]) is None
    assert wilcoxon(rules(metric="pass@1/a"), mine, [best]) is not None


def test_wilcoxon_is_the_signed_rank_test_of_right_and_wrong():
    """Against its definition: every assignment of signs to the ranks is as likely."""
    differences = [1, -1, -1, -1, 0, -1, 1, -1, -1]
    mine, theirs = [d > 0 for d in differences], [d < 0 for d in differences]
    signed = [d for d in differences if d]
    rank = (len(signed) + 1) / 2
    observed = sum(rank for d in signed if d > 0)
    sums = [sum(rank for s in signs if s > 0) for signs in itertools.product((1, -1), repeat=len(signed))]
    found = wilcoxon(rules(p=0.49, questions=1, metric="pass@1/a"), standing("mine", {Part(0, "a"): mine}),
                     [standing("best", {Part(0, "a"): theirs}, done=True)])
    assert found.p == sum(s <= observed for s in sums) / len(sums)


def race(rng, parts, gaps):
    """Trials one after the other, each ``gap`` worse than the first; which of them are stopped."""
    difficulty = {part: [rng.betavariate(1.2, 1.2) for _ in range(50)] for part in parts.parts()}
    stopped, others = [], []
    for gap in gaps:
        rows = {part: [rng.random() < chance - gap for chance in chances] for part, chances in difficulty.items()}
        seen = [part for lap in parts.laps for part in lap]
        stop = any(wilcoxon(parts, standing("mine", {p: rows[p] for p in seen[:n]}), others) for n in range(1, len(seen)))
        stopped.append(stop)
        if not stop:
            others.append(standing("other", rows, done=True))
    return stopped


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_wilcoxon_stops_at_most_one_of_thirty_equal_trials(seeds):
    """The best of the equals so far was lucky, and each trial is looked at again and again: still no more than this."""
    rng = random.Random(0)
    stopped = [stop for _ in range(10) for stop in race(rng, rules(seeds=seeds), [0.0] * 30)]
    assert sum(stopped) / len(stopped) <= 1 / 30


def test_wilcoxon_stops_a_clearly_worse_trial_among_equals():
    rng = random.Random(0)
    stopped = [race(rng, rules(seeds=(0, 1)), [0.0] * 5 + [0.25])[-1] for _ in range(20)]
    assert sum(stopped) >= 18


def test_asha_lets_the_best_third_of_those_that_came_as_far_go_on():
    arrived = [three(str(n), n) for n in (5, 12, 20, 25, 30)]
    assert asha(rules("asha"), three("mine", 24), arrived).against == "25"
    assert asha(rules("asha"), three("mine", 25), arrived) is None
    assert asha(rules("asha", eta=2), three("mine", 21), arrived) is None
    assert asha(rules("asha", eta=2, sign=-1), three("mine", 21), arrived).against == "20"


def test_asha_never_stops_the_first_to_arrive():
    assert asha(rules("asha"), three("mine", 0), []) is None
    assert asha(rules("asha", grace=2), three("mine", 0, 0), [three("not there yet", 40)]) is None


def test_asha_compares_by_the_same_benchmarks_and_after_the_grace():
    others = [standing("other", {Part(0, "b"): first(40)}), three("same", 20)]
    assert asha(rules("asha"), three("mine", 10), others).against == "same"
    assert asha(rules("asha", grace=2), three("mine", 10), others) is None


def test_asha_counts_whole_seeds_when_there_are_several():
    def seeds(label, *rights):
        return standing(label, {Part(seed, name): first(n) for seed, n in enumerate(rights) for name in BENCHMARKS})
    others = [seeds("x", 30, 0), seeds("y", 20, 30)]
    by_seed = rules("asha", eta=2, seeds=(0, 1, 2))
    assert asha(by_seed, seeds("mine", 29), others).against == "x"
    half = standing("mine", {Part(0, "a"): first(0), Part(0, "b"): first(0)})
    assert asha(by_seed, half, others) is None
    found = asha(by_seed, seeds("mine", 29, 10), others)
    assert (found.against, len(found.at), found.bar) == ("y", 6, 62.5)


@pytest.mark.parametrize("rule", RULES)
def test_stop_is_recorded_with_what_it_was_decided_by(rule):
    """The contract of every rule."""
    best = three("best", 40, 40, 40, done=True)
    found = RULES[rule][0](rules(rule), three("mine", 0), [best])
    assert (found.rule, found.against, found.at, found.score, found.bar) == (rule, "best", ("a, seed 0",), 0.0, 100.0)


@pytest.mark.parametrize("keys, words", [
    ({"stopping": {"rule": "median"}}, "stopping.rule='median' is unknown; there are wilcoxon, asha"),
    ({"stopping": {"p": 0.1}}, "expected {rule: NAME} and perhaps its options; there are the rules wilcoxon, asha"),
    ({"stopping": {"rule": "asha", "p": 0.1}}, "stopping.p: asha has no such option; there are eta, grace"),
    ({"stopping": {"rule": "wilcoxon", "p": 0}}, "stopping.p must be between 0 and 0.5, got 0"),
    ({"stopping": {"rule": "asha", "eta": 1}}, "stopping.eta must be at least 2, got 1"),
    ({"stopping": {"rule": "asha", "grace": 2}, "seeds": [0, 1]}, "the first comparison comes after 2 of 2 seeds"),
    ({"stopping": {"rule": "wilcoxon"}, "base": ["benchmarks={in_domain: [toy_qa], out_of_domain: []}"]}, "after 1 of 1 bench"),
    ({"stopping": {"rule": "wilcoxon"}, "objectives": {"avg": "maximize", "pass@1/toy_qa": "maximize"}}, "leave one of the two"),
])
def test_stopping_that_cannot_work_is_refused_with_the_way_out(tmp_path, keys, words):
    with pytest.raises(ConfigError, match=words):
        declare(tmp_path, arms={"a": {}}, **keys)


def arms(**rights):
    return {name: {"train.weights.final": right} for name, right in rights.items()}


def bad_after_good(tmp_path, rule="wilcoxon", **keys):
    return declare(tmp_path, arms=arms(good=36, bad=4), seeds=[0, 1], parallel=1, stopping={"rule": rule}, **keys)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_hopeless_trial_is_stopped_recorded_and_never_a_score(store, tmp_path, rule):
    if rule == "asha":
        (store.root / "no_waiting").touch()  # it decides when a whole seed is finished
    driver, dispatcher = run(bad_after_good(tmp_path, rule), store)
    assert driver.proposer.told() == [("done", "good"), ("stopped", "bad")]
    assert driver.rows["bad"].outcome.scores == (10.0,)
    assert not dispatcher.open() and not dispatcher.failures
    assert "train/4/1" not in executions(store), "its second seed was never started"
    book = ledger.load(store, "declared")
    stop = book.trials[1].stopped
    assert (stop.rule, stop.against, stop.score, stop.bar) == (rule, "good", 10.0, 90.0)
    assert book.trials[1].was_stopped(store) and not book.trials[0].was_stopped(store)
    table = results.table(store, book)
    assert [table.text("bad", column) for column in table.columns] == ["stopped"] * 5
    assert table.text("good", "Avg") == "90.0 ±0.0"
    assert results.best(store, book, "avg")[0].label == "good"


@pytest.mark.slow
def test_what_runs_only_for_a_stopped_trial_is_cut_off(store, tmp_path):
    """Its third benchmark would take until the test fails."""
    driver, dispatcher = run(bad_after_good(tmp_path), store)
    assert executions(store)["slow/4"] <= 1
    slow = driver.rows["bad"].goals[0].inputs["toy_qa3"].inputs["attempts"].fingerprint
    assert not store.has(slow) and not store.claimed(slow)
    assert dispatcher.states[slow] == "stopped" and store.failure(slow) is None


@pytest.mark.slow
def test_stopped_trial_is_not_resumed_by_the_next_start(store, tmp_path):
    run(bad_after_good(tmp_path), store)
    before, book = executions(store), ledger.load(store, "declared")
    driver, dispatcher = run(bad_after_good(tmp_path), store)
    assert driver.proposer.told()[:2] == [("done", "good"), ("stopped", "bad")]
    assert executions(store) == before and ledger.load(store, "declared") == book
    assert driver.rows["bad"].goals[0].fingerprint not in dispatcher.specs


@pytest.mark.slow
def test_stopped_trial_that_finished_nevertheless_is_done(store, tmp_path):
    """As when its last job ended before it could be taken out of the queue."""
    run(bad_after_good(tmp_path), store)
    book = ledger.load(store, "declared")
    (store.root / "no_waiting").touch()
    run(declare(tmp_path, arms=arms(good=36, bad=4), seeds=[0, 1]), store)
    ledger.save(store, book)
    assert book.trials[1].stopped and not book.trials[1].was_stopped(store)
    driver, _ = run(bad_after_good(tmp_path), store)
    assert driver.proposer.told()[:2] == [("done", "good"), ("done", "bad")]
    assert results.table(store, ledger.load(store, "declared")).text("bad", "Avg") == "10.0 ±0.0"


@pytest.mark.slow
def test_trial_is_stopped_while_there_is_something_left_to_save(store, tmp_path):
    (store.root / "no_waiting").touch()
    run(declare(tmp_path, arms=arms(good=36, bad=4)), store)
    for finished, stopped in ((1, True), (2, True), (3, False)):
        driver = Driver(declare(tmp_path, arms=arms(good=36, bad=4), stopping={"rule": "wilcoxon"}), store)
        driver.ask()
        driver.race.end("good", done=True)
        grades = [grade.fingerprint for grade in driver.rows["bad"].goals[0].inputs.values()][:finished]
        assert (driver.race.look("bad", grades.__contains__) is not None) == stopped
        assert driver.race.look("bad", grades.__contains__) is None, "judged once for each thing that finishes"


@pytest.mark.slow
def test_switching_stopping_off_finishes_what_it_had_stopped(store, tmp_path):
    run(bad_after_good(tmp_path), store)
    (store.root / "no_waiting").touch()
    driver, _ = run(declare(tmp_path, arms=arms(good=36, bad=4), seeds=[0, 1]), store)
    assert driver.rows["bad"].outcome.state == "done" and executions(store)["train/4/1"] == 1


def test_seeds_run_one_after_the_other_and_all_at_once_without_stopping(store, tmp_path):
    for stopping, released in (({"rule": "wilcoxon"}, 1), (None, 3)):
        driver = Driver(declare(tmp_path, arms=arms(good=36), seeds=[0, 1, 2], stopping=stopping), store)
        assert len(driver.ask()) == released and len(driver.goals()) == 3


def test_grid_waits_for_those_it_is_compared_with_and_plans_them_all(store, tmp_path):
    sweep = declare(tmp_path, arms=arms(a=1, b=2, c=3), seeds=[0, 1], parallel=2, stopping={"rule": "asha"})
    driver, dry = Driver(sweep, store), Driver(sweep, store, dry_run=True)
    driver.ask(), dry.ask()
    assert (list(driver.trials), list(dry.trials)) == (["a", "b"], ["a", "b", "c"])


TWINS = {**arms(good=36), "bad": {"train.weights.final": 4, "select.first": 1, "select.rule": "min"},
         "twin": {"train.weights.final": 4, "select.first": 1, "select.rule": "max"}}
"""With one sample there is one choice, so these two have the same stages."""


@pytest.mark.slow
def test_rows_with_the_same_stages_are_stopped_together(store, tmp_path):
    driver, dispatcher = run(declare(tmp_path, arms=TWINS, seeds=[0, 1], parallel=1, stopping={"rule": "wilcoxon"}), store)
    bad, twin = (driver.rows[name] for name in ("bad", "twin"))
    assert bad.goals[0].fingerprint == twin.goals[0].fingerprint
    assert driver.proposer.told() == [("done", "good"), ("stopped", "bad"), ("stopped", "twin")]
    assert dispatcher.states[bad.goals[0].fingerprint] == "stopped"


@pytest.mark.slow
def test_what_a_stopped_row_shares_with_another_one_goes_on(store, tmp_path, monkeypatch):
    (store.root / "no_waiting").touch()
    monkeypatch.setitem(RULES, "picky", (picky, ()))
    driver, dispatcher = run(declare(tmp_path, arms=TWINS, seeds=[0, 1], parallel=3, stopping={"rule": "picky"}), store)
    assert sorted(driver.proposer.told()) == [("done", "good"), ("done", "twin"), ("stopped", "bad")]
    assert "stopped" not in dispatcher.states.values() and executions(store)["train/4/1"] == 1


def picky(course, mine, others):
    """Stops whom it does not like."""
    return Stop("picky", (), "good", 0.0, 0.0) if mine.label == "bad" else None


def test_failure_of_what_nobody_wants_any_more_is_none(store):
    """It had just failed when it was withdrawn."""
    def fail(config, inputs, out, runtime):
        raise ValueError("as asked")
    goal = StageSpec(Stage("x", 1, fail), None)
    dispatcher = Dispatcher(store, connect(ClusterConfig(), Job(store, Runtime(), Tracking(store.root)), 0))
    dispatcher.add([goal])
    dispatcher.step()
    dispatcher.withdraw([goal])
    dispatcher.step()
    assert not dispatcher.failures and not dispatcher.open() and dispatcher.states[goal.fingerprint] == "stopped"


@pytest.mark.slow
def test_search_learns_that_a_trial_was_stopped(store, tmp_path):
    (store.root / "no_waiting").touch()
    space = {"train.weights.final": {"low": 1, "high": 40}}
    keys = {"backend": "optuna", "options": {"sampler": "random"}, "trials": 4, "parallel": 1, "seeds": [0, 1], "space": space}
    driver, _ = run(declare(tmp_path, **keys, direction="minimize", stopping={"rule": "asha"}), store)
    said = [row.outcome.state for row in driver.rows.values()]
    assert set(said) == {"done", "stopped"} and said[0] == "done"
    words = {"done": "COMPLETE", "stopped": "PRUNED"}
    told = {trial.user_attrs["label"]: trial.state.name for trial in driver.proposer.proposer.study.trials}
    assert told == {label: words[row.outcome.state] for label, row in driver.rows.items()}


@pytest.mark.slow
def test_word_of_a_stopped_row_is_in_every_form_of_the_table(store, tmp_path):
    (store.root / "no_waiting").touch()
    run(declare(tmp_path, arms=arms(bad=4), seeds=[0]), store)
    run(bad_after_good(tmp_path), store)
    book = ledger.load(store, "declared")
    table = results.table(store, book)
    assert "| bad | stopped | stopped | stopped | stopped | stopped |" in tables.markdown(table)
    assert r"bad & stopped & stopped & stopped & stopped & stopped \\" in tables.latex(table)
    assert "stopped: ended early" in tables.caption(table)
    lines = tables.as_csv(table, results.rows(store, book), results.seeds(book)).splitlines()
    assert [line for line in lines if line.startswith("bad,0,In-domain,toy_math,4,40,0,10.0000,") and ",stopped," in line]
    assert "train/4/1" not in executions(store) and "bad,1,In-domain,toy_math,,,,,,stopped,,,toy,,,," in lines
