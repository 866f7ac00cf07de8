//! One link as state machines without IO: what is sent first and what not at all, what comes out of streams and datagrams, how
//! the neighbour does, who it is. Owns the framing of media (RTP over QUIC, draft-ietf-avtcore-rtp-over-quic) and the rules of
//! backpressure; bytes are carried by `cascade::quic`, what they mean is `cascade::mesh`'s.
//!
//! Video leaves on one unidirectional stream per frame and layer: the flow's id, then length and packet for each packet as it
//! arrives, and the end at the marker. Audio leaves as datagrams: the flow's id and the packet.

pub mod health;
pub mod receive;
pub mod rtp;
pub mod send;
pub mod session;
pub mod varint;

/// The flow of datagrams that hold a [`Frame`](super::wire::Frame): pings, which must not wait for a lost stream packet. No
/// media flow has it: theirs have 32 bits.
pub const PROBE_FLOW: u64 = 1 << 32;
