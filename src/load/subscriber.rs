//! What a receiving member does with what comes: counts it, and reports on it as a browser would, so that the server's estimate,
//! layers and pacing behave as with browsers. Headers are read in clear; packets are opened only while a keyframe is looked for, as a
//! sample, or all of them if that is asked for. Pure: `member` drives it.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::edge::peer::srtp::Srtp;
use crate::rtp::clock::NtpTime;
use crate::rtp::descriptor::frame_info;
use crate::rtp::header::Header;
use crate::rtp::receive::{ReceiveStream, Received, Via};
use crate::rtp::rtcp::{ReportBlock, SenderInfo, write};
use crate::rtp::twcc::Arrivals;
use crate::rtp::{Codec, ExtensionIds, Extensions, Kind};

use super::account::{ByKind, Heard, Latencies};
use super::frames::{Frames, Order};
use super::offer::{OPUS, RTX, Slot, VP8};

/// Receiver reports are so far apart.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A keyframe is asked for again after this.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// One packet of so many is opened, whatever happens: the key's rollover counter must not fall behind.
const SAMPLE: u64 = 1_024;
/// SSRCs that are followed at most.
const MOST_STREAMS: usize = 256;
/// One packet of a receiver report has so many blocks.
const BLOCKS: usize = 31;

/// Layers of a picture that are told apart.
pub const LAYERS: usize = 4;

/// What a slot carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Links between the publisher's server and ours.
    pub hops: u8,
    /// Nothing is expected now: it does not fit, is muted, or not on screen.
    pub paused: bool,
    /// Of a picture, the layer that comes.
    pub layer: Option<u8>,
}

/// When things came for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Firsts {
    pub packet: Option<Instant>,
    pub keyframe: Option<Instant>,
}

/// The incoming streams of one member.
pub struct Subscriber {
    ids: ExtensionIds,
    slots: Vec<Slot>,
    bound: FxHashMap<String, Bound>,
    streams: FxHashMap<u32, Stream>,
    repairs: FxHashMap<u32, u32>,
    arrivals: Arrivals,
    /// Names us in RTCP.
    ssrc: u32,
    verify: bool,
    report_at: Instant,
    /// When there is something to say, as far as packets since the last feedback tell.
    next: Option<Instant>,
    pub heard: ByKind<Heard>,
    pub firsts: Firsts,
}

struct Stream {
    kind: Kind,
    mid: Option<String>,
    bound: Bound,
    receive: ReceiveStream,
    counts: Counts,
    order: Order,
    frames: Frames,
    /// A picture that nothing can be shown of until a keyframe comes.
    seeks: Option<Seeking>,
}

#[derive(Clone, Copy)]
struct Seeking {
    since: Instant,
    asked: Option<Instant>,
}

/// Of one numbering.
#[derive(Clone, Copy, Default)]
struct Counts {
    first: u64,
    highest: u64,
    received: u64,
}

impl Counts {
    const fn expected(&self) -> u64 {
        if self.received == 0 { 0 } else { self.highest + 1 - self.first }
    }

    const fn begin(first: u64) -> Self {
        Self { first, highest: first, received: 0 }
    }

    /// A packet came for the first time.
    const fn take(&mut self, ext_seq: u64) {
        if ext_seq < self.first {
            self.first = ext_seq;
        }
        if ext_seq > self.highest {
            self.highest = ext_seq;
        }
        self.received += 1;
    }
}

impl Subscriber {
    pub fn new(now: Instant, ssrc: u32, verify: bool) -> Self {
        Self {
            ids: ExtensionIds::default(),
            slots: Vec::new(),
            bound: FxHashMap::default(),
            streams: FxHashMap::default(),
            repairs: FxHashMap::default(),
            arrivals: Arrivals::default(),
            ssrc,
            verify,
            report_at: now + REPORT_EVERY,
            next: None,
            heard: ByKind::default(),
            firsts: Firsts::default(),
        }
    }

    /// Obeys what was negotiated.
    pub fn configure(&mut self, ids: ExtensionIds, slots: &[Slot]) {
        self.ids = ids;
        self.slots = slots.to_vec();
        self.repairs.extend(slots.iter().filter_map(|slot| Some((slot.rtx?, slot.ssrc?))));
    }

