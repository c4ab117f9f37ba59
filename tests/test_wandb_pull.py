"""An adapter out of W&B, on a machine without the store: what is pulled is what the store would give, or nothing."""

import json

import pytest

from command import smartad
from online import NAME, declare, online
from smartad import registry
from smartad.registry import pulled
from smartad.store import Store
from wandb_double import WandbDouble

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A server that a sweep was tracked on from its beginning to its end, and the store of that."""
    folder = tmp_path_factory.mktemp("published")
    with WandbDouble() as server:
        done = smartad("sweep", declare(folder), "--track", "wandb", store=folder / "store", **online(server, folder))
        assert "/local/smartad/reports/" in done.stdout and server.unknown == []
        yield server, folder / "store"


def pull(server, home, *words, status=0):
    """Pull from W&B with no store at hand."""
    return smartad("pull", *words, "--from", "wandb", "--to", str(home / "out"), status=status, store=home / "none",
                   **online(server, home))


def test_sweep_online_needs_no_publish(published, tmp_path):
    server, store = published
    told = list(server.changes)
    assert "nothing to do" in smartad("publish", NAME, "--to", "wandb", store=store, **online(server, tmp_path)).stdout
    assert server.changes == told


@pytest.mark.parametrize("name", ["best", "best:pass@1/toy_math", "latest", "fingerprint"])
def test_pull_from_wandb_is_the_pull_from_the_store(published, tmp_path, name):
    server, store = published
    if name == "fingerprint":
        name = registry.resolve(Store(store), "best", NAME)
    words = [] if name.startswith("train-") else ["--sweep", NAME]
    said = pull(server, tmp_path, name, *words).stdout
    smartad("pull", name, *words, "--to", str(tmp_path / "local"), store=store)
    out, local = tmp_path / "out", tmp_path / "local"
    assert "checksums verified, copied from W&B" in said and not (tmp_path / "none").exists()
    assert pulled.read(out) == pulled.read(local) and pulled.read(out)["alias"] == name
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {p.name: p.read_bytes() for p in local.iterdir()}


def test_pull_from_wandb_of_a_spoilt_file_is_refused(published, tmp_path):
    server, _ = published
    artifact = server.artifacts[f"{server.linked(f'smartad-{NAME}')['best']}:v0"]
    file = next(edge.node for edge in artifact.files().edges if edge.node.name.endswith("safetensors"))
    whole = server.blobs[file.storagePath]
    try:
        server.blobs[file.storagePath] = whole[:-1] + b"?"
        refused = pull(server, tmp_path, "best", "--sweep", NAME, status=2).stderr
    finally:
        server.blobs[file.storagePath] = whole
    assert "adapter_model.safetensors" in refused and not (tmp_path / "out").exists()


def test_pull_from_wandb_of_files_that_are_not_those_recorded_is_refused(published, tmp_path):
    server, _ = published
    artifact = server.artifacts[f"{server.linked(f'smartad-{NAME}')['best']}:v0"]
    whole = artifact.metadata
    told = json.loads(whole)
    try:
        for file, problem in ((f"{'0' * 64} 5 adapter/adapter_config.json", "its size or SHA-256 differs"),
                              (f"{'0' * 64} 5 ../../hostile", "names a file outside of its folder: '../../hostile'")):
            artifact.metadata = json.dumps({**told, "files": [file]})
            assert problem in pull(server, tmp_path, "best", "--sweep", NAME, status=2).stderr
    finally:
        artifact.metadata = whole
    assert not (tmp_path / "out").exists()


def test_pull_from_wandb_of_what_is_not_there_says_what_is(published, tmp_path):
    server, _ = published
    assert "which has best, best-avg, best-pass@1-toy_math" in pull(server, tmp_path, "worst", "--sweep", NAME, status=2).stderr
    assert "smartad-other:best" in pull(server, tmp_path, "best", "--sweep", "other", status=2).stderr
    assert "say whose 'best' with --sweep" in pull(server, tmp_path, "best", status=2).stderr
    assert "there is no local/smartad/train-0123456789ab:latest" in pull(server, tmp_path, "train-0123456789ab", status=2).stderr
