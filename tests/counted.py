"""A sweep's files, read and counted without smartad's own readers.

``drawn``: anything with a ``store``, and with ``books`` by name.
"""

import json


def lines(store, fingerprint, file):
    return [json.loads(line) for line in (store.root / fingerprint / file).read_text().splitlines()]


def inputs(store, fingerprint):
    return json.loads((store.root / fingerprint / "record.json").read_text())["identity"]["inputs"]


def grades(drawn, sweep, label, benchmark):
    """The grade stages of a row's seeds."""
    trial, = (trial for trial in drawn.books[sweep].trials if trial.label == label)
    return list(dict.fromkeys(inputs(drawn.store, run.goal)[benchmark] for run in trial.runs))


def attempts(drawn, sweep, label, benchmark):
    """Every attempt of a row's seeds."""
    return [row for grade in grades(drawn, sweep, label, benchmark)
            for row in lines(drawn.store, inputs(drawn.store, grade)["attempts"], "trajectories.jsonl")]


def percent(drawn, sweep, label, benchmark, of=lambda question: True):
    """(pass@1, its n): the mean over seeds, and the graded questions of the seed with fewest."""
    seeds = []
    for grade in grades(drawn, sweep, label, benchmark):
        said = [row["correct"] for row in lines(drawn.store, grade, "verdicts.jsonl") if of(row["question_id"])]
        graded = [one for one in said if one is not None]
        seeds.append((100 * graded.count(True) / len(graded), len(graded)))
    return sum(p for p, _ in seeds) / len(seeds), min(n for _, n in seeds)
