"""Runs that a model judges, as a person starts them: real questions, a real server that is both the student and the judge."""

import json

import pytest
import yaml

from command import smartad
from conftest import ROOT
from judge_double import Judge
from made_up import finish, of
from smartad import benchmarks
from smartad.cli import doctor_engines, driving
from smartad.cluster import ClusterConfig
from smartad.config import load
from smartad.experiment import Experiment, plan
from smartad.records import read_jsonl
from smartad.stage import upstream_first
from smartad.store import JUDGED
from smartad.sweep import forgetting
from smartad.sweep.bill import estimate
from smartad.types import Cell, UserError, Verdict
from vllm_double import double

JUDGED_QA = ["grade.qa=[qa_judge,qa_match]", "grade.judge=qwen-plus"]
BAMBOOGLE = [str(ROOT / "configs/method/cot_prompt.yaml"), "corpus=null",
             "benchmarks={in_domain: [bamboogle], out_of_domain: []}"]
WRONG = ["do: prose", "do: words", "do: empty", "faults: 429", "faults: 500", "faults: hang", "somewhere else"]
"""What the student says to the first questions; the next two it knows."""


def profile(folder, server, **judge):
    site = {"url": server.url, "model": server.name, "retries": 0, "request_s": 4.0, **judge}
    engine = {"kind": "http", "url": server.url, "model": server.name, "server": "openai"}
    (path := folder / "site.yaml").write_text(yaml.safe_dump({"engine": engine, "judges": {"qwen-plus": site}}))
    return path


@pytest.mark.slow
def test_run_with_a_faulty_judge_ends_and_the_ungraded_are_judged_later_without_the_student(store, tmp_path, real_data):
    questions = benchmarks.get("bamboogle").load(real_data / benchmarks.get("bamboogle").SOURCE.file)[:9]
    answers = [*WRONG, *(question.answers[0] for question in questions[-2:])]
    with double(Judge, answers={q.text: a for q, a in zip(questions, answers, strict=True)}) as server:
        words = ["run", *BAMBOOGLE, *JUDGED_QA, "limits.questions=9", f"data={real_data}", "--track", "none", "--jobs", "1",
                 "--cluster", profile(tmp_path, server), "--store", store.root]
        done = smartad(*words)
        assert "bamboogle (n=3)" in done.stdout and "66.7 [6 ungraded]" in done.stdout
        [row] = [f for f in store.fingerprints() if f.startswith("aggregate-")]
        [cell] = read_jsonl(store.folder(row) / "cells.jsonl", Cell)
        assert (cell.correct, cell.n, cell.ungraded, cell.grader) == (2, 3, 6, "qa_judge/1 (qwen-plus)")
        [other] = read_jsonl(store.folder(row) / "other_cells.jsonl", Cell)
        assert (other.correct, other.n, other.ungraded, other.grader) == (2, 9, 0, "qa_match/1")
        metrics = store.record(cell.source)["metrics"]
        assert (metrics["judge_calls"], metrics["judge_unparsed"], metrics["judge_failed"]) == (9, 3, 3)
        verdicts = list(read_jsonl(store.folder(cell.source) / "verdicts.jsonl", Verdict))
        assert [verdict.correct for verdict in verdicts] == [*[None] * 6, False, True, True]
        assert all(verdict.reason.startswith("qwen-plus ") for verdict in verdicts[:6]) and "429" in verdicts[3].reason
        assert len(list(store.root.glob(f"{JUDGED}/*/*.json"))) == 3

        asked = len(server.bodies)
        assert "bamboogle (n=3)" in smartad(*words).stdout and len(server.bodies) == asked, "the first result is the result"
        said = smartad("forget", cell.source, "--store", store.root).stdout
        assert f"would be removed: {row}, {cell.source}\n" in said and store.has(cell.source)
        smartad("forget", cell.source, "--yes", "--store", store.root)
        assert "bamboogle (n=6)" in (again := smartad(*words).stdout) and "33.3 [3 ungraded]" in again
        assert len(server.bodies) == asked + 6, "no student, and of the judge only what it had not said"
        assert sorted(server.asked()[-6:]) == sorted(WRONG[:6])


