"""Whole or not there; one worker per output; damage and full disks said plainly.  Real processes, real signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from smartad import claims
from smartad.store import CLAIM, Store, StoreError

HOLD = """
import sys, time
from pathlib import Path
from smartad.store import Store
with Store(Path(sys.argv[1])).claim("x-1") as claim:
    print("mine" if claim else "not mine", flush=True)
    time.sleep(60 if claim else 0)
"""


def seal(store, fingerprint="x-1", **files):
    with store.claim(fingerprint) as claim:
        for name, text in files.items():
            (store.folder(fingerprint) / name).write_text(text)
        store.seal(claim, {"metrics": {}})


@pytest.fixture
def holder(store):
    """Another process that holds the claim on x-1."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(store.root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "mine\n"
    yield process
    process.kill()
    process.wait()


def test_output_is_there_only_once_it_is_sealed(store):
    with store.claim("x-1") as claim:
        (store.folder("x-1") / "data").write_text("42")
        assert not store.has("x-1")
        store.seal(claim, {"metrics": {"m": 1}})
    assert store.has("x-1") and store.fingerprints() == ["x-1"]
    assert store.record("x-1")["files"]["data"] == {
        "size": 2, "sha256": "73475cb40a568e8da8a045ced110137e159f890ac4da883b6b17dc651b3a8049"}


def test_finished_output_cannot_be_claimed_again(store):
    seal(store)
    with store.claim("x-1") as claim:
        assert claim is None


def test_claim_of_a_live_process_is_respected(store, holder):
    assert store.claimed("x-1")
    with store.claim("x-1") as claim:
        assert claim is None


def test_claim_of_a_killed_process_is_taken_over_at_once(store, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not store.claimed("x-1")
    with store.claim("x-1") as claim:
        assert claim is not None


def test_claim_of_a_reused_pid_is_dead(store):
    path = store.folder("x-1") / CLAIM
    path.parent.mkdir()
    path.write_text(json.dumps({"token": "t", **claims.whoami(), "started": "1"}))
    assert not store.claimed("x-1")


@pytest.mark.parametrize("age_s, dead", [(1, False), (claims.STALE_AFTER_S + 5, True)])
def test_claim_of_another_machine_lives_by_its_heartbeat(store, age_s, dead):
    path = store.folder("x-1") / CLAIM
    path.parent.mkdir()
    path.write_text(json.dumps({"token": "t", "host": "elsewhere", "boot": "b", "pid_namespace": "p", "pid": 1,
                                "started": "1"}))
    os.utime(path, (time.time() - age_s,) * 2)
    with store.claim("x-1") as claim:
        assert (claim is not None) == dead


def test_of_many_processes_after_a_dead_claim_one_gets_it(store, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    rivals = [subprocess.Popen([sys.executable, "-c", HOLD, str(store.root)], stdout=subprocess.PIPE, text=True)
              for _ in range(6)]
    try:
        said = [rival.stdout.readline().strip() for rival in rivals]
    finally:
        for rival in rivals:
            rival.kill()
            rival.wait()
    assert sorted(said) == ["mine"] + ["not mine"] * 5


def test_worker_that_was_taken_over_cannot_seal(store):
    with store.claim("x-1") as claim:
        claim.path.write_text(json.dumps({"token": "somebody else's"}))
        with pytest.raises(claims.ClaimLost):
            store.seal(claim, {"metrics": {}})
    assert not store.has("x-1")
    assert json.loads(claim.path.read_text())["token"] == "somebody else's"


@pytest.mark.parametrize("damage, words", [
    (lambda p: p.write_text("43"), "has changed"),
    (lambda p: p.write_text("4"), "1 bytes instead of 2"),
    (os.unlink, "is missing"),
])
def test_verify_names_what_is_wrong_with_a_file(store, damage, words):
    seal(store, data="42")
    assert store.verify("x-1") == []
    damage(store.folder("x-1") / "data")
    assert len(store.verify("x-1")) == 1 and words in store.verify("x-1")[0]


def test_find_takes_a_beginning_and_refuses_what_is_ambiguous_or_unknown(store):
    for name in ("train-aaa111", "train-aab222", "score-ccc333"):
        seal(store, name)
    assert store.find("score") == store.find("ccc") == "score-ccc333"
    assert store.find("train-aaa") == "train-aaa111"
    with pytest.raises(StoreError, match="ambiguous.*train-aaa111, train-aab222"):
        store.find("train")
    with pytest.raises(StoreError, match="nothing finished .* starts with 'select'"):
        store.find("select")


def test_damaged_record_says_so(store):
    seal(store)
    (store.folder("x-1") / "record.json").write_text("{")
    with pytest.raises(StoreError, match="damaged.*delete the folder"):
        store.record("x-1")


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_store_that_cannot_be_a_folder_is_one_clear_error(tmp_path, path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written.*--store ELSEWHERE"):
        Store(tmp_path / path).open()


def in_small_filesystem(options, command, folder):
    """Run a shell command with a file system of its own mounted on ``folder``, in a private mount namespace."""
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    return subprocess.run([*unshare, "sh", "-c", f"mount -t tmpfs -o {options} tmpfs '{folder}' && {command}"],
                          capture_output=True, text=True, timeout=120)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare(1) for a file system of its own")
@pytest.mark.parametrize("options, words", [("size=64k", "is full"), ("size=120k", "is full"), ("ro", "cannot be written")])
def test_full_or_read_only_store_is_one_clear_error(tmp_path, options, words):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = f"'{sys.executable}' -m smartad run --jobs 1 --track none --until index --store '{folder}'"
    done = in_small_filesystem(options, command, folder)
    assert done.returncode in (1, 2), done.stderr
    assert words in done.stderr and "--store ELSEWHERE" in done.stderr
    assert "Traceback" not in done.stderr
    assert Store(folder).fingerprints() == []


def test_claim_whose_folder_is_removed_meanwhile_leaves_no_thread_behind(store):
    before = threading.active_count()
    for number in range(20):
        with store.claim(f"x-{number:012x}"):
            shutil.rmtree(store.folder(f"x-{number:012x}"))
    assert threading.active_count() == before


HOLDER = """
import signal, sys, time
from pathlib import Path
from smartad.store import Store
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
with Store(Path(sys.argv[1])).claim("x-000000000000"):
    time.sleep(60)
"""


@pytest.mark.slow
def test_claim_of_a_process_told_to_end_as_soon_as_it_has_it_is_given_back(store):
    path = store.folder("x-000000000000") / ".claim"
    for _ in range(8):
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(store.root)])
        while not (path.exists() and path.stat().st_size):
            assert holder.poll() is None
        holder.terminate()
        assert holder.wait(timeout=60) == 143
        assert not path.exists()
