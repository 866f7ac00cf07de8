//! SRTP and SRTCP of one peer: opens what it sends, seals what it is sent. Owns the keys, and for each SSRC the rollover
//! counter and replay window; knows nothing of what the packets mean. `transport` makes it when DTLS is done.
//!
//! Sealing is the hot path of the whole relay: in place, no allocation, one table look-up and one pass over the bytes.

mod cipher;
mod window;

use rustc_hash::FxHashMap;

use cipher::{Cipher, RTCP_HEADER};
use window::Window;

/// SSRCs a peer may send on at once; beyond it the longest unused is forgotten. A browser uses a dozen, and some new ones
/// with each renegotiation.
const MAX_INBOUND: usize = 128;
/// The 31-bit index of SRTCP (RFC 3711 §3.4).
const MAX_RTCP_INDEX: u32 = (1 << 31) - 1;
/// The 48-bit index of SRTP (RFC 3711 §3.3.1).
const MAX_RTP_INDEX: u64 = (1 << 48) - 1;

/// How packets are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `AEAD_AES_128_GCM` (RFC 7714): a fifth of the cost of the other.
    Aes128Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80` (RFC 5764), which everyone must have.
    Aes128CmSha1_80,
}

impl Profile {
    const fn salt_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 12,
            Self::Aes128CmSha1_80 => 14,
        }
    }

    /// What the DTLS exporter must give (RFC 5764 §4.2).
    pub const fn keying_material_len(self) -> usize {
        2 * (16 + self.salt_len())
    }

    /// Bytes by which sealing makes an RTP packet longer.
    pub const fn rtp_overhead(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes128CmSha1_80 => 10,
        }
    }
}

/// Why a packet was not opened or not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    #[error("not an RTP or RTCP packet")]
    TooShort,
    #[error("authentication failed")]
    Forged,
    #[error("seen before, or too old to tell")]
    Replayed,
    /// Sealing it would use a nonce twice, which gives the key away (RFC 7714 §8.1). Resend on an RTX stream instead.
    #[error("this sequence number was sent before")]
    Reused,
    #[error("the key is used up or unusable")]
    BadKey,
}

/// Both directions of one peer.
pub struct Srtp {
    inbound: Cipher,
    outbound: Cipher,
    rtp_in: Table,
    rtcp_in: Table,
    /// Never forgets an SSRC: its counter must not start anew under the same key. Bounded by how many slots we open.
    rtp_out: FxHashMap<u32, Window>,
    rtcp_out: u32,
    profile: Profile,
}

impl Srtp {
    /// From what the DTLS exporter gave (RFC 5764 §4.2): client key, server key, client salt, server salt.
    pub fn new(profile: Profile, keying_material: &[u8], we_are_client: bool) -> Result<Self, SrtpError> {
        let (client_key, rest) = keying_material.split_at_checked(16).ok_or(SrtpError::BadKey)?;
        let (server_key, salts) = rest.split_at_checked(16).ok_or(SrtpError::BadKey)?;
        let (client_salt, server_salt) = salts.split_at_checked(profile.salt_len()).ok_or(SrtpError::BadKey)?;
        let client = Cipher::new(profile, client_key, client_salt)?;
        let server = Cipher::new(profile, server_key, server_salt)?;
        let (inbound, outbound) = if we_are_client { (server, client) } else { (client, server) };
        Ok(Self {
            inbound,
            outbound,
            rtp_in: Table::default(),
            rtcp_in: Table::default(),
            rtp_out: FxHashMap::default(),
            rtcp_out: 0,
            profile,
        })
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Opens an RTP packet in place; gives its length, which is that of the datagram's first part.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let (header, sequence, ssrc) = rtp_header(packet).ok_or(SrtpError::TooShort)?;
        // An unknown SSRC gets its entry only after it proved to be authentic.
        let known = self.rtp_in.get(ssrc);
        let index = match known {
            Some(window) => window.estimate(sequence).filter(|index| window.is_fresh(*index)).ok_or(SrtpError::Replayed)?,
            None => u64::from(sequence),
        };
        let len = self.inbound.open_rtp(packet, header, ssrc, index)?;
        self.rtp_in.insert(ssrc, index);
        Ok(len)
    }

    /// Opens an RTCP packet in place, likewise.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = rtcp_ssrc(packet).ok_or(SrtpError::TooShort)?;
        let index = self.inbound.rtcp_index(packet)?;
        if self.rtcp_in.get(ssrc).is_some_and(|window| !window.is_fresh(u64::from(index))) {
            return Err(SrtpError::Replayed);
        }
        let len = self.inbound.open_rtcp(packet, ssrc, index)?;
        self.rtcp_in.insert(ssrc, u64::from(index));
        Ok(len)
    }

    /// Seals the RTP packet at `buf[start..]`; the tag is appended. Sequence numbers may go back a little, never come
    /// twice, and should start below 2^15, so that a lost first packet cannot hide a rollover (RFC 3711 §3.3.1).
    pub fn seal_rtp(&mut self, buf: &mut Vec<u8>, start: usize) -> Result<(), SrtpError> {
        let (header, sequence, ssrc) = buf.get(start..).and_then(rtp_header).ok_or(SrtpError::TooShort)?;
        let window = self.rtp_out.entry(ssrc).or_default();
        let index = window.estimate(sequence).filter(|index| window.is_fresh(*index)).ok_or(SrtpError::Reused)?;
        if index > MAX_RTP_INDEX {
            return Err(SrtpError::BadKey);
        }
        self.outbound.seal_rtp(buf, start, header, ssrc, index)?;
        window.insert(index);
        Ok(())
    }

    /// Seals the compound RTCP packet at `buf[start..]`; index and tag are appended.
    pub fn seal_rtcp(&mut self, buf: &mut Vec<u8>, start: usize) -> Result<(), SrtpError> {
        let ssrc = buf.get(start..).and_then(rtcp_ssrc).ok_or(SrtpError::TooShort)?;
        if self.rtcp_out == MAX_RTCP_INDEX {
            return Err(SrtpError::BadKey);
        }
        self.rtcp_out += 1;
        self.outbound.seal_rtcp(buf, start, ssrc, self.rtcp_out)
    }
}

/// The windows of a peer's streams, bounded.
#[derive(Default)]
struct Table {
    streams: FxHashMap<u32, (Window, u64)>,
    /// Counts insertions, so that the longest unused stream can be told.
    clock: u64,
}

impl Table {
    fn get(&self, ssrc: u32) -> Option<&Window> {
        self.streams.get(&ssrc).map(|(window, _)| window)
    }

    fn insert(&mut self, ssrc: u32, index: u64) {
        self.clock += 1;
        if self.streams.len() >= MAX_INBOUND && !self.streams.contains_key(&ssrc) {
            let oldest = self.streams.iter().min_by_key(|(_, (_, used))| *used).map(|(ssrc, _)| *ssrc);
            oldest.map(|oldest| self.streams.remove(&oldest));
        }
        let (window, used) = self.streams.entry(ssrc).or_default();
        window.insert(index);
        *used = self.clock;
    }
}

/// Length of the header with CSRCs and extension, sequence number and SSRC (RFC 3550 §5.1).
fn rtp_header(packet: &[u8]) -> Option<(usize, u16, u32)> {
    let fixed: &[u8; 12] = packet.first_chunk()?;
    if fixed[0] >> 6 != 2 {
        return None;
    }
    let mut header = 12 + 4 * usize::from(fixed[0] & 0xf);
    if fixed[0] & 0x10 != 0 {
        let words: &[u8; 2] = packet.get(header + 2..)?.first_chunk()?;
        header += 4 + 4 * usize::from(u16::from_be_bytes(*words));
    }
    let sequence = u16::from_be_bytes([fixed[2], fixed[3]]);
    let ssrc = u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
    (packet.len() >= header).then_some((header, sequence, ssrc))
}

/// The sender of the first packet of a compound (RFC 3550 §6.4).
fn rtcp_ssrc(packet: &[u8]) -> Option<u32> {
    let header: &[u8; RTCP_HEADER] = packet.first_chunk()?;
    (header[0] >> 6 == 2).then(|| u32::from_be_bytes([header[4], header[5], header[6], header[7]]))
}

#[cfg(test)]
mod tests;
