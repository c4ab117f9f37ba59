"""What is drawn of a sweep is what stands in its store, counted here from the files without smartad's own readers."""

import itertools
import json
import re
import shutil
from collections import Counter, defaultdict
from math import sqrt

import numpy as np
import pytest

from command import smartad
from counted import attempts, grades, inputs, lines, percent
from drawn_sweeps import ARMS, BENCHMARKS, labels, make, picture
from smartad import figures
from smartad.analysis.pictures import PICTURES, NotDrawable, draw
from smartad.analysis.pictures.rows import Episodes
from smartad.cli.arguments import parse
from smartad.cli.figures import figure_command
from smartad.stats import wilson
from smartad.store import Store, StoreError
from smartad.types import UserError
from test_figures import dots, panels, written

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return make(tmp_path_factory.mktemp("pictures"))


def test_scores_are_the_shares_of_right_answers_with_wilsons_intervals(drawn):
    found = panels(picture(drawn, "arms", "scores"))
    assert list(found) == [*BENCHMARKS, "Avg"]
    for name in BENCHMARKS:
        for label, (value, interval) in zip(labels(found[name]), dots(found[name]), strict=True):
            share, n = percent(drawn, "arms", label, name)
            assert value == pytest.approx(share) and interval == pytest.approx(wilson(share * n / 100, n)), (name, label)
    averages = [np.mean([percent(drawn, "arms", label, name)[0] for name in BENCHMARKS]) for label in labels(found["Avg"])]
    assert [value for value, _ in dots(found["Avg"])] == pytest.approx(averages)
    assert averages == sorted(averages, reverse=True), "the best row is on top"
    for (value, (low, high)), row in zip(dots(found["Avg"]), zip(*(dots(found[name]) for name in BENCHMARKS), strict=True),
                                         strict=True):
        assert value - low == pytest.approx(np.linalg.norm([one - ends[0] for one, ends in row]) / 3)
        assert high - value == pytest.approx(np.linalg.norm([ends[1] - one for one, ends in row]) / 3)


def test_k_curve_has_each_k_of_each_line_and_its_coverage(drawn):
    figure = picture(drawn, "ks", "k_curve")
    found = panels(figure)
    for which, arm in enumerate(("min", "max")):
        values = {k: percent(drawn, "ks", f"{arm}, select.first={k}", "toy_qa")[0] for k in (1, 5, 10)}
        line = found["toy_qa"].containers[which].lines[0]
        assert list(line.get_ydata()) == pytest.approx(list(values.values()))
        assert list(line.get_xdata()) == pytest.approx([1, 5, 10], abs=0.1)
        assert list(found["coverage"].containers[which].lines[0].get_ydata()) == pytest.approx([50, 100 * 22 / 24, 100 * 23 / 24])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["min", "max"]


def test_buckets_are_parted_at_the_tertiles_of_nll(drawn):
    select = next(f for trial in drawn.books["ks"].trials for f in trial.runs[0].stages if f.startswith("select-"))
    of = inputs(drawn.store, select)
    scores = {(r["question_id"], r["sample"]): r["turn_nll"][0] for r in lines(drawn.store, of["scores"], "scores.jsonl")}
    right = {(r["question_id"], r["sample"]): r["correct"] for r in lines(drawn.store, of["verdicts"], "verdicts.jsonl")}
    low, high = np.quantile(list(scores.values()), [1 / 3, 2 / 3])
    bucket = {key: "easy" if nll <= low else "medium" if nll <= high else "hard" for key, nll in scores.items()}
    found = panels(picture(drawn, "ks", "nll_buckets"))
    for which, name in enumerate(("easy", "medium", "hard")):
        keys = [key for key in scores if bucket[key] == name]
        graded = [right[key] for key in keys if right[key] is not None]
        nll = found["mean NLL: all trajectories of a set together"].patches[which].get_height()
        accuracy = found["accuracy: all trajectories of a set together"].patches[which].get_height()
        assert nll == pytest.approx(np.mean([scores[key] for key in keys]))
        assert accuracy == pytest.approx(100 * np.mean(graded))
        (_, low), (_, high) = found["accuracy: all trajectories of a set together"].collections[which].get_segments()[0]
        questions = len({question for question, _ in keys})
        assert questions < len(graded) and (low, high) == pytest.approx(wilson(np.mean(graded) * questions, questions))
    heights = [found["accuracy: all trajectories of a set together"].patches[which].get_height() for which in (0, 2)]
    cells = panels(picture(drawn, "ks", "hard_minus_easy"))["accuracy (points)"]
    assert cells.texts[0].get_text() == f"{heights[1] - heights[0]:+.2f}"


