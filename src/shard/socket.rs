//! The shard's UDP socket: batches in (recvmmsg, GRO) and batches out (GSO). Owns the system calls; what the bytes are is
//! nobody's business here.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

pub use quinn_udp::BATCH_SIZE;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// What the kernel is asked to queue in each direction. Less loses bursts while the thread is busy; the kernel caps it at
/// `net.core.{r,w}mem_max`, which `weir doctor` looks at.
pub const SOCKET_BUFFER: usize = 4 << 20;

/// Room for one coalesced read.
const READ_SIZE: usize = 65_536;

/// A bound, non-blocking socket with its offload state.
#[derive(Debug)]
pub(super) struct MediaSocket {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// Where a batch is read to. Apart from the socket, so that datagrams can be answered while the batch is walked.
#[derive(Debug)]
pub struct ReadBuffers {
    buffers: Vec<Box<[u8]>>,
    meta: [RecvMeta; BATCH_SIZE],
}

impl Default for ReadBuffers {
    fn default() -> Self {
        let buffers = vec![vec![0; READ_SIZE].into_boxed_slice(); BATCH_SIZE];
        Self { buffers, meta: [RecvMeta::default(); BATCH_SIZE] }
    }
}

impl MediaSocket {
    /// Takes a bound socket over; call it on the shard's runtime.
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let sock = socket2::SockRef::from(&socket);
        // The kernel grants what it may; too little is `doctor`'s to tell.
        let _ = sock.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = sock.set_send_buffer_size(SOCKET_BUFFER);
        let state = UdpSocketState::new((&socket).into())?;
        let socket = UdpSocket::from_std(socket)?;
        Ok(Self { socket, state })
    }

    /// Waits until there is something to read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Reads one batch: how many reads it took, of [`BATCH_SIZE`] at most; none when there is nothing to read.
    pub(super) fn receive(&self, batch: &mut ReadBuffers) -> usize {
        let (state, socket) = (&self.state, &self.socket);
        socket.try_io(Interest::READABLE, || batch.fill(state, socket.into())).unwrap_or(0)
    }

    /// How many datagrams the kernel has dropped because nobody read them in time; `None` where it does not tell.
    pub(super) fn dropped(&self) -> Option<u64> {
        let port = self.socket.local_addr().ok()?.port();
        let of = |table| Some(dropped_at(port, &std::fs::read_to_string(table).ok()?));
        match (of("/proc/thread-self/net/udp"), of("/proc/thread-self/net/udp6")) {
            (None, None) => None,
            (four, six) => Some(four.unwrap_or(0) + six.unwrap_or(0)),
        }
    }

    /// The most segments one [`MediaSocket::send`] takes; 1 where the kernel has no GSO.
    pub(super) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Sends `contents` to one address, cut in datagrams of `segment` bytes (the last may be shorter).
    pub(super) fn send(&self, destination: SocketAddr, contents: &[u8], segment: usize) -> io::Result<()> {
        let segment_size = (contents.len() > segment).then_some(segment);
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
        self.state.try_send((&self.socket).into(), &transmit)
    }
}

/// The drops at one port in one of Linux's tables of sockets (proc(5), `/proc/net/udp`): local address and port are the second
/// column, hexadecimal, and drops the thirteenth.
fn dropped_at(port: u16, table: &str) -> u64 {
    let drops = |line: &str| {
        let mut columns = line.split_ascii_whitespace();
        let local = columns.nth(1)?.rsplit(':').next()?;
        let here = u16::from_str_radix(local, 16).ok()? == port;
        columns.nth(10)?.parse::<u64>().ok().filter(|_| here)
    };
    table.lines().filter_map(drops).sum()
}

impl ReadBuffers {
    /// Reads one batch from a socket that does not block: how many reads it took, of [`BATCH_SIZE`] at most.
    pub fn fill(&mut self, state: &UdpSocketState, socket: UdpSockRef<'_>) -> io::Result<usize> {
        let mut slices = self.buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer));
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        let read = state.recv(socket, &mut slices, &mut self.meta);
        // What the system call did not fill is from an earlier one.
        let filled = *read.as_ref().unwrap_or(&0);
        self.meta.iter_mut().skip(filled).for_each(|meta| meta.len = 0);
        read
    }

    /// The datagrams of the last batch, with their senders.
    pub fn datagrams(&mut self) -> impl Iterator<Item = (SocketAddr, &mut [u8])> {
        let filled =
            self.meta.iter().zip(&mut self.buffers).filter_map(|(meta, buffer)| Some((meta, buffer.get_mut(..meta.len)?)));
        filled.flat_map(|(meta, data)| data.chunks_mut(meta.stride.max(1)).map(move |datagram| (meta.addr, datagram)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_kernel_drops_is_counted() {
        let bound = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let (to, from) = (bound.local_addr().expect("bound"), std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket"));
        let socket = MediaSocket::new(bound).expect("taken over");
        let Some(before) = socket.dropped() else { return };
        assert_eq!(before, 0);
        socket2::SockRef::from(&socket.socket).set_recv_buffer_size(4_096).expect("a small one");
        for _ in 0..500 {
            from.send_to(&[0; 1_000], to).expect("sent");
        }
        let (mut buffers, mut read) = (ReadBuffers::default(), 0);
        while socket.socket.readable().await.is_ok() && socket.receive(&mut buffers) > 0 {
            read += buffers.datagrams().count() as u64;
        }
        assert_eq!(read + socket.dropped().expect("as before"), 500);
    }
}
