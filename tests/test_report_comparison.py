"""What a report says of rows held against the baseline."""

import pytest

from answered_sweeps import answer, declare
from smartad.report import comparing
from smartad.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture
def book(store, tmp_path):
    """The baseline and ``min`` are finished; ``max`` has toy_math alone, and would have the best average."""
    right = {"base": 5, "min": 18, "max": 20}

    def outcome(label, seed, benchmark, number):
        if (label, benchmark) == ("max", "toy_qa3"):
            raise KeyError
        return number < right[label]

    return answer(store, *declare(store, tmp_path), outcome)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store").open()


@pytest.mark.parametrize("lines", [comparing.LINES, 1])
def test_row_that_lacks_a_benchmark_stands_last_with_the_reason_and_is_not_counted(store, book, monkeypatch, lines):
    monkeypatch.setattr(comparing, "LINES", lines)
    max_first = {"base": 25.0, "max": 100.0, "min": 90.0}
    said = comparing.section(store, book, book.trials[0], max_first)
    averages = {line["row"]: line for line in said["lines"] if line["row"]}
    assert list(averages) == ["min", "max"] and averages["min"]["kind"] == "better"
    assert "has not finished toy_qa3" in averages["max"]["words"]
    assert [averages["max"][key] for key in ("at", "difference", "interval", "p", "kind")] == [None, "", "", "", ""]
    assert said["sentence"].startswith("1 of 1 rows differ from base") and said["sentence"].endswith("(Holm's p below 0.05).")
    assert "Not counted above: 1 of 2 rows, which have no average; why stands beside each." in said["notes"]
