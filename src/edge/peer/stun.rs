//! The part of STUN (RFC 8489) that ICE needs here: reading binding requests from anyone and writing their answers, and writing
//! the checks of clients of ours. Owns which attributes count; `crate::stun` knows the bytes, `ice` decides what they mean. Nothing
//! here allocates before a request proved that it knows the password.

use std::net::SocketAddr;

use ring::hmac;

use crate::stun::{
    Attributes, BINDING_ERROR, BINDING_INDICATION, BINDING_REQUEST, BINDING_SUCCESS, FINGERPRINT, MESSAGE_INTEGRITY,
    Transaction, UNKNOWN_ATTRIBUTES, USERNAME, Writer, XOR_MAPPED_ADDRESS, is_fingerprint, is_signed, kind_of, transaction_of,
};

const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802a;

/// Of the peer-reflexive candidate that a check may bring to light (RFC 8445 §5.1.2.1): type preference 110, the only one of its type.
const CHECK_PRIORITY: u32 = (110 << 24) + (65_535 << 8) + 255;

/// A STUN message that ICE-lite has an opinion about.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    Request(BindingRequest<'a>),
    /// A keep-alive; it proves nothing and needs no answer.
    Indication,
}

/// A binding request as it came; not authenticated until [`BindingRequest::is_from_owner_of`] says so.
#[derive(Debug, PartialEq, Eq)]
pub struct BindingRequest<'a> {
    datagram: &'a [u8],
    transaction: Transaction,
    /// `USERNAME`: the receiver's ufrag, a colon, the sender's.
    pub username: &'a str,
    pub use_candidate: bool,
    /// The sender believes that we are the controlling side.
    pub sender_is_controlled: bool,
    /// The first attribute that must be understood and is not (RFC 8489 §6.3.1).
    pub unknown_attribute: Option<u16>,
    /// Where `MESSAGE-INTEGRITY` begins.
    integrity_at: usize,
    integrity: [u8; 20],
}

/// Reads a message. `None`: not STUN, damaged, or of no interest here (a response: ICE-lite asks nothing).
pub fn parse(datagram: &[u8]) -> Option<Message<'_>> {
    let kind = kind_of(datagram)?;
    match kind {
        BINDING_INDICATION => return Some(Message::Indication),
        BINDING_REQUEST => {}
        _ => return None,
    }
    let mut username = None;
    let mut integrity = None;
    let (mut use_candidate, mut sender_is_controlled, mut unknown_attribute) = (false, false, None);
    let mut attributes = Attributes::of(datagram);
    for (at, attribute, value) in &mut attributes {
        match attribute {
            // It is the last, and covers everything before it (RFC 8489 §14.7).
            FINGERPRINT if !is_fingerprint(datagram, at, value) => return None,
            FINGERPRINT => {}
            // What follows MESSAGE-INTEGRITY is not authenticated and must be ignored (RFC 8489 §14.5).
            _ if integrity.is_some() => {}
            MESSAGE_INTEGRITY => integrity = Some((at, <[u8; 20]>::try_from(value).ok()?)),
            USERNAME => username = Some(std::str::from_utf8(value).ok()?),
            USE_CANDIDATE => use_candidate = true,
            ICE_CONTROLLED => sender_is_controlled = true,
            PRIORITY => {}
            0..0x8000 if unknown_attribute.is_none() => unknown_attribute = Some(attribute),
            _ => {}
        }
    }
    if attributes.damaged {
        return None;
    }
    let (integrity_at, integrity) = integrity?;
    Some(Message::Request(BindingRequest {
        datagram,
        transaction: transaction_of(datagram)?,
        username: username?,
        use_candidate,
        sender_is_controlled,
        unknown_attribute,
        integrity_at,
        integrity,
    }))
}

/// A check of the controlling side that nominates its path (RFC 8445 §7.1, §7.2). `username` is the receiver's ufrag, a colon, the
/// sender's; `key` the receiver's. For clients: an ICE-lite server never writes one.
pub fn check(transaction: Transaction, username: &str, tie_breaker: u64, key: &Key) -> Vec<u8> {
    let mut message = Writer::new(BINDING_REQUEST, &transaction);
    message.attribute(USERNAME, username.as_bytes());
    message.attribute(PRIORITY, &CHECK_PRIORITY.to_be_bytes());
    message.attribute(ICE_CONTROLLING, &tie_breaker.to_be_bytes());
    message.attribute(USE_CANDIDATE, &[]);
    finish(message, key)
}

