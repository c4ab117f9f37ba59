"""The engine that a stage's model is asked through, wherever the site has it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smartad import models
from smartad.engines import served
from smartad.engines.completer import Completer
from smartad.site import EngineSite
from smartad.stage import Runtime
from smartad.types import UserError

LOG = ".engine.log"
"""In the folder of the stage that started a server: what it said."""


@contextmanager
def opened(identity: str, runtime: Runtime, out: Path, adapter: Path | None = None) -> Iterator[Completer]:
    """The engine of model ``identity`` with the LoRA ``adapter`` (a PEFT folder), as ``runtime.engine`` describes it.

    Notes which it was, and how adapters were served: ``merged`` into the weights, ``one`` engine each, or ``many`` on one.
    ``out``: where a server's log is kept.

    Raises UserError when it cannot be had, ConnectionError or TimeoutError when a server does not answer.
    """
    site = runtime.engine or EngineSite()
    if site.kind == "hf":
        from smartad.engines import hf

        runtime.note(engine="transformers in this process", **({"adapters": "merged"} if adapter else {}))
        yield hf.load(identity, runtime, adapter)
    elif site.kind == "http":
        with _at_server(site, identity, runtime, adapter) as engine:
            yield engine
    else:
        from smartad.engines import vllm
        from smartad.engines.http import HttpEngine

        path, revision = models.locate(identity, runtime.models)
        with vllm.serving(site, path, revision, adapter, out / LOG) as server:
            runtime.note(engine="vllm", adapters=site.adapters, engine_command=" ".join([*site.command, *site.flags]))
            with HttpEngine(site, server.url, server.model(adapter), vllm=site.server != "openai", key=server.key,
                            why_gone=server.why_gone) as engine:
                yield engine


@contextmanager
def _at_server(site: EngineSite, identity: str, runtime: Runtime, adapter: Path | None) -> Iterator[Completer]:
    from smartad.engines.http import HttpEngine

    url, key = served.base_url(site.url or ""), key_of(site)
    vllm, model = site.server == "vllm", site.model
    if site.server == "auto" or model is None or adapter is not None:  # else it may be one that lists nothing
        listed = served.models(url, key, site.key_variable)
        vllm |= site.server == "auto" and listed.vllm
        if model is None:
            model = _listed(identity, runtime, url, listed)
        else:
            served.check_listed(url, model, listed)
    if adapter is not None:
        model = served.load_adapter(url, key, adapter)
    runtime.note(engine="http", engine_url=url, engine_model=model,
                 engine_server="vllm" if vllm else "openai", **({"adapters": "many"} if adapter else {}))
    with HttpEngine(site, url, model, vllm, key) as engine:
        yield engine


def _listed(identity: str, runtime: Runtime, url: str, listed: served.Served) -> str:
    """What the server calls the model ``identity``."""
    path, _ = models.locate(identity, runtime.models)
    for name, root in listed.roots.items():
        if path in (name, root):
            return name
    raise UserError(f"the server at {url} serves {', '.join(listed.roots) or 'nothing'}, and {identity} is wanted; if it is "
                    "among them under another name, say which with engine.model")


def key_of(site: EngineSite) -> str | None:
    """The API key of a server, from the environment; None where none is named.  Raises UserError when it is not there."""
    if site.key_variable is None:
        return None
    key = os.environ.get(site.key_variable)
    if not key:
        raise UserError(f"engine.key_variable={site.key_variable}, and there is no such environment variable here; export it "
                        "where the stage runs")
    return key
