"""W&B's server without W&B's library: whether it is configured, which project is used, and what it is asked."""

import json
import netrc
import os
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from smartad.tracking.base import PROJECT
from smartad.types import UserError

Mode = Literal["online", "offline"]
WAYS_OUT = "`wandb login`; a sweep or run can also do with WANDB_MODE=offline, or without it: --track trackio"
TIMEOUT_S = 10.0
RUNS_A_REQUEST = 20
"""So many runs are asked for at once: each brings its artifacts along."""

RUNS = """query Published($entity: String, $project: String!, $filters: JSONString) {
  project(name: $project, entityName: $entity) { runs(filters: $filters, first: 100) { edges { node {
    name state summaryMetrics
    inputArtifacts(first: 100) { edges { node { artifactSequence { name } } } }
    outputArtifacts(first: 100) { edges { node { state metadata fileCount size artifactSequence { name } } } } } } } } }"""


def mode() -> Mode | None:
    """How W&B is configured here, after its own variables and netrc; None when it is not, or is disabled."""
    wanted = os.environ.get("WANDB_MODE", "").lower()
    if wanted in ("online", "offline"):
        return "online" if wanted == "online" else "offline"
    return "online" if not wanted and _key() else None


def check_key() -> str:
    """The user's entity.  Raises UserError when the server does not know the key, or does not answer: one request."""
    server = server_url()
    if not _key():
        raise UserError(f"there is no key for W&B at {server}: {WAYS_OUT}")
    try:
        known = (graphql("query Viewer { viewer { id entity } }").get("data") or {}).get("viewer")
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise UserError(f"W&B at {server} answers {error.code} {error.reason}: try later, {WAYS_OUT}") from error
        known = None
    except (OSError, ValueError) as error:
        raise UserError(f"W&B at {server} does not answer ({error}): try later, {WAYS_OUT}") from error
    if not known:
        raise UserError(f"W&B at {server} does not know this key: {WAYS_OUT}")
    return os.environ.get("WANDB_ENTITY") or str(known["entity"])


def graphql(query: str, **variables: Any) -> dict[str, Any]:
    """What the server answers: ``data``, or ``errors`` with their messages.  Raises OSError, and ValueError for no JSON."""
    request = urllib.request.Request(
        f"{server_url()}/graphql", data=json.dumps({"query": query, "variables": variables}).encode(),
        headers={"Content-Type": "application/json",
                 "Authorization": "Basic " + b64encode(f"api:{_key()}".encode()).decode()})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def runs(entity: str, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Those of the runs ``ids`` that the project has: name, state, summaryMetrics, and their artifacts as in ``RUNS``.

    Raises UserError when the server does not say.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for start in range(0, len(ids), RUNS_A_REQUEST):
        some = list(ids[start:start + RUNS_A_REQUEST])
        try:
            answer = graphql(RUNS, entity=entity, project=project_name(), filters=json.dumps({"name": {"$in": some}}))
        except (OSError, ValueError) as error:
            raise UserError(f"W&B at {server_url()} does not answer ({error}); try later") from error
        if errors := answer.get("errors"):
            raise UserError(f"W&B at {server_url()} says: {'; '.join(error['message'] for error in errors)}")
        project = answer["data"]["project"]  # None before the first run
        found |= {edge["node"]["name"]: edge["node"] for edge in (project["runs"]["edges"] if project else [])}
    return found


def server_url() -> str:
    """Where W&B's server is asked."""
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").rstrip("/")


def app_url() -> str:
    """Where people look at it."""
    return os.environ.get("WANDB_APP_URL", server_url().replace("://api.", "://")).rstrip("/")


def project_name() -> str:
    """The project that everything goes to."""
    return os.environ.get("WANDB_PROJECT") or PROJECT


def _key() -> str | None:
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        found = netrc.netrc(path).authenticators(urlsplit(server_url()).netloc)
    except (OSError, netrc.NetrcParseError):
        return None
    return found[2] if found else None
