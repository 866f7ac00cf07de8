"""Pictures and sounds that can be told apart after any codec: what is sent, and the check of what was decoded."""

import array
import asyncio
import fractions
import math
import statistics
import time

import av
from aiortc import MediaStreamTrack

WIDTH, HEIGHT, FPS = 320, 240, 15
SAMPLE_RATE, SAMPLES = 48000, 960
BAR = 16
# How many pieces of 20 ms must sound right.
VOICES = 50


class Picture(MediaStreamTrack):
    """A bright bar that steps to the right over a plain colour."""

    kind = "video"

    def __init__(self, colour):
        super().__init__()
        self.colour = colour
        self.count = 0
        self.start = None

    async def recv(self):
        loop = asyncio.get_running_loop()
        self.start = self.start or loop.time()
        await asyncio.sleep(max(0, self.start + self.count / FPS - loop.time()))
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
        left = self.count * BAR % WIDTH
        row = bytearray(b"\x30" * WIDTH)
        row[left : left + BAR] = b"\xe0" * BAR
        for plane, byte in zip(frame.planes, (None, *self.colour)):
            line = bytes(row) if byte is None else bytes([byte]) * plane.width
            plane.update(line.ljust(plane.line_size, b"\0") * plane.height)
        frame.pts, frame.time_base = self.count * 90000 // FPS, fractions.Fraction(1, 90000)
        self.count += 1
        return frame


class Tone(MediaStreamTrack):
    """A sine wave."""

    kind = "audio"

    def __init__(self, hertz):
        super().__init__()
        self.hertz = hertz
        self.count = 0
        self.start = None

    async def recv(self):
        loop = asyncio.get_running_loop()
        self.start = self.start or loop.time()
        first = self.count * SAMPLES
        await asyncio.sleep(max(0, self.start + first / SAMPLE_RATE - loop.time()))
        step = 2 * math.pi * self.hertz / SAMPLE_RATE
        wave = array.array("h", (int(12000 * math.sin(step * (first + i))) for i in range(SAMPLES)))
        frame = av.AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        frame.planes[0].update(wave.tobytes())
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, first, fractions.Fraction(1, SAMPLE_RATE)
        self.count += 1
        return frame


class Seen:
    """What was decoded of the other's picture."""

    def __init__(self, colour, wanted=30):
        self.colour, self.wanted = colour, wanted
        # Where the bar was, each time that it was somewhere new.
        self.bars = []
        self.times = []
        self.faults = []

    def take(self, frame):
        if (frame.width, frame.height) != (WIDTH, HEIGHT):
            self.faults.append(f"a picture of {frame.width}x{frame.height}")
            return
        luma, *chroma = (pixels(plane) for plane in frame.reformat(format="yuv420p").planes)
        found = [round(statistics.fmean(plane)) for plane in chroma]
        if any(abs(mean - meant) > 24 for mean, meant in zip(found, self.colour)):
            self.faults.append(f"a picture of colour {found}, not {self.colour}")
            return
        columns = [sum(luma[x :: WIDTH * 8]) for x in range(BAR // 2, WIDTH, BAR)]
        bar = columns.index(max(columns))
        if not self.bars or self.bars[-1] != bar:
            self.bars.append(bar)
            self.times.append(time.monotonic())

    def share(self):
        """How many of the pictures that were sent meanwhile were seen."""
        return (len(self.times) - 1) / ((self.times[-1] - self.times[0]) * FPS)

    def enough(self):
        return len(self.bars) >= self.wanted


class Heard:
    """What was decoded of the other's tone."""

    def __init__(self, hertz):
        self.hertz = hertz
        self.good = 0
        self.last = "nothing"

    def take(self, frame):
        channels = len(frame.layout.channels)
        wave = array.array("h", bytes(frame.planes[0]))[: frame.samples * channels : channels]
        loudness = math.sqrt(sum(sample * sample for sample in wave) / max(1, len(wave)))
        crossings = sum((a < 0) != (b < 0) for a, b in zip(wave, wave[1:]))
        hertz = crossings * frame.sample_rate / (2 * max(1, len(wave)))
        self.last = f"{hertz:.0f} Hz at {loudness:.0f}"
        self.good += loudness > 1000 and abs(hertz - self.hertz) < self.hertz * 0.15

    def enough(self):
        return self.good >= VOICES


def check_motion(who, bars):
    """A bar that goes backwards, or far in one step, shows pictures out of order, or that most were lost."""
    steps = [(after - before) % (WIDTH // BAR) for before, after in zip(bars, bars[1:])]
    odd = [step for step in steps if step > 5]
    assert len(odd) <= len(steps) // 10, f"{who} saw the bar jump: {bars}"


def pixels(plane):
    """A plane without the padding of its lines."""
    data = bytes(plane)
    return b"".join(data[at : at + plane.width] for at in range(0, plane.height * plane.line_size, plane.line_size))
