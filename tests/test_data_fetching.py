"""`smartad data`: benchmarks come from GitHub or the model hub (servers on the loopback), are checked, listed, compared."""

import json
import os
import shutil
import socket

import duckdb
import pytest

from command import smartad
from hub_server import Hub, loopback
from smartad import benchmarks
from smartad.cli import main
from smartad.data import fetching, files
from smartad.records import write_jsonl
from smartad.types import Question, UserError
from test_benchmarks import REAL

pytestmark = pytest.mark.slow

ANSWERED = {"question": "text", "answer": "gold", "id": "id", "level": "level", "type": "subject"}
COLUMNS = {"aime": {"problem": "text", "answer": "gold"}, "amc23": {"question": "text", "answer": "gold"},
           "bamboogle": {"Question": "text", "Answer": "gold"}, "gaokao": {"question": "text", "answer": "gold"},
           "gsm_hard": {"input": "text", "target": "gold"},
           "math500": {"problem": "text", "answer": "gold", "level": "level", "subject": "subject"},
           "math_hard": {"problem": "text", "solution": "boxed", "level": "named level", "type": "subject"},
           "math_medium": {"problem": "text", "solution": "boxed", "level": "named level", "type": "subject"}}
"""Column of the hub's files -> what of a question it holds; of the others, ANSWERED."""


@pytest.fixture
def github(monkeypatch):
    """GitHub, with nothing on it yet: what it gives, by path."""
    monkeypatch.setattr(Hub, "files", {})
    with loopback(Hub) as address:
        monkeypatch.setenv("SMARTAD_GITHUB", address)
        yield Hub.files


