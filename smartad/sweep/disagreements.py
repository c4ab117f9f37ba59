"""Where two graders say different things of the same attempt."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from smartad import grading
from smartad.records import read_jsonl
from smartad.stages.grade import verdicts_of
from smartad.store import Store
from smartad.sweep import ledger
from smartad.types import Question, Trajectory, UserError, Verdict

MAKERS = ("evaluate", "collect", "import")
"""Stages that leave what can be graded."""
WORDS = {True: "correct", False: "wrong", None: "ungraded"}
Key = tuple[str, int]
"""(question id, sample)."""
Group = tuple[str, str, str]
"""(set of questions, grader, other grader)."""


@dataclass(frozen=True)
class Difference:
    """One attempt of which two graders do not say the same."""

    question: Question
    attempt: Trajectory
    verdicts: tuple[Verdict, Verdict]


@dataclass(frozen=True)
class Comparison:
    """Two graders on the same attempts at one set of questions."""

    attempts: str
    """Fingerprint of the stage that made them."""
    questions: str
    graders: tuple[str, str]
    counts: Mapping[tuple[str, str], int]
    """(what the first says, what the second says), in WORDS -> attempts."""
    differences: tuple[Difference, ...]
    """In the order of the attempts."""


def of_target(store: Store, target: str, also: Sequence[str] = (), setup: grading.Setup | None = None) -> list[Comparison]:
    """Every two graders that have graded the same attempts of a sweep, or of the run that a stage belongs to.

    ``also``: graders to ask here and now, where they have not graded yet; nothing of what they say is kept.
    Raises UserError when there are no attempts, or no two graders of any.
    """
    makers = _makers(store, target)
    if not makers:
        raise UserError(f"nothing of {target} that could be graded is finished in {store.root}")
    grades: dict[str, list[str]] = {maker: [] for maker in makers}
    for fingerprint in store.fingerprints():
        if fingerprint.startswith("grade-") and store.has(fingerprint):
            attempts = store.record(fingerprint)["identity"]["inputs"]["attempts"]
            if attempts in grades:
                grades[attempts].append(fingerprint)
    found = [one for maker in makers for one in _of_attempts(store, maker, grades[maker], also, setup or grading.Setup())]
    if not found:
        raise UserError(f"no attempts of {target} were graded by two graders; an experiment names several of a kind, as in "
                        "grade.math=[math_strict,math_paper], and --grader NAME asks another one now")
    return found


def confusion(store: Store, fingerprints: Iterable[str]) -> Iterator[tuple[str, Group, Mapping[tuple[str, str], int]]]:
    """Among the grade stages of ``fingerprints``: whose attempts, which questions and graders, how often each pair of words."""
    graded: dict[str, list[str]] = {}
    for fingerprint in fingerprints:
        if fingerprint.startswith("grade-") and store.has(fingerprint):
            graded.setdefault(store.record(fingerprint)["identity"]["inputs"]["attempts"], []).append(fingerprint)
    for attempts, grades in graded.items():
        for one, other in combinations([_verdicts(store, f) for f in grades] if len(grades) > 1 else [], 2):
            for group, pairs in _paired(one, other).items():
                yield attempts, group, _counts(pairs)


def _makers(store: Store, target: str) -> list[str]:
    if ledger.candidates(store, target):
        among = store.upstream([f for f in ledger.load(store, target).stages() if store.has(f)])
    else:
        fingerprint = store.find(target)
        if fingerprint.startswith("grade-"):
            fingerprint = store.record(fingerprint)["identity"]["inputs"]["attempts"]
        among = [fingerprint] if fingerprint.startswith(MAKERS) else store.upstream([fingerprint])
    return sorted(f for f in among if f.rpartition("-")[0] in MAKERS and store.has(f))


def _of_attempts(store: Store, maker: str, grades: Sequence[str], also: Sequence[str],
                 setup: grading.Setup) -> Iterator[Comparison]:
    attempts = {(t.question_id, t.sample): t for t in read_jsonl(store.folder(maker) / "trajectories.jsonl", Trajectory)}
    questions = _questions(store, maker)
    by_name = sorted(grades, key=lambda grade: sorted(store.record(grade)["identity"]["config"]["graders"].values()))
    verdicts = [_verdicts(store, grade) for grade in by_name]
    known = {v.by for of_stage in verdicts for v in of_stage.values()}
    for name in also:
        if (by := grading.versioned(name)) not in known:
            sets = {key[0].partition("/")[0] for key in attempts}
            asked, _ = verdicts_of(list(attempts.values()), questions, dict.fromkeys(sets, by), setup)
            verdicts.append({(v.question_id, v.sample): v for v in asked})
    for one, other in combinations(verdicts, 2):
        for (name, by, other_by), pairs in _paired(one, other).items():
            differences = [Difference(questions[a.question_id], attempts[a.question_id, a.sample], (a, b))
                           for a, b in pairs if a.correct is not b.correct]
            yield Comparison(maker, name, (by, other_by), _counts(pairs), tuple(differences))


def _paired(one: Mapping[Key, Verdict], other: Mapping[Key, Verdict]) -> dict[Group, list[tuple[Verdict, Verdict]]]:
    """The two verdicts on each attempt, by set of questions, where two graders gave them."""
    groups: dict[Group, list[tuple[Verdict, Verdict]]] = {}
    for key, verdict in one.items():
        if key in other and other[key].by != verdict.by:
            groups.setdefault((key[0].partition("/")[0], verdict.by, other[key].by), []).append((verdict, other[key]))
    return dict(sorted(groups.items()))


def _counts(pairs: Iterable[tuple[Verdict, Verdict]]) -> Mapping[tuple[str, str], int]:
    return Counter((WORDS[a.correct], WORDS[b.correct]) for a, b in pairs)


def _verdicts(store: Store, grade: str) -> dict[Key, Verdict]:
    return {(v.question_id, v.sample): v for v in read_jsonl(store.folder(grade) / "verdicts.jsonl", Verdict)}


def _questions(store: Store, maker: str) -> dict[str, Question]:
    """Of the attempts that ``maker`` made; an import has them itself."""
    inputs = store.record(maker)["identity"]["inputs"]
    folders = [f for role, f in inputs.items() if role.startswith("questions/")] or [maker]
    return {q.id: q for f in folders for q in read_jsonl(store.folder(f) / "questions.jsonl", Question)}


def as_row(difference: Difference) -> tuple[str, int, str, str, str, str, str, str]:
    """question, sample, gold, answer; what the one grader says and why; what the other says and why."""
    a, b = difference.verdicts
    return (difference.question.id, a.sample, " | ".join(difference.question.answers), difference.attempt.answer or "",
            WORDS[a.correct], a.reason, WORDS[b.correct], b.reason)
