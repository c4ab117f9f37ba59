"""Rounds: every request of every live episode, in the episodes' order, and no episode left waiting."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from smartad.engines import lockstep
from smartad.types import Completion, Request, UserError


def in_lock_step(engine, episodes):
    with ThreadPoolExecutor(max(1, len(episodes))) as threads:
        return lockstep.in_lock_step(engine, episodes, threads)


class Echo:
    """Says what it was asked, and notes its rounds."""

    together = True

    def __init__(self):
        self.rounds = []

    async def complete(self, requests):
        self.rounds.append([r.seed for r in requests])
        return [(Completion(f"{r.seed}", "stop", 1),) for r in requests]


def asker(number, times, pause=0.0):
    def episode(ask):
        heard = []
        for _ in range(times):
            time.sleep(pause)
            heard.append(ask(Request((), seed=number))[0].text)
        return heard
    return episode


def test_rounds_hold_every_live_episode_in_order_whatever_their_pace():
    engine = Echo()
    lengths = [1, 3, 0, 2]
    answers = in_lock_step(engine, [asker(i, n, pause=0.01 * (4 - i)) for i, n in enumerate(lengths)])
    assert answers == [["0"], ["1"] * 3, [], ["3"] * 2]
    assert engine.rounds == [[0, 1, 3], [1, 3], [1]]


def test_no_episodes_are_no_rounds():
    engine = Echo()
    assert in_lock_step(engine, []) == [] and engine.rounds == []


def test_engine_that_raises_is_an_error_of_that_round_only():
    class Moody(Echo):
        async def complete(self, requests):
            if len(self.rounds) == 1:
                self.rounds.append([])
                raise MemoryError("no room")
            return await super().complete(requests)

    answers = in_lock_step(Moody(), [lambda ask: [ask(Request(()))[0] for _ in range(3)]] * 5)
    for first, second, third in answers:
        assert first.finish == third.finish == "stop"
        assert (second.finish, second.detail, second.tokens) == ("error", "MemoryError: no room", None)


def test_users_mistake_found_by_the_engine_ends_the_run():
    class Strict:
        async def complete(self, requests):
            raise UserError("not with this teacher")

    with pytest.raises(UserError, match="not with this teacher"):
        in_lock_step(Strict(), [asker(i, 2) for i in range(4)])


def test_episode_that_dies_is_raised_after_the_others_ended():
    engine, ended = Echo(), []

    def dying(ask):
        ask(Request((), seed=0))
        raise LookupError("bug")

    def living(ask):
        asker(1, 4)(ask)
        ended.append(True)

    with pytest.raises(LookupError, match="bug"):
        in_lock_step(engine, [dying, living, living])
    assert len(ended) == 2 and engine.rounds[-1] == [1, 1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interruption_leaves_no_thread_behind(error):
    class Interrupted:
        async def complete(self, requests):
            raise error

    before = threading.active_count()
    with pytest.raises(error):
        in_lock_step(Interrupted(), [asker(i, 2) for i in range(8)])
    assert threading.active_count() == before
