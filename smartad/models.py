"""What a model is called in an identity, and where its files are here.

``toy`` is the base student in the package; a folder is a model of your own; anything else is a hub id, with an optional
``@revision``.  An identity names content, never a path: ``toy@1f2e3d4c5b6a``, ``local/my-student@1f2e3d4c5b6a``.  A hub id
without a revision is whatever the hub has: pin it for results that are to be compared.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from smartad.fingerprint import file_sha256
from smartad.types import UserError

TOY = "toy"
TOY_FOLDER = Path(__file__).parent / "toyworld" / "student"


def identify(model: str) -> str:
    """``model`` (toy, a folder, or a hub id) as it enters an identity.  Raises UserError for a folder without a model."""
    folder = TOY_FOLDER if model == TOY else Path(model).expanduser()
    if model != TOY and not folder.is_dir():
        if model.startswith(("/", "./", "../", "~")) or model.count("/") > 1:
            raise UserError(f"no model folder {model}")
        return model
    return f"{TOY if model == TOY else f'local/{folder.resolve().name}'}@{_content(folder.resolve())}"


def locate(identity: str, folders: Mapping[str, str]) -> tuple[str, str | None]:
    """(path or hub id, hub revision) to load ``identity`` from.  ``folders``: identity -> local folder.

    Raises UserError when the model is not here, or is not the one named.
    """
    name, _, revision = identity.partition("@")
    if name == TOY:
        if (found := identify(TOY)) != identity:
            raise UserError(f"{identity} is not the toy student of this smartad ({found}); use the version that made it")
        return str(TOY_FOLDER), None
    if name.startswith("local/"):
        if identity not in folders:
            raise UserError(f"{identity} is a local model and this process was not told its folder; "
                            "name it with student=FOLDER (pull and ask: --model FOLDER)")
        return str(Path(folders[identity]).expanduser().resolve()), None
    return name, revision or None


@cache
def _content(folder: Path) -> str:
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name[0] != "." and p.suffix != ".md")
    if not any(p.name == "config.json" for p in files):
        raise UserError(f"{folder} holds no config.json: it is not a transformers model")
    lines = "".join(f"{p.name} {file_sha256(p)}\n" for p in files)
    return hashlib.sha256(lines.encode()).hexdigest()[:12]
