"""A loopback double of the W&B backend: as much of it as the unmodified SDK needs for runs, artifacts and their lineage, the
registry, reports, queries of what is there, and sweeps.

It keeps everything in memory (see wandb_objects.py).  What it does not know of a request is answered with null and listed
in ``unknown``, so a new SDK's needs show up by name.  It proves that our calls are accepted and what they carry; not that
the hosted service behaves the same.
"""

import base64
import contextlib
import gzip
import http.server
import itertools
import json
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from wandb_graphql import Thing, execute
from wandb_mutations import Mutations, Refusal
from wandb_objects import ENTITY, ORGANIZATION, REGISTRIES, Artifact, Entity, Organization, Project, Run, Sweep

KEY = "a" * 40
FEATURES = ("LARGE_FILENAMES", "ARTIFACT_TAGS", "CLIENT_IDS", "ARTIFACT_REGISTRY_SEARCH", "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
            "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP", "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
            "ARTIFACT_COLLECTIONS_FILTERING_SORTING", "TOTAL_COUNT_IN_FILE_CONNECTION",
            "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION")
"""Of the hosted service, those that decide how the SDK asks."""


@dataclass(frozen=True)
class Trouble:
    """What the server answers instead of what was asked."""

    statuses: tuple[int, ...]
    """To one request after the other, from the beginning again."""
    retry_after_s: int | None = None


class Query(Thing):
    kinds = ("Query",)

    def __init__(self, server: "WandbDouble", key: str | None) -> None:
        self.server, self.viewer = server, server.user if key == KEY else None
        self.serverInfo = Thing(kinds=("ServerInfo",), latestLocalVersionInfo=None, cliVersionInfo={},
                                features=[Thing(kinds=("Feature",), name=name, isEnabled=True) for name in FEATURES])

    def entity(self, name: str | None = None) -> Entity | None:
        return self.server.entities.get(name or ENTITY)

    def project(self, name: str, entityName: str | None = None) -> Project | None:
        entity = self.server.entities.get(entityName or ENTITY)
        return entity.project(name) if entity else None

    model = project

    def models(self, entityName: str | None = None, **_: Any) -> Thing:
        return self.server.entities[entityName or ENTITY].projects()

    def artifact(self, id: str) -> Artifact | None:
        return self.server.by_id.get(id)

    def artifactCollection(self, id: str) -> Any:
        projects = [p for entity in self.server.entities.values() for p in entity.by_name.values()]
        return next((c for p in projects for c in p.collections.values() if c.id == id), None)

    def clientIDMapping(self, clientID: str) -> Any:
        found = self.server.by_client.get(clientID)
        return found and Thing(kinds=("ClientIDMapping",), serverID=found.id)

    def organization(self, name: str | None = None) -> Organization:
        return Organization(self.server)

    def view(self, id: str) -> Any:
        return next((v for e in self.server.entities.values() for p in e.by_name.values() for v in p.views if v.id == id), None)


