//! A UDP relay with a bad path in each direction: clients send to it, it sends on to one target, and replies go back. Owns a
//! task and its sockets; [`Path`] decides what becomes of each packet. For `weir dev` between regions, `weir impair` and tests.
//!
//! All clients share the two paths, as they would share a line. Each has a socket of its own toward the target, so that the
//! target tells them apart. A target that is away loses packets and nothing more: replies flow again when it is back.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::{Impairment, Path, Verdict};

/// Clients at a time; packets of others are lost. More costs a socket and a few microseconds per wake-up each.
const CLIENTS: usize = 256;

/// A client that was silent, and heard nothing, for so long is forgotten when room is needed or time passes.
const IDLE: Duration = Duration::from_secs(60);

/// Packets on their way in one direction; what comes beyond is lost. Enough for 2 s at 30,000 packets/s.
const ON_THE_WAY: usize = 1 << 16;

/// What the kernel is asked to queue. Less loses bursts while the task is busy.
const SOCKET_BUFFER: usize = 4 << 20;

/// The largest datagram.
const DATAGRAM: usize = 65_536;

/// Datagrams read from one socket before the others and the timers have their turn.
const READ_BATCH: usize = 64;

/// What passed a relay so far, both directions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handed on.
    pub passed: u64,
    /// Lost on purpose, or for want of room.
    pub lost: u64,
    /// On their way now.
    pub queued: u64,
}

#[derive(Debug, Default)]
struct Shared {
    passed: AtomicU64,
    lost: AtomicU64,
    queued: AtomicU64,
}

