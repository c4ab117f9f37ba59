"""Where the model of a stage is asked: in this process, at a server that is there, or at one that the stage starts."""

import re
from dataclasses import dataclass, field
from typing import Literal

from smartad.types import UserError

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""The name of an environment variable."""


@dataclass(frozen=True)
class EngineSite:
    """One engine's place.  It says where and how fast, never what: no stage's config holds it."""

    kind: Literal["hf", "http", "vllm"] = "hf"
    """hf: transformers in this process.  http: an OpenAI-compatible server at ``url``.  vllm: one that the job starts."""
    url: str | None = None
    """For http: ``http://gpu7:8000/v1``."""
    model: str | None = None
    """For http: what the server calls the model, in its list; null is the name it has in the experiment."""
    key_variable: str | None = None
    """For http: the environment variable that the API key is in.  The key itself is written nowhere."""
    server: Literal["auto", "vllm", "openai"] = "auto"
    """Whether it understands vLLM's own fields (token ids, prefill, which stop string it was); auto asks it."""
    in_flight: int = 256
    """Requests at once."""
    connect_s: float = 10.0
    request_s: float = 600.0
    """One try, from the connection to the last byte."""
    retries: int = 4
    """After 408, 409, 425, 429, 5xx, a time-out or a broken connection; with growing pauses, or the server's Retry-After."""
    command: list[str] = field(default_factory=lambda: ["vllm", "serve"])
    """For vllm: the program, which is given the model's folder, --host, --port, --served-model-name and ``flags``."""
    flags: list[str] = field(default_factory=list)
    """For vllm: ``[--dtype, bfloat16, --max-model-len, "16384"]``."""
    port: int | None = None
    """For vllm: null is a free one."""
    start_s: float = 1800.0
    """For vllm: how long it may take to load the model."""
    stop_s: float = 30.0
    """For vllm: how long it may take to end before it is killed."""
    adapters: Literal["one", "many"] = "many"
    """many: one engine serves the base model with any adapter, each loaded when first asked for, and goes on from stage to
    stage of a job.  one: an engine of its own for each adapter, which is given no other; not for http."""
    max_adapters: int = 4
    """For vllm with many: kept on the GPU at once."""
    max_rank: int = 64
    """For vllm with many: of the largest adapter."""

    def __post_init__(self) -> None:
        if self.kind == "http" and not (self.url or "").startswith(("http://", "https://")):
            raise UserError(f"engine.url={self.url}: kind http needs the address of a server, http://HOST:PORT/v1")
        for name in ("url", "model", "key_variable"):
            if self.kind != "http" and getattr(self, name) is not None:
                raise UserError(f"engine.{name} is for kind http, and this is kind {self.kind}; leave it out")
        if self.key_variable is not None and not VARIABLE.fullmatch(self.key_variable):
            raise UserError("engine.key_variable must be the name of an environment variable (letters, digits and _, as in "
                            "TEACHER_KEY), and is none; it may be the key itself, so it is not repeated here. Export the key "
                            "under a name, and give that name; a key that stood in a file is better replaced")
        if self.kind == "http" and self.adapters == "one":
            raise UserError("engine.adapters=one at a server that others ask, too: an engine for one adapter alone is one that "
                            "the job starts itself (engine.kind=vllm); for kind http leave adapters out")
        if self.kind != "vllm" and (self.flags or self.port is not None):
            raise UserError(f"engine.flags and engine.port are for kind vllm, and this is kind {self.kind}; leave them out")
        if self.kind == "vllm" and not self.command:
            raise UserError("engine.command is empty: kind vllm needs the program to start, [vllm, serve]")
        if self.port is not None and not 0 < self.port < 65536:
            raise UserError(f"engine.port={self.port} is no port; null is a free one")
        for name in ("in_flight", "max_adapters", "max_rank"):
            if getattr(self, name) < 1:
                raise UserError(f"engine.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("connect_s", "request_s", "start_s", "stop_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"engine.{name} must be a number of seconds above 0, got {getattr(self, name)}")
        if self.retries < 0:
            raise UserError(f"engine.retries must be at least 0, got {self.retries}")
