"""A real HTTP server that judges, by what it finds in the answer: ``do: prose`` has it write prose, ``faults: 500`` has that
happen first, and without either it says whether the answer is a gold one.  Asked a question that is not to be judged, it is a
student that reasons to the answer it was given for that question.

    python judge_double.py          serves until it is killed; the first line it prints is its address
"""

import json
import threading

from vllm_double import Double, Refused

REPLIES = {
    "prose": "The answer is right, so I give it the score 1.", "garbage": "<html>{{{", "empty": "", "words": '{"score": "yes"}',
    "true": '{"score": true}', "float": '{"score": 0.5}', "two": '{"score": 2}', "nothing": "{}", "list": "[1]", "one": "1",
    "twice": '{"score": 0, "score": 1}', "embedded": 'Here it is: {"explanation": "same", "score": 1}',
    "fenced": '```json\n{"explanation": "same", "score": 1}\n```',
    "thought": '<think>{"score": 0}? No.</think>\n\n{"explanation": "same", "score": 1}', "bare": '{"score": 1}',
}


class Judge(Double):
    """``forms``: the kinds of response_format it takes; the others it refuses with ``refuses``.  ``told``: whether it counts
    tokens.  ``answers``: question -> what it answers as a student."""

    def __init__(self, address, name="judge", key=None, forms=("json_schema", "json_object"), refuses=400, told=True,
                 says="", answers=None):
        super().__init__(address, name=name, key=key, vllm=False)
        self.forms, self.refuses, self.told, self.says, self.answers = forms, refuses, told, says, answers or {}

    def answer(self, body):
        if body["model"] != self.name:
            raise Refused(404, f"The model `{body['model']}` does not exist.")
        form = body.get("response_format")
        if form and form["type"] not in self.forms:
            raise Refused(self.refuses, f"response_format.type {form['type']} is not supported")
        content = body["messages"][-1]["content"]
        text = self.judged(content) if "gold_answers" in content else self.reasoned(content)
        usage = {"usage": {"prompt_tokens": 9, "completion_tokens": 7}} if self.told else {}
        return {"object": "chat.completion", "model": body["model"], **usage,
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}

    def judged(self, content):
        asked = json.loads(content)
        wanted = asked["answer"].partition("do: ")[2].split()
        if wanted:
            return REPLIES[wanted[0]]
        same = asked["answer"] in asked["gold_answers"]
        return json.dumps({"explanation": f"{'the same' if same else 'another'}{self.says}", "score": int(same)})

    def reasoned(self, content):
        answer = next((answer for question, answer in self.answers.items() if question in content), "I do not know")
        return f"I think so.\nThe answer is \\boxed{{{answer}}}."

    def asked(self):
        """What was to be judged, in the order of asking, tries included."""
        return [json.loads(body["messages"][-1]["content"])["answer"] for body in self.bodies
                if "gold_answers" in body["messages"][-1]["content"]]


if __name__ == "__main__":
    server = Judge(("127.0.0.1", 0))
    server.released = threading.Event()
    print(server.url, flush=True)
    server.serve_forever(poll_interval=0.02)
