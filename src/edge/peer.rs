//! One member's media on this hop: the transport below, what it sends (`uplink`) and what it receives (`downlink`) above,
//! joined behind one type. Owns the border between bytes from the network and what the router understands. Pure: datagrams
//! in, events and datagrams out, told the time; the shard drives it. Nothing outside this folder knows the WebRTC stack.

pub mod client_hello;
pub mod data;
pub mod data_guard;
mod downlink;
pub mod dtls;
pub mod dtls_guard;
pub mod event;
mod figures;
pub mod ice;
pub mod pacer;
pub mod records;
pub mod route;
pub mod srtp;
pub mod stun;
pub mod transport;
mod uplink;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use bytes::Bytes;

pub use downlink::Sending;
pub use dtls::Certificate;
pub use event::TransportEvent;
pub use figures::Figures;
pub use route::Route;
pub use stun::ufrag_of;

use crate::edge::media::Quality;
use crate::edge::plan::{MediaPlan, Slot};
use crate::id::{ShardId, TrackId};
use crate::policy::bandwidth::{Estimator, START};
use crate::policy::layers::Budget;
use crate::policy::quality::{Path, Pictures};
use crate::rtp::clock::{Epoch, NtpTime, SenderClock};
use crate::rtp::rtcp::transport::TransportFeedback;
use crate::rtp::rtcp::{self, Reports, Rtcp};
use crate::rtp::twcc::Outcome;
use crate::rtp::{Kind, Layer, Packet};
use crate::units::Bitrate;
use downlink::{Downlink, Waiting};
use event::{DropReason, Received};
use pacer::{Admission, Class, Pacer};
use transport::Transport;
use uplink::Uplink;

/// The round trip that is assumed until a report tells it.
const ASSUMED_RTT: Duration = Duration::from_millis(100);

/// What a member may receive before anybody says.
const DEFAULT_CAP: Bitrate = Bitrate::mbps(20);

/// A receiver that asks for a keyframe shows a picture that stands for about this long.
const STANDS: Duration = Duration::from_millis(300);

/// Keyframe requests of one FIR that are obeyed: more than slots there can be.
const MAX_FIR: usize = 64;

/// How often the member's quality is told.
const QUALITY_EVERY: Duration = Duration::from_secs(2);

/// The largest RTCP datagram before it is sealed: what a path of 1280 bytes takes, as every IPv6 path does, with headers and
/// tag. Our socket never fragments, so a larger one would be lost on any real network.
const MAX_RTCP: usize = 1_152;

/// Sequence numbers of one NACK that are answered; more is a receiver that lost everything, which needs a keyframe.
const MAX_NACKED: usize = 256;

/// Something a peer has to tell.
#[derive(Debug)]
pub enum PeerEvent {
    Packet {
        track: TrackId,
        layer: Layer,
        packet: Arc<Packet>,
    },
    /// A sender report; its time is ours.
    Report {
        track: TrackId,
        layer: Layer,
        report: SenderClock,
    },
    LayerRestarted {
        track: TrackId,
        layer: Layer,
    },
    Nack {
        slot: Slot,
        rtt: Duration,
        lost: Vec<u16>,
    },
    KeyframeWanted {
        slot: Slot,
    },
    /// What happened below: routes, the handshake, data channels, the end.
    Transport(TransportEvent),
    Quality(Quality),
    /// What the path to the member carries.
    Budget(Budget),
}

/// What became of a packet for a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It was appended.
    Now,
    /// It waits for its turn: [`Peer::release`] appends it, by [`Peer::deadline`].
    Later,
    /// Too much waits already.
    Dropped,
    /// The slot can't carry it.
    Refused,
}

/// What [`Peer::release`] appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    Video,
    Repair,
    /// A probe's.
    Padding,
}

/// Why a datagram or packet was dropped; each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    UnknownSource,
    BadStun,
    BadDtls,
    BadSrtp,
    Replayed,
    BadRtp,
    BadRtcp,
    UnknownSsrc,
}

