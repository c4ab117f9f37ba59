"""Many episodes in flight at something like a server: no row is lost, made twice, or taken for a result when it is none."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

import remote
from remote import CONFIG, TOKENS, Remote, failure, seed
from smartad.cluster import ClusterConfig, Job, connect
from smartad.records import append_jsonl, read_jsonl
from smartad.site import EngineSite
from smartad.stage import Runtime
from smartad.stages import playing, questions_of
from smartad.stages.episodes import ROWS, TOP_LOGPROBS, run_episodes, summary
from smartad.store import Store
from smartad.tracking import Tracking
from smartad.types import Choices, Completion, TeacherChoices, Trajectory, UserError

pytestmark = pytest.mark.slow
COUNT = 24
"""Questions; each is solved twice."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return remote.inputs(tmp_path_factory.mktemp("inputs"), COUNT)


def collect(inputs, out, engine, in_flight=64, config=CONFIG, top_logprobs=None, **runtime):
    """The rows, without the only thing that may differ."""
    rows = run_episodes(config, list(questions_of(inputs).values()), config.samples, engine, inputs["index"], out,
                        Runtime(engine=EngineSite(in_flight=in_flight), **runtime), top_logprobs)
    return [dataclasses.replace(row, seconds=0.0) for row in rows]


def on_disk(out):
    return [dataclasses.replace(row, seconds=0.0) for row in read_jsonl(out / ROWS, Trajectory)]


def number_of(row):
    """Of its question among the toy training questions."""
    return int(row.question_id.partition("/")[2])


@pytest.fixture(scope="module")
def pool(inputs, tmp_path_factory):
    """What comes of it when nothing goes wrong, one episode after the other."""
    return collect(inputs, tmp_path_factory.mktemp("pool"), Remote(), in_flight=1)


def test_transcripts_are_the_same_one_at_a_time_many_at_a_time_and_in_lock_step(pool, inputs, tmp_path):
    engine = Remote(crowd=2 * COUNT)
    assert collect(inputs, tmp_path, engine) == pool == on_disk(tmp_path)
    assert engine.most_waiting == 2 * COUNT

    class Together(Remote):
        together = True

        async def complete(self, requests):
            return [(await Remote.complete(self, [request]))[0] for request in requests]

    (tmp_path / "lockstep").mkdir()
    assert collect(inputs, tmp_path / "lockstep", Together()) == pool


def test_rows_are_there_when_their_episode_ends_and_in_order_when_all_have(pool, inputs, tmp_path):
    written = []

    def progress(done, total):
        written.append([(row.question_id, row.sample) for row in read_jsonl(tmp_path / ROWS, Trajectory)])
        assert done == len(written[-1]) and total == 2 * COUNT

    rows = collect(inputs, tmp_path, Remote(delay_s=0.01), progress=progress)
    assert [len(keys) for keys in written] == list(range(1, 2 * COUNT + 1))
    order = [(row.question_id, row.sample) for row in rows]
    assert written[-1] != order, "they ended in another order"
    assert sorted(written[-1]) == sorted(order) == sorted({(row.question_id, row.sample) for row in on_disk(tmp_path)})
    assert on_disk(tmp_path) == rows


WORKER = """
import asyncio, dataclasses, signal, sys
from pathlib import Path
import remote
from smartad.agents.limits import CodeLimits
from smartad.site import EngineSite
from smartad.stage import Runtime
from smartad.stages import questions_of
from smartad.stages.episodes import run_episodes
from smartad.types import Completion

class Engine(remote.Remote):
    def answer(self, requests):
        said = super().answer(requests)
        if f"code:{requests[0].seed}" in ENDLESS:
            return [(Completion("Code:\\n```py\\nprint(1)\\nsum(range(10**15))", "stop", 10, "```<end_code>"),)]
        return said

    async def complete(self, requests):
        said = await super().complete(requests)
        if f"answer:{requests[0].seed}" in ENDLESS:
            await asyncio.sleep(3600)
        return said

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
folder, out, ENDLESS = Path(sys.argv[1]), Path(sys.argv[2]), set(sys.argv[3:])
inputs = {"questions/toy_train": folder / "questions", "index": folder / "index"}
code = CodeLimits(step_timeout_s=3600, cpu_s=3600)
run_episodes(dataclasses.replace(remote.CONFIG, code=code), list(questions_of(inputs).values()), 2,
             Engine(log=out / "asked"), inputs["index"], out, Runtime(engine=EngineSite(in_flight=64)))
"""


