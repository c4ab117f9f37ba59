"""The select stage: filter, first K, rule."""

import dataclasses

import pytest

from small_pools import folder, trajectory, verdict
from smartad.records import read_jsonl, write_jsonl
from smartad.selection import RULES
from smartad.stage import Runtime
from smartad.stages.select import SELECT, SelectConfig, decisive
from smartad.types import ScoredTrajectory, Selected, UserError

MIN = SelectConfig(first=4, seed=None)


class Pool:
    """Questions 0..2 with four samples; sample s of question q has NLL 10 - s, so later is lower."""

    def __init__(self, path):
        self.path = path
        self.trajectories = {(q, s): trajectory(q, s, turns=2) for q in range(3) for s in range(4)}
        self.verdicts = {key: verdict(t) for key, t in self.trajectories.items()}
        self.scored = set(self.trajectories)

    def wrong(self, q, s, correct=False, answer="0"):
        self.verdicts[q, s] = verdict(self.trajectories[q, s], correct)
        self.trajectories[q, s] = dataclasses.replace(self.trajectories[q, s], answer=answer)

    def failed(self, q, s, status):
        t = self.trajectories[q, s]
        self.trajectories[q, s] = dataclasses.replace(t, steps=(dataclasses.replace(t.steps[0], status=status), t.steps[1]))

    def select(self, config=MIN):
        scores = [ScoredTrajectory(f"toy/{q}", s, (10.0 - s,), (5,), (1.0,), "") for q, s in sorted(self.scored)]
        self.path.mkdir()
        out = self.path / "out"
        out.mkdir()
        inputs = {"pool": folder(self.path / "pool", {"trajectories.jsonl": list(self.trajectories.values())}),
                  "verdicts": folder(self.path / "verdicts", {"verdicts.jsonl": list(self.verdicts.values())}),
                  "scores": folder(self.path / "scores", {"scores.jsonl": scores})}
        metrics = SELECT.run(config, inputs, out, Runtime())
        return {int(row.question_id[4:]): row for row in read_jsonl(out / "selected.jsonl", Selected)}, metrics


@pytest.fixture
def pool(tmp_path):
    return Pool(tmp_path / "pool")


def test_select_min_takes_the_lowest_nll_of_each_question(pool):
    chosen, metrics = pool.select()
    assert chosen == {q: Selected(f"toy/{q}", 3, 7.0, 4) for q in range(3)}
    assert metrics["coverage"] == 1
    assert (metrics["mean_nll"], metrics["candidates_mean_nll"]) == (7.0, 8.5)


@pytest.mark.parametrize("rule", RULES)
def test_select_of_one_sample_is_the_same_by_every_rule(tmp_path, rule):
    """Which is why a plan has one stage for all of them."""
    one = SelectConfig(rule=rule, first=1, seed=3)
    assert decisive(one) == decisive(dataclasses.replace(one, rule="min", seed=5))
    assert Pool(tmp_path / "a").select(one) == Pool(tmp_path / "b").select(decisive(one))


def test_select_of_several_samples_is_another_stage_by_every_rule():
    configs = {rule: decisive(SelectConfig(rule=rule, first=2, seed=3)) for rule in RULES}
    assert all(config.rule == rule for rule, config in configs.items())
    assert {config.seed for rule, config in configs.items()} == {None, 3} and configs["random"].seed == 3


def test_select_first_k_looks_at_nested_subsets_of_one_pool(pool):
    chosen, metrics = pool.select(dataclasses.replace(MIN, first=2))
    assert {row.sample for row in chosen.values()} == {1}
    assert metrics["pool"] == 6


def test_select_drops_what_is_not_right_and_counts_why(pool):
    pool.wrong(0, 3)
    pool.wrong(0, 2, correct=None)
    pool.wrong(0, 1, answer=None)
    pool.failed(1, 3, "exec_error")
    pool.failed(1, 2, "parse_error")
    pool.failed(2, 3, "timeout")
    pool.scored.remove((2, 2))
    chosen, metrics = pool.select()
    assert {q: (row.sample, row.candidates) for q, row in chosen.items()} == {0: (0, 1), 1: (1, 2), 2: (1, 2)}
    assert {k.removeprefix("dropped/"): n for k, n in metrics.items() if k.startswith("dropped/") and n} == {
        "wrong": 1, "ungraded": 1, "no_answer": 1, "exec_error": 1, "parse_error": 1, "timeout": 1, "unscored": 1}
    assert metrics["candidates"] + 7 == metrics["pool"]


def test_select_of_a_question_without_a_candidate_leaves_it_out_of_coverage(pool):
    for s in range(4):
        pool.wrong(1, s)
    chosen, metrics = pool.select()
    assert set(chosen) == {0, 2}
    assert metrics["coverage"] == pytest.approx(2 / 3)


def test_select_switches_keep_wrong_and_failed_trajectories(pool):
    pool.wrong(0, 3)
    pool.failed(1, 3, "exec_error")
    chosen, _ = pool.select(dataclasses.replace(MIN, keep_wrong=True, keep_tool_failures=True))
    assert {row.sample for row in chosen.values()} == {3}


def test_select_with_nothing_left_says_why(pool):
    for q in range(3):
        for s in range(3):
            pool.wrong(q, s)
        pool.failed(q, 3, "exec_error")
    with pytest.raises(UserError, match="none of the 12 trajectories can be selected: 9 wrong, 3 exec_error"):
        pool.select()


def test_select_of_a_trajectory_without_a_verdict_is_ungraded(pool):
    del pool.verdicts[0, 3]
    chosen, metrics = pool.select()
    assert chosen[0].sample == 2
    assert metrics["dropped/ungraded"] == 1


def test_select_more_samples_than_the_pool_has_is_refused(pool):
    with pytest.raises(UserError, match="select.first=5 asks for more than the 4 samples"):
        pool.select(dataclasses.replace(MIN, first=5))


def test_select_of_a_damaged_row_names_file_and_line(pool, tmp_path):
    pool.select()
    file = pool.path / "scores" / "scores.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], lines[2][:-9], *lines[3:]]) + "\n")
    inputs = {role: pool.path / role for role in ("pool", "verdicts", "scores")}
    with pytest.raises(UserError, match=r"scores.jsonl:3 is not a ScoredTrajectory"):
        SELECT.run(MIN, inputs, pool.path / "out", Runtime())


def test_select_config_with_an_unknown_rule_lists_the_known():
    with pytest.raises(UserError, match="no selection rule 'mim'; there are fewest_turns, first, max, median, min, random"):
        SelectConfig(rule="mim")


def test_select_config_random_without_a_seed_is_refused():
    with pytest.raises(UserError, match=r"set select\.seed"):
        SelectConfig(rule="random", seed=None)


def test_select_random_differs_by_seed(tmp_path):
    def chosen(seed):
        rows, _ = Pool(tmp_path / f"seed{seed}").select(SelectConfig(rule="random", first=4, seed=seed))
        return [row.sample for row in rows.values()]

    assert len({tuple(chosen(seed)) for seed in range(6)}) > 1


def test_select_of_an_empty_pool_says_so(tmp_path):
    inputs = {role: folder(tmp_path / role, {name: []}) for role, name in
              (("pool", "trajectories.jsonl"), ("verdicts", "verdicts.jsonl"), ("scores", "scores.jsonl"))}
    write_jsonl(inputs["pool"] / "trajectories.jsonl", [])
    with pytest.raises(UserError, match="0 samples per question"):
        SELECT.run(MIN, inputs, tmp_path, Runtime())
