//! What a publishing member sends: a microphone, and a camera in up to three layers, as RTP that a forwarder can't tell from a
//! browser's. Answers keyframe requests and NACKs, writes sender reports. Pure: `member` drives it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::edge::peer::srtp::Srtp;
use crate::rtp::clock::Epoch;
use crate::rtp::header::{self, Outgoing};
use crate::rtp::rtcp::{SenderInfo, write};
use crate::rtp::{AudioLevel, ExtensionIds, Extensions, HopOut, rtx};
use crate::shard::batch::Batch;

use super::account::{ByKind, Said};
use super::noise::Noise;
use super::offer::{OPUS, RTX, VP8};
use super::voice::{self, Microphone, Turns};
use super::vp8::{self, Encoder, Piece, Shape};

/// Sender reports of a stream are so far apart.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Two keyframes of a layer are at least this far apart, however often they are asked for (libwebrtc has the same).
const KEYFRAME_GAP: Duration = Duration::from_millis(300);
/// First packets of a stream that name m-line and layer: enough for the server to have reported the stream.
const NAMED: u64 = 300;
/// Packets of a layer that can be sent again.
const KEPT: usize = 512;
/// What is later than this is left out: a process that stood still sends no burst of old media.
const TOO_LATE: Duration = Duration::from_millis(200);
/// Bytes that nobody looks at, of which payloads are filled.
const FILLER: [u8; vp8::MAX_PAYLOAD] = [0x5A; vp8::MAX_PAYLOAD];

