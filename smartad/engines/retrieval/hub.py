"""Files of data sets from the model hub."""

import gzip
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError

from smartad.types import Unreachable, UserError

BLOCK = 1 << 24


def fetch(file: str, dataset: str, parts: Sequence[str], data: Path) -> Path:
    """``data``/``file``, made of ``parts`` of ``dataset`` in their order; one that ends in .gz is unpacked.  A file that is there
    stays as it is; a download that was cut off goes on.

    Raises UserError when the hub does not give it.
    """
    path = data / file
    if path.is_file():
        return path
    downloads = path.with_name(f".{path.name}.parts")
    downloads.mkdir(parents=True, exist_ok=True)
    found = download(dataset, parts, downloads, f"If you have {path.name} from elsewhere, put it at {path}")
    whole = path.with_name(f".{path.name}.whole")
    with whole.open("wb") as out:
        for part in found:
            with gzip.open(part) if part.endswith(".gz") else open(part, "rb") as content:
                shutil.copyfileobj(content, out, BLOCK)
    os.replace(whole, path)
    shutil.rmtree(downloads)
    return path


def download(dataset: str, parts: Sequence[str], folder: Path, otherwise: str, revision: str | None = None) -> list[str]:
    """``parts`` of ``dataset``, below ``folder``; one that was cut off goes on.

    ``otherwise``: the way out that is told when the hub does not give them, with UserError.
    """
    try:
        return [hf_hub_download(dataset, part, repo_type="dataset", revision=revision, local_dir=folder) for part in parts]
    except Exception as error:  # of which library they are depends on the hub's version
        kind = Unreachable if isinstance(error, LocalEntryNotFoundError) else UserError
        raise kind(f"{dataset} on the model hub does not give {', '.join(parts)}: {type(error).__name__}: "
                   f"{str(error).partition(chr(10))[0]}. {otherwise}") from error
