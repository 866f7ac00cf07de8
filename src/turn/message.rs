//! What clients say to a TURN server and what it answers, as types (RFC 8656 §5, §18; RFC 8489 §14). Owns the attributes; knows
//! no allocation. `server` reads requests with it. Reading allocates nothing: most of what comes is hostile or data.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use arrayvec::ArrayVec;

use super::credentials::{Algorithm, Keys};
use crate::stun::{
    Attributes, BINDING_INDICATION, BINDING_REQUEST, FINGERPRINT, MESSAGE_INTEGRITY, Transaction, UNKNOWN_ATTRIBUTES, USERNAME,
    Writer, is_fingerprint, is_signed, kind_of, transaction_of, xor_address,
};

pub(super) const CHANNEL_NUMBER: u16 = 0x000c;
pub(super) const LIFETIME: u16 = 0x000d;
pub(super) const XOR_PEER_ADDRESS: u16 = 0x0012;
pub(super) const DATA: u16 = 0x0013;
pub(super) const REALM: u16 = 0x0014;
pub(super) const NONCE: u16 = 0x0015;
pub(super) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
const EVEN_PORT: u16 = 0x0018;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const DONT_FRAGMENT: u16 = 0x001a;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
const PASSWORD_ALGORITHM: u16 = 0x001d;
pub(super) const RESERVATION_TOKEN: u16 = 0x0022;
const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
pub(super) const ADDRESS_ERROR_CODE: u16 = 0x8001;
pub(super) const PASSWORD_ALGORITHMS: u16 = 0x8002;

/// The class bits of an answer (RFC 8489 §5).
const SUCCESS: u16 = 0x0100;
const ERROR: u16 = 0x0110;
/// The Data indication.
pub(super) const DATA_INDICATION: u16 = 0x0017;

/// Peers that one CreatePermission may name.
pub(super) const MOST_PEERS: usize = 16;

/// Unknown attributes that an answer lists.
const MOST_UNKNOWN: usize = 8;

/// The algorithms that are offered, SHA-256 first, as PASSWORD-ALGORITHMS has them (RFC 8489 §14.11).
pub(super) const OFFERED_ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Binding,
    Allocate,
    Refresh,
    CreatePermission,
    ChannelBind,
    /// The Send indication.
    Send,
    /// A Binding indication: somebody keeps a NAT open.
    KeepAlive,
}

/// Why an answer is an error (RFC 8489 §14.8, RFC 8656 §19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    BadRequest,
    Unauthorized,
    Forbidden,
    UnknownAttribute,
    AllocationMismatch,
    StaleNonce,
    FamilyNotSupported,
    WrongCredentials,
    TransportNotSupported,
    FamilyMismatch,
    QuotaReached,
    InsufficientCapacity,
}

impl Code {
    pub(super) fn parts(self) -> (u16, &'static str) {
        match self {
            Self::BadRequest => (400, "Bad Request"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Forbidden => (403, "Forbidden"),
            Self::UnknownAttribute => (420, "Unknown Attribute"),
            Self::AllocationMismatch => (437, "Allocation Mismatch"),
            Self::StaleNonce => (438, "Stale Nonce"),
            Self::FamilyNotSupported => (440, "Address Family not Supported"),
            Self::WrongCredentials => (441, "Wrong Credentials"),
            Self::TransportNotSupported => (442, "Unsupported Transport Protocol"),
            Self::FamilyMismatch => (443, "Peer Address Family Mismatch"),
            Self::QuotaReached => (486, "Allocation Quota Reached"),
            Self::InsufficientCapacity => (508, "Insufficient Capacity"),
        }
    }
}

/// What proves that a message is from who it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Integrity<'a> {
    covered: &'a [u8],
    value: &'a [u8],
    pub(super) algorithm: Algorithm,
}

impl Integrity<'_> {
    pub(super) fn is_by(&self, keys: &Keys) -> bool {
        is_signed(keys.of(self.algorithm), self.covered, self.value)
    }
}

