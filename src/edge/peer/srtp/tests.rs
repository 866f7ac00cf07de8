//! SRTP against an independent implementation, and against what a network and an attacker do.

use proptest::prelude::*;
use rtc_dtls::crypto_provider::default_provider;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::*;

const PROFILES: [Profile; 2] = [Profile::Aes128Gcm, Profile::Aes128CmSha1_80];

/// Our two ends of one association.
struct Pair {
    client: Srtp,
    server: Srtp,
}

impl Pair {
    fn new(profile: Profile) -> Self {
        let material = material(profile);
        Self {
            client: Srtp::new(profile, &material, true).expect("keys"),
            server: Srtp::new(profile, &material, false).expect("keys"),
        }
    }

    /// Client to server.
    fn pass(&mut self, plain: &[u8]) -> Result<Vec<u8>, SrtpError> {
        let mut packet = plain.to_vec();
        self.client.seal_rtp(&mut packet, 0)?;
        self.open(packet)
    }

    fn open(&mut self, mut packet: Vec<u8>) -> Result<Vec<u8>, SrtpError> {
        let len = self.server.open_rtp(&mut packet)?;
        packet.truncate(len);
        Ok(packet)
    }
}

fn material(profile: Profile) -> Vec<u8> {
    (0..profile.keying_material_len()).map(|byte| (byte * 7 + 3) as u8).collect()
}

/// The other implementation, with the client's keys.
fn reference(profile: Profile) -> Context {
    let material = material(profile);
    let theirs = match profile {
        Profile::Aes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    let provider = default_provider().expect("ring");
    let salt = &material[32..32 + profile.salt_len()];
    Context::new(&material[..16], salt, theirs, None, None, provider.crypto()).expect("keys")
}

fn rtp(sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 9]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// With two CSRCs and an extension of two words.
fn rtp_with_everything(sequence: u16) -> Vec<u8> {
    let mut packet = rtp(sequence, 7, &[]);
    packet[0] = 0x92;
    packet.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 2, 0xbe, 0xde, 0, 2, 0x10, 1, 0x21, 2, 3, 0x30, 4, 0]);
    packet.extend_from_slice(b"payload");
    packet
}

fn receiver_report(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    packet
}

#[test]
fn agrees_with_another_implementation_in_both_directions() {
    for profile in PROFILES {
        let mut reference = reference(profile);
        let mut pair = Pair::new(profile);
        // Through a rollover, from nearly the end.
        for sequence in (65_500..65_536).chain(0..40).map(|sequence: u32| sequence as u16) {
            let plain =
                if sequence % 2 == 0 { rtp(sequence, 7, &[sequence as u8; 100]) } else { rtp_with_everything(sequence) };
            let mut ours = vec![1, 2, 3];
            ours.extend_from_slice(&plain);
            pair.client.seal_rtp(&mut ours, 3).expect("seals");
            assert_eq!(ours[..3], [1, 2, 3]);
            assert_eq!(ours.len(), 3 + plain.len() + profile.rtp_overhead());
            let theirs = reference.encrypt_rtp(&plain).expect("seals");
            assert_eq!(ours[3..], theirs, "{profile:?} {sequence}");
            assert_eq!(pair.open(theirs.to_vec()), Ok(plain));
        }
        let mut reference = self::reference(profile);
        for _ in 0..3 {
            let plain = receiver_report(5);
            let mut sealed = plain.clone();
            pair.client.seal_rtcp(&mut sealed, 0).expect("seals");
            assert_eq!(reference.decrypt_rtcp(&sealed).expect("opens"), plain);
        }
        let mut theirs = reference.encrypt_rtcp(&receiver_report(6)).expect("seals").to_vec();
        let len = pair.server.open_rtcp(&mut theirs).expect("opens");
        assert_eq!(theirs[..len], receiver_report(6));
    }
}

#[test]
fn keys_of_the_two_directions_differ() {
    for profile in PROFILES {
        let mut pair = Pair::new(profile);
        let mut packet = rtp(1, 7, b"payload");
        pair.server.seal_rtp(&mut packet, 0).expect("seals");
        assert_eq!(pair.server.open_rtp(&mut packet.clone()), Err(SrtpError::Forged));
        assert_eq!(pair.client.open_rtp(&mut packet), Ok(12 + 7));
    }
}

#[test]
fn a_packet_is_taken_once() {
    for profile in PROFILES {
        let mut pair = Pair::new(profile);
        let mut sealed = rtp(7, 7, b"payload");
        pair.client.seal_rtp(&mut sealed, 0).expect("seals");
        assert!(pair.open(sealed.clone()).is_ok());
        assert_eq!(pair.open(sealed), Err(SrtpError::Replayed));
        let mut report = receiver_report(7);
        pair.client.seal_rtcp(&mut report, 0).expect("seals");
        assert!(pair.server.open_rtcp(&mut report.clone()).is_ok());
        assert_eq!(pair.server.open_rtcp(&mut report), Err(SrtpError::Replayed));
    }
}