@pytest.mark.slow
@pytest.mark.parametrize("more, message", [
    ([], "the judge qwen-plus is to be asked, and the site profile does not say where (it knows no judge)"),
    (["--cluster", {"key_variable": "QWEN_WORD"}], "judges.qwen-plus.key_variable=QWEN_WORD, and there is no such environment"),
    (["grade.judge=null"], "grade.qa names qa_judge, and grade.judge is null"),
    (["grade.second_judge=qwen-plus"], "grade.second_judge=qwen-plus is the judge itself")])
def test_judge_that_cannot_be_asked_is_told_at_the_desk(store, tmp_path, real_data, more, message):
    with double(Judge) as server:
        more = [profile(tmp_path, server, **word) if isinstance(word, dict) else word for word in more]
        words = [*BAMBOOGLE, *JUDGED_QA, f"data={real_data}", "--track", "none", *more, "--store", store.root]
        done = smartad("run", *words, status=2)
        assert message in done.stderr and len(done.stderr.splitlines()) == 1
        assert not store.fingerprints() and not server.bodies


def specs_of(*overrides):
    return upstream_first([plan(load(Experiment, [*BAMBOOGLE, "limits.questions=10", *overrides])).goal])


def test_desk_asks_only_for_judges_of_what_is_going_to_run_and_believes_a_job_that_exports_the_key(monkeypatch):
    monkeypatch.delenv("QWEN_WORD", raising=False)
    site = {"url": "http://127.0.0.1:9/v1", "key_variable": "QWEN_WORD"}
    here, jobs = ClusterConfig(judges={"qwen-plus": site}), ClusterConfig(
        cluster="slurm", judges={"qwen-plus": site}, stages={"grade": {"setup": ["export QWEN_WORD=$(cat ~/.qwen)"]}})
    specs = specs_of(*JUDGED_QA)
    driving.check_judges(specs, jobs)
    driving.check_judges([spec for spec in specs if spec.stage.name != "grade"], here)
    driving.check_judges(specs_of(), ClusterConfig())
    with pytest.raises(UserError, match=r"judges\.qwen-plus\.key_variable=QWEN_WORD, and there is no such"):
        driving.check_judges(specs, here)
    monkeypatch.setenv("QWEN_WORD", "x")
    driving.check_judges(specs, here)


@pytest.mark.parametrize("judges, message", [
    ({"m": "http://host/v1"}, r"judges\.m: expected where it is asked, .* got 'http://host/v1'"),
    ({"m": {"kind": "vllm"}}, r"judges\.m\.kind=vllm: a judge is asked at a server that is there"),
    ({"m": {}}, r"judges\.m: engine\.url=None"), ({"m": {"url": "http://h/v1", "uri": "x"}}, r"judges\.m: .*uri"),
    ({"m": {"url": "http://h/v1", "key_variable": "sk-1-2"}}, r"judges\.m: .*must be the name of an environment variable")])
def test_judge_that_is_described_as_no_server_is_refused_by_name(judges, message):
    with pytest.raises(UserError, match=message) as error:
        ClusterConfig(judges=judges)
    assert "sk-1-2" not in str(error.value)


def test_judges_have_limits_of_their_own_which_a_profile_may_change():
    sites = ClusterConfig(judges={"a": {"url": "http://h/v1"}, "gpt-4.1": {"url": "http://h/v1", "in_flight": 4}}).judge_sites()
    assert (sites["a"].kind, sites["a"].in_flight, sites["a"].request_s) == ("http", 32, 60.0)
    assert (sites["gpt-4.1"].in_flight, sites["gpt-4.1"].request_s) == (4, 60.0)


