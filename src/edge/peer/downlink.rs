//! What a member receives: one outgoing stream per slot, written, numbered for RTX, counted and reported. Owns the SSRCs'
//! state on this hop; which packet goes where, under which number, was the router's decision.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::figures::Figures;
use super::transport::Transport;
use crate::edge::plan::{CNAME, ExtensionIds, MediaPlan, PayloadType, SendPlan, Slot};
use crate::rtp::clock::{Epoch, NtpTime};
use crate::rtp::header::{self, Outgoing};
use crate::rtp::rewrite::{Rewritten, apply_numbers};
use crate::rtp::rtcp::{ReportBlock, SenderInfo, write};
use crate::rtp::twcc::SentLog;
use crate::rtp::{Codec, HopOut, Kind, Numbers, OVERHEAD, Packet, red, rtx};

/// How often each stream is reported (RFC 3550 §6.2 allows less; browsers do it once a second).
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// First packets of a stream that name their m-line: enough for a receiver that missed the answer's SSRCs.
const NAMED_PACKETS: u32 = 64;

/// Packets that are kept to fill probes with: retransmitting them may repair something, which padding can't.
const MAX_RECENT: usize = 8;
/// Smaller ones are not worth it, in bytes.
const LEAST_RECENT: usize = 600;
/// Older ones are shown already, or given up.
const RECENT: Duration = Duration::from_millis(500);

/// A packet for a slot, with its place in the slot's stream.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    pub now: Instant,
    pub slot: Slot,
    pub packet: &'a Arc<Packet>,
    pub rewritten: &'a Rewritten,
}

/// The outgoing streams of one peer.
#[derive(Debug)]
pub(super) struct Downlink {
    ids: ExtensionIds,
    /// By [`Codec`] discriminant: payload type, and that of its retransmissions.
    formats: [Option<(u8, Option<u8>)>; Codec::ALL.len()],
    slots: Vec<Option<Stream>>,
    by_ssrc: FxHashMap<u32, Slot>,
    pub(super) sent: SentLog,
    /// Latest packets that may fill a probe, while one may come.
    pub(super) keeps_recent: bool,
    recent: VecDeque<Waiting>,
    report_at: Instant,
}

/// A packet that is sent later.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) slot: Slot,
    pub(super) packet: Arc<Packet>,
    pub(super) rewritten: Rewritten,
}

impl Waiting {
    pub(super) fn new(sending: &Sending<'_>) -> Self {
        Self { slot: sending.slot, packet: Arc::clone(sending.packet), rewritten: *sending.rewritten }
    }

    pub(super) fn sending(&self, now: Instant) -> Sending<'_> {
        Sending { now, slot: self.slot, packet: &self.packet, rewritten: &self.rewritten }
    }
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    rtx: Option<Rtx>,
    mid: Box<[u8]>,
    packets: u32,
    octets: u32,
    /// Counted at the last report: a stream that sent nothing since needs none.
    reported: u32,
    /// RTP time of the latest packet.
    timestamp: u32,
    clock: u32,
    figures: Figures,
}

#[derive(Debug)]
struct Rtx {
    ssrc: u32,
    seq: u16,
}

impl Downlink {
    pub(super) fn new(now: Instant, plan: &MediaPlan) -> Self {
        let mut downlink = Self {
            ids: plan.extensions,
            formats: [None; Codec::ALL.len()],
            slots: Vec::new(),
            by_ssrc: FxHashMap::default(),
            sent: SentLog::new(now),
            keeps_recent: false,
            recent: VecDeque::new(),
            report_at: now + REPORT_EVERY,
        };
        downlink.configure(plan);
        downlink
    }

    /// Obeys a new plan; streams that stay keep their numbering.
    pub(super) fn configure(&mut self, plan: &MediaPlan) {
        self.ids = plan.extensions;
        self.formats = Codec::ALL.map(|codec| best_format(codec, &plan.payload_types));
        let length = plan.send.iter().map(|send| usize::from(send.slot.0) + 1).max().unwrap_or(0);
        let mut slots: Vec<Option<Stream>> = (0..length).map(|_| None).collect();
        for send in &plan.send {
            let old = self.slots.get_mut(usize::from(send.slot.0)).and_then(Option::take);
            let kept = old.filter(|stream| stream.ssrc == send.ssrc);
            if let Some(place) = slots.get_mut(usize::from(send.slot.0)) {
                *place = Some(kept.unwrap_or_else(|| Stream::new(send)));
            }
        }
        self.slots = slots;
        self.recent.clear();
        self.by_ssrc = plan.send.iter().map(|send| (send.ssrc, send.slot)).collect();
    }

