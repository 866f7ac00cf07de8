//! weir: a QUIC-native media relay for large group calls.

pub mod config;
pub mod edge;
pub mod id;
pub mod policy;
pub mod router;
pub mod rtp;
pub mod shard;
pub mod units;
