"""The import stage, and experiments on trajectories made elsewhere."""

import json
import shutil
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import ROOT
from foreign_rows import GOOD, WRONG, answered, file, log, mint, pinned
from smartad.config import load
from smartad.experiment import Experiment, plan
from smartad.records import read_jsonl
from smartad.stage import Runtime
from smartad.stages.importing import IMPORT, PoolConfig, Source, gather, identified, totals, write
from smartad.types import Origin, Quarantined, Question, Trajectory, UserError

REJECTED = mint("What is 1 plus 1?", "2.0", [("<solution> 3 </solution>", WRONG), ("<solution> 2 </solution>", None)])


def taken(folder, *files, form="mint", limit=None, **options):
    """The pool in ``files`` (name -> rows), one teacher each."""
    names = [file(folder / f"{number}.jsonl", *rows).name for number, rows in enumerate(files)]
    config, _ = identified(PoolConfig(form, [Source([name]) for name in names], **options), folder, limit)
    return gather(config, {one: folder / one.name for teacher in config.teachers for one in teacher.files})


def kinds(pool):
    return {(row.line, row.kind) for row in pool.quarantine}


def experiment(folder, sources, *overrides):
    return load(Experiment, ["corpus=null", "benchmarks.out_of_domain=[]", "benchmarks.in_domain=[toy_math]", "dialect=mint",
                             f"pool={{format: mint, name: sums, sources: {json.dumps(sources)}}}", "select.first=1",
                             f"data={folder}", *overrides])


def imported(folder, sources, *overrides):
    """The spec that imports."""
    return next(s for s in plan(experiment(folder, sources, *overrides)).goal.upstream_first() if s.stage is IMPORT)


def test_pool_has_a_sample_per_teacher_in_their_order(tmp_path):
    pool = taken(tmp_path, [REJECTED, mint()], [mint(success=False)])
    first, second = pool.questions
    assert [(q.text, q.answers) for q in pool.questions] == [("What is 1 plus 1?", ("2.0",)), ("What is 2 plus 3?", ("5.0",))]
    assert [(t.question_id, t.sample, t.answer) for t in pool.trajectories] == [
        (first.id, 0, "2"), (second.id, 0, "5"), (second.id, 1, "5")]
    assert pool.origins == [Origin(first.id, 0, "0", "0.jsonl", 1, True, ("told_wrong",)),
                            Origin(second.id, 0, "0", "0.jsonl", 2, True, ()), Origin(second.id, 1, "1", "1.jsonl", 1, False, ())]
    assert pool.quarantine == []


def test_pool_keeps_a_teachers_place_where_an_earlier_one_has_no_row(tmp_path):
    pool = taken(tmp_path, [REJECTED], [mint()], [mint(success=False)])
    assert [t.sample for t in pool.trajectories if t.question_id == pool.questions[1].id] == [1, 2]


def test_pool_of_a_repeating_format_takes_the_first_of_each_teacher_before_the_second(tmp_path):
    rows = [log(*answered(f"final_answer({n})"), answer=str(n)) for n in range(4)]
    pool = taken(tmp_path, rows[:2], rows[2:], form="agent_distillation")
    assert [(t.sample, t.answer) for t in pool.trajectories] == [(0, "0"), (1, "2"), (2, "1"), (3, "3")]


def test_questions_have_the_same_id_whatever_file_and_place_they_come_from(tmp_path):
    one, other = taken(tmp_path / "a", [mint(), REJECTED]), taken(tmp_path / "b", [REJECTED], [mint()])
    assert {q.id for q in one.questions} == {q.id for q in other.questions}
    assert all(q.id.startswith("mint/") for q in one.questions)


def test_rows_that_are_no_trajectory_are_in_quarantine_with_file_line_and_reason(tmp_path):
    whole = json.dumps(mint())
    pool = taken(tmp_path, [whole, whole[:-40], "", "[1, 2]", '{"state": {}}', whole, mint(gold="6.0"), REJECTED,
                            mint(turns=[("<solution> 6 </solution>", None)]), mint("What is 9?", gold=7.5)])
    assert [(row.file, row.line, row.kind) for row in pool.quarantine] == [
        ("0.jsonl", 2, "torn"), ("0.jsonl", 4, "other_shape"), ("0.jsonl", 5, "other_shape"), ("0.jsonl", 6, "duplicate"),
        ("0.jsonl", 7, "other_gold"), ("0.jsonl", 9, "second_attempt")]
    reasons = {row.line: row.reason for row in pool.quarantine}
    assert reasons[5] == "not a row of format mint: it has no 'task'"
    assert reasons[6] == "the same trajectory as 0.jsonl:1" and "its gold is '6.0', and '5.0' in 0.jsonl:1" in reasons[7]
    assert (pool.rows, len(pool.trajectories)) == (9, 3), "a blank line is no row"
    assert pool.questions[-1].answers == ("7.5",)


