"""Everything that benchmarks/results_scale.py measures runs on a made-up sweep, and says what its rows hold."""

import csv
import io

import pytest

from made_up_sweeps import made_up, results_scale
from smartad.cli import main
from smartad.records import read_jsonl
from smartad.sweep import ledger
from smartad.types import Verdict


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A store with a sweep of 20 rows, its name, and a folder to write into."""
    folder = tmp_path_factory.mktemp("scale")
    return *made_up(folder, rows=20, questions=8), folder / "written"


@pytest.mark.slow
@pytest.mark.parametrize("command", results_scale.SCALED, ids="-".join)
def test_scale_command_runs_on_a_made_up_sweep(command, found, capsys):
    store, sweep, folder = found
    some = ["k_curve", "math_levels"] if command[0] == "figure" else []  # every one of them is drawn in tests of its own
    name, declared, *options = results_scale.words_of(command, sweep, folder)
    assert main([name, declared, *some, *options, "--store", str(store.root)]) == 0
    said = capsys.readouterr().out.replace(r"\_", "_")
    if command[0] == "figure":
        assert {path.name for path in folder.iterdir()} == {f"{sweep}-{name}.svg" for name in some}
    elif command[0] == "report":
        assert folder.with_name(f"{folder.name}.html").stat().st_size > 100_000
    else:
        assert said.count("agent_distill") >= 10 and said.count("SmartAD") >= 10


def test_scale_table_counts_what_the_made_up_verdicts_hold(found, capsys):
    store, sweep, _ = found
    assert main(["table", sweep, "--format", "csv", "--store", str(store.root)]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(lines) == 20 * 10 and len({line["row"] for line in lines}) == 20
    for line in lines[::17]:
        verdicts = list(read_jsonl(store.folder(line["source"]) / "verdicts.jsonl", Verdict))
        assert (int(line["correct"]), int(line["n"])) == (sum(bool(v.correct) for v in verdicts), 8)


def test_scale_sweep_is_whole_every_file_as_it_was_recorded(found):
    store, sweep, _ = found
    stages = ledger.load(store, sweep).stages()
    assert all(store.has(stage) for stage in stages)
    assert [wrong for stage in stages for wrong in store.verify(stage)] == []
