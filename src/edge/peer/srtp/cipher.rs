//! The two SRTP transforms we speak, over one packet and one index: AEAD_AES_128_GCM (RFC 7714) straight on `ring`, and
//! AES128_CM_HMAC_SHA1_80 (RFC 3711) for those without. Owns session keys; knows no SSRC state. `srtp` calls it.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use rtc_dtls::crypto_provider::{BlockCipherAlgorithm, RTCCrypto, StreamCipher, StreamCipherAlgorithm, default_provider};

use super::{Profile, SrtpError};

/// The SRTCP header that is never encrypted: eight bytes, up to the sender's SSRC.
pub(super) const RTCP_HEADER: usize = 8;
const GCM_TAG: usize = 16;
const SHA1_TAG: usize = 10;
const RTCP_INDEX: usize = 4;
const ENCRYPTED: u32 = 1 << 31;
const MASTER_KEY: usize = 16;

/// Session keys of one direction.
#[expect(clippy::large_enum_variant, reason = "the large one is what nearly every peer has")]
pub(super) enum Cipher {
    Gcm { rtp: Gcm, rtcp: Gcm },
    Cm { rtp: Cm, rtcp: Cm },
}

pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; 12],
}

pub(super) struct Cm {
    stream: Box<dyn StreamCipher>,
    salt: [u8; 14],
    authentication: hmac::Key,
}

/// Labels of the key derivation (RFC 3711 §4.3.2).
#[derive(Clone, Copy)]
enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

impl Cipher {
    /// From a master key of 16 bytes and a salt of [`Profile::salt_len`].
    pub(super) fn new(profile: Profile, master_key: &[u8], master_salt: &[u8]) -> Result<Self, SrtpError> {
        if master_key.len() != MASTER_KEY || master_salt.len() != profile.salt_len() {
            return Err(SrtpError::BadKey);
        }
        let provider = default_provider().map_err(|_| SrtpError::BadKey)?;
        let kdf = Kdf { crypto: provider.crypto(), master_key, master_salt };
        Ok(match profile {
            Profile::Aes128Gcm => Self::Gcm {
                rtp: Gcm::new(&kdf.derive::<16>(Label::RtpEncryption)?, kdf.derive(Label::RtpSalt)?)?,
                rtcp: Gcm::new(&kdf.derive::<16>(Label::RtcpEncryption)?, kdf.derive(Label::RtcpSalt)?)?,
            },
            Profile::Aes128CmSha1_80 => Self::Cm {
                rtp: Cm::new(&kdf, Label::RtpEncryption, Label::RtpSalt, Label::RtpAuthentication)?,
                rtcp: Cm::new(&kdf, Label::RtcpEncryption, Label::RtcpSalt, Label::RtcpAuthentication)?,
            },
        })
    }

    /// Encrypts the RTP packet at `buf[start..]`, whose header is `header` bytes, and appends its tag.
    pub(super) fn seal_rtp(
        &mut self,
        buf: &mut Vec<u8>,
        start: usize,
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        let packet = buf.get_mut(start..).ok_or(SrtpError::TooShort)?;
        let (head, payload) = packet.split_at_mut_checked(header).ok_or(SrtpError::TooShort)?;
        match self {
            Self::Gcm { rtp, .. } => {
                let nonce = rtp.rtp_nonce(ssrc, index);
                let tag =
                    rtp.key.seal_in_place_separate_tag(nonce, Aad::from(&*head), payload).map_err(|_| SrtpError::BadKey)?;
                buf.extend_from_slice(tag.as_ref());
            }
            Self::Cm { rtp, .. } => {
                rtp.apply(ssrc, index, payload)?;
                let tag = rtp.tag(&[packet, &((index >> 16) as u32).to_be_bytes()]);
                buf.extend_from_slice(&tag);
            }
        }
        Ok(())
    }

    /// Authenticates and decrypts an RTP packet in place; gives its length without the tag.
    pub(super) fn open_rtp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Result<usize, SrtpError> {
        match self {
            Self::Gcm { rtp, .. } => {
                let nonce = rtp.rtp_nonce(ssrc, index);
                let (head, sealed) = packet.split_at_mut_checked(header).ok_or(SrtpError::TooShort)?;
                let plain = rtp.key.open_in_place(nonce, Aad::from(&*head), sealed).map_err(|_| SrtpError::Forged)?;
                Ok(header + plain.len())
            }
            Self::Cm { rtp, .. } => {
                let end = packet.len().checked_sub(SHA1_TAG).filter(|end| *end >= header).ok_or(SrtpError::TooShort)?;
                let (body, tag) = packet.split_at_mut(end);
                rtp.verify(&[body, &((index >> 16) as u32).to_be_bytes()], tag)?;
                rtp.apply(ssrc, index, body.get_mut(header..).unwrap_or_default())?;
                Ok(end)
            }
        }
    }

