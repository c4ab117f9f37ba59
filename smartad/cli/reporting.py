"""report: see smartad report --help."""

import argparse


def report_command(args: argparse.Namespace) -> int:
    """."""
    raise NotImplementedError
