"""An OpenAI-compatible server that answers every chat after a fixed time, in the scripted teacher's words.

  python benchmarks/stub_server.py SECONDS      prints its port, and serves until its standard input ends
"""

import asyncio
import json
import sys

from smartad.toyworld.teacher import ScriptedTeacher
from smartad.types import Request

MODEL = "stub"


def completion(body) -> dict:
    """What the teacher says to the question; always in the same style, since a server hears another seed at every turn."""
    ((said,),) = ScriptedTeacher().answer([Request(tuple(body["messages"]), seed=0)])
    return {"id": "x", "object": "chat.completion", "model": MODEL, "usage": {"prompt_tokens": 1, "completion_tokens": 100},
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said.text},
                         "stop_reason": said.stopped_by}]}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """One connection, a request after the other."""
    while line := await reader.readline():
        length = 0
        while header := (await reader.readline()).strip():
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        until = asyncio.get_running_loop().time() + seconds
        body = await reader.readexactly(length)
        if line.startswith(b"GET"):
            answer = {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "vllm", "root": MODEL}]}
        else:
            answer = completion(json.loads(body))
            await asyncio.sleep(until - asyncio.get_running_loop().time())
        raw = json.dumps(answer).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(raw), raw))
        await writer.drain()
    writer.close()


async def main(seconds: float) -> None:
    server = await asyncio.start_server(lambda r, w: serve(r, w, seconds), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
