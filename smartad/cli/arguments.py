"""What the command line understands: every command with its options, and help that teaches."""

import argparse
import os
from pathlib import Path

from smartad import __version__
from smartad.agents import walls
from smartad.cli import data_arguments, results_arguments

ABOUT = """Distil a teacher's tool-using agent into a small student, and see which recipe is best.

  smartad sweep sweeps/quickstart.yaml     run a declared ablation; safe to repeat, finished stages are kept
  smartad table quickstart                 its results as in the papers, pass@1 per benchmark
  smartad pull best --sweep quickstart --to DIR    its best adapter
  smartad ask --adapter DIR "question"     watch it think, act and observe"""

SOURCES = """YAML files and dotted.key=value overrides, left to right, later wins:
  smartad run configs/toy.yaml select.rule=max train.weights.final=3"""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Arguments; overrides may stand anywhere, also after an option."""
    args, rest = parser().parse_known_args(argv)
    into = {"plan": "sources", "run": "sources", "preview": "sources", "serve-retriever": "sources",
            "sweep": "overrides", "data": data_arguments.LISTS.get(getattr(args, "action", ""))}.get(args.command)
    if unknown := [word for word in rest if word.startswith("-") or into is None]:
        parser().error(f"unrecognized arguments: {' '.join(unknown)}")
    if into:
        getattr(args, into).extend(rest)
    return args


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--store", type=Path, default=Path(os.environ.get("SMARTAD_STORE", "runs")), metavar="DIR",
                        help="where finished stages are kept (default: runs, or $SMARTAD_STORE)")
    common.add_argument("-v", "--verbose", action="store_true", help="say more")
    top = argparse.ArgumentParser(prog="smartad", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=f"smartad {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, brief: str, more: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[common], help=brief, description=f"{brief[0].upper()}{brief[1:]}.\n\n{more}",
                                   formatter_class=argparse.RawDescriptionHelpFormatter)

    plan = command("plan", "say what would run, what is shared and done already, and what it will cost",
                   f"{SOURCES}\nA sweep file works too: smartad plan sweeps/quickstart.yaml\n"
                   "-v prints every trial's whole config and every stage.  With a profile of a SLURM site, the scripts as well:\n"
                   "  smartad plan sweeps/quickstart.yaml --cluster slurm/dev.yaml\n"
                   "The bill is estimated from finished stages in this store; where there are none, it is not known.")
    plan.add_argument("sources", nargs="*", metavar="SOURCE", help="a YAML file or key=value")

    plan.add_argument("--cluster", metavar="FILE", help="a site profile in slurm/: print the sbatch scripts too")

    run = command("run", "run one experiment, or what is missing of it", SOURCES)
    run.add_argument("sources", nargs="*", metavar="SOURCE", help="a YAML file or key=value")
    run.add_argument("--until", metavar="STAGE", help="stop after this stage (prepare, collect or import, grade, which is of "
                     "the pool, score, select, train, evaluate)")
    _add_where(run)

    sweep = command("sweep", "run a declared sweep and print its table",
                    "Safe to repeat: what is finished is kept, what was cut off is carried on.  Overrides change what all\n"
                    "trials share:\n  smartad sweep sweeps/quickstart.yaml limits.questions=10")
    sweep.add_argument("file", metavar="FILE", help="a YAML file in sweeps/")
    sweep.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="dotted.key=value for every trial")
    sweep.add_argument("--dry-run", action="store_true", help="print the plan and the bill, and stop: see smartad plan --help")
    sweep.add_argument("--detach", action="store_true", help="let the driver be a SLURM job too, and return at once")
    _add_where(sweep)

    preview = command("preview", "show a training row as the student will see it: coloured by segment, with weights, and no GPU",
                      "  smartad preview configs/toy.yaml                    the first row of this experiment's training\n"
                      "  smartad preview configs/toy.yaml train.weights.final=3 --question toy_train/0 --html row.html\n"
                      "  smartad preview train-1f2e --row 7                  of a finished training\n"
                      "Rows are the selected ones once `select` is done, and before that the pool's.  Only the tokenizer is\n"
                      "loaded, so this shows the very tokens and segments that training takes: context (grey) is never trained\n"
                      "on; reason, action and final have a share in the loss of their weight times their tokens (Eq. 5).")
    preview.add_argument("sources", nargs="*", metavar="SOURCE",
                         help="a YAML file or key=value; or the fingerprint of a finished train stage")
    row = preview.add_mutually_exclusive_group()
    row.add_argument("--row", type=int, default=None, metavar="N", help="the N-th row, from 0 (default: 0)")
    row.add_argument("--question", metavar="ID", help="the row of this question")
    preview.add_argument("--sample", type=int, default=None, metavar="S", help="of --question: this sample of the pool")
    preview.add_argument("--html", type=Path, metavar="FILE", help="write it as a page instead")
    _add_model(preview)

    status = command("status", "show how far a sweep is: what runs, what waits and why, what failed where",
                     "  smartad status quickstart --live     watch it; Ctrl-C only stops looking\n"
                     "What is finished is read from the store, what is queued from SLURM.  The time left is an estimate from\n"
                     "what finished stages took.  Of a large sweep the trials in which something happens are shown.")
    status.add_argument("sweep", nargs="?", metavar="SWEEP",
                        help="its name, the beginning of it, or its file; without it, the sweeps of the store")
    status.add_argument("--live", action="store_true", help="keep showing it until it has ended (on a terminal)")
    status.add_argument("--all", action="store_true", help="every trial, wait and failure, however many")

    logs = command("logs", "print what stages wrote: why they failed, and what their jobs said",
                   "  smartad logs quickstart               of what failed or runs\n"
                   "  smartad logs train-1f2e --follow      of one stage, until it ends")
    logs.add_argument("target", metavar="SWEEP_OR_FINGERPRINT", help="a sweep, or a stage's name or the beginning of it")
    which = logs.add_mutually_exclusive_group()
    which.add_argument("--out", action="store_true", help="of a job only standard output")
    which.add_argument("--err", action="store_true", help="of a job only standard error")
    logs.add_argument("--follow", action="store_true", help="go on with what the jobs write, until the stages have ended")

    cancel = command("cancel", "stop a sweep: its driver, what it runs, and its jobs in SLURM's queue",
                     "  smartad cancel quickstart\n"
                     "What is finished is kept, and so are jobs that another sweep needs; `smartad sweep` goes on.")
    cancel.add_argument("sweep", metavar="SWEEP", help="its name, the beginning of it, or its file")

    retry = command("retry", "have what failed tried again",
                    "  smartad retry quickstart --class node,timeout\n"
                    "  smartad retry quickstart train-1f2e\n"
                    "A driver that is still there takes them up by itself; without one, the next `smartad sweep` does.")
    retry.add_argument("sweep", metavar="SWEEP", help="its name, the beginning of it, or its file")
    retry.add_argument("fingerprints", nargs="*", metavar="FINGERPRINT", help="only these stages (default: all that failed)")
    retry.add_argument("--class", dest="classes", metavar="CLASSES",
                       help="only failures of these classes: node, timeout, oom, ... with commas between (default: all)")

    table = command("table", "print a sweep's comparison table",
                    "  smartad table quickstart --to quickstart.tex\n"
                    "  smartad table table2_main --paper       as the paper has it, with what it prints beside our numbers\n"
                    "  smartad table quickstart --layout smartad_table3     as another printed table has it\n"
                    "  smartad table smartad_table2 --paper    what the paper prints, and nothing else\n"
                    "Best and second are marked among the models of one size.  Holes are marked, never printed as zeros, and so\n"
                    "are rows of which seeds are missing; of a half-finished sweep, what is there is printed.  Cells that did\n"
                    "not come about as the others of their column (other graders, questions, sandboxes, engines, versions),\n"
                    "though the sweep does not declare it, are marked, and below it says what differs.")
    table.add_argument("sweep", metavar="SWEEP", help="its name, the beginning of it, or its file")
    table.add_argument("--grader", metavar="NAME", help="by this grader where it has graded, instead of the one that counts")
    table.add_argument("--layout", metavar="NAME", help="as this printed table, instead of the one that the sweep declares")
    table.add_argument("--paper", action="store_true",
                       help="with what the paper prints, the difference, and whether it is more than chance")
    table.add_argument("--format", choices=["terminal", "md", "tex", "csv", "html"], default=None,
                       help="default: that of FILE's ending; else terminal on a terminal, md elsewhere")
    table.add_argument("--to", type=Path, metavar="FILE", help="write it there instead: .md, .tex, .csv or .html")
    table.add_argument("--interval", action="store_true", help="every number with its 95 %% Wilson interval")
    table.add_argument("--strict", action="store_true", help="print nothing when cells are not comparable, but what differs")

    results_arguments.add(command)

    grade = command("grade", "grade answers made elsewhere to a benchmark's questions; no agent runs",
                    "  smartad grade answers.jsonl --benchmark math500 --data DATA\n"
                    "  smartad grade samples.jsonl --benchmark humaneval --data DATA --to verdicts.jsonl\n"
                    'A line is {"id": "math500/0", "answer": "3"}: the question by its id or, as "question", by its text.\n'
                    "Several lines of one question are its samples; null is no answer.  Without --grader it is graded by those\n"
                    "that an experiment asks for this kind of question.")
    grade.add_argument("file", type=Path, metavar="FILE", help="answers, one JSON object a line")
    grade.add_argument("--benchmark", required=True, metavar="NAME", help="whose questions they answer")
    data_arguments.add_folder(grade, "--data")
    grade.add_argument("--golds", choices=["original", "corrected"], default="original",
                       help="the benchmark's answers as published, or with its known errors corrected (default: original)")
    grade.add_argument("--to", type=Path, metavar="FILE", help="write every verdict with its reason")
    _add_graders(grade, "by this grader; may be given several times (default: those of an experiment)")

    differ = command("disagreements", "list the answers of which two graders do not say the same",
                     "  smartad disagreements table2_main                   of a sweep, or of a run by its name\n"
                     "  smartad disagreements evaluate-1f2e --grader exact  of one stage, with a grader that is asked now\n"
                     "Nothing runs but graders, and what those say that are asked now is not kept.")
    differ.add_argument("target", metavar="SWEEP_OR_FINGERPRINT", help="a sweep or run, or a stage with attempts, a pool, a row")
    differ.add_argument("--all", action="store_true", help="every one, however many")
    differ.add_argument("--format", choices=["terminal", "md", "csv"], default=None,
                        help="default: terminal on a terminal, md elsewhere")
    _add_graders(differ, "ask this one too, now; may be given several times")

    buckets = command("buckets", "print how accuracy, length and tool calls go along with NLL under the untrained student",
                      "  smartad buckets quickstart           of the pools of a sweep\n"
                      "  smartad buckets select-1f2e --format csv\n"
                      "Parts a pool's trajectories, right and wrong, into easy, medium and hard by their NLL, all of a training\n"
                      "set together and each question's on their own, as in SmartAD's Tables 7-9; it runs no model.\n"
                      "  smartad buckets table2_main --paper  with what these print\n")
    buckets.add_argument("target", metavar="SWEEP_OR_FINGERPRINT", help="a sweep, or a select stage or what was made of one")
    buckets.add_argument("--paper", action="store_true",
                         help="with what the paper prints of the same training set, and the difference")
    buckets.add_argument("--format", choices=["terminal", "md", "tex", "csv"], default=None,
                         help="default: terminal on a terminal, md elsewhere")

    dashboard = command("dashboard", "show the store's curves, tables, samples and lineage in a browser, on this machine only",
                        "  smartad dashboard --port 8080\nWhat is shown is trackio's; nothing is asked of any other machine.")
    dashboard.add_argument("--port", type=_port, default=0, metavar="N", help="where to listen (default: a free port)")
    dashboard.add_argument("--no-browser", action="store_true", help="only print the address")

    show = command("show", "show one finished stage: config, inputs, metrics, files, where it ran")
    show.add_argument("fingerprint", metavar="FINGERPRINT", help="its name or the beginning of it")
    show.add_argument("--json", action="store_true", help="the record as it is")

    pool = command("pool", "show what a pool holds: who got how much right, what more samples cover, what is odd about it",
                   "  smartad pool import-1f2e\nof the pool itself, or of any stage that was made from it, up to train.")
    pool.add_argument("fingerprint", metavar="FINGERPRINT", help="its name or the beginning of it")

    taken = command("import", "say what files of trajectories made elsewhere hold, and what of them cannot be used and why",
                    "  smartad import mint traces/*_math.jsonl\n"
                    "Nothing is changed.  To run an experiment on them, name them as its pool (see configs/mint_math.yaml).")
    taken.add_argument("format", metavar="FORMAT", help="agent_distillation, messages, mint: a module of smartad/importers")
    taken.add_argument("files", nargs="+", metavar="FILE", help="one teacher each: in this order they are samples 0, 1, ...")
    taken.add_argument("--name", metavar="NAME", help="what the questions are called (default: the format)")
    taken.add_argument("--refuse", metavar="MARKS", help="put rows with these marks into quarantine; with commas between")
    taken.add_argument("--to", type=Path, metavar="DIR", help="write questions, trajectories, origins and quarantine there")

    why = command("why", "say why two finished stages are not the same one: the first field that differs, and the rest")
    why.add_argument("a", metavar="A")
    why.add_argument("b", metavar="B")

    aliases = command("aliases", "show what best, latest and other names of adapters mean, or how they came to it",
                      "  smartad aliases --sweep quickstart\n"
                      "  smartad aliases --log                 every decision there was, oldest first: who, when and why\n"
                      "A sweep that ends says best (by its metric), best:METRIC and latest; `smartad promote` says any other.")
    aliases.add_argument("--sweep", metavar="SWEEP", help="only those of this sweep")
    aliases.add_argument("--log", action="store_true", help="the audit log")

    promote = command("promote", "let a name mean an adapter from now on, and write down why",
                      '  smartad promote train-1f2e paper-v2 --reason "the one in the figures"\n'
                      '  smartad promote none paper-v2 --reason "withdrawn"     the name means nothing any more\n'
                      "The adapter must be finished and as it was recorded.  `smartad gc` keeps what a name means, and what\n"
                      "that was made from.")
    promote.add_argument("fingerprint", metavar="FINGERPRINT", help="a train stage or the beginning of it, or none")
    promote.add_argument("alias", metavar="ALIAS", help="a name that does not look like a fingerprint")
    promote.add_argument("--sweep", metavar="SWEEP", help="the name is one of this sweep's: pull it with --sweep")
    promote.add_argument("--reason", required=True, metavar="TEXT", help="for `smartad aliases --log`")

    pull = command("pull", "copy an adapter out of the store, checksums verified, with a model card",
                   "NAME is an alias (best, best:METRIC, latest, ...), or the fingerprint of a train stage or its beginning:\n"
                   "  smartad pull best --sweep quickstart --to best-adapter\n"
                   "  smartad pull latest --to newest --merge     and the full model beside it, in newest/merged\n"
                   "  smartad pull best --sweep quickstart --from wandb --to best-adapter      where there is no store\n"
                   "An adapter is not given away for another base model than the one that it was trained on.")
    pull.add_argument("name", nargs="?", default="best", metavar="NAME")
    pull.add_argument("--from", dest="source", choices=["store", "wandb"], default="store",
                      help="where to take it from (default: store); W&B has what `smartad publish` put there")
    pull.add_argument("--merge", action="store_true", help="also merge it into its base model, and compare the two")
    pull.add_argument("--sweep", metavar="SWEEP", help="only adapters of this sweep: its name, the beginning of it, or its file")
    pull.add_argument("--to", type=Path, required=True, metavar="DIR")
    _add_model(pull)

    publish = command("publish", "bring trackers up to date with a sweep, from the store alone, and check what they then have",
                      "  smartad publish quickstart --to wandb\n"
                      "Sends what was tracked offline, elsewhere or not at all, and what a tracker missed while it was down; in\n"
                      "W&B also lineage, and the registry's aliases.  Safe to repeat: what is there stays as it is.  The exit\n"
                      "status is 1 when something is not there in the end.")
    publish.add_argument("sweep", metavar="SWEEP", help="its name or file")
    publish.add_argument("--to", metavar="NAMES", help="trackers, comma-separated: trackio, wandb "
                                                       "(default: trackio, and wandb where it is configured)")

    ask = command("ask", "let a pulled adapter answer a question, step by step",
                  '  smartad ask --adapter best-adapter "A garden is 12 m long and 7 m wide. What is its perimeter in m?"')
    ask.add_argument("question", metavar="QUESTION")
    ask.add_argument("--adapter", type=Path, required=True, metavar="DIR", help="what `smartad pull` made")
    ask.add_argument("--data", type=Path, metavar="DIR", help="folder of the corpus file, when web_search needs one")
    ask.add_argument("--sandbox", choices=["auto", *walls.LADDER, "none"], default="auto",
                     help="the wall its code runs behind (default: the best that stands here); none lets it do what you can do")
    _add_model(ask)

    serve = command("serve-retriever", "answer searches of a finished index over HTTP, for many processes at once",
                    "  smartad serve-retriever configs/papers.yaml data=DATA      the index of this experiment\n"
                    "  smartad serve-retriever index-1f2e --data DATA\n"
                    "Stages search there when their site profile says so: retriever: http://127.0.0.1:8001.  They refuse a\n"
                    "server of another index.  Queries that come together are searched together; one that was answered before\n"
                    "is not searched again, whoever asks.  It listens on this machine only, unless --host says otherwise.")
    serve.add_argument("sources", nargs="+", metavar="TARGET", help="the fingerprint of an index, or an experiment's sources")
    serve.add_argument("--host", default="127.0.0.1", metavar="NAME", help="where to listen (default: 127.0.0.1)")
    serve.add_argument("--port", type=_port, default=0, metavar="N", help="the port (default: a free one)")
    serve.add_argument("--data", type=Path, metavar="DIR", help="folder of the corpus files, when the index reads them in place")
    serve.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all)")
    serve.add_argument("--gpus", type=int, default=0, metavar="N", help="GPUs to embed and search with (default: 0)")
    _add_model(serve)

    fetch = command("fetch", "bring a corpus from the model hub into the data folder, with its published index",
                    "  smartad fetch wiki18 --data DATA\n"
                    "  smartad fetch wiki18 --data DATA --only wiki18/wiki-18.jsonl     without the index\n"
                    "Wikipedia 2018 takes 14 GB and its index 65 GB, and twice that while it is put together.  What is there\n"
                    "already stays; what was cut off goes on.")
    fetch.add_argument("corpus", metavar="CORPUS", help="its name in an experiment")
    fetch.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder that data= names")
    fetch.add_argument("--only", metavar="FILE", help="only this file of the data folder")

    data_arguments.add(commands.add_parser("data", help="list, check, fetch and compare the benchmarks' files",
                                           description=data_arguments.ABOUT,
                                           formatter_class=argparse.RawDescriptionHelpFormatter), common)

    gc = command("gc", "say what the store could do without, and with --yes remove it",
                 "  smartad gc            what would go, how large it is, and why\n"
                 "  smartad gc --yes      remove it; killed in the middle, it is simply run again\n"
                 "Kept is what a sweep's table or an alias cites, with all it was made from, and what somebody is at.  To let\n"
                 "go of a sweep first: smartad forget SWEEP")
    gc.add_argument("--yes", action="store_true", help="do it")

    forget = command("forget", "let go of a sweep: its table and its aliases, so that gc may free what only they cite",
                     "  smartad forget quickstart          what would go\n"
                     "  smartad forget quickstart --yes    the table is gone then; its stages go with the next `smartad gc`\n"
                     "  smartad forget grade-1f2e --yes    grade again: what a judge did not say is asked, nothing else runs\n"
                     "Aliases that a person gave with `smartad promote` stay, and keep their adapters.")
    forget.add_argument("sweep", metavar="SWEEP", help="its name or file; or a finished grade stage")
    forget.add_argument("--yes", action="store_true", help="do it")

    doctor = command("doctor", "check versions, GPUs, the store, sandbox, trackers and SLURM, and say what to mend",
                     "The exit status is 1 when something must be mended:\n"
                     "  smartad doctor --cluster slurm/dev.yaml --signals")
    doctor.add_argument("--cluster", metavar="FILE", help="a site profile: would its jobs be accepted here?")
    doctor.add_argument("--online", action="store_true", help="ask W&B whether it knows the key")
    doctor.add_argument("--sandbox", metavar="WALL", nargs="?", const="auto",
                        help="run code that means harm behind this machine's wall, or the one of this name: does it hold?")
    doctor.add_argument("--signals", action="store_true",
                        help="submit a job of two minutes that must be told of its end and requeue itself")
    return top


def _port(word: str) -> int:
    if not word.isdecimal() or int(word) >= 2**16:
        raise argparse.ArgumentTypeError(f"{word!r} is no port: use a number from 0, for any that is free, to {2**16 - 1}")
    return int(word)


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", action="append", default=[], metavar="FOLDER",
                         help="where the base model is, when it is a local one")


def _add_graders(command: argparse.ArgumentParser, brief: str) -> None:
    command.add_argument("--grader", action="append", default=[], metavar="NAME", help=brief)
    command.add_argument("--judge", metavar="MODEL", help="of a grader that asks a judge: which model")
    command.add_argument("--second-judge", metavar="MODEL", help="another one, to see whether they agree")
    command.add_argument("--cluster", metavar="FILE", help="a site profile, which says where judges are served")


def _add_where(command: argparse.ArgumentParser) -> None:
    command.add_argument("--jobs", type=int, default=None, metavar="N",
                         help="stages at once (default: one per core; 0 runs them in this process, for a debugger)")
    command.add_argument("--cluster", metavar="FILE", help="a site profile in slurm/; without it, worker processes here")
    command.add_argument("--track", metavar="NAMES", default=None,
                         help="trackers, comma-separated: trackio, wandb, none "
                              "(default: trackio, and wandb where it is configured)")
    command.add_argument("--fail-fast", action="store_true",
                         help="stop everything at the first stage that fails for good (default: the others go on)")
    command.add_argument("--snapshot", metavar="NAME",
                         help="let jobs run the code with its uncommitted changes, kept under this name")
