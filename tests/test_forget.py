"""Letting go of a sweep: its table and the names it gave, and nothing of anybody else's."""

from command import smartad
from made_up import of
from small_adapters import swept
from smartad import registry
from smartad.sweep import forgetting, garbage, ledger


def cleared(store):
    """Names of what clearing up then removes."""
    return {item.path.name for item in garbage.clear(store)}


def test_forget_takes_a_sweep_its_files_and_its_own_aliases(store, tmp_path):
    specs = swept(store, tmp_path)
    swept(store, tmp_path, "declared.too")
    adapter = of(specs, "train")[0].fingerprint
    for alias, by in (("best", registry.BY_SWEEP), ("mine", None)):
        registry.promote(store, alias, adapter, reason="", by=by, sweep="declared")
    for name in ("declared.bill.json", "declared.optuna.log", "declared/profile.yaml", "declared.too.bill.json"):
        (store.root / "sweeps" / name).parent.mkdir(exist_ok=True)
        (store.root / "sweeps" / name).touch()
    said = smartad("forget", "declared", store=store.root).stdout
    assert "would be forgotten: the table of declared (3 rows), its aliases best" in said and "forget declared --yes" in said
    assert ledger.names(store) == ["declared", "declared.too"]
    assert "forgotten: the table of declared" in smartad("forget", "declared", "--yes", store=store.root).stdout
    assert sorted(p.name for p in (store.root / "sweeps").iterdir()) == ["declared.too.bill.json", "declared.too.jsonl"]
    assert [entry.alias for entry in registry.current(store)] == ["mine"]
    assert registry.entries(store)[-1].reason == "declared was forgotten"
    assert cleared(store) == set(), "the other sweep is of the same stages"
    smartad("forget", "declared.too", "--yes", store=store.root)
    assert adapter not in cleared(store) and store.has(adapter)
    assert adapter in smartad("aliases", "--sweep", "declared", store=store.root).stdout
    smartad("promote", "none", "mine", "--sweep", "declared", "--reason", "nor do I need this", store=store.root)
    assert adapter in cleared(store)


def test_forget_says_what_it_would_free(store, tmp_path):
    swept(store, tmp_path)
    more = swept(store, tmp_path, "other", seeds=[0, 1])
    foreseen = forgetting.foreseen(store, "other")
    assert set(foreseen.freed) == {spec.fingerprint for spec in more} - set(ledger.load(store, "declared").stages())
    assert foreseen.size > 0
    forgetting.forget(store, "other")
    assert cleared(store) == set(foreseen.freed)


def test_forget_of_a_sweep_that_is_driven_is_refused(store, tmp_path):
    swept(store, tmp_path)
    with store.lock("sweeps/declared"):
        said = smartad("forget", "declared", "--yes", store=store.root, status=2).stderr
    assert "declared is being driven" in said and "smartad cancel declared" in said and ledger.names(store) == ["declared"]