/// What a member publishes.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    pub audio: Option<Audio>,
    /// The camera's layers, smallest first; one without a rid is sent as it is.
    pub video: Vec<CameraLayer>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Audio {
    /// Which microphone of the room it is.
    pub index: u32,
    pub turns: Turns,
    pub dtx: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CameraLayer {
    pub rid: Option<String>,
    pub shape: Shape,
}

/// The SSRCs of m-line number `line` of a member with this seed: the media's and its retransmissions', for each layer.
pub const fn ssrcs(seed: u64, line: u32, layer: u32) -> (u32, u32) {
    let first = (Noise::new(seed).bits() as u32 & 0xFFFF_FF00) | (line << 4) | (layer << 1);
    (first, first | 1)
}

/// The streams of one member.
pub struct Publisher {
    ids: ExtensionIds,
    rtx: bool,
    began: Instant,
    microphone: Option<Voice>,
    camera: Option<Camera>,
    /// Transport-wide number of the next packet.
    number: u16,
    pub said: ByKind<Said>,
    pieces: Vec<Piece>,
}

struct Voice {
    mid: String,
    settings: Audio,
    microphone: Microphone,
    stream: Stream,
    next: Instant,
}

struct Camera {
    mid: String,
    interval: Duration,
    layers: Vec<LayerStream>,
    next: Instant,
}

struct LayerStream {
    rid: Option<String>,
    encoder: Encoder,
    stream: Stream,
    rtx_ssrc: u32,
    rtx_seq: u16,
    /// Somebody watches it.
    on: bool,
    keyframe: bool,
    keyframe_at: Option<Instant>,
    kept: VecDeque<Kept>,
}

/// A packet that may be asked for again. Its filler is not kept.
struct Kept {
    seq: u16,
    timestamp: u32,
    piece: Piece,
}

/// Numbers of one SSRC.
struct Stream {
    ssrc: u32,
    seq: u16,
    /// Of the latest frame.
    timestamp: u32,
    clock: u32,
    /// From frame to frame, in the clock's ticks.
    step: u32,
    packets: u64,
    octets: u64,
    report_at: Instant,
}

impl Publisher {
    /// `audio` and `video` are the m-lines and their number in the offer.
    pub fn new(
        now: Instant,
        began: Instant,
        published: &Published,
        seed: u64,
        [audio, video]: [Option<(String, u32)>; 2],
    ) -> Self {
        let mut noise = Noise::new(seed ^ 0x5EED);
        // Not all in the same instant.
        let mut offset = |interval: Duration| now + interval.mul_f64(noise.share());
        let microphone = audio.zip(published.audio).map(|((mid, line), settings)| Voice {
            mid,
            settings,
            microphone: Microphone::new(settings.dtx, Noise::new(seed ^ 1)),
            stream: Stream::new(now, ssrcs(seed, line, 0).0, voice::CLOCK, voice::FRAME, seed ^ 2),
            next: offset(voice::FRAME),
        });
        let camera = video.filter(|_| !published.video.is_empty()).map(|(mid, line)| {
            let layers: Vec<LayerStream> = published
                .video
                .iter()
                .zip(0..)
                .map(|(layer, index)| LayerStream::new(now, layer, ssrcs(seed, line, index), seed ^ u64::from(index + 3)))
                .collect();
            let interval = layers.first().map_or(Duration::from_millis(40), |layer| layer.encoder.interval());
            Camera { mid, interval, layers, next: offset(interval) }
        });
        Self {
            ids: ExtensionIds::default(),
            rtx: false,
            began,
            microphone,
            camera,
            number: 0,
            said: ByKind::default(),
            pieces: Vec::new(),
        }
    }

    /// Obeys what was negotiated. M-lines that were refused send nothing.
    pub fn configure(&mut self, ids: ExtensionIds, rtx: bool, sends: &[String]) {
        (self.ids, self.rtx) = (ids, rtx);
        self.microphone = self.microphone.take().filter(|voice| sends.contains(&voice.mid));
        self.camera = self.camera.take().filter(|camera| sends.contains(&camera.mid));
    }

    /// Which layers somebody watches; the others are not encoded. One that begins again does so with a keyframe.
    pub fn set_layers(&mut self, active: &[String]) {
        for layer in self.camera.iter_mut().flat_map(|camera| &mut camera.layers) {
            let on = active.iter().any(|rid| rid == layer.rid.as_deref().unwrap_or_default());
            layer.keyframe |= on && !layer.on;
            layer.on = on;
        }
    }

    /// When [`Self::send`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let voice = self.microphone.as_ref().map(|voice| voice.next);
        voice.into_iter().chain(self.camera.as_ref().map(|camera| camera.next)).min()
    }

    /// Appends what is due.
    pub fn send(&mut self, now: Instant, epoch: &Epoch, srtp: &mut Srtp, out: &mut Batch) {
        self.speak(now, epoch, srtp, out);
        self.film(now, epoch, srtp, out);
    }

    fn speak(&mut self, now: Instant, epoch: &Epoch, srtp: &mut Srtp, out: &mut Batch) {
        let Some(voice) = &mut self.microphone else { return };
        while voice.next <= now {
            let due = voice.next;
            voice.next += voice::FRAME;
            voice.stream.timestamp = voice.stream.timestamp.wrapping_add(voice.stream.step);
            let talks = voice.settings.turns.talks(voice.settings.index, due.saturating_duration_since(self.began));
            let Some(frame) = voice.microphone.frame(talks) else { continue };
            if now.saturating_duration_since(due) > TOO_LATE {
                continue;
            }
            let ext = Extensions {
                audio_level: Some(AudioLevel { voice: frame.voice, dbov: frame.dbov }),
                capture_time: Some(epoch.ntp(now)),
                ..Extensions::default()
            };
            let packet = Packet {
                mid: &voice.mid,
                rid: None,
                pt: OPUS,
                timestamp: voice.stream.timestamp,
                marker: frame.marker,
                ext: &ext,
                head: &[],
                payload: usize::from(frame.size),
            };
            voice.stream.send(&self.ids, &mut self.number, &packet, srtp, out, &mut self.said.audio);
        }
    }

    fn film(&mut self, now: Instant, epoch: &Epoch, srtp: &mut Srtp, out: &mut Batch) {
        let Some(camera) = &mut self.camera else { return };
        while camera.next <= now {
            let due = camera.next;
            camera.next += camera.interval;
            for layer in &mut camera.layers {
                layer.stream.timestamp = layer.stream.timestamp.wrapping_add(layer.stream.step);
                if !layer.on || now.saturating_duration_since(due) > TOO_LATE {
                    continue;
                }
                let soon = layer.keyframe_at.is_some_and(|at| now.saturating_duration_since(at) < KEYFRAME_GAP);
                let keyframe = layer.keyframe && !soon;
                if keyframe {
                    (layer.keyframe, layer.keyframe_at) = (false, Some(now));
                    self.said.video.keyframes += 1;
                }
                self.pieces.clear();
                layer.encoder.frame(keyframe, &mut self.pieces);
                for (index, piece) in self.pieces.iter().enumerate() {
                    let capture_time = (index == 0).then(|| epoch.ntp(now));
                    let ext = Extensions { capture_time, ..Extensions::default() };
                    layer.keep(*piece);
                    let packet = Packet {
                        mid: &camera.mid,
                        rid: layer.rid.as_deref(),
                        pt: VP8,
                        timestamp: layer.stream.timestamp,
                        marker: piece.marker,
                        ext: &ext,
                        head: piece.head.get(..usize::from(piece.head_len)).unwrap_or_default(),
                        payload: usize::from(piece.payload),
                    };
                    layer.stream.send(&self.ids, &mut self.number, &packet, srtp, out, &mut self.said.video);
                }
            }
        }
    }

    /// Appends sender reports when they are due.
    pub fn write_reports(&mut self, now: Instant, epoch: &Epoch, buf: &mut Vec<u8>) {
        let voice = self.microphone.iter_mut().map(|voice| (voice.next, &mut voice.stream));
        let camera = self.camera.iter_mut().flat_map(|camera| {
            let next = camera.next;
            camera.layers.iter_mut().map(move |layer| (next, &mut layer.stream))
        });
        for (next, stream) in voice.chain(camera) {
            if now < stream.report_at || stream.packets == 0 {
                continue;
            }
            stream.report_at = now + REPORT_EVERY;
            // The timestamp was that of the frame before the next.
            let ahead = next.saturating_duration_since(now).as_secs_f64() * f64::from(stream.clock);
            let timestamp = stream.timestamp.wrapping_add(stream.step).wrapping_sub(ahead as u32);
            let (packets, octets) = (stream.packets as u32, stream.octets as u32);
            write::sender_report(buf, stream.ssrc, &SenderInfo { ntp: epoch.ntp(now), timestamp, packets, octets }, &[]);
            write::source_description(buf, stream.ssrc, "load");
        }
    }

    /// The server wants a keyframe of this SSRC.
    pub fn keyframe_asked(&mut self, ssrc: u32) {
        self.said.video.keyframes_asked += 1;
        if let Some(layer) = self.layer(ssrc) {
            layer.keyframe = true;
        }
    }

    /// The server lacks these; what is still known is sent again.
    pub fn resend(&mut self, ssrc: u32, lost: impl Iterator<Item = u16>, srtp: &mut Srtp, out: &mut Batch) {
        let (ids, rtx) = (self.ids, self.rtx);
        let Some(camera) = &mut self.camera else { return };
        let Some(layer) = camera.layers.iter_mut().find(|layer| layer.stream.ssrc == ssrc) else { return };
        for seq in lost {
            self.said.video.nacked += 1;
            let Some(kept) = layer.kept.iter().find(|kept| kept.seq == seq).filter(|_| rtx) else { continue };
            let hop = HopOut {
                mid: Some(camera.mid.as_bytes()),
                repaired_rid: layer.rid.as_deref().map(str::as_bytes),
                transport_cc: ids.transport_cc.map(|_| self.number),
                ..HopOut::default()
            };
            self.number = self.number.wrapping_add(1);
            let out_header = Outgoing {
                pt: RTX,
                seq: layer.rtx_seq,
                timestamp: kept.timestamp,
                ssrc: layer.rtx_ssrc,
                marker: kept.piece.marker,
            };
            layer.rtx_seq = layer.rtx_seq.wrapping_add(1);
            let head = kept.piece.head.get(..usize::from(kept.piece.head_len)).unwrap_or_default();
            let payload = usize::from(kept.piece.payload);
            let sealed = seal(out, srtp, |buf| {
                header::write(buf, &out_header, &ids, &Extensions::default(), &hop);
                buf.extend_from_slice(&rtx::prefix(seq));
                fill(buf, head, payload);
            });
            if let Some(bytes) = sealed {
                self.said.video.resent += 1;
                self.said.video.bytes += bytes;
            }
        }
    }

    /// The server's report of what it lost of an SSRC so far.
    pub fn reported(&mut self, losses: impl Iterator<Item = (u32, i32)>) {
        let (mut audio, mut video) = (0, 0);
        for (ssrc, lost) in losses {
            let lost = u64::try_from(lost).unwrap_or(0);
            if self.microphone.as_ref().is_some_and(|voice| voice.stream.ssrc == ssrc) {
                audio += lost;
            } else {
                video += lost;
            }
        }
        self.said.audio.lost = self.said.audio.lost.max(audio);
        self.said.video.lost = self.said.video.lost.max(video);
    }

    fn layer(&mut self, ssrc: u32) -> Option<&mut LayerStream> {
        self.camera.as_mut()?.layers.iter_mut().find(|layer| layer.stream.ssrc == ssrc)
    }
}

