"""Dense retrieval: vectors as the papers' model makes them, indices that find what brute force finds, files that are mapped."""

import dataclasses
import os
import shutil
import subprocess
import sys

import faiss
import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from small_retrievers import DIMENSIONS, made_up, make_embedder
from smartad.config import load
from smartad.engines import retrieval
from smartad.engines.retrieval import dense, vectors
from smartad.engines.retrieval.embedding import Embedder, text_of
from smartad.engines.retrieval.recipe import Embedding, Retrieval, Vectors, decisive
from smartad.experiment import Experiment, missing_data, plan
from smartad.records import write_jsonl
from smartad.stage import Runtime
from smartad.stages.index import INDEX, IndexConfig, indexed
from smartad.types import Passage, UserError

pytestmark = pytest.mark.slow
SMALL = {"lists": 16, "probes": 4, "code_bytes": 1, "neighbours": 16, "construction": 40, "beam": 32}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_embedder(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="module")
def passages():
    return made_up(600)


@pytest.fixture(scope="module")
def flat(model, passages, tmp_path_factory):
    """A flat index of the made-up passages."""
    out = tmp_path_factory.mktemp("flat")
    metrics = retrieval.build(passages, out, (Embedding(model[0]), Vectors()), runtime(model))
    assert metrics["passages"] == 600 and metrics["dimensions"] == DIMENSIONS and "recall@3" not in metrics
    return out


def runtime(model, **more):
    return Runtime(models=model[1], **more)


def by_hand(model, texts, max_tokens=256):
    """The mean of the last layer over each text's own tokens, one text at a time, at length 1."""
    folder = next(iter(model[1].values()))
    tokenizer, bert = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    rows = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            mean = bert(input_ids=ids).last_hidden_state[0].mean(0)
        rows.append((mean / mean.norm()).numpy())
    return np.stack(rows)


def test_vectors_are_the_mean_of_the_last_layer_behind_their_prefix(model):
    embedder = Embedder(Embedding(model[0]), model[1])
    texts = ["short", "a question that is a good deal longer than the other one"]
    assert np.abs(embedder.queries(texts) - by_hand(model, [f"query: {t}" for t in texts])).max() < 1e-5
    found = embedder.passages([Passage("1", "Title", text) for text in texts])
    assert np.abs(found - by_hand(model, [f'passage: "Title"\n{t}' for t in texts])).max() < 1e-5
    assert np.abs(found - by_hand(model, [f'query: "Title"\n{t}' for t in texts])).max() > 1e-3, "the prefix decides"
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-5


def test_vectors_know_nothing_behind_the_last_token(model):
    embedder = Embedder(Embedding(model[0]), model[1])
    fits = ["x"] * (256 - len(["[CLS]", *"query:", "[SEP]"]))
    same, other = embedder.queries([" ".join([*fits, "y"]), " ".join([*fits[:-1], "y", "y"])])
    assert np.abs(same - embedder.queries([" ".join(fits)])[0]).max() < 1e-5, "256 tokens are read"
    assert np.abs(other - same).max() > 1e-4, "and no fewer"


def test_model_with_fewer_positions_than_asked_for_is_refused(model):
    with pytest.raises(UserError, match="max_tokens=400: .* has 320 positions"):
        Embedder(Embedding(model[0], max_tokens=400), model[1])


def test_flat_search_finds_what_brute_force_finds(model, passages, flat):
    queries = [p.text for p in made_up(40, seed=1, words=4)]
    scores = by_hand(model, [f"query: {q}" for q in queries]) @ by_hand(model, [f"passage: {text_of(p)}" for p in passages]).T
    alone, batched = retrieval.load(flat, runtime(model)), dense.load(flat, passages, runtime(model)).search_all(queries, 5)
    compared = 0
    for query, row, together in zip(queries, scores, batched, strict=True):
        best = np.argsort(-row)[:6]
        if np.diff(-row[best]).min() > 1e-5:  # else rounding decides
            expected = [passages[i].id for i in best[:5]]
            assert [p.id for p in alone.search(query, 5)] == expected == [p.id for p in together]
            compared += 1
    assert compared > 30


