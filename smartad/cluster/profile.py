"""A site profile: one file in slurm/ that says where stages run and what each of them may use."""

import difflib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from smartad.config import from_mapping
from smartad.site import EngineSite
from smartad.types import UserError

STAGES = ("prepare", "import", "index", "collect", "grade", "score", "select", "train", "evaluate", "aggregate")
"""In the order of the pipeline."""
ASKING = ("collect", "evaluate")
"""Those that ask a model."""

JUDGING = {"kind": "http", "in_flight": 32, "request_s": 60.0}
"""A judge's site where its profile does not say otherwise: hosted models allow few requests at once, and replies are short."""


@dataclass(frozen=True)
class Resources:
    """What the job of a stage asks for; null is the site's own default."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gres: str | None = None
    """For GPUs by type (``gpu:h200:1``) and other generic resources; plain GPUs are ``gpus``."""
    constraint: str | None = None
    """Features a node must have."""
    timeout_min: int = 24 * 60
    cpus: int = 1
    """Cores, and CPU threads of the stage."""
    mem_gb: float | None = None
    gpus: int = 0
    processes: int | None = None
    """That a stage which can (train, score) splits over, with its cores and GPUs shared out; null is one per GPU."""
    pack: int = 1
    """So many stages of a kind share one job, one after the other: what takes a second is not worth a job."""
    at_once: int = 256
    """Jobs of one array at once."""
    signal_s: int = 90
    """SIGUSR2 comes so many seconds before the time is up, and the job puts itself back into the queue."""
    setup: list[str] = field(default_factory=list)
    """Shell lines before Python starts: modules, variables."""
    container: str | None = None
    """Command that Python is started through: ``apptainer exec --nv /images/smartad.sif``."""
    sbatch: dict[str, Any] = field(default_factory=dict)
    """Any other option of sbatch, without its dashes."""
    engine: EngineSite | None = None
    """Where the stage asks its model (collect, evaluate), in place of the profile's; not only for jobs."""

    def __post_init__(self) -> None:
        for name in ("timeout_min", "cpus", "pack", "at_once", "signal_s"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.gpus < 0 or (self.mem_gb is not None and self.mem_gb <= 0):
            raise UserError(f"gpus={self.gpus} must be at least 0 and mem_gb={self.mem_gb} above 0")
        _check_processes(self.processes, self.devices())

    def devices(self) -> int:
        """GPUs that the stage may use, by count or as a generic resource."""
        named = [part.split("(")[0].split(":") for part in (self.gres or "").split(",")]
        return self.gpus or sum(int(words[-1]) if words[-1].isdigit() else 1 for words in named if words[0] == "gpu")

    def ranks(self) -> int:
        """Processes that the stage may split over."""
        return self.processes or max(1, self.devices())


@dataclass(frozen=True)
class ClusterConfig:
    """One file in slurm/."""

    cluster: Literal["workers", "local", "slurm"] = "workers"
    """workers: processes of this one that live as long as it does.  local: submitit jobs on this machine.  slurm: submitit
    jobs in the queue of a cluster whose nodes share the store's file system."""
    slots: int = 0
    """Stages at once on this machine; 0 is one per two gigabytes of memory and at most one per core."""
    threads: int = 1
    """CPU threads of a stage in worker processes.  One is fastest for models as small as the toy student."""
    processes: int = 1
    """In worker processes: that a stage which can (train, score) splits over; jobs are told by their stage's resources."""
    gpus: int = 0
    """GPUs of this machine to share out: each stage at once gets one of them, or one per process.  0 is the CPU."""
    batch_tokens: int | None = None
    """Tokens in a forward when scoring; null is chosen from free memory."""
    checkpoint_every: int = 100
    """Optimizer steps between the points that a killed training goes on from."""
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    """Less memory in training for a third more time; auto: where it would not fit."""
    token_budget: int | None = None
    """Tokens that one collect or evaluate may have generated; then it stops, keeps what is finished, and says so."""
    engine_errors: float = 0.05
    """The share of the episodes of one collect or evaluate in which its engine may fail; if it fails in more, the stage has."""
    sandbox: Literal["auto", "bubblewrap", "apptainer", "landlock", "none"] = "auto"
    """The wall that code written by models runs behind.  auto: the first of these that stands where the stage runs, and no run
    where none does.  none: no wall; that code can then do all that you can, and records say so."""
    deepspeed: str | None = None
    """DeepSpeed's configuration for training, a JSON file (``configs/deepspeed``)."""
    engine: EngineSite = field(default_factory=EngineSite)
    """Where stages ask their models: in their own process, or at a server."""
    judges: dict[str, Any] = field(default_factory=dict)
    """Where models that judge are asked, by the name in the experiment: ``{qwen-plus: {url: ..., key_variable: ...}}``, with the
    keys of ``engine``; kind is http."""
    retriever: str | None = None
    """Address of a server of the index that collect and evaluate search (``smartad serve-retriever``), as jobs reach it; null:
    each of them loads the index itself."""
    max_jobs: int = 1000
    """Jobs in SLURM's queue at once; sites limit it."""
    max_array: int = 1000
    """Elements of one job array; SLURM's MaxArraySize is above it."""
    poll_s: float = 10.0
    """Seconds between two looks at SLURM's queue.  It is everybody's: ask it seldom."""
    default: dict[str, Any] = field(default_factory=dict)
    """Resources of every stage."""
    stages: dict[str, Any] = field(default_factory=dict)
    """The same by stage, over ``default``."""
    driver: dict[str, Any] = field(default_factory=dict)
    """The same for the driver as a job of its own (``--detach``), over ``default``."""

    def __post_init__(self) -> None:
        if self.slots < 0 or self.threads < 1:
            raise UserError(f"slots={self.slots} must be at least 0 and threads={self.threads} at least 1")
        if self.batch_tokens is not None and self.batch_tokens < 1:
            raise UserError(f"batch_tokens={self.batch_tokens} must be at least 1, or null")
        if self.token_budget is not None and self.token_budget < 1:
            raise UserError(f"token_budget={self.token_budget} must be at least 1, or null for no limit")
        if not 0 <= self.engine_errors < 1:
            raise UserError(f"engine_errors={self.engine_errors} is a share: at least 0, and below 1")
        if self.gpus < 0 or self.checkpoint_every < 1:
            raise UserError(f"gpus={self.gpus} must be at least 0 and checkpoint_every={self.checkpoint_every} at least 1")
        if self.retriever is not None and not self.retriever.startswith(("http://", "https://")):
            raise UserError(f"retriever={self.retriever!r} is no address; it is what `smartad serve-retriever` prints, as in "
                            "http://127.0.0.1:8001")
        if self.max_jobs < 1 or self.max_array < 1 or self.poll_s <= 0:
            raise UserError(f"max_jobs={self.max_jobs} and max_array={self.max_array} must be at least 1, "
                            f"poll_s={self.poll_s} above 0")
        self.judge_sites()
        _check_processes(self.processes, 0)
        if self.cluster == "workers":
            if 0 < self.gpus < self.processes:
                raise UserError(f"processes={self.processes} need a GPU each, and gpus={self.gpus}")
        elif self.processes != 1:
            raise UserError(f"processes={self.processes} is for worker processes; for jobs say it of a stage, "
                            f"stages: {{train: {{processes: {self.processes}}}}}")
        self.deepspeed_config()
        if unknown := sorted(self.stages.keys() - set(STAGES)):
            meant = difflib.get_close_matches(unknown[0], STAGES, 1)
            hint = f" Did you mean {meant[0]!r}?" if meant else ""
            raise UserError(f"stages.{unknown[0]}: there is no such stage; there are {', '.join(STAGES)}.{hint}")
        for stage, own in self.stages.items():
            if own is not None and not isinstance(own, dict):
                raise UserError(f"stages.{stage}: expected what it asks for, {{cpus: 4}}, got {own!r}")
        for stage in (*STAGES, "driver"):
            if self.resources(stage).engine and stage not in ASKING and "engine" in (self.stages.get(stage) or {}):
                raise UserError(f"stages.{stage}.engine: {stage} asks no model; those that do are {', '.join(ASKING)}")

    def resources(self, stage: str) -> Resources:
        """What a job of ``stage``, or of the driver, asks for.  Raises ConfigError naming the stage and the key."""
        own = self.driver if stage == "driver" else self.stages.get(stage) or {}
        where = "driver" if stage == "driver" else f"stages.{stage}" if own else "default"
        return from_mapping(Resources, {**self.default, **own}, where)

    def engines(self) -> dict[str, EngineSite]:
        """Where each stage that asks a model finds it."""
        return {stage: self.resources(stage).engine or self.engine for stage in ASKING}

    def judge_sites(self) -> dict[str, EngineSite]:
        """Where each judge is asked.  Raises UserError naming the one that is not described as a server."""
        sites = {}
        for name, own in self.judges.items():
            if not isinstance(own, dict):
                raise UserError(f"judges.{name}: expected where it is asked, {{url: https://HOST/v1}}, got {own!r:.60}")
            if own.get("kind", "http") != "http":
                raise UserError(f"judges.{name}.kind={own['kind']}: a judge is asked at a server that is there, kind http; start "
                                "one and give its url")
            sites[name] = from_mapping(EngineSite, {**JUDGING, **own}, f"judges.{name}")
        return sites

    def ranks(self, stage: str) -> int:
        """Processes that ``stage`` may split over."""
        return self.processes if self.cluster == "workers" else self.resources(stage).ranks()

    def deepspeed_config(self) -> dict[str, Any] | None:
        """What the file ``deepspeed`` says, None without one.  Raises UserError when it is missing or no JSON object."""
        if self.deepspeed is None:
            return None
        try:
            config = json.loads(Path(self.deepspeed).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"deepspeed={self.deepspeed} cannot be read: {error}; "
                            "there are examples in configs/deepspeed") from error
        if not isinstance(config, dict):
            raise UserError(f"deepspeed={self.deepspeed}: expected a JSON object; there are examples in configs/deepspeed")
        if taken := sorted(config.keys() & THE_RECIPES):
            raise UserError(f"deepspeed={self.deepspeed} sets {', '.join(taken)}, and a profile says where a training runs, not "
                            "what it is: leave it out, and set batch, optimizer and dtype under train in the experiment")
        return config


THE_RECIPES = {"optimizer", "scheduler", "fp16", "bf16", "amp", "torch_autocast", "data_types", "gradient_clipping",
               "gradient_accumulation_steps", "train_batch_size", "train_micro_batch_size_per_gpu", "curriculum_learning",
               "data_efficiency", "compression_training", "progressive_layer_drop"}
"""Keys of DeepSpeed that would make another adapter of the same recipe."""


def _check_processes(processes: int | None, gpus: int) -> None:
    if processes is not None and processes < 1:
        raise UserError(f"processes must be at least 1, got {processes}")
    if processes is not None and gpus and processes != gpus:
        raise UserError(f"processes={processes} with gpus={gpus}: each process has a GPU of its own; leave processes out")
