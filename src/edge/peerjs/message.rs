//! What a PeerJS client and its server say to each other, as JSON texts. Owns their shapes and limits; `edge::signal` parses, the
//! broker gives them their meaning. A payload is the clients' own business: it is passed on as it came, unread.

use std::fmt::Write;
use std::sync::Arc;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Bytes of one message of a client. An offer with its candidates has some ten thousand.
pub const MAX_FRAME: usize = 64 << 10;

/// Bytes of a peer's id, or of the one it calls.
pub const MAX_ID: usize = 128;

/// Bytes of a client's token and of an app's key.
pub const MAX_SECRET: usize = 256;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    /// The client is still there. Nobody else hears of it.
    Heartbeat,
    Offer,
    Answer,
    Candidate,
    /// The sender ends all connections with the other.
    Leave,
    /// The peer that was called can't be reached.
    Expire,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "HEARTBEAT",
            Self::Offer => "OFFER",
            Self::Answer => "ANSWER",
            Self::Candidate => "CANDIDATE",
            Self::Leave => "LEAVE",
            Self::Expire => "EXPIRE",
        }
    }

    /// Whether it is kept for a peer that is not there yet.
    pub(super) const fn waits(self) -> bool {
        matches!(self, Self::Offer | Self::Answer | Self::Candidate)
    }
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub kind: Kind,
    /// Which peer it is for.
    pub(super) dst: Arc<str>,
    /// JSON.
    pub(super) payload: Option<Arc<str>>,
}

impl Said {
    /// Reads a client's text; `None` for what is no message, or too much. Whatever else it holds, a `src` among it, is left.
    pub fn parse(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Raw<'a> {
            #[serde(rename = "type")]
            kind: Kind,
            #[serde(default)]
            dst: Option<String>,
            #[serde(default, borrow)]
            payload: Option<&'a RawValue>,
        }
        if text.len() > MAX_FRAME {
            return None;
        }
        let raw: Raw<'_> = serde_json::from_str(text).ok()?;
        let dst = raw.dst.unwrap_or_default();
        let named = raw.kind == Kind::Heartbeat || is_text(&dst, MAX_ID);
        named.then(|| Self { kind: raw.kind, dst: dst.into(), payload: raw.payload.map(|payload| payload.get().into()) })
    }
}

/// One message from peer to peer, as the receiver reads it. `payload` is JSON.
pub(super) fn relayed(kind: Kind, src: &str, dst: &str, payload: Option<&str>) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = format!(r#"{{"type":"{}","src":{},"dst":{}"#, kind.name(), quoted(src), quoted(dst));
    if let Some(payload) = payload {
        // Writing to a `String` can't fail.
        let _ = write!(text, r#","payload":{payload}"#);
    }
    text.push('}');
    text
}

/// The id is the client's now.
pub(super) const OPEN: &str = r#"{"type":"OPEN"}"#;

/// Somebody else has the id.
pub(super) const ID_TAKEN: &str = r#"{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}"#;

/// No such app here.
pub const INVALID_KEY: &str = r#"{"type":"INVALID-KEY","payload":{"msg":"Invalid key provided"}}"#;

/// Something else is wrong, in words for people.
pub fn error(why: &str) -> String {
    serde_json::json!({ "type": "ERROR", "payload": { "msg": why } }).to_string()
}

/// Whether a client may go by that id: what the PeerJS client itself asks of one.
pub fn is_id(text: &str) -> bool {
    let words =
        text.split([' ', '_', '-']).all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    words && text.len() <= MAX_ID
}

/// Whether a text is fit to be kept and passed on.
pub(super) fn is_text(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A text that is JSON and no larger than a client's message.
pub(super) fn is_payload(text: &str) -> bool {
    text.len() <= MAX_FRAME && serde_json::from_str::<&RawValue>(text).is_ok()
}

/// An id for a client that asks for one, in the form of a version 4 UUID (RFC 9562).
pub fn fresh_id(rng: &mut impl Rng) -> String {
    let number = (rng.random::<u128>() & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{number:032x}");
    let part = |range| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn what_a_client_says_is_read_and_its_payload_is_not() {
        let said = Said::parse(r#"{"type":"OFFER","src":"liar","dst":"b","payload":{"a" : [1e99, "\u2028"]},"x":1}"#);
        let payload = r#"{"a" : [1e99, "\u2028"]}"#;
        assert_eq!(said, Some(Said { kind: Kind::Offer, dst: "b".into(), payload: Some(payload.into()) }));
        let text = relayed(Kind::Offer, "a", "b", Some(payload));
        assert_eq!(text, format!(r#"{{"type":"OFFER","src":"a","dst":"b","payload":{payload}}}"#));
        assert_eq!(relayed(Kind::Leave, "a", r#"b","x":"#, None), r#"{"type":"LEAVE","src":"a","dst":"b\",\"x\":"}"#);
        assert_eq!(Said::parse(r#"{"type":"HEARTBEAT"}"#).expect("read").kind, Kind::Heartbeat);
    }

    #[test]
    fn what_is_no_message_is_none() {
        let long = "x".repeat(MAX_ID + 1);
        let large = format!(r#"{{"type":"OFFER","dst":"b","payload":"{}"}}"#, "x".repeat(MAX_FRAME));
        let deep = format!(r#"{{"type":"OFFER","dst":"b","payload":{}1"#, "[".repeat(60_000));
        for text in [
            "",
            "null",
            "[]",
            "{",
            r#"{"type":"OFFER"}"#,
            r#"{"type":"OFFER","dst":""}"#,
            r#"{"type":"OFFER","dst":7}"#,
            r#"{"type":"OFFER","dst":"a\u0000b"}"#,
            r#"{"type":"OPEN","dst":"b"}"#,
            r#"{"type":{},"dst":"b"}"#,
            r#"{"type":"OFFER","dst":"b","payload":}"#,
            &format!(r#"{{"type":"OFFER","dst":"{long}"}}"#),
            &large,
            &deep,
        ] {
            assert_eq!(Said::parse(text), None, "{text:.60}");
        }
        // A value may be as deep as it likes: nobody climbs down.
        let nested = format!(r#"{{"type":"OFFER","dst":"b","payload":{}1{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
        assert!(Said::parse(&nested).is_some());
    }

    #[test]
    fn ids_are_those_the_client_allows() {
        let mut rng = StdRng::seed_from_u64(7);
        let fresh = fresh_id(&mut rng);
        assert!(is_id(&fresh) && fresh.len() == 36 && fresh.as_bytes()[14] == b'4', "{fresh}");
        assert_ne!(fresh, fresh_id(&mut rng));
        for id in ["a", "A9", "a-b_c d", "room-x", &"x".repeat(MAX_ID)] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", "-a", "a-", "a--b", "a.b", "ä", "a\n", " ", &"x".repeat(MAX_ID + 1)] {
            assert!(!is_id(id), "{id:?}");
        }
    }
}
