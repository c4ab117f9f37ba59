"""The one test against a real W&B account: ``SMARTAD_WANDB_REAL=1`` and a key.  It deletes the project that it makes."""

import os
import uuid

import pytest

from command import smartad
from online import NAME, declare
from smartad.registry import pulled
from smartad.tracking import wandb_server

DELETE = "mutation Delete($id: ID!) { deleteModel(input: {id: $id}) { success } }"
FIND = "query Find($entity: String!, $project: String!) { project(name: $project, entityName: $entity) { id } }"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    os.environ.get("SMARTAD_WANDB_REAL") != "1" or wandb_server.mode() != "online",
    reason="for a real W&B account: set SMARTAD_WANDB_REAL=1, and have a key in WANDB_API_KEY or netrc")]


@pytest.fixture
def project(monkeypatch):
    """A project of the account for this test, and the variables that everything goes there with."""
    name, entity = f"smartad-test-{uuid.uuid4().hex[:8]}", wandb_server.check_key()
    monkeypatch.setenv("WANDB_PROJECT", name)
    yield {**{k: v for k, v in os.environ.items() if k.startswith("WANDB_")}, "WANDB_MODE": "online",
           "SMARTAD_WANDB_REGISTRY": f"{entity}/{name}", "OMP_NUM_THREADS": "1"}
    found = wandb_server.graphql(FIND, entity=entity, project=name)["data"]["project"]
    assert wandb_server.graphql(DELETE, id=found["id"])["data"]["deleteModel"]["success"]


def test_real_account_sweep_publish_and_pull(project, tmp_path):
    store = tmp_path / "store"
    smartad("sweep", declare(tmp_path, {"min": {"select.rule": "min"}}), "--track", "wandb", store=store, **project)
    smartad("publish", NAME, "--to", "wandb", store=store, **project)
    assert "nothing to do" in smartad("publish", NAME, "--to", "wandb", store=store, **project).stdout
    smartad("pull", "best", "--sweep", NAME, "--from", "wandb", "--to", str(tmp_path / "out"), **project)
    smartad("pull", "best", "--sweep", NAME, "--to", str(tmp_path / "local"), store=store)
    assert pulled.read(tmp_path / "out") == pulled.read(tmp_path / "local")
