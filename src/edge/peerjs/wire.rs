//! What the brokers of different nodes say to each other, as types and as bytes. It travels as a room's message does, and is told
//! from one by its first byte. Owns the shapes and their limits: nothing that is too long or too many gets past [`parse`].

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::message::{Kind, MAX_ID, MAX_SECRET, is_payload, is_text};
use crate::id::NodeId;

/// The first byte of a body: this language in this version. Rooms count theirs from 1 up.
const LANGUAGE: u8 = b'P';

/// Bytes of a body.
const MAX_BODY: usize = 200 << 10;

/// Bytes of claims or ids in one message; more are sent in several.
pub(super) const PART_BYTES: usize = 48 << 10;

/// A peer of an app: no two have the same in the whole deployment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Name {
    pub(super) key: Arc<str>,
    pub(super) id: Arc<str>,
}

/// To another node's broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Message {
    /// To an id's home.
    Up(Up),
    /// From an id's home.
    Down(Down),
    /// Which peers of an app are at that node? Answered by `Listed`.
    List {
        number: u64,
        key: Arc<str>,
    },
    Listed {
        number: u64,
        ids: Vec<Arc<str>>,
        more: bool,
    },
}

/// What a node tells the home of an id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Up {
    /// A client here wants the id. Answered by `Granted` or `Refused`; repeated until then.
    Claim {
        name: Name,
        token: Arc<str>,
    },
    /// Clients here have these ids. Told again now and then, and to a new home at once.
    Hold(Vec<Held>),
    /// The client with that token is gone; without one, nobody here has the id.
    Release {
        name: Name,
        token: Option<Arc<str>>,
    },
    Relay {
        letter: Letter,
        hops: u8,
    },
    /// The home believed the receiver to be here.
    Absent {
        letter: Letter,
    },
}

/// What the home of an id tells a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Down {
    /// To the client with that token, as is `Refused`: several may ask at one node.
    Granted {
        name: Name,
        token: Arc<str>,
        stamp: u64,
    },
    Refused {
        name: Name,
        token: Arc<str>,
        why: Refusal,
    },
    /// Somebody else has the id that was granted at `stamp`: the same client elsewhere if `replaced`.
    Lost {
        name: Name,
        stamp: u64,
        replaced: bool,
    },
    Deliver {
        letter: Letter,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Refusal {
    /// By a client of another node.
    Taken,
    /// By another client of the node that asks, as far as the home knows.
    Yours,
    /// The home keeps no more.
    Full,
}

/// A client that has its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) name: Name,
    pub(super) token: Arc<str>,
    /// When the id was granted, in milliseconds since the epoch.
    pub(super) stamp: u64,
}

/// A message from peer to peer, under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Letter {
    pub(super) kind: Kind,
    pub(super) key: Arc<str>,
    pub(super) src: Arc<str>,
    pub(super) dst: Arc<str>,
    pub(super) payload: Option<Arc<str>>,
    /// The sender's node.
    pub(super) from: NodeId,
}

impl Letter {
    /// Whom it is for.
    pub(super) fn to(&self) -> Name {
        Name { key: Arc::clone(&self.key), id: Arc::clone(&self.dst) }
    }

    pub(super) fn weight(&self) -> usize {
        self.payload.as_ref().map_or(0, |payload| payload.len()) + self.src.len() + self.dst.len() + 64
    }

    /// Tells the sender that nobody came for it.
    pub(super) fn expired(&self) -> Self {
        let (src, dst) = (Arc::clone(&self.dst), Arc::clone(&self.src));
        Self { kind: Kind::Expire, key: Arc::clone(&self.key), src, dst, payload: None, from: self.from.clone() }
    }
}

/// Whether a body from another node is a broker's.
pub fn is_ours(body: &[u8]) -> bool {
    body.first() == Some(&LANGUAGE)
}

/// As bytes; `None` for what is too large to be sent.
pub(super) fn encode(message: &Message) -> Option<Bytes> {
    let body = postcard::to_extend(message, vec![LANGUAGE]).ok()?;
    (body.len() <= MAX_BODY).then(|| body.into())
}

