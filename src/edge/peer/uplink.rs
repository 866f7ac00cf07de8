//! What a member sends: incoming SSRCs told apart by the plan, mid and rid, unwrapped, checked for loss, and handed on as
//! packets of a track's layer. Owns the receiving half of RTP on this hop: NACK, reports, transport feedback, keyframe
//! requests as they are written; who needs what is the router's to say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::{Dropped, PeerEvent};
use crate::edge::plan::{ExtensionIds, MediaPlan, ReceivePlan};
use crate::id::TrackId;
use crate::rtp::clock::{Epoch, RemoteClock, SenderClock};
use crate::rtp::header::Header;
use crate::rtp::receive::{ReceiveStream, Received, Via};
use crate::rtp::rtcp::{ReportBlock, SenderInfo, write};
use crate::rtp::twcc::Arrivals;
use crate::rtp::{Codec, Hop, Kind, Layer, Packet, rtx};

/// How often reception is reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What a payload type means.
#[derive(Clone, Copy, Debug)]
enum Format {
    Media(Codec),
    /// Retransmissions (RFC 4588); of what, the stream they repair says.
    Rtx,
}

/// The incoming streams of one peer.
#[derive(Debug)]
pub(super) struct Uplink {
    ids: ExtensionIds,
    formats: Vec<Option<Format>>,
    tracks: Vec<ReceivePlan>,
    streams: FxHashMap<u32, Stream>,
    /// Retransmission SSRC → the SSRC it repairs.
    repairs: FxHashMap<u32, u32>,
    /// What media SSRCs said of themselves, one per m-line and layer, kept while nothing is published there.
    names: FxHashMap<u32, Name>,
    clock: RemoteClock,
    arrivals: Arrivals,
    /// Names us in RTCP.
    pub(super) ssrc: u32,
    report_at: Instant,
    pub(super) nacks_sent: u64,
    /// Of the stream that lost most until the last report, 0 to 1.
    pub(super) loss: f32,
    /// Of the stream whose packets came least evenly.
    pub(super) jitter: Duration,
}

/// One incoming media SSRC.
#[derive(Debug)]
struct Stream {
    track: TrackId,
    layer: Layer,
    /// Of its latest packet.
    codec: Codec,
    receive: ReceiveStream,
}

/// Senders name a stream by mid and rid only until the first report on it (RFC 8843 §15 lets them), and never again: not when
/// another track is published later by the same m-line.
#[derive(Debug)]
struct Name {
    mid: Box<[u8]>,
    rid: Option<Box<[u8]>>,
    /// The SSRC that repairs it.
    rtx: Option<u32>,
}

impl Uplink {
    pub(super) fn new(now: Instant, plan: &MediaPlan, ssrc: u32) -> Self {
        let mut uplink = Self {
            ids: ExtensionIds::default(),
            formats: Vec::new(),
            tracks: Vec::new(),
            streams: FxHashMap::default(),
            repairs: FxHashMap::default(),
            names: FxHashMap::default(),
            clock: RemoteClock::default(),
            arrivals: Arrivals::default(),
            ssrc,
            report_at: now + REPORT_EVERY,
            nacks_sent: 0,
            loss: 0.0,
            jitter: Duration::ZERO,
        };
        uplink.configure(plan);
        uplink
    }

    /// Obeys a new plan; streams of tracks that stay go on.
    pub(super) fn configure(&mut self, plan: &MediaPlan) {
        self.ids = plan.extensions;
        self.formats = vec![None; 128];
        for format in &plan.payload_types {
            self.set_format(format.pt, Format::Media(format.codec));
            if let Some(rtx) = format.rtx {
                self.set_format(rtx, Format::Rtx);
            }
        }
        self.tracks.clone_from(&plan.receive);
        let tracks = &self.tracks;
        self.streams.retain(|_, stream| tracks.iter().any(|plan| plan.track == stream.track));
        let streams = &self.streams;
        self.repairs.retain(|_, media| streams.contains_key(media));
    }

    fn set_format(&mut self, pt: u8, format: Format) {
        if let Some(place) = self.formats.get_mut(usize::from(pt)) {
            *place = Some(format);
        }
    }

    /// The stream of pictures that a packet belongs to, and whether it repairs one, as its header says, which is never sealed
    /// (RFC 3711 §3.1). RTCP, STUN and DTLS have no payload type that was agreed on (RFC 5761 §4).
    pub(super) fn picture_in(&self, packet: &[u8]) -> Option<(u32, bool)> {
        let &[first, second, _, _, _, _, _, _, a, b, c, d, ..] = packet else { return None };
        let format = self.formats.get(usize::from(second & 0x7F)).copied().flatten().filter(|_| first >> 6 == 2)?;
        let repair = match format {
            Format::Media(codec) if codec.kind() == Kind::Video => false,
            Format::Media(_) => return None,
            Format::Rtx => true,
        };
        Some((u32::from_be_bytes([a, b, c, d]), repair))
    }

