"""What every engine offers."""

from collections.abc import Sequence
from typing import Protocol

from smartad.types import Completion, Request


class Completer(Protocol):
    """Answers chats.  The same set of requests gets the same answers, whatever was asked before."""

    def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion per request, in their order.

        Raises UserError when a request asks for ``top_logprobs`` and the engine has none.
        """