def worker(inputs, out, endless="", rows=()):
    """Collect in a process of its own, in which the ``endless`` (code or answer) of the episodes of ``rows`` never comes."""
    words = [f"{endless}:{seed(number_of(row), row.sample)}" for row in rows]
    return subprocess.Popen([sys.executable, "-c", WORKER, str(inputs["index"].parent), str(out), *words],
                            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, stderr=subprocess.PIPE, text=True)


def wait_until(holds, process):
    while not holds():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)


def rows_in(out):
    path = out / ROWS
    return path.read_bytes().count(b"\n") if path.exists() else 0


def asked(out):
    """How often each (seed, turn) was asked."""
    return Counter(tuple(map(int, line.split())) for line in (out / "asked").read_text().splitlines())


def test_collect_killed_with_many_in_flight_carries_on_with_what_is_missing_only(pool, inputs, tmp_path):
    """Killed at some moment, then when all but 30 are done, then all but 3."""
    for enough, waiting in ((1, pool[5:35]), (2 * COUNT - 30, pool[5:35]), (2 * COUNT - 3, pool[20:23])):
        process = worker(inputs, tmp_path, "answer", waiting)
        wait_until(lambda enough=enough: rows_in(tmp_path) >= enough, process)
        process.kill()
        process.communicate()
        (tmp_path / "asked").unlink()
    assert [row for row in pool if row not in on_disk(tmp_path)] == waiting
    process = worker(inputs, tmp_path)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert on_disk(tmp_path) == pool
    assert {who for who, _ in asked(tmp_path)} == {seed(number_of(row), row.sample) for row in waiting}
    assert set(asked(tmp_path).values()) == {1}


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_collect_that_is_stopped_ends_at_once_whatever_its_code_is_at(pool, inputs, tmp_path, by):
    """First all wait for an answer that takes an hour; then all but one are done, and its code does not end."""
    append_jsonl(tmp_path / ROWS, pool[:4])
    process = worker(inputs, tmp_path, "answer", pool[4:])
    wait_until(lambda: (tmp_path / "asked").exists() and len(asked(tmp_path)) >= 40, process)
    process.send_signal(by)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == (-by if by == signal.SIGINT else 143), said
    assert on_disk(tmp_path) == pool[:4]
    process = worker(inputs, tmp_path, "code", pool[4:5])
    wait_until(lambda: rows_in(tmp_path) == 2 * COUNT - 1, process)
    process.send_signal(by)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == (-by if by == signal.SIGINT else 143), said
    assert sorted(on_disk(tmp_path), key=pool.index) == [*pool[:4], *pool[5:]]


@pytest.fixture
def at_once(monkeypatch):
    """No pause before episodes are run again."""
    monkeypatch.setattr(playing, "PAUSES_S", (0.0, 0.0))


@pytest.mark.usefixtures("at_once")
def test_failure_that_passes_is_tried_again_and_leaves_no_trace(pool, inputs, tmp_path):
    engine = Remote(log=tmp_path / "asked", fails={seed(0): [failure()], seed(3, 1): [failure(), failure()]})
    assert collect(inputs, tmp_path, engine) == pool
    times = asked(tmp_path)
    assert (times[seed(0), 0], times[seed(3, 1), 0], times[seed(1), 0]) == (2, 3, 1)


@pytest.mark.usefixtures("at_once")
def test_failures_of_a_round_are_told_by_the_first_and_their_count(inputs, tmp_path, caplog):
    collect(inputs, tmp_path, Remote(fails={seed(number): [failure()] * 2 for number in range(3)}))
    said = "\n".join(record.message for record in caplog.records if "the engine failed" in record.message)
    assert re.fullmatch(r"(the engine failed in (toy_train/\d+, sample 0: 503 overloaded)\nthe engine failed in 3 episodes, "
                        r"which are run again in 0 s; first: \2\n?){2}", said), said


@pytest.mark.usefixtures("at_once")
def test_failure_that_stays_is_a_row_with_its_reason_and_asked_again_only_if_it_might_pass(pool, inputs, tmp_path):
    engine = Remote(log=tmp_path / "asked", fails={seed(0): [failure()] * 9, seed(1): [failure("400 no", transient=False)] * 9})
    rows = collect(inputs, tmp_path, engine)
    assert [(r.stop, r.reason, r.answer) for r in rows if r.stop != "answered"] == [
        ("engine_error", "503 overloaded", None), ("engine_error", "400 no", None)]
    assert summary(rows)["tokens"] == sum(r.tokens for r in rows) == TOKENS * sum(len(r.steps) for r in rows)
    assert [r for r in rows if r.stop == "answered"] == [r for r in pool if r.sample == 1 or number_of(r) > 1]
    times = asked(tmp_path)
    assert (times[seed(0), 0], times[seed(1), 0]) == (3, 1)
    assert summary(rows)["stop/engine_error"] == 2


