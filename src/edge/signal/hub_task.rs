//! The task that owns the hub: it waits for sockets, shards and the clock, and carries out what the hub says. Part of
//! `edge::signal`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustc_hash::FxHashMap;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::peerjs::{self, Peers};
use crate::edge::hub::{self, ConnId, Hub, Input, Output, Snapshot};
use crate::edge::media::{Command, Event};
use crate::edge::message::{EdgeAddress, ServerFrame};
use crate::edge::whip;
use crate::id::{Identity, MemberId, RoomId, ShardId};

/// Inputs that are taken at once before outputs are carried out.
const BATCH: usize = 64;

/// How long a shard may be deaf before a command to it is given up. It drains its queue between two batches of packets, so
/// this only ends when the shard's thread is gone or stuck.
const SHARD_PATIENCE: Duration = Duration::from_secs(5);

/// What the hub's task is asked.
#[derive(Debug)]
pub(super) enum Ask {
    Opened {
        conn: ConnId,
        wire: Wire,
    },
    Input(Input),
    /// What a WHIP or WHEP client asks for.
    Whip {
        ask: whip::Ask,
        reply: oneshot::Sender<whip::Outcome>,
    },
    /// What a PeerJS client does, or somebody wants to know of them.
    Peers(peerjs::Ask),
    Snapshot(oneshot::Sender<Snapshot>),
    /// Who of a room may be seen, by identity and name.
    Present {
        room: RoomId,
        reply: oneshot::Sender<Vec<(Identity, String)>>,
    },
    Remove {
        member: MemberId,
        found: oneshot::Sender<bool>,
    },
    Shutdown {
        done: oneshot::Sender<()>,
    },
    /// End at once; nobody is told.
    Kill,
}

/// The way to one socket.
#[derive(Debug)]
pub(super) struct Wire {
    /// Closed when nothing more will come.
    pub(super) frames: mpsc::Sender<ServerFrame>,
    /// Told when the queue is full: the socket is too slow.
    pub(super) too_slow: oneshot::Sender<()>,
}

/// Reaches the hub from elsewhere.
#[derive(Debug, Clone)]
pub struct HubHandle {
    asks: mpsc::Sender<Ask>,
    /// One permit per socket that may still be opened.
    pub(super) sockets: Arc<Semaphore>,
    most_sockets: usize,
    busy: watch::Receiver<bool>,
}

impl HubHandle {
    pub(super) fn new(
        asks: mpsc::Sender<Ask>,
        sockets: Arc<Semaphore>,
        most_sockets: usize,
        busy: watch::Receiver<bool>,
    ) -> Self {
        Self { asks, sockets, most_sockets, busy }
    }

    /// Whether there is too much to do to let anybody in. Asks nobody.
    pub fn is_busy(&self) -> bool {
        *self.busy.borrow()
    }

    /// The rooms as they are; `None` when the hub has ended.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Snapshot(reply)).await.ok()?;
        answer.await.ok()
    }

    /// What the broker of PeerJS clients counts; `None` when it has ended.
    pub async fn peerjs(&self) -> Option<crate::edge::peerjs::Stats> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Peers(peerjs::Ask::Stats(reply))).await.ok()?;
        answer.await.ok()
    }

    /// How many sockets are open, a member's or a PeerJS client's each.
    pub fn open_sockets(&self) -> usize {
        self.most_sockets.saturating_sub(self.sockets.available_permits())
    }

    /// Ends a member's session; whether there was one.
    pub async fn remove_member(&self, member: MemberId) -> bool {
        let (found, answer) = oneshot::channel();
        self.asks.send(Ask::Remove { member, found }).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// Lets nobody new in; who is here stays.
    pub async fn drain(&self) {
        // An error means that the hub has ended, and with it every session.
        let _ = self.asks.send(Ask::Input(Input::Drain)).await;
    }

    /// Ends at once: every socket closes without a word.
    pub async fn kill(&self) {
        // An error means that the hub has ended already.
        let _ = self.asks.send(Ask::Kill).await;
    }

    /// Tells every member to go elsewhere; returns when they were told and their sockets are closed. The caller bounds the
    /// time.
    pub async fn shutdown(&self) {
        let (done, told) = oneshot::channel();
        if self.asks.send(Ask::Shutdown { done }).await.is_ok() {
            // An error means that the hub has ended, and with it every session.
            let _ = told.await;
        }
        // All permits are free when no socket is open; they are kept, so that none opens again.
        if let Ok(all) = self.sockets.acquire_many(u32::try_from(self.most_sockets).unwrap_or(u32::MAX)).await {
            all.forget();
        }
    }
}