    /// The slot of an outgoing SSRC, for feedback that names it.
    pub(super) fn slot_of(&self, ssrc: u32) -> Option<Slot> {
        self.by_ssrc.get(&ssrc).copied()
    }

    /// Appends one sealed packet; false when the slot can't carry it.
    pub(super) fn forward(
        &mut self,
        epoch: &Epoch,
        transport: &mut Transport,
        sending: &Sending<'_>,
        buf: &mut Vec<u8>,
    ) -> bool {
        let &Sending { now, slot, packet, rewritten } = sending;
        let Some(stream) = self.slots.get_mut(usize::from(slot.0)).and_then(Option::as_mut) else { return false };
        let Some((pt, payload)) = format_for(&self.formats, packet) else { return false };
        let payload = if rewritten.empty { &[] } else { payload };
        let named = stream.packets < NAMED_PACKETS;
        let mut hop =
            HopOut { mid: named.then_some(&*stream.mid), dependency_frame: rewritten.dependency_frame(), ..HopOut::default() };
        hop_numbers(&self.ids, &mut self.sent, now, epoch, payload.len(), &mut hop);
        let out = Outgoing {
            pt,
            seq: rewritten.seq,
            timestamp: rewritten.timestamp,
            ssrc: stream.ssrc,
            marker: rewritten.marker && !payload.is_empty(),
        };
        let head = |buf: &mut Vec<u8>| header::write(buf, &out, &self.ids, &packet.ext, &hop);
        if !append_sealed(transport, head, payload, &rewritten.numbers, buf) {
            return false;
        }
        stream.packets = stream.packets.wrapping_add(1);
        stream.octets = stream.octets.wrapping_add(payload.len() as u32);
        stream.timestamp = rewritten.timestamp;
        if self.keeps_recent && payload.len() >= LEAST_RECENT && stream.rtx.is_some() {
            if self.recent.len() == MAX_RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(Waiting::new(sending));
        }
        true
    }

    /// Appends a packet that was sent before, as RTX (RFC 4588). Without RTX there is no second time: under its own number it
    /// would be sealed with a nonce that was used (RFC 7714 §8.1).
    pub(super) fn retransmit(
        &mut self,
        epoch: &Epoch,
        transport: &mut Transport,
        sending: &Sending<'_>,
        buf: &mut Vec<u8>,
    ) -> bool {
        let &Sending { now, slot, packet, rewritten } = sending;
        let Some(stream) = self.slots.get_mut(usize::from(slot.0)).and_then(Option::as_mut) else { return false };
        let format = self.formats.get(packet.codec as usize).copied().flatten();
        let (Some(rtx), Some((_, Some(pt)))) = (&mut stream.rtx, format) else { return false };
        let mut hop = HopOut { mid: Some(&*stream.mid), dependency_frame: rewritten.dependency_frame(), ..HopOut::default() };
        hop_numbers(&self.ids, &mut self.sent, now, epoch, packet.payload.len(), &mut hop);
        let out = Outgoing { pt, seq: rtx.seq, timestamp: rewritten.timestamp, ssrc: rtx.ssrc, marker: rewritten.marker };
        rtx.seq = rtx.seq.wrapping_add(1);
        let head = |buf: &mut Vec<u8>| {
            header::write(buf, &out, &self.ids, &packet.ext, &hop);
            buf.extend_from_slice(&rtx::prefix(rewritten.seq));
        };
        append_sealed(transport, head, &packet.payload, &rewritten.numbers, buf)
    }

    /// Whether there is a stream that padding can be sent on.
    pub(super) fn can_pad(&self) -> bool {
        self.slots.iter().flatten().any(|stream| stream.rtx.is_some()) && self.padding_format().is_some()
    }

