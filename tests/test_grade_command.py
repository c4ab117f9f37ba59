"""grade, disagreements, table --grader: answers made elsewhere, and two graders of the same attempts."""

import csv
import json

import pytest

from conftest import ROOT
from smartad import benchmarks
from smartad.cli import main
from smartad.cli.grading import read_answers
from smartad.records import read_jsonl
from smartad.store import Store
from smartad.sweep import ledger
from smartad.types import Question, UserError, Verdict

QUESTIONS = {q.id: q for q in (Question("toy/0", "How many?", ("12",)), Question("toy/1", "Who  is it?", ("Ann",)),
                               Question("toy/2", "Where?", ("Oslo",)))}


def rows(tmp_path, *lines):
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def test_answers_name_their_question_by_id_number_or_text(tmp_path):
    found = read_answers(rows(tmp_path, '{"id": "toy/0", "answer": "12"}', '{"task_id": 1, "completion": "Ann"}', "",
                              '{"question": "Who is it?", "answer": null}', '{"id": "toy/0", "answer": 12.5}'), "toy", QUESTIONS)
    assert [(a.question_id, a.sample, a.answer) for a in found] == [
        ("toy/0", 0, "12"), ("toy/1", 0, "Ann"), ("toy/1", 1, None), ("toy/0", 1, "12.5")]


@pytest.mark.parametrize(("lines", "message"), [
    (["{"], r"answers\.jsonl:1: no JSON"),
    (["[1]"], r"answers\.jsonl:1: expected an object with id and answer, got '\[1\]'"),
    (["", '{"id": "toy/9", "answer": ""}'], r"answers\.jsonl:2: toy has no question 'toy/9'; its ids are like toy/0"),
    (['{"question": "Why?", "answer": ""}'], r"answers\.jsonl:1: toy has no question 'Why\?'"),
    (['{"answer": "12"}'], r"answers\.jsonl:1: it does not say which question it answers"),
    (['{"id": "toy/0"}'], r"answers\.jsonl:1: there is neither answer nor completion"),
    (['{"id": "toy/0", "answer": ["12"]}'], r"answers\.jsonl:1: answer must be text, a number or null, got \['12'\]"),
    (['{"id": "toy/0", "answer": true}'], r"answers\.jsonl:1: answer must be text, a number or null, got True"),
    (['{"id": "toy/0", "answer": "", "sample": 0}'] * 2, r"answers\.jsonl:2: sample 0 of toy/0 is there already"),
    (['{"id": "toy/0", "answer": "", "sample": -1}'], r"answers\.jsonl:1: sample must be a number from 0, got -1"),
    ([], r'answers\.jsonl has no answers; a line is \{"id": "toy/0", "answer": "\.\.\."\}'),
])
def test_row_that_is_no_answer_is_refused_with_its_place(tmp_path, lines, message):
    with pytest.raises(UserError, match=message):
        read_answers(rows(tmp_path, *lines), "toy", QUESTIONS)


def test_file_of_answers_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.jsonl cannot be read"):
        read_answers(tmp_path / "nowhere.jsonl", "toy", QUESTIONS)


def test_grade_prints_what_is_right_and_how_many_are_missing(tmp_path, capsys):
    first, second, *others = benchmarks.get("toy_math").load(None)
    path = rows(tmp_path, json.dumps({"id": first.id, "answer": first.answers[0]}),
                json.dumps({"question": second.text, "answer": "no number"}))
    assert main(["grade", str(path), "--benchmark", "toy_math", "--to", str(tmp_path / "verdicts.jsonl")]) == 0
    said = capsys.readouterr().out
    assert "exact/1" in said and "50.0" in said and f"{len(others)} of the {len(others) + 2} questions have no answer" in said
    verdicts = list(read_jsonl(tmp_path / "verdicts.jsonl", Verdict))
    assert [(v.question_id, v.correct, v.by) for v in verdicts] == [(first.id, True, "exact/1"), (second.id, False, "exact/1")]


def test_grade_by_a_grader_of_another_kind_names_those_that_can(tmp_path, capsys):
    path = rows(tmp_path, '{"id": "bamboogle/0", "answer": "x"}')
    assert main(["grade", str(path), "--benchmark", "toy_math", "--grader", "nobody"]) == 2
    assert "toy_math has no question 'bamboogle/0'" in capsys.readouterr().err


def test_grade_without_the_benchmarks_file_says_how_to_name_its_folder(tmp_path, capsys):
    assert main(["grade", str(rows(tmp_path)), "--benchmark", "aime"]) == 2
    assert "say below which folder with --data DIR" in capsys.readouterr().err


@pytest.fixture(scope="module")
def run(tmp_path_factory, real_data):
    """A store with a run of the untrained toy student on real files, graded by two graders each."""
    store = tmp_path_factory.mktemp("graded") / "store"
    assert main(["run", str(ROOT / "configs/toy.yaml"), "train=null", "limits.questions=4", f"data={real_data}",
                 "evaluate.max_tokens=64", "evaluate.max_steps=1", "benchmarks={in_domain: [amc23], out_of_domain: [aime]}",
                 "grade.math=[exact,math_paper]", "--store", str(store), "--track", "none", "--jobs", "0"]) == 0
    return store


@pytest.mark.slow
def test_both_graders_of_a_run_are_kept_and_the_first_counts(run, capsys):
    [name] = ledger.names(Store(run))
    assert main(["table", name, "--store", str(run), "--format", "md"]) == 0
    assert "Graded by exact/1." in capsys.readouterr().out
    assert main(["table", name, "--store", str(run), "--format", "csv", "--grader", "math_paper"]) == 0
    assert {row["grader"] for row in csv.DictReader(capsys.readouterr().out.splitlines())} == {"math_paper/1"}
    assert main(["table", name, "--store", str(run), "--grader", "math_strict"]) == 2
    assert "there are verdicts of exact/1, math_paper/1" in capsys.readouterr().err


@pytest.mark.slow
def test_disagreements_of_a_run_are_listed_with_both_reasons(run, capsys):
    [name] = ledger.names(Store(run))
    evaluation = next(path.name for path in run.glob("evaluate-*") if "amc23" in (path / "record.json").read_text())
    attempts = [json.loads(line) for line in (run / evaluation / "trajectories.jsonl").read_text().splitlines()]
    grades = [path for path in run.glob("grade-*") if evaluation in (path / "record.json").read_text()]
    paper = next(path for path in grades if "math_paper" in (path / "record.json").read_text())
    verdicts = [json.loads(line) for line in (paper / "verdicts.jsonl").read_text().splitlines()]
    verdicts[2] |= {"correct": True, "reason": "as if it were"}
    (paper / "verdicts.jsonl").write_text("".join(json.dumps(verdict) + "\n" for verdict in verdicts))
    assert main(["disagreements", name, "--store", str(run), "--format", "csv"]) == 0
    [row] = csv.DictReader(capsys.readouterr().out.splitlines())
    assert row["question"] == attempts[2]["question_id"] and row["other reason"] == "as if it were"
    assert (row["verdict"], row["other verdict"]) == ("wrong", "correct")
    assert main(["disagreements", evaluation, "--store", str(run)]) == 0
    said = capsys.readouterr().out
    assert "exact/1 / math_paper/1 say the same of 3 of 4; 1 wrong / correct" in said and "as if it were" in said
