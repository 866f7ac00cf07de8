//! STUN messages as bytes (RFC 8489 §5, §14): the header, walking attributes, writing answers, integrity and fingerprint. Owns no
//! meaning: `edge::peer` makes ICE of it and `turn` makes STUN and TURN of it. Reading allocates nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ring::hmac;

/// Bytes before the attributes.
pub const HEADER: usize = 20;
pub const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const FINGERPRINT_XOR: u32 = 0x5354_554e;

pub const BINDING_REQUEST: u16 = 0x0001;
pub const BINDING_INDICATION: u16 = 0x0011;
pub const BINDING_SUCCESS: u16 = 0x0101;
pub const BINDING_ERROR: u16 = 0x0111;

pub const USERNAME: u16 = 0x0006;
pub const MESSAGE_INTEGRITY: u16 = 0x0008;
pub const ERROR_CODE: u16 = 0x0009;
pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
pub const FINGERPRINT: u16 = 0x8028;

/// What tells one request from another, and hides addresses from meddling NATs.
pub type Transaction = [u8; 12];

/// The message type, if this is a STUN message whose length is that of the datagram.
pub fn kind_of(datagram: &[u8]) -> Option<u16> {
    let header: &[u8; HEADER] = datagram.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let sound = header[4..8] == MAGIC && length.is_multiple_of(4) && datagram.len() == HEADER + length;
    sound.then(|| u16::from_be_bytes([header[0], header[1]]))
}

/// The transaction of a message that [`kind_of`] found sound.
pub fn transaction_of(datagram: &[u8]) -> Option<Transaction> {
    datagram.get(8..HEADER)?.try_into().ok()
}

/// Walks the attributes as (offset, type, value).
#[derive(Debug)]
pub struct Attributes<'a> {
    datagram: &'a [u8],
    at: usize,
    /// An attribute claimed more than there is.
    pub damaged: bool,
}

impl<'a> Attributes<'a> {
    pub fn of(datagram: &'a [u8]) -> Self {
        Self { datagram, at: HEADER, damaged: false }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (usize, u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let rest = self.datagram.get(at..).filter(|rest| !rest.is_empty())?;
        self.damaged = true;
        let head: &[u8; 4] = rest.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(4..4 + length)?;
        let padded = 4 + length.next_multiple_of(4);
        if rest.len() < padded {
            return None;
        }
        self.damaged = false;
        self.at = at + padded;
        Some((at, u16::from_be_bytes([head[0], head[1]]), value))
    }
}

/// Whether the FINGERPRINT found at `at` is the message's, and its last attribute (RFC 8489 §14.7).
pub fn is_fingerprint(datagram: &[u8], at: usize, value: &[u8]) -> bool {
    let Some((covered, sent)) = datagram.get(..at).zip(<[u8; 4]>::try_from(value).ok()) else { return false };
    at + 8 == datagram.len() && crc32(covered) ^ FINGERPRINT_XOR == u32::from_be_bytes(sent)
}

/// Signs a message up to its integrity attribute, the length read as if that attribute, with a value of `size` bytes, were the
/// last (RFC 8489 §14.5).
pub fn sign(key: &hmac::Key, covered: &[u8], size: usize) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    let length = (covered.len() + 4 + size).saturating_sub(HEADER) as u16;
    context.update(covered.get(..2).unwrap_or_default());
    context.update(&length.to_be_bytes());
    context.update(covered.get(4..).unwrap_or_default());
    context.sign()
}

/// Whether whoever wrote the message up to `covered` knew the key. Takes the same time wherever they differ.
pub fn is_signed(key: &hmac::Key, covered: &[u8], integrity: &[u8]) -> bool {
    let signed = sign(key, covered, integrity.len());
    let differs = signed.as_ref().iter().zip(integrity).fold(0, |sum, (a, b)| sum | (a ^ b));
    signed.as_ref().len() == integrity.len() && std::hint::black_box(differs) == 0
}