    /// Encrypts the RTCP packet at `buf[start..]` and appends its index and tag.
    pub(super) fn seal_rtcp(&mut self, buf: &mut Vec<u8>, start: usize, ssrc: u32, index: u32) -> Result<(), SrtpError> {
        let trailer = (ENCRYPTED | index).to_be_bytes();
        let packet = buf.get_mut(start..).ok_or(SrtpError::TooShort)?;
        let (head, payload) = packet.split_at_mut_checked(RTCP_HEADER).ok_or(SrtpError::TooShort)?;
        match self {
            // RFC 7714 §9.3: the tag comes before the index, and both the header and the index are covered by it.
            Self::Gcm { rtcp, .. } => {
                let nonce = rtcp.rtcp_nonce(ssrc, index);
                let aad = rtcp_aad(head, trailer);
                let tag = rtcp.key.seal_in_place_separate_tag(nonce, Aad::from(aad), payload).map_err(|_| SrtpError::BadKey)?;
                buf.extend_from_slice(tag.as_ref());
                buf.extend_from_slice(&trailer);
            }
            // RFC 3711 §3.4: the index comes before the tag.
            Self::Cm { rtcp, .. } => {
                rtcp.apply(ssrc, u64::from(index), payload)?;
                let tag = rtcp.tag(&[packet, &trailer]);
                buf.extend_from_slice(&trailer);
                buf.extend_from_slice(&tag);
            }
        }
        Ok(())
    }

    /// The index an SRTCP packet claims. Packets that are not encrypted are refused: no client sends them.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Result<u32, SrtpError> {
        let after = match self {
            Self::Gcm { .. } => 0,
            Self::Cm { .. } => SHA1_TAG,
        };
        let end = packet.len().checked_sub(after).ok_or(SrtpError::TooShort)?;
        let trailer = packet.get(..end).and_then(<[u8]>::last_chunk::<RTCP_INDEX>).ok_or(SrtpError::TooShort)?;
        let word = u32::from_be_bytes(*trailer);
        if word & ENCRYPTED == 0 { Err(SrtpError::Forged) } else { Ok(word & !ENCRYPTED) }
    }

    /// Authenticates and decrypts an RTCP packet in place; gives its length without index and tag.
    pub(super) fn open_rtcp(&mut self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<usize, SrtpError> {
        let trailer = (ENCRYPTED | index).to_be_bytes();
        match self {
            Self::Gcm { rtcp, .. } => {
                let nonce = rtcp.rtcp_nonce(ssrc, index);
                let end = packet
                    .len()
                    .checked_sub(RTCP_INDEX)
                    .filter(|end| *end >= RTCP_HEADER + GCM_TAG)
                    .ok_or(SrtpError::TooShort)?;
                let (sealed, _) = packet.split_at_mut(end);
                let (head, sealed) = sealed.split_at_mut(RTCP_HEADER);
                let aad = rtcp_aad(head, trailer);
                let plain = rtcp.key.open_in_place(nonce, Aad::from(aad), sealed).map_err(|_| SrtpError::Forged)?;
                Ok(RTCP_HEADER + plain.len())
            }
            Self::Cm { rtcp, .. } => {
                let end = packet
                    .len()
                    .checked_sub(RTCP_INDEX + SHA1_TAG)
                    .filter(|end| *end >= RTCP_HEADER)
                    .ok_or(SrtpError::TooShort)?;
                let (body, rest) = packet.split_at_mut(end);
                let (_, tag) = rest.split_at(RTCP_INDEX);
                rtcp.verify(&[body, &trailer], tag)?;
                rtcp.apply(ssrc, u64::from(index), body.get_mut(RTCP_HEADER..).unwrap_or_default())?;
                Ok(end)
            }
        }
    }
}

impl Gcm {
    pub(super) fn new(key: &[u8; 16], salt: [u8; 12]) -> Result<Self, SrtpError> {
        let key = UnboundKey::new(&AES_128_GCM, key).map_err(|_| SrtpError::BadKey)?;
        Ok(Self { key: LessSafeKey::new(key), salt })
    }

    /// RFC 7714 §8.1: two zero bytes, SSRC, rollover counter, sequence number; the last two are the index.
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> Nonce {
        self.nonce(u128::from(ssrc) << 48 | u128::from(index & 0xffff_ffff_ffff))
    }

    /// RFC 7714 §9.1: two zero bytes, SSRC, two zero bytes, index.
    fn rtcp_nonce(&self, ssrc: u32, index: u32) -> Nonce {
        self.nonce(u128::from(ssrc) << 48 | u128::from(index))
    }

