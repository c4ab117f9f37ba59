"""What a stage takes of the machine: sampled beside it, told again when a tracker is, and never in its way."""

import threading

import pytest

from smartad.tracking.machine import Sampler, read_samples


def test_every_stage_leaves_a_sample_however_short_it_is(tmp_path):
    told = []
    taken = Sampler(tmp_path, told.append).stop()
    assert len(told) == 1 and taken.keys() == {"cpu_percent", "memory_gb"} and 0 < taken["memory_gb"] < 1000
    assert list(read_samples(tmp_path)) == told


def test_memory_is_a_peak_and_a_share_is_a_mean(tmp_path):
    sampler = Sampler(tmp_path, lambda row: None)
    block = bytearray(200_000_000)
    sampler._add()
    peak = sampler.rows[-1].metrics["memory_gb"]
    del block
    taken = sampler.stop()
    assert taken["memory_gb"] == max(peak, *(row.metrics["memory_gb"] for row in sampler.rows))
    shares = [row.metrics["cpu_percent"] for row in sampler.rows]
    assert abs(taken["cpu_percent"] - sum(shares) / len(shares)) < 0.01


@pytest.mark.slow
def test_machine_that_does_not_answer_holds_up_no_stage(tmp_path):
    for_ever = threading.Event()

    class Stuck(Sampler):
        def _look(self):
            for_ever.wait()
            return {}
    sampler = Stuck(tmp_path, lambda row: None)
    assert sampler.stop() == {} and sampler._thread.is_alive()
    for_ever.set()


def test_machine_that_fails_costs_samples_and_nothing_else(tmp_path):
    class Broken(Sampler):
        def _look(self):
            raise RuntimeError("the GPU has fallen off the bus")
    assert Broken(tmp_path, lambda row: None).stop() == {} and not list(read_samples(tmp_path))


def test_torn_sample_of_a_killed_stage_is_left_out(tmp_path):
    (tmp_path / "machine.jsonl").write_text('{"seconds": 1, "time": 2.0, "cpu_percent": 3.0}\n{"seconds": 16, "ti')
    assert [(row.step, row.time, row.metrics) for row in read_samples(tmp_path)] == [(1, 2.0, {"cpu_percent": 3.0})]
