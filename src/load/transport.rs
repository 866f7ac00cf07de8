//! A client's side of one connection: ICE as the controlling agent toward the server's host candidates, DTLS and SRTP of
//! `edge::peer`. Owns the handshake and its repeats; what travels inside is the caller's. Pure: datagrams in and out, told the time.
//!
//! Candidates are tried one after the other: what [`Transport::destination`] says holds for everything written since the call before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::edge::media::CloseReason;
use crate::edge::peer::Certificate;
use crate::edge::peer::dtls::{Dtls, Event};
use crate::edge::peer::srtp::{Profile, Srtp, SrtpError};
use crate::edge::peer::stun::{self, Key, Message};
use crate::edge::plan::{DtlsPlan, IceCredentials};
use crate::shard::batch::Batch;

use super::noise::Noise;

/// Between two checks of a candidate that has not answered.
const FIRST_CHECKS: Duration = Duration::from_millis(50);
/// Checks of one candidate before the next gets its turn.
const CHECKS_EACH: u32 = 10;
/// Between two checks of a path that works (RFC 7675 §5.1 has 5 s; browsers check every 2.5 s).
const CONSENT: Duration = Duration::from_millis(2_500);
/// No answer for so long, and the path is lost.
const LOST_AFTER: Duration = Duration::from_secs(15);
/// How long everything until the keys are there may take.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// Where and how to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// UDP addresses of the server, best first.
    pub candidates: Vec<SocketAddr>,
    pub local: IceCredentials,
    pub remote: IceCredentials,
    pub dtls: DtlsPlan,
}

/// What a datagram was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Part of the connection itself, or nothing.
    Nothing,
    /// The handshake is done with it.
    Connected,
    /// A sealed RTP packet: all of the datagram.
    Rtp,
    /// An opened RTCP compound: so many bytes of the datagram.
    Rtcp(usize),
    /// The connection is over.
    Over(CloseReason),
}

/// One connection.
pub struct Transport {
    settings: Settings,
    theirs: Key,
    ours: Key,
    noise: Noise,
    /// Index into the candidates.
    candidate: usize,
    /// A check was answered from there.
    works: bool,
    checks: u32,
    check_at: Instant,
    asked: Option<([u8; 12], Instant)>,
    answered_at: Instant,
    rtt: Duration,
    dtls: Dtls,
    events: Vec<Event>,
    srtp: Option<Box<Srtp>>,
    began: Instant,
    over: bool,
}

impl Transport {
    pub fn new(now: Instant, certificate: Arc<Certificate>, settings: Settings, seed: u64) -> Self {
        Self {
            theirs: Key::new(&settings.remote.pwd),
            ours: Key::new(&settings.local.pwd),
            dtls: Dtls::new(certificate, &settings.dtls),
            settings,
            noise: Noise::new(seed),
            candidate: 0,
            works: false,
            checks: 0,
            check_at: now,
            asked: None,
            answered_at: now,
            rtt: Duration::ZERO,
            events: Vec::new(),
            srtp: None,
            began: now,
            over: false,
        }
    }

