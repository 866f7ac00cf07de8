//! What one member's subscriptions get and why it is not more: the answer to "why is this tile blurry?". Plain data, made by the
//! member's shard; told to the member itself and to the operator.

use serde::Serialize;

use crate::edge::message::StreamReason;
use crate::id::TrackId;
use crate::router;
use crate::rtp::Kind;

/// What a member receives, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct MemberStats {
    /// What the path to the member is estimated to carry, in bits per second; null before there is an estimate.
    #[cfg_attr(test, ts(type = "number | null"))]
    pub estimate_bps: Option<u64>,
    /// What its subscriptions are given.
    #[cfg_attr(test, ts(type = "number"))]
    pub budget_bps: u64,
    /// What all that it has on screen would take.
    #[cfg_attr(test, ts(type = "number"))]
    pub demand_bps: u64,
    pub rtt_ms: u32,
    pub subscriptions: Vec<SubscriptionStats>,
}

/// One track that a slot of the member carries. Pictures are null for voices, and for nothing at all.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SubscriptionStats {
    pub track: TrackId,
    pub kind: Kind,
    /// Lines of the picture on screen, in device pixels; 0 off screen.
    pub screen_h: u32,
    /// What the screen calls for.
    pub wanted: Option<Picture>,
    /// What was granted; it may not flow yet.
    pub target: Option<Picture>,
    /// What is sent.
    pub current: Option<Picture>,
    /// Why what is sent is not what the screen calls for; null when it is.
    pub reason: Option<StreamReason>,
    /// Sent over the last seconds, without headers.
    pub bps: u32,
    /// As the member reports it, as a share of 1.
    pub loss: f32,
    pub jitter_ms: u32,
    /// Keyframes that the member asked for so far.
    pub keyframes_asked: u32,
}

/// What can be sent of a picture: one of its layers, in so many frames per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Picture {
    /// Lines.
    pub h: u32,
    /// As measured lately; null while that layer has not been.
    pub fps: Option<u32>,
}

impl From<router::Picture> for Picture {
    fn from(picture: router::Picture) -> Self {
        Self { h: picture.height.0, fps: picture.frames }
    }
}
