"""`smartad dashboard` of a real small sweep, in a real browser: what people look for is there, nothing comes from elsewhere."""

import os
import re
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
import yaml
from playwright.sync_api import expect

from command import environment, smartad
from conftest import ROOT
from smartad.records import read_jsonl
from smartad.store import Store
from smartad.sweep import ledger
from smartad.types import Question

pytestmark = pytest.mark.slow
WAIT_MS = 60_000
SCHEMES_OF_ITS_OWN = ("data", "blob", "about")

# The command line in a process that ends with 99 when it would connect to anything, or ask for anybody's address.
WATCHED = """
import os, sys
def forbid(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        print(event, args, file=sys.stderr, flush=True)
        os._exit(99)
sys.addaudithook(forbid)
from smartad.cli import main
sys.exit(main(sys.argv[1:]))
"""

# The sweep as a run of its own; trackio is bound to one store per process.  argv: store, figure.
SUMMARISE = """
import sys
from pathlib import Path
from PIL import Image
from smartad.tracking.base import Summary, Table
from smartad.tracking.trackio import summarise
store, figure = map(Path, sys.argv[1:])
Image.new("RGB", (64, 48), "teal").save(figure)
for attempt in ("first", "second"):
    table = Table("comparison", ("Method", "Avg"), ((f"{attempt} arm", 42.5), ("<img src='http://192.0.2.1/x.png'>", None)))
    summarise(store, Summary("small", {"metric": "avg"}, {"best": 42.5}, (table, Table("axes", ("axis",), (("K",),))),
                             {"pareto": figure}))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A sweep of two arms on the toy world, shown in trackio, with its summary."""
    folder = tmp_path_factory.mktemp("dashboard")
    (folder / "small.yaml").write_text(yaml.safe_dump({
        "base": [str(ROOT / "configs/toy.yaml"), "limits={questions: 3, train_questions: 8}", "collect.samples=10",
                 "benchmarks={in_domain: [toy_math], out_of_domain: []}", "train.epochs=4"],
        "arms": {"base student": {"train": None}, "min NLL": {"select.rule": "min"}}}))
    store = Store(folder / "store")
    smartad("sweep", folder / "small.yaml", "--track", "trackio", store=store.root)
    (store.root / "sweeps/small.optuna.log").touch()
    subprocess.run([sys.executable, "-c", SUMMARISE, str(store.root), str(folder / "figure.png")], cwd=ROOT, check=True,
                   env=environment(store.root), timeout=100)
    return store


@pytest.fixture(scope="module")
def served(store):
    """(address, what was printed) of the store's dashboard, whose end is looked at too."""
    # None of these may lead it elsewhere: a token of the hub, somebody's bucket and logo, a browser.
    elsewhere = {"HF_TOKEN": "hf_planted_for_the_test", "TRACKIO_BUCKET_ID": "somebody/bucket", "SPACE_ID": "somebody/space",
                 "TRACKIO_LOGO_LIGHT_URL": "http://192.0.2.1/logo.png"}
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        os.environ.pop(variable, None)
    process = subprocess.Popen([sys.executable, "-c", WATCHED, "dashboard"], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env={**environment(store.root), **elsewhere})
    assert process.stdout is not None
    printed = ""
    try:
        while "optuna-dashboard" not in printed:
            line = process.stdout.readline()
            assert line, f"it ended with {process.wait()}: {process.stderr.read() if process.stderr else ''}"
            printed += line
        address = re.search(r"http://127\.0\.0\.1:\d+", printed)
        assert address, printed
        yield address[0], printed
    finally:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (0, "")


@pytest.fixture
def page(browser, served):
    """``page(path, **query)`` opens a page.  Whatever it or anything in it asked for was on this server."""
    asked: list[str] = []
    tab = browser.new_page(viewport={"width": 1366, "height": 900})
    tab.on("request", lambda request: asked.append(request.url))
    tab.set_default_timeout(WAIT_MS)

    def open_page(path, **query):
        words = "".join(f"&{key}={value}" for key, value in query.items())
        tab.goto(f"{served[0]}/{path}?project=smartad{words}")
        return tab

    yield open_page
    tab.wait_for_load_state("load")
    tab.close()
    own = urlsplit(served[0]).netloc
    assert asked and {urlsplit(url).netloc for url in asked if urlsplit(url).scheme not in SCHEMES_OF_ITS_OWN} == {own}


def stage(store: Store, kind: str) -> str:
    return next(f for f in store.fingerprints() if f.startswith(f"{kind}-"))


def test_dashboard_prints_its_address_and_what_else_there_is_to_look_at(store, served):
    assert f"{store.root} is shown at {served[0]}/?project=smartad" in served[1]
    assert f"optuna-dashboard {store.root}/sweeps/small.optuna.log" in served[1]


def test_runs_page_names_every_stage_and_the_row_it_is(store, page):
    names = page("runs").locator(".run-name-cell")
    rows = {run.goal: f"{trial.label}, seed 0 ({run.goal})" for trial in ledger.load(store, "small").trials for run in trial.runs}
    expect(names).to_have_count(len(store.fingerprints()) + 1, timeout=WAIT_MS)
    assert {name.strip() for name in names.all_inner_texts()} == \
        {rows.get(f, f) for f in store.fingerprints()} | {"sweep-small"}


