"""The sweep loop: ask for trials, plan them, keep them running, tell their scores."""

from collections.abc import Callable

from smartad.cluster import Dispatcher
from smartad.experiment import plan
from smartad.stage import StageSpec
from smartad.store import Store
from smartad.sweep import ledger, proposers
from smartad.sweep.ledger import Ledger, LedgerTrial, Run
from smartad.sweep.space import Outcome, Sweep, Trial, corners, declaration

MAX_REPEATS = 100
"""A proposer that proposes only what it has proposed before has run out of ideas."""


class Driver:
    """One sweep on its way.  All it knows is in the store, so it may die and be made again at any time."""

    def __init__(self, sweep: Sweep, store: Store, dry_run: bool = False) -> None:
        """``dry_run``: leave no trace, neither in the store nor on a server."""
        self.sweep, self.store = sweep, store
        self.proposer = proposers.of(sweep, None if dry_run else store.root / "sweeps")
        self.trials: dict[str, Trial] = {}
        self.goals_of: dict[str, list[StageSpec]] = {}
        self.entries: dict[str, LedgerTrial] = {}
        self.told: set[str] = set()
        self.dry = False
        self.declared = declaration(sweep)
        some = sweep.experiment(corners(sweep.config)[0], sweep.config.seeds[0])
        self.groups = {"In-domain": list(some.benchmarks.in_domain), "Out-of-domain": list(some.benchmarks.out_of_domain)}
        for entry in self._earlier():
            self._admit(Trial(entry.label, entry.values))

    def _earlier(self) -> tuple[LedgerTrial, ...]:
        if not ledger.path(self.store, self.sweep.name).exists():
            return ()
        earlier = ledger.load(self.store, self.sweep.name)
        return earlier.trials if earlier.config == self.declared else ()

    def ask(self) -> list[StageSpec]:
        """Goals of newly proposed trials, as many as may be in flight."""
        new: list[str] = []
        repeats = 0
        while not self.dry and self._room():
            trial = self.proposer.ask()
            if trial is None or repeats > MAX_REPEATS:
                self.dry = True
            elif trial.label in self.trials:
                repeats += 1
                if trial.label in self.told:
                    self.proposer.tell(trial, self._outcome(trial.label))
            else:
                self._admit(trial)
                new.append(trial.label)
        return [goal for name in new for goal in self.goals_of[name]]

    def _room(self) -> bool:
        """Whether another trial may be proposed now."""
        if self.sweep.config.trials is not None and len(self.trials) >= self.sweep.config.trials:
            self.dry = True
        in_flight = len(self.trials) - len(self.told)
        return not self.dry and (self.sweep.config.backend == "grid" or in_flight < self.sweep.config.parallel)

    def goals(self) -> list[StageSpec]:
        """Goals of every trial so far, those of an earlier start included."""
        return [goal for goals in self.goals_of.values() for goal in goals]

    def tell(self, dispatcher: Dispatcher) -> None:
        """Pass on the scores of trials that have ended since."""
        for name, goals in self.goals_of.items():
            if name not in self.told and all(dispatcher.states[g.fingerprint] in ("done", "failed", "blocked") for g in goals):
                self.told.add(name)
                self.proposer.tell(self.trials[name], self._outcome(name))

    def ledger(self) -> Ledger:
        """What the sweep consists of so far."""
        return Ledger(self.sweep.name, self.declared, self.groups, tuple(self.entries.values()))

    def owners(self) -> dict[str, str]:
        """Fingerprint -> whose stage it is: ``SmartAD, seed 0``, or how many rows share it."""
        users: dict[str, list[str]] = {}
        for trial in self.entries.values():
            for run in trial.runs:
                for fingerprint in run.stages:
                    users.setdefault(fingerprint, []).append(f"{trial.label}, seed {run.seed}")
        return {f: who[0] if len(who) == 1 else f"shared by {len(who)} rows" for f, who in users.items()}

    def save(self) -> None:
        """Write the ledger."""
        ledger.save(self.store, self.ledger())

    def _outcome(self, name: str) -> Outcome:
        scores = [self.entries[name].score(self.store, metric) for metric in self.sweep.config.aims()]
        known = tuple(score for score in scores if score is not None)
        return Outcome("done", known) if len(known) == len(scores) else Outcome("failed")

    def _admit(self, trial: Trial) -> None:
        runs, goals = [], []
        for seed in self.sweep.config.seeds:
            planned = plan(self.sweep.experiment(trial, seed))
            goals.append(planned.goal)
            runs.append(Run(seed, planned.goal.fingerprint, planned.train.fingerprint if planned.train else None,
                            tuple(s.fingerprint for s in planned.goal.upstream_first())))
        self.trials[trial.label], self.goals_of[trial.label] = trial, goals
        self.entries[trial.label] = LedgerTrial(trial.label, dict(trial.values), tuple(runs))


def start(driver: Driver, dispatcher: Dispatcher) -> None:
    """Hand over the first goals; the ledger says what they are before any of them is submitted."""
    driver.ask()
    driver.save()
    dispatcher.add(driver.goals())


def drive(driver: Driver, dispatcher: Dispatcher, each_round: Callable[[], None]) -> None:
    """Run a started sweep to its end; ``each_round`` is called after every round, for whoever watches."""
    while not driver.dry or dispatcher.open():
        dispatcher.step()
        driver.tell(dispatcher)
        if new := driver.ask():
            driver.save()
            dispatcher.add(new)
        each_round()
