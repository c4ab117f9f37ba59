"""The benchmarks' questions as data: id lists, files that are refused, known defects and their corrections."""

import csv
import dataclasses
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartad import benchmarks
from smartad.benchmarks._math import last_box
from smartad.config import ConfigError, load
from smartad.data import files, ids, overlap
from smartad.data.fetching import assembled, rows
from smartad.experiment import Experiment, missing_data, plan
from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Runtime
from smartad.stages.prepare import PREPARE, config_of
from smartad.types import Question, UserError
from test_benchmarks import REAL

DEFECTS = {"aime": {"leading_zeros": 20}, "gsm_hard": {"float_noise": 8}, "math_hard": {"empty_gold": 2},
           "math_medium": {"empty_gold": 2}, "musique": {"duplicate": 1, "malformed_id": 1},
           "olymmath": {"corrected_upstream": 3}, "gaokao": {"empty_gold": 2, "leaked_answer": 2, "wrong_gold": 1,
                                                              "also_in_amc23": 32}}


@pytest.fixture
def bamboogle(real_data, tmp_path):
    """A data folder with one file that may be spoilt: its path."""
    path = tmp_path / benchmarks.get("bamboogle").SOURCE.file
    path.parent.mkdir(parents=True)
    shutil.copy(real_data / benchmarks.get("bamboogle").SOURCE.file, path)
    return path


def rewrite(path, change):
    content = json.loads(path.read_text())
    change(content["examples"])
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", REAL)
def test_id_list_has_every_question_once(name):
    listed = ids.known(name)
    assert len(listed.rows) == len({row.id for row in listed.rows}) == REAL[name][0]
    assert all(row.id.startswith(f"{name}/") and re.fullmatch("[0-9a-f]{12}", row.text) and re.fullmatch("[0-9a-f]{12}", row.gold)
               for row in listed.rows)
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in (listed.original, listed.corrected))


def test_id_lists_are_small_and_of_benchmarks_only():
    lists = list((Path(benchmarks.__file__).parent / ids.FOLDER).iterdir())
    assert {path.stem for path in lists} == REAL.keys() and sum(path.stat().st_size for path in lists) < 300_000


@pytest.mark.parametrize("name", REAL)
def test_id_list_is_what_the_file_gives(name, real_data, tmp_path):
    module = benchmarks.get(name)
    made = ids.write(name, module.load(files.pinned(module.SOURCE, None, real_data)), tmp_path)
    assert made.read_bytes() == (Path(benchmarks.__file__).parent / ids.FOLDER / f"{name}.tsv").read_bytes()


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_changed_questions_are_named(data):
    """Against a list of the questions themselves, changed in every way that there is."""
    questions = [Question(f"math500/{i}", f"What is {i}?", (str(i),)) for i in range(8)]
    listed = ids.IdList(ids.sha256_of(questions), ids.sha256_of(questions), tuple(map(ids.row_of, questions)))
    at = data.draw(st.integers(0, 7))
    changes = {
        "math500/{} has another text": lambda q: dataclasses.replace(q, text=q.text + " "),
        "math500/{} has another answer": lambda q: dataclasses.replace(q, answers=(*q.answers, "0")),
        "math500/{} is missing": lambda q: None,
        "other levels or subjects": lambda q: dataclasses.replace(q, level="5")}
    line = data.draw(st.sampled_from(list(changes)))
    changed = [q for q in (changes[line](q) if i == at else q for i, q in enumerate(questions)) if q]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids, "known", lambda name: listed)
        assert ids.differences("math500", questions) == []
        assert ids.differences("math500", changed) == [line.format(at)]
        assert ids.differences("math500", questions[::-1]) == ["its rows are in another order, or twice there"]
        assert ids.differences("math500", [*questions, Question("math500/9", "", ())]) == ["math500/9 does not belong to it"]


