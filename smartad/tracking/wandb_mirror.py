"""W&B brought up to date from the store: runs, artifacts, lineage, and the registry's aliases, as the server says they are."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smartad.tracking import wandb, wandb_registry, wandb_server
from smartad.tracking.base import Finished, Summary
from smartad.tracking.mirror import Mirror
from smartad.types import UserError

UNUSED = "is not linked to its input "
"""How a problem begins that only concerns lineage."""


class WandbMirror(Mirror):
    """The store's runs in one W&B project."""

    def __init__(self, name: str, root: Path, class_name: str) -> None:
        super().__init__(name, root, class_name)
        self._entity = ""

    def check(self) -> None:
        if wandb_server.mode() == "offline":
            raise UserError("publish needs W&B's server, and WANDB_MODE is offline: unset it, and `wandb login` where "
                            "there is no key yet")
        super().check()
        self._entity = wandb_server.check_key()
        wandb.prepare(self.root.absolute())

    def lacking(self, stages: Sequence[Finished]) -> dict[str, list[str]]:
        runs = wandb_server.runs(self._entity, [stage.run.fingerprint for stage in stages])
        found = {stage.run.fingerprint: _problems(stage, runs.get(stage.run.fingerprint)) for stage in stages}
        return {id: problems for id, problems in found.items() if problems}

    def mend(self, stage: Finished, problems: Sequence[str]) -> None:
        if not all(problem.startswith(UNUSED) for problem in problems):
            super().mend(stage, problems)
            return
        import wandb as sdk
        api, project = sdk.Api(), f"{self._entity}/{wandb_server.project_name()}"
        run = api.run(f"{project}/{stage.run.fingerprint}")
        for problem in problems:
            run.use_artifact(api.artifact(f"{project}/{problem.removeprefix(UNUSED)}:latest"))

    def summarise(self, summary: Summary, records: Sequence[Mapping[str, Any]]) -> str | None:
        return wandb.summarise(self.root, summary, records)

    def misnamed(self, sweep: str, names: Mapping[str, Finished]) -> dict[str, str]:
        meaning = wandb_registry.meaning(sweep, list(names))
        wrong = {}
        for alias, stage in names.items():
            found = meaning.get(alias)
            if found is None or found.fingerprint != stage.run.fingerprint:
                wrong[alias] = f"means {found.fingerprint if found else 'nothing'} instead of {stage.run.fingerprint}"
            elif found.files != wandb.listing(stage.files):
                wrong[alias] = f"means a {found.fingerprint} with other files"
        return wrong

    def rename(self, sweep: str, names: Mapping[str, Finished]) -> None:
        project = f"{self._entity}/{wandb_server.project_name()}"
        for fingerprint in dict.fromkeys(stage.run.fingerprint for stage in names.values()):
            aliases = [alias for alias, stage in names.items() if stage.run.fingerprint == fingerprint]
            wandb_registry.link(f"{project}/{fingerprint}:latest", sweep, aliases)


def _problems(stage: Finished, run: Mapping[str, Any] | None) -> list[str]:
    if run is None:
        return ["it is not there"]
    problems = [] if run["state"] == "finished" else [f"its run is {run['state']}"]
    told = json.loads(run["summaryMetrics"] or "{}")
    if any(name not in told for name, value in stage.metrics.items() if value is not None):
        problems.append("its final metrics are not there")
    outputs = [edge["node"] for edge in run["outputArtifacts"]["edges"]]
    mine = [a for a in outputs if a["artifactSequence"]["name"] == stage.run.fingerprint and a["state"] == "COMMITTED"]
    if not mine:
        problems.append("its files are not there")
    elif not any(_same(artifact, stage) for artifact in mine):
        problems.append("its files are others than in the store")
    used = {edge["node"]["artifactSequence"]["name"] for edge in run["inputArtifacts"]["edges"]}
    return problems + [f"{UNUSED}{fingerprint}" for fingerprint in sorted(set(stage.run.inputs.values()) - used)]


def _same(artifact: Mapping[str, Any], stage: Finished) -> bool:
    told = json.loads(artifact["metadata"] or "{}").get("files")
    return (told, artifact["fileCount"], artifact["size"]) == (
        wandb.listing(stage.files), len(stage.files), sum(file["size"] for file in stage.files.values()))