def test_search_asks_for_more_than_there_is_gets_all(model, tmp_path):
    retrieval.build(made_up(3), tmp_path, (Embedding(model[0]), Vectors()), runtime(model))
    assert {p.id for p in retrieval.load(tmp_path, runtime(model)).search("anything", 10)} == {"made/0", "made/1", "made/2"}


@pytest.mark.parametrize(("kind", "least"), [
    ("fp16", 0.97), ("sq8", 0.8), ("hnsw", 0.9), ("ivfpq", 0.2)])
def test_approximation_says_how_much_of_the_flat_answers_it_finds(kind, least, model, passages, flat, tmp_path):
    recipe = decisive(Vectors(kind, **SMALL))
    metrics = retrieval.build(passages, tmp_path, (Embedding(model[0]), recipe), runtime(model), flat=flat)
    asked = [passages[int(i)].text.split(". ")[0] for i in sorted(np.random.default_rng(0).choice(600, 600, replace=False))]
    exact, other = (dense.load(folder, passages, runtime(model)).search_all(asked, 10) for folder in (flat, tmp_path))
    shares = [len({p.id for p in a} & {p.id for p in b}) / 10 for a, b in zip(exact, other, strict=True)]
    assert metrics["recall@10"] == pytest.approx(np.mean(shares), abs=2e-3), "counted from what is found"
    assert metrics["recall_queries"] == 600 and metrics["recall@10"] >= least
    assert metrics.get("lists") == (16 if kind == "ivfpq" else None)


def test_recall_of_an_index_of_other_vectors_is_that_of_chance():
    chance = np.random.default_rng(0)
    queries, rows = (chance.standard_normal((n, 8)).astype(np.float32) for n in (50, 400))
    right, wrong = faiss.IndexFlatIP(8), faiss.IndexFlatIP(8)
    right.add(rows)
    wrong.add(rows[::-1].copy())
    assert vectors.recall(right, right, queries, 10) == 1
    assert vectors.recall(wrong, right, queries, 10) < 0.15


@pytest.mark.parametrize("kind", ["ivfpq", "hnsw"])
def test_search_that_looks_at_more_finds_more(kind):
    rows = np.random.default_rng(0).standard_normal((1500, 8)).astype(np.float32)
    (flat := faiss.IndexFlatIP(8)).add(rows)
    least, most = (Vectors(kind, **{**SMALL, "probes": n, "beam": n}) for n in (1, 16))
    index = vectors.make(most, lambda a, b: rows[a:b], 1500, 8, lambda *_: None)
    shares = []
    for recipe in (least, most):
        vectors.set_search(index, recipe)
        shares.append(vectors.recall(index, flat, rows[:200], 5))
    assert shares[0] < shares[1]


@pytest.mark.parametrize(("change", "message"), [
    ({"code_bytes": 5}, r"code_bytes=5 must divide the 16 dimensions"),
    ({"lists": 700}, r"lists=700 needs 700 passages .* there are 600; use kind=flat"),
])
def test_ivfpq_that_cannot_be_learned_is_refused(change, message, model, passages, flat, tmp_path):
    recipe = Vectors("ivfpq", **{**SMALL, **change})
    with pytest.raises(UserError, match=message):
        retrieval.build(passages, tmp_path, (Embedding(model[0]), recipe), runtime(model), flat=flat)


@pytest.mark.parametrize("change", [{"kind": "hnsw", "beam": 0}, {"kind": "ivfpq", "probes": None}])
def test_vectors_with_numbers_that_make_no_sense_are_refused(change):
    with pytest.raises(UserError, match=r"beam|probes"):
        Vectors(**change)