@pytest.mark.parametrize(("change", "words"), [
    (lambda rows: rows[3].update(question="Who?"), "not the pinned file: sha256 expected .*; bamboogle/3 has another text"),
    (lambda rows: rows[7].update(answer="nobody"), "bamboogle/7 has another answer"),
    (lambda rows: [row.update(answer="x") for row in rows], "bamboogle/4 has another answer and 120 more"),
    (lambda rows: rows.pop(), "bamboogle/124 is missing"),
    (lambda rows: None, "its questions are the same, only written otherwise"),
    (lambda rows: rows[0].pop("question"), "cannot be read: KeyError: 'question'")])
def test_changed_file_is_refused_and_what_changed_is_named(change, words, bamboogle, tmp_path):
    rewrite(bamboogle, change)
    with pytest.raises(UserError, match=words):
        PREPARE.run(config_of("bamboogle", None, "original"), {}, tmp_path, Runtime(data=tmp_path))


def test_cut_off_file_is_refused(real_data, tmp_path):
    path = tmp_path / benchmarks.get("humaneval").SOURCE.file
    path.parent.mkdir()
    path.write_bytes((real_data / benchmarks.get("humaneval").SOURCE.file).read_bytes()[:9000])
    with pytest.raises(UserError, match="cannot be read: EOFError"):
        files.read("humaneval", tmp_path)


def test_questions_from_a_built_file_are_the_same_stage_with_the_same_output(real_data, tmp_path):
    name, config = "olymmath", config_of("olymmath", None, "original")
    (tmp_path / "built/questions").mkdir(parents=True)
    write_jsonl(tmp_path / "built" / files.built(name), files.read(name, real_data))
    outputs = []
    for data in (real_data, tmp_path / "built"):
        out = tmp_path / f"out{len(outputs)}"
        out.mkdir()
        PREPARE.run(config, {}, out, Runtime(data=data))
        outputs.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert outputs[0] == outputs[1] and outputs[0]["questions.jsonl"].count(b"\n") == 200


def test_built_file_that_is_another_is_refused_by_name(real_data, tmp_path):
    questions = files.read("amc23", real_data)
    questions[5] = dataclasses.replace(questions[5], answers=("7.0",))
    (tmp_path / "questions").mkdir()
    write_jsonl(tmp_path / files.built("amc23"), questions)
    with pytest.raises(UserError, match=rf"questions/amc23.jsonl: {questions[5].id} has another answer"):
        files.read("amc23", tmp_path)


def test_stage_refuses_questions_that_were_not_planned(real_data, tmp_path):
    config = dataclasses.replace(config_of("amc23", None, "original"), sha256="0" * 64)
    with pytest.raises(UserError, match=r"questions of amc23 are not the planned ones: sha256 expected 000.*found .*plan again"):
        PREPARE.run(config, {}, tmp_path, Runtime(data=real_data))


def test_data_that_is_missing_is_not_where_neither_file_is(tmp_path):
    specs = plan(load(Experiment, ["train=null", "corpus=null", "benchmarks={in_domain: [amc23], out_of_domain: []}"])).goal
    missing = [missing_data(specs.upstream_first(), Runtime(data=data)) for data in (None, tmp_path)]
    assert missing == [["amc23/test.jsonl"]] * 2
    (tmp_path / "questions").mkdir()
    (tmp_path / files.built("amc23")).touch()
    assert missing_data(specs.upstream_first(), Runtime(data=tmp_path)) == []


# Defects.

def test_defects_are_of_questions_that_there_are():
    assert {name: dict(Counter(d.kind for d in benchmarks.defects(name))) for name in benchmarks.names()
            if benchmarks.defects(name)} == DEFECTS
    for name in DEFECTS:
        assert {d.question_id for d in benchmarks.defects(name)} <= {row.id for row in ids.known(name).rows}


