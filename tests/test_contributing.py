"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the package."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest

from command import environment
from conftest import ROOT

pytestmark = pytest.mark.slow
TINY = ["limits.questions=2", "limits.train_questions=4", "collect.samples=3", "select.first=3", "train.epochs=1"]


@pytest.fixture
def recipes():
    """Title -> its Python and shell blocks."""
    sections = re.split(r"^## ", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)[1:]
    return {s.splitlines()[0]: re.findall(r"```(?:python)?\n(.*?)```", s, re.DOTALL) for s in sections}


@pytest.fixture
def copy(tmp_path):
    """A checkout to follow them in."""
    for folder in ("smartad", "configs", "sweeps"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def smartad(copy, *words):
    done = subprocess.run([sys.executable, "-m", "smartad", *words, "--track", "none", "--store", str(copy / "store")], cwd=copy,
                          env={**environment(None), "PYTHONPATH": str(copy)}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def words_of(command):
    return shlex.split(command)[1:]


def test_recipe_for_a_selection_rule_works(recipes, copy):
    python, shell = recipes["A selection rule"]
    function, entry = python.split("\n\nRULES = {..., ")
    path = copy / "smartad/selection.py"
    table = "RULES: dict[str, Rule] = {"
    path.write_text(path.read_text().replace(table, f"{function}\n\n\n{table}{entry.strip().removesuffix('}')}, "))
    assert "this run" in smartad(copy, *words_of(shell), *TINY)


def test_recipe_for_a_benchmark_works(recipes, copy):
    python, shell = recipes["A benchmark"]
    (copy / "smartad/benchmarks/capitals.py").write_text(python)
    assert "capitals (n=3)" in smartad(copy, *words_of(shell), "limits.questions=null")


def test_recipe_for_a_proposer_works(recipes, copy):
    (python,) = recipes["A proposer"]
    (copy / "smartad/sweep/proposers/shuffled.py").write_text(python)
    sweep = (copy / "sweeps/toy_k.yaml").read_text() + "backend: shuffled\ntrials: 2\n"
    (copy / "sweeps/toy_shuffled.yaml").write_text(sweep)
    table = smartad(copy, "sweep", "sweeps/toy_shuffled.yaml", *TINY[:2], "collect.samples=15", "train.epochs=1")
    assert table.count("select.first=") == 3, "two rows and the best"
