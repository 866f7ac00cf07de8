//! What a node and its operator ask the cascade's shard. Owns the messages; the shard answers between two turns of its loop.

use tokio::sync::oneshot;

use crate::cascade::status::Status;

/// Questions that may wait; who finds the queue full waits with it.
pub const CASCADE_ASKS_DEPTH: usize = 32;

/// A question with the way back. A reply that nobody waits for any more is dropped.
#[derive(Debug)]
pub enum CascadeAsk {
    /// What this node knows of the cascade.
    Status { reply: oneshot::Sender<Status> },
    /// Take nothing new and let everybody who depends on this node move away; the node goes on running. Answered at once.
    Drain { reply: oneshot::Sender<()> },
}