    fn nonce(&self, value: u128) -> Nonce {
        let mut nonce = self.salt;
        nonce.iter_mut().zip(value.to_be_bytes().iter().skip(4)).for_each(|(byte, value)| *byte ^= value);
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Cm {
    fn new(kdf: &Kdf<'_>, encryption: Label, salt: Label, authentication: Label) -> Result<Self, SrtpError> {
        let key = kdf.derive::<16>(encryption)?;
        let stream = kdf.crypto.new_stream_cipher(StreamCipherAlgorithm::Aes128Ctr, &key).map_err(|_| SrtpError::BadKey)?;
        let authentication = kdf.derive::<20>(authentication)?;
        Ok(Self {
            stream,
            salt: kdf.derive(salt)?,
            authentication: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &authentication),
        })
    }

    /// RFC 3711 §4.1.1: the keystream starts at `salt·2^16 ⊕ SSRC·2^64 ⊕ index·2^16`.
    fn apply(&mut self, ssrc: u32, index: u64, data: &mut [u8]) -> Result<(), SrtpError> {
        let value = u128::from(ssrc) << 64 | u128::from(index) << 16;
        let mut iv = value.to_be_bytes();
        iv.iter_mut().zip(&self.salt).for_each(|(byte, salt)| *byte ^= salt);
        self.stream.apply_keystream(&iv, data).map_err(|_| SrtpError::BadKey)
    }

    fn tag(&self, parts: &[&[u8]]) -> [u8; SHA1_TAG] {
        let mut context = hmac::Context::with_key(&self.authentication);
        parts.iter().for_each(|part| context.update(part));
        let mut tag = [0; SHA1_TAG];
        tag.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        tag
    }

    fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> Result<(), SrtpError> {
        let difference = self.tag(parts).iter().zip(tag).fold(0, |sum, (a, b)| sum | (a ^ b));
        if std::hint::black_box(difference) == 0 && tag.len() == SHA1_TAG { Ok(()) } else { Err(SrtpError::Forged) }
    }
}

/// RFC 7714 §9.2: the header and the word with the index.
fn rtcp_aad(head: &[u8], trailer: [u8; 4]) -> [u8; RTCP_HEADER + RTCP_INDEX] {
    let mut aad = [0; RTCP_HEADER + RTCP_INDEX];
    aad.iter_mut().zip(head.iter().chain(&trailer)).for_each(|(to, from)| *to = *from);
    aad
}

/// The AES-CM pseudo-random function (RFC 3711 §4.3.3), at a key derivation rate of zero.
struct Kdf<'a> {
    crypto: &'a dyn RTCCrypto,
    master_key: &'a [u8],
    master_salt: &'a [u8],
}

impl Kdf<'_> {
    fn derive<const N: usize>(&self, label: Label) -> Result<[u8; N], SrtpError> {
        // A salt of 96 bits counts as one of 112 with zeros at its end (RFC 7714 §11).
        let mut input = [0u8; 16];
        input.iter_mut().zip(self.master_salt).for_each(|(to, from)| *to = *from);
        let [.., label_byte, _, _, _, _, _, _, _, _] = &mut input;
        *label_byte ^= label as u8;
        let mut derived = [0; N];
        for (counter, part) in derived.chunks_mut(16).enumerate() {
            let mut block = input;
            let [.., last] = &mut block;
            *last = counter as u8;
            self.crypto
                .block_encrypt(BlockCipherAlgorithm::Aes128, self.master_key, &mut block)
                .map_err(|_| SrtpError::BadKey)?;
            part.iter_mut().zip(block).for_each(|(to, from)| *to = from);
        }
        Ok(derived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal"))
            .collect()
    }

    fn rfc7714_cipher() -> Cipher {
        let gcm = || {
            let key = hex("000102030405060708090a0b0c0d0e0f").try_into().expect("16 bytes");
            Gcm::new(&key, hex("517569642070726f2071756f").try_into().expect("12 bytes")).expect("a key")
        };
        Cipher::Gcm { rtp: gcm(), rtcp: gcm() }
    }

    #[test]
    fn rfc_3711_b3_key_derivation() {
        let provider = default_provider().expect("ring");
        let master_key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let master_salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        let kdf = Kdf { crypto: provider.crypto(), master_key: &master_key, master_salt: &master_salt };
        assert_eq!(kdf.derive::<16>(Label::RtpEncryption).expect("derives").to_vec(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(kdf.derive::<14>(Label::RtpSalt).expect("derives").to_vec(), hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(
            kdf.derive::<20>(Label::RtpAuthentication).expect("derives").to_vec(),
            hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
        );
    }

    #[test]
    fn rfc_7714_16_1_1_rtp() {
        let plain = hex(
            "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573",
        );
        let sealed =
            hex("8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf
             8833899d 7f27beb1 6a9152cf 765ee439 0cce");
        let mut cipher = rfc7714_cipher();
        let mut packet = plain.clone();
        cipher.seal_rtp(&mut packet, 0, 12, 0x5501_a0b2, 0xf17b).expect("seals");
        assert_eq!(packet, sealed);
        let len = cipher.open_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b).expect("opens");
        assert_eq!(packet[..len], plain);
    }

    #[test]
    fn rfc_7714_17_1_rtcp() {
        let plain =
            hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef
             deadbeef");
        let sealed =
            hex("81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded
             0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4");
        let mut cipher = rfc7714_cipher();
        let mut packet = plain.clone();
        cipher.seal_rtcp(&mut packet, 0, 0x4d61_7273, 0x5d4).expect("seals");
        assert_eq!(packet, sealed);
        assert_eq!(cipher.rtcp_index(&packet), Ok(0x5d4));
        let len = cipher.open_rtcp(&mut packet, 0x4d61_7273, 0x5d4).expect("opens");
        assert_eq!(packet[..len], plain);
    }
}
