"""Small pools of trajectories, built by hand: what the tests of scoring, selection and training feed on."""

from collections.abc import Mapping
from pathlib import Path

from smartad.dialect import render_turn
from smartad.records import write_jsonl
from smartad.types import Question, Step, Trajectory, Verdict


def question(number: int) -> Question:
    return Question(f"toy/{number}", f"What is {number} plus {number + 1}?", (str(2 * number + 1),))


def trajectory(number: int, sample: int = 0, turns: int = 1, words: int = 3) -> Trajectory:
    """``turns`` assistant turns, the last of which answers; thoughts of ``words`` words and a number each."""
    texts = [render_turn("I compute " + "a sum " * (words + i) + str(number), f"print({number} + {number + i})")
             for i in range(turns - 1)]
    texts.append(render_turn("I know " + "it " * words, f"final_answer({2 * number + 1})"))
    steps = [Step(text, "", f"Observation:\nExecution logs:\n{number + i}", "final" if i + 1 == turns else "ok")
             for i, text in enumerate(texts)]
    return Trajectory(f"toy/{number}", sample, tuple(steps), str(2 * number + 1), "answered", None, 0.0)


def ragged(questions: int = 3, samples: int = 3) -> list[Trajectory]:
    """Trajectories of different lengths and numbers of turns."""
    return [trajectory(q, s, turns=1 + (q + s) % 3, words=1 + (5 * q + 3 * s) % 7)
            for q in range(questions) for s in range(samples)]


def verdict(of: Trajectory, correct: bool | None = True) -> Verdict:
    return Verdict(of.question_id, of.sample, correct, "exact/1", "")


def folder(path: Path, files: Mapping[str, list]) -> Path:
    """A stage's output."""
    path.mkdir(parents=True)
    for name, rows in files.items():
        write_jsonl(path / name, rows)
    return path
