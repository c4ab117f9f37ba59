"""Import: trajectories made elsewhere -> questions and a pool, as prepare and collect would have written them.

What is no trajectory, or none that is wanted, goes to quarantine with its file, its line and the reason: every row that is not
blank is in the pool or there.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from smartad import benchmarks, importers
from smartad.fingerprint import file_sha256
from smartad.importers import Found, Unusable
from smartad.records import dump_line, from_json, write_jsonl
from smartad.stage import Metrics, Runtime, Stage
from smartad.stages.episodes import summary
from smartad.types import Kind, Origin, Quarantined, Question, Trajectory, UserError

Place = tuple[str, int]
"""(file name, line)."""
REASON = 300
"""Characters of a reason that are kept: some quote what they found."""
PIN = re.compile(r"(?P<file>.+)@(?P<sha256>[0-9a-f]{64})")


@dataclass(frozen=True)
class Source:
    """What one teacher wrote."""

    files: list[str]
    """Below the data folder; ``file@sha256`` pins one, so that a plan needs no file.  Their order is that of the samples."""
    teacher: str | None = None
    """None: the first file's name without its ending."""


@dataclass(frozen=True)
class PoolConfig:
    """Trajectories to import in place of collecting them: in their order, the sources are samples 0, 1, ... of a question."""

    format: str
    """A module of ``importers``."""
    sources: list[Source]
    name: str | None = None
    """What the questions are called: ``<name>/<hash of the text>``.  None: as the format."""
    kind: Kind = "exact"
    """Of the questions: which of the experiment's graders decides what is right."""
    refuse: list[str] = field(default_factory=list)
    """Marks of the format that put a trajectory into quarantine; without, they are counted only."""

    def __post_init__(self) -> None:
        marks = importers.get(self.format).MARKS
        if unknown := [mark for mark in self.refuse if mark not in marks]:
            raise UserError(f"pool.refuse names {unknown[0]!r}; the marks of format {self.format} are {', '.join(marks)}")
        if not self.sources or not all(source.files for source in self.sources):
            raise UserError("pool.sources is empty, or one of them has no files")
        if not re.fullmatch("[a-z][a-z0-9_]*", self.called) or self.called in benchmarks.names():
            raise UserError(f"pool.name={self.called!r} must be lower-case letters, digits and _, and not a benchmark's name")

    @property
    def called(self) -> str:
        """The name of its questions."""
        return self.name or self.format

    @property
    def samples(self) -> int | None:
        """Trajectories per question; None when the files decide that."""
        return None if importers.get(self.format).REPEATS else len(self.sources)


@dataclass(frozen=True)
class File:
    """A file to import, by content."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Teacher:
    """Who wrote which files."""

    name: str
    files: tuple[File, ...]


@dataclass(frozen=True)
class ImportConfig:
    """Which files, and what they are read as."""

    format: str
    name: str
    teachers: tuple[Teacher, ...]
    refuse: tuple[str, ...] = ()
    limit: int | None = None
    """The first so many questions; None: all.  Trajectories of others are neither in the pool nor in quarantine."""


@dataclass(frozen=True)
class Pool:
    """What the files hold: trajectories by question, then sample, each with its origin."""

    questions: list[Question]
    trajectories: list[Trajectory]
    origins: list[Origin]
    quarantine: list[Quarantined]
    rows: int


def run(config: ImportConfig, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> Metrics:
    """No inputs.  Writes questions.jsonl, trajectories.jsonl, origins.jsonl (one row per trajectory) and quarantine.jsonl.

    Metrics: those of :func:`totals`.  Raises UserError for a file that is missing or is not the pinned one, and when nothing
    could be imported.
    """
    pool = gather(config, {file: _located(file, runtime) for teacher in config.teachers for file in teacher.files})
    if not pool.trajectories:
        first = f": {pool.quarantine[0].file}:{pool.quarantine[0].line}: {pool.quarantine[0].reason}" if pool.quarantine else ""
        raise UserError(f"none of {pool.rows} rows is a trajectory of format {config.format}{first}")
    write(pool, out)
    return totals(pool)


def write(pool: Pool, out: Path) -> None:
    """A pool's four files."""
    for name, rows in (("questions", pool.questions), ("trajectories", pool.trajectories), ("origins", pool.origins),
                       ("quarantine", pool.quarantine)):
        write_jsonl(out / f"{name}.jsonl", rows)


