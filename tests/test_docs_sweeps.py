"""docs/sweeps.md says what a sweep file may say: every key, with its default, and no other."""

import dataclasses
import re

import pytest
import yaml

from conftest import ROOT
from smartad.sweep import proposers
from smartad.sweep.space import SweepConfig, corners, read
from smartad.sweep.stopping import RULES, StoppingConfig

PAGE = (ROOT / "docs/sweeps.md").read_text()


def rows(heading):
    """Key -> the other cells of the table whose first column is called ``heading``."""
    table = PAGE[PAGE.index(f"| {heading} |"):].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert all(len(row) == len(cells[0]) for row in cells)
    return {row[0].strip("`"): row[1:] for row in cells}


def defaults(schema):
    """Key -> its default, of those that have one."""
    return {field.name: field.default_factory() if field.default is dataclasses.MISSING else field.default
            for field in dataclasses.fields(schema)
            if (field.default, field.default_factory) != (dataclasses.MISSING, dataclasses.MISSING)}


def test_keys_of_a_sweep_file_are_all_there_with_their_defaults():
    said = {key: yaml.safe_load(default.strip("`")) for key, (_, default, _, _) in rows("key").items()}
    assert said == defaults(SweepConfig)


def test_keys_of_stopping_are_all_there_with_their_defaults():
    said = rows("key of `stopping`")
    assert said.keys() == {field.name for field in dataclasses.fields(StoppingConfig)}
    assert {key: yaml.safe_load(said[key][0].strip("`")) for key in said if key != "rule"} == defaults(StoppingConfig)
    assert set(re.findall(r"`(\w+)`:", said["rule"][1])) == set(RULES)


def test_backends_are_all_named():
    assert set(re.findall(r"`(\w+)`", rows("key")["backend"][2])) == set(proposers.names())


@pytest.mark.parametrize("key", SweepConfig.__dataclass_fields__)
def test_example_of_a_key_is_accepted(tmp_path, key):
    example = yaml.safe_load(rows("key")[key][3].strip("`"))
    whole = {"base": [str(ROOT / "configs/toy.yaml")], "arms": {"a": {}}, "seeds": [0, 1]}
    if key == "base":
        example = [str(ROOT / "sweeps" / source) if source.endswith(".yaml") else source for source in example]
    if key == "options":
        whole |= {"backend": "optuna", "trials": 3}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({**whole, key: example, **({"trials": 3} if key == "backend" else {})}))
    assert proposers.of(read(str(tmp_path / "x.yaml"))).ask() is not None


def test_whole_example_is_as_large_as_it_says(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "x.yaml").write_text(example.replace("../configs", str(ROOT / "configs")))
    sweep = read(str(tmp_path / "x.yaml"))
    assert len(corners(sweep.config)) == 3 and "These are 3 x 2 trials, each run with two seeds" in PAGE
    assert (len(sweep.config.arms), len(sweep.config.space["collect.temperature"]), len(sweep.config.seeds)) == (3, 2, 2)


def test_page_is_linked_from_where_sweeps_are_spoken_of():
    assert "(docs/sweeps.md)" in (ROOT / "README.md").read_text() and "(sweeps.md)" in (ROOT / "docs/slurm.md").read_text()
