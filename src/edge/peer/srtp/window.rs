//! Which packets of one SSRC were seen: the extended sequence number (RFC 3711 §3.3.1) and the replay list (§3.3.2) in one.
//! Owns the arithmetic; knows no cipher. `srtp` keeps one for each stream and direction.

/// How far behind the newest packet an older one is still told from a replay. The default of SRTP is 64, too little for a
/// keyframe of a thousand packets that a slow path reorders.
const SIZE: u64 = 1024;
const WORDS: usize = (SIZE / 64) as usize;

/// The last `SIZE` indices up to the highest.
#[derive(Default)]
pub(super) struct Window {
    /// `None` until the first packet.
    highest: Option<u64>,
    /// Bit `index % SIZE` tells whether that index was seen.
    seen: [u64; WORDS],
}

impl Window {
    /// The 48-bit index that a sequence number most likely means: the one nearest to the highest seen. `None`: it precedes
    /// the first packet of all.
    pub(super) fn estimate(&self, sequence: u16) -> Option<u64> {
        let Some(highest) = self.highest else { return Some(u64::from(sequence)) };
        let (rollovers, newest) = (highest >> 16, highest as u16);
        let rollovers = if newest < 0x8000 && sequence > newest && sequence - newest > 0x8000 {
            rollovers.checked_sub(1)?
        } else if newest >= 0x8000 && newest - 0x8000 > sequence {
            rollovers + 1
        } else {
            rollovers
        };
        Some(rollovers << 16 | u64::from(sequence))
    }

    /// Not seen, and not so old that one cannot tell.
    pub(super) fn is_fresh(&self, index: u64) -> bool {
        match self.highest {
            None => true,
            Some(highest) if index > highest => true,
            Some(highest) if highest - index >= SIZE => false,
            Some(_) => self.word(index) & bit(index) == 0,
        }
    }

    /// Notes an index that was [fresh](Self::is_fresh).
    pub(super) fn insert(&mut self, index: u64) {
        let highest = self.highest.unwrap_or(index);
        if index > highest {
            // What lies between was not seen; the bits there are a whole window old.
            if index - highest >= SIZE {
                self.seen = [0; WORDS];
            } else {
                for skipped in highest + 1..index {
                    self.set(skipped, false);
                }
            }
        }
        self.set(index, true);
        self.highest = Some(highest.max(index));
    }

    fn word(&self, index: u64) -> u64 {
        self.seen.get(word_of(index)).copied().unwrap_or_default()
    }

    fn set(&mut self, index: u64, seen: bool) {
        if let Some(word) = self.seen.get_mut(word_of(index)) {
            *word = if seen { *word | bit(index) } else { *word & !bit(index) };
        }
    }
}

const fn word_of(index: u64) -> usize {
    (index % SIZE / 64) as usize
}

const fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the plainest model there is: the set of all indices seen.
        #[test]
        fn tells_fresh_from_seen(steps in prop::collection::vec((any::<bool>(), 0u64..3000), 1..400)) {
            let mut window = Window::default();
            let mut seen = HashSet::new();
            let mut highest = 70_000u64;
            for (back, distance) in steps {
                let index = if back { highest.saturating_sub(distance) } else { highest + distance % 1500 };
                let expected = seen.is_empty() || (!seen.contains(&index) && index + SIZE > highest);
                prop_assert_eq!(window.is_fresh(index), expected, "{} of {}", index, highest);
                if expected {
                    window.insert(index);
                    seen.insert(index);
                    highest = if seen.len() == 1 { index } else { highest.max(index) };
                }
            }
        }

        /// The estimate never is further from the highest than half the space of sequence numbers.
        #[test]
        fn estimates_the_nearest(highest in 0u64..1 << 40, sequence: u16) {
            let mut window = Window::default();
            window.insert(highest);
            if let Some(index) = window.estimate(sequence) {
                prop_assert_eq!(index as u16, sequence);
                prop_assert!(index.abs_diff(highest) <= 0x8000);
            } else {
                prop_assert!(highest < 0x8000);
            }
        }
    }

    #[test]
    fn follows_the_wrap_in_any_order() {
        let mut window = Window::default();
        for (sequence, index) in [(65_534, 65_534), (0, 65_536), (65_535, 65_535), (2, 65_538), (1, 65_537)] {
            assert_eq!(window.estimate(sequence), Some(index));
            assert!(window.is_fresh(index));
            window.insert(index);
            assert!(!window.is_fresh(index));
        }
    }
}
