//! What comes by a link's media streams and datagrams, taken apart into packets. A packet is passed on as soon as it is whole,
//! not when its frame is. Owns the framing and its limits; what breaks them closes the link.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use rustc_hash::FxHashMap;

use super::rtp::MAX_PACKET;
use super::{PROBE_FLOW, varint};
use crate::cascade::wire::{Frame, VERSION, WireError};

/// Streams that may be open at once. As many as a neighbour may open; beyond, the transport refuses them.
pub const MAX_STREAMS: u32 = 4_096;

/// A stream that is open for this long is no frame: its sender gives up a frame after a second. Shorter would mistake a bad
/// moment for malice.
pub const LONGEST: Duration = Duration::from_secs(10);

/// What came.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// An RTP packet, unread.
    Media { flow: u32, rtp: Bytes },
    /// A ping, or the answer to one.
    Probe(Frame),
}

/// Why the link must close.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    #[error("a media stream or datagram names no flow that could be")]
    Flow,
    #[error("a media packet of {0} bytes; at most {MAX_PACKET} are allowed")]
    TooLong(u64),
    #[error("a media stream ended amid a packet")]
    Cut,
    #[error("a media stream was left open for {} s", LONGEST.as_secs())]
    Stalled,
    #[error("an empty media packet")]
    Empty,
    #[error("a probe: {0}")]
    Probe(WireError),
}

/// The receiving side of a link.
#[derive(Debug, Default)]
pub struct Receiver {
    streams: FxHashMap<u64, Stream>,
    /// When streams were opened, oldest first; some are over already.
    opened: VecDeque<(u64, Instant)>,
}

/// A stream that is not over.
#[derive(Debug, Default)]
struct Stream {
    flow: Option<u32>,
    /// The beginning of what is not whole yet: a number, or a number and part of its packet.
    part: BytesMut,
}

impl Receiver {
    /// A stream has begun that is not whole yet.
    pub fn opened(&mut self, now: Instant, key: u64) {
        self.streams.entry(key).or_default();
        self.opened.push_back((key, now));
        // Those that are over go now and then, so that it holds no more than twice what is open.
        if self.opened.len() > 2 * self.streams.len() + 64 {
            self.opened.retain(|(key, _)| self.streams.contains_key(key));
        }
    }

    /// Whether streams are ended in time.
    pub fn check(&self, now: Instant) -> Result<(), ReceiveError> {
        let mut open = self.opened.iter().filter(|(key, _)| self.streams.contains_key(key));
        let stalled = open.next().is_some_and(|(_, at)| now.saturating_duration_since(*at) >= LONGEST);
        if stalled { Err(ReceiveError::Stalled) } else { Ok(()) }
    }

    /// Bytes of a stream, in their order. `key` is the stream's.
    pub fn chunk(&mut self, key: u64, mut bytes: Bytes, out: &mut Vec<Received>) -> Result<(), ReceiveError> {
        let stream = self.streams.entry(key).or_default();
        while !bytes.is_empty() {
            if stream.part.is_empty() {
                // The common case: what is whole in the chunk shares its buffer.
                match step(stream.flow, &bytes)? {
                    Step::Flow { flow, length } => {
                        stream.flow = Some(flow);
                        bytes.advance(length);
                    }
                    Step::Packet { flow, front, length } => {
                        bytes.advance(front);
                        out.push(Received::Media { flow, rtp: bytes.split_to(length) });
                    }
                    Step::More { .. } => {
                        stream.part.extend_from_slice(&bytes);
                        return Ok(());
                    }
                }
                continue;
            }
            // Completes what began in the chunk before, and no more than that.
            let Step::More { wants } = step(stream.flow, &stream.part)? else { return Err(ReceiveError::Cut) };
            let taken = bytes.split_to(wants.min(bytes.len()));
            stream.part.extend_from_slice(&taken);
            match step(stream.flow, &stream.part)? {
                Step::Flow { flow, .. } => {
                    stream.flow = Some(flow);
                    stream.part.clear();
                }
                Step::Packet { flow, front, .. } => {
                    let mut packet = stream.part.split();
                    packet.advance(front);
                    out.push(Received::Media { flow, rtp: packet.freeze() });
                }
                Step::More { .. } => {}
            }
        }
        Ok(())
    }