def test_doctor_asks_each_judge_a_question_and_says_what_is_wrong():
    class Grumpy(Judge):
        def judged(self, content):
            return json.dumps({"explanation": "no", "score": 0})

    with double(Grumpy) as grumpy, double(Judge) as good:
        sites = {"good": {"url": good.url, "model": "judge"}, "grumpy": {"url": grumpy.url, "model": "judge"},
                 "other": {"url": good.url}, "gone": {"url": "http://127.0.0.1:9/v1", "retries": 0}}
        good.judged = lambda content: '{"explanation": "the same place", "score": 1}'
        found = dict(zip(sites, doctor_engines.judges(ClusterConfig(judges=sites)), strict=True))
    assert {name: finding.level for name, finding in found.items()} == {
        "good": "ok", "grumpy": "fail", "other": "fail", "gone": "fail"}
    assert "good: right: the same place" in found["good"].told and "has no model 'other'" in found["other"].told
    assert "grumpy: wrong: no" in found["grumpy"].told and "does not answer" in found["gone"].told
    assert "mend judges.gone" in found["gone"].way_out


@pytest.mark.slow
def test_bill_of_a_judged_grade_is_from_judged_grades_alone(store):
    def calls(*overrides):
        lines = [line for line in estimate(store, specs_of(*overrides)) if line.stage == "grade"]
        return [(line.basis, line.cost.judge_calls) for line in lines]

    def done(*overrides, **metrics):
        for spec in of(specs_of(*overrides), "prepare"):
            finish(store, [spec], questions=spec.config.limit)
        finish(store, of(specs_of(*overrides), "evaluate", "grade"), **metrics)

    judged, two = ["grade.qa=[qa_judge]", "grade.judge=m"], ["grade.qa=[qa_judge]", "grade.judge=m", "grade.second_judge=n"]
    done("grade.qa=[qa_match]")
    assert calls(*judged) == [("nothing recorded", None)], "a grade that asked nobody is no precedent"
    done(*judged, judge_calls=9)
    more = "limits.questions=20"
    assert calls(*judged, more) == [("their like, per question", 18.0)]
    assert calls("grade.qa=[qa_judge]", "grade.judge=other", more) == [("their like, per question", 18.0)]
    assert calls(*two, more) == [("nothing recorded", None)], "two are asked twice"
    assert calls("grade.qa=[qa_match]", more) == [("their like, per question", 0.0)]


def test_grade_that_filtered_what_was_trained_on_is_not_forgotten(store):
    specs = upstream_first([plan(load(Experiment, [str(ROOT / "configs/toy.yaml")])).goal])
    finish(store, specs)
    [train] = of(specs, "train")
    pool = train.inputs["selected"].inputs["verdicts"].fingerprint
    with pytest.raises(UserError, match=f"{pool} filtered a pool, and {train.fingerprint} was trained on what was left"):
        forgetting.foreseen_grade(store, pool)
    attempts = [f for spec in of(specs, "grade") if (f := spec.fingerprint) != pool]
    [row] = of(specs, "aggregate")
    assert forgetting.forget_grade(store, attempts[0]) == [row.fingerprint, attempts[0]]
    assert [store.has(f) for f in (pool, *attempts, train.fingerprint)] == [True, False, True, True, True]
    finish(store, specs)
    with store.lock("sweeps/another"), pytest.raises(UserError, match="another is driven by .* nothing of .* is removed now"):
        forgetting.forget_grade(store, attempts[0])
    assert store.has(attempts[0])


def test_grade_of_a_pool_is_forgotten_only_while_nothing_was_begun_to_be_trained(store):
    specs = upstream_first([plan(load(Experiment, [str(ROOT / "configs/toy.yaml")])).goal])
    finish(store, [spec for spec in specs if spec.stage.name not in ("train", "evaluate", "aggregate")])
    [train], [select] = of(specs, "train"), of(specs, "select")
    pool = select.inputs["verdicts"].fingerprint
    assert forgetting.foreseen_grade(store, pool) == [select.fingerprint, pool]
    store.folder(train.fingerprint).mkdir()
    with pytest.raises(UserError, match=train.fingerprint):
        forgetting.foreseen_grade(store, pool)
