"""Places: each namespace has its own queue, and a message says what it waited for."""

import asyncio

import pytest

from app.delivery.places import Places, asleep
from app.senders.envelopes import Destination
from app.telemetry.metrics import Metrics
from tests.examples import loopback_settings

HOST, OTHER = Destination("hooks.example.com", 443), Destination("other.example.com", 443)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def places(metrics: Metrics) -> Places:
    return Places(loopback_settings(max_connections_per_host=4, max_bytes_in_flight=1_048_576), metrics)


def waiting(metrics: Metrics, place: str) -> float | None:
    return metrics.registry.get_sample_value("agentteam_delivery_waiting", {"place": place})


async def test_namespaces_share_a_host_s_connections_and_other_hosts_are_separate(places: Places) -> None:
    turns = [places.for_message("greedy", HOST, 100) for _ in range(3)]
    assert [turn.take() for turn in turns] == [True, True, False]
    assert places.for_message("greedy", OTHER, 100).take()
    assert places.for_message("good", HOST, 100).take()


async def test_memory_is_shared_across_hosts_and_a_message_of_any_size_fits(places: Places) -> None:
    large = places.for_message("greedy", HOST, 10_000_000)
    assert large.take()
    small = places.for_message("greedy", OTHER, 1000)
    assert not small.take()
    assert places.for_message("good", OTHER, 1000).take()
    large.leave()
    assert small.take()


async def test_a_waiting_message_is_counted_and_gets_a_place_or_learns_what_was_missing(
    places: Places, metrics: Metrics
) -> None:
    held = [places.for_message("a", HOST, 1) for _ in range(2)]
    assert [turn.take() for turn in held] == [True, True]
    turn = places.for_message("a", HOST, 1)
    waits = asyncio.create_task(turn.wait(60, asleep))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert waiting(metrics, "connections") == 1
    held[0].leave()
    assert await waits == ""
    assert waiting(metrics, "connections") == 0
    assert await places.for_message("a", HOST, 1).wait(0.01, asleep) == "a connection to its receiver's host"
    turn.leave()
    assert places.for_message("a", HOST, 1).take()


async def test_a_cancelled_or_expired_wait_leaves_nothing_behind(places: Places, metrics: Metrics) -> None:
    held = [places.for_message("a", HOST, 1) for _ in range(2)]
    assert [turn.take() for turn in held] == [True, True]
    turn = places.for_message("a", HOST, 1)
    waits = asyncio.create_task(turn.wait(60, asleep))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    held[0].leave()  # granted, but its waiter has not run yet
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    turn.leave()

    async def draining(_: float) -> bool:
        return False

    held.append(places.for_message("a", HOST, 1))
    assert held[-1].take()
    assert await places.for_message("a", HOST, 1).wait(60, draining)
    assert waiting(metrics, "connections") == 0
    for one in held[1:]:
        one.leave()
    turns = [places.for_message("a", HOST, 1) for _ in range(2)]
    assert [one.take() for one in turns] == [True, True]
