"""Whole stages at a server on which everything goes wrong: no row is lost, and none counts as what it is not."""

import dataclasses

import pytest

from smartad.models import TOY_FOLDER, identify
from smartad.records import read_jsonl, write_jsonl
from smartad.site import EngineSite
from smartad.stage import Runtime
from smartad.stages.episodes import ROWS
from smartad.stages.evaluate import EVALUATE, EvaluateConfig
from smartad.types import Question, Trajectory
from vllm_double import double

CONFIG = EvaluateConfig(student=identify("toy"), dialect="paper", prompt="toy", max_steps=2, max_tokens=60)
TURN = "say: Thought: I know.\nCode:\n```py\nfinal_answer({})\n```<end_code>"
FAULTS = ["429", "500", "503", "cut", "hang", "cut, 500"]


@pytest.mark.slow
def test_evaluation_through_every_fault_is_the_one_without_and_what_stays_is_a_row_with_its_reason(tmp_path):
    kinds = ["", *FAULTS, "400"]
    found = {}
    for name in ("calm", "stormy"):
        inputs, out = tmp_path / f"{name}.questions", tmp_path / name
        inputs.mkdir()
        out.mkdir()
        write_jsonl(inputs / "questions.jsonl", [
            Question(f"q/{number}", (f"faults: {kind}; " if kind and name == "stormy" else "") + TURN.format(number), ())
            for number, kind in enumerate(kinds)])
        with double(root=str(TOY_FOLDER)) as server:
            where = EngineSite("http", server.url, retries=3, request_s=2.0)
            metrics = EVALUATE.run(CONFIG, {"questions/q": inputs}, out, Runtime(engine=where, engine_errors=0.5))
        found[name] = [dataclasses.replace(row, seconds=0.0) for row in read_jsonl(out / ROWS, Trajectory)]
    assert [row.answer for row in found["calm"]] == [str(number) for number in range(len(kinds))]
    assert found["stormy"][:-1] == found["calm"][:-1]
    refused = found["stormy"][-1]
    assert (refused.stop, refused.answer, refused.steps) == ("engine_error", None, ()) and "400" in refused.reason
    assert metrics["n"] == len(kinds) and metrics["stop/engine_error"] == 1
