"""A sweep on a W&B server, with this process as its agent.

Agents ask with three GraphQL mutations, which are spoken here as the SDK (0.28 to 0.31) sends them: what the SDK has
for it is private, moves between releases, and takes an error for a server that has nothing to do.  The runs are the
SDK's own.  Tested with a loopback double of the server (tests/wandb_double.py), never with a real account.
"""

import json
import logging
import os
import socket
import time
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from smartad.fingerprint import digest
from smartad.records import RecordError, read_jsonl, write_jsonl
from smartad.tracking import wandb, wandb_server
from smartad.types import UserError

logger = logging.getLogger(__name__)

WAY_OUT = "`wandb login`, or search without a server: backend: wandb"
GO_ON = f"The same command takes the sweep up again; otherwise {WAY_OUT}"
RETRIES_S = (1.0, 3.0, 10.0, 30.0)
"""Pauses between attempts to reach the server."""
PATIENCE_S = 30.0
"""How long a run may take to be opened or closed."""
BEATS, BEAT_S = 12, 5.0
"""How often, and how far apart, the server is asked again when it has no run and no end: a paused sweep."""
OUTCOME = "outcome"
"""What the summary of each run has that was reported.  Its state says less: a driver that goes away leaves runs finished,
failed or crashed, as the case may be."""

CREATE = """mutation UpsertSweep($config: String, $entityName: String, $projectName: String) {
  upsertSweep(input: {config: $config, entityName: $entityName, projectName: $projectName}) {
    sweep { name project { name entity { name } } } } }"""
AGENT = """mutation CreateAgent($host: String!, $projectName: String, $entityName: String, $sweep: String!) {
  createAgent(input: {host: $host, projectName: $projectName, entityName: $entityName, sweep: $sweep}) { agent { id } } }"""
HEARTBEAT = """mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) { agent { id } commands } }"""
RUNS = """query SweepRuns($entityName: String, $projectName: String, $sweep: String!) {
  project(name: $projectName, entityName: $entityName) { sweep(sweepName: $sweep) {
    runs { edges { node { name config summaryMetrics } } } } } }"""

Args = Mapping[str, Mapping[str, Any]]
"""A run's point of the space, ``{key: {"value": value}}``."""


@dataclass(frozen=True)
class Address:
    """Where a sweep is."""

    id: str
    entity: str
    project: str
    url: str
    search: str
    """A hash of what is searched, and on which server; with another one it is another sweep."""


@dataclass(frozen=True)
class SweepRun:
    """One run of the sweep, as the server has it."""

    id: str
    args: Args
    outcome: str | None
    """How it was reported to have ended."""


def check() -> None:
    """Raise UserError when W&B is not set up for a server here."""
    if (found := wandb_server.mode()) != "online":
        raise UserError(f"a sweep on a W&B server needs the server, and W&B is {found or 'not configured'} here: {WAY_OUT}")