    /// Where to send.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.settings.candidates.get(self.candidate).copied()
    }

    /// Whether the keys are there.
    pub const fn is_connected(&self) -> bool {
        self.srtp.is_some() && !self.over
    }

    /// The round trip of the latest check.
    pub const fn rtt(&self) -> Duration {
        self.rtt
    }

    pub const fn srtp(&mut self) -> Option<&mut Srtp> {
        match &mut self.srtp {
            Some(srtp) => Some(&mut **srtp),
            None => None,
        }
    }

    /// How RTP is sealed.
    pub fn profile(&self) -> Option<Profile> {
        self.srtp.as_ref().map(|srtp| srtp.profile())
    }

    /// Takes a datagram; RTCP is opened in place, RTP is left sealed.
    pub fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8], out: &mut Batch) -> Received {
        match datagram.first() {
            Some(0..=3) => {
                self.stun(now, from, datagram, out);
                self.told(out)
            }
            Some(20..=63) => {
                // What the handshake can't use is lost, as on a network.
                let _ = self.dtls.receive(now, datagram, &mut self.events);
                self.told(out)
            }
            Some(128..=191) => self.media(datagram),
            _ => Received::Nothing,
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Batch) -> Received {
        if self.over {
            return Received::Nothing;
        }
        let silent = now.saturating_duration_since(self.answered_at) > LOST_AFTER;
        if silent || self.srtp.is_none() && now.saturating_duration_since(self.began) > HANDSHAKE {
            self.over = true;
            return Received::Over(if self.srtp.is_some() { CloseReason::ConsentLost } else { CloseReason::NeverConnected });
        }
        if now >= self.check_at {
            self.check(now, out);
        }
        self.dtls.handle_timeout(now, &mut self.events);
        self.told(out)
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        Some(self.dtls.deadline().map_or(self.check_at, |deadline| deadline.min(self.check_at)))
    }

    /// Seals and appends RTCP.
    pub fn send_rtcp(&mut self, compound: &[u8], out: &mut Batch) -> Result<(), SrtpError> {
        let Some(srtp) = self.srtp.as_mut().filter(|_| !self.over) else { return Ok(()) };
        let start = out.start();
        out.buffer().extend_from_slice(compound);
        let sealed = srtp.seal_rtcp(out.buffer(), start);
        if sealed.is_ok() {
            out.close()
        } else {
            out.abandon()
        }
        sealed
    }

    /// Says goodbye.
    pub fn close(&mut self, now: Instant, out: &mut Batch) {
        if !self.over {
            self.dtls.close(now);
            self.flush(out);
            self.over = true;
        }
    }

    fn check(&mut self, now: Instant, out: &mut Batch) {
        if !self.works {
            if self.checks == CHECKS_EACH && !self.settings.candidates.is_empty() {
                self.checks = 0;
                self.candidate = (self.candidate + 1) % self.settings.candidates.len();
            }
            self.checks += 1;
        }
        let mut transaction = [0; 12];
        let bits = [self.noise.bits().to_be_bytes(), self.noise.bits().to_be_bytes()].concat();
        transaction.iter_mut().zip(bits).for_each(|(to, from)| *to = from);
        let username = format!("{}:{}", self.settings.remote.ufrag, self.settings.local.ufrag);
        let check = stun::check(transaction, &username, self.noise.bits(), &self.theirs);
        append(out, &check);
        self.asked = Some((transaction, now));
        self.check_at = now + if self.works { CONSENT } else { FIRST_CHECKS };
    }

    fn stun(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], out: &mut Batch) {
        if let Some(transaction) = stun::answered(datagram, &self.theirs) {
            self.answered_at = now;
            if let Some((_, at)) = self.asked.filter(|(asked, _)| *asked == transaction) {
                self.rtt = now.saturating_duration_since(at);
            }
            if !self.works {
                self.works = true;
                if let Some(index) = self.settings.candidates.iter().position(|candidate| *candidate == from) {
                    self.candidate = index;
                }
                self.check_at = now + CONSENT;
                self.dtls.start(now, &mut self.events);
            }
        } else if let Some(Message::Request(request)) = stun::parse(datagram)
            && request.is_from_owner_of(&self.ours)
        {
            // A server with full ICE checks too.
            append(out, &request.success(&self.ours, from));
        }
    }

    fn media(&mut self, datagram: &mut [u8]) -> Received {
        let Some(srtp) = self.srtp.as_mut().filter(|_| !self.over) else { return Received::Nothing };
        if matches!(datagram.get(1), Some(192..=223)) {
            return srtp.open_rtcp(datagram).map_or(Received::Nothing, Received::Rtcp);
        }
        Received::Rtp
    }

    /// What the handshake came to, and what it has to send.
    fn told(&mut self, out: &mut Batch) -> Received {
        self.flush(out);
        let mut received = Received::Nothing;
        for event in self.events.drain(..) {
            match event {
                Event::Connected(srtp) => {
                    self.srtp = Some(srtp);
                    received = Received::Connected;
                }
                Event::Closed(why) => {
                    self.over = true;
                    received = Received::Over(why);
                }
                Event::Data(_) => {}
            }
        }
        received
    }

    fn flush(&mut self, out: &mut Batch) {
        while let Some(datagram) = self.dtls.poll_transmit() {
            append(out, &datagram);
        }
    }
}

fn append(out: &mut Batch, datagram: &[u8]) {
    out.buffer().extend_from_slice(datagram);
    out.close();
}
