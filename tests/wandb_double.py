"""A loopback double of the W&B backend: as much of it as the unmodified SDK needs to log runs and artifacts, and sweeps.

It answers by operation name with whole objects, whatever fields were asked for.  An operation it does not know is
refused and listed in ``unknown``, so a new SDK's needs show up by name.  It proves that our calls are accepted and what
they carry; not that the hosted service behaves the same.
"""

import base64
import contextlib
import gzip
import http.server
import itertools
import json
import re
import threading
import urllib.parse
from types import TracebackType
from typing import Any

import yaml

KEY = "a" * 40
ENTITY = "local"
NOW = "2026-01-01T00:00:00Z"
TYPES = {"t": [1, 2, 3]}
"""What the SDK's telemetry looks like in a run's config."""


class WandbDouble:
    """``with WandbDouble() as server:`` listens on ``server.url``; ``runs`` and ``artifacts`` are what it was told."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        """By ``name:version``, committed ones only."""
        self.blobs: dict[str, bytes] = {}
        self.sweeps: dict[str, dict[str, Any]] = {}
        """By id: ``config``, ``project``, ``paused``, and ``points``, those that are still to be tried."""
        self.unknown: list[str] = []
        self.silent = threading.Event()
        """Once set, requests are taken and never answered."""
        self._pending: dict[str, dict[str, Any]] = {}
        self._ids = itertools.count(1)
        self._lock = threading.RLock()
        self._closed = threading.Event()

    def __enter__(self) -> "WandbDouble":
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"double": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, key: str | None, body: bytes, put: bool) -> tuple[int, bytes]:
        """The status and content for one request."""
        if self.silent.is_set():
            self._closed.wait()
        with self._lock:
            if path == "/graphql":
                return 200, json.dumps(self._graphql(json.loads(body), key)).encode()
            if path.endswith("/file_stream"):
                self._stream(self.runs[path.split("/")[-2]], json.loads(body))
                return 200, b"{}"
            if path.startswith("/blob/") and put:
                self.blobs[path] = body
                return 200, b"{}"
            return (200, self.blobs[path]) if path in self.blobs else (404, b"{}")

    def files(self, artifact: str) -> dict[str, bytes]:
        """Path -> content of the files that an artifact's manifest lists and that were uploaded."""
        manifest = json.loads(self.blobs[self.artifacts[artifact]["manifest"]])
        return {name: self.blobs["/blob/art-" + base64.b64decode(entry["digest"]).hex()]
                for name, entry in manifest["contents"].items()}

    def _graphql(self, request: dict[str, Any], key: str | None) -> dict[str, Any]:
        found = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
        name = found.group(1) if found else request["query"][:40]
        operation = getattr(self, f"op_{name}", None)
        if operation is None:
            self.unknown.append(name)
            return {"errors": [{"message": f"the double knows no {name}"}]}
        variables = request.get("variables") or {}
        # Mutations take their variables one by one, or as one input object.
        return {"data": operation(key=key, **{**variables, **variables.get("input", {})})}

    def _id(self) -> str:
        return base64.b64encode(f"Thing:v1:{next(self._ids)}".encode()).decode()

    def _stream(self, run: dict[str, Any], body: dict[str, Any]) -> None:
        for name, part in (body.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                run["history"][part["offset"]:] = [json.loads(line) for line in part["content"]]
            elif name == "wandb-summary.json":
                run["summaryMetrics"] = part["content"][-1]
        if body.get("exitcode") is not None:
            run["exitcode"] = body["exitcode"]

    def op_Viewer(self, key: str | None, **_: Any) -> dict[str, Any]:
        return {"viewer": {"id": "u1", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}",
                           "teams": {"edges": []}} if key == KEY else None}

    def op_ServerFeaturesQuery(self, **_: Any) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def op_OrganizationCoreWeaveOrganizationID(self, **_: Any) -> dict[str, Any]:
        return {"entity": None}

    def op_RunResumeStatus(self, name: str, project: str, **_: Any) -> dict[str, Any]:
        run = self.runs.get(name)
        bucket = run and {**run, "historyLineCount": len(run["history"]), "eventsLineCount": 0, "logLineCount": 0,
                          "historyTail": json.dumps([json.dumps(row) for row in run["history"][-1:]]),
                          "eventsTail": "[]", "wandbConfig": json.dumps(TYPES)}
        return {"model": {"id": "p1", "name": project, "entity": {"id": "e1", "name": ENTITY}, "bucket": bucket}}

    def op_UpsertBucket(self, name: str | None = None, id: str | None = None, **told: Any) -> dict[str, Any]:
        run = next((r for r in self.runs.values() if r["id"] == id), None) or self.runs.get(name or "")
        inserted = run is None
        if run is None:
            run = self.runs[name or ""] = {"id": self._id(), "name": name, "history": [], "summaryMetrics": "{}",
                                           "config": "{}", "tags": [], "exitcode": None, "used": []}
        run.update({k: v for k, v in told.items() if v is not None and k not in ("key", "project", "entity")})
        project = {"id": "p1", "name": told.get("project") or "", "entity": {"id": "e1", "name": ENTITY}}
        return {"upsertBucket": {"inserted": inserted, "bucket": {**run, "project": project,
                                                                  "historyLineCount": len(run["history"])}}}

    def op_CreateRunFiles(self, run: str, files: list[str], **_: Any) -> dict[str, Any]:
        targets = [{"name": f, "uploadUrl": f"{self.url}/blob/run-{run}/{urllib.parse.quote(f)}"} for f in files]
        return {"createRunFiles": {"runID": self.runs[run]["id"], "uploadHeaders": [], "files": targets}}

    def op_ArtifactType(self, name: str, **_: Any) -> dict[str, Any]:
        found = self._find(name)
        return {"project": {"artifact": found and {"artifactType": {"name": found["artifactTypeName"]}}}}

    def op_ArtifactMembershipByName(self, name: str, **_: Any) -> dict[str, Any]:
        if (found := self._find(name)) is None:
            return {"project": {"artifactCollectionMembership": None}}
        project = {"__typename": "Project", "id": "p1", "internalId": "p1", "name": "smartad",
                   "entity": {"name": ENTITY}}
        collection = {"__typename": "ArtifactSequence", "name": found["name"], "project": project}
        artifact = {"__typename": "Artifact", "id": found["id"], "artifactSequence": collection, "versionIndex": 0,
                    "artifactType": {"name": found["artifactTypeName"]}, "description": None,
                    "metadata": found["metadata"], "ttlDurationSeconds": -1, "ttlIsInherited": True, "tags": [],
                    "historyStep": None, "state": "COMMITTED", "size": 0, "digest": found["digest"],
                    "commitHash": "c", "fileCount": 0, "createdAt": NOW, "updatedAt": NOW, "aliases": []}
        return {"project": {"artifactCollectionMembership": {
            "__typename": "ArtifactCollectionMembership", "id": "m1", "versionIndex": 0, "createdAt": NOW,
            "aliases": [], "artifactCollection": collection, "artifact": artifact}}}

    def op_UseArtifact(self, runName: str, artifactID: str, **_: Any) -> dict[str, Any]:
        found = next(a for a in self.artifacts.values() if a["id"] == artifactID)
        self.runs[runName]["used"].append(found["name"])
        return {"useArtifact": {"artifact": {"id": artifactID, "digest": found["digest"], "description": None,
                                             "state": "COMMITTED", "createdAt": NOW, "metadata": found["metadata"]}}}

    def op_CreateArtifact(self, **told: Any) -> dict[str, Any]:
        name = (told.get("artifactCollectionNames") or [told["artifactCollectionName"]])[0]
        artifact = {"metadata": "{}", **told, "id": self._id(), "name": name}
        self._pending[artifact["id"]] = artifact
        return {"createArtifact": {"artifact": {"id": artifact["id"], "state": "PENDING",
                                                "artifactSequence": {"latestArtifact": None}}}}

    def op_CreateArtifactManifest(self, artifactID: str, name: str, **_: Any) -> dict[str, Any]:
        path = f"/blob/manifest-{urllib.parse.quote(artifactID, safe='')}/{name}"
        self._pending[artifactID]["manifest"] = urllib.parse.unquote(path)
        return {"createArtifactManifest": {"artifactManifest": {"id": self._id(), "file": {
            "id": self._id(), "uploadUrl": self.url + path, "uploadHeaders": []}}}}

    def op_CreateArtifactFiles(self, artifactFiles: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        nodes = []
        for file in artifactFiles:
            blob = "art-" + base64.b64decode(file["md5"]).hex()
            nodes.append({"storagePath": blob, "uploadUrl": f"{self.url}/blob/{blob}", "uploadHeaders": [],
                          "uploadMultipartUrls": None, "artifact": {"id": file["artifactID"]}})
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def op_CommitArtifact(self, artifactID: str, **_: Any) -> dict[str, Any]:
        artifact = self._pending.pop(artifactID)
        version = sum(a["name"] == artifact["name"] for a in self.artifacts.values())
        self.artifacts[f"{artifact['name']}:v{version}"] = artifact
        return {"commitArtifact": {"artifact": {"id": artifactID, "digest": artifact["digest"]}}}

    def op_UpsertSweep(self, config: str, projectName: str, **_: Any) -> dict[str, Any]:
        name, declared = f"sweep{next(self._ids)}", yaml.safe_load(config)
        # Of a range the bounds: tests look at what is told, not at how the search learns from it.
        ranges = [p.get("values") or [p["min"], p["max"]] for p in declared["parameters"].values()]
        points = list(itertools.product(*ranges))
        self.sweeps[name] = {"config": declared, "project": projectName, "paused": False, "points": points}
        return {"upsertSweep": {"sweep": {"name": name, "project": {"name": projectName, "entity": {"name": ENTITY}}}}}

    def op_CreateAgent(self, sweep: str, **_: Any) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": f"{sweep}/agent{next(self._ids)}"}}}

    def op_Heartbeat(self, id: str, **_: Any) -> dict[str, Any]:
        sweep = self.sweeps[id.partition("/")[0]]
        commands: list[dict[str, Any]] = []
        if not sweep["paused"] and not sweep["points"]:
            commands = [{"type": "exit"}]
        elif not sweep["paused"]:
            args = {key: {"value": v} for key, v in zip(sweep["config"]["parameters"], sweep["points"].pop(0), strict=True)}
            run = f"run{next(self._ids)}"
            self.op_UpsertBucket(name=run, sweep=id.partition("/")[0], config=json.dumps(args), state="pending")
            commands = [{"type": "run", "run_id": run, "args": args}]
        return {"agentHeartbeat": {"agent": {"id": id}, "commands": json.dumps(commands)}}

    def op_SweepRuns(self, sweep: str, **_: Any) -> dict[str, Any]:
        runs = [run for run in self.runs.values() if run.get("sweep") == sweep]
        found = {"runs": {"edges": [{"node": {k: run[k] for k in ("name", "config", "summaryMetrics")}} for run in runs]}}
        return {"project": {"sweep": found if sweep in self.sweeps else None}}

    def _find(self, name: str) -> dict[str, Any] | None:
        """The newest version of ``<collection>:latest``."""
        return next((a for a in reversed(self.artifacts.values()) if a["name"] == name.partition(":")[0]), None)


class _Handler(http.server.BaseHTTPRequestHandler):
    double: WandbDouble
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output quiet."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # a client that is gone sends no further one
            self.close_connection = True

    def _serve(self) -> None:
        kind, _, credentials = self.headers.get("Authorization", "").partition(" ")
        key = base64.b64decode(credentials).decode().partition(":")[2] if kind == "Basic" else None
        path = urllib.parse.unquote(self.path.split("?")[0])
        status, content = self.double.answer(path, key, self._body(), put=self.command == "PUT")
        with contextlib.suppress(ConnectionError):  # a client that was killed does not wait for its answer
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = _serve

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while length := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
