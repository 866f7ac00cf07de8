//! What a client is told of a track that it receives: whether it comes, and why not or not whole. Part of `edge::message`.

use serde::Serialize;

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
    /// Its owner turned it off.
    Muted,
    /// Its owner sends nothing, though it is on.
    NoMedia,
}

impl From<Reason> for StreamReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::OffScreen => Self::OffScreen,
            Reason::Bandwidth => Self::Bandwidth,
            Reason::Link => Self::Link,
            Reason::Muted => Self::Muted,
            Reason::NoMedia => Self::NoMedia,
        }
    }
}