    /// What a slot carries from now on.
    pub fn bind(&mut self, now: Instant, mid: &str, bound: Bound) {
        self.bound.insert(mid.to_owned(), bound);
        for stream in self.streams.values_mut().filter(|stream| stream.mid.as_deref() == Some(mid)) {
            stream.bound = bound;
            stream.frames.pause();
            stream.seeks = (stream.kind == Kind::Video).then_some(Seeking { since: now, asked: None });
        }
    }

    /// More about what a slot carries already.
    pub fn expect(&mut self, mid: &str, bound: Bound) {
        self.bound.insert(mid.to_owned(), bound);
        for stream in self.streams.values_mut().filter(|stream| stream.mid.as_deref() == Some(mid)) {
            if stream.bound.paused || bound.paused {
                stream.frames.pause();
            }
            stream.bound = bound;
        }
    }

    /// Pictures that come now, by layer.
    pub fn layers(&self) -> [u64; LAYERS] {
        let mut layers = [0; LAYERS];
        for bound in self.bound.values().filter(|bound| !bound.paused) {
            if let Some(count) = bound.layer.and_then(|layer| layers.get_mut(usize::from(layer))) {
                *count += 1;
            }
        }
        layers
    }

    /// Takes a sealed RTP packet. `wall` is `now` by the clock that publishers stamp their packets with.
    pub fn receive(&mut self, now: Instant, wall: NtpTime, datagram: &mut [u8], srtp: &mut Srtp, latencies: &mut Latencies) {
        // The last byte is sealed: it can't tell how much is padding.
        if let Some(flags) = datagram.first_mut() {
            let padded = *flags & 0x20 != 0;
            *flags &= !0x20;
            let header = Header::parse(datagram);
            // It is part of what is authenticated.
            if padded && let Some(flags) = datagram.first_mut() {
                *flags |= 0x20;
            }
            if let Ok(header) = header {
                self.packet(now, wall, datagram, &header, srtp, latencies);
            }
        }
    }

    fn packet(
        &mut self,
        now: Instant,
        wall: NtpTime,
        datagram: &mut [u8],
        header: &Header,
        srtp: &mut Srtp,
        latencies: &mut Latencies,
    ) {
        let (mut number, mut capture, mut mid) = (None, None, None);
        for (id, data) in header.elements(datagram) {
            let id = Some(id);
            if id == self.ids.transport_cc {
                number = data.first_chunk().map(|&bytes| u16::from_be_bytes(bytes));
            } else if id == self.ids.capture_time {
                capture = data.first_chunk().map(|&bytes| NtpTime(u64::from_be_bytes(bytes)));
            } else if id == self.ids.mid {
                mid = std::str::from_utf8(data).ok();
            }
        }
        if let Some(number) = number {
            self.arrivals.record(number, now);
        }
        let bytes = datagram.len() as u64;
        match header.pt {
            RTX => {
                let mid = mid.map(str::to_owned);
                self.repair(now, datagram, header, mid.as_deref(), srtp);
            }
            OPUS | VP8 => {
                let kind = if header.pt == OPUS { Kind::Audio } else { Kind::Video };
                if !self.streams.contains_key(&header.ssrc) {
                    let mid = mid.map(str::to_owned);
                    self.admit(now, header.ssrc, kind, mid);
                }
                let Some(stream) = self.streams.get_mut(&header.ssrc) else { return };
                let heard = self.heard.of_mut(kind);
                heard.bytes += bytes;
                self.firsts.packet.get_or_insert(now);
                let arrived = stream.receive.receive(now, header.seq, header.timestamp, Via::Media);
                let wakes = [self.next, self.arrivals.deadline(), stream.receive.deadline(), Some(self.report_at)];
                self.next = wakes.into_iter().flatten().min();
                if matches!(arrived, Received::Restarted(_)) && kind == Kind::Video {
                    stream.seeks = Some(Seeking { since: now, asked: None });
                }
                let Some(ext_seq) = stream.arrived(arrived, Via::Media, heard) else { return };
                // A repair is no measure of the way.
                if let Some(captured) = capture {
                    latencies.record(kind, stream.bound.hops, wall.since_or_zero(captured));
                }
                if stream.opens(ext_seq, self.verify) {
                    stream.open(now, datagram, header, ext_seq, srtp, heard, &mut self.firsts);
                }
                stream.show(now, ext_seq, header.timestamp, heard);
            }
            _ => {}
        }
    }

