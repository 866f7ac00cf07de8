//! What waits to be sent to one peer: sealed packets, end to end in one buffer, and where each ends. Owns the grouping into
//! runs that GSO can send in one call. Shards and `load` fill it.

/// The largest payload of one segmented send: what fits a UDP datagram's length field.
const MAX_BYTES: usize = 65_000;

/// Packets for one destination, in order.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    /// The buffer, to append one packet to; [`Batch::close`] ends it.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Where the packet that is being appended starts.
    pub fn start(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Ends the packet that was appended. An empty one is no packet.
    pub fn close(&mut self) {
        if self.bytes.len() > self.start() {
            self.ends.push(self.bytes.len());
        }
    }

    /// Takes back what was appended since the last [`Batch::close`].
    pub fn abandon(&mut self) {
        self.bytes.truncate(self.start());
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many packets wait.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.start()
    }

    /// The packets one by one.
    pub fn packets(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().filter_map(move |&end| self.bytes.get(std::mem::replace(&mut start, end)..end))
    }

    /// Runs of packets that one segmented send can take: all of one size but the last, which may be shorter. Each run comes
    /// with the size of its segments.
    pub fn runs(&self, max_segments: usize) -> Runs<'_> {
        Runs { batch: self, next: 0, start: 0, max_segments: max_segments.max(1) }
    }

    /// Empties it and keeps its memory, unless a rare burst made it large.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.bytes.shrink_to(32 * 1024);
    }
}

/// Iterator of [`Batch::runs`].
#[derive(Debug)]
pub struct Runs<'a> {
    batch: &'a Batch,
    next: usize,
    start: usize,
    max_segments: usize,
}

impl<'a> Iterator for Runs<'a> {
    type Item = (&'a [u8], usize);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.start;
        let mut end = *self.batch.ends.get(self.next)?;
        let segment = end - start;
        self.next += 1;
        let mut segments = 1;
        while let Some(&further) = self.batch.ends.get(self.next) {
            let size = further - end;
            if size > segment || segments == self.max_segments || further - start > MAX_BYTES {
                break;
            }
            end = further;
            segments += 1;
            self.next += 1;
            if size < segment {
                break;
            }
        }
        self.start = end;
        Some((self.batch.bytes.get(start..end)?, segment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(sizes: &[usize]) -> Batch {
        let mut batch = Batch::default();
        for (index, &size) in sizes.iter().enumerate() {
            batch.buffer().extend(std::iter::repeat_n(index as u8, size));
            batch.close();
        }
        batch
    }

    #[test]
    fn a_frame_of_equal_packets_and_a_tail_is_one_run() {
        let batch = batch(&[1200, 1200, 700, 1200, 80]);
        let runs: Vec<(usize, usize)> = batch.runs(64).map(|(bytes, segment)| (bytes.len(), segment)).collect();
        assert_eq!(runs, [(3100, 1200), (1280, 1200)]);
    }

    #[test]
    fn an_abandoned_packet_leaves_no_trace() {
        let mut batch = batch(&[10]);
        batch.buffer().extend([0; 5]);
        batch.abandon();
        batch.close();
        assert_eq!((batch.len(), batch.bytes()), (1, 10));
    }

    proptest! {
        #[test]
        fn cutting_the_runs_gives_the_packets_back(sizes in prop::collection::vec(1usize..1500, 0..200), max in 1usize..64) {
            let batch = batch(&sizes);
            let mut cut = Vec::new();
            for (bytes, segment) in batch.runs(max) {
                prop_assert!(bytes.len() <= MAX_BYTES && bytes.len().div_ceil(segment) <= max);
                cut.extend(bytes.chunks(segment));
            }
            prop_assert_eq!(cut, batch.packets().collect::<Vec<_>>());
        }
    }
}