    /// A packet of this stream is not read.
    pub(super) fn leave(&mut self, ssrc: u32) {
        if let Some(stream) = self.streams.get_mut(&ssrc) {
            stream.receive.leave();
        }
    }

    /// Takes an opened RTP packet.
    pub(super) fn receive(&mut self, now: Instant, packet: &[u8], out: &mut Vec<PeerEvent>) -> Result<(), Dropped> {
        let header = Header::parse(packet).map_err(|_| Dropped::BadRtp)?;
        // The one copy of the packet's way: from the socket's buffer to the one that history and subscribers share.
        let bytes = Bytes::copy_from_slice(packet);
        let (ext, hop) = header.extensions(&bytes, &self.ids);
        if let Some(seq) = hop.transport_cc {
            self.arrivals.record(seq, now);
        }
        let format = self.formats.get(usize::from(header.pt)).copied().flatten().ok_or(Dropped::BadRtp)?;
        let payload = header.payload_of(&bytes);
        let (media, seq, payload, via) = match format {
            Format::Media(codec) => {
                if !self.streams.contains_key(&header.ssrc) {
                    self.admit(header.ssrc, codec, &hop, out)?;
                }
                (header.ssrc, header.seq, payload, Via::Media)
            }
            Format::Rtx => {
                // Padding only is a probe. The transport's feedback counted it, which is all it is for.
                let Some((seq, payload)) = rtx::original(&payload) else { return Ok(()) };
                (self.repaired(header.ssrc, &hop).ok_or(Dropped::UnknownSsrc)?, seq, payload, Via::Rtx)
            }
        };
        let stream = self.streams.get_mut(&media).ok_or(Dropped::UnknownSsrc)?;
        if let Format::Media(codec) = format {
            stream.codec = codec;
        }
        let (track, layer, codec) = (stream.track, stream.layer, stream.codec);
        let seq = match stream.receive.receive(now, seq, header.timestamp, via) {
            Received::New(seq) => seq,
            Received::Restarted(seq) => {
                out.push(PeerEvent::LayerRestarted { track, layer });
                seq
            }
            // Browsers probe for bandwidth by sending what has arrived already.
            Received::Duplicate | Received::Stray if via == Via::Rtx => return Ok(()),
            Received::Duplicate | Received::Stray => return Err(Dropped::Replayed),
        };
        let packet = Packet::new(now, codec, seq, &header, ext, payload);
        if packet.frame.starts_keyframe {
            stream.receive.keyframe(seq);
        }
        out.push(PeerEvent::Packet { track, layer, packet: Arc::new(packet) });
        Ok(())
    }

    /// Finds out what an SSRC that was not seen before carries.
    fn admit(&mut self, ssrc: u32, codec: Codec, hop: &Hop<'_>, out: &mut Vec<PeerEvent>) -> Result<(), Dropped> {
        let (track, layer) = self.place_of(ssrc, codec, hop).ok_or(Dropped::UnknownSsrc)?;
        // One SSRC a layer: a new one takes the place of the one before (the encoder was replaced).
        let before = self.streams.iter().find(|(_, stream)| stream.track == track && stream.layer == layer).map(|(&s, _)| s);
        if let Some(before) = before {
            self.streams.remove(&before);
            self.repairs.retain(|_, media| *media != before);
            out.push(PeerEvent::LayerRestarted { track, layer });
        }
        let receive = ReceiveStream::new(ssrc, codec.clock_rate(), codec.kind() == Kind::Video);
        self.streams.insert(ssrc, Stream { track, layer, codec, receive });
        let paired = self.tracks.iter().flat_map(|plan| &plan.ssrcs).find(|(media, _)| *media == ssrc);
        let known = self.names.get(&ssrc).and_then(|name| name.rtx);
        if let Some(rtx) = paired.and_then(|(_, rtx)| *rtx).or(known) {
            self.repairs.insert(rtx, ssrc);
        }
        if let Some(mid) = hop.mid {
            self.names.retain(|_, name| *name.mid != *mid || name.rid.as_deref() != hop.rid);
            self.names.insert(ssrc, Name { mid: mid.into(), rid: hop.rid.map(Into::into), rtx: None });
        }
        Ok(())
    }

