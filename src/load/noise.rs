//! Numbers that look random and are the same for the same seed: sizes of frames, identifiers that nobody has to guess. Never for
//! secrets that protect anything.

/// A SplitMix64 sequence.
#[derive(Clone, Copy, Debug)]
pub struct Noise(u64);

impl Noise {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, but not with, 1.
    pub const fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Around 1, by at most `spread` either way.
    pub const fn about(&mut self, spread: f64) -> f64 {
        1.0 + (self.share() * 2.0 - 1.0) * spread
    }
}
