"""What aliases mean, who said so, and what they cannot be made to mean."""

import multiprocessing

import pytest

from command import smartad
from made_up import declare, finish, launch, of
from small_adapters import OTHER, TRAIN, finish_adapters, finished
from smartad import registry
from smartad.sweep import results
from smartad.types import UserError


def test_resolve_in_a_sweep_and_without_one(store):
    finished(store), finished(store, OTHER)
    registry.promote(store, "best:pass@1", TRAIN, reason="first sweep", metric="pass@1", value=0.4, sweep="a")
    registry.promote(store, "best:pass@1", OTHER, reason="second sweep", metric="pass@1", value=0.5, sweep="b")
    assert registry.resolve(store, "best:pass@1", sweep="b") == OTHER
    assert registry.resolve(store, "best:pass@1", sweep="a") == registry.resolve(store, "best", sweep="a") == TRAIN
    with pytest.raises(UserError, match="an adapter of each of a, b; say which with --sweep"):
        registry.resolve(store, "best")
    registry.promote(store, "best:pass@1", TRAIN, reason="of them all")
    assert registry.resolve(store, "best") == TRAIN
    assert [e.value for e in registry.entries(store)] == [0.4, 0.5, None]


def test_resolve_latest_of_no_sweep_is_the_latest_of_all(store):
    finished(store), finished(store, OTHER)
    registry.promote(store, "latest", OTHER, reason="", sweep="a")
    registry.promote(store, "latest", TRAIN, reason="", sweep="b")
    assert registry.resolve(store, "latest") == TRAIN
    assert registry.resolve(store, "latest", sweep="a") == OTHER


def test_resolve_best_means_the_only_metric_and_asks_when_there_are_two(store):
    finished(store)
    registry.promote(store, "best:pass@1", TRAIN, reason="highest")
    assert registry.resolve(store, "best") == TRAIN
    registry.promote(store, "best:nll", TRAIN, reason="lowest")
    with pytest.raises(UserError, match="say best:nll or best:pass@1"):
        registry.resolve(store, "best")


def test_resolve_unknown_alias_lists_the_known_ones(store):
    with pytest.raises(UserError, match=r"no alias 'best'.*none yet"):
        registry.resolve(store, "best")
    finished(store)
    registry.promote(store, "latest", TRAIN, reason="newest", sweep="a")
    with pytest.raises(UserError, match=r"no alias 'champion'.*there are: latest"):
        registry.resolve(store, "champion")
    with pytest.raises(UserError, match="of sweep b"):
        registry.resolve(store, "latest", sweep="b")


def test_withdrawn_alias_means_nothing_and_stays_in_the_log(store):
    finished(store)
    registry.promote(store, "mine", TRAIN, reason="I like it")
    registry.withdraw(store, "mine", reason="I do not")
    assert registry.current(store) == []
    with pytest.raises(UserError, match="no alias 'mine'"):
        registry.resolve(store, "mine")
    with pytest.raises(UserError, match="'mine' means nothing"):
        registry.withdraw(store, "mine", reason="again")
    assert [entry.fingerprint for entry in registry.entries(store)] == [TRAIN, None]


@pytest.mark.parametrize(("alias", "fingerprint", "message"), [
    ("latest", "score-0123456789ab", "only a train stage"),
    ("latest", OTHER, "is not finished"),
    ("latest", "train", "is not a fingerprint"),
    ("../latest", TRAIN, "cannot be an alias"),
    ("train-ba9876543210", TRAIN, "cannot be an alias: it must not look like a fingerprint"),
    ("train-1f2e", TRAIN, "cannot be an alias: it must not look like a fingerprint"),
])
def test_promote_refuses_what_is_no_alias_or_no_finished_adapter(store, alias, fingerprint, message):
    finished(store), finished(store, "score-0123456789ab")
    with pytest.raises(UserError, match=message):
        registry.promote(store, alias, fingerprint, reason="")
    assert registry.entries(store) == []


def test_promote_refuses_a_damaged_adapter_and_says_what_to_do(store):
    weights = finished(store) / "adapter/adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes().replace(b"w", b"v", 1))
    with pytest.raises(UserError, match=rf"{weights} has changed since it was recorded. Delete {store.root / TRAIN}"):
        registry.promote(store, "mine", TRAIN, reason="")


def test_reason_with_a_secret_in_it_is_written_without(store, monkeypatch):
    monkeypatch.setenv("TEACHER_API_KEY", "correct-horse-battery")
    finished(store)
    registry.promote(store, "mine", TRAIN, reason="made with correct-horse-battery")
    assert "horse" not in (store.root / registry.LEDGER).read_text() and registry.entries(store)[0].reason.startswith("made with")


def _promote_often(store, first):
    for number in range(first, first + 5):
        registry.promote(store, f"alias{number}", TRAIN, reason="")


