import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smartad import registry
from smartad.fingerprint import file_sha256
from smartad.models import TOY_FOLDER, identify
from smartad.types import UserError

TRAIN = "train-0123456789ab"
OTHER = "train-ba9876543210"
RECIPE = {"prompt": "toy", "dialect": "paper", "max_steps": 5, "row": {"pass@1": 0.5, "n": 120}}


def seal(store: Path, fingerprint: str = TRAIN) -> Path:
    """Write the record that the store would, for the files that are there."""
    folder = store / fingerprint
    files = {p.relative_to(folder).as_posix(): {"size": p.stat().st_size, "sha256": file_sha256(p)}
             for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "record.json"}
    (folder / "record.json").write_text(json.dumps({"fingerprint": fingerprint, "files": files}))
    return folder


def finished(store: Path, fingerprint: str = TRAIN, weights: bytes = b"weights" * 100) -> Path:
    """A finished train stage, as plain files: enough for everything but loading it."""
    adapter = store / fingerprint / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(weights)
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": identify("toy"), "r": 4}))
    (store / fingerprint / "metrics.jsonl").write_text("")
    return seal(store, fingerprint)


def pull(store: Path, name: str, to: Path, **more: Any) -> registry.Pulled:
    return registry.pull(store, name, to, RECIPE, models={}, **more)


def test_resolve_promoted_twice_the_last_one_counts(tmp_path):
    finished(tmp_path), finished(tmp_path, OTHER)
    registry.promote(tmp_path, "best:pass@1", TRAIN, reason="first sweep", metric="pass@1", value=0.4, sweep="a")
    registry.promote(tmp_path, "best:pass@1", OTHER, reason="second sweep", metric="pass@1", value=0.5, sweep="b")
    assert registry.resolve(tmp_path, "best:pass@1") == OTHER
    assert registry.resolve(tmp_path, "best:pass@1", sweep="a") == TRAIN
    assert [e.value for e in registry.entries(tmp_path)] == [0.4, 0.5]


def test_resolve_best_means_the_only_metric_and_asks_when_there_are_two(tmp_path):
    finished(tmp_path)
    registry.promote(tmp_path, "best:pass@1", TRAIN, reason="highest")
    assert registry.resolve(tmp_path, "best") == TRAIN
    registry.promote(tmp_path, "best:nll", TRAIN, reason="lowest")
    with pytest.raises(UserError, match="say best:nll or best:pass@1"):
        registry.resolve(tmp_path, "best")


def test_resolve_unknown_alias_lists_the_known_ones(tmp_path):
    with pytest.raises(UserError, match=r"no alias 'best'.*none yet"):
        registry.resolve(tmp_path, "best")
    finished(tmp_path)
    registry.promote(tmp_path, "latest", TRAIN, reason="newest", sweep="a")
    with pytest.raises(UserError, match=r"no alias 'champion'.*there are: latest"):
        registry.resolve(tmp_path, "champion")
    with pytest.raises(UserError, match="of sweep b"):
        registry.resolve(tmp_path, "latest", sweep="b")


def test_promote_refuses_what_is_no_finished_adapter(tmp_path):
    finished(tmp_path, "score-0123456789ab")
    with pytest.raises(UserError, match="only a train stage"):
        registry.promote(tmp_path, "latest", "score-0123456789ab", reason="")
    with pytest.raises(UserError, match="is not finished"):
        registry.promote(tmp_path, "latest", TRAIN, reason="")
    with pytest.raises(UserError, match="cannot be an alias"):
        registry.promote(tmp_path, "../latest", TRAIN, reason="")


def test_ledger_torn_line_is_ignored_and_not_glued_to_the_next(tmp_path):
    finished(tmp_path)
    registry.promote(tmp_path, "latest", TRAIN, reason="newest")
    with (tmp_path / registry.LEDGER).open("a") as file:
        file.write('{"time": 1.0, "alias": "la')
    assert registry.resolve(tmp_path, "latest") == TRAIN
    registry.promote(tmp_path, "mine", TRAIN, reason="I like it")
    assert [e.alias for e in registry.entries(tmp_path)] == ["latest", "mine"]


def test_ledger_damaged_line_is_named(tmp_path):
    (tmp_path / registry.LEDGER).write_text('{"alias": 3}\n')
    with pytest.raises(UserError, match=r"registry.jsonl:1 is not an entry"):
        registry.entries(tmp_path)


def test_pull_writes_adapter_card_and_recipe(tmp_path):
    finished(tmp_path / "store")
    registry.promote(tmp_path / "store", "best:pass@1", TRAIN, reason="highest")
    pulled = pull(tmp_path / "store", "best", tmp_path / "out")
    assert (pulled.fingerprint, pulled.base, pulled.loads_from) == (TRAIN, identify("toy"), str(TOY_FOLDER))
    assert (tmp_path / "out/adapter_model.safetensors").read_bytes() == b"weights" * 100
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert config == {"base_model_name_or_path": str(TOY_FOLDER), "r": 4, "revision": None}
    card = registry.read_pulled(tmp_path / "out")
    assert card["recipe"] == RECIPE and card["base"] == identify("toy") and card["fingerprint"] == TRAIN
    assert TRAIN in (tmp_path / "out/README.md").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "store"]