/// The transaction of the successful answer to a check; `None` for anything else, and for one whose writer does not know `key`.
pub fn answered(datagram: &[u8], key: &Key) -> Option<Transaction> {
    if kind_of(datagram)? != BINDING_SUCCESS {
        return None;
    }
    let (at, _, value) = Attributes::of(datagram).find(|(_, attribute, _)| *attribute == MESSAGE_INTEGRITY)?;
    if !is_signed(&key.0, datagram.get(..at)?, value) {
        return None;
    }
    transaction_of(datagram)
}

/// The receiver's ufrag in a binding request, without any other check: what the shard finds the peer by.
pub fn ufrag_of(datagram: &[u8]) -> Option<&str> {
    if kind_of(datagram)? != BINDING_REQUEST {
        return None;
    }
    let (_, _, username) = Attributes::of(datagram).find(|(_, attribute, _)| *attribute == USERNAME)?;
    let ufrag = username.split(|byte| *byte == b':').next()?;
    // Ours are ASCII, so anything else is for nobody here.
    if ufrag.is_empty() || !ufrag.is_ascii() {
        return None;
    }
    std::str::from_utf8(ufrag).ok()
}

impl BindingRequest<'_> {
    /// Whether the sender knew the password: the HMAC runs over the message as if it ended after this attribute.
    pub fn is_from_owner_of(&self, key: &Key) -> bool {
        let Some(covered) = self.datagram.get(..self.integrity_at) else { return false };
        is_signed(&key.0, covered, &self.integrity)
    }

    /// The answer that validates the path: where we saw the request come from.
    pub fn success(&self, key: &Key, source: SocketAddr) -> Vec<u8> {
        let mut answer = Writer::new(BINDING_SUCCESS, &self.transaction);
        answer.xor_address(XOR_MAPPED_ADDRESS, source);
        finish(answer, key)
    }

    /// RFC 8445 §7.3.1.1: both believe to be controlled; an ICE-lite agent never is controlling, so the other must change.
    pub fn role_conflict(&self, key: &Key) -> Vec<u8> {
        self.error(key, 487, "Role Conflict", None)
    }

    /// RFC 8489 §6.3.1: the request depends on something that is not understood here.
    pub fn unknown_attribute(&self, key: &Key, attribute: u16) -> Vec<u8> {
        self.error(key, 420, "Unknown Attribute", Some(attribute))
    }

    fn error(&self, key: &Key, code: u16, reason: &str, unknown: Option<u16>) -> Vec<u8> {
        let mut answer = Writer::new(BINDING_ERROR, &self.transaction);
        answer.error(code, reason);
        if let Some(attribute) = unknown {
            answer.attribute(UNKNOWN_ATTRIBUTES, &attribute.to_be_bytes());
        }
        finish(answer, key)
    }
}

fn finish(mut answer: Writer, key: &Key) -> Vec<u8> {
    answer.integrity(MESSAGE_INTEGRITY, &key.0);
    answer.fingerprint();
    answer.finish()
}

/// An ICE password, ready to sign and verify (short-term credentials, RFC 8489 §9.1).
#[derive(Clone)]
pub struct Key(hmac::Key);

