//! What a scalable stream may be cut down to: its spatial and temporal layers as values, and what a frame says of them. Plain
//! data that `rtp::descriptor` and `rtp::dependency` read off packets, and that `rtp::select` decides by.

/// How much of one stream a receiver gets: everything up to a spatial and a temporal layer. Ordered by value to a viewer: sharper
/// first, then smoother. Each is at most 3; a stream without such layers is the same in every cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cut {
    pub spatial: u8,
    pub temporal: u8,
}

impl Cut {
    /// Spatial or temporal layers that are told apart.
    pub const LAYERS: u8 = 4;
    /// How many cuts there are.
    pub const COUNT: usize = (Self::LAYERS * Self::LAYERS) as usize;
    /// Everything.
    pub const ALL: Self = Self { spatial: 3, temporal: 3 };
    /// The least that is a picture.
    pub const BASE: Self = Self { spatial: 0, temporal: 0 };

    /// Its place among all cuts, in their order.
    pub const fn index(self) -> usize {
        let [spatial, temporal] = [self.spatial, self.temporal];
        let last = Self::LAYERS - 1;
        let spatial = if spatial < last { spatial } else { last };
        let temporal = if temporal < last { temporal } else { last };
        (spatial * Self::LAYERS + temporal) as usize
    }

    /// Every cut, smallest first.
    pub fn each() -> impl DoubleEndedIterator<Item = Self> {
        (0..Self::COUNT as u8).map(|index| Self { spatial: index / Self::LAYERS, temporal: index % Self::LAYERS })
    }
}

/// A set of cuts, as a bit mask by [`Cut::index`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuts(pub u16);

impl Default for Cuts {
    /// All: what is not known to be droppable never is dropped.
    fn default() -> Self {
        Self::ALL
    }
}

impl Cuts {
    pub const ALL: Self = Self(u16::MAX);
    pub const NONE: Self = Self(0);

    /// The cuts that a frame of these layers is in when everything above may build on it. All of them, if it says a layer that
    /// is not told apart.
    pub const fn from(spatial: u8, temporal: u8) -> Self {
        if spatial >= Cut::LAYERS || temporal >= Cut::LAYERS {
            return Self::ALL;
        }
        let row = (0xF << temporal) & 0xF;
        Self((row * 0x1111) & (0xFFFF << (spatial * Cut::LAYERS)))
    }

    pub const fn contains(self, cut: Cut) -> bool {
        self.0 & (1 << cut.index()) != 0
    }

    #[must_use]
    pub const fn with(self, cut: Cut) -> Self {
        Self(self.0 | (1 << cut.index()))
    }

    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The temporal layers of one spatial layer: four bits.
    pub(super) const fn row(self, spatial: u8) -> u16 {
        (self.0 >> (spatial * Cut::LAYERS)) & 0xF
    }

    /// The other way around.
    pub(super) const fn of_row(spatial: u8, row: u16) -> Self {
        Self((row & 0xF) << (spatial * Cut::LAYERS))
    }
}

/// What a frame opens to those who did not get everything before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entry {
    #[default]
    None,
    /// It starts a keyframe: every cut begins here.
    Anew,
    /// Its temporal layer begins here for who had the ones below: VP8's Y (RFC 7741 §4.2).
    Sync,
    /// VP9 (RFC 9628 §4.2). `above`: temporal layers above its own begin after it, U. `over`: its spatial layer builds on the
    /// one below of the same picture only, so it begins here for who has that: P is zero.
    Picture { above: bool, over: bool },
    /// The dependency descriptor: the decode targets that begin here for who had what it builds on. Bit n of `references` is
    /// the frame n + 1 before it.
    Targets { begin: Cuts, references: u64 },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_in_every_cut_from_its_own_layers_up() {
        for spatial in 0..Cut::LAYERS {
            for temporal in 0..Cut::LAYERS {
                let cuts = Cuts::from(spatial, temporal);
                for cut in Cut::each() {
                    let within = cut.spatial >= spatial && cut.temporal >= temporal;
                    assert_eq!(cuts.contains(cut), within, "{spatial} {temporal} in {cut:?}");
                    assert_eq!(cuts.row(cut.spatial) >> cut.temporal & 1 == 1, within);
                }
            }
        }
        assert_eq!(Cuts::from(4, 0), Cuts::ALL);
        assert!(Cut::each().is_sorted());
    }
}
