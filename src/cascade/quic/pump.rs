//! What comes by one connection, as it comes: bytes of the control stream, of media streams, datagrams, and the end. Owns the
//! waiting; what the bytes mean is `cascade::link`'s. Polled by `quic::Links`, no task of its own.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, FuturesUnordered, Stream, StreamExt};
use quinn::{Connection, ConnectionError, ReadError, RecvStream};

use crate::id::LinkId;

/// Pieces that are read before others get their turn.
const BATCH: usize = 128;

/// Bytes of one piece. Pieces are as long as the packets they came in; this bounds nothing but the control stream's.
const PIECE: usize = 64 << 10;

/// One thing that came.
#[derive(Debug)]
pub(super) enum Raw {
    Control(Bytes),
    /// The neighbour ended the control stream.
    ControlEnd,
    Datagram(Bytes),
    Chunk {
        key: u64,
        bytes: Bytes,
    },
    /// More is to come of this stream, which is new.
    Waits {
        key: u64,
    },
    End {
        key: u64,
    },
    Reset {
        key: u64,
    },
    /// The connection is over. Nothing follows.
    Closed(ConnectionError),
}

/// What came by one link since the last time.
pub(super) struct Batch {
    pub link: LinkId,
    pub raws: Vec<Raw>,
}

type Read = (RecvStream, Result<Option<quinn::Chunk>, ReadError>);

/// One connection's incoming side.
pub(super) struct Pump {
    link: LinkId,
    control: BoxStream<'static, Result<Bytes, ReadError>>,
    datagrams: BoxStream<'static, Result<Bytes, ConnectionError>>,
    opened: BoxStream<'static, Result<RecvStream, ConnectionError>>,
    /// Media streams of which more is to come; as many as the transport lets a neighbour open.
    waiting: FuturesUnordered<BoxFuture<'static, Read>>,
    control_over: bool,
    over: bool,
}

impl Pump {
    pub(super) fn new(link: LinkId, connection: &Connection, control: RecvStream) -> Self {
        let control = stream::unfold(control, |mut control| async move {
            match control.read_chunk(PIECE, true).await {
                Ok(Some(chunk)) => Some((Ok(chunk.bytes), control)),
                Ok(None) => None,
                Err(why) => Some((Err(why), control)),
            }
        });
        let datagrams = stream::unfold(connection.clone(), |connection| async move {
            let read = connection.read_datagram().await;
            Some((read, connection))
        });
        let opened = stream::unfold(connection.clone(), |connection| async move {
            let accepted = connection.accept_uni().await;
            Some((accepted, connection))
        });
        Self {
            link,
            control: control.boxed(),
            datagrams: datagrams.boxed(),
            opened: opened.boxed(),
            waiting: FuturesUnordered::new(),
            control_over: false,
            over: false,
        }
    }

    fn poll_control(&mut self, cx: &mut Context<'_>, raws: &mut Vec<Raw>) {
        while !self.control_over && raws.len() < BATCH {
            match self.control.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(bytes))) => raws.push(Raw::Control(bytes)),
                Poll::Ready(Some(Err(ReadError::ConnectionLost(why)))) => {
                    self.control_over = true;
                    self.end(why, raws);
                }
                Poll::Ready(Some(Err(_)) | None) => {
                    self.control_over = true;
                    raws.push(Raw::ControlEnd);
                }
                Poll::Pending => return,
            }
        }
    }

    fn poll_datagrams(&mut self, cx: &mut Context<'_>, raws: &mut Vec<Raw>) {
        while !self.over && raws.len() < BATCH {
            match self.datagrams.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(bytes))) => raws.push(Raw::Datagram(bytes)),
                Poll::Ready(Some(Err(why))) => self.end(why, raws),
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    fn poll_streams(&mut self, cx: &mut Context<'_>, raws: &mut Vec<Raw>) {
        while !self.over && raws.len() < BATCH {
            let Poll::Ready(Some((stream, read))) = self.waiting.poll_next_unpin(cx) else { break };
            self.read(stream, Some(read), raws);
        }
        while !self.over && raws.len() < BATCH {
            match self.opened.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(stream))) => self.read(stream, None, raws),
                Poll::Ready(Some(Err(why))) => self.end(why, raws),
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    /// Reads a stream for as long as it has anything; a frame often comes whole, and then nothing need be waited for.
    fn read(
        &mut self,
        mut stream: RecvStream,
        mut ready: Option<Result<Option<quinn::Chunk>, ReadError>>,
        raws: &mut Vec<Raw>,
    ) {
        let (key, fresh) = (stream.id().index(), ready.is_none());
        loop {
            // A stream of any length gives way to others now and then.
            let polled = ready.take().or_else(|| match raws.len() {
                0..BATCH => stream.read_chunk(PIECE, true).now_or_never(),
                _ => None,
            });
            match polled {
                Some(Ok(Some(chunk))) => raws.push(Raw::Chunk { key, bytes: chunk.bytes }),
                Some(Ok(None)) => return raws.push(Raw::End { key }),
                Some(Err(ReadError::ConnectionLost(why))) => return self.end(why, raws),
                Some(Err(_)) => return raws.push(Raw::Reset { key }),
                None => break,
            }
        }
        if fresh {
            raws.push(Raw::Waits { key });
        }
        let read = async move {
            let read = stream.read_chunk(PIECE, true).await;
            (stream, read)
        };
        self.waiting.push(read.boxed());
    }

    fn end(&mut self, why: ConnectionError, raws: &mut Vec<Raw>) {
        if !self.over {
            self.over = true;
            raws.push(Raw::Closed(why));
        }
    }
}

impl Stream for Pump {
    type Item = Batch;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let mut raws = Vec::new();
        this.poll_control(cx, &mut raws);
        this.poll_datagrams(cx, &mut raws);
        this.poll_streams(cx, &mut raws);
        if raws.is_empty() { Poll::Pending } else { Poll::Ready(Some(Batch { link: this.link, raws })) }
    }
}
