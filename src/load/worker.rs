//! One thread that carries the media of many members: a socket each, read in batches as they become ready, and one queue of
//! deadlines. Owns sockets and members; whom to carry, and what was negotiated for them, it is told in [`Command`]s.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::time::{ClockId, clock_gettime};
use quinn_udp::{Transmit, UdpSocketState};
use rustc_hash::FxHashMap;
use tokio::sync::{mpsc, oneshot};

use crate::edge::peer::Certificate;
use crate::rtp::clock::Epoch;
use crate::shard::batch::Batch;
use crate::shard::socket::{BATCH_SIZE, ReadBuffers};
use crate::shard::timers::Timers;

use super::account::{ByKind, Heard, Latencies, Said};
use super::member::{Happened, Member, Milestones, Role};
use super::offer::Settled;
use super::subscriber::{Bound, LAYERS};

/// Commands that may wait; signaling waits when it is full.
const COMMANDS: usize = 8_192;
/// Readiness events of one look.
const EVENTS: usize = 1_024;
/// Deadlines that lie so near are met together. Longer saves system calls, and makes publishers less even.
const GRAIN: Duration = Duration::from_millis(2);
/// What the kernel is asked to queue for each member: a keyframe of each of some twenty pictures at once.
const SOCKET_BUFFER: usize = 1 << 20;
/// Commands for a member that has no media yet.
const EARLY: usize = 1_024;
const WAKE: Token = Token(usize::MAX);

/// A member, by a number that signaling chose.
pub type Key = u64;

/// What a worker is told.
pub enum Command {
    /// What an answer settled for a member; the first one starts its media.
    Configure {
        key: Key,
        role: Box<Role>,
        settled: Box<Settled>,
    },
    Bind {
        key: Key,
        mid: String,
        bound: Bound,
    },
    /// More about what a slot carries already.
    Expect {
        key: Key,
        mid: String,
        bound: Bound,
    },
    Layers {
        key: Key,
        active: Vec<String>,
    },
    Leave {
        key: Key,
    },
    Read {
        reply: oneshot::Sender<Reading>,
    },
    Stop,
}

/// What a worker's members had so far.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub heard: ByKind<Heard>,
    pub said: ByKind<Said>,
    /// Since the reading before.
    pub latencies: Latencies,
    /// Whose media is up now.
    pub connected: usize,
    /// Pictures that come now, by layer, smallest first.
    pub layers: [u64; LAYERS],
    /// Of every member there was.
    pub milestones: Vec<Milestones>,
    /// CPU time of the thread.
    pub cpu: Duration,
    /// Sends that the kernel refused.
    pub send_errors: u64,
}

/// A running worker.
pub struct Worker {
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread. `happened` hears of connections; what does not fit is dropped.
    pub fn start(
        index: usize,
        epoch: Epoch,
        certificate: Arc<Certificate>,
        happened: mpsc::Sender<(Key, Happened)>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (commands, commanded) = sync_channel(COMMANDS);
        let thread = std::thread::Builder::new()
            .name(format!("load-{index}"))
            .spawn(move || Thread::new(poll, commanded, epoch, certificate, happened).run())?;
        Ok(Self { commands, waker, thread: Some(thread) })
    }

