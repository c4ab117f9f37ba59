"""A real HTTP server that speaks vLLM's dialect, for what cannot run here: vLLM has no build for a CPU.

Written after vLLM's source (entrypoints/openai: chat completions, models, runtime loading of adapters).  It proves that we ask as
vLLM wants to be asked and read what it answers; not that vLLM behaves so.

    python vllm_double.py MODEL --host H --port P --served-model-name NAME [--enable-lora ...]      as ``vllm serve`` is started

The last user message says what it does: ``say: TEXT`` is answered with TEXT by pieces of a word each, ``faults: 429, cut`` has
those happen first, one a try.  ``~`` at the end: the model does not end its turn, but runs out of tokens.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONTEXT = 200
"""Tokens of prompt and answer; a message takes three besides its words."""
END = "<|im_end|>"
HANG_S = 60


def pieces(text):
    return re.findall(r"\s*\S+|\s+", text)


def prompt_tokens(body):
    messages = body["messages"]
    opened = 0 if body.get("continue_final_message") else 3
    closed = -1 if body.get("continue_final_message") else 0
    return sum(3 + len(pieces(m["content"])) for m in messages) + opened + closed


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Double(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address, name="base", root="base", key=None, lora=True, vllm=True, max_n=100):
        super().__init__(address, Handler)
        self.name, self.root, self.key, self.lora, self.vllm, self.max_n = name, root, key, lora, vllm, max_n
        self.adapters, self.bodies, self.times, self.faults = {}, [], [], {}
        self.lock, self.at_once, self.most_at_once = threading.Lock(), 0, 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def models(self):
        owner = "vllm" if self.vllm else "somebody"
        cards = [{"id": self.name, "object": "model", "owned_by": owner, "root": self.root, "max_model_len": CONTEXT}]
        return cards + [{"id": name, "object": "model", "owned_by": owner, "root": path, "parent": self.name}
                        for name, path in self.adapters.items()]

    def load(self, body):
        name, path = body["lora_name"], Path(body["lora_path"])
        if not self.lora:
            raise Refused(404, "Not Found")
        if name in self.adapters:
            raise Refused(400, f"The lora adapter '{name}' has already been loaded.")
        if not (path / "adapter_config.json").is_file():
            raise Refused(404, f"Loading lora {name} failed: No adapter found for {path}")
        self.adapters[name] = str(path)

    def fault(self, text):
        """The next of a message's faults; each happens once."""
        wanted = re.search(r"faults: ([\w, ]+)", text)
        with self.lock:
            left = self.faults.setdefault(text, wanted[1].replace(" ", "").split(",") if wanted else [])
            return left.pop(0) if left else None

    def answer(self, body):
        n, asked = body.get("n") or 1, body["model"]
        if asked not in (self.name, *self.adapters):
            raise Refused(404, f"The model `{asked}` does not exist.")
        if self.vllm and n > 1 and body["temperature"] == 0:
            raise Refused(400, "n must be 1 when using greedy sampling, got 2.")
        used = prompt_tokens(body if self.vllm else {"messages": body["messages"]})
        room = CONTEXT - used
        if room <= 0 or body.get("max_tokens", 1) > room:
            raise Refused(400, f"This model's maximum context length is {CONTEXT} tokens. However, you requested "
                               f"{body.get('max_tokens')} output tokens and your prompt contains {used} input tokens.")
        choices = [self.choice(body, number, min(body.get("max_tokens", room), room)) for number in range(min(n, self.max_n))]
        return {"id": "x", "object": "chat.completion", "model": asked, "choices": choices,
                "usage": {"prompt_tokens": used, "completion_tokens": sum(c.pop("written") for c in choices)}}

    def choice(self, body, number, room):
        said = re.search(r"say: (.*)", body["messages"][-1 if body["messages"][-1]["role"] == "user" else -2]["content"], re.S)
        text = said[1] if said else f"{body['model']} heard it"
        if body["temperature"]:
            text += f" {body['seed'] + number}"
        goes_on = text.endswith("~")
        tokens = [*pieces(text.removesuffix("~")), *([] if goes_on else [END])]
        cut = tokens[:room]
        whole = "".join(t for t in cut if t != END)
        stop = next((s for s in body.get("stop") or [] if s in whole), None)
        if stop:
            while "".join(cut[:-1]).find(stop) >= 0:
                cut.pop()
            whole = whole[:whole.find(stop)]
        ended = stop or (END in cut)
        reply = {"index": number, "message": {"role": "assistant", "content": whole},
                 "finish_reason": "stop" if ended else "length", "written": len(cut)}
        if self.vllm:
            reply |= {"stop_reason": stop, "token_ids": [hash_of(t) for t in cut] if body.get("return_token_ids") else None}
            if body.get("logprobs"):
                top = [[{"token": t, "logprob": -0.5, "bytes": list(t.encode())},
                        {"token": " other", "logprob": -1.5, "bytes": []}, {"token": END, "logprob": -2.5, "bytes": []}]
                       [:body.get("top_logprobs") or 0] for t in cut]
                reply["logprobs"] = {"content": [{"token": t, "logprob": -0.5, "bytes": list(t.encode()), "top_logprobs": ranked}
                                                 for t, ranked in zip(cut, top, strict=True)]}
        return reply


