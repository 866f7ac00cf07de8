"""Publishes by WHIP or watches by WHEP with GStreamer's webrtcbin: another ICE, DTLS, SRTP and jitter buffer than browsers and aiortc have.
For the system's Python, whose packages python3-gi and gir1.2-gst-plugins-bad-1.0 it needs.

    gstreamer.py publish URL TOKEN WIDTH HEIGHT FPS HERTZ < raw I420 pictures
    gstreamer.py watch URL TOKEN FD > raw I420 pictures; 16-bit mono samples at 48 kHz go to the file descriptor FD

Ends its session when it is terminated.
"""

import signal
import sys
import urllib.error
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

DIRECTION = GstWebRTC.WebRTCRTPTransceiverDirection
VIDEO = "application/x-rtp,media=video,encoding-name=VP8,clock-rate=90000,payload=96"
AUDIO = "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,encoding-params=(string)2,payload=97"


class Client:
    def __init__(self, url, token, pipeline):
        self.url, self.token, self.session = url, token, None
        self.pipeline = Gst.Pipeline.new()
        parts = Gst.parse_bin_from_description(f"webrtcbin name=rtc bundle-policy=max-bundle {pipeline}", False)
        self.pipeline.add(parts)
        self.parts = parts
        self.rtc = self.pipeline.get_by_name("rtc")
        self.loop = GLib.MainLoop()
        self.offered = False
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.failed)
        self.rtc.connect("notify::ice-gathering-state", lambda *_: GLib.idle_add(self.gathered))
        self.rtc.connect("notify::connection-state", lambda *_: self.say(self.rtc.props.connection_state.value_nick))

    def say(self, *words):
        print(*words, file=sys.stderr, flush=True)

    def failed(self, _, message):
        self.say(*message.parse_error())
        self.loop.quit()

    def transceivers(self):
        found = (self.rtc.emit("get-transceiver", index) for index in range(2))
        return [each for each in found if each]

    def offer(self):
        if not self.offered:
            self.offered = True
            self.rtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self.made))

    def made(self, promise, *_):
        # The offer lives as long as the reply.
        reply = promise.get_reply()
        self.rtc.emit("set-local-description", reply.get_value("offer"), Gst.Promise.new())

    def gathered(self):
        """All candidates are in the offer: it is asked once."""
        if self.rtc.props.ice_gathering_state != GstWebRTC.WebRTCICEGatheringState.COMPLETE or self.session:
            return
        offer = self.rtc.props.local_description.sdp.as_text()
        status, headers, answer = self.ask("POST", self.url, offer)
        if status != 201:
            self.say(status, answer)
            return self.loop.quit()
        self.session = urllib.parse.urljoin(self.url, headers["Location"])
        _, sdp = GstSdp.SDPMessage.new()
        GstSdp.sdp_message_parse_buffer(answer.encode(), sdp)
        settled = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
        self.rtc.emit("set-remote-description", settled, Gst.Promise.new())

    def ask(self, method, url, body=None):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/sdp"}
        asked = urllib.request.Request(url, body and body.encode(), headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=10) as response:
                return response.status, response.headers, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def run(self):
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGTERM, self.loop.quit)
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        if self.session:
            self.say(self.ask("DELETE", self.session)[0])
        self.pipeline.set_state(Gst.State.NULL)


def publish(url, token, width, height, fps, hertz):
    picture = f"fdsrc fd=0 do-timestamp=true ! rawvideoparse format=i420 width={width} height={height} framerate={fps}/1"
    picture += f" ! vp8enc deadline=1 target-bitrate=500000 keyframe-max-dist={fps} ! rtpvp8pay ! {VIDEO} ! rtc."
    sound = f"audiotestsrc is-live=true freq={hertz} ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay ! {AUDIO} ! rtc."
    client = Client(url, token, f"{picture} {sound}")
    for each in client.transceivers():
        each.props.direction = DIRECTION.SENDONLY
    client.rtc.connect("on-negotiation-needed", lambda *_: client.offer())
    client.run()


def watch(url, token, sound):
    client = Client(url, token, "")
    for caps in (AUDIO, VIDEO):
        client.rtc.emit("add-transceiver", DIRECTION.RECVONLY, Gst.Caps.from_string(caps))

    def came(_, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        if pad.get_current_caps().get_structure(0).get_string("media") == "video":
            text = "rtpvp8depay ! vp8dec ! videoconvert ! video/x-raw,format=I420 ! fdsink fd=1 sync=false"
        else:
            text = "rtpopusdepay ! opusdec ! audioconvert ! audioresample ! audio/x-raw,format=S16LE,rate=48000,channels=1"
            text += f" ! fdsink fd={sound} sync=false"
        sink = Gst.parse_bin_from_description(f"queue ! {text}", True)
        client.parts.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    client.rtc.connect("pad-added", came)
    client.rtc.connect("on-negotiation-needed", lambda *_: client.offer())
    client.run()


Gst.init(None)
{"publish": publish, "watch": watch}[sys.argv[1]](*sys.argv[2:])