/// A relay that runs. It ends when this is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    impairments: watch::Sender<[Impairment; 2]>,
    counters: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Binds `listen` (port 0 for any) and forwards to `target`: `impairments` on the way there and on the way back. Call it
    /// on a tokio runtime.
    pub fn start(listen: SocketAddr, target: SocketAddr, impairments: [Impairment; 2], seed: u64) -> io::Result<Self> {
        let listener = bind(listen)?;
        let address = listener.local_addr()?;
        let (sender, receiver) = watch::channel(impairments);
        let counters = Arc::new(Shared::default());
        let forwarder = Forwarder::new(listener, target, receiver, seed, Arc::clone(&counters));
        Ok(Self { address, impairments: sender, counters, task: tokio::spawn(forwarder.run()) })
    }

    /// Where clients send to.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The way there and the way back.
    pub fn impairments(&self) -> [Impairment; 2] {
        *self.impairments.borrow()
    }

    /// From the next packet on: the way there, the way back.
    pub fn set(&self, there: Impairment, back: Impairment) {
        self.impairments.send_replace([there, back]);
    }

    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters { passed: read(&self.counters.passed), lost: read(&self.counters.lost), queued: read(&self.counters.queued) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One client's way to the target.
#[derive(Debug)]
struct Client {
    address: SocketAddr,
    upstream: UdpSocket,
    last: Instant,
}

/// A packet on its way, due then. Toward the target, `client` says from whom; back, to whom.
#[derive(Debug)]
struct Waiting {
    due: Instant,
    client: SocketAddr,
    data: Box<[u8]>,
}

/// One direction.
#[derive(Debug)]
struct Direction {
    path: Path,
    /// In order: a path keeps it.
    waiting: VecDeque<Waiting>,
}

impl Direction {
    fn due(&self) -> Option<Instant> {
        self.waiting.front().map(|first| first.due)
    }

    /// False if it is lost.
    fn take(&mut self, now: Instant, client: SocketAddr, data: &[u8]) -> bool {
        let Verdict::Deliver(due) = self.path.send(now, data.len()) else { return false };
        if self.waiting.len() >= ON_THE_WAY {
            return false;
        }
        self.waiting.push_back(Waiting { due, client, data: data.into() });
        true
    }

    fn next_due(&mut self, now: Instant) -> Option<Waiting> {
        self.waiting.pop_front_if(|first| first.due <= now)
    }
}

struct Forwarder {
    listener: UdpSocket,
    target: SocketAddr,
    impairments: watch::Receiver<[Impairment; 2]>,
    counters: Arc<Shared>,
    clients: FxHashMap<SocketAddr, Client>,
    there: Direction,
    back: Direction,
    timer: Pin<Box<Sleep>>,
    forget: Instant,
    buffer: Box<[u8]>,
}

impl Forwarder {
    fn new(
        listener: UdpSocket,
        target: SocketAddr,
        impairments: watch::Receiver<[Impairment; 2]>,
        seed: u64,
        counters: Arc<Shared>,
    ) -> Self {
        let now = Instant::now();
        let [there, back] = *impairments.borrow();
        // Two dice: what one direction carries does not change what befalls the other.
        let direction = |impairment, seed| Direction { path: Path::new(impairment, seed), waiting: VecDeque::new() };
        Self {
            listener,
            target,
            impairments,
            counters,
            clients: FxHashMap::default(),
            there: direction(there, seed),
            back: direction(back, seed ^ u64::MAX),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            forget: now + IDLE,
            buffer: vec![0; DATAGRAM].into_boxed_slice(),
        }
    }

    async fn run(mut self) {
        poll_fn(|context| self.poll(context)).await
    }

    /// Never ready: the task ends when the relay is dropped.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.impairments.has_changed().unwrap_or(false) {
            let [there, back] = *self.impairments.borrow_and_update();
            self.there.path.set(there);
            self.back.path.set(back);
        }
        let mut again = self.read_clients(context);
        again |= self.read_target(context);
        self.deliver(context);
        if again {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// True if there may be more to read.
    fn read_clients(&mut self, context: &mut Context<'_>) -> bool {
        for _ in 0..READ_BATCH {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            let from = match self.listener.poll_recv_from(context, &mut buffer) {
                Poll::Pending => return false,
                // A client that is gone, told by ICMP to whoever reads next.
                Poll::Ready(Err(_)) => continue,
                Poll::Ready(Ok(from)) => from,
            };
            let now = Instant::now();
            let known = match self.clients.get_mut(&from) {
                Some(client) => {
                    client.last = now;
                    true
                }
                None => admit(&mut self.clients, from, self.target, now),
            };
            if !known || !self.there.take(now, from, buffer.filled()) {
                self.counters.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        true
    }

    /// True if there may be more to read.
    fn read_target(&mut self, context: &mut Context<'_>) -> bool {
        let mut again = false;
        for client in self.clients.values_mut() {
            let mut left = READ_BATCH;
            loop {
                let mut buffer = ReadBuf::new(&mut self.buffer);
                match client.upstream.poll_recv(context, &mut buffer) {
                    Poll::Pending => break,
                    // The target is away: refused. The error is taken by reading it.
                    Poll::Ready(Err(_)) => {}
                    Poll::Ready(Ok(())) => {
                        client.last = Instant::now();
                        if !self.back.take(client.last, client.address, buffer.filled()) {
                            self.counters.lost.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
                left -= 1;
                if left == 0 {
                    again = true;
                    break;
                }
            }
        }
        again
    }

    /// Sends what is due, and sets the timer for what is not. Past the runtime's idea of what is writable: it has none of a socket
    /// that was made a moment ago. What the kernel has no room for is lost.
    fn deliver(&mut self, context: &mut Context<'_>) {
        loop {
            let now = Instant::now();
            while let Some(packet) = self.there.next_due(now) {
                let sent = self.clients.get(&packet.client).is_some_and(|client| {
                    // An error may be of an earlier packet, refused while the target was away.
                    let send = || SockRef::from(&client.upstream).send(&packet.data);
                    send().or_else(|_| send()).is_ok()
                });
                self.count(sent);
            }
            while let Some(packet) = self.back.next_due(now) {
                let sent = SockRef::from(&self.listener).send_to(&packet.data, &packet.client.into()).is_ok();
                self.count(sent);
            }
            if now >= self.forget {
                self.clients.retain(|_, client| now.saturating_duration_since(client.last) < IDLE);
                self.forget = now + IDLE / 2;
            }
            let queued = self.there.waiting.len() + self.back.waiting.len();
            self.counters.queued.store(queued as u64, Ordering::Relaxed);
            let next = [self.there.due(), self.back.due()].into_iter().flatten().min();
            let next = next.map_or(self.forget, |due| due.min(self.forget));
            self.timer.as_mut().reset(next.into());
            if self.timer.as_mut().poll(context).is_pending() {
                return;
            }
        }
    }

    fn count(&self, sent: bool) {
        let counter = if sent { &self.counters.passed } else { &self.counters.lost };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes room for one more client if there is none, and a socket for it.
fn admit(clients: &mut FxHashMap<SocketAddr, Client>, address: SocketAddr, target: SocketAddr, now: Instant) -> bool {
    if clients.len() >= CLIENTS {
        clients.retain(|_, client| now.saturating_duration_since(client.last) < IDLE);
    }
    if clients.len() >= CLIENTS {
        return false;
    }
    let any = if target.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let upstream = bind(any).and_then(|socket| {
        // Only the target's replies are read then, and its absence is told.
        SockRef::from(&socket).connect(&target.into())?;
        Ok(socket)
    });
    match upstream {
        Ok(upstream) => {
            clients.insert(address, Client { address, upstream, last: now });
            true
        }
        Err(error) => {
            tracing::warn!(%error, "no socket for a client of the relay");
            false
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    // The kernel grants what it may.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
mod tests;
