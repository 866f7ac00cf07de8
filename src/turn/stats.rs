//! What the relay counts. Owned by its thread, read by message. Plain data.

/// What has happened since the start, and what there is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Relayed addresses now.
    pub allocations: u32,
    /// Users who hold one.
    pub users: u32,
    /// TCP and TLS connections now.
    pub connections: u32,
    /// Allocations made so far.
    pub allocated: u64,
    /// Allocations that ended because nobody refreshed them.
    pub expired: u64,
    /// STUN binding requests answered.
    pub bindings: u64,
    /// Requests without credentials, answered with a nonce to sign with.
    pub challenges: u64,
    pub packets_to_peers: u64,
    pub bytes_to_peers: u64,
    pub packets_to_clients: u64,
    pub bytes_to_clients: u64,
    pub refused: Refusals,
    pub dropped: Drops,
}

/// Requests and connections refused, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// A wrong or expired name, or a wrong password.
    pub unauthorized: u64,
    pub stale_nonce: u64,
    /// Another user's allocation.
    pub wrong_credentials: u64,
    /// A peer that must not be talked to.
    pub forbidden: u64,
    /// The user has all that one may have.
    pub quota: u64,
    /// The node has no room for more.
    pub capacity: u64,
    /// No allocation, or one too many, at that address.
    pub mismatch: u64,
    /// An address family, transport or attribute that is not supported.
    pub unsupported: u64,
    pub bad_request: u64,
    /// Connections beyond what there may be, in all or from one address, and those that ask for much without credentials.
    pub connections: u64,
    /// TLS handshakes that failed or took too long.
    pub handshakes: u64,
}

/// Datagrams and data dropped, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drops {
    /// Not STUN, not channel data, or damaged.
    pub malformed: u64,
    /// Data from a client that has no allocation, or for a channel that is not bound.
    pub unknown: u64,
    /// To or from a peer without permission.
    pub no_permission: u64,
    /// To or from a peer that must not be talked to.
    pub forbidden: u64,
    /// More than the user or the allocation may send or receive.
    pub over_rate: u64,
    /// A socket or a connection could not take more.
    pub unsent: u64,
}