def totals(pool: Pool) -> Metrics:
    """rows, questions, ungradable (without a gold), samples (the largest number of trajectories of a question), quarantined,
    ``quarantined/<kind>``, claimed (right, by their maker; None when no file says), ``marks/<mark>``; and of
    ``episodes.summary`` n, answered, tokens, seconds, ``stop/...`` and ``step/...``."""
    kinds = Counter(f"quarantined/{row.kind}" for row in pool.quarantine)
    marks = Counter(f"marks/{mark}" for origin in pool.origins for mark in origin.marks)
    claims = [origin.claimed for origin in pool.origins if origin.claimed is not None]
    return {"rows": pool.rows, "questions": len(pool.questions), "ungradable": sum(not q.answers for q in pool.questions),
            "samples": max(Counter(t.question_id for t in pool.trajectories).values(), default=0),
            "quarantined": len(pool.quarantine), **dict(sorted(kinds.items())),
            "claimed": sum(claims) if claims else None, **dict(sorted(marks.items())), **summary(pool.trajectories)}


def gather(config: ImportConfig, paths: Mapping[File, Path]) -> Pool:
    """Everything in the files.  A trajectory's sample is its teacher's place; where a teacher has several of a question, the
    second of each come after the first of all."""
    gathering = _Gathering(config)
    for place, teacher in enumerate(config.teachers):
        for file in teacher.files:
            for line, row in _rows(paths[file]):
                gathering.take((file.name, line), place, teacher.name, row)
    return gathering.pool()


def identified(config: PoolConfig, data: Path | None, limit: int | None) -> tuple[ImportConfig, dict[str, str]]:
    """``config`` with its files by content, and where each of them is, by SHA-256; a pinned file need not be there.

    Raises UserError for a file that is not there and not pinned, that is not the pinned one, or that is named twice.
    """
    folders: dict[str, str] = {}

    def pinned(entry: str) -> File:
        match = PIN.fullmatch(entry)
        name, sha256 = match.group("file", "sha256") if match else (entry, None)
        path = (data / name) if data else Path(name)
        if not path.is_file():
            if sha256 is None:
                raise UserError(f"no file {path}; the files of pool.sources lie below the folder that data=FOLDER names")
            return File(Path(name).name, sha256)
        state = path.stat()
        found = _sha256(path, state.st_mtime_ns, state.st_size)
        if sha256 not in (None, found):
            raise UserError(f"{path} is not the pinned file: sha256 expected {sha256}, found {found}")
        folders[found] = str(path.absolute())
        return File(path.name, found)

    teachers = tuple(Teacher(source.teacher or Path(PIN.sub(r"\g<file>", source.files[0])).stem,
                             tuple(pinned(entry) for entry in source.files)) for source in config.sources)
    names, files = [teacher.name for teacher in teachers], [file for teacher in teachers for file in teacher.files]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"pool.sources names teacher {twice!r} twice; give each a name of its own, or one of them all the files")
    for i, file in enumerate(files):
        if same := next((other for other in files[:i] if other.sha256 == file.sha256), None):
            raise UserError(f"pool.sources: {file.name} is the same file as {same.name}")
    return ImportConfig(config.format, config.called, teachers, tuple(config.refuse), limit), folders


@cache
def _sha256(path: Path, modified_ns: int, size: int) -> str:
    return file_sha256(path)


