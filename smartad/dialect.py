"""The one text form of a trajectory: what the teacher is asked to write, what the student is scored and trained on, and
what the agent parses.  The markers and the prompts appear nowhere else.

Where a block begins and ends is said by the step's record, ``Step.action``, wherever that is found in the turn's text: what
ran is the action, whatever the markers would make of a fence in a string.  Text that was recorded without it is cut by markers.

    Thought: <thought>
    Code:
    ```py
    <action>
    ```<end_code>
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from smartad.prompts import PROMPTS as PROMPTS  # everyone asks for them here
from smartad.types import FAILURES, Message, Question, Segment, Step

Cut = tuple[int, int, Segment]
"""(start, end, segment) in characters of one turn."""


@dataclass(frozen=True)
class Dialect:
    """A marker pair.  ``start`` + code + ``end`` is a block as it should be; the patterns also match small slips."""

    start: str
    end: str
    opens: str
    """Regular expression of what opens a block."""
    closes: str
    """Regular expression of what closes it."""
    answers: str = r"final_answer\("
    """Regular expression that is found in a block which answers."""
    answers_plainly: bool = False
    """Whether such a block holds the answer itself, and not code that gives it."""
    acts: bool = True
    """Whether turns are to hold code."""
    whole: bool = False
    """Whether a turn is the answer as it is, and nothing in it is looked for."""

    @property
    def pattern(self) -> str:
        """Regular expression with a group ``code``; its whole match is the block, markers included."""
        return f"{self.opens}(?P<code>.*?){self.closes}"


NOWHERE = r"(?!)"
"""Regular expression that is found in no text."""
DIALECTS = {
    # The papers' format.  Found with or without <end_code> and "Code:", because real teachers forget both, and with
    # <end_code> on a line of its own, as Llama writes it.  A fence with more text after it is inside a string literal.
    "paper": Dialect("Code:\n```py\n", "\n```<end_code>",
                     r"(?:Code:\s*)?```(?:python|py)[ \t]*\n", r"\n?```(?:\s*<end_code>|(?=[ \t]*(?:\n|\Z)))"),
    # smolagents' own default since 1.20.
    "smolagents": Dialect("<code>\n", "\n</code>", r"<code>\n?", r"\n?</code>"),
    # CodeAct as in MINT: code to run, or the answer itself, which ends the episode.
    "mint": Dialect("<execute>\n", "\n</execute>", r"<(?:execute|solution)>\n?", r"\n?</(?:execute|solution)>",
                    r"\A<solution>", answers_plainly=True),
    # Chain of thought after Agent Distillation's Prompt D.1: nothing to run, and at the end the answer itself.
    "cot": Dialect("<answer>", "</answer>", r"<answer>", r"</answer>", r"\A<answer>", answers_plainly=True,
                   acts=False),
    # Plain completion: a model is asked once, and whoever grades its answer finds the program in it (grading/code_tests.py).
    "text": Dialect("", "", NOWHERE, NOWHERE, NOWHERE, acts=False, whole=True),
}
PAPER = DIALECTS["paper"]
COT = DIALECTS["cot"]
CONTROL = re.compile(r"<(?=[|｜][^<>|｜\s]+[|｜]>|/?(?:s|bos|eos|unk|pad|mask|start_of_turn|end_of_turn)>)"
                     r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|CLS|SEP|PAD|MASK|UNK)\])")
"""How a control token of one of the usual models begins where text spells it: Qwen's and Llama's <|name|>, DeepSeek's with wide
bars, Gemma's and Llama 2's <name>, Mistral's [NAME].  A student whose chat is built of others is refused
(``engines.loading``)."""
INVENTED = re.compile(r"^[ \t]*Observation:", re.MULTILINE)
"""An observation the model made up: generation stops before it, and imported text is not trained on from there on."""


def plain(text: str) -> str:
    """``text`` with a blank in every control token it spells: a tokenizer then reads it as text, and so does a person.

    Not by the tokenizer at hand: what a teacher was shown is what its student is scored and trained on.
    """
    return CONTROL.sub(r"\g<0> ", text)


def stop_strings(dialect: Dialect = PAPER) -> tuple[str, ...]:
    """Where a turn ends when the model does not end it itself."""
    return () if dialect.whole else (dialect.end, "Observation:")


def render_turn(thought: str, code: str, dialect: Dialect = PAPER) -> str:
    """The assistant's message for one step, as it should be written."""
    return f"Thought: {thought.strip()}\n{dialect.start}{code.strip()}{dialect.end}"


