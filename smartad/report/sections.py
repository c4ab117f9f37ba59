"""What each section of a report says, as plain JSON: the page only lays it out."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from smartad import figures as pictures_as
from smartad.analysis import cost as costs
from smartad.analysis import failures as went_wrong
from smartad.analysis import pictures
from smartad.analysis.cost import Amount
from smartad.analysis.failures import Failed
from smartad.analysis.finished import Finished, environment
from smartad.redact import redact
from smartad.report.trajectories import Packed
from smartad.store import Store
from smartad.sweep.ledger import Ledger
from smartad.sweep.state import ENDED, STATES, Look
from smartad.tables import HOLE, Table

Section = dict[str, Any]
SECTIONS = [["table", "Results"], ["comparison", "Against the baseline"], ["figures", "Figures"],
            ["trajectories", "Trajectories"], ["cost", "Cost"], ["failures", "Failures"], ["configuration", "Configuration"],
            ["environment", "Environment"], ["lineage", "Lineage"]]
COLUMNS = {"gpu_hours": "GPU-hours", "cpu_hours": "CPU-hours", "tokens": "Tokens generated", "judge_calls": "Judge calls",
           "gigabytes": "GB on disk"}
REASONS = 50
"""Of the reasons why nothing could be graded, those that are told."""
LONGEST = 500
"""Characters of such a reason."""


def head(store: Store, book: Ledger, table: Table, look: Look, stages: Sequence[Finished]) -> Section:
    """What it is, when it was run, with which code, and how far it is."""
    counts = Counter(look.states.values())
    whole = bool(look.states) and all(state in ENDED for state in look.states.values()) and not look.left.to_come
    open_ = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state] and state not in ENDED)
    proposals = f"{look.left.to_come} trials may yet be proposed" if look.left.to_come else ""
    complete = sum(all(store.has(run.goal) for run in trial.runs) for trial in book.trials)
    seeds = sorted({run.seed for trial in book.trials for run in trial.runs})
    facts = [("Rows", f"{complete} of {len(book.trials)} finished"), ("Seeds", ", ".join(map(str, seeds)) or "none"),
             ("Stages", f"{counts['done']} of {len(look.states)} finished"), ("Run", _when(stages)),
             ("Code", ", ".join(said[:7] + said[40:] for said in environment(list(stages)).get("commit", [])) or "not recorded")]
    return {"name": book.name, "sections": SECTIONS, "whole": whole, "facts": facts,
            "unmeasured": unmeasured(table),
            "state": "Finished." if whole else "Not finished: what is missing is marked.",
            "missing": "" if whole else f"Stages: {'; '.join(filter(None, [open_, proposals])) or 'none'}."}


def unmeasured(table: Table) -> str:
    """Why the table has no number; empty when it has one."""
    cells = [row[name] for row in table.rows.values() for name in table.benchmarks]
    if any(cell.percent is not None for cell in cells):
        return ""
    ungraded = sum(cell.ungraded for cell in cells)
    return (f"All {ungraded:,} answers are ungraded, so there is no number to show; why is under Failures." if ungraded else
            "No row is finished yet, so there is no number to show.")


def _when(stages: Sequence[Finished]) -> str:
    """From the first stage's beginning to the last one's end; stages that other sweeps had made before belong to it, too."""
    if not stages:
        return "nothing has run yet"
    ends = [stage.started + (stage.cost.seconds or 0.0) for stage in stages]
    begun, ended = (time.localtime(at) for at in (min(stage.started for stage in stages), max(ends)))
    return f"{time.strftime('%F %H:%M', begun)} to {time.strftime('%H:%M' if begun[:3] == ended[:3] else '%F %H:%M', ended)}"


def figures(store: Store, book: Ledger) -> tuple[list[Section], list[tuple[str, str]]]:
    """Those that can be drawn, as SVG; and of the others why not."""
    drawn: list[Section] = []
    undrawn: list[tuple[str, str]] = []
    try:
        of = pictures.finished(store, book)
    except pictures.NotDrawable:
        return [], []
    for name, picture in pictures.PICTURES.items():
        title = f"{picture.brief[0].upper()}{picture.brief[1:]}"
        try:
            figure = pictures.draw(store, book, name, of=of)
        except pictures.NotDrawable as error:
            undrawn.append((title, str(error)))
        else:
            drawn.append({"title": title, "says": str(figure.get_label()), "svg": pictures_as.svg(figure)})
    return drawn, undrawn


def about(packed: Packed) -> str:
    """How many of how many trajectories are in the file, and by which rule."""
    if not packed.stages:
        return "None is finished yet."
    of = (f"of {packed.evaluations_seen:,} of {packed.evaluations:,} evaluations, those of the baseline and of the rows with the "
          "best averages")
    if packed.held == packed.seen:
        if packed.evaluations_seen == packed.evaluations:
            return f"All {packed.held:,} are in this file: students' attempts at the benchmarks, and the teacher's pool."
        return f"{packed.held:,} are in this file: students' attempts {of}, and the teacher's pool."
    return (f"{packed.held:,} of {packed.seen:,} are in this file: of attempts, first those at questions that came out otherwise "
            "than for the baseline, then those that are not right, then others, the stages taking turns; of the pool, whole "
            "questions drawn at random. "
            f"The attempts are {of}. smartad report --trajectories N takes more or fewer.")


def cost(store: Store, book: Ledger, stages: Sequence[Finished]) -> Section:
    """A line per kind of stage, and their sum."""
    rows = costs.spent(store, book, stages)
    told = [[row.stage, f"{row.finished} of {row.stages}", HOLE if row.earlier is None else str(row.earlier),
             *(_amount(name, row.amounts[name]) for name in COLUMNS)] for row in rows]
    whole = costs.overall(rows)
    finished, every = sum(row.finished for row in rows), sum(row.stages for row in rows)
    earlier = None if any(row.earlier is None for row in rows) else sum(row.earlier or 0 for row in rows)
    told.append(["all", f"{finished} of {every}", HOLE if earlier is None else str(earlier),
                 *(_amount(name, whole[name]) for name in COLUMNS)])
    notes = ["A stage that several rows share is counted once. What was lost to stages that failed or were cut off is on no "
             "record, and not in here."]
    if earlier is None:
        notes.append("When this sweep was started is not written down, so what it found done is counted as its own.")
    elif earlier:
        notes.append(f"{earlier} of the finished stages were there before this sweep was started, and are in no sum.")
    if any(amount.unknown for name, amount in whole.items() if name in COLUMNS):
        notes.append("“+ k not known”: of so many stages nobody measured it; the sum is over the others.")
    return {"heads": ["Stage", "Finished", "Made earlier", *COLUMNS.values()], "rows": told, "notes": notes}


def _amount(name: str, amount: Amount) -> str:
    if amount.known is None:
        return "not known"
    number = f"{amount.known:,.0f}" if name in ("tokens", "judge_calls") else f"{amount.known:.3f}"
    return f"{number} + {amount.unknown} not known" if amount.unknown else number


def failures(store: Store, book: Ledger, failed: Sequence[Failed], stages: Sequence[Finished]) -> Section:
    """Stages by class; attempts by how they ended; answers by why nobody could grade them."""
    kinds: dict[str, list[Section]] = {}
    for failure in failed:
        some = ", ".join(failure.rows[:5]) + (f" and {len(failure.rows) - 5} more" if len(failure.rows) > 5 else "")
        kinds.setdefault(failure.kind, []).append({"fingerprint": failure.fingerprint, "message": failure.message, "rows": some})
    endings = went_wrong.endings(book, stages)
    stops = _most(ending.stops for ending in endings)
    steps = _most(ending.steps for ending in endings)
    rows = [[ending.row, f"{ending.attempts:,}", *(_share(ending.stops.get(stop, 0), ending.attempts) for stop in stops),
             *(_share(ending.steps.get(step, 0), sum(ending.steps.values())) for step in steps)] for ending in endings]
    reasons = list(went_wrong.ungraded(store, stages).items())
    ungraded = [[reason[:LONGEST] or "no reason given", by, f"{count:,}"] for (by, reason), count in reasons[:REASONS]]
    if rest := reasons[REASONS:]:
        ungraded.append([f"{len(rest)} other reasons", "", f"{sum(count for _, count in rest):,}"])
    return {"stages": list(kinds.items()), "endings": rows, "ungraded": ungraded,
            "heads": ["Row", "Attempts", *(f"ended: {stop}" for stop in stops), *(f"steps: {step}" for step in steps)]}


def _most(counts: Any) -> list[str]:
    """Every key, the most frequent first."""
    of: Counter[str] = Counter()
    for one in counts:
        of.update(one)
    return [name for name, _ in of.most_common()]


def _share(count: int, of: int) -> str:
    return f"{count:,} ({100 * count / of:.0f} %)" if count and of else str(count)


def configuration(book: Ledger) -> Section:
    """What differs from row to row, and everything as it was declared."""
    arms = book.config.get("arms") or {}
    values = [_values(trial.values, arms) for trial in book.trials]
    keys = list(dict.fromkeys(key for of in values for key in of))
    rows = [[trial.label, *(_written(of[key]) if key in of else None for key in keys)]
            for trial, of in zip(book.trials, values, strict=True)]
    return {"heads": ["Row", *keys], "rows": rows,
            "whole": yaml.safe_dump(redact(book.config), sort_keys=False, allow_unicode=True, width=110)}


def _values(values: Mapping[str, Any], arms: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial changes; an arm's name stands for what it changes."""
    declared = arms.get(str(values["arm"])) if "arm" in values else None
    return {**(declared or {}), **{key: value for key, value in values.items() if key != "arm" or declared is None}}


def _written(value: Any) -> str:
    return value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True, width=1000).partition("\n")[0]


def lineage(store: Store, book: Ledger) -> Section:
    """Of each row and seed, what it was made of."""
    def of(stages: Sequence[str], kind: str) -> str | None:
        return ", ".join(f for f in stages if f.rpartition("-")[0] == kind) or None

    kinds = ("select", "score", "collect", "import")
    every = [[trial.label, str(run.seed), run.goal if store.has(run.goal) else f"{run.goal} (not finished)", run.train,
              *(of(run.stages, kind) for kind in kinds)] for trial in book.trials for run in trial.runs]
    there = [4 + at for at in range(len(kinds)) if any(row[4 + at] for row in every)]
    return {"heads": ["Row", "Seed", "Numbers", "Adapter", *(kinds[at - 4].capitalize() for at in there)],
            "rows": [[*row[:4], *(row[at] for at in there)] for row in every]}
