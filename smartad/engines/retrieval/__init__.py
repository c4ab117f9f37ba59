"""web_search: an index of passages in a folder, searched in this process or through a server.

No library is imported until something is built or searched: ``plan`` reads the recipes in here.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from smartad.engines.retrieval.recipe import Bm25, Embedding, Vectors
from smartad.records import writable
from smartad.stage import Metrics, Runtime
from smartad.types import Passage, ToolDown, UserError

if TYPE_CHECKING:
    from smartad.engines.retrieval.front import Front, Searcher
    from smartad.engines.retrieval.passages import Passages

LONGEST = 10_000
"""Characters of a query; e5 reads 256 tokens of it."""
ALONE = Runtime()
"""In this process, on one thread, with no folder of data or models."""


class Retriever(Protocol):
    """What answers a query.  Threads may share it."""

    def search(self, query: str, k: int) -> list[Passage]:
        """At most ``k`` passages, the best first."""


def build(passages: "Passages", out: Path, recipe: Bm25 | tuple[Embedding, Vectors] | None = None, runtime: Runtime = ALONE,
          source: str | None = None, flat: Path | None = None, published: str | None = None) -> Metrics:
    """Write the index of ``passages`` into ``out``; None is BM25 as it comes.  What it measured besides their number.

    ``source``: the corpus file below the data folder, if passages are to be read there.  The rest: see ``dense.build``.
    Raises UserError when there are none.
    """
    from smartad.engines.retrieval.passages import keep

    keep(passages, out, source)
    if isinstance(recipe, tuple):
        from smartad.engines.retrieval import dense

        return {"passages": len(passages), **dense.build(passages, *recipe, out, runtime, flat, published)}
    from smartad.engines.retrieval import bm25

    bm25.build(passages, recipe or Bm25(), out)
    return {"passages": len(passages)}


def load(folder: Path, runtime: Runtime = ALONE) -> Retriever:
    """The index that :func:`build` wrote into ``folder``.  Raises UserError when it is not there or not whole."""
    from smartad.engines.retrieval import bm25

    searcher = _searcher(folder, runtime)
    return searcher if isinstance(searcher, bm25.Retriever) else _front(searcher)  # what is fast needs nothing before it


def fronted(folder: Path, runtime: Runtime) -> "Front":
    """The same behind a cache and a queue, whatever it is."""
    return _front(_searcher(folder, runtime))


def connect(folder: Path, runtime: Runtime) -> Retriever:
    """The index in ``folder``, which is called by its fingerprint: through the server that ``runtime`` names, or loaded here.

    Raises UserError when that server serves another one, ToolDown when it does not answer.
    """
    if runtime.retriever is None:
        return load(folder, runtime)
    from smartad.engines.retrieval.remote import Remote

    return _front(Remote(runtime.retriever, folder.name))


def tool(retriever: Retriever, k: int) -> Callable[[str], str]:
    """web_search as an agent calls it: the ``k`` best passages as text.  Of a query, which code may have made of anything, its
    beginning, and a question mark for half a character: tokenizers and JSON refuse it.

    Raises ToolDown when searching itself failed: an agent must not be told so, as if it were a result.
    """
    def search(query: str) -> str:
        query = writable(query[:LONGEST])
        try:
            return render(retriever.search(query, k))
        except ToolDown:
            raise
        except Exception as error:
            raise ToolDown(f"web_search({query!r:.80}) failed: {type(error).__name__}: {error}") from error

    return search


def render(passages: Sequence[Passage]) -> str:
    """Search results as a model reads them: one line each, its title first if it has one."""
    if not passages:
        return "No passage fits."
    return "\n".join(f"{p.title}: {p.text}" if p.title else p.text for p in passages)


def _searcher(folder: Path, runtime: Runtime) -> "Searcher":
    from smartad.engines.retrieval import bm25
    from smartad.engines.retrieval.passages import reopen

    try:
        passages = reopen(folder, runtime.data)
        if (folder / bm25.INDEX).exists():
            return bm25.load(folder, passages)
        from smartad.engines.retrieval import dense

        return dense.load(folder, passages, runtime)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no whole retrieval index: {error}") from error


def _front(searcher: "Searcher") -> "Front":
    from smartad.engines.retrieval.front import Front

    return Front(searcher)
