"""What a W&B server keeps, as far as the unmodified SDK (0.31) asks for it: entities, projects, runs, artifacts, sweeps.

Attributes and methods are called as the fields of W&B's GraphQL schema.
"""

import base64
import hashlib
import itertools
import json
import urllib.parse
from typing import Any

import yaml

from wandb_graphql import Thing, connection

NOW = "2026-01-01T00:00:00Z"
ENTITY, ORGANIZATION = "local", "local-org"
"""Of the user, and of the registries."""
REGISTRIES = ("wandb-registry-model",)
_ids = itertools.count(1)


def new_id(kind: str) -> str:
    return base64.b64encode(f"{kind}:v1:{next(_ids)}".encode()).decode()


class Organization(Thing):
    id, name, coreWeaveOrganizationId = "o1", "local", None

    def __init__(self, server: Any) -> None:
        self.server = server

    @property
    def orgEntity(self) -> "Entity":
        return self.server.entities[ORGANIZATION]


class Entity(Thing):
    isTeam, settings, user, photoUrl, readOnly, available = True, None, None, None, False, False

    def __init__(self, server: Any, name: str) -> None:
        self.id, self.name, self.server = new_id("Entity"), name, server
        self.by_name: dict[str, Project] = {}

    @property
    def organization(self) -> Organization:
        return Organization(self.server)

    def project(self, name: str | None = None) -> "Project | None":
        return self.by_name.get(name or "")

    def projects(self, **page: Any) -> Thing:
        return connection(list(self.by_name.values()))


class Project(Thing):
    access, isBenchmark, readOnly, description, owner, user = "PRIVATE", False, False, "", None, None
    createdAt, allowAllArtifactTypesInRegistry, tags, isPublished = NOW, True, (), False

    def __init__(self, entity: Entity, name: str) -> None:
        self.id, self.name, self.entity, self.server = new_id("Project"), name, entity, entity.server
        self.entityName, self.number = entity.name, next(_ids)
        self.internalId = base64.b64encode(f"ProjectInternalId:{self.number}".encode()).decode()
        self.by_name: dict[str, Run] = {}
        self.collections: dict[str, Collection] = {}
        self.views: list[Any] = []

    def bucket(self, name: str, **_: Any) -> "Run | None":
        return self.by_name.get(name)

    run = bucket

    def runs(self, filters: str | None = None, first: int | None = None, after: str | None = None, **_: Any) -> Thing:
        wanted = json.loads(filters or "{}")
        return connection([run for run in self.by_name.values() if run.matches(wanted)], first, after)

    def sweep(self, sweepName: str) -> "Sweep | None":
        return self.server.sweeps.get(sweepName)

    def artifactType(self, name: str) -> "ArtifactType":
        return ArtifactType(self, name)

    def artifactCollection(self, name: str) -> "Collection | None":
        return self.collections.get(name)

    def artifactCollectionMembership(self, name: str) -> "Membership | None":
        collection, _, alias = name.partition(":")
        found = self.collections.get(collection)
        return found.artifactMembership(alias or "latest") if found else None

    def artifact(self, name: str, **_: Any) -> "Artifact | None":
        member = self.artifactCollectionMembership(name)
        return member.artifact if member else None

    def allViews(self, viewName: str | None = None, **_: Any) -> Thing:
        return connection([view for view in self.views if viewName in (None, view.name)])


class Run(Thing):
    description = notes = commit = host = jobType = groupName = sweep = exitcode = runInfo = agent = None
    config, summaryMetrics, systemMetrics, eventsTail = "{}", "{}", "{}", "[]"
    createdAt = updatedAt = heartbeatAt = NOW
    eventsLineCount = logLineCount = 0
    readOnly = stopped = False
    state, tags = "running", ()

    def __init__(self, project: Project, name: str) -> None:
        self.id, self.name, self.displayName, self.project, self.projectId = new_id("Run"), name, name, project, project.number
        self.history: list[dict[str, Any]] = []
        self.inputs: list[Artifact] = []
        self.outputs: list[Artifact] = []

    @property
    def user(self) -> Thing:
        return self.project.server.user

    @property
    def used(self) -> list[str]:
        """Names of its input artifacts."""
        return [artifact.name for artifact in self.inputs]

    @property
    def group(self) -> str | None:
        return self.groupName

    @property
    def sweepName(self) -> str | None:
        return self.sweep

    @property
    def historyLineCount(self) -> int:
        return len(self.history)

    @property
    def historyTail(self) -> str:
        return json.dumps([json.dumps(row) for row in self.history[-1:]])

    def historyKeys(self, **_: Any) -> Any:
        return {"lastStep": len(self.history), "keys": {}}

    def wandbConfig(self, **_: Any) -> str:
        return json.dumps({"t": [1, 2, 3]})

    def inputArtifacts(self, first: int | None = None, after: str | None = None, **_: Any) -> Thing:
        return connection(self.inputs, first, after)

    def outputArtifacts(self, first: int | None = None, after: str | None = None, **_: Any) -> Thing:
        return connection(self.outputs, first, after)

    def matches(self, wanted: dict[str, Any]) -> bool:
        """Whether W&B's filter ``{field: value or {"$in": [...]}}`` lets it through."""
        return all(getattr(self, key) in (value["$in"] if isinstance(value, dict) else [value]) for key, value in wanted.items())


class ArtifactType(Thing):
    description, createdAt = None, NOW

    def __init__(self, project: Project, name: str) -> None:
        self.id, self.name, self.project = f"type/{name}", name, project

    def artifactCollection(self, name: str) -> "Collection | None":
        found = self.project.collections.get(name)
        return found if found and found.type == self.name else None


