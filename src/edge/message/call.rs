//! What two members say to each other about a call between them: ring, answer, hang up, and the negotiation of the connection
//! between their browsers. The server passes it on and keeps nothing of it. Part of `edge::message`.

use serde::{Deserialize, Serialize};

use crate::id::MemberId;

/// Rings a member. To one that is in the call already, with `room`: the call goes on through the room's server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS, Serialize))]
pub struct CallTo {
    pub to: MemberId,
    /// The caller's own name for the call, hard to guess; all messages about it repeat it.
    pub call: String,
    pub media: CallMedia,
    /// The media go through the room's server, not from browser to browser.
    #[serde(default)]
    #[cfg_attr(test, ts(optional, as = "Option<_>"))]
    pub room: bool,
}

/// As its addressee hears [`CallTo`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct CallFrom {
    pub from: MemberId,
    pub call: String,
    pub media: CallMedia,
    pub room: bool,
}

/// Accepts a call, or says why not.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS, Serialize), ts(optional_fields))]
pub struct CallReplyTo {
    pub to: MemberId,
    pub call: String,
    pub ok: bool,
    #[serde(default)]
    pub why: Option<CallEnd>,
}

/// As its addressee hears [`CallReplyTo`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct CallReplyFrom {
    pub from: MemberId,
    pub call: String,
    pub ok: bool,
    pub why: Option<CallEnd>,
}

/// Ends a call, or gives up ringing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS, Serialize))]
pub struct CallEndTo {
    pub to: MemberId,
    pub call: String,
    pub why: CallEnd,
}

/// As its addressee hears [`CallEndTo`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct CallEndFrom {
    pub from: MemberId,
    pub call: String,
    pub why: CallEnd,
}

/// Negotiates the connection between two browsers: one of `desc` and `cand`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS, Serialize), ts(optional_fields))]
pub struct PeerSignalTo {
    pub to: MemberId,
    pub call: String,
    #[serde(default)]
    pub desc: Option<Description>,
    #[serde(default)]
    pub cand: Option<Candidate>,
}

/// As its addressee hears [`PeerSignalTo`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PeerSignalFrom {
    pub from: MemberId,
    pub call: String,
    pub desc: Option<Description>,
    pub cand: Option<Candidate>,
}

/// What a caller means to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct CallMedia {
    pub audio: bool,
    pub video: bool,
}

/// Why a call is over, or did not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum CallEnd {
    HungUp,
    Declined,
    /// In another call.
    Busy,
    /// The caller gave up.
    Cancelled,
    /// Nobody answered.
    Timeout,
    /// No connection came about, or it was lost.
    Failed,
    /// The client takes no calls.
    Unavailable,
}

/// As `RTCSessionDescriptionInit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Description {
    #[serde(rename = "type")]
    pub kind: DescriptionKind,
    pub sdp: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum DescriptionKind {
    Offer,
    Answer,
}

/// As `RTCIceCandidateInit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Candidate {
    pub candidate: String,
    #[serde(default)]
    #[cfg_attr(test, ts(optional = nullable))]
    pub sdp_mid: Option<String>,
    #[serde(default)]
    #[cfg_attr(test, ts(optional = nullable))]
    pub sdp_m_line_index: Option<u16>,
    #[serde(default)]
    #[cfg_attr(test, ts(optional = nullable))]
    pub username_fragment: Option<String>,
}
