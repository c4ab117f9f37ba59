"""slurm/dev is a cluster as sites have one: arrays, GPUs, limits on memory and time, preemption.  Plain submitit, no smartad."""

import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import submitit

from slurm_cluster import DEV

pytestmark = pytest.mark.slow
# Jobs unpickle the functions of this file by name.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])


def executor(folder, **parameters):
    it = submitit.AutoExecutor(folder=str(folder), cluster="slurm")
    it.update_parameters(**{"timeout_min": 5, "cpus_per_task": 1, "mem_gb": 0.3, **parameters})
    return it


def square(number):
    return number * number


def where_and_which_gpu(number, others, folder):
    (folder / str(number)).touch()
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < others and time.monotonic() < deadline:  # all are there at once
        time.sleep(0.1)
    return os.environ["SLURMD_NODENAME"], os.environ["CUDA_VISIBLE_DEVICES"]


def eat(megabytes):
    eaten = [os.urandom(2**20) for _ in range(megabytes)]
    time.sleep(60)
    return len(eaten)


@pytest.mark.parametrize("ahead", [0, 12])
def test_port_that_is_taken_is_named_with_the_way_to_choose_others(slurm_of_session, ahead):
    with socket.socket() as other, tempfile.TemporaryDirectory() as short:  # pytest's own are too deep for sockets
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        up = subprocess.run([str(DEV / "up")], capture_output=True, text=True, timeout=60,
                            env={**os.environ, "SLURM_DEV": f"{short}/dev", "PORT": str(port - ahead)})
        assert up.returncode == 1 and f"somebody listens on port {port};" in up.stderr and "PORT=" in up.stderr
        assert not Path(short, "dev").exists()


def test_array_of_twenty_comes_back_in_order(slurm, tmp_path):
    jobs = executor(tmp_path, slurm_array_parallelism=8).map_array(square, range(20))
    assert [job.result() for job in jobs] == [number**2 for number in range(20)]


def test_jobs_at_once_have_a_gpu_each(slurm, tmp_path):
    if not slurm.gpus:
        pytest.skip("only root can make the devices of the cluster's GPUs")
    (tmp_path / "there").mkdir()
    many = range(slurm.gpus)
    jobs = executor(tmp_path / "jobs", slurm_gres="gpu:1").map_array(
        where_and_which_gpu, many, [slurm.gpus] * slurm.gpus, [tmp_path / "there"] * slurm.gpus)
    given = [job.result() for job in jobs]
    assert len(set(given)) == slurm.gpus, given


def test_job_over_its_memory_is_killed_and_its_log_says_so(slurm, tmp_path):
    job = executor(tmp_path).submit(eat, 800)
    slurm.until(lambda: slurm.state(job.job_id) == "FAILED", "the job is killed")
    assert "exceeded memory limit" in job.paths.stderr.read_text()


def test_job_over_its_time_is_told_first_and_then_ended(slurm, tmp_path):
    told = executor(tmp_path, timeout_min=1, slurm_signal_delay_s=20).submit(time.sleep, 600)
    deaf = slurm.command("sbatch", "--parsable", "--time=1", f"--output={tmp_path}/deaf", "--wrap", "sleep 600")
    # Not told.result(): it never returns if the signal comes while submitit writes a log line, since logging swallows its error.
    slurm.until(lambda: slurm.state(told.job_id) in ("FAILED", "TIMEOUT"), "the one that is told has ended", within_s=180)
    assert "Caught signal SIGUSR2" in told.paths.stderr.read_text()
    slurm.until(lambda: slurm.state(deaf) == "TIMEOUT", "the other has run out of time", within_s=180)


class Restarted(submitit.helpers.Checkpointable):
    """Ends when it is started a second time; says on which nodes it was."""

    def __call__(self, path):
        with path.open("a") as file:
            file.write(os.environ["SLURMD_NODENAME"] + "\n")
        if len(path.read_text().split()) < 2:
            time.sleep(600)
        return path.read_text().split()


def started(path):
    return path.exists() and path.read_text().split()


def test_preempted_job_is_told_and_starts_again(slurm, tmp_path):
    job = executor(tmp_path, slurm_signal_delay_s=20).submit(Restarted(), tmp_path / "nodes")
    slurm.until(lambda: started(tmp_path / "nodes"), "the job runs")
    slurm.dev("preempt", "2")
    # Not job.result(): it raises when the requeued job is ended before its own `scontrol requeue` has returned.
    slurm.until(lambda: slurm.state(job.job_id) == "COMPLETED", "the job has run again")
    assert len(started(tmp_path / "nodes")) == 2
    assert "Caught signal SIGUSR2" in job.paths.stderr.read_text()


def test_script_does_not_touch_a_cluster_that_it_has_not_made(tmp_path):
    (tmp_path / "slurm.conf").write_text("ClusterName=institute\n")
    for script in ("down", "node", "controller", "preempt"):
        done = subprocess.run([DEV / script, "kill", "n1"], capture_output=True, text=True,
                              env={**os.environ, "SLURM_DEV": str(tmp_path)})
        assert done.returncode == 1 and "is not of a cluster that slurm/dev/up made" in done.stderr
    assert (tmp_path / "slurm.conf").exists()
