"""Where model-written code runs: real processes, short limits.  Nothing here means harm; it is only wrong or greedy."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from small_interpreters import LIMITS, SHORT, gone, outcome, seen_from_here
from smartad.agents.executor import ChildExecutor, Interpreters, Ran
from smartad.agents.limits import CodeLimits
from smartad.types import UserError

pytestmark = pytest.mark.slow


def test_step_prints_and_value_are_told(executor):
    ran = outcome(executor, "x = 20\nprint('x is', x)\nx + 1")
    assert (ran.status, ran.logs, ran.output) == ("ok", "x is 20\n", "21")


def test_state_of_one_episode_lives_across_steps_and_not_in_another(executor, interpreters):
    outcome(executor, "def twice(n):\n    return 2 * n\nx = 4")
    assert outcome(executor, "twice(x)").output == "8"
    other = ChildExecutor(interpreters, seed=7)
    assert "`x` is not defined" in outcome(other, "x").error
    other.cleanup()


@pytest.mark.parametrize(("value", "answer"), [("'Paris'", "Paris"), ("7 / 2", "3.5"), ("None", "None"), ("[1]", "[1]")])
def test_final_answer_is_its_argument_as_text(executor, value, answer):
    ran = outcome(executor, f"final_answer({value})\nprint('never')")
    assert (ran.status, ran.output, ran.logs) == ("final", answer, "")


def test_tool_runs_in_this_process_and_its_misuse_is_the_codes_error(executor):
    assert outcome(executor, "print(web_search('rain'), web_search(query='sun'))").logs == "found rain found sun\n"
    ran = outcome(executor, "print('before')\nweb_search()")
    assert ran.status == "exec_error" and "TypeError" in ran.error and ran.logs == "before\n"


@pytest.mark.parametrize(("code", "said"), [
    ("1 / 0", "ZeroDivisionError"),
    ("x = (1", "SyntaxError"),
    ("raise SystemExit(3)", "SystemExit: 3"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ("exit()", "Forbidden function"),
    ("import sys\nsys.exit(1)", "Import of sys is not allowed"),
    ("import os", "Import of os is not allowed"),
    ("open('/etc/hostname')", "Forbidden function"),
    ("def f():\n    return f()\nf()", "RecursionError"),
    ("final_answer(10**5000)", "Exceeds the limit"),
    ("final_answer()", "TypeError"),
    ("web_search(query=float)", "found"),
])
def test_failing_step_says_why_and_keeps_its_interpreter(executor, code, said):
    outcome(executor, "kept = 1")
    pid = executor.pid
    ran = outcome(executor, code)
    assert said in ran.error or said in ran.output
    assert executor.pid == pid and outcome(executor, "kept").output == "1"


@pytest.mark.parametrize("code", [
    "import time\ntime.sleep(60)", "while True: pass", "10**10**8", "import re\nre.match('(a+)+$', 'a' * 40 + 'b')"])
def test_step_without_end_is_killed_and_the_next_gets_a_fresh_interpreter(hasty, code):
    outcome(hasty, "kept = 1")
    pid = seen_from_here(hasty._interpreters, hasty.pid)
    ran = outcome(hasty, code)
    assert ran.status == "timeout" and "0.8 s" in ran.error and "variables are lost" in ran.error
    assert gone(pid)
    assert "`kept` is not defined" in outcome(hasty, "kept").error


@pytest.mark.parametrize("code", ["b'x' * 10**12", "many = []\nwhile True: many.append('x' * 10**7)"])
def test_step_that_needs_too_much_memory_is_killed(executor, interpreters, code):
    outcome(executor, "kept = 1")
    pid = seen_from_here(interpreters, executor.pid)
    ran = outcome(executor, code)
    assert ran.status == "oom" and "0.25 GB" in ran.error and "variables are lost" in ran.error
    assert gone(pid)
    assert "`kept` is not defined" in outcome(executor, "kept").error


def test_tool_that_is_slow_fails_no_step_and_keeps_no_other_waiting():
    with Interpreters(SHORT) as running:
        running.slots = threading.Semaphore(1)
        slow, other = ChildExecutor(running, seed=7), ChildExecutor(running, seed=7)
        slow.send_tools({"web_search": lambda query: time.sleep(2 * SHORT.step_timeout_s) or outcome(other, "6 * 7").output})
        assert outcome(slow, "web_search('x')") == Ran("ok", "", "42")


def test_search_in_an_endless_loop_is_a_timeout():
    with Interpreters(SHORT) as running:
        child = ChildExecutor(running, seed=7)
        child.send_tools({"web_search": lambda query: "found"})
        assert outcome(child, "while True: web_search('x')").status == "timeout"


def test_cpu_time_beyond_the_limit_is_a_timeout():
    with Interpreters(CodeLimits(step_timeout_s=60, cpu_s=1)) as running:
        child = ChildExecutor(running, seed=0)
        ran = outcome(child, "10**10**8")
    assert ran.status == "timeout" and "1 s of CPU time" in ran.error


def test_flood_of_output_is_cut_in_the_middle(executor):
    ran = outcome(executor, "print('a' * 10**6 + 'z')\n'b' * 10**6")
    assert len(ran.logs) < 1200 and ran.logs.startswith("aaa") and ran.logs.endswith("z\n") and "truncated" in ran.logs
    assert len(ran.output) < 1200
    assert len(outcome(executor, "{}['" + "k" * 5000 + "']").error) < 1200


def test_text_that_is_no_unicode_and_addresses_are_made_writable_and_stable(executor):
    assert outcome(executor, "print(chr(0xD800), 'né')").logs == "? né\n"
    assert " at 0x0>" in outcome(executor, "print(web_search)").logs


def test_chance_in_the_code_is_the_episodes_seed(interpreters):
    def draw(seed):
        child = ChildExecutor(interpreters, seed)
        ran = outcome(child, "import random\nprint(random.random(), set('abcdef'))")
        child.cleanup()
        return ran.logs

    assert draw(1) == draw(1) != draw(2)


def test_chance_in_numpy_and_sympy_is_the_episodes_seed(interpreters):
    def draw(seed):
        child = ChildExecutor(interpreters, seed)
        ran = outcome(child, "import numpy as np\nimport sympy\n"
                             "print(np.random.rand(), np.random.default_rng().random(), sympy.randprime(10, 10**9))")
        child.cleanup()
        return ran.logs

    assert draw(1) == draw(1) != draw(2)


def test_numpy_and_sympy_compute_what_the_papers_ask_of_them(executor):
    assert outcome(executor, "import numpy as np\nnp.linalg.svd([[2, 3], [0, -2]], compute_uv=False)").output == "[4. 1.]"
    assert outcome(executor, "from sympy import *\nx = symbols('x')\nsolve(x**2 - 2)").output == "[-sqrt(2), sqrt(2)]"
    assert outcome(executor, "from sympy.solvers import solve\nlatex(integrate(x**2, x))").output == r"\frac{x^{3}}{3}"


def test_imports_are_those_of_the_limits():
    with Interpreters(CodeLimits(imports=[])) as running:
        child = ChildExecutor(running, seed=0)
        assert "Import of numpy is not allowed" in outcome(child, "import numpy").error


def test_interpreter_that_is_killed_from_outside_ends_its_step_only(executor, interpreters):
    outcome(executor, "1")
    os.kill(seen_from_here(interpreters, executor.pid), signal.SIGKILL)
    ran = outcome(executor, "1")
    assert ran.status == "oom" and "variables are lost" in ran.error
    assert outcome(executor, "1").status == "ok"


def test_interpreter_has_its_limits_and_nothing_of_this_process(executor, interpreters):
    outcome(executor, "1")
    process = Path(f"/proc/{seen_from_here(interpreters, executor.pid)}")
    limits = {line[:25].strip(): line[26:].split()[0] for line in (process / "limits").read_text().splitlines()}
    assert limits["Max processes"] == limits["Max file size"] == limits["Max core file size"] == "0"
    assert int(limits["Max open files"]) <= 16 and int(limits["Max cpu time"]) == 30
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert "0" not in status["Uid"].split() and status["Threads"].strip() == "1"
    assert len(os.listdir(process / "fd")) == 4


def test_server_sees_only_harmless_variables_of_the_environment(interpreters):
    environment = Path(f"/proc/{interpreters.host_pid}/environ").read_text().split("\0")
    names = {variable.partition("=")[0] for variable in environment} - {""}
    harmless = {"PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "PYTHONHASHSEED", "PYTHONPATH", "PWD", "OMP_NUM_THREADS",
                "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}
    assert "HOME" in os.environ and names <= harmless


def test_leaving_ends_and_reaps_every_process():
    with Interpreters(LIMITS) as running:
        children = [ChildExecutor(running, seed) for seed in range(3)]
        for child in children:
            outcome(child, "1")
        pids = [running.server.pid, running.host_pid, *(seen_from_here(running, child.pid) for child in children)]
    assert all(gone(pid) for pid in pids)


OWNER = """
import sys, time
from smartad.agents.executor import *
with Interpreters(CodeLimits()) as running:
    child = ChildExecutor(running, 0)
    child("1")
    print(running.host_pid, flush=True)
    child("import time\\ntime.sleep(60)")
