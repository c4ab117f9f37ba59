"""The command line.  Every subcommand is a function of its parsed arguments that returns the exit status."""

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

from smartad.cli.arguments import parse
from smartad.records import visible
from smartad.redact import guarded
from smartad.store import answered
from smartad.types import UserError

USER_ERROR, INTERRUPTED = 2, 130
COMMANDS = {
    "plan": "planning.plan_command", "run": "running.run_command", "sweep": "running.sweep_command",
    "preview": "preview.preview_command", "status": "status.status_command", "table": "tabling.table_command",
    "buckets": "buckets.buckets_command", "show": "looking.show_command", "why": "looking.why_command",
    "aliases": "adapters.aliases_command", "promote": "adapters.promote_command", "pull": "adapters.pull_command",
    "ask": "adapters.ask_command", "gc": "keeping.gc_command", "forget": "keeping.forget_command",
    "logs": "control.logs_command", "cancel": "control.cancel_command", "retry": "control.retry_command",
    "doctor": "doctor.doctor_command", "grade": "grading.grade_command", "disagreements": "grading.disagreements_command",
    "compare": "comparing.compare_command", "figure": "figures.figure_command", "report": "reporting.report_command",
    "walk": "walking.walk_command", "reproduce": "reproducing.reproduce_command", "import": "pool.import_command",
    "pool": "pool.pool_command", "serve-retriever": "serving.serve_command", "fetch": "serving.fetch_command",
    "data": "data.data_command", "dashboard": "dashboards.dashboard_command", "publish": "publishing.publish_command"}
"""Command -> module and function.  Only its own module is imported: those that read results need numpy, and no other does."""


def main(argv: list[str] | None = None) -> int:
    """Run one command.  0: done; 1: something failed; 2: something to mend in what was asked; 130: interrupted."""
    with guarded():
        try:
            return _main(parse(argv))
        except Exception:  # by Python itself it would be printed where nothing is hidden any more
            traceback.print_exc()
            return 1


def _main(args: argparse.Namespace) -> int:
    log_to_stderr(args.verbose)
    signal.signal(signal.SIGTERM, _stop)
    try:
        with answered(args.store.absolute()):
            return _command(args.command)(args)
    except UserError as error:
        print(visible(f"smartad: {error}"), file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("smartad: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        if args.command in ("run", "sweep"):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of `smartad table | head` has left
        return 0


class _Stderr(logging.Handler):
    """Writes to standard error as it is by then: while bars are drawn, that is above them."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def log_to_stderr(verbose: bool) -> None:
    """Warnings, and of smartad also what is of interest when ``verbose``."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, handlers=[_Stderr()])
    logging.getLogger("smartad").setLevel(logging.INFO if verbose else logging.WARNING)


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    module, _, function = COMMANDS[name].partition(".")
    found: Callable[[argparse.Namespace], int] = getattr(import_module(f"smartad.cli.{module}"), function)
    return found
