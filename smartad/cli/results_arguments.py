"""What the commands that read results understand: compare, figure, report, walk, reproduce."""

import argparse
from collections.abc import Callable
from pathlib import Path

from smartad.analysis.arms import NAMING, ROWS
from smartad.report import TRAJECTORIES
from smartad.stats import DRAWS

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


def _count(word: str) -> int:
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"{word!r} is no number of trajectories: use 0 or more")
    return int(word)


def _add_compare(command: Command) -> None:
    compare = command("compare", "compare rows on the same questions, and say whether chance does that",
                      "  smartad compare quickstart:SmartAD quickstart:agent_distill     A minus B, by benchmark and on average\n"
                      "  smartad compare quickstart --baseline SmartAD     every row minus one\n"
                      "  smartad compare quickstart:agent_distill SmartAD --flips toy_qa     which questions B fixed and broke\n"
                      "  smartad compare quickstart:agent_distill SmartAD --question toy_qa/7     both attempts side by side\n\n"
                      f"{ROWS[0].upper()}{ROWS[1:]}; all its seeds are compared.\n\n"
                      "n counts questions that all runs of both rows are graded on.  Intervals are of 95 %: questions are drawn\n"
                      "anew within each benchmark, the same for both rows, and what few seeds leave open is added.  With one\n"
                      "seed they are about these very adapters.  Two runs are compared by McNemar's exact test; with several\n"
                      "seeds p is the bootstrap's.  Holm's p is p for there being so many benchmarks (of a sweep: so many\n"
                      "benchmarks of all rows, and so many rows).  The seeds that a difference takes are so many that one of\n"
                      "this size is found, with p below 0.05, four times in five.")
    compare.add_argument("rows", nargs="+", metavar="ROW", help="two rows, A and B; or a sweep: each of its rows and one")
    compare.add_argument("--baseline", metavar="ROW", help="of a sweep: the row to compare the others with (default: agent "
                         "distillation where there is one, else the first)")
    compare.add_argument("--flips", nargs="?", const="", metavar="BENCHMARK",
                         help="list the questions that one has right and the other wrong (default: of all benchmarks)")
    compare.add_argument("--question", metavar="ID", help="show both attempts at it, steps numbered, and where they part")
    compare.add_argument("--grader", metavar="NAME", help="by the verdicts of this grader, where it has graded, and not by "
                         "those that count")
    compare.add_argument("--shared", action="store_true", help="where the rows were asked different questions, compare those "
                         "that are the same")
    compare.add_argument("--draws", type=int, default=DRAWS, metavar="N", help="of the bootstrap (default: %(default)s)")
    compare.add_argument("--format", choices=["terminal", "md", "csv"], help="default: terminal, or md where there is none")


def _add_figure(command: Command) -> None:
    figure = command("figure", "draw a sweep's figures",
                     "  smartad figure quickstart --to figures                     all that the sweep can give\n"
                     "  smartad figure quickstart scores tokens --format pdf,png\n"
                     "  smartad figure --list                                      what there is\n"
                     "Accuracies and means have 95 % intervals (differences of buckets, NLL and a search's scores have none),\n"
                     "every picture its n, and what is not finished is named below it.\n"
                     "The same results give the same file, byte for byte.")
    figure.add_argument("sweep", nargs="?", metavar="SWEEP", help="its name, the beginning of it, or its file")
    figure.add_argument("names", nargs="*", metavar="NAME", help="which figures (default: all)")
    figure.add_argument("--to", type=Path, default=Path(), metavar="DIR", help="where to write them (default: here)")
    figure.add_argument("--format", default="svg", metavar="FORMATS", help="svg, pdf, png, comma-separated (default: svg)")
    figure.add_argument("--rows", nargs="+", default=[], metavar="LABEL",
                        help="of these rows only (default: the best that can be told apart); give the figures' NAMEs before it")
    figure.add_argument("--list", action="store_true", help="say which figures there are")


def _add_report(command: Command) -> None:
    report = command("report", "write a sweep as one HTML file, which opens without a server or a network",
                     "  smartad report quickstart --to quickstart.html\n")
    report.add_argument("sweep", metavar="SWEEP", help="its name, the beginning of it, or its file")
    report.add_argument("--to", type=Path, metavar="FILE", help="where to write it (default: SWEEP.html here)")
    report.add_argument("--baseline", metavar="ROW",
                        help="the row that the others are held against (default: agent distillation, where there is such a row, "
                             "else the first)")
    report.add_argument("--trajectories", type=_count, default=TRAJECTORIES, metavar="N",
                        help="of which it holds at most (default: %(default)s): first those that came out otherwise than the "
                             "baseline's, then what is not right, then a sample")
    report.add_argument("--open", action="store_true", help="and open it in a browser, where there is a screen")


def _add_walk(command: Command) -> None:
    walk = command("walk", "walk from a cell of a table to everything it was made of",
                   "  smartad walk quickstart:SmartAD/toy_math                   verdicts, attempts, adapter, ..., commit\n"
                   "  smartad walk quickstart:SmartAD@1/toy_math --wrong         its wrong answers, of the seed 1\n"
                   "  smartad walk quickstart:SmartAD/toy_math --question 7      one question, step by step\n"
                   f"{NAMES}\n"
                   "Files are read and held against what was recorded of them.  Of an unfinished row, as far as it came.")
    walk.add_argument("cell", metavar="CELL", help="a cell, or the grade stage behind one")
    walk.add_argument("--grader", metavar="NAME", help="as this grader has graded, instead of the one that counts")
    one = walk.add_mutually_exclusive_group()
    one.add_argument("--question", metavar="ID", help="only this question: gold, verdict and every step")
    for name in ("right", "wrong", "ungraded"):
        one.add_argument(f"--{name}", action="store_true", help=f"list the answers that are {name}")
    walk.add_argument("--json", action="store_true", help="as JSON")


def _add_reproduce(command: Command) -> None:
    again = command("reproduce", "say which commands make a cell again, and run them",
                    "  smartad reproduce quickstart:SmartAD/toy_math              experiment, environment, commit, commands\n"
                    "  smartad reproduce quickstart:SmartAD/toy_math --to DIR     the same as files, to run elsewhere\n"
                    "  smartad reproduce quickstart:SmartAD/toy_math --run        run it in a fresh store, and compare\n"
                    f"{NAMES}\n"
                    "With --run the exit status is 1 when the cell is another one than engines explain that do not say the same\n"
                    "twice, or attempts lost their verdicts; on the toy world, and wherever a CPU and no server made it, it\n"
                    "must be the same verdict by verdict.")
    again.add_argument("cell", metavar="CELL", help="a cell of a finished row, or the grade stage behind one")
    again.add_argument("--to", type=Path, metavar="DIR", help="write experiment.yaml, requirements.txt and commands.sh there")
    again.add_argument("--data", type=Path, metavar="DIR", help="folder of the benchmark files, when the row needs some")
    again.add_argument("--model", type=Path, action="append", default=[], metavar="FOLDER",
                       help="where a local model is; may be given several times")
    again.add_argument("--run", action="store_true", help="make it again, the whole row, and compare")
    again.add_argument("--store-to", type=Path, metavar="DIR", help="with --run: where (default: a new folder beside the store)")
    again.add_argument("--cluster", metavar="FILE", help="with --run: a site profile in slurm/")
    again.add_argument("--jobs", type=int, metavar="N", help="with --run: stages at once (default: one per core)")
