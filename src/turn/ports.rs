//! Which port a relayed address gets: one at random among the free ones, so that nobody guesses the next (RFC 8656 §7.2). Owns
//! what is taken; `server` asks, the shell binds.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use rand::{Rng, RngExt};

/// What an EVEN-PORT asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parity {
    Any,
    Even,
    /// And the one above free too.
    EvenPair,
}

/// Ports of relayed addresses.
#[derive(Debug)]
pub(super) struct Ports {
    range: RangeInclusive<u16>,
    taken: HashSet<u16>,
}

impl Ports {
    pub(super) fn new(range: RangeInclusive<u16>) -> Self {
        Self { range, taken: HashSet::new() }
    }

    /// Takes a free port, and the one above it for a pair.
    pub(super) fn draw(&mut self, parity: Parity, rng: &mut impl Rng) -> Option<u16> {
        if self.range.is_empty() {
            return None;
        }
        let start = rng.random_range(self.range.clone());
        let (first, last) = (*self.range.start(), *self.range.end());
        let free = |port: &u16| match parity {
            Parity::Any => self.is_free(*port),
            Parity::Even => port.is_multiple_of(2) && self.is_free(*port),
            Parity::EvenPair => port.is_multiple_of(2) && self.is_free(*port) && self.is_free(port.saturating_add(1)),
        };
        let port = (start..=last).chain(first..start).find(free)?;
        self.taken.insert(port);
        if parity == Parity::EvenPair {
            self.taken.insert(port + 1);
        }
        Some(port)
    }

    pub(super) fn free(&mut self, port: u16) {
        self.taken.remove(&port);
    }

    fn is_free(&self, port: u16) -> bool {
        self.range.contains(&port) && !self.taken.contains(&port)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn each_port_is_given_once_and_pairs_are_even() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut ports = Ports::new(50_000..=50_009);
        let pair = ports.draw(Parity::EvenPair, &mut rng).expect("a pair");
        assert_eq!(pair % 2, 0);
        let even = ports.draw(Parity::Even, &mut rng).expect("an even one");
        assert!(even.is_multiple_of(2) && even != pair);
        let mut rest: Vec<u16> = std::iter::from_fn(|| ports.draw(Parity::Any, &mut rng)).collect();
        assert_eq!(rest.len(), 7);
        rest.extend([pair, pair + 1, even]);
        rest.sort_unstable();
        assert_eq!(rest, (50_000..=50_009).collect::<Vec<_>>());
        ports.free(pair);
        assert_eq!(ports.draw(Parity::EvenPair, &mut rng), None, "its other half is taken");
        assert_eq!(ports.draw(Parity::Even, &mut rng), Some(pair));
    }
}
