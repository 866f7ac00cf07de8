//! Data channels of one peer: SCTP inside DTLS (RFC 8831) and the opening handshake (RFC 8832). Wraps `rtc-sctp`; owns one
//! association and its channels, all opened by the client. What a label means is decided above. `transport` calls it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rtc_datachannel::data_channel::DataChannel;
use rtc_datachannel::message::Message;
use rtc_datachannel::message::message_channel_ack::DataChannelAck;
use rtc_datachannel::message::message_channel_open::DataChannelOpen;
use rtc_sctp::{
    Association, AssociationHandle, DatagramEvent, Endpoint, EndpointConfig, EndpointEvent, Event, Payload,
    PayloadProtocolIdentifier, ServerConfig, StreamEvent, StreamId, TransportConfig,
};
use rtc_shared::TransportProtocol;
use rtc_shared::marshal::{Marshal, Unmarshal};

use super::data_guard::{Guard, Verdict};
use super::dtls::contain;
use super::event::TransportEvent;
use crate::edge::plan::SctpPlan;

/// The library wants an address; there is one peer.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);
/// Channels a client may have open.
const MAX_CHANNELS: usize = 16;
/// The largest message in either direction.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// What may wait on a channel for a peer that reads slowly; more is refused.
const MAX_BUFFERED: usize = 256 * 1024;
/// What a peer may have sent that cannot be read yet.
const RECEIVE_BUFFER: u32 = 256 * 1024;
/// A label or protocol name longer than this is no client's.
const MAX_LABEL: usize = 256;

/// A message that was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    #[error("no open channel has that label")]
    NoChannel,
    #[error("longer than the peer takes")]
    TooLong,
    #[error("the peer reads too slowly")]
    Full,
}

/// One peer's channels.
pub struct Data {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    channels: Vec<Channel>,
    max_outbound: usize,
    guard: Guard,
}

struct Channel {
    stream: StreamId,
    label: Arc<str>,
}

impl Data {
    pub fn new(plan: &SctpPlan) -> Self {
        // Zero: the peer takes any length (RFC 8841 §6.1).
        let asked = if plan.max_message_size == 0 { u32::MAX } else { plan.max_message_size };
        let max_outbound = asked.min(MAX_MESSAGE as u32);
        let transport = TransportConfig::default()
            .with_sctp_port(plan.port)
            .with_max_receive_buffer_size(RECEIVE_BUFFER)
            .with_max_message_size(max_outbound);
        let config = ServerConfig::new(transport);
        Self {
            endpoint: Endpoint::new(PEER, TransportProtocol::UDP, Arc::new(EndpointConfig::new()), Some(Arc::new(config))),
            association: None,
            channels: Vec::new(),
            max_outbound: max_outbound as usize,
            guard: Guard::default(),
        }
    }

    /// Takes an SCTP packet.
    pub fn receive(&mut self, now: Instant, packet: Bytes, out: &mut Vec<TransportEvent>) {
        match self.guard.judge(&packet) {
            Verdict::Feed => {}
            Verdict::Drop => return,
            Verdict::Abandon => return self.abandon(),
        }
        let handled = contain(|| {
            match self.endpoint.handle(now, PEER, None, packet) {
                Some((handle, DatagramEvent::NewAssociation(association))) => self.adopt(handle, association),
                Some((handle, DatagramEvent::AssociationEvent(event))) => {
                    if let Some((ours, association)) = &mut self.association
                        && *ours == handle
                    {
                        association.handle_event(event);
                    }
                }
                _ => {}
            }
            self.pump(now, out);
            Ok::<(), std::convert::Infallible>(())
        });
        if handled.is_err() {
            self.abandon();
        }
    }