def test_weights_are_where_their_shares_put_them_and_the_best_is_marked(drawn):
    figure = picture(drawn, "presets", "weights")
    triangle, parallel, _ = figure.axes
    triples = {"smartad": (1, 1.5, 2), "uniform": (1, 1, 1), "thought_heavy": (2, 1, 1), "action_heavy": (1, 2, 1)}
    scores = {name: np.mean([percent(drawn, "presets", name, b)[0] for b in BENCHMARKS]) for name in triples}
    dots, ring = triangle.collections
    places = {(round(x, 6), round(y, 6)): value for (x, y), value in zip(dots.get_offsets(), dots.get_array(), strict=True)}
    for name, (reason, action, final) in triples.items():
        total = reason + action + final
        where = (round((action + final / 2) / total, 6), round(final * sqrt(3) / 2 / total, 6))
        assert places[where] == pytest.approx(scores[name]), name
    best = max(scores, key=scores.get)
    assert triangle.get_title() == "best " + " : ".join(f"{w:g}" for w in triples[best])
    assert tuple(ring.get_offsets()[0]) == pytest.approx(max(places, key=places.get), abs=1e-5)
    assert [label.get_text() for label in parallel.get_xticklabels()] == ["reason", "action", "final", "avg"]


def test_parallel_coordinates_have_an_axis_for_each_swept_key_and_a_line_for_each_trial(drawn):
    _, parallel, _ = picture(drawn, "search", "weights").axes
    assert [label.get_text() for label in parallel.get_xticklabels()] == ["action", "final", "select.rule", "avg"]
    paths = parallel.collections[0].get_segments()
    assert len(paths) == 12
    where = {0.5: 0, 1: 1 / 3, 2: 1}
    found = Counter((round(a, 4), round(f, 4), round(r, 4)) for (_, a), (_, f), (_, r), _ in paths)
    assert found == Counter((round(where[a], 4), f - 1, r) for a in (0.5, 1, 2) for f in (1, 2) for r in (0, 1))


def test_importances_are_those_of_the_search_the_largest_on_top(drawn):
    axis, = picture(drawn, "search", "importances").axes
    widths = [bar.get_width() for bar in axis.patches]
    assert set(labels(axis)) <= {"train.weights.action", "train.weights.final", "select.rule"}
    assert widths == sorted(widths, reverse=True) and sum(widths) == pytest.approx(1)


@pytest.mark.parametrize(("name", "parts"), [("math_levels", "level"), ("math_subjects", "subject")])
def test_levels_and_subjects_are_counted_question_by_question(drawn, name, parts):
    figure = picture(drawn, "arms", name)
    axis, = figure.axes
    grade = grades(drawn, "arms", "agent", "toy_math")[0]
    questions = lines(drawn.store, inputs(drawn.store, grade)["questions/toy_math"], "questions.jsonl")
    part = {question["id"]: question[parts] for question in questions}
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(shown) == sorted(set(ARMS) - {"late"})
    for label, line in zip(shown, axis.containers, strict=True):
        for kind, value in zip(sorted(set(part.values())), line.lines[0].get_ydata(), strict=True):
            shares = defaultdict(list)
            for of_seed in grades(drawn, "arms", label, "toy_math"):
                for row in lines(drawn.store, of_seed, "verdicts.jsonl"):
                    if part[row["question_id"]] == kind and row["correct"] is not None:
                        shares[row["question_id"]].append(row["correct"])
            assert value == pytest.approx(100 * np.mean([np.mean(of) for of in shares.values()])), (label, kind)


