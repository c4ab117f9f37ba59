"""A retriever for many processes, over HTTP: GET /health, POST /search."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from smartad.engines.retrieval.front import Front
from smartad.records import to_json
from smartad.types import UserError

MOST_QUERIES, MOST_PASSAGES = 4096, 1000
"""Of one request."""
FAREWELL_S = 5
"""For requests under way when it is stopped."""
log = logging.getLogger(__name__)


def app(front: Front, fingerprint: str, passages: int) -> Starlette:
    """``fingerprint``: what is searched, told in every answer."""

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"fingerprint": fingerprint, "passages": passages, "asked": front.asked, "known": front.known,
                             "batches": front.batches})

    async def search(request: Request) -> JSONResponse:
        try:
            queries, k = _asked(await request.json())
        except ValueError as error:
            return JSONResponse({"error": f"{error}; send {{\"queries\": [\"...\"], \"k\": 3}}"}, status_code=400)
        try:
            results = await asyncio.gather(*(asyncio.wrap_future(front.ask(query, k)) for query in queries))
        except Exception as error:  # it is the client's to decide what becomes of it
            log.warning("a search failed: %s: %s", type(error).__name__, error)
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, status_code=500)
        return JSONResponse({"fingerprint": fingerprint, "results": to_json(results)})

    return Starlette(routes=[Route("/health", health), Route("/search", search, methods=["POST"])])


def serve(front: Front, fingerprint: str, passages: int, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.  ``port`` 0 is a free one; ``ready`` is told the address.

    Raises UserError when it is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise UserError(f"cannot listen at {host}, port {port}: {error.strerror or error}; name another with --host and --port, "
                        "0 for any port that is free") from error
    name = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(app(front, fingerprint, passages), log_level="warning", access_log=False,
                            timeout_graceful_shutdown=FAREWELL_S)
    with listener:
        ready(f"http://{name}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])


def _asked(said: Any) -> tuple[list[str], int]:
    queries, k = (said.get("queries"), said.get("k")) if isinstance(said, dict) else (None, None)
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise ValueError("queries must be a list of strings")
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= MOST_PASSAGES:
        raise ValueError(f"k must be a whole number from 1 to {MOST_PASSAGES}, got {k!r:.40}")
    if len(queries) > MOST_QUERIES:
        raise ValueError(f"{len(queries)} queries at once; at most {MOST_QUERIES}")
    return queries, k