/// Spawns the task. It ends by itself when nobody can ask it any more.
pub(super) fn start(
    config: hub::Config,
    dev_key: Option<String>,
    shards: Vec<mpsc::Sender<Command>>,
    events: mpsc::Receiver<(ShardId, Event)>,
    asks: mpsc::Receiver<Ask>,
    published: Published,
) {
    let peers = Peers::new(&config, dev_key, Instant::now().into_std());
    let hub = Hub::new(config, Instant::now().into_std(), unix_ms(), rand::random());
    let deaf = vec![false; shards.len()];
    tokio::spawn(Task { hub, peers, shards, deaf, published, wires: FxHashMap::default(), out: Vec::new() }.run(events, asks));
}

/// Milliseconds since the epoch.
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What of the hub is read without asking it.
#[derive(Debug)]
pub(super) struct Published {
    /// For those who have not joined yet.
    pub(super) edges: watch::Sender<Arc<[EdgeAddress]>>,
    pub(super) busy: watch::Sender<bool>,
}

struct Task {
    hub: Hub,
    peers: Peers,
    shards: Vec<mpsc::Sender<Command>>,
    /// By shard: it took nothing for [`SHARD_PATIENCE`], so it is not waited for until it takes something again.
    deaf: Vec<bool>,
    published: Published,
    wires: FxHashMap<ConnId, Wire>,
    out: Vec<Output>,
}

impl Task {
    async fn run(mut self, mut events: mpsc::Receiver<(ShardId, Event)>, mut asks: mpsc::Receiver<Ask>) {
        let (mut asked, mut heard) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        let mut listening = true;
        loop {
            let deadline = self.hub.deadline().into_iter().chain(self.peers.deadline()).min();
            let timeout = sleep_until(deadline.map_or_else(Instant::now, Instant::from_std));
            tokio::select! {
                count = asks.recv_many(&mut asked, BATCH) => {
                    if count == 0 {
                        return;
                    }
                }
                count = events.recv_many(&mut heard, BATCH), if listening => listening = count > 0,
                () = timeout, if deadline.is_some() => {}
            }
            let now = Instant::now().into_std();
            let unix = unix_ms();
            self.hub.set_clock(now, unix);
            self.peers.set_clock(now, unix);
            for ask in asked.drain(..) {
                if matches!(ask, Ask::Kill) {
                    return;
                }
                self.ask(now, ask);
            }
            for (_, event) in heard.drain(..) {
                if let Some(event) = self.peers.media(event) {
                    self.hub.handle(now, Input::Media { event }, &mut self.out);
                }
            }
            if self.hub.deadline().is_some_and(|at| at <= now) {
                self.hub.handle_timeout(now, &mut self.out);
            }
            self.peers.handle_timeout();
            self.publish();
            self.carry_out(now).await;
        }
    }

    fn publish(&self) {
        self.published.edges.send_if_modified(|known| {
            let changed = !Arc::ptr_eq(known, self.hub.edges());
            if changed {
                known.clone_from(self.hub.edges());
            }
            changed
        });
        let busy = self.hub.is_busy();
        self.published.busy.send_if_modified(|known| std::mem::replace(known, busy) != busy);
    }

