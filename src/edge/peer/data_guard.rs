//! Judges SCTP packets before the SCTP library sees them. The library walks every number between two that the peer names,
//! keeps state for every stream id and reset it hears of, and takes the parts of one message without end; what a hostile
//! member could make of that stops here. Owns the judgement; `data` obeys it.

/// Bytes before the first chunk (RFC 9260 §3.1).
const COMMON_HEADER: usize = 12;
/// Transmission sequence numbers a peer may run ahead of those it sent before. Its window, a quarter of a megabyte, fills
/// with some hundred full chunks.
const TSN_WINDOW: u32 = 8 * 1024;
/// Chunks that one SACK may acknowledge out of order: no more can be in flight.
const MAX_GAPS: u32 = 64 * 1024;
/// Stream ids; browsers stop at 1023.
const MAX_STREAMS: u16 = 1024;
/// Stream resets in an association's life, and the length of each: channels are closed seldom and one by one.
const MAX_RESETS: u16 = 1024;
const MAX_RESET_LENGTH: usize = 256;
/// What may come in without one message getting whole.
const MAX_UNREAD: usize = 1024 * 1024;

/// The memory of one association.
pub struct Guard {
    /// The highest TSN the peer has named.
    highest: Option<u32>,
    resets_left: u16,
    unread: usize,
    established: bool,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Feed,
    Drop,
    /// The peer fills memory with parts of messages that never get whole.
    Abandon,
}

impl Default for Guard {
    fn default() -> Self {
        Self { highest: None, resets_left: MAX_RESETS, unread: 0, established: false }
    }
}

impl Guard {
    /// The association is up: no other begins in its place.
    pub fn establish(&mut self) {
        self.established = true;
    }

    /// A whole message was read.
    pub fn read(&mut self) {
        self.unread = 0;
    }

