"""Collect with the scripted teacher: real code in real processes, and a pool that no kill changes."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import remote
from smartad.agents.limits import CodeLimits
from smartad.dialect import chat, stop_strings
from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Runtime
from smartad.stages.collect import COLLECT, CollectConfig
from smartad.stages.episodes import ROWS, run_episodes, seed_of
from smartad.toyworld.teacher import ScriptedTeacher
from smartad.types import Completion, Question, Request, Trajectory, UserError

pytestmark = pytest.mark.slow

CONFIG = CollectConfig(teacher="toy", samples=2, prompt="toy", dialect="paper", batch_size=8, code=CodeLimits(imports=[]))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Six questions of each kind, and the toy corpus."""
    return remote.inputs(tmp_path_factory.mktemp("inputs"), 12)


@pytest.fixture(scope="module")
def pool(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("pool")
    metrics = COLLECT.run(CONFIG, inputs, out, Runtime())
    return metrics, rows(out)


def rows(out):
    """The rows without the only thing that may differ."""
    return [dataclasses.replace(row, seconds=0.0) for row in read_jsonl(out / ROWS, Trajectory)]


def questions_in(inputs):
    return {q.id: q for q in read_jsonl(inputs["questions/toy_train"] / "questions.jsonl", Question)}


def test_pool_holds_every_question_and_sample_in_order(pool, inputs):
    metrics, found = pool
    assert [(row.question_id, row.sample) for row in found] == [(q, s) for q in questions_in(inputs) for s in range(2)]
    assert metrics["n"] == 24 and metrics["answered"] == 1.0 == sum(row.stop == "answered" for row in found) / 24
    steps = sum(value for name, value in metrics.items() if name.startswith("step/"))
    assert steps == sum(len(row.steps) for row in found) and metrics["step/final"] == 24
    assert metrics["tokens"] is None and metrics["seconds"] > 0  # a script counts no tokens


def test_pool_is_what_the_teacher_wrote_and_saw(pool, inputs):
    """Asking the teacher again, with the chat that the trajectory gives, gives the same turns."""
    from smartad.dialect import PROMPTS, normalise
    for row in pool[1]:
        messages = chat(questions_in(inputs)[row.question_id], row.steps, PROMPTS["toy"])
        turns = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        for turn in turns:
            request = Request(tuple(messages[:turn]), stop_strings(), seed=seed_of(row.question_id, row.sample))
            ((said,),) = ScriptedTeacher().answer([request])
            assert normalise(said.text, said.stopped_by) == messages[turn]["content"]


def test_pool_does_not_depend_on_batches_or_on_the_number_of_samples(pool, inputs, tmp_path):
    COLLECT.run(dataclasses.replace(CONFIG, batch_size=5, samples=1), inputs, tmp_path, Runtime())
    assert rows(tmp_path) == [row for row in pool[1] if row.sample == 0]


@pytest.mark.parametrize("cut", [0, 1, 700, 30_000, 10**9])
def test_half_written_pool_is_carried_on_to_the_same(pool, inputs, tmp_path, cut):
    write_jsonl(tmp_path / ROWS, pool[1])
    whole = (tmp_path / ROWS).read_bytes()
    (tmp_path / ROWS).write_bytes(whole[:cut])
    seen = []
    metrics = COLLECT.run(CONFIG, inputs, tmp_path, Runtime(progress=lambda done, total: seen.append((done, total))))
    assert rows(tmp_path) == pool[1] and {**metrics, "seconds": 0} == {**pool[0], "seconds": 0}
    kept = whole[:cut].count(b"\n") // 8 * 8
    assert seen == [(done, 24) for done in range(kept + 8, 25, 8)]


def test_folder_of_another_pool_is_refused(pool, inputs, tmp_path):
    write_jsonl(tmp_path / ROWS, [*pool[1][:3], dataclasses.replace(pool[1][3], sample=7)])
    with pytest.raises(UserError, match="holds other episodes than this stage's .toy_train/1, sample 7"):
        COLLECT.run(CONFIG, inputs, tmp_path, Runtime())


def test_without_an_index_searches_find_nothing(inputs, tmp_path):
    only = {"questions/toy_train": inputs["questions/toy_train"]}
    COLLECT.run(dataclasses.replace(CONFIG, samples=1), only, tmp_path, Runtime())
    observed = [step.observation for row in rows(tmp_path) for step in row.steps if "web_search(" in step.action]
    assert observed and any("There is no knowledge base" in text for text in observed)


def test_question_the_teacher_does_not_know_is_the_users_mistake(tmp_path):
    (tmp_path / "questions").mkdir()
    write_jsonl(tmp_path / "questions" / "questions.jsonl", [Question("real/1", "What is love?", ("",))])
    with pytest.raises(UserError, match="knows only the toy questions"):
        COLLECT.run(CONFIG, {"questions/real": tmp_path / "questions"}, tmp_path, Runtime())


class Failing(ScriptedTeacher):
    """The teacher, with an engine that breaks: for one sample of each question, or for all."""

    def __init__(self, always):
        self.always = always

    async def complete(self, requests):
        if self.always:
            raise MemoryError("no room")
        broken = {seed_of(f"toy_train/{number}", 1) for number in range(1000)}
        return [(Completion("", "error", None, detail="lost"),) if request.seed in broken else said
                for request, said in zip(requests, self.answer(requests), strict=True)]


def test_engine_that_fails_for_some_is_counted_and_for_all_is_an_error(inputs, tmp_path):
    questions = list(questions_in(inputs).values())
    lenient = Runtime(engine_errors=0.5)
    some = run_episodes(CONFIG, questions, 2, Failing(always=False), inputs["index"], tmp_path, lenient)
    assert [(row.stop, row.reason) for row in some] == [("answered", ""), ("engine_error", "lost")] * 12
    (tmp_path / ROWS).unlink()
    with pytest.raises(RuntimeError, match="engine failed in all of 8 episodes: MemoryError: no room"):
        run_episodes(CONFIG, questions, 2, Failing(always=True), inputs["index"], tmp_path, Runtime())
    assert not (tmp_path / ROWS).exists()


def test_seed_is_a_function_of_question_and_sample():
    assert seed_of("toy_train/0", 0) == seed_of("toy_train/0", 0) < 2**63
    assert len({seed_of(f"toy/{q}", s) for q in range(100) for s in range(15)}) == 1500


@pytest.mark.parametrize(("field", "value"), [("samples", 0), ("max_steps", 0), ("temperature", -1.0), ("batch_size", 0)])
def test_config_without_sense_is_refused_by_name(field, value):
    with pytest.raises(UserError, match=f"collect.{field} must be"):
        dataclasses.replace(CONFIG, **{field: value})


def command_lines():
    """Of every process there is, its words separated by NUL."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            yield (process / "cmdline").read_text(errors="replace")


WORKER = """
import sys
from pathlib import Path
from smartad.stage import Runtime
from smartad.stages.collect import COLLECT, CollectConfig
config = CollectConfig(teacher="toy", samples=2, prompt="toy", dialect="paper", batch_size=8)
inputs = {"questions/toy_train": Path(sys.argv[1]), "index": Path(sys.argv[2])}
COLLECT.run(config, inputs, Path(sys.argv[3]), Runtime())
"""


def test_collect_killed_again_and_again_ends_with_the_same_pool(pool, inputs, tmp_path):
    """Real processes, real SIGKILL, a little later each time; none leaves an interpreter behind."""
    command = [sys.executable, "-c", WORKER, *map(str, (*inputs.values(), tmp_path))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    servers: list[str] = []
    for attempt in range(100):
        worker = subprocess.Popen(command, env=environment)
        deadline = time.monotonic() + 0.6 * 1.15**attempt
        while worker.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if worker.poll() is not None:
            break
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        servers.append(f"smartad.agents.interpreter\0{worker.pid}\0")
    assert worker.returncode == 0 and servers
    assert rows(tmp_path) == pool[1]
    running = list(command_lines())
    assert not [server for server in servers if any(server in line for line in running)]


def test_wall_that_code_ran_behind_is_noted(inputs, tmp_path, caplog):
    notes = {}
    COLLECT.run(dataclasses.replace(CONFIG, samples=1), inputs, tmp_path, Runtime(sandbox="none", note=notes.update))
    assert notes["sandbox"] == "none" and "code that models write can do here all that you can" in caplog.text


def test_wall_that_there_is_not_is_refused_before_anything_is_asked(inputs, tmp_path):
    with pytest.raises(UserError, match="sandbox=moat: there is no such wall"):
        COLLECT.run(CONFIG, inputs, tmp_path, Runtime(sandbox="moat"))
    assert list(tmp_path.iterdir()) == []


def test_limits_of_the_config_hold_for_the_teachers_code(inputs, tmp_path):
    short = dataclasses.replace(CONFIG, samples=1, code=CodeLimits(output_chars=20, imports=[]))
    COLLECT.run(short, inputs, tmp_path, Runtime())
    assert any("truncated to stay below 20" in step.observation for row in rows(tmp_path) for step in row.steps)