    fn ask(&mut self, now: std::time::Instant, ask: Ask) {
        match ask {
            Ask::Opened { conn, wire } => {
                self.wires.insert(conn, wire);
                self.hub.handle(now, Input::Opened { conn }, &mut self.out);
            }
            Ask::Input(input) => {
                match input {
                    Input::Closed { conn } => drop(self.wires.remove(&conn)),
                    Input::Drain => self.peers.drain(),
                    _ => {}
                }
                self.hub.handle(now, input, &mut self.out);
            }
            // Whoever asked may be gone by now; then nobody needs the answer. A session that nobody takes up ends by itself.
            Ask::Whip { ask, reply } => {
                let _ = reply.send(self.hub.whip(now, ask, &mut self.out));
            }
            Ask::Peers(ask) => self.peers.ask(ask),
            Ask::Snapshot(reply) => {
                let _ = reply.send(self.hub.snapshot());
            }
            Ask::Present { room, reply } => {
                let _ = reply.send(self.hub.present(&room));
            }
            Ask::Remove { member, found } => {
                let _ = found.send(self.hub.has_member(member));
                self.hub.handle(now, Input::Remove { member }, &mut self.out);
            }
            Ask::Shutdown { done } => {
                self.peers.drain();
                let message = "the server stops".into();
                self.hub.handle(now, Input::Shutdown { message }, &mut self.out);
                let _ = done.send(());
            }
            // Seen to by the loop.
            Ask::Kill => {}
        }
    }

    /// Carries out what the hub said. A socket whose queue is full is given up; its session waits for a resume.
    async fn carry_out(&mut self, now: std::time::Instant) {
        self.serve_peers(now).await;
        while !self.out.is_empty() {
            let mut slow = Vec::new();
            for output in std::mem::take(&mut self.out) {
                match output {
                    Output::Send { conn, frame } => {
                        let Some(wire) = self.wires.get(&conn) else { continue };
                        if wire.frames.try_send(frame).is_err() {
                            if let Some(wire) = self.wires.remove(&conn) {
                                // An error means that the socket has just closed by itself.
                                let _ = wire.too_slow.send(());
                            }
                            slow.push(conn);
                        }
                    }
                    Output::Close { conn } => drop(self.wires.remove(&conn)),
                    Output::Media { shard, command } => self.tell_shard(shard, command).await,
                    Output::Ended { session } => self.peers.ended(session),
                }
            }
            for conn in slow {
                self.hub.handle(now, Input::Closed { conn }, &mut self.out);
            }
            self.serve_peers(now).await;
        }
    }

    /// Carries out what the broker of PeerJS clients said, and lets the hub answer those who call a room.
    async fn serve_peers(&mut self, now: std::time::Instant) {
        loop {
            for (shard, command) in self.peers.carry_out() {
                self.tell_shard(shard, command).await;
            }
            let calls = self.peers.take_calls();
            if calls.is_empty() {
                return;
            }
            for (conn, call) in calls {
                let outcome = self.peers.room_ask(&call).map(|ask| self.hub.whip(now, ask, &mut self.out));
                self.peers.answered(conn, call, outcome);
            }
        }
    }

    async fn tell_shard(&mut self, shard: ShardId, command: Command) {
        let index = usize::from(shard.0);
        let (Some(commands), Some(deaf)) = (self.shards.get(index), self.deaf.get_mut(index)) else { return };
        match commands.try_send(command) {
            Ok(()) => *deaf = false,
            // Members' data is worth less than the time of everybody else; a shard that is stuck is worth no more of it.
            Err(TrySendError::Full(Command::Data { .. }) | TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) if *deaf => {}
            Err(TrySendError::Full(command)) => {
                if commands.send_timeout(command, SHARD_PATIENCE).await.is_err() {
                    *deaf = true;
                    tracing::error!(shard = shard.0, "a shard takes no commands; its members' changes are lost until it does");
                }
            }
        }
    }
}
