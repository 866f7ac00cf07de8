//! The relay's thread and sockets: one current-thread runtime that owns the [`Server`], the sockets that clients talk to and one
//! socket for each relayed address. Decides nothing about who may do what. `node` starts it.

mod stream;
mod tls;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashMap;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};

use super::{Client, Now, Output, RelayId, Server, Settings, Stats};
use stream::Streams;
pub use tls::{Tls, TlsError};

/// Messages from the node that may wait.
const ASKS_DEPTH: usize = 16;

/// Datagrams read from one socket before the others have their turn.
const READS: usize = 32;

/// The largest datagram there is.
const DATAGRAM: usize = 65_536;

/// Kernel buffers of sockets that all clients share, and of those that are one client's.
const LISTENER_BUFFER: usize = 2 << 20;
const RELAY_BUFFER: usize = 256 << 10;

/// What the thread is given.
#[derive(Debug)]
pub struct Start {
    pub settings: Settings,
    pub udp: Vec<std::net::UdpSocket>,
    pub tcp: Vec<std::net::TcpListener>,
    pub tls: Option<(Tls, Vec<std::net::TcpListener>)>,
    /// Connections at a time, in all and from one address.
    pub connections: usize,
    pub address_connections: usize,
}

/// What the node asks of the thread.
#[derive(Debug)]
pub enum Ask {
    Stats { reply: oneshot::Sender<Stats> },
    Stop,
}

/// A running relay.
#[derive(Debug)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// The way to ask it.
    pub fn asks(&self) -> mpsc::Sender<Ask> {
        self.asks.clone()
    }

    /// Waits for its end; something must have told it to stop.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the TURN thread ended by a panic");
        }
    }
}

/// Starts the relay's thread.
pub fn start(start: Start) -> io::Result<Handle> {
    let (asks, asked) = mpsc::channel(ASKS_DEPTH);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("turn".into()).spawn(move || {
        // All tasks end with the set that they live in.
        let ended = LocalSet::new().block_on(&runtime, run(start, asked));
        if let Err(error) = ended {
            tracing::error!(%error, "the TURN server ended");
        }
    })?;
    Ok(Handle { asks, thread })
}

/// A socket for datagrams of clients.
pub fn bind_udp(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    Ok(bound(addr, Type::DGRAM, Protocol::UDP, LISTENER_BUFFER)?.into())
}

/// A listener for connections of clients.
pub fn bind_tcp(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = bound(addr, Type::STREAM, Protocol::TCP, 0)?;
    socket.listen(512)?;
    Ok(socket.into())
}

