"""Two aiortc clients in one room, each seeing and hearing the other through the relay.

aiortc is a WebRTC stack of its own: its ICE, DTLS, SRTP, RTP and SCTP share no code with browsers or with weir.
"""

import asyncio

import pytest

from client import Client
from media import Heard, Picture, Seen, Tone, check_motion

PATIENCE = 45


def test_two_clients_see_hear_and_message_each_other(dev_server):
    asyncio.run(call(dev_server))


async def call(server):
    red, blue = (90, 210), (210, 90)
    low, high = 440, 1000
    anna = Client("anna", "ben", Picture(red), Tone(low), Seen(blue), Heard(high))
    ben = Client("ben", "anna", Picture(blue), Tone(high), Seen(red), Heard(low))
    clients = (anna, ben)
    parts = [asyncio.create_task(client.run(server, "interop")) for client in clients]
    try:
        async with asyncio.timeout(PATIENCE):
            while not all(client.done() for client in clients):
                finished, _ = await asyncio.wait(parts, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
                for part in finished:
                    part.result()
    except TimeoutError:
        pytest.fail("\n".join(["the call did not come about in time", *(client.report() for client in clients)]))
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        for client in clients:
            await client.pc.close()
    for client in clients:
        print(client.report())
        assert not client.seen.faults, client.seen.faults
        check_motion(client.name, client.seen.bars)
