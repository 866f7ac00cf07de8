//! Which part of each track a member should receive, within what it may receive in all. Owns the decision; how a switch is
//! carried out is the router's. Called when a view, a budget or the set of live layers changes, and once a second, never per
//! packet.
//!
//! **What there is to choose from** is a track's *ladder* ([`ladder()`]): its simulcast layers, or the spatial layers of its one
//! stream, each in as many frames per second as its temporal layers allow, in the order of their worth to a viewer. Of a camera
//! movement is worth more than sharpness: its smallest picture may go down to 7 frames a second before it is paused, and a
//! larger one is taken once it comes at 12 or more. Of a screen sharpness is worth more, at any frame rate: text that can be read.
//!
//! **Who gets what** ([`allocate()`]): voices first, which is why the budget that comes in here has them taken off already; then
//! everybody's smallest rung, everybody's smallest picture in full, and only then larger ones, by rank: the application's
//! priority (what is pinned, who speaks), screens before cameras, larger tiles before smaller ones. Equal ones rise together. So
//! one big picture never starves the rest of the grid, and a pinned one gets all that is left.
//!
//! **What keeps it calm**: two budgets. What a member gets is kept while it fits what its path carries *now*; what it does not get
//! yet has to fit, with room to spare, into what the path carried *for a while*. And what had to be given up is not tried again
//! for a while, longer each time it fails soon ([`Hold`]). Down at once, up with care.

mod allocate;
mod hold;
mod ladder;
mod relief;

pub use allocate::{Grant, Wish, allocate, demand, is_news, smallest};
pub use hold::Hold;
pub use ladder::{Encoding, Rung, available, ladder, position, rank, wanted};
pub use relief::{Relief, Taken};

use crate::units::Bitrate;

/// What a member may receive. Two figures, so that a layer is kept by one and a better one is begun by the other: an estimate that
/// swings would otherwise switch layers with every swing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What its path carries now: enough to keep what it gets.
    pub now: Bitrate,
    /// What its path has carried for a while: a layer that it does not get yet has to fit into this.
    pub steady: Bitrate,
}

impl Budget {
    /// One figure for both.
    pub const fn fixed(rate: Bitrate) -> Self {
        Self { now: rate, steady: rate }
    }

    /// Not more than `limit`.
    #[must_use]
    pub fn up_to(self, limit: Bitrate) -> Self {
        Self { now: self.now.min(limit), steady: self.steady.min(limit) }
    }

    /// What is left after `rate` is spent.
    #[must_use]
    pub const fn without(self, rate: Bitrate) -> Self {
        Self { now: self.now.saturating_sub(rate), steady: self.steady.saturating_sub(rate) }
    }
}

/// Why a member does not get what its screen calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is not to be seen.
    OffScreen,
    /// It does not fit what the member's own path carries, beside what matters more.
    Bandwidth,
    /// It does not fit a link between nodes on its way to here.
    Link,
    /// This node has too much to do.
    Busy,
    /// Its owner has turned it off.
    Muted,
    /// Its owner sends nothing, or no such layer, though it is on.
    NoMedia,
    /// The layer's keyframe is waited for.
    Keyframe,
    /// A microphone of a large room that is not among the loudest.
    Quiet,
}
