"""Score: how likely the untrained student finds each trajectory, right or wrong.

Selection keeps only right ones; the difficulty analysis (Fig. 3, Tables 7-9) needs them all.
"""

import hashlib
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from smartad.config import same_as
from smartad.dialect import DIALECTS, PROMPTS, chat
from smartad.records import RecordError, append_jsonl, read_jsonl, read_partial_jsonl, write_jsonl
from smartad.stage import Metrics, Runtime, Stage
from smartad.stages import questions_of
from smartad.stages.shares import each
from smartad.types import Question, ScoredTrajectory, Trajectory, UserError

if TYPE_CHECKING:
    from smartad.engines.loading import Tokenizer
    from smartad.engines.nll import Scorer
    from smartad.types import TrainingExample

log = logging.getLogger(__name__)
Dtype = Literal["fp32", "bf16"]
Key = tuple[str, int]
"""(question id, sample)."""
Task = tuple[Dtype, str]
"""A question (its id) to be scored, and how."""
Missing = Literal["too_long", "non_finite"]
"""Why a trajectory has no score."""
MISSING: dict[Missing, str] = {"too_long": "it has more tokens than the student has positions",
                               "non_finite": "its likelihood is not a finite number"}
PROBED = 8
"""Questions whose common beginning is taken for everybody's."""


@dataclass(frozen=True)
class ScoreConfig:
    """Whose likelihood, of what text."""

    student: str = same_as("student")
    dialect: str = same_as("dialect")
    prompt: str = "student"
    """System prompt in front of the trajectory (a key of ``dialect.PROMPTS``): the one the student trains and acts on,
    whatever the teacher was shown."""
    end_of_turn: bool = True
    """Count the token that ends a turn."""
    dtype: Dtype = "fp32"
    """Of the student's weights and activations.  bf16 is several times faster on a GPU and moves some choices:
    ``check_questions`` are also scored in fp32, and the metrics say how many."""
    check_questions: int = 32
    """How many questions bf16 is compared with fp32 on."""

    def __post_init__(self) -> None:
        if self.check_questions < 0:
            raise UserError(f"score.check_questions must be at least 0, got {self.check_questions}")


@dataclass(frozen=True)
class Scored:
    """A row of a part file."""

    question_id: str
    sample: int
    row: ScoredTrajectory | None
    missing: Missing | None
    """Why there is no ``row``."""
    turn_loop: bool
    """Scored turn by turn, since the chat template rewrites earlier turns."""
    alone: bool
    """Scored without sharing what its question begins with, since the student's attention does not allow it."""


def decisive(config: ScoreConfig) -> ScoreConfig:
    """``config`` with what cannot change the scores set to one value: fp32 is not compared with itself."""
    return replace(config, check_questions=0) if config.dtype == "fp32" else config


