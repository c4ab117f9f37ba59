"""W&B with the unmodified SDK: against a loopback double of its backend, and offline."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smartad.tracking import configure
from smartad.types import UserError
from wandb_double import KEY, WandbDouble

ROOT = Path(__file__).parents[1]

# One finished stage after another, each the next one's input; argv: store, then their names.
SCRIPT = """
import sys, time
from pathlib import Path
from smartad.tracking import RunInfo, Tracking
store, *names = sys.argv[1:]
tracking, inputs = Tracking(Path(store), ("wandb",), "my-sweep", patience_s=PATIENCE), {}
for name in names:
    folder = Path(store) / name
    (folder / "adapter").mkdir(parents=True, exist_ok=True)
    (folder / ".claim").write_text("ours")
    with tracking.run(RunInfo(name, "index", {"lr": 0.1, "judge": {"api_key": "sk-verysecret"}}, inputs, folder,
                              group="my-sweep")) as run:
        for step in range(1, 6):
            run.log(step, loss=1 / step)
        (folder / "adapter" / "weights.bin").write_bytes(b"weights of " + name.encode())
        began = time.monotonic()
        DURING
        status = run.finish({"pass@1": 0.5, "loss": 0.1, "not_measured": None})
    print(status["wandb"], flush=True)
    inputs = {"pool": name}
"""
A, B = "index-00000000000a", "index-00000000000b"


def start(store: Path, *names: str, patience_s: float = 20, during: str = "pass", **env: str) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    script = SCRIPT.replace("PATIENCE", str(patience_s)).replace("DURING", during)
    return subprocess.Popen([sys.executable, "-c", script, str(store), *names], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, stdin=subprocess.PIPE, cwd=store,
                            env={**clean, "PYTHONPATH": str(ROOT), "HOME": str(store), **env})


def finished(process: subprocess.Popen[str]) -> list[str]:
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return out.splitlines()


@pytest.fixture
def online(monkeypatch, tmp_path):
    """A server, and an environment in which W&B is configured for it."""
    with WandbDouble() as server:
        for name in [n for n in os.environ if n.startswith("WANDB_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


@pytest.mark.slow
def test_wandb_online_run_has_config_history_summary_files_and_lineage(tmp_path):
    with WandbDouble() as server:
        lines = finished(start(tmp_path, A, B, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY))
    assert all("'status': 'ok'" in line and f"{server.url}/local/smartad/runs/" in line for line in lines)
    run = server.runs[B]
    assert (run.jobType, run.groupName) == ("index", "my-sweep")
    assert [(row["_step"], row["loss"]) for row in run.history] == [(step, 1 / step) for step in range(1, 6)]
    final = json.loads(run.summaryMetrics)
    assert (final["pass@1"], final["loss"]) == (0.5, 0.1) and run.exitcode == 0
    config = json.loads(run.config)
    assert config["lr"]["value"] == 0.1 and config["judge"]["value"] == {"api_key": "<redacted>"}
    assert run.used == [A]
    files = server.files(f"{B}:v0")
    assert sorted(files) == ["adapter/weights.bin", "machine.jsonl", "metrics.jsonl"]
    assert files["adapter/weights.bin"] == b"weights of " + B.encode()
    assert server.unknown == []


@pytest.mark.slow
def test_wandb_online_stage_that_failed_and_is_run_again_is_one_run_without_a_step_twice(tmp_path):
    with WandbDouble() as server:
        env = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        failed = start(tmp_path, A, during="raise MemoryError('no room for sk-planted-key')",
                       OPENAI_KEY="sk-planted-key", **env)
        assert "MemoryError" in failed.communicate(timeout=100)[1]
        assert server.runs[A].exitcode == 1
        assert json.loads(server.runs[A].summaryMetrics)["reason"] == "MemoryError: no room for <redacted>"
        finished(start(tmp_path, A, **env))
    assert list(server.runs) == [A] and server.runs[A].exitcode == 0
    assert [row["_step"] for row in server.runs[A].history] == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_wandb_offline_is_on_disk_in_the_store_and_syncs_later(tmp_path):
    lines = finished(start(tmp_path, A, B, WANDB_MODE="offline"))
    assert all("'status': 'ok'" in line for line in lines)
    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert [path.name.split("-", 3)[3] for path in runs] == [A, B]
    assert not any(b"sk-verysecret" in path.read_bytes() for run in runs for path in run.rglob("*") if path.is_file())
    with WandbDouble() as server:
        env = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}
        subprocess.run([sys.executable, "-m", "wandb", "sync", *map(str, runs)], cwd=tmp_path, env=env, check=True,
                       capture_output=True, timeout=100)
    assert [row["loss"] for row in server.runs[A].history] == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5]
    assert server.files(f"{A}:v0")["adapter/weights.bin"] == b"weights of " + A.encode()


@pytest.mark.slow
@pytest.mark.parametrize("when", ["from the start", "half-way"])
def test_wandb_that_stops_answering_leaves_the_stage_alone(tmp_path, when):
    with WandbDouble() as server:
        if when == "from the start":
            server.silent.set()
        process = start(tmp_path, A, B, patience_s=2, during="print('now', flush=True); input()",
                        WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        time.sleep(2)  # until W&B has its run, or has not
        server.silent.set()
        process.stdin.write("\n\n")
        process.stdin.flush()
        statuses = [line for line in finished(process) if line.startswith("{")]
    assert len(statuses) == 2 and all(line.startswith("{'status': 'behind', 'reason': ") for line in statuses)
    assert when == "from the start" or "failed within the last 300 s" in statuses[1]
    assert (tmp_path / A / "metrics.jsonl").read_text().count("\n") == 5


@pytest.mark.slow
def test_wandb_input_that_is_not_there_is_said_in_the_record(tmp_path):
    with WandbDouble() as server:
        lines = finished(start(tmp_path, A, B, during="inputs['pool'] = 'collect-00000000000c'",
                               WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY))
    assert "'behind'" in lines[0] and "lineage lacks them: collect-00000000000c" in lines[0]
    assert server.files(f"{A}:v0")["adapter/weights.bin"] == b"weights of " + A.encode()


def test_configure_wandb_with_a_key_the_server_knows_starts(online, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert configure(None, tmp_path).names == ("trackio", "wandb")


def test_configure_wandb_key_in_netrc_counts(online, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text(f"machine {online.url.removeprefix('http://')} login user password {KEY}\n")
    assert configure(None, tmp_path).names == ("trackio", "wandb")


def test_configure_wandb_with_a_wrong_key_stops_before_anything_runs(online, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", "b" * 40)
    with pytest.raises(UserError, match=r"does not know this key.*--track trackio"):
        configure(None, tmp_path)


def test_configure_wandb_online_without_a_key_stops_before_anything_runs(online, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(UserError, match=r"no key for W&B at http://127.0.0.1.*`wandb login`"):
        configure(None, tmp_path)


def test_configure_wandb_that_does_not_answer_stops_before_anything_runs(online, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(UserError, match=r"does not answer.*WANDB_MODE=offline"):
        configure(None, tmp_path)


def test_configure_wandb_not_configured_or_disabled_is_left_out(online, monkeypatch, tmp_path):
    assert configure(None, tmp_path).names == ("trackio",)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert configure(None, tmp_path).names == ("trackio",)
    with pytest.raises(UserError, match="W&B is not configured"):
        configure(["wandb"], tmp_path)


def test_configure_wandb_offline_asks_nobody(online, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert configure(None, tmp_path).names == ("trackio", "wandb")
