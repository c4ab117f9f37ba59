"""Rounds: every request of every live episode, in the episodes' order, and no episode left waiting; and no rounds at all."""

import asyncio
import contextlib
import os
import signal
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


def test_ctrl_c_while_the_engine_computes_does_not_wait_for_the_batch():
    class Computing(Echo):
        done = False

        async def complete(self, requests):
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(10_000):
                pass
            self.done = True
            return await super().complete(requests)

    engine = Computing()
    with pytest.raises(KeyboardInterrupt):
        in_lock_step(engine, [asker(i, 2) for i in range(3)])
    assert not engine.done


class Server(Echo):
    """Answers each request for itself, after some time."""

    together = False

    def __init__(self, pause=0.0):
        super().__init__()
        self.pause, self.waiting, self.most, self.given_up = pause, 0, 0, 0

    async def complete(self, requests):
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await asyncio.sleep(self.pause)
            return await super().complete(requests)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        finally:
            self.waiting -= 1


@contextlib.contextmanager
def played(engine, episodes, in_flight):
    with ThreadPoolExecutor(in_flight) as threads, contextlib.closing(
            lockstep.as_they_come(engine, episodes, threads, in_flight)) as results:
        yield results


def test_episodes_that_come_as_they_like_are_all_played_with_no_more_than_so_many_in_flight():
    engine = Server(pause=0.005)
    with played(engine, (asker(i, 1 + i % 3) for i in range(40)), 7) as results:
        found = list(results)
    assert sorted(found) == sorted([f"{i}"] * (1 + i % 3) for i in range(40))
    assert engine.most == 7 and sorted(i for i, in engine.rounds) == sorted(i for i in range(40) for _ in range(1 + i % 3))


def test_next_episode_is_taken_only_when_the_result_before_it_was_used():
    taken = []

    def begun():
        for i in range(100):
            taken.append(i)
            yield asker(i, 1)

    with played(Server(), begun(), 4) as results:
        for used in range(1, 6):
            next(results)
            assert len(taken) == 3 + used


def test_answer_waits_for_nobody_else():
    gate = threading.Event()

    def slow(ask):
        gate.wait(60)
        return "slow"

    with played(Server(), [slow, asker(1, 5)], 2) as results:
        assert next(results) == ["1"] * 5
        gate.set()
        assert next(results) == "slow" and next(results, None) is None


def test_server_that_raises_is_an_error_of_that_request_only():
    class Moody(Server):
        async def complete(self, requests):
            if requests[0].seed == 1:
                raise MemoryError("no room")
            return await super().complete(requests)

    with played(Moody(), [lambda ask, i=i: ask(Request((), seed=i))[0] for i in range(3)], 3) as results:
        found = sorted(results, key=lambda completion: completion.text)
    assert [(c.finish, c.detail) for c in found] == [("error", "MemoryError: no room"), ("stop", ""), ("stop", "")]


def test_users_mistake_found_by_a_server_ends_the_run_and_those_who_wait():
    class Strict(Server):
        async def complete(self, requests):
            if requests[0].seed == 3:
                raise UserError("not with this teacher")
            await asyncio.sleep(3600)

    with played(Strict(), [asker(i, 2) for i in range(4)], 4) as results, pytest.raises(UserError, match="not with this teacher"):
        list(results)


def test_episode_that_dies_lets_those_in_flight_end_and_no_other_begin():
    begun = []

    def episode(i):
        def play(ask):
            begun.append(i)
            ask(Request((), seed=i))
            if i == 2:
                raise LookupError("bug")
            return asker(i, 3)(ask)
        return play

    found = []
    with played(Server(pause=0.01), map(episode, range(1000)), 4) as results, pytest.raises(LookupError, match="bug"):
        found.extend(results)
    assert 3 <= len(found) == len(begun) - 1 < 50


def test_closing_gives_up_what_is_asked_and_leaves_no_thread_behind():
    before = threading.active_count()
    engine = Server(pause=3600)
    with played(engine, [asker(i, 1) for i in range(8)], 8) as results:
        def interrupt_when_all_wait():
            while engine.waiting < 8:
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt_when_all_wait).start()
        with pytest.raises(KeyboardInterrupt):
            next(results)
    assert engine.given_up == 8 and engine.waiting == 0
    assert threading.active_count() == before