/// Each family is bound by itself, so that clients appear with the addresses they have.
fn bound(addr: SocketAddr, kind: Type, protocol: Protocol, buffer: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    if buffer > 0 {
        // The kernel grants what it likes.
        let _ = socket.set_recv_buffer_size(buffer);
        let _ = socket.set_send_buffer_size(buffer);
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// All that the tasks of the thread share. Nothing of it is held across an await.
struct Shell {
    server: RefCell<Server>,
    listeners: Vec<UdpSocket>,
    relays: RefCell<FxHashMap<RelayId, Relay>>,
    streams: Streams,
    /// What the shell itself counts.
    counted: RefCell<Stats>,
    /// Where datagrams are read, and where those with a head are put together.
    reading: RefCell<Box<[u8]>>,
    writing: RefCell<Vec<u8>>,
    /// What the timer waits for, and how it hears of something sooner.
    armed: Cell<Option<Instant>>,
    rearm: Notify,
}

struct Relay {
    socket: Rc<UdpSocket>,
    task: tokio::task::AbortHandle,
}

async fn run(start: Start, mut asks: mpsc::Receiver<Ask>) -> io::Result<()> {
    let listeners: io::Result<Vec<_>> = start.udp.into_iter().map(UdpSocket::from_std).collect();
    let shell = Rc::new(Shell {
        server: RefCell::new(Server::new(start.settings, rand::random())),
        listeners: listeners?,
        relays: RefCell::default(),
        streams: Streams::new(start.connections, start.address_connections),
        counted: RefCell::default(),
        reading: RefCell::new(vec![0; DATAGRAM].into()),
        writing: RefCell::default(),
        armed: Cell::new(None),
        rearm: Notify::new(),
    });
    for index in 0..shell.listeners.len() {
        spawn_local(Rc::clone(&shell).hear_clients(index));
    }
    for listener in start.tcp {
        spawn_local(stream::accept(Rc::clone(&shell), tokio::net::TcpListener::from_std(listener)?, None));
    }
    if let Some((tls, listeners)) = start.tls {
        let tls = Rc::new(tls);
        for listener in listeners {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            spawn_local(stream::accept(Rc::clone(&shell), listener, Some(Rc::clone(&tls))));
        }
        spawn_local(async move { tls.renew().await });
    }
    loop {
        let deadline = shell.server.borrow().deadline();
        shell.armed.set(deadline);
        let due = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ask = asks.recv() => match ask {
                Some(Ask::Stats { reply }) => {
                    let _ = reply.send(shell.stats());
                }
                Some(Ask::Stop) | None => return Ok(()),
            },
            () = shell.rearm.notified() => {}
            () = due => {
                let mut out = Vec::new();
                shell.server.borrow_mut().handle_timeout(Instant::now(), &mut out);
                shell.perform(&mut out, &[]);
            }
        }
    }
}

impl Shell {
    async fn hear_clients(self: Rc<Self>, index: usize) {
        let Some((listener, number)) = self.listeners.get(index).zip(u8::try_from(index).ok()) else { return };
        let mut out = Vec::new();
        while readable(listener).await {
            let now = now();
            let reading = &mut *self.reading.borrow_mut();
            for _ in 0..READS {
                let Ok((length, addr)) = listener.try_recv_from(reading) else { break };
                let Some(message) = reading.get(..length) else { break };
                let client = Client::Udp { listener: number, addr };
                self.server.borrow_mut().from_client(now, client, message, &mut out);
                self.perform(&mut out, message);
            }
        }
    }

    async fn hear_peers(self: Rc<Self>, relay: RelayId, socket: Rc<UdpSocket>) {
        let mut out = Vec::new();
        while readable(&socket).await {
            let now = now();
            let reading = &mut *self.reading.borrow_mut();
            for _ in 0..READS {
                let Ok((length, from)) = socket.try_recv_from(reading) else { break };
                let Some(data) = reading.get(..length) else { break };
                self.server.borrow_mut().from_peer(now, relay, from, length, &mut out);
                self.perform(&mut out, data);
            }
        }
    }

    /// Takes in one frame of a connection.
    fn hear_stream(self: &Rc<Self>, client: Client, frame: &[u8], out: &mut Vec<Output>) {
        self.server.borrow_mut().from_client(now(), client, frame, out);
        self.perform(out, frame);
    }

    /// Does what is to be done. `data` is the datagram in hand.
    fn perform(self: &Rc<Self>, out: &mut Vec<Output>, data: &[u8]) {
        let mut further = Vec::new();
        while !out.is_empty() {
            for output in out.drain(..) {
                match output {
                    Output::Answer { client, message } => self.send(client, &[&message]),
                    Output::ToClient { client, head, padding } => {
                        self.send(client, &[&head, data, [0; 4].get(..padding).unwrap_or_default()]);
                    }
                    Output::ToPeer { relay, to, data: part } => {
                        self.send_to_peer(relay, to, data.get(part).unwrap_or_default())
                    }
                    Output::Bind { relay, at } => {
                        let is_bound = self
                            .bind(relay, at)
                            .inspect_err(|error| tracing::debug!(%at, %error, "a relayed address can't be bound"));
                        self.server.borrow_mut().bound(now(), relay, is_bound.is_ok(), &mut further);
                    }
                    Output::Unbind { relay } => {
                        if let Some(relay) = self.relays.borrow_mut().remove(&relay) {
                            relay.task.abort();
                        }
                    }
                }
            }
            std::mem::swap(out, &mut further);
        }
        let deadline = self.server.borrow().deadline();
        if deadline.is_some_and(|deadline| self.armed.get().is_none_or(|armed| deadline < armed)) {
            self.rearm.notify_one();
        }
    }

    fn bind(self: &Rc<Self>, relay: RelayId, at: SocketAddr) -> io::Result<()> {
        let socket: std::net::UdpSocket = bound(at, Type::DGRAM, Protocol::UDP, RELAY_BUFFER)?.into();
        let socket = Rc::new(UdpSocket::from_std(socket)?);
        let task = spawn_local(Rc::clone(self).hear_peers(relay, Rc::clone(&socket))).abort_handle();
        self.relays.borrow_mut().insert(relay, Relay { socket, task });
        Ok(())
    }

    /// Sends what the parts make together. What does not fit into a socket's buffer now is lost, as on any path.
    fn send(&self, client: Client, parts: &[&[u8]]) {
        let sent = match client {
            Client::Udp { listener, addr } => {
                let whole = &mut *self.writing.borrow_mut();
                let datagram = match parts {
                    [one] => *one,
                    parts => {
                        whole.clear();
                        parts.iter().for_each(|part| whole.extend_from_slice(part));
                        whole.as_slice()
                    }
                };
                self.listeners.get(usize::from(listener)).is_some_and(|socket| send_now(socket, datagram, addr))
            }
            Client::Stream { connection, .. } => self.streams.queue(connection, self.server.borrow().holds(client), parts),
        };
        if !sent {
            self.counted.borrow_mut().dropped.unsent += 1;
        }
    }

    fn send_to_peer(&self, relay: RelayId, to: SocketAddr, data: &[u8]) {
        let relays = self.relays.borrow();
        if !relays.get(&relay).is_some_and(|relay| send_now(&relay.socket, data, to)) {
            self.counted.borrow_mut().dropped.unsent += 1;
        }
    }

    fn stats(&self) -> Stats {
        let mut stats = self.server.borrow().stats();
        let counted = self.counted.borrow();
        stats.connections = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
        stats.dropped.unsent += counted.dropped.unsent;
        stats.dropped.malformed += counted.dropped.malformed;
        stats.refused.connections += counted.refused.connections;
        stats.refused.handshakes += counted.refused.handshakes;
        stats
    }
}

/// Hands a datagram to the kernel; whether it had space. The runtime's own way believes a socket full that it has not looked at yet, and
/// the first packets of each relayed address were lost.
fn send_now(socket: &UdpSocket, datagram: &[u8], to: SocketAddr) -> bool {
    SockRef::from(socket).send_to(datagram, &to.into()).is_ok()
}

/// Waits until there is something to read; false when the socket is of no use any more.
async fn readable(socket: &UdpSocket) -> bool {
    // A busy socket must leave the others their turn.
    tokio::task::yield_now().await;
    socket.readable().await.is_ok()
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { instant: Instant::now(), unix: unix.as_secs() }
}
