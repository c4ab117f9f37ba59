"""What teachers get right of the training questions, as rows of a table (Agent Distillation, Table 4)."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from smartad.records import read_jsonl
from smartad.stages.grade import cell
from smartad.store import Store
from smartad.sweep.ledger import Ledger
from smartad.sweep.pools import MAKERS
from smartad.tables import RunCells
from smartad.types import Verdict


def groups(found: Mapping[str, Sequence[RunCells]]) -> dict[str, list[str]]:
    """The training sets of ``rows``, as a table's columns."""
    return {"Training set": list(dict.fromkeys(name for runs in found.values() for run in runs for name in run.cells))}


def rows(store: Store, book: Ledger) -> dict[str, list[RunCells]]:
    """Pool -> pass@1 on each of its training sets; of several samples of a question, their mean.  Pools that are not graded yet
    are not there: what they hold is not known.  Those of one label all have the fingerprint of their grade stage in theirs, and
    none stands for the others in the paper's row."""
    labels: dict[str, str] = {}
    for grade in book.stages():
        if not grade.startswith("grade-") or not store.has(grade):
            continue
        pool = store.record(store.record(grade)["identity"]["inputs"]["attempts"])
        if pool["identity"]["stage"] not in MAKERS:
            continue
        labels[grade] = _label(pool["identity"]["config"])
    often = Counter(labels.values())
    return {label if often[label] == 1 else f"{label}, {grade}": [_cells(store, grade)] for grade, label in labels.items()}


def _cells(store: Store, grade: str) -> RunCells:
    verdicts = defaultdict(list)
    for verdict in read_jsonl(store.folder(grade) / "verdicts.jsonl", Verdict):
        verdicts[verdict.question_id.partition("/")[0]].append(verdict)
    return RunCells({name: cell(name, of_set, grade) for name, of_set in verdicts.items()})


def _label(config: Mapping[str, Any]) -> str:
    """``Agent Qwen2.5-32B-Instruct + ftp``, as the paper says it; of an imported pool its name."""
    if "teacher" not in config:
        return f"Imported {config['name']}"
    kind = "CoT" if config["agent"] == "cot" else "Agent"
    more = [" + ftp"] * bool(config["first_thought"]) + [" + RAG"] * bool(config["passages"])
    return "".join([f"{kind} {config['teacher'].rpartition('/')[2]}", *more])
