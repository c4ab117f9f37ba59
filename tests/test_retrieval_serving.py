"""Many who search at once: nothing is searched twice, what comes together goes together, and a server serves them all."""

import gzip
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import httpx
import pytest
import yaml

from command import ROOT, environment, smartad
from hub_server import Hub, loopback
from smartad.engines import retrieval
from smartad.engines.retrieval import remote
from smartad.engines.retrieval.front import Front
from smartad.engines.retrieval.remote import Remote
from smartad.records import read_json
from smartad.runner import classify
from smartad.stage import Runtime
from smartad.stages.collect import COLLECT, CollectConfig
from smartad.stages.prepare import PREPARE, PrepareConfig
from smartad.types import Passage, ToolDown, UserError

pytestmark = pytest.mark.slow
TOY = "index-25bc83ad63c9"
QUERIES = ["capital of", "population", "who founded", "born in", "currency", "Where is the city?"]


class Echo:
    """A searcher that says what it was asked, and waits for leave."""

    def __init__(self, leave=True):
        self.calls, self.leave = [], threading.Event()
        if leave:
            self.leave.set()

    def search_all(self, queries, k):
        self.calls.append((list(queries), k))
        self.leave.wait(30)
        return [[Passage(f"{query}/{i}", "", query) for i in range(k)] for query in queries]


def test_query_that_is_known_is_not_searched_again():
    front = Front(echo := Echo())
    first = front.search("a", 2)
    assert front.search("a", 2) == first == echo.search_all(["a"], 2)[0]
    assert [len(front.search(q, k)) for q, k in (("a", 3), ("a ", 2))] == [3, 2], "another k, another query"
    assert (front.asked, front.known, front.batches) == (4, 1, 3)


def test_queries_that_come_while_one_is_searched_go_together():
    front = Front(echo := Echo(leave=False))
    first = front.ask("first", 1)
    while not echo.calls:
        pass
    others = [front.ask(f"q{i}", 1) for i in range(20)] + [front.ask("q3", 1), front.ask("first", 1), front.ask("other k", 5)]
    echo.leave.set()
    assert first.result(30)[0].id == "first/0"
    assert [answer.result(30)[0].text for answer in others] == [*(f"q{i}" for i in range(20)), "q3", "first", "other k"]
    assert echo.calls == [(["first"], 1), ([f"q{i}" for i in range(20)], 1), (["other k"], 5)]


def test_who_gives_up_does_so_alone():
    front = Front(echo := Echo(leave=False))
    mine, another = front.ask("a", 1), front.ask("b", 1)
    assert not mine.cancel()
    echo.leave.set()
    assert [answer.result(30)[0].id for answer in (mine, another, front.ask("a", 1))] == ["a/0", "b/0", "a/0"]


def test_what_was_not_asked_for_longest_is_forgotten_first():
    front = Front(Echo(), remembered=2)
    for query in ("a", "b", "a", "c", "a", "b"):
        front.search(query, 1)
    assert front.known == 2, "a twice; c put b out"


def test_search_that_failed_is_told_and_tried_again():
    class Fails(Echo):
        def search_all(self, queries, k):
            found = super().search_all(queries, k)
            if len(self.calls) == 1:
                raise OSError("no such luck")
            return found

    front = Front(Fails())
    with pytest.raises(OSError, match="no such luck"):
        front.search("a", 1)
    assert front.search("a", 1)[0].id == "a/0"


def test_query_that_no_tokenizer_takes_is_made_one():
    echo = Echo()
    assert retrieval.tool(Front(echo), 1)("a \ud83d\ude00 smile") == "a ?? smile"
    retrieval.tool(Front(echo), 1)("x" * 10**6)
    assert [len(query) for (query,), _ in echo.calls] == [10, 10_000]


def test_agents_are_not_told_of_a_search_that_failed():
    class Broken:
        def search(self, query, k):
            raise OSError("disk")

    with pytest.raises(ToolDown, match=r"web_search\('x'\) failed: OSError: disk"):
        retrieval.tool(Broken(), 3)("x")
    assert classify(ToolDown("x")) == "engine", "which is tried again"


# The server, as a process.

