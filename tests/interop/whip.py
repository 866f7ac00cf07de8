"""WHIP and WHEP by aiortc: what a client has to do beside its peer connection, which is a few HTTP requests."""

import asyncio
import urllib.error
import urllib.request

import aioice.ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription


class Session:
    """A session as its client sees it: `tracks` are published, or else one picture and one voice are watched."""

    def __init__(self, server, url, token, tracks=(), codec=None):
        # aioice leaves loopback out, and one address is enough.
        aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [server.ip]
        self.base, self.url, self.token = server.base, server.base + url, token
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.readers = []
        self.codec = codec
        for track in tracks:
            self.pc.addTransceiver(track, direction="sendonly")
        if not tracks:
            for kind in ("audio", "video"):
                self.pc.addTransceiver(kind, direction="recvonly")

    async def open(self):
        await self.pc.setLocalDescription(await self.pc.createOffer())
        offer = self.pc.localDescription.sdp
        status, headers, answer = await self.request("POST", self.url, "application/sdp", offer)
        assert status == 201, f"{status}: {answer}"
        assert headers["Location"].startswith("/") and headers["ETag"].startswith('"')
        self.url = self.base + headers["Location"]
        self.tag = headers["ETag"]
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def patch(self, fragment, tag=None):
        more = {"If-Match": tag} if tag else {}
        return await self.request("PATCH", self.url, "application/trickle-ice-sdpfrag", fragment, **more)

    async def delete(self):
        status, _, _ = await self.request("DELETE", self.url)
        return status

    async def request(self, method, url, kind=None, body=None, **headers):
        headers = {"Authorization": f"Bearer {self.token}", **headers, **({"Content-Type": kind} if kind else {})}
        asked = urllib.request.Request(url, body and body.encode(), headers, method=method)
        return await asyncio.to_thread(exchange, asked)

    def watch(self, seen, heard):
        """Decodes what comes, for as long as the session lasts."""
        for each in self.pc.getTransceivers():
            sink = seen if each.kind == "video" else heard
            self.readers.append(asyncio.create_task(read(each.receiver.track, sink)))

    async def close(self):
        for reader in self.readers:
            reader.cancel()
        await asyncio.gather(*self.readers, return_exceptions=True)
        await self.pc.close()


def exchange(asked):
    try:
        with urllib.request.urlopen(asked, timeout=10) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


async def read(track, sink):
    while True:
        sink.take(await track.recv())