@pytest.fixture
def both(github, tmp_path):
    """GitHub and the model hub in one, for another process: what they give, and the variables that lead there."""
    address = os.environ["SMARTAD_GITHUB"]
    return github, {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0", "SMARTAD_GITHUB": address}


def published(name, real_data):
    """Where GitHub has the file of a benchmark, and what it is."""
    source = benchmarks.get(name).SOURCE
    git = source.github
    return f"/{git.repository}/{git.commit}/{git.path}", (real_data / source.file).read_bytes()


def test_every_benchmark_with_a_file_says_where_github_and_the_hub_have_it():
    for name in REAL:
        source = benchmarks.get(name).SOURCE
        assert source.github.path.rpartition("/")[2] == source.file.rpartition("/")[2] and len(source.github.commit) == 40
        assert source.hub.files and source.hub.columns and source.hub.dataset.count("/") == 1, name


def test_files_from_github_are_the_pinned_ones_and_stay(github, real_data, tmp_path):
    contents = {name: published(name, real_data) for name in REAL}
    github.update(contents.values())
    fetched = {name: fetching.fetch(name, tmp_path, "github") for name in REAL}
    assert all(path.read_bytes() == contents[name][1] for name, path in fetched.items())
    assert fetched == {name: tmp_path / benchmarks.get(name).SOURCE.file for name in REAL}
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == set(fetched.values())
    github.clear()
    assert [fetching.fetch(name, tmp_path) for name in REAL] == list(fetched.values()), "and nobody is asked for them again"


def test_other_file_from_github_is_refused_and_not_kept(github, real_data, tmp_path):
    path, content = published("amc23", real_data)
    github[path] = content.replace(b"45", b"46")
    with pytest.raises(UserError, match=r"a45202b.*/amc23/test.jsonl is not the pinned file: sha256 expected 43707e1c"):
        fetching.fetch("amc23", tmp_path, "github")
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_where_nobody_has_it_both_places_are_named(both, tmp_path):
    said = smartad("data", "prefetch", "gaokao", "--to", tmp_path / "data", store=tmp_path, status=1, **both[1]).stderr
    first, second = said.splitlines()
    assert "gaokao2023en/test.jsonl cannot be had: HTTPStatusError" in first and first.endswith("trying the model hub")
    assert "Gaokao2023-Math-En on the model hub does not give" in second
    assert f"put it at {tmp_path}/data/gaokao2023en/test.jsonl" in second


def test_github_that_does_not_answer_is_named(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("SMARTAD_GITHUB", f"http://127.0.0.1:{taken.getsockname()[1]}")
    with pytest.raises(UserError, match="amc23/test.jsonl cannot be had: ConnectError"):
        fetching.fetch("amc23", tmp_path, "github")


def test_prefetch_asks_nobody_again_who_cannot_be_reached(monkeypatch, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("SMARTAD_GITHUB", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert main(["data", "prefetch", "amc23", "gaokao", "--from", "github", "--to", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "amc23" in told and "the other sets were not tried" in told and "gaokao" not in told


def test_prefetch_goes_on_after_a_set_that_a_server_has_not(github, tmp_path, capsys):
    assert main(["data", "prefetch", "amc23", "gaokao", "--from", "github", "--to", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "amc23: " in told and "gaokao: " in told and "not tried" not in told


def test_file_that_is_there_and_wrong_is_not_written_over(github, real_data, tmp_path):
    (tmp_path / "amc23").mkdir()
    (tmp_path / "amc23/test.jsonl").write_text("{}")
    with pytest.raises(UserError, match="amc23/test.jsonl is not the pinned file: .* Move it away to fetch the known one"):
        fetching.fetch("amc23", tmp_path)
    assert (tmp_path / "amc23/test.jsonl").read_text() == "{}"


def test_generated_questions_are_not_fetched(tmp_path):
    with pytest.raises(UserError, match="toy_qa is generated by smartad itself"):
        fetching.fetch("toy_qa", tmp_path)


def as_on_the_hub(names, real_data, folder):
    """The hub's files of benchmarks, by path: their rows in another order, among others, in the columns that the hub has."""
    hubs = {}
    for name in names:
        other = Question(f"{name}/other", "Another?", ("1",), "1", "Algebra", "", "")
        rows = [hub_row(name, q) for q in [other, *files.read(name, real_data)[::-1]]]
        hubs.setdefault(benchmarks.get(name).SOURCE.hub, []).extend(rows)
    return {path: content for hub, rows in hubs.items() for path, content in hub_files(hub, rows, folder)}


def hub_files(hub, rows, folder):
    for at, file in enumerate(hub.files):
        part = folder / file.replace("/", "_")
        mine = rows[at::len(hub.files)]
        lines = "".join(json.dumps(row) + "\n" for row in mine).encode()
        if part.suffix == ".parquet":
            text = part.with_suffix(".jsonl")
            text.write_bytes(lines)
            types = ", ".join(f"{column}: 'VARCHAR'" for column in mine[0])
            with duckdb.connect() as database:
                database.execute(f"copy (from read_json('{text}', columns={{{types}}})) to '{part}' (format parquet)")
            lines = part.read_bytes()
        yield f"/datasets/{hub.dataset}/resolve/{hub.revision or 'main'}/{file}", lines


def hub_row(name, question):
    gold = question.answers[0] if question.answers else ""
    parts = {"text": question.text, "gold": gold, "id": question.id.partition("/")[2], "level": question.level,
             "named level": f"Level {question.level}", "subject": question.subject,
             "boxed": f"so $\\boxed{{{gold}}}$" if gold else "so $\\boxed 2$"}
    if name == "humaneval":
        return {"task_id": question.id.replace("humaneval", "HumanEval"), "prompt": question.text, "test": question.tests,
                "entry_point": question.entry_point, "canonical_solution": "    pass"}
    if name == "olymmath":
        return {"problem": question.text, "answer": gold, "subject": question.subject,
                "unique_id": f"OlymMATH-{(question.level or '').upper()}-0-EN"}
    return {column: parts[part] for column, part in COLUMNS.get(name, ANSWERED).items()}


def test_questions_built_of_the_hubs_files_are_those_of_the_papers_files(both, real_data, tmp_path):
    """Rows of another form, order and company; OlymMATH's and Gaokao's files are the real ones."""
    (tmp_path / "hub").mkdir()
    given, variables = both
    given |= as_on_the_hub(REAL, real_data, tmp_path / "hub")
    for half in ("EASY", "HARD"):
        given[f"/datasets/RUC-AIBOX/OlymMATH/resolve/main/data/OlymMATH-EN-{half}.jsonl"] = \
            (real_data / f"olymmath/OlymMATH-EN-{half}.jsonl").read_bytes()
    hub = benchmarks.get("gaokao").SOURCE.hub
    given[f"/datasets/{hub.dataset}/resolve/{hub.revision}/{hub.files[0]}"] = (real_data / "gaokao2023en/test.jsonl").read_bytes()
    said = smartad("data", "prefetch", "--to", tmp_path / "data", "--from", "hub", store=tmp_path, **variables).stdout
    assert len(said.splitlines()) == len(REAL)
    for name in REAL:
        assert files.located(name, tmp_path / "data") == tmp_path / "data" / files.built(name)
        assert files.read(name, tmp_path / "data") == files.read(name, real_data), name
    assert not list((tmp_path / "data" / "questions").glob(".*")), "nothing is left of what was downloaded"
    checked = smartad("data", "check", store=tmp_path, SMARTAD_DATA=str(tmp_path / "data")).stdout
    assert checked.count("as known") == len(REAL)


def test_hub_that_has_other_rows_is_refused_and_they_are_named(both, real_data, tmp_path):
    given, variables = both
    rows = (real_data / "gaokao2023en/test.jsonl").read_text().splitlines()
    hub = benchmarks.get("gaokao").SOURCE.hub
    given[f"/datasets/{hub.dataset}/resolve/{hub.revision}/{hub.files[0]}"] = "\n".join(rows[:380]).encode()
    said = smartad("data", "prefetch", "gaokao", "--to", tmp_path / "data", store=tmp_path, status=1, **variables).stderr
    assert "trying the model hub" in said and "5 of 385 rows: gaokao/380 is missing" in said
    assert files.located("gaokao", tmp_path / "data") is None


def test_data_check_names_what_is_missing_and_what_changed(real_data, tmp_path):
    for name in ("amc23", "gaokao"):
        path = tmp_path / benchmarks.get(name).SOURCE.file
        path.parent.mkdir()
        shutil.copy(real_data / benchmarks.get(name).SOURCE.file, path)
    words = ("data", "check", "amc23", "gaokao", "--data", tmp_path)
    said = smartad(*words, store=tmp_path).stdout
    assert "| gaokao | as known | gaokao2023en/test.jsonl | 385 | 383 | empty_gold 2, leaked_answer 2" in said
    assert "gaokao/349  wrong_gold: 902 becomes 901" in said
    path = tmp_path / "amc23/test.jsonl"
    path.write_text(path.read_text().replace("Alicia", "Alice"))
    said = smartad(*words, "aime", store=tmp_path, status=1).stdout
    assert "| amc23 | wrong |" in said and "amc23/0 has another text" in said and f"aime: not in {tmp_path}" in said


def test_data_list_says_what_may_be_passed_on_and_what_is_here(real_data, tmp_path):
    said = smartad("data", "list", "--data", real_data, store=tmp_path).stdout
    assert "| hotpotqa | qa | 500 | cc-by-sa-4.0 | yes, with attribution, under the same licence | agent-distillation/" in said
    assert "| aime | math | 90 | – | not clear: the problems are the MAA's |" in said and "| toy_qa | exact | 300 |" in said
    assert "| hotpotqa | qa | 500 | cc-by-sa-4.0 | yes, with attribution, under the same licence | – |" in smartad(
        "data", "list", store=tmp_path, SMARTAD_DATA="").stdout


def test_data_overlap_compares_questions_of_ones_own(real_data, tmp_path):
    mine = tmp_path / "mine.jsonl"
    problem = files.read("amc23", real_data)[0].text
    mine.write_text(json.dumps({"id": "leaked", "problem": problem.upper()}) + "\n" + json.dumps({"question": "Who?"}) + "\n")
    words = ("data", "overlap", mine, "--against", "amc23,toy_qa", "--data", real_data)
    lines = smartad(*words, "--format", "csv", store=tmp_path).stdout.splitlines()
    assert lines[0].startswith("first_set,first,") and f"{mine},leaked,amc23,amc23/0,exact" in lines[1] and len(lines) == 2
    assert "| leaked | amc23/0 | exact |" in smartad(*words, store=tmp_path).stdout
    write_jsonl(mine, [Question("x", "y", ())])
    with mine.open("a") as file:
        file.write('{"text": 1}\n')
    assert f"{mine}:2 has no question: a line is a JSON object with one of text, question, problem, prompt" in smartad(
        *words, store=tmp_path, status=2).stderr
    assert "which folder? Say so with --data DIR, or in $SMARTAD_DATA" in smartad(
        "data", "overlap", store=tmp_path, status=2, SMARTAD_DATA="").stderr


def test_data_overlap_takes_the_questions_of_a_stage(tmp_path):
    smartad("run", "configs/toy.yaml", "limits.questions=2", "train=null", "--until", "prepare", "--track", "none", "--jobs", "0",
            store=tmp_path)
    (folder,) = (f for f in tmp_path.glob("prepare-*") if '"toy_qa"' in (f / "record.json").read_text())
    said = smartad("data", "overlap", folder.name, "--against", "toy_qa", "--format", "csv", store=tmp_path).stdout
    assert f"{folder.name},toy_qa/0,toy_qa,toy_qa/0,exact" in said
