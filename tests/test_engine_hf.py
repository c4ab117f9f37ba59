"""Generation with the student that is committed, whatever it says; and with adapters of random weights."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model

from smartad import models
from smartad.dialect import PROMPTS, stop_strings, task_message
from smartad.engines import hf
from smartad.engines.encoding import render
from smartad.engines.loading import load_model, load_tokenizer
from smartad.stage import Runtime
from smartad.types import Request, UserError

pytestmark = pytest.mark.slow

RUNTIME = Runtime()
TASKS = ["How much is 3 plus 4?", "Who lives in Oslo?", "A shop sells 12 pens a day. How many does it sell in 5 days?",
         "Repeat: one, two, three", "What is the capital of the country in which the company of Ann Bo is based?"]


@pytest.fixture(scope="module")
def engine():
    return hf.load(models.identify(models.TOY), RUNTIME)


def ask(task, **options):
    return Request(({"role": "system", "content": PROMPTS["toy"]}, {"role": "user", "content": task_message(task)}),
                   **{"max_tokens": 24, **options})


def answers(engine, requests):
    """The only candidate of each, without what the company of other rows shows in: the last digits of probabilities."""
    return [dataclasses.replace(completion, logprobs=()) for (completion,) in engine.answer(requests)]


def reference(engine, request):
    """Greedy decoding in the plainest way: one row, no cache, the whole text again for every token."""
    prompt = render(engine.tokenizer, request.messages, generate=True) + request.prefill
    ids = engine.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    written = []
    for _ in range(request.max_tokens):
        with torch.no_grad():
            token = int(engine.model(torch.tensor([ids + written])).logits[0, -1].argmax())
        if token in engine.ends:
            return engine.tokenizer.decode(written, skip_special_tokens=True), "stop", len(written) + 1
        written.append(token)
    return engine.tokenizer.decode(written, skip_special_tokens=True), "length", len(written)


def test_greedy_batch_equals_one_by_one_without_a_cache(engine):
    requests = [ask(task, max_tokens=n) for task, n in zip(TASKS, (24, 5, 40, 1, 24), strict=True)]
    expected = [reference(engine, request) for request in requests]
    assert [(c.text, c.finish, c.tokens) for c in answers(engine, requests)] == expected


def test_answer_goes_on_from_the_beginning_it_is_given_and_does_not_repeat_it(engine):
    beginnings = ["Thought: I", "Code:\n```py\nprint(", "The answer", ""]
    requests = [ask(task, prefill=prefill) for task, prefill in zip(TASKS, beginnings, strict=False)]
    found = answers(engine, requests)
    assert [(c.text, c.finish, c.tokens) for c in found] == [reference(engine, request) for request in requests]
    assert found[:3] != answers(engine, [ask(task) for task in TASKS[:3]])


def test_first_of_several_candidates_is_the_only_one_and_each_has_chances_of_its_own(engine):
    requests = [ask(task, temperature=1.0, seed=i) for i, task in enumerate(TASKS)]
    several = [[dataclasses.replace(c, logprobs=()) for c in candidates] for candidates in
               engine.answer([dataclasses.replace(request, n=4 - i % 2) for i, request in enumerate(requests)])]
    assert [candidates[0] for candidates in several] == answers(engine, requests)
    assert [len(candidates) for candidates in several] == [4, 3, 4, 3, 4]
    assert len({c.text for c in several[0]}) > 1
    fewer = engine.answer([dataclasses.replace(requests[0], n=2)])[0]
    assert [c.text for c in fewer] == [c.text for c in several[0][:2]]


def test_log_probabilities_are_those_of_a_plain_forward_at_temperature_1(engine):
    requests = [ask(TASKS[0], temperature=1.5, seed=3), ask(TASKS[2]), ask(TASKS[1], temperature=0.8, top_p=0.6, max_tokens=9)]
    for request, (said,) in zip(requests, engine.answer(requests), strict=True):
        ids = engine.tokenizer(render(engine.tokenizer, request.messages, generate=True), add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logprobs = engine.model(torch.tensor([ids + list(said.token_ids)])).logits[0, len(ids) - 1:-1].log_softmax(-1)
        expected = [logprobs[i, token].item() for i, token in enumerate(said.token_ids)]
        assert said.logprobs == pytest.approx(expected, abs=1e-4) and len(said.logprobs) == said.tokens
        text = [token for token in said.token_ids if token not in engine.ends]
        assert engine.tokenizer.decode(text, skip_special_tokens=True) == said.text


def nucleus(probabilities, top_p):
    """The tokens of one row that are kept, in the plainest way."""
    kept, mass = set(), 0.0
    for token in sorted(range(len(probabilities)), key=lambda token: (-probabilities[token], token)):
        if top_p < 1 and mass >= top_p:
            break
        kept.add(token)
        mass += probabilities[token]
    return kept


@given(st.lists(st.lists(st.integers(0, 6), min_size=5, max_size=5).filter(any), min_size=1, max_size=4),
       st.lists(st.sampled_from([0.01, 0.25, 0.5, 0.9, 1.0]), min_size=4, max_size=4))
def test_nucleus_is_the_likeliest_tokens_that_reach_top_p_together(weights, top_p):
    rows = torch.tensor(weights, dtype=torch.float64)
    rows = rows / rows.sum(-1, keepdim=True)
    kept = hf._nucleus(rows, torch.tensor(top_p[:len(weights)], dtype=torch.float64))
    for row, mask, p in zip(rows, kept, top_p, strict=False):
        ranked = row.sort(descending=True).values.cumsum(-1)
        if ((ranked - p).abs() > 1e-9).all():  # a sum that is top_p itself is a matter of rounding
            assert set(mask.nonzero()[:, 0].tolist()) == nucleus(row.tolist(), p)


def test_what_is_sampled_within_top_p_is_of_the_nucleus_in_its_proportions(engine):
    request, n = ask(TASKS[0], max_tokens=1, temperature=2.0, top_p=0.5), 2000
    ids = engine.tokenizer(render(engine.tokenizer, request.messages, generate=True), add_special_tokens=False)["input_ids"]
    chance = hf._Chance([hf._Row(dataclasses.replace(request, seed=i), 0, ids, 1) for i in range(n)], "cpu")
    with torch.no_grad():
        logits = engine.model(torch.tensor([ids])).logits[:, -1]
    likely = (logits[0].double() / 2).softmax(-1)
    kept = sorted(nucleus(likely.tolist(), 0.5))
    expected = torch.zeros_like(likely)
    expected[kept] = likely[kept] / likely[kept].sum()
    found = torch.bincount(chance.choose(logits.expand(n, -1), 0), minlength=len(expected)) / n
    assert found[expected == 0].sum() == 0 and len(kept) < (likely > 1e-4).sum()
    assert (found - expected).abs().max() < 5 * 0.5 / n**0.5  # five standard errors at most


def test_order_and_company_do_not_change_an_answer_at_temperature_0(engine):
    requests = [ask(task) for task in TASKS]
    small = hf.HfEngine(engine.model, engine.tokenizer, batch_tokens=1)
    assert answers(engine, requests) == answers(engine, requests[::-1])[::-1] == answers(small, requests)


def test_stop_string_ends_an_answer_and_is_left_out(engine):
    whole = answers(engine, [ask(task) for task in TASKS])
    stops = [c.text[len(c.text) // 2:][:3] for c in whole]
    assert all(stops)
    cut = answers(engine, [ask(task, stop=("\0never", stop)) for task, stop in zip(TASKS, stops, strict=True)])
    for full, short, stop in zip(whole, cut, stops, strict=True):
        assert (short.text, short.finish, short.stopped_by) == (full.text[:full.text.find(stop)], "stop", stop)
        assert short.tokens <= full.tokens


def test_sampling_follows_each_rows_seed_and_turn_only(engine):
    requests = [ask(task, temperature=1.0, seed=i) for i, task in enumerate(TASKS)]
    first = answers(engine, requests)
    assert first == answers(engine, requests) and first[1:3] == answers(engine, requests[1:3])
    other = answers(engine, [dataclasses.replace(r, seed=r.seed + 2**62) for r in requests])
    assert [c.text for c in first] != [c.text for c in other]


def test_cold_and_warm_rows_share_a_batch(engine):
    greedy = ask(TASKS[2])
    mixed = answers(engine, [ask(TASKS[0], temperature=1.0, seed=3), greedy, ask(TASKS[1], temperature=0.7, seed=4)])
    assert mixed[1] == answers(engine, [greedy])[0]


def test_sampled_tokens_come_in_the_models_proportions(engine):
    request = ask(TASKS[0], max_tokens=1, temperature=2.0)
    ids = engine.tokenizer(render(engine.tokenizer, request.messages, generate=True), add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        expected = (engine.model(torch.tensor([ids])).logits[0, -1].double() / 2).softmax(-1)
    n = 4000
    chance = hf._Chance([hf._Row(dataclasses.replace(request, seed=i), 0, ids, 1) for i in range(n)], "cpu")
    with torch.no_grad():
        logits = engine.model(torch.tensor([ids])).logits[:, -1].expand(n, -1)
    found = torch.bincount(chance.choose(logits, 0), minlength=len(expected)) / n
    assert (found - expected).abs().max() < 5 * 0.5 / n**0.5  # five standard errors at most


def test_likeliest_tokens_are_those_of_a_plain_forward_and_lie_where_the_text_has_them(engine):
    asked = [ask(task, max_tokens=n, top_logprobs=k) for task, n, k in zip(TASKS, (24, 60, 9), (3, 1, 9999), strict=False)]
    said = answers(engine, [*asked, ask(TASKS[3])])
    assert said[3].choices == ()
    assert [(c.text, c.tokens) for c in said] == [(c.text, c.tokens) for c in answers(engine, [ask(
        task, max_tokens=n) for task, n in zip(TASKS, (24, 60, 9, 24), strict=False)])]
    for request, completion in zip(asked, said, strict=False):
        ids = engine.tokenizer(render(engine.tokenizer, request.messages, generate=True), add_special_tokens=False)["input_ids"]
        position = 0
        for choices in completion.choices:
            with torch.no_grad():
                logprobs = engine.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            texts = ["" if token in engine.ends else engine.tokenizer.decode([token], skip_special_tokens=True)
                     for token in logprobs.topk(min(len(logprobs), request.top_logprobs)).indices.tolist()]
            assert list(choices.texts[:3]) == texts[:3]
            assert choices.logprobs[0] == pytest.approx(logprobs.max().item(), abs=1e-4)
            assert choices.start == position
            assert completion.text[choices.start:choices.end] == choices.texts[0], "greedy: the likeliest was written"
            position = choices.end
            ids.append(int(logprobs.argmax()))
        assert position == len(completion.text) and len(completion.choices) == completion.tokens


def test_likeliest_tokens_of_a_stop_string_are_told_although_the_text_is_cut_before_it(engine):
    whole = answers(engine, [ask(TASKS[0], top_logprobs=1)])[0]
    stop = whole.text[len(whole.text) // 2:][:3]
    cut = answers(engine, [ask(TASKS[0], stop=(stop,), top_logprobs=1)])[0]
    assert cut.choices == whole.choices[:len(cut.choices)] and cut.choices[-1].end >= len(cut.text) + len(stop)


def test_prompt_without_room_and_answer_without_room_are_context_overflow(engine):
    long = ask("word " * 3 * engine.positions)
    used = len(engine.tokenizer(render(engine.tokenizer, ask(TASKS[0]).messages, generate=True))["input_ids"])
    full, nearly, fits = (hf.HfEngine(engine.model, engine.tokenizer) for _ in range(3))
    full.positions, nearly.positions, fits.positions = used, used + 1, used + 24
    assert [(c.text, c.finish, c.tokens) for c in answers(engine, [long])] == [("", "context_overflow", 0)]
    assert answers(full, [ask(TASKS[0])])[0].finish == "context_overflow"
    answer = answers(nearly, [ask(TASKS[0])])[0]
    assert answer.tokens == 1 and answer.finish in ("context_overflow", "stop")
    assert answers(fits, [ask(TASKS[0])]) == answers(engine, [ask(TASKS[0])])


def test_no_requests_are_no_completions(engine):
    assert answers(engine, []) == []


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A LoRA adapter of random weights, large enough to change what the student says."""
    torch.manual_seed(0)
    model = get_peft_model(load_model(models.identify(models.TOY), RUNTIME),
                           LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder, model.eval()


def test_merged_adapter_answers_as_the_adapter_does(engine, adapter):
    folder, unmerged = adapter
    requests = [ask(task, stop=stop_strings()) for task in TASKS]
    merged = answers(hf.load(models.identify(models.TOY), RUNTIME, folder), requests)
    assert merged == answers(hf.HfEngine(unmerged, engine.tokenizer), requests)
    assert merged != answers(engine, requests)


def test_adapter_cut_short_is_one_clear_error(adapter, tmp_path):
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        content = (adapter[0] / name).read_bytes()
        (tmp_path / name).write_bytes(content if name.endswith("json") else content[:len(content) // 2])
    with pytest.raises(UserError, match=r"adapter_model\.safetensors is damaged"):
        hf.load(models.identify(models.TOY), RUNTIME, tmp_path)


def test_folder_without_an_adapter_is_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} holds no adapter_model.safetensors"):
        hf.load(models.identify(models.TOY), RUNTIME, tmp_path)


def test_adapter_of_shared_embeddings_is_refused(tmp_path):
    model = get_peft_model(load_model(models.identify(models.TOY), RUNTIME),
                           LoraConfig(r=2, target_modules=["embed_tokens"], task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="word embeddings"):
        hf.load(models.identify(models.TOY), RUNTIME, tmp_path)


def test_student_without_a_tokenizer_says_what_is_missing_and_where(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    identity = models.identify(str(tmp_path))
    with pytest.raises(UserError, match="has no tokenizer: put the tokenizer.json and tokenizer_config.json of local/.* beside"):
        load_tokenizer(identity, {identity: str(tmp_path)})
