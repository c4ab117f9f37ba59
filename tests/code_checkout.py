"""A clone of the code, and a sweep and a site profile beside it: jobs run the code of a commit, which must be the tested one."""

import shutil
import subprocess
import sys

import pytest

from command import ROOT, environment

PROFILE = """
cluster: slurm
poll_s: 0.5
default: {timeout_min: 10, mem_gb: 1, signal_s: 20}
stages:
  prepare: {pack: 8}
  grade: {pack: 8}
"""
SWEEP = """
# One row, the student as it is.
base: [CONFIG, limits.questions=2, train=null]
arms: {base student: {}}
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A clone of the code as it is, so that a test may edit it."""
    folder = tmp_path_factory.mktemp("checkout") / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    shutil.copytree(ROOT / "smartad", folder / "smartad", dirs_exist_ok=True)
    commit(folder)
    return folder


def commit(folder):
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "as tested"], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def files(tmp_path, checkout):
    """A profile and a sweep."""
    (tmp_path / "profile.yaml").write_text(PROFILE)
    (tmp_path / "one.yaml").write_text(SWEEP.replace("CONFIG", str(checkout / "configs/toy.yaml")))
    return tmp_path


def run(checkout, store, *words, status=0, **variables):
    """smartad from the checkout, to its end."""
    done = subprocess.run([sys.executable, "-m", "smartad", *map(str, words)], cwd=checkout, capture_output=True, text=True,
                          timeout=600, env={**environment(store.root), "PYTHONPATH": str(checkout), **variables})
    assert done.returncode == status, f"{words}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


def begin(checkout, store, *words):
    """smartad from the checkout, and do not wait."""
    return subprocess.Popen([sys.executable, "-m", "smartad", *map(str, words)], cwd=checkout, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env={**environment(store.root), "PYTHONPATH": str(checkout)})
