//! Reads which SRTP profiles a client offers before the DTLS library does. The library takes the first profile of the
//! client's list, which for browsers is the costly one; so the ClientHello is gathered here, the association is made with
//! the profile we want, and the datagrams are then handed on as they came. `dtls` calls it.

use super::records::{Content, fragments, records};
use super::srtp::Profile;

/// Datagrams kept. A ClientHello with a post-quantum key share takes two; repeats of lost ones may double that.
const MAX_DATAGRAMS: usize = 4;
const MAX_BYTES: usize = 8 * 1024;
/// The handshake message type (RFC 5246 §7.4).
const CLIENT_HELLO: u8 = 1;
/// The extension that carries SRTP profiles (RFC 5764 §4.1.1).
const USE_SRTP: u16 = 14;

/// A ClientHello on its way in.
#[derive(Default)]
pub struct Gatherer {
    datagrams: Vec<Vec<u8>>,
}

/// A whole ClientHello: the profile to choose, and the datagrams it came in.
#[derive(Debug, PartialEq, Eq)]
pub struct Hello {
    /// The cheapest that the client offers; `None` if it offers none we speak.
    pub profile: Option<Profile>,
    pub datagrams: Vec<Vec<u8>>,
}

/// A datagram that is no part of a ClientHello.
#[derive(Debug, PartialEq, Eq)]
pub struct NotHello;

impl Gatherer {
    /// Takes a datagram. `Ok(None)`: more is to come.
    pub fn push(&mut self, datagram: &[u8]) -> Result<Option<Hello>, NotHello> {
        if datagram.len() > MAX_BYTES || !carries_hello(datagram) {
            return Err(NotHello);
        }
        while self.datagrams.len() >= MAX_DATAGRAMS || self.bytes() + datagram.len() > MAX_BYTES {
            self.datagrams.remove(0);
        }
        self.datagrams.push(datagram.to_vec());
        let Some(hello) = self.assemble() else { return Ok(None) };
        let profile = choose(&hello);
        Ok(Some(Hello { profile, datagrams: std::mem::take(&mut self.datagrams) }))
    }

    fn bytes(&self) -> usize {
        self.datagrams.iter().map(Vec::len).sum()
    }

    /// The message's body, once its fragments cover it.
    fn assemble(&self) -> Option<Vec<u8>> {
        let all = || self.datagrams.iter().flat_map(|datagram| hello_fragments(datagram));
        // The newest counts: a client that starts over may say something else.
        let (length, sequence) = all().last().map(|fragment| (fragment.length, fragment.sequence))?;
        if length > MAX_BYTES {
            return None;
        }
        let mut hello = Vec::with_capacity(length);
        while hello.len() < length {
            let next = all().find(|fragment| {
                let end = fragment.offset + fragment.body.len();
                (fragment.length, fragment.sequence) == (length, sequence) && (fragment.offset..end).contains(&hello.len())
            })?;
            hello.extend_from_slice(next.body.get(hello.len() - next.offset..)?);
        }
        Some(hello)
    }
}

/// The cheapest profile of a ClientHello's `use_srtp`.
fn choose(hello: &[u8]) -> Option<Profile> {
    let offered = use_srtp(hello)?;
    let offers = |profile: [u8; 2]| offered.chunks_exact(2).any(|offered| offered == profile);
    if offers([0, 7]) {
        Some(Profile::Aes128Gcm)
    } else if offers([0, 1]) {
        Some(Profile::Aes128CmSha1_80)
    } else {
        None
    }
}

/// The list of profiles, two bytes each (RFC 5764 §4.1.1), in a ClientHello's body (RFC 6347 §4.2.1).
fn use_srtp(hello: &[u8]) -> Option<&[u8]> {
    // Version and random.
    let mut rest = hello.get(2 + 32..)?;
    let _session = take_u8(&mut rest)?;
    let _cookie = take_u8(&mut rest)?;
    let _cipher_suites = take_u16(&mut rest)?;
    let _compression = take_u8(&mut rest)?;
    let mut extensions = take_u16(&mut rest)?;
    while let Some((kind, after)) = extensions.split_first_chunk::<2>() {
        extensions = after;
        let mut value = take_u16(&mut extensions)?;
        if u16::from_be_bytes(*kind) == USE_SRTP {
            return take_u16(&mut value);
        }
    }
    None
}

/// Takes a vector with a length of one byte.
fn take_u8<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first()?;
    let (value, rest) = rest.split_at_checked(usize::from(*length))?;
    *bytes = rest;
    Some(value)
}

/// Takes a vector with a length of two bytes.
fn take_u16<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *bytes = rest;
    Some(value)
}