def test_index_is_mapped_and_not_read(model, flat):
    """Its process maps the file, and its memory does not grow by it."""
    big = flat / "big.faiss"
    index = faiss.IndexFlatIP(512)
    for _ in range(8):
        index.add(np.ones((8192, 512), np.float32))
    faiss.write_index(index, str(big))  # 134 MB
    code = f"""
import pathlib, psutil
from smartad.engines.retrieval import vectors
before = psutil.Process().memory_info().rss
index = vectors.read(pathlib.Path({str(big)!r}), "flat")
print(index.ntotal, psutil.Process().memory_info().rss - before, {str(big)!r} in pathlib.Path("/proc/self/maps").read_text())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    big.unlink()
    assert said[0] == "65536" and said[2] == "True"
    assert int(said[1]) < 30e6


def test_embedding_that_was_cut_off_loses_at_most_a_chunk(model, passages, flat, tmp_path, monkeypatch):
    """Torn in the middle of a row, it goes on with the chunks that were whole, and comes to the same index."""
    embedder, path, seen = Embedder(Embedding(model[0]), model[1]), tmp_path / dense.UNFINISHED, []
    monkeypatch.setattr(dense, "CHUNK", 100)
    dense.embed(passages, embedder, path, lambda done, total: seen.append((done, total)))
    assert seen == [(n, 600) for n in (100, 200, 300, 400, 500, 600)]
    whole = path.read_bytes()
    assert len(whole) == 600 * DIMENSIONS * 4
    path.write_bytes(whole[:350 * DIMENSIONS * 4 + 7])  # three chunks, half of another, and a piece of a row
    seen.clear()
    dense.embed(passages, embedder, path, lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == [400, 500, 600]
    assert path.read_bytes() == whole
    retrieval.build(passages, tmp_path, (Embedding(model[0]), Vectors()), runtime(model))
    assert not path.exists(), "the index has them"
    found = vectors.read(tmp_path / dense.INDEX, "flat").reconstruct_n(0, 600)
    assert np.abs(found - vectors.read(flat / dense.INDEX, "flat").reconstruct_n(0, 600)).max() < 1e-5


def test_damaged_index_is_refused_by_name(model, flat, tmp_path):
    shutil.copytree(flat, tmp_path / "index")
    os.truncate(tmp_path / "index" / dense.INDEX, 100)
    with pytest.raises(UserError, match=r"vectors.faiss is not a whole FAISS index"):
        retrieval.load(tmp_path / "index", runtime(model))


# What an experiment makes of it.

def test_bm25_index_is_the_one_it_always_was():
    assert indexed("toy", Retrieval()).fingerprint == "index-25bc83ad63c9"
    assert indexed("wiki2", load(Experiment, ["corpus=wiki2"]).retrieval).fingerprint == "index-3d21532fd1c2"


def test_bm25_setting_is_part_of_the_index():
    other = load(Experiment, ["retrieval.bm25.k1=1.2"]).retrieval
    assert indexed("toy", other).fingerprint != indexed("toy", Retrieval()).fingerprint


def test_dense_experiment_makes_approximations_of_one_flat_index(model):
    folder = next(iter(model[1].values()))
    words = ["retrieval.method=dense", f"retrieval.embedding.model={folder}"]
    flat, hnsw, fp16 = (indexed("toy", load(Experiment, [*words, *more]).retrieval) for more in (
        [], ["retrieval.vectors.kind=hnsw"], ["retrieval.vectors.kind=fp16", "retrieval.vectors.beam=5"]))
    assert hnsw.inputs["flat"].fingerprint == fp16.inputs["flat"].fingerprint == flat.fingerprint
    assert flat.config.embedding.model == model[0], "its content, not where it is"
    assert fp16.fingerprint == indexed("toy", load(Experiment, [*words, "retrieval.vectors.kind=fp16"]).retrieval).fingerprint, \
        "what its kind does not use is no part of it"
    assert plan(load(Experiment, words)).models == model[1]


def test_toy_corpus_is_indexed_and_approximated_by_the_stages(model, tmp_path):
    flat, hnsw = tmp_path / "flat", tmp_path / "hnsw"
    config = IndexConfig("toy", None, "dense", None, Embedding(model[0]), Vectors())
    for out, change, inputs in ((flat, Vectors(), {}), (hnsw, decisive(Vectors("hnsw", **SMALL)), {"flat": flat})):
        out.mkdir()
        metrics = INDEX.run(dataclasses.replace(config, vectors=change), inputs, out, runtime(model))
    assert metrics["passages"] == 1228 and metrics["recall@3"] > 0.5
    assert len(retrieval.load(hnsw, runtime(model)).search("Where?", 3)) == 3


# Wikipedia 2018.

def wikipedia(folder, model, rows=None):
    """Ten passages where a download would lie, and an index of them as it was published: what was embedded."""
    (folder / "wiki18").mkdir(parents=True)
    contents = [f'"{p.title}"\n{p.text}' for p in made_up(10, seed=2)]
    write_jsonl(folder / "wiki18" / "wiki-18.jsonl", [{"id": str(i), "contents": text} for i, text in enumerate(contents)])
    texts = [f"passage: {text}" for text in contents]
    index = faiss.index_factory(DIMENSIONS, "Flat", faiss.METRIC_INNER_PRODUCT)
    index.add(by_hand(model, texts)[:rows])
    faiss.write_index(index, str(folder / "wiki18" / "e5_Flat.index"))
    return texts


def published(model, *more):
    folder = next(iter(model[1].values()))
    return indexed("wiki18", load(Experiment, ["corpus=wiki18", "retrieval.method=dense", "retrieval.embedding.published=true",
                                               f"retrieval.embedding.model={folder}", *more]).retrieval)


def test_published_index_and_corpus_are_read_where_they_lie(model, tmp_path):
    data, out = tmp_path / "data", tmp_path / "index"
    out.mkdir()
    texts = wikipedia(data, model)
    spec = published(model)
    here = runtime(model, data=data)
    metrics = INDEX.run(spec.config, {}, out, here)
    assert metrics["passages"] == 10 and sum(f.stat().st_size for f in out.rglob("*")) < 2000, "nothing is copied"
    retriever = retrieval.load(out, here)
    scores = by_hand(model, ["query: who"])[0] @ by_hand(model, texts).T
    found = retriever.search("who", 10)
    assert [p.id for p in found] == [f"wiki18/{i}" for i in np.argsort(-scores)]
    first, expected = found[0], made_up(10, seed=2)[int(np.argmax(scores))]
    assert (first.title, first.text) == (expected.title, expected.text)


def test_published_index_can_be_approximated(model, tmp_path):
    data = tmp_path / "data"
    wikipedia(data, model)
    spec, here = published(model, "retrieval.vectors.kind=fp16"), runtime(model, data=data)
    for name, config, inputs in (("flat", spec.inputs["flat"].config, {}), ("fp16", spec.config, {"flat": tmp_path / "flat"})):
        (tmp_path / name).mkdir()
        metrics = INDEX.run(config, inputs, tmp_path / name, here)
    assert metrics["recall@10"] == 1 and not (tmp_path / "flat" / dense.INDEX).exists()


def test_published_index_of_fewer_passages_is_refused(model, tmp_path):
    data = tmp_path / "data"
    wikipedia(data, model, rows=9)
    with pytest.raises(UserError, match=r"holds 9 vectors of 16 dimensions, and there are 10 passages"):
        INDEX.run(published(model).config, {}, tmp_path, runtime(model, data=data))


def test_published_index_of_another_model_is_refused(model, tmp_path):
    data = tmp_path / "data"
    wikipedia(data, model)
    index = faiss.IndexFlatIP(DIMENSIONS)
    index.add(np.eye(10, DIMENSIONS, dtype=np.float32))
    faiss.write_index(index, str(data / "wiki18" / "e5_Flat.index"))
    with pytest.raises(UserError, match=r"the index is of another corpus or model"):
        INDEX.run(published(model).config, {}, tmp_path, runtime(model, data=data))


def test_corpus_file_that_has_changed_is_refused(model, tmp_path):
    data = tmp_path / "data"
    (out := tmp_path / "index").mkdir()
    wikipedia(data, model)
    INDEX.run(published(model).config, {}, out, runtime(model, data=data))
    with (data / "wiki18" / "wiki-18.jsonl").open("a") as file:
        file.write("more\n")
    with pytest.raises(UserError, match=r"wiki-18.jsonl has \d+ bytes, and the index was made of one with \d+"):
        retrieval.load(out, runtime(model, data=data))
    with pytest.raises(UserError, match="say where that is with data=FOLDER"):
        retrieval.load(out, runtime(model))


def test_published_vectors_of_a_corpus_without_them_are_refused(model):
    with pytest.raises(UserError, match="no published vectors of toy, only of wiki18"):
        indexed("toy", dataclasses.replace(Retrieval("dense"), embedding=Embedding(published=True)))


def test_missing_files_of_wikipedia_are_named_at_the_desk(model, tmp_path):
    assert missing_data([published(model)], Runtime(data=tmp_path)) == ["wiki18/wiki-18.jsonl", "wiki18/e5_Flat.index"]
