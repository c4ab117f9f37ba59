"""The rows of a stage's episodes: on disk as soon as they are there, in order once all are."""

from collections.abc import Container, Sequence
from pathlib import Path

from smartad.records import append_jsonl, read_partial_jsonl, write_jsonl
from smartad.types import TeacherChoices, Trajectory, UserError

ROWS = "trajectories.jsonl"
TOP_LOGPROBS = "top_logprobs.jsonl"
Key = tuple[str, int]
"""(question id, sample)."""


def key_of(row: Trajectory | TeacherChoices) -> Key:
    """Which episode a row is of."""
    return row.question_id, row.sample


class Rows:
    """What is there of a stage's episodes, and what a kill can take nothing from."""

    def __init__(self, out: Path, order: Sequence[Key], choices: bool) -> None:
        """Reads what an earlier run left in ``out``.  ``choices``: each row has its teacher's choices beside it.

        Raises UserError when ``out`` holds rows of something else.
        """
        self.order = order
        self.found: dict[Key, Trajectory] = {}
        self._out, self._choices = out, choices
        wanted = set(order)
        rows = read_partial_jsonl(out / ROWS, Trajectory)
        for row in rows:
            if key_of(row) not in wanted:
                raise UserError(f"{out / ROWS} holds other episodes than this stage's ({row.question_id}, sample {row.sample}); "
                                "remove it to start over")
            self.found.setdefault(key_of(row), row)
        if choices:  # written before the rows, so a kill may have left some too many
            self.keep({key_of(row) for row in read_partial_jsonl(out / TOP_LOGPROBS, TeacherChoices)})

    def missing(self) -> list[Key]:
        """In the stage's order."""
        return [key for key in self.order if key not in self.found]

    def add(self, rows: Sequence[Trajectory], choices: Sequence[TeacherChoices]) -> None:
        """Rows that were not there, on disk when this returns."""
        if self._choices:
            append_jsonl(self._out / TOP_LOGPROBS, choices)
        append_jsonl(self._out / ROWS, rows)
        self.found.update((key_of(row), row) for row in rows)

    def keep(self, keys: Container[Key]) -> None:
        """Drop every other row, and put these in order."""
        self.found = {key: self.found[key] for key in self.order if key in self.found and key in keys}
        if self._choices:
            choices = {key_of(row): row for row in read_partial_jsonl(self._out / TOP_LOGPROBS, TeacherChoices)}
            write_jsonl(self._out / TOP_LOGPROBS, [choices[key] for key in self.found])
        write_jsonl(self._out / ROWS, self.found.values())

    def in_order(self) -> list[Trajectory]:
        """All rows that are there, in the stage's order; so is their file from now on."""
        if list(self.found) != [key for key in self.order if key in self.found]:
            self.keep(self.found)
        return list(self.found.values())
