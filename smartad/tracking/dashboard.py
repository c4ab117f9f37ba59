"""The store's runs in a browser: trackio's dashboard, on this machine's loopback and with nothing from elsewhere."""

import importlib.util
import os
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

from smartad.tracking.base import PROJECT
from smartad.tracking.trackio import INSTALL
from smartad.tracking.trackio_runs import folder, gather
from smartad.types import UserError

HOST = "127.0.0.1"
OTHERS = ("SYSTEM", "SPACE_", "TRACKIO_LOGO_", "TRACKIO_REGISTRY_BUCKET_ID", "TRACKIO_WRITE_TOKEN")
"""How variables begin by which trackio's server would believe itself elsewhere, or would look there."""
SECTIONS = ("aggregate", "train", "evaluate", "grade", "select", "score", "collect", "import", "index", "prepare", "sweep")
"""Of the charts, in this order: results first."""


def serve(root: Path, port: int, ready: Callable[[str], None]) -> None:
    """Serve the runs of the store ``root`` until Ctrl-C.  ``port`` 0 is any free one; ``ready`` is given the address.

    Raises UserError when trackio is not installed, has no run of this store, or has damaged ones, and when the port is taken.
    """
    if importlib.util.find_spec("trackio") is None:
        raise UserError(f"trackio, whose dashboard this is, is not installed: {INSTALL}; `smartad status` and `smartad table` "
                        "need it not")
    if not (folder(root) / f"{PROJECT}.db").exists() and not any(folder(root).glob("inbox/*/*.jsonl")):
        raise UserError(f"trackio has no run of the store {root.absolute()}: run something with --track trackio, which is the "
                        "default, or show it what is finished: smartad publish SWEEP --to trackio")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise UserError(f"port {port} cannot be had ({error.strerror}); name another one: --port N, or leave --port out "
                            "for a free one") from error
        _stay_here()
        os.environ.setdefault("TRACKIO_PLOT_ORDER", ",".join(f"{section}/*" for section in SECTIONS))
        try:
            gather(root)
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"trackio's files in {folder(root)} cannot be used ({error}); the store has all that is in them: "
                            "remove that folder, and smartad publish SWEEP --to trackio makes it anew") from error
        import uvicorn
        from trackio.frontend_config import BUNDLED_FRONTEND_DIR
        from trackio.server import build_starlette_app_only
        app, _ = build_starlette_app_only(frontend_dir=str(BUNDLED_FRONTEND_DIR))
        listener.listen()
        ready(f"http://{HOST}:{listener.getsockname()[1]}/?project={PROJECT}")
        uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)).run(sockets=[listener])


def _stay_here() -> None:
    """Let neither trackio nor the Hugging Face hub's client, which it imports, ask anybody anything."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    for variable in [name for name in os.environ if name.startswith(OTHERS)]:
        del os.environ[variable]
