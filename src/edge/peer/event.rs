//! What a transport tells its owner. Plain data; `transport` speaks it, the peer above and the shard hear it.

use std::sync::Arc;

use bytes::Bytes;

use super::route::Route;
use crate::edge::media::CloseReason;

/// Something happened that the owner must know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// Datagrams from this route now belong to this peer.
    Validated(Route),
    /// They no longer do: the route fell silent and others took its place.
    Invalidated(Route),
    /// DTLS is up and its certificate is the right one; media may flow.
    Connected,
    /// No sign of life for a while; it may come back.
    IceDown,
    IceUp,
    /// Over for good. Comes once; nothing follows. What [`super::transport::Transport::poll_transmit`] still holds should
    /// be sent.
    Closed(CloseReason),
    /// A message on the data channel of that label.
    Data {
        label: Arc<str>,
        binary: bool,
        payload: Bytes,
    },
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// An RTP packet, opened in place; it is the datagram's first so many bytes.
    Rtp(usize),
    /// A compound RTCP packet, likewise.
    Rtcp(usize),
    /// It was the transport's own business.
    Nothing,
    Dropped(DropReason),
}

/// Why a datagram was dropped. The shard counts each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Not STUN, and from a route that no binding request validated.
    UnknownSource,
    BadStun,
    BadDtls,
    BadSrtp,
    /// Media before the handshake is done: harmless, it was reordered.
    TooEarly,
    /// A sequence number seen before, or too old to tell.
    Replayed,
    /// The transport is closed already.
    Closed,
}
