"""Firefox, with the shipped client library, and aiortc in one room: two stacks that are neither Chromium's nor ours."""

import asyncio
import os
import shutil

import pytest

from client import Client
from conftest import ARTIFACTS
from firefox import firefox
from media import BAR, FPS, HEIGHT, WIDTH, Heard, Picture, Seen, Tone, check_motion

PATIENCE = 90
BINARY = os.environ.get("WEIR_TEST_FIREFOX", shutil.which("firefox-esr") or shutil.which("firefox"))

# Publishes the same kind of picture and tone as `media` does, and watches whatever comes.
JOIN = """async (token, colour, hertz, width, height, fps, bar) => {
  const { Room } = await import("/weir.js");
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const pen = canvas.getContext("2d");
  let count = 0;
  setInterval(() => {
    pen.fillStyle = colour;
    pen.fillRect(0, 0, width, height);
    pen.fillStyle = "white";
    pen.fillRect((count++ * bar) % width, 0, bar, height);
  }, 1000 / fps);
  const sound = new AudioContext();
  await sound.resume();
  const wave = new OscillatorNode(sound, { frequency: hertz });
  const microphone = new MediaStreamAudioDestinationNode(sound, { channelCount: 1 });
  wave.connect(microphone);
  wave.start();

  const room = new Room({ token });
  const seen = { room, sound, bars: [], colour: null, size: null, said: [], hertz: 0, level: 0, playing: new Set() };
  globalThis.seen = seen;
  room.on("data", ({ data }) => seen.said.push(String(data)));
  await room.connect();
  await room.publish(canvas.captureStream(fps).getVideoTracks()[0], { source: "camera" });
  await room.publish(microphone.stream.getAudioTracks()[0], { source: "microphone" });

  const look = (video) => {
    seen.size = [video.videoWidth, video.videoHeight];
    const copy = new OffscreenCanvas(width, height).getContext("2d");
    copy.drawImage(video, 0, 0, width, height);
    const row = copy.getImageData(0, height / 2, width, 1).data;
    const at = (x) => [...row.slice(x * 4, x * 4 + 3)];
    const light = Array.from({ length: width / bar }, (_, i) => at(i * bar + bar / 2).reduce((a, b) => a + b));
    const brightest = light.indexOf(Math.max(...light));
    seen.colour = at((brightest * bar + width / 2) % width);
    if (seen.bars.at(-1) !== brightest) seen.bars.push(brightest);
  };
  const hear = (media) => {
    const ear = new AnalyserNode(sound, { fftSize: 2048 });
    new MediaStreamAudioSourceNode(sound, { mediaStream: new MediaStream([media]) }).connect(ear);
    const samples = new Float32Array(2048);
    setInterval(() => {
      ear.getFloatTimeDomainData(samples);
      let crossings = 0, power = 0;
      samples.forEach((each, i) => {
        power += each * each;
        if (i > 0 && each < 0 !== samples[i - 1] < 0) crossings++;
      });
      seen.level = Math.sqrt(power / samples.length);
      seen.hertz = (crossings * sound.sampleRate) / (2 * samples.length);
    }, 100);
  };
  setInterval(() => {
    room.sendData("hello from " + room.local.identity);
    for (const member of room.members.values())
      for (const track of member.tracks.values()) {
        if (!track.media || seen.playing.has(track.id)) continue;
        seen.playing.add(track.id);
        const element = document.body.appendChild(document.createElement(track.kind));
        element.autoplay = true;
        element.muted = true;
        Object.assign(element.style, { width: width + "px", height: height + "px" });
        room.attach(element, track);
        if (track.kind === "video") setInterval(() => look(element), 30);
        else hear(track.media);
      }
  }, 200);
}"""

REPORT = """async () => {
  const { room, sound, bars, colour, size, said, hertz, level } = globalThis.seen;
  return { state: room.state, media: room.mediaState, sound: sound.state, bars, colour, size, said, hertz, level };
}"""


@pytest.mark.skipif(BINARY is None, reason="Firefox is not installed (Debian package firefox-esr)")
def test_firefox_and_aiortc_see_hear_and_message_each_other(own_address_server):
    asyncio.run(call(own_address_server))


async def call(server):
    red, blue = (90, 210), (210, 90)
    low, high = 440, 1000
    anna = Client("anna", "fox", Picture(red), Tone(low), Seen(blue), Heard(high))
    part = asyncio.create_task(anna.run(server, "firefox"))
    report = None
    try:
        # A busy machine takes long to start a browser, which is not what is tested.
        async with firefox(BINARY, ARTIFACTS / "firefox.log") as browser, asyncio.timeout(PATIENCE):
            token = server.token("firefox", "fox")
            await browser.open(server.base)
            # Blue as above, in the colours that a canvas has.
            await browser.run(JOIN, token, "rgb(0, 36, 203)", high, WIDTH, HEIGHT, FPS, BAR)
            while not (anna.done() and report and satisfied(report)):
                if part.done():
                    part.result()
                await asyncio.sleep(0.5)
                report = await browser.run(REPORT)
    except TimeoutError:
        pytest.fail(f"the call did not come about in time\n{anna.report()}\nfox: {report}")
    finally:
        part.cancel()
        await asyncio.gather(part, return_exceptions=True)
        await anna.pc.close()
    print(anna.report(), report, sep="\n")
    assert not anna.seen.faults, anna.seen.faults
    check_motion("anna", anna.seen.bars)
    check_motion("fox", report["bars"])


def satisfied(report):
    """Anna's red picture at its size, its bar moving, her tone at its pitch, and her greeting."""
    red, _, blue = report["colour"] or (0, 0, 0)
    return (
        report["size"] == [WIDTH, HEIGHT]
        and red > blue + 80
        and len(report["bars"]) >= 30
        and report["level"] > 0.01
        and abs(report["hertz"] - 440) < 66
        and "hello from anna" in report["said"]
    )
