//! Wrapping numbers: RTP's 16-bit sequence numbers and 32-bit timestamps, compared and unwrapped. All wrapping arithmetic
//! of the crate lives here; the rest counts in `u64` and never wraps. Used by receive streams, rewriting and feedback.

/// Signed way from `from` to `to`, the shorter way around (RFC 1982). Positive: `to` is newer.
pub const fn distance16(from: u16, to: u16) -> i16 {
    to.wrapping_sub(from) as i16
}

/// Whether `a` comes after `b`.
pub const fn newer16(a: u16, b: u16) -> bool {
    distance16(b, a) > 0
}

/// Signed way from timestamp `from` to `to`, in ticks, the shorter way around.
pub const fn distance32(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

/// Whether timestamp `a` comes after `b`.
pub const fn newer32(a: u32, b: u32) -> bool {
    distance32(b, a) > 0
}

/// A sequence number further ahead than this is a new beginning rather than loss (RFC 3550 A.1).
pub const MAX_DROPOUT: u16 = 3_000;

/// Turns the wire's 16-bit numbers into numbers that never wrap, by taking each to be the one nearest to the highest so
/// far. The low 16 bits stay the wire's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwrapper {
    highest: Option<u64>,
}

impl Unwrapper {
    /// Extended numbers start above this, so that packets from before the first one that came need no negative numbers.
    pub(super) const BASE: u64 = 1 << 16;

    /// The extended number of `seq`; from now on the highest, if it is.
    pub fn unwrap(&mut self, seq: u16) -> u64 {
        let extended = self.peek(seq);
        if self.highest.is_none_or(|highest| extended > highest) {
            self.highest = Some(extended);
        }
        extended
    }

    /// The extended number of `seq`, remembering nothing.
    pub fn peek(&self, seq: u16) -> u64 {
        match self.highest {
            None => Self::BASE + u64::from(seq),
            // Never underflows: the highest only grows, from at least BASE, and the way back is at most half of BASE.
            Some(highest) => highest.saturating_add_signed(i64::from(distance16(highest as u16, seq))),
        }
    }

    /// The highest number so far.
    pub const fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Takes `seq` for newer than everything so far, however far it jumped: the sender began anew.
    pub fn restart(&mut self, seq: u16) -> u64 {
        let extended = match self.highest {
            None => Self::BASE + u64::from(seq),
            Some(highest) => highest + 1 + u64::from(seq.wrapping_sub((highest as u16).wrapping_add(1))),
        };
        self.highest = Some(extended);
        extended
    }
}

/// Which of the last `WORDS * 64` numbers were seen: duplicate detection in constant space.
#[derive(Clone, Copy, Debug)]
pub struct Window<const WORDS: usize> {
    /// One above the highest seen; zero when none was.
    end: u64,
    bits: [u64; WORDS],
}

impl<const WORDS: usize> Default for Window<WORDS> {
    fn default() -> Self {
        Self { end: 0, bits: [0; WORDS] }
    }
}

impl<const WORDS: usize> Window<WORDS> {
    /// How many numbers it looks back.
    pub const SPAN: u64 = WORDS as u64 * 64;

    /// Notes `number`. False when it was seen before, or is too old to know.
    pub fn insert(&mut self, number: u64) -> bool {
        if number >= self.end {
            self.advance(number);
        } else if !self.covers(number) || self.contains(number) {
            return false;
        }
        if let Some(word) = self.bits.get_mut(Self::word(number)) {
            *word |= 1 << (number % 64);
        }
        true
    }

    /// Whether `number` was seen and is not too old to know.
    pub fn contains(&self, number: u64) -> bool {
        number < self.end
            && self.covers(number)
            && self.bits.get(Self::word(number)).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// Whether `number` is not too old to know about.
    pub const fn covers(&self, number: u64) -> bool {
        number.saturating_add(Self::SPAN) >= self.end
    }

    /// Moves the window so that `number` is its newest, forgetting what leaves it.
    fn advance(&mut self, number: u64) {
        if number - self.end >= Self::SPAN {
            self.bits = [0; WORDS];
        } else {
            for fresh in self.end..=number {
                if let Some(word) = self.bits.get_mut(Self::word(fresh)) {
                    *word &= !(1 << (fresh % 64));
                }
            }
        }
        self.end = number + 1;
    }

    const fn word(number: u64) -> usize {
        (number / 64) as usize % WORDS
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn serial_numbers_compare_across_the_wrap() {
        assert!(newer16(2, 65_534));
        assert!(!newer16(65_534, 2));
        assert!(!newer16(7, 7));
        assert_eq!(distance32(u32::MAX, 9), 10);
        assert!(newer32(5, u32::MAX - 5));
    }

    #[test]
    fn reordering_before_the_first_packet_does_not_underflow() {
        let mut unwrapper = Unwrapper::default();
        let first = unwrapper.unwrap(3);
        assert_eq!(unwrapper.unwrap(65_535), first - 4);
        assert_eq!(unwrapper.unwrap(4), first + 1);
    }

    #[test]
    fn a_restart_is_always_newer() {
        let mut unwrapper = Unwrapper::default();
        let before = unwrapper.unwrap(1000);
        let after = unwrapper.restart(999);
        assert!(after > before);
        assert_eq!(after as u16, 999);
    }

    proptest! {
        #[test]
        fn unwrapping_follows_a_reordered_stream(start: u16, steps in prop::collection::vec(-500i64..1000, 1..200)) {
            let mut unwrapper = Unwrapper::default();
            let base = unwrapper.unwrap(start);
            let (mut truth, mut top) = (base as i64, base as i64);
            for step in steps {
                truth = (truth + step).max(top - 10_000);
                prop_assert_eq!(unwrapper.unwrap(truth as u16), truth as u64);
                top = top.max(truth);
            }
        }

        #[test]
        fn window_agrees_with_a_set(numbers in prop::collection::vec(0u64..400, 1..300)) {
            let mut window = Window::<2>::default();
            let mut seen = BTreeSet::new();
            for number in numbers {
                let highest = seen.last().copied().unwrap_or(0);
                let fresh = window.insert(number);
                let known = number + 128 > highest;
                prop_assert_eq!(fresh, known && !seen.contains(&number));
                if fresh { seen.insert(number); }
            }
        }
    }
}