class ServerSweep:
    """One sweep on the server: found again by what ``file`` says, or created.  Raises UserError when there is no server."""

    def __init__(self, search: Mapping[str, Any], file: Path, store: Path) -> None:
        wandb.prepare(store.absolute())
        self.file, self.store, self.keys = file, store, list(search["parameters"])
        self.address = _found(search, file) or _created(search, file)
        self.live: dict[str, Any] = {}
        """Run id -> the SDK's run, which is open until its outcome is known."""

    def runs(self) -> list[SweepRun]:
        """Its runs so far, those of an earlier start included."""
        at = self.address
        project = _ask(RUNS, entityName=at.entity, projectName=at.project, sweep=at.id)["project"]
        if not project or not (found := project["sweep"]):
            raise UserError(f"the sweep {at.url} is no longer there; to search anew from what is known, remove {self.file}")
        runs = []
        for edge in found["runs"]["edges"]:
            node = edge["node"]
            config, summary = json.loads(node["config"] or "{}"), json.loads(node["summaryMetrics"] or "{}")
            if config.keys() >= set(self.keys):
                runs.append(SweepRun(node["name"], {key: config[key] for key in self.keys}, summary.get(OUTCOME)))
        return runs

    def next_run(self) -> SweepRun | None:
        """What the server wants tried next; None when it has no more, or is paused."""
        at = self.address
        # An agent is given a run when it has none, so each run in flight has an agent of its own.
        agent = _ask(AGENT, host=socket.gethostname(), entityName=at.entity, projectName=at.project, sweep=at.id)
        for beat in range(BEATS):
            time.sleep(BEAT_S if beat else 0)
            answer = _ask(HEARTBEAT, id=agent["createAgent"]["agent"]["id"], metrics="{}", runState="{}")
            for command in json.loads(answer["agentHeartbeat"]["commands"]):
                if command["type"] in ("run", "resume"):
                    return SweepRun(command["run_id"], {key: command["args"][key] for key in self.keys}, None)
                if command["type"] in ("exit", "stop"):
                    return None
        logger.warning("%s has had no run for %.0f s (is it paused?), so no more are asked for; start the sweep again to go on",
                       at.url, BEATS * BEAT_S)
        return None

    def begin(self, id: str, args: Args, name: str) -> None:
        """Show the run as running, for as long as this process lives: the server takes a silent one for crashed."""
        import wandb as sdk
        at = self.address
        if id in self.live:
            return
        try:
            self.live[id] = sdk.init(
                project=at.project, entity=at.entity, id=id, name=name, resume="allow", reinit="create_new",
                dir=os.environ.get("WANDB_DIR") or self.store, config={key: arg["value"] for key, arg in args.items()},
                settings=sdk.Settings(silent=True, console="off", disable_git=True, disable_code=True, sweep_id=at.id,
                                      init_timeout=PATIENCE_S, finish_timeout=PATIENCE_S, finish_timeout_raises=True))
        except sdk.errors.Error as error:
            raise UserError(f"W&B run {id} of {at.url} cannot be opened: {error}. {GO_ON}") from error
        # The way to this process's part of the SDK, for its children.  Jobs inherit it too, on machines where it leads nowhere.
        os.environ.pop("WANDB_SERVICE", None)

    def end(self, id: str, args: Args, name: str, outcome: str, metrics: Mapping[str, float]) -> None:
        """Report how the run ended.  Without ``metrics`` it has failed."""
        self.begin(id, args, name)
        run = self.live.pop(id)
        run.summary.update({OUTCOME: outcome, **metrics})
        try:
            run.finish(exit_code=0 if metrics else 1)
        except TimeoutError as error:
            raise UserError(f"W&B run {id} of {self.address.url} cannot be closed: {error}. {GO_ON}") from error


def _digest(search: Mapping[str, Any]) -> str:
    return digest([wandb_server.server_url(), search])


def _found(search: Mapping[str, Any], file: Path) -> Address | None:
    try:
        address = next(read_jsonl(file, Address))
    except (RecordError, StopIteration):
        return None
    return address if address.search == _digest(search) else None


def _created(search: Mapping[str, Any], file: Path) -> Address:
    # Through JSON, which leaves YAML nothing but plain values to write.
    sweep = _ask(CREATE, config=yaml.safe_dump(json.loads(json.dumps(search))), entityName=os.environ.get("WANDB_ENTITY"),
                 projectName=wandb_server.project_name())["upsertSweep"]["sweep"]
    project, entity = sweep["project"]["name"], sweep["project"]["entity"]["name"]
    url = f"{wandb_server.app_url()}/{entity}/{project}/sweeps/{sweep['name']}"
    address = Address(sweep["name"], entity, project, url, _digest(search))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(file, [address])
    return address


def _ask(query: str, **variables: Any) -> dict[str, Any]:
    problem = ""
    for pause_s in (*RETRIES_S, None):
        try:
            answer = wandb_server.graphql(query, **variables)
        except urllib.error.HTTPError as error:
            problem = f"answers {error.code} {error.reason}"
            if error.code < 500 and error.code != 429:
                break
        except (OSError, ValueError) as error:
            problem = f"does not answer ({error})"
        else:
            if not answer.get("errors"):
                data: dict[str, Any] = answer["data"]
                return data
            problem = "says: " + "; ".join(error["message"] for error in answer["errors"])
            break
        if pause_s is not None:
            time.sleep(pause_s)
    raise UserError(f"W&B at {wandb_server.server_url()} {problem}. {GO_ON}")
