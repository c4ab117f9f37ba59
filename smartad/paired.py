"""Two arms on the same questions: how far apart they are, and what chance may have done to that."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smartad.stats import ALPHA, DRAWS, MANY, POWER, SAME, Difference

Runs = NDArray[np.float64]
"""(seeds, questions) of one arm on one benchmark: the share of a question's attempts that is right, 0..1; NaN: not graded."""
TAIL = 20
"""Draws that must lie beyond zero for their number to say how rare that is."""
BLOCK, CHUNK = 100, 1_000
"""Comparisons, and draws, that are held at once: 10,000 draws of 500 questions stay under 100 MB."""


@dataclass(frozen=True)
class Paired:
    """Two arms on the same questions."""

    a: Sequence[Runs]
    """By benchmark.  A question that is NaN in any run of either arm is left out."""
    b: Sequence[Runs]
    lone: bool = False
    """Whether an arm has one run where other seeds would have given others: what luck in training does is then not known.  An
    untrained student is the same with every seed, and not lone."""


@dataclass(frozen=True)
class _Spread:
    """Variances of the difference of two arms' means, in shares; each a sum over both arms."""

    questions: float
    """From which questions were asked; ``noise`` is in it."""
    noise: float
    """From what is of a seed and a question together: more of either take it away."""
    seeds: float
    """From which seeds were trained, without noise."""
    df: float
    """Degrees of freedom of ``seeds`` (Welch)."""
    luck: float
    """What ``seeds`` and ``noise`` would be with one seed of each arm."""
    seeded: int
    """Arms of which there are several seeds."""
    n: int
    """Degrees of freedom of ``questions``."""


def differences(pairs: Sequence[Paired], draws: int = DRAWS, seed: int = 0) -> list[tuple[Difference, list[Difference]]]:
    """Of each of ``pairs``, which are all about the same questions: A minus B of the macro average, and of each benchmark.  A
    benchmark with fewer than two questions that all runs are graded on is no part of either; its own is NaN.

    The interval is a bootstrap's (percentiles of ``draws``), in two parts.

    **Questions** are drawn anew within every benchmark (stratified), the same for all runs of both arms (paired), so what an
    arm's seeds have in common and what the arms have in common stays together.  To each benchmark two questions are added, of
    which each arm has one right: else fifty questions without a difference would leave no doubt at all (Bonett & Price 2012,
    Adjusted Wald intervals for a difference of binomial proportions based on paired data).  They pull a benchmark's draws to
    zero, by 2 of n + 2; what they pull is given back, as over several benchmarks it would not average out.

    **Seeds** are a random sample, too, nested in their arm.  To draw two or three of them with replacement makes intervals that
    are too narrow by sqrt((k-1)/k) and know nothing of how badly two numbers tell a variance: those of 3 seeds held the truth
    88 times in 100 where training luck was large, those of 2 seeds 85 times.  So their part of a draw is Student's t with
    Welch's degrees of freedom, scaled by the seeds' own variance: that of a seed's macro average (its benchmarks go up and
    down together) less what is of seed and question together, which the drawn questions have already.  It is the two-way
    analysis of variance of readers and cases (Dorfman, Berbaum & Metz 1992; Hillis 2007).
    The seeds of A and of B are taken to be independent: a seed of the same number starts the same random numbers, but from
    other data or weights comes another training.  What luck they should share makes the interval too wide, never too narrow.

    ``p`` is the share of draws beyond zero, twice; where they are too few to count, Student's t of the same variances, but no
    less than if all questions had tossed a coin.
    """
    rows = [_of_block(pairs[start:start + BLOCK], draws, seed) for start in range(0, len(pairs), BLOCK)]
    return [one for block in rows for one in block]


def _of_block(pairs: Sequence[Paired], draws: int, seed: int) -> list[tuple[Difference, list[Difference]]]:
    count = len(pairs[0].a)
    whole = np.zeros((draws, len(pairs)))
    parts: list[list[Difference]] = [[] for _ in pairs]
    kept: list[list[tuple[Runs, Runs]]] = [[] for _ in pairs]
    for at in range(count):
        complete = [_complete(pair.a[at], pair.b[at]) for pair in pairs]
        values = np.stack([np.where(ok, pair.a[at].mean(axis=0) - pair.b[at].mean(axis=0), np.nan)
                           for pair, ok in zip(pairs, complete, strict=True)], axis=1)
        drawn = _resampled(values, draws, np.random.default_rng([seed, at]))
        for i, (pair, ok) in enumerate(zip(pairs, complete, strict=True)):
            if ok.sum() < 2:
                parts[i].append(Difference(np.nan, np.nan, np.nan, np.nan, None, None, pair.lone))
                continue
            kept[i].append((pair.a[at][:, ok], pair.b[at][:, ok]))
            whole[:, i] += drawn[:, i]
            parts[i].append(_difference(kept[i][-1:], drawn[:, i], seed, pair.lone))
    return [(_difference(of, whole[:, i] / len(of), seed, pair.lone) if of else parts[i][0], parts[i])
            for i, (pair, of) in enumerate(zip(pairs, kept, strict=True))]


def _complete(a: Runs, b: Runs) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = ~(np.isnan(a).any(axis=0) | np.isnan(b).any(axis=0))
    return found


