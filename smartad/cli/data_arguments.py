"""What `smartad data` understands."""

import argparse
import os
from pathlib import Path

from smartad.data import overlap

ABOUT = """  smartad data list                      what there is, from where, and under which licence
  smartad data check                     is every file in the data folder the one we know?
  smartad data prefetch --to DATA        bring what is missing there
  smartad data overlap                   which training questions are in benchmarks, and benchmarks in each other
The data folder is what data=FOLDER names in an experiment; here --data does, or $SMARTAD_DATA."""

LISTS = {"check": "names", "prefetch": "names", "overlap": "train"}
"""Action -> which of its arguments is a list, and may go on after an option."""


def add(data: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """The actions of ``smartad data``; ``common``: the options of every command."""
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, brief: str, more: str = "") -> argparse.ArgumentParser:
        return actions.add_parser(name, parents=[common], help=brief, description=f"{brief[0].upper()}{brief[1:]}.\n\n{more}",
                                  formatter_class=argparse.RawDescriptionHelpFormatter)

    listed = action("list", "list benchmarks and training sets: how many questions, whose, and whether they are here")
    add_folder(listed, "--data")

    checked = action("check", "check files against what is known of them: hash, rows, answers, known defects by name",
                     "  smartad data check math500 gaokao --data DATA\n"
                     "A changed file is not only refused: the rows that differ are named, from the id lists in\n"
                     "smartad/benchmarks/ids.  The exit status is 1 when a file is missing or another one.")
    checked.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all that have a file)")
    add_folder(checked, "--data")

    fetched = action("prefetch", "bring benchmarks into the data folder",
                     "  smartad data prefetch --to DATA                   all of them, 3 MB from GitHub\n"
                     "  smartad data prefetch hotpotqa --to DATA --from hub\n"
                     "GitHub has the papers' own files at commits that do not change.  The model hub has their sources: the\n"
                     "same questions are picked out of those by the id lists (pip install 'smartad[data]' for Parquet).  Either\n"
                     "way the questions are checked, and stages made of them are the same.  What is there stays.  HF_ENDPOINT\n"
                     "and SMARTAD_GITHUB name mirrors.")
    fetched.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all that have a file)")
    add_folder(fetched, "--to")
    fetched.add_argument("--from", dest="place", choices=["github", "hub"], default=None,
                         help="where to take them from (default: GitHub, and the hub where that fails)")

    compared = action("overlap", "say which questions sets share: training sets with benchmarks, and benchmarks with each other",
                      "  smartad data overlap --data DATA\n"
                      "  smartad data overlap mine.jsonl math_hard --against math500,aime --format csv\n"
                      "Texts are compared as words, without case, punctuation and LaTeX's signs.  A pair is listed when it is\n"
                      "the same (exact), when n words in a row are in both (ngram; phrases in over 10 questions do not count),\n"
                      "when half of the shorter one's runs of 8 words are in the other (share), or two thirds of their words\n"
                      "are in both (words).  Most ngram pairs of low share are phrases that exams have in common: look at them.")
    compared.add_argument("train", nargs="*", metavar="TRAIN",
                          help="training sets: benchmarks, files of JSON lines with a question (or problem, text, prompt) each, "
                               "or fingerprints of prepare or import stages (default: the papers' three)")
    compared.add_argument("--against", metavar="NAMES", help="benchmarks, with commas between (default: all others with a file)")
    compared.add_argument("--ngram", type=int, default=overlap.NGRAM, metavar="N",
                          help=f"words in a row (default: {overlap.NGRAM}, as in GPT-3's analysis)")
    compared.add_argument("--format", choices=["terminal", "md", "csv"], default=None,
                          help="default: terminal on a terminal, md elsewhere")
    add_folder(compared, "--data")


def add_folder(action: argparse.ArgumentParser, option: str) -> None:
    """The folder of the benchmarks' files."""
    default = os.environ.get("SMARTAD_DATA")
    action.add_argument(option, dest="data", type=Path, default=Path(default) if default else None, metavar="DIR",
                        help="the data folder (default: $SMARTAD_DATA)")
