"""The toy student behind a real OpenAI-compatible server, ``transformers serve``, which a job starts, asks and ends."""

import asyncio
import dataclasses
import sys
from pathlib import Path

import pytest

from smartad import benchmarks, corpora
from smartad.dialect import PROMPTS, task_message
from smartad.engines import retrieval, vllm
from smartad.engines.opening import opened
from smartad.models import TOY_FOLDER, identify
from smartad.records import read_jsonl, write_jsonl
from smartad.site import EngineSite
from smartad.stage import Runtime
from smartad.stages.episodes import ROWS
from smartad.stages.evaluate import EVALUATE, EvaluateConfig
from smartad.types import Request, Trajectory, UserError

pytestmark = pytest.mark.slow
TOY = identify("toy")
SERVE = [sys.executable, str(Path(__file__).with_name("serve_toy.py"))]
ASKED = Request(({"role": "system", "content": PROMPTS["toy"]}, {"role": "user", "content": task_message("Who lives in Oslo?")}),
                max_tokens=12)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Started as vLLM would be; it loads no adapters, so it serves the base student."""
    where = EngineSite(kind="vllm", command=SERVE, start_s=300.0, server="openai")
    with vllm.serving(where, str(TOY_FOLDER), None, None, tmp_path_factory.mktemp("served") / "log") as running:
        yield EngineSite(kind="http", url=running.url, model=running.name, request_s=300.0)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Ten questions of each of two kinds, and the toy corpus."""
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("toy_math", "toy_qa"):
        (folder / name).mkdir()
        write_jsonl(folder / name / "questions.jsonl", benchmarks.get(name).load(None)[:10])
    (folder / "index").mkdir()
    retrieval.build(corpora.get("toy").load(None), folder / "index")
    return {**{f"questions/{name}": folder / name for name in ("toy_math", "toy_qa")}, "index": folder / "index"}


def test_student_answers_alike_over_http_and_in_this_process(server, inputs, tmp_path):
    config = EvaluateConfig(student=TOY, dialect="paper", prompt="toy", max_steps=2, max_tokens=64)
    found, notes = [], []
    for name, where in (("here", None), ("there", server)):
        (out := tmp_path / name).mkdir()
        EVALUATE.run(config, inputs, out, Runtime(engine=where, note=lambda **facts: notes.append(facts)))
        found.append(sorted((dataclasses.replace(row, seconds=0.0) for row in read_jsonl(out / ROWS, Trajectory)),
                            key=lambda row: row.question_id))
    assert found[0] == found[1] and len(found[0]) == 20
    assert {step.status for row in found[0] for step in row.steps} >= {"ok", "parse_error", "final"}, "something happened"
    assert [facts["engine"] for facts in notes if "engine" in facts] == ["transformers in this process", "http"]


def test_server_without_candidates_prefill_and_adapters_is_worked_around_or_refused(server, tmp_path):
    with opened(TOY, Runtime(engine=server), tmp_path) as engine:
        [candidates] = asyncio.run(engine.complete([dataclasses.replace(ASKED, n=3, temperature=1.0)]))
        assert len({c.text for c in candidates}) == 3 and all(c.tokens and not c.token_ids for c in candidates)
        with pytest.raises(UserError, match="does not go on from the beginning of an answer"):
            asyncio.run(engine.complete([dataclasses.replace(ASKED, prefill="Thought: I look up")]))
    wrong = dataclasses.replace(server, model="gpt2")
    with pytest.raises(UserError, match=f"engine.model=gpt2: .* serves {server.model}"), \
            opened(TOY, Runtime(engine=wrong), tmp_path):
        pass
    with opened(TOY, Runtime(engine=dataclasses.replace(wrong, server="openai")), tmp_path) as other:  # no list
        [[refused]] = asyncio.run(other.complete([ASKED]))
    assert refused.finish == "error" and not refused.transient and "Server is pinned to" in refused.detail
    (tmp_path / "adapter_model.safetensors").touch()
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="loads no adapters while it runs"), \
            opened(TOY, Runtime(engine=server), tmp_path, tmp_path):
        pass
