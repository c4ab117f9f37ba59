"""What people want to see of a stage's output besides its numbers: tables of attempts and verdicts, and coloured samples.

Made from the files in the store, so that they are the same for every tracker and can be made again at any time.
"""

import html
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from smartad import dialect, difficulty
from smartad.records import read_jsonl
from smartad.redact import redact
from smartad.stage import RECORD
from smartad.tracking.base import Page, RunInfo, Table, View
from smartad.types import Cell, Origin, Quarantined, Question, ScoredTrajectory, Segment, Selected, Trajectory, Verdict

ROWS, SAMPLES = 1000, 20
"""Of a table, and of coloured trajectories, at most; the files in the store have them all."""
LONGEST = 2000
"""Characters of one cell."""
CLAIMS = {True: "right", False: "wrong", None: "not said"}


def of(run: RunInfo) -> list[View]:
    """The views of a finished stage; none for a kind of stage that has none.  Secrets are hidden in them.

    Raises OSError and RecordError where the store's files cannot be read.
    """
    make = MAKERS.get(run.stage)
    return [_redacted(view) for view in make(run)] if make else []


def _redacted(view: View) -> View:
    if isinstance(view, Page):
        return Page(view.name, redact(view.html))
    return Table(view.name, view.columns, tuple(tuple(redact(list(row))) for row in view.rows))


def _input(run: RunInfo, role: str) -> Path:
    return run.folder.parent / run.inputs[role]


def _questions(run: RunInfo) -> dict[str, Question]:
    """Of every input ``questions/*``, by id."""
    roles = [role for role in run.inputs if role.startswith("questions/")]
    return {q.id: q for role in roles for q in read_jsonl(_input(run, role) / "questions.jsonl", Question)}


def _attempts(folder: Path) -> Iterator[Trajectory]:
    return read_jsonl(folder / "trajectories.jsonl", Trajectory)


