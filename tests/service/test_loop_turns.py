"""Clients take turns on the event loop: one with much work does not delay the work of another."""

from __future__ import annotations

import asyncio

from boiler.service import loop_turns
from boiler.service.loop_turns import LoopTurns


async def work(turns: LoopTurns, client: str, done: list[str]) -> None:
    await turns.wait(client)
    done.append(client)


def test_work_of_another_client_waits_for_a_share_and_not_for_all() -> None:
    async def main() -> list[str]:
        turns, done = LoopTurns(), list[str]()
        greedy = [asyncio.create_task(work(turns, "greedy", done)) for _ in range(100)]
        await asyncio.sleep(0)
        await asyncio.gather(asyncio.create_task(work(turns, "other", done)), *greedy)
        return done

    done = asyncio.run(main())
    assert done.count("greedy") == 100
    assert done.index("other") <= 2 * loop_turns.MOST_PER_ITERATION


def test_slow_work_is_started_one_piece_at_a_time() -> None:
    """The first iteration starts a full share, which is slow; 4 iterations later the share is one piece."""
    now_s = 0.0

    async def main() -> tuple[int, int, int]:
        turns, done = LoopTurns(lambda: now_s), list[str]()

        async def slow_work() -> None:
            nonlocal now_s
            await turns.wait("greedy")
            now_s += 0.005
            done.append("greedy")

        greedy = [asyncio.create_task(slow_work()) for _ in range(40)]
        while len(done) < 36:
            await asyncio.sleep(0)
        slow = turns.per_iteration
        before = len(done)
        await work(turns, "other", done)
        behind = len(done) - 1 - before
        await asyncio.gather(*greedy)
        for _ in range(100):  # fast again
            await work(turns, "other", done)
            await asyncio.sleep(0)
        return slow, behind, turns.per_iteration

    slow, behind, again = asyncio.run(main())
    assert slow == 1
    assert behind <= 2
    assert again == loop_turns.MOST_PER_ITERATION


def test_the_order_of_one_client_is_kept() -> None:
    async def main() -> list[int]:
        turns, done = LoopTurns(), list[int]()

        async def one(n: int) -> None:
            await turns.wait("client")
            done.append(n)

        await asyncio.gather(*map(one, range(100)))
        return done

    assert asyncio.run(main()) == list(range(100))


def test_cancelled_work_takes_no_turn_and_nothing_is_kept() -> None:
    async def main() -> tuple[list[str], LoopTurns]:
        turns, done = LoopTurns(), list[str]()
        tasks = [asyncio.create_task(work(turns, "greedy", done)) for _ in range(60)]
        await asyncio.sleep(0)
        for task in tasks[20:50]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return done, turns

    done, turns = asyncio.run(main())
    assert len(done) == 30
    assert (turns._waiting, turns._started) == ({}, {})