def hash_of(token):
    return sum(ord(c) * 31**i for i, c in enumerate(token)) % 50_000


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.guarded(self.listed)

    def listed(self):
        if self.path != "/v1/models":
            raise Refused(404, "Not Found")
        return {"object": "list", "data": self.server.models()}

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/load_lora_adapter":
            self.guarded(lambda: self.server.load(body) or "Success")
            return
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.times.append(time.monotonic())
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        try:
            fault = self.server.fault(" ".join(m["content"] for m in body["messages"] if m["role"] == "user"))
            getattr(self, f"fault_{fault}")(body) if fault else self.guarded(lambda: self.server.answer(body))
        finally:
            with self.server.lock:
                self.server.at_once -= 1

    def guarded(self, work):
        try:
            if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
                raise Refused(401, f"Unauthorized: {self.headers['Authorization']}")
            self.reply(200, work())
        except Refused as error:
            self.reply(error.status, {"error": {"message": str(error), "type": "x", "code": error.status}})

    def reply(self, status, content, **headers):
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def fault_429(self, body):
        self.reply(429, {"error": {"message": "slow down"}}, **{"Retry-After": "1"})

    def fault_500(self, body):
        self.reply(500, {"error": {"message": "CUDA error"}})

    def fault_503(self, body):
        self.reply(503, b"<html>no backend</html>", **{"Content-Type": "text/html"})

    def fault_400(self, body):
        self.reply(400, {"error": {"message": "bad schema"}})

    def fault_echo(self, body):
        self.reply(400, {"error": {"message": f"not with {self.headers['Authorization'].split()[-1]}"}})

    def fault_slow(self, body):
        time.sleep(0.05)
        self.reply(200, self.server.answer(body))

    def fault_hang(self, body):
        self.server.released.wait(HANG_S)
        self.close_connection = True

    def fault_trickle(self, body):
        """Never silent, and never ready."""
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while not self.server.released.wait(0.02):
            self.wfile.write(b" ")
            self.wfile.flush()

    def fault_cut(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(b'{"choices": [{"message": ')
        self.close_connection = True

    def fault_garbage(self, body):
        self.reply(200, b"<html>welcome</html>")

    def fault_other(self, body):
        self.reply(200, {"choices": [{"text": "this is no chat"}]})

    def fault_wrong(self, body):
        self.reply(200, {**self.server.answer(body), "model": "gpt-2"})

    def fault_abort(self, body):
        answer = self.server.answer(body)
        answer["choices"][0]["finish_reason"] = "abort"
        self.reply(200, answer)


@contextmanager
def double(kind=Double, **options):
    """One in a thread of this process."""
    server = kind(("127.0.0.1", 0), **options)
    server.released = threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    for name in ("--host", "--port", "--served-model-name", "--max-loras", "--max-lora-rank"):
        parser.add_argument(name)
    parser.add_argument("--enable-lora", action="store_true")
    parser.add_argument("--lora-modules", nargs="*", default=[])
    parser.add_argument("--do", default="", help="what goes wrong: die, never, deaf, child, other")
    args = parser.parse_args()
    print("loading", args.model, "with", *sys.argv[2:], flush=True)
    if args.do == "die":
        sys.exit("torch.OutOfMemoryError: CUDA out of memory")
    signal.signal(signal.SIGTERM, signal.SIG_IGN if args.do == "deaf" else lambda *_: sys.exit("told to end"))
    if args.do in ("child", "deaf"):
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"])
        print("child", child.pid, flush=True)
    print("process", os.getpid(), flush=True)
    if args.do == "never":
        signal.pause()
    allowed = args.enable_lora and os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING") == "1"
    server = Double((args.host, int(args.port)), "other" if args.do == "other" else args.served_model_name, args.model,
                    os.environ.get("VLLM_API_KEY"), lora=allowed)
    server.released = threading.Event()
    server.adapters |= dict(module.split("=", 1) for module in args.lora_modules)
    server.serve_forever(poll_interval=0.02)


if __name__ == "__main__":
    main()
