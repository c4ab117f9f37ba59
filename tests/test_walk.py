"""From a cell of a table to everything it was made of, down to the question."""

import json
import shutil
from dataclasses import replace

import pytest

from made_up_sweeps import called, made_up
from smartad.analysis.arms import spot
from smartad.analysis.outcomes import outcomes
from smartad.analysis.walk import answered, grader_of, of_question, walk
from smartad.cli import main
from smartad.cli.walking import _print_walk
from smartad.store import Store, StoreError

pytestmark = pytest.mark.slow

ROW = "SmartAD, select.first=10, train.learning_rate=0.0001"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store that no test changes."""
    return made_up(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def changed(whole, tmp_path):
    """A copy of it to change."""
    shutil.copytree(whole[0].root, tmp_path / "store")
    return Store(tmp_path / "store"), whole[1]


def cell(found, benchmark="math500"):
    store, sweep = found
    return spot(store, f"{sweep}:{ROW}/{benchmark}")


def said(capsys, store, *words):
    status = main(["walk", *words, "--store", str(store.root)])
    out = capsys.readouterr()
    assert status == 0, out.err
    return out.out


def kinds(stations):
    return [station.what for station in stations]


def test_walk_of_a_cell_leads_to_every_stage_of_its_row_that_had_a_part_in_it(whole):
    found = walk(whole[0], cell(whole))
    run = cell(whole).run
    names = {station.fingerprint for station in found.stations()}
    others = {stage for stage in run.stages if stage.startswith(("grade-", "evaluate-", "prepare-"))} - names
    assert names | others | {run.goal} == set(run.stages) and len(others) == 3 * 9, "those of the nine other benchmarks"
    assert kinds(found.top.made_of) == ["attempts", "questions"]
    adapter = found.top.made_of[0].made_of[0]
    assert kinds(adapter.made_of) == ["selection", "trajectories", "questions"]
    assert kinds(adapter.made_of[0].made_of) == ["verdicts", "scores", "trajectories"]
    assert all(station.made.commit and station.made.host and station.files for station in found.stations())
    assert {station.state for station in found.stations()} == {"done"}
    assert found.wrong == () and not any(station.wrong for station in found.stations())


def test_walk_tells_of_each_stage_what_decided_the_number(whole, capsys):
    store, sweep = whole
    text = said(capsys, store, f"{sweep}:{ROW}/math500")
    found = walk(store, cell(whole))
    assert f"{found.cell.correct} of 6 right" in text and "math_strict/1" in text
    assert "rule: min, of the first 10 samples (K)" in text and "coverage" in text
    assert "weights: reason 1, action 1.5, final 2" in text
    assert f"{found.top.folder}: verdicts.jsonl" in text and found.top.made.commit[:12] in text
    assert f"show {found.top.fingerprint}" in text and "reproduce" in text


def test_walk_leaves_out_none_of_many_files(whole, capsys):
    found = walk(whole[0], cell(whole))
    many = {f"{found.top.folder}/part-{number}": 4736 for number in range(60)}
    _print_walk(replace(found, top=replace(found.top, files=many)))
    assert ", ".join(f"part-{number} 4736" for number in range(60)) in capsys.readouterr().out


def test_walk_of_the_fingerprint_behind_a_cell_is_the_walk_of_the_cell(whole):
    store = whole[0]
    top = walk(store, cell(whole)).top.fingerprint
    assert walk(store, spot(store, top)) == walk(store, cell(whole))
    assert grader_of(store, top) == "math_strict" and grader_of(store, f"{whole[1]}:{ROW}/math500") is None


def test_walk_in_json_is_the_whole_tree(whole, capsys):
    store, sweep = whole
    found = json.loads(said(capsys, store, f"{sweep}:{ROW}/aime", "--json"))
    assert found["cell"]["benchmark"] == "aime" and found["top"]["made_of"][0]["what"] == "attempts"


def test_walk_to_one_question_shows_its_gold_its_verdict_and_every_step(whole, capsys):
    store, sweep = whole
    (one,) = of_question(answered(store, walk(store, cell(whole)).top.fingerprint), "3")
    assert one.question.id == "math500/3" and one.question.answers == ("3",)
    text = said(capsys, store, f"{sweep}:{ROW}/math500", "--question", "3")
    assert one.question.text in text and "gold: 3" in text and one.verdict.by in text
    assert all(step.text in text and step.observation in text for step in one.attempt.steps)
    assert said(capsys, store, f"{sweep}:{ROW}/math500", "--question", "math500/3") == text


def test_walk_to_no_question_of_the_cell_names_some_that_are(whole, capsys):
    store, sweep = whole
    with pytest.raises(StoreError, match=r"no question '99' .* there are 6: math500/0, math500/1"):
        of_question(answered(store, walk(store, cell(whole)).top.fingerprint), "99")
    assert main(["walk", f"{sweep}:{ROW}/math500", "--question", "99", "--store", str(store.root)]) == 2
    assert "no question '99'" in capsys.readouterr().err


def test_walk_to_right_and_wrong_answers_lists_each_attempt_once(whole, capsys):
    store, sweep = whole
    listed = {word: said(capsys, store, f"{sweep}:{ROW}/math500", f"--{word}").splitlines()[1:]
              for word in ("right", "wrong", "ungraded")}
    correct = walk(store, cell(whole)).cell.correct
    assert {word: len(lines) for word, lines in listed.items()} == {"right": correct, "wrong": 6 - correct, "ungraded": 0}
    assert all(line.startswith(f"{word}  math500/") for word, lines in listed.items() for line in lines)


def test_walk_of_a_damaged_store_says_what_is_damaged_and_that_the_cell_no_longer_fits(changed, capsys):
    store, sweep = changed
    path = store.folder(walk(store, cell(changed)).top.fingerprint) / "verdicts.jsonl"
    text = path.read_text()
    path.write_text(text.replace('"correct": true', '"correct": false', 1) if '"correct": true' in text
                    else text.replace('"correct": false', '"correct": true', 1))
    found = walk(store, cell(changed))
    assert len(found.wrong) == 1 and "comes to" in found.wrong[0]
    assert [station.fingerprint for station in found.stations() if station.wrong] == [path.parent.name]
    text = said(capsys, store, f"{sweep}:{ROW}/math500")
    assert "does not fit" in text and "damaged" in text and str(path) in text


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:40]),
                                    lambda path: path.write_bytes(b"\xff\n")])
@pytest.mark.parametrize("file", ["cells.jsonl", "verdicts.jsonl"])
def test_walk_past_a_file_that_is_gone_or_torn_goes_on_and_names_it(changed, capsys, file, damage):
    store, sweep = changed
    stage = cell(changed).run.goal if file == "cells.jsonl" else walk(store, cell(changed)).top.fingerprint
    damage(store.folder(stage) / file)
    text = said(capsys, store, f"{sweep}:{ROW}/math500")
    assert f"does not fit: {store.folder(stage) / file}" in text and f"damaged: {store.folder(stage) / file}" in text
    assert "weights: reason 1, action 1.5, final 2" in text and ("--wrong" in text) == (file == "cells.jsonl")
    if file == "verdicts.jsonl":
        with pytest.raises(StoreError, match=f"{file} is missing or damaged .*`smartad walk {stage}`.* delete .*{stage} and"):
            outcomes(store, stage)


def test_walk_to_a_cell_that_the_table_has_of_an_unfinished_row_shows_its_number(changed, capsys):
    store, sweep = changed
    whole_way = walk(store, cell(changed))
    shutil.rmtree(store.folder(cell(changed).run.goal))
    found = walk(store, cell(changed), "math_strict")
    assert found.cell == whole_way.cell and found.top == whole_way.top and found.row.state == "missing"
    text = said(capsys, store, f"{sweep}:{ROW}/math500")
    assert f"{found.cell.correct} of 6 right" in text and "--wrong" in text and "make it again" not in text
    assert said(capsys, store, f"{sweep}:{ROW}/math500", "--right").count("right  ") == found.cell.correct
    with pytest.raises(StoreError, match="is not finished, and math_paper has not graded it yet"):
        walk(store, cell(changed), "math_paper")


def test_walk_shows_what_a_terminal_would_obey_and_half_characters_as_text(changed, capsys):
    store = changed[0]
    hostile = "\x1b]0;owned\x07\x1b[2J\ud800"
    one = called(store, cell(changed), f"{hostile[:-1]}\n$(id)")
    top = walk(store, one).top
    path = store.folder(top.made_of[0].fingerprint) / "trajectories.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["steps"][0]["observation"] = row["answer"] = hostile
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for words in ((), ("--wrong",), ("--question", "3"), ("--json",), ("--question", "3", "--json")):
        text = said(capsys, store, one.name, *words)
        assert "owned" in text and not set("\x1b\x07\ud800") & set(text), words
    assert f"walk {top.fingerprint} --wrong" in said(capsys, store, one.name), "its name cannot be typed"


def test_walk_of_an_unfinished_cell_goes_as_far_as_it_came_and_says_why(changed, capsys):
    store, sweep = changed
    whole_way = walk(store, cell(changed))
    attempts, adapter = whole_way.top.made_of[0].fingerprint, whole_way.top.made_of[0].made_of[0].fingerprint
    for stage in (cell(changed).run.goal, whole_way.top.fingerprint, attempts, adapter):
        shutil.rmtree(store.folder(stage))
    store.note_failure(adapter, "oom", "CUDA out of memory", log="Traceback")
    found = walk(store, cell(changed))
    assert found.cell is None and found.top.fingerprint == whole_way.top.fingerprint
    states = {station.fingerprint: station.state for station in found.stations()}
    assert states[adapter] == "failed" and states[attempts] == "missing"
    assert {states[station.fingerprint] for station in whole_way.stations() if station.fingerprint not in
            (whole_way.top.fingerprint, attempts, adapter)} == {"done"}
    text = said(capsys, store, f"{sweep}:{ROW}/math500")
    shown = text.partition("one stage: ")[2].partition("show ")[2].split()[0]
    assert store.has(shown) and "--wrong" not in text and "make it again" not in text
    assert "not finished" in text and "failed (oom): CUDA out of memory" in text and ".failure.log" in text
    assert main(["walk", f"{sweep}:{ROW}/math500", "--wrong", "--store", str(store.root)]) == 2
    assert "no verdicts yet" in capsys.readouterr().err


def test_walk_by_a_grader_that_has_not_graded_is_refused_naming_those_that_have(whole):
    with pytest.raises(StoreError, match="graded by math_strict, not by math_paper"):
        walk(whole[0], cell(whole), "math_paper")
    assert walk(whole[0], cell(whole), "math_strict") == walk(whole[0], cell(whole))


@pytest.mark.parametrize("words", [["status"], ["table"], ["table", "--format", "terminal"],
                                   ["compare", "--format", "terminal", "--draws", "1000"], ["compare", "--draws", "1000"]])
def test_label_that_a_terminal_would_obey_is_text_to_every_command_that_shows_it(changed, capsys, words):
    store, sweep = changed
    called(store, cell(changed), "\x1b]0;owned\x07\x1b[2J")
    assert main([words[0], sweep, *words[1:], "--store", str(store.root)]) == 0
    out = capsys.readouterr()
    assert "owned" in out.out and not set("\x1b\x07") & set(out.out + out.err)
