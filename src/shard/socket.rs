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

    /// Reads one batch. False when there is nothing to read.
    pub(super) fn receive(&self, batch: &mut ReadBuffers) -> bool {
        let (state, socket) = (&self.state, &self.socket);
        socket.try_io(Interest::READABLE, || batch.fill(state, socket.into())).is_ok_and(|read| read > 0)
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