def test_tokens_are_the_quartiles_of_every_attempt_and_chains_have_a_colour_of_their_own(drawn):
    figure = picture(drawn, "arms", "tokens")
    axis = panels(figure)["toy_math"]
    rest = iter(axis.get_lines())
    for label, box in zip(labels(axis), axis.patches, strict=True):
        counts = [row["tokens"] for row in attempts(drawn, "arms", label, "toy_math")]
        xs = box.get_path().vertices[:, 0]
        assert (min(xs), max(xs)) == pytest.approx(tuple(np.percentile(counts, [25, 75]))), label
        left, right, _, _, median, average = (line.get_xdata() for line in itertools.islice(rest, 6))
        low, high = np.percentile(counts, [5, 95])
        assert (min(left), max(right)) == (min(c for c in counts if c >= low), max(c for c in counts if c <= high)), label
        assert (median[0], average[0]) == (pytest.approx(np.median(counts)), pytest.approx(np.mean(counts)))
    colour = {label: box.get_facecolor() for label, box in zip(labels(axis), axis.patches, strict=True)}
    assert colour["agent"] == colour["+ sag"] != colour["_chain"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["agent", "chain of thought"]


def test_tokens_that_were_not_counted_are_said_and_are_no_zeros(drawn, tmp_path):
    shutil.copytree(drawn.store.root, tmp_path / "store")
    store, book = Store(tmp_path / "store"), drawn.books["presets"]
    for path in store.root.glob("evaluate-*/trajectories.jsonl"):
        first, *rest = path.read_text().splitlines()
        path.write_text("\n".join([re.sub(r'"tokens": \d+', '"tokens": null', first), *rest]) + "\n")
    figure = draw(store, book, "tokens")
    assert "Left out: 12 attempts whose engine does not count." in figure.get_label()
    assert figure.axes[0].get_title() == "toy_math\nn = 23"
    for path in store.root.glob("evaluate-*/trajectories.jsonl"):
        path.write_text(re.sub(r'"tokens": \d+', '"tokens": null', path.read_text()))
    with pytest.raises(NotDrawable, match="the engines of presets did not count"):
        draw(store, book, "tokens")


def test_code_errors_are_shares_of_steps_and_votes_stand_beside_the_same_adapter_without(drawn):
    figure = picture(drawn, "arms", "code_errors")
    axis = panels(figure)["toy_qa"]
    shown = labels(axis)
    assert "_chain" not in shown and shown.index("+ sag") == shown.index("agent") + 1
    bars = iter(axis.patches)
    for label, text in zip(shown, axis.texts, strict=True):
        steps = Counter(step["status"] for row in attempts(drawn, "arms", label, "toy_qa") for step in row["steps"])
        dark, light = next(bars), next(bars)
        assert dark.get_width() == pytest.approx(100 * steps["parse_error"] / steps.total())
        assert light.get_width() == pytest.approx(100 * (steps["exec_error"] + steps["timeout"]) / steps.total())
        assert text.get_text().endswith(f"of {steps.total()}") and bool(light.get_hatch()) == (label == "+ sag")
    assert figure.legends[0].get_texts()[2].get_text() == "votes of 4 candidates (SAG)"


def test_retrieval_calls_are_those_written_in_the_code_of_agents(drawn):
    axis = panels(picture(drawn, "arms", "retrieval_calls"))["toy_qa3"]
    assert "_chain" not in labels(axis)
    for label, (value, _) in zip(labels(axis), dots(axis), strict=True):
        rows = attempts(drawn, "arms", label, "toy_qa3")
        calls = [len(re.findall(r"web_search\(", re.sub("#.*", "", step["action"]))) for row in rows for step in row["steps"]]
        assert sum(calls) > 0 and value == pytest.approx(sum(calls) / len(rows)), label


def test_attempts_at_one_question_are_all_kept(drawn):
    attempt = {"question_id": "a", "tokens": 5, "steps": [{"action": "web_search('a')"}]}
    folder = drawn.store.folder("evaluate-0123456789ab")
    folder.mkdir()
    rows = [attempt, {**attempt, "steps": []}, {**attempt, "question_id": "b", "tokens": None}]
    (folder / "trajectories.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert drawn.of["arms"].episodes(folder.name) == Episodes((5, 5), 1, {"a": (1, 0), "b": (1,)})
    shutil.rmtree(folder)


@pytest.mark.parametrize(("sweep", "name", "why"), [
    ("arms", "k_curve", "arms has no two finished rows that differ in select.first alone"),
    ("ks", "weights", "ks has finished rows with 1 different train.weights"),
    ("ks", "importances", "ks has 6 finished trials, and it takes 10"),
    ("arms", "importances", "arms sweeps arm alone")])
def test_what_a_sweep_does_not_have_is_said(drawn, sweep, name, why):
    with pytest.raises(NotDrawable, match=why):
        picture(drawn, sweep, name)


def test_unknown_picture_and_unknown_row_are_errors_that_name_those_there_are(drawn):
    with pytest.raises(UserError, match="no picture 'k_curves'; there are scores, k_curve"):
        draw(drawn.store, drawn.books["ks"], "k_curves")
    with pytest.raises(StoreError, match="'nobody' is no row of"):
        draw(drawn.store, drawn.books["ks"], "scores", rows=["nobody"])


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_the_same_file_again_and_its_svg_has_its_caption(drawn, name, tmp_path):
    sweep = {"k_curve": "ks", "weights": "search", "importances": "search"}.get(name, "arms")
    one, two = (picture(drawn, sweep, name) for _ in range(2))
    drawing = figures.svg(one)
    assert drawing == figures.svg(two)
    assert " ".join(one.get_label().split()) in " ".join(written(drawing))


def test_figure_command_draws_what_it_can_and_says_what_it_cannot(drawn, tmp_path):
    done = smartad("figure", "presets", "--to", str(tmp_path / "a"), "--format", "svg", store=drawn.store.root,
                   PYTHONHASHSEED="1")
    paths = [tmp_path / "a" / name for name in done.stdout.replace(f"{tmp_path}/a/", "").splitlines()]
    assert paths and all(path.is_file() for path in paths) and sorted(paths) == sorted((tmp_path / "a").iterdir())
    drawn_names = {path.stem.removeprefix("presets-") for path in paths}
    refused = {line.partition(" ")[0] for line in done.stderr.splitlines()}
    assert drawn_names | refused == set(PICTURES) and refused == {"k_curve", "importances"}
    again = smartad("figure", "presets", "scores", "weights", "--to", str(tmp_path / "b"), store=drawn.store.root,
                    PYTHONHASHSEED="2")
    assert again.stdout.count("\n") == len(list((tmp_path / "b").iterdir())) == 2
    for path in (tmp_path / "b").iterdir():
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()


def test_figure_command_named_what_cannot_be_drawn_fails_and_teaches(drawn, tmp_path, capsys):
    def figure(*words, store=drawn.store.root):
        return figure_command(parse(["figure", "--store", str(store), "--to", str(tmp_path), *words]))

    assert figure("presets", "k_curve") == 1
    assert "k_curve is not drawn: presets has no two finished rows" in capsys.readouterr().err
    assert figure("--list") == 0
    assert set(re.findall(r"^\w+", capsys.readouterr().out, re.MULTILINE)) == set(PICTURES)
    for words, message in ((["presets", "curve"], "no figure 'curve'; there are scores"),
                           (["presets", "--format", "svg,gif"], "gif is no format of figures; there are svg, pdf, png"),
                           (["presets", "--format", ","], "nothing is no format"), ([], "name a sweep")):
        with pytest.raises(UserError, match=message):
            figure(*words)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="name a folder that can be written to"):
        figure("presets", "--to", str(tmp_path / "file"))
