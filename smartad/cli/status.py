"""status: how far a sweep is, what runs, what waits and why, what failed where."""

import argparse
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from smartad.cli.billing import bill_of, duration
from smartad.cli.console import again, console, format_metric, stopped_line
from smartad.cluster import STAGES
from smartad.cluster.submission import places
from smartad.records import visible
from smartad.store import LOG, Store
from smartad.sweep import ledger
from smartad.sweep.ledger import Ledger, LedgerTrial, Run
from smartad.sweep.state import ENDED, NOBODY, STATES, Jobs, Left, Look, State, book_of, jobs_of, kind_of, look

REFRESH_S = 2.0
ASK_SLURM_S = 10.0
"""The queue is everybody's: a status that is left open asks it seldom."""
ROWS, LINES, IDS = 30, 8, 3
"""Trials, and lines of what runs, waits or failed, unless --all are asked for; and jobs named in a line."""
SHORT = {"prepare": "prep", "import": "imp", "index": "idx", "collect": "coll", "select": "sel", "evaluate": "eval",
         "aggregate": "agg"}
MARKS = {"done": "[green]✓[/]", "running": "[cyan]▶[/]", "queued": "[yellow]q[/]", "waiting": "[dim]·[/]", "failed": "[red]✗[/]",
         "blocked": "[red]–[/]", "stopped": "[dim]s[/]"}
URGENCY = ("failed", "running", "queued", "blocked", "waiting", "stopped", "done")


def status_command(args: argparse.Namespace) -> int:
    """How far a sweep is; without a name, the sweeps of the store."""
    store = Store(args.store)
    if args.sweep is None:
        return _list(store)
    if args.live and console().is_terminal:
        return _live(store, args.sweep, args.all)
    jobs = jobs_of(store)
    book = book_of(store, args.sweep, jobs)
    now = look(store, book, jobs)
    rows, lines = (None, None) if args.all else (ROWS, LINES)
    console().print(view(store, book, now, console().width, rows, lines), soft_wrap=True)
    return 0


def _list(store: Store) -> int:
    names = ledger.names(store)
    for name in names:
        book = ledger.load(store, name)
        now = look(store, book, Jobs())
        print(f"{name:<24} {_counts(now)}{', driven' if now.driver else ''}")
    if not names:
        print(f"no sweeps in {store.root}")
    return 0


def _live(store: Store, name: str, everything: bool) -> int:
    """Keep showing it until nothing more happens by itself.  Ctrl-C only stops looking."""
    asked, jobs = -ASK_SLURM_S, Jobs()
    out = console()
    with contextlib.suppress(KeyboardInterrupt), Live(console=out, auto_refresh=False) as live:
        while True:
            if time.monotonic() - asked >= ASK_SLURM_S:
                asked, jobs = time.monotonic(), jobs_of(store)
            book = book_of(store, name, jobs)  # a search adds trials
            now = look(store, book, jobs)
            # What is above the screen cannot be drawn over: until the end only what there is room for is shown.
            live.vertical_overflow = "visible" if now.over() else "ellipsis"
            lines = LINES if out.height > 50 or now.over() else 3
            rows = None if everything else ROWS if now.over() else max(3, min(ROWS, out.height - _other_lines(now, lines)))
            live.update(view(store, book, now, out.width, rows, None if everything else lines), refresh=True)
            if now.over():
                return 0
            time.sleep(REFRESH_S)
    return 0


def _other_lines(now: Look, lines: int) -> int:
    """About how many lines the view has beside its trials."""
    kinds, reasons = {kind_of(f) for f in now.states}, set(now.why.values())
    return 10 + len(kinds) + min(lines, len(now.running)) + min(lines, len(reasons)) + 2 * min(lines, len(now.failures))


def view(store: Store, book: Ledger, now: Look, width: int, rows: int | None, lines: int | None) -> Group:
    """Everything about a sweep at one moment.  At most ``rows`` trials, and ``lines`` of what runs, waits or failed; None is
    all of them."""
    parts: list[RenderableType] = [Text(f"{book.name}: {_counts(now)}"), Text(_who(store, book, now)), Text("")]
    if not book.trials:
        return Group(*parts[:2])
    parts += [_kinds(now), Text(""), _trials(store, book, now, width, rows), _legend(now), Text("")]
    parts += [Text(visible(line)) for line in [*_running(now, lines), *_waiting(now, lines), *_failed(store, now, lines),
                                         *_stopped(store, book, lines)]]
    if now.problem:
        parts.append(Text(now.problem))
    if set(now.states.values()) <= set(ENDED) and (bill := bill_of(store, book)):
        parts += [Text(""), bill]
    return Group(*parts)


