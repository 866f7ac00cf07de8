//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep-03) as values: what an HTTP request asks for, and what answers it. Owns the rules of
//! HTTP: methods, media types, entity tags, links, web origins. What becomes of a session is `edge::hub`'s, sockets are
//! `edge::signal`'s, the only caller.
//!
//! ```text
//!  request ─ Head::read ─▶ Head ─ Head::ask (body) ─▶ Ask ─ Hub::whip ─▶ Outcome ─ Head::answer ─▶ response
//!                └────────────────────┴── what can be refused without the hub ──────────────────────▶
//! ```

mod request;
mod response;
#[cfg(test)]
mod tests;
mod tracks;

use axum::http::StatusCode;
use serde::Deserialize;

pub use request::{Head, MAX_BODY};
pub use tracks::tracks;

use super::message::IceServer;
use super::sdp::Fragment;
use crate::id::{Identity, RegionId, RoomId};

/// What answers a request. The body is text.
pub type Response = axum::http::Response<String>;

/// Which way the media go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A client publishes.
    Whip,
    /// A client watches.
    Whep,
    /// A PeerJS client calls the room: by one offer it publishes, and watches whoever speaks.
    Peerjs,
    /// A PeerJS client calls one of its members, whom it watches for as long as that one is there.
    PeerjsMember,
}

impl Protocol {
    /// The first part of its paths.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whip => "whip",
            Self::Whep => "whep",
            Self::Peerjs | Self::PeerjsMember => "peerjs",
        }
    }

    /// Whether its client sends nothing and receives.
    pub const fn only_watches(self) -> bool {
        matches!(self, Self::Whep | Self::PeerjsMember)
    }
}

/// What may stand behind the `?` of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Query {
    /// Whom to watch, by identity; without it, whoever speaks.
    pub member: Option<Identity>,
    /// Where the client wants to be served.
    pub region: Option<RegionId>,
}

/// What is asked of the hub. The token has yet to be verified.
#[derive(Debug)]
pub struct Ask {
    pub protocol: Protocol,
    pub room: RoomId,
    pub token: String,
    pub act: Act,
}

/// What is to be done.
#[derive(Debug)]
pub enum Act {
    Open {
        offer: String,
        query: Query,
        /// The client's name for itself, for the log and for the few that need a rule of their own.
        client: String,
    },
    /// To a session: candidates, or an ICE restart.
    Patch {
        session: String,
        tags: Tags,
        fragment: Fragment,
    },
    Close {
        session: String,
        tags: Tags,
    },
}

/// An `If-Match` (RFC 9110 §13.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// It was not sent, or it was `*`: many clients know no tags, so none are insisted on.
    Any,
    /// Without their quotes.
    OneOf(Vec<String>),
}

impl Tags {
    /// Whether a session whose tag is `tag` is meant.
    pub fn allow(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.iter().any(|known| known == tag),
        }
    }
}

/// What the hub says.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Opened {
        session: String,
        answer: String,
        tag: String,
        ice_servers: Vec<IceServer>,
    },
    /// Candidates were taken note of.
    Trickled {
        tag: String,
    },
    Restarted {
        tag: String,
        fragment: String,
    },
    Closed,
    /// Another edge is the better one; its URL.
    Elsewhere {
        edge: String,
    },
    Refused(Refused),
}

/// Why not, and what would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub status: StatusCode,
    pub text: String,
    /// The URL of an edge that may have room.
    pub elsewhere: Option<String>,
}

impl Refused {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), elsewhere: None }
    }
}

/// The path of an endpoint or a session. A room's name may hold anything, so it is escaped (RFC 3986 §2.1).
fn path(protocol: Protocol, room: &RoomId, session: Option<&str>) -> String {
    let mut path = format!("/{}/{}", protocol.name(), escaped(room.as_str()));
    if let Some(session) = session {
        path.push('/');
        path.push_str(session);
    }
    path
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}