    /// Takes a retransmission apart. One that is only padding is a probe, which the transport's feedback has counted.
    fn repair(&mut self, now: Instant, datagram: &mut [u8], header: &Header, mid: Option<&str>, srtp: &mut Srtp) {
        let media = self.repairs.get(&header.ssrc).copied().or_else(|| self.media_of(mid));
        let stream = media.and_then(|media| self.streams.get_mut(&media));
        let heard = self.heard.of_mut(Kind::Video);
        heard.bytes += datagram.len() as u64;
        let Ok(length) = srtp.open_rtp(datagram) else { return };
        let Some(Ok(opened)) = datagram.get(..length).map(Header::parse) else { return };
        let Some(payload) = datagram.get(opened.payload) else { return };
        let (Some(stream), Some((seq, payload))) = (stream, payload.split_first_chunk::<2>()) else { return };
        let arrived = stream.receive.receive(now, u16::from_be_bytes(*seq), header.timestamp, Via::Rtx);
        // Servers probe with what has arrived already.
        if arrived != Received::Duplicate
            && let Some(ext_seq) = stream.arrived(arrived, Via::Rtx, heard)
        {
            heard.repaired += 1;
            stream.look(now, payload, ext_seq, &mut self.firsts);
            stream.show(now, ext_seq, header.timestamp, heard);
        }
    }

    /// The media SSRC of an m-line.
    fn media_of(&self, mid: Option<&str>) -> Option<u32> {
        let found = self.streams.iter().find(|(_, stream)| mid.is_some() && stream.mid.as_deref() == mid);
        found.map(|(&ssrc, _)| ssrc)
    }

    /// An SSRC that was not seen before.
    fn admit(&mut self, now: Instant, ssrc: u32, kind: Kind, mid: Option<String>) {
        if self.streams.len() >= MOST_STREAMS {
            return;
        }
        let named = self.slots.iter().find(|slot| slot.ssrc == Some(ssrc)).map(|slot| slot.mid.clone());
        let mid = named.or(mid);
        let bound = mid.as_ref().and_then(|mid| self.bound.get(mid)).copied().unwrap_or_default();
        let clock = if kind == Kind::Audio { Codec::Opus } else { Codec::Vp8 }.clock_rate();
        let stream = Stream {
            kind,
            mid,
            bound,
            receive: ReceiveStream::new(ssrc, clock, kind == Kind::Video),
            counts: Counts::default(),
            order: Order::default(),
            frames: Frames::default(),
            seeks: (kind == Kind::Video).then_some(Seeking { since: now, asked: None }),
        };
        self.streams.insert(ssrc, stream);
    }

    /// Takes a sender report.
    pub fn sender_report(&mut self, now: Instant, ssrc: u32, info: SenderInfo) {
        if let Some(stream) = self.streams.get_mut(&ssrc) {
            stream.receive.sender_report(now, info);
        }
    }

    /// When [`Self::write_feedback`] has something to say.
    pub const fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Appends what is due: transport feedback, NACKs, requests for keyframes, receiver reports.
    pub fn write_feedback(&mut self, now: Instant, rtt: Duration, buf: &mut Vec<u8>) {
        let media = self.streams.keys().next().copied().unwrap_or(0);
        while self.arrivals.feedback(now, self.ssrc, media, buf) {}
        let mut lost = Vec::new();
        for (&media, stream) in &mut self.streams {
            let heard = self.heard.of_mut(stream.kind);
            lost.clear();
            stream.receive.nacks(now, rtt, &mut lost);
            if !lost.is_empty() {
                heard.nacked += lost.len() as u64;
                write::nack(buf, self.ssrc, media, &lost);
            }
            if stream.wants_keyframe(now) {
                heard.keyframes_asked += 1;
                write::pli(buf, self.ssrc, media);
            }
        }
        if now >= self.report_at {
            self.report_at = now + REPORT_EVERY;
            let blocks: Vec<ReportBlock> = self.streams.values_mut().filter_map(|stream| stream.receive.report(now)).collect();
            blocks.chunks(BLOCKS).for_each(|blocks| write::receiver_report(buf, self.ssrc, blocks));
        }
        let nacks = self.streams.values().filter_map(|stream| stream.receive.deadline());
        let reports = (!self.streams.is_empty()).then_some(self.report_at);
        self.next = nacks.chain(self.arrivals.deadline()).chain(reports).min();
    }