def test_metrics_page_draws_the_training_loss(store, page):
    train = stage(store, "train")
    chart = page("", run_ids=train, smoothing=0).locator('[data-metric="train/loss"]')
    expect(chart.locator(".legend-label")).to_have_text(train, timeout=WAIT_MS)
    chart.scroll_into_view_if_needed()  # it is drawn where it can be seen
    # Pixels of the curve, by the colour that the legend gives it.
    chart.page.wait_for_function("""() => {
        const chart = document.querySelector('[data-metric="train/loss"]'), canvas = chart?.querySelector("canvas");
        if (!canvas) return false;
        const colour = getComputedStyle(chart.querySelector(".legend-dot")).backgroundColor.match(/\\d+/g).map(Number);
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        let found = 0;
        for (let i = 0; i < data.length; i += 4) found += colour.every((part, at) => Math.abs(data[i + at] - part) < 8);
        return found > 100;
    }""", timeout=WAIT_MS)


def test_tables_page_shows_verdicts_with_their_questions_and_coloured_samples(store, page):
    grade = next(f for f in store.fingerprints() if f.startswith("grade-")
                 and "questions/toy_math" in store.record(f)["identity"]["inputs"])
    prepared = store.record(grade)["identity"]["inputs"]["questions/toy_math"]
    question = next(read_jsonl(store.folder(prepared) / "questions.jsonl", Question))
    tab = page("media")
    verdicts = tab.locator(".table-section", has_text=grade)
    expect(verdicts).to_contain_text(question.text, timeout=WAIT_MS)
    expect(verdicts).to_contain_text("verdict")
    sample = tab.frame_locator('iframe[title="training samples"]').first
    tab.locator('iframe[title="training samples"]').first.scroll_into_view_if_needed()
    expect(sample.locator("article").first).to_contain_text("toy_train/", timeout=WAIT_MS)


def test_tables_page_begins_with_the_comparison_of_the_sweep(page):
    tab = page("media")
    first = tab.locator(".table-section").first
    expect(first).to_contain_text("comparison", timeout=WAIT_MS)
    expect(first).to_contain_text("second arm")
    expect(first).to_contain_text("42.5")
    expect(first).to_contain_text("<img src='http://192.0.2.1/x.png'>")
    expect(tab.get_by_text("first arm")).to_have_count(0)
    picture = tab.locator(".gallery-item", has_text="pareto").locator("img")
    expect(picture).to_have_count(1)
    tab.wait_for_function("picture => picture.naturalWidth === 64", arg=picture.element_handle(), timeout=WAIT_MS)


def test_lineage_of_the_adapter_leads_back_to_selection_and_pool(store, page):
    train = stage(store, "train")
    inputs = store.record(train)["identity"]["inputs"]
    tab = page("artifacts", selected_artifact=train, selected_version="v0")
    tab.get_by_text("Lineage", exact=True).click()
    graph = tab.get_by_label("Artifact lineage graph")
    for fingerprint in (train, inputs["selected"], inputs["pool"]):
        expect(graph.locator("g.node.artifact", has_text=fingerprint)).to_have_count(1, timeout=WAIT_MS)
    expect(graph.locator("g.node.run", has_text=train)).to_have_count(1)


@pytest.mark.parametrize("name, text", [("", "learning_rate"), ("system", "cpu_percent"), ("media", "comparison"),
                                        ("runs", "collect-"), ("artifacts", "Overview"), ("settings", "Appearance"),
                                        ("registry", "Registr")])
def test_page_on_a_phone_is_there_and_asks_this_server_only(page, name, text):
    tab = page(name)
    tab.set_viewport_size({"width": 390, "height": 844})
    expect(tab.locator("body")).to_contain_text(text, timeout=WAIT_MS)


def test_dashboard_port_that_is_taken_is_said_with_the_way_out(store):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = smartad("dashboard", "--port", str(taken.getsockname()[1]), store=store.root, status=2)
    assert re.search(r"port \d+ cannot be had \(Address already in use\); name another one: --port N", done.stderr)


def test_dashboard_store_without_a_run_is_said_with_the_way_out(tmp_path):
    done = smartad("dashboard", store=tmp_path / "nothing", status=2)
    assert f"trackio has no run of the store {tmp_path / 'nothing'}" in done.stderr and "smartad publish" in done.stderr
    assert not (tmp_path / "nothing").exists()


def test_dashboard_damaged_database_is_said_with_the_way_out(tmp_path):
    (tmp_path / "trackio").mkdir()
    (tmp_path / "trackio/smartad.db").write_bytes(b"not a database at all" * 100)
    done = smartad("dashboard", store=tmp_path, status=2)
    assert f"trackio's files in {tmp_path}/trackio cannot be used (file is not a database)" in done.stderr
    assert "smartad publish" in done.stderr


def test_dashboard_without_trackio_is_said_with_the_way_out(store):
    code = "import sys; sys.modules['trackio'] = None; from smartad.cli import main; sys.exit(main(['dashboard']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(store.root), capture_output=True, text=True)
    assert done.returncode == 2 and "is not installed: pip install 'trackio" in done.stderr