@pytest.mark.usefixtures("at_once")
def test_stage_whose_engine_failed_too_often_is_no_result_and_can_be_carried_on(pool, inputs, tmp_path):
    """3 of 48 episodes are more than 5 %."""
    fails = {seed(0): [failure()] * 3, seed(1): [failure()] * 3, seed(2): [failure("400 no", transient=False)]}
    with pytest.raises(playing.EngineFailed, match=r"failed in 3 of 48 episodes, more than the share of 0\.05 that engine_errors "
                       r"in the site profile allows; 2 times: 503 overloaded. .* run the same command again"):
        collect(inputs, tmp_path, Remote(fails=fails))
    assert len(on_disk(tmp_path)) == 46 and sum(row.stop == "engine_error" for row in on_disk(tmp_path)) == 1
    engine = Remote(log=tmp_path / "asked")
    rows = collect(inputs, tmp_path, engine)
    assert [row.reason for row in rows if row.stop == "engine_error"] == ["400 no"], "what will not pass stays"
    assert {who for who, _ in asked(tmp_path)} == {seed(0), seed(1)}
    assert [row for row in rows if row.stop != "engine_error"] == [row for row in pool if (number_of(row), row.sample) != (2, 0)]


def test_share_of_permanent_failures_above_the_limit_ends_the_stage_early_and_is_tried_again_as_a_whole(pool, inputs, tmp_path):
    fails = {seed(number_of(row), row.sample): [failure("400 no", transient=False)] for row in pool}
    engine = Remote(log=tmp_path / "asked", fails=fails)
    with pytest.raises(playing.EngineFailed, match="failed in 3 of 48 episodes"):
        collect(inputs, tmp_path, engine, in_flight=2)
    assert len(asked(tmp_path)) <= 6, "nobody asks for what cannot become a result"
    assert collect(inputs, tmp_path, Remote()) == pool


def test_server_that_is_gone_ends_the_stage_before_everybody_has_asked(pool, inputs, tmp_path):
    append_jsonl(tmp_path / ROWS, pool[:4])
    fails = {seed(number_of(row), row.sample): [failure("connection refused")] * 9 for row in pool}
    engine = Remote(log=tmp_path / "asked", fails=fails)
    with pytest.raises(playing.EngineFailed, match="failed in 16 episodes in a row, at last: connection refused"):
        collect(inputs, tmp_path, engine, in_flight=2)
    assert len(asked(tmp_path)) <= 16 + 2
    assert on_disk(tmp_path) == pool[:4]
    assert collect(inputs, tmp_path, Remote()) == pool


def test_budget_that_is_spent_ends_the_stage_and_a_larger_one_carries_on(pool, inputs, tmp_path):
    total = sum(row.tokens for row in pool)
    with pytest.raises(UserError, match=r"token_budget=200 is spent .* of 48 episodes are there, and kept. To go on, raise "):
        collect(inputs, tmp_path, Remote(), in_flight=4, token_budget=200)
    rows = on_disk(tmp_path)
    begun = [row for row in rows if row in pool]
    assert begun == rows and 200 <= sum(row.tokens for row in rows) <= 200 + 4 * 6 * TOKENS
    with pytest.raises(UserError, match="token_budget=200 is spent"):
        collect(inputs, tmp_path, Remote(), in_flight=4, token_budget=200)
    assert on_disk(tmp_path) == rows, "nothing was left to spend"
    assert collect(inputs, tmp_path, Remote(), token_budget=total) == pool


def test_budget_of_an_engine_that_does_not_count_is_refused(inputs, tmp_path):
    class Silent(Remote):
        async def complete(self, requests):
            return [tuple(dataclasses.replace(c, tokens=None) for c in said) for said in await super().complete(requests)]

    with pytest.raises(UserError, match="token_budget=100: this engine does not say how many tokens it generates"):
        collect(inputs, tmp_path, Silent(), in_flight=2, token_budget=100)