    /// Tells it something. Waits while its queue is full.
    pub async fn tell(&self, mut command: Command) {
        while let Err(TrySendError::Full(back)) = self.commands.try_send(command) {
            command = back;
            self.wake();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.wake();
    }

    /// What its members had so far.
    pub async fn read(&self) -> Reading {
        let (reply, reading) = oneshot::channel();
        self.tell(Command::Read { reply }).await;
        reading.await.unwrap_or_default()
    }

    fn wake(&self) {
        // It fails only when the thread is gone, which `read` shows.
        let _ = self.waker.wake();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.commands.try_send(Command::Stop).is_ok() {
            self.wake();
            self.thread.take().map(JoinHandle::join);
        }
    }
}

/// A member and its socket.
struct Carried {
    key: Key,
    member: Member,
    socket: UdpSocket,
    state: UdpSocketState,
    /// The soonest entry in the queue of deadlines.
    armed: Option<Instant>,
}

struct Thread {
    poll: Poll,
    commands: Receiver<Command>,
    epoch: Epoch,
    certificate: Arc<Certificate>,
    happened: mpsc::Sender<(Key, Happened)>,
    members: Vec<Option<Carried>>,
    places: FxHashMap<Key, usize>,
    timers: Timers<usize>,
    /// Told before the member's first answer: what its slots carry.
    early: FxHashMap<Key, Vec<Command>>,
    buffers: ReadBuffers,
    out: Batch,
    latencies: Latencies,
    /// Those who left, and what they had.
    left: Reading,
    stop: bool,
}

impl Thread {
    fn new(
        poll: Poll,
        commands: Receiver<Command>,
        epoch: Epoch,
        certificate: Arc<Certificate>,
        happened: mpsc::Sender<(Key, Happened)>,
    ) -> Self {
        Self {
            poll,
            commands,
            epoch,
            certificate,
            happened,
            members: Vec::new(),
            places: FxHashMap::default(),
            timers: Timers::default(),
            early: FxHashMap::default(),
            buffers: ReadBuffers::default(),
            out: Batch::default(),
            latencies: Latencies::default(),
            left: Reading::default(),
            stop: false,
        }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        while !self.stop {
            let wait = self.timers.next().map(|at| at.saturating_duration_since(Instant::now()));
            if let Err(error) = self.poll.poll(&mut events, wait)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the sockets can't be waited for");
                return;
            }
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command);
            }
            for event in &events {
                if event.token() != WAKE {
                    self.read(event.token().0);
                }
            }
            self.time();
        }
        for index in 0..self.members.len() {
            self.leave(index);
        }
    }

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Configure { key, role, settled } => match self.places.get(&key) {
                Some(&index) => {
                    if let Some(Some(carried)) = self.members.get_mut(index) {
                        carried.member.configure(&settled);
                    }
                }
                None => self.admit(now, key, *role, &settled),
            },
            Command::Leave { key } => {
                self.early.remove(&key);
                if let Some(&index) = self.places.get(&key) {
                    self.leave(index);
                }
            }
            Command::Read { reply } => {
                // Who asked may be gone.
                let _ = reply.send(self.reading(now));
            }
            Command::Stop => self.stop = true,
            Command::Bind { key, .. } | Command::Expect { key, .. } | Command::Layers { key, .. } => {
                let carried = self.places.get(&key).and_then(|index| self.members.get_mut(*index)).and_then(Option::as_mut);
                match carried {
                    Some(carried) => carried.told(now, command),
                    None => {
                        let early = self.early.entry(key).or_default();
                        if early.len() < EARLY {
                            early.push(command);
                        }
                    }
                }
            }
        }
    }

    fn admit(&mut self, now: Instant, key: Key, role: Role, settled: &Settled) {
        let member = Member::new(now, self.epoch, Arc::clone(&self.certificate), role, settled);
        let index = self.members.len();
        let opened = open(member.destination()).and_then(|mut socket| {
            self.poll.registry().register(&mut socket, Token(index), Interest::READABLE)?;
            let state = UdpSocketState::new((&socket).into())?;
            Ok((socket, state))
        });
        let (socket, state) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(%error, "a member's socket can't be opened; is the limit of open files too low?");
                let _ = self.happened.try_send((key, Happened::Over(crate::edge::media::CloseReason::NeverConnected)));
                return;
            }
        };
        let mut carried = Carried { key, member, socket, state, armed: None };
        for command in self.early.remove(&key).unwrap_or_default() {
            carried.told(now, command);
        }
        self.members.push(Some(carried));
        self.places.insert(key, index);
        self.due(index, now);
    }

    /// Reads what waits for a member.
    fn read(&mut self, index: usize) {
        let Some(Some(carried)) = self.members.get_mut(index) else { return };
        while let Ok(read) = self.buffers.fill(&carried.state, (&carried.socket).into()) {
            let now = Instant::now();
            for (from, datagram) in self.buffers.datagrams() {
                let happened = carried.member.receive(now, from, datagram, &mut self.out, &mut self.latencies);
                if let Some(happened) = happened {
                    let _ = self.happened.try_send((carried.key, happened));
                }
            }
            // Fewer than asked for: whatever comes next raises an event of its own.
            if read < BATCH_SIZE {
                break;
            }
        }
        carried.flush(&mut self.out, &mut self.left.send_errors);
        self.timers.arm(index, carried.deadline(&self.epoch), &mut carried.armed);
    }

    /// Does what is due.
    fn time(&mut self) {
        let now = Instant::now();
        while let Some((at, index)) = self.timers.due(now) {
            let Some(Some(carried)) = self.members.get_mut(index) else { continue };
            if carried.armed == Some(at) {
                carried.armed = None;
            }
            self.due(index, now);
        }
    }

    fn due(&mut self, index: usize, now: Instant) {
        let Some(Some(carried)) = self.members.get_mut(index) else { return };
        if let Some(happened) = carried.member.handle_timeout(now, &mut self.out) {
            let _ = self.happened.try_send((carried.key, happened));
        }
        carried.flush(&mut self.out, &mut self.left.send_errors);
        self.timers.arm(index, carried.deadline(&self.epoch), &mut carried.armed);
    }

    fn leave(&mut self, index: usize) {
        let Some(place) = self.members.get_mut(index) else { return };
        let Some(mut carried) = place.take() else { return };
        let now = Instant::now();
        carried.member.close(now, &mut self.out);
        carried.flush(&mut self.out, &mut self.left.send_errors);
        self.places.remove(&carried.key);
        self.left.take(&carried.member, now);
        // Who left sees nothing.
        self.left.layers = [0; LAYERS];
        // It ends with the socket anyway.
        let _ = self.poll.registry().deregister(&mut carried.socket);
    }

    fn reading(&mut self, now: Instant) -> Reading {
        let mut reading = self.left.clone();
        for carried in self.members.iter().flatten() {
            reading.take(&carried.member, now);
            reading.connected += usize::from(carried.member.is_connected());
        }
        reading.latencies = std::mem::take(&mut self.latencies);
        let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
        reading.cpu = time.map(Duration::from).unwrap_or_default();
        reading
    }
}

