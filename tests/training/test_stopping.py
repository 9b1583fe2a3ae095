"""The first signal is noted, or ends an interruptible block; the second one is handled as before."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from boiler.training.stopping import SIGNALS, StopRequested, StopSignals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[dict[int, object]]:
    """Handlers that raise, so that a test which goes wrong does not end pytest."""

    def refuse(number: int, frame: object) -> None:
        raise RuntimeError(f"signal {number}")

    before = {number: signal.signal(number, refuse) for number in SIGNALS}
    yield {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_the_second_handled_as_before(number: signal.Signals) -> None:
    with StopSignals() as stop:
        assert not stop.requested
        send(number)
        assert stop.requested
        assert stop.number == number
        with pytest.raises(RuntimeError, match=f"signal {int(number)}"):
            send(number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_an_interruptible_block_at_once(number: signal.Signals) -> None:
    with StopSignals() as stop:
        with pytest.raises(StopRequested) as stopped, stop.interruptible():
            send(number)
            raise AssertionError("the block went on")
        assert stopped.value.number == stop.number == number


def test_an_interruptible_block_does_not_start_after_a_signal() -> None:
    with StopSignals() as stop:
        send(signal.SIGTERM)
        with pytest.raises(StopRequested), stop.interruptible():
            raise AssertionError("the block was started")


def test_handlers_are_restored_even_after_an_error(handlers: dict[int, object]) -> None:
    with pytest.raises(ValueError, match="inside"), StopSignals():
        raise ValueError("inside")
    assert {number: signal.getsignal(number) for number in SIGNALS} == handlers


def test_outside_of_the_main_thread_nothing_is_handled(handlers: dict[int, object]) -> None:
    seen: list[dict[int, object]] = []

    def run() -> None:
        with StopSignals():
            seen.append({number: signal.getsignal(number) for number in SIGNALS})

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [handlers]
