//! One media packet as the router sees it: opened, parsed, its extensions told apart, its payload shared. Owns the value;
//! parsing from and writing to the wire is `rtp::header`'s work, what the payload means `rtp::descriptor`'s.

use std::time::Instant;

use bytes::Bytes;

use super::clock::NtpTime;
use super::codec::Codec;
use super::descriptor;
use super::header::Header;
use super::scalable::{Cuts, Entry};

/// What a packet takes beside its payload, about: headers of IP, UDP and RTP, extensions, the tag.
pub const OVERHEAD: usize = 64;

/// A media packet in its layer's own numbering. Immutable once built; held once, behind an `Arc`, by the track's history.
#[derive(Clone, Debug)]
pub struct Packet {
    /// When its datagram was read from the socket.
    pub arrival: Instant,
    pub codec: Codec,
    /// The sequence number, unwrapped by whoever received the packet: the low 16 bits are the wire's.
    pub seq: u64,
    /// In the codec's clock rate.
    pub timestamp: u32,
    /// Last packet of a video frame; first after silence for audio (RFC 3551 §4.1).
    pub marker: bool,
    pub ext: Extensions,
    pub frame: FrameInfo,
    pub payload: Bytes,
}

impl Packet {
    /// From a parsed header and its travelling extensions. `payload` is the media's own, without padding and, on a packet
    /// restored from RTX, without the original sequence number in front.
    pub fn new(arrival: Instant, codec: Codec, seq: u64, header: &Header, mut ext: Extensions, payload: Bytes) -> Self {
        // Browsers send the descriptor with VP8 and VP9 too where it was negotiated for the m-line, and receivers would
        // go by it. Then two numberings had to be kept continuous; without it the codec's own is enough.
        if codec != Codec::Av1 {
            ext.dependency = None;
        }
        let frame = descriptor::frame_info(codec, &payload, &ext);
        Self { arrival, codec, seq, timestamp: header.timestamp, marker: header.marker, ext, frame, payload }
    }

    /// What it takes of a path, about.
    pub fn wire_size(&self) -> usize {
        self.payload.len() + OVERHEAD
    }
}

/// The header extensions that travel with the media. Those that belong to one hop (mid, rid, transport-cc, abs-send-time) don't.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 6464.
    pub audio_level: Option<AudioLevel>,
    /// 3GPP TS 26.114 coordination of video orientation: the byte as it came.
    pub orientation: Option<u8>,
    /// Limits of the receiver's playout delay, the three bytes as they came.
    pub playout_delay: Option<[u8; 3]>,
    /// When the frame was captured, by its publisher's clock (abs-capture-time). Without the offset that may follow it: that is to the
    /// clock of the sender's reports, which are mapped to ours.
    pub capture_time: Option<NtpTime>,
    /// AV1's dependency descriptor, whole.
    pub dependency: Option<Bytes>,
}

/// How loud an audio packet is (RFC 6464).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    pub voice: bool,
    /// 0 is the loudest, 127 silence: minus dBov.
    pub dbov: u8,
}

/// What the payload's descriptor says of the frame the packet belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameInfo {
    /// First packet of a frame that decodes without any other.
    pub starts_keyframe: bool,
    /// First packet of a frame; in a picture of several spatial layers, of the lowest's.
    pub starts_frame: bool,
    /// Last packet of a spatial layer's frame, where the codec says so.
    pub ends_frame: bool,
    /// Spatial layer within the stream; 0 is the smallest. Of AV1 it is known once the dependency structure is.
    pub spatial: u8,
    /// Temporal layer; 0 is the base.
    pub temporal: u8,
    /// The cuts of the stream it belongs to.
    pub cuts: Cuts,
    /// What begins with it.
    pub entry: Entry,
    /// The picture numbering that must stay continuous over a switch of layers.
    pub numbers: Numbers,
}

/// Numbers inside the payload (or its descriptor) that a rewriting forwarder must keep continuous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numbers {
    #[default]
    None,
    /// VP8's (RFC 7741 §4.2) and VP9's (RFC 9628 §4.2) picture id: `offset` into the payload of its 7- or 15-bit field.
    /// Either may have TL0PICIDX too: its value, and the offset of its one byte.
    Picture { id: u16, wide: bool, offset: u8, tl0: Option<(u8, u8)> },
    /// The dependency descriptor's frame number: bytes 1 and 2 of the extension.
    DependencyFrame { number: u16 },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_numbering_travels() {
        let header = Header::parse(&[0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]).unwrap();
        let ext = Extensions { dependency: Some(Bytes::from_static(&[0x80, 0, 7])), ..Extensions::default() };
        let build = |codec, payload: &'static [u8]| {
            Packet::new(Instant::now(), codec, 1, &header, ext.clone(), Bytes::from_static(payload))
        };
        let vp8 = build(Codec::Vp8, &[0x90, 0x80, 5, 0x10]);
        assert_eq!(vp8.ext.dependency, None);
        assert!(matches!(vp8.frame.numbers, Numbers::Picture { id: 5, .. }));
        let av1 = build(Codec::Av1, &[0x10, 0x32]);
        assert_eq!(av1.ext.dependency, ext.dependency);
        assert_eq!(av1.frame.numbers, Numbers::DependencyFrame { number: 7 });
    }
}
