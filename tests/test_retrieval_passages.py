"""Passages read where they lie: the forms in which Wikipedia 2018 is published, and what is wrong with a file."""

import csv
import json

import numpy as np
import pytest

from smartad import corpora
from smartad.engines.retrieval import passages
from smartad.records import RecordError, dump_line
from smartad.types import Passage, UserError

ROWS = [Passage("1", "Aaron", 'Aaron Aaron ( or ; "Ahärôn") is a prophet'),
        Passage("2", '"Weird Al" Yankovic', "a\ttab, and „more“"),
        Passage("3", "Plain", "the last one, without an end of line")]


def psgs_w100(path):
    """As DPR wrote it: a line of names, tabs, quotes where they are needed."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerows([["id", "text", "title"], *([row.id, row.text, row.title] for row in ROWS)])


def contents(path):
    path.write_text("\n".join(json.dumps({"id": row.id, "contents": f'"{row.title}"\n{row.text}'}) for row in ROWS))


@pytest.mark.parametrize(("name", "write"), [("psgs_w100", psgs_w100), ("wiki18", contents)])
def test_corpus_of_wikipedia_2018_reads_each_published_form(name, write, tmp_path):
    write(tmp_path / "corpus")
    lines = corpora.get(name).load(tmp_path / "corpus")
    assert [(p.title, p.text) for p in lines] == [(p.title, p.text) for p in ROWS]
    assert len(lines) == 3 and lines[1].id == f"{name}/2"
    with pytest.raises(IndexError):
        lines[3]


def test_real_sample_of_wikipedia_2018_is_read(real_data):
    lines = corpora.get("wiki18").load(real_data / "wiki18_passages" / "searchr1_example_corpus.jsonl")
    assert len(lines) == 10 and [p.id for p in lines] == [f"wiki18/{i}" for i in range(10)]
    assert lines[0].title == "Evan Morris" and lines[0].text.startswith("Evan Morris Evan L. Morris (January 26, 1977")
    assert all(p.title and '"' not in p.title and len(p.text.split()) > 80 for p in lines)


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_lines_are_found_wherever_a_block_ends(block, tmp_path, monkeypatch):
    monkeypatch.setattr(passages, "BLOCK", block)
    (tmp_path / "file").write_bytes(b"".join(dump_line(row).encode() for row in ROWS))
    assert list(passages.scan(tmp_path / "file", "passage")) == ROWS


def test_broken_line_is_named(tmp_path):
    (tmp_path / "wiki.tsv").write_text("id\ttext\ttitle\n1\ttext\ttitle\n2\tno title\n")
    lines = passages.scan(tmp_path / "wiki.tsv", "psgs_w100")
    assert lines[0].title == "title"
    with pytest.raises(RecordError, match=r"wiki.tsv:3 is not a passage of the form 'psgs_w100'"):
        lines[1]


def test_empty_file_is_refused(tmp_path):
    (tmp_path / "wiki.jsonl").touch()
    with pytest.raises(UserError, match=r"wiki.jsonl is empty"):
        passages.scan(tmp_path / "wiki.jsonl", "contents")


def test_passages_are_kept_with_their_places_and_found_without_them(tmp_path):
    """An index of an earlier smartad has no file of places."""
    passages.keep(ROWS, tmp_path)
    starts = np.load(tmp_path / passages.STARTS)
    assert len(starts) == 4 and list(passages.reopen(tmp_path, None)) == ROWS
    (tmp_path / passages.STARTS).unlink()
    assert list(passages.reopen(tmp_path, None)) == ROWS
