"""A sweep as one HTML file that opens without a server or a network."""

TRAJECTORIES = 4000
"""Of which a page holds at most, unless told otherwise."""
