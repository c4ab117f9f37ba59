"""Score: how likely the untrained student finds each trajectory, right or wrong.

Selection keeps only right ones; the difficulty analysis (Fig. 3, Tables 7-9) needs them all.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smartad.config import same_as
from smartad.dialect import DIALECTS, PROMPTS, chat
from smartad.records import append_jsonl, read_jsonl, read_partial_jsonl, write_jsonl
from smartad.stage import Metrics, Runtime, Stage
from smartad.stages import questions_of
from smartad.types import ScoredTrajectory, Trajectory, UserError

Key = tuple[str, int]
"""(question id, sample)."""


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
    batch_tokens: int = 8192
    """Tokens in a forward, padding included.  Larger is not always faster; results agree to about 1e-6."""

    def __post_init__(self) -> None:
        if self.batch_tokens < 1:
            raise UserError(f"score.batch_tokens must be at least 1, got {self.batch_tokens}")


def run(config: ScoreConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """Inputs questions/*, pool.  Writes scores.jsonl: a row per trajectory with an assistant turn, in the pool's order.

    Metrics: pool, scored, unscorable (no assistant turn), tokens (that were scored), mean_nll in nats per token.
    """
    pool = list(read_jsonl(inputs["pool"] / "trajectories.jsonl", Trajectory))
    scorable = [t for t in pool if t.steps]
    done = _score(config, scorable, inputs, out / "batches.jsonl", runtime)
    scores = [done[t.question_id, t.sample] for t in scorable]
    write_jsonl(out / "scores.jsonl", scores)
    (out / "batches.jsonl").unlink(missing_ok=True)
    return {"pool": len(pool), "scored": len(scores), "unscorable": len(pool) - len(scores),
            "tokens": sum(sum(s.turn_tokens) for s in scores),
            "mean_nll": sum(s.nll for s in scores) / len(scores) if scores else None}


def _score(config: ScoreConfig, pool: Sequence[Trajectory], inputs: Mapping[str, Path], part: Path,
           runtime: Runtime) -> dict[Key, ScoredTrajectory]:
    """Every trajectory's score.  ``part`` collects whole batches; those it has are not computed again."""
    from smartad.engines import encoding, loading, nll

    questions = questions_of(inputs)
    tokenizer = loading.load_tokenizer(config.student, runtime.models)
    model = loading.load_model(config.student, runtime)
    examples = [encoding.encode(tokenizer, questions[t.question_id], t, system=PROMPTS[config.prompt],
                                dialect=DIALECTS[config.dialect]) for t in pool]
    done = {(s.question_id, s.sample): s for s in read_partial_jsonl(part, ScoredTrajectory)}
    seen = 0
    for step, batch in enumerate(nll.fixed_batches([len(e.input_ids) for e in examples], config.batch_tokens)):
        keys = [(pool[i].question_id, pool[i].sample) for i in batch]
        if not all(key in done for key in keys):
            turns = nll.turn_nll(model, [examples[i] for i in batch], config.end_of_turn)
            hashes = [_sha256(encoding.render(tokenizer, chat(questions[pool[i].question_id], pool[i].steps,
                                                              PROMPTS[config.prompt]))) for i in batch]
            rows = [ScoredTrajectory(*key, tuple(mean for mean, _, _ in row), tuple(count for _, count, _ in row),
                                     tuple(rank for _, _, rank in row), sha256)
                    for key, row, sha256 in zip(keys, turns, hashes, strict=True)]
            append_jsonl(part, rows)
            done.update(zip(keys, rows, strict=True))
        seen += len(batch)
        runtime.progress(seen, len(pool))
        runtime.report(step, mean_nll=sum(done[key].nll for key in keys) / len(keys))
    return done


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


SCORE = Stage("score", version=2, run=run)
