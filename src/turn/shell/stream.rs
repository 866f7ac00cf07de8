//! Connections of clients, TCP and TLS: how many there may be, how long one may be idle or slow, and what waits to be written.
//! Part of [`super`].

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::framing::{self, Frame};
use super::*;

/// How long a connection may be without an allocation.
const WITHOUT_ALLOCATION: Duration = Duration::from_secs(30);

/// Messages that a connection may send before it has an allocation: a challenge or two, and where it is seen.
const MESSAGES_OF_STRANGERS: u32 = 64;

/// How long one message may take to arrive, and a TLS handshake.
const SLOW: Duration = Duration::from_secs(10);

/// How long a client may read nothing of what waits for it.
const STALLED: Duration = Duration::from_secs(20);

/// Messages that may wait to be written to one connection. More are dropped.
const QUEUE: usize = 512;

/// The same in bytes: for who holds an allocation, and for strangers, who have little to be told.
const QUEUE_BYTES: usize = 256 << 10;
const STRANGER_BYTES: usize = 4 << 10;

/// Read at a time.
const READ: usize = 4 << 10;

/// Connections by number, and by where they come from.
pub(super) struct Streams {
    most: usize,
    most_of_address: usize,
    next: Cell<u64>,
    open: RefCell<FxHashMap<u64, Queue>>,
    from: RefCell<HashMap<IpAddr, usize>>,
    admitted: Cell<usize>,
}

struct Queue {
    messages: mpsc::Sender<Vec<u8>>,
    bytes: Rc<Cell<usize>>,
}

impl Streams {
    pub(super) fn new(most: usize, most_of_address: usize) -> Self {
        Self {
            most,
            most_of_address,
            next: Cell::new(0),
            open: RefCell::default(),
            from: RefCell::default(),
            admitted: Cell::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.admitted.get()
    }

    /// Queues a message; false if the connection is gone or takes no more.
    pub(super) fn queue(&self, connection: u64, holds: bool, parts: &[&[u8]]) -> bool {
        let open = self.open.borrow();
        let Some(queue) = open.get(&connection) else { return false };
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let most = if holds { QUEUE_BYTES } else { STRANGER_BYTES };
        if queue.bytes.get() + length > most || queue.messages.try_send(parts.concat()).is_err() {
            return false;
        }
        queue.bytes.set(queue.bytes.get() + length);
        true
    }

    fn admit(&self, from: IpAddr) -> bool {
        let mut by_address = self.from.borrow_mut();
        let count = by_address.entry(from).or_default();
        let good = self.admitted.get() < self.most && *count < self.most_of_address;
        if good {
            *count += 1;
            self.admitted.set(self.admitted.get() + 1);
        } else if *count == 0 {
            by_address.remove(&from);
        }
        good
    }

    fn release(&self, from: IpAddr) {
        let mut by_address = self.from.borrow_mut();
        if let Some(count) = by_address.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&from);
            }
        }
        self.admitted.set(self.admitted.get().saturating_sub(1));
    }
}

/// Whose connections are counted together: a host, or a network of which a host has all addresses.
fn origin(addr: SocketAddr) -> IpAddr {
    match addr.ip() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        ip => ip,
    }
}

