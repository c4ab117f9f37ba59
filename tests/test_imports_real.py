"""The importers on real files, which are not in the repository: every row is accounted for."""

from collections import Counter
from pathlib import Path

import pytest

from conftest import ROOT
from smartad.config import load
from smartad.experiment import Experiment
from smartad.stages.importing import PoolConfig, Source, gather, identified, totals

MODELS = ["CodeActAgent-Mistral-7b-v0.1", "Meta-Llama-3-70B-Instruct", "Mixtral-8x7B-Instruct-v0.1", "Qwen1.5-72B-Chat",
          "deepseek-coder-33b-instruct", "deepseek-llm-67b-chat", "openchat-3.5-1210"]


def pool(data, form, *files):
    names = [str(path.relative_to(data)) for file in files for path in sorted((data / "trajectories").glob(file))]
    config, places = identified(PoolConfig(form, [Source([name]) for name in names]), data, None)
    return gather(config, {file: Path(places[file.sha256]) for teacher in config.teachers for file in teacher.files})


def by_mint(gold, answer):
    """MINT's rule: within 5 % of the gold, which a negative gold makes a negative tolerance; else the gold is in the answer."""
    try:
        return abs(float(answer) - float(gold)) <= 0.05 * float(gold)
    except ValueError:
        return gold.strip().lower() in answer.strip().lower()


@pytest.mark.slow
@pytest.mark.parametrize(("task", "n", "lost", "right"), [("math", 700, 0, 170), ("hotpotqa", 297, 4, 113)])
def test_every_trace_of_mint_is_imported_or_named_and_its_answer_is_the_one_mint_judged(real_data, task, n, lost, right):
    """MINT's own rule on the answers that were imported gives MINT's own ``success``, all of it."""
    found = pool(real_data, "mint", *(f"mint_codeact/{model}_{task}.jsonl" for model in MODELS))
    numbers = totals(found)
    assert (numbers["n"], numbers["quarantined"], numbers["claimed"], numbers["samples"]) == (n, lost, right, 7)
    assert {row.kind for row in found.quarantine} == ({"missing_turn"} if lost else set())
    golds = {q.id: q.answers[0] for q in found.questions}
    assert len(golds) == n // 7 + bool(lost)
    for trajectory, origin in zip(found.trajectories, found.origins, strict=True):
        judged = trajectory.answer is not None and by_mint(golds[trajectory.question_id], trajectory.answer)
        assert judged == origin.claimed, (origin.file, origin.line, trajectory.answer)
        assert not any(step.text.startswith("Assistant:") for step in trajectory.steps)
        assert trajectory.steps[-1].status == "final" or trajectory.answer is None


def test_predecessors_logs_are_four_runs_and_ten_failures(real_data):
    found = pool(real_data, "agent_distillation", "ad_fork_llama31_70b/*.jsonl")
    assert [t.answer for t in found.trajectories] == [r"\boxed{-6}", r"\boxed{2x - y + 2z - 12 = 0}", r"\\boxed{\frac{28}{99}}",
                                                      r"\boxed{10.0}"]
    assert Counter(row.kind for row in found.quarantine) == {"no_run": 10}
    assert totals(found)["marks/invented_observation"] == 4 and totals(found)["marks/forbidden_import"] == 2
    assert not any("Calling tools" in step.text or "Call id" in step.observation for t in found.trajectories for step in t.steps)


def test_students_logs_are_read_in_the_newer_form(real_data):
    found = pool(real_data, "agent_distillation", "ad_fork_qwen35/*_scored.jsonl")
    numbers = totals(found)
    assert (numbers["rows"], numbers["n"], numbers["marks/asked_again"], numbers["stop/answered"]) == (11, 11, 7, 4)
    assert {t.answer for t in found.trajectories if t.answer} == {"13", "600.0", r"\boxed{1/36}", "76.5"}


def test_repairs_for_fine_tuning_are_whole_episodes_or_named(real_data):
    found = pool(real_data, "messages", "ad_fork_qwen35/verified_repair_sft_277.jsonl")
    assert Counter(row.kind for row in found.quarantine) == {"no_end": 197, "last_turn_only": 60}
    assert len(found.trajectories) == totals(found)["ungradable"] == 20
    assert not any("\\boxed{} format" in q.text or q.text.startswith("New task") for q in found.questions)


def test_declared_pool_of_mint_is_what_is_on_disk(real_data):
    declared = load(Experiment, [str(ROOT / "configs/mint_math.yaml")])
    _, places = identified(declared.pool, real_data, None)
    assert len(places) == 7
