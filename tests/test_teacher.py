"""The teacher's probabilities, from collection to the loss."""

import dataclasses
import math
import shutil

import pytest
import torch

from small_pools import folder, question, trajectory
from smartad.dialect import PROMPTS
from smartad.engines.encoding import encode
from smartad.engines.loading import load_model, load_tokenizer
from smartad.engines.teacher import TeacherTokens
from smartad.models import TOY_FOLDER, identify
from smartad.records import read_jsonl, write_jsonl
from smartad.stage import Runtime
from smartad.stages.collect import COLLECT, CollectConfig
from smartad.stages.episodes import TOP_LOGPROBS
from smartad.stages.train import TRAIN, TrainConfig
from smartad.toyworld.teacher import ScriptedTeacher
from smartad.types import Choices, Message, Request, Segment, SegmentWeights, Selected, TeacherChoices, Trajectory, UserError


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(identify("toy"), {})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The toy student as a model of one's own, which teaches: (identity, Runtime)."""
    path = shutil.copytree(TOY_FOLDER, tmp_path_factory.mktemp("teacher") / "model")
    identity = identify(str(path))
    return identity, Runtime(models={identity: str(path)})


@pytest.fixture(scope="module")
def pool(teacher, tmp_path_factory):
    """What the untrained student says to three questions, with the probabilities of five words for each it writes."""
    root = tmp_path_factory.mktemp("pool")
    inputs = {"questions/toy": folder(root / "prepare", {"questions.jsonl": [question(n) for n in range(3)]})}
    config = CollectConfig(teacher=teacher[0], samples=1, max_steps=2, max_tokens=40, prompt="toy", dialect="paper",
                           top_logprobs=5)
    (root / "collect").mkdir()
    COLLECT.run(config, inputs, root / "collect", teacher[1])
    return {**inputs, "pool": root / "collect", "config": config}


def train(teacher, pool, path, **changes):
    rows = list(read_jsonl(pool["pool"] / "trajectories.jsonl", Trajectory))
    selected = folder(path / "select", {"selected.jsonl": [Selected(row.question_id, 0, 1.0, 1) for row in rows]})
    config = TrainConfig(**{"student": teacher[0], "dialect": "paper", "prompt": "toy", "seed": 0, "rank": 2, "dropout": 0.0,
                            "epochs": 1, "batch_size": 3, "loss": "sad_kl",
                            "weights": SegmentWeights(1, 1, 1), **changes})
    inputs = {"questions/toy": pool["questions/toy"], "pool": pool["pool"], "selected": selected}
    (path / "out").mkdir()
    return TRAIN.run(config, inputs, path / "out", teacher[1])


@pytest.mark.slow
def test_student_that_is_its_teacher_learns_from_hard_labels_alone(teacher, pool, tokenizer, tmp_path):
    """Every word is matched and KL is 0; what is left of the loss are the tokens without the teacher's probabilities, such as
    the end of a turn that was stopped at its marker."""
    metrics = train(teacher, pool, tmp_path)
    assert metrics["labels/teacher"] > 50
    model, losses = load_model(*teacher), []
    kept = {row.question_id: row for row in read_jsonl(pool["pool"] / TOP_LOGPROBS, TeacherChoices)}
    for row in read_jsonl(pool["pool"] / "trajectories.jsonl", Trajectory):
        example = encode(tokenizer, question(int(row.question_id[4:])), row, system=PROMPTS["toy"])
        matched = TeacherTokens(tokenizer).of(example, [step.text for step in row.steps], kept[row.question_id])
        with torch.no_grad():
            logprobs = model(torch.tensor([example.input_ids])).logits[0].log_softmax(-1)
        for i, segment in enumerate(example.segments):
            if segment != Segment.CONTEXT and i not in matched:
                losses.append(-logprobs[i - 1, example.input_ids[i]].item())
    assert len(losses) == metrics["labels/hard"]
    assert metrics["first_loss"] == pytest.approx(sum(losses) / 3, rel=1e-3, abs=1e-3)


@pytest.mark.slow
def test_kept_choices_lie_on_the_text_that_is_trained_on(pool):
    rows = list(read_jsonl(pool["pool"] / "trajectories.jsonl", Trajectory))
    kept = list(read_jsonl(pool["pool"] / TOP_LOGPROBS, TeacherChoices))
    assert [(row.question_id, row.sample) for row in kept] == [(row.question_id, row.sample) for row in rows]
    for row, choices in zip(rows, kept, strict=True):
        assert len(choices.turns) == len(row.steps)
        for step, turn in zip(row.steps, choices.turns, strict=True):
            edges = [0, *(c.end for c in turn)]
            assert [c.start for c in turn] == edges[:-1] and edges[-1] <= len(step.text)
            assert sum(step.text[c.start:c.end] in c.texts for c in turn) > len(turn) / 2