pub(super) async fn accept(shell: Rc<Shell>, listener: TcpListener, tls: Option<Rc<Tls>>) {
    loop {
        match listener.accept().await {
            Ok((stream, addr)) => {
                let from = origin(addr);
                if shell.streams.admit(from) {
                    let (shell, tls) = (Rc::clone(&shell), tls.clone());
                    spawn_local(async move {
                        open(&shell, stream, addr, tls).await;
                        shell.streams.release(from);
                    });
                } else {
                    shell.counted.borrow_mut().refused.connections += 1;
                }
            }
            // Out of file descriptors, most likely: let some close.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn open(shell: &Rc<Shell>, stream: TcpStream, addr: SocketAddr, tls: Option<Rc<Tls>>) {
    // Packets are not to wait for each other.
    let _ = stream.set_nodelay(true);
    let ended = match tls {
        None => converse(shell, stream, addr).await,
        Some(tls) => match timeout(SLOW, tls.accept(stream)).await {
            Ok(Ok(stream)) => converse(shell, stream, addr).await,
            Ok(Err(_)) | Err(_) => {
                shell.counted.borrow_mut().refused.handshakes += 1;
                return;
            }
        },
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a TURN connection ended");
    }
}

/// Reads and writes until the client leaves, breaks a rule, or is idle for too long.
async fn converse(shell: &Rc<Shell>, stream: impl AsyncRead + AsyncWrite, addr: SocketAddr) -> io::Result<()> {
    let connection = shell.streams.next.replace(shell.streams.next.get() + 1);
    let client = Client::Stream { connection, addr };
    let (messages, queued) = mpsc::channel(QUEUE);
    let bytes = Rc::new(Cell::new(0));
    shell.streams.open.borrow_mut().insert(connection, Queue { messages, bytes: Rc::clone(&bytes) });
    let (from, to) = tokio::io::split(stream);
    let ended = tokio::select! {
        ended = read(shell, from, client) => ended,
        ended = write(to, queued, bytes) => ended,
    };
    shell.streams.open.borrow_mut().remove(&connection);
    let mut out = Vec::new();
    shell.server.borrow_mut().gone(client, &mut out);
    shell.perform(&mut out, &[]);
    ended
}

async fn read(shell: &Rc<Shell>, stream: impl AsyncRead, client: Client) -> io::Result<()> {
    let mut stream = std::pin::pin!(stream);
    let mut buffer: Vec<u8> = Vec::with_capacity(READ);
    let mut idle = Instant::now() + WITHOUT_ALLOCATION;
    // When what was begun has to be there.
    let mut begun: Option<Instant> = None;
    let mut out = Vec::new();
    let mut strange = 0;
    loop {
        buffer.reserve(READ);
        tokio::select! {
            read = stream.read_buf(&mut buffer) => if read? == 0 {
                return Ok(());
            },
            () = sleep_until(begun.unwrap_or(idle).min(idle)) => {
                let is_idle = !shell.server.borrow().holds(client);
                if begun.is_some_and(|by| by <= Instant::now()) || is_idle {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                idle = Instant::now() + WITHOUT_ALLOCATION;
                continue;
            }
        }
        let mut done = 0;
        loop {
            let rest = buffer.get(done..).unwrap_or_default();
            match framing::first(rest) {
                Frame::Whole(length) => {
                    shell.hear_stream(client, rest.get(..length).unwrap_or_default(), &mut out);
                    done += length;
                    begun = None;
                    strange = if shell.server.borrow().holds(client) { 0 } else { strange + 1 };
                    if strange > MESSAGES_OF_STRANGERS {
                        shell.counted.borrow_mut().refused.connections += 1;
                        return Err(io::ErrorKind::PermissionDenied.into());
                    }
                }
                Frame::More => break,
                Frame::Broken => {
                    shell.counted.borrow_mut().dropped.malformed += 1;
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
        }
        buffer.drain(..done);
        if buffer.is_empty() {
            begun = None;
            // A burst's room is not kept.
            buffer.shrink_to(READ);
        } else {
            begun = begun.or_else(|| Some(Instant::now() + SLOW));
        }
        // A busy connection must leave the others their turn.
        tokio::task::yield_now().await;
    }
}

async fn write(stream: impl AsyncWrite, mut queued: mpsc::Receiver<Vec<u8>>, bytes: Rc<Cell<usize>>) -> io::Result<()> {
    let mut stream = std::pin::pin!(stream);
    let mut whole = Vec::new();
    while let Some(message) = queued.recv().await {
        whole.clear();
        whole.extend_from_slice(&message);
        while let Ok(message) = queued.try_recv() {
            whole.extend_from_slice(&message);
        }
        bytes.set(bytes.get().saturating_sub(whole.len()));
        let written = timeout(STALLED, async {
            stream.write_all(&whole).await?;
            stream.flush().await
        });
        written.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        whole.shrink_to(64 << 10);
    }
    Ok(())
}
