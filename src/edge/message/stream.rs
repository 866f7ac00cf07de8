//! What a client says of a track that it receives, and is told of it: how it is shown, whether it comes, and why not or not whole.
//! Part of `edge::message`.

use serde::{Deserialize, Serialize};

use crate::id::TrackId;
use crate::policy::layers::Reason;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum StreamStateKind {
    Active,
    Paused,
}

/// Why a client gets nothing of a track, or less than its view called for. Names may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum StreamReason {
    /// The view said that it can't be seen.
    OffScreen,
    /// It does not fit the client's own connection, beside what matters more.
    Bandwidth,
    /// It does not fit a connection between servers on its way.
    Link,
    /// The server has too much to do.
    Busy,
    /// Its owner turned it off.
    Muted,
    /// Its owner sends nothing, or no such layer, though it is on.
    NoMedia,
    /// The layer's keyframe is waited for.
    Keyframe,
    /// A microphone of a large room that is not among the loudest.
    Quiet,
}

impl From<Reason> for StreamReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::OffScreen => Self::OffScreen,
            Reason::Bandwidth => Self::Bandwidth,
            Reason::Link => Self::Link,
            Reason::Busy => Self::Busy,
            Reason::Muted => Self::Muted,
            Reason::NoMedia => Self::NoMedia,
            Reason::Keyframe => Self::Keyframe,
            Reason::Quiet => Self::Quiet,
        }
    }
}

/// How one track is shown. Sizes in device pixels.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS, Serialize))]
pub struct ViewItem {
    pub track: TrackId,
    #[serde(default)]
    #[cfg_attr(test, ts(optional, as = "Option<_>"))]
    pub w: u32,
    #[serde(default)]
    #[cfg_attr(test, ts(optional, as = "Option<_>"))]
    pub h: u32,
    pub visible: bool,
    /// Higher is served first when the budget is short; a pinned tile has more than the others.
    #[serde(default)]
    #[cfg_attr(test, ts(optional, as = "Option<_>"))]
    pub prio: u8,
}
