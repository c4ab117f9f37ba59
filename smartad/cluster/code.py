"""The code that jobs run: a git worktree of the commit they were submitted with.

A job imports smartad when it starts, hours after it was submitted; what is edited meanwhile must not get into it.
"""

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import smartad
from smartad.store import Store, StoreError
from smartad.types import UserError

WAIT_S = 120.0
PACKAGE = Path(smartad.__file__).parent


def snapshot(store: Store, name: str | None = None) -> Path | None:
    """Folder to import smartad from, in the store; None when it is an installed package, which nobody edits.

    Uncommitted changes to the package are refused, unless they are given a ``name``: then they become a commit of their own,
    kept as the ref ``refs/smartad/<name>``.  Raises UserError.
    """
    if not _git("ls-files", "--error-unmatch", "__init__.py", check=False):
        return None
    changes = [line[3:] for line in _git("status", "--porcelain", "--", ".").splitlines()]
    if changes and name is None:
        raise UserError(f"{len(changes)} uncommitted change(s) in the code that the jobs would run ({', '.join(changes[:3])}"
                        f"{', ...' if len(changes) > 3 else ''}); commit them, or name them: --snapshot NAME")
    commit = _commit_changes(name) if changes and name else _git("rev-parse", "HEAD").strip()
    at = folder(store) / commit[:12]
    until = time.monotonic() + WAIT_S
    while not (at / ".git").exists():
        with store.lock("code") as claim:
            if claim and not (at / ".git").exists():
                half = at.with_name(f"{at.name}.half-{uuid.uuid4().hex[:6]}")
                _git("worktree", "prune")
                _git("worktree", "add", "--quiet", "--detach", "--force", str(half), commit)
                _git("worktree", "move", str(half), str(at))  # whole, or not there
        if time.monotonic() > until:
            raise StoreError(f"another process has been making {at} for {WAIT_S:g} s; try again in a moment")
        time.sleep(0.0 if claim else 0.5)
    os.utime(at)  # wanted now, though no submission says so yet
    return at


def folder(store: Store) -> Path:
    """Where snapshots are kept."""
    return store.root / "code"


def remove(snapshot: Path) -> None:
    """Take a snapshot away, from its repository's list of worktrees as well."""
    try:
        done = subprocess.run(["git", "-C", str(snapshot), "worktree", "remove", "--force", str(snapshot)], capture_output=True,
                              timeout=120)
    except FileNotFoundError:
        done = None
    if done is None or done.returncode:  # its repository is gone, or it was never whole
        shutil.rmtree(snapshot)


def _commit_changes(name: str) -> str:
    """The package as it is, as a commit on top of HEAD that no branch holds.  The checkout and its index stay as they are."""
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        _git("read-tree", "HEAD", env=index)
        _git("add", "--all", "--", ".", env=index)
        tree = _git("write-tree", env=index).strip()
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", "smartad"), ("EMAIL", "smartad@localhost"))}
    commit = _git("commit-tree", tree, "-p", "HEAD", "-m", f"smartad snapshot {name}", env=who).strip()
    try:
        _git("update-ref", f"refs/smartad/{name}", commit)
    except UserError as error:
        raise UserError(f"--snapshot {name}: git cannot keep a ref of that name; use letters, digits and dashes") from error
    return commit


def _git(*words: str, check: bool = True, env: Mapping[str, str] | None = None) -> str:
    """git in the package's folder.  Without ``check``, nothing is said when it fails."""
    try:
        done = subprocess.run(["git", "-C", str(PACKAGE), *words], capture_output=True, text=True, timeout=120,
                              env={**os.environ, **(env or {})})
    except FileNotFoundError:
        if check:
            raise UserError("git is not installed") from None
        return ""
    if done.returncode and check:
        raise UserError(f"git {words[0]} in {PACKAGE}: {done.stderr.strip()}")
    return "" if done.returncode else done.stdout
