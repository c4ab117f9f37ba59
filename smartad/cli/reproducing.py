"""reproduce: see smartad reproduce --help."""

import argparse


def reproduce_command(args: argparse.Namespace) -> int:
    """."""
    raise NotImplementedError