def test_promotions_at_the_same_time_are_all_kept_whole(store):
    finished(store)
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_promote_often, args=(store, 5 * number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(entry.alias for entry in registry.entries(store)) == sorted(f"alias{number}" for number in range(15))


def test_ledger_torn_line_is_ignored_and_not_glued_to_the_next(store):
    finished(store)
    registry.promote(store, "latest", TRAIN, reason="newest")
    with (store.root / registry.LEDGER).open("a") as file:
        file.write('{"time": 1.0, "alias": "la')
    assert registry.resolve(store, "latest") == TRAIN
    registry.promote(store, "mine", TRAIN, reason="I like it")
    assert [e.alias for e in registry.entries(store)] == ["latest", "mine"]


def test_ledger_damaged_line_is_named(store):
    (store.root / registry.LEDGER).write_text('{"alias": 3}\n')
    with pytest.raises(UserError, match=r"registry.jsonl:1 is not an entry"):
        registry.entries(store)


@pytest.fixture
def swept(store, tmp_path):
    """A finished sweep ``declared``: (ledger, stages)."""
    book, specs = launch(store, declare(tmp_path))
    finish(store, [spec for spec in specs if spec.stage.name not in ("train", "aggregate")], correct=8, n=10, ungraded=0)
    finish_adapters(store, specs)
    for number, goal in enumerate(of(specs, "aggregate")):
        finish(store, [goal], **{"avg": 50.0 + number, "pass@1/toy_math": 60.0, "pass@1/toy_qa": 40.0,
                                 "pass@1/toy_qa3": 20.0 - number})
    return book, specs


def test_end_of_a_sweep_says_best_by_every_metric_and_latest_once(store, swept):
    book, specs = swept
    trains = {trial.label: trial.runs[0].train for trial in book.trials}
    results.promote_best(store, book)
    newest = max(of(specs, "train"), key=lambda spec: store.record(spec.fingerprint)["started"]).fingerprint
    scores = {run.train: store.record(run.goal)["metrics"] for trial in book.trials for run in trial.runs if run.train}
    assert {entry.alias: entry.fingerprint for entry in registry.current(store, "declared")} == {
        "best": max(scores, key=lambda f: scores[f]["avg"]), "best:avg": max(scores, key=lambda f: scores[f]["avg"]),
        "best:pass@1/toy_math": trains["min"], "best:pass@1/toy_qa": trains["min"],
        "best:pass@1/toy_qa3": max(scores, key=lambda f: scores[f]["pass@1/toy_qa3"]), "latest": newest}
    before = registry.entries(store)
    results.promote_best(store, book)
    assert registry.entries(store) == before


def test_aliases_and_their_log_say_what_who_and_why(store, swept):
    book, _ = swept
    results.promote_best(store, book)
    low, high = book.trials[1].runs[0].train, book.trials[2].runs[0].train
    said = smartad("promote", low, "paper-v1", "--reason", "the one in the figures", store=store.root).stdout
    assert f"paper-v1 means {low} now" in said and "before, it meant nothing" in said
    said = smartad("promote", high[:12], "paper-v1", "--reason", "a mistake", store=store.root).stdout
    assert f"paper-v1 means {high} now" in said and f"before, it meant {low}: the one in the figures" in said
    table = smartad("aliases", store=store.root).stdout
    row = next(line for line in table.splitlines() if "paper-v1" in line)
    assert high in row and "a mistake" in row and "best:pass@1/toy_qa3" in table and "latest" in table
    assert "paper-v1" not in smartad("aliases", "--sweep", "declared", store=store.root).stdout
    log = smartad("aliases", "--log", store=store.root).stdout.splitlines()
    assert len(log) == 8 and " best of declared means " in log[0] and "by sweep: " in log[0]
    assert f"paper-v1 means {high} instead of {low}  by " in log[-1] and log[-1].endswith(": a mistake")
    said = smartad("promote", "none", "paper-v1", "--reason", "gone", store=store.root).stdout
    assert "paper-v1 means nothing any more" in said and "paper-v1" not in smartad("aliases", store=store.root).stdout


def test_promote_in_a_sweep_takes_only_its_adapters_and_warns_of_automatic_names(store, swept):
    finished(store)
    refused = smartad("promote", TRAIN, "best", "--sweep", "declared", "--reason", "mine", store=store.root, status=2)
    assert f"{TRAIN} is no adapter of sweep declared" in refused.stderr
    said = smartad("promote", swept[0].trials[1].runs[0].train, "best", "--sweep", "declared", "--reason", "x", store=store.root)
    assert "when declared is started again and ends, it says anew what best means" in said.stdout
    assert "--reason is empty" in smartad("promote", TRAIN, "x", "--reason", " ", store=store.root, status=2).stderr
