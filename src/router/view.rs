//! How a member sees its subscriptions: what it says is on screen, and what it is told it gets. Plain values.

use crate::id::TrackId;
pub use crate::policy::layers::Reason;
use crate::rtp::Layer;
use crate::units::PixelHeight;

/// How one track is shown to one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewItem {
    pub track: TrackId,
    /// Height of the picture on screen, in device pixels.
    pub height: PixelHeight,
    pub visible: bool,
    /// Higher is served first.
    pub priority: u8,
}

/// State of what a slot carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamState {
    Forwarding {
        layer: Layer,
        /// Why it is less than the screen calls for, if it is.
        short: Option<Reason>,
    },
    /// Nothing is sent, or nothing comes that could be.
    Paused(Reason),
}