def _resampled(values: NDArray[np.float64], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """``values``: (questions, columns).  (draws, columns): the columns' means over questions drawn with replacement, and over
    one question of +1 and one of -1 besides, which do not move their centre; NaN are left out."""
    own = (~np.isnan(values)).sum(axis=0)
    pulled = 2 * np.nansum(values, axis=0) / (np.maximum(own, 1) * (own + 2))
    values = np.concatenate([values, np.tile([[1.0], [-1.0]], values.shape[1])])
    n, there = len(values), ~np.isnan(values)
    filled, everywhere = np.where(there, values, 0.0), bool(there.all())
    means = np.empty((draws, values.shape[1]))
    for start in range(0, draws, CHUNK):
        size = min(CHUNK, draws - start)
        chosen = rng.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
        out_of = np.full((size, 1), float(n)) if everywhere else counts @ there.astype(np.float64)
        means[start:start + size] = (counts @ filled) / np.maximum(out_of, 1.0) + pulled
    return means


def _difference(of: Sequence[tuple[Runs, Runs]], drawn: NDArray[np.float64], seed: int, lone: bool) -> Difference:
    """Of the benchmarks ``of``, complete; ``drawn``: their means over drawn questions."""
    from scipy import stats

    spread = _spread(of)
    estimate = round(float(np.mean([a.mean() - b.mean() for a, b in of])), 12)  # a tie is one, whatever order it was added in
    variance = float(drawn.var())
    if spread.seeds > 0:
        drawn = drawn + np.sqrt(spread.seeds) * np.random.default_rng([seed, 0, 1]).standard_t(spread.df, len(drawn))
    low, high = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2])
    beyond = int(min((drawn <= 0).sum(), (drawn >= 0).sum()))
    p = 2 * max(beyond, 1) / len(drawn)
    if beyond < TAIL:
        total = variance + spread.seeds
        df = total**2 / (spread.seeds**2 / spread.df + variance**2 / spread.n)  # Satterthwaite's
        p = min(2 * TAIL / len(drawn), 2 * float(stats.t.sf(abs(estimate) / np.sqrt(total), df)))
        p = max(p, 2.0 ** (1 - sum(a.shape[1] for a, _ in of)))
    seeds, questions = _needed(estimate, spread, lone)
    return Difference(100 * estimate, max(-100.0, 100 * float(low)), min(100.0, 100 * float(high)), min(1.0, p), seeds, questions,
                      lone)


def _spread(of: Sequence[tuple[Runs, Runs]]) -> _Spread:
    """From the mean squares of the two-way layout seeds x questions."""
    count = len(of)
    questions = sum((a.mean(axis=0) - b.mean(axis=0)).var(ddof=1) / a.shape[1] for a, b in of) / count**2
    noise = seeds = luck = total = squares = 0.0
    arms = [arm for arm in ([a for a, _ in of], [b for _, b in of]) if len(arm[0]) > 1]
    for arm in arms:
        k = len(arm[0])
        of_seeds = float(np.mean([x.mean(axis=1) for x in arm], axis=0).var(ddof=1)) / k
        rest = sum(_interaction(x) / x.size for x in arm) / count**2
        noise, seeds, luck = noise + rest, seeds + max(0.0, of_seeds - rest), luck + k * max(rest, of_seeds)
        total, squares = total + of_seeds, squares + of_seeds**2 / (k - 1)
    return _Spread(float(questions), noise, seeds, total**2 / squares if squares else 1.0, luck, len(arms),
                   sum(a.shape[1] for a, _ in of) - count)


def _interaction(x: Runs) -> float:
    """Mean square of what neither the seed nor the question explains."""
    rest = x - x.mean(axis=0) - x.mean(axis=1, keepdims=True) + x.mean()
    return float((rest**2).sum()) / ((x.shape[0] - 1) * (x.shape[1] - 1))


def _needed(estimate: float, spread: _Spread, lone: bool) -> tuple[int | None, float | None]:
    """``Difference.seeds`` and ``.questions``.

    A difference d is found with power 80 % where its variance is at most (d / (z_0.975 + z_0.8))^2 (Miller 2024, Adding error
    bars to evals, section 5; Bouthillier et al. 2021, Accounting for variance in machine learning benchmarks).  More seeds k
    divide the luck by k and leave what comes from the questions; more questions divide that.  Few seeds need t instead of z.
    """
    from scipy import stats

    room = (estimate / (stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER)))**2
    if 100 * abs(estimate) < SAME:
        return None, None
    lasting = max(0.0, spread.questions - spread.noise)
    if lone or not spread.seeded:
        return None, spread.questions / room
    if lasting >= room:
        return None, lasting / room
    questions = spread.questions / (room - spread.seeds) if room > spread.seeds else None
    k = max(2, int(np.ceil(spread.luck / (room - lasting))))
    while k <= MANY:
        total = lasting + spread.luck / k
        df = spread.seeded * (k - 1) * (total * k / spread.luck)**2 if spread.luck else np.inf
        if (stats.t.ppf(1 - ALPHA / 2, df) + stats.t.ppf(POWER, df))**2 * total <= estimate**2:
            return k, questions
        k += 1
    return MANY + 1, questions