class Collection(Thing):
    """An artifact's versions (a sequence), or links to versions of several (a portfolio)."""

    description, createdAt, updatedAt, state = None, NOW, NOW, "READY"

    def __init__(self, project: Project, name: str, type: str, portfolio: bool = False) -> None:
        self.kinds = ("ArtifactPortfolio" if portfolio else "ArtifactSequence", "ArtifactCollection")
        self.id, self.name, self.project, self.type = new_id("Collection"), name, project, type
        self.members: list[Membership] = []
        self.meaning: dict[str, Membership] = {}
        """Alias -> what it means."""
        self.tags = connection([])

    @property
    def defaultArtifactType(self) -> ArtifactType:
        return ArtifactType(self.project, self.type)

    @property
    def latestArtifact(self) -> "Artifact | None":
        return self.members[-1].artifact if self.members else None

    def aliases(self, **_: Any) -> Thing:
        return connection([Alias(alias, self) for alias in self.meaning])

    def artifacts(self, **_: Any) -> Thing:
        return connection([member.artifact for member in self.members[::-1]])

    def artifactMembership(self, aliasName: str) -> "Membership | None":
        numbered = next((m for m in self.members if aliasName == f"v{m.versionIndex}"), None)
        return numbered or self.meaning.get(aliasName)

    def add(self, artifact: "Artifact", aliases: list[str]) -> "Membership":
        """Take a version in.  As on the hosted service, ``latest`` is whatever was added last."""
        member = next((m for m in self.members if m.artifact is artifact), None)
        if member is None:
            member = Membership(self, artifact, len(self.members))
            self.members.append(member)
            artifact.memberships.append(member)
            self.meaning["latest"] = member
        self.meaning.update(dict.fromkeys(aliases, member))
        return member


class Alias(Thing):
    kinds = ("ArtifactAlias",)

    def __init__(self, alias: str, collection: Collection) -> None:
        self.id, self.alias, self.artifactCollection = new_id("Alias"), alias, collection
        self.artifactCollectionName = collection.name


class Membership(Thing):
    kinds = ("ArtifactCollectionMembership",)
    createdAt = NOW

    def __init__(self, collection: Collection, artifact: "Artifact", index: int) -> None:
        self.id, self.artifactCollection, self.artifact, self.versionIndex = new_id("Member"), collection, artifact, index

    @property
    def aliases(self) -> list[Alias]:
        return [Alias(a, self.artifactCollection) for a, member in self.artifactCollection.meaning.items() if member is self]

    def files(self, **page: Any) -> Thing:
        return self.artifact.files(**page)


class Artifact(Thing):
    ttlDurationSeconds, ttlIsInherited, tags, isLink = -1, True, (), False
    createdAt = updatedAt = NOW
    historyStep = description = None

    def __init__(self, collection: Collection, run: Run | None, told: dict[str, Any]) -> None:
        self.id, self.artifactSequence, self.createdBy, self.state = new_id("Artifact"), collection, run, "PENDING"
        self.name, self.digest, self.metadata = collection.name, told["digest"], told.get("metadata") or "{}"
        self.commitHash, self.wanted = self.id, [entry["alias"] for entry in told.get("aliases") or []]
        self.artifactType = ArtifactType(collection.project, told["artifactTypeName"])
        self.memberships: list[Membership] = []
        self.manifest: dict[str, Any] = {}
        self.currentManifest: Thing | None = None

    @property
    def aliases(self) -> list[Alias]:
        return [alias for member in self.memberships for alias in member.aliases]

    @property
    def artifactMemberships(self) -> Thing:
        return connection(self.memberships)

    @property
    def versionIndex(self) -> int | None:
        return self.memberships[0].versionIndex if self.memberships else None

    @property
    def version(self) -> str:
        return f"v{self.versionIndex}"

    @property
    def fileCount(self) -> int:
        return len(self.manifest)

    @property
    def size(self) -> int:
        return sum(entry["size"] for entry in self.manifest.values())

    def files(self, names: list[str] | None = None, first: int | None = None, after: str | None = None, **_: Any) -> Thing:
        server = self.artifactSequence.project.server
        return connection([File(server, name, blob_of(entry["digest"])) for name, entry in self.manifest.items()
                           if not names or name in names], first, after)


def blob_of(md5: str) -> str:
    """Where a file is kept whose MD5 is ``md5``, in base 64."""
    return f"artifact/{base64.b64decode(md5).hex()}"


class File(Thing):
    mimetype, uploadHeaders, uploadMultipartUrls, updatedAt = None, (), None, NOW

    def __init__(self, server: Any, name: str, blob: str, artifact: Artifact | None = None) -> None:
        self.id, self.name, self.displayName, self.storagePath, self.artifact = new_id("File"), name, name, blob, artifact
        content = server.blobs.get(blob, b"")
        self.directUrl = self.uploadUrl = f"{server.url}/blob/{urllib.parse.quote(blob)}"
        self.sizeBytes, self.digest = len(content), base64.b64encode(hashlib.md5(content).digest()).decode()

    def url(self, **_: Any) -> str:
        return self.directUrl


class Sweep(Thing):
    def __init__(self, declared: str, project: Project) -> None:
        self.id, self.name, self.project = new_id("Sweep"), f"sweep{next(_ids)}", project
        self.config, self.paused = yaml.safe_load(declared), False
        # Of a range the bounds: tests look at what is told, not at how the search learns from it.
        ranges = [p.get("values") or [p["min"], p["max"]] for p in self.config["parameters"].values()]
        self.points = list(itertools.product(*ranges))
        """Those that are still to be tried."""

    def runs(self, **_: Any) -> Thing:
        return connection([run for run in self.project.by_name.values() if run.sweep == self.name])
