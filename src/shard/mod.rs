//! One media thread: its own UDP socket, its peers, its router and their timers. Shares nothing with other shards; they
//! meet over pipes. The node hands it [`Inbox`] messages and hears [`crate::edge::media::Event`]s.

pub mod stats;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::edge::media::Command;

/// What a shard may be told.
#[derive(Debug)]
pub enum Inbox {
    Media(Command),
    /// An ICE-TCP connection whose first frame named a ufrag of this shard.
    Tcp {
        stream: TcpStream,
        first: Bytes,
    },
    Stats {
        reply: oneshot::Sender<stats::ShardStats>,
    },
    Stop,
}
