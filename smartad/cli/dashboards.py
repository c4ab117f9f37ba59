"""dashboard: a store's curves, tables and lineage in the browser."""

import argparse
import contextlib
import os
import platform
import shlex
import sys
import webbrowser

from smartad.store import Store
from smartad.tracking.dashboard import serve


def dashboard_command(args: argparse.Namespace) -> int:
    """Serve the store's dashboard until Ctrl-C."""
    store = Store(args.store)

    def ready(address: str) -> None:
        print(f"{store.root} is shown at {address} until Ctrl-C")
        print(f"  from another machine: ssh -N -L {args.port or 8080}:{address.split('/')[2]} {platform.node()}\n"
              f"  and there open {address.replace(address.split('/')[2], f'127.0.0.1:{args.port or 8080}')}")
        for study in sorted(store.root.glob("sweeps/*.optuna.log")):
            print(f"  the search of {study.name.partition('.')[0]}: optuna-dashboard {shlex.quote(str(study))}")
        sys.stdout.flush()
        if not args.no_browser and desktop():
            webbrowser.open(address)

    with contextlib.suppress(KeyboardInterrupt):
        serve(store.root, args.port, ready)
    return 0


def desktop() -> bool:
    """Whether a browser has a screen to open on; one for terminals would take this terminal."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