/// A message as it came. Nothing in it is authenticated until [`Integrity::is_by`] says so.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    kind: u16,
    pub(super) transaction: Transaction,
    pub(super) username: Option<&'a str>,
    pub(super) realm: Option<&'a [u8]>,
    pub(super) nonce: Option<&'a [u8]>,
    pub(super) integrity: Option<Integrity<'a>>,
    /// The password algorithm that the client chose, and what it was offered, as it repeats it.
    pub(super) password_algorithm: Option<u16>,
    pub(super) password_algorithms: Option<&'a [u8]>,
    pub(super) peers: ArrayVec<SocketAddr, MOST_PEERS>,
    /// There were more peers than that.
    pub(super) too_many_peers: bool,
    pub(super) lifetime: Option<u32>,
    /// The IP protocol, 17 for UDP.
    pub(super) transport: Option<u8>,
    pub(super) channel: Option<u16>,
    /// Where the data is in the message.
    pub(super) data: Option<Range<usize>>,
    /// 1 for IPv4, 2 for IPv6.
    pub(super) family: Option<u8>,
    pub(super) additional_family: Option<u8>,
    /// An even port; `true`: and the next one reserved.
    pub(super) even_port: Option<bool>,
    pub(super) reservation: Option<[u8; 8]>,
    /// An attribute that is understood has a value that makes no sense.
    pub(super) malformed: bool,
    unknown: ArrayVec<u16, MOST_UNKNOWN>,
}

