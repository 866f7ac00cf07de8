//! One media thread: its own UDP socket, its peers, its router and their timers. Shares nothing with other shards; they
//! meet over pipes. Signaling hands it [`Command`]s and hears [`Event`]s. Owns the order of work: read a batch, open,
//! route, rewrite and seal into each peer's batch, then flush; timers in between.

mod ask;
pub mod batch;
pub mod cascade;
mod events;
mod peers;
pub mod pipe;
mod run;
pub mod socket;
pub mod stats;
pub mod tcp;
pub mod timers;

pub use ask::{CASCADE_ASKS_DEPTH, CascadeAsk};
pub use socket::SOCKET_BUFFER;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::edge::media::{Command, Event};
use crate::edge::peer::Certificate;
use crate::edge::stats::MemberStats;
use crate::id::{MemberId, ShardId};
use crate::rtp::clock::Epoch;
use crate::units::Bitrate;
use pipe::Pipes;
use stats::ShardStats;

/// Commands that may wait for a shard. Signaling waits when it is full.
pub const COMMANDS_DEPTH: usize = 4_096;

/// Messages of the node that may wait for a shard.
pub const INBOX_DEPTH: usize = 64;

/// What the node may tell a shard; signaling has a queue of its own.
#[derive(Debug)]
pub enum Inbox {
    /// An ICE-TCP connection whose first frame named a ufrag of this shard.
    Tcp {
        stream: TcpStream,
        first: Bytes,
    },
    Stats {
        reply: oneshot::Sender<ShardStats>,
    },
    /// What becomes of a member's subscriptions; none for one that is not here.
    Member {
        member: MemberId,
        reply: oneshot::Sender<Option<MemberStats>>,
    },
    Stop,
}

/// What a shard needs to start.
pub struct Start {
    pub id: ShardId,
    pub socket: std::net::UdpSocket,
    pub certificate: Arc<Certificate>,
    /// Joins `Instant` and NTP: one for all shards, so that reports of different ones agree.
    pub epoch: Epoch,
    pub pipes: Pipes,
    pub commands: mpsc::Receiver<Command>,
    pub inbox: mpsc::Receiver<Inbox>,
    /// Where its events go. Full: levels and quality are dropped, the rest waits in the shard.
    pub events: mpsc::Sender<(ShardId, Event)>,
    /// How long packets are gathered before a flush; zero flushes after each batch read. Longer means fewer system calls
    /// and as much more delay.
    pub gather: Duration,
    /// What a member may receive before signaling says.
    pub budget: Bitrate,
    /// Microphones of one room that are passed on at a time; 0: all.
    pub loudest: usize,
    /// The share of its time, in percent, from which on it takes no newcomers; 0: it takes all.
    pub full_percent: u32,
}

/// A running shard.
#[derive(Debug)]
pub struct Handle {
    pub id: ShardId,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Waits for the thread to end; send [`Inbox::Stop`] first.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!(shard = self.id.0, "the shard's thread panicked");
        }
    }
}

/// Starts the thread. An error is the system's: no thread, no runtime, or a socket it can't use.
pub fn start(start: Start) -> io::Result<Handle> {
    let id = start.id;
    let thread = thread(format!("shard-{}", id.0), id, async move { run::Shard::new(start)?.run().await })?;
    Ok(Handle { id, thread })
}

/// A thread that runs one loop to its end. The loop is a task of the thread's runtime and not its root: to wake the root is a system
/// call, to wake a task is none.
fn thread(
    name: String,
    id: ShardId,
    work: impl Future<Output = io::Result<()>> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(name).spawn(move || {
        let task = runtime.spawn(work);
        match runtime.block_on(task) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(shard = id.0, %error, "the shard stopped: its socket failed"),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => tracing::error!(shard = id.0, %error, "the shard stopped"),
            },
        }
        // What is still to be said goes out with the runtime's last turn.
        runtime.shutdown_timeout(Duration::from_millis(100));
    })
}
