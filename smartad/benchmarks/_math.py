"""What the problems of Hendrycks' MATH have in common."""

from collections.abc import Mapping
from typing import Any

from smartad.benchmarks import Hub

SUBJECTS = ("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra",
            "precalculus")
TRAIN = Hub("EleutherAI/hendrycks_math", tuple(f"{subject}/train-00000-of-00001.parquet" for subject in SUBJECTS),
            ("problem", "solution", "level", "type"))
RIGHTS = "the problems are AoPS' and the MAA's"


def about(row: Mapping[str, Any]) -> dict[str, str | None]:
    """Level, 1 to 5, and subject; "Level 5" in some files is 5 in others."""
    return {"level": str(row["level"]).removeprefix("Level "), "subject": row.get("type") or row.get("subject")}


def last_box(solution: str) -> str | None:
    r"""What the last ``\boxed`` or ``\fbox`` of a solution holds; of one without braces, as in ``\boxed 2``, the next word.

    None when there is no box, or it is not closed.
    """
    start, command = max((solution.rfind(command), command) for command in ("\\boxed", "\\fbox"))
    if start < 0:
        return None
    rest = solution[start + len(command):]
    if not rest.startswith("{"):
        return rest.replace("$", " ").split()[0] if rest.replace("$", " ").split() else None
    depth = 0
    for end, character in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if not depth:
            return rest[1:end]
    return None
