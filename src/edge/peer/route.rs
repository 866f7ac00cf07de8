//! Where a peer's datagrams come from and go to. A value: the shard's demux keys by it and its socket code sends to it;
//! ICE decides which of them belong to a peer.

use std::net::SocketAddr;

/// One path between a peer and this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Datagrams on the shard's UDP socket.
    Udp(SocketAddr),
    /// Frames on an ICE-TCP connection (RFC 6544), numbered by the shard.
    Tcp { conn: u32, addr: SocketAddr },
}

impl Route {
    /// The address of the peer as this shard sees it.
    pub const fn addr(&self) -> SocketAddr {
        match *self {
            Self::Udp(addr) | Self::Tcp { addr, .. } => addr,
        }
    }
}

/// What a datagram on a media socket is, by its first byte (RFC 7983 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Stun,
    Dtls,
    /// SRTP or SRTCP.
    Rtp,
    /// Nothing we speak.
    Unknown,
}

impl Protocol {
    /// Looks at the first byte only; what follows may still be nonsense.
    pub fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            Some(0..=3) => Self::Stun,
            Some(20..=63) => Self::Dtls,
            Some(128..=191) => Self::Rtp,
            _ => Self::Unknown,
        }
    }
}

/// Whether an RTP-looking datagram is RTCP (RFC 5761 §4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram.get(1), Some(192..=223))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_tells_the_protocol() {
        for (byte, protocol) in [
            (0, Protocol::Stun),
            (3, Protocol::Stun),
            (4, Protocol::Unknown),
            (19, Protocol::Unknown),
            (20, Protocol::Dtls),
            (63, Protocol::Dtls),
            (64, Protocol::Unknown),
            (127, Protocol::Unknown),
            (128, Protocol::Rtp),
            (191, Protocol::Rtp),
            (192, Protocol::Unknown),
        ] {
            assert_eq!(Protocol::of(&[byte]), protocol, "{byte}");
        }
        assert_eq!(Protocol::of(&[]), Protocol::Unknown);
        assert!(is_rtcp(&[0x80, 200]) && !is_rtcp(&[0x80, 96]) && !is_rtcp(&[0x80]));
    }
}
