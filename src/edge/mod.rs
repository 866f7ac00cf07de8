//! Browsers. Signaling speaks `message` over a WebSocket and SDP; what they settle becomes a `plan`; a `peer` obeys it and
//! carries the packets. Signaling (hub, whip, peerjs, negotiate) is pure; `signal` is its shell.

pub mod hub;
pub mod ice_servers;
pub mod media;
pub mod message;
pub mod negotiate;
pub mod peer;
pub mod peerjs;
pub mod plan;
pub mod sdp;
pub mod signal;
pub mod stats;
pub mod token;
pub mod whip;
