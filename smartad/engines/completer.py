"""What every engine offers."""

from collections.abc import Sequence
from typing import Protocol

from smartad.types import Completion, Request


class Completer(Protocol):
    """Answers chats.  The same set of requests gets the same answers, whatever was asked before."""

    @property
    def together(self) -> bool:
        """True: all requests that wait should come in one call, from one thread (an engine in this process, which computes
        them as one batch and holds up the event loop meanwhile).  False: each as soon as it is made."""

    async def complete(self, requests: Sequence[Request]) -> list[tuple[Completion, ...]]:
        """For each request, in their order, its ``n`` candidates; a single one of ``error`` when the engine failed.

        Candidate 0 of several is the only candidate when one is wanted.  Raises UserError for what a request may not ask of
        this engine, such as ``top_logprobs`` where there are none.
        """
