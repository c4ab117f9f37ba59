"""Pictures: each module draws one kind from plain numbers and knows no store."""

import contextlib
import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartad.figures import style
from smartad.types import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Figure  # for those above, who do not import matplotlib

# What else would be written into the file: the time.
METADATA: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
FORMATS = tuple(METADATA)


def save(figure: "Figure", path: Path) -> None:
    """Write ``figure`` as what the name of ``path`` ends in: svg, pdf or png.  The same figure is the same bytes.

    By rename: nobody sees half a picture.  Raises UserError for another ending, and where it cannot be written.
    """
    form = path.suffix.removeprefix(".")
    if form not in METADATA:
        raise UserError(f"{path} ends in none of {', '.join(FORMATS)}, which figures are written as")
    drawn = _drawn(figure, form)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        temporary.write_bytes(drawn)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def svg(figure: "Figure") -> str:
    """``figure`` as an ``<svg>`` element, to stand in a page."""
    return _drawn(figure, "svg").decode().partition("<svg")[2].join(["<svg", ""])


def _drawn(figure: "Figure", form: str) -> bytes:
    file = io.BytesIO()
    with style.applied(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a row in a script that the font lacks; a box stands for it
        figure.savefig(file, format=form, metadata=METADATA[form])
    return file.getvalue()
