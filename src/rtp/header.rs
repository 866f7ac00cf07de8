//! The RTP header on the wire (RFC 3550 §5.1): a view of a received packet, and the header of an outgoing one. Owns where
//! things lie; what the extensions say is `rtp::extension`'s, what the payload says `rtp::descriptor`'s. Peers call it for
//! every packet, and the writer for every packet and subscriber: it neither allocates nor formats.

use std::ops::Range;

use bytes::Bytes;

use super::extension::{self, Elements, ExtensionIds, Hop, HopOut};
use super::packet::Extensions;

/// Length of the header without CSRCs and extensions.
const FIXED: usize = 12;

/// Where things lie in one packet. Made by [`Header::parse`]; every range is inside the packet that was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub marker: bool,
    pub pt: u8,
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// Its profile field and its body, if the packet has an extension block.
    pub extension: Option<(u16, Range<usize>)>,
    /// The payload without padding. Empty for a packet that is only padding.
    pub payload: Range<usize>,
}

/// Why a datagram is no RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("not RTP version 2")]
    Version,
    #[error("shorter than its header says")]
    Truncated,
    #[error("padding longer than the payload")]
    Padding,
}

impl Header {
    /// Views a packet whose SRTP, if any, has been opened.
    pub fn parse(packet: &[u8]) -> Result<Self, HeaderError> {
        let &[flags, kind, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] =
            packet.first_chunk::<FIXED>().ok_or(HeaderError::Truncated)?;
        if flags >> 6 != 2 {
            return Err(HeaderError::Version);
        }
        let mut at = FIXED + usize::from(flags & 0x0F) * 4;
        let mut extension = None;
        if flags & 0x10 != 0 {
            let &[p0, p1, l0, l1] = packet.get(at..).and_then(|rest| rest.first_chunk()).ok_or(HeaderError::Truncated)?;
            let body = at + 4..at + 4 + usize::from(u16::from_be_bytes([l0, l1])) * 4;
            at = body.end;
            extension = Some((u16::from_be_bytes([p0, p1]), body));
        }
        let body = packet.get(at..).ok_or(HeaderError::Truncated)?;
        let padding = match body.last() {
            // RFC 3550 §5.1: the last byte counts itself, so zero is an error.
            Some(&padding) if flags & 0x20 != 0 && padding > 0 => usize::from(padding),
            _ if flags & 0x20 != 0 => return Err(HeaderError::Padding),
            _ => 0,
        };
        let length = body.len().checked_sub(padding).ok_or(HeaderError::Padding)?;
        Ok(Self {
            marker: kind & 0x80 != 0,
            pt: kind & 0x7F,
            seq: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            extension,
            payload: at..at + length,
        })
    }

    /// The elements of the extension block of `packet`, the one that was parsed.
    pub fn elements<'a>(&self, packet: &'a [u8]) -> Elements<'a> {
        let block = self.extension.as_ref();
        let found = block.and_then(|(profile, body)| Some((*profile, packet.get(body.clone())?)));
        let (profile, body) = found.unwrap_or((0, &[]));
        Elements::new(profile, body)
    }

    /// The negotiated extensions of `packet`, the one that was parsed: those that travel, and those of this hop.
    pub fn extensions<'a>(&self, packet: &'a Bytes, ids: &ExtensionIds) -> (Extensions, Hop<'a>) {
        extension::collect(self.elements(packet), packet, ids)
    }

    /// The payload of `packet`, the one that was parsed, sharing its buffer.
    pub fn payload_of(&self, packet: &Bytes) -> Bytes {
        // A caller that hands in another packet gets nothing rather than a panic.
        if self.payload.end > packet.len() { Bytes::new() } else { packet.slice(self.payload.clone()) }
    }
}

/// The fixed header of a packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub pt: u8,
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub marker: bool,
}

/// Appends header and extensions to `buf`; the caller appends the payload.
pub fn write(buf: &mut Vec<u8>, out: &Outgoing, ids: &ExtensionIds, ext: &Extensions, hop: &HopOut<'_>) {
    let start = buf.len();
    let [s0, s1] = out.seq.to_be_bytes();
    let [t0, t1, t2, t3] = out.timestamp.to_be_bytes();
    let [r0, r1, r2, r3] = out.ssrc.to_be_bytes();
    let kind = u8::from(out.marker) << 7 | out.pt & 0x7F;
    buf.extend_from_slice(&[0x80, kind, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3]);
    if extension::write(buf, ids, ext, hop)
        && let Some(flags) = buf.get_mut(start)
    {
        *flags |= 0x10;
    }
}

