"""A member of a room by aiortc: the room protocol `weir.v1` over a WebSocket, and one peer connection."""

import asyncio
import json

import aioice.ice
import websockets
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription

from media import HEIGHT, WIDTH


class Client:
    """A member: the room protocol over a WebSocket, and one peer connection."""

    def __init__(self, name, other, picture, tone, seen, heard, codec="VP8", setup="actpass"):
        """Sends pictures by `codec` only; `setup` passive lets the server open the DTLS handshake."""
        self.name, self.other, self.codec, self.setup = name, other, codec, setup
        self.picture, self.tone, self.seen, self.heard = picture, tone, seen, heard
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.said = []
        self.messages = 0
        self.neg = 0
        self.answers = asyncio.Queue()
        self.wanted = asyncio.Event()
        self.slots = {"audio": 0, "video": 0}
        self.sending = {}
        self.readers = set()
        self.log = []
        channel = self.pc.createDataChannel("data")
        channel.on("message", self.said.append)
        self.channel = channel

    async def run(self, server, room):
        """Joins and stays. Whatever fails in a part ends the whole."""
        # aioice leaves loopback out, and one address is enough.
        aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [server.ip]
        token = await asyncio.to_thread(server.token, room, self.name)
        url = server.base.replace("http", "ws", 1) + "/v1/ws"
        async with websockets.connect(url, subprotocols=["weir.v1"], max_size=2**20) as self.socket:
            await self.send("hello", token=token, client="aiortc-interop/1")
            async with asyncio.TaskGroup() as self.group:
                for part in (self.listen, self.negotiate, self.talk):
                    self.group.create_task(part())

    def done(self):
        return self.seen.enough() and self.heard.enough() and f"hello from {self.other}" in self.said

    async def send(self, kind, **body):
        self.messages += 1
        await self.socket.send(json.dumps({"id": self.messages, "t": kind, **body}))

    async def listen(self):
        async for text in self.socket:
            message = json.loads(text)
            kind = message["t"]
            self.log.append(kind)
            if kind == "welcome":
                self.wanted.set()
            elif kind == "need_slots":
                self.slots = {"audio": message["audio"], "video": message["video"]}
                self.wanted.set()
            elif kind == "answer":
                await self.answers.put(message)
            elif kind == "bind":
                await self.bind(message["mid"], message["track"])
            elif kind in ("err", "leave"):
                raise RuntimeError(f"{self.name} was told {message}")
        raise RuntimeError(f"{self.name}: the socket closed")

    async def negotiate(self):
        """Offers whenever there is something to offer; one offer at a time."""
        for track, source in ((self.tone, "microphone"), (self.picture, "camera")):
            self.sending[source] = self.pc.addTransceiver(track, direction="sendonly")
        known = RTCRtpSender.getCapabilities("video").codecs
        wanted = [each for each in known if each.mimeType in (f"video/{self.codec}", "video/rtx")]
        self.sending["camera"].setCodecPreferences(wanted)
        receiving = {"audio": 0, "video": 0}
        while await self.wanted.wait():
            self.wanted.clear()
            for kind, count in self.slots.items():
                while receiving[kind] < count:
                    self.pc.addTransceiver(kind, direction="recvonly")
                    receiving[kind] += 1
            await self.pc.setLocalDescription(await self.pc.createOffer())
            self.neg += 1
            sdp = self.pc.localDescription.sdp.replace("a=setup:actpass", f"a=setup:{self.setup}")
            tracks = [
                {"mid": each.mid, "cid": source, "kind": each.kind, "source": source}
                for source, each in self.sending.items()
            ]
            await self.send("offer", neg=self.neg, sdp=sdp, tracks=tracks)
            answer = await self.answers.get()
            if answer["neg"] != self.neg:
                raise RuntimeError(f"{self.name} got answer {answer['neg']} to offer {self.neg}")
            await self.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
            for entry in answer["mids"]:
                if entry["cid"] is None:
                    await self.bind(entry["mid"], entry["track"])

    async def bind(self, mid, track):
        """A slot carries a track: look at it."""
        slot = next((each for each in self.pc.getTransceivers() if each.mid == mid), None)
        if slot is None or track is None:
            return
        if slot.kind == "video":
            await self.send("view", items=[{"track": track, "w": WIDTH, "h": HEIGHT, "visible": True, "prio": 0}])
        if mid not in self.readers:
            sink = self.seen if slot.kind == "video" else self.heard
            self.readers.add(mid)
            self.group.create_task(self.read(slot.receiver.track, sink))

    async def read(self, track, sink):
        while True:
            sink.take(await track.recv())

    async def talk(self):
        """The other may not be there yet, so a greeting on the data channel is repeated."""
        while True:
            if self.channel.readyState == "open":
                self.channel.send(f"hello from {self.name}")
            await asyncio.sleep(0.5)

    def report(self):
        return (
            f"{self.name}: ICE {self.pc.iceConnectionState}, connection {self.pc.connectionState}; "
            f"{len(self.seen.bars)} pictures, {self.heard.good} voices "
            f"(last {self.heard.last}), data {sorted(set(map(str, self.said)))}; faults {self.seen.faults[:3]}; "
            f"heard of the server: {self.log}"
        )