def normalise(text: str, stopped_by: str | None, dialect: Dialect = PAPER) -> str:
    """A generated turn with its closing marker whole, and nothing in it that a tokenizer would obey (``plain``).

    Generation stops *at* the marker, so the engine leaves it out; some models also end their turn right after the code,
    or write the backticks and forget the rest.  Text without a block is left alone: it is a parse error, not a block.
    """
    text = plain(text).rstrip()
    opened = list(re.finditer(dialect.opens, text))
    if not opened:
        return text
    closed = re.compile(dialect.closes).search(text, opened[-1].end())
    if closed and closed.end() < len(text):
        return text
    marker = dialect.end.strip()
    for length in range(len(marker), 0, -1):
        # Stopped at the marker itself, the text ends in code, and a backtick there is the code's.
        if stopped_by != dialect.end and text.endswith(marker[:length]):
            return text + marker[length:]
    return text if closed else text + dialect.end


def action_of(text: str, dialect: Dialect = PAPER) -> str:
    """The Python of a turn's blocks, several joined by a blank line; empty when there is none.

    A block that holds the answer itself is ``final_answer`` of it.
    """
    return _joined(_blocks(text, dialect), dialect)


def thought_of(text: str, dialect: Dialect = PAPER) -> str:
    """What a turn says before its first block."""
    first = next(iter(_blocks(text, dialect)), None)
    return text[:first.start() if first else None].strip().removeprefix("Thought:").strip()


def first_thought(text: str, dialect: Dialect = PAPER) -> str:
    """What a chain of thought begins with: its first paragraph, up to what would open a block, an observation or the answer.

    Empty when nothing is left.
    """
    text = plain(text).strip()
    ends = (r"\n[ \t]*\n", INVENTED.pattern, *(form.opens for form in (dialect, COT)), r"^[ \t]*Code:")
    cut = min(found.start() if (found := re.search(end, text, re.MULTILINE)) else len(text) for end in ends)
    return text[:cut].strip().removeprefix("Thought:").strip()


def stated_answer(text: str, cut: bool = False, dialect: Dialect = COT) -> str | None:
    """The answer that a chain of thought ends in; None when it states none.  In a dialect of whole turns, the turn.

    The last ``<answer>``, as Prompt D.1 of Agent Distillation asks for; else the last ``\\boxed{}``; else what follows the last
    "answer is" in its line.  Of an ``<answer>`` with a box in it, what is in the box.  ``cut``: nobody knows how its last line
    would have ended.
    """
    if dialect.whole:
        return text if text.strip() else None
    tagged = re.findall(COT.pattern, text, re.DOTALL)
    within = tagged[-1] if tagged else text
    found = _boxed(within)
    if found is None:
        lines = text.rpartition("\n")[0] if cut else text
        said = re.findall(r"\banswer is:?[ \t]*(.+)", lines, re.IGNORECASE)
        found = within if tagged else said[-1].lstrip("* ").rstrip("* .") if said else ""
    return found.strip() or None


def _boxed(text: str) -> str | None:
    """What is in the last ``\\boxed{}``, its braces matched; None without one that closes."""
    for start in reversed([found.end() for found in re.finditer(r"\\boxed\s*\{", text)]):
        depth = 1
        for i, character in enumerate(text[start:], start):
            depth += (character == "{") - (character == "}")
            if depth == 0:
                return text[start:i]
    return None