@pytest.mark.parametrize("name", REAL)
def test_corrected_questions_differ_where_a_defect_says_so(name, real_data):
    published = files.read(name, real_data)
    corrected = benchmarks.corrected(name, published)
    changed = {a.id for a, b in zip(published, corrected, strict=True) if a != b}
    assert changed == {d.question_id for d in benchmarks.defects(name) if d.answers is not None or d.cut}
    assert not any(files.ungradable(question) for question in corrected)
    assert bool(changed) == (ids.pin(name, "original") != ids.pin(name, "corrected"))
    assert ids.sha256_of(corrected) == ids.pin(name, "corrected")


def test_corrected_question_no_longer_tells_its_answer(real_data):
    by_id = {q.id: q for q in benchmarks.corrected("gaokao", files.read("gaokao", real_data))}
    assert by_id["gaokao/167"].text.endswith("has at least one saddle point.")
    assert by_id["gaokao/192"].text.endswith("(D) $435(100b)$")
    assert [by_id[f"gaokao/{row}"].answers for row in (167, 192, 349)] == [(r"\frac{3}{10}",), ("A",), ("901",)]


def test_correction_of_something_else_is_refused():
    with pytest.raises(UserError, match=r"gaokao/349 was to be corrected from \('902',\) to \('901',\), and has \('903',\)"):
        benchmarks.corrected("gaokao", [Question("gaokao/349", "", ("903",))])
    with pytest.raises(UserError, match=r"gaokao/192 was to lose 'Answer: A' at its end"):
        benchmarks.corrected("gaokao", [Question("gaokao/192", "B", ())])


@pytest.mark.parametrize(("name", "kind", "has"), [
    ("aime", "leading_zeros", lambda row: row["answer"] != str(int(row["answer"]))),
    ("gsm_hard", "float_noise", lambda row: len(repr(row["answer"])) > 15 and len(f"{row['answer']:.12g}") < 12),
    ("math_hard", "empty_gold", lambda row: not row["answer"]),
    ("math_medium", "empty_gold", lambda row: not row["answer"]),
    ("musique", "malformed_id", lambda row: "hop" not in row["id"])])
def test_known_defects_are_those_that_the_file_has(name, kind, has, real_data):
    examples = json.loads((real_data / benchmarks.get(name).SOURCE.file).read_text())["examples"]
    known = [d.question_id for d in benchmarks.defects(name) if d.kind == kind]
    assert sorted(known) == sorted(f"{name}/{row['id']}" for row in examples if has(row))


def test_duplicate_questions_are_all_known(real_data):
    for name in REAL:
        texts = Counter(q.text for q in files.read(name, real_data))
        assert sum(texts.values()) - len(texts) == DEFECTS.get(name, {}).get("duplicate", 0), name


def test_prepare_counts_defects_and_names_them(real_data, tmp_path):
    metrics = {}
    for golds in ("original", "corrected"):
        (tmp_path / golds).mkdir()
        metrics[golds] = PREPARE.run(config_of("gaokao", 200, golds), {}, tmp_path / golds, Runtime(data=real_data))
    counts = {"defects/empty_gold": 2, "defects/leaked_answer": 2, "defects/wrong_gold": 0, "defects/also_in_amc23": 0}
    assert metrics["original"] == {"questions": 200, "ungradable": 2, **counts}
    assert metrics["corrected"] == {"questions": 200, "ungradable": 0, **counts}, "what the file has, whatever is made of it"
    named = [d.question_id for d in read_jsonl(tmp_path / "original" / "defects.jsonl", benchmarks.Defect)]
    assert named == ["gaokao/167", "gaokao/167", "gaokao/192", "gaokao/192"]


def test_corrected_golds_move_only_what_has_corrections():
    def prepared(*settings):
        sources = ["train=null", "benchmarks={in_domain: [toy_math, hotpotqa], out_of_domain: [gaokao]}", *settings]
        return {s.config.benchmark: s for s in plan(load(Experiment, sources)).goal.upstream_first() if s.stage is PREPARE}

    before, after = prepared(), prepared("golds=corrected")
    assert [n for n in before if before[n].fingerprint != after[n].fingerprint] == ["gaokao"]
    assert (before["gaokao"].config.golds, after["gaokao"].config.golds) == (None, "corrected")
    with pytest.raises(ConfigError, match="golds"):
        load(Experiment, ["golds=mended"])


