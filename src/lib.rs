//! weir: a media relay for group calls. Browsers send their media here once, over WebRTC; each gets what it looks at, in the
//! size it is shown.
//!
//! ```text
//!   cli ─▶ node ─▶ ┌ edge::signal ─ edge::hub      who is in a room, and which track goes to which slot
//!                  │        │ edge::media, edge::plan (plain data)
//!                  │        ▼
//!                  └ shard ─ edge::peer ─ router   one thread each: sockets, packets, who gets which layer
//!                                          │
//!                             policy ──────┴────── rtp      decisions; packets as values
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`rtp`] | RTP and RTCP as values: parsing, numbering, history, clocks |
//! | [`policy`] | decisions as pure functions: layers, keyframes, loudness |
//! | [`router`] | the SFU as a state machine without IO |
//! | [`edge`] | browsers: the room protocol, SDP, and one member's media |
//! | [`stun`], [`turn`] | STUN messages as bytes; the embedded STUN and TURN server |
//! | [`shard`] | media threads: sockets, timers, pipes between them |
//! | [`node`], [`admin`], [`web`] | a running node: assembly, the operator's listener, the embedded app |
//! | [`load`] | a crowd of clients that publish and watch, for `weir load`, tests and benches |
//! | [`cli`], [`config`] | the program and what it is told |
//! | [`id`], [`units`], [`net`] | names and quantities; the host's addresses |
//!
//! `ARCHITECTURE.md` has the way of one packet, the invariants and the decisions.

pub mod admin;
pub mod cascade;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod edge;
pub mod id;
pub mod impair;
pub mod load;
pub mod net;
pub mod node;
pub mod policy;
pub mod router;
pub mod rtp;
pub mod shard;
pub mod sim;
pub mod stun;
pub mod turn;
pub mod units;
pub mod web;