    /// What came so far, with the gaps that are open now.
    pub fn tally(&self, now: Instant) -> ByKind<Heard> {
        let mut all = self.heard;
        for stream in self.streams.values() {
            let heard = all.of_mut(stream.kind);
            heard.expected += stream.counts.expected();
            heard.received += stream.counts.received;
            heard.lost += stream.counts.expected().saturating_sub(stream.counts.received);
            let quiet = stream.bound.paused || stream.kind == Kind::Audio;
            heard.stalled += u64::from(!quiet && stream.frames.stands(now));
        }
        all
    }
}

impl Stream {
    /// Counts a packet; the number of one that is new.
    fn arrived(&mut self, arrived: Received, via: Via, heard: &mut Heard) -> Option<u64> {
        match arrived {
            Received::New(ext_seq) => {
                if self.counts.received == 0 {
                    self.counts = Counts::begin(ext_seq);
                }
                heard.late += u64::from(via == Via::Media && ext_seq < self.counts.highest);
                self.counts.take(ext_seq);
                Some(ext_seq)
            }
            Received::Restarted(ext_seq) => {
                // A new numbering: what the old one came to stays counted.
                heard.expected += self.counts.expected();
                heard.received += self.counts.received;
                heard.lost += self.counts.expected().saturating_sub(self.counts.received);
                self.counts = Counts::begin(ext_seq);
                self.counts.take(ext_seq);
                Some(ext_seq)
            }
            Received::Duplicate => {
                heard.duplicate += 1;
                None
            }
            Received::Stray => None,
        }
    }

    fn opens(&self, ext_seq: u64, verify: bool) -> bool {
        verify || self.seeks.is_some() || self.counts.received == 1 || ext_seq.is_multiple_of(SAMPLE)
    }

    #[expect(clippy::too_many_arguments, reason = "one packet, and all that may change with it")]
    fn open(
        &mut self,
        now: Instant,
        datagram: &mut [u8],
        header: &Header,
        ext_seq: u64,
        srtp: &mut Srtp,
        heard: &mut Heard,
        firsts: &mut Firsts,
    ) {
        let Ok(length) = srtp.open_rtp(datagram) else {
            heard.broken += 1;
            return;
        };
        heard.verified += 1;
        if self.seeks.is_some() {
            let payload = datagram.get(header.payload.start..length).unwrap_or_default();
            self.look(now, payload, ext_seq, firsts);
        }
    }

    /// Whether a keyframe begins here.
    fn look(&mut self, now: Instant, payload: &[u8], ext_seq: u64, firsts: &mut Firsts) {
        if self.kind == Kind::Video && frame_info(Codec::Vp8, payload, &Extensions::default()).starts_keyframe {
            self.receive.keyframe(ext_seq);
            self.order.anew(ext_seq);
            self.seeks = None;
            firsts.keyframe.get_or_insert(now);
        }
    }

    /// Notes which frames can be shown now that a packet came.
    fn show(&mut self, now: Instant, ext_seq: u64, timestamp: u32, heard: &mut Heard) {
        if self.kind == Kind::Audio {
            return;
        }
        let frames = &mut self.frames;
        self.order.take(ext_seq, timestamp, self.seeks.is_some(), |timestamp| {
            if let Some(shown) = frames.came(now, timestamp) {
                heard.frames += 1;
                if let Some(stood) = shown {
                    heard.freezes += 1;
                    heard.frozen_ms += u64::try_from(stood.as_millis()).unwrap_or(u64::MAX);
                }
            }
        });
    }

    /// Whether to ask for a keyframe now.
    fn wants_keyframe(&mut self, now: Instant) -> bool {
        let broken = self.receive.broken();
        if broken && self.seeks.is_none() {
            self.seeks = Some(Seeking { since: now, asked: None });
        }
        let Some(seeks) = &mut self.seeks else { return false };
        // A server sends one by itself to who begins; what is broken can't wait.
        let patience = if broken { Duration::ZERO } else { ASK_EVERY };
        let due = seeks.asked.map_or(seeks.since + patience, |asked| asked + ASK_EVERY);
        if self.bound.paused || now < due {
            return false;
        }
        seeks.asked = Some(now);
        true
    }
}
