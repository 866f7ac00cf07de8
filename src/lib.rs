//! weir: a QUIC-native media relay for large group calls.

pub mod admin;
pub mod cli;
pub mod config;
pub mod edge;
pub mod id;
pub mod net;
pub mod node;
pub mod policy;
pub mod router;
pub mod rtp;
pub mod shard;
pub mod units;
pub mod web;
