"""The index: what a teacher would ask finds what it needs."""

import re

import pytest

from smartad import benchmarks, corpora
from smartad.engines import retrieval
from smartad.stage import Runtime
from smartad.stages.index import INDEX, IndexConfig
from smartad.toyworld.world import query, world
from smartad.types import Passage, UserError


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    assert INDEX.run(IndexConfig("toy"), {}, folder, Runtime()) == {"passages": len(world().facts)}
    return folder


def test_search_for_every_toy_fact_finds_its_document_in_the_top_two(toy):
    retriever = retrieval.load(toy)
    missed = [fact for fact in world().facts
              if fact.sentence not in [p.text for p in retriever.search(query(fact.relation, fact.subject), 2)]]
    assert not missed


def test_search_for_most_toy_facts_finds_their_document_first(toy):
    retriever = retrieval.load(toy)
    first = [retriever.search(query(f.relation, f.subject), 1)[0].text == f.sentence for f in world().facts]
    assert sum(first) > 0.8 * len(first)


def test_search_for_unknown_words_finds_nothing_and_says_so(toy):
    found = retrieval.load(toy).search("Zürich?", 2)
    assert found == []
    assert retrieval.render(found) == "No passage fits."


def test_search_with_equal_scores_keeps_the_corpus_order(tmp_path):
    passages = [Passage(str(i), "", "the same words") for i in range(20)]
    retrieval.build(passages, tmp_path)
    assert [p.id for p in retrieval.load(tmp_path).search("same words", 5)] == ["0", "1", "2", "3", "4"]


def test_search_looks_at_titles_too(tmp_path):
    passages = [Passage("a", "Ada Lovelace", "She wrote a program."), Passage("b", "Bach", "He wrote music.")]
    retrieval.build(passages, tmp_path)
    found = retrieval.load(tmp_path).search("lovelace", 3)
    assert [p.id for p in found] == ["a"]
    assert retrieval.render(found) == "Ada Lovelace: She wrote a program."


def test_index_of_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="no passages"):
        retrieval.build([], tmp_path)


def test_load_of_an_empty_folder_names_it(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        retrieval.load(tmp_path)


def test_unknown_corpus_names_the_others():
    with pytest.raises(UserError, match=r"no corpus 'wiki17'; there are psgs_w100, toy, wiki18, wiki2"):
        IndexConfig("wiki17")


@pytest.mark.slow
def test_real_questions_find_the_passages_that_they_name(real_data, tmp_path):
    """The figure of docs/retrieval.md."""
    def words(text):
        return " ".join(["", *re.findall(r"\w+", text.lower()), ""])

    INDEX.run(IndexConfig("wiki2", corpora.get("wiki2").SOURCE.sha256), {}, tmp_path, Runtime(data=real_data))
    titles = {p.id: words(p.title) for p in corpora.get("wiki2").load(real_data / corpora.get("wiki2").SOURCE.file)}
    benchmark, retriever = benchmarks.get("wiki2qa"), retrieval.load(tmp_path)
    named = found = 0
    for question in benchmark.load(real_data / benchmark.SOURCE.file):
        asked = words(question.text)
        gold = {key for key, title in titles.items() if len(title.split()) > 1 and title in asked}
        named += len(gold)
        found += len(gold & {p.id for p in retriever.search(question.text, 3)}) if gold else 0
    assert (named, found) == (97, 87)


@pytest.mark.slow
def test_index_of_wiki2_finds_a_passage_by_its_title(real_data, tmp_path):
    INDEX.run(IndexConfig("wiki2", corpora.get("wiki2").SOURCE.sha256), {}, tmp_path, Runtime(data=real_data))
    assert retrieval.load(tmp_path).search("Teutberga queen of Lotharingia", 3)[0].title == "Teutberga"
