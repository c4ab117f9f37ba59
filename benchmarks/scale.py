"""What smartad itself costs in a sweep of 1,000 trials: planning it, running it with bodies that do nothing, looking at it.

Wall-clock seconds, and CPU seconds, which other work on the machine changes less.

  python benchmarks/scale.py [--trials 1000] [--track trackio] [--profile]
"""

import argparse
import cProfile
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trivial
from smartad.cluster import ClusterConfig, Dispatcher, Job, connect
from smartad.stage import Runtime
from smartad.store import Store
from smartad.sweep.driver import Driver, drive, start
from smartad.sweep.space import read
from smartad.tracking import Tracking


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What ``work`` returns, its wall-clock seconds and its CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def say(what: str, wall_s: float, cpu_s: float, more: str = "") -> None:
    """One line of the report."""
    print(f"{what:<44} {wall_s:8.2f} s   CPU {cpu_s:8.2f} s   {more}".rstrip(), flush=True)


def plan(sweep: Path, store: Store) -> Driver:
    """A driver that has asked for all trials."""
    driver = Driver(read(str(sweep)), store)
    driver.ask()
    return driver


def run(sweep: Path, store: Store, track: tuple[str, ...]) -> int:
    """Run the sweep in this process, one stage at a time; the number of stages."""
    driver = Driver(read(str(sweep)), store)
    executor = connect(ClusterConfig(), Job(store, Runtime(), Tracking(store.root, track)), jobs=0)
    dispatcher = Dispatcher(store, executor)
    start(driver, dispatcher)
    drive(driver, dispatcher, lambda: None)
    executor.close()
    assert set(dispatcher.states.values()) == {"done"}, dispatcher.failures
    return len(dispatcher.specs)


def say_command(*words: str, store: Store) -> None:
    """The line of one ``smartad`` command in a process of its own, starting Python included."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "smartad", *words, "--store", str(store.root)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, words
    say(f"smartad {words[0]} {Path(words[1]).stem if len(words) > 1 else ''}", time.perf_counter() - began,
        usage.ru_utime + usage.ru_stime, f"peak {usage.ru_maxrss / 1024:.0f} MB")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--trials", type=int, default=1000)
    arguments.add_argument("--track", default="", help="trackers, comma-separated")
    arguments.add_argument("--profile", action="store_true", help="where the time of running goes")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="smartad-scale-") as folder, trivial.bodies():
        sweep = trivial.sweep_file(Path(folder), args.trials)
        store = Store(Path(folder) / "store").open()
        driver, *seconds = timed(lambda: plan(sweep, store))
        say(f"planning {len(driver.trials)} trials", *seconds)
        say_command("plan", str(sweep), store=store)
        profile = cProfile.Profile() if args.profile else None
        track = tuple(name for name in args.track.split(",") if name)
        stages, wall_s, cpu_s = timed(lambda: (profile.runcall if profile else lambda f, *a: f(*a))(run, sweep, store, track))
        say(f"running {stages} stages inline", wall_s, cpu_s, f"{1000 * wall_s / stages:.1f} ms a stage")
        if profile:
            pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
        _, *seconds = timed(lambda: run(sweep, store, track))
        say("the same again, everything finished", *seconds)
        say_command("status", sweep.stem, store=store)
        say_command("status", store=store)
        say_command("table", sweep.stem, store=store)
        print(f"load average at the end {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
