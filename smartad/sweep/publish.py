"""Trackers brought up to date from the store alone, and what they then say they have."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from smartad import registry, runner
from smartad.redact import redact
from smartad.store import Store
from smartad.sweep.ledger import Ledger
from smartad.sweep.summary import summary
from smartad.tracking import Finished, Incomplete, Mirror, RunInfo
from smartad.types import UserError

logger = logging.getLogger(__name__)

IN_A_ROW = 3
"""So many failures one after the other, and the tracker is taken for down."""
LOOKS, PAUSE_S = 4, 1.0
"""What was just told is looked for so often: a server may take a moment to know it."""

Progress = Callable[[int, int], None]
"""``progress(done, total)``."""


@dataclass
class Published:
    """What one tracker has of a sweep."""

    tracker: str
    right: int = 0
    """Stages that were as in the store."""
    mended: list[str] = field(default_factory=list)
    """Stages and aliases that were not, and are now."""
    wrong: dict[str, str] = field(default_factory=dict)
    """Stage or alias -> what is not as in the store."""
    address: str | None = None
    """Where to look at the sweep."""


def publish(store: Store, book: Ledger, mirror: Mirror, progress: Progress = lambda done, total: None) -> Published:
    """Tell ``mirror`` what it lacks of the sweep, then ask it for everything.  Told twice, the second time changes nothing.

    Raises UserError when the tracker cannot be used at all.  Whatever it is cut off by, the next call goes on.
    """
    mirror.check()
    stages = finished(store, book)
    found = Published(mirror.name)
    lacking = mirror.lacking(list(stages.values()))
    found.right = len(stages) - len(lacking)
    failed = _mend(store, mirror, {f: (stages[f], problems) for f, problems in lacking.items()}, progress)
    still = _settled(lambda: {f: "; ".join(p) for f, p in mirror.lacking([stages[f] for f in lacking]).items()}, failed)
    found.wrong = {f: failed.get(f, problem) for f, problem in still.items()}
    found.mended = [f for f in lacking if f not in found.wrong]
    try:
        found.address = mirror.summarise(summary(store, book), [store.record(f) for f in stages])
    except Exception as error:
        found.wrong["the summary"] = _reason(error)
    _name(store, book, mirror, stages, found)
    return found


def finished(store: Store, book: Ledger) -> dict[str, Finished]:
    """The finished stages of a sweep, upstream first."""
    about = {run.goal: {"trial": trial.label, "seed": run.seed, **trial.values}
             for trial in reversed(book.trials) for run in reversed(trial.runs)}  # of rows with one goal the first names it
    found = {}
    for fingerprint in book.stages():
        if store.has(fingerprint):
            record = store.record(fingerprint)
            identity = record["identity"]
            run = RunInfo(fingerprint, identity["stage"], identity["config"], identity["inputs"], store.folder(fingerprint),
                          group=book.name, tags=runner.tags(identity["stage"], identity["inputs"]),
                          about=about.get(fingerprint, {}), version=identity["version"])
            found[fingerprint] = Finished(run, record["metrics"], record["files"])
    return found


def _mend(store: Store, mirror: Mirror, lacking: Mapping[str, tuple[Finished, Sequence[str]]],
          progress: Progress) -> dict[str, str]:
    """Fingerprint -> why it could not be mended."""
    failed: dict[str, str] = {}
    in_a_row = 0
    for number, (fingerprint, (stage, problems)) in enumerate(lacking.items()):
        progress(number, len(lacking))
        if damage := store.verify(fingerprint):
            failed[fingerprint] = f"is not published: {damage[0]}; delete its folder and run the sweep again"
            continue
        try:
            mirror.mend(stage, problems)
            in_a_row = 0
        except Incomplete as error:
            in_a_row = 0
            logger.warning("%s has %s, but %s", mirror.name, fingerprint, error)
        except Exception as error:
            failed[fingerprint] = _reason(error)
            in_a_row += 1
            if in_a_row == IN_A_ROW:
                raise UserError(f"{mirror.name} failed {IN_A_ROW} times in a row, last with {failed[fingerprint]}; "
                                "publish again later, it goes on where it was") from error
    progress(len(lacking), len(lacking))
    return failed


def _name(store: Store, book: Ledger, mirror: Mirror, stages: Mapping[str, Finished], found: Published) -> None:
    """Let aliases mean there what they mean in the store's registry, as far as their adapters are there."""
    meaning = {entry.alias: entry.fingerprint for entry in registry.current(store, book.name) if entry.fingerprint}
    found.wrong |= {alias: f"is not named, as its adapter {f} is not right" for alias, f in meaning.items() if f in found.wrong}
    names = {alias: stages[f] for alias, f in meaning.items() if f in stages and f not in found.wrong}
    try:
        wrong = mirror.misnamed(book.name, names)
        if not wrong:
            return
        mirror.rename(book.name, {alias: names[alias] for alias in wrong})
        still = _settled(lambda: mirror.misnamed(book.name, {alias: names[alias] for alias in wrong}), ())
    except Exception as error:
        found.wrong["the registry"] = _reason(error)
        return
    found.wrong |= still
    found.mended += [alias for alias in wrong if alias not in still]


def _settled(look: Callable[[], dict[str, str]], hopeless: Iterable[str]) -> dict[str, str]:
    """What is still wrong after a few looks."""
    for number in range(LOOKS):
        if number:
            time.sleep(PAUSE_S)
        wrong = look()
        if not wrong.keys() - set(hopeless):
            break
    return wrong


def _reason(error: Exception) -> str:
    return str(redact(f"{type(error).__name__}: {error}"))
