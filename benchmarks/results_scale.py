"""What tables, figures and comparisons of a large sweep cost: seconds and memory of each command, in a process of its own.

The sweep is made up (benchmarks/synthetic.py): 1,000 rows x 10 benchmarks x 500 questions are 5 million verdicts.  Wall-clock
seconds depend on what else the machine does, CPU seconds hardly.

  python benchmarks/results_scale.py [--rows 100 1000] [--questions 500] [--keep DIR]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import synthetic
from smartad.store import Store

SCALED = (("table", "--format", "md"), ("table", "--format", "tex"), ("table", "--format", "csv"), ("table", "--format", "html"),
          ("table", "--format", "terminal"), ("table", "--format", "md", "--interval"), ("figure", "--to", "{folder}"),
          ("compare", "--format", "md"), ("report", "--to", "{folder}.html"))
"""What is run on a sweep: the command, and what stands behind the sweep's name."""


def words_of(command: tuple[str, ...], sweep: str, folder: Path) -> list[str]:
    """``command`` on ``sweep``; what it writes goes into ``folder``, or beside it."""
    return [command[0], sweep, *(word.format(folder=folder) for word in command[1:])]


def measured(words: list[str], store: Store) -> tuple[float, float, float]:
    """Wall-clock seconds, CPU seconds and peak MB of one command."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "smartad", *words, "--store", str(store.root)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    assert process.stderr
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"{words}: {said.decode()}"
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def report(rows: int, questions: int, folder: Path) -> None:
    """Make a sweep of ``rows`` in ``folder`` and measure every command on it."""
    store = Store(folder / f"store{rows}").open()
    declared = synthetic.sweep_file(folder, rows)
    began = time.perf_counter()
    verdicts = synthetic.Maker(store, questions).sweep(declared)
    print(f"{rows} rows, {verdicts:,} verdicts, made in {time.perf_counter() - began:.0f} s", flush=True)
    total_s = total_cpu_s = largest = 0.0
    for command in SCALED:
        wall_s, cpu_s, peak_mb = measured(words_of(command, declared.stem, folder / "written"), store)
        total_s, total_cpu_s, largest = total_s + wall_s, total_cpu_s + cpu_s, max(largest, peak_mb)
        print(f"  smartad {' '.join(command):<40} {wall_s:7.1f} s   CPU {cpu_s:7.1f} s   peak {peak_mb:5.0f} MB", flush=True)
    print(f"  all of them {total_s:44.1f} s   CPU {total_cpu_s:7.1f} s   peak {largest:5.0f} MB")


def _tens(word: str) -> int:
    if not word.isdecimal() or int(word) % 10 or not int(word):
        raise argparse.ArgumentTypeError(f"{word} is no multiple of ten, as a sweep of two methods and five K is")
    return int(word)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=_tens, nargs="+", default=[100, 1000], help="multiples of ten")
    arguments.add_argument("--questions", type=int, default=500, help="of each benchmark")
    arguments.add_argument("--keep", type=Path, help="make the stores in this folder, and leave them there")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="smartad-results-") as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for rows in args.rows:
            report(rows, args.questions, folder)
        print(f"load average at the end {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
