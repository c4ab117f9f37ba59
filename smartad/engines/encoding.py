"""Trajectory -> tokens with a segment and a turn each.  The one tokenisation that scoring and training share."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Literal

import torch

from smartad.dialect import PAPER, Dialect, chat, segments
from smartad.engines.loading import Tokenizer
from smartad.types import Message, Question, Segment, SegmentWeights, Step, TrainingExample, Trajectory, UserError

EndOfTurn = Literal["reason", "inherit"]
"""What the end-of-turn token counts as: REASON, as the paper reads literally, or what the turn ended in."""


class RewritingTemplate(UserError):
    """The chat template does not keep every assistant turn as it was written."""


def render(tokenizer: Tokenizer, messages: Sequence[Message], generate: bool = False) -> str:
    """A chat as the model sees it; ``generate``: up to where the next assistant turn would begin."""
    return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=generate)


def encode(tokenizer: Tokenizer, question: Question, trajectory: Trajectory, *, system: str, dialect: Dialect = PAPER,
           end_of_turn: EndOfTurn = "reason", markers: bool = True) -> TrainingExample:
    """A trajectory with what each of its tokens is for (section 3.3).

    Segments are cut in characters (``dialect.segments``), and a token belongs to the segment of the character it begins
    with: looking for the markers' token ids finds nothing, because ``Code:`` merges with the line end after it.  The
    token that ends a turn is supervised, or students never stop; what the template writes after it is not.  ``turns``
    has the turn's index for the turn's text and for the token that ends it.

    Raises RewritingTemplate when the chat template is not prefix-stable or rewrites assistant turns, UserError when it does
    not end them.
    """
    messages = chat(question, trajectory.steps, system, trajectory.passages)
    text = render(tokenizer, messages)
    starts = _turn_starts(tokenizer, messages, text)
    return _labelled(tokenizer, trajectory, text, starts, dialect, end_of_turn, markers)


def encode_turns(tokenizer: Tokenizer, question: Question, trajectory: Trajectory, *, system: str,
                 dialect: Dialect = PAPER) -> tuple[list[TrainingExample], str]:
    """A trajectory turn by turn, each with the history that an agent would have been shown, and the text of them all: what
    the paper's loop scores (section 3.2), whatever the chat template does to earlier turns.

    Raises UserError when the template does not end a turn with a token of its own.
    """
    messages = chat(question, trajectory.steps, system, trajectory.passages)
    end = _end_of_turn(tokenizer)
    assistant = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    examples, texts = [], []
    for turn, (at, step) in enumerate(zip(assistant, trajectory.steps, strict=True)):
        history = render(tokenizer, messages[:at], generate=True)
        texts.append(history + step.text + end)
        example = _labelled(tokenizer, replace(trajectory, steps=(step,)), texts[-1], [len(history)], dialect, "reason", True)
        examples.append(replace(example, turns=tuple(turn if t == 0 else t for t in example.turns)))
    return examples, "".join(texts)


def _labelled(tokenizer: Tokenizer, trajectory: Trajectory, text: str, starts: Sequence[int], dialect: Dialect,
              end_of_turn: EndOfTurn, markers: bool) -> TrainingExample:
    """``text``, the rendered chat of ``trajectory``, in tokens; its turns begin at ``starts``."""
    tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    added = tokenizer.added_tokens_decoder
    control = {token for token, how in added.items() if how.special}
    first = _first_characters(tokens["offset_mapping"], [token in added for token in tokens["input_ids"]])
    if not {start + len(step.text) for start, step in zip(starts, trajectory.steps, strict=True)} <= set(first):
        raise _endless(tokenizer)
    of_character = _characters(text, starts, trajectory.steps, dialect, end_of_turn, markers)
    ends = {start + len(step.text) for start, step in zip(starts, trajectory.steps, strict=True)}
    # Text that spells a control token is one: learned in the middle of a turn, it would end the student's turns there.
    labels = [(Segment.CONTEXT, turn) if token in control and i not in ends else (segment, turn)
              for i, token, (segment, turn) in zip(first, tokens["input_ids"], (of_character[i] for i in first), strict=True)]
    return TrainingExample(trajectory.question_id, trajectory.sample, tuple(tokens["input_ids"]),
                           tuple(segment for segment, _ in labels), tuple(turn for _, turn in labels),
                           tuple(i - starts[turn] if turn >= 0 else -1 for i, (_, turn) in zip(first, labels, strict=True)))


def pieces(tokenizer: Tokenizer, text: str, example: TrainingExample) -> list[tuple[str, Segment]]:
    """``text``, the rendered chat that ``example`` was encoded from, cut where the segment of its tokens changes.

    The pieces are ``text`` without a gap.  A token brings along what follows it up to where the next one begins.
    """
    tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if tuple(tokens["input_ids"]) != example.input_ids:
        raise ValueError(f"{example.question_id} sample {example.sample} is not the encoding of this text")
    added = tokenizer.added_tokens_decoder.keys()
    first = _first_characters(tokens["offset_mapping"], [token in added for token in tokens["input_ids"]])
    ends = [*first[1:], len(text)]
    cut: list[tuple[str, Segment]] = []
    for segment, group in groupby(zip(first, ends, example.segments, strict=True), key=lambda token: token[2]):
        spans = list(group)
        cut.append((text[spans[0][0]:spans[-1][1]], segment))
    return cut


def refuse_untrainable(examples: Sequence[TrainingExample], max_length: int, weights: SegmentWeights,
                       positions: int | None = None) -> None:
    """Raise UserError naming every example that is too long, or has no token with a weight.  None is ever cut: the end
    of a trajectory is its answer.  ``positions``: that the student has."""
    long = [e for e in examples if len(e.input_ids) > max_length]
    if long:
        raise UserError(f"{len(long)} of {len(examples)} trajectories are over train.max_length={max_length}: "
                        f"{_named(long)}. train.max_length={max(len(e.input_ids) for e in long)} would take them all")
    if beyond := [e for e in examples if positions and len(e.input_ids) > positions]:
        raise UserError(f"{len(beyond)} of {len(examples)} trajectories are longer than this student's {positions} positions: "
                        f"{_named(beyond)}. Choose a student with more, or other trajectories")
    weight = by_segment(weights)
    empty = [e for e in examples if not any(weight[s] for s in e.segments)]
    if empty:
        raise UserError(f"{len(empty)} of {len(examples)} trajectories have no token to train on with {weights}: "
                        f"{_named(empty)}. Give the segments they do have a weight above 0")


def padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """ids and attention mask, both (batch, time); padded on the right, with a token that the mask hides."""
    lengths_B = torch.tensor([len(row) for row in rows])
    mask_BT = (torch.arange(int(lengths_B.max())) < lengths_B[:, None]).long()
    ids_BT = torch.zeros_like(mask_BT)
    ids_BT[mask_BT.bool()] = torch.tensor([token for row in rows for token in row])
    return ids_BT, mask_BT


def by_segment(weights: SegmentWeights) -> dict[Segment, float]:
    """The loss weight of each segment; CONTEXT's is 0."""
    return {Segment.CONTEXT: 0.0, Segment.REASON: weights.reason, Segment.ACTION: weights.action,
            Segment.FINAL: weights.final}


