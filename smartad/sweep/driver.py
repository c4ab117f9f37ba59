"""The sweep loop: ask for trials, plan them, keep them running, tell how they ended."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from smartad.cluster import Dispatcher
from smartad.experiment import Experiment, Plan, plan
from smartad.stage import StageSpec
from smartad.store import Store
from smartad.sweep import ledger, proposers
from smartad.sweep.ledger import Ledger, LedgerTrial, Start, run_of
from smartad.sweep.space import Outcome, Sweep, Trial, corners, declaration
from smartad.sweep.stopping import Race, Stop

MAX_REPEATS = 100
"""A proposer that proposes only what it has proposed before has run out of ideas."""

States = Mapping[str, str]
"""Fingerprint -> the dispatcher's word for it."""


@dataclass
class Row:
    """A trial on its way."""

    trial: Trial
    entry: LedgerTrial
    goals: list[StageSpec]
    """One per seed."""
    released: int
    """How many of the seeds may run: all, or with stopping one after the other."""
    outcome: Outcome | None = None
    """How it ended, as the proposer was told."""

    def wanted(self) -> list[StageSpec]:
        """Goals that are to be reached now."""
        return [] if self.entry.stopped else self.goals[:self.released]

    def has_failed(self, states: States) -> bool:
        """Whether a seed will not be finished."""
        return any(states[goal.fingerprint] in ("failed", "blocked") for goal in self.wanted())

    def has_ended(self, states: States) -> bool:
        """Whether nothing is on its way, and nothing will follow."""
        if any(states[goal.fingerprint] not in ("done", "failed", "blocked") for goal in self.wanted()):
            return False
        return self.entry.stopped is not None or self.released == len(self.goals) or self.has_failed(states)


