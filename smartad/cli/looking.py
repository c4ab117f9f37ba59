"""show, why: read the store, change nothing."""

import argparse
import json
import time
from typing import Any

from smartad.analysis.recipes import reasons
from smartad.cli.console import format_metric
from smartad.store import Store


def show_command(args: argparse.Namespace) -> int:
    """One finished stage."""
    store = Store(args.store)
    record = store.record(store.find(args.fingerprint))
    if args.json:
        print(json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False))
        return 0
    print(f"{record['fingerprint']}   {store.folder(record['fingerprint'])}")
    print(f"finished {time.strftime('%F %T', time.localtime(record['started'] + record['seconds']))}, took {record['seconds']} s")
    sections: dict[str, dict[str, str]] = {
        "config": dict(_leaves(record["identity"]["config"])),
        "inputs": record["identity"]["inputs"],
        "metrics": {k: format_metric(v) for k, v in record["metrics"].items()},
        "files": {name: f"{f['size']} bytes, sha256 {f['sha256'][:12]}…" for name, f in record["files"].items()},
        "ran": dict(_leaves(record.get("ran", {}))), "environment": dict(_leaves(record["environment"])),
        "trackers": dict(_leaves(record["trackers"]))}
    for title, lines in sections.items():
        if lines:
            print(f"\n{title}")
            width = max(len(key) for key in lines)
            for key, value in lines.items():
                print(f"  {key:<{width}}  {value}")
    return 0


def _leaves(value: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [leaf for k, v in value.items() for leaf in _leaves(v, f"{path}.{k}" if path else str(k))]
    return [(path, str(value))]


def why_command(args: argparse.Namespace) -> int:
    """Why two finished stages are not the same one."""
    store = Store(args.store)
    a, b = store.find(args.a), store.find(args.b)
    found = reasons(lambda stage: store.record(stage)["identity"], a, b)
    if not found:
        print(f"{a} and {b} are the same stage")
        return 0
    print(f"first difference: {found[0]}")
    for line in found[1:]:
        print(f"also: {line}")
    return 0