def segments(steps: Sequence[Step], dialect: Dialect = PAPER, markers: bool = True) -> list[list[Cut]]:
    """Cut the assistant turn of each of a trajectory's steps into characters that cover it without a gap (section 3.3).

    A block is ACTION, the last block of the trajectory FINAL (where blocks can hold the answer itself, the last that does),
    an invented observation and what follows it CONTEXT, and the rest REASON.  ``markers``: whether a block's markers belong
    to it (the paper's reading) or are REASON.
    """
    blocks = [_recorded_blocks(step, dialect) for step in steps]
    final = _final([block for found in blocks for block in found], dialect)
    return [_cut(step.text, found, final, markers) for step, found in zip(steps, blocks, strict=True)]


def _final(blocks: Sequence[re.Match[str]], dialect: Dialect) -> re.Match[str] | None:
    """The block of a trajectory that is FINAL."""
    return next((block for block in reversed(blocks) if _plain(block, dialect)), blocks[-1] if blocks else None)


def _recorded_blocks(step: Step, dialect: Dialect) -> list[re.Match[str]]:
    """The blocks of a turn, each a match with a group ``code``: those that ran, if that is known and they are in the text."""
    marked, action = _blocks(step.text, dialect), step.action.strip()
    if not action or action == _joined(marked, dialect).strip():
        return marked
    code = f"(?P<code>{re.escape(action)})"
    for pattern in (rf"{dialect.opens}\s*{code}\s*(?:{dialect.closes}|\Z)", rf"^{code}$"):
        # What ran may hold a line "Observation:", but what comes after an invented one was not the answer to a real one.
        if (found := re.search(pattern, step.text, re.MULTILINE)) and found.start() < _invented(step.text):
            return [found]
    return marked


def _blocks(text: str, dialect: Dialect) -> list[re.Match[str]]:
    return list(re.finditer(dialect.pattern, text[:_invented(text)], re.DOTALL))


def _joined(blocks: Sequence[re.Match[str]], dialect: Dialect) -> str:
    return "\n\n".join(f"final_answer({block['code'].strip()!r})" if _plain(block, dialect) else block["code"].strip()
                       for block in blocks)


def _plain(block: re.Match[str], dialect: Dialect) -> bool:
    """Whether it holds an answer itself."""
    return dialect.answers_plainly and re.search(dialect.answers, block[0]) is not None


def _invented(text: str, since: int = 0) -> int:
    found = INVENTED.search(text, since)
    return found.start() if found else len(text)


def _cut(text: str, blocks: list[re.Match[str]], final: re.Match[str] | None, markers: bool) -> list[Cut]:
    cuts: list[Cut] = []
    position = 0

    def upto(end: int, segment: Segment) -> None:
        nonlocal position
        if position < end:
            cuts.append((position, end, segment))
            position = end

    for block in blocks:
        start, end = block.span() if markers else block.span("code")
        upto(start, Segment.REASON)
        upto(end, Segment.FINAL if block is final else Segment.ACTION)
    upto(_invented(text, _end(blocks)), Segment.REASON)
    upto(len(text), Segment.CONTEXT)
    return cuts


def _end(blocks: Sequence[re.Match[str]]) -> int:
    return blocks[-1].end() if blocks else 0


CASES = ("no_block", "single_block", "last_block_without_final_answer", "several_blocks_in_turn", "invented_observation",
         "unclosed_block", "fence_without_marker", "marker_in_code", "text_after_block", "record_over_markers",
         *FAILURES)
"""What can be out of the ordinary about a trajectory."""
PASSAGES = "\n\nPassages that may help:\n"
"""Between a task and what was looked up for it."""