/// Appends a whole packet of nothing but `padding` bytes of padding (RFC 3550 §5.1), at least one.
pub fn write_padding(buf: &mut Vec<u8>, out: &Outgoing, ids: &ExtensionIds, hop: &HopOut<'_>, padding: u8) {
    let start = buf.len();
    let padding = padding.max(1);
    write(buf, out, ids, &Extensions::default(), hop);
    buf.resize(buf.len() + usize::from(padding) - 1, 0);
    buf.push(padding);
    if let Some(flags) = buf.get_mut(start) {
        *flags |= 0x20;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtp::clock::NtpTime;
    use crate::rtp::packet::AudioLevel;

    const IDS: ExtensionIds = ExtensionIds {
        mid: Some(1),
        rid: Some(2),
        repaired_rid: Some(3),
        abs_send_time: Some(4),
        transport_cc: Some(5),
        audio_level: Some(6),
        orientation: Some(7),
        playout_delay: Some(8),
        dependency: Some(9),
        capture_time: Some(14),
        allow_mixed: true,
    };

    const OUT: Outgoing = Outgoing { pt: 111, seq: 0xFFFE, timestamp: 0xDEAD_BEEF, ssrc: 0x1234_5678, marker: true };

    fn full() -> Extensions {
        Extensions {
            audio_level: Some(AudioLevel { voice: true, dbov: 33 }),
            orientation: Some(2),
            playout_delay: Some([1, 2, 3]),
            dependency: Some(Bytes::from_static(&[0xC0, 0x12, 0x34])),
            capture_time: Some(NtpTime(0x1234_5678_9ABC_DEF0)),
        }
    }

    fn written(ids: &ExtensionIds, ext: &Extensions, hop: &HopOut<'_>) -> Bytes {
        // Something stands before it, as in a batch buffer.
        let mut buf = vec![7; 5];
        write(&mut buf, &OUT, ids, ext, hop);
        buf.extend_from_slice(b"payload");
        Bytes::from(buf).slice(5..)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let hop = HopOut {
            mid: Some(b"17"),
            rid: Some(b"h"),
            repaired_rid: Some(b"f"),
            transport_cc: Some(500),
            abs_send_time: Some(0xABCDEF),
            dependency_frame: Some(0x1234),
        };
        let packet = written(&IDS, &full(), &hop);
        let header = Header::parse(&packet).unwrap();
        assert_eq!((header.marker, header.pt, header.seq), (true, 111, 0xFFFE));
        assert_eq!((header.timestamp, header.ssrc), (0xDEAD_BEEF, 0x1234_5678));
        assert_eq!(header.payload_of(&packet), "payload");
        assert_eq!(header.extension.as_ref().unwrap().0, 0xBEDE);
        let (ext, read) = header.extensions(&packet, &IDS);
        assert_eq!(ext, full());
        assert_eq!((read.mid, read.transport_cc, read.abs_send_time), (Some(&b"17"[..]), Some(500), Some(0xABCDEF)));
        assert_eq!((read.rid, read.repaired_rid), (Some(&b"h"[..]), Some(&b"f"[..])));
    }

    #[test]
    fn long_elements_take_the_two_byte_form_only_where_allowed() {
        let ext = Extensions { dependency: Some(Bytes::from(vec![5; 40])), ..full() };
        let hop = HopOut { mid: Some(b"0"), dependency_frame: Some(0x0102), ..HopOut::default() };
        let packet = written(&IDS, &ext, &hop);
        let header = Header::parse(&packet).unwrap();
        assert_eq!(header.extension.as_ref().unwrap().0, 0x1000);
        let (read, _) = header.extensions(&packet, &IDS);
        let descriptor = read.dependency.unwrap();
        assert_eq!(descriptor.len(), 40);
        assert_eq!(descriptor[..4], [5, 1, 2, 5]);

        let narrow = ExtensionIds { allow_mixed: false, ..IDS };
        let packet = written(&narrow, &ext, &hop);
        let header = Header::parse(&packet).unwrap();
        let (read, hop) = header.extensions(&packet, &narrow);
        assert_eq!(read, Extensions { dependency: None, ..full() });
        assert_eq!(hop.mid, Some(&b"0"[..]));
    }

    #[test]
    fn a_descriptor_without_a_new_number_is_left_out() {
        let packet = written(&IDS, &full(), &HopOut::default());
        let (read, _) = Header::parse(&packet).unwrap().extensions(&packet, &IDS);
        assert_eq!(read, Extensions { dependency: None, ..full() });
    }

    #[test]
    fn large_ids_are_left_out_of_the_one_byte_form() {
        let ids = ExtensionIds { mid: Some(20), allow_mixed: false, ..ExtensionIds::default() };
        let packet = written(&ids, &full(), &HopOut { mid: Some(b"0"), ..HopOut::default() });
        let header = Header::parse(&packet).unwrap();
        assert_eq!(header.extension, None);
        assert_eq!(header.payload_of(&packet), "payload");
        let ids = ExtensionIds { allow_mixed: true, ..ids };
        let packet = written(&ids, &full(), &HopOut { mid: Some(b"0"), ..HopOut::default() });
        assert_eq!(Header::parse(&packet).unwrap().extensions(&packet, &ids).1.mid, Some(&b"0"[..]));
    }

    #[test]
    fn contributing_sources_and_padding_are_stepped_over() {
        let mut packet = vec![0xA2, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9, 9, 9, 9, 8, 8, 8, 8];
        packet.extend_from_slice(&[1, 2, 3, 0, 0, 3]);
        let header = Header::parse(&packet).unwrap();
        assert_eq!(&packet[header.payload], &[1, 2, 3]);
        *packet.last_mut().unwrap() = 7;
        assert_eq!(Header::parse(&packet), Err(HeaderError::Padding));
        *packet.last_mut().unwrap() = 0;
        assert_eq!(Header::parse(&packet), Err(HeaderError::Padding));
        assert_eq!(Header::parse(&packet[..16]), Err(HeaderError::Truncated));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), version in any::<bool>()) {
            let mut bytes = bytes;
            if let (true, Some(first)) = (version, bytes.first_mut()) { *first = 0x90 | *first & 0x2F; }
            let packet = Bytes::from(bytes);
            if let Ok(header) = Header::parse(&packet) {
                prop_assert!(header.payload.end <= packet.len());
                let _ = header.extensions(&packet, &IDS);
            }
        }

        #[test]
        fn any_extensions_survive_the_round_trip(
            level in prop::option::of((any::<bool>(), 0u8..128)),
            orientation: Option<u8>,
            playout_delay: Option<[u8; 3]>,
            capture_time: Option<u64>,
            dependency in prop::option::of(prop::collection::vec(any::<u8>(), 3..60)),
            mid in prop::option::of("[a-z0-9]{1,16}"),
            transport_cc: Option<u16>,
            shift in 0u8..10,
        ) {
            let ids = ExtensionIds { mid: Some(9 + shift), dependency: Some(1), ..IDS };
            let ids = ExtensionIds { repaired_rid: None, capture_time: Some(3), ..ids };
            let ids = if shift == 0 { ExtensionIds { mid: Some(15), ..ids } } else { ids };
            let ext = Extensions {
                audio_level: level.map(|(voice, dbov)| AudioLevel { voice, dbov }),
                orientation, playout_delay, capture_time: capture_time.map(NtpTime), dependency: dependency.map(Bytes::from),
            };
            let mid = mid.as_ref().map(String::as_bytes);
            let dependency_frame = ext.dependency.as_ref().and_then(|bytes| Some(u16::from_be_bytes(*bytes.get(1..)?.first_chunk()?)));
            let packet = written(&ids, &ext, &HopOut { mid, transport_cc, dependency_frame, ..HopOut::default() });
            let header = Header::parse(&packet).unwrap();
            prop_assert_eq!(header.payload_of(&packet), &b"payload"[..]);
            let (read, hop) = header.extensions(&packet, &ids);
            prop_assert_eq!(read, ext);
            prop_assert_eq!((hop.mid, hop.transport_cc), (mid, transport_cc));
        }
    }
}