impl LayerStream {
    fn new(now: Instant, layer: &CameraLayer, (ssrc, rtx_ssrc): (u32, u32), seed: u64) -> Self {
        let encoder = Encoder::new(layer.shape, Noise::new(seed));
        Self {
            rid: layer.rid.clone(),
            stream: Stream::new(now, ssrc, vp8::CLOCK, encoder.interval(), seed ^ 0xFF),
            encoder,
            rtx_ssrc,
            rtx_seq: 0,
            on: true,
            keyframe: true,
            keyframe_at: None,
            kept: VecDeque::new(),
        }
    }

    fn keep(&mut self, piece: Piece) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Kept { seq: self.stream.seq, timestamp: self.stream.timestamp, piece });
    }
}

/// A packet before it has numbers.
struct Packet<'a> {
    mid: &'a str,
    rid: Option<&'a str>,
    pt: u8,
    timestamp: u32,
    marker: bool,
    ext: &'a Extensions,
    head: &'a [u8],
    payload: usize,
}

impl Stream {
    fn new(now: Instant, ssrc: u32, clock: u32, frame: Duration, seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        let step = (frame.as_secs_f64() * f64::from(clock)).round() as u32;
        // Below 2^15, so that a lost first packet can't hide a rollover (RFC 3711 §3.3.1).
        let (seq, timestamp) = (noise.bits() as u16 & 0x3FFF, noise.bits() as u32);
        Self { ssrc, seq, timestamp, clock, step, packets: 0, octets: 0, report_at: now }
    }