impl Key {
    pub fn new(password: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stun::{ERROR_CODE, HEADER};

    /// RFC 5769 §2.1, with its password and padding.
    const SAMPLE: &[u8] = b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x10STUN test client\x00\x24\x00\x04\x6e\x00\x01\xff\
        \x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09evtj:h6vY   \
        \x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\
        \x80\x28\x00\x04\xe5\x7a\x3b\xcf";
    const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

    #[test]
    fn the_sample_request_of_rfc_5769_is_read_and_authentic() {
        let Some(Message::Request(request)) = parse(SAMPLE) else { panic!("it is a request") };
        assert_eq!(request.username, "evtj:h6vY");
        assert!(request.sender_is_controlled && !request.use_candidate);
        assert_eq!(request.unknown_attribute, None);
        assert!(request.is_from_owner_of(&Key::new(PASSWORD)));
        assert!(!request.is_from_owner_of(&Key::new("another")));
        assert_eq!(ufrag_of(SAMPLE), Some("evtj"));
    }

    #[test]
    fn a_check_is_a_request_that_nominates_and_its_answer_is_known_by_the_password() {
        let (key, transaction) = (Key::new(PASSWORD), [7; 12]);
        let check = check(transaction, "theirs:ours", 1, &key);
        let Some(Message::Request(request)) = parse(&check) else { panic!("it is a request") };
        assert!(request.use_candidate && !request.sender_is_controlled && request.is_from_owner_of(&key));
        assert_eq!((request.username, request.unknown_attribute), ("theirs:ours", None));
        let answer = request.success(&key, ([127, 0, 0, 1], 4_000).into());
        assert_eq!(answered(&answer, &key), Some(transaction));
        assert_eq!(answered(&answer, &Key::new("another")), None);
        assert_eq!((answered(&check, &key), answered(&answer[..answer.len() - 1], &key)), (None, None));
    }

    #[test]
    fn what_follows_the_integrity_is_ignored() {
        // USE-CANDIDATE after MESSAGE-INTEGRITY, and no fingerprint: anyone could have added it.
        let mut forged = SAMPLE[..SAMPLE.len() - 8].to_vec();
        forged.extend_from_slice(&[0, 0x25, 0, 0]);
        let length = (forged.len() - HEADER) as u16;
        forged[2..4].copy_from_slice(&length.to_be_bytes());
        let Some(Message::Request(request)) = parse(&forged) else { panic!("it is a request") };
        assert!(request.is_from_owner_of(&Key::new(PASSWORD)));
        assert!(!request.use_candidate);
    }

    #[test]
    fn a_request_without_integrity_or_name_is_nothing() {
        let header = &SAMPLE[..HEADER];
        let name = &SAMPLE[60..76];
        for attributes in [&[][..], name, &SAMPLE[76..100]] {
            let mut message = [header, attributes].concat();
            message[2..4].copy_from_slice(&(attributes.len() as u16).to_be_bytes());
            assert_eq!(parse(&message), None);
        }
    }

    #[test]
    fn responses_are_of_no_interest_and_indications_are_let_be() {
        let mut message = SAMPLE[..HEADER].to_vec();
        message[2..4].copy_from_slice(&[0, 0]);
        message[0..2].copy_from_slice(&BINDING_INDICATION.to_be_bytes());
        assert_eq!(parse(&message), Some(Message::Indication));
        message[0..2].copy_from_slice(&BINDING_SUCCESS.to_be_bytes());
        assert_eq!(parse(&message), None);
        assert_eq!(ufrag_of(&message), None);
    }

    proptest! {
        #[test]
        fn any_change_to_the_sample_is_noticed(at in 0usize..108 * 8) {
            // A FINGERPRINT that has become another attribute is one that is missing, which is allowed.
            prop_assume!(!(100..102).contains(&(at / 8)));
            let mut changed = SAMPLE.to_vec();
            changed[at / 8] ^= 1 << (at % 8);
            let key = Key::new(PASSWORD);
            let authentic = matches!(parse(&changed), Some(Message::Request(request)) if request.is_from_owner_of(&key));
            prop_assert!(!authentic);
        }

        #[test]
        fn any_bytes_are_survived(
            attributes in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..8),
            tail in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let mut message = SAMPLE[..HEADER].to_vec();
            for (kind, value, usual) in attributes {
                let kind = if usual { [USERNAME, MESSAGE_INTEGRITY, FINGERPRINT, ERROR_CODE][usize::from(kind) % 4] } else { kind };
                message.extend_from_slice(&kind.to_be_bytes());
                message.extend_from_slice(&(value.len() as u16).to_be_bytes());
                message.extend_from_slice(&value);
                message.resize(message.len().next_multiple_of(4), 0);
            }
            let length = (message.len() - HEADER) as u16;
            message[2..4].copy_from_slice(&length.to_be_bytes());
            let whole = parse(&message).is_some();
            if whole {
                prop_assert!(ufrag_of(&message).is_none_or(|ufrag| !ufrag.contains(':')));
            }
            message.extend_from_slice(&tail);
            prop_assert!(tail.is_empty() || parse(&message).is_none());
        }
    }
}
