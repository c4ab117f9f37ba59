"""grade, disagreements: answers made elsewhere, and where graders differ.  No agent runs."""

import argparse
import csv
import dataclasses
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table as RichTable

from smartad import benchmarks, grading, stats, tables
from smartad.cli.console import console, format_metric
from smartad.cluster import ClusterConfig, on_site
from smartad.config import load
from smartad.data import files
from smartad.records import visible, write_jsonl
from smartad.stage import Runtime
from smartad.stages.grade import Graders, cell, summary, verdicts_of
from smartad.store import JUDGED, Store
from smartad.sweep import disagreements
from smartad.types import Question, Trajectory, UserError, Verdict

SHOWN = 20
"""Disagreements of two graders that are printed; --all prints every one."""
WIDTH = 200
"""Characters of an answer or a reason on a terminal."""


def grade_command(args: argparse.Namespace) -> int:
    """Grade a file of answers to a benchmark's questions."""
    module = benchmarks.get(args.benchmark)
    if module.SOURCE and args.data is None:
        raise UserError(f"{args.benchmark} is in {module.SOURCE.file}; say below which folder with --data DIR, or in "
                        "$SMARTAD_DATA")
    published = files.read(args.benchmark, args.data)
    known = benchmarks.corrected(args.benchmark, published) if args.golds == "corrected" else published
    questions = {q.id: q for q in known}
    attempts = read_answers(args.file, args.benchmark, questions)
    names = args.grader or Graders().of(module.KIND)
    for name in names:
        grading.check(name, module.KIND)
    setup = _setup(args)
    found = {name: verdicts_of(attempts, questions, {args.benchmark: grading.versioned(name)}, setup) for name in names}
    verdicts = {name: of_grader for name, (of_grader, _) in found.items()}
    _print_grades(args.benchmark, verdicts)
    for name, (_, metrics) in found.items():
        if metrics:
            print(f"{name}: {', '.join(f'{metric} {format_metric(value)}' for metric, value in metrics.items())}")
    if missing := len(questions) - len({attempt.question_id for attempt in attempts}):
        print(f"{missing} of the {len(questions)} questions have no answer in {args.file}; they are not counted")
    if args.to:
        write_jsonl(args.to, [verdict for of_grader in verdicts.values() for verdict in of_grader])
        print(f"every verdict with its reason: {args.to}")
    return 0


def _print_grades(benchmark: str, verdicts: Mapping[str, Sequence[Verdict]]) -> None:
    grid = RichTable(title=escape(f"{benchmark}: pass@1 in percent"), title_justify="left")
    several = [name for name in summary(next(iter(verdicts.values()))) if name.startswith("pass@") and name != "pass@1"]
    scores = list(dict.fromkeys(grading.score_name(v.by) for of_grader in verdicts.values() for v in of_grader
                                if v.score is not None))
    for column in ("grader", "pass@1", "95 % interval", *several, "correct", "n", *(["questions"] if several else []), "ungraded",
                   *scores):
        grid.add_column(column, justify="left" if column == "grader" else "right")
    for of_grader in verdicts.values():
        found = summary(of_grader)
        one = cell(benchmark, of_grader, "")
        low, high = stats.wilson(*one.draws) if one.n else (None, None)
        grid.add_row(one.grader, _percent(one.percent), tables.HOLE if low is None else f"{low:.1f} to {high:.1f}",
                     *(_percent(found[name]) for name in several), str(one.correct), str(one.n),
                     *([str(one.questions)] if several else []), str(one.ungraded),
                     *(_percent(found.get(name)) for name in scores))
    console().print(grid)


def _percent(value: float | None) -> str:
    return tables.HOLE if value is None else f"{value:.1f}"


def read_answers(path: Path, benchmark: str, questions: Mapping[str, Question]) -> list[Trajectory]:
    """The rows of a file of answers, one JSON object a line, as attempts.

    A row names its question by ``id`` (also ``question_id``, ``task_id``), with or without the benchmark's name before it, or
    by its text (``question``); ``answer`` (also ``completion``) is what is graded, null where there is none.  Rows of one
    question are its samples, in their order, unless they say which (``sample``).

    Raises UserError with file and line for a row that is none, that names no question of the benchmark, or that is there twice.
    """
    by_text: dict[str, list[str]] = {}
    for one in questions.values():
        by_text.setdefault(" ".join(one.text.split()), []).append(one.id)
    count: Counter[str] = Counter()
    found: dict[tuple[str, int], Trajectory] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # an answer may hold what else ends a line
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        row = _object(where, line)
        question = _named(where, row, benchmark, questions, by_text)
        sample = row.get("sample", count[question])
        if type(sample) is not int or sample < 0:
            raise UserError(f"{where}: sample must be a number from 0, got {sample!r}")
        if (question, sample) in found:
            raise UserError(f"{where}: sample {sample} of {question} is there already")
        count[question] += 1
        found[question, sample] = Trajectory(question, sample, (), _answer(where, row), "answered", None, None)
    if not found:
        raise UserError(f"{path} has no answers; a line is " + '{"id": "' + f"{next(iter(questions))}" + '", "answer": "..."}')
    return list(found.values())


