"""What can be changed on the W&B double.  Methods are called as the mutations of W&B's GraphQL schema."""

import itertools
import json
from typing import Any

from wandb_graphql import ANY, Thing, connection
from wandb_objects import NOW, REGISTRIES, Artifact, Collection, File, Project, Run, Sweep, blob_of, new_id

TOLD = ("displayName", "description", "notes", "config", "commit", "host", "jobType", "groupName", "state", "tags",
        "summaryMetrics", "sweep")
"""What a run takes as it is told."""


class Refusal(Exception):
    """What the hosted service would not do either; the message says why."""


def _noted(mutation: Any) -> Any:
    def note(self: "Mutations", **arguments: Any) -> Any:
        if mutation.__name__ == self.server.refused:
            raise Refusal(f"{mutation.__name__} is refused")
        self.server.changes.append(mutation.__name__)
        return mutation(self, **arguments.get("input", arguments))
    return note


class _Answer(Thing):
    kinds = ("Payload", ANY)
    success, clientMutationId = True, None


class Mutations(Thing):
    kinds = ("Mutation",)

    def __init__(self, server: Any) -> None:
        self.server = server

    def _run(self, entityName: str | None, projectName: str | None, runName: str | None) -> Run | None:
        return self.server.project(entityName, projectName).by_name.get(runName or "")

    @_noted
    def upsertBucket(self, id: str | None = None, name: str | None = None, entityName: str | None = None,
                     modelName: str | None = None, **told: Any) -> Thing:
        run = next((r for r in self.server.runs.values() if id and r.id == id), None)
        inserted = False
        if run is None:
            project = self.server.project(entityName, modelName)
            inserted = name not in project.by_name
            run = project.by_name.setdefault(name or "", Run(project, name or ""))
            run.state = "running"
        vars(run).update({key: value for key, value in told.items() if key in TOLD and value is not None})
        return _Answer(bucket=run, inserted=inserted)

    @_noted
    def upsertModel(self, name: str, entityName: str | None = None, **_: Any) -> Thing:
        project = self.server.project(entityName, name)
        return _Answer(project=project, model=project, inserted=True)

    @_noted
    def deleteModel(self, id: str, **_: Any) -> Thing:
        for entity in self.server.entities.values():
            entity.by_name = {name: project for name, project in entity.by_name.items() if project.id != id}
        return _Answer()

    @_noted
    def createRunFiles(self, runName: str, files: list[str], entityName: str | None = None, projectName: str | None = None,
                       **_: Any) -> Thing:
        run = self._run(entityName, projectName, runName)
        assert run
        return _Answer(runID=run.id, uploadHeaders=[], files=[File(self.server, name, f"run/{runName}/{name}") for name in files])

    @_noted
    def createArtifact(self, artifactTypeName: str, entityName: str, projectName: str, runName: str | None = None,
                       clientID: str | None = None, **told: Any) -> Thing:
        project = self.server.project(entityName, projectName)
        name = (told.get("artifactCollectionNames") or [told.get("artifactCollectionName")])[0]
        collection = project.collections.setdefault(name, Collection(project, name, artifactTypeName))
        if collection.type != artifactTypeName:
            raise ValueError(f"artifact {name} is of type {collection.type}, not {artifactTypeName}")
        run = self._run(entityName, projectName, runName)
        known = next((m.artifact for m in collection.members if m.artifact.digest == told["digest"]), None)
        artifact = known or Artifact(collection, run, {**told, "artifactTypeName": artifactTypeName})
        if known:
            collection.add(known, [entry["alias"] for entry in told.get("aliases") or []])
            if run and known not in run.outputs:
                run.outputs.append(known)
        self.server.by_id[artifact.id] = self.server.by_client[clientID or artifact.id] = artifact
        return _Answer(artifact=artifact)

    @_noted
    def createArtifactManifest(self, artifactID: str, name: str, digest: str, **_: Any) -> Thing:
        artifact = self.server.by_id[artifactID]
        file = File(self.server, name, f"manifest/{artifactID}/{name}")
        artifact.currentManifest = Thing(kinds=("ArtifactManifest",), id=new_id("Manifest"), digest=digest, file=file)
        return _Answer(artifactManifest=artifact.currentManifest)

    @_noted
    def createArtifactFiles(self, artifactFiles: list[dict[str, Any]], **_: Any) -> Thing:
        files = [File(self.server, file["name"], blob_of(file["md5"]), self.server.by_id[file["artifactID"]])
                 for file in artifactFiles]
        return _Answer(files=connection(files))

    @_noted
    def commitArtifact(self, artifactID: str, **_: Any) -> Thing:
        artifact = self.server.by_id[artifactID]
        artifact.manifest = json.loads(self.server.blobs[artifact.currentManifest.file.storagePath])["contents"]
        if absent := [name for name, entry in artifact.manifest.items() if blob_of(entry["digest"]) not in self.server.blobs]:
            raise ValueError(f"{', '.join(absent)} of {artifact.name} were never uploaded")
        artifact.state = "COMMITTED"
        artifact.artifactSequence.add(artifact, artifact.wanted)
        if artifact.createdBy:
            artifact.createdBy.outputs.append(artifact)
        return _Answer(artifact=artifact)

    @_noted
    def useArtifact(self, artifactID: str, runName: str, entityName: str | None = None, projectName: str | None = None,
                    **_: Any) -> Thing:
        run, artifact = self._run(entityName, projectName, runName), self.server.by_id[artifactID]
        assert run
        if artifact not in run.inputs:
            run.inputs.append(artifact)
        return _Answer(artifact=artifact)

    @_noted
    def updateArtifact(self, artifactID: str, **told: Any) -> Thing:
        artifact = self.server.by_id[artifactID]
        for key in ("description", "metadata"):
            if told.get(key) is not None:
                setattr(artifact, key, told[key])
        return _Answer(artifact=artifact)

    @_noted
    def linkArtifact(self, artifactPortfolioName: str, entityName: str, projectName: str, artifactID: str | None = None,
                     clientID: str | None = None, aliases: Any = (), **_: Any) -> Thing:
        artifact = self.server.by_id.get(artifactID) or self.server.by_client[clientID]
        if projectName.startswith("wandb-registry-") and projectName not in self.server.entities[entityName].by_name:
            raise Refusal(f"there is no registry {projectName}")
        project = self.server.project(entityName, projectName)
        # A registry takes artifacts of its types only; the one that every organization has is for models.
        if projectName in REGISTRIES and artifact.artifactType.name != "model":
            raise Refusal(f"{projectName} does not take artifacts of type {artifact.artifactType.name}")
        if wrong := [entry["alias"] for entry in aliases or () if {":", "/"} & set(entry["alias"])]:
            raise Refusal(f"invalid alias {wrong[0]}")
        collection = project.collections.setdefault(artifactPortfolioName, Collection(
            project, artifactPortfolioName, artifact.artifactType.name, portfolio=True))
        member = collection.add(artifact, [entry["alias"] for entry in aliases or ()])
        return _Answer(versionIndex=member.versionIndex, artifactMembership=member)

    @_noted
    def addAliases(self, artifactID: str, aliases: list[dict[str, Any]]) -> Thing:
        for told in aliases:
            member = next(m for m in self.server.by_id[artifactID].memberships
                          if m.artifactCollection.name == told["artifactCollectionName"])
            member.artifactCollection.meaning[told["alias"]] = member
        return _Answer()

    @_noted
    def upsertView(self, spec: str, id: str | None = None, entityName: str | None = None, projectName: str | None = None,
                   **told: Any) -> Thing:
        project: Project = self.server.project(entityName, projectName)
        view = next((view for view in project.views if id and view.id == id), None)
        if inserted := view is None:
            view = Thing(kinds=("View",), id=new_id("View"), name="", displayName="", description="", type="runs", createdAt=NOW,
                         updatedAt=NOW, project=project, user=self.server.user, previewUrl=None, viewCount=0)
            project.views.append(view)
        vars(view).update(spec=spec, **{key: value for key, value in told.items() if value is not None})
        return _Answer(view=view, inserted=inserted)

    @_noted
    def upsertSweep(self, config: str, projectName: str, entityName: str | None = None, **_: Any) -> Thing:
        sweep = Sweep(config, self.server.project(entityName, projectName))
        self.server.sweeps[sweep.name] = sweep
        return _Answer(sweep=sweep, configValidationWarnings=[])

    @_noted
    def createAgent(self, sweep: str, **_: Any) -> Thing:
        return _Answer(agent=Thing(kinds=("Agent",), id=f"{sweep}/{new_id('Agent')}"))

    @_noted
    def agentHeartbeat(self, id: str, **_: Any) -> Thing:
        sweep = self.server.sweeps[id.partition("/")[0]]
        commands: list[dict[str, Any]] = []
        if not sweep.paused and not sweep.points:
            commands = [{"type": "exit"}]
        elif not sweep.paused:
            args = {key: {"value": v} for key, v in zip(sweep.config["parameters"], sweep.points.pop(0), strict=True)}
            run = Run(sweep.project, f"run{next(_numbers)}")
            run.sweep, run.config, run.state = sweep.name, json.dumps(args), "pending"
            sweep.project.by_name[run.name] = run
            commands = [{"type": "run", "run_id": run.name, "args": args}]
        return _Answer(agent=Thing(kinds=("Agent",), id=id), commands=json.dumps(commands))


_numbers = itertools.count(1)