@pytest.mark.parametrize(("id", "level", "subject"), [
    ("math500/0", "2", "Precalculus"), ("math_hard/0", "5", "Algebra"), ("math_medium/124", "3", "Algebra"),
    ("hotpotqa/5a85eed75542996432c5713b", "hard", None), ("wiki2qa/10476", None, "compositional"),
    ("musique/3hop1__454441_55349_651302", None, "3hop1"), ("musique/ 1__804367_160713_77246", None, None),
    ("olymmath/0", "easy", "Combinatorics"), ("olymmath/100", "hard", "Algebra"), ("aime/0", None, None)])
def test_question_has_the_level_and_subject_of_its_makers(id, level, subject, real_data):
    question = next(q for q in files.read(id.partition("/")[0], real_data) if q.id == id)
    assert (question.level, question.subject) == (level, subject)


# Of rows that are among others, in another form.

def as_found(name, questions):
    """As a hub's rows become questions: without an id, or with their own."""
    own = name in ("hotpotqa", "hotpotqa_train", "musique", "humaneval")
    return [q if own else dataclasses.replace(q, id=f"{name}/") for q in questions]


@pytest.mark.parametrize("name", ["musique", "gaokao", "olymmath"])
@given(data=st.data())
@settings(max_examples=5, deadline=None)
def test_subset_is_found_among_other_rows_in_any_order(name, data, real_data):
    questions = files.read(name, real_data)
    others = [Question(f"{name}/", f"{q.text} ", q.answers) for q in data.draw(st.lists(st.sampled_from(questions), max_size=20))]
    found = [*as_found(name, questions), *others]
    data.draw(st.randoms(use_true_random=False)).shuffle(found)
    assert assembled(name, found) == questions


def test_copies_of_other_origin_hold_the_same_questions(real_data):
    """Two more projects' Bamboogle; in a third a spreadsheet turned dates into others ("29-May-32")."""
    published, folder = files.read("bamboogle", real_data), real_data / "bamboogle"
    found = [Question("bamboogle/", row["question"], (row["answer"],)) for row in rows(folder / "test_r1searcher.jsonl", ())]
    assert assembled("bamboogle", found) == published
    with (folder / "test_fireact.csv").open(newline="", encoding="utf-8") as file:
        spoilt = list(map(benchmarks.get("bamboogle").from_hub, csv.DictReader(file)))
    with pytest.raises(UserError, match=r"13 of 125 rows: bamboogle/14 has another answer, .* and 8 more"):
        assembled("bamboogle", spoilt)


def test_row_that_the_hub_has_otherwise_is_named(real_data):
    questions = as_found("aime", files.read("aime", real_data))
    with pytest.raises(UserError, match="1 of 90 rows: aime/41 is missing"):
        assembled("aime", [*questions[:41], *questions[42:]])
    questions[7] = dataclasses.replace(questions[7], answers=("1",))
    with pytest.raises(UserError, match="1 of 90 rows: aime/7 has another answer"):
        assembled("aime", questions)
    with pytest.raises(UserError, match="90 of 90 rows: aime/0 is missing, .*, aime/4 is missing and 85 more"):
        assembled("aime", [])


def test_answers_that_were_corrected_since_are_put_back(real_data):
    """OlymMATH's own files, which have other answers in three rows than the papers' copy."""
    module = benchmarks.get("olymmath")
    halves = [real_data / f"olymmath/OlymMATH-EN-{half}.jsonl" for half in ("EASY", "HARD")]
    found = [module.from_hub(row) for half in halves for row in rows(half, ())]
    published = files.read("olymmath", real_data)
    assert sum(a.answers != b.answers for a, b in zip(found, published, strict=True)) == 3
    assert assembled("olymmath", found[::-1]) == published