def _located(file: File, runtime: Runtime) -> Path:
    if file.sha256 not in runtime.files or not Path(runtime.files[file.sha256]).is_file():
        raise UserError(f"{file.name} (sha256 {file.sha256}) is not here; say which folder pool.sources is in with data=FOLDER")
    path = Path(runtime.files[file.sha256])
    if (found := file_sha256(path)) != file.sha256:
        raise UserError(f"{path} has changed since the plan was made: sha256 expected {file.sha256}, found {found}")
    return path


def _rows(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, line) of every line that is not blank."""
    with path.open("rb") as file:
        yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())


def _checked(found: Found) -> Found:
    """``found``, when it can be written and read back.  Raises ValueError for a field of another type, or text that is none."""
    line = dump_line(found)
    line.encode()  # half a surrogate pair has no bytes
    checked: Found = from_json(Found, json.loads(line))
    if not checked.question.strip() or not checked.steps:
        raise ValueError("there is no question, or no turn")
    return checked


class _Gathering:
    """Remembers what was seen, so that a row can be held against earlier ones."""

    def __init__(self, config: ImportConfig) -> None:
        self.config, self.importer = config, importers.get(config.format)
        self.golds: dict[str, tuple[Place, tuple[str, ...]]] = {}
        self.taken: dict[str, dict[tuple[int, int], tuple[Place, str, Found]]] = {}
        """Question -> (how often its teacher had answered it before, the teacher's place) -> trajectory."""
        self.quarantine: list[Quarantined] = []
        self.rows = 0

    def take(self, where: Place, place: int, teacher: str, line: bytes) -> None:
        self.rows += 1
        try:
            self._keep(where, place, teacher, self._found(line))
        except Unusable as error:
            reason = str(error)[:REASON].encode(errors="backslashreplace").decode()
            self.quarantine.append(Quarantined(*where, error.kind, reason))

    def _found(self, line: bytes) -> Found:
        try:
            row = json.loads(line)
        except ValueError as error:  # UnicodeDecodeError is one
            raise Unusable("torn", f"no JSON: {error}") from error
        try:
            found = _checked(self.importer.read(row))
        except Unusable:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, SyntaxError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
            raise Unusable("other_shape", f"not a row of format {self.config.format}: {what}") from error
        if refused := [mark for mark in found.marks if mark in self.config.refuse]:
            raise Unusable(refused[0], self.importer.MARKS[refused[0]])
        return found

    def _keep(self, where: Place, place: int, teacher: str, found: Found) -> None:
        first, known = self.golds.get(found.question, (where, ()))
        if known and found.answers and known != found.answers:
            raise Unusable("other_gold", f"its gold is {found.answers[0]!r}, and {known[0]!r} in {first[0]}:{first[1]}")
        mine = self.taken.setdefault(found.question, {})
        earlier = [(at, other) for (_, by), (at, _, other) in mine.items() if by == place]
        for (file, number), other in earlier:
            if (other.steps, other.answer) == (found.steps, found.answer):
                raise Unusable("duplicate", f"the same trajectory as {file}:{number}")
            if not self.importer.REPEATS:
                raise Unusable("second_attempt", f"{teacher} has answered this question in {file}:{number}")
        mine[len(earlier), place] = (where, teacher, found)
        if found.question not in self.golds or (found.answers and not known):
            self.golds[found.question] = (where, found.answers)

    def pool(self) -> Pool:
        questions, trajectories, origins = [], [], []
        for text in list(self.taken)[:self.config.limit]:
            question = Question(f"{self.config.name}/{hashlib.sha256(text.encode()).hexdigest()[:12]}", text, self.golds[text][1])
            questions.append(question)
            for (repeat, place), (where, teacher, found) in sorted(self.taken[text].items()):
                sample = repeat * len(self.config.teachers) + place
                trajectories.append(Trajectory(question.id, sample, found.steps, found.answer, found.stop, found.tokens,
                                               found.seconds))
                origins.append(Origin(question.id, sample, teacher, *where, found.claimed, found.marks))
        return Pool(questions, trajectories, origins, self.quarantine, self.rows)


IMPORT = Stage("import", version=1, run=run)
