"""Pictures of what students did on the benchmarks, after Agent Distillation's Fig. 4 and 6 to 8."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any

from smartad.analysis.outcomes import outcomes
from smartad.analysis.pictures.rows import Finished, NotDrawable, Row, by_size
from smartad.figures import curves, rows, style
from smartad.figures.points import Point, mean, share
from smartad.figures.scores import WHAT, draw_scores
from smartad.types import Question

if TYPE_CHECKING:
    from smartad.figures import Figure

READ = 12
"""Rows whose trajectories are read: a file of each benchmark and seed."""
COUNTED = 24
"""Rows of which the evaluations' metrics are enough."""
BROKEN = ("exec_error", "timeout", "oom")
AGENT, OTHERS = "agent", {"cot": "chain of thought", "text": "plain completion"}
"""How a row answers; those that do not act by their dialect."""


def scores(found: Finished) -> "Figure":
    """pass@1 of every row, with its interval."""
    return draw_scores(found.table, [row.label for row in found.rows], found.notes(found.rows))


def math_levels(found: Finished) -> "Figure":
    """Accuracy by how hard a problem is."""
    return _parted(found, lambda question: question.level, "level")


def math_subjects(found: Finished) -> "Figure":
    """Accuracy by what a problem is about."""
    return _parted(found, lambda question: question.subject, "subject")


def tokens(found: Finished) -> "Figure":
    """Generated tokens of an answer, agents and chains of thought."""
    shown = found.best(READ)
    panels: dict[str, list[list[int]]] = {}
    uncounted = 0
    for name in found.benchmarks:
        episodes = [[found.episodes(f) for f in found.evaluations(row, name)] for row in shown]
        uncounted += sum(one.uncounted for of_row in episodes for one in of_row)
        panels[name] = [[count for one in of_row for count in one.tokens] for of_row in episodes]
    if not any(counts for panel in panels.values() for counts in panel):
        raise NotDrawable(f"the engines of {found.book.name} did not count the tokens they generated")
    left_out = f"Left out: {uncounted} attempts whose engine does not count. " if uncounted else ""
    kinds = [OTHERS.get(found.configs[row.label]["dialect"], AGENT) for row in shown]
    return rows.boxes([row.label for row in shown], panels, "tokens", (
        "Generated tokens of an attempt: median, quartiles, 5th to 95th percentile; the diamond is the mean. n: attempts over "
        f"all seeds. {left_out}{found.notes(shown)}").strip(), kinds)


def code_errors(found: Finished) -> "Figure":
    """How often a step's code could not be read, or failed; rows of one adapter with and without votes side by side."""
    if not found.agents:
        raise NotDrawable(f"no row of {found.book.name} is an agent's: there is no code that could fail")
    of = found.configs
    adapter = {row.label: row.trial.runs[0].train or of[row.label]["student"] for row in found.agents}
    order = list(dict.fromkeys(adapter.values()))
    shown = sorted(found.best(COUNTED, found.agents), key=lambda row: (
        by_size(found.table.sizes[row.label]), order.index(adapter[row.label]), of[row.label]["candidates"]))
    panels = {name: [_errors(list(found.evaluations(row, name).values())) for row in shown] for name in found.benchmarks}
    voted = sorted({of[row.label]["candidates"] for row in shown} - {1})
    return rows.stacks([_sized(found, row) for row in shown], panels, ("code that cannot be read", "code that fails"),
                       [of[row.label]["candidates"] > 1 for row in shown],
                       f"votes of {', '.join(map(str, voted))} candidates (SAG)", "% of steps", (
        "Steps without code that can be read, and steps whose code fails, runs out of time or out of memory; beside each bar, "
        f"their share of n steps over all seeds. By model size. {found.notes(shown, found.agents)}").strip())


