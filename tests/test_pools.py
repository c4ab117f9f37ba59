"""What `smartad pool`, `smartad import` and a run over an imported pool say, and that such a run ends with an adapter."""

import json
import subprocess
import sys

import pytest

from command import smartad
from conftest import ROOT
from foreign_rows import LOST, SUM, WRONG, file, mint
from smartad.records import write_json
from smartad.store import Store
from smartad.sweep.pools import Coverage, Teacher, stages_behind, summarise
from smartad.types import UserError

RIGHT = [(SUM, "Observation:\n5\n"), ("The answer is <solution> 5 </solution>.", None)]


def rows(teacher):
    """Five questions: the first teacher is right on two, the second on one of these and another, the third never answers."""
    def guess(answer):
        return [(f"I know: <solution> {answer} </solution>", None)]

    told = [("<solution> 1 </solution>", WRONG), ("<solution> 9 </solution>", None)]
    silent = [(SUM, "Observation:\n5\n"), ("I wonder.", LOST), (SUM, None)]
    of = {"one": [RIGHT, guess(7), guess(0), guess(0), guess(0)], "two": [guess(5), guess(0), told, guess(0), guess("10.4")],
          "three": [silent] * 5}[teacher]
    return [mint(f"What is {2 + n} plus {3 + n}?", f"{5 + 2 * n}.0", turns, success=n in (0, 4)) for n, turns in enumerate(of)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(store, what a run over a small pool printed): three teachers, five questions, one torn line; the toy student."""
    folder = tmp_path_factory.mktemp("pools")
    for teacher in ("one", "two", "three"):
        file(folder / "data" / f"{teacher}.jsonl", *rows(teacher), *(["{"] if teacher == "two" else []))
    (folder / "sums.yaml").write_text(json.dumps({
        "dialect": "mint", "corpus": None, "data": str(folder / "data"),
        "benchmarks": {"in_domain": ["toy_math"], "out_of_domain": []},
        "pool": {"format": "mint", "name": "sums", "sources": [{"files": [f"{t}.jsonl"]} for t in ("one", "two", "three")]},
        "score": {"prompt": "toy"}, "evaluate": {"prompt": "toy"}, "select": {"first": 3},
        "train": {"prompt": "toy", "rank": 4, "alpha": 8, "epochs": 1, "batch_size": 2}}))
    said = smartad("run", folder / "sums.yaml", "--until", "train", "--track", "none", "--store", folder / "store").stdout
    return Store(folder / "store"), said


def only(store, stage):
    return next(f for f in store.fingerprints() if f.startswith(f"{stage}-"))


@pytest.mark.slow
def test_run_over_an_imported_pool_ends_with_an_adapter_and_a_summary(run):
    store, said = run
    assert (store.folder(only(store, "train")) / "adapter" / "adapter_model.safetensors").is_file()
    assert "15 trajectories of 5 questions; 1 of 16 rows in quarantine" in said
    assert "grader and makers: both say right 2, both wrong 7, only the grader says right 2, only the makers 4" in said
    assert "told that an earlier answer was wrong: 1 trajectories, 1 of them right in the end" in said
    assert "tokens in each of the 3 trajectories that were trained on, on average: context" in said
    assert "edge cases of the dialect" in said and "single_block" in said


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["import", "grade", "train"])
def test_pool_is_summarised_from_any_stage_made_of_it(run, stage):
    store, _ = run
    found = summarise(store, only(store, stage))
    assert found.teachers == (Teacher("one", 0, 5, 5, 2, 0, 2), Teacher("two", 1, 5, 5, 2, 0, 2),
                              Teacher("three", 2, 5, 0, 0, 0, 2))
    assert found.coverage == (Coverage(1, 2, 0), Coverage(2, 3, 1), Coverage(3, 3, 1))
    assert found.agreement is not None and found.told == (1, 1)
    assert bool(found.segments) == bool(found.cases) == (stage == "train"), "before it nobody said in which dialect"
    if stage == "train":
        assert found.segments.keys() == {"context", "reason", "action", "final"} and found.cases["single_block"] == 8


@pytest.mark.slow
def test_pool_command_prints_what_the_run_did(run):
    store, said = run
    shown = smartad("pool", only(store, "train"), "--store", store.root).stdout
    assert shown in said
    assert "quarantine.jsonl" in shown


@pytest.mark.slow
def test_pool_is_trained_on_without_its_invented_and_rejected_parts(run):
    store, _ = run
    metrics = store.record(only(store, "train"))["metrics"]
    assert metrics["examples"] == 3 and metrics["tokens/final"] > 0 and metrics["tokens/action"] > 0


@pytest.mark.slow
def test_real_traces_with_the_real_tokenizer_end_with_an_adapter(real_data, tmp_path):
    """Two teachers on two questions of MINT, and a random student with Qwen's vocabulary; docs/imports.md has them all."""
    tokenizer = real_data / "qwen2.5-tokenizer"
    if not tokenizer.is_dir():
        pytest.skip(f"Qwen2.5's tokenizer is not here ({tokenizer})")
    student = tmp_path / "student"
    subprocess.run([sys.executable, ROOT / "benchmarks/random_student.py", "--tokenizer", tokenizer, "--to", student,
                    "--hidden", "16", "--layers", "1"], check=True, capture_output=True, timeout=300)
    two = [{"teacher": name, "files": [f"trajectories/mint_codeact/{name}_math.jsonl"]}
           for name in ("CodeActAgent-Mistral-7b-v0.1", "Meta-Llama-3-70B-Instruct")]
    said = smartad("run", "configs/mint_math.yaml", f"data={real_data}", f"student={student}", "limits.train_questions=2",
                   f"pool.sources={json.dumps(two)}", "select.first=2", "train.epochs=1", "--until", "train", "--track", "none",
                   "--store", tmp_path / "store").stdout
    store = Store(tmp_path / "store")
    found = summarise(store, only(store, "train"))
    assert (found.trajectories, len(found.teachers), len(found.coverage)) == (4, 2, 2)
    assert f"pool {only(store, 'import')}: 4 trajectories of 2 questions" in said
    assert (store.folder(only(store, "train")) / "adapter" / "adapter_model.safetensors").is_file()
    assert found.segments["final"] > 0 and found.segments["reason"] > 0


def test_pool_of_a_stage_that_has_none_is_refused(store, tmp_path):
    folder = store.root / "prepare-0123456789ab"
    folder.mkdir()
    (folder / "record.json").write_text(json.dumps({"fingerprint": folder.name, "identity": {"stage": "prepare", "inputs": {}}}))
    with pytest.raises(UserError, match="prepare-0123456789ab was not made from a pool; name a stage of import, collect, grade"):
        summarise(store, folder.name)


@pytest.mark.slow
def test_import_command_says_what_cannot_be_used_and_writes_the_rest(tmp_path):
    path = file(tmp_path / "one.jsonl", *rows("two"), "{", rows("two")[0])
    said = smartad("import", "mint", path, "--to", tmp_path / "out", "--refuse", "told_wrong").stdout
    assert all(words in said for words in ("quarantined/duplicate", "one.jsonl:6", "no JSON", "same trajectory as one.jsonl:1"))
    assert "invented_answer" not in said
    written = {p.stem: len(p.read_text().splitlines()) for p in (tmp_path / "out").iterdir()}
    assert written == {"questions": 4, "trajectories": 4, "origins": 4, "quarantine": 3}
    again = smartad("import", "mint", path, "--to", tmp_path / "out", status=2).stderr
    assert "is not empty; name a new folder with --to" in again


def test_pool_of_a_graded_evaluation_has_the_verdicts_on_the_pool_and_not_on_the_attempts(store):
    made = {"collect": {}, "grade-of-pool": {"attempts": "collect"}, "train": {"pool": "collect"},
            "evaluate": {"adapter": "train"}, "grade-of-attempts": {"attempts": "evaluate"}}
    fingerprints = {name: f"{name.partition('-')[0]}-{number:012x}" for number, name in enumerate(made)}
    for name, inputs in made.items():
        folder = store.folder(fingerprints[name])
        folder.mkdir(parents=True)
        write_json(folder / "record.json", {"fingerprint": fingerprints[name], "started": 1.0, "identity": {
            "stage": name.partition("-")[0], "inputs": {role: fingerprints[of] for role, of in inputs.items()}}})
    assert stages_behind(store, fingerprints["grade-of-attempts"]) == {
        "collect": fingerprints["collect"], "grade": fingerprints["grade-of-pool"], "train": fingerprints["train"]}
