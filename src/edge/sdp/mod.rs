//! SDP text (RFC 8866) as far as WebRTC uses it: a typed view of an offer, and the writer of an answer. Owns the grammar and
//! its bounds; what is acceptable and what an offer comes to is `edge::negotiate`'s. Fragments of it are WHIP's and WHEP's.
//!
//! The grammar is read by our own line reader: the few attributes that matter are split by hand anyway, errors can name
//! the line, and the view borrows from the text instead of copying each attribute.

mod answer;
mod attribute;
mod fragment;
mod offer;

pub use answer::{Answer, Candidate, Media, MediaBody, RtpBody};
pub use fragment::{Fragment, MAX_FRAGMENT, restarted};
pub use offer::{Extmap, Format, MAX_MEDIA, MAX_TEXT, Offer, Rid, Section, Setup, SsrcGroup, Transport};

/// Why an offer can't be used. The text says which line and what would do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadOffer(pub String);

/// Which way media flows, from the view of whoever wrote the description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    /// The direction that does just this.
    pub const fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the writer sends.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the writer receives.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same from the other side.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self::of(self.receives(), self.sends())
    }

    /// The attribute's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "sendrecv" => Some(Self::SendRecv),
            "sendonly" => Some(Self::SendOnly),
            "recvonly" => Some(Self::RecvOnly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }
}

/// Foreign text, short and harmless enough to repeat in an error.
pub fn shown(text: &str) -> String {
    const LONGEST: usize = 48;
    let mut out: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

fn bad(at: usize, why: &str, found: &str) -> BadOffer {
    BadOffer(format!("line {at}: {why}, found `{}`", shown(found)))
}