    fn padding_format(&self) -> Option<u8> {
        self.formats.iter().flatten().find_map(|&(_, rtx)| rtx)
    }

    /// Appends a packet that nobody needs, of about so many bytes: one that was sent of late once more, or padding only, which has no
    /// place in a stream's own numbering and goes on RTX (RFC 4588 lets its numbers have gaps of any kind).
    pub(super) fn pad(
        &mut self,
        now: Instant,
        epoch: &Epoch,
        transport: &mut Transport,
        size: usize,
        buf: &mut Vec<u8>,
    ) -> bool {
        while size >= LEAST_RECENT
            && let Some(recent) = self.recent.pop_back()
        {
            if now.saturating_duration_since(recent.packet.arrival) < RECENT {
                let done = self.retransmit(epoch, transport, &recent.sending(now), buf);
                self.recent.push_front(recent);
                return done;
            }
        }
        let Some(pt) = self.padding_format() else { return false };
        let with_rtx = |stream: &&mut Stream| stream.rtx.is_some();
        // One that was in use, if there is any: receivers may not expect the others yet.
        let used = self.slots.iter().flatten().any(|stream| stream.rtx.is_some() && stream.packets > 0);
        let mut streams = self.slots.iter_mut().flatten().filter(with_rtx);
        let Some(stream) = streams.find(|stream| stream.packets > 0 || !used) else { return false };
        let Some(rtx) = &mut stream.rtx else { return false };
        let padding = size.saturating_sub(OVERHEAD).clamp(1, usize::from(u8::MAX));
        let mut hop = HopOut { mid: Some(&*stream.mid), ..HopOut::default() };
        hop_numbers(&self.ids, &mut self.sent, now, epoch, padding, &mut hop);
        let out = Outgoing { pt, seq: rtx.seq, timestamp: stream.timestamp, ssrc: rtx.ssrc, marker: false };
        rtx.seq = rtx.seq.wrapping_add(1);
        let start = buf.len();
        header::write_padding(buf, &out, &self.ids, &hop, padding as u8);
        transport.seal_rtp(buf, start).is_ok()
    }

    /// Bytes of payload that were sent, wrapping.
    pub(super) fn octets(&self) -> u32 {
        self.slots.iter().flatten().fold(0, |sum, stream| sum.wrapping_add(stream.octets))
    }

    /// Takes in what the member says of a stream it receives; false when there is none such.
    pub(super) fn heard(&mut self, now: Instant, block: &ReportBlock) -> bool {
        let Some(stream) = self.slot_of(block.ssrc).and_then(|slot| self.stream_mut(slot)) else { return false };
        stream.figures.heard(now, block, stream.clock);
        true
    }

    /// The member asked for a keyframe.
    pub(super) fn keyframe_asked(&mut self, slot: Slot) {
        if let Some(stream) = self.stream_mut(slot) {
            stream.figures.keyframes = stream.figures.keyframes.saturating_add(1);
        }
    }

    /// Measures what goes out.
    pub(super) fn measure(&mut self, now: Instant) {
        for stream in self.slots.iter_mut().flatten() {
            stream.figures.measure(now, stream.octets);
        }
    }

    /// What is measured of a slot's stream.
    pub(super) fn figures(&self, slot: Slot) -> Option<&Figures> {
        self.slots.get(usize::from(slot.0))?.as_ref().map(|stream| &stream.figures)
    }

    /// Of all streams.
    pub(super) fn all_figures(&self) -> impl Iterator<Item = &Figures> {
        self.slots.iter().flatten().map(|stream| &stream.figures)
    }

    fn stream_mut(&mut self, slot: Slot) -> Option<&mut Stream> {
        self.slots.get_mut(usize::from(slot.0))?.as_mut()
    }

    /// When the next reports are due.
    pub(super) fn deadline(&self) -> Instant {
        self.report_at
    }

