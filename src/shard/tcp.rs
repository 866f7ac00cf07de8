//! Media over TCP (RFC 6544, framed by RFC 4571), for networks that let no UDP through. Owns the connections of one shard:
//! a task reads and a task writes each, both bounded; the shard sees datagrams with a [`Route::Tcp`].

use std::net::SocketAddr;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::edge::peer::Route;

/// Flushes that may wait for a slow connection; beyond it packets are dropped, as a full network queue would.
const WRITE_DEPTH: usize = 64;

/// Datagrams of all connections that may wait for the shard; beyond it the readers wait.
const READ_DEPTH: usize = 512;

/// Connections a shard holds; further ones are refused. Each costs two tasks and its buffers.
const MAX_CONNECTIONS: usize = 4_096;

/// A datagram, or the end of its connection.
pub type Arrival = (Route, Option<Vec<u8>>);

/// The TCP connections of a shard.
#[derive(Debug)]
pub struct TcpConnections {
    open: FxHashMap<u32, Connection>,
    next: u32,
    sender: mpsc::Sender<Arrival>,
    pub arrivals: mpsc::Receiver<Arrival>,
}

#[derive(Debug)]
struct Connection {
    writer: mpsc::Sender<Vec<u8>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Default for TcpConnections {
    fn default() -> Self {
        let (sender, arrivals) = mpsc::channel(READ_DEPTH);
        Self { open: FxHashMap::default(), next: 0, sender, arrivals }
    }
}

impl TcpConnections {
    /// Takes over a connection whose first frame was read already. `None` when there are too many.
    pub fn adopt(&mut self, stream: TcpStream, addr: SocketAddr) -> Option<Route> {
        if self.open.len() >= MAX_CONNECTIONS {
            return None;
        }
        self.next = self.next.wrapping_add(1);
        let route = Route::Tcp { conn: self.next, addr };
        // Media waits for nobody: small frames leave at once.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        let (sender, queue) = mpsc::channel(WRITE_DEPTH);
        let tasks = [tokio::spawn(read(reader, route, self.sender.clone())), tokio::spawn(write(writer, queue))];
        self.open.insert(self.next, Connection { writer: sender, tasks });
        Some(route)
    }

    /// Queues packets, each as one frame. False when the connection is gone or its queue is full.
    pub fn send<'a>(&self, conn: u32, packets: impl Iterator<Item = &'a [u8]>) -> bool {
        let Some(connection) = self.open.get(&conn) else { return false };
        let mut framed = Vec::new();
        for packet in packets {
            let Ok(length) = u16::try_from(packet.len()) else { continue };
            framed.extend_from_slice(&length.to_be_bytes());
            framed.extend_from_slice(packet);
        }
        connection.writer.try_send(framed).is_ok()
    }

    /// Ends a connection.
    pub fn close(&mut self, conn: u32) {
        self.open.remove(&conn);
    }
}

async fn read(mut reader: OwnedReadHalf, route: Route, sender: mpsc::Sender<Arrival>) {
    while let Ok(frame) = read_frame(&mut reader).await {
        if sender.send((route, Some(frame))).await.is_err() {
            return;
        }
    }
    let _ = sender.send((route, None)).await;
}

async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(framed) = queue.recv().await {
        if writer.write_all(&framed).await.is_err() {
            return;
        }
    }
}

async fn read_frame(reader: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let length = reader.read_u16().await?;
    let mut frame = vec![0; usize::from(length)];
    reader.read_exact(&mut frame).await?;
    Ok(frame)
}

/// Reads the first frame of a new connection, which names the shard it belongs to.
pub async fn first_frame(stream: &mut TcpStream) -> std::io::Result<Bytes> {
    let length = stream.read_u16().await?;
    let mut frame = vec![0; usize::from(length)];
    stream.read_exact(&mut frame).await?;
    Ok(frame.into())
}
