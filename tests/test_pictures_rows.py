"""Which rows and sets a picture is of, and what it says of those that it leaves out."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

import small_results
from counted import grades, inputs, percent
from drawn_sweeps import ARMS, BENCHMARKS, labels, make, picture
from smartad.analysis.pictures import NotDrawable, draw, finished, rows
from smartad.cli.arguments import parse
from smartad.cli.figures import figure_command
from smartad.figures import style
from smartad.records import read_jsonl, write_jsonl
from smartad.report.sections import unmeasured
from smartad.stages.grade import summary as graded
from smartad.store import Store
from smartad.sweep import results
from smartad.types import Verdict
from test_figures import dots, panels

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return make(tmp_path_factory.mktemp("pictures"))


def test_rows_that_are_not_finished_are_named_and_not_drawn(drawn):
    figure = picture(drawn, "arms", "scores")
    assert "Not finished, and not drawn: late." in figure.get_label()
    assert sorted(labels(figure.axes[0])) == sorted(set(ARMS) - {"late"})


def test_half_finished_row_is_drawn_as_far_as_it_is_and_never_for_a_better_one(drawn, tmp_path):
    shutil.copytree(drawn.store.root, tmp_path / "store")
    store, book = Store(tmp_path / "store"), drawn.books["presets"]
    scores = {trial.label: {name: percent(drawn, "presets", trial.label, name)[0] for name in BENCHMARKS}
              for trial in book.trials}
    part = max(book.trials, key=lambda trial: sum(scores[trial.label].values()))
    worst = min(BENCHMARKS, key=scores[part.label].get)
    run, = part.runs
    for fingerprint in (run.goal, inputs(drawn.store, run.goal)[worst]):
        shutil.rmtree(store.folder(fingerprint))
    figure = draw(store, book, "scores")
    assert {title: len(dots(axis)) for title, axis in panels(figure).items()} == {
        **dict.fromkeys(BENCHMARKS, 4), worst: 3, "Avg": 3}
    assert f"Finished in part: {part.label}." in figure.get_label() and labels(figure.axes[0])[-1] == part.label
    of = finished(store, book)
    others, shown = of.best(3), [row for row in of.rows if not row.whole]
    assert {row.label for row in others} == set(scores) - {part.label} and "The 3 best of 4 rows by Avg." in of.notes(others)
    assert "1 of 4 rows, those with an Avg first." in of.notes(shown)


def test_k_curve_does_not_join_what_an_unfinished_k_parts(drawn, tmp_path):
    book = small_results.run(drawn.store, tmp_path, "gap", unfinished=lambda label: "first=5" in label,
                             arms={"min": {"train.rank": 6}}, space={"select.first": [1, 5, 10]})
    for title in ("toy_qa", "Avg", "coverage"):
        line = panels(draw(drawn.store, book, "k_curve"))[title].containers[0].lines[0]
        assert list(line.get_xdata()) == [1, 5, 10] and list(np.isnan(np.array(line.get_ydata(), float))) == [False, True, False]


def test_sets_that_are_not_drawn_are_counted(drawn, monkeypatch):
    every = finished(drawn.store, drawn.books["arms"])
    monkeypatch.setattr(rows, "POOLS", 1)
    assert len(every.pools) == 1 < every.sets
    assert f"The first 1 of {every.sets} sets." in draw(drawn.store, every.book, "nll_buckets", of=every).get_label()


def test_sweep_of_untrained_students_and_chains_says_what_it_lacks(drawn, tmp_path):
    book = small_results.run(drawn.store, tmp_path, "chains", overrides=["benchmarks={in_domain: [toy_qa], out_of_domain: []}"],
                             arms={"chain": {"train": None, "dialect": "cot", "evaluate.agent": "cot",
                                             "evaluate.prompt": "toy_cot"}})
    for name, why in (("nll_buckets", "no finished select stage"), ("hard_minus_easy", "no finished select stage"),
                      ("code_errors", "no row of chains is an agent's"), ("retrieval_calls", "no row of chains is an agent's"),
                      ("math_levels", "more than one level; math500 has"), ("math_subjects", "more than one subject"),
                      ("k_curve", "sweeps/table6_k.yaml"), ("weights", "0 different train.weights")):
        with pytest.raises(NotDrawable, match=why):
            draw(drawn.store, book, name)


def test_sweep_of_which_nothing_is_finished_says_so(drawn, tmp_path):
    book = small_results.run(drawn.store, tmp_path, "begun", unfinished=lambda label: True, arms={"only": {"train.rank": 7}})
    with pytest.raises(NotDrawable, match="nothing is graded yet of begun"):
        draw(drawn.store, book, "scores")


def test_sweep_of_which_nothing_could_be_graded_says_so(drawn, tmp_path, monkeypatch):
    def ungraded(spec, inputs, out):
        small_results._verdicts(spec, inputs, out)
        verdicts = [replace(one, correct=None) for one in read_jsonl(out / "verdicts.jsonl", Verdict)]
        write_jsonl(out / "verdicts.jsonl", verdicts)
        return graded(verdicts)

    monkeypatch.setitem(small_results.BODIES, "grade", ungraded)
    book = small_results.run(drawn.store, tmp_path, "mute", arms={"only": {"train.rank": 8}})
    with pytest.raises(NotDrawable, match="all 72 answers of mute are ungraded"):
        draw(drawn.store, book, "scores")
    assert unmeasured(results.table(drawn.store, book)).startswith("All 72 answers are ungraded")


def test_rows_that_are_named_are_drawn_alone(drawn):
    figure = draw(drawn.store, drawn.books["arms"], "scores", rows=["ag", "+ sag"])
    assert sorted(labels(figure.axes[0])) == ["+ sag", "agent"] and "late" not in figure.get_label()
    pools = [len(draw(drawn.store, drawn.books["arms"], "nll_buckets", rows=of).axes[0].get_xticks()) for of in ([], ["_chain"])]
    assert pools == [2, 1], "those that these rows train on"
    nine = [trial.label for trial in drawn.books["search"].trials][:9]
    with pytest.raises(NotDrawable, match="search has 9 finished trials, and it takes 10"):
        draw(drawn.store, drawn.books["search"], "importances", rows=nine)


def test_only_rows_that_can_be_told_apart_are_drawn_and_the_caption_counts_them(drawn, monkeypatch):
    monkeypatch.setattr(style, "SERIES", 2)
    figure = picture(drawn, "arms", "math_levels")
    averages = {label: np.mean([percent(drawn, "arms", label, b)[0] for b in BENCHMARKS]) for label in set(ARMS) - {"late"}}
    assert {text.get_text() for text in figure.legends[0].get_texts()} == set(sorted(averages, key=averages.get)[-2:])
    assert "The 2 best of 5 rows by Avg." in figure.get_label()


def test_figure_command_on_a_damaged_store_says_what_it_did_not_draw(drawn, tmp_path, capsys):
    shutil.copytree(drawn.store.root, tmp_path / "store")
    grade, = grades(drawn, "presets", "uniform", "toy_qa")
    stage = inputs(drawn.store, grade)["attempts"]
    (tmp_path / "store" / stage / "trajectories.jsonl").unlink()
    assert figure_command(parse(["figure", "--store", str(tmp_path / "store"), "--to", str(tmp_path), "presets"])) == 1
    said = capsys.readouterr()
    assert f"tokens is not drawn: {stage} is finished, and its trajectories.jsonl is gone" in said.err
    assert "presets-scores.svg" in said.out and "presets-code_errors.svg" in said.out
