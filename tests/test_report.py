"""`smartad report` in a real browser, opened as a file: what the store holds is on the page, and what means harm stays text."""

import base64
import gzip
import json
import re
import shutil
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

import made_up
import reported
from command import smartad
from smartad.analysis.guard import guard, guarded
from smartad.report import choosing, trajectories
from smartad.report.page import page as make
from smartad.report.page import write
from smartad.report.sections import about
from smartad.report.trajectories import pack
from smartad.store import Store
from smartad.sweep import ledger, results

pytestmark = pytest.mark.slow
WAIT_MS = 60_000
LAPTOP, PHONE = {"width": 1366, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A finished sweep that means harm, called ``harm...``."""
    folder = tmp_path_factory.mktemp("report")
    found = Store(folder / "store").open()
    finish(found, folder, "finish")
    return found


def finish(store, folder, how):
    """``how``: finish everything; or leave half, or all of it."""
    book, specs = made_up.launch(store, reported.declare(folder))
    done = {"finish": specs, "half": [s for s in specs if s.stage.name not in ("aggregate", "grade")][:-4], "none": []}[how]
    reported.finish(store, done)
    return book, specs


@pytest.fixture(scope="module")
def file(store):
    """The page, as the command writes it."""
    path = store.root.parent / "report.html"
    done = smartad("report", "harm", "--baseline", "base", "--to", path, store=store.root)
    assert re.fullmatch(rf"{re.escape(str(path))}: 0\.\d MB\n", done.stdout)
    assert path.stat().st_size < 20_000_000 and sorted(p.name for p in path.parent.glob("*report*")) == ["report.html"]
    return path


@pytest.fixture
def open_page(browser):
    """``open_page(path, hash, viewport)`` opens a file without a network.  Nothing but that file is asked for, nothing is written
    to the console, no policy is violated, and no script of a trajectory has run."""
    opened = []

    def open_one(path, hash_="", viewport=LAPTOP, scheme="light"):
        context = browser.new_context(viewport=viewport, offline=True, color_scheme=scheme)
        tab, heard = context.new_page(), []
        tab.on("console", lambda message: heard.append(message.text))
        tab.on("pageerror", lambda error: heard.append(str(error)))
        tab.on("dialog", lambda dialog: heard.append(dialog.message))
        tab.on("request", lambda asked: heard.append(asked.url) if not asked.url.startswith((path.as_uri(), "data:")) else None)
        tab.set_default_timeout(WAIT_MS)
        tab.add_init_script("addEventListener('securitypolicyviolation', e => console.error(`blocked ${e.blockedURI}`))")
        tab.goto(path.as_uri() + hash_)
        tab.wait_for_selector("#list a")
        opened.append((context, tab, heard))
        return tab

    yield open_one
    for context, tab, heard in opened:
        pwned = tab.evaluate("window.__pwned")
        context.close()
        assert (heard, pwned) == ([], None)


def choose(tab, **fields):
    """Set filters by what people read."""
    tab.locator("#filters button[type=reset]").click()
    for name, label in fields.items():
        if name == "text":
            tab.locator("#filters [name=text]").fill(label)
        else:
            tab.locator(f"#filters [name={name}]").select_option(label=label)


def counted(tab, n):
    """The page says that it has found ``n``, and lists them."""
    expect(tab.locator("#count")).to_have_text(re.compile(rf"^{n} of "))
    expect(tab.locator("#list a")).to_have_count(min(n, 50))
    expect(tab.locator("#page")).to_have_text(re.compile(" of " if n else "none"))


def users(store):
    """Stage -> (row, seed) of those that it is of."""
    found = {}
    for trial in ledger.load(store, "harm").trials:
        for run in trial.runs:
            for stage in run.stages:
                found.setdefault(stage, set()).add((trial.label, run.seed))
    return found


def test_report_numbers_are_those_of_the_table(store, file, open_page):
    table = smartad("table", "harm", "--format", "csv", store=store.root).stdout
    assert table.count("\n") == 1 + 3 * 2 * 2
    tab = open_page(file)
    shown = results.table(store, ledger.load(store, "harm"))
    rows = tab.locator("#table tbody tr")
    expect(rows).to_have_count(3)
    for row, (label, entries) in zip(rows.all(), shown.rows.items(), strict=True):
        said = row.locator(".number").all_inner_texts()
        assert row.locator("th").inner_text() == " ".join(label.split())
        assert [text.split(" ")[0] for text in said] == [f"{entries[column].percent:.1f}"
                                                         for column in (*shown.benchmarks, "Avg", "Micro")]


def test_report_filters_leave_exactly_what_the_store_has(store, file, open_page):
    attempts, pool, of = reported.attempts(store), reported.attempts(store, "collect"), users(store)
    tab = open_page(file)
    counted(tab, len(attempts) + len(pool))
    words = {True: "right", False: "wrong", None: "ungraded"}
    assert {words[a["verdict"]["correct"]] for a in attempts.values()} == set(words.values()), "the store has all of them"
    for correct, word in words.items():
        choose(tab, verdict=word, kind="students (attempts)")
        counted(tab, sum(a["verdict"]["correct"] is correct for a in attempts.values()))
    for stop in {a["stop"] for a in attempts.values()}:
        choose(tab, stop=stop)
        counted(tab, sum(a["stop"] == stop for a in (*attempts.values(), *pool.values())))
    choose(tab, row="min", seed="1", set="toy_qa3")
    counted(tab, sum(("min", 1) in of[stage] and question.startswith("toy_qa3/") for stage, question, _ in attempts))
    choose(tab, step="failed in any way", kind="students (attempts)")
    counted(tab, sum(any(step["status"] == "parse_error" for step in a["steps"]) for a in attempts.values()))
    choose(tab, kind="teacher, trained on")
    counted(tab, 2 * reported.QUESTIONS)


def test_report_search_finds_text_wherever_it_is_and_nothing_else(store, file, open_page):
    every = {**reported.attempts(store), **reported.attempts(store, "collect")}
    tab = open_page(file)
    for text in ("I ADD toy_math/2", "gold is 8", "<IMG src=x onerror", "{{7*7}}", "final_answer(9)", "no such text"):
        choose(tab, text=text)
        texts = [json.dumps([row["steps"], row["answer"], row["verdict"]["reason"]], ensure_ascii=False).replace('\\"', '"')
                 + (reported.HARM if key[1].endswith("/0") else "") for key, row in every.items()]
        counted(tab, sum(text.lower() in one.lower() for one in texts))


def test_report_flips_are_those_questions_that_came_out_otherwise(store, file, open_page):
    attempts, of = reported.attempts(store), users(store)
    base = {(question, seed): row["verdict"]["correct"] for (stage, question, _), row in attempts.items()
            for label, seed in of[stage] if label == "base"}
    tab = open_page(file)
    seen = 0
    for flip, was in (("fixed", False), ("broken", True)):
        choose(tab, row="min", flip=flip)
        found = {(stage, question) for (stage, question, _), row in attempts.items() for label, seed in of[stage]
                 if label == "min" and base[question, seed] is was and row["verdict"]["correct"] is (not was)}
        counted(tab, len(found))
        seen += len(found)
    assert seen, "some did"


def test_report_deep_link_opens_one_trajectory_coloured_and_two_beside_one_another(store, file, open_page):
    attempts, of = reported.attempts(store), users(store)
    key, other = next((a, b) for a in attempts for b in attempts if a[1] == b[1] and len(attempts[a]["steps"]) == 2
                      and attempts[b]["steps"][-1] != attempts[a]["steps"][-1])
    (stage, question, sample), row = key, attempts[key]
    same = row["steps"][0]["text"] == attempts[other]["steps"][0]["text"]
    tab = open_page(file, f"#trajectory={quote(f'{stage}/{question}/{sample}', safe='')}")
    article = tab.locator("#shown article")
    expect(article).to_have_count(1)
    expect(article).to_contain_text(row["verdict"]["reason"][:9])
    expect(article.locator("li").nth(1).locator(".s3")).to_have_text(re.compile(r"final_answer\("))
    expect(article.locator(".s0.seen").nth(1)).to_have_text(row["steps"][1]["observation"])
    expect(tab.locator("#list a[aria-current]")).to_have_count(1)
    assert any(label in article.inner_text() for label, _ in of[stage])
    tab.locator("#beside").select_option(value="/".join(map(str, other)))
    expect(tab.locator("#shown article")).to_have_count(2)
    parts = tab.locator("#shown li.parts").first
    expect(parts).to_contain_text("Step 2" if same else "Step 1")
    assert "beside=" in tab.url
    tab.locator("#list a").nth(3).focus()
    tab.keyboard.press("Enter")
    expect(tab.locator("#list a").nth(3)).to_have_attribute("aria-current", "true")
    expect(tab.locator("#shown article")).to_have_count(1)


def test_report_pool_shows_nll_by_turn_its_rank_and_who_trains_on_it(store, file, open_page):
    pool = reported.attempts(store, "collect")
    stage, question, sample = next(key for key in pool if key[2] == 0)
    article = open_page(file, f"#trajectory={quote(f'{stage}/{question}/{sample}', safe='')}").locator("#shown article")
    expect(article).to_contain_text("NLL 1.000")
    expect(article).to_contain_text("number 1 of 3")
    expect(article.locator("dd").filter(has_text=re.compile("^min$"))).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_report_of_what_means_harm_is_text_and_fits_the_screen(store, file, open_page, viewport, scheme):
    tab = open_page(file, viewport=viewport, scheme=scheme)
    for key in [k for k in reported.attempts(store) if k[1].endswith(("/0", "/1"))][:4]:
        tab.evaluate("where => { location.hash = where }", f"trajectory={quote('/'.join(map(str, key)), safe='')}")
        expect(tab.locator("#shown article dd code")).to_have_text("/".join(map(str, key)))
        assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    text = tab.locator("body").inner_text()
    assert "{{7*7}}" in text and "<img src=x onerror" in text and "49" not in tab.title()
    assert tab.locator("img[src=x], svg[onload], #shown script, #table img").count() == 0
    tab.locator("details").evaluate_all("every => every.forEach(one => one.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_report_of_harm_says_every_character_that_a_page_can_show(store, file, open_page):
    key = next(k for k in reported.attempts(store) if k[1].endswith("/0"))
    tab = open_page(file, f"#trajectory={quote('/'.join(map(str, key)), safe='')}")
    shown = tab.locator("#shown .question").evaluate("one => one.textContent")
    assert shown == f"What is 0 + 0 ({key[1][:-2]})? {reported.HARM.replace(reported.HALF, chr(0xd800))}"


def test_report_without_scripts_still_has_its_tables(browser, file):
    with browser.new_context(java_script_enabled=False, offline=True) as context:
        tab = context.new_page()
        tab.goto(file.as_uri())
        expect(tab.locator("#table tbody tr")).to_have_count(3)
        expect(tab.locator("#trajectories")).to_contain_text("The viewer needs JavaScript")
        expect(tab.locator("#viewer")).to_be_hidden()


@pytest.mark.parametrize("how", ["half", "none"])
def test_report_of_an_unfinished_sweep_marks_what_is_missing(tmp_path, how):
    store = Store(tmp_path / "store").open()
    book, specs = finish(store, tmp_path, how)
    made_up.fail(store, specs[-2], "oom", f"out of memory {reported.HARM}")
    html = make(store, book, results.table(store, book), book.trials[0])
    assert "Not finished" in html and "No row is finished yet" in html and "out of memory &lt;/script&gt;" in html
    assert f"0 of {len(book.trials)} finished" in html and ("Some GPU" in html) == (how == "half")
    assert "held against base yet" in html and "0.0</span>" not in html
    assert '<span class="hole" title="as declared below">–</span>' in html, "base has no rule of its own"


def test_report_of_the_same_store_is_the_same_but_for_the_time(store, file):
    book = ledger.load(store, "harm")
    table = guarded(results.table(store, book), guard(store, book))
    pages = [file.read_bytes().decode(), make(store, book, table, book.trials[0])]
    assert len({re.sub(r"on \d{4}-\d\d-\d\d [\d:]+", "", page) for page in pages}) == 1


def test_report_asked_for_few_trajectories_says_how_many_of_how_many(store):
    book = ledger.load(store, "harm")
    few = pack(store, book, book.trials[0], {}, 10, lambda what: None)
    assert (few.held, few.evaluations_seen, few.evaluations) == (10, 10, 10)
    assert about(few).startswith(f"10 of {few.seen} are in this file")


def test_report_of_more_rows_than_are_opened_says_so_and_pools_know_all_that_train_on_them(store, monkeypatch):
    monkeypatch.setattr(choosing, "MOST_STAGES", 1)
    book = ledger.load(store, "harm")
    packed = pack(store, book, book.trials[0], {}, 1000, lambda what: None)
    assert packed.held == packed.seen and packed.evaluations_seen < packed.evaluations == 10
    assert f"attempts of {packed.evaluations_seen} of 10 evaluations" in about(packed) and "All" not in about(packed)
    held = json.loads(gzip.decompress(base64.b64decode(packed.data)))["trajectories"]
    assert {(row["sample"], *row["selected"]) for row in held if row["pool"]} == {(0, 1), (1,), (2, 2)}


def test_report_of_a_store_with_a_file_missing_names_it(store, tmp_path):
    shutil.copytree(store.root, tmp_path / "store")
    grade = next(f for f in store.fingerprints() if f.startswith("grade-"))
    (tmp_path / "store" / grade / "verdicts.jsonl").unlink()
    done = smartad("report", "harm", "--to", tmp_path / "page.html", store=tmp_path / "store", status=2)
    assert f"{grade} is finished, and its verdicts.jsonl is gone" in done.stderr and not (tmp_path / "page.html").exists()


def test_report_hides_secrets(store, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "I add toy_math/2")
    book = ledger.load(store, "harm")
    packed = pack(store, book, None, {}, 1000, lambda what: None)
    text = gzip.decompress(base64.b64decode(packed.data)).decode()
    assert "I add toy_math/2" not in text and "I add toy_math/3" in text and "<redacted>" in text


def test_report_too_large_for_a_page_leaves_out_what_is_wanted_least(store, monkeypatch):
    book = ledger.load(store, "harm")
    whole = pack(store, book, book.trials[0], {}, 1000, lambda what: None)
    assert whole.held == whole.seen == len(reported.attempts(store)) + len(reported.attempts(store, "collect"))
    monkeypatch.setattr(trajectories, "LARGEST", len(whole.data) * 3 // 4)
    part = pack(store, book, book.trials[0], {}, 1000, lambda what: None)
    assert 0 < part.held < whole.held and len(part.data) <= len(whole.data) * 3 // 4
    kept = json.loads(gzip.decompress(base64.b64decode(part.data)))
    assert {row["question"] for row in kept["trajectories"]} == set(kept["questions"])
    changed = {row["id"] for row in json.loads(gzip.decompress(base64.b64decode(whole.data)))["trajectories"]
               if any(flip for _, _, flip in row["places"])}
    assert changed and changed <= {row["id"] for row in kept["trajectories"]}


def test_report_that_cannot_be_written_is_said_and_leaves_nothing(store, tmp_path):
    done = smartad("report", "harm", "--to", tmp_path / "no" / "page.html", store=store.root, status=2)
    assert f"--to {tmp_path / 'no' / 'page.html'} is in no folder that there is" in done.stderr
    with pytest.raises(ValueError, match="cannot be written: Is a directory"):
        write(tmp_path, "text")
    assert list(tmp_path.iterdir()) == []


def test_report_baseline_of_another_name_is_said_with_those_there_are(store):
    done = smartad("report", "harm", "--baseline", "nobody", store=store.root, status=2)
    assert "'nobody' is no row of" in done.stderr