/// Reads what another node sent; `None` for what is no message, or is more than it may be.
pub(super) fn parse(body: &[u8]) -> Option<Message> {
    let (language, rest) = body.split_first()?;
    if *language != LANGUAGE || body.len() > MAX_BODY {
        return None;
    }
    let (message, left) = postcard::take_from_bytes::<Message>(rest).ok()?;
    (left.is_empty() && sound(&message)).then_some(message)
}

fn sound(message: &Message) -> bool {
    let name = |name: &Name| is_text(&name.key, MAX_SECRET) && is_text(&name.id, MAX_ID);
    let letter = |letter: &Letter| {
        let named = name(&letter.to()) && is_text(&letter.src, MAX_ID) && is_text(letter.from.as_str(), MAX_SECRET);
        named && letter.kind != Kind::Heartbeat && letter.payload.as_deref().is_none_or(is_payload)
    };
    match message {
        Message::Up(Up::Claim { name: claimed, token }) => name(claimed) && is_text(token, MAX_SECRET),
        Message::Up(Up::Hold(held)) => held.iter().all(|held| name(&held.name) && is_text(&held.token, MAX_SECRET)),
        Message::Up(Up::Release { name: released, token }) => {
            name(released) && token.as_deref().is_none_or(|token| is_text(token, MAX_SECRET))
        }
        Message::Up(Up::Relay { letter: told, .. } | Up::Absent { letter: told }) => letter(told),
        Message::Down(Down::Granted { name: told, token, .. } | Down::Refused { name: told, token, .. }) => {
            name(told) && is_text(token, MAX_SECRET)
        }
        Message::Down(Down::Lost { name: told, .. }) => name(told),
        Message::Down(Down::Deliver { letter: told }) => letter(told),
        Message::List { key, .. } => is_text(key, MAX_SECRET),
        Message::Listed { ids, .. } => ids.iter().all(|id| is_text(id, MAX_ID)),
    }
}

/// Splits a list into parts that fit a message each; one that is empty has one part.
pub(super) fn parts<T>(list: Vec<T>, weight: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut parts, mut bytes, mut part) = (Vec::new(), 0, Vec::new());
    for item in list {
        let more = weight(&item);
        if bytes + more > PART_BYTES && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += more;
        part.push(item);
    }
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letter(payload: &str) -> Letter {
        let node = NodeId::new("n");
        let payload = Some(payload.into());
        Letter { kind: Kind::Offer, key: "k".into(), src: "a".into(), dst: "b".into(), payload, from: node }
    }

    #[test]
    fn what_is_said_comes_back_and_what_is_beyond_its_limits_does_not() {
        let relay = |payload: &str| Message::Up(Up::Relay { letter: letter(payload), hops: 0 });
        let good = relay(r#"{"sdp":1}"#);
        let body = encode(&good).expect("small");
        assert!(is_ours(&body) && parse(&body) == Some(good));
        let long = Message::List { number: 1, key: "k".repeat(MAX_SECRET + 1).into() };
        let large = relay(&format!("\"{}\"", "x".repeat(super::super::message::MAX_FRAME)));
        for bad in [relay("{"), relay(r#"1,"src":"x""#), relay(""), long, large] {
            assert_eq!(parse(&encode(&bad).expect("small")), None, "{bad:?}");
        }
        assert_eq!(parse(&[body.as_ref(), &[0]].concat()), None);
        assert_eq!(encode(&relay(&"x".repeat(MAX_BODY))), None);
    }

    #[test]
    fn lists_are_split_and_nothing_is_lost() {
        let ids: Vec<u32> = (0..1_000).collect();
        let split = parts(ids.clone(), |_| 100);
        assert!(split.len() == 3 && split.concat() == ids);
        assert_eq!(parts(Vec::<u32>::new(), |_| 1).len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_message_or_a_sound_one(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let body = [&[LANGUAGE], bytes.as_slice()].concat();
            if let Some(message) = parse(&body) {
                prop_assert!(sound(&message));
            }
        }
    }
}