def edge_cases(steps: Sequence[Step], dialect: Dialect = PAPER) -> list[str]:
    """Those of CASES that hold for a trajectory, each once; to be counted and reported.

    ``no_block``, and ``single_block`` (it is FINAL, so there is no ACTION): only where turns are to hold code.
    ``last_block_without_final_answer``: FINAL holds no answer.
    ``fence_without_marker``: a block that is not opened as it should be, as by a fence without ``Code:``.
    ``marker_in_code``: what opens or closes a block stands inside of one, as in a string.  ``text_after_block``: the turn
    goes on after its last block.  ``record_over_markers``: the markers alone would have cut another block than the one that
    ran.  FAILURES: a step that failed so.
    """
    blocks = [_recorded_blocks(step, dialect) for step in steps]
    every = [block for found in blocks for block in found]
    final = _final(every, dialect)
    rests = [step.text[_end(found):_invented(step.text, _end(found))] for step, found in zip(steps, blocks, strict=True)]
    words = [*dialect.start.split(), *dialect.end.split()]
    holds: dict[str, bool] = {
        "no_block": dialect.acts and not every,
        "single_block": dialect.acts and len(every) == 1,
        "last_block_without_final_answer": final is not None and not re.search(dialect.answers, final[0]),
        "several_blocks_in_turn": any(len(found) > 1 for found in blocks),
        "invented_observation": any(_invented(step.text, _end(found)) < len(step.text)
                                    for step, found in zip(steps, blocks, strict=True)),
        "unclosed_block": any(re.search(dialect.opens, rest) for rest in rests)
                          or any(re.match(dialect.opens, b[0]) and not re.search(rf"{dialect.closes}\Z", b[0]) for b in every),
        "fence_without_marker": any(not block[0].startswith(words[0]) and not _plain(block, dialect) for block in every),
        "marker_in_code": any(word in block["code"] for word in words for block in every),
        "text_after_block": any(found and rest.strip() for found, rest in zip(blocks, rests, strict=True)),
        "record_over_markers": any([b.span() for b in found] != [b.span() for b in _blocks(step.text, dialect)]
                                   for step, found in zip(steps, blocks, strict=True)),
    }
    holds |= {status: any(step.status == status for step in steps) for status in FAILURES}
    return [case for case in CASES if holds[case]]


PROGRAM = "Complete this Python function. The answer is its whole source code, as a string, and not what it returns.\n\n"
"""Before the beginning of a program, which alone does not say what is wanted: an agent could take it for code to run."""


def task_of(question: Question) -> str:
    """What a model is told to do."""
    return f"{PROGRAM if question.entry_point else ''}{question.text}"


def task_message(question: str, passages: str = "") -> str:
    """The user message that opens an episode (smolagents' wording), with what was looked up for it."""
    return f"New task:\n{question}{PASSAGES + passages if passages else ''}"


LAST_CALL = "There are no steps left. Write no code: say only what the answer to the task is."
"""Asked for after the last observation when the steps ran out, if anything is."""


def observation(logs: str, output: str) -> str:
    """The user message after code that ran (smolagents' wording).  ``logs``: what it printed, each line ended."""
    return f"Observation:\nExecution logs:\n{logs}Last output from code snippet:\n{output}"


def complaint(error: str, logs: str = "") -> str:
    """The user message after a turn without code, or whose code failed.  ``logs``: what it printed before."""
    printed = f"Execution logs:\n{logs}" if logs else ""
    return f"Observation:\n{printed}Error:\n{error}"


def no_code(dialect: Dialect = PAPER) -> str:
    """What to complain about a turn without a block."""
    return f"No code was found. Write it like this:\n{dialect.start}# your code{dialect.end}"


def chat(question: Question, steps: Sequence[Step], system: str, passages: str = "") -> list[Message]:
    """A trajectory as the chat its model saw and wrote, up to its last assistant turn.

    No task and no observation can break out of its message (``plain``).  ``passages``: ``Trajectory.passages``.
    """
    messages: list[Message] = [{"role": "system", "content": system},
                               {"role": "user", "content": plain(task_message(task_of(question), passages))}]
    for i, step in enumerate(steps):
        messages.append({"role": "assistant", "content": step.text})
        if i + 1 < len(steps):
            messages.append({"role": "user", "content": plain(step.observation)})
    return messages