def run(config: ScoreConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """Inputs questions/*, pool.  Writes scores.jsonl: a row per trajectory with an assistant turn, in the pool's order.

    Metrics: pool, scored, unscorable (no assistant turn), too_long and non_finite (see Missing; warned about by name),
    tokens (that were scored), mean_nll in nats per token, turn_loop and alone (trajectories, see Scored); with bf16
    check/questions, check/argmin_moved (the share of them whose most likely trajectory is another one in fp32),
    check/largest_difference (of a trajectory's NLL).
    Raises UserError when no trajectory has a finite likelihood.
    """
    pool = list(read_jsonl(inputs["pool"] / "trajectories.jsonl", Trajectory))
    by_question = _scorable(pool)
    tasks = [*_check(config, by_question), *((config.dtype, question) for question in by_question)]
    done = _done(out)
    left = [task for task in tasks if any((t.question_id, t.sample) not in done[task[0]] for t in by_question[task[1]])]
    _score(config, inputs, out, runtime, left, total=len(tasks))
    done = _done(out)
    scored = [done[config.dtype][t.question_id, t.sample] for t in pool if t.steps]
    rows = [one.row for one in scored if one.row]
    missing = Counter(one.missing for one in scored)
    if missing["non_finite"] and not rows:
        raise UserError(f"no trajectory has a finite likelihood under {config.student}: its weights are damaged or overflow"
                        + (" in bf16; set score.dtype=fp32" if config.dtype == "bf16" else ""))
    write_jsonl(out / "scores.jsonl", rows)
    for part in _parts(out):
        part.unlink()
    return {"pool": len(pool), "scored": len(rows), "unscorable": len(pool) - len(scored),
            "too_long": missing["too_long"], "non_finite": missing["non_finite"],
            "tokens": sum(sum(row.turn_tokens) for row in rows),
            "mean_nll": sum(row.nll for row in rows) / len(rows) if rows else None,
            "turn_loop": sum(one.turn_loop for one in scored), "alone": sum(one.alone for one in scored),
            **(_moved(done["fp32"], done["bf16"]) if config.dtype == "bf16" else {})}


def _scorable(pool: Sequence[Trajectory]) -> dict[str, list[Trajectory]]:
    """The trajectories with an assistant turn, by question."""
    by_question: dict[str, list[Trajectory]] = {}
    for trajectory in pool:
        if trajectory.steps:
            by_question.setdefault(trajectory.question_id, []).append(trajectory)
    return by_question


def _check(config: ScoreConfig, by_question: Mapping[str, Sequence[Trajectory]]) -> list[Task]:
    """The questions with a choice that bf16 is compared with fp32 on."""
    if config.dtype == "fp32":
        return []
    choices = sorted(question for question, trajectories in by_question.items() if len(trajectories) > 1)
    return [("fp32", question) for question in random.Random(0).sample(choices, min(config.check_questions, len(choices)))]


def _score(config: ScoreConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime, tasks: Sequence[Task],
           total: int) -> None:
    """Score ``tasks``, split over the processes of ``runtime``, each into a part file of its own."""
    shares = _shares(tasks, inputs, runtime.processes)
    one = replace(runtime, threads=max(1, runtime.threads // max(1, len(shares))), gpus=min(runtime.gpus, 1),
                  report=Runtime.report, note=Runtime.note, progress=Runtime.progress)  # these are this process's
    began, tokens, step = time.monotonic(), 0, total - len(tasks)
    with closing(each(partial(_score_share, config, inputs, out, one), list(enumerate(shares)), runtime.gpus)) as scored:
        for rows in scored:
            found = [one.row for one in rows if one.row]
            tokens += sum(sum(row.turn_tokens) for row in found)
            runtime.progress(step + 1, total)
            if found:
                runtime.report(step, mean_nll=sum(row.nll for row in found) / len(found),
                               tokens_per_s=tokens / max(time.monotonic() - began, 1e-9))
            step += 1


def _shares(tasks: Sequence[Task], inputs: Mapping[str, Path], most: int) -> list[list[Task]]:
    """``tasks`` dealt out, the largest first; those of a check before the rest, whose dtype the model cannot come back from."""
    sizes: dict[str, int] = {}
    if most > 1:
        for t in read_jsonl(inputs["pool"] / "trajectories.jsonl", Trajectory):
            sizes[t.question_id] = sizes.get(t.question_id, 0) + sum(len(s.text) + len(s.observation) for s in t.steps)
    largest = sorted(tasks, key=lambda task: -sizes.get(task[1], 0))
    return [sorted(share, key=lambda task: task[0] != "fp32") for share in (largest[i::most] for i in range(most)) if share]


def _score_share(config: ScoreConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime,
                 share: tuple[int, Sequence[Task]]) -> Iterator[list[Scored]]:
    """The rows of each of a share's tasks, which are in the share's part file by then."""
    from smartad.engines import loading, nll

    number, tasks = share
    questions = questions_of(inputs)
    by_question = _scorable(list(read_jsonl(inputs["pool"] / "trajectories.jsonl", Trajectory)))
    tokenizer = loading.load_tokenizer(config.student, runtime.models)
    common = _common_tokens(config, tokenizer, questions, by_question)
    scorer, loaded, said = None, None, False
    for dtype, question in tasks:
        if scorer is None or dtype != loaded:
            # Loaded anew for each: casting a model would round its rotary frequencies, too.
            scorer, loaded = nll.Scorer(loading.load_model(config.student, runtime, dtype), common, config.end_of_turn,
                                        runtime.batch_tokens, runtime.processes), dtype
            if scorer.obstacle:
                log.warning("%s cannot share what trajectories begin with, and scores them one by one: %s", config.student,
                            scorer.obstacle)
        rows = _score_question(config, tokenizer, scorer, questions[question], by_question[question])
        append_jsonl(out / f"part-{dtype}-{number}.jsonl", rows)
        for one in rows:
            if one.missing:
                log.warning("%s sample %d has no score: %s", one.question_id, one.sample, MISSING[one.missing])
        if not said and any(one.turn_loop for one in rows):
            log.warning("the chat template of %s rewrites earlier turns, and trajectories are scored turn by turn",
                        config.student)
            said = True
        yield rows


def _common_tokens(config: ScoreConfig, tokenizer: "Tokenizer", questions: Mapping[str, Question],
                   by_question: Mapping[str, Sequence[Trajectory]]) -> Sequence[int]:
    """The tokens that trajectories begin with, in every process the same."""
    from smartad.engines import nll

    every = max(1, len(by_question) // PROBED)
    firsts = [_encode(config, tokenizer, questions[q], ts[0])[0][0] for q, ts in list(by_question.items())[::every]]
    return firsts[0].input_ids[:nll.common_prefix(firsts)]


def _score_question(config: ScoreConfig, tokenizer: "Tokenizer", scorer: "Scorer", question: Question,
                    trajectories: Sequence[Trajectory]) -> list[Scored]:
    encoded = [_encode(config, tokenizer, question, t) for t in trajectories]
    fitting = [max(len(example.input_ids) for example in examples) <= scorer.positions for examples, _ in encoded]
    parts = iter(scorer.turns([example for (examples, _), fits in zip(encoded, fitting, strict=True) if fits
                               for example in examples]))
    rows = []
    for t, (examples, text), fits in zip(trajectories, encoded, fitting, strict=True):
        turns = [turn for _ in examples for _, turn in sorted(next(parts).items())] if fits else []
        missing: Missing | None = None if fits else "too_long"
        if not all(math.isfinite(turn.nll) for turn in turns):
            missing = "non_finite"
        row = ScoredTrajectory(t.question_id, t.sample, tuple(turn.nll for turn in turns), tuple(turn.tokens for turn in turns),
                               tuple(turn.rank for turn in turns), hashlib.sha256(text.encode()).hexdigest())
        rows.append(Scored(t.question_id, t.sample, None if missing else row, missing, len(examples) != 1,
                           scorer.obstacle is not None))
    return rows


def _encode(config: ScoreConfig, tokenizer: "Tokenizer", question: Question,
            trajectory: Trajectory) -> "tuple[list[TrainingExample], str]":
    """The trajectory in one piece, or turn by turn where the chat template rewrites earlier turns; and its text."""
    from smartad.engines import encoding

    system, dialect = PROMPTS[config.prompt], DIALECTS[config.dialect]
    try:
        example = encoding.encode(tokenizer, question, trajectory, system=system, dialect=dialect)
    except encoding.RewritingTemplate:
        return encoding.encode_turns(tokenizer, question, trajectory, system=system, dialect=dialect)
    return [example], encoding.render(tokenizer, chat(question, trajectory.steps, system, trajectory.passages))


def _moved(fp32: Mapping[Key, Scored], bf16: Mapping[Key, Scored]) -> dict[str, float | None]:
    """How far bf16 is from fp32, on the questions scored in both."""
    by_question: dict[str, list[Key]] = {}
    both = {key: (exact.row.nll, rounded.nll) for key, exact in fp32.items() if exact.row and (rounded := bf16[key].row)}
    for key in sorted(both):
        by_question.setdefault(key[0], []).append(key)
    moved = [min(keys, key=lambda key: both[key][0]) != min(keys, key=lambda key: both[key][1]) for keys in by_question.values()]
    return {"check/questions": len(moved), "check/argmin_moved": sum(moved) / len(moved) if moved else None,
            "check/largest_difference": max((abs(exact - rounded) for exact, rounded in both.values()), default=None)}


def _parts(out: Path) -> list[Path]:
    return sorted(out.glob("part-*.jsonl"))


def _done(out: Path) -> dict[Dtype, dict[Key, Scored]]:
    """What the part files of this and earlier attempts hold, whatever they were split over."""
    done: dict[Dtype, dict[Key, Scored]] = {"fp32": {}, "bf16": {}}
    for part in _parts(out):
        of_dtype = done["fp32" if part.name.startswith("part-fp32-") else "bf16"]
        try:
            of_dtype.update({(one.question_id, one.sample): one for one in read_partial_jsonl(part, Scored)})
        except RecordError as error:
            raise UserError(f"{error}; this part of an unfinished stage is damaged: remove it, and its questions are scored "
                            "again") from error
    return done


SCORE = Stage("score", version=3, run=run)
