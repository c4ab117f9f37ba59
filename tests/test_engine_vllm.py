"""The server that a job starts: real processes, of the double of vLLM."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smartad.engines import served, vllm
from smartad.engines.opening import LOG, opened
from smartad.models import identify
from smartad.site import EngineSite
from smartad.stage import Runtime
from smartad.types import Request, UserError
from vllm_double import double

pytestmark = pytest.mark.slow
DOUBLE = [sys.executable, str(Path(__file__).with_name("vllm_double.py"))]
TOY = identify("toy")
WITHIN_S = 60


def site(*flags, **options):
    return EngineSite(kind="vllm", command=DOUBLE, flags=list(flags), **{"stop_s": 20.0, "start_s": 60.0, **options})


def adapter(folder, content=b"weights", rank=16):
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(content)
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank}))
    return folder


def say(engine, text="tell"):
    [[said]] = asyncio.run(engine.complete([Request(({"role": "user", "content": text},), max_tokens=20)]))
    return said.text.removesuffix(" heard it")


def runtime(where, notes=None):
    return Runtime(engine=where, note=lambda **facts: notes.update(facts) if notes is not None else None)


def logged(out, word):
    return [int(number) for number in re.findall(rf"^{word} (\d+)", (out / LOG).read_text(), re.M)]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition, what):
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_server_is_started_for_the_stage_asked_and_ended(tmp_path):
    notes = {}
    with opened(TOY, runtime(site("--max-loras", "2"), notes), tmp_path) as engine:
        name = say(engine)
        [pid] = logged(tmp_path, "process")
        assert name.startswith("smartad-") and alive(pid)
        with pytest.raises(UserError, match="wants a key"):  # others can reach the loopback, too
            served.models(engine.url)
    assert "told to end" in (tmp_path / LOG).read_text(), "and not killed at once"
    assert not alive(pid)
    assert notes == {"engine": "vllm", "adapters": "many", "engine_command": " ".join([*DOUBLE, "--max-loras", "2"])}
    assert "toyworld/student" in (tmp_path / LOG).read_text()


def test_adapters_of_a_sweep_share_one_server_between_the_stages_of_a_job(tmp_path):
    first, second = (adapter(tmp_path / name, name.encode()) for name in ("first", "second"))
    names = []
    with vllm.kept():
        for number, each in enumerate([first, second, None, first]):
            (out := tmp_path / str(number)).mkdir()
            with opened(TOY, runtime(site()), out, each) as engine:
                names.append(say(engine))
        [pid] = logged(tmp_path / "0", "process")
        assert alive(pid) and not (tmp_path / "1" / LOG).exists()
    assert not alive(pid)
    assert names[0] == names[3] == served.adapter_name(first) != names[1] == served.adapter_name(second)
    assert names[2].startswith("smartad-")


def test_same_weights_with_another_config_are_another_adapter(tmp_path):
    names = [served.adapter_name(adapter(tmp_path / name, b"weights", rank)) for name, rank in (("a", 8), ("b", 8), ("c", 16))]
    assert names[0] == names[1] != names[2]


def test_server_of_another_model_or_other_flags_takes_the_place_of_the_one_before(tmp_path):
    with vllm.kept():
        pids = []
        for where in (site(), site("--max-loras", "9")):
            with opened(TOY, runtime(where), tmp_path):
                pids.append(logged(tmp_path, "process")[-1])
        assert not alive(pids[0]) and alive(pids[1])


def test_kept_server_that_died_is_replaced(tmp_path):
    with vllm.kept():
        for _ in range(2):
            with opened(TOY, runtime(site()), tmp_path) as engine:
                assert say(engine)
            os.kill(logged(tmp_path, "process")[-1], signal.SIGKILL)
            until(engine._why_gone, "the guard has seen it")
    assert len(logged(tmp_path, "process")) == 2


def test_engine_of_one_adapter_has_it_from_the_start_and_takes_no_other(tmp_path):
    own, notes = adapter(tmp_path / "own", rank=48), {}
    with vllm.kept(), opened(TOY, runtime(site(adapters="one"), notes), tmp_path, own) as engine:
        assert say(engine) == served.adapter_name(own) and notes["adapters"] == "one"
    started = (tmp_path / LOG).read_text()
    assert f"--lora-modules {served.adapter_name(own)}={own}" in started
    assert "--max-loras 1 --max-lora-rank 64" in started and not any(map(alive, logged(tmp_path, "process")))


def test_adapter_of_a_larger_rank_than_the_engine_takes_is_refused_before_it_starts(tmp_path):
    with pytest.raises(UserError, match=r"has rank 128, and engine\.max_rank=64"), \
            opened(TOY, runtime(site()), tmp_path, adapter(tmp_path / "large", rank=128)):
        pass
    assert not (tmp_path / LOG).exists()


def test_server_that_dies_while_it_starts_says_why(tmp_path):
    with pytest.raises(UserError, match=r"has ended \(exit status 1\).*\.engine\.log:\n(.*\n)*.*CUDA out of memory"), \
            opened(TOY, runtime(site("--do", "die")), tmp_path):
        pass


def test_server_that_does_not_come_up_in_time_is_ended_and_named(tmp_path):
    with pytest.raises(TimeoutError, match=r"does not answer after 1 s \(engine\.start_s\)"), \
            opened(TOY, runtime(site("--do", "never", start_s=1.0)), tmp_path):
        pass
    assert not any(map(alive, logged(tmp_path, "process")))


def test_server_that_answers_under_another_name_is_not_ours(tmp_path):
    with pytest.raises(UserError, match=r"a server of other has taken"), \
            opened(TOY, runtime(site("--do", "other")), tmp_path):
        pass


def test_port_that_somebody_elses_server_has_is_refused_by_name(tmp_path):
    with double(name="theirs", root="mistral/large") as theirs:
        port = theirs.server_address[1]
        with pytest.raises(UserError, match=rf"engine.port={port} is taken .* by a server of mistral/large"), \
                opened(TOY, runtime(site(port=port)), tmp_path):
            pass
        assert served.models(theirs.url).roots == {"theirs": "mistral/large"}


def test_program_that_is_not_there_is_named(tmp_path):
    where = EngineSite(kind="vllm", command=["no-such-vllm", "serve"])
    with pytest.raises(UserError, match=r"no program 'no-such-vllm'.*engine\.command="), opened(TOY, runtime(where), tmp_path):
        pass


def test_server_that_dies_is_named_in_the_answer_with_its_last_words(tmp_path):
    with opened(TOY, runtime(site(retries=0)), tmp_path) as engine:
        [pid] = logged(tmp_path, "process")
        os.kill(pid, signal.SIGKILL)
        until(engine._why_gone, "the guard has seen it")
        [[said]] = asyncio.run(engine.complete([Request(({"role": "user", "content": "x"},))]))
    assert said.finish == "error" and said.transient and "SIGKILL" in said.detail and "loading" in said.detail


@pytest.mark.parametrize("do", ["child", "deaf"])
def test_only_the_servers_own_processes_end_with_it_and_all_of_them(tmp_path, do):
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as other, contextlib.ExitStack() as stack:
        stack.callback(other.kill)
        with opened(TOY, runtime(site("--do", do, stop_s=1.0)), tmp_path):
            pids = logged(tmp_path, "process") + logged(tmp_path, "child")
            assert len(pids) == 2 and all(map(alive, pids))
        until(lambda: not any(map(alive, pids)), "all of its processes have ended")
        assert other.poll() is None


STAGE = """
import sys, time
from pathlib import Path
from smartad.engines.opening import opened
from smartad.models import identify
from smartad.site import EngineSite
from smartad.stage import Runtime
site = EngineSite(kind="vllm", command=sys.argv[2:], flags=["--do", "child"])
with opened(identify("toy"), Runtime(engine=site), Path(sys.argv[1])):
    Path(sys.argv[1], "up").touch()
    time.sleep(600)
