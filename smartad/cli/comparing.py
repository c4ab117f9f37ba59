"""compare: see smartad compare --help."""

import argparse


def compare_command(args: argparse.Namespace) -> int:
    """."""
    raise NotImplementedError
