"""Many episodes in flight beside a loop of four workers, at a server that takes a fixed time for each answer.

The server is a process of its own (stub_server.py) and answers in the scripted teacher's words; agents, sandbox and HTTP are
the real ones, and both arms must write the same transcripts.  The loop is what the predecessor does: a pool of four threads,
each of which plays an episode from its first request to its last; it is timed over --loop episodes.  Ideal is what the waiting
alone takes with so many in flight, each next episode beginning when one has ended.

  python benchmarks/episodes.py [--episodes 640] [--in-flight 64] [--seconds 1] [--loop 32]
"""

import argparse
import dataclasses
import heapq
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import openai

from smartad import agents, benchmarks, corpora
from smartad.agents.executor import Interpreters
from smartad.dialect import DIALECTS, PROMPTS, stop_strings
from smartad.engines import retrieval
from smartad.engines.opening import opened
from smartad.site import EngineSite
from smartad.stage import Runtime
from smartad.stages.collect import CollectConfig
from smartad.stages.episodes import run_episodes, seed_of
from smartad.types import Completion, Question, Request, Trajectory
from stub_server import MODEL

WORKERS = 4
CONFIG = CollectConfig(teacher=MODEL, samples=1, prompt="toy", dialect="paper", temperature=0.0)


@contextmanager
def served(seconds: float) -> Iterator[str]:
    """The URL of a stub server."""
    process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("stub_server.py")), str(seconds)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdin and process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.stdin.close()


def in_flight(url: str, questions: Sequence[Question], index: Path, many: int, out: Path) -> list[Trajectory]:
    """Ours: the stage itself."""
    runtime = Runtime(engine=EngineSite(kind="http", url=url, in_flight=many))
    with opened(MODEL, runtime, out) as engine:
        return run_episodes(CONFIG, questions, 1, engine, index, out, runtime)


def four_workers(url: str, questions: Sequence[Question], index: Path) -> list[Trajectory]:
    """The predecessor's loop, with the same agent and sandbox."""
    form, retriever = DIALECTS[CONFIG.dialect], retrieval.load(index)
    setup = agents.Setup(PROMPTS[CONFIG.prompt], form, CONFIG.max_steps,
                         lambda query: retrieval.render(retriever.search(query, CONFIG.top_k)), stop_strings(form),
                         CONFIG.max_tokens, CONFIG.temperature, 1.0)
    solve = agents.get(CONFIG.agent)
    with Interpreters(CONFIG.code) as interpreters, openai.OpenAI(base_url=url, api_key="none") as client:

        def ask(request: Request) -> tuple[Completion, ...]:
            said = client.chat.completions.create(model=MODEL, messages=[*request.messages], max_tokens=request.max_tokens,
                                                  temperature=request.temperature, stop=list(request.stop))
            stopped_by = (said.choices[0].model_extra or {})["stop_reason"]
            return (Completion(said.choices[0].message.content or "", "stop", said.usage and said.usage.completion_tokens,
                               stopped_by),)

        def play(question: Question) -> Trajectory:
            return solve(question, 0, seed_of(question.id, 0), setup, ask, interpreters)

        with ThreadPoolExecutor(WORKERS) as threads:
            return list(threads.map(play, questions))


def ideal_s(rows: Sequence[Trajectory], seconds: float, many: int) -> float:
    """When the last of ``rows`` ends if nothing but the server takes time."""
    free = [0.0] * many
    for row in rows:
        heapq.heapreplace(free, free[0] + seconds * len(row.steps))
    return max(free)


def text(rows: Sequence[Trajectory]) -> list[Trajectory]:
    return [dataclasses.replace(row, seconds=None) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=640)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0, help="that each answer takes")
    parser.add_argument("--loop", type=int, default=32, help="episodes to time the loop of four workers over")
    args = parser.parse_args()
    questions = benchmarks.get("toy_train").load(None)[:args.episodes]
    print(f"# {platform.processor() or platform.machine()}, {os.cpu_count()} cores; {len(questions)} episodes, "
          f"{args.seconds:g} s an answer; times are wall clock")
    with tempfile.TemporaryDirectory() as folder, served(args.seconds) as url:
        index, out = Path(folder) / "index", Path(folder) / "out"
        index.mkdir()
        out.mkdir()
        retrieval.build(corpora.get("toy").load(None), index)
        began, used = time.monotonic(), time.process_time()
        ours = in_flight(url, questions, index, args.in_flight, out)
        our_s, our_cpu_s = time.monotonic() - began, time.process_time() - used
        began = time.monotonic()
        theirs = four_workers(url, questions[:args.loop], index)
        their_s = time.monotonic() - began
    same = text(theirs) == text(ours[:len(theirs)])
    print("| in flight | episodes | turns | time | turns/s | ideal | of the ideal |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    speeds = []
    for many, rows, took_s in ((args.in_flight, ours, our_s), (WORKERS, theirs, their_s)):
        turns, ideal = sum(len(row.steps) for row in rows), ideal_s(rows, args.seconds, many)
        speeds.append(turns / took_s)
        print("|", " | ".join([f"{many}", f"{len(rows)}", f"{turns}", f"{took_s:.1f} s", f"{speeds[-1]:.1f}",
                               f"{ideal:.1f} s", f"{ideal / took_s:.0%}"]), "|")
    print(f"{speeds[0] / speeds[1]:.1f}x the turns/s of {WORKERS} workers; {1000 * our_cpu_s / speeds[0] / our_s:.1f} ms CPU of "
          f"this process a turn; transcripts {'identical' if same else 'DIFFER'}")
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
