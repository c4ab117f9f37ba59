"""Buckets by NLL: the tertiles, every number of Tables 7-9, and the command that prints them."""

import csv
import io
import math
from argparse import Namespace
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from command import smartad
from small_pools import folder
from smartad import difficulty
from smartad.cli.buckets import buckets_command
from smartad.difficulty import HEADER, Measured, measure, rows_of, table, tertiles
from smartad.records import write_json
from smartad.types import Question, ScoredTrajectory, Step, Trajectory, UserError, Verdict

numbers = st.floats(0, 50, allow_nan=False) | st.sampled_from([0.1, 0.2, 0.30000000000000004, 1.0])


def by_the_definition(values):
    """Quantiles by interpolation in exact fractions, and a bucket by counting."""
    ordered = sorted(map(Fraction, values))

    def quantile(share):
        place = share * (len(ordered) - 1)
        return ordered[int(place)] + (place - int(place)) * (ordered[min(int(place) + 1, len(ordered) - 1)] - ordered[int(place)])

    return ["EMH"[(value > quantile(Fraction(1, 3))) + (value > quantile(Fraction(2, 3)))] for value in map(Fraction, values)]


@given(st.lists(numbers, min_size=1, max_size=40))
@example([0.0] * 4 + [1.0] * 9 + [math.nextafter(0.3, 1), 0.3])
def test_tertiles_are_those_of_exact_interpolated_quantiles(values):
    assert tertiles(values) == by_the_definition(values)


def test_tertiles_of_ten_are_four_three_three_and_equal_values_are_easy():
    assert "".join(tertiles([0.1 * n for n in range(10)])) == "EEEEMMMHHH"
    assert set(tertiles([0.7] * 10)) == {"E"}
    assert tertiles([]) == []


measured = st.lists(st.builds(
    Measured, question_id=st.sampled_from(["a/1", "a/2", "a/3"]), nll=st.sampled_from([0.1, 0.2, 0.5, 0.9]),
    chars=st.integers(0, 900), tool_calls=st.integers(0, 4), correct=st.sampled_from([True, False, None]),
    question_words=st.integers(1, 40)), max_size=25)


@given(measured)
def test_table_has_every_number_of_a_bucket_counted_by_hand(rows):
    found = table(rows)
    every = list(enumerate(rows))
    of_question = {q: [(i, r) for i, r in every if r.question_id == q] for q in {r.question_id for r in rows}}
    for way, groups in (("G", [every]), ("PQ", of_question.values())):
        for bucket in "EMH":
            inside = [row for group in groups if group
                      for (_, row), b in zip(group, by_the_definition([r.nll for _, r in group]), strict=True) if b == bucket]
            column = {name: cells[f"{way}-{bucket}"] for name, cells in found.items()}
            right = [row.correct for row in inside if row.correct is not None]
            assert column["N_traj"] == len(inside) and column["N_q"] == len({row.question_id for row in inside})
            assert column["n graded"] == len(right)
            assert column["Acc. (%)"] == (pytest.approx(100 * right.count(True) / len(right)) if right else None)
            for name, field in (("Mean NLL", "nll"), ("Traj. chars", "chars"), ("Tool calls", "tool_calls"),
                                ("Q words", "question_words")):
                values = [getattr(row, field) for row in inside]
                assert column[name] == (pytest.approx(sum(values) / len(values)) if values else None)


@given(measured)
def test_rows_of_a_table_end_with_hard_minus_easy_of_accuracy_and_tool_calls(rows):
    lines = {line[0]: dict(zip(HEADER[1:], line[1:], strict=True)) for line in rows_of(table(rows))}
    for name, cells in lines.items():
        for way in ("G", "PQ"):
            hard, easy = cells[f"{way}-H"], cells[f"{way}-E"]
            known = name in ("Acc. (%)", "Tool calls") and hard is not None and easy is not None
            assert cells[f"{way} H-E"] == (hard - easy if known else None)


def attempt(question, sample, *texts, nll, correct=True):
    """(trajectory, score, verdict) of a sample."""
    steps = tuple(Step(text, "f()", "Observation: 1", "ok") for text in texts)
    return (Trajectory(question, sample, steps, "1", "answered", None, 0.0),
            ScoredTrajectory(question, sample, (nll,) * len(texts), (1,) * len(texts), (1.0,) * len(texts), ""),
            Verdict(question, sample, correct, "exact/1", ""))


POOL = [attempt("a/1", 0, "abc", nll=1.0), attempt("a/1", 1, "abcd", "ef", nll=2.0, correct=False),
        attempt("a/1", 2, "x" * 9, nll=3.0, correct=None), attempt("b/1", 0, "abc", nll=4.0)]
QUESTIONS = [Question("a/1", "What is  one\nplus one?", ("2",)), Question("b/1", "Who?", ())]


def test_measure_takes_the_teachers_text_and_leaves_out_what_has_no_nll():
    trajectories, scores, verdicts = zip(*POOL, strict=True)
    rows = measure({q.id: q for q in QUESTIONS}, trajectories, [scores[0], scores[1]], verdicts[1:])
    assert rows == [Measured("a/1", 1.0, 3, 1, None, 5), Measured("a/1", 2.0, 6, 2, False, 5)]


def test_by_set_parts_questions_by_their_benchmark():
    trajectories, scores, verdicts = zip(*POOL, strict=True)
    rows = measure({q.id: q for q in QUESTIONS}, trajectories, scores, verdicts)
    assert {name: len(of_set) for name, of_set in difficulty.by_set(rows).items()} == {"a": 3, "b": 1}


PREPARE, COLLECT, GRADE, SCORE, SELECT = (f"{kind}-00000000000{n}" for n, kind in
                                          enumerate(("prepare", "collect", "grade", "score", "select")))


