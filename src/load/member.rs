//! One member's media: the transport below, what it publishes and what it receives above. Pure: datagrams in and out, told the time;
//! `worker` drives it. Signaling hands it what was negotiated.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::edge::media::CloseReason;
use crate::edge::peer::Certificate;
use crate::edge::peer::srtp::Profile;
use crate::rtp::clock::Epoch;
use crate::rtp::rtcp::{self, Rtcp};
use crate::shard::batch::Batch;

use super::account::{ByKind, Heard, Latencies, Said};
use super::offer::Settled;
use super::publisher::{Published, Publisher};
use super::subscriber::{Bound, Firsts, LAYERS, Subscriber};
use super::transport::{Received, Transport};

/// The largest RTCP datagram before it is sealed, in bytes.
const MAX_RTCP: usize = 1_152;

/// What a member is.
#[derive(Clone, Debug)]
pub struct Role {
    pub published: Published,
    /// Its m-lines for audio and video, with their number in the offer.
    pub lines: [Option<(String, u32)>; 2],
    pub seed: u64,
    /// Every packet is opened.
    pub verify: bool,
    /// When the member began to join.
    pub asked: Instant,
    /// When the whole crowd began: turns of talking count from there.
    pub began: Instant,
}

/// Something that signaling has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    Connected,
    Over(CloseReason),
}

/// One member.
pub struct Member {
    role: Role,
    epoch: Epoch,
    transport: Transport,
    publisher: Publisher,
    subscriber: Subscriber,
    connected: Option<Instant>,
    rtcp: Vec<u8>,
}

/// What a member had so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub heard: ByKind<Heard>,
    pub said: ByKind<Said>,
}

/// When things happened.
#[derive(Clone, Copy, Debug)]
pub struct Milestones {
    pub asked: Instant,
    pub connected: Option<Instant>,
    /// How its media is sealed.
    pub profile: Option<Profile>,
    pub firsts: Firsts,
}

impl Member {
    pub fn new(now: Instant, epoch: Epoch, certificate: Arc<Certificate>, role: Role, settled: &Settled) -> Self {
        let publisher = Publisher::new(now, role.began, &role.published, role.seed, role.lines.clone());
        // Names us in RTCP; the low bits keep it apart from what we send.
        let ssrc = super::publisher::ssrcs(role.seed, 15, 7).0;
        let mut member = Self {
            epoch,
            transport: Transport::new(now, certificate, settled.transport.clone(), role.seed),
            publisher,
            subscriber: Subscriber::new(now, ssrc, role.verify),
            connected: None,
            rtcp: Vec::new(),
            role,
        };
        member.configure(settled);
        member
    }

    /// Obeys a newer answer.
    pub fn configure(&mut self, settled: &Settled) {
        self.publisher.configure(settled.extensions, settled.rtx, &settled.sends);
        self.subscriber.configure(settled.extensions, &settled.slots);
    }

    pub fn bind(&mut self, now: Instant, mid: &str, bound: Bound) {
        self.subscriber.bind(now, mid, bound);
    }

    pub fn expect(&mut self, mid: &str, bound: Bound) {
        self.subscriber.expect(mid, bound);
    }

    /// Pictures that come now, by layer.
    pub fn layers(&self) -> [u64; LAYERS] {
        self.subscriber.layers()
    }

    pub const fn is_connected(&self) -> bool {
        self.transport.is_connected()
    }

    pub fn set_layers(&mut self, active: &[String]) {
        self.publisher.set_layers(active);
    }

    /// Where what was appended goes.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.transport.destination()
    }

    /// Takes a datagram.
    pub fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        out: &mut Batch,
        latencies: &mut Latencies,
    ) -> Option<Happened> {
        match self.transport.receive(now, from, datagram, out) {
            Received::Nothing => None,
            Received::Rtp => {
                let wall = self.epoch.ntp(now);
                let srtp = self.transport.srtp()?;
                self.subscriber.receive(now, wall, datagram, srtp, latencies);
                None
            }
            Received::Rtcp(length) => {
                self.feedback(now, datagram.get(..length)?, out);
                None
            }
            Received::Connected => {
                self.connected = Some(now);
                Some(Happened::Connected)
            }
            Received::Over(why) => Some(Happened::Over(why)),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Batch) -> Option<Happened> {
        let received = self.transport.handle_timeout(now, out);
        if self.connected.is_some()
            && let Some(srtp) = self.transport.srtp()
        {
            self.publisher.send(now, &self.epoch, srtp, out);
            self.rtcp.clear();
            self.publisher.write_reports(now, &self.epoch, &mut self.rtcp);
            self.subscriber.write_feedback(now, self.transport.rtt(), &mut self.rtcp);
            self.send_rtcp(out);
        }
        match received {
            Received::Connected => {
                self.connected = Some(now);
                Some(Happened::Connected)
            }
            Received::Over(why) => Some(Happened::Over(why)),
            Received::Nothing | Received::Rtp | Received::Rtcp(_) => None,
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let transport = self.transport.deadline()?;
        if self.connected.is_none() {
            return Some(transport);
        }
        let others = [self.publisher.deadline(), self.subscriber.deadline()];
        others.into_iter().flatten().chain([transport]).min()
    }

    /// Says goodbye.
    pub fn close(&mut self, now: Instant, out: &mut Batch) {
        self.transport.close(now, out);
    }

    /// What it had so far.
    pub fn tally(&self, now: Instant) -> Tally {
        Tally { heard: self.subscriber.tally(now), said: self.publisher.said }
    }

    pub fn milestones(&self) -> Milestones {
        let profile = self.transport.profile();
        Milestones { asked: self.role.asked, connected: self.connected, profile, firsts: self.subscriber.firsts }
    }

    fn feedback(&mut self, now: Instant, compound: &[u8], out: &mut Batch) {
        for packet in rtcp::parse(compound) {
            let Ok(packet) = packet else { return };
            match packet {
                Rtcp::SenderReport { ssrc, info, reports } => {
                    self.subscriber.sender_report(now, ssrc, info);
                    self.publisher.reported(reports.iter().map(|block| (block.ssrc, block.lost)));
                }
                Rtcp::ReceiverReport { reports, .. } => {
                    self.publisher.reported(reports.iter().map(|block| (block.ssrc, block.lost)));
                }
                Rtcp::Pli { media } => self.publisher.keyframe_asked(media),
                Rtcp::Fir { requests } => requests.iter().for_each(|(ssrc, _)| self.publisher.keyframe_asked(ssrc)),
                Rtcp::Nack { media, lost } => {
                    if let Some(srtp) = self.transport.srtp() {
                        self.publisher.resend(media, lost.iter(), srtp, out);
                    }
                }
                Rtcp::Goodbye { .. } | Rtcp::TransportFeedback(_) | Rtcp::Remb { .. } | Rtcp::Other => {}
            }
        }
    }

    fn send_rtcp(&mut self, out: &mut Batch) {
        let mut rest = self.rtcp.as_slice();
        while !rest.is_empty() {
            let length = rtcp::fitting(rest, MAX_RTCP).clamp(1, rest.len());
            let (compound, after) = rest.split_at(length);
            // A key that is used up ends the connection anyway.
            let _ = self.transport.send_rtcp(compound, out);
            rest = after;
        }
    }
}
