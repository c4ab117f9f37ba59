"""Weights & Biases, live or offline.  Imported only when it is configured (see ``mode``)."""

import importlib.util
import json
import logging
import netrc
import os
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from smartad.redact import redact
from smartad.tracking.base import PROJECT, Row, RunInfo, Settings
from smartad.types import UserError

logger = logging.getLogger(__name__)

Mode = Literal["online", "offline"]
WAYS_OUT = "`wandb login`, set WANDB_MODE=offline, or go without it: --track trackio"
CHECK_TIMEOUT_S = 10.0


def mode() -> Mode | None:
    """How W&B is configured here, after its own variables and netrc; None when it is not, or is disabled."""
    wanted = os.environ.get("WANDB_MODE", "").lower()
    if wanted in ("online", "offline"):
        return "online" if wanted == "online" else "offline"
    return "online" if not wanted and _key() else None


def check(root: Path) -> None:
    """Raise UserError when W&B cannot be used.  Online, asks the server whether it knows the key: one request."""
    if importlib.util.find_spec("wandb") is None:
        raise UserError("wandb is not installed: pip install 'wandb>=0.31', or go without it: --track trackio")
    if (found := mode()) is None:
        raise UserError(f"W&B is not configured: {WAYS_OUT}")
    if found == "online":
        _check_key()


def where(root: Path) -> str:
    """How to look at the runs of the store ``root``."""
    if mode() == "offline":
        return f"wandb sync {root.absolute()}/wandb/offline-run-*"
    return f"{server_url().replace('://api.', '://')}, project {project_name()}"


def _check_key() -> None:
    server = server_url()
    if not _key():
        raise UserError(f"WANDB_MODE=online, but there is no key for {server}: {WAYS_OUT}")
    try:
        known = (graphql("query Viewer { viewer { id } }").get("data") or {}).get("viewer")
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise UserError(f"W&B at {server} answers {error.code} {error.reason}: try later, {WAYS_OUT}") from error
        known = None
    except (OSError, ValueError) as error:
        raise UserError(f"W&B at {server} does not answer ({error}): try later, {WAYS_OUT}") from error
    if not known:
        raise UserError(f"W&B at {server} does not know this key: {WAYS_OUT}")


def graphql(query: str, **variables: Any) -> dict[str, Any]:
    """What the server answers: ``data``, or ``errors`` with their messages.  Raises OSError, and ValueError for no JSON."""
    request = urllib.request.Request(
        f"{server_url()}/graphql", data=json.dumps({"query": query, "variables": variables}).encode(),
        headers={"Content-Type": "application/json",
                 "Authorization": "Basic " + b64encode(f"api:{_key()}".encode()).decode()})
    with urllib.request.urlopen(request, timeout=CHECK_TIMEOUT_S) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def server_url() -> str:
    """Where W&B's server is asked."""
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").rstrip("/")


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


class WandbTracker:
    """One stage run in W&B: run id = fingerprint, job type = stage, group = sweep, one artifact for its output."""

    def __init__(self, run: RunInfo, settings: Settings) -> None:
        self.run, self.settings = run, settings
        prepare(settings.root.absolute())
        self.live: Any = None
        self.unlinked: list[str] = []

    def start(self, history: Sequence[Row]) -> None:
        if self.live is None:
            self.live = self._init()
            self._use_inputs()
        self.log(history)

    def log(self, rows: Sequence[Row]) -> None:
        for row in rows:
            # A resumed run stands where the first attempt stopped, and W&B cannot go back: those steps are there.
            if row.step >= self.live.step:
                self.live.log(dict(row.metrics), step=row.step)

    def machine(self, rows: Sequence[Row]) -> None:
        """W&B samples the machine by itself."""

    def finish(self, metrics: Mapping[str, float | None]) -> Mapping[str, str]:
        self.live.summary.update({k: v for k, v in metrics.items() if v is not None})
        self._log_output(metrics)
        found = {"id": self.run.fingerprint} | ({} if self.live.offline else {"url": self.live.url})
        self.live.finish()
        if self.unlinked:
            raise RuntimeError(f"these inputs are not in W&B, so its lineage lacks them: {', '.join(self.unlinked)}")
        return found

    def fail(self, reason: str) -> None:
        self.live.summary["reason"] = redact(reason)
        self.live.finish(exit_code=1)

    def _init(self) -> Any:
        import wandb
        patience_s = self.settings.patience_s
        return wandb.init(
            project=project_name(), dir=os.environ.get("WANDB_DIR") or self.settings.root, mode=mode(),
            id=self.run.fingerprint, name=self.run.fingerprint, resume="allow", reinit="create_new",
            job_type=self.run.stage, group=self.run.group, tags=[tag[:64] for tag in self.run.tags],
            config={"stage": self.run.stage, "inputs": dict(self.run.inputs), **redact(self.run.config),
                    **redact(dict(self.run.about))},
            settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True,
                                    init_timeout=patience_s / 2, finish_timeout=patience_s, finish_timeout_raises=True))

    def _use_inputs(self) -> None:
        if self.live.offline:  # W&B refuses use_artifact offline; the store knows the inputs and can replay them
            return
        import wandb
        for fingerprint in sorted(set(self.run.inputs.values())):
            try:
                self.live.use_artifact(f"{fingerprint}:latest")
            except (wandb.errors.CommError, ValueError):
                self.unlinked.append(fingerprint)

    def _log_output(self, metrics: Mapping[str, float | None]) -> None:
        import wandb
        artifact = wandb.Artifact(self.run.fingerprint, type=self.run.stage,
                                  metadata={"config": redact(self.run.config), "metrics": dict(metrics)})
        for path in sorted(self.run.folder.rglob("*")):
            name = path.relative_to(self.run.folder)
            if path.is_file() and not path.is_symlink() and not any(part.startswith(".") for part in name.parts):
                # The output is final once its stage has returned, so W&B needs no second copy of it.
                artifact.add_file(str(path), name=str(name), policy="immutable", skip_cache=True)
        self.live.log_artifact(artifact)


def prepare(store: Path) -> None:
    """Import wandb, which keeps its files in ``store`` unless its own variables say otherwise."""
    for variable, name in (("CACHE", "cache"), ("DATA", "data"), ("ARTIFACT", "artifacts")):
        os.environ.setdefault(f"WANDB_{variable}_DIR", str(store / "wandb" / name))
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its exit waits 20 s for a server that does not answer
    import wandb.apis.public  # noqa: F401  # wandb.init would import it, in the tracker's thread
