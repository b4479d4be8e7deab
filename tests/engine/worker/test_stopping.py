import asyncio

from engine.worker.stopping import Stop


async def test_before_there_is_a_client_the_work_ends_at_once() -> None:
    gate = asyncio.Event()
    gate.set()
    work, stop = asyncio.create_task(asyncio.sleep(60)), Stop(gate)
    for _ in range(2):
        stop.request(work, None, now=False)
    assert stop.requested and not gate.is_set()
    await asyncio.wait([work], timeout=5)
    assert work.cancelled()
