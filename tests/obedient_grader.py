"""A bounded grader that does what the answer says, in processes of its own: for test_bounded.py."""

import os
import signal
from pathlib import Path

from smartad.grading import Grade

NOTES = Path(os.environ.get("OBEDIENT_NOTES", os.devnull))
"""A line is added for each answer that was graded."""


def grade(question, answer):
    """``spin`` and ``power`` take for ever, the one in Python and the other in one multiplication."""
    with NOTES.open("a", errors="replace") as notes:
        notes.write(f"{os.getpid()} {answer}\n")
    word, _, rest = answer.partition(" ")
    if word == "spin":
        while True:
            pass
    if word == "power":
        return Grade(10**10**9 > 0, "not in this life")
    if word == "memory":
        return Grade(len(bytearray(10**13)) > 0, "so much there is not")
    if word == "signal":
        os.kill(os.getpid(), getattr(signal, rest))
    if word == "leave":
        os._exit(7)
    if word == "raise":
        raise KeyError(rest)
    return Grade(answer in question.answers, f"{question.id!r} {question.text} {answer}", 0.5)