class Driver:
    """One sweep on its way.  All it knows is in the store, so it may die and be made again at any time."""

    def __init__(self, sweep: Sweep, store: Store, dry_run: bool = False, planned: Callable[[Experiment], Plan] = plan,
                 start: Start | None = None) -> None:
        """``dry_run``: leave no trace, neither in the store nor on a server.  ``planned``: what stages an experiment has.
        ``start``: for the ledger, the command that made this driver."""
        self.sweep, self.store, self.dry_run, self.planned, self.start = sweep, store, dry_run, planned, start
        self.proposer = proposers.of(sweep, None if dry_run else store.root / "sweeps")
        self.rows: dict[str, Row] = {}
        self.open: dict[str, Row] = {}
        """Those that have not ended."""
        self.failed: dict[str, Row] = {}
        """Those that a failed stage has ended.  When it is tried again, they are on their way again."""
        self.dry = False
        self.declared = declaration(sweep)
        some = sweep.experiment(corners(sweep.config)[0], sweep.config.seeds[0]).benchmarks
        self.groups = {"In-domain": list(some.in_domain), "Out-of-domain": list(some.out_of_domain)}
        course = sweep.course(some.names())
        self.race = Race(course, store) if course else None
        self._owners: dict[str, str] = {}
        self._users: Counter[str] = Counter()
        self._asked: set[str] = set()
        self._next: list[StageSpec] = []
        """Goals of seeds that may run now."""
        self._unsaved: dict[str, LedgerTrial] | None = None
        """What the ledger has not been told; None while there is no ledger."""
        for entry in self._earlier():
            self._admit(Trial(entry.label, entry.values), entry.stopped)

    def _earlier(self) -> tuple[LedgerTrial, ...]:
        if not ledger.path(self.store, self.sweep.name).exists():
            return ()
        earlier = ledger.load(self.store, self.sweep.name)
        return earlier.trials if _meaning(earlier.config) == _meaning(self.declared) else ()

    @property
    def trials(self) -> dict[str, Trial]:
        """Every trial so far, by label."""
        return {label: row.trial for label, row in self.rows.items()}

    def ask(self) -> list[StageSpec]:
        """Goals to want from now on: of newly proposed trials, as many as may be in flight, and of next seeds."""
        goals, self._next = self._next, []
        repeats = 0  # of what this proposer has proposed; what an earlier one did, it may well come to again
        while not self.dry and self._room():
            trial = self.proposer.ask()
            if trial is None or repeats > MAX_REPEATS:
                self.dry = True
            elif known := self.rows.get(trial.label):
                repeats += trial.label in self._asked
                self._asked.add(trial.label)
                if known.outcome:
                    self.proposer.tell(trial, known.outcome)
            else:
                self._asked.add(trial.label)
                goals += self._admit(trial).wanted()
        return goals

    def _room(self) -> bool:
        """Whether another trial may be proposed now."""
        config = self.sweep.config
        if config.trials is not None and len(self.rows) >= config.trials:
            self.dry = True
        waits = config.backend != "grid" or (self.race is not None and not self.dry_run)
        return not self.dry and (len(self.open) < config.parallel or not waits)

    def goals(self) -> list[StageSpec]:
        """Goals of every trial so far, those of an earlier start included, whether they may run yet or not."""
        return [goal for row in self.rows.values() for goal in row.goals]

    def wanted(self) -> list[StageSpec]:
        """Goals of every trial so far that are to be reached now."""
        return [goal for row in self.rows.values() for goal in row.wanted()]

    def tell(self, dispatcher: Dispatcher) -> None:
        """Pass on how trials have ended since, stop those that are hopeless, and let the next seeds of the others run.

        A trial whose failed stage is tried again is told once more when it ends: as another trial with the same values.
        """
        states = dispatcher.states
        for row in [row for row in self.failed.values() if not row.has_failed(states)]:
            self.open[row.trial.label] = self.failed.pop(row.trial.label)
        for row in [row for row in self.open.values() if row.has_ended(states)]:
            self._end(row, states)
        for row in list(self.open.values()):
            if stop := self.race and self.race.look(row.trial.label, lambda fingerprint: states.get(fingerprint) == "done"):
                self._stop(row, stop, dispatcher)
            elif all(states[goal.fingerprint] == "done" for goal in row.wanted()):
                self._next.append(row.goals[row.released])
                row.released += 1

    def _stop(self, row: Row, stop: Stop, dispatcher: Dispatcher) -> None:
        """End a hopeless trial.  What it shares with another one goes on."""
        doomed = row.wanted()
        self._enter(row, dataclasses.replace(row.entry, stopped=stop))
        shared = {goal.fingerprint for others in (self.open, self.failed) for other in others.values() for goal in other.wanted()}
        dispatcher.withdraw([goal for goal in doomed if goal.fingerprint not in shared])
        self._end(row, dispatcher.states)

    def _end(self, row: Row, states: States) -> None:
        label = row.trial.label
        row.outcome = self._outcome(row.entry)
        self.proposer.tell(row.trial, row.outcome)
        del self.open[label]
        if row.has_failed(states):
            self.failed[label] = row
        if self.race:
            self.race.end(label, row.outcome.state == "done")

    def _outcome(self, entry: LedgerTrial) -> Outcome:
        """Done is what is finished, even when it was to be stopped."""
        scores = [entry.score(self.store, metric) for metric in self.sweep.config.aims()]
        known = tuple(score for score in scores if score is not None)
        if len(known) == len(scores):
            return Outcome("done", known)
        return Outcome("stopped", (entry.stopped.score,)) if entry.stopped else Outcome("failed")

    def ledger(self) -> Ledger:
        """What the sweep consists of so far."""
        trials = tuple(row.entry for row in self.rows.values())
        return Ledger(self.sweep.name, self.declared, self.groups, trials, start=self.start)

    def stopped(self) -> dict[str, Stop]:
        """Label -> why, of the trials that were stopped before they were finished."""
        return {row.trial.label: row.entry.stopped for row in self.rows.values()
                if row.entry.stopped and row.outcome and row.outcome.state == "stopped"}

    def owners(self) -> Mapping[str, str]:
        """Fingerprint -> whose stage it is: ``SmartAD, seed 0``, or how many rows share it.  It grows with the sweep."""
        return self._owners

    def save(self) -> None:
        """Bring the ledger up to date."""
        unsaved, self._unsaved = self._unsaved, None  # a line that could not be added may be torn: then all is written anew
        if unsaved is None:
            ledger.save(self.store, self.ledger())
        elif unsaved:
            ledger.add(self.store, self.sweep.name, unsaved.values())
        self._unsaved = {}

    def _admit(self, trial: Trial, stopped: Stop | None = None) -> Row:
        runs, goals, seeds = [], [], self.sweep.config.seeds
        for seed in seeds:
            planned = self.planned(self.sweep.experiment(trial, seed))
            about = {"trial": trial.label, "seed": seed, **trial.values}
            goals.append(dataclasses.replace(planned.goal, about=about))
            runs.append(run_of(seed, planned.goal, planned.train))
            self._own(f"{trial.label}, seed {seed}", runs[-1].stages)
        row = Row(trial, LedgerTrial(trial.label, dict(trial.values), tuple(runs), stopped), goals, len(goals))
        self.rows[trial.label] = self.open[trial.label] = row
        self._enter(row, row.entry)
        if self.race:
            finished = next((i for i, goal in enumerate(goals) if not self.store.has(goal.fingerprint)), len(goals))
            row.released = max(1, finished)
            self.race.enter(trial.label, dict(zip(seeds, goals, strict=True)))
        return row

    def _enter(self, row: Row, entry: LedgerTrial) -> None:
        row.entry = entry
        if self._unsaved is not None:
            self._unsaved[entry.label] = entry

    def _own(self, user: str, stages: tuple[str, ...]) -> None:
        self._users.update(stages)
        for fingerprint in stages:
            self._owners[fingerprint] = user if self._users[fingerprint] == 1 else f"shared by {self._users[fingerprint]} rows"


def _meaning(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a declaration says what its trials are; how many there are to be is another matter."""
    return {key: value for key, value in config.items() if key not in ("trials", "parallel")}


def start(driver: Driver, dispatcher: Dispatcher) -> None:
    """Hand over the first goals; the ledger says what they are before any of them is submitted."""
    dispatcher.add(driver.wanted())  # before the first proposal, what an earlier start has finished is told
    driver.tell(dispatcher)
    new = driver.ask()
    driver.save()
    dispatcher.add(new)


def drive(driver: Driver, dispatcher: Dispatcher, each_round: Callable[[], None]) -> None:
    """Run a started sweep to its end; ``each_round`` is called after every round, for whoever watches."""
    whole = True
    while not driver.dry or dispatcher.open() or not whole:
        dispatcher.step()
        if not dispatcher.away:
            with dispatcher.patient():
                if not whole:  # the store went away between what was asked and what was wanted
                    dispatcher.add(driver.wanted())
                whole = False
                driver.tell(dispatcher)
                new = driver.ask()
                driver.save()
                dispatcher.add(new)
                whole = True
        each_round()
