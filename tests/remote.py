"""The scripted teacher as a server would be: asked by each episode for itself, and able to fail."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from smartad import benchmarks, corpora
from smartad.engines import retrieval
from smartad.records import write_jsonl
from smartad.stages.collect import CollectConfig
from smartad.stages.episodes import seed_of
from smartad.toyworld.teacher import ScriptedTeacher
from smartad.types import Completion, Request

CONFIG = CollectConfig(teacher="toy", samples=2, prompt="toy", dialect="paper", batch_size=8)
TOKENS = 10
"""Of each completion."""


class Remote(ScriptedTeacher):
    """Answers after ``delay_s``, but nobody before ``crowd`` have asked; writes each request's seed and turn into ``log``.

    ``fails``: seed -> what it says instead, once for each completion that is there.
    """

    together = False

    def __init__(self, delay_s: float = 0.0, crowd: int = 0, log: Path | None = None,
                 fails: Mapping[int, Sequence[Completion]] | None = None) -> None:
        self.delay_s, self.crowd, self.log = delay_s, crowd, log
        self.fails = {seed: list(said) for seed, said in (fails or {}).items()}
        self.waiting = self.most_waiting = 0

    async def complete(self, requests: Sequence[Request]) -> list[tuple[Completion, ...]]:
        (request,) = requests
        turn = sum(message["role"] == "assistant" for message in request.messages)
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write(f"{request.seed} {turn}\n")
            await asyncio.sleep(self.delay_s)
            while self.most_waiting < self.crowd:
                await asyncio.sleep(0.001)
            if self.fails.get(request.seed):
                return [(self.fails[request.seed].pop(0),)]
            return [tuple(Completion(c.text, c.finish, TOKENS, c.stopped_by) for c in said) for said in self.answer(requests)]
        finally:
            self.waiting -= 1


def failure(detail: str = "503 overloaded", transient: bool = True) -> Completion:
    return Completion("", "error", None, detail=detail, transient=transient)


def seed(number: int, sample: int = 0) -> int:
    """Of an episode of the toy training questions."""
    return seed_of(f"toy_train/{number}", sample)


def inputs(folder: Path, count: int) -> dict[str, Path]:
    """So many questions, half of each kind, and the toy corpus: inputs of collect."""
    questions = benchmarks.get("toy_train").load(None)
    for name in ("questions", "index"):
        os.makedirs(folder / name)
    write_jsonl(folder / "questions" / "questions.jsonl", questions[:count // 2] + questions[-(count // 2):])
    retrieval.build(corpora.get("toy").load(None), folder / "index")
    return {"questions/toy_train": folder / "questions", "index": folder / "index"}