def retrieval_calls(found: Finished) -> "Figure":
    """How often an agent searches."""
    shown = sorted(found.best(READ, found.agents), key=lambda row: by_size(found.table.sizes[row.label]))
    panels: dict[str, list[Point | None]] = {}
    for name in found.benchmarks:
        evaluated = [found.evaluations(row, name) for row in shown]
        if any("index" in record["identity"]["inputs"] for of_row in evaluated for record in of_row.values()):
            panels[name] = [mean(_searches(found, list(of_row))) for of_row in evaluated]
    if not panels:
        raise NotDrawable(f"no row of {found.book.name} is an agent's with something to search: corpus is null, or all are "
                          "chains of thought")
    return rows.dots([_sized(found, row) for row in shown], panels, "calls", (
        "Calls of web_search per attempt, as written in the code of its steps (in a loop: once), with Student's 95 % intervals "
        "of the mean (of one question: none). n: questions; of several attempts and seeds, each one's mean. "
        f"{found.notes(shown, found.agents)}").strip(),
        (0, None), [found.table.sizes[row.label] for row in shown])


def _sized(found: Finished, row: Row) -> str:
    """A row's label, with the model's size where there are several and the label does not say it."""
    size = found.table.sizes[row.label]
    return row.label if size in row.label or len(set(found.table.sizes.values())) < 2 else f"{row.label} ({size})"


def _searches(found: Finished, attempts: Sequence[str]) -> list[float]:
    """Of each question, the mean of its calls."""
    calls: dict[str, list[int]] = defaultdict(list)
    for fingerprint in attempts:
        for question, counts in found.episodes(fingerprint).searches.items():
            calls[question] += counts
    return [sum(of) / len(of) for of in calls.values()]


def _errors(records: Sequence[Mapping[str, Any]]) -> tuple[float, float, int] | None:
    """Percent of steps that could not be read, that failed, and the steps."""
    counts: dict[str, int] = defaultdict(int)
    for record in records:
        for name, value in record["metrics"].items():
            if name.startswith("step/"):
                counts[name.removeprefix("step/")] += value
    steps = sum(counts.values())
    return (100 * counts["parse_error"] / steps, 100 * sum(counts[b] for b in BROKEN) / steps, steps) if steps else None


def _parted(found: Finished, part: Callable[[Question], str | None], word: str) -> "Figure":
    shown = found.best(style.SERIES)
    panels = {}
    for name in found.benchmarks:
        counted = {row.label: _by_part(found, row, name, part) for row in shown}
        parts = sorted({kind for counts in counted.values() for kind in counts})
        if len(parts) > 1:
            panels[name] = (parts, {label: [share(*counts.get(kind, (0.0, 0))) for kind in parts]
                                    for label, counts in counted.items()})
    if not panels:
        raise NotDrawable(f"no benchmark of {found.book.name} has questions of more than one {word}; math500 has")
    return curves.groups(panels, "pass@1", (
        f"pass@1 in percent by {word} of the question, with 95 % Wilson intervals ({WHAT}). "
        f"{found.notes(shown)}").strip())


def _by_part(found: Finished, row: Row, benchmark: str, part: Callable[[Question], str | None]) -> dict[str, tuple[float, int]]:
    """Part -> (right, graded questions), a question's seeds being one draw; questions that are of no part are left out."""
    shares: dict[str, list[float]] = defaultdict(list)
    kinds: dict[str, str] = {}
    for grade in row.entries[benchmark].source:
        of = {question.id: kind for question in found.questions(grade) if (kind := part(question)) is not None}
        if len(set(of.values())) < 2:
            return {}
        kinds |= of
        counted = outcomes(found.store, grade)
        for question, right in zip(counted.questions, counted.right, strict=True):
            if question in of and not isnan(right):
                shares[question].append(float(right))
    counts: dict[str, tuple[float, int]] = {}
    for question, of_seeds in shares.items():
        right, n = counts.get(kinds[question], (0.0, 0))
        counts[kinds[question]] = (right + sum(of_seeds) / len(of_seeds), n + 1)
    return counts