/// The value of a XOR-…-ADDRESS attribute (RFC 8489 §14.2).
pub fn xor_address(value: &[u8], transaction: &Transaction) -> Option<SocketAddr> {
    let (head, address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([head[2] ^ MAGIC[0], head[3] ^ MAGIC[1]]);
    let mask = MAGIC.iter().chain(transaction);
    let ip = match head[1] {
        1 => {
            let mut octets: [u8; 4] = address.try_into().ok()?;
            octets.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
            IpAddr::V4(Ipv4Addr::from(octets))
        }
        2 => {
            let mut octets: [u8; 16] = address.try_into().ok()?;
            octets.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Builds a message.
#[derive(Debug)]
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn new(kind: u16, transaction: &Transaction) -> Self {
        let mut message = Vec::with_capacity(128);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&[0, 0]);
        message.extend_from_slice(&MAGIC);
        message.extend_from_slice(transaction);
        Self(message)
    }

    pub fn attribute(&mut self, attribute: u16, value: &[u8]) {
        self.0.extend_from_slice(&attribute.to_be_bytes());
        self.0.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.set_length(0);
    }

    /// RFC 8489 §14.2.
    pub fn xor_address(&mut self, attribute: u16, address: SocketAddr) {
        let transaction = transaction_of(&self.0).unwrap_or_default();
        let mask = MAGIC.iter().chain(&transaction);
        let port = address.port() ^ u16::from_be_bytes([MAGIC[0], MAGIC[1]]);
        // A v4 peer on a dual-stack socket must see its v4 address.
        let (family, mut value) = match address.ip().to_canonical() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (2, ip.octets().to_vec()),
        };
        value.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        let mut whole = vec![0, family];
        whole.extend_from_slice(&port.to_be_bytes());
        whole.append(&mut value);
        self.attribute(attribute, &whole);
    }

    /// RFC 8489 §14.8.
    pub fn error(&mut self, code: u16, reason: &str) {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.attribute(ERROR_CODE, &value);
    }

    /// Signs all so far, with an attribute of that type.
    pub fn integrity(&mut self, attribute: u16, key: &hmac::Key) {
        let signed = sign(key, &self.0, key.algorithm().digest_algorithm().output_len());
        self.attribute(attribute, signed.as_ref());
    }

    pub fn fingerprint(&mut self) {
        self.set_length(8);
        let fingerprint = crc32(&self.0) ^ FINGERPRINT_XOR;
        self.attribute(FINGERPRINT, &fingerprint.to_be_bytes());
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// Writes the header's length as if `more` bytes followed.
    fn set_length(&mut self, more: usize) {
        let length = (self.0.len() + more - HEADER) as u16;
        if let Some(field) = self.0.get_mut(2..4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// CRC-32 of ISO 3309, as FINGERPRINT wants it. Bit by bit: some hundred bytes a few times a second.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_were_written() {
        for address in ["192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"] {
            let address: SocketAddr = address.parse().expect("an address");
            let mut message = Writer::new(BINDING_SUCCESS, b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae");
            message.xor_address(XOR_MAPPED_ADDRESS, address);
            message.fingerprint();
            let message = message.finish();
            let transaction = transaction_of(&message).expect("it has one");
            let (_, _, value) = Attributes::of(&message).next().expect("an attribute");
            assert_eq!(xor_address(value, &transaction), Some(address));
            let (at, kind, value) = Attributes::of(&message).last().expect("a last one");
            assert!(kind == FINGERPRINT && is_fingerprint(&message, at, value));
        }
    }

    #[test]
    fn a_signature_holds_for_its_key_and_its_whole_length_only() {
        for algorithm in [hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA256] {
            let key = hmac::Key::new(algorithm, b"key");
            let mut message = Writer::new(BINDING_SUCCESS, &[7; 12]);
            message.integrity(MESSAGE_INTEGRITY, &key);
            let message = message.finish();
            let (at, _, value) = Attributes::of(&message).next().expect("an attribute");
            assert!(is_signed(&key, &message[..at], value));
            assert!(!is_signed(&key, &message[..at], &value[..16]));
            assert!(!is_signed(&key, &message[..at], &[]));
            assert!(!is_signed(&hmac::Key::new(algorithm, b"another"), &message[..at], value));
        }
    }
}