def test_bytes_that_are_no_text_are_torn(tmp_path):
    (tmp_path / "0.jsonl").write_bytes(json.dumps(mint()).encode() + b"\n\xff\xfe{}\n")
    config, _ = identified(PoolConfig("mint", [Source(["0.jsonl"])]), tmp_path, None)
    assert kinds(gather(config, {config.teachers[0].files[0]: tmp_path / "0.jsonl"})) == {(2, "torn")}


def test_gold_that_only_a_later_row_has_is_the_questions(tmp_path):
    pool = taken(tmp_path, [mint(gold=None)], [mint()])
    assert pool.questions[0].answers == ("5.0",) and totals(pool)["ungradable"] == 0
    assert totals(taken(tmp_path / "none", [mint(gold=None)]))["ungradable"] == 1


def test_marks_are_counted_and_refused_only_when_asked(tmp_path):
    assert totals(taken(tmp_path, [REJECTED, mint()]))["marks/told_wrong"] == 1
    strict = taken(tmp_path, [REJECTED, mint()], refuse=["told_wrong"])
    assert kinds(strict) == {(1, "told_wrong")} and len(strict.trajectories) == 1
    assert totals(strict)["quarantined/told_wrong"] == totals(strict)["quarantined"] == 1


def test_limit_takes_the_first_questions(tmp_path):
    pool = taken(tmp_path, [REJECTED, mint()], [mint()], limit=1)
    assert [q.text for q in pool.questions] == ["What is 1 plus 1?"] and len(pool.trajectories) == 1


junk = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
                    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner,
                                                                               max_size=2), max_leaves=4)


