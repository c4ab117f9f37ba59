"""Losses from the output head, chunk by chunk, against autograd on whole logits; and how large anything gets."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Gemma2Config, Gemma2ForCausalLM, Qwen2Config, Qwen2ForCausalLM

from smartad.engines import head as module
from smartad.engines.head import Targets, head_of, losses_for_logits, losses_of_logits, token_losses

VOCABULARY, HIDDEN = 11, 6
SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}


@pytest.fixture
def small_chunks(monkeypatch):
    """Two tokens at once, so that chunks end in the middle of everything."""
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", 2 * VOCABULARY)


def soft(ids, probabilities, rest):
    return Targets(torch.tensor(ids), torch.tensor(probabilities), torch.tensor(rest))


def kl(logits_NV, targets):
    """KL(teacher || student) in plain Python's order: word by word, then everything else as one word.  Autograd derives it."""
    losses = []
    for row, (logits, ids, probabilities) in enumerate(zip(logits_NV, targets.ids_NK.tolist(), targets.probabilities_NK.tolist(),
                                                           strict=True)):
        q = logits.double().softmax(0)
        teacher = dict.fromkeys(ids, 0.0)
        for word, probability in zip(ids, probabilities, strict=True):
            teacher[word] += probability
        loss = sum(t * (math.log(t) - q[word].log()) for word, t in teacher.items() if t > 0)
        rest = 0.0 if targets.rest_N is None else float(targets.rest_N[row])
        if rest > 0:
            loss = loss + rest * (math.log(rest) - q[[w for w in range(len(q)) if w not in teacher]].sum().log())
        losses.append(loss)
    return torch.stack(losses)


def compare(head, targets, hidden):
    """The losses and, for another factor on each, the gradients of everything that has one: ours, and autograd's."""
    factors = torch.arange(1.0, len(hidden) + 1)
    found = []
    for losses_of in (lambda h: token_losses(head, type(head).forward.__get__(head), h, targets),
                      lambda h: kl(head(h), targets)):
        hidden_NH = hidden.clone().requires_grad_()
        losses = losses_of(hidden_NH)
        wanted = [hidden_NH, *(p for p in head.parameters() if p.requires_grad)]
        found.append([losses, *torch.autograd.grad((losses * factors).sum(), wanted)])
    for value, expected in zip(*found, strict=True):
        torch.testing.assert_close(value, expected.float(), rtol=1e-4, atol=1e-5)


def linear(trainable=False, bias=False):
    torch.manual_seed(0)
    return nn.Linear(HIDDEN, VOCABULARY, bias=bias).requires_grad_(trainable)


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_token_losses_and_gradients_are_those_of_whole_logits(small_chunks, trainable, bias):
    ids = torch.tensor([3, 0, 10, 3, 7])
    hidden = 4 * torch.randn(5, HIDDEN, generator=torch.Generator().manual_seed(1))
    compare(linear(trainable, bias), Targets.hard(ids), hidden)
    head = linear(bias=bias)
    torch.testing.assert_close(token_losses(head, head.forward, hidden, Targets.hard(ids)),
                               nn.functional.cross_entropy(head(hidden), ids, reduction="none"))


def test_token_losses_through_an_adapted_head_reach_the_adapter(small_chunks):
    torch.manual_seed(0)
    model = get_peft_model(Qwen2ForCausalLM(Qwen2Config(**SHAPE, vocab_size=VOCABULARY)),
                           LoraConfig(r=2, target_modules=["lm_head"], task_type="CAUSAL_LM", lora_dropout=0.0))
    head = model.get_base_model().get_output_embeddings()
    nn.init.normal_(head.lora_B["default"].weight)
    compare(head, Targets.hard(torch.tensor([3, 0, 10])), torch.randn(3, SHAPE["hidden_size"]))


@st.composite
def teachers(draw, named=3):
    """Top words of a few tokens, filled up with one that stands there already, and what is left; of some only the label."""
    rows = draw(st.lists(st.lists(st.tuples(st.integers(0, VOCABULARY - 1), st.integers(0, 9)), min_size=named, max_size=named),
                         min_size=1, max_size=4))
    rows = [[(word, 0 if word in [w for w, _ in row[:i]] else n) for i, (word, n) in enumerate(row)] for row in rows]
    extra = draw(st.lists(st.sampled_from([0, 1, 5]), min_size=len(rows), max_size=len(rows)))
    sums = [sum(n for _, n in row) + more for row, more in zip(rows, extra, strict=True)]
    # Probability 1 of its first word where all that was drawn is 0.
    probabilities = [[n / total for _, n in row] if total else [1.0] + [0.0] * (named - 1)
                     for row, total in zip(rows, sums, strict=True)]
    rest = [more / total if total else 0.0 for more, total in zip(extra, sums, strict=True)]
    return soft([[word for word, _ in row] for row in rows], probabilities, rest)