impl Reading {
    fn take(&mut self, member: &Member, now: Instant) {
        let tally = member.tally(now);
        self.heard.audio.add(&tally.heard.audio);
        self.heard.video.add(&tally.heard.video);
        self.said.audio.add(&tally.said.audio);
        self.said.video.add(&tally.said.video);
        self.milestones.push(member.milestones());
        self.layers.iter_mut().zip(member.layers()).for_each(|(all, here)| *all += here);
    }
}

impl Carried {
    fn told(&mut self, now: Instant, command: Command) {
        match command {
            Command::Bind { mid, bound, .. } => self.member.bind(now, &mid, bound),
            Command::Expect { mid, bound, .. } => self.member.expect(&mid, bound),
            Command::Layers { active, .. } => self.member.set_layers(&active),
            Command::Configure { .. } | Command::Leave { .. } | Command::Read { .. } | Command::Stop => {}
        }
    }

    /// The next deadline, at a grain that all members share.
    fn deadline(&self, epoch: &Epoch) -> Option<Instant> {
        let grain = GRAIN.as_nanos() as u64;
        self.member.deadline().map(|at| {
            let since = at.saturating_duration_since(epoch.instant).as_nanos() as u64;
            at + Duration::from_nanos(since.next_multiple_of(grain) - since)
        })
    }

    fn flush(&mut self, out: &mut Batch, errors: &mut u64) {
        if out.is_empty() {
            return;
        }
        if let Some(destination) = self.member.destination() {
            for (contents, segment) in out.runs(self.state.max_gso_segments()) {
                let segment_size = (contents.len() > segment).then_some(segment);
                let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
                // What can't be sent is lost, as on a network.
                *errors += u64::from(self.state.try_send((&self.socket).into(), &transmit).is_err());
            }
        }
        out.clear();
    }
}

/// A socket of the server's address family.
fn open(server: Option<SocketAddr>) -> io::Result<UdpSocket> {
    let any: SocketAddr = match server {
        Some(SocketAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        Some(SocketAddr::V4(_)) | None => (Ipv4Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    // The kernel grants what it may.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER);
    Ok(UdpSocket::from_std(socket))
}
