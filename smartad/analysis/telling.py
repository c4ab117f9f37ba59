"""What a comparison says, for people."""

from collections.abc import Sequence

from smartad.analysis.compare import Comparison, Line
from smartad.stats import ALPHA, MANY, SAME, Difference


def told(one: Comparison) -> list[str]:
    """Sentences: how large the difference is, whether chance does that, what it would take to know, and what is left out."""
    if one.macro is None:
        return [one.refused]
    return [*over(one), _size(one, one.macro), *_covered(one, one.macro), *_needed(one, one.macro), *_left_out(one)]


def of_table(found: list[Comparison], baseline: str) -> list[str]:
    """The same for all rows of a sweep against one."""
    compared = [one for one in found if one.macro]
    far = [one for one in compared if one.holm < ALPHA]
    if not compared:
        return [f"No row can be held against {baseline} on all its benchmarks: there is no average to compare."]
    said = [f"{len(far)} of {len(compared)} rows differ from {baseline} by more than chance does (Holm's p below {ALPHA:g}); "
            "of the others it is not known."]
    if any(one.macro.lone for one in compared if one.macro):
        said.append("Rows with one seed: their intervals and p are about these very adapters; what luck in training does is not "
                    "in them.")
    return said


def graded(lines: Sequence[Line]) -> str:
    """``Graded by exact/1 (toy_math), math_strict/1 (aime).``"""
    by: dict[str, list[str]] = {}
    for line in lines:
        names = by.setdefault(line.grader, [])
        if line.benchmark not in names:
            names.append(line.benchmark)
    parts = [grader if len(by) == 1 else f"{grader} ({', '.join(names)})" for grader, names in by.items()]
    return f"Graded by {', '.join(parts)}."


def seeds_text(seeds: int) -> str:
    """``about 7``, ``more than 1,000``."""
    return f"more than {MANY:,}" if seeds > MANY else f"about {seeds}"


def p_text(p: float) -> str:
    """``0.031``, ``≤0.001``; Markdown would take ``<`` for the beginning of a tag."""
    return "≤0.001" if p <= 0.001 else f"{p:.3f}"


def points(value: float) -> str:
    """``+4.0``, and never ``-0.0``."""
    return f"{round(value, 1) + 0.0:+.1f}"


def interval(difference: Difference) -> str:
    """``-3.1 to +1.8``."""
    return f"{points(difference.low)} to {points(difference.high)}"


def names(one: Comparison) -> tuple[str, str]:
    """Of A and B: their labels, with their sweeps where these are not the same."""
    same = one.a.book.name == one.b.book.name
    return (one.a.trial.label, one.b.trial.label) if same else (one.a.name, one.b.name)


def over(one: Comparison) -> list[str]:
    """Loudly: this average is of other benchmarks than the table's."""
    return [f"The average is over {', '.join(line.benchmark for line in one.lines)} alone."] if one.missing else []


def _size(one: Comparison, macro: Difference) -> str:
    a, b = names(one)
    numbers = f"(95 % interval {interval(macro)}, p = {p_text(macro.p)})".replace("= ≤", "≤ ")
    chance = "this may be chance" if macro.p >= ALPHA else "chance alone rarely does that"
    if abs(macro.points) < SAME:
        return f"{a} and {b} have the same average here {numbers}: it is not known which is better."
    size = f"{abs(macro.points):.1f} points {'above' if macro.points > 0 else 'below'}"
    return f"{a} is {size} {b} on average {numbers}: {chance}."


def _covered(one: Comparison, macro: Difference) -> list[str]:
    if not macro.lone:
        return []
    a, b = names(one)
    single = " and ".join(name for name, seeds in ((a, one.seeds_a), (b, one.seeds_b)) if len(seeds) == 1)
    return [f"The interval is about these very adapters on other questions like these: with one seed of {single}, what luck in "
            "training does is not in it."]


def _needed(one: Comparison, macro: Difference) -> list[str]:
    """Power 80 %, alpha 5 %: said in the command's help."""
    n = sum(line.n for line in one.lines)
    if macro.p < ALPHA or (macro.seeds is None and macro.questions is None):
        return []
    if macro.seeds is not None:
        return [f"To tell a difference of this size apart takes {seeds_text(macro.seeds)} seeds of each on these questions."]
    more = f"about {max(1, round((macro.questions or 0) * n)):,} questions instead of {n:,}"
    if macro.lone:
        return [f"To tell a difference of this size apart takes {more}, and several seeds; how many, one seed cannot say."]
    if len(one.seeds_a) == len(one.seeds_b) == 1:
        return [f"To tell a difference of this size apart takes {more}."]
    return [f"No number of seeds tells a difference of this size apart on these questions: it takes {more}, and many seeds."]


def _left_out(one: Comparison) -> list[str]:
    missing = list(dict.fromkeys(one.missing.values()))
    said = [f"Not compared: {'; '.join(missing)}."] if missing else []
    for line in one.lines:
        if line.ungraded:
            some = ", ".join(line.ungraded[:5]) + (f" and {len(line.ungraded) - 5} more" if len(line.ungraded) > 5 else "")
            said.append(f"{line.benchmark}: {len(line.ungraded)} left out, on which a run has no verdict ({some}).")
        if line.unshared:
            said.append(f"{line.benchmark}: {line.unshared} left out, which not both were asked.")
    return said


