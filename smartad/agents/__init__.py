"""Agents: one CodeAct episode (codeact), and the processes its code runs in (executor, interpreter, limits)."""
