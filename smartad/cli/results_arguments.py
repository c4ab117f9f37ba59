"""What the commands that read results understand: compare, figure, report, walk, reproduce."""

import argparse
from collections.abc import Callable
from pathlib import Path

from smartad.analysis.arms import NAMING

Command = Callable[..., argparse.ArgumentParser]
"""``command(name, brief, more)`` makes a subcommand."""
NAMES = f"{NAMING[0].upper()}{NAMING[1:]}."


def add(command: Command) -> None:
    """All of them."""
    _add_compare(command)
    _add_figure(command)
    _add_report(command)
    _add_walk(command)
    _add_reproduce(command)


def _add_compare(command: Command) -> None:
    compare = command("compare", "compare rows on the same questions: is the difference more than chance?",
                      "  smartad compare quickstart:SmartAD quickstart:agent_distill\n" + NAMES)
    compare.add_argument("rows", nargs="+", metavar="ROW", help="two rows; or a sweep, whose rows are compared with its baseline")


def _add_figure(command: Command) -> None:
    figure = command("figure", "draw a sweep's figures", "  smartad figure quickstart --to figures\n")
    figure.add_argument("sweep", metavar="SWEEP", help="its name, the beginning of it, or its file")


def _add_report(command: Command) -> None:
    report = command("report", "write a sweep as one HTML file, which opens without a server or a network",
                     "  smartad report quickstart --to quickstart.html\n")
    report.add_argument("sweep", metavar="SWEEP", help="its name, the beginning of it, or its file")
    report.add_argument("--to", type=Path, metavar="FILE", help="where to write it (default: SWEEP.html here)")
    report.add_argument("--baseline", metavar="ROW", help="the row that the others are held against")
    report.add_argument("--trajectories", type=_count, default=4000, metavar="N",
                        help="of which it holds at most (default: 4000): first those that came out otherwise than the baseline's, "
                             "then what is not right, then a sample")
    report.add_argument("--open", action="store_true", help="and open it in a browser, where there is a screen")


def _add_walk(command: Command) -> None:
    walk = command("walk", "walk from a cell of a table to everything it was made of",
                   "  smartad walk quickstart:SmartAD/toy_math\n" + NAMES)
    walk.add_argument("cell", metavar="CELL", help="a cell")


def _add_reproduce(command: Command) -> None:
    again = command("reproduce", "say which commands make a cell again, and run them",
                    "  smartad reproduce quickstart:SmartAD/toy_math\n" + NAMES)
    again.add_argument("cell", metavar="CELL", help="a cell")


def _count(word: str) -> int:
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"{word!r} is no number of trajectories: use 0 or more")
    return int(word)
