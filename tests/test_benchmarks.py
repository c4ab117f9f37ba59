"""Benchmarks, generated and real, and the stage that prepares them."""

import json

import pytest

from smartad import benchmarks
from smartad.benchmarks import Source
from smartad.records import read_jsonl
from smartad.stage import Runtime
from smartad.stages.prepare import PREPARE, PrepareConfig, pinned
from smartad.types import Question, UserError

REAL = {"math500": (500, 0), "bamboogle": (125, 0)}


@pytest.mark.parametrize("name", benchmarks.names())
def test_benchmark_declares_a_source_or_generates(name):
    module = benchmarks.get(name)
    if module.SOURCE is None:
        assert all(q.id.startswith(f"{name}/") for q in module.load(None))
    else:
        assert len(module.SOURCE.sha256) == 64


@pytest.mark.parametrize("name", REAL)
def test_real_benchmark_has_every_row_with_its_own_id_and_gold(name, real_data):
    rows, without_gold = REAL[name]
    module = benchmarks.get(name)
    questions = module.load(pinned(module.SOURCE, None, real_data))
    assert questions[0].id == f"{name}/0"
    assert len({q.id for q in questions}) == len(questions) == rows
    assert sum(not q.answers for q in questions) == without_gold


def test_math500_keeps_its_latex(real_data):
    module = benchmarks.get("math500")
    assert module.load(real_data / module.SOURCE.file)[0].answers == (r"\left( 3, \frac{\pi}{2} \right)",)


def test_missing_gold_becomes_no_answers(tmp_path):
    rows = [{"id": 124, "question": "q", "answer": None}, {"id": 174, "question": "r", "answer": ""},
            {"id": 5, "question": "s", "answer": 0}]
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"metadata": {}, "examples": rows}))
    from smartad.benchmarks._agent_distillation import examples
    assert [q.answers for q in examples("math", path)] == [(), (), ("0",)]


def test_prepare_writes_the_first_questions(tmp_path):
    assert PREPARE.run(PrepareConfig("toy_qa", limit=7), {}, tmp_path, Runtime()) == {"questions": 7, "ungradable": 0}
    assert list(read_jsonl(tmp_path / "questions.jsonl", Question)) == benchmarks.get("toy_qa").load(None)[:7]


def test_prepare_of_a_real_file_reads_it(real_data, tmp_path):
    sha256 = benchmarks.get("bamboogle").SOURCE.sha256
    metrics = PREPARE.run(PrepareConfig("bamboogle", sha256, 20), {}, tmp_path, Runtime(data=real_data))
    assert metrics["questions"] == 20


def test_prepare_without_a_data_folder_says_how_to_give_one(tmp_path):
    with pytest.raises(UserError, match=r"math_500_20250414.json is needed; say where it is with data=FOLDER"):
        PREPARE.run(PrepareConfig("math500"), {}, tmp_path, Runtime())


def test_prepare_with_a_data_folder_without_the_file_names_both(tmp_path):
    with pytest.raises(UserError, match=rf"no file {tmp_path}/agent-distillation/.*; .* data=FOLDER"):
        PREPARE.run(PrepareConfig("math500"), {}, tmp_path, Runtime(data=tmp_path))


def test_prepare_of_another_file_than_the_pinned_one_shows_both_hashes(tmp_path):
    (tmp_path / "questions.json").write_text("{}")
    empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    with pytest.raises(UserError, match=f"not the pinned file: sha256 expected {'0' * 64}, found {empty}"):
        pinned(Source("questions.json", "0" * 64), None, tmp_path)


@pytest.mark.parametrize(("config", "message"), [
    ({"benchmark": "gsm"}, r"no benchmark 'gsm'; there are .*math500.*write smartad/benchmarks/gsm.py"),
    ({"benchmark": "toy_qa", "limit": 0}, r"limit must be at least 1, got 0 for benchmark toy_qa"),
])
def test_prepare_config_refuses_what_cannot_be(config, message):
    with pytest.raises(UserError, match=message):
        PrepareConfig(**config)
