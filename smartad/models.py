"""What a model is called in an identity, and where its files are here.

``toy`` is the base student in the package; a folder is a model of your own; anything else is a hub id, with an optional
``@revision``.  An identity names content, never a path: ``toy@1f2e3d4c5b6a``, ``local/my-student@1f2e3d4c5b6a``.  A hub id
without a revision is whatever the hub has: pin it for results that are to be compared.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from smartad.fingerprint import file_sha256
from smartad.types import LICENCE, UserError

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
            others = ", ".join(f"{folder} is {other}" for other, folder in folders.items() if other.startswith("local/"))
            raise UserError(f"{identity} is a local model, and {others or 'this process was not told its folder'}; "
                            "name it with student=FOLDER (pull, ask and preview of a stage: --model FOLDER)")
        return str(Path(folders[identity]).expanduser().resolve()), None
    return name, revision or None


def licence(identity: str, folders: Mapping[str, str]) -> str | None:
    """Under which licence a model says that it is published; None when that is not known on this machine."""
    if identity.partition("@")[0] == TOY:
        return LICENCE
    try:
        text = (Path(folders[identity]).expanduser() / "README.md").read_text(encoding="utf-8")
    except (KeyError, OSError, UnicodeDecodeError):
        return None
    front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    named = re.search(r"^license:\s*(\S+)", front[1], re.MULTILINE) if front else None
    return named[1].strip("'\"") if named else None


@cache
def _content(folder: Path) -> str:
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name[0] != "." and p.suffix != ".md")
    if not any(p.name == "config.json" for p in files):
        raise UserError(f"{folder} holds no config.json: it is not a transformers model")
    lines = "".join(f"{p.name} {file_sha256(p)}\n" for p in files)
    return hashlib.sha256(lines.encode()).hexdigest()[:12]
