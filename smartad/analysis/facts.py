"""What a person wants to know first of a finished stage, from its record: name -> text."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smartad.records import read_jsonl
from smartad.types import Verdict

Record = Mapping[str, Any]
MADE = {"prepare": "questions", "index": "passages", "collect": "trajectories", "import": "trajectories", "grade": "verdicts",
        "score": "scores", "select": "selection", "train": "adapter", "evaluate": "attempts", "aggregate": "row"}
"""Stage -> what it makes."""
SEGMENTS = ("reason", "action", "final")


def facts(record: Record, folder: Path) -> dict[str, str]:
    """Of the stage that wrote ``record`` and left its output in ``folder``."""
    identity, metrics = record["identity"], record["metrics"]
    config = identity["config"]
    found = {"prepare": _prepare, "index": _index, "collect": _collect, "import": _import, "score": _score, "select": _select,
             "train": _train, "evaluate": _evaluate}
    if identity["stage"] == "grade":
        return _grade(config, metrics, folder)
    return found[identity["stage"]](config, metrics, record) if identity["stage"] in found else {}


def _grade(config: Record, metrics: Record, folder: Path) -> dict[str, str]:
    judges = {name: str(config[name]) for name in ("judge", "second_judge") if name in config}
    why = ungraded(folder)
    return {"right": f"{metrics['correct']} of {metrics['n']} graded",
            "grader": ", ".join(sorted(set(config["graders"].values()))), **judges,
            "ungraded": "; ".join(f"{count} x {reason}" for reason, count in why.most_common(5))}


def ungraded(folder: Path) -> Counter[str]:
    """Why verdicts are none, and how often."""
    path = folder / "verdicts.jsonl"
    return Counter(v.reason for v in read_jsonl(path, Verdict) if v.correct is None) if path.exists() else Counter()


def _evaluate(config: Record, metrics: Record, record: Record) -> dict[str, str]:
    trained = "with the adapter below" if "adapter" in record["identity"]["inputs"] else "as it is, no adapter"
    return {"student": f"{config['student']}, {trained}", **_agent(config, metrics, record)}


def _collect(config: Record, metrics: Record, record: Record) -> dict[str, str]:
    return {"teacher": str(config["teacher"]), **_agent(config, metrics, record)}


def _agent(config: Record, metrics: Record, record: Record) -> dict[str, str]:
    said = [f"{key} {config[key]}" for key in ("agent", "dialect", "prompt", "temperature", "top_p", "samples", "candidates",
                                               "max_steps", "max_tokens", "top_k") if key in config]
    said += [key.replace("_", " ") for key in ("fallback", "passages", "first_thought") if config.get(key)]
    ran = [f"{key} {_text(value)}" for key, value in sorted(record.get("ran", {}).items())]
    stops = [f"{key.removeprefix('stop/')} {count}" for key, count in sorted(metrics.items()) if key.startswith("stop/")]
    return {"agent": ", ".join(said), "ended": ", ".join(stops), "ran": ", ".join(ran)}


def _train(config: Record, metrics: Record, record: Record) -> dict[str, str]:
    how = ", ".join(f"{key} {config[key]}" for key in ("rank", "alpha", "learning_rate", "epochs", "batch_size", "dtype")
                    if key in config)
    return {"student": str(config["student"]),
            "weights": ", ".join(f"{key} {config['weights'][key]}" for key in SEGMENTS) if "weights" in config else "",
            "seed": str(config.get("seed", "")), "loss": f"{config['loss']}, {_number(metrics, 'first_loss')} at first, "
            f"{_number(metrics, 'last_loss')} in the end", "recipe": how,
            "examples": _number(metrics, "examples")}


def _select(config: Record, metrics: Record, record: Record) -> dict[str, str]:
    seed = f", seed {config['seed']}" if "seed" in config else ""
    dropped = [f"{count} {key.removeprefix('dropped/')}" for key, count in sorted(metrics.items())
               if key.startswith("dropped/") and count]
    return {"rule": f"{config['rule']}{seed}, of the first {config['first']} samples (K)",
            "selected": f"{_number(metrics, 'selected')} of {_number(metrics, 'questions')} questions, coverage "
            f"{_number(metrics, 'coverage')}, mean NLL {_number(metrics, 'mean_nll')}", "dropped": ", ".join(dropped)}


def _score(config: Record, metrics: Record, record: Record) -> dict[str, str]:
    return {"student": f"{config['student']}, untrained, {config['dtype']}",
            "scored": f"{_number(metrics, 'scored')} of {_number(metrics, 'pool')} trajectories, mean NLL "
            f"{_number(metrics, 'mean_nll')}"}


def _import(config: Record, metrics: Record, record: Record) -> dict[str, str]:
    files = {f"{teacher['name']}": ", ".join(f"{file['name']} (sha256 {file['sha256']})" for file in teacher["files"])
             for teacher in config["teachers"]}
    return {"format": str(config["format"]), **{f"from {name}": text for name, text in files.items()},
            "trajectories": _number(metrics, "n"), "quarantined": _number(metrics, "quarantined")}


def _prepare(config: Record, metrics: Record, record: Record) -> dict[str, str]:
    defects = [f"{count} {key.removeprefix('defects/')}" for key, count in sorted(metrics.items()) if key.startswith("defects/")]
    limit = f"the first {config['limit']} of " if "limit" in config else ""
    content = f"sha256 of questions and golds {config['sha256']}" if "sha256" in config else "generated"
    return {"set": f"{limit}{config['benchmark']}, {content}", "golds": config.get("golds", "as published"),
            "questions": f"{_number(metrics, 'questions')}, of which {_number(metrics, 'ungradable')} without a gold",
            "defects": ", ".join(defects)}


def _index(config: Record, metrics: Record, record: Record) -> dict[str, str]:
    content = f"sha256 {config['sha256']}" if "sha256" in config else "generated"
    return {"corpus": f"{config['corpus']}, {content}", "method": str(config.get("method", "bm25")),
            **{key: json.dumps(config[key]) for key in ("bm25", "embedding", "vectors") if key in config}}


def _text(value: Any) -> str:
    return ", then ".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(metrics: Record, name: str) -> str:
    value = metrics.get(name)
    return "–" if value is None else f"{value:g}" if isinstance(value, int) else f"{value:.4g}"