/// One member's media.
pub struct Peer {
    epoch: Epoch,
    transport: Transport,
    uplink: Uplink,
    downlink: Downlink,
    bandwidth: Estimator,
    pacer: Pacer<Waiting>,
    /// Whether padding can be sent, once connected and asked.
    can_pad: Option<bool>,
    /// Bytes sent by the last receiver report, and when that came.
    reported: (u32, Instant),
    rtt: Option<Duration>,
    loss_down: f32,
    /// Keyframes that were asked for since quality was told.
    keyframes: u32,
    quality_at: Instant,
    /// RTCP that is written but not sealed yet: more than fits one datagram.
    rtcp: Vec<u8>,
    /// Reused from call to call.
    transport_events: Vec<TransportEvent>,
    outcomes: Vec<Outcome>,
}

impl Peer {
    /// A peer as its first plan has it. `ssrc` names us in feedback.
    pub fn new(now: Instant, epoch: Epoch, certificate: Arc<Certificate>, plan: &MediaPlan, ssrc: u32) -> Self {
        Self {
            epoch,
            transport: Transport::new(now, certificate, &plan.ice, &plan.dtls, plan.sctp.as_ref()),
            uplink: Uplink::new(now, plan, ssrc),
            downlink: Downlink::new(now, plan),
            pacer: Pacer::new(now, START),
            can_pad: None,
            reported: (0, now),
            bandwidth: Estimator::new(now, DEFAULT_CAP, plan.extensions.transport_cc.is_some()),
            rtt: None,
            loss_down: 0.0,
            keyframes: 0,
            quality_at: now + QUALITY_EVERY,
            rtcp: Vec::new(),
            transport_events: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// Obeys a newer plan.
    pub fn configure(&mut self, now: Instant, plan: &MediaPlan, out: &mut Vec<PeerEvent>) {
        self.with_transport(out, |transport, events| {
            transport.configure(now, &plan.ice, &plan.dtls, plan.sctp.as_ref(), events);
        });
        self.uplink.configure(plan);
        self.downlink.configure(plan);
        self.can_pad = None;
    }

    /// What the member may receive at most.
    pub fn limit(&mut self, now: Instant, rate: Bitrate) -> Option<Budget> {
        self.bandwidth.set_cap(now, rate);
        self.bandwidth.budget(now)
    }

    /// Takes a datagram.
    pub fn receive(
        &mut self,
        now: Instant,
        route: Route,
        datagram: &mut [u8],
        out: &mut Vec<PeerEvent>,
    ) -> Result<(), Dropped> {
        let received = self.with_transport(out, |transport, events| transport.receive(now, route, datagram, events));
        if self.can_pad.is_none() && self.transport.is_connected() {
            let can_pad = self.downlink.can_pad();
            self.can_pad = Some(can_pad);
            self.bandwidth.set_probing(now, can_pad);
            self.estimated(now, out);
        }
        match received {
            Received::Nothing => Ok(()),
            Received::Rtp(length) => {
                let packet = datagram.get(..length).ok_or(Dropped::BadRtp)?;
                self.uplink.receive(now, packet, out)
            }
            Received::Rtcp(length) => {
                let compound = datagram.get(..length).ok_or(Dropped::BadRtcp)?;
                self.feedback(now, compound, out)
            }
            Received::Dropped(reason) => match reason {
                DropReason::UnknownSource => Err(Dropped::UnknownSource),
                DropReason::BadStun => Err(Dropped::BadStun),
                DropReason::BadDtls => Err(Dropped::BadDtls),
                DropReason::BadSrtp => Err(Dropped::BadSrtp),
                DropReason::Replayed => Err(Dropped::Replayed),
                // Reordered with the handshake or the goodbye: nobody's fault.
                DropReason::TooEarly | DropReason::Closed => Ok(()),
            },
        }
    }

    /// The stream of pictures that a datagram belongs to, and whether it repairs one, by its header alone: it is not opened.
    pub fn picture_in(&self, datagram: &[u8]) -> Option<(u32, bool)> {
        self.uplink.picture_in(datagram)
    }

    /// A packet of this stream is not read: what is missing of it is not asked for.
    pub fn leave(&mut self, ssrc: u32) {
        self.uplink.leave(ssrc);
    }

    fn feedback(&mut self, now: Instant, compound: &[u8], out: &mut Vec<PeerEvent>) -> Result<(), Dropped> {
        for packet in rtcp::parse(compound) {
            match packet.map_err(|_| Dropped::BadRtcp)? {
                Rtcp::SenderReport { ssrc, info, reports } => {
                    self.uplink.sender_report(now, &self.epoch, ssrc, &info, out);
                    self.reception(now, reports);
                }
                Rtcp::ReceiverReport { reports, .. } => self.reception(now, reports),
                Rtcp::Nack { media, lost } => {
                    if let Some(slot) = self.downlink.slot_of(media) {
                        let lost = lost.iter().take(MAX_NACKED).collect();
                        out.push(PeerEvent::Nack { slot, rtt: self.rtt.unwrap_or(ASSUMED_RTT), lost });
                    }
                }
                Rtcp::Pli { media } => {
                    let slot = self.downlink.slot_of(media);
                    self.keyframes_wanted(slot, out);
                }
                Rtcp::Fir { requests } => {
                    let slots = requests.iter().filter_map(|(media, _)| self.downlink.slot_of(media));
                    let slots: ArrayVec<Slot, MAX_FIR> = slots.take(MAX_FIR).collect();
                    self.keyframes_wanted(slots, out);
                }
                Rtcp::TransportFeedback(feedback) => self.transport_feedback(now, &feedback, out),
                Rtcp::Remb { rate, .. } => {
                    self.bandwidth.remb(now, rate);
                    self.estimated(now, out);
                }
                // Browsers say goodbye for a layer that is switched off, and go on with the same SSRC and numbering when it is
                // switched on again, without its mid and rid: what is known of it stays, until another takes its place.
                Rtcp::Goodbye { .. } | Rtcp::Other => {}
            }
        }
        Ok(())
    }

    fn transport_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>, out: &mut Vec<PeerEvent>) {
        self.outcomes.clear();
        let outcomes = &mut self.outcomes;
        let heard = self.downlink.sent.feedback(now, feedback, |outcome| outcomes.push(outcome));
        self.bandwidth.feedback(now, &self.outcomes, heard);
        self.estimated(now, out);
    }

    /// Obeys the estimate as it is now.
    fn estimated(&mut self, now: Instant, out: &mut Vec<PeerEvent>) {
        self.pacer.set_estimate(self.bandwidth.rate(now));
        self.downlink.keeps_recent = self.bandwidth.wants_more();
        out.extend(self.bandwidth.budget(now).map(PeerEvent::Budget));
    }

    fn keyframes_wanted(&mut self, slots: impl IntoIterator<Item = Slot>, out: &mut Vec<PeerEvent>) {
        for slot in slots {
            self.keyframes += 1;
            self.downlink.keyframe_asked(slot);
            out.push(PeerEvent::KeyframeWanted { slot });
        }
    }

    /// What the member says of the streams it receives.
    fn reception(&mut self, now: Instant, reports: Reports<'_>) {
        let ntp = self.epoch.ntp(now);
        let mut worst = None;
        for block in reports.iter() {
            if !self.downlink.heard(now, &block) {
                continue;
            }
            worst = worst.max(Some(block.fraction_lost));
            if let Some(rtt) = block.round_trip(ntp) {
                self.rtt = Some(self.rtt.map_or(rtt, |smooth| (smooth * 7 + rtt) / 8));
            }
        }
        if let Some(rtt) = self.rtt {
            self.bandwidth.set_round_trip(rtt);
        }
        if let Some(worst) = worst {
            self.loss_down = f32::from(worst) / 256.0;
            let octets = self.downlink.octets();
            let (before, at) = std::mem::replace(&mut self.reported, (octets, now));
            let passed = now.saturating_duration_since(at).as_millis().max(1) as u64;
            let sent = Bitrate(u64::from(octets.wrapping_sub(before)) * 8_000 / passed);
            self.bandwidth.receiver_report(now, self.loss_down, sent);
        }
    }

    /// What the member's subscriptions would take if its path carried everything: the path is not probed for more.
    pub fn demand(&mut self, now: Instant, rate: Bitrate) {
        self.bandwidth.set_demand(now, rate);
        self.downlink.keeps_recent = self.bandwidth.wants_more();
    }

    /// What the path to the member carries, once that is known.
    pub fn estimate(&self, now: Instant) -> Option<Bitrate> {
        self.transport.is_connected().then(|| self.bandwidth.rate(now))
    }

    /// Appends one sealed packet for a slot to `buf`, or keeps it for a moment: a voice never waits.
    pub fn forward(&mut self, sending: &Sending<'_>, buf: &mut Vec<u8>) -> Sent {
        let size = sending.packet.wire_size();
        if sending.packet.codec.kind() == Kind::Audio {
            self.pacer.spend(sending.now, size);
        } else if let Some(sent) = self.queue(sending, size, Class::Video) {
            return sent;
        }
        if self.downlink.forward(&self.epoch, &mut self.transport, sending, buf) { Sent::Now } else { Sent::Refused }
    }

    /// Appends one that was sent before, or keeps it for a moment.
    pub fn retransmit(&mut self, sending: &Sending<'_>, buf: &mut Vec<u8>) -> Sent {
        let size = sending.packet.wire_size();
        self.bandwidth.repaired(sending.now, size);
        if let Some(sent) = self.queue(sending, size, Class::Repair) {
            return sent;
        }
        if self.downlink.retransmit(&self.epoch, &mut self.transport, sending, buf) { Sent::Now } else { Sent::Refused }
    }

    /// Queues a packet unless it may leave at once.
    fn queue(&mut self, sending: &Sending<'_>, size: usize, class: Class) -> Option<Sent> {
        match self.pacer.admit(sending.now, size, class) {
            Admission::Now => None,
            Admission::Full => Some(Sent::Dropped),
            Admission::Wait if !self.transport.is_connected() => Some(Sent::Refused),
            Admission::Wait => {
                self.pacer.push(class, size, Waiting::new(sending));
                Some(Sent::Later)
            }
        }
    }

    /// Appends the next packet that waited for its turn, or one of a probe; `None` when there is none now. Call it until it says so.
    pub fn release(&mut self, now: Instant, buf: &mut Vec<u8>) -> Option<Released> {
        while let Some((class, waiting)) = self.pacer.pop(now) {
            let sending = waiting.sending(now);
            let (released, appended) = match class {
                Class::Video => (Released::Video, self.downlink.forward(&self.epoch, &mut self.transport, &sending, buf)),
                Class::Repair => (Released::Repair, self.downlink.retransmit(&self.epoch, &mut self.transport, &sending, buf)),
            };
            if appended {
                return Some(released);
            }
        }
        self.probe(now, buf).then_some(Released::Padding)
    }

    /// Appends padding while a probe is due.
    fn probe(&mut self, now: Instant, buf: &mut Vec<u8>) -> bool {
        let Some(cluster) = self.bandwidth.probe(now).filter(|_| self.transport.is_connected()) else { return false };
        self.downlink.sent.probe(cluster.id);
        let (bytes, packets) = self.downlink.sent.probed();
        if !cluster.is_over(now, bytes) {
            if bytes >= cluster.due(now) {
                return false;
            }
            let size = cluster.packet_size() as usize;
            if self.downlink.pad(now, &self.epoch, &mut self.transport, size, buf) {
                self.pacer.spend(now, size);
                return true;
            }
        }
        self.bandwidth.probe_sent(now, packets);
        self.downlink.sent.probe(0);
        false
    }

    /// Appends a request for a keyframe of what the member sends; false while that layer does not flow.
    pub fn request_keyframe(&mut self, track: TrackId, layer: Layer, buf: &mut Vec<u8>) -> bool {
        let start = buf.len();
        self.uplink.request_keyframe(track, layer, buf) && self.transport.seal_rtcp(buf, start).is_ok()
    }

    /// Appends the reports and requests that are due as one sealed datagram; false when there are none. Call it until it says
    /// so: what is too much for one datagram goes into the next. `timestamp` gives the RTP time of a slot's stream, where that
    /// is known.
    pub fn write_rtcp(&mut self, now: Instant, timestamp: impl Fn(Slot, NtpTime) -> Option<u32>, buf: &mut Vec<u8>) -> bool {
        if !self.transport.is_connected() {
            return false;
        }
        self.downlink.write_reports(now, &self.epoch, timestamp, &mut self.rtcp);
        self.uplink.write_feedback(now, self.rtt.unwrap_or(ASSUMED_RTT), &mut self.rtcp);
        let start = buf.len();
        buf.extend(self.rtcp.drain(..rtcp::fitting(&self.rtcp, MAX_RTCP)));
        buf.len() > start && self.transport.seal_rtcp(buf, start).is_ok()
    }

    /// Does what its time has come for, but for RTCP, which [`Peer::write_rtcp`] writes.
    pub fn timeout(&mut self, now: Instant, out: &mut Vec<PeerEvent>) {
        self.with_transport(out, |transport, events| transport.handle_timeout(now, events));
        if self.transport.is_connected() && now >= self.quality_at {
            self.quality_at = now + QUALITY_EVERY;
            self.downlink.measure(now);
            out.push(PeerEvent::Quality(self.quality(now)));
        }
        if self.transport.is_connected() {
            self.bandwidth.timeout(now, self.downlink.sent.waiting());
            self.estimated(now, out);
        }
    }

    /// How the paths do; what becomes of pictures the router knows.
    fn quality(&mut self, now: Instant) -> Quality {
        let round_trip = self.rtt.unwrap_or_default();
        let loss = self.downlink.sent.loss(now).unwrap_or(self.loss_down);
        let jitter = self.downlink.all_figures().filter_map(|figures| Some(figures.reception(now)?.1)).max();
        let stood = STANDS.as_secs_f32() * std::mem::take(&mut self.keyframes) as f32 / QUALITY_EVERY.as_secs_f32();
        Quality {
            up: Path { round_trip, jitter: self.uplink.jitter, loss: self.uplink.loss },
            down: Path { round_trip, jitter: jitter.unwrap_or_default(), loss },
            published: Pictures::default(),
            shown: Pictures { frozen: stood.min(1.0), ..Pictures::default() },
        }
    }

    /// What is measured of a slot's stream.
    pub fn figures(&self, slot: Slot) -> Option<&Figures> {
        self.downlink.figures(slot)
    }

    /// The round trip to the member, once a report told it.
    pub const fn round_trip(&self) -> Option<Duration> {
        self.rtt
    }

    /// When [`Peer::release`] has something to append.
    pub fn release_at(&self) -> Option<Instant> {
        let sent = &self.downlink.sent;
        let cluster = self.bandwidth.cluster().map(|cluster| cluster.next(sent.probed().0));
        [self.pacer.deadline(), cluster, self.bandwidth.deadline(sent.waiting())].into_iter().flatten().min()
    }

    /// When [`Peer::timeout`], [`Peer::write_rtcp`] or [`Peer::release`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let media = [Some(self.downlink.deadline()), Some(self.quality_at), self.uplink.deadline(), self.release_at()];
        let media = media.into_iter().filter(|_| self.transport.is_connected()).flatten();
        media.chain(self.transport.deadline()).min()
    }

