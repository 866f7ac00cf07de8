//! The wire format of transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1): which packets of a
//! row arrived, and when. Owns the format both ways; `rtp::twcc` decides what is reported and what to make of it.

use super::{format, kind, write};

/// Microseconds of one step of an arrival's difference.
pub const TICK: i64 = 250;
/// Microseconds of one step of the reference time.
pub const REFERENCE: i64 = 64_000;

/// A received feedback packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportFeedback<'a> {
    /// Number of the first packet it speaks of.
    pub base: u16,
    /// How many it speaks of.
    pub count: u16,
    /// Counts the feedback packets.
    pub number: u8,
    /// In microseconds of the receiver's clock.
    reference: i64,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> TransportFeedback<'a> {
    /// Of what follows the SSRCs.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (&[b0, b1, c0, c1, r0, r1, r2, number], body) = body.split_first_chunk()?;
        let count = u16::from_be_bytes([c0, c1]);
        let (mut covered, mut length) = (0, 0);
        while covered < usize::from(count) {
            let &chunk = body.get(length..)?.first_chunk()?;
            covered += Chunk::new(chunk).left;
            length += 2;
        }
        let (chunks, deltas) = body.split_at_checked(length)?;
        let reference = i64::from(i32::from_be_bytes([r0, r1, r2, 0]) >> 8) * REFERENCE;
        Some(Self { base: u16::from_be_bytes([b0, b1]), count, number, reference, chunks, deltas })
    }

    /// Each packet's number, with its arrival in microseconds of the receiver's clock, or `None` if it did not arrive.
    /// Ends early if the packet has fewer arrivals than it says.
    pub fn packets(&self) -> impl Iterator<Item = (u16, Option<i64>)> + 'a {
        let Self { base, count, mut reference, mut chunks, mut deltas, .. } = *self;
        let mut chunk = Chunk::default();
        (0..count).map_while(move |index| {
            if chunk.left == 0 {
                let (&next, rest) = chunks.split_first_chunk()?;
                (chunk, chunks) = (Chunk::new(next), rest);
            }
            let seq = base.wrapping_add(index);
            let delta = match chunk.next() {
                Symbol::Missing => return Some((seq, None)),
                Symbol::Small => {
                    let (&delta, rest) = deltas.split_first()?;
                    deltas = rest;
                    i64::from(delta)
                }
                Symbol::Large => {
                    let (&delta, rest) = deltas.split_first_chunk()?;
                    deltas = rest;
                    i64::from(i16::from_be_bytes(delta))
                }
            };
            reference += delta * TICK;
            Some((seq, Some(reference)))
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    Missing,
    /// One byte of difference follows.
    Small,
    /// Two bytes, signed.
    Large,
}

impl Symbol {
    const fn new(bits: u16) -> Self {
        match bits & 3 {
            1 => Self::Small,
            2 => Self::Large,
            // Three is reserved and has no difference.
            _ => Self::Missing,
        }
    }
}

/// The rest of one chunk: the symbols of a run, or of a vector of one- or two-bit symbols.
#[derive(Clone, Copy, Debug, Default)]
struct Chunk {
    bits: u16,
    left: usize,
}

impl Chunk {
    const fn new(bytes: [u8; 2]) -> Self {
        let bits = u16::from_be_bytes(bytes);
        let left = match bits >> 14 {
            0 | 1 => bits & 0x1FFF,
            2 => 14,
            _ => 7,
        };
        Self { bits, left: left as usize }
    }

    const fn next(&mut self) -> Symbol {
        self.left = self.left.saturating_sub(1);
        match self.bits >> 14 {
            0 | 1 => Symbol::new(self.bits >> 13),
            2 => Symbol::new(self.bits >> self.left & 1),
            _ => Symbol::new(self.bits >> (self.left * 2)),
        }
    }
}

/// Appends a feedback packet. `arrivals` has one entry for each number from `base` on: microseconds of our clock, or
/// `None` for what did not come. Returns how many entries it told of: it stops at an arrival that is too far from the one
/// before to be said, and the rest goes into another packet.
pub fn write(
    buf: &mut Vec<u8>,
    sender: u32,
    media: u32,
    base: u16,
    number: u8,
    arrivals: impl Iterator<Item = Option<i64>>,
) -> usize {
    let (mut symbols, mut deltas) = (Vec::new(), Vec::new());
    let (mut reference, mut last) = (None, 0);
    for arrival in arrivals.take(usize::from(u16::MAX)) {
        let Some(arrival) = arrival else {
            symbols.push(Symbol::Missing);
            continue;
        };
        if reference.is_none() {
            let start = arrival.div_euclid(REFERENCE);
            reference = Some(start);
            last = start * REFERENCE;
        }
        let delta = (arrival - last).div_euclid(TICK);
        if let Ok(small) = u8::try_from(delta) {
            symbols.push(Symbol::Small);
            deltas.push(small);
        } else if let Ok(large) = i16::try_from(delta) {
            symbols.push(Symbol::Large);
            deltas.extend_from_slice(&large.to_be_bytes());
        } else {
            break;
        }
        // What rounding took is made up by the next one.
        last += delta * TICK;
    }
    write::feedback(buf, kind::TRANSPORT, format::TRANSPORT_CC, sender, media, |buf| {
        buf.extend_from_slice(&base.to_be_bytes());
        buf.extend_from_slice(&(symbols.len() as u16).to_be_bytes());
        let [_, r0, r1, r2] = (reference.unwrap_or(0) as i32).to_be_bytes();
        buf.extend_from_slice(&[r0, r1, r2, number]);
        chunks(buf, &symbols);
        buf.extend_from_slice(&deltas);
    });
    symbols.len()
}

/// Runs where they are long, vectors where they are not.
fn chunks(buf: &mut Vec<u8>, mut symbols: &[Symbol]) {
    while let Some(&first) = symbols.first() {
        let run = symbols.iter().take(0x1FFF).take_while(|&&symbol| symbol == first).count();
        let narrow = symbols.iter().take(14).all(|&symbol| symbol != Symbol::Large);
        let (chunk, told) = if run >= 14 || run >= 7 && !narrow || run == symbols.len() {
            ((first as u16) << 13 | run as u16, run)
        } else {
            let (head, width, count) = if narrow { (0x8000, 1, 14) } else { (0xC000, 2, 7) };
            let fold = |bits: u16, index: usize| bits << width | symbols.get(index).map_or(0, |&symbol| symbol as u16);
            (head | (0..count).fold(0, fold), count)
        };
        buf.extend_from_slice(&chunk.to_be_bytes());
        symbols = symbols.get(told..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtp::rtcp::{Rtcp, parse};

    /// The example of libwebrtc's format: base 1, three received 1 ms apart, one missing.
    #[test]
    fn a_packet_made_by_hand_is_read() {
        let packet = [0x8F, 205, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 4, 0, 0, 2, 9, 0xD4, 0x80, 4, 4, 0x01, 0x00, 0, 0];
        let Some(Ok(Rtcp::TransportFeedback(feedback))) = parse(&packet).next() else { panic!() };
        assert_eq!((feedback.base, feedback.count, feedback.number), (1, 4, 9));
        // Symbols 01 01 00 10: two small differences, one missing, one large.
        let expected = [(1, Some(129_000)), (2, Some(130_000)), (3, None), (4, Some(194_000))];
        assert_eq!(feedback.packets().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn counts_without_chunks_are_refused() {
        let packet = [0x8F, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0xFF, 0xFF, 0, 0, 2, 9, 0x20, 0x02, 0, 0];
        assert!(parse(&packet).next().unwrap().is_err());
    }

    proptest! {
        #[test]
        fn what_is_reported_is_read(
            base: u16,
            start in 0i64..1_000_000_000_000,
            steps in prop::collection::vec((prop::option::weighted(0.8, -20_000i64..120_000), 1usize..30), 1..60),
        ) {
            let mut now = start;
            let mut arrivals = Vec::new();
            for (step, times) in steps {
                for _ in 0..times {
                    arrivals.push(step.map(|step| { now += step / 3; now }));
                }
            }
            let mut buf = Vec::new();
            let told = write(&mut buf, 1, 2, base, 3, arrivals.iter().copied());
            prop_assert_eq!(told, arrivals.len());
            let mut packets = parse(&buf);
            let Some(Ok(Rtcp::TransportFeedback(feedback))) = packets.next() else { panic!() };
            prop_assert_eq!(packets.next(), None);
            let read: Vec<_> = feedback.packets().collect();
            prop_assert_eq!(read.len(), arrivals.len());
            // The reference is 24 bits of 64 ms: both sides only ever compare differences.
            let shift = arrivals.iter().zip(&read).find_map(|(arrival, read)| Some((*arrival)? - read.1?)).unwrap_or(0);
            for (index, (arrival, (seq, read))) in arrivals.iter().zip(read).enumerate() {
                prop_assert_eq!(seq, base.wrapping_add(index as u16));
                prop_assert_eq!(arrival.is_some(), read.is_some());
                if let (Some(arrival), Some(read)) = (arrival, read) {
                    prop_assert!((arrival - read - shift).abs() <= TICK, "{} {}", arrival, read);
                }
            }
        }
    }
}
