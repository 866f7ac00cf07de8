//! What members are told of how good the call is for each of them. Part of `edge::message`.

use serde::{Deserialize, Serialize};

use crate::id::MemberId;

/// How good the call is for a member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PeerQuality {
    pub pid: MemberId,
    pub q: QualityKind,
    /// 1 (worst) to 5: the worse of both directions.
    pub score: f32,
    /// Of what it sends.
    pub up: f32,
    /// Of what it receives.
    pub down: f32,
    pub rtt_ms: u32,
    /// The worse of both directions, as a share of 1.
    pub loss: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum QualityKind {
    Lost,
    Poor,
    Good,
    Excellent,
}