    /// The stream ended as its sender meant it to.
    pub fn end(&mut self, key: u64) -> Result<(), ReceiveError> {
        match self.streams.remove(&key) {
            Some(stream) if stream.flow.is_none() => Err(ReceiveError::Flow),
            Some(stream) if !stream.part.is_empty() => Err(ReceiveError::Cut),
            // A stream without a byte names no flow either.
            None => Err(ReceiveError::Flow),
            Some(_) => Ok(()),
        }
    }

    /// The stream was given up by its sender.
    pub fn reset(&mut self, key: u64) {
        self.streams.remove(&key);
    }

    /// A datagram.
    pub fn datagram(&self, mut bytes: Bytes) -> Result<Received, ReceiveError> {
        let (flow, length) = varint::read(&bytes).ok_or(ReceiveError::Flow)?;
        bytes.advance(length);
        if flow == PROBE_FLOW {
            return match Frame::decode(&bytes, VERSION).map_err(ReceiveError::Probe)? {
                frame @ (Frame::Ping { .. } | Frame::Pong { .. }) => Ok(Received::Probe(frame)),
                _ => Err(ReceiveError::Probe(WireError::Malformed)),
            };
        }
        let flow = u32::try_from(flow).map_err(|_| ReceiveError::Flow)?;
        match bytes.len() {
            0 => Err(ReceiveError::Empty),
            1..=MAX_PACKET => Ok(Received::Media { flow, rtp: bytes }),
            length => Err(ReceiveError::TooLong(length as u64)),
        }
    }

    /// Streams that are not over.
    pub fn open(&self) -> usize {
        self.streams.len()
    }
}

/// What the front of a stream's bytes is.
enum Step {
    Flow {
        flow: u32,
        length: usize,
    },
    /// `front` bytes of length, then the packet.
    Packet {
        flow: u32,
        front: usize,
        length: usize,
    },
    /// So many bytes more are needed to tell, or to be whole.
    More {
        wants: usize,
    },
}

fn step(flow: Option<u32>, bytes: &[u8]) -> Result<Step, ReceiveError> {
    let Some((number, front)) = varint::read(bytes) else {
        return Ok(Step::More { wants: 1 });
    };
    let Some(flow) = flow else {
        let flow = u32::try_from(number).map_err(|_| ReceiveError::Flow)?;
        return Ok(Step::Flow { flow, length: front });
    };
    match usize::try_from(number) {
        Ok(0) => Err(ReceiveError::Empty),
        Ok(length @ 1..=MAX_PACKET) => match (front + length).checked_sub(bytes.len()) {
            None | Some(0) => Ok(Step::Packet { flow, front, length }),
            Some(wants) => Ok(Step::More { wants }),
        },
        _ => Err(ReceiveError::TooLong(number)),
    }
}

