"""What a comparison says, for people."""


from smartad.analysis.compare import Comparison
from smartad.stats import ALPHA, Difference


def told(one: Comparison) -> list[str]:
    """Sentences: how large the difference is, whether chance does that, what it would take to know, and what is left out."""
    if one.macro is None:
        return [one.refused]
    return [_size(one, one.macro), *_covered(one, one.macro), *_needed(one, one.macro), *_left_out(one)]


def of_table(found: list[Comparison], baseline: str) -> list[str]:
    """The same for all rows of a sweep against one."""
    compared = [one for one in found if one.macro]
    far = [one for one in compared if one.holm < ALPHA]
    said = [f"{len(far)} of {len(compared)} rows differ from {baseline} by more than chance does (Holm's p below {ALPHA:g}); "
            "of the others it is not known."]
    if any(one.macro.lone for one in compared if one.macro):
        said.append("Rows with one seed: their intervals and p are about these very adapters; what luck in training does is not "
                    "in them.")
    return said


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


def _size(one: Comparison, macro: Difference) -> str:
    a, b = names(one)
    numbers = f"(95 % interval {interval(macro)}, p = {p_text(macro.p)})".replace("= ≤", "≤ ")
    chance = "this may be chance" if macro.p >= ALPHA else "chance alone rarely does that"
    if abs(macro.points) < 0.05:
        return f"{a} is as good as {b} on average {numbers}."
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
    more = "" if macro.questions is None else f"about {round(macro.questions * n):,} questions instead of {n:,}"
    if macro.points == 0:
        return []
    if macro.seeds is not None:
        return [f"To tell a difference of this size apart takes about {macro.seeds} seeds of each on these questions."]
    if macro.lone:
        return [f"To tell a difference of this size apart takes {more}, and several seeds; how many, one seed cannot say."]
    if not more:
        return ["To tell a difference of this size apart takes more seeds than anybody trains, or many more questions."]
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