    /// The next datagram that is not media; drain it after every other call.
    pub fn poll_transmit(&mut self) -> Option<(Route, Bytes)> {
        self.transport.poll_transmit()
    }

    /// Where media goes.
    pub fn route(&self) -> Option<Route> {
        self.transport.route()
    }

    /// The connection under a TCP route is gone.
    pub fn forget_route(&mut self, route: Route, out: &mut Vec<PeerEvent>) {
        self.with_transport(out, |transport, events| transport.forget_route(route, events));
    }

    /// Sends a message on the data channel of that label; false when there is none or it is full.
    pub fn send_data(&mut self, now: Instant, label: &str, binary: bool, payload: &[u8]) -> bool {
        self.transport.send_data(now, label, binary, payload).is_ok()
    }

    /// Says goodbye; what is to be sent is in [`Peer::poll_transmit`].
    pub fn close(&mut self, now: Instant) {
        self.transport.close(now);
    }

    /// Packets that were asked for again, so far.
    pub fn nacks_sent(&self) -> u64 {
        self.uplink.nacks_sent
    }

    fn with_transport<T>(
        &mut self,
        out: &mut Vec<PeerEvent>,
        call: impl FnOnce(&mut Transport, &mut Vec<TransportEvent>) -> T,
    ) -> T {
        let result = call(&mut self.transport, &mut self.transport_events);
        out.extend(self.transport_events.drain(..).map(PeerEvent::Transport));
        result
    }
}

/// Whether a datagram is STUN by its first byte (RFC 7983 §7).
pub fn is_stun(datagram: &[u8]) -> bool {
    route::Protocol::of(datagram) == route::Protocol::Stun
}

/// Which shard drew a ufrag: its first two hexadecimal digits say.
pub fn shard_of(ufrag: &str) -> Option<ShardId> {
    u8::from_str_radix(ufrag.get(..2)?, 16).ok().map(ShardId)
}