def test_pull_again_replaces_the_earlier_pull_and_nothing_else(tmp_path):
    finished(tmp_path / "store"), finished(tmp_path / "store", OTHER, b"better")
    (tmp_path / "out").mkdir()
    pull(tmp_path / "store", TRAIN, tmp_path / "out")
    (tmp_path / "out/adapter_model.safetensors").write_bytes(b"spoilt")
    pull(tmp_path / "store", OTHER, tmp_path / "out")
    assert (tmp_path / "out/adapter_model.safetensors").read_bytes() == b"better"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "store"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.tex").write_text("years of work")
    with pytest.raises(UserError, match="has other things in it"):
        pull(tmp_path / "store", TRAIN, tmp_path / "thesis")
    assert (tmp_path / "thesis/chapter1.tex").read_text() == "years of work"


def flip_a_byte(adapter: Path) -> None:
    content = bytearray((adapter / "adapter_model.safetensors").read_bytes())
    content[50] ^= 1
    (adapter / "adapter_model.safetensors").write_bytes(content)


def truncate(adapter: Path) -> None:
    os.truncate(adapter / "adapter_model.safetensors", 10)


def remove(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()


def link(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter.parent / "elsewhere")
    (adapter / "adapter_model.safetensors").symlink_to(adapter.parent / "elsewhere")


def link_folder(adapter: Path) -> None:
    adapter.rename(adapter.parent / "elsewhere")
    adapter.symlink_to(adapter.parent / "elsewhere")


def edit_record(name: str, expected: Any) -> Callable[[Path], None]:
    def edit(adapter: Path) -> None:
        path = adapter.parent / "record.json"
        record = json.loads(path.read_text())
        record["files"][name] = expected
        path.write_text(json.dumps(record))
    return edit


def cut_record(adapter: Path) -> None:
    os.truncate(adapter.parent / "record.json", 20)


@pytest.mark.parametrize("damage, message", [
    (flip_a_byte, "adapter_model.safetensors is not what was recorded"),
    (truncate, "adapter_model.safetensors has 10 bytes instead of 700"),
    (remove, "adapter_model.safetensors is missing"),
    (link, "adapter_model.safetensors is a link"),
    (link_folder, "adapter is a link"),
    (edit_record("adapter/../../../etc/passwd", {"size": 1, "sha256": ""}), "outside of its adapter"),
    (edit_record("adapter/..\\evil", {"size": 1, "sha256": ""}), "outside of its adapter"),
    (edit_record("adapter/adapter_model.safetensors", None), "no size and SHA-256 on record"),
    (cut_record, "record.json is damaged"),
    (lambda adapter: shutil.rmtree(adapter.parent), "is not finished"),
])
def test_pull_damaged_adapter_is_one_clear_error_and_leaves_nothing(tmp_path, damage, message):
    damage(finished(tmp_path / "store") / "adapter")
    with pytest.raises(UserError, match=message):
        pull(tmp_path / "store", TRAIN, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_pull_base_model_of_another_smartad_is_refused(tmp_path):
    folder = finished(tmp_path / "store")
    (folder / "adapter/adapter_config.json").write_text('{"base_model_name_or_path": "toy@000000000000"}')
    seal(tmp_path / "store")
    with pytest.raises(UserError, match="is not the toy student of this smartad"):
        pull(tmp_path / "store", TRAIN, tmp_path / "out")


def test_pull_hub_base_keeps_name_and_revision(tmp_path):
    folder = finished(tmp_path / "store")
    (folder / "adapter/adapter_config.json").write_text('{"base_model_name_or_path": "Qwen/Qwen2.5-1.5B@abc123"}')
    seal(tmp_path / "store")
    pulled = pull(tmp_path / "store", TRAIN, tmp_path / "out")
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert config == {"base_model_name_or_path": "Qwen/Qwen2.5-1.5B", "revision": "abc123"}
    assert pulled.base == "Qwen/Qwen2.5-1.5B@abc123"


def test_read_pulled_truncated_adapter_or_other_folder_is_refused(tmp_path):
    finished(tmp_path / "store")
    pull(tmp_path / "store", TRAIN, tmp_path / "out")
    truncate(tmp_path / "out")
    with pytest.raises(UserError, match=r"has 10 bytes instead of 700.*pull again"):
        registry.read_pulled(tmp_path / "out")
    with pytest.raises(UserError, match="is not a pulled adapter"):
        registry.read_pulled(tmp_path / "store")


@pytest.mark.slow
def test_pull_real_adapter_loads_with_peft_and_computes_what_it_did(tmp_path):
    import torch
    from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(TOY_FOLDER)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM",
                                            init_lora_weights=False)).eval()
    model.peft_config["default"].base_model_name_or_path = identify("toy")
    model.save_pretrained(tmp_path / "store" / TRAIN / "adapter")
    seal(tmp_path / "store")
    pull(tmp_path / "store", TRAIN, tmp_path / "out")
    loaded = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(loaded(tokens).logits, model(tokens).logits)
        with model.disable_adapter():
            assert not torch.allclose(loaded(tokens).logits, model(tokens).logits)
