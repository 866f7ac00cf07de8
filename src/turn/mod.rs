//! STUN and TURN (RFC 8489, RFC 8656) for members behind firewalls that let nothing else through, and for other software.
//! Owns allocations, permissions, channels, quotas and who may use them. [`Server`] is a state machine without IO; [`shell`] is
//! its thread and sockets; `node` starts that, and signaling hands out credentials made by an [`Issuer`].
//!
//! ```text
//!  client ─ UDP, TCP, TLS ─▶ shell ─ from_client ─▶ Server ─ Output::ToPeer ───▶ shell ─ UDP ─▶ peer
//!         ◀─────────────────       ◀ Output::ToClient ──   ◀── from_peer ───────       ◀───────
//! ```
//!
//! Public libraries were weighed: they keep a nonce for each stranger, walk all clients for each packet, and ask nobody whether a
//! peer may be talked to. The messages are few, and `stun` has their bytes already.

mod allocation;
mod credentials;
pub mod framing;
mod message;
mod nonce;
mod policy;
mod ports;
mod quota;
mod relay;
mod request;
mod server;
pub mod shell;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

pub use credentials::Issuer;
pub use policy::{Own, Policy};
pub use server::Server;
pub use stats::{Drops, Refusals, Stats};

/// Bytes that go before data for a client at most: a Data indication with an IPv6 peer.
pub const MOST_HEAD: usize = 48;

/// What the server must know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Part of every password's key, and shown to clients.
    pub realm: String,
    pub issuer: Issuer,
    /// Passwords by name, for users whose credentials do not expire.
    pub users: BTreeMap<String, String>,
    /// Where relayed addresses are, as peers see them: one for each family that is relayed.
    pub external: Vec<IpAddr>,
    /// Where they are bound.
    pub bind_v4: Ipv4Addr,
    pub bind_v6: Ipv6Addr,
    pub ports: RangeInclusive<u16>,
    /// Allocations at a time, in all and for one user.
    pub allocations: usize,
    pub user_allocations: u32,
    /// Both directions together, for one allocation and for one user; 0 is no limit.
    pub allocation_kbps: u32,
    pub user_kbps: u32,
    /// How long an allocation lives unless it asks for more, and at most, without a refresh.
    pub lifetime: Duration,
    pub most_lifetime: Duration,
    pub policy: Policy,
}

/// Who talks to the server. Two that are equal share an allocation: it is what RFC 8656 calls the 5-tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Client {
    Udp {
        /// Index of the socket that hears it.
        listener: u8,
        addr: SocketAddr,
    },
    /// TCP or TLS.
    Stream {
        /// Never used again after the connection closed.
        connection: u64,
        addr: SocketAddr,
    },
}

impl Client {
    pub fn addr(&self) -> SocketAddr {
        match self {
            Self::Udp { addr, .. } | Self::Stream { addr, .. } => *addr,
        }
    }
}

/// One relayed address. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId(pub u64);

/// The moment something happens, for lifetimes and for credentials.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub instant: Instant,
    /// Seconds since the Unix epoch.
    pub unix: u64,
}

/// What is to be done. "The data" is that of the datagram in hand, so only outputs of the same call may use it.
#[derive(Debug)]
pub enum Output {
    /// Send a message of the server's own.
    Answer { client: Client, message: Vec<u8> },
    /// Send `head`, the whole datagram in hand, and that many zeroes.
    ToClient { client: Client, head: ArrayVec<u8, MOST_HEAD>, padding: usize },
    /// Send a part of the message in hand from a relayed address.
    ToPeer { relay: RelayId, to: SocketAddr, data: Range<usize> },
    /// Bind a relayed address and tell [`Server::bound`] at once.
    Bind { relay: RelayId, at: SocketAddr },
    /// Close it; unknown ones were never bound.
    Unbind { relay: RelayId },
}
