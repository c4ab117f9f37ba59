"""Adapters taken out of the store: whole, as recorded, and for their own base model only."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command import smartad
from small_adapters import OTHER, TRAIN, finished, pull, real, seal
from smartad import registry
from smartad.models import TOY_FOLDER, identify
from smartad.registry import pulled
from smartad.types import UserError


def model(folder: Path, text: str = "{}") -> tuple[str, Path]:
    """A local model, as far as its identity goes: (identity, folder)."""
    folder.mkdir()
    (folder / "config.json").write_text(text)
    return identify(str(folder)), folder


def test_pull_writes_adapter_card_and_what_is_known(store, tmp_path):
    finished(store)
    registry.promote(store, "best:pass@1", TRAIN, reason="highest")
    made = pull(store, "best", tmp_path / "out")
    assert (made.about.fingerprint, made.about.base, made.loads_from) == (TRAIN, identify("toy"), str(TOY_FOLDER))
    assert (tmp_path / "out/adapter_model.safetensors").read_bytes() == b"weights" * 100
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert config == {"base_model_name_or_path": str(TOY_FOLDER), "r": 4, "revision": None}
    card = pulled.read(tmp_path / "out")
    assert (card["fingerprint"], card["base"], card["alias"]) == (TRAIN, identify("toy"), "best")
    assert card["recipe"]["train"]["weights"] == {"reason": 1, "action": 1.5, "final": 2} and card["merged"] is None
    assert TRAIN in (tmp_path / "out/README.md").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "store"]


def test_pull_again_replaces_the_earlier_pull_and_nothing_else(store, tmp_path):
    finished(store), finished(store, OTHER, b"better")
    (tmp_path / "out").mkdir()
    pull(store, TRAIN, tmp_path / "out")
    (tmp_path / "out/adapter_model.safetensors").write_bytes(b"spoilt")
    pull(store, OTHER, tmp_path / "out")
    assert (tmp_path / "out/adapter_model.safetensors").read_bytes() == b"better"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "store"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.tex").write_text("years of work")
    with pytest.raises(UserError, match="has other things in it"):
        pull(store, TRAIN, tmp_path / "thesis")
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
    (flip_a_byte, "adapter_model.safetensors has changed since it was recorded"),
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
def test_pull_damaged_adapter_is_one_clear_error_and_leaves_nothing(store, tmp_path, damage, message):
    damage(finished(store) / "adapter")
    with pytest.raises(UserError, match=message):
        pull(store, TRAIN, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_pull_toy_base_of_another_smartad_is_refused(store, tmp_path):
    finished(store, base="toy@000000000000")
    with pytest.raises(UserError, match=rf"toy@000000000000 is not the toy student of this smartad \({identify('toy')}\)"):
        pull(store, TRAIN, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_pull_hub_base_keeps_name_and_revision(store, tmp_path):
    finished(store, base="Qwen/Qwen2.5-1.5B@abc123")
    made = pull(store, TRAIN, tmp_path / "out")
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("Qwen/Qwen2.5-1.5B", "abc123")
    assert made.about.base == "Qwen/Qwen2.5-1.5B@abc123"


def test_pull_local_base_that_is_another_one_is_refused_naming_both(store, tmp_path):
    base, folder = model(tmp_path / "student")
    other, elsewhere = model(tmp_path / "finetuned", '{"hidden_size": 8}')
    finished(store, base=base)
    with pytest.raises(UserError, match=rf"trained on {base}, and {elsewhere} is {other}.*--model FOLDER"):
        pull(store, TRAIN, tmp_path / "out", models={other: str(elsewhere)})
    with pytest.raises(UserError, match=rf"{base} is a local model.*not told its folder"):
        pull(store, TRAIN, tmp_path / "out")
    assert pull(store, TRAIN, tmp_path / "out", models={base: str(folder)}).loads_from == str(folder)


def test_pull_hub_base_is_not_replaced_by_a_local_folder(store, tmp_path):
    other, elsewhere = model(tmp_path / "Qwen2.5-1.5B")
    finished(store, base="Qwen/Qwen2.5-1.5B@abc123")
    with pytest.raises(UserError, match=rf"trained on Qwen/Qwen2.5-1.5B@abc123, and {elsewhere} is {other}"):
        pull(store, TRAIN, tmp_path / "out", models={other: str(elsewhere)})


def test_pull_adapter_that_names_another_base_than_its_record_is_refused(store, tmp_path):
    shutil.copytree(finished(store) / "adapter", store.root / OTHER / "adapter")
    seal(store, OTHER, base="local/student@000000000000")
    with pytest.raises(UserError, match=rf"names the base model {identify('toy')}, and its record .* local/student@000000000000"):
        pull(store, OTHER, tmp_path / "out", models={"local/student@000000000000": str(tmp_path)})


def test_base_of_a_pulled_adapter_is_where_it_was_unless_it_has_changed(store, tmp_path):
    base, folder = model(tmp_path / "student")
    finished(store, base=base)
    pull(store, TRAIN, tmp_path / "out", models={base: str(folder)})
    assert pulled.base_folders(tmp_path / "out", base, []) == {base: str(folder)}
    moved = tmp_path / "elsewhere" / "student"
    shutil.copytree(folder, moved)
    assert pulled.base_folders(tmp_path / "out", base, [str(moved)]) == {base: str(moved)}
    (moved / "config.json").write_text('{"hidden_size": 8}')
    other, elsewhere = model(tmp_path / "finetuned", '{"hidden_size": 8}')
    with pytest.raises(UserError, match=rf"trained on {base}, and {elsewhere} is {other}"):
        pulled.base_folders(tmp_path / "out", base, [str(elsewhere)])


def test_ask_with_another_base_model_than_its_own_is_one_clear_line(store, tmp_path):
    finished(store)
    pull(store, TRAIN, tmp_path / "out")
    card = json.loads((tmp_path / "out/smartad.json").read_text())
    card["recipe"]["evaluate"] = {"student": card["base"]}
    (tmp_path / "out/smartad.json").write_text(json.dumps(card))
    other, elsewhere = model(tmp_path / "finetuned")
    done = smartad("ask", "--adapter", tmp_path / "out", "--model", elsewhere, "?", status=2)
    assert f"trained on {identify('toy')}, and {elsewhere} is {other}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_read_truncated_adapter_other_folder_or_other_version_is_refused(store, tmp_path):
    finished(store)
    pull(store, TRAIN, tmp_path / "out")
    truncate(tmp_path / "out")
    with pytest.raises(UserError, match=r"has 10 bytes instead of 700; pull it again"):
        pulled.read(tmp_path / "out")
    with pytest.raises(UserError, match="is not a pulled adapter"):
        pulled.read(store.root)
    (tmp_path / "out/smartad.json").write_text('{"format": 1}')
    with pytest.raises(UserError, match="is not of format 2: it was written by another version"):
        pulled.read(tmp_path / "out")
    pull(store, TRAIN, tmp_path / "out")
    assert pulled.read(tmp_path / "out")["format"] == 2


@pytest.mark.slow
def test_pull_real_adapter_loads_with_peft_and_computes_what_it_did(store, tmp_path):
    import torch
    from peft import AutoPeftModelForCausalLM

    model = real(store)
    pull(store, TRAIN, tmp_path / "out")
    loaded = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(loaded(tokens).logits, model(tokens).logits)
        with model.disable_adapter():
            assert not torch.allclose(loaded(tokens).logits, model(tokens).logits)
