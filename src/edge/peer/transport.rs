//! One peer's transport: ICE-lite finds its routes, DTLS proves who it is, SRTP protects its media and SCTP carries its data
//! channels. Owns their order and their end; knows nothing of what packets mean. Pure: datagrams in, datagrams and events
//! out, told the time. The peer above feeds it, the shard sends what it gives.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::data::{Data, DataError};
use super::dtls::{self, Certificate, Dtls};
use super::event::{DropReason, Received, TransportEvent};
use super::ice::Ice;
use super::route::{Protocol, Route, is_rtcp};
use super::srtp::{Profile, Srtp, SrtpError};
use crate::edge::media::CloseReason;
use crate::edge::plan::{DtlsPlan, IcePlan, SctpPlan};

/// Time from the first plan to a finished handshake.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// Answers to connectivity checks that wait to be sent; beyond it the oldest goes, and the client asks again.
const MAX_ANSWERS: usize = 16;

/// One peer's transport.
pub struct Transport {
    ice: Ice,
    dtls: Dtls,
    data: Option<Data>,
    state: State,
    answers: VecDeque<(Route, Bytes)>,
    /// Reused between calls.
    dtls_events: Vec<dtls::Event>,
}

enum State {
    /// Gives up at this time.
    Connecting {
        until: Instant,
    },
    Connected(Box<Srtp>),
    Closed,
}

/// Why a packet was not sealed. The buffer is as it was before the packet was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the handshake is not done, or the transport is closed")]
    NotConnected,
    #[error(transparent)]
    Srtp(#[from] SrtpError),
}

impl Transport {
    pub fn new(now: Instant, certificate: Arc<Certificate>, ice: &IcePlan, dtls: &DtlsPlan, sctp: Option<&SctpPlan>) -> Self {
        Self {
            ice: Ice::new(now, ice),
            dtls: Dtls::new(certificate, dtls),
            data: sctp.map(Data::new),
            state: State::Connecting { until: now + CONNECT_WITHIN },
            answers: VecDeque::new(),
            dtls_events: Vec::new(),
        }
    }

    /// Obeys a newer plan; the same plan again changes nothing. New local ICE credentials are an ICE restart. Data channels
    /// may be added, never taken away (RFC 8841 §9: a new association would need a new m-line).
    pub fn configure(
        &mut self,
        now: Instant,
        ice: &IcePlan,
        dtls: &DtlsPlan,
        sctp: Option<&SctpPlan>,
        out: &mut Vec<TransportEvent>,
    ) {
        if self.is_closed() {
            return;
        }
        self.ice.configure(ice);
        if self.data.is_none() {
            self.data = sctp.map(Data::new);
        }
        self.with_dtls(now, out, |dtls_layer, events| dtls_layer.configure(now, dtls, events));
    }

    /// Takes a datagram that came on a route; RTP and RTCP are opened in place.
    pub fn receive(&mut self, now: Instant, route: Route, datagram: &mut [u8], out: &mut Vec<TransportEvent>) -> Received {
        if self.is_closed() {
            return Received::Dropped(DropReason::Closed);
        }
        let protocol = Protocol::of(datagram);
        if protocol != Protocol::Stun && !self.ice.is_valid(route) {
            return Received::Dropped(DropReason::UnknownSource);
        }
        match protocol {
            Protocol::Stun => self.receive_stun(now, route, datagram, out),
            Protocol::Dtls => {
                let taken = self.with_dtls(now, out, |dtls, events| dtls.receive(now, datagram, events));
                if taken.is_ok() { Received::Nothing } else { Received::Dropped(DropReason::BadDtls) }
            }
            Protocol::Rtp => self.receive_srtp(now, datagram, out),
            Protocol::Unknown => Received::Dropped(DropReason::UnknownSource),
        }
    }

    /// Seals the RTP packet appended at `buf[start..]` in place and appends its tag.
    pub fn seal_rtp(&mut self, buf: &mut Vec<u8>, start: usize) -> Result<(), SealError> {
        let State::Connected(srtp) = &mut self.state else {
            buf.truncate(start);
            return Err(SealError::NotConnected);
        };
        srtp.seal_rtp(buf, start).map_err(|error| {
            buf.truncate(start);
            error.into()
        })
    }

    /// Seals the compound RTCP packet appended at `buf[start..]`, likewise.
    pub fn seal_rtcp(&mut self, buf: &mut Vec<u8>, start: usize) -> Result<(), SealError> {
        let State::Connected(srtp) = &mut self.state else {
            buf.truncate(start);
            return Err(SealError::NotConnected);
        };
        srtp.seal_rtcp(buf, start).map_err(|error| {
            buf.truncate(start);
            error.into()
        })
    }

    /// Sends a message on the data channel that the client opened with that label.
    pub fn send_data(&mut self, now: Instant, label: &str, binary: bool, payload: &[u8]) -> Result<(), DataError> {
        let Some(data) = self.data.as_mut().filter(|_| matches!(self.state, State::Connected(_))) else {
            return Err(DataError::NoChannel);
        };
        data.send(now, label, binary, payload)?;
        data.transmit(now, |packet| self.dtls.write(now, packet));
        Ok(())
    }

