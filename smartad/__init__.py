"""smartad: experiment-tracking-centric sweeps for agent distillation."""

__version__ = "0.1.0"