    fn place_of(&self, ssrc: u32, codec: Codec, hop: &Hop<'_>) -> Option<(TrackId, Layer)> {
        let known = self.names.get(&ssrc).filter(|_| hop.mid.is_none());
        let (mid, rid) = known.map_or((hop.mid, hop.rid), |name| (Some(&*name.mid), name.rid.as_deref()));
        let named = |plan: &&ReceivePlan| mid.is_some_and(|mid| plan.mid.as_bytes() == mid);
        if let Some(plan) = self.tracks.iter().find(named) {
            return Some((plan.track, layer_of(plan, rid)?));
        }
        for plan in &self.tracks {
            if let Some(index) = plan.ssrcs.iter().position(|(media, _)| *media == ssrc) {
                let layer = if plan.rids.len() > 1 { index as u8 } else { 0 };
                return Some((plan.track, Layer(layer)));
            }
        }
        // Neither name nor number: clear only when there is one track of its kind.
        let mut of_kind = self.tracks.iter().filter(|plan| plan.kind == codec.kind());
        match (of_kind.next(), of_kind.next()) {
            (Some(plan), None) if hop.mid.is_none() => Some((plan.track, layer_of(plan, hop.rid)?)),
            _ => None,
        }
    }

    /// The media SSRC that a retransmission SSRC repairs.
    fn repaired(&mut self, rtx: u32, hop: &Hop<'_>) -> Option<u32> {
        if let Some(&media) = self.repairs.get(&rtx) {
            return Some(media);
        }
        let named = |plan: &&ReceivePlan| hop.mid.is_some_and(|mid| plan.mid.as_bytes() == mid);
        let plan = self.tracks.iter().find(named)?;
        let layer = layer_of(plan, hop.repaired_rid.or(hop.rid))?;
        let (track, stream) = (plan.track, |s: &Stream| s.layer == layer);
        let media = self.streams.iter().find(|(_, s)| s.track == track && stream(s)).map(|(&ssrc, _)| ssrc)?;
        // As many as there are layers: an older retransmission SSRC of this layer makes room.
        self.repairs.retain(|_, repaired| *repaired != media);
        self.repairs.insert(rtx, media);
        if let Some(name) = self.names.get_mut(&media) {
            name.rtx = Some(rtx);
        }
        Some(media)
    }

    /// Takes a sender report.
    pub(super) fn sender_report(
        &mut self,
        now: Instant,
        epoch: &Epoch,
        ssrc: u32,
        info: &SenderInfo,
        out: &mut Vec<PeerEvent>,
    ) {
        let Some(stream) = self.streams.get_mut(&ssrc) else { return };
        stream.receive.sender_report(now, *info);
        self.clock.record(info.ntp, epoch.ntp(now));
        // In our time, by one clock for all of the member's streams: lips and voice stay together.
        if let (Some(clock), Some(ntp)) = (stream.receive.clock(), self.clock.local(info.ntp)) {
            out.push(PeerEvent::Report { track: stream.track, layer: stream.layer, report: SenderClock { ntp, ..clock } });
        }
    }

    /// Appends a request for a keyframe; false while the layer does not flow.
    pub(super) fn request_keyframe(&self, track: TrackId, layer: Layer, buf: &mut Vec<u8>) -> bool {
        let media = self.streams.iter().find(|(_, stream)| stream.track == track && stream.layer == layer);
        let Some((&media, _)) = media else { return false };
        write::pli(buf, self.ssrc, media);
        true
    }

    /// When [`Uplink::write_feedback`] has something to say.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let nacks = self.streams.values().filter_map(|stream| stream.receive.deadline());
        nacks.chain(self.arrivals.deadline()).chain((!self.streams.is_empty()).then_some(self.report_at)).min()
    }

    /// Appends what is due: NACKs, transport feedback, receiver reports.
    pub(super) fn write_feedback(&mut self, now: Instant, rtt: Duration, buf: &mut Vec<u8>) {
        let mut lost = Vec::new();
        for (&media, stream) in &mut self.streams {
            lost.clear();
            stream.receive.nacks(now, rtt, &mut lost);
            if !lost.is_empty() {
                self.nacks_sent += lost.len() as u64;
                write::nack(buf, self.ssrc, media, &lost);
            }
        }
        let media = self.streams.keys().next().copied().unwrap_or(0);
        self.arrivals.feedback(now, self.ssrc, media, buf);
        if now >= self.report_at {
            self.report_at = now + REPORT_EVERY;
            let mut blocks: Vec<ReportBlock> = Vec::new();
            self.jitter = Duration::ZERO;
            for stream in self.streams.values_mut() {
                let Some(block) = stream.receive.report(now) else { continue };
                let jitter = f64::from(block.jitter) / f64::from(stream.codec.clock_rate());
                self.jitter = self.jitter.max(Duration::from_secs_f64(jitter).min(Duration::from_secs(10)));
                blocks.push(block);
            }
            let worst = blocks.iter().map(|block| block.fraction_lost).max();
            self.loss = worst.map_or(0.0, |worst| f32::from(worst) / 256.0);
            for blocks in blocks.chunks(31) {
                write::receiver_report(buf, self.ssrc, blocks);
            }
        }
    }
}

