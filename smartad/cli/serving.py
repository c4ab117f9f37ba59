"""serve-retriever, fetch: an index for many processes, and what the model hub has of a corpus."""

import argparse
import contextlib
import ipaddress
import os
import re
import sys
from pathlib import Path

from smartad import corpora, models
from smartad.cli.console import at_store, program
from smartad.cli.planning import is_sweep
from smartad.config import load
from smartad.experiment import Experiment, plan
from smartad.fingerprint import file_sha256
from smartad.stage import Runtime
from smartad.stages.index import INDEX
from smartad.store import Store
from smartad.types import UserError


def serve_command(args: argparse.Namespace) -> int:
    """Answer searches of an index until Ctrl-C."""
    store = Store(args.store)
    fingerprint, runtime = _wanted(store, args)
    from smartad.engines import retrieval
    from smartad.engines.retrieval.server import serve

    front = retrieval.fronted(store.folder(fingerprint), runtime)
    record = store.record(fingerprint)
    config, passages = record["identity"]["config"], int(record["metrics"]["passages"])

    def ready(address: str) -> None:
        print(f"{fingerprint} ({config['corpus']}, {config['method']}, {passages:,} passages) is searched at {address} until "
              f"Ctrl-C\n  in a site profile:  retriever: {address}", flush=True)

    if not _loopback(args.host):
        print(f"smartad: whoever reaches {args.host} can search this index; there is no password", file=sys.stderr)
    with contextlib.suppress(KeyboardInterrupt):
        serve(front, fingerprint, passages, args.host, args.port, ready)
    print(f"{front.asked} queries, {front.known} of them known already, {front.batches} searches")
    return 0


def fetch_command(args: argparse.Namespace) -> int:
    """Bring what the model hub has of a corpus into the data folder."""
    from smartad.engines.retrieval import hub

    if not (downloads := corpora.downloads(args.corpus)):
        having = ", ".join(name for name in corpora.names() if corpora.downloads(name))
        raise UserError(f"the model hub has nothing of corpus {args.corpus} that smartad knows of; it has of {having}")
    if args.only and args.only not in (names := [download.file for download in downloads]):
        raise UserError(f"--only {args.only}: {args.corpus} is made of {', '.join(names)}")
    source = corpora.get(args.corpus).SOURCE
    for download in downloads:
        if args.only in (None, download.file):
            path = hub.fetch(download.file, download.dataset, download.parts, args.data)
            print(f"{path}: {path.stat().st_size:,} bytes", flush=True)
            if source and download.file == source.file:
                print(f"  retrieval.sha256={file_sha256(path)} in an experiment refuses any other")
    return 0


def _wanted(store: Store, args: argparse.Namespace) -> tuple[str, Runtime]:
    """The fingerprint of a finished index, and where what it needs is."""
    threads = args.threads or os.cpu_count() or 1
    if len(args.sources) == 1 and re.fullmatch(r"[\w-]+", args.sources[0]):
        fingerprint = store.find(args.sources[0])
        if (stage := store.record(fingerprint)["identity"]["stage"]) != INDEX.name:
            raise UserError(f"{fingerprint} is of the stage {stage}, and only an index can be searched")
        folders = {models.identify(folder): folder for folder in args.model}
        return fingerprint, Runtime(data=args.data, models=folders, threads=threads, gpus=args.gpus)
    for source in args.sources:
        if is_sweep(source):
            raise UserError(f"{source} declares a sweep, and its trials may search otherwise: name an index stage "
                            f"(`{program()} status SWEEP --all`), or an experiment")
    experiment = load(Experiment, args.sources)
    planned = plan(experiment)
    found = [spec for spec in planned.goal.upstream_first() if spec.stage is INDEX]
    if not found:
        raise UserError("this experiment searches nothing: its corpus is null, or its agents take no passages")
    if not store.has(found[-1].fingerprint):
        raise UserError(f"{found[-1].fingerprint} is not finished in {store.root}: `{program()} run {' '.join(args.sources)} "
                        f"--until index{at_store(store)}` makes it, and nothing else")
    data = args.data or (Path(experiment.data) if experiment.data else None)
    return found[-1].fingerprint, Runtime(data=data, models=planned.models, threads=threads, gpus=args.gpus)


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
