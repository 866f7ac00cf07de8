//! Identities: what a room, a member, a track and a node are called. Owns the newtypes and how fresh ones are drawn;
//! knows nothing of what they name. Everyone uses it.

use std::fmt;
use std::sync::Arc;

use rand::RngExt;
use serde::{Deserialize, Serialize};

/// Declares an id that is a short text on the wire and cheap to clone in memory.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(test, derive(ts_rs::TS), ts(type = "string"))]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a text that the caller has already checked.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A call, as its members name it.
    RoomId
);
text_id!(
    /// Who a member is to its application: the token's `sub`. Unique in a room; the newest session wins.
    Identity
);
text_id!(
    /// One running process.
    NodeId
);
text_id!(
    /// A named place; nodes in one region are cheap and near to each other.
    RegionId
);

/// Characters of the name of a node, a region or a cluster.
pub const MAX_NAME: usize = 63;

/// Whether a text may name a node, a region or a cluster. Such names stand in host names, URIs, file names and log lines, so
/// they are what all of these allow: parts of a-z, 0-9 and inner '-', joined by single dots.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        let ends = [part.bytes().next(), part.bytes().next_back()];
        ends.iter().all(|end| end.is_some_and(plain)) && part.bytes().all(|byte| plain(byte) || byte == b'-')
    };
    text.len() <= MAX_NAME && text.split('.').all(part)
}

/// Declares an id that is a random 64-bit number, written as a prefixed hexadecimal text.
macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(test, derive(ts_rs::TS), ts(type = "string"))]
        pub struct $name(pub u64);

        impl $name {
            /// Draws a fresh one. 53 bits, so that it also survives as a JavaScript number.
            pub fn random(rng: &mut impl rand::Rng) -> Self {
                Self(rng.random::<u64>() >> 11)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:014x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let digits = text.strip_prefix($prefix).ok_or(BadId)?;
                if digits.len() != 14 {
                    return Err(BadId);
                }
                u64::from_str_radix(digits, 16).map(Self).map_err(|_| BadId)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

number_id!(
    /// One member's presence in one room: a new one for each join, kept through a resume.
    MemberId, "m"
);
number_id!(
    /// One audio or video source of a member.
    TrackId, "t"
);

/// A text that is not an id of the kind asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a weir id: expected one letter and 14 hexadecimal digits")]
pub struct BadId;

/// Which shard of a node: the index of its thread and of its UDP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

/// A link of this node: an index drawn when its connection is up, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// A receive slot of a member: the index among its `recvonly` m-lines, in order of their appearance. Which track it carries
/// changes without negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_a_file_a_uri_and_a_host_allow() {
        for name in ["a", "0", "fra", "fra-1", "eu-west-1.fra", &"n".repeat(MAX_NAME)] {
            assert!(is_name(name), "{name}");
        }
        for text in [
            "",
            ".",
            "..",
            "../a",
            "a/b",
            "-a",
            "a-",
            "a..b",
            ".a",
            "a.",
            "a.-b",
            "A",
            "a b",
            "a_b",
            "a\0",
            "ä",
            &"n".repeat(MAX_NAME + 1),
        ] {
            assert!(!is_name(text), "{text:?}");
        }
    }

    #[test]
    fn number_ids_survive_text_and_json() {
        let track = TrackId(0x00ab_cdef_0123_4567);
        assert_eq!(track.to_string(), "tabcdef01234567");
        assert_eq!("tabcdef01234567".parse(), Ok(track));
        let json = serde_json::to_string(&track).expect("ids serialize");
        assert_eq!(serde_json::from_str::<TrackId>(&json).expect("and come back"), track);
    }

    #[test]
    fn foreign_text_is_refused() {
        for text in ["", "t", "m0000000000001", "t1", "t0000000000001é", "t-0000000000001", "tabcdef012345678"] {
            assert!(text.parse::<TrackId>().is_err(), "{text}");
        }
    }
}
