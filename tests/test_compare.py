"""Rows compared question by question: which questions, which runs, which p, and what is said."""

import csv
import dataclasses
import io
import shutil

import numpy as np
import pytest

from answered_sweeps import answer, declare
from command import all_of, on_a_terminal, smartad
from conftest import ROOT
from smartad.analysis.arms import arm
from smartad.analysis.compare import against, compare
from smartad.analysis.telling import told
from smartad.cli.arguments import parse
from smartad.cli.comparing import compare_command
from smartad.records import write_json
from smartad.report.comparing import section
from smartad.stats import MANY, holm, mcnemar
from smartad.store import Store, StoreError
from smartad.sweep import ledger
from smartad.sweep.stopping import Stop
from smartad.tables import HOLE
from smartad.types import UserError

pytestmark = pytest.mark.slow

ONE = {"seeds": [0]}
TWO = {"seeds": [0, 1]}


def steps(label, seed, benchmark, number):
    """min has 15 of 20 right, max 9, the base student 3, always the first ones; but of seed 1 without the very first."""
    right = {"base": 3, "min": 15, "max": 9}[label]
    return seed <= number < right if label != "base" else number < right


@pytest.fixture
def swept(store, tmp_path):
    """A function that makes a finished sweep of base, min and max."""
    def make(right=steps, keys=ONE, name="declared", **more):
        return answer(store, *declare(store, tmp_path, name, **keys), right, **more)
    return make


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The store of a finished sweep of base, min and max, to be read."""
    folder = tmp_path_factory.mktemp("finished")
    store = Store(folder / "store").open()
    answer(store, *declare(store, folder, **ONE), steps)
    return store


@pytest.fixture
def said(capsys):
    """Run the command in this process: what it prints."""
    def run(store, *words):
        assert compare_command(parse(["compare", *words, "--store", str(store.root)])) == 0
        return capsys.readouterr().out
    return run


def two(store, a="declared:min", b="declared:max", **options):
    return compare(store, arm(store, a), arm(store, b), draws=1000, **options)


def test_two_runs_are_compared_by_mcnemar_on_the_questions_on_which_they_differ(store, swept):
    swept(lambda label, seed, benchmark, number: number < 12 if label == "min" else 8 <= number < 14)
    one = two(store)
    line = one.lines[0]
    assert [line.benchmark for line in one.lines] == ["toy_math", "toy_qa3"]
    assert (line.n, line.a, line.b, line.difference.points) == (20, 60.0, 30.0, pytest.approx(30.0))
    assert [(pair.seeds, pair.only_a, pair.only_b) for pair in line.pairs] == [((0, 0), 8, 2)]
    assert (line.test, line.p) == ("McNemar", mcnemar(8, 2))
    assert [line.holm for line in one.lines] == pytest.approx([2 * mcnemar(8, 2)] * 2)
    assert (one.average_a, one.average_b, one.macro.points) == (60.0, 30.0, pytest.approx(30.0))
    assert one.macro.lone and "one seed of min and max" in " ".join(told(one))


def test_several_seeds_are_the_bootstraps_and_each_pair_of_runs_is_mcnemars(store, swept):
    swept(keys=TWO)
    one = two(store)
    assert (one.seeds_a, one.seeds_b, one.macro.lone) == ((0, 1), (0, 1), False)
    assert [(pair.seeds, pair.only_a, pair.only_b) for pair in one.lines[0].pairs] == [((0, 0), 6, 0), ((1, 1), 6, 0)]
    assert (one.lines[0].test, one.lines[0].p) == ("bootstrap", one.lines[0].difference.p)


def test_untrained_student_is_one_run_however_many_seeds_and_is_not_lone(store, swept):
    swept(keys=TWO)
    one = two(store, "declared:min", "declared:base")
    assert (one.seeds_a, one.seeds_b, one.macro.lone) == ((0, 1), (0,), False)
    assert [pair.seeds for pair in one.lines[0].pairs] == [(0, 0), (1, 0)]


def test_questions_without_a_verdict_are_left_out_and_named(store, swept):
    swept(lambda label, seed, benchmark, number: None if (label, number) in (("min", 2), ("max", 5)) else number % 2 == 0)
    line = two(store).lines[0]
    assert (line.n, line.ungraded) == (18, ("toy_math/2", "toy_math/5"))
    assert line.a == pytest.approx(100 * 9 / 18), "of the questions compared"
    assert "toy_math: 2 left out, on which a run has no verdict (toy_math/2, toy_math/5)." in told(two(store))


def test_arms_of_different_graders_are_refused_by_name(store, swept):
    swept()
    swept(name="other", by="strict/2", keys={**ONE, "arms": {"short": {"evaluate.max_steps": 3}}}, right=lambda *_: True)
    with pytest.raises(UserError, match=r"toy_math: declared:min is graded by exact/1, other:short by strict/2.*--grader NAME"):
        two(store, "declared:min", "other:short")


def test_grader_that_has_graded_both_may_be_asked_for(store, swept):
    arms = {"min": {"grade.math": ["math_strict", "math_paper"], "select.rule": "min"},
            "max": {"grade.math": ["math_paper", "math_strict"], "select.rule": "max"}}
    toy = str(ROOT / "configs/toy.yaml")
    swept(keys={**ONE, "base": [toy, "benchmarks.in_domain=[amc23]", "benchmarks.out_of_domain=[]"], "arms": arms})
    with pytest.raises(UserError, match=r"amc23: declared:min is graded by math_strict/\d+, declared:max by math_paper/\d+"):
        two(store)
    assert two(store, grader="math_paper").macro.points == pytest.approx(30.0)
    with pytest.raises(UserError, match=r"by math_strict/\d+, declared:max by math_paper"):
        two(store, grader="qa_match")


def test_arms_that_were_asked_different_questions_are_compared_on_request(store, swept):
    swept()
    swept(name="other", text="What is 7 times 6?", right=lambda *_: True,
          keys={**ONE, "arms": {"few": {"limits.questions": 20, "select.rule": "random"}}})
    with pytest.raises(UserError, match=r"min was asked 20 questions, other:few 20, and 0 of them are the same.*--shared"):
        two(store, "declared:min", "other:few")


def test_questions_that_not_both_were_asked_are_left_out_and_counted(store, swept):
    book = swept()
    grade = store.record(next(t for t in book.trials if t.label == "max").runs[0].goal)["identity"]["inputs"]["toy_math"]
    verdicts = store.folder(grade) / "verdicts.jsonl"
    verdicts.write_text("".join(verdicts.read_text().splitlines(keepends=True)[:14]))
    with pytest.raises(UserError, match="14 of them are the same"):
        two(store)
    line = two(store, shared=True).lines[0]
    assert (line.n, line.unshared, line.a) == (14, 6, 100.0)


def test_benchmark_that_is_not_finished_is_named_and_the_others_are_compared(store, swept):
    def right(label, seed, benchmark, number):
        return {("min", "toy_math"): True, ("max", "toy_math"): False, ("max", "toy_qa3"): False}[label, benchmark]
    swept(right)
    one = two(store)
    assert [line.benchmark for line in one.lines] == ["toy_math"] and one.macro.points == 100.0
    assert one.missing == {"toy_qa3": "declared:min has not finished toy_qa3 with seed 0"}
    with pytest.raises(UserError, match=r"nothing to compare: nothing of declared:base is finished"):
        two(store, "declared:min", "declared:base")


def half(label, seed, benchmark, number):
    """max has not finished toy_qa3; what it has would be the best average."""
    return number < {("base", "toy_math"): 3, ("base", "toy_qa3"): 3, ("min", "toy_math"): 12, ("min", "toy_qa3"): 8,
                     ("max", "toy_math"): 16}[label, benchmark]


def test_row_that_lacks_a_benchmark_has_no_average_among_others_and_stands_last(store, swept, said):
    book = swept(half)
    of_min, of_max = against(store, book, book.trials[0], draws=1000)
    assert of_max.macro is None and [line.benchmark for line in of_max.lines] == ["toy_math"]
    assert of_min.holm == of_min.macro.p, "one average, and none to correct for"
    printed = said(store, "declared")
    assert "| min | 50.0 | +35.0 |" in printed and f"| max {f'| {HOLE} ' * 5}| +65.0 (" in printed
    assert printed.index("| min |") < printed.index("| max |") and "1 of 1 rows differ" in printed
    assert "max: no average, as declared:max has not finished toy_qa3 with seed 0." in printed
    reported = next(line for line in section(store, book, book.trials[0], {})["lines"] if line["row"] == "max")
    assert (reported["difference"], reported["words"]) == ("", "declared:max has not finished toy_qa3 with seed 0")
    lines = csv.DictReader(io.StringIO(said(store, "declared", "--format", "csv")))
    assert [line["benchmark"] for line in lines if line["a"] == "declared:max"] == ["toy_math", "toy_qa3"]
    pair = said(store, "declared:max", "base")
    assert "| Avg of 1 | 20 | 80.0 | 15.0 | +65.0 |" in pair and "The average is over toy_math alone.\nmax is 65.0" in pair
    assert "The average is over toy_math alone." in said(store, "declared:max", "base", "--format", "csv")


def test_stopped_row_is_not_compared(store, swept, said):
    book = swept(half)
    stopped = dataclasses.replace(book.trials[2], stopped=Stop("wilcoxon", ("toy_math, seed 0",), "min", 12.5, 80.0, 0.001))
    ledger.add(store, "declared", [stopped])
    printed = said(store, "declared")
    assert "max: declared:max was stopped early." in printed and "+65.0" not in printed and "1 of 1 rows" in printed
    with pytest.raises(UserError, match="declared:max was stopped early"):
        two(store)


def test_finished_row_whose_verdicts_were_removed_says_so_and_how_to_have_them_again(store, swept, said):
    book = swept()
    goal = book.trials[2].runs[0].goal
    shutil.rmtree(store.folder(store.record(goal)["identity"]["inputs"]["toy_math"]))
    gone = (f"the verdicts on toy_math of declared:max, seed 0, are no longer in {store.root}: delete {goal} there and run the "
            "sweep again")
    assert f"max: no average, as {gone}." in said(store, "declared") and gone in said(store, "declared:min", "max")


def test_seed_of_which_nothing_is_finished_is_left_out(store, swept):
    def right(label, seed, benchmark, number):
        return {0: number < 10}[seed]
    swept(right, keys=TWO)
    one = two(store)
    assert (one.seeds_a, one.seeds_b, one.macro.lone) == ((0,), (0,), True)


def test_rows_of_a_sweep_share_one_correction(finished):
    book = ledger.load(finished, "declared")
    found = against(finished, book, book.trials[0], draws=1000)
    assert [one.a.trial.label for one in found] == ["min", "max"]
    lines = [line for one in found for line in one.lines]
    assert [line.holm for line in lines] == pytest.approx(holm([line.p for line in lines])) and len(lines) == 4
    assert [one.holm for one in found] == pytest.approx(holm([one.macro.p for one in found]))
    alone = two(finished, "declared:min", "declared:base")
    assert [(line.p, line.difference) for line in alone.lines] == [(line.p, line.difference) for line in found[0].lines]


def test_row_of_a_sweep_that_cannot_be_compared_says_why_and_stops_nobody(store, swept):
    def right(label, seed, benchmark, number):
        return {"base": False, "max": number < 9}[label]
    book = swept(right)
    found = {one.a.trial.label: one for one in against(store, book, book.trials[0], draws=1000)}
    assert "nothing of declared:min is finished" in found["min"].refused and found["min"].macro is None
    assert found["max"].macro.points == pytest.approx(45.0) and found["max"].holm == found["max"].macro.p


def test_sentences_say_size_doubt_and_what_it_takes(store, swept):
    swept(lambda label, seed, benchmark, number: (number + seed) % 3 > 0 if label == "min" else (number + 2 * seed) % 7 > 1,
          keys={"seeds": [0, 1, 2]})
    said = told(two(store))
    assert said[0].startswith("min is ") and "below max on average (95 % interval " in said[0] and "may be chance" in said[0]
    assert "takes about" in said[1]
    rare = dataclasses.replace(two(store).macro, seeds=MANY + 1)
    assert "takes more than 1,000 seeds of each" in told(dataclasses.replace(two(store), macro=rare))[1]
    assert told(dataclasses.replace(two(store), refused="no", macro=None)) == ["no"]


def test_equal_averages_are_called_equal_and_ask_for_no_questions(store, swept):
    """16 + 4 and 12 + 8 of 20 differ by 3e-17 in floating point."""
    right = {("min", "toy_math"): 16, ("min", "toy_qa3"): 4, ("max", "toy_math"): 12, ("max", "toy_qa3"): 8}
    swept(lambda label, seed, benchmark, number: number < right.get((label, benchmark), 0))
    first, covered = told(two(store))
    assert first.startswith("min and max have the same average here (95 % interval -") and "not known which is better" in first
    assert "one seed" in covered


def test_command_prints_markdown_and_every_number_of_it(finished, said):
    printed = said(finished, "declared:min", "max")
    assert "A: min  (seed 0)\nB: max  (seed 0)\n" in printed
    assert "| toy_math | 20 | 75.0 | 45.0 | +30.0 |" in printed and "| 6 | 0 | 0.031 | 0.062 |" in printed
    assert "| Avg | 40 | 75.0 | 45.0 | +30.0 |" in printed and "McNemar's exact test" in printed
    assert "min is 30.0 points above max on average" in printed and "Graded by exact/1." in printed
    assert "takes about" not in printed, "it is told apart already"


def note_sandbox(store, trial, sandbox):
    grade = store.record(trial.runs[0].goal)["identity"]["inputs"]["toy_math"]
    record = store.record(store.record(grade)["identity"]["inputs"]["attempts"])
    write_json(store.folder(record["fingerprint"]) / "record.json", {**record, "ran": {"sandbox": sandbox}})


def test_command_names_what_the_rows_differ_in_and_nobody_declared(store, swept, said):
    book = swept()
    assert "Not made alike" not in said(store, "declared:min", "max")
    for trial, sandbox in zip(book.trials, ("bubblewrap 0.8.0", "bubblewrap 0.8.0", "landlock"), strict=True):
        note_sandbox(store, trial, sandbox)
    note = "sandbox landlock instead of bubblewrap 0.8.0 (toy_math of max)."
    assert f"though nobody declared it: {note}" in said(store, "declared:min", "max") and note in said(store, "declared")
    assert note not in said(store, "declared:min", "base")
    other = swept(name="other", keys={**ONE, "arms": {"short": {"evaluate.max_steps": 3}}}, right=lambda *_: True)
    note_sandbox(store, other.trials[0], "none")
    assert "Not made alike: sandbox none instead of landlock (toy_math of other:short)." in said(
        store, "declared:max", "other:short")
    lines = list(csv.DictReader(io.StringIO(said(store, "declared:max", "other:short", "--format", "csv"))))
    assert [line["unlike"] for line in lines] == ["other:short: sandbox none instead of landlock", "", ""]


@pytest.mark.parametrize("columns", [80, 160])
def test_tables_fit_the_terminal_and_break_no_number(finished, columns):
    shown = []
    for words in (["compare", "declared:min", "max"], ["compare", "declared", "--baseline", "max"]):
        process, screen = on_a_terminal(*words, store=finished, columns=columns)
        shown.append([" ".join(line.replace("│", " ").split()) for line in all_of(screen).splitlines()])
        assert process.wait() == 0
    assert any(line.startswith("toy_math 20 75.0 45.0 +30.0 ") and line.endswith("6 0 0.031 0.062") for line in shown[0])
    assert any(line.startswith("min 75.0 +30.0 ") for line in shown[1])
    assert any("+30.0 (" in line for line in shown[1]) or any("on a wider terminal" in line for line in shown[1])


def test_command_of_a_sweep_sorts_its_rows_and_takes_its_baseline_by_name(finished, said):
    printed = said(finished, "declared", "--baseline", "max")
    assert printed.index("| min |") < printed.index("| base |")
    assert "every row minus max" in printed and "Rows with one seed" in printed
    assert "| base | 15.0 | -30.0 |" in printed
    assert "every row minus base" in said(finished, "declared")


def test_command_writes_csv_of_every_row_and_what_is_missing(store, swept, said):
    def right(label, seed, benchmark, number):
        return {"base": False, "max": number < 9}[label]
    swept(right)
    lines = list(csv.DictReader(io.StringIO(said(store, "declared", "--format", "csv"))))
    assert [(line["a"], line["benchmark"]) for line in lines] == [
        ("declared:max", "toy_math"), ("declared:max", "toy_qa3"), ("declared:max", "Avg"), ("declared:min", "")]
    assert (lines[0]["difference"], lines[0]["only_a"], lines[0]["test"]) == ("45.0000", "9", "McNemar")
    assert float(lines[2]["low"]) < 45 < float(lines[2]["high"]) and "nothing of declared:min" in lines[3]["note"]


@pytest.mark.parametrize(("words", "message"), [
    (["declared:min"], "declared:min is one row: name the other one, too"),
    (["declared:"], "'declared:' names no row, and no sweep: a row is SWEEP:ROW"),
    ([":min"], "':min' names no row, and no sweep"),
    (["declared:nobody"], "'nobody' is no row of declared"),
    (["declared", "--grader", "nope"], "no grader 'nope'"),
    (["declared", "--grader", "math_paper"], "nothing of declared is graded by math_paper; there are verdicts of exact/1"),
    (["declared:min", "max", "--flips", "--grader", "qa_match"], "nothing of declared:min and declared:max is graded"),
    (["declared:min", "base", "max"], "two rows, or a sweep alone, got 3"),
    (["declared:min", "nobody"], "'nobody' is no row of declared; it has 'base', 'min', 'max'"),
    (["declared", "--flips"], "of two rows; name the other one"),
    (["declared:min", "max", "--baseline", "base"], "here are two rows already"),
    (["declared", "--draws", "7"], "--draws 7: .* at least 1000"),
    (["elsewhere"], "no sweep 'elsewhere'")])
def test_command_refuses_what_it_cannot_compare(finished, said, words, message):
    with pytest.raises((UserError, StoreError), match=message):
        said(finished, *words)


def test_command_is_a_process_and_a_refusal_is_no_traceback(finished):
    assert "min is 30.0 points above max" in smartad("compare", "declared:min", "max", store=finished.root).stdout
    assert "is one row" in smartad("compare", "declared:min", store=finished.root, status=2).stderr


def test_several_attempts_at_a_question_count_as_one_question(store, swept):
    book = swept()
    grade = store.record(book.trials[1].runs[0].goal)["identity"]["inputs"]["toy_math"]
    path = store.folder(grade) / "verdicts.jsonl"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(rows + [row.replace('"sample":0', '"sample":1').replace("true", "false") for row in rows]))
    line = two(store).lines[0]
    assert (line.n, line.a, line.pairs, line.test) == (20, 37.5, (), "bootstrap") and not np.isnan(line.p)
    assert ledger.load(store, "declared").trials == book.trials
