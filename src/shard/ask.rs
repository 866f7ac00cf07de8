//! What a node and its operator ask the cascade's shard. Owns the messages; the shard answers between two turns of its loop.

use tokio::sync::oneshot;

use crate::cascade::status::Status;
use crate::cascade::tls::Tls;
use crate::cascade::topology::Topology;

/// Questions that may wait; who finds the queue full waits with it.
pub const CASCADE_ASKS_DEPTH: usize = 32;

/// A question with the way back. A reply that nobody waits for any more is dropped.
#[derive(Debug)]
pub enum CascadeAsk {
    /// What this node knows of the cascade.
    Status { reply: oneshot::Sender<Status> },
    /// How many subscriptions of other nodes are served by way of this one.
    Dependents { reply: oneshot::Sender<usize> },
    /// The operator's document changed.
    Topology(Box<Topology>),
    /// The operator's certificates changed.
    Tls(Box<Tls>),
    /// Say goodbye and end.
    Stop,
    /// End as if the power had gone.
    Kill,
}