@pytest.mark.slow
def test_choices_are_carried_on_with_their_trajectories_after_a_kill(teacher, pool, tmp_path):
    whole = {name: (pool["pool"] / name).read_bytes() for name in ("trajectories.jsonl", TOP_LOGPROBS)}
    config = dataclasses.replace(pool["config"], batch_size=1)
    # Killed between the two writes of the second batch.
    lines = {name: content.splitlines(keepends=True) for name, content in whole.items()}
    (tmp_path / "trajectories.jsonl").write_bytes(lines["trajectories.jsonl"][0])
    (tmp_path / TOP_LOGPROBS).write_bytes(lines[TOP_LOGPROBS][0] + lines[TOP_LOGPROBS][1] + b'{"question_id"')
    COLLECT.run(config, {"questions/toy": pool["questions/toy"]}, tmp_path, teacher[1])
    rows = list(read_jsonl(tmp_path / TOP_LOGPROBS, TeacherChoices))
    assert [row.question_id for row in rows] == ["toy/0", "toy/1", "toy/2"]
    assert (tmp_path / TOP_LOGPROBS).read_bytes().splitlines()[0] + b"\n" == lines[TOP_LOGPROBS][0]


def choices_of(text, *spans):
    """Choices of one turn: (piece, its alternatives and their probabilities)."""
    found, start = [], 0
    for piece, likely in spans:
        assert text.startswith(piece, start)
        found.append(Choices(start, start + len(piece), tuple(likely), tuple(math.log(p) for p in likely.values())))
        start += len(piece)
    return tuple(found)


def test_teachers_words_are_the_students_where_both_cut_the_text_alike(tokenizer):
    t = trajectory(1)
    example = encode(tokenizer, question(1), t, system="")
    text = t.steps[0].text
    inside = [i for i, turn in enumerate(example.turns) if turn == 0]
    pieces = [text[example.characters[i]:example.characters[i + 1]] for i in inside[:-1]]
    # The first token as the student has it, the next two as one, and the end of the turn.
    kept = TeacherChoices(t.question_id, 0, ((*choices_of(
        text, (pieces[0], {pieces[0]: 0.5, pieces[1]: 0.25, "no single token": 0.125}), (pieces[1] + pieces[2], {"x": 1.0})),
        Choices(len(text), len(text), ("", pieces[0]), (math.log(0.75), math.log(0.25)))),))
    found = TeacherTokens(tokenizer).of(example, [text], kept)
    assert sorted(found) == [inside[0], inside[-1]]
    first, end = found[inside[0]], found[inside[-1]]
    assert dict(zip(first.ids, first.probabilities, strict=True)) == pytest.approx(
        {example.input_ids[inside[0]]: 0.5, example.input_ids[inside[1]]: 0.25})
    assert first.rest == pytest.approx(0.25), "the unmatched word is with the rest"
    assert end.ids[0] == example.input_ids[inside[-1]] and end.probabilities == pytest.approx((0.75, 0.25))
    assert end.rest == pytest.approx(0, abs=1e-9)


def test_token_whose_likely_words_the_student_lacks_has_its_hard_label(tokenizer):
    t = trajectory(1)
    example = encode(tokenizer, question(1), t, system="")
    start = next(i for i, turn in enumerate(example.turns) if turn == 0)
    piece = t.steps[0].text[:example.characters[start + 1]]
    kept = TeacherChoices(t.question_id, 0, (choices_of(t.steps[0].text, (piece, {"no single token": 1.0})),))
    assert TeacherTokens(tokenizer).of(example, [t.steps[0].text], kept) == {}


@pytest.mark.slow
def test_train_without_the_teachers_probabilities_says_where_they_come_from(teacher, pool, tmp_path):
    bare = {**pool, "pool": shutil.copytree(pool["pool"], tmp_path / "pool")}
    write_jsonl(bare["pool"] / TOP_LOGPROBS, list(read_jsonl(bare["pool"] / TOP_LOGPROBS, TeacherChoices))[1:])
    with pytest.raises(UserError, match=f"{TOP_LOGPROBS} lacks toy/0 sample 0"):
        train(teacher, bare, tmp_path / "a")
    (bare["pool"] / TOP_LOGPROBS).unlink()
    with pytest.raises(UserError, match=f"holds no {TOP_LOGPROBS}; collect it with collect.top_logprobs"):
        train(teacher, bare, tmp_path / "b")


def test_scripted_teacher_says_that_it_has_no_probabilities():
    asked = Request((Message(role="user", content="New task:\nWhat?"),), top_logprobs=3)
    with pytest.raises(UserError, match="has no log-probabilities"):
        ScriptedTeacher().answer([asked])
