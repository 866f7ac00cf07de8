//! The transport's settings, and what it costs where they matter. Owns the endpoint's construction; links are made by
//! `quic::handshake`.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig,
    VarInt,
};

use super::controller::{Factory, Figures};
use crate::cascade::link::receive::MAX_STREAMS;
use crate::cascade::tls::Tls;
use crate::units::Bitrate;

/// What a link begins with before it has measured anything. Higher fills a new link sooner and floods a thin one.
pub(super) const START: Bitrate = Bitrate::mbps(10);

/// A datagram must hold a whole RTP packet of a browser, which may have 1,200 bytes; transports begin with less by default,
/// and fall back to it whenever they take loss for a hole in the path. A path that carries less than this is no link.
pub(super) const MTU: u16 = 1_300;

/// Bytes of a link's streams that wait here to be read. The product of rate and round trip: 8 MB carries 300 Mbps over 200 ms.
pub(super) const RECEIVE_WINDOW: u32 = 8 << 20;

/// Of one stream. A frame is rarely longer than this; if it is, it waits for one round trip.
const STREAM_WINDOW: u32 = 1 << 20;

/// Datagrams that wait to be sent. Older ones are dropped without a word when it is full, so the link's own queue keeps within
/// it; a larger one is delay.
const DATAGRAM_SEND: usize = 64 << 10;

/// Datagrams that wait here to be read.
const DATAGRAM_RECEIVE: usize = 256 << 10;

/// The transport's own idea of a dead neighbour, should the link's pings not be looked at.
const IDLE: Duration = Duration::from_secs(5);

/// The neighbour is asked to acknowledge so many packets at once, and the last of them no later (draft-ietf-quic-ack-frequency). Fewer
/// acknowledgements cost both ends less; the congestion controller has fewer looks at the queue.
const ACK_EVERY: u32 = 10;
const ACK_WITHIN: Duration = Duration::from_millis(8);

/// Of the socket, each way. The system's default holds one burst of a hundred packets.
const SOCKET_BUFFER: usize = 4 << 20;

/// Connections that wait to be accepted, and the bytes they may hold.
const MAX_INCOMING: usize = 256;
const INCOMING_BUFFER: u64 = 64 << 10;

/// Settings of one connection, with a congestion controller of its own.
fn transport(figures: &Arc<Figures>, start: Bitrate) -> Arc<TransportConfig> {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY - 1))
        .max_ack_delay(Some(ACK_WITHIN))
        // A gap is told at once: what was lost is repeated while it is of use.
        .reordering_threshold(VarInt::from_u32(1));
    let mut config = TransportConfig::default();
    config
        .initial_mtu(MTU)
        .min_mtu(MTU)
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .datagram_send_buffer_size(DATAGRAM_SEND)
        .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .keep_alive_interval(None)
        // Among streams of one priority the oldest first: a newer frame never goes before an older one.
        .send_fairness(false)
        .enable_segmentation_offload(true)
        .ack_frequency_config(Some(acks))
        .congestion_controller_factory(Arc::new(Factory { figures: Arc::clone(figures), start }));
    Arc::new(config)
}

/// For dialing one neighbour.
pub(super) fn client(tls: &Tls, figures: &Arc<Figures>, start: Bitrate) -> io::Result<ClientConfig> {
    let crypto = QuicClientConfig::try_from(tls.client_config()).map_err(io::Error::other)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport(figures, start));
    Ok(config)
}

/// For accepting one neighbour.
pub(super) fn server(tls: &Tls, figures: &Arc<Figures>) -> io::Result<ServerConfig> {
    let crypto = QuicServerConfig::try_from(tls.server_config()).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(transport(figures, START))
        // Servers do not move, and a link that did would be measured anew anyway.
        .migration(false)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER * 64);
    Ok(config)
}

/// The endpoint on a bound socket. Must be called within a tokio runtime.
pub(super) fn endpoint(socket: UdpSocket, tls: &Tls) -> io::Result<Endpoint> {
    let buffers = socket2::SockRef::from(&socket);
    // The system may give less; it says how much at most in net.core.{r,w}mem_max.
    let _ = buffers.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = buffers.set_send_buffer_size(SOCKET_BUFFER);
    let server = server(tls, &Arc::default())?;
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(1_472).map_err(io::Error::other)?;
    Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime))
}
