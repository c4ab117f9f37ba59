"""Verdicts to cells: what is counted, and what an average is made of."""

from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Runtime
from smartad.stages.aggregate import AggregateConfig, run
from smartad.types import Cell, Verdict


def graded(folder, *correct):
    folder.mkdir()
    write_jsonl(folder / "verdicts.jsonl", [Verdict(f"b/{i}", 0, c, "exact/1", "") for i, c in enumerate(correct)])
    return folder


def test_cells_count_right_graded_and_ungraded_and_name_their_source(tmp_path):
    inputs = {"a": graded(tmp_path / "grade-1", True, True, False, None), "b": graded(tmp_path / "grade-2", True, False)}
    out = tmp_path / "out"
    out.mkdir()
    metrics = run(AggregateConfig(), inputs, out, Runtime())
    assert list(read_jsonl(out / "cells.jsonl", Cell)) == [
        Cell("a", 2, 3, 1, "grade-1", "exact/1"), Cell("b", 1, 2, 0, "grade-2", "exact/1")]
    assert metrics == {"pass@1/a": 200 / 3, "pass@1/b": 50.0, "avg": (200 / 3 + 50.0) / 2}, "macro: benchmarks weigh the same"


def test_average_over_a_benchmark_with_nothing_graded_is_not_measured(tmp_path):
    inputs = {"a": graded(tmp_path / "grade-1", True), "b": graded(tmp_path / "grade-2", None, None)}
    out = tmp_path / "out"
    out.mkdir()
    assert run(AggregateConfig(), inputs, out, Runtime()) == {"pass@1/a": 100.0, "pass@1/b": None, "avg": None}
