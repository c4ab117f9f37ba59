"""Comparison tables like the papers': rows are arms, columns benchmarks, best bold, second underlined, n always there."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from smartad.types import Cell

AVERAGE = "Avg"
HOLE = "–"
"""What stands where nothing was measured.  Never a zero."""
STOPPED = "stopped"
"""What stands in a row that was not brought to its end, because it was hopeless.  Never the low score it had so far."""


@dataclass(frozen=True)
class RunCells:
    """One run (seed) of a row: its cells by benchmark, or why there are none."""

    cells: Mapping[str, Cell]
    note: str = ""
    """failed, unfinished, ...; empty when the row it belongs to is finished."""


@dataclass(frozen=True)
class Entry:
    """One number of the table, over a row's seeds."""

    percent: float | None
    """pass@1; the mean over seeds.  None: not measured."""
    sd: float | None
    """Sample standard deviation over seeds; None for a single one."""
    n: str
    """Graded attempts of one seed (of the average: of all benchmarks); ``5/10`` when the seeds differ, ``820 of 164 questions``
    when each was asked several times."""
    ungraded: int
    """Over all seeds."""
    runs: int
    note: str = ""
    rank: Literal["", "best", "second"] = ""

    def text(self, with_n: bool = False) -> str:
        """``71.3 ±2.1``, and what must not be overlooked: ungraded attempts, an n of its own, or why there is nothing."""
        if self.percent is None:
            return f"[{self.ungraded} ungraded]" if self.ungraded else self.note or HOLE
        parts = [f"{self.percent:.1f}"]
        if self.sd is not None:
            parts.append(f"±{self.sd:.1f}")
        if with_n:
            parts.append(f"(n={self.n})")
        if self.ungraded:
            parts.append(f"[{self.ungraded} ungraded]")
        return " ".join(parts)


@dataclass(frozen=True)
class Table:
    """A table ready to be printed."""

    title: str
    groups: Mapping[str, Sequence[str]]
    """Group title -> benchmarks; Avg is in a group of its own."""
    rows: Mapping[str, Mapping[str, Entry]]
    """Label -> column -> entry."""
    graders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Benchmark -> who decided, with versions; several where cells differ."""

    @property
    def columns(self) -> list[str]:
        """Benchmarks in order, then Avg."""
        return [*(name for names in self.groups.values() for name in names), AVERAGE]

    def n(self, column: str) -> str | None:
        """The n that a column's measured entries share, or None when they differ."""
        found = {row[column].n for row in self.rows.values() if row[column].percent is not None}
        return found.pop() if len(found) == 1 else None

    def header(self, column: str) -> str:
        """The column's name with the n its entries share."""
        return column if column == AVERAGE or self.n(column) is None else f"{column} (n={self.n(column)})"

    def text(self, row: str, column: str) -> str:
        """An entry as text, with its own n when the column's entries differ."""
        return self.rows[row][column].text(with_n=column != AVERAGE and self.n(column) is None)


def build(title: str, groups: Mapping[str, Sequence[str]], rows: Mapping[str, Sequence[RunCells]]) -> Table:
    """The table of ``rows``: label -> its runs.  Equal runs (one source for several seeds) count once."""
    groups = {name: list(benchmarks) for name, benchmarks in groups.items() if benchmarks}
    benchmarks = [name for names in groups.values() for name in names]
    entries = {label: {**{name: _entry(runs, name) for name in benchmarks}, AVERAGE: _average(runs, benchmarks)}
               for label, runs in rows.items()}
    for column in [*benchmarks, AVERAGE]:
        ranked = sorted({_shown(row[column]) for row in entries.values() if row[column].percent is not None}, reverse=True)
        for row in entries.values():
            if row[column].percent is not None and len(entries) > 1:
                place = ranked.index(_shown(row[column]))
                row[column] = Entry(**{**vars(row[column]), "rank": ("best", "second")[place] if place < 2 else ""})
    graders = {name: sorted({run.cells[name].grader for runs in rows.values() for run in runs if name in run.cells} - {""})
               for name in benchmarks}
    return Table(title, groups, entries, graders)


def _shown(entry: Entry) -> float:
    return round(entry.percent or 0.0, 1)


def _entry(runs: Sequence[RunCells], benchmark: str) -> Entry:
    cells = list({c.source: c for run in runs if (c := run.cells.get(benchmark))}.values())
    scores = [cell.percent for cell in cells if cell.percent is not None]
    ungraded = sum(c.ungraded for c in cells)
    if not all(benchmark in run.cells for run in runs) or len(scores) < len(cells) or not scores:
        note = next((run.note for run in runs if benchmark not in run.cells and run.note), "")
        return Entry(None, None, "", ungraded, len(scores), note or ("ungraded" if len(scores) < len(cells) else ""))
    counts = [str(c.n) if c.questions is None else f"{c.n} of {c.questions} questions" for c in cells]
    return Entry(statistics.fmean(scores), _sd(scores), _ns(counts), ungraded, len(scores))


