"""The select stage: filter, first K, rule."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_pools import folder, trajectory, verdict
from smartad.records import read_jsonl, write_jsonl
from smartad.selection import RULES
from smartad.stage import Runtime
from smartad.stages.select import SELECT, SWITCHES, Drop, SelectConfig, decisive
from smartad.types import ScoredTrajectory, Selected, UserError

MIN = SelectConfig(first=4, seed=None)


class Pool:
    """Questions 0..2 with four samples; sample s of question q has NLL 10 - s, so later is lower."""

    def __init__(self, path):
        self.path = path
        self.trajectories = {(q, s): trajectory(q, s, turns=2) for q in range(3) for s in range(4)}
        self.verdicts = {key: verdict(t) for key, t in self.trajectories.items()}
        self.scored = set(self.trajectories)
        self.nll = {}

    def wrong(self, q, s, correct=False, answer="0"):
        self.verdicts[q, s] = verdict(self.trajectories[q, s], correct)
        self.trajectories[q, s] = dataclasses.replace(self.trajectories[q, s], answer=answer)

    def failed(self, q, s, status):
        t = self.trajectories[q, s]
        self.trajectories[q, s] = dataclasses.replace(t, steps=(dataclasses.replace(t.steps[0], status=status), t.steps[1]))

    def fault(self, q, s, fault):
        """Let it be dropped for ``fault``, and for nothing else that can be told from it."""
        if fault in ("wrong", "ungraded"):
            self.wrong(q, s, correct=False if fault == "wrong" else None)
        elif fault in ("max_steps", "no_answer"):
            self.wrong(q, s, answer=None)
            stop = "max_steps" if fault == "max_steps" else "parse_error"
            self.trajectories[q, s] = dataclasses.replace(self.trajectories[q, s], stop=stop)
        else:
            self.failed(q, s, fault)

    def select(self, config=MIN):
        scores = [ScoredTrajectory(f"toy/{q}", s, (self.nll.get((q, s), 10.0 - s),), (5,), (1.0,), "")
                  for q, s in sorted(self.scored)]
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


def test_select_takes_an_answer_of_a_last_call_for_one_that_ran_out_of_steps(pool, tmp_path):
    pool.trajectories[0, 3] = dataclasses.replace(pool.trajectories[0, 3], stop="fallback")
    chosen, metrics = pool.select()
    assert chosen[0].sample == 2 and metrics["dropped/max_steps"] == 1
    loose = Pool(tmp_path / "loose")
    loose.trajectories = pool.trajectories
    assert loose.select(dataclasses.replace(MIN, drop=Drop(max_steps=False)))[0][0].sample == 3


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


@pytest.mark.parametrize("switch", SWITCHES)
def test_select_switch_keeps_what_it_would_drop_and_only_that(tmp_path, switch):
    """Sample 3 of question 0 has every fault but one, of question 1 none but it, of question 2 none at all."""
    def faulty(path):
        pool = Pool(path)
        pool.fault(1, 3, switch)
        return pool

    dropping, metrics = faulty(tmp_path / "dropping").select()
    assert dropping[1].sample == 2 and metrics[f"dropped/{switch}"] == 1
    kept, metrics = faulty(tmp_path / "keeping").select(dataclasses.replace(MIN, drop=switched(switch)))
    assert kept[1].sample == 3 and metrics[f"dropped/{switch}"] == 0
    others = dataclasses.replace(MIN, drop=Drop(**{name: name == switch for name in SWITCHES}))
    assert faulty(tmp_path / "alone").select(others)[0][1].sample == 2


def switched(switch):
    """The filter without this switch, and without those that say the same of a trajectory in other words."""
    off = {"max_steps": ["no_answer", "wrong"], "no_answer": ["wrong"]}.get(switch, [])
    return Drop(**dict.fromkeys([switch, *off], False))


def test_select_of_no_answer_that_a_grader_takes_for_right_is_wrong_whatever_the_switch(pool):
    pool.wrong(0, 3, correct=True, answer=None)
    chosen, metrics = pool.select(dataclasses.replace(MIN, drop=Drop(no_answer=False)))
    assert (chosen[0].sample, metrics["dropped/wrong"]) == (2, 1)


def test_select_counts_ties_and_gives_them_to_the_earliest(pool):
    pool.nll = {(0, 1): 7.0, (1, 2): 7.0, (2, 1): 9.5}
    chosen, metrics = pool.select()
    assert {q: row.sample for q, row in chosen.items()} == {0: 1, 1: 2, 2: 3}
    assert metrics["ties"] == 2


def test_select_coverage_at_every_k_is_what_a_selection_of_that_k_finds(tmp_path):
    def hard(path):
        pool = Pool(path)
        for q, s in [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]:
            pool.wrong(q, s)
        return pool

    _, metrics = hard(tmp_path / "all").select()
    assert [metrics[f"coverage/k={k}"] for k in (1, 2, 3, 4)] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert metrics["fewer_than_k"] == 3
    for k in (2, 3):
        _, smaller = hard(tmp_path / str(k)).select(dataclasses.replace(MIN, first=k))
        assert smaller["coverage"] == metrics[f"coverage/k={k}"]
        assert smaller["coverage/k=4"] == 1, "the whole pool is looked at for that, whatever K is"


def test_select_means_are_of_the_chosen_the_candidates_and_the_pool(pool):
    for q in range(3):
        pool.wrong(q, 3)
    _, metrics = pool.select()
    assert (metrics["mean_nll"], metrics["candidates_mean_nll"], metrics["pool_mean_nll"]) == (8.0, 9.0, 8.5)


def test_select_empty_fail_names_the_questions(pool):
    for s in range(4):
        pool.wrong(1, s)
    with pytest.raises(UserError, match=r"1 questions have no candidate among their first 4 samples: toy/1\. select.empty=drop"):
        pool.select(dataclasses.replace(MIN, empty="fail"))


switches = st.builds(Drop, **dict.fromkeys(SWITCHES, st.booleans()))
faults = st.dictionaries(st.tuples(st.integers(0, 2), st.integers(0, 3)), st.sampled_from(SWITCHES), max_size=12)


@settings(max_examples=30, deadline=None)
@given(drop=switches, faults=faults, rule=st.sampled_from(sorted(RULES)), first=st.integers(1, 4))
def test_select_by_what_is_decisive_of_a_config_chooses_the_same(tmp_path_factory, drop, faults, rule, first):
    def chosen(config):
        pool = Pool(tmp_path_factory.mktemp("pool") / "pool")
        for (q, s), fault in faults.items():
            pool.fault(q, s, fault)
        try:
            return pool.select(config)[0]
        except UserError as error:
            return str(error).split(":")[0]

    config = SelectConfig(rule=rule, first=first, seed=3, drop=drop)
    assert chosen(config) == chosen(decisive(config))


def test_select_switches_that_may_matter_are_stages_of_their_own():
    configs = {decisive(dataclasses.replace(MIN, drop=switched(switch))) for switch in SWITCHES}
    assert len(configs) == len(SWITCHES)
    unanswered = dataclasses.replace(MIN, drop=Drop(no_answer=False))
    assert decisive(unanswered) == decisive(MIN), "an answer that is missing is wrong, or ungraded"


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
    with pytest.raises(UserError, match="no selection rule 'mim'; there are fewest_tool_calls, first, max, median, min, random"):
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