@pytest.mark.parametrize(("solution", "gold"), [
    (r"so $x=\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"), (r"\boxed{1} or rather \boxed{2}", "2"), (r"it is $\boxed 9$.", "9"),
    (r"thus \fbox{A}", "A"), ("nothing", None), (r"\boxed{never closed", None), (r"\boxed", None),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}")])
def test_last_box_of_a_solution_is_its_answer(solution, gold):
    assert last_box(solution) == gold


# What sets share.

WORDS = st.lists(st.sampled_from("abc"), max_size=9).map(" ".join)


@given(st.lists(WORDS, max_size=6), st.lists(WORDS, max_size=6), st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_overlaps_are_those_of_a_plain_comparison(first, second, n):
    """Every pair looked at, run by run; common phrases do not arise among so few."""
    def runs(text, length):
        split = text.split()
        return {" ".join(split[i:i + length]) for i in range(len(split)) if len(split[i:i + length]) == length}

    training = [Question(f"a/{i}", text.upper(), ()) for i, text in enumerate(first)]
    tests = [Question(f"b/{i}", f"{text}!", ()) for i, text in enumerate(second)]
    found = {(p.first, p.second): p for p in overlap.overlaps({"a": training}, {"b": tests}, n) if p.first_set != p.second_set}
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            pair = found.get((f"a/{i}", f"b/{j}"))
            assert (a == b) == (pair is not None and pair.how == "exact")
            spread = sum(any(gram in runs(text, n) for gram in runs(a, n) & runs(b, n)) for text in (*first, *second))
            if spread <= overlap.COMMON:
                assert bool(runs(a, n) & runs(b, n)) == (pair is not None and pair.ngrams > 0)
                assert pair is None or pair.ngrams == len(runs(a, n) & runs(b, n))


def test_phrase_that_many_questions_have_is_no_overlap():
    phrase = "where m and n are relatively prime positive integers find the sum of m and n"
    training = {"a": [Question(f"a/{i}", f"{'xyz'[i % 3] * (i + 1)} " * 30 + phrase, ()) for i in range(9)]}
    for tests, expected in ((1, 9), (3, 0)):
        many = {"b": [Question(f"b/{i}", f"{'uvw'[i % 3] * (i + 1)} " * 30 + phrase, ()) for i in range(tests)]}
        assert len(overlap.overlaps(training, many)) == expected, "10 questions have it, then 12"


def test_texts_are_compared_without_case_punctuation_and_latex():
    first, second = Question("a/0", r"Is $\frac{1}{2}<X$?", ()), Question("b/0", "is  FRAC 1 2 x", ())
    pairs = overlap.overlaps({}, {"a": [first], "b": [second]})
    assert [(p.first, p.second, p.how, p.share, p.words) for p in pairs] == [("a/0", "b/0", "exact", 0.0, 1.0)]


@pytest.mark.slow
def test_real_benchmarks_overlap_as_documented(real_data):
    sets = {name: files.read(name, real_data) for name in REAL}
    training = {name: sets.pop(name) for name in ("hotpotqa_train", "math_hard", "math_medium")}
    pairs = overlap.overlaps(training, sets)
    twins = {p.second for p in pairs if (p.first_set, p.second_set) == ("amc23", "gaokao")}
    known = {d.question_id for d in benchmarks.defects("gaokao") if d.kind == "also_in_amc23"}
    assert twins - known == {"gaokao/313"} and known <= twins, "313 only asks for its answer in the same words"
    assert not [p for p in pairs if p.first_set in training and p.how == "exact"]
    assert not [p for p in pairs if p.first_set == "hotpotqa_train"]
    alike = {(p.first, p.second) for p in pairs if p.first_set in training}
    assert {("math_hard/263", "math500/386"), ("math_hard/135", "math500/166")} <= alike
    assert [(p.first, p.second) for p in pairs if p.first_set == p.second_set == "musique"] == [
        ("musique/3hop2__851134_326964_7713", "musique/3hop2__326964_851134_7713")]
