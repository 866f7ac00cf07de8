//! Shards of one node with their real sockets, threads and pipes, without signaling.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use weir::edge::media::{Command, Event};
use weir::edge::peer::Certificate;
use weir::id::ShardId;
use weir::rtp::clock::{Epoch, NtpTime};
use weir::shard::{self, Inbox, pipe};
use weir::units::Bitrate;

/// A running shard, and how to reach it.
pub(crate) struct Shard {
    pub(crate) addr: SocketAddr,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) inbox: mpsc::Sender<Inbox>,
    pub(crate) handle: shard::Handle,
}

/// Starts so many, with one certificate; what they report is the last.
pub(crate) fn shards(count: u8, certificate: &Arc<Certificate>) -> (Vec<Shard>, mpsc::Receiver<(ShardId, Event)>) {
    let epoch = Epoch { instant: Instant::now(), ntp: NtpTime::from_unix(Duration::from_secs(1_800_000_000)) };
    let (events, heard) = mpsc::channel(4_096);
    let shards = pipe::mesh(count).into_iter().zip(0..count).map(|(pipes, index)| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let addr = socket.local_addr().expect("bound");
        let (commands, commanded) = mpsc::channel(shard::COMMANDS_DEPTH);
        let (inbox, messages) = mpsc::channel(shard::INBOX_DEPTH);
        let start = shard::Start {
            id: ShardId(index),
            socket,
            certificate: Arc::clone(certificate),
            epoch,
            pipes,
            commands: commanded,
            inbox: messages,
            events: events.clone(),
            gather: Duration::ZERO,
            budget: Bitrate::mbps(20),
            loudest: 3,
            full_percent: 0,
        };
        Shard { addr, commands, inbox, handle: shard::start(start).expect("a shard") }
    });
    (shards.collect(), heard)
}