def _table(name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    cut = [tuple(v[:LONGEST] if isinstance(v, str) else v for v in row) for row in islice(rows, ROWS + 1)]
    return Table(name if len(cut) <= ROWS else f"{name} (the first {ROWS})", tuple(columns), tuple(cut[:ROWS]))


def _episodes(run: RunInfo) -> list[View]:
    questions = _questions(run)
    attempts = _table("attempts", ("question", "sample", "text", "answer", "stop", "steps", "tokens", "seconds"), (
        (t.question_id, t.sample, questions[t.question_id].text, t.answer, t.stop, len(t.steps), t.tokens, t.seconds)
        for t in _attempts(run.folder)))
    return [attempts, _page("samples", islice(_attempts(run.folder), SAMPLES), run, questions)]


def _imported(run: RunInfo) -> list[View]:
    texts = {q.id: q.text for q in read_jsonl(run.folder / "questions.jsonl", Question)}
    pool = zip(_attempts(run.folder), read_jsonl(run.folder / "origins.jsonl", Origin), strict=True)
    quarantine = read_jsonl(run.folder / "quarantine.jsonl", Quarantined)
    columns = ("question", "sample", "teacher", "text", "answer", "stop", "steps", "tokens", "claimed", "marks")
    return [_table("attempts", columns, (
                (t.question_id, t.sample, o.teacher, texts[t.question_id], t.answer, t.stop, len(t.steps), t.tokens,
                 CLAIMS[o.claimed], ", ".join(o.marks)) for t, o in pool)),
            _table("quarantine", ("file", "line", "kind", "reason"), ((q.file, q.line, q.kind, q.reason) for q in quarantine))]


def _verdicts(run: RunInfo) -> list[View]:
    questions = _questions(run)
    answers = {(t.question_id, t.sample): t.answer for t in _attempts(_input(run, "attempts"))}
    words = {True: "correct", False: "wrong", None: "ungraded"}
    return [_table("verdicts", ("question", "sample", "text", "answer", "gold", "verdict", "by", "reason"), (
        (v.question_id, v.sample, questions[v.question_id].text, answers[v.question_id, v.sample],
         " | ".join(questions[v.question_id].answers), words[v.correct], v.by, v.reason)
        for v in read_jsonl(run.folder / "verdicts.jsonl", Verdict)))]


def _scores(run: RunInfo) -> list[View]:
    return [_table("scores", ("question", "sample", "nll", "turns", "tokens"), (
        (s.question_id, s.sample, s.nll, len(s.turn_nll), sum(s.turn_tokens))
        for s in read_jsonl(run.folder / "scores.jsonl", ScoredTrajectory) if s.turn_nll))]


def _selected(run: RunInfo) -> list[View]:
    selected = _table("selected", ("question", "sample", "nll", "candidates"), (
        (s.question_id, s.sample, s.nll, s.candidates) for s in read_jsonl(run.folder / "selected.jsonl", Selected)))
    return [selected, *_buckets(run)]


def _buckets(run: RunInfo) -> list[View]:
    """Tables 7-9 of the pool, one per training set."""
    scored = json.loads((_input(run, "scores") / RECORD).read_text(encoding="utf-8"))
    questions = _questions(replace(run, inputs=scored["identity"]["inputs"]))
    rows = difficulty.measure(questions, _attempts(_input(run, "pool")),
                              read_jsonl(_input(run, "scores") / "scores.jsonl", ScoredTrajectory),
                              read_jsonl(_input(run, "verdicts") / "verdicts.jsonl", Verdict))
    return [_table(f"buckets {name}", difficulty.HEADER, difficulty.rows_of(difficulty.table(of_set)))
            for name, of_set in difficulty.by_set(rows).items()]


def _training(run: RunInfo) -> list[View]:
    chosen = islice(read_jsonl(_input(run, "selected") / "selected.jsonl", Selected), SAMPLES)
    wanted = {(s.question_id, s.sample) for s in chosen}
    pool = (t for t in _attempts(_input(run, "pool")) if (t.question_id, t.sample) in wanted)
    return [_page("training samples", pool, run, _questions(run), run.config.get("weights"))]


def _cells(run: RunInfo) -> list[View]:
    return [_table("cells", ("benchmark", "pass@1", "correct", "n", "ungraded"), (
        (c.benchmark, c.percent, c.correct, c.n, c.ungraded)
        for c in read_jsonl(run.folder / "cells.jsonl", Cell)))]


MAKERS: Mapping[str, Callable[[RunInfo], list[View]]] = {
    "import": _imported, "collect": _episodes, "evaluate": _episodes, "grade": _verdicts, "score": _scores, "select": _selected,
    "train": _training, "aggregate": _cells}


COLOURS = {Segment.CONTEXT: "#9aa0a6", Segment.REASON: "#2a62c9", Segment.ACTION: "#b45309", Segment.FINAL: "#15803d"}
STYLE = ("<style>body{font:14px/1.5 system-ui,sans-serif;color:#202124;background:#fff;margin:1em}pre{white-space:pre-wrap;"
         "overflow-wrap:anywhere;margin:.3em 0;font:13px/1.5 ui-monospace,monospace}article{border-top:1px solid #ddd;"
         "padding:.5em 0}b.turn{color:#5f6368}" + "".join(f".s{s.value}{{color:{c}}}" for s, c in COLOURS.items()) + "</style>")


def spans(pieces: Iterable[tuple[str, Segment]]) -> str:
    """Text coloured by segment, for a page with STYLE.  Whatever it says stays text."""
    return "".join(f'<span class="s{segment.value}">{html.escape(text)}</span>' for text, segment in pieces)


def _page(name: str, trajectories: Iterable[Trajectory], run: RunInfo, questions: Mapping[str, Question],
          weights: Mapping[str, float] | None = None) -> Page:
    form = dialect.DIALECTS[run.config.get("dialect") or "paper"]
    legend = " &nbsp; ".join(f'<span class="s{s.value}">{s.name.lower()}'
                             + (f" × {weights[s.name.lower()]:g}" if weights and s.name.lower() in weights else "") + "</span>"
                             for s in COLOURS)
    articles = "".join(_article(t, form, questions) for t in trajectories)
    return Page(name, f'<meta charset="utf-8">{STYLE}<p>{legend}</p>{articles}')


def _article(trajectory: Trajectory, form: dialect.Dialect, questions: Mapping[str, Question]) -> str:
    """A trajectory, every turn coloured by segment.  Whatever it says stays text."""
    cuts = dialect.segments(trajectory.steps, form)
    parts = [f"<article><h4>{html.escape(trajectory.question_id)}, sample {trajectory.sample}: {trajectory.stop}</h4>"
             f"<pre>{html.escape(questions[trajectory.question_id].text)}</pre>"]
    for number, (step, turn) in enumerate(zip(trajectory.steps, cuts, strict=True), 1):
        coloured = spans((step.text[start:end], segment) for start, end, segment in turn)
        parts.append(f'<b class="turn">{number} {step.status}</b><pre>{coloured}</pre>'
                     f'<pre class="s{Segment.CONTEXT.value}">{html.escape(step.observation)}</pre>')
    return "".join(parts) + "</article>"
