"""walk: see smartad walk --help."""

import argparse


def walk_command(args: argparse.Namespace) -> int:
    """."""
    raise NotImplementedError