class WandbDouble:
    """``with WandbDouble() as server:`` listens on ``server.url``; ``runs``, ``artifacts``, ``sweeps`` are what it was told."""

    def __init__(self) -> None:
        self.entities = {name: Entity(self, name) for name in (ENTITY, ORGANIZATION)}
        for name in REGISTRIES:
            self.project(ORGANIZATION, name)
        self.by_id: dict[str, Artifact] = {}
        self.by_client: dict[str, Artifact] = {}
        self.blobs: dict[str, bytes] = {}
        self.sweeps: dict[str, Sweep] = {}
        self.user = Thing(kinds=("User",), id="u1", entity=ENTITY, username=ENTITY, name=ENTITY, email="", flags="{}",
                          admin=False, teams=Thing(kinds=("Teams",), edges=[]), organizations=[Organization(self)],
                          photoUrl=None, defaultEntity=self.entities[ENTITY], apiKeys=Thing(kinds=("Keys",), edges=[]),
                          accountType="", deletedAt=None)
        self.received: list[bytes] = []
        """Every request's body."""
        self.unknown: list[str] = []
        self.changes: list[str] = []
        """Names of the mutations it was asked for, in order."""
        self.silent = threading.Event()
        """Once set, requests are taken and never answered."""
        self.trouble: Trouble | None = None
        self.refused: str | None = None
        """Name of a mutation that is not done."""
        self.asked = threading.Event()
        """Set by every request."""
        self._refusals = itertools.count()
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
        self.close()

    def close(self) -> None:
        """Listen no more: who connects is refused."""
        if not self._closed.is_set():
            self._closed.set()
            self._server.shutdown()
            self._server.server_close()

    def project(self, entity: str | None, name: str | None) -> Project:
        """The project, made if need be."""
        owner = self.entities[entity or ENTITY]
        return owner.by_name.setdefault(name or "uncategorized", Project(owner, name or "uncategorized"))

    @property
    def runs(self) -> dict[str, Run]:
        """Those of every project, by id."""
        return {name: run for project in self.entities[ENTITY].by_name.values() for name, run in project.by_name.items()}

    @property
    def artifacts(self) -> dict[str, Artifact]:
        """Committed ones, by ``name:version``."""
        return {f"{a.name}:{a.version}": a for a in self.by_id.values() if a.state == "COMMITTED"}

    def files(self, artifact: str) -> dict[str, bytes]:
        """Path -> content of the files that an artifact's manifest lists and that were uploaded."""
        found = self.artifacts[artifact]
        return {file.name: self.blobs[file.storagePath] for file in (edge.node for edge in found.files().edges)}

    def linked(self, collection: str, registry: str = REGISTRIES[0]) -> dict[str, str]:
        """Alias -> name of the artifact it means, in a collection of the registry."""
        found = self.entities[ORGANIZATION].by_name[registry].collections.get(collection)
        return {alias: member.artifact.name for alias, member in found.meaning.items()} if found else {}

    def answer(self, method: str, path: str, key: str | None, body: bytes) -> tuple[int, bytes]:
        """The status and content for one request."""
        self.received.append(body)
        self.asked.set()
        if self.silent.is_set():
            self._closed.wait()
        with self._lock:
            if self.trouble:
                statuses = self.trouble.statuses
                return statuses[next(self._refusals) % len(statuses)], b'{"errors": [{"message": "as the test wants it"}]}'
            if path == "/graphql":
                return 200, json.dumps(self._graphql(json.loads(body), key)).encode()
            if path.endswith("/file_stream"):
                entity, project, run = path.split("/")[-4:-1]
                self._stream(self.project(entity, project).by_name[run], json.loads(body))
                return 200, b"{}"
            if path.startswith("/blob/") and method == "PUT":
                self.blobs[path.removeprefix("/blob/")] = body
                return 200, b"{}"
            found = self.blobs.get(path.removeprefix("/blob/"))
            return (404, b"{}") if found is None else (200, found)

    def _graphql(self, request: dict[str, Any], key: str | None) -> dict[str, Any]:
        root = Thing(query=Query(self, key), mutation=Mutations(self))
        try:
            return {"data": execute(root, request, self.unknown)}
        except Refusal as error:
            return {"errors": [{"message": str(error)}]}
        except Exception as error:  # the SDK is told, and the test reads what for
            self.unknown.append(f"{type(error).__name__}: {error}")
            return {"errors": [{"message": str(error)}]}

    def _stream(self, run: Run, body: dict[str, Any]) -> None:
        for name, part in (body.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                run.history[part["offset"]:] = [json.loads(line) for line in part["content"]]
            elif name == "wandb-summary.json":
                run.summaryMetrics = part["content"][-1]
        if body.get("exitcode") is not None:
            run.exitcode = body["exitcode"]
            run.state = "failed" if run.exitcode else "finished"


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
        status, content = self.double.answer(self.command, path, key, self._body())
        with contextlib.suppress(ConnectionError):  # a client that was killed does not wait for its answer
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if self.double.trouble and self.double.trouble.retry_after_s is not None:
                self.send_header("Retry-After", str(self.double.trouble.retry_after_s))
            self.end_headers()
            self.wfile.write(content)

    do_GET: Callable[..., None] = _serve
    do_POST = do_PUT = _serve

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