def control_tokens(tokenizer: Tokenizer, examples: Sequence[TrainingExample]) -> int:
    """How many of ``examples`` spell a control token inside a turn; it is CONTEXT there."""
    control = {token for token, how in tokenizer.added_tokens_decoder.items() if how.special}
    return sum(any(turn >= 0 and segment == Segment.CONTEXT and token in control for token, segment, turn
                   in zip(e.input_ids, e.segments, e.turns, strict=True)) for e in examples)


def count_segments(examples: Sequence[TrainingExample]) -> dict[str, int]:
    """Tokens by segment name, lower case."""
    counts = Counter(segment for example in examples for segment in example.segments)
    return {segment.name.lower(): counts[segment] for segment in Segment}


def _turn_starts(tokenizer: Tokenizer, messages: Sequence[Message], text: str) -> list[int]:
    """The character of ``text`` at which each assistant turn begins."""
    starts = []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        history = render(tokenizer, messages[:i], generate=True)
        written = text.startswith(message["content"], len(history))
        if not text.startswith(history if written else render(tokenizer, messages[:i + 1])):
            raise RewritingTemplate(f"the chat template of {tokenizer.name_or_path} changes earlier turns when later ones "
                                    "follow (it is not prefix-stable), so training on a whole trajectory would differ from "
                                    "acting in it; give the model a template that keeps every turn as it was")
        if not written:
            raise RewritingTemplate(f"the chat template of {tokenizer.name_or_path} rewrites the text of an assistant turn; "
                                    "give the model a template that writes the content as it is")
        starts.append(len(history))
    return starts


def _end_of_turn(tokenizer: Tokenizer) -> str:
    """What the chat template ends an assistant turn with: a token of its own."""
    probe = "smartad"
    text = render(tokenizer, [{"role": "user", "content": "?"}, {"role": "assistant", "content": probe}])
    after = tokenizer(text.rpartition(probe)[2], add_special_tokens=False)["input_ids"]
    if not after or after[0] not in tokenizer.added_tokens_decoder:
        raise _endless(tokenizer)
    return str(tokenizer.added_tokens_decoder[after[0]])


def _endless(tokenizer: Tokenizer) -> UserError:
    return UserError(f"the chat template of {tokenizer.name_or_path} does not end an assistant turn with a token of its own, "
                     "so a student could not learn to stop; give the model a template that does")


def _characters(text: str, starts: Sequence[int], steps: Sequence[Step], dialect: Dialect, end_of_turn: EndOfTurn,
                markers: bool) -> list[tuple[Segment, int]]:
    """(segment, turn) of every character of ``text``."""
    labels = [(Segment.CONTEXT, -1)] * len(text)
    for turn, (start, cuts) in enumerate(zip(starts, segments(steps, dialect, markers), strict=True)):
        last = Segment.REASON
        for begin, end, segment in cuts:
            labels[start + begin:start + end] = [(segment, turn)] * (end - begin)
            last = segment
        # An invented observation is CONTEXT, but the turn still has to end.
        inherited = end_of_turn == "inherit" and last != Segment.CONTEXT
        labels[start + len(steps[turn].text)] = (last if inherited else Segment.REASON, turn)
    return labels


def _first_characters(offsets: Sequence[tuple[int, int]], added: Sequence[bool]) -> list[int]:
    """The character each token begins with.

    Byte-level tokenizers may leave leading blanks out of a token's offsets (``trim_offsets``): a character that no
    token claims belongs to the token after it, unless that is an added token, which is its literal text and no more.
    The tokens of one multi-byte character share its offset.
    """
    firsts, covered = [], 0
    for (start, end), literal in zip(offsets, added, strict=True):
        firsts.append(start if literal else min(start, covered))
        covered = max(covered, end)
    return firsts


def _named(examples: Sequence[TrainingExample], most: int = 5) -> str:
    names = [f"{e.question_id} sample {e.sample} ({len(e.input_ids)} tokens)" for e in examples]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
