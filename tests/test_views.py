"""What trackers show of a stage's files: tables that say every verdict in words, samples coloured by segment, no secrets."""

import re

import pytest

from smartad.records import write_json, write_jsonl
from smartad.tracking import views
from smartad.tracking.base import Page, RunInfo, Table
from smartad.types import Origin, Quarantined, Question, ScoredTrajectory, Selected, Step, Trajectory, Verdict

PREPARE, COLLECT, GRADE, SCORE, SELECT, TRAIN = (f"{kind}-00000000000{n}" for n, kind in
                                                 enumerate(("prepare", "collect", "grade", "score", "select", "train")))
QUESTIONS = [Question("toy/1", "What is 2 + 2?", ("4", "four")), Question("toy/2", "<script>alert(1)</script>", ("<b>",))]
THINK = "Thought: I add.\nCode:\n```py\nprint(2 + 2)\n```<end_code>"
ANSWER = "Thought: I know.\nCode:\n```py\nfinal_answer(4)\n```<end_code>"
RIGHT = Trajectory("toy/1", 0, (Step(THINK, "print(2 + 2)", "Observation:\n4", "ok"),
                                Step(ANSWER, "final_answer(4)", "", "final")), "4", "answered", 30, 0.5)
HOSTILE = Trajectory("toy/2", 0, (Step("<img src=x onerror=alert(2)>", "", "</pre><script>alert(3)</script>", "parse_error"),),
                     None, "max_steps", None, 0.1)


@pytest.fixture
def shown(tmp_path):
    """Views of a stage by name, in a store where all that they may need lies."""
    files = {PREPARE: ("questions", QUESTIONS), COLLECT: ("trajectories", [RIGHT, HOSTILE]),
             GRADE: ("verdicts", [Verdict("toy/1", 0, True, "exact/1", ""), Verdict("toy/2", 0, None, "exact/1", "no gold")]),
             SCORE: ("scores", [ScoredTrajectory("toy/1", 0, (1.0, 2.0), (9, 9), (1.0, 1.0), ""),
                                ScoredTrajectory("toy/2", 0, (3.0,), (9,), (1.0,), "")]),
             SELECT: ("selected", [Selected("toy/1", 0, 1.5, 3)]), TRAIN: ("unused", [])}
    for name, (file, rows) in files.items():
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / f"{file}.jsonl", rows)
    write_json(tmp_path / SCORE / "record.json", {"identity": {"inputs": {"questions/toy": PREPARE, "pool": COLLECT}}})

    def look(name, config=None, **inputs):
        inputs = {"questions/toy": PREPARE, **inputs}
        run = RunInfo(name, name.partition("-")[0], config or {"dialect": "paper"}, inputs, tmp_path / name)
        return {view.name: view for view in views.of(run)}
    return look


def test_attempts_are_a_table_with_the_question_and_how_each_ended(shown):
    table = shown(COLLECT)["attempts"]
    assert isinstance(table, Table)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(row["text"], row["answer"], row["stop"], row["steps"], row["tokens"]) for row in rows] == [
        ("What is 2 + 2?", "4", "answered", 2, 30), ("<script>alert(1)</script>", None, "max_steps", 1, None)]


def test_imported_pool_says_who_wrote_what_and_what_is_in_quarantine(shown, tmp_path):
    folder = tmp_path / "import-000000000006"
    folder.mkdir()
    origins = [Origin("toy/1", 0, "one", "a", 1, True, ("odd",)), Origin("toy/2", 0, "two", "b", 1, None, ())]
    for name, rows in {"questions": QUESTIONS, "trajectories": [RIGHT, HOSTILE], "origins": origins,
                       "quarantine": [Quarantined("a", 3, "torn", "no JSON")]}.items():
        write_jsonl(folder / f"{name}.jsonl", rows)
    views = shown(folder.name)
    rows = [dict(zip(views["attempts"].columns, row, strict=True)) for row in views["attempts"].rows]
    assert [(row["teacher"], row["text"], row["claimed"], row["marks"]) for row in rows] == [
        ("one", "What is 2 + 2?", "right", "odd"), ("two", "<script>alert(1)</script>", "not said", "")]
    assert views["quarantine"].rows == (("a", 3, "torn", "no JSON"),)


def test_verdicts_are_words_and_ungraded_is_one_of_its_own(shown):
    table = shown(GRADE, attempts=COLLECT)["verdicts"]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(row["answer"], row["gold"], row["verdict"], row["by"], row["reason"]) for row in rows] == [
        ("4", "4 | four", "correct", "exact/1", ""), (None, "<b>", "ungraded", "exact/1", "no gold")]


def test_samples_are_coloured_by_segment_and_observations_are_context(shown):
    page = shown(COLLECT)["samples"]
    assert isinstance(page, Page)
    spans = re.findall(r'<span class="s(\d)">([^<]*)</span>', page.html)
    assert ("2", "Code:\n```py\nprint(2 + 2)\n```&lt;end_code&gt;") in spans and ("1", "Thought: I add.\n") in spans
    assert any(kind == "3" and "final_answer(4)" in text for kind, text in spans)
    assert '<pre class="s0">Observation:\n4</pre>' in page.html


def test_selection_shows_the_buckets_of_its_pool_with_numbers_as_numbers(shown):
    views = shown(SELECT, pool=COLLECT, verdicts=GRADE, scores=SCORE)
    assert list(views) == ["selected", "buckets toy"]
    rows = {row[0]: dict(zip(views["buckets toy"].columns, row, strict=True)) for row in views["buckets toy"].rows}
    assert (rows["Mean NLL"]["G-E"], rows["Mean NLL"]["G-H"], rows["Mean NLL"]["PQ-E"]) == (1.5, 3.0, 2.25)
    assert (rows["Acc. (%)"]["G-E"], rows["Acc. (%)"]["G-H"]) == (100.0, None), "what was not graded is not wrong"
    assert (rows["Tool calls"]["G-E"], rows["Tool calls"]["G H-E"]) == (2, -2)


def test_training_samples_are_the_selected_ones_with_their_weights(shown):
    page = shown(TRAIN, {"dialect": "paper", "weights": {"reason": 1, "action": 1.5, "final": 2}}, pool=COLLECT,
                 selected=SELECT)["training samples"]
    assert "action × 1.5" in page.html and "final × 2" in page.html
    assert "toy/1, sample 0" in page.html and "toy/2" not in page.html


def test_whatever_a_trajectory_says_stays_text(shown):
    page = shown(COLLECT)["samples"]
    assert "<script" not in page.html and "<img" not in page.html and "&lt;script&gt;alert(3)" in page.html
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page.html), "nothing is fetched from elsewhere"


def test_views_hide_secrets_and_are_cut_where_a_tracker_would_choke(shown, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "What is 2 + 2")
    monkeypatch.setattr(views, "ROWS", 1)
    found = shown(COLLECT)
    table = found["attempts (the first 1)"]
    assert len(table.rows) == 1 and table.rows[0][2] == "<redacted>?" and "What is 2 + 2" not in found["samples"].html


def test_stage_without_views_has_none(shown):
    assert shown(PREPARE) == {}
