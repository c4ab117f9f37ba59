"""Self-consistent action generation: the candidates of a turn run, and the outcome that most of them agree on is taken (Agent
Distillation, section 4; N=8 at temperature 0.4 there).

Other than in its code, candidates run on copies of the interpreter and not in the live one, what counts is the whole outcome and
not the printed text alone, and the winner is not run again: the copy that it ran on is the episode's interpreter from then on.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from smolagents.local_python_executor import CodeOutput, PythonExecutor, fix_final_answer_code
from smolagents.utils import parse_code_blobs

from smartad.agents.executor import ChildExecutor, CodeError, Ran
from smartad.dialect import Dialect
from smartad.types import Ballot


class Voting(PythonExecutor):
    """smolagents' executor seam, for turns of several candidates: ``elect`` runs them, and calling it gives what came of the
    elected one."""

    def __init__(self, live: ChildExecutor) -> None:
        self.ballots: list[Ballot] = []
        """One per turn."""
        self._live = live
        self._elected: str | None = None

    @property
    def last(self) -> Ran:
        """What came of the latest code."""
        return self._live.last

    def elect(self, blocks: Sequence[str], form: Dialect) -> int:
        """Which of a turn's candidates, each given as its block, is taken; its interpreter becomes the episode's.

        Each distinct code runs once, on a copy.  The outcome (whether it answers, value, what it printed) with most votes wins,
        of equals that of the earliest candidate, and of its candidates the earliest; those that failed have no vote.  When all
        failed it is the first: its model is to see that error.
        """
        codes = [_code(block, form) for block in blocks]
        copies: dict[str, ChildExecutor] = {}
        try:
            for code in codes:
                if code is not None and code not in copies:
                    copies[code] = self._live  # whose ``last`` says so when it is broken and has no copy
                    with suppress(CodeError):  # kept in ``last``
                        copies[code] = self._live.branch()
                        copies[code](code)
            outcomes = [_outcome(copies[code].last) if code is not None else None for code in codes]
            votes = Counter(outcome for outcome in outcomes if outcome is not None)
            winner, agreed = votes.most_common(1)[0] if votes else (None, 0)  # of equals the one that was counted first
            elected = outcomes.index(winner)
            self.ballots.append(Ballot(len(codes), len(copies), len(codes) - votes.total(), agreed))
            self._elected = codes[elected]
            if self._elected is not None:
                self._live.cleanup()
                self._live = copies.pop(self._elected)
            return elected
        finally:
            for loser in copies.values():
                loser.cleanup()

    def __call__(self, code_action: str) -> CodeOutput:
        """What came of the elected code, which has run.  Raises CodeError when it failed."""
        if code_action != self._elected:
            raise RuntimeError(f"smolagents runs {code_action!r}, and {self._elected!r} was elected")
        if self.last.status not in ("ok", "final"):
            raise CodeError(self.last.error)
        return CodeOutput(self.last.output, self.last.logs, self.last.status == "final")

    def send_tools(self, tools: dict[str, Callable[..., Any]]) -> None:
        """See ChildExecutor; copies have them, too."""
        self._live.send_tools(tools)

    def send_variables(self, variables: dict[str, Any]) -> None:
        """Episodes start without variables."""

    def cleanup(self) -> None:
        """End the interpreter, if there is one."""
        self._live.cleanup()


def _code(block: str, form: Dialect) -> str | None:
    """What smolagents would run of a block; None when it is none."""
    try:
        return fix_final_answer_code(parse_code_blobs(block, (form.start, form.end)))
    except ValueError:
        return None


def _outcome(ran: Ran) -> tuple[bool, str, str] | None:
    """What is voted on; None when the code failed."""
    return (ran.status == "final", ran.output, ran.logs) if ran.status in ("ok", "final") else None
