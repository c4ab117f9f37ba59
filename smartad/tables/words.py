"""What is said about a table in words: its caption, and the notes below it."""

from smartad.tables import printed
from smartad.tables.data import STOPPED, Table


def caption(table: Table) -> str:
    """What the numbers are."""
    entries = [entry for row in table.rows.values() for entry in row.values()]
    seeds = max((entry.part[1] if entry.part else entry.runs for entry in entries), default=0)
    over = f", mean ± sd over {seeds} seeds" if seeds > 1 else ""
    of_sizes = " of each size" if len(table.blocks()) > 1 else ""
    parts = [f"{table.title}: pass@1 in percent{over}; best bold, second underlined{of_sizes}.", _graded(table)]
    if table.micro:
        parts.append("Avg is the mean of the benchmarks, Micro that of their questions.")
    if table.intervals:
        parts.append("In parentheses, 95 % Wilson intervals; several seeds ask the same questions, which count once. They "
                     "are about other questions; luck in training is not in them.")
    if table.printed:
        parts.append(printed.ABOUT)
    if any(entry.part for entry in entries):
        parts.append("What lacks seeds is not ranked.")
    if any(entry.ungraded and entry.percent is not None for entry in entries):
        parts.append("No rank is given that ungraded attempts could change.")
    if any(entry.note == STOPPED for entry in entries):
        parts.append("stopped: ended early, as it was behind the others.")
    return " ".join(filter(None, parts))


def _graded(table: Table) -> str:
    """Who decided what is right."""
    by: dict[str, list[str]] = {}
    for name, graders in table.graders.items():
        if graders:
            by.setdefault(" and ".join(graders), []).append(table.names.get(name, name))
    parts = [grader if len(by) == 1 else f"{grader} ({', '.join(names)})" for grader, names in by.items()]
    return f"Graded by {', '.join(parts)}." if parts else ""


def below(table: Table) -> list[str]:
    """What stands below: what the marks mean, and what else there is to say."""
    return [*(f"{mark}: {what}" for mark, what in table.notes.items()), *table.remarks]


def about(table: Table, row: str, column: str) -> str:
    """What stands behind a number: n, ungraded attempts, interval, who decided, and where it is from."""
    entry = table.rows[row][column]
    if entry.percent is None and not entry.source:
        return entry.note or "not measured"
    interval = entry.interval
    mark = table.marks.get((row, column))
    seeds = entry.lacking or (f"{entry.runs} seeds" if entry.runs > 1 else "")
    parts = [entry.note, f"n={entry.n}" if entry.n else "", f"{entry.ungraded} ungraded", seeds,
             f"95 % interval {interval[0]:.1f} to {interval[1]:.1f}" if interval else "",
             " and ".join(table.graders.get(column, ())), ", ".join(entry.source), f"{mark}: {table.notes[mark]}" if mark else ""]
    return "; ".join(filter(None, parts))