def _average(runs: Sequence[RunCells], benchmarks: Sequence[str]) -> Entry:
    """The macro average, as in the papers; a row with a hole has none."""
    distinct = list({tuple(c.source for c in run.cells.values()): run for run in runs}.values())
    complete = [[run.cells[name] for name in benchmarks] for run in distinct
                if all(name in run.cells and run.cells[name].n for name in benchmarks)]
    if not complete or len(complete) < len(distinct):
        return Entry(None, None, "", 0, 0, next((run.note for run in runs if run.note), ""))
    scores = [statistics.fmean(cell.percent or 0.0 for cell in cells) for cells in complete]
    return Entry(statistics.fmean(scores), _sd(scores), _ns([str(sum(c.n for c in cells)) for cells in complete]),
                 sum(c.ungraded for cells in complete for c in cells), len(scores))


def _sd(scores: Sequence[float]) -> float | None:
    return statistics.stdev(scores) if len(scores) > 1 else None


def _ns(counts: Sequence[str]) -> str:
    return "/".join(dict.fromkeys(counts))


def caption(table: Table) -> str:
    """What the numbers are."""
    seeds = max((entry.runs for row in table.rows.values() for entry in row.values()), default=0)
    over = f", mean ± sd over {seeds} seeds" if seeds > 1 else ""
    early = any(entry.note == STOPPED for row in table.rows.values() for entry in row.values())
    what = " stopped: ended early, as it was behind the others." if early else ""
    return f"{table.title}: pass@1 in percent{over}; best bold, second underlined.{_graded(table)}{what}"


def _graded(table: Table) -> str:
    """Who decided what is right."""
    by: dict[str, list[str]] = {}
    for name, graders in table.graders.items():
        if graders:
            by.setdefault(" and ".join(graders), []).append(name)
    parts = [grader if len(by) == 1 else f"{grader} ({', '.join(names)})" for grader, names in by.items()]
    return f" Graded by {', '.join(parts)}." if parts else ""


def markdown(table: Table) -> str:
    """GitHub Markdown; groups stand in a second header row, which Markdown has not, so in the column names."""
    group_of = {name: group for group, names in table.groups.items() for name in names}
    several = len(table.groups) > 1
    header = [f"{group_of[c]}<br>{table.header(c)}" if several and c in group_of else table.header(c) for c in table.columns]
    marks = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}
    lines = [f"| Method | {' | '.join(header)} |", "| --- |" + " ---: |" * len(header)]
    for row, entries in table.rows.items():
        cells = [marks[entries[c].rank].format(table.text(row, c)) for c in table.columns]
        lines.append(f"| {_escape_md(row)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", caption(table), ""])


def latex(table: Table) -> str:
    """A booktabs table with group headers; needs ``\\usepackage{booktabs}``."""
    marks = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}
    groups = " & ".join(rf"\multicolumn{{{len(names)}}}{{c}}{{{_escape_tex(group)}}}" for group, names in table.groups.items())
    rules, at = [], 2
    for names in table.groups.values():
        rules.append(rf"\cmidrule(lr){{{at}-{at + len(names) - 1}}}")
        at += len(names)
    lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\toprule",
             rf" & {groups} & \\", " ".join(rules),
             " & ".join(["Method", *(_escape_tex(table.header(c)) for c in table.columns)]) + r" \\", r"\midrule"]
    for row, entries in table.rows.items():
        cells = [marks[entries[c].rank] % _escape_tex(table.text(row, c)) for c in table.columns]
        lines.append(" & ".join([_escape_tex(row), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{_escape_tex(caption(table))}}}", r"\end{table}", ""]
    return "\n".join(lines)


def plain_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Any table of texts: the first column names the row, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(map(_escape_md, line))} |\n" for line in lines)


def plain_latex(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """The same for LaTeX with booktabs."""
    top, *lines = [" & ".join(map(_escape_tex, line)) + r" \\" for line in (header, *rows)]
    return "\n".join([r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\toprule", top,
                      r"\midrule", *lines, r"\bottomrule", r"\end{tabular}", rf"\caption{{{_escape_tex(caption)}}}",
                      r"\end{table}", ""])


def as_csv(groups: Mapping[str, Sequence[str]], rows: Mapping[str, Sequence[RunCells]], seeds: Sequence[int]) -> str:
    """The cells themselves, one line each: what statistics are made from.  Unmeasured cells have empty fields and a note."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["row", "seed", "group", "benchmark", "correct", "n", "ungraded", "pass@1", "source", "note", "grader",
                     "questions"])
    for label, runs in rows.items():
        for seed, run in zip(seeds, runs, strict=True):
            for group, names in groups.items():
                for name in names:
                    cell = run.cells.get(name)
                    numbers = [""] * 5 if cell is None else [
                        cell.correct, cell.n, cell.ungraded, "" if cell.percent is None else f"{cell.percent:.4f}", cell.source]
                    about = ["", ""] if cell is None else [cell.grader, cell.n if cell.questions is None else cell.questions]
                    writer.writerow([label, seed, group, name, *numbers, run.note, *about])
    return file.getvalue()


def _escape_md(text: str) -> str:
    return text.replace("|", r"\|")


def _escape_tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
               "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--"}
    return "".join(special.get(c, c) for c in text)