    /// Where media goes: the route nominated last; before that, the first valid one.
    pub fn route(&self) -> Option<Route> {
        self.ice.selected()
    }

    /// Every route whose datagrams belong to this peer.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        self.ice.routes()
    }

    /// The user fragments under which connectivity checks for this peer arrive.
    pub fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        self.ice.local_ufrags()
    }

    /// The connection under a TCP route is gone.
    pub fn forget_route(&mut self, route: Route, out: &mut Vec<TransportEvent>) {
        self.ice.forget(route, out);
    }

    /// How media is protected, once connected.
    pub fn profile(&self) -> Option<Profile> {
        match &self.state {
            State::Connected(srtp) => Some(srtp.profile()),
            State::Connecting { .. } | State::Closed => None,
        }
    }

    /// Whether media can be sent.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_))
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// The next datagram to send that is not media. To be drained after every other call.
    pub fn poll_transmit(&mut self) -> Option<(Route, Bytes)> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        // Without a route there is nobody to send to; timers repeat what matters.
        let datagram = self.dtls.poll_transmit()?;
        self.ice.selected().map(|route| (route, datagram))
    }

    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<TransportEvent>) {
        match &self.state {
            State::Closed => return,
            State::Connecting { until } if now >= *until => {
                self.end(now, CloseReason::NeverConnected, out);
                return;
            }
            State::Connecting { .. } | State::Connected(_) => {}
        }
        if self.ice.handle_timeout(now, out) {
            self.end(now, CloseReason::ConsentLost, out);
            return;
        }
        self.with_dtls(now, out, |dtls, events| dtls.handle_timeout(now, events));
        if let Some(data) = &mut self.data
            && data.deadline().is_some_and(|deadline| now >= deadline)
        {
            data.handle_timeout(now, out);
            data.transmit(now, |packet| self.dtls.write(now, packet));
        }
    }

    /// When [`Self::handle_timeout`] must be called next.
    pub fn deadline(&self) -> Option<Instant> {
        let until = match &self.state {
            State::Closed => return None,
            State::Connecting { until } => Some(*until),
            State::Connected(_) => None,
        };
        let data = self.data.as_ref().and_then(Data::deadline);
        [until, self.ice.deadline(), self.dtls.deadline(), data].into_iter().flatten().min()
    }

    /// Says goodbye. No event follows; what is to be sent is in [`Self::poll_transmit`].
    pub fn close(&mut self, now: Instant) {
        self.dtls.close(now);
        self.state = State::Closed;
    }

    fn receive_stun(&mut self, now: Instant, route: Route, datagram: &[u8], out: &mut Vec<TransportEvent>) -> Received {
        let Ok(answer) = self.ice.receive(now, route, datagram, out) else {
            return Received::Dropped(DropReason::BadStun);
        };
        if let Some(answer) = answer {
            if self.answers.len() >= MAX_ANSWERS {
                self.answers.pop_front();
            }
            self.answers.push_back((route, answer.into()));
        }
        if self.ice.selected().is_some() {
            self.with_dtls(now, out, |dtls, events| dtls.start(now, events));
        }
        Received::Nothing
    }

    fn receive_srtp(&mut self, now: Instant, datagram: &mut [u8], out: &mut Vec<TransportEvent>) -> Received {
        let State::Connected(srtp) = &mut self.state else { return Received::Dropped(DropReason::TooEarly) };
        let opened = if is_rtcp(datagram) {
            srtp.open_rtcp(datagram).map(Received::Rtcp)
        } else {
            srtp.open_rtp(datagram).map(Received::Rtp)
        };
        match opened {
            Ok(received) => {
                self.ice.heard(now, out);
                received
            }
            Err(SrtpError::Replayed) => Received::Dropped(DropReason::Replayed),
            Err(_) => Received::Dropped(DropReason::BadSrtp),
        }
    }

    /// Calls into DTLS and does what its events ask.
    fn with_dtls<T>(
        &mut self,
        now: Instant,
        out: &mut Vec<TransportEvent>,
        call: impl FnOnce(&mut Dtls, &mut Vec<dtls::Event>) -> T,
    ) -> T {
        let mut events = std::mem::take(&mut self.dtls_events);
        let result = call(&mut self.dtls, &mut events);
        for event in events.drain(..) {
            match event {
                dtls::Event::Connected(srtp) => {
                    self.state = State::Connected(srtp);
                    out.push(TransportEvent::Connected);
                }
                dtls::Event::Data(packet) => {
                    self.ice.heard(now, out);
                    if let Some(data) = &mut self.data {
                        data.receive(now, packet.freeze(), out);
                        data.transmit(now, |packet| self.dtls.write(now, packet));
                    }
                }
                dtls::Event::Closed(why) => {
                    if !self.is_closed() {
                        self.state = State::Closed;
                        out.push(TransportEvent::Closed(why));
                    }
                }
            }
        }
        self.dtls_events = events;
        result
    }

    fn end(&mut self, now: Instant, why: CloseReason, out: &mut Vec<TransportEvent>) {
        self.close(now);
        out.push(TransportEvent::Closed(why));
    }
}

#[cfg(test)]
pub(crate) mod tests;