def test_episode_that_has_spent_its_tokens_ends_as_budget_after_the_turn_it_was_at(pool, inputs, tmp_path):
    config = dataclasses.replace(CONFIG, episode_tokens=2 * TOKENS)
    rows = collect(inputs, tmp_path, Remote(), config=config)
    long = [row for row in pool if len(row.steps) > 2]
    assert long and [row.stop for row in rows] == ["budget" if row in long else "answered" for row in pool]
    for row, whole in zip(rows, pool, strict=True):
        assert row.steps == whole.steps[:2] and row.tokens == TOKENS * len(row.steps)
        assert row.answer == (None if whole in long else whole.answer)


def test_top_p_and_temperature_of_the_config_reach_the_engine(inputs, tmp_path):
    seen = set()

    class Watched(Remote):
        async def complete(self, requests):
            seen.update((request.temperature, request.top_p) for request in requests)
            return await super().complete(requests)

    collect(inputs, tmp_path, Watched(), config=dataclasses.replace(CONFIG, samples=1, temperature=0.7, top_p=0.9))
    assert seen == {(0.7, 0.9)}


class Ranking(Remote):
    """Tells of each completion one choice, which is all of it."""

    async def complete(self, requests):
        said = await super().complete([dataclasses.replace(requests[0], top_logprobs=None)])
        return [tuple(dataclasses.replace(c, choices=(Choices(0, len(c.text), (c.text,), (-0.5,)),)) for c in cs) for cs in said]


def test_teachers_choices_are_kept_in_the_order_of_the_rows(pool, inputs, tmp_path):
    assert collect(inputs, tmp_path, Ranking(delay_s=0.005), top_logprobs=1) == pool
    kept = list(read_jsonl(tmp_path / TOP_LOGPROBS, TeacherChoices))
    assert [(k.question_id, k.sample) for k in kept] == [(row.question_id, row.sample) for row in pool]
    for choices, row in zip(kept, pool, strict=True):
        assert [step.text.startswith(turn[0].texts[0]) for turn, step in zip(choices.turns, row.steps, strict=True)]
    whole = (tmp_path / ROWS).read_bytes().splitlines(keepends=True)
    (tmp_path / ROWS).write_bytes(b"".join(whole[5:20] + whole[30:33]))
    assert collect(inputs, tmp_path, Ranking(), top_logprobs=1) == pool
    assert list(read_jsonl(tmp_path / TOP_LOGPROBS, TeacherChoices)) == kept


def test_choices_belong_to_the_completion_that_became_the_step():
    from smartad.dialect import PAPER
    from smartad.types import Request, Step

    def said(text, prefill=""):
        choice = Choices(0, 3, (text[:3],), (-1.0,))
        return Request((), prefill=prefill), Completion(text, "stop", 5, PAPER.end, choices=(choice,))

    request, chosen = said(" it.\nCode:\n```py\nprint(1)", prefill="I think")
    _, other = said(" so.\nCode:\n```py\nprint(2)")
    chat = said("First I would think about it.")
    steps = [Step("I think it.\nCode:\n```py\nprint(1)" + PAPER.end, "print(1)", "", "ok"), Step("else", "", "", "ok")]
    found = list(playing.choices_of(steps, [(chat[0], (chat[1],)), (request, (other, chosen))], PAPER))
    assert found == [(Choices(7, 10, (" it",), (-1.0,)),), ()]


def test_reports_say_how_fast_it_goes(inputs, tmp_path):
    reports = []
    collect(inputs, tmp_path, Remote(), report=lambda step, **metrics: reports.append((step, metrics)))
    step, metrics = reports[-1]
    assert step == 2 * COUNT and metrics["in_flight"] == 0
    assert metrics["tokens_per_s"] > metrics["episodes_per_s"] > 0


def test_profile_says_what_may_be_spent_and_how_much_may_fail(tmp_path):
    store = Store(tmp_path / "store").open()
    executor = connect(ClusterConfig(token_budget=5000, engine_errors=0.2), Job(store, Runtime(), Tracking(store.root)), jobs=0)
    assert (executor.job.runtime.token_budget, executor.job.runtime.engine_errors) == (5000, 0.2)
    for wrong in ({"token_budget": 0}, {"engine_errors": 1.0}, {"engine_errors": -0.1}):
        with pytest.raises(UserError, match=f"{next(iter(wrong))}="):
            ClusterConfig(**wrong)


@pytest.mark.parametrize(("field", "value"), [("top_p", 0.0), ("top_p", 1.5), ("top_p", float("nan")), ("episode_tokens", 0)])
def test_config_without_sense_is_refused_by_name(field, value):
    with pytest.raises(UserError, match=f"collect.{field} must be"):
        dataclasses.replace(CONFIG, **{field: value})