impl<'a> Request<'a> {
    /// Reads a message. `None`: not STUN, damaged, or not for a server.
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        let kind = kind_of(message)?;
        let method = match kind {
            BINDING_REQUEST => Method::Binding,
            BINDING_INDICATION => Method::KeepAlive,
            0x0003 => Method::Allocate,
            0x0004 => Method::Refresh,
            0x0008 => Method::CreatePermission,
            0x0009 => Method::ChannelBind,
            0x0016 => Method::Send,
            _ => return None,
        };
        let mut request = Self {
            method,
            kind,
            transaction: transaction_of(message)?,
            username: None,
            realm: None,
            nonce: None,
            integrity: None,
            password_algorithm: None,
            password_algorithms: None,
            peers: ArrayVec::new(),
            too_many_peers: false,
            lifetime: None,
            transport: None,
            channel: None,
            data: None,
            family: None,
            additional_family: None,
            even_port: None,
            reservation: None,
            malformed: false,
            unknown: ArrayVec::new(),
        };
        let mut attributes = Attributes::of(message);
        for (at, attribute, value) in &mut attributes {
            match attribute {
                FINGERPRINT if !is_fingerprint(message, at, value) => return None,
                FINGERPRINT => {}
                MESSAGE_INTEGRITY_SHA256 => {
                    // The stronger one counts, if it covers all that the other does.
                    if request.integrity.is_none_or(|integrity| integrity.algorithm == Algorithm::Sha1) {
                        request.integrity =
                            Some(Integrity { covered: message.get(..at)?, value, algorithm: Algorithm::Sha256 });
                    }
                }
                // What follows is not authenticated and must be ignored (RFC 8489 §14.5).
                _ if request.integrity.is_some() => {}
                MESSAGE_INTEGRITY => {
                    request.integrity = Some(Integrity { covered: message.get(..at)?, value, algorithm: Algorithm::Sha1 });
                }
                _ => request.take(at, attribute, value),
            }
        }
        (!attributes.damaged).then_some(request)
    }

    /// Only the first of a kind counts (RFC 8489 §14), apart from peers.
    fn take(&mut self, at: usize, attribute: u16, value: &'a [u8]) {
        let sound = match attribute {
            USERNAME => first(&mut self.username, std::str::from_utf8(value).ok()),
            REALM => first(&mut self.realm, Some(value)),
            NONCE => first(&mut self.nonce, Some(value)),
            PASSWORD_ALGORITHM => first(&mut self.password_algorithm, algorithm_of(value)),
            PASSWORD_ALGORITHMS => first(&mut self.password_algorithms, Some(value)),
            XOR_PEER_ADDRESS => match xor_address(value, &self.transaction) {
                Some(peer) => {
                    // A v4 address in v6 clothes is a v4 address, before anything is decided about it.
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    self.too_many_peers |= self.peers.try_push(peer).is_err();
                    true
                }
                None => false,
            },
            LIFETIME => first(&mut self.lifetime, value.try_into().ok().map(u32::from_be_bytes)),
            REQUESTED_TRANSPORT => first(&mut self.transport, of_four(value)),
            CHANNEL_NUMBER => {
                let number = |value: &[u8; 4]| u16::from_be_bytes([value[0], value[1]]);
                first(&mut self.channel, value.try_into().ok().map(number))
            }
            DATA => first(&mut self.data, Some(at + 4..at + 4 + value.len())),
            REQUESTED_ADDRESS_FAMILY => first(&mut self.family, of_four(value)),
            ADDITIONAL_ADDRESS_FAMILY => first(&mut self.additional_family, of_four(value)),
            EVEN_PORT => first(&mut self.even_port, value.first().map(|flags| flags & 0x80 != 0)),
            RESERVATION_TOKEN => first(&mut self.reservation, value.try_into().ok()),
            // Sockets here fragment as the system likes, so who insists is told (RFC 8656 §7.2).
            DONT_FRAGMENT | 0..0x8000 => {
                let _ = self.unknown.try_push(attribute);
                true
            }
            _ => true,
        };
        self.malformed |= !sound;
    }

    /// Attributes that must be understood and are not.
    pub(super) fn has_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// An answer that says yes.
    pub(super) fn success(&self) -> Writer {
        Writer::new(self.kind | SUCCESS, &self.transaction)
    }

    /// An answer that says why not.
    pub(super) fn error(&self, code: Code) -> Writer {
        let mut answer = Writer::new(self.kind | ERROR, &self.transaction);
        let (number, reason) = code.parts();
        answer.error(number, reason);
        if code == Code::UnknownAttribute {
            let list: Vec<u8> = self.unknown.iter().flat_map(|attribute| attribute.to_be_bytes()).collect();
            answer.attribute(UNKNOWN_ATTRIBUTES, &list);
        }
        answer
    }
}

/// Signs an answer with the algorithm of the request.
pub(super) fn signed(mut answer: Writer, keys: &Keys, algorithm: Algorithm) -> Vec<u8> {
    let attribute = match algorithm {
        Algorithm::Sha1 => MESSAGE_INTEGRITY,
        Algorithm::Sha256 => MESSAGE_INTEGRITY_SHA256,
    };
    answer.integrity(attribute, keys.of(algorithm));
    answer.fingerprint();
    answer.finish()
}

/// The number that an address family has in attributes (RFC 8656 §18.6).
pub(super) fn family_of(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 1 } else { 2 }
}

/// Keeps the first value; whether this one was sound.
fn first<T>(kept: &mut Option<T>, value: Option<T>) -> bool {
    let sound = value.is_some();
    if kept.is_none() {
        *kept = value;
    }
    sound
}

/// The first of four bytes, of which the others are reserved.
fn of_four(value: &[u8]) -> Option<u8> {
    <[u8; 4]>::try_from(value).ok().map(|value| value[0])
}

/// The number of a PASSWORD-ALGORITHM that takes no parameters, as both known ones (RFC 8489 §14.12).
fn algorithm_of(value: &[u8]) -> Option<u16> {
    let value: [u8; 4] = value.try_into().ok()?;
    (value[2..] == [0, 0]).then(|| u16::from_be_bytes([value[0], value[1]]))
}