"""


@pytest.mark.parametrize("victim", ["owner", "server"])
def test_no_process_survives_the_kill_of_the_one_above(victim):
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                             env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    server = int(owner.stdout.readline())
    [child] = [child.pid for child in psutil.Process(server).children()]
    os.kill(owner.pid if victim == "owner" else server, signal.SIGKILL)
    try:
        assert owner.wait(30) != 0
        assert gone(server) and gone(child)
    finally:
        owner.kill()
        owner.stdout.close()


def test_dead_server_is_an_error_of_the_run_and_not_of_the_code():
    with Interpreters(LIMITS) as running:
        ChildExecutor(running, seed=0)("1")
        server = psutil.Process(running.host_pid)
        server.kill()
        server.wait(30)  # behind Landlock it is ours to reap, and ended is enough
        child = ChildExecutor(running, seed=0)
        with pytest.raises(RuntimeError, match="interpreter server is gone"):
            child("1")


def test_interpreter_that_cannot_be_limited_is_an_error_of_the_run_and_not_of_the_code():
    with Interpreters(CodeLimits(memory_gb=1e30)) as running, pytest.raises(RuntimeError, match="could not be set up"):
        ChildExecutor(running, seed=0)("1")


def test_limits_without_sense_are_refused_by_name():
    with pytest.raises(UserError, match=r"code\.memory_gb must be a finite number above 0, got 0"):
        CodeLimits(memory_gb=0)