"""


def test_server_dies_with_the_process_that_started_it_even_by_sigkill(tmp_path):
    with subprocess.Popen([sys.executable, "-c", STAGE, str(tmp_path), *DOUBLE]) as stage, contextlib.ExitStack() as stack:
        stack.callback(stage.kill)
        until((tmp_path / "up").exists, "it has started")
        pids = logged(tmp_path, "process") + logged(tmp_path, "child")
        assert len(pids) == 2 and all(map(alive, pids))
    until(lambda: not any(map(alive, pids)), "an orphaned server")


def test_server_of_others_is_given_the_adapter_and_listed_models_only(tmp_path):
    own, notes = adapter(tmp_path / "own"), {}
    with double(name="student", root="toy") as theirs:
        where = EngineSite(kind="http", url=theirs.url.removesuffix("/v1"))
        with pytest.raises(UserError, match=r"serves student, and toy@\w+ is wanted; .*engine\.model"), \
                opened(TOY, runtime(where), tmp_path):
            pass
        theirs.root = str(Path(vllm.__file__).parents[1] / "toyworld" / "student")
        for _ in range(2):  # the second time it is there
            with opened(TOY, runtime(where, notes), tmp_path, own) as engine:
                assert say(engine) == served.adapter_name(own)
        with opened(TOY, runtime(where), tmp_path) as engine:
            assert say(engine) == "student"
    assert notes == {"engine": "http", "engine_url": theirs.url, "engine_model": served.adapter_name(own),
                     "engine_server": "vllm", "adapters": "many"}


def test_server_that_loads_no_adapters_is_refused_with_the_ways_out(tmp_path):
    with double(lora=False) as theirs:
        where = EngineSite(kind="http", url=theirs.url, model="base")
        with pytest.raises(UserError, match=r"loads no adapters .*--enable-lora .*engine\.kind=vllm.*--merge"), \
                opened(TOY, runtime(where), tmp_path, adapter(tmp_path / "own")):
            pass


def test_key_comes_from_the_environment_and_is_noted_nowhere(tmp_path, monkeypatch):
    notes = {}
    with double(key="a-long-secret-key") as locked:
        where = EngineSite(kind="http", url=locked.url, model="base", key_variable="SERVER_OF_OURS")
        with pytest.raises(UserError, match="engine.key_variable=SERVER_OF_OURS, and there is no such environment variable"), \
                opened(TOY, runtime(where), tmp_path):
            pass
        monkeypatch.setenv("SERVER_OF_OURS", "not-the-secret-key")
        with pytest.raises(UserError, match=r"the key in \$SERVER_OF_OURS is refused") as refused, \
                opened(TOY, runtime(where), tmp_path):
            pass
        monkeypatch.setenv("SERVER_OF_OURS", "a-long-secret-key")
        with opened(TOY, runtime(where, notes), tmp_path) as engine:
            assert say(engine) == "base"
    assert "secret" not in f"{notes} {refused.value} {where}"


def test_url_where_nobody_answers_is_an_engine_failure(tmp_path):
    from smartad.runner import classify
    with double() as gone:
        url = gone.url
    with pytest.raises(ConnectionError, match=f"no model server answers at {url}") as failed, \
            opened(TOY, runtime(EngineSite(kind="http", url=url)), tmp_path):
        pass
    assert classify(failed.value) == "engine"