    fn send(
        &mut self,
        ids: &ExtensionIds,
        number: &mut u16,
        packet: &Packet<'_>,
        srtp: &mut Srtp,
        out: &mut Batch,
        said: &mut Said,
    ) {
        let named = self.packets < NAMED;
        let hop = HopOut {
            mid: named.then_some(packet.mid.as_bytes()),
            rid: packet.rid.filter(|_| named).map(str::as_bytes),
            transport_cc: ids.transport_cc.map(|_| *number),
            ..HopOut::default()
        };
        *number = number.wrapping_add(1);
        let outgoing =
            Outgoing { pt: packet.pt, seq: self.seq, timestamp: packet.timestamp, ssrc: self.ssrc, marker: packet.marker };
        self.seq = self.seq.wrapping_add(1);
        let sealed = seal(out, srtp, |buf| {
            header::write(buf, &outgoing, ids, packet.ext, &hop);
            fill(buf, packet.head, packet.payload);
        });
        if let Some(bytes) = sealed {
            self.packets += 1;
            self.octets += packet.payload as u64;
            said.packets += 1;
            said.bytes += bytes;
        }
    }
}

/// Appends a sealed packet; its length.
fn seal(out: &mut Batch, srtp: &mut Srtp, write: impl FnOnce(&mut Vec<u8>)) -> Option<u64> {
    let start = out.start();
    write(out.buffer());
    if srtp.seal_rtp(out.buffer(), start).is_err() {
        out.abandon();
        return None;
    }
    out.close();
    Some((out.bytes() - start) as u64)
}

/// A payload of so many bytes that begins with `head`.
fn fill(buf: &mut Vec<u8>, head: &[u8], payload: usize) {
    buf.extend_from_slice(head);
    buf.extend_from_slice(FILLER.get(..payload.saturating_sub(head.len())).unwrap_or(&FILLER));
}
