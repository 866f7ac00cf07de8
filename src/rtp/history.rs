//! The latest packets of one layer, shared with whoever still sends them: retransmissions and the replay after a switch
//! come from here. Bounded by count, bytes and age; everything but eviction in bulk takes constant time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::packet::Packet;

/// What a history may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sequence numbers spanned, those that never came included.
    pub packets: usize,
    /// Of payload.
    pub bytes: usize,
    pub age: Duration,
}

/// A ring of packets by sequence number.
#[derive(Debug)]
pub struct History {
    limits: Limits,
    /// `None` where a packet has not come. Never empty at either end.
    packets: VecDeque<Option<Arc<Packet>>>,
    /// Sequence number of the front.
    first: u64,
    bytes: usize,
    keyframe: Option<u64>,
}

impl History {
    /// An empty one. It allocates as it fills.
    pub fn new(limits: Limits) -> Self {
        Self { limits, packets: VecDeque::new(), first: 0, bytes: 0, keyframe: None }
    }

    /// Keeps `packet`, in its place by number, and lets go what exceeds the limits. One that is older than what is kept,
    /// or is there already, is not kept.
    pub fn push(&mut self, packet: Arc<Packet>) {
        let (seq, now) = (packet.seq, packet.arrival);
        // First, since a packet that is not kept has moved the time on all the same.
        self.expire(now);
        if seq.saturating_sub(self.end()) >= self.limits.packets as u64 {
            self.clear();
        }
        if self.packets.is_empty() {
            self.first = seq;
        }
        let Some(index) = seq.checked_sub(self.first) else { return };
        let index = index as usize;
        while self.packets.len() <= index {
            self.packets.push_back(None);
        }
        let Some(place @ None) = self.packets.get_mut(index) else { return };
        self.bytes += packet.payload.len();
        if packet.frame.starts_keyframe && self.keyframe.is_none_or(|keyframe| keyframe < seq) {
            self.keyframe = Some(seq);
        }
        *place = Some(packet);
        while self.packets.len() > self.limits.packets || self.bytes > self.limits.bytes {
            self.pop();
        }
        self.expire(now);
    }

    /// Lets go what has become too old.
    pub fn expire(&mut self, now: Instant) {
        while let Some(Some(oldest)) = self.packets.front()
            && now.saturating_duration_since(oldest.arrival) > self.limits.age
        {
            self.pop();
        }
    }

    /// The packet with this number, if it came and is kept.
    pub fn get(&self, seq: u64) -> Option<&Arc<Packet>> {
        self.packets.get(usize::try_from(seq.checked_sub(self.first)?).ok()?)?.as_ref()
    }

    /// The packets from `seq` on that are kept, in order.
    pub fn from(&self, seq: u64) -> impl Iterator<Item = &Arc<Packet>> {
        let skip = usize::try_from(seq.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.packets.range(skip.min(self.packets.len())..).flatten()
    }

    /// Number of the first packet of the newest keyframe that is kept.
    pub const fn keyframe(&self) -> Option<u64> {
        self.keyframe
    }

    /// The packet with the highest number.
    pub fn newest(&self) -> Option<&Arc<Packet>> {
        self.packets.back()?.as_ref()
    }

    /// Bytes of payload that are kept.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.bytes = 0;
        self.keyframe = None;
    }

    /// One above the highest number.
    fn end(&self) -> u64 {
        self.first + self.packets.len() as u64
    }

    /// Drops the oldest packet, and the holes behind it.
    fn pop(&mut self) {
        loop {
            if let Some(Some(packet)) = self.packets.pop_front() {
                self.bytes -= packet.payload.len();
            }
            self.first += 1;
            if !matches!(self.packets.front(), Some(None)) {
                break;
            }
        }
        if self.keyframe.is_some_and(|keyframe| keyframe < self.first) {
            self.keyframe = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::rtp::{Codec, Extensions, FrameInfo};

    const LIMITS: Limits = Limits { packets: 64, bytes: 10_000, age: Duration::from_millis(500) };

    fn packet(arrival: Instant, seq: u64, size: usize, starts_keyframe: bool) -> Arc<Packet> {
        Arc::new(Packet {
            arrival,
            codec: Codec::Vp8,
            seq,
            timestamp: 0,
            marker: false,
            ext: Extensions::default(),
            frame: FrameInfo { starts_keyframe, ..FrameInfo::default() },
            payload: Bytes::from(vec![0; size]),
        })
    }

    #[test]
    fn replay_begins_at_the_newest_keyframe() {
        let (mut history, now) = (History::new(LIMITS), Instant::now());
        for seq in 100..140 {
            history.push(packet(now, seq, 10, seq % 15 == 0));
        }
        assert_eq!(history.keyframe(), Some(135));
        let replayed: Vec<u64> = history.from(135).map(|packet| packet.seq).collect();
        assert_eq!(replayed, [135, 136, 137, 138, 139]);
        history.push(packet(now, 105, 10, true));
        assert_eq!(history.keyframe(), Some(135));
        history.expire(now + Duration::from_secs(1));
        assert_eq!((history.keyframe(), history.bytes(), history.newest().is_none()), (None, 0, true));
    }

    #[test]
    fn a_jump_beyond_the_span_empties_it() {
        let (mut history, now) = (History::new(LIMITS), Instant::now());
        history.push(packet(now, 1, 10, true));
        history.push(packet(now, 1 << 40, 10, false));
        assert_eq!((history.bytes(), history.keyframe()), (10, None));
        assert!(history.get(1 << 40).is_some() && history.get(1).is_none());
    }

    proptest! {
        #[test]
        fn it_holds_what_the_limits_allow(pushes in prop::collection::vec((-20i64..30, 0usize..900, 0u64..40), 1..300)) {
            let (mut history, mut now, mut newest) = (History::new(LIMITS), Instant::now(), 1_000i64);
            let mut all = BTreeMap::new();
            for (step, size, wait) in pushes {
                now += Duration::from_millis(wait);
                let seq = (newest + step) as u64;
                newest = newest.max(newest + step);
                history.push(packet(now, seq, size, false));
                all.entry(seq).or_insert(now);
                let kept: Vec<_> = history.from(0).cloned().collect();
                let end = kept.last().map_or(0, |packet| packet.seq);
                prop_assert!(kept.windows(2).all(|pair| pair[0].seq < pair[1].seq));
                prop_assert!(kept.first().is_none_or(|first| end - first.seq < 64));
                prop_assert_eq!(history.bytes(), kept.iter().map(|packet| packet.payload.len()).sum::<usize>());
                prop_assert!(history.bytes() <= LIMITS.bytes);
                // A reordered packet may keep an older one a little longer, but the front is never too old.
                prop_assert!(kept.first().is_none_or(|first| now - first.arrival <= LIMITS.age));
                for packet in &kept {
                    prop_assert!(all.contains_key(&packet.seq));
                    prop_assert_eq!(history.get(packet.seq).unwrap().seq, packet.seq);
                }
            }
        }
    }
}
