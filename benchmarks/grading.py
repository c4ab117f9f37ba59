"""Grades a second of the graders of mathematics, and whether they are the same whatever else the machine does.

  SMARTAD_DATA=DIR python benchmarks/grading.py [--grades 10000] [--graders math_strict math_paper] [--workers 2] [--plain 500]

DIR has the benchmarks' files.  Answers are their golds, written otherwise, slightly wrong, or of another question, from a seed;
no pair twice.  Arms, one after the other: all of them with ``--workers``; a part of them in one process without bounds, with
our grader and with math-verify called plainly (no extraction or repairs of ours, its time-outs off); and that part again
with 1 worker, with 8, and with 8 beside 4 busy processes.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from smartad import benchmarks
from smartad.grading import _bounded, get

NAMES = ("math500", "math_hard", "math_medium", "gsm_hard", "aime", "amc23", "gaokao", "olymmath")
FRACTION = re.compile(r"\\d?frac\{(\d+)\}\{([1-9]\d*)\}")
T = TypeVar("T")


def pairs_of(folder: Path, wanted: int, seed: int = 0) -> list[_bounded.Pair]:
    """``wanted`` different ones; fewer where there are no more."""
    questions = []
    for name in NAMES:
        source = benchmarks.get(name).SOURCE
        if source is not None and (folder / source.file).exists():
            questions += [question for question in benchmarks.get(name).load(folder / source.file) if question.answers]
    if not questions:
        sys.exit(f"no benchmark of {', '.join(NAMES)} has its file below {folder}; name its folder in SMARTAD_DATA")
    chance = random.Random(seed)
    ways: list[Callable[[str], str]] = [
        str, lambda gold: f"\\boxed{{{gold}}}", lambda gold: f"The answer is ${gold}$.", lambda gold: digit_changed(gold, chance),
        lambda gold: f"\\boxed{{{digit_changed(gold, chance)}}}", as_decimal, as_python, lambda gold: gold.replace(" ", ""),
        lambda gold: gold + chance.choice([" cm", "^\\circ", "\\%", " dollars", "\\text{ units}", ".0"]),
        lambda gold: chance.choice(questions).answers[0], lambda gold: f"{gold}+0", lambda gold: f"x = {gold}"]
    made = {(_bounded.bare(question), way(question.answers[0])) for question in questions for way in ways}
    return chance.sample(sorted(made, key=str), min(wanted, len(made)))


def digit_changed(gold: str, chance: random.Random) -> str:
    """Wrong, but for the eye hardly."""
    digits = [match.start() for match in re.finditer(r"\d", gold)]
    if not digits:
        return f"{gold}1"
    at = chance.choice(digits)
    return f"{gold[:at]}{(int(gold[at]) + chance.randint(1, 9)) % 10}{gold[at + 1:]}"


def as_decimal(gold: str) -> str:
    """Fractions as a program prints them."""
    return FRACTION.sub(lambda match: repr(int(match[1]) / int(match[2])), gold)


def as_python(gold: str) -> str:
    """More or less as sympy prints it."""
    text = re.sub(r"\\d?frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1)/(\2)", gold).replace("^", "**").replace("\\cdot", "*")
    return re.sub(r"\\(?:left|right|!|,)", "", text).replace("\\", "").replace("{", "(").replace("}", ")")


def plainly(pairs: Sequence[_bounded.Pair]) -> list[bool]:
    """As math-verify's README has it."""
    from math_verify import parse, verify

    def understood(text: str) -> list[object]:
        return parse(f"${text}$", parsing_timeout=None)  # type: ignore[arg-type]

    return [verify(understood(question.answers[0]), understood(answer), timeout_seconds=None) for question, answer in pairs]


def timed(what: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came of it."""
    began = time.perf_counter()
    found = what()
    return time.perf_counter() - began, found


def compare(module: ModuleType, pairs: Sequence[_bounded.Pair], part: Sequence[_bounded.Pair], workers: int) -> None:
    """Print a grader's rows."""
    name = module.__name__.rpartition(".")[2]
    seconds, grades = timed(lambda: _bounded.grade_all(module, pairs, workers))
    said = [grade.correct for grade in grades]
    print(f"| {name}, {workers} workers | {len(pairs)} | {seconds:.1f} s | {len(pairs) / seconds:.0f} |", flush=True)
    module.grade(*part[0])
    seconds, alone = timed(lambda: [module.grade(*pair) for pair in part])
    print(f"| {name}, one process without bounds | {len(part)} | {seconds:.1f} s | {len(part) / seconds:.0f} |", flush=True)
    verdicts = {"one process": alone}
    for label, count, busy in (("1 worker", 1, 0), ("8 workers", 8, 0), ("8 workers beside 4 busy processes", 8, 4)):
        with ExitStack() as stack:
            for _ in range(busy):
                process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
                stack.callback(process.kill)
            verdicts[label] = timed(lambda count=count: _bounded.grade_all(module, part, count))[1]
    same = sum(len(set(map(str, row))) == 1 for row in zip(*verdicts.values(), strict=True))
    print(f"{name}: right {said.count(True)}, wrong {said.count(False)}, ungraded {said.count(None)}; "
          f"the same {same} of {len(part)} times in {', '.join(verdicts)}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--grades", type=int, default=10_000)
    arguments.add_argument("--graders", nargs="+", default=["math_strict", "math_paper"])
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--plain", type=int, default=500, help="size of the part that is graded in the other arms")
    args = arguments.parse_args()
    pairs = pairs_of(Path(os.environ.get("SMARTAD_DATA", "shared/data")), args.grades)
    part = pairs[:args.plain]
    print("| arm | grades | time | grades/s |\n| --- | --- | --- | --- |")
    for name in args.graders:
        compare(get(name), pairs, part, args.workers)
    seconds, _ = timed(lambda: plainly(part))
    print(f"| math-verify called plainly, one process | {len(part)} | {seconds:.1f} s | {len(part) / seconds:.0f} |")
    print(f"load {os.getloadavg()[0]:.0f}")


if __name__ == "__main__":
    main()
