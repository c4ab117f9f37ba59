"""Rows as other programs write them, with what is wrong with real ones."""

import json

from smartad.fingerprint import file_sha256

WRONG = "Observation:\nYour answer is wrong.\nYou have 3 steps left and 1 chances to propose solution left.\n"
LOST = "Observation:\nI don't understand your input. \nIf you want to execute code, please use <execute> YOUR_CODE </execute>.\n"
SUM = "<thought> I add. </thought>\n<execute>\nprint(2 + 3)\n</execute>"


EPISODE = ((SUM, "Observation:\n5\n"), ("The answer is <solution> 5 </solution>.", None))


def mint(question="What is 2 plus 3?", gold="5.0", turns=EPISODE, success=True, error=None):
    """A row of MINT; ``turns`` are (what the model wrote, what it was shown, None when nothing)."""
    history = [{"role": "user", "content": f"Instructions.\n---\n\nTask:\nAn example.\n\n---\n\nTask:\n{question}"}]
    for text, shown in turns:
        written = text if text.lstrip().startswith("Assistant:") else f"Assistant:\n{text}"
        history += [{"role": "assistant", "content": f"{written}\n"}] + ([{"role": "user", "content": shown}] if shown else [])
    return {"state": {"history": history, "success": success, "error": error, "token_counter": {"completion_tokens": 31}},
            "task": {"task_id": 0, "prompt": f"{question} ", "reference": gold}}


def block(code, thought="I compute."):
    return f"Thought: {thought}\nCode:\n```py\n{code}\n```<end_code>"


def call(code):
    return ("tool-call", "Calling tools:\n" + str([{"id": "call_1", "type": "function", "function":
                                                   {"name": "python_interpreter", "arguments": code}}]))


def log(*messages, question="What is 2 plus 3?", gold="5", answer="5", **metadata):
    """A row of Agent Distillation's log; ``messages`` are (role, text) after the system prompt and the task."""
    every = [("system", "You are an agent."), ("user", f"New task:\n{question}\n\nIMPORTANT: Always think."), *messages]
    return {"model_id": "teacher", "question": question, "generated_answer": answer, "true_answer": gold,
            "log_data": {"messages": [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in every],
                         "metadata": {"performance": {"total_duration": 1.5}, **metadata}}, "cost": 0.0}


def answered(code="final_answer(2 + 3)"):
    """The messages of a turn that answers."""
    shown = "Call id: call_1\nObservation:\nExecution logs:\nLast output from code snippet:\n5"
    return ("assistant", block(code)), call(code), ("tool-response", shown)


def chat(*said, question="What is 2 plus 3?", **more):
    """A row of messages for fine-tuning; ``said`` are the turns and what was said between them."""
    roles = ("assistant", "user")
    task = f"New task:\n{question}\n\nFor math problems that are not multiple-choice, use LaTeX."
    return {"messages": [{"role": "system", "content": "You are an agent."}, {"role": "user", "content": task},
                         *({"role": roles[i % 2], "content": text} for i, text in enumerate(said))], **more}


GOOD = {"mint": mint(), "agent_distillation": log(*answered()),
        "messages": chat("Thought: I know.\n<code>\nfinal_answer(5)\n</code>")}
"""A row of every format with nothing wrong."""


def file(path, *rows):
    """A file of ``rows``: what is a string is a line as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def pinned(path, below):
    """``path`` as a config names it, with its content."""
    return f"{path.relative_to(below)}@{file_sha256(path)}"
