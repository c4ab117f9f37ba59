"""The scripts of benchmarks/ run and count right, on few trials.  What they time is not tested; docs/benchmarks.md has it."""

import os
import re
import subprocess
import sys

import pytest

from command import environment
from conftest import ROOT
from enclosed import bwrap

pytestmark = pytest.mark.slow


def script(name, *words, folder, **env):
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / name), *words], cwd=folder, capture_output=True, text=True,
                          env={**environment(None), "PYTHONPATH": str(ROOT), **env}, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_scale_plans_runs_and_shows_six_stages_a_trial_beside_the_shared_ones(tmp_path):
    said = script("scale.py", "--trials", "25", folder=tmp_path)
    assert "planning 25 trials" in said and "running 158 stages inline" in said, "25 x 6, and 8 that all share"
    assert all(words in said for words in ("the same again", "smartad plan", "smartad status", "smartad table"))
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_arrays_of_jobs_are_run_once_each_and_none_is_lost(slurm, tmp_path):
    said = script("slurm_arrays.py", "--jobs", "25", folder=tmp_path)
    assert re.search(r"arrays of \[25\]; lost 0, ran more than once 0, failed 0", said), said


@pytest.mark.skipif("SMARTAD_HYDRA" not in os.environ, reason="SMARTAD_HYDRA does not name a Python with hydra-submitit-launcher")
def test_hydra_and_smartad_run_all_trials(tmp_path):
    said = script("beside_hydra.py", "--hydra", os.environ["SMARTAD_HYDRA"], folder=tmp_path)
    assert re.search(r"hydra, submitit local .* 350 bodies ran", said), said
    assert len(re.findall(r"smartad, .* 158 bodies ran", said)) == 2


def test_sweep_through_chaos_finishes_every_stage_exactly_once(slurm, tmp_path):
    said = script("chaos.py", "--trials", "25", folder=tmp_path)
    assert "158 stages; finished exactly once: 158; twice: 0; missing: 0; damaged: 0" in said, said


def test_scoring_benchmark_compares_with_the_loop_and_says_time_and_memory_of_both(tmp_path):
    said = script("scoring.py", "--tiny", "--prompts", "450", "--vocabularies", "640", "--rounds", "1", folder=tmp_path)
    assert re.search(r"\| 640 \| 450 \| [\d.]+ s \| [\d.]+ s \| [\d.]+x \| .*MiB", said), said


def test_retrieval_benchmark_finds_the_same_passages_in_every_arm(tmp_path):
    words = ("--tiny", "--vectors", "2000", "--queries", "40", "--episodes", "16", "--rounds", "1")
    said = script("retrieval.py", *words, folder=tmp_path)
    assert "the same passages 80 of 80 times" in said
    assert len(re.findall(r"^\| (?:one by one|in batches.*) \| [\d.]+ \| [\d.]+ \| [\d.]+x \|$", said, re.MULTILINE)) == 3, said


def test_episodes_in_flight_write_what_the_loop_writes(tmp_path):
    said = script("episodes.py", "--episodes", "16", "--in-flight", "8", "--seconds", "0.05", "--loop", "4", folder=tmp_path)
    assert "transcripts identical" in said and re.search(r"^\| 8 \| 16 \| \d+ \|", said, re.MULTILINE), said


def test_gpu_protocol_on_a_cpu_measures_nothing_but_runs(tmp_path):
    said = script("gpu_protocol.py", "--tiny", "--device", "cpu", "--rounds", "1", folder=tmp_path)
    assert len(re.findall(r"^\| tiny \| \d+ \| 200 \| .* s \| .* s \|", said, re.MULTILINE)) == 2, said


def test_gpu_protocol_without_a_gpu_says_so_and_what_else_there_is(tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "gpu_protocol.py")], cwd=tmp_path, capture_output=True,
                          text=True, env={**environment(None), "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}, timeout=600)
    assert done.returncode == 1
    assert "no CUDA device here; --tiny --device cpu shows" in done.stderr


def test_sandbox_benchmark_compares_with_a_fresh_wall_per_step(tmp_path):
    bwrap()
    said = script("sandbox.py", "--episodes", "5", "--fresh", "1", "--rounds", "1", folder=tmp_path)
    assert len(re.findall(r"^\| (forked|fresh, .*) \| [\d.]+ ms \| .* \| \d+x \|$", said, re.MULTILINE)) == 3, said


def test_grading_benchmark_grades_the_same_with_any_number_of_workers(real_data, tmp_path):
    words = ("--grades", "40", "--plain", "8", "--graders", "math_strict", "math_paper")
    said = script("grading.py", *words, folder=tmp_path, SMARTAD_DATA=str(real_data))
    assert len(re.findall(r"^\| math_\w+, 2 workers \| 40 \| [\d.]+ s \| \d+ \|$", said, re.MULTILINE)) == 2, said
    assert said.count("the same 8 of 8 times") == 2 and "math-verify called plainly" in said, said
