"""preview: a training row before a GPU is touched, cut and weighted as training will do it."""

import argparse
import html
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from smartad import models
from smartad.cli.console import at_store, console, program, say
from smartad.cli.planning import is_sweep
from smartad.config import load
from smartad.dialect import DIALECTS, PROMPTS, chat, edge_cases
from smartad.experiment import Experiment, plan
from smartad.records import from_json, read_jsonl, visible
from smartad.redact import redact
from smartad.stages import questions_of
from smartad.stages.train import TrainConfig
from smartad.store import Store
from smartad.tracking.views import COLOURS, STYLE, spans
from smartad.types import Question, Segment, Selected, Trajectory, UserError

Pieces = Sequence[tuple[str, Segment]]
"""The rendered chat, cut where the segment changes."""
LABEL = max(len(segment.name) for segment in Segment)
HEAD = ("segment", "weight", "tokens", "share of the loss")


@dataclass(frozen=True)
class Training:
    """A training that there is or may be, and where its inputs are."""

    config: TrainConfig
    inputs: Mapping[str, Path]
    """Role -> folder, of what is finished."""
    models: Mapping[str, str]
    """Local folders of models, by identity."""


@dataclass(frozen=True)
class Row:
    """One row of a training."""

    question: Question
    trajectory: Trajectory
    place: str
    """Of how many it is which."""


def preview_command(args: argparse.Namespace) -> int:
    """Show one row."""
    from smartad.engines import encoding, loading, loss

    if args.sample is not None and args.question is None:
        raise UserError(f"--sample {args.sample} is of one question: name it with --question ID")
    training = _training(Store(args.store), args)
    row, config = _row(training, args), training.config
    tokenizer = loading.load_tokenizer(config.student, training.models)
    example = encoding.encode(tokenizer, row.question, row.trajectory, system=PROMPTS[config.prompt],
                              dialect=DIALECTS[config.dialect], end_of_turn=config.end_of_turn, markers=config.markers)
    text = encoding.render(tokenizer, chat(row.question, row.trajectory.steps, PROMPTS[config.prompt], row.trajectory.passages))
    pieces = encoding.pieces(tokenizer, text, example)
    title = f"{row.question.id}, sample {row.trajectory.sample}: {row.place}"
    legend = legend_of(encoding.by_segment(config.weights), example.segments, loss.token_shares(
        example.segments, config.weights, config.loss, config.loss_reduction))
    notes = _notes(config, row.trajectory, len(example.input_ids))
    if args.html:
        try:
            args.html.write_text(redact(page(title, pieces, legend, notes)), encoding="utf-8")
        except OSError as error:
            raise UserError(f"--html {args.html} cannot be written: {error.strerror}") from error
        print(f"{args.html}: {title}")
        return 0
    say(title)
    _print_pieces(pieces)
    say("\n".join(["", *_aligned([HEAD, *legend]), "", *notes]))
    return 0


def _training(store: Store, args: argparse.Namespace) -> Training:
    """The training of an experiment, or of a finished train stage."""
    if len(args.sources) == 1 and re.fullmatch(r"[\w-]+", args.sources[0]):
        fingerprint = store.find(args.sources[0])
        identity = store.record(fingerprint)["identity"]
        if identity["stage"] != "train":
            raise UserError(f"{fingerprint} does not train: it has no weights and no segments.  Name a train stage, or the "
                            f"sources of an experiment, as in `{program()} preview configs/toy.yaml`")
        return Training(from_json(TrainConfig, identity["config"], f"the config of {fingerprint}"),
                        {role: store.folder(f) for role, f in identity["inputs"].items()},
                        {models.identify(folder): folder for folder in args.model})
    for source in args.sources:
        if is_sweep(source):
            raise UserError(f"{source} declares a sweep, and every trial may train otherwise: name one of its train stages "
                            f"(`{program()} status SWEEP`), or an experiment")
    planned = plan(load(Experiment, args.sources))
    if planned.train is None:
        raise UserError("train is null: this experiment evaluates the student as it is, and has no training row")
    inputs = {role: store.folder(spec.fingerprint) for role, spec in planned.train.inputs.items() if store.has(spec.fingerprint)}
    if missing := [role for role in planned.train.inputs if role not in inputs and role != "selected"]:
        raise UserError(f"there is no row yet: {missing[0]} is not finished in {store.root}.  `{program()} run "
                        f"{' '.join(args.sources)} --until select{at_store(store)}` makes and selects the trajectories, and "
                        "trains nothing")
    return Training(planned.train.config, inputs, planned.models)


