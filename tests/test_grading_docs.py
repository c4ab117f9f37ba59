"""What docs/grading.md says of single answers is what the graders of mathematics say."""

import re
from pathlib import Path

import pytest

from smartad import grading
from smartad.types import Question

pytestmark = pytest.mark.slow
DOCS = Path(__file__).parent.parent / "docs" / "grading.md"
ROW = re.compile(r"^\| `(?P<gold>[^`]+)` \| `(?P<answer>[^`]+)` \| (?P<strict>right|wrong) \| (?P<paper>right|wrong) \|")
ROWS = [found for line in DOCS.read_text(encoding="utf-8").splitlines() if (found := ROW.match(line))]
SAYS = {True: "right", False: "wrong", None: "ungraded"}


def test_docs_show_answers_on_which_the_graders_differ():
    assert len(ROWS) > 40
    assert {(row["strict"], row["paper"]) for row in ROWS} == {(a, b) for a in ("right", "wrong") for b in ("right", "wrong")}


@pytest.mark.parametrize("grader", ["strict", "paper"])
def test_docs_verdicts_are_the_graders(grader):
    pairs = [(Question("q/0", "?", (row["gold"],)), row["answer"]) for row in ROWS]
    grades, _ = grading.grade_all(f"math_{grader}", pairs, grading.Setup())
    assert [(row["gold"], row["answer"], SAYS[grade.correct]) for row, grade in zip(ROWS, grades, strict=True)] == [
        (row["gold"], row["answer"], row[grader]) for row in ROWS]
