"""status, table, show, why: read the store, change nothing."""

import argparse
import json
import sys
import time
from collections import Counter
from typing import Any

from rich.markup import escape
from rich.table import Table as RichTable

from smartad import tables
from smartad.cli.console import console, format_metric, print_table
from smartad.cluster import STAGES
from smartad.fingerprint import differences
from smartad.store import LOG, Store
from smartad.sweep import ledger, results
from smartad.types import UserError


def status_command(args: argparse.Namespace) -> int:
    """How far a sweep is; without a name, the sweeps of the store."""
    store = Store(args.store)
    if args.sweep is None:
        books = [ledger.load(store, name) for name in ledger.names(store)]
        for book in books:
            stages = book.stages()
            print(f"{book.name:<24} {sum(store.has(f) for f in stages)} of {len(stages)} stages finished, "
                  f"{sum(store.failure(f) is not None for f in stages)} failed")
        if not books:
            print(f"no sweeps in {store.root}")
        return 0
    book = ledger.load(store, args.sweep)
    done = {f for f in book.stages() if store.has(f)}
    title = f"{book.name}: {len(done)} of {len(book.stages())} stages finished"
    grid = RichTable(title=title, title_justify="left", title_style="")
    names = sorted({f.rsplit("-", 1)[0] for f in book.stages()}, key=STAGES.index)
    for column in ("trial", "seed", *names, book.config["metric"], "adapter"):
        grid.add_column(column, justify="left" if column in ("trial", "seed", "adapter") else "right")
    for trial in book.trials:
        for run in trial.runs:
            mine = Counter(f.rsplit("-", 1)[0] for f in run.stages)
            have = Counter(f.rsplit("-", 1)[0] for f in run.stages if f in done)
            score = store.record(run.goal)["metrics"].get(book.config["metric"]) if run.goal in done else None
            grid.add_row(escape(trial.label), str(run.seed), *(f"{have[n]}/{mine[n]}" if mine[n] else "" for n in names),
                         format_metric(score), run.train or "")
    console().print(grid)
    _print_unfinished(store, [f for f in book.stages() if f not in done])
    return 0


def _print_unfinished(store: Store, fingerprints: list[str]) -> None:
    for fingerprint in fingerprints:
        if store.claimed(fingerprint):
            print(f"running  {fingerprint}")
        elif note := store.failure(fingerprint):
            print(f"failed   {fingerprint} ({note['class']}, {time.strftime('%F %T', time.localtime(note['time']))} "
                  f"on {note['host']}): {note['message']}\n         log {store.folder(fingerprint) / LOG}")


def table_command(args: argparse.Namespace) -> int:
    """The comparison table of a sweep."""
    store = Store(args.store)
    book = ledger.load(store, args.sweep)
    form = args.format or ("terminal" if sys.stdout.isatty() else "md")
    table = results.table(store, book)
    if form == "terminal":
        print_table(table)
    elif form == "csv":
        print(tables.as_csv(book.groups, results.rows(store, book), [run.seed for run in book.trials[0].runs]), end="")
    else:
        print({"md": tables.markdown, "tex": tables.latex}[form](table), end="")
    return 0


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
        "environment": dict(_leaves(record["environment"])), "trackers": dict(_leaves(record["trackers"]))}
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
    found = reasons(store, a, b)
    if not found:
        print(f"{a} and {b} are the same stage")
        return 0
    print(f"first difference: {found[0]}")
    for line in found[1:]:
        print(f"also: {line}")
    return 0


def reasons(store: Store, a: str, b: str, at: str = "") -> list[str]:
    """Where two identities part, the furthest upstream first: ``select.rule: 'min' -> 'max'``."""
    if a == b:
        return []
    first, second = (store.record(f)["identity"] for f in (a, b))
    if first["stage"] != second["stage"]:
        if at:
            return [f"{at}: {first['stage']} -> {second['stage']}"]
        raise UserError(f"{a} and {b} are different stages: there is nothing to compare")
    upstream, one, other = [], first["inputs"], second["inputs"]
    for role in sorted(one.keys() | other.keys()):
        where = f"{first['stage']}.inputs.{role}"
        if role in one and role in other:
            upstream += reasons(store, one[role], other[role], where)
        else:
            upstream.append(f"{where}: {one.get(role)} -> {other.get(role)}")
    own = differences({"version": first["version"], **first["config"]}, {"version": second["version"], **second["config"]})
    return list(dict.fromkeys([*upstream, *(f"{first['stage']}.{line}" for line in own)]))