/// A ping or its answer as a datagram.
pub fn probe(frame: &Frame) -> Option<Bytes> {
    let mut bytes = Vec::with_capacity(48);
    varint::write(&mut bytes, PROBE_FLOW);
    bytes.extend_from_slice(&postcard::to_stdvec(frame).ok()?);
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(flow: u64, packets: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        varint::write(&mut bytes, flow);
        for packet in packets {
            varint::write(&mut bytes, packet.len() as u64);
            bytes.extend_from_slice(packet);
        }
        bytes
    }

    fn media(flow: u32, rtp: &[u8]) -> Received {
        Received::Media { flow, rtp: Bytes::copy_from_slice(rtp) }
    }

    #[test]
    fn a_packet_is_passed_on_before_its_frame_is_whole() {
        let bytes = stream(300, &[&[7; 1_200], &[8; 100]]);
        let (mut receiver, mut out) = (Receiver::default(), Vec::new());
        receiver.chunk(1, Bytes::copy_from_slice(&bytes[..1_250]), &mut out).unwrap();
        assert_eq!(out, [media(300, &[7; 1_200])]);
        receiver.chunk(1, Bytes::copy_from_slice(&bytes[1_250..]), &mut out).unwrap();
        assert_eq!(out.len(), 2);
        assert_eq!(receiver.end(1), Ok(()));
        assert_eq!(receiver.open(), 0);
    }

    #[test]
    fn what_breaks_the_framing_is_named() {
        let mut out = Vec::new();
        let fails = |bytes: Vec<u8>, out: &mut Vec<Received>| Receiver::default().chunk(1, bytes.into(), out).unwrap_err();
        assert_eq!(fails(stream(1 << 32, &[&[1]]), &mut out), ReceiveError::Flow);
        assert_eq!(fails(stream(1, &[&[]]), &mut out), ReceiveError::Empty);
        let mut long = stream(1, &[]);
        varint::write(&mut long, 1 << 40);
        assert_eq!(fails(long, &mut out), ReceiveError::TooLong(1 << 40));
        assert_eq!(out, []);

        let mut receiver = Receiver::default();
        assert_eq!(receiver.end(9), Err(ReceiveError::Flow));
        receiver.chunk(2, Bytes::from_static(&[1, 5, 0]), &mut out).unwrap();
        assert_eq!(receiver.end(2), Err(ReceiveError::Cut));
        // Who resets may stop anywhere.
        receiver.chunk(3, Bytes::from_static(&[1, 5, 0]), &mut out).unwrap();
        receiver.reset(3);
        assert_eq!(receiver.open(), 0);
    }

    #[test]
    fn a_datagram_is_a_packet_or_a_probe() {
        let receiver = Receiver::default();
        assert_eq!(receiver.datagram(Bytes::from_static(&[5, 1, 2])), Ok(media(5, &[1, 2])));
        assert_eq!(receiver.datagram(Bytes::from_static(&[5])), Err(ReceiveError::Empty));
        assert_eq!(receiver.datagram(Bytes::new()), Err(ReceiveError::Flow));
        let ping = Frame::Ping { id: 7, sent: 1 << 60 };
        assert_eq!(receiver.datagram(probe(&ping).unwrap()), Ok(Received::Probe(ping)));
        let other = probe(&Frame::Goaway { reason: "no".into() }).unwrap();
        assert_eq!(receiver.datagram(other), Err(ReceiveError::Probe(WireError::Malformed)));
    }

    #[test]
    fn a_stream_that_is_left_open_is_noticed_and_one_that_ends_is_not() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut receiver, mut out) = (Receiver::default(), Vec::new());
        for n in 0..5_000 {
            receiver.opened(at(n * 10), n);
            receiver.chunk(n, stream(1, &[b"x"]).into(), &mut out).unwrap();
            receiver.end(n).unwrap();
            assert_eq!(receiver.check(at(n * 10)), Ok(()));
            assert!(receiver.opened.len() <= 66);
        }
        receiver.opened(at(50_000), 6_000);
        assert_eq!(receiver.check(at(59_999)), Ok(()));
        assert_eq!(receiver.check(at(60_000)), Err(ReceiveError::Stalled));
        receiver.reset(6_000);
        assert_eq!(receiver.check(at(60_000)), Ok(()));
    }

    proptest! {
        #[test]
        fn chunks_may_be_cut_anywhere(
            flow: u32,
            packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..8),
            cuts in prop::collection::vec(1usize..300, 0..40),
        ) {
            let parts: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
            let mut bytes = Bytes::from(stream(flow.into(), &parts));
            let (mut receiver, mut out) = (Receiver::default(), Vec::new());
            for cut in cuts {
                let piece = bytes.split_to(cut.min(bytes.len()));
                receiver.chunk(4, piece, &mut out).unwrap();
            }
            receiver.chunk(4, bytes, &mut out).unwrap();
            let expected: Vec<Received> = packets.iter().map(|packet| media(flow, packet)).collect();
            prop_assert_eq!(out, expected);
            prop_assert_eq!(receiver.end(4), Ok(()));
        }

        #[test]
        fn hostile_bytes_never_hold_more_than_a_packet(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3_000), 0..10)) {
            let (mut receiver, mut out) = (Receiver::default(), Vec::new());
            for chunk in chunks {
                if receiver.chunk(1, chunk.clone().into(), &mut out).is_err() {
                    break;
                }
                prop_assert!(receiver.streams[&1].part.len() <= MAX_PACKET + 8);
                let _ = receiver.datagram(chunk.into());
            }
        }
    }
}