    /// Appends sender reports when they are due. `timestamp` gives a slot's RTP time now, where it is known.
    pub(super) fn write_reports(
        &mut self,
        now: Instant,
        epoch: &Epoch,
        timestamp: impl Fn(Slot, NtpTime) -> Option<u32>,
        buf: &mut Vec<u8>,
    ) {
        if now < self.report_at {
            return;
        }
        self.report_at = now + REPORT_EVERY;
        let ntp = epoch.ntp(now);
        for (index, stream) in self.slots.iter_mut().enumerate() {
            let Some(stream) = stream else { continue };
            if stream.packets == stream.reported {
                continue;
            }
            let Some(timestamp) = timestamp(Slot(index as u16), ntp) else { continue };
            stream.reported = stream.packets;
            let info = SenderInfo { ntp, timestamp, packets: stream.packets, octets: stream.octets };
            write::sender_report(buf, stream.ssrc, &info, &[]);
            write::source_description(buf, stream.ssrc, CNAME);
        }
    }
}

impl Stream {
    fn new(plan: &SendPlan) -> Self {
        Self {
            ssrc: plan.ssrc,
            rtx: plan.rtx_ssrc.map(|ssrc| Rtx { ssrc, seq: 0 }),
            mid: plan.mid.as_bytes().into(),
            packets: 0,
            octets: 0,
            reported: 0,
            timestamp: 0,
            clock: if plan.kind == Kind::Audio { 48_000 } else { 90_000 },
            figures: Figures::default(),
        }
    }
}

/// Appends what `head` writes and the payload with its new numbers, sealed as one packet; false, and nothing appended, when it
/// can't be sealed.
fn append_sealed(
    transport: &mut Transport,
    head: impl FnOnce(&mut Vec<u8>),
    payload: &[u8],
    numbers: &Numbers,
    buf: &mut Vec<u8>,
) -> bool {
    let start = buf.len();
    head(buf);
    let body = buf.len();
    buf.extend_from_slice(payload);
    if let Some(body) = buf.get_mut(body..) {
        apply_numbers(body, numbers);
    }
    transport.seal_rtp(buf, start).is_ok()
}

/// Numbers the packet for this hop: transport-wide where the receiver has that, else with the time it was sent.
fn hop_numbers(ids: &ExtensionIds, sent: &mut SentLog, now: Instant, epoch: &Epoch, payload: usize, hop: &mut HopOut<'_>) {
    if ids.transport_cc.is_some() {
        hop.transport_cc = Some(sent.sent(now, payload + OVERHEAD));
    } else if ids.abs_send_time.is_some() {
        hop.abs_send_time = Some(abs_send_time(epoch.ntp(now)));
    }
}

/// Payload type and payload under which a receiver takes a packet. One without RED gets the newest block of it.
fn format_for<'p>(formats: &[Option<(u8, Option<u8>)>], packet: &'p Packet) -> Option<(u8, &'p [u8])> {
    if let Some((pt, _)) = formats.get(packet.codec as usize).copied().flatten() {
        return Some((pt, &packet.payload));
    }
    match packet.codec {
        Codec::Red => {
            let (pt, _) = formats.get(Codec::Opus as usize).copied().flatten()?;
            Some((pt, red::primary(&packet.payload)?))
        }
        _ => None,
    }
}

/// Which of a receiver's payload types carries a codec. Several differ in profile only; decoders take the commonest.
fn best_format(codec: Codec, types: &[PayloadType]) -> Option<(u8, Option<u8>)> {
    let fitness = |candidate: &&PayloadType| match codec {
        Codec::H264 => u8::from(candidate.fmtp.contains("packetization-mode=1")),
        Codec::Vp9 => u8::from(!candidate.fmtp.contains("profile-id=") || candidate.fmtp.contains("profile-id=0")),
        Codec::Opus | Codec::Red | Codec::Vp8 | Codec::Av1 => 0,
    };
    let mut best: Option<&PayloadType> = None;
    for candidate in types.iter().filter(|candidate| candidate.codec == codec) {
        if best.is_none_or(|best| fitness(&candidate) > fitness(&best)) {
            best = Some(candidate);
        }
    }
    best.map(|format| (format.pt, format.rtx))
}

/// 24 bits of 6.18 fixed point seconds, out of the 32.32 of NTP.
fn abs_send_time(ntp: NtpTime) -> u32 {
    (ntp.0 >> 14) as u32 & 0x00FF_FFFF
}
