"""A sweep's results: its table, and its best adapter."""

from smartad import registry, tables
from smartad.records import read_jsonl
from smartad.store import Store, explained
from smartad.sweep.ledger import Ledger, LedgerTrial, Run
from smartad.tables import RunCells, Table
from smartad.types import Cell


def cells(store: Store, goal: str) -> RunCells:
    """The cells of a finished aggregate."""
    return RunCells({cell.benchmark: cell for cell in read_jsonl(store.folder(goal) / "cells.jsonl", Cell)})


def run_cells(store: Store, run: Run) -> RunCells:
    """The cells of a run, or a note on why there are none yet."""
    if store.has(run.goal):
        return cells(store, run.goal)
    failed = any(store.failure(f) for f in run.stages if not store.has(f))
    started = any(store.has(f) for f in run.stages)
    return RunCells({}, "failed" if failed else "unfinished" if started else "")


def rows(store: Store, book: Ledger) -> dict[str, list[RunCells]]:
    """Label -> its runs, in the order of the sweep."""
    return {trial.label: [run_cells(store, run) for run in trial.runs] for trial in book.trials}


def table(store: Store, book: Ledger) -> Table:
    """The comparison table as it is now."""
    return tables.build(book.name, book.groups, rows(store, book))


def best(store: Store, book: Ledger) -> tuple[LedgerTrial, Run, float] | None:
    """The finished trial with the best mean score, and of its seeds the best run; ties go to the first.  Only adapters."""
    sign = 1 if book.config["direction"] == "maximize" else -1
    scored = [(score, trial) for trial in book.trials
              if trial.runs[0].train and (score := book.score(store, trial)) is not None]
    if not scored:
        return None
    _, trial = max(scored, key=lambda pair: sign * pair[0])
    run = max(trial.runs, key=lambda run: sign * _metric(store, book, run))
    return trial, run, _metric(store, book, run)


def _metric(store: Store, book: Ledger, run: Run) -> float:
    return float(store.record(run.goal)["metrics"][book.config["metric"]])


def promote_best(store: Store, book: Ledger) -> tuple[LedgerTrial, Run] | None:
    """Let ``best:<metric>`` of this sweep mean its best adapter, and say which trial and run that is.

    None while no adapter is evaluated.  Nothing is written when the alias says so already.
    """
    found = best(store, book)
    if found is None:
        return None
    trial, run, value = found
    assert run.train is not None
    alias, metric = f"best:{book.config['metric']}", book.config["metric"]
    decided = [entry.fingerprint for entry in registry.entries(store.root, book.name) if entry.alias == alias]
    if decided[-1:] != [run.train]:
        with explained(store.root):
            registry.promote(store.root, alias, run.train, metric=metric, value=value, by="sweep", sweep=book.name,
                             reason=f"{trial.label}, seed {run.seed}")
    return trial, run