    /// Sends a message on the channel of that label.
    pub fn send(&mut self, now: Instant, label: &str, binary: bool, payload: &[u8]) -> Result<(), DataError> {
        if payload.len() > self.max_outbound {
            return Err(DataError::TooLong);
        }
        let (Some((_, association)), Some(channel)) =
            (&mut self.association, self.channels.iter().find(|channel| &*channel.label == label))
        else {
            return Err(DataError::NoChannel);
        };
        let mut stream = association.stream(channel.stream).map_err(|_| DataError::NoChannel)?;
        if stream.buffered_amount().map_err(|_| DataError::NoChannel)? + payload.len() > MAX_BUFFERED {
            return Err(DataError::Full);
        }
        let message = DataChannel::get_data_channel_message(!binary, BytesMut::from(payload));
        stream.write_chunk_with_ppi(now, &message.payload.freeze(), message.ppi).map(drop).map_err(|_| DataError::NoChannel)
    }

    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<TransportEvent>) {
        let handled = contain(|| {
            if let Some((_, association)) = &mut self.association {
                association.handle_timeout(now);
            }
            self.pump(now, out);
            Ok::<(), std::convert::Infallible>(())
        });
        if handled.is_err() {
            self.abandon();
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.association.as_ref().and_then(|(_, association)| association.poll_timeout())
    }

    /// SCTP packets to send, each in a DTLS record of its own.
    pub fn transmit(&mut self, now: Instant, mut write: impl FnMut(&[u8])) {
        let Some((_, association)) = &mut self.association else { return };
        while let Some(transmit) = association.poll_transmit(now) {
            if let Payload::RawEncode(packets) = transmit.message {
                packets.iter().for_each(|packet| write(packet));
            }
        }
    }

    /// A repeated INIT makes another association until one is established; the newest is the one the client speaks to.
    fn adopt(&mut self, handle: AssociationHandle, association: Association) {
        if let Some((replaced, _)) = self.association.replace((handle, association)) {
            self.endpoint.handle_event(replaced, EndpointEvent::drained());
        }
    }

    /// The association is beyond repair. The client may notice by its own timers; media goes on.
    fn abandon(&mut self) {
        self.association = None;
        self.channels.clear();
        self.endpoint.reject_new_associations();
    }

    fn pump(&mut self, now: Instant, out: &mut Vec<TransportEvent>) {
        while let Some(event) = self.association.as_mut().and_then(|(_, association)| association.poll()) {
            match event {
                Event::Connected => {
                    self.guard.establish();
                    self.endpoint.reject_new_associations();
                }
                // Channels are known by their opening message; the library's list of new streams only has to be emptied.
                Event::Stream(StreamEvent::Opened { .. }) => {
                    self.association.as_mut().map(|(_, association)| association.accept_stream().is_some());
                }
                Event::Stream(StreamEvent::Readable { id }) => self.read(now, id, out),
                // The library says it of a stream that was reset (RFC 8831 §6.7) and of an association that ended.
                Event::AssociationLost { id, .. } => self.channels.retain(|channel| channel.stream != id),
                _ => {}
            }
        }
    }

    fn read(&mut self, now: Instant, id: StreamId, out: &mut Vec<TransportEvent>) {
        loop {
            let Some((_, association)) = &mut self.association else { return };
            let Ok(mut stream) = association.stream(id) else { return };
            let Ok(Some(message)) = stream.read_sctp() else { return };
            self.guard.read();
            // Too long to take: the channel would be out of step, so it goes.
            let Ok(payload) = message.to_payload(MAX_MESSAGE) else {
                let _ = stream.close(now);
                self.channels.retain(|channel| channel.stream != id);
                return;
            };
            let channel = self.channels.iter().find(|channel| channel.stream == id);
            let (binary, payload) = match message.ppi {
                PayloadProtocolIdentifier::Dcep => {
                    self.control(now, id, &payload);
                    continue;
                }
                PayloadProtocolIdentifier::String => (false, payload.freeze()),
                PayloadProtocolIdentifier::StringEmpty => (false, Bytes::new()),
                PayloadProtocolIdentifier::Binary => (true, payload.freeze()),
                PayloadProtocolIdentifier::BinaryEmpty => (true, Bytes::new()),
                _ => continue,
            };
            if let Some(channel) = channel {
                out.push(TransportEvent::Data { label: channel.label.clone(), binary, payload });
            }
        }
    }

    /// A message of the data channel establishment protocol.
    fn control(&mut self, now: Instant, id: StreamId, mut message: &[u8]) {
        // We open no channels, so that an acknowledgement has nothing to say.
        let Ok(Message::DataChannelOpen(open)) = Message::unmarshal(&mut message) else { return };
        let Some((_, association)) = &mut self.association else { return };
        let Ok(mut stream) = association.stream(id) else { return };
        let known = self.channels.iter().any(|channel| channel.stream == id);
        let label = label_of(&open).filter(|_| known || self.channels.len() < MAX_CHANNELS);
        let Some(label) = label else {
            let _ = stream.close(now);
            return;
        };
        let (unordered, reliability) = DataChannel::get_reliability_params(open.channel_type);
        let _ = stream.set_reliability_params(unordered, reliability, open.reliability_parameter);
        if let Ok(ack) = Message::DataChannelAck(DataChannelAck {}).marshal() {
            let _ = stream.write_chunk_with_ppi(now, &ack.freeze(), PayloadProtocolIdentifier::Dcep);
        }
        if !known {
            self.channels.push(Channel { stream: id, label });
        }
    }
}

fn label_of(open: &DataChannelOpen) -> Option<Arc<str>> {
    let label = std::str::from_utf8(&open.label).ok()?;
    (label.len() <= MAX_LABEL).then(|| label.into())
}
