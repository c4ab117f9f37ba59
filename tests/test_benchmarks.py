"""Benchmarks, generated and real, and the stage that prepares them."""

import json

import pytest

from smartad import benchmarks
from smartad.benchmarks import Source
from smartad.benchmarks._agent_distillation import examples
from smartad.benchmarks._numbers import decimal
from smartad.data import ids
from smartad.data.files import pinned
from smartad.records import read_jsonl
from smartad.stage import Runtime
from smartad.stages.prepare import PREPARE, PrepareConfig
from smartad.types import Question, UserError

REAL = {"hotpotqa": (500, 0), "musique": (500, 0), "bamboogle": (125, 0), "wiki2qa": (500, 0),
        "math500": (500, 0), "gsm_hard": (500, 0), "aime": (90, 0), "amc23": (40, 0), "gaokao": (385, 2), "olymmath": (200, 0),
        "humaneval": (164, 164), "hotpotqa_train": (1000, 0), "math_hard": (1000, 2), "math_medium": (1000, 2)}
"""Benchmark -> questions, and those among them that no answer is known of."""
SPOTS = [
    ("hotpotqa/5a85eed75542996432c5713b", "Where did the descendants of the group of black Indians", ("Coahuila, Mexico",)),
    ("musique/3hop1__454441_55349_651302", "What is the birthplace of the man who does the voice of Stan", ("Denver",)),
    ("bamboogle/0", "Who was president of the United States in the year that Citibank", ("james madison",)),
    ("wiki2qa/10476", "Where does the founder of Les Films Du Losange work at?", ("Cahiers du cinéma",)),
    ("math500/0", "Convert the point $(0,3)$", (r"\left( 3, \frac{\pi}{2} \right)",)),
    ("gsm_hard/1309", "Marin and his neighbor Nancy each eat 218983 apples", ("13138980",)),
    ("aime/6", "", ("33",)),
    ("amc23/0", "Cities $A$ and $B$ are $45$ miles apart.", ("27",)),
    ("gaokao/8", "", ("48, 384",)),
    ("gaokao/167", "", ()),
    ("olymmath/0", "Given a non-negative integer sequence", ("948",)),
    ("humaneval/0", "from typing import List", ()),
    ("hotpotqa_train/5a8d7341554299441c6b9fe5", "Musician and satirist Allie Goertz", ("President Richard Nixon",)),
    ("math_hard/174", "", ()),
    ("math_hard/0", "If $x^2+bx+16$ has at least one real root", (r"(-\infty,-8]\cup [8,\infty)",)),
    ("math_medium/124", "", ()),
]
"""Id, how its text begins, answers: where the files have something to get wrong."""


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
    questions = real(name, real_data)
    assert all(q.id.startswith(f"{name}/") and q.text.strip() for q in questions)
    assert len({q.id for q in questions}) == len(questions) == rows
    assert sum(not q.answers for q in questions) == without_gold


@pytest.mark.parametrize(("id", "text", "answers"), SPOTS)
def test_real_question_is_as_in_its_file(id, text, answers, real_data):
    question = next(q for q in real(id.partition("/")[0], real_data) if q.id == id)
    assert question.text.startswith(text) and question.answers == answers


def real(name, data):
    module = benchmarks.get(name)
    return module.load(pinned(module.SOURCE, None, data))


def test_every_benchmark_with_a_file_is_tested_on_it():
    assert {name for name in benchmarks.names() if benchmarks.get(name).SOURCE} == REAL.keys()


def test_training_questions_are_in_no_benchmark(real_data):
    training = {q.text for name in ("hotpotqa_train", "math_hard", "math_medium") for q in real(name, real_data)}
    assert not training & {q.text for name in ("hotpotqa", "math500") for q in real(name, real_data)}


@pytest.mark.parametrize(("number", "text"), [(27.0, "27"), (13138980.0, "13138980"), (2.7e10, "27000000000"), (0.05, "0.05"),
                                              (3.509e-07, "0.0000003509"), (-54.0, "-54"), (100.0, "100"), (0.0, "0")])
def test_number_becomes_plain_decimals(number, text):
    assert decimal(number) == text


def test_missing_gold_becomes_no_answers(tmp_path):
    rows = [{"id": 124, "question": "q", "answer": None}, {"id": 174, "question": "r", "answer": ""},
            {"id": 5, "question": "s", "answer": 0}]
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"metadata": {}, "examples": rows}))
    assert [q.answers for q in examples("math", path)] == [(), (), ("0",)]


def test_prepare_writes_the_first_questions(tmp_path):
    assert PREPARE.run(PrepareConfig("toy_qa", limit=7), {}, tmp_path, Runtime()) == {"questions": 7, "ungradable": 0}
    assert list(read_jsonl(tmp_path / "questions.jsonl", Question)) == benchmarks.get("toy_qa").load(None)[:7]


def test_prepare_of_a_real_file_reads_it(real_data, tmp_path):
    metrics = PREPARE.run(PrepareConfig("bamboogle", ids.pin("bamboogle", "original"), 20), {}, tmp_path, Runtime(data=real_data))
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
