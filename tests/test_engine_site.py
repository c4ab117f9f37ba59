"""Where a profile has the engines of stages, and that they get there."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from small_stages import Config, bring_to_end, job
from smartad.cluster import ClusterConfig
from smartad.cluster.submission import Batch
from smartad.config import load
from smartad.engines.opening import opened
from smartad.models import identify
from smartad.site import EngineSite
from smartad.stage import Runtime, Stage, StageSpec
from smartad.types import Request, UserError
from vllm_double import double


@pytest.mark.parametrize("options, words", [
    ({"kind": "http"}, r"engine\.url=None: kind http needs the address of a server"),
    ({"kind": "http", "url": "gpu7:8000"}, r"engine\.url=gpu7:8000"),
    ({"kind": "vllm", "url": "http://gpu7:8000"}, r"engine\.url is for kind http, and this is kind vllm"),
    ({"key_variable": "KEY"}, r"engine\.key_variable is for kind http, and this is kind hf"),
    ({"kind": "http", "url": "http://gpu7", "flags": ["--dtype"]}, r"engine\.flags and engine\.port are for kind vllm"),
    ({"kind": "http", "url": "http://gpu7", "adapters": "one"}, r"engine\.adapters=one at a server that others ask.*kind=vllm"),
    ({"kind": "vllm", "command": []}, r"engine\.command is empty"), ({"kind": "vllm", "port": 0}, r"engine\.port=0"),
    ({"in_flight": 0}, r"engine\.in_flight must be at least 1"), ({"request_s": 0}, r"engine\.request_s must be a number"),
    ({"retries": -1}, r"engine\.retries must be at least 0")])
def test_engine_that_makes_no_sense_is_refused_and_says_which_key(options, words):
    with pytest.raises(UserError, match=words):
        EngineSite(**options)


@pytest.mark.parametrize("source", [[], ["stages", "collect"]])
@pytest.mark.parametrize("key", ["sk-abc123", "7-abc123", "abc123 ", "", "abc123$"])
def test_key_in_the_place_of_its_variables_name_is_refused_and_not_repeated(tmp_path, source, key):
    profile = {"engine": {"kind": "http", "url": "http://gpu7", "key_variable": key}}
    for name in reversed(source):
        profile = {name: profile}
    (tmp_path / "site.yaml").write_text(json.dumps(profile))
    with pytest.raises(UserError, match=r"engine\.key_variable must be the name of an environment variable") as refused:
        load(ClusterConfig, [str(tmp_path / "site.yaml")])
    assert not key or key not in str(refused.value)


def test_profile_names_an_engine_for_all_stages_and_others_for_some():
    profile = load(ClusterConfig, ["engine={kind: http, url: 'http://gpu7:8000'}",
                                   "stages.collect.engine={kind: vllm, flags: [--max-model-len, 16384]}"])
    engines = profile.engines()
    assert engines == {"collect": EngineSite("vllm", flags=["--max-model-len", "16384"]),
                       "evaluate": EngineSite("http", "http://gpu7:8000")}
    assert ClusterConfig().engines() == dict.fromkeys(["collect", "evaluate"], EngineSite("hf"))


def test_engine_of_a_stage_that_asks_no_model_is_refused():
    with pytest.raises(UserError, match=r"stages\.train\.engine: train asks no model; those that do are collect, evaluate"):
        load(ClusterConfig, ["stages.train.engine={kind: hf}"])


def test_example_profile_starts_a_server_where_there_are_gpus():
    assert {name: e.kind for name, e in load(ClusterConfig, [str(ROOT / "slurm" / "h200_site.yaml")]).engines().items()} == {
        "collect": "vllm", "evaluate": "vllm"}


def tell_engine(config, inputs, out, runtime):
    return {"in_flight": runtime.engine.in_flight if runtime.engine else None}


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["workers", pytest.param("local", marks=pytest.mark.slow)])
def test_stage_is_told_its_engine_wherever_it_runs_and_it_is_not_in_its_fingerprint(store, cluster):
    specs = [StageSpec(Stage(name, 1, tell_engine), Config()) for name in ("collect", "evaluate", "train")]
    engine, own = {"kind": "hf", "in_flight": 7}, {"engine": {"kind": "hf", "in_flight": 9}}
    bring_to_end(store, specs, load(ClusterConfig, [f"cluster={cluster}", f"engine={json.dumps(engine)}",
                                                    f"stages={json.dumps({'evaluate': own})}"]), jobs=1)
    assert [store.record(spec.fingerprint)["metrics"]["in_flight"] for spec in specs] == [7, 9, None]


def heard(config, inputs, out, runtime):
    import asyncio
    with opened(identify("toy"), runtime, out) as engine:
        [[said]] = asyncio.run(engine.complete([Request(({"role": "user", "content": "who"},), max_tokens=9)]))
    return {"server": int(said.text.split()[0].removeprefix("smartad-"), 16)}


@pytest.mark.slow
def test_stages_that_share_a_job_share_its_server_and_the_record_says_which_kind(store):
    where = EngineSite("vllm", command=[sys.executable, str(Path(__file__).with_name("vllm_double.py"))])
    one = dataclasses.replace(job(store), engines={"evaluate": where})
    specs = tuple(StageSpec(Stage("evaluate", 1, heard), Config(name)) for name in "abc")
    Batch(one, specs)()
    records = [store.record(spec.fingerprint) for spec in specs]
    assert len({record["metrics"]["server"] for record in records}) == 1
    assert {record["ran"]["engine"] for record in records} == {"vllm"}
    Batch(one, (other := StageSpec(Stage("evaluate", 1, heard), Config("d")),))()
    assert store.record(other.fingerprint)["metrics"]["server"] != records[0]["metrics"]["server"]


def test_server_that_is_away_is_an_engine_failure_which_is_tried_again(store):
    with double() as gone:
        url = gone.url
    one = dataclasses.replace(job(store), engines={"evaluate": EngineSite("http", url)})
    failure = one.run(StageSpec(Stage("evaluate", 1, heard), Config("a")))
    assert failure.kind == "engine" and url in failure.message


def refusal(where, tmp_path):
    with pytest.raises(UserError) as refused, opened(identify("toy"), Runtime(engine=where), tmp_path):
        pass
    return str(refused.value)


def test_model_that_the_server_does_not_list_is_refused_before_the_first_question_by_the_stage_and_by_doctor(tmp_path):
    from smartad.cli.doctor_engines import engines
    with double(name="student") as server:
        where = EngineSite("http", server.url, model="studnet")
        words = f"engine.model=studnet: the server at {server.url} serves student; name one of these"
        assert refusal(where, tmp_path) == words and not server.bodies
        [found] = engines(ClusterConfig(engine=where))
        assert found.level == "fail" and words in found.told
        with opened(identify("toy"), Runtime(engine=dataclasses.replace(where, server="openai")), tmp_path):
            pass  # of a server that need not list anything


def test_address_without_a_list_of_models_is_refused_with_a_hint_and_not_tried_again(tmp_path):
    with double() as server:
        url = server.url.replace("/v1", "/v2")
        assert refusal(EngineSite("http", url), tmp_path).startswith(
            f"the server at {url} has no {url}/models (404): is there /v1 at the end of the address?")


def test_key_that_is_refused_is_named_by_its_variable_and_one_that_is_missing_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("SERVER_OF_OURS", "not-the-secret-key")
    with double(key="a-long-secret-key") as locked:
        said = refusal(EngineSite("http", locked.url, key_variable="SERVER_OF_OURS"), tmp_path)
        assert f"the key in $SERVER_OF_OURS is refused by the server at {locked.url} (401)" in said and "secret" not in said
        assert "wants a key (401); name the environment variable" in refusal(EngineSite("http", locked.url), tmp_path)


def test_doctor_says_what_servers_answer_and_which_program_is_missing():
    from smartad.cli.doctor_engines import engines
    with double(name="student", root="toy", key="of-this-server") as server:
        asks = {"collect": {"engine": {"kind": "http", "url": server.url}},
                "evaluate": {"engine": {"kind": "vllm", "command": ["no-such-vllm"]}}}
        locked, missing = engines(ClusterConfig(stages=asks))
        assert (locked.level, missing.level) == ("fail", "fail") and "no-such-vllm" in missing.told
        assert "collect: the server at" in locked.told and "wants a key" in locked.told
        server.key = None
        found, missing = engines(ClusterConfig(cluster="slurm", stages=asks))
        assert found.told == f"collect: {server.url} (vLLM) serves student" and missing.level == "warn", "a node may have it"
    [here] = engines(ClusterConfig())
    assert here.told == "collect and evaluate: transformers in the stage's own process"