@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A store with the toy index, and what serves it: (store, address)."""
    store = tmp_path_factory.mktemp("shop")
    smartad("run", "configs/toy.yaml", "--until", "index", "--track", "none", "--jobs", "0", store=store)
    with served(store, "configs/toy.yaml") as (_, address):
        yield store, address


@contextmanager
def served(store, *words):
    process = subprocess.Popen([sys.executable, "-m", "smartad", "serve-retriever", *words], cwd=ROOT, env=environment(store),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said = process.stdout.readline()
        assert "http://" in said, said + process.stderr.read()
        yield process, re.search(r"http://\S+", said)[0]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_server_tells_what_it_serves_and_finds_what_the_index_finds(shop):
    store, address = shop
    health = httpx.get(f"{address}/health").json()
    assert health["fingerprint"] == TOY and health["passages"] == 1228
    here = retrieval.load(store / TOY)
    assert Remote(address, TOY).search_all(QUERIES, 3) == [here.search(query, 3) for query in QUERIES]
    assert any(here.search(query, 3) for query in QUERIES)


def test_many_clients_share_what_one_of_them_asked(shop):
    store, address = shop
    before = httpx.get(f"{address}/health").json()
    clients = [retrieval.connect(store / TOY, Runtime(retriever=address)) for _ in range(4)]
    queries = [f"{query} {i}" for i in range(3) for query in QUERIES]
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda one: one[0].search(one[1], 2), [(c, q) for q in queries for c in clients]))
    here = retrieval.load(store / TOY)
    assert found == [here.search(query, 2) for query in queries for _ in clients]
    after = httpx.get(f"{address}/health").json()
    assert after["asked"] - before["asked"] == 4 * len(queries), "each client asks a query once"
    assert after["known"] - before["known"] == 3 * len(queries), "and one of them has it searched"
    assert after["batches"] - before["batches"] <= len(queries)


@pytest.mark.parametrize(("content", "why"), [
    (b"{", "queries"), (b"[]", "queries must be a list of strings"), (b'{"queries": [1], "k": 3}', "must be a list of strings"),
    (b'{"queries": ["a"], "k": 0}', "k must be a whole number from 1 to 1000, got 0"),
    (b'{"queries": ["a"], "k": true}', "got True"), (b'{"queries": ["a"]}', "got None"), (b"\xff", "queries")])
def test_request_that_makes_no_sense_is_answered_with_what_would(shop, content, why):
    answer = httpx.post(f"{shop[1]}/search", content=content)
    assert answer.status_code == 400 and why in answer.json()["error"]


def test_stage_refuses_a_server_of_another_index(shop, tmp_path):
    (tmp_path / "index-000000000000").mkdir()
    with pytest.raises(UserError, match=rf"serves {TOY}, and this stage searches index-000000000000"):
        retrieval.connect(tmp_path / "index-000000000000", Runtime(retriever=shop[1]))


def test_server_that_is_gone_is_no_result(monkeypatch):
    monkeypatch.setattr(remote, "PAUSE_S", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(ToolDown, match=rf"the retriever at {address} did not answer in 4 tries: ConnectError"):
        Remote(address, TOY)


def test_server_on_a_taken_port_says_so(shop):
    port = shop[1].rpartition(":")[2]
    done = smartad("serve-retriever", TOY, "--port", port, store=shop[0], status=2)
    assert f"cannot listen at 127.0.0.1, port {port}: Address already in use" in done.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_server_stops_cleanly_and_says_what_it_did(shop, sent):
    with served(shop[0], "index-25bc", "--host", "0.0.0.0") as (process, address):
        Remote(address.replace("0.0.0.0", "127.0.0.1"), TOY).search_all(["a city", "a city"], 1)
        process.send_signal(sent)
        said, complaint = process.communicate(timeout=60)
        assert process.returncode == 0 and "2 queries, 1 of them known already, 1 searches" in said
        assert complaint == "smartad: whoever reaches 0.0.0.0 can search this index; there is no password\n"


def test_server_of_an_index_that_is_not_made_says_how_to_make_it(tmp_path):
    done = smartad("serve-retriever", "configs/toy.yaml", store=tmp_path, status=2)
    assert f"{TOY} is not finished" in done.stderr and "run configs/toy.yaml --until index" in done.stderr


def test_run_through_the_server_makes_what_a_run_without_it_makes(shop, tmp_path):
    """And its record says where it searched."""
    _, address = shop
    profile = tmp_path / "site.yaml"
    profile.write_text(yaml.safe_dump({"retriever": address}))
    rows = {}
    for name, words in (("alone", []), ("served", ["--cluster", str(profile)])):
        smartad("run", "configs/toy.yaml", "limits.train_questions=4", "collect.samples=2", "select.first=2", "--track", "none",
                "--until", "collect", "--jobs", "0", *words, store=tmp_path / name)
        (folder,) = (tmp_path / name).glob("collect-*")
        lines = (folder / "trajectories.jsonl").read_text().splitlines()
        rows[name] = [re.sub(r'"seconds": [\d.]+', "", line) for line in lines]
        assert read_json(folder / "record.json")["ran"]["retriever"] == {"alone": "in-process", "served": address}[name]
    assert rows["alone"] == rows["served"] and "web_search" in "".join(rows["alone"])


class Failing(BaseHTTPRequestHandler):
    """A retriever that is there and cannot search."""

    def do_GET(self):
        self._answer(200, b'{"fingerprint": "%s"}' % TOY.encode())

    def do_POST(self):
        self._answer(500, b'{"error": "no memory"}')

    def _answer(self, status, content):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def test_stage_whose_retriever_fails_has_no_result_and_keeps_no_spoilt_row(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "PAUSE_S", 0.01)
    for name in ("questions", "out"):
        (tmp_path / name).mkdir()
    PREPARE.run(PrepareConfig("toy_train", limit=6), {}, tmp_path / "questions", Runtime())
    inputs = {"questions/toy_train": tmp_path / "questions", "index": shop[0] / TOY}
    config = CollectConfig(samples=2, dialect="paper", batch_size=1)
    with loopback(Failing) as address, pytest.raises(ToolDown, match=r"did not answer in 4 tries: status 500: .*no memory"):
        COLLECT.run(config, inputs, tmp_path / "out", Runtime(retriever=address))
    rows = tmp_path / "out" / "trajectories.jsonl"
    assert "no memory" not in (rows.read_text() if rows.exists() else "")


# What the hub has of a corpus.

@pytest.fixture
def hub(tmp_path):
    with loopback(Hub) as address:
        yield {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}


def test_fetch_puts_the_parts_of_a_corpus_together(hub, tmp_path, monkeypatch):
    at = "/datasets/PeterJinGo/wiki-18-{}/resolve/main/{}"
    rows = b'{"id": "0", "contents": "\\"A\\"\\nB"}\n'
    monkeypatch.setattr(Hub, "files", {at.format("corpus", "wiki-18.jsonl.gz"): gzip.compress(rows),
                                       at.format("e5-index", "part_aa"): b"first ", at.format("e5-index", "part_ab"): b"second"})
    said = smartad("fetch", "wiki18", "--data", tmp_path / "data", store=tmp_path, **hub).stdout
    folder = tmp_path / "data" / "wiki18"
    assert (folder / "wiki-18.jsonl").read_bytes() == rows and (folder / "e5_Flat.index").read_bytes() == b"first second"
    assert f"retrieval.sha256={hashlib.sha256(rows).hexdigest()}" in said
    assert sorted(os.listdir(folder)) == ["e5_Flat.index", "wiki-18.jsonl"], "nothing is left of the parts"
    monkeypatch.setattr(Hub, "files", {})
    smartad("fetch", "wiki18", "--data", tmp_path / "data", store=tmp_path, **hub)  # and what is there stays


def test_fetch_of_what_the_hub_does_not_give_says_where_to_put_it(hub, tmp_path):
    words = ("fetch", "wiki18", "--data", tmp_path / "data", "--only", "wiki18/wiki-18.jsonl")
    done = smartad(*words, store=tmp_path, status=2, **hub)
    assert f"put it at {tmp_path}/data/wiki18/wiki-18.jsonl" in done.stderr
    assert "of wiki18" in smartad("fetch", "toy", "--data", tmp_path, store=tmp_path, status=2).stderr
