"""What model-written code may use."""

from dataclasses import dataclass, field

from smartad.types import UserError


@dataclass(frozen=True)
class CodeLimits:
    """Bounds on the process that runs one episode's code.  They decide what a step observes, so they are identity."""

    step_timeout_s: float = 10.0
    """Wall clock of one step.  Of each of its tool calls a tenth of it counts at the most: it is not the code that is slow."""
    cpu_s: int = 60
    """CPU time of one interpreter: an episode's, unless it is replaced after a timeout."""
    memory_gb: float = 1.0
    """Address space on top of what the interpreter itself takes."""
    output_chars: int = 10_000
    """What a step prints, returns, or complains beyond this is cut out in the middle."""

    imports: list[str] = field(default_factory=lambda: ["numpy.*", "sympy.*"])
    """Modules that code may import besides smolagents' own list; the papers allow these two.  A name stands for itself,
    ``name.*`` for all below it too."""

    def __post_init__(self) -> None:
        for name in ("step_timeout_s", "cpu_s", "memory_gb", "output_chars"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"code.{name} must be a finite number above 0, got {getattr(self, name)}")