fn carries_hello(datagram: &[u8]) -> bool {
    records(datagram).all(|record| record.is_ok()) && hello_fragments(datagram).next().is_some()
}

fn hello_fragments(datagram: &[u8]) -> impl Iterator<Item = super::records::Fragment<'_>> {
    records(datagram)
        .flatten()
        .filter(|record| record.content == Content::Handshake && record.epoch == 0)
        .flat_map(|record| fragments(record.body))
        .flatten()
        .filter(|fragment| fragment.kind == CLIENT_HELLO)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ClientHello's body with these profiles and a key share of some size before them.
    fn body(profiles: &[u16], key_share: usize) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
        let mut extensions = vec![0, 51];
        extensions.extend_from_slice(&(key_share as u16).to_be_bytes());
        extensions.resize(4 + key_share, 9);
        extensions.extend_from_slice(&[0, 14]);
        extensions.extend_from_slice(&(2 * profiles.len() as u16 + 3).to_be_bytes());
        extensions.extend_from_slice(&(2 * profiles.len() as u16).to_be_bytes());
        profiles.iter().for_each(|profile| extensions.extend_from_slice(&profile.to_be_bytes()));
        extensions.push(0);
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.append(&mut extensions);
        body
    }

    /// One datagram with the given part of a message.
    fn datagram(message: &[u8], from: usize, to: usize) -> Vec<u8> {
        let u24 = |value: usize| [(value >> 16) as u8, (value >> 8) as u8, value as u8];
        let part = &message[from..to];
        let mut datagram = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
        datagram.extend_from_slice(&(12 + part.len() as u16).to_be_bytes());
        datagram.push(CLIENT_HELLO);
        datagram.extend_from_slice(&u24(message.len()));
        datagram.extend_from_slice(&[0, 0]);
        datagram.extend_from_slice(&u24(from));
        datagram.extend_from_slice(&u24(part.len()));
        datagram.extend_from_slice(part);
        datagram
    }

    #[test]
    fn prefers_gcm_wherever_it_stands() {
        for (profiles, expected) in [
            (&[1, 7][..], Some(Profile::Aes128Gcm)),
            (&[7], Some(Profile::Aes128Gcm)),
            (&[8, 2, 1], Some(Profile::Aes128CmSha1_80)),
            (&[8, 2], None),
            (&[], None),
        ] {
            let hello = body(profiles, 32);
            let whole = datagram(&hello, 0, hello.len());
            let gathered = Gatherer::default().push(&whole);
            assert_eq!(gathered, Ok(Some(Hello { profile: expected, datagrams: vec![whole] })));
        }
    }

    #[test]
    fn joins_two_datagrams_in_either_order_and_after_a_loss() {
        let hello = body(&[1, 7], 1200);
        let (first, second) = (datagram(&hello, 0, 900), datagram(&hello, 900, hello.len()));
        for order in [[&first, &second], [&second, &first]] {
            let mut gatherer = Gatherer::default();
            assert_eq!(gatherer.push(order[0]), Ok(None));
            assert_eq!(gatherer.push(order[0]), Ok(None));
            let gathered = gatherer.push(order[1]).expect("a part").expect("whole");
            assert_eq!(gathered.profile, Some(Profile::Aes128Gcm));
            assert_eq!(gathered.datagrams.len(), 3);
        }
    }

    #[test]
    fn keeps_a_bounded_number_of_datagrams() {
        let hello = body(&[1, 7], 3000);
        let mut gatherer = Gatherer::default();
        for _ in 0..100 {
            assert_eq!(gatherer.push(&datagram(&hello, 10, 900)), Ok(None));
            assert!(gatherer.datagrams.len() <= MAX_DATAGRAMS && gatherer.bytes() <= MAX_BYTES);
        }
        assert_eq!(gatherer.push(&datagram(&hello, 0, 1500)), Ok(None));
        let whole = gatherer.push(&datagram(&hello, 1500, hello.len()));
        assert!(whole.expect("a part").is_some(), "junk before does not hinder it");
    }

    proptest! {
        #[test]
        fn any_damage_is_survived(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..1400, cut in 0usize..1400,
        ) {
            let hello = body(&[1, 7], 1200);
            let mut whole = datagram(&hello, 0, hello.len());
            whole.truncate(whole.len() - cut.min(whole.len()));
            let at = at.min(whole.len());
            let end = (at + bytes.len()).min(whole.len());
            bytes.truncate(end - at);
            whole.splice(at..end, bytes);
            let mut gatherer = Gatherer::default();
            let _ = gatherer.push(&whole);
            let _ = gatherer.push(&datagram(&hello, 600, hello.len()));
        }
    }
}
