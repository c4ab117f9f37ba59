"""Episodes and steps a second behind the wall, beside a fresh bubblewrap per step.

  python benchmarks/sandbox.py [--episodes 200] [--fresh 10] [--rounds 3]

Arms, in turns, one at a time, medians over the rounds: an interpreter per episode, forked in the wall; and for every step a
bubblewrap of the same arguments, with a Python that runs the step's code and nothing else, and with one that runs it as we do,
in smolagents' interpreter with numpy and sympy allowed.  A fresh one has no variables of the step before, so these arms do less.
"""

import argparse
import os
import statistics
import subprocess
import time
from collections.abc import Callable

from smartad.agents import walls
from smartad.agents.executor import ChildExecutor, Interpreters
from smartad.agents.limits import CodeLimits

STEPS = ("x = 20\nprint('x is', x)", "y = sum(n * n for n in range(x))\nprint(y)", "final_answer(x + y)")
AS_WE_DO = """
import sys
from smolagents.local_python_executor import LocalPythonExecutor
executor = LocalPythonExecutor(["numpy.*", "sympy.*"])
executor("import numpy\\nimport sympy")
executor.send_tools({"final_answer": lambda answer: answer})
executor(sys.argv[1])
"""


def forked(interpreters: Interpreters, episodes: int) -> float:
    """Seconds for ``episodes``, one after the other."""
    began = time.perf_counter()
    for seed in range(episodes):
        child = ChildExecutor(interpreters, seed)
        for code in STEPS:
            child(code)
        assert child.last.output == "2490"
        child.cleanup()
    return time.perf_counter() - began


def copied(interpreters: Interpreters, copies: int) -> float:
    """Seconds to copy an interpreter with some state and run a step in each copy."""
    child = ChildExecutor(interpreters, 0)
    child("import numpy as np\nx = list(range(10**5))")
    began = time.perf_counter()
    for _ in range(copies):
        copy = child.branch()
        copy("x.append(1)\nlen(x)")
        copy.cleanup()
    seconds = time.perf_counter() - began
    child.cleanup()
    return seconds


def fresh(command: tuple[str, ...], program: Callable[[str], list[str]], steps: int) -> float:
    """Seconds for ``steps`` of a program started anew behind the wall for each."""
    began = time.perf_counter()
    for number in range(steps):
        code = STEPS[0] if number % 2 else "x = 20\n" + STEPS[1]
        subprocess.run([*command, walls.python(), "-S", "-P", *program(code)], check=True, stdout=subprocess.DEVNULL, cwd="/",
                       env=walls.environment())
    return time.perf_counter() - began


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--episodes", type=int, default=200)
    arguments.add_argument("--fresh", type=int, default=10, help="steps of a fresh bubblewrap in a round")
    arguments.add_argument("--rounds", type=int, default=3)
    args = arguments.parse_args()
    command = walls.choose("bubblewrap").command
    step_s: dict[str, list[float]] = {}
    copy_s = []
    began = time.perf_counter()
    with Interpreters(CodeLimits(step_timeout_s=60), "bubblewrap") as interpreters:
        forked(interpreters, 1)
        print(f"{interpreters.wall.about}: ready after {time.perf_counter() - began:.1f} s, once per stage")
        for _ in range(args.rounds):
            for name, steps, seconds in (
                    ("forked", args.episodes * len(STEPS), forked(interpreters, args.episodes)),
                    ("fresh, bare Python", args.fresh, fresh(command, lambda code: ["-c", code], args.fresh)),
                    ("fresh, as we do", args.fresh, fresh(command, lambda code: ["-c", AS_WE_DO, code], args.fresh))):
                step_s.setdefault(name, []).append(seconds / steps)
            copy_s.append(copied(interpreters, args.episodes) / args.episodes)
    ours = statistics.median(step_s["forked"])
    print("| arm | a step | steps/s | episodes of 3 steps/s | forked is faster |\n| --- | --- | --- | --- | --- |")
    for name, all_s in step_s.items():
        step = statistics.median(all_s)
        print(f"| {name} | {step * 1e3:.1f} ms | {1 / step:.0f} | {1 / step / len(STEPS):.1f} | {step / ours:.0f}x |")
    print(f"a copy of an interpreter, a step in it, and its end: {statistics.median(copy_s) * 1e3:.1f} ms; "
          f"load {os.getloadavg()[0]:.0f}")


if __name__ == "__main__":
    main()
