"""Two aiortc clients in one room, each seeing and hearing the other through the relay.

aiortc is a WebRTC stack of its own: its ICE, DTLS, SRTP, RTP and SCTP share no code with browsers or with weir.
"""

import asyncio
import random

import pytest
from aioice.ice import Connection

from client import Client
from media import Heard, Picture, Seen, Tone, check_motion

PATIENCE = 60
# aiortc's payload type for retransmissions of VP8.
RTX = 98


@pytest.mark.parametrize(
    "options",
    [{"codec": "VP8"}, {"codec": "H264"}, {"setup": "passive"}],
    ids=["vp8", "h264", "server_opens_dtls"],
)
def test_two_clients_see_hear_and_message_each_other(dev_server, options):
    asyncio.run(call(dev_server, **options))


def test_what_is_lost_is_sent_again(dev_server, monkeypatch):
    """One media packet in twenty is lost on each way, up and down. A picture that is not repaired leaves the decoder without
    its reference, so the bar stands still until a keyframe comes. Retransmissions are lost only on the way up: aiortc asks a
    second time only when it misses another packet, by when the first is no longer kept."""
    chance = random.Random(7)
    lost = {"up": 0, "down": 0}
    recv, send = Connection.recv, Connection.send

    def loses(data, way):
        # RTP by its version, and not RTCP (RFC 5761, section 4).
        media = 128 <= data[0] < 192 and not 192 <= data[1] < 224
        again = data[1] & 0x7F == RTX
        drop = media and chance.random() < 0.05 and not (again and way == "down")
        lost[way] += drop
        return drop

    async def lossy_recv(self):
        while loses(data := await recv(self), "down"):
            pass
        return data

    async def lossy_send(self, data):
        if not loses(data, "up"):
            await send(self, data)

    monkeypatch.setattr(Connection, "recv", lossy_recv)
    monkeypatch.setattr(Connection, "send", lossy_send)
    clients = asyncio.run(call(dev_server, pictures=150))
    print(lost, [client.seen.share() for client in clients])
    assert min(lost.values()) > 20, lost
    for client in clients:
        assert client.seen.share() > 0.75, f"{client.name} saw only {client.seen.share():.0%} of the pictures"


async def call(server, pictures=30, **options):
    red, blue = (90, 210), (210, 90)
    low, high = 440, 1000
    anna = Client("anna", "ben", Picture(red), Tone(low), Seen(blue, pictures), Heard(high), **options)
    ben = Client("ben", "anna", Picture(blue), Tone(high), Seen(red, pictures), Heard(low), **options)
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
    return clients
