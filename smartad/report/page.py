"""The page: what the sections say, put into one file that needs nothing else."""

import base64
import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import smartad
from smartad import tables
from smartad.analysis.failures import failed
from smartad.analysis.finished import environment, finished
from smartad.records import writable
from smartad.redact import redact
from smartad.report import TRAJECTORIES, comparing, sections
from smartad.report.trajectories import pack
from smartad.store import Store
from smartad.sweep.ledger import Ledger, LedgerTrial
from smartad.sweep.state import Jobs, look
from smartad.tables import Table
from smartad.tracking.views import COLOURS
from smartad.types import Segment, UserError

HERE = Path(__file__).parent


def page(store: Store, book: Ledger, table: Table, baseline: LedgerTrial | None, most: int = TRAJECTORIES,
         tell: Callable[[str], None] = lambda what: None) -> str:
    """A sweep, finished or not, as HTML.  ``table``: its comparison table; ``most``: trajectories; ``tell`` hears how far it is.

    Raises StoreError where the store cannot be read.
    """
    tell("reading records")
    stages, now = finished(store, book), look(store, book, Jobs())
    averages = {label: _average([row[name].percent for name in table.benchmarks]) for label, row in table.rows.items()}
    packed = pack(store, book, baseline, averages, most, tell)
    tell("comparing with the baseline")
    comparison = comparing.section(store, book, baseline, averages)
    tell("drawing")
    drawn, undrawn = sections.figures(store, book)
    said = redact({
        **sections.head(store, book, table, now, stages), "table": tables.html(table), "comparison": comparison,
        "figures": drawn, "undrawn": undrawn, "viewer": {"about": sections.about(packed)},
        "cost": sections.cost(store, book, stages), "failures": sections.failures(store, book, failed(book, now), stages),
        "configuration": sections.configuration(book), "environment": list(environment(stages).items()),
        "lineage": sections.lineage(store, book), "version": smartad.__version__,
        "written": time.strftime("%F %T %Z", time.localtime())})
    return _rendered(said, packed.data)


def _average(scores: list[float | None]) -> float | None:
    """Over all benchmarks, by which rows are put in order; None while one is missing.  A paper's table may be without."""
    found = [score for score in scores if score is not None]
    return sum(found) / len(found) if found and len(found) == len(scores) else None


def _rendered(said: dict[str, Any], packed: str) -> str:
    """``said`` is escaped wherever it stands; ``packed`` cannot hold anything that would have to be."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    jinja = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    jinja.filters["data_uri"] = _data_uri
    script = (HERE / "page.js").read_text(encoding="utf-8").strip()
    colours = "".join(f"--s{segment.value}:{colour};" for segment, colour in COLOURS.items() if segment is not Segment.CONTEXT)
    style = (HERE / "page.css").read_text(encoding="utf-8").replace("--segments: 0;", colours)
    # The browser runs this script and no other: whatever else is taken for one on this page is not what was hashed.
    digest = base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode()
    return writable(jinja.get_template("page.html").render(**said, style=style, script=script, script_hash=f"sha256-{digest}",
                                                           packed=packed))


def _data_uri(svg: str) -> str:
    """A picture as an address of its own: neither its ids nor its styles reach the page or another picture."""
    return f"data:image/svg+xml;base64,{base64.b64encode(writable(svg).encode()).decode()}"


def write(path: Path, html: str) -> None:
    """By rename: nobody opens half a page.  Raises UserError where it cannot be written."""
    temporary = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_text(html, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"--to {path} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
