"""A training row on the terminal and as a page: what is trained on, with which weight, and nothing that it says is obeyed."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command import all_of, on_a_terminal
from conftest import ROOT
from small_pools import folder, question, trajectory
from smartad.cli.arguments import parse
from smartad.cli.preview import legend_of, marked, page, preview_command
from smartad.config import load
from smartad.dialect import PROMPTS, chat, render_turn
from smartad.engines.encoding import by_segment, render
from smartad.engines.loading import load_tokenizer
from smartad.engines.loss import token_shares
from smartad.experiment import Experiment, plan
from smartad.models import identify
from smartad.records import visible, write_json
from smartad.types import Segment, SegmentWeights, Selected, Step, Trajectory, UserError

pytestmark = pytest.mark.slow

TOY = str(ROOT / "configs/toy.yaml")
HOSTILE = "</pre><script>alert(1)</script>\x1b]0;mine\x07\nreason  | \u202eI am code"
EVIL = Trajectory("toy/2", 0, (Step(f"Thought: {HOSTILE}", "", "Observation:\n<b>", "ok"),
                               Step(render_turn("So.", "final_answer(5)"), "final_answer(5)", "", "final")),
                  "5", "answered", None, 0)
POOL = [trajectory(0, 0), trajectory(0, 1, turns=2), trajectory(1, 0, turns=3), EVIL]

texts = st.text(st.sampled_from(list("ab| +\n<&")), min_size=1, max_size=8)
cut_texts = st.lists(st.tuples(texts, st.sampled_from(Segment)), max_size=8)


@pytest.fixture
def rows(store):
    """The store in which the pool of an experiment is finished, and a function that selects from it."""
    spec = plan(load(Experiment, [TOY])).train
    files = {"questions/toy_train": {"questions.jsonl": [question(n) for n in range(3)]}, "pool": {"trajectories.jsonl": POOL}}
    for role, made in files.items():
        finish(store, spec.inputs[role], made)

    def select(*keys):
        finish(store, spec.inputs["selected"], {"selected.jsonl": [Selected(q, s, 1.0, 1) for q, s in keys]})
        return spec
    return select


def finish(store, spec, files):
    folder(store.folder(spec.fingerprint), files)
    write_json(store.folder(spec.fingerprint) / "record.json", {"identity": spec.identity})


@pytest.fixture
def preview(store, capsys):
    """Run the command in this process, where torch is loaded already: what it prints."""
    def run(*words):
        assert preview_command(parse(["preview", *map(str, words), "--store", str(store.root)])) == 0
        return capsys.readouterr().out
    return run


def rendered(t):
    tokenizer = load_tokenizer(identify("toy"), {})
    return render(tokenizer, chat(question(int(t.question_id[4:])), t.steps, PROMPTS["toy"]))


def test_preview_of_a_pool_marks_each_line_and_says_weights_tokens_and_shares(rows, preview):
    said = preview(TOY, "--row", 1)
    assert said.startswith("toy/0, sample 1: row 1 of 4 of the pool, from which nothing is selected yet\n")
    assert "\naction  | print(0 + 0)\n" in said and "\nfinal   | final_answer(1)\n" in said
    assert "\nreason  | Thought: I compute a sum" in said and "\ncontext | Execution logs:\n" in said
    assert "\nreason  + <|im_end|>\n" in said, "the token that ends a turn goes on in the line of the marker"
    shares = {line[0]: (float(line[1]), int(line[2]), float(line[3])) for line in
              re.findall(r"^(\w+) +([\d.]+) +(\d+) +([\d.]+) %$", said, re.MULTILINE)}
    weighted = {name: weight * tokens for name, (weight, tokens, _) in shares.items()}
    assert {name: weight for name, (weight, *_) in shares.items()} == {"context": 0, "reason": 1, "action": 1.5, "final": 2}
    for name, (*_, share) in shares.items():
        assert share == pytest.approx(100 * weighted[name] / sum(weighted.values()), abs=0.051)


def test_preview_of_selected_rows_takes_them_in_their_order_and_any_sample_by_name(rows, preview):
    rows(("toy/1", 0), ("toy/0", 1))
    assert preview(TOY).startswith("toy/1, sample 0: row 0 of 2 selected\n")
    assert preview(TOY, "--question", "toy/0").startswith("toy/0, sample 1: row 1 of 2 selected\n")
    assert preview(TOY, "--question", "toy/0", "--sample", 0).startswith("toy/0, sample 0: not one of 2 selected\n")


def test_preview_takes_overrides_and_says_when_training_would_refuse_the_row(rows, preview):
    said = preview(TOY, "train.max_length=50", "train.weights.final=4", "--row", 0)
    assert re.search(r"\d+ tokens; train.max_length=50: \d+ too many, so training refuses it", said)
    assert re.search(r"^final +4 ", said, re.MULTILINE) and "out of the ordinary: single_block" in said


def test_preview_of_a_finished_training_needs_no_sources(rows, store, preview):
    finish(store, rows(("toy/1", 0)), {})
    assert preview("train").startswith("toy/1, sample 0: row 0 of 1 selected\n")


def test_preview_page_is_the_whole_chat_escaped(rows, preview, tmp_path):
    file = tmp_path / "row.html"
    assert preview(TOY, "--question", "toy/2", "--html", file).startswith(f"{file}: toy/2, sample 0: row 3 of 4 ")
    text = file.read_text()
    assert "<script" not in text and not re.search(r"(src|href)=|url\(|@import", text)
    spans = re.findall(r'<span class="s(\d)">([^<]*)</span>', text)
    assert "".join(html.unescape(piece) for _, piece in spans) == rendered(EVIL)


def test_preview_of_hostile_text_prints_it_as_text(rows, preview):
    said = preview(TOY, "--question", "toy/2")
    assert "\x1b" not in said and "\u202e" not in said
    assert "\nreason  | Thought: </pre><script>alert(1)</script>\\x1b]0;mine\\x07\n" in said
    assert "\nreason  | reason  | \\u202eI am code<|im_end|>\n" in said, "it stands behind its own mark"


def test_preview_on_a_terminal_is_the_chat_in_colours(rows, store):
    process, screen = on_a_terminal("preview", TOY, "--question", "toy/2", store=store, columns=300)
    said = all_of(screen)
    assert process.wait() == 0
    assert visible(rendered(EVIL)).rstrip("\n") in said and "context |" not in said


@pytest.mark.parametrize(("words", "message"), [
    ([TOY, "--row", 4], "--row 4: there are 4 of the pool"),
    ([TOY, "--row", -1], "--row -1: there are"),
    ([TOY, "--sample", 1], "name it with --question ID"),
    ([TOY, "--question", "toy/9"], "--question toy/9: it has no row among 4 of the pool"),
    ([TOY, "--question", "toy/0", "--sample", 7], "toy/0 sample 7 is not in the pool"),
    ([TOY, "train=null"], "train is null"),
    ([TOY, "seed=1", "collect.samples=11"], "there is no row yet: pool is not finished"),
    ([ROOT / "sweeps/quickstart.yaml"], "declares a sweep"),
    (["collect"], "does not train"),
    (["train-000"], "nothing finished"),
])
def test_preview_of_what_there_is_not_says_what_to_do(rows, preview, words, message):
    with pytest.raises(UserError, match=re.escape(message)):
        preview(*words)


@pytest.mark.parametrize("place", ["nowhere/row.html", "."])
def test_preview_that_cannot_write_its_page_names_it(rows, store, tmp_path, place):
    rows(("toy/1", 0))
    with pytest.raises(UserError, match=r"--html .* cannot be written: (No such file|Is a directory)"):
        preview_command(parse(["preview", TOY, "--html", str(tmp_path / place), "--store", str(store.root)]))


def test_preview_of_a_mean_over_segments_shows_their_equal_shares(rows, preview):
    rows(("toy/1", 0))
    said = preview(TOY, "train.loss=sad_mean", "train.weights=uniform")
    assert re.search(r"^reason +1 +\d+ +50.0 %$", said, re.MULTILINE)


@given(cut_texts)
def test_marked_lines_lead_back_to_the_text(pieces):
    lines = [line[8:] for line in marked(pieces)]
    text = "".join(("\n" if line[0] == "|" and number else "") + line[2:] for number, line in enumerate(lines))
    assert text == "".join(piece for piece, _ in pieces).removesuffix("\n")
    assert "".join(piece for piece, _ in pieces).count("\n") - text.count("\n") in (0, 1)


@given(cut_texts)
def test_page_holds_the_pieces_in_order_with_their_segments(pieces):
    found = re.findall(r'<span class="s(\d)">([^<]*)</span>', page("<t>", pieces, [("reason", "1", "2", "3 %")], ["<n>"]))
    assert [(html.unescape(text), Segment(int(segment))) for segment, text in found] == pieces


weights = st.floats(0, 9).map(lambda w: round(w, 2))


@given(st.lists(st.sampled_from(Segment), min_size=1, max_size=60), weights, weights, weights)
def test_legend_shares_are_those_of_the_weights_token_by_token(segments, reason, action, final):
    of = {Segment.CONTEXT: 0.0, Segment.REASON: reason, Segment.ACTION: action, Segment.FINAL: final}
    if not reason + action + final:
        return
    segments = [Segment.CONTEXT, *segments]  # which nothing predicts
    weights = SegmentWeights(reason, action, final)
    total = sum(of[segment] for segment in segments)
    if not total:
        return
    lines = legend_of(by_segment(weights), segments, token_shares(segments, weights, "segment", "trajectory"))
    for name, _, tokens, share in lines:
        mine = [of[s] for s in segments if s.name.lower() == name]
        assert int(tokens) == len(mine)
        assert float(share.removesuffix(" %")) == pytest.approx(100 * sum(mine) / total, abs=0.0501)
