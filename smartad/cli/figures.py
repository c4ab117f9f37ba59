"""figure: see smartad figure --help."""

import argparse


def figure_command(args: argparse.Namespace) -> int:
    """."""
    raise NotImplementedError