@settings(deadline=None, max_examples=60)
@given(teacher=teachers(), seed=st.integers(0, 99), trainable=st.booleans())
def test_token_losses_of_a_teachers_top_words_are_kl_with_one_word_for_the_rest(teacher, seed, trainable):
    hidden = 3 * torch.randn(len(teacher.ids_NK), HIDDEN, generator=torch.Generator().manual_seed(seed))
    compare(linear(trainable), teacher, hidden)


@pytest.mark.parametrize("broken", ["shifted", "without the rest"])
def test_comparison_notices_a_broken_teacher(broken):
    teacher = soft([[1, 2], [3, 4]], [[0.5, 0.2], [0.6, 0.4]], [0.3, 0.0])
    other = (Targets(teacher.ids_NK.roll(1, 0), teacher.probabilities_NK, teacher.rest_N) if broken == "shifted"
             else Targets(teacher.ids_NK, teacher.probabilities_NK))
    head, hidden = linear(), 4 * torch.ones(2, HIDDEN)
    assert (token_losses(head, head.forward, hidden, other) - kl(head(hidden), teacher)).abs().max() > 0.1


@pytest.mark.parametrize("sure", [1e4, 80.0])
def test_token_losses_of_a_student_that_is_sure_are_finite(sure):
    head = linear()
    with torch.no_grad():
        head.weight.zero_()[2, 0] = sure
    hidden = torch.ones(1, HIDDEN, requires_grad=True)
    loss = token_losses(head, head.forward, hidden, soft([[2, 3]], [[0.9, 0.0]], [0.1]))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(hidden.grad).all()


class Sizes(TorchDispatchMode):
    """The most elements any tensor had that was computed inside."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(value, torch.Tensor):
                self.largest = max(self.largest, value.numel())
        return result


def largest(run):
    with Sizes() as sizes:
        run()
    return sizes.largest


@pytest.mark.parametrize("adapted", [False, True])
def test_logits_of_a_large_vocabulary_are_never_whole(monkeypatch, adapted):
    words, tokens = 5000, 64
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", 4 * words)
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, vocab_size=words, tie_word_embeddings=False)).requires_grad_(False)
    targets = "q_proj,lm_head" if adapted else "q_proj"
    model = get_peft_model(model, LoraConfig(r=2, target_modules=targets.split(","), task_type="CAUSAL_LM"))
    ids, positions = torch.randint(words, (1, tokens)), torch.arange(tokens - 1)

    def ours():
        with losses_for_logits(model.get_base_model().get_output_embeddings(), positions, Targets.hard(ids[0, 1:])):
            model(input_ids=ids, use_cache=False).logits.sum().backward()

    def whole():
        losses_of_logits(model(input_ids=ids, use_cache=False).logits, positions, Targets.hard(ids[0, 1:])).sum().backward()

    weights = words * SHAPE["hidden_size"]  # transposed, or cast, they are a tensor of their own
    assert largest(ours) <= max(4 * words, weights) < tokens * words / 3
    assert largest(whole) == tokens * words, "the measurement sees whole logits where there are some"


def test_losses_for_logits_leave_the_head_as_it_was():
    model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, vocab_size=VOCABULARY)).eval()
    ids = torch.randint(VOCABULARY, (2, 5))
    before = model(ids).logits
    with pytest.raises(ZeroDivisionError), losses_for_logits(model.lm_head, torch.tensor([0]), Targets.hard(ids[0, :1])):
        assert model(ids).logits.shape == (1,)
        1 / 0  # noqa: B018
    assert torch.equal(model(ids).logits, before) and "forward" not in vars(model.lm_head)


def test_model_that_changes_its_logits_after_the_head_is_told(caplog):
    shape = {**SHAPE, "vocab_size": VOCABULARY, "head_dim": 8}
    assert head_of(Gemma2ForCausalLM(Gemma2Config(**shape, final_logit_softcapping=2.0))) is None
    assert "Gemma2ForCausalLM changes its logits" in caplog.text
    plain = Gemma2ForCausalLM(Gemma2Config(**shape, final_logit_softcapping=None))
    assert head_of(plain) is plain.lm_head
