"""Who may import whom.  A module imports only from floors below its own; heavy libraries have one home."""

import ast
from pathlib import Path

import pytest

from conftest import ROOT

FLOORS = [
    {"types", "records", "fingerprint", "config", "plugins", "redact", "processes", "site", "prompts", "stats", "paired"},
    {"dialect", "selection", "difficulty", "tables", "stage", "models", "claims"},
    {"engines", "agents", "toyworld", "figures", "papers"},
    {"benchmarks", "corpora", "importers", "grading"},
    {"data"},
    {"stages", "store", "tracking"},
    {"experiment", "runner", "registry"},
    {"cluster"},
    {"sweep"},
    {"analysis"},
    {"report"},
    {"cli"},
    {"__main__"},
]
UNSEEN_BY_STAGES = {"store", "claims", "tracking"}
WITHIN_FLOOR = {("records", "types"), ("config", "types"), ("config", "redact"), ("plugins", "types"), ("corpora", "benchmarks"),
                ("site", "types"), ("paired", "stats")}
"""Imports between modules of one floor: the first says its errors in the second's words, or shares its declaration."""
HOMES = {"omegaconf": {"config"}, "torch": {"engines", "toyworld"}, "transformers": {"engines", "toyworld"},
         "tokenizers": {"toyworld"}, "peft": {"engines"}, "bm25s": {"engines"}, "deepspeed": {"engines"}, "vllm": {"engines"},
         "openai": {"engines"}, "faiss": {"engines"}, "sentence_transformers": {"engines"}, "starlette": {"engines"},
         "uvicorn": {"engines", "tracking"}, "smolagents": {"agents"}, "wandb": {"tracking"},
         "wandb_workspaces": {"tracking"}, "trackio": {"tracking"}, "psutil": {"tracking", "engines"},
         "duckdb": {"data"},
         "pynvml": {"tracking"}, "submitit": {"cluster"},
         "optuna": {"sweep"}, "sweeps": {"sweep"}, "rich": {"cli"}, "matplotlib": {"figures"}, "statsmodels": {"stats"},
         "jinja2": {"report"}}
PACKAGE = ROOT / "smartad"
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_imports_only_lower_floors(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in LEVEL, f"{own} is on no floor"
    for name in imports(path):
        library, *parts = name.split(".")
        if library == "smartad" and parts and parts[0] in LEVEL and parts[0] != own:
            assert LEVEL[parts[0]] < LEVEL[own] or (own, parts[0]) in WITHIN_FLOOR, \
                f"{own} (floor {LEVEL[own]}) imports {parts[0]} (floor {LEVEL[parts[0]]})"
            assert own != "stages" or parts[0] not in UNSEEN_BY_STAGES, f"a stage sees {parts[0]}"
        assert own in HOMES.get(library, {own}), f"{library} is imported by {own}; it lives in {HOMES[library]}"


def test_folders_of_declarations_are_not_packages():
    assert not [p for folder in ("sweeps", "slurm", "configs") for p in (ROOT / folder).rglob("*.py")]