#[test]
fn no_sequence_number_is_sealed_twice() {
    let mut pair = Pair::new(Profile::Aes128Gcm);
    assert!(pair.pass(&rtp(7, 7, b"first")).is_ok());
    assert_eq!(pair.pass(&rtp(7, 7, b"other")), Err(SrtpError::Reused));
    assert!(pair.pass(&rtp(6, 7, b"reordered")).is_ok());
    assert!(pair.pass(&rtp(7, 8, b"another stream")).is_ok());
}

#[test]
fn a_forged_packet_leaves_no_trace() {
    for profile in PROFILES {
        let mut pair = Pair::new(profile);
        pair.pass(&rtp(100, 7, b"payload")).expect("passes");
        // Far ahead: were it noted, the next genuine one would be too old.
        for ssrc in [7, 8, 9] {
            let mut forged = rtp(20_000, ssrc, &[0; 60]);
            assert_eq!(pair.server.open_rtp(&mut forged), Err(SrtpError::Forged));
        }
        assert_eq!(pair.server.rtp_in.streams.len(), 1);
        pair.pass(&rtp(101, 7, b"payload")).expect("passes");
    }
}

#[test]
fn reordering_over_the_wrap_is_followed() {
    for profile in PROFILES {
        let mut pair = Pair::new(profile);
        let mut sealed: Vec<_> = (65_000..66_100u32)
            .map(|index| {
                let mut packet = rtp(index as u16, 7, &index.to_be_bytes());
                pair.client.seal_rtp(&mut packet, 0).expect("seals");
                packet
            })
            .collect();
        // The first sets the counter; after it any order within the window.
        sealed[1..].chunks_mut(500).for_each(<[Vec<u8>]>::reverse);
        for packet in sealed {
            pair.open(packet).expect("opens");
        }
    }
}

#[test]
fn sealing_out_of_order_over_the_wrap_keeps_the_counter() {
    for profile in PROFILES {
        let mut pair = Pair::new(profile);
        for sequence in [65_533, 65_535, 0, 65_534, 2, 1] {
            pair.pass(&rtp(sequence, 7, b"payload")).expect("passes");
        }
    }
}

#[test]
fn a_peer_with_endless_streams_keeps_a_bounded_memory() {
    let mut pair = Pair::new(Profile::Aes128Gcm);
    for ssrc in 0..1000 {
        pair.pass(&rtp(1, ssrc, b"payload")).expect("passes");
        pair.pass(&rtp(ssrc as u16 + 2, u32::MAX, b"the one in use")).expect("passes");
    }
    assert_eq!(pair.server.rtp_in.streams.len(), MAX_INBOUND);
    assert!(pair.server.rtp_in.get(u32::MAX).is_some());
}

proptest! {
    #[test]
    fn any_change_is_noticed(bit in 0usize..8 * 60, gcm: bool, rtcp: bool) {
        let mut pair = Pair::new(if gcm { Profile::Aes128Gcm } else { Profile::Aes128CmSha1_80 });
        let mut packet = if rtcp { receiver_report(7) } else { rtp(7, 7, b"payload") };
        let sealed = if rtcp { pair.client.seal_rtcp(&mut packet, 0) } else { pair.client.seal_rtp(&mut packet, 0) };
        prop_assert_eq!(sealed, Ok(()));
        let at = bit % (8 * packet.len());
        packet[at / 8] ^= 1 << (at % 8);
        let opened = if rtcp { pair.server.open_rtcp(&mut packet) } else { pair.server.open_rtp(&mut packet) };
        prop_assert!(opened.is_err());
    }

    #[test]
    fn any_bytes_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..120), gcm: bool, valid: bool) {
        let mut pair = Pair::new(if gcm { Profile::Aes128Gcm } else { Profile::Aes128CmSha1_80 });
        if let (true, Some(first)) = (valid, bytes.first_mut()) {
            *first = 0x80 | *first & 0x1f;
        }
        prop_assert!(pair.server.open_rtp(&mut bytes.clone()).is_err());
        prop_assert!(pair.server.open_rtcp(&mut bytes).is_err());
    }

    #[test]
    fn sealing_any_bytes_does_not_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), start in 0usize..130) {
        let mut pair = Pair::new(Profile::Aes128Gcm);
        let _ = pair.client.seal_rtp(&mut bytes, start);
        let _ = pair.client.seal_rtcp(&mut bytes, start);
    }
}