def _object(where: str, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: no JSON ({error}); the file has one object a line, "
                        '{"id": ..., "answer": ...}') from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected an object with id and answer, got {line.strip()!r:.60}")
    return row


def _named(where: str, row: Mapping[str, Any], benchmark: str, questions: Mapping[str, Question],
           by_text: Mapping[str, Sequence[str]]) -> str:
    key = next((row[name] for name in ("id", "question_id", "task_id") if name in row), None)
    if key is not None:
        for name in (str(key), str(key).lower(), f"{benchmark}/{key}"):
            if name in questions:
                return name
        raise UserError(f"{where}: {benchmark} has no question {key!r}; its ids are like {next(iter(questions))}")
    if isinstance(text := row.get("question"), str):
        known = by_text.get(" ".join(text.split()), ())
        if len(known) > 1:
            raise UserError(f"{where}: {', '.join(known)} all ask {text!r:.80}; give the id of the one that is meant")
        if known:
            return known[0]
        raise UserError(f"{where}: {benchmark} has no question {text!r:.80}")
    raise UserError(f"{where}: it does not say which question it answers; give its id, or its text as question")


def _answer(where: str, row: Mapping[str, Any]) -> str | None:
    name = next((name for name in ("answer", "completion") if name in row), None)
    if name is None:
        raise UserError(f"{where}: there is neither answer nor completion; where nothing was answered it is null")
    value = row[name]
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise UserError(f"{where}: {name} must be text, a number or null, got {value!r:.60}")


def disagreements_command(args: argparse.Namespace) -> int:
    """Where two graders differ."""
    form = args.format or ("terminal" if sys.stdout.isatty() else "md")
    found = disagreements.of_target(Store(args.store), args.target, args.grader or (), _setup(args))
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["attempts", "benchmark", "grader", "other grader", "question", "sample", "gold", "answer", "verdict",
                         "reason", "other verdict", "other reason"])
        writer.writerows([one.attempts, one.questions, *one.graders, *disagreements.as_row(difference)]
                         for one in found for difference in one.differences)
        return 0
    for one in found:
        _print_comparison(one, form, None if args.all else SHOWN)
    return 0


def _print_comparison(one: disagreements.Comparison, form: str, limit: int | None) -> None:
    by, other = one.graders
    n, differ = sum(one.counts.values()), len(one.differences)
    pairs = ", ".join(f"{count} {said} / {other_said}" for (said, other_said), count in sorted(one.counts.items())
                      if said != other_said)
    print(f"\n{one.questions}, {one.attempts}: {by} / {other} say the same of {n - differ} of {n}"
          + (f"; {pairs}" if differ else ""))
    header = ["question", "gold", "answer", by, other]
    lines = [_line(difference) for difference in one.differences[:limit]]
    if lines and form == "md":
        print("\n" + tables.plain_markdown(header, lines), end="")
    elif lines:
        grid = RichTable(show_lines=True)
        for column in header:
            grid.add_column(escape(column), overflow="fold")
        for line in lines:
            grid.add_row(*map(escape, line))
        console().print(grid)
    if limit is not None and differ > limit:
        print(f"and {differ - limit} more; --all prints them, --format csv writes them in full")


def _line(difference: disagreements.Difference) -> list[str]:
    question, sample, gold, answer, verdict, reason, other, why = disagreements.as_row(difference)
    name = visible(f"{question} #{sample}" if sample else str(question))
    return [name, *(_short(text) for text in (str(gold), str(answer), f"{verdict}: {reason}", f"{other}: {why}"))]


def _short(text: str) -> str:
    text = visible(" ".join(text.split()))
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}…"


def _setup(args: argparse.Namespace) -> grading.Setup:
    """What graders work with here: all cores, the judges of the site profile, and what they have said."""
    if args.judge is not None and args.judge == args.second_judge:
        raise UserError(f"--second-judge {args.second_judge} is the judge itself; name another model, or leave it out")
    profile = load(ClusterConfig, [args.cluster] if args.cluster else [])
    runtime = dataclasses.replace(on_site(profile, Runtime()), threads=os.cpu_count() or 1, cache=Store(args.store).root / JUDGED)
    return grading.Setup(args.judge, args.second_judge, runtime)