def _counts(now: Look) -> str:
    if not now.states:
        return "yet to begin"
    counts = Counter(now.states.values())
    others = "".join(f", {counts[state]} {state}" for state in STATES if state != "done" and counts[state])
    return f"{counts['done']} of {len(now.states)} stages finished{others}"


def _who(store: Store, book: Ledger, now: Look) -> str:
    unfinished = not now.states or not set(now.states.values()) <= set(ENDED)
    if now.coming:
        return f"its driver is {now.coming}"
    if now.ended:
        why = "cancelled" if (store.root / "sweeps" / f"{book.name}.cancel").exists() else now.ended.last_word()
        return (f"its driver, job {now.ended.job}, has ended: {why}; log {now.ended.logs()[-1]}\n"
                f"to go on: {again(store, book)}")
    if now.driver is None:
        if not unfinished and now.left.to_come:
            proposed = f"{len(book.trials)} of up to {len(book.trials) + now.left.to_come} trials were proposed"
            return f"{proposed}, and {NOBODY}: {again(store, book)}"
        return f"{NOBODY}: {again(store, book)}" if unfinished else "complete"
    since = f" since {_clock(now.driver['since'])}" if now.driver.get("since") else ""
    job = f" (SLURM job {now.driver['job']})" if now.driver.get("job") else ""
    return f"driven by process {now.driver.get('pid')} on {now.driver.get('host')}{job}{since}; {time_left(now.left)}"


def time_left(left: Left) -> str:
    """``about 12 min left``, and what that rests on."""
    notes = [f"of {', '.join(left.unknown)} none was ever finished here"] if left.unknown else []
    if left.to_come:
        notes.append(f"with up to {left.to_come} trials to come" if left.counted else
                     f"of the trials proposed so far, without up to {left.to_come} to come")
    if not left.seconds:
        return f"time left unknown ({'; '.join(notes)})" if notes else "almost done"
    least = left.unknown or not left.counted
    return (f"{'more than' if least else 'about'} {duration(left.seconds)} left "
            f"({'; '.join([f'estimate, {left.at_once} at a time', *notes])})")


def _clock(when: float) -> str:
    today = time.strftime("%F") == time.strftime("%F", time.localtime(when))
    return time.strftime("%H:%M" if today else "%F %H:%M", time.localtime(when))


def _kinds(now: Look) -> RichTable:
    """How many stages of each kind are in each state."""
    counts = Counter((kind_of(f), state) for f, state in now.states.items())
    states = [state for state in STATES if any(counts[kind, state] for kind in STAGES)]
    grid = _grid("stage", *states)
    for kind in sorted({kind_of(f) for f in now.states}, key=_order):
        grid.add_row(kind, *(str(counts[kind, state] or "") for state in states))
    return grid


def _order(kind: str) -> int:
    return STAGES.index(kind) if kind in STAGES else len(STAGES)


