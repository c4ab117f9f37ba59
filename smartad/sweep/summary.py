"""A sweep as trackers show it: its comparison table, its trials with their swept values, its figure."""

from smartad import figures, tables
from smartad.figures.scores import draw_scores
from smartad.store import Store, explained
from smartad.sweep import disagreements, results
from smartad.sweep.ledger import Ledger
from smartad.tracking import Summary, Table


def summary(store: Store, book: Ledger) -> Summary:
    """What a sweep has come to so far.  Draws its figure into the store."""
    found = results.best(store, book, book.config["metric"])
    stages = book.stages()
    metrics = {"stages": len(stages), "finished": sum(store.has(f) for f in stages), "trials": len(book.trials),
               f"best/{book.config['metric']}": found[2] if found else None}
    views = (comparison(store, book), trials(store, book), *confusion(store, book))
    figure = store.root / "sweeps" / book.name / "scores.png"
    table = results.table(store, book)
    if drawn := any(entry.percent is not None for entries in table.rows.values() for entry in entries.values()):
        with explained(store.root):
            figure.parent.mkdir(parents=True, exist_ok=True)
            figures.save(draw_scores(table), figure)
    return Summary(book.name, book.config, metrics, views, {"scores": figure} if drawn else {})


def comparison(store: Store, book: Ledger) -> Table:
    """The comparison table, in percent; None where there is no number, and what there is instead beside it."""
    table = results.table(store, book)
    rows = []
    for label, entries in table.rows.items():
        notes = dict.fromkeys(note for entry in entries.values() for note in (entry.lacking, entry.note) if note)
        ungraded = sum(entries[name].ungraded for name in table.benchmarks)
        rows.append((label, *(entries[column].percent for column in table.columns), entries[tables.AVERAGE].sd, ungraded,
                     ", ".join(notes)))
    return Table("comparison", ("method", *table.columns, "sd of Avg", "ungraded", "note"), tuple(rows))


def trials(store: Store, book: Ledger) -> Table:
    """A row per trial and seed with every swept key in a column of its own, as parallel coordinates want them."""
    keys = list(dict.fromkeys(key for trial in book.trials for key in trial.values))
    metric = book.config["metric"]
    rows = [(trial.label, run.seed, *(trial.values.get(key) for key in keys),
             store.record(run.goal)["metrics"].get(metric) if store.has(run.goal) else None, run.train, run.goal)
            for trial in book.trials for run in trial.runs]
    return Table("trials", ("trial", "seed", *keys, metric, "adapter", "row"), tuple(rows))


def confusion(store: Store, book: Ledger) -> list[Table]:
    """Where the same attempts were graded by several graders: how often each pair of verdicts was given.  Else nothing."""
    rows = [(attempts, questions, grader, said, other, other_said, count)
            for attempts, (questions, grader, other), counts in disagreements.confusion(store, book.stages())
            for (said, other_said), count in sorted(counts.items())]
    columns = ("attempts", "benchmark", "grader", "its verdict", "other grader", "its verdict there", "count")
    return [Table("confusion of graders", columns, tuple(rows))] if rows else []