def _row(training: Training, args: argparse.Namespace) -> Row:
    """The row that was asked for: of the selected ones when there are some, else of the pool."""
    pool = list(read_jsonl(training.inputs["pool"] / "trajectories.jsonl", Trajectory))
    selected = training.inputs.get("selected")
    chosen = [(s.question_id, s.sample) for s in read_jsonl(selected / "selected.jsonl", Selected)] if selected else None
    of = f"{len(chosen)} selected" if chosen is not None else f"{len(pool)} of the pool, from which nothing is selected yet"
    keys = [(t.question_id, t.sample) for t in pool] if chosen is None else chosen
    if args.question is None:
        number = args.row or 0
        if not 0 <= number < len(keys):
            raise UserError(f"--row {number}: there are {of}, from 0 to {len(keys) - 1}")
        key, place = keys[number], f"row {number} of {of}"
    else:
        found = [key for key in keys if key[0] == args.question] if args.sample is None else [(args.question, args.sample)]
        if not found:
            raise UserError(f"--question {args.question}: it has no row among {of}; one of them is {keys[0][0]}. "
                            "--sample S shows any of its trajectories")
        key, place = found[0], f"row {keys.index(found[0])} of {of}" if found[0] in keys else f"not one of {of}"
    trajectory = next((t for t in pool if (t.question_id, t.sample) == key), None)
    if trajectory is None:
        raise UserError(f"{key[0]} sample {key[1]} is not in the pool {training.inputs['pool']}")
    return Row(questions_of(training.inputs)[key[0]], trajectory, place)


def legend_of(weights: Mapping[Segment, float], segments: Sequence[Segment],
              shares: Sequence[float]) -> list[tuple[str, str, str, str]]:
    """A line under HEAD for each segment.  Its share of the loss is that of its tokens' ``shares``, were all equally hard: of
    Eq. 5, w_s n_s / sum of w n."""
    total = sum(shares)
    of = {segment: sum(share for share, own in zip(shares, segments, strict=True) if own == segment) for segment in Segment}
    return [(segment.name.lower(), f"{weights[segment]:g}", str(segments.count(segment)),
             f"{100 * of[segment] / total:.1f} %" if total else "0 %") for segment in Segment]


def _notes(config: TrainConfig, trajectory: Trajectory, tokens: int) -> list[str]:
    """What else there is to know about a row, and whether training would take it."""
    cases = edge_cases(trajectory.steps, DIALECTS[config.dialect])
    long = f": {tokens - config.max_length} too many, so training refuses it" if tokens > config.max_length else ""
    return [f"{tokens} tokens; train.max_length={config.max_length}{long}",
            f"out of the ordinary: {', '.join(cases) or 'nothing'}"]


def _print_pieces(pieces: Pieces) -> None:
    """In colours on a terminal; elsewhere each line behind the name of its segment."""
    if sys.stdout.isatty():
        coloured = Text()
        for text, segment in pieces:
            coloured.append(visible(text), style=COLOURS[segment])
        console().print(coloured, soft_wrap=True)
    else:
        print("\n".join(marked(pieces)))


def marked(pieces: Pieces) -> Iterator[str]:
    """Lines behind their segments: ``reason | text``; ``+`` where a line goes on in another segment than it began in."""
    mark = "|"
    for text, segment in pieces:
        *lines, rest = visible(text).split("\n")
        for line in [*lines, rest] if rest else lines:
            yield f"{segment.name.lower():<{LABEL}} {mark} {line}"
            mark = "|"
        mark = "+" if rest else "|"


def page(title: str, pieces: Pieces, legend: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """A page of its own, which fetches nothing.  Whatever the chat says stays text."""
    lines = "".join(f'<tr class="s{Segment[line[0].upper()].value}">' + "".join(f"<td>{html.escape(cell)}</td>" for cell in line)
                    + "</tr>" for line in legend)
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in HEAD)
    said = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return (f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title>{STYLE}<h4>{html.escape(title)}</h4>'
            f"<table><tr>{head}</tr>{lines}</table>{said}<pre>{spans(pieces)}</pre>\n")


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                      for i, (cell, width) in enumerate(zip(line, widths, strict=True))) for line in lines]
