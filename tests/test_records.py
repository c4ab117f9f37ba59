"""Rows to and from files, and what is said of rows that do not fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartad.records import RecordError, append_jsonl, read_jsonl, read_partial_jsonl, write_jsonl
from smartad.types import Question, Step, Trajectory

TRAJECTORY = Trajectory("q/1", 0, (Step("t", "a", "o", "final"),), "1", "answered", None, 0.5)


@given(st.lists(st.builds(Question, st.text(), st.text(), st.lists(st.text(), max_size=3).map(tuple)), max_size=5))
def test_records_any_text_comes_back_as_it_was(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("records") / "rows.jsonl"
    write_jsonl(path, rows)
    assert list(read_jsonl(path, Question)) == rows


@pytest.mark.parametrize("line, words", [
    ('{"id": "q/2", "text": "?"', "rows.jsonl:2 is not a Question"),
    ('{"id": "q/2", "text": "?"}', "rows.jsonl:2 is not a Question: field 'answers' is missing"),
    ('{"id": "q/2", "text": 7, "answers": []}', "text: expected str, got 7"),
    ('{"id": "q/2", "text": "?", "answers": "1"}', "answers: expected a list"),
    ('{"id": "q/2", "text": "?", "answers": [], "x": 1}', "unknown field 'x'"),
    ("[]", "expected an object"),
])
def test_records_corrupt_row_is_named_with_file_and_line(tmp_path, line, words):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [Question("q/1", "?", ("1",))])
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RecordError) as error:
        list(read_jsonl(path, Question))
    assert words in str(error.value)


def test_records_unknown_literal_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [TRAJECTORY])
    path.write_text(path.read_text().replace('"answered"', '"gave up"'))
    with pytest.raises(RecordError, match="stop: expected one of answered, fallback, max_steps"):
        list(read_jsonl(path, Trajectory))


def test_partial_records_torn_last_line_is_cut_off_and_the_rest_kept(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, [TRAJECTORY, TRAJECTORY])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert read_partial_jsonl(path, Trajectory) == [TRAJECTORY, TRAJECTORY]
    assert path.read_bytes() == whole


def test_partial_records_damage_in_the_middle_is_an_error(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, [TRAJECTORY])
    path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(RecordError, match="rows.jsonl:1"):
        read_partial_jsonl(path, Trajectory)


def test_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [TRAJECTORY])
    before = path.read_bytes()
    with pytest.raises(ValueError):
        write_jsonl(path, [TRAJECTORY, {"nan": float("nan")}])
    assert path.read_bytes() == before