    pub fn judge(&mut self, packet: &[u8]) -> Verdict {
        let mut forwards = 0;
        let mut rest = packet.get(COMMON_HEADER..).unwrap_or_default();
        while let Some(head) = rest.first_chunk::<4>() {
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let Some(chunk) = rest.get(..length).filter(|_| length >= 4) else { return Verdict::Drop };
            let fine = match head[0] {
                // DATA
                0 => self.take_data(chunk),
                // INIT: the initial TSN is its last fixed field.
                1 => {
                    let initial = word(chunk, 16);
                    self.highest = initial.map(|initial| initial.wrapping_sub(1));
                    !self.established && initial.is_some()
                }
                // SACK
                3 => gaps(chunk).is_some_and(|gaps| gaps <= MAX_GAPS),
                // RE-CONFIG (RFC 6525)
                130 => {
                    let left = self.resets_left.checked_sub(1);
                    self.resets_left = left.unwrap_or_default();
                    left.is_some() && length <= MAX_RESET_LENGTH
                }
                // FORWARD-TSN (RFC 3758): one for each packet is all a sender needs.
                192 => {
                    forwards += 1;
                    forwards == 1 && word(chunk, 4).is_some_and(|tsn| self.take_tsn(tsn))
                }
                _ => true,
            };
            if !fine {
                return Verdict::Drop;
            }
            // The padding of the last chunk may be missing.
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        if self.unread > MAX_UNREAD { Verdict::Abandon } else { Verdict::Feed }
    }

    fn take_data(&mut self, chunk: &[u8]) -> bool {
        let stream = chunk.get(8..10).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
        self.unread += chunk.len();
        stream.is_some_and(|stream| stream < MAX_STREAMS) && word(chunk, 4).is_some_and(|tsn| self.take_tsn(tsn))
    }

    /// Serial number arithmetic (RFC 9260 §1.6).
    fn take_tsn(&mut self, tsn: u32) -> bool {
        let Some(highest) = self.highest else { return false };
        let ahead = tsn.wrapping_sub(highest);
        if ahead >= 1 << 31 {
            return true;
        }
        if ahead <= TSN_WINDOW {
            self.highest = Some(tsn);
        }
        ahead <= TSN_WINDOW
    }
}

/// How many TSNs the gap blocks of a SACK span (RFC 9260 §3.3.4).
fn gaps(chunk: &[u8]) -> Option<u32> {
    let count = u16::from_be_bytes(chunk.get(12..14)?.try_into().ok()?);
    let blocks = chunk.get(16..16 + 4 * usize::from(count))?;
    let spans = blocks.chunks_exact(4).filter_map(|block| {
        let (start, end) = block.split_at_checked(2)?;
        let (start, end): ([u8; 2], [u8; 2]) = (start.try_into().ok()?, end.try_into().ok()?);
        let (start, end) = (u16::from_be_bytes(start), u16::from_be_bytes(end));
        Some(u32::from(end.saturating_sub(start)) + 1)
    });
    Some(spans.sum())
}

fn word(chunk: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(chunk.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(chunks: &[Vec<u8>]) -> Vec<u8> {
        let mut packet = vec![0; COMMON_HEADER];
        chunks.iter().for_each(|chunk| packet.extend_from_slice(chunk));
        packet
    }

    fn chunk(kind: u8, body: &[&[u8]]) -> Vec<u8> {
        let body = body.concat();
        let mut chunk = vec![kind, 3];
        chunk.extend_from_slice(&(body.len() as u16 + 4).to_be_bytes());
        chunk.extend_from_slice(&body);
        chunk
    }

    fn init(tsn: u32) -> Vec<u8> {
        chunk(1, &[&[0; 12], &tsn.to_be_bytes()])
    }

    fn data(tsn: u32, stream: u16, length: usize) -> Vec<u8> {
        chunk(0, &[&tsn.to_be_bytes(), &stream.to_be_bytes(), &[0; 6], &vec![0; length]])
    }

    fn forward(tsn: u32) -> Vec<u8> {
        chunk(192, &[&tsn.to_be_bytes()])
    }

    #[test]
    fn numbers_advance_in_steps_even_over_their_wrap() {
        let mut guard = Guard::default();
        assert_eq!(guard.judge(&packet(&[data(5, 1, 4)])), Verdict::Drop, "nothing is known yet");
        assert_eq!(guard.judge(&packet(&[init(u32::MAX)])), Verdict::Feed);
        assert_eq!(guard.judge(&packet(&[data(u32::MAX, 1, 4), data(0, 1, 4), data(1, 1, 4)])), Verdict::Feed);
        assert_eq!(guard.judge(&packet(&[data(u32::MAX, 1, 4)])), Verdict::Feed, "old ones are the library's to drop");
        assert_eq!(guard.judge(&packet(&[forward(1 + TSN_WINDOW)])), Verdict::Feed);
        assert_eq!(guard.judge(&packet(&[forward(2 + 2 * TSN_WINDOW)])), Verdict::Drop);
        assert_eq!(guard.judge(&packet(&[forward(1 << 31)])), Verdict::Drop);
        assert_eq!(guard.judge(&packet(&[forward(2 + TSN_WINDOW), forward(3 + TSN_WINDOW)])), Verdict::Drop);
        guard.establish();
        assert_eq!(guard.judge(&packet(&[init(7)])), Verdict::Drop);
    }

    #[test]
    fn a_sack_cannot_cost_more_than_a_flight() {
        let mut guard = Guard::default();
        let sack = |blocks: usize| {
            let gaps = [0, 1, 0xff, 0xff].repeat(blocks);
            packet(&[chunk(3, &[&[0; 8], &(blocks as u16).to_be_bytes(), &[0; 2], &gaps])])
        };
        assert_eq!(guard.judge(&sack(1)), Verdict::Feed);
        assert_eq!(guard.judge(&sack(2)), Verdict::Drop);
    }

    #[test]
    fn streams_resets_and_unread_parts_are_bounded() {
        let mut guard = Guard::default();
        guard.judge(&packet(&[init(1)]));
        assert_eq!(guard.judge(&packet(&[data(1, MAX_STREAMS, 4)])), Verdict::Drop);
        let resets = (0..5000).filter(|_| guard.judge(&packet(&[chunk(130, &[&[0; 16]])])) == Verdict::Feed).count();
        assert_eq!(resets, usize::from(MAX_RESETS));
        let until = (1..5000).find(|tsn| guard.judge(&packet(&[data(*tsn, 1, 1100)])) == Verdict::Abandon);
        assert!(until.is_some_and(|tsn| tsn > 900));
        guard.read();
        assert_eq!(guard.judge(&packet(&[data(900, 1, 1100)])), Verdict::Feed);
    }
}