def _grid(*columns: str) -> RichTable:
    grid = RichTable(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        grid.add_column(column, justify="left" if column in ("stage", "trial", "adapter") else "right", no_wrap=True)
    return grid


@dataclass(frozen=True)
class _Row:
    trial: LedgerTrial
    run: Run
    urgency: int


def _trials(store: Store, book: Ledger, now: Look, width: int, rows: int | None) -> RichTable:
    """Trials x stages.  Where there are too many, those in which something happens; in the order of the sweep."""
    every = [_Row(trial, run, min(URGENCY.index(now.states[f]) for f in run.stages)) for trial in book.trials
             for run in trial.runs]
    urgent = sorted(range(len(every)), key=lambda at: every[at].urgency)[:rows]
    shown = [every[at] for at in sorted(urgent)]
    kinds = sorted({kind_of(f) for f in now.states}, key=_order)
    metric = str(book.config["metric"])
    label = max(len("trial"), *(len(visible(row.trial.label)) for row in shown))
    full, short = list(kinds), [SHORT.get(kind, kind) for kind in kinds]
    adapters = 19 if any(row.run.train for row in shown) else 0
    fixed = len(metric) + 1 + len("seed") + 1
    wide = label + fixed + sum(max(5, len(name)) + 1 for name in full) + adapters <= width
    heads = full if wide else short
    grid = _grid("trial", "seed", *heads, metric, *(["adapter"] if wide and adapters else []))
    grid.columns[0].no_wrap, grid.columns[0].overflow = False, "ellipsis"
    for row in shown:
        states = {kind: [now.states[f] for f in row.run.stages if kind_of(f) == kind] for kind in kinds}
        done = now.states[row.run.goal] == "done"
        score = format_metric(store.record(row.run.goal)["metrics"].get(metric)) if done else ""
        grid.add_row(Text(visible(row.trial.label), no_wrap=True, overflow="ellipsis"), str(row.run.seed),
                     *(_mark(states[kind]) for kind in kinds), score, *([row.run.train or ""] if wide and adapters else []))
    hidden = Counter(URGENCY[row.urgency] for row in every) - Counter(URGENCY[row.urgency] for row in shown)
    more = ", ".join(f"{count} {state}" for state, count in hidden.items())
    grid.caption = f"and {hidden.total()} more ({more}): --all" if hidden else None
    grid.caption_justify, grid.caption_style = "left", "dim"
    return grid


def _legend(now: Look) -> Text:
    return Text.from_markup("  ".join(f"{mark} [dim]{state}[/]" for state, mark in MARKS.items() if state in now.states.values()))


def _mark(states: Sequence[str]) -> str:
    """One mark for the stages of a kind in a row; how many are done, where there are several."""
    if not states:
        return ""
    worst = min(states, key=URGENCY.index)
    return MARKS[worst] if len(set(states)) == 1 else f"{sum(s == 'done' for s in states)}/{len(states)}{MARKS[worst]}"


def _running(now: Look, most: int | None) -> list[str]:
    lines = []
    for fingerprint, stage in now.running.items():
        part = f" {stage.progress[0]}/{stage.progress[1]}" if stage.progress else ""
        since = f" since {_clock(stage.since)} ({duration(max(0.0, time.time() - stage.since))})" if stage.since else ""
        job = f", job {stage.job}" if stage.job else ""
        lines.append(f"running  {fingerprint}{part}{since} on {stage.host}{job}")
    return _some(lines, most)


def _waiting(now: Look, most: int | None) -> list[str]:
    """What has not begun, by reason, with the first of its jobs; the reasons of most stages first."""
    groups: dict[tuple[State, str], list[str]] = {}
    for fingerprint, why in now.why.items():
        groups.setdefault((now.states[fingerprint], why), []).append(fingerprint)
    lines = [f"{state:<8} {len(stages)} stage{'s' if len(stages) > 1 else ''}: {why}{_jobs(now, stages)}"
             for (state, why), stages in sorted(groups.items(), key=lambda group: (STATES.index(group[0][0]), -len(group[1])))]
    return _some(lines, most)


def _jobs(now: Look, stages: Sequence[str]) -> str:
    """``; jobs 12_0, 12_1, 12_2 and 9 more``: those of ``stages`` in SLURM's queue."""
    ids = list(dict.fromkeys(now.jobs[f] for f in stages if f in now.jobs))
    more = f" and {len(ids) - IDS} more" if len(ids) > IDS else ""
    return f"; job{'s' if len(ids) > 1 else ''} {', '.join(ids[:IDS])}{more}" if ids else ""


def _failed(store: Store, now: Look, most: int | None) -> list[str]:
    shown = list(now.failures.items())[:most]
    logs = _logs(store, [f for f, _ in shown])
    lines = [f"failed   {fingerprint} ({note['class']}, {_clock(note['time'])} on {note['host']}): {note['message']}"
             + (f"\n         log {logs[fingerprint]}" if fingerprint in logs else "")
             for fingerprint, note in shown]
    hidden = len(now.failures) - len(shown)
    return [*lines, *([f"         and {hidden} more: --all"] if hidden else [])]


def _stopped(store: Store, book: Ledger, most: int | None) -> list[str]:
    """Trials that were stopped early, and by what they were judged."""
    lines = [f"stopped  {stopped_line(trial.label, trial.stopped)}" for trial in book.trials
             if trial.stopped and trial.was_stopped(store)]
    return _some(lines, most)


def _logs(store: Store, fingerprints: Sequence[str]) -> dict[str, Path]:
    """Where each failure can be read: the traceback a worker left, else what its job wrote."""
    found = {f: path for f in fingerprints if (path := store.folder(f) / LOG).exists()}
    if rest := [f for f in fingerprints if f not in found]:
        jobs = places(store) if (store.root / "jobs").is_dir() else {}
        found |= {f: logs[-1] for f in rest if f in jobs and (logs := jobs[f].logs())}
    return found


def _some(lines: list[str], most: int | None) -> list[str]:
    if most is None or len(lines) <= most:
        return lines
    return [*lines[:most], f"         and {len(lines) - most} more: --all"]
