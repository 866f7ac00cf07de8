//! A packet between the router and a link: written as RTP with the extension ids that all nodes share, and read again. The
//! numbering is the publisher's and stays; SSRC and payload type say the stream and the codec.

use std::time::Instant;

use bytes::Bytes;

use crate::rtp::header::{self, Header};
use crate::rtp::{Codec, ExtensionIds, Extensions, HopOut, Numbers, Outgoing, Packet};

/// Payload types are this plus the codec's index in [`Codec::ALL`].
pub const FIRST_PAYLOAD_TYPE: u8 = 96;

/// The extension ids on every link.
pub const IDS: ExtensionIds = ExtensionIds {
    mid: None,
    rid: None,
    repaired_rid: None,
    abs_send_time: None,
    transport_cc: None,
    audio_level: Some(1),
    orientation: Some(2),
    playout_delay: Some(3),
    dependency: Some(4),
    capture_time: Some(5),
    allow_mixed: true,
};

/// Bytes of one RTP packet on a link. Longer ones close the link; none is sent.
pub const MAX_PACKET: usize = 1_600;

/// Appends the packet's header with its extensions; the payload follows it.
pub fn write_header(out: &mut Vec<u8>, stream: u32, packet: &Packet) {
    let outgoing = Outgoing {
        pt: FIRST_PAYLOAD_TYPE + packet.codec as u8,
        seq: packet.seq as u16,
        timestamp: packet.timestamp,
        ssrc: stream,
        marker: packet.marker,
    };
    let dependency_frame = match packet.frame.numbers {
        Numbers::DependencyFrame { number } => Some(number),
        Numbers::None | Numbers::Picture { .. } => None,
    };
    header::write(out, &outgoing, &IDS, &packet.ext, &HopOut { dependency_frame, ..HopOut::default() });
}

/// Appends the whole packet.
pub fn write(out: &mut Vec<u8>, stream: u32, packet: &Packet) {
    write_header(out, stream, packet);
    out.extend_from_slice(&packet.payload);
}

/// A packet as it came from a link. What is unknown yet is its number without wrapping, which the stream's owner counts.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Names the numbering, as in `router::Feed`.
    pub stream: u32,
    /// As on the wire.
    pub seq: u16,
    pub codec: Codec,
    header: Header,
    ext: Extensions,
    payload: Bytes,
}

impl Incoming {
    /// In the codec's clock rate.
    pub const fn timestamp(&self) -> u32 {
        self.header.timestamp
    }

    /// The packet, with its number unwrapped: the low 16 bits are [`Incoming::seq`].
    pub fn packet(self, arrival: Instant, seq: u64) -> Packet {
        Packet::new(arrival, self.codec, seq, &self.header, self.ext, self.payload)
    }
}

/// Reads what [`write()`] wrote; `None` for anything else.
pub fn read(rtp: &Bytes) -> Option<Incoming> {
    let header = Header::parse(rtp).ok()?;
    let index = header.pt.checked_sub(FIRST_PAYLOAD_TYPE)?;
    let codec = Codec::ALL.get(usize::from(index)).copied()?;
    let (ext, _) = header.extensions(rtp, &IDS);
    let payload = header.payload_of(rtp);
    Some(Incoming { stream: header.ssrc, seq: header.seq, codec, header, ext, payload })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rtp::{AudioLevel, NtpTime};

    fn packet(codec: Codec, seq: u64, ext: Extensions, payload: &'static [u8]) -> Packet {
        let header = Header::parse(&[0x80, 0x80 | 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]).unwrap();
        Packet::new(Instant::now(), codec, seq, &header, ext, Bytes::from_static(payload))
    }

    fn round_trip(packet: &Packet) -> Packet {
        let mut out = Vec::new();
        write(&mut out, 0xFEED_0001, packet);
        let incoming = read(&Bytes::from(out)).expect("what was written is read");
        assert_eq!(incoming.stream, 0xFEED_0001);
        assert_eq!(incoming.seq, packet.seq as u16);
        incoming.packet(packet.arrival, packet.seq)
    }

    fn assert_same(a: &Packet, b: &Packet) {
        assert_eq!((a.codec, a.seq, a.timestamp, a.marker), (b.codec, b.seq, b.timestamp, b.marker));
        assert_eq!((&a.ext, &a.frame, &a.payload), (&b.ext, &b.frame, &b.payload));
    }

    #[test]
    fn a_packet_of_every_codec_comes_out_as_it_went_in() {
        let level = Some(AudioLevel { voice: true, dbov: 40 });
        for codec in Codec::ALL {
            let dependency = (codec == Codec::Av1).then(|| Bytes::from(vec![0xC0, 1, 7, 9, 9]));
            let ext = Extensions {
                audio_level: level,
                orientation: Some(1),
                playout_delay: Some([0, 16, 0]),
                capture_time: Some(NtpTime(u64::MAX / 3)),
                dependency,
            };
            let packet = packet(codec, 70_000, ext, &[0x90, 0x80, 5, 0x10, 1, 2, 3, 4]);
            assert_same(&round_trip(&packet), &packet);
        }
    }

    #[test]
    fn a_payload_type_of_no_codec_is_refused() {
        let mut out = Vec::new();
        write(&mut out, 1, &packet(Codec::Vp8, 1, Extensions::default(), &[0x90, 0x80, 5, 0x10]));
        out[1] = 0x80 | (FIRST_PAYLOAD_TYPE + Codec::ALL.len() as u8);
        assert!(read(&Bytes::from(out.clone())).is_none());
        out[1] = 0x80 | 95;
        assert!(read(&Bytes::from(out)).is_none());
    }

    proptest! {
        #[test]
        fn a_long_descriptor_survives(descriptor in prop::collection::vec(any::<u8>(), 3..200), seq: u64) {
            let ext = Extensions { dependency: Some(Bytes::from(descriptor)), ..Extensions::default() };
            let packet = packet(Codec::Av1, seq, ext, &[0x10, 0x32, 1]);
            assert_same(&round_trip(&packet), &packet);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&Bytes::from(bytes));
        }
    }
}
