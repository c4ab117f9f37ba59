"""Every row and every cell can be named, however the rows of a sweep are called."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartad.analysis.arms import Arm, Spot, arm, spot
from smartad.store import Store, StoreError
from smartad.sweep import ledger
from smartad.sweep.ledger import Ledger, LedgerTrial, Run

SEEDS = (0, 1, 10)


def sweep(store, labels, name="amb"):
    book = Ledger(name, {}, {"In-domain": ["toy_math"]}, tuple(
        LedgerTrial(label, {}, tuple(Run(seed, f"aggregate-{name}{at}{seed}", None, (), ()) for seed in SEEDS))
        for at, label in enumerate(labels)))
    ledger.save(store, book)
    return book


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("odd") / "store").open()


@given(st.lists(st.text(alphabet="x@01:/am b\n", max_size=6), min_size=1, max_size=6, unique=True))
@settings(max_examples=60)
def test_name_of_a_cell_means_that_cell_whatever_its_row_and_the_others_are_called(odd, labels):
    book = sweep(odd, labels)
    for trial in book.trials:
        assert arm(odd, Arm(book, trial).name) == Arm(book, trial)
        for run in trial.runs:
            one = Spot(Arm(book, trial), run, "toy_math")
            assert spot(odd, one.name) == one, one.name


def test_label_that_ends_like_a_seed_is_meant_before_a_row_with_that_seed_and_where_both_are_there_neither(odd):
    sweep(odd, ["x", "x@1", "x@7"])
    assert spot(odd, "amb:x@7/toy_math").arm.trial.label == "x@7"
    assert spot(odd, "amb:x@10/toy_math").run.seed == 10
    with pytest.raises(StoreError, match=r"'amb:x@1' may mean each of 'amb:x@1@0' and 'amb:x@01'"):
        spot(odd, "amb:x@1/toy_math")
    assert (spot(odd, "amb:x@1@0/toy_math").arm.trial.label, spot(odd, "amb:x@01/toy_math").run.seed) == ("x@1", 1)


def test_row_of_the_sweep_at_hand_is_called_as_it_is_even_where_that_looks_like_another_sweeps(odd):
    other, book = sweep(odd, ["b"], "other"), sweep(odd, ["other:a", "other:b", "c"])
    assert arm(odd, "other:a", near=book).book == book and arm(odd, "amb:other:b", near=book).trial.label == "other:b"
    with pytest.raises(StoreError, match="'other:b' may mean the row of amb .* and that of other"):
        arm(odd, "other:b", near=book)
    assert arm(odd, other.trials[0].runs[0].goal, near=book).book == other


def test_no_row_of_the_sweep_at_hand_is_refused_with_the_rows_that_it_has(odd):
    book = sweep(odd, ["SmartAD", "agent_distill"])
    with pytest.raises(StoreError, match="'zzz' is no row of amb; it has 'SmartAD', 'agent_distill'"):
        arm(odd, "zzz", near=book)


def test_ledger_of_an_older_smartad_is_named_with_the_way_out(odd):
    sweep(odd, ["SmartAD"], "old")
    path = ledger.path(odd, "old")
    path.write_text(path.read_text().replace(', "needs": []', ""))
    with pytest.raises(StoreError, match=f"{path} cannot be read .*needs.* an older smartad wrote it.* start the sweep again"):
        ledger.load(odd, "old")
    path.unlink()