def places_in(value, path=()):
    """The path to every part of a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places_in(part, (*path, key))


def replaced(value, path, part):
    if not path:
        return part
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], part)
    return copy


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_any_damage_to_a_row_puts_it_into_the_pool_or_into_quarantine(tmp_path_factory, form, data):
    """And what is in the pool can be read back: nothing of another type has slipped in."""
    folder = tmp_path_factory.mktemp("damaged")
    path = data.draw(st.sampled_from(sorted(places_in(GOOD[form]), key=str)))
    lines = [json.dumps(replaced(GOOD[form], path, data.draw(junk))), json.dumps(GOOD[form])]
    pool = taken(folder, lines, form=form)
    write(pool, folder)
    assert len(list(read_jsonl(folder / "trajectories.jsonl", Trajectory))) + len(pool.quarantine) == pool.rows == 2
    assert len(list(read_jsonl(folder / "questions.jsonl", Question))) == len({t.question_id for t in pool.trajectories})
    shutil.rmtree(folder)


def test_stage_writes_the_pool_and_says_how_much_of_it(tmp_path):
    path = file(tmp_path / "data" / "one.jsonl", mint(), "{", REJECTED)
    spec = imported(tmp_path / "data", [{"files": ["one.jsonl"]}])
    out = tmp_path / "out"
    out.mkdir()
    metrics = spec.stage.run(spec.config, {}, out, Runtime(files={spec.config.teachers[0].files[0].sha256: str(path)}))
    assert {k: metrics[k] for k in ("rows", "n", "questions", "samples", "quarantined", "quarantined/torn", "claimed", "answered",
                                    "tokens", "seconds", "step/final", "stop/answered")} == {
        "rows": 3, "n": 2, "questions": 2, "samples": 1, "quarantined": 1, "quarantined/torn": 1, "claimed": 2, "answered": 1.0,
        "tokens": 62, "seconds": None, "step/final": 2, "stop/answered": 2}
    assert [row.line for row in read_jsonl(out / "quarantine.jsonl", Quarantined)] == [2]
    assert len(list(read_jsonl(out / "origins.jsonl", Origin))) == 2


def test_stage_with_nothing_to_import_names_the_first_reason(tmp_path):
    path = file(tmp_path / "one.jsonl", "{", "[]")
    spec = imported(tmp_path, [{"files": ["one.jsonl"]}])
    with pytest.raises(UserError, match="none of 2 rows is a trajectory of format mint: one.jsonl:1: no JSON"):
        spec.stage.run(spec.config, {}, tmp_path, Runtime(files={spec.config.teachers[0].files[0].sha256: str(path)}))


def test_stage_refuses_a_file_that_changed_after_the_plan(tmp_path):
    path = file(tmp_path / "one.jsonl", mint())
    spec = imported(tmp_path, [{"files": ["one.jsonl"]}])
    places = {spec.config.teachers[0].files[0].sha256: str(path)}
    file(path, mint(), mint())
    with pytest.raises(UserError, match="one.jsonl has changed since the plan was made: sha256 expected"):
        spec.stage.run(spec.config, {}, tmp_path, Runtime(files=places))


def test_files_are_known_by_content_and_not_by_path(tmp_path):
    for folder in ("here/deep", "there"):
        file(tmp_path / folder / "one.jsonl", mint())
    here = imported(tmp_path / "here", [{"files": ["deep/one.jsonl"]}])
    there = imported(tmp_path / "there", [{"files": ["one.jsonl"]}])
    assert here.fingerprint == there.fingerprint and str(tmp_path) not in str(here.identity)
    file(tmp_path / "there" / "one.jsonl", mint(gold="6"))
    assert imported(tmp_path / "there", [{"files": ["one.jsonl"]}]).fingerprint != here.fingerprint


def test_what_changes_a_pool_changes_its_fingerprint(tmp_path):
    for name in ("a", "b"):
        file(tmp_path / name, mint(success=name == "a"))
    both = [{"files": ["a"]}, {"files": ["b"]}]
    pools = [imported(tmp_path, sources, *more) for sources, *more in (
        (both,), (both[::-1],), ([{"files": ["a", "b"]}],), ([{"files": ["a"], "teacher": "x"}, both[1]],),
        (both, "limits.train_questions=1"), (both, "pool.refuse=[told_wrong]"), (both, "pool.name=other"))]
    assert len({spec.fingerprint for spec in pools}) == 7


def test_pinned_file_is_planned_where_it_is_not(tmp_path):
    path = file(tmp_path / "data" / "one.jsonl", mint())
    here = imported(tmp_path / "data", [{"files": [pinned(path, tmp_path / "data")]}])
    elsewhere = plan(experiment(tmp_path, [{"files": [pinned(path, tmp_path / "data")]}]))
    assert here in elsewhere.goal.upstream_first() and elsewhere.files == {}


@pytest.mark.parametrize(("sources", "overrides", "words"), [
    ([{"files": ["none.jsonl"]}], [], r"no file .*none.jsonl; the files of pool.sources lie below the folder that data=FOLDER"),
    ([{"files": [f"one.jsonl@{'0' * 64}"]}], [], "one.jsonl is not the pinned file: sha256 expected 0000"),
    ([{"files": ["one.jsonl"]}, {"files": ["same.jsonl"]}], [], "pool.sources: same.jsonl is the same file as one.jsonl"),
    ([{"files": ["one.jsonl"]}, {"files": ["two.jsonl"], "teacher": "one"}], [], "pool.sources names teacher 'one' twice"),
    ([{"files": ["one.jsonl"]}], ["select.first=2"], "select.first=2 asks for more than the 1 sources of the pool"),
    ([{"files": ["one.jsonl"]}], ["dialect=paper"], "pool.format=mint is written in mint, and score and train read paper and "
                                                    "paper; set dialect=mint"),
    ([{"files": ["one.jsonl"]}], ["pool.refuse=[told]"], "pool.refuse names 'told'; the marks of format mint are told_wrong"),
    ([{"files": ["one.jsonl"]}], ["pool.name=toy_math"], "pool.name='toy_math' must be .* not a benchmark's name"),
    ([{"files": ["one.jsonl"]}], ["pool.format=mimt"], "no format 'mimt'; there are agent_distillation, messages, mint"),
    ([], [], "pool.sources is empty")])
def test_pool_that_cannot_be_is_refused_at_the_desk(tmp_path, sources, overrides, words):
    for name in ("one.jsonl", "same.jsonl"):
        file(tmp_path / name, mint())
    file(tmp_path / "two.jsonl", REJECTED)
    with pytest.raises(UserError, match=words):
        plan(experiment(tmp_path, sources, *overrides))


def test_experiment_with_a_pool_collects_nothing(tmp_path):
    file(tmp_path / "one.jsonl", mint())
    counts = Counter(spec.stage.name for spec in plan(experiment(tmp_path, [{"files": ["one.jsonl"]}])).goal.upstream_first())
    assert counts == {"import": 1, "prepare": 1, "grade": 2, "score": 1, "select": 1, "train": 1, "evaluate": 1, "aggregate": 1}


def test_declared_pool_of_mint_is_seven_teachers_pinned():
    specs = plan(load(Experiment, [str(ROOT / "configs/mint_math.yaml")])).goal.upstream_first()
    spec = next(spec for spec in specs if spec.stage is IMPORT)
    assert len(spec.config.teachers) == 7 and all(len(file.sha256) == 64 for t in spec.config.teachers for file in t.files)