/// Which layer a rid names. A track without rids has one.
fn layer_of(plan: &ReceivePlan, rid: Option<&[u8]>) -> Option<Layer> {
    if plan.rids.is_empty() {
        return Some(Layer(0));
    }
    let index = plan.rids.iter().position(|known| Some(known.as_bytes()) == rid)?;
    Some(Layer(index as u8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::plan::{DtlsPlan, IceCredentials, IcePlan, PayloadType};

    fn plan(track: Option<TrackId>) -> MediaPlan {
        let credentials = IceCredentials { ufrag: "u".into(), pwd: "p".into() };
        let receive = track.map(|track| ReceivePlan {
            mid: "6".into(),
            track,
            kind: Kind::Video,
            rids: vec!["q".into(), "f".into()],
            ssrcs: Vec::new(),
        });
        MediaPlan {
            ice: IcePlan { local: credentials.clone(), remote: credentials },
            dtls: DtlsPlan { we_are_client: false, fingerprints: Vec::new() },
            extensions: ExtensionIds { mid: Some(1), rid: Some(2), repaired_rid: Some(3), ..ExtensionIds::default() },
            payload_types: vec![
                PayloadType { pt: 96, codec: Codec::Vp8, rtx: Some(97), fmtp: String::new() },
                PayloadType { pt: 111, codec: Codec::Opus, rtx: None, fmtp: String::new() },
            ],
            receive: receive.into_iter().collect(),
            send: Vec::new(),
            sctp: None,
        }
    }

    /// An RTP packet with the given one-byte extension elements (RFC 8285 §4.2).
    fn packet(pt: u8, seq: u16, ssrc: u32, elements: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![if elements.is_empty() { 0x80 } else { 0x90 }, pt];
        packet.extend_from_slice(&seq.to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 1]);
        packet.extend_from_slice(&ssrc.to_be_bytes());
        if !elements.is_empty() {
            packet.extend_from_slice(&[0xBE, 0xDE, 0, elements.len().div_ceil(4) as u8]);
            packet.extend_from_slice(elements);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        packet.extend_from_slice(payload);
        packet
    }

    fn places(out: &[PeerEvent]) -> Vec<(TrackId, Layer)> {
        let place = |event: &PeerEvent| match event {
            PeerEvent::Packet { track, layer, .. } => Some((*track, *layer)),
            _ => None,
        };
        out.iter().filter_map(place).collect()
    }

    #[test]
    fn a_stream_that_no_longer_names_itself_is_known_by_its_number_when_its_line_is_used_again() {
        let (now, first, second) = (Instant::now(), TrackId(1), TrackId(2));
        let mut uplink = Uplink::new(now, &plan(Some(first)), 99);
        let mut out = Vec::new();
        let vp8 = [0x10, 0, 0, 0];
        let named = [0x10, b'6', 0x20, b'f'];
        let repairing = [0x10, b'6', 0x30, b'f'];
        uplink.receive(now, &packet(96, 10, 7, &named, &vp8), &mut out).expect("it names itself");
        uplink.receive(now, &packet(97, 1, 8, &repairing, &[0, 9, 0x10, 0, 0, 0]), &mut out).expect("so does its repair");
        assert_eq!(places(&out), [(first, Layer(1)), (first, Layer(1))]);

        uplink.configure(&plan(None));
        assert_eq!(uplink.receive(now, &packet(96, 11, 7, &[], &vp8), &mut out), Err(Dropped::UnknownSsrc));

        uplink.configure(&plan(Some(second)));
        out.clear();
        uplink.receive(now, &packet(96, 13, 7, &[], &vp8), &mut out).expect("it is known");
        uplink.receive(now, &packet(97, 2, 8, &[], &[0, 12, 0x10, 0, 0, 0]), &mut out).expect("so is its repair");
        assert_eq!(places(&out), [(second, Layer(1)), (second, Layer(1))]);
    }

    #[test]
    fn pictures_are_known_by_their_header_and_nothing_else_is_taken_for_one() {
        let uplink = Uplink::new(Instant::now(), &plan(Some(TrackId(1))), 99);
        let picture = |pt| uplink.picture_in(&packet(pt, 1, 7, &[], &[1]));
        assert_eq!([picture(96), picture(96 | 0x80), picture(97)], [Some((7, false)), Some((7, false)), Some((7, true))]);
        assert_eq!([picture(111), picture(98), picture(201)], [None; 3], "a voice, nothing agreed on, a report");
        let whole = packet(96, 1, 7, &[], &[]);
        assert!((0..whole.len()).all(|length| uplink.picture_in(&whole[..length]).is_none()), "cut off");
        let stun = [&[0, 96], &whole[2..]].concat();
        assert_eq!(uplink.picture_in(&stun), None);
    }
}