@pytest.fixture
def pooled(store):
    """A store in which POOL was graded, scored and selected from."""
    return keep(store, POOL, QUESTIONS)


def keep(store, pool, questions):
    trajectories, scores, verdicts = zip(*pool, strict=True)
    inputs = {PREPARE: {}, COLLECT: {}, GRADE: {}, SCORE: {"questions/a": PREPARE, "pool": COLLECT},
              SELECT: {"pool": COLLECT, "verdicts": GRADE, "scores": SCORE}}
    rows = {PREPARE: {"questions.jsonl": questions}, COLLECT: {"trajectories.jsonl": trajectories},
            GRADE: {"verdicts.jsonl": verdicts}, SCORE: {"scores.jsonl": scores}, SELECT: {"selected.jsonl": []}}
    for name, files in rows.items():
        folder(store.folder(name), files)
        config = {"student": "toy@0123"} if name == SCORE else {}
        write_json(store.folder(name) / "record.json", {"identity": {"stage": name.partition("-")[0], "config": config,
                                                                     "inputs": inputs[name]}})
    return store


@pytest.mark.slow
def test_buckets_of_a_select_stage_are_a_table_per_set(pooled):
    text = smartad("buckets", "select-0000", "--format", "csv", store=pooled.root).stdout
    rows = {(row["set"], row["Metric"]): row for row in csv.DictReader(io.StringIO(text))}
    assert rows["a", "N_traj"]["student"] == "toy@0123" and rows["a", "N_traj"]["pool"] == COLLECT
    assert [rows["a", "N_traj"][f"PQ-{b}"] for b in "EMH"] == ["1", "1", "1"]
    assert [rows["a", "Acc. (%)"][f"G-{b}"] for b in "EMH"] == ["100.0", "0.0", ""], "not graded is not wrong"
    assert [rows["b", "N_traj"][f"G-{b}"] for b in "EMH"] == ["1", "0", "0"]
    shown = smartad("buckets", SELECT, "--format", "md", store=pooled.root).stdout
    assert "| Acc. (%) | 100.0 | 0.0 | – | 100.0 | 0.0 | – | – | – |" in shown
    assert r"Acc. (\%) & 100.0 & 0.0" in smartad("buckets", SELECT, "--format", "tex", store=pooled.root).stdout


def test_buckets_of_several_pools_name_the_pool_in_the_title_and_of_one_do_not(pooled, capsys):
    other, select, both = "collect-000000000009", "select-000000000009", "aggregate-000000000009"
    trajectories, _, _ = zip(*POOL, strict=True)
    for name, files, inputs in ((other, {"trajectories.jsonl": trajectories}, {}),
                                (select, {}, {"pool": other, "verdicts": GRADE, "scores": SCORE}),
                                (both, {}, {"first": SELECT, "second": select})):
        folder(pooled.folder(name), files)
        write_json(pooled.folder(name) / "record.json", {"identity": {"stage": name.partition("-")[0], "config": {},
                                                                      "inputs": inputs}})
    titles = {}
    for target in (SELECT, both):
        buckets_command(Namespace(store=pooled.root, target=target, format="md", paper=False))
        titles[target] = {line for line in capsys.readouterr().out.splitlines() if " under " in line}
    assert titles[SELECT] == {"a under toy@0123", "b under toy@0123"}
    assert titles[both] == {f"{name} under toy@0123, {pool}" for name in "ab" for pool in (COLLECT, other)}


@pytest.mark.slow
def test_buckets_of_what_no_selection_stands_behind_say_where_it_is(pooled):
    assert "no select stage of score-0000" in smartad("buckets", "score-0000", store=pooled.root, status=2).stderr


def test_buckets_with_what_the_paper_prints_have_it_and_the_difference_below_each_row(store, capsys):
    pool = [attempt("math_hard/1", n, "x" * 1000, nll=n / 2, correct=n < 2) for n in range(4)]
    questions = [Question(name, "What?", ()) for name in ("math_hard/1", "mine/1")]
    keep(store, [*pool, attempt("mine/1", 0, "x", nll=1.0)], questions)
    buckets_command(Namespace(store=store.root, target=SELECT, format="md", paper=True))
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    hard, mine = [at for at, line in enumerate(lines) if line[0].endswith("under toy@0123")]
    found = {line[0]: line[1:] for line in lines[hard:mine]}
    assert found["Acc. (%)"] == ["100.0", "0.0", "0.0", "100.0", "0.0", "0.0", "-100.0", "-100.0"]
    assert found["Acc. (%), paper"] == ["58.0", "62.2", "55.2", "62.4", "55.4", "54.4", "-2.8", "-8.0"]
    assert found["Acc. (%), difference"] == ["+42.0", "-62.2", "-55.2", "+37.6", "-55.4", "-54.4", "-97.2", "-92.0"]
    assert found["N_traj, paper"][:2] == ["3092", "3084"] and found["N_traj, difference"][:2] == ["-3090", "-3083"]
    assert found["Mean NLL, difference"][0] == "-0.129" and "n graded, paper" not in found
    assert not [line for line in lines[mine:] if line[0].endswith(", paper")], "nothing is printed of this training set"
    assert [line[0] for line in lines if line[0].startswith("paper: SmartAD, Table 8, under Qwen/Qwen2.5-1.5B-Instruct;")]


def test_buckets_of_training_sets_that_no_paper_prints_say_which_there_are(pooled):
    with pytest.raises(UserError, match=r"select-.* are of a, b, and what is printed is of math_medium \(SmartAD, Table 7\),"):
        buckets_command(Namespace(store=pooled.root, target=SELECT, format="md", paper=True))
