//! What a payload says of its frame, per codec, without decoding: does a keyframe start here, which temporal layer, which
//! picture numbers. Pure functions over one packet; called once per received packet. Rewriting the numbers is
//! `rtp::rewrite`'s work.

use super::codec::Codec;
use super::packet::{Extensions, FrameInfo, Numbers};
use super::scalable::{Cuts, Entry};

/// Reads the descriptor of one packet. A malformed one gives what could be read; it never says keyframe by guess.
pub fn frame_info(codec: Codec, payload: &[u8], ext: &Extensions) -> FrameInfo {
    match codec {
        Codec::Opus | Codec::Red => FrameInfo::default(),
        Codec::Vp8 => vp8(payload).unwrap_or_default(),
        Codec::Vp9 => vp9(payload).unwrap_or_default(),
        Codec::H264 => h264(payload).unwrap_or_default(),
        Codec::Av1 => av1(payload, ext.dependency.as_deref()).unwrap_or_default(),
    }
}

/// Reads bytes from the front and remembers how far it came.
struct Reader<'a> {
    bytes: &'a [u8],
    at: u8,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(usize::from(self.at))?;
        self.at = self.at.checked_add(1)?;
        Some(byte)
    }

    /// A picture id of 7 or, if its first bit says so, 15 bits: (id, wide, where it lies).
    fn picture_id(&mut self) -> Option<(u16, bool, u8)> {
        let offset = self.at;
        let first = self.byte()?;
        if first & 0x80 == 0 {
            return Some((u16::from(first), false, offset));
        }
        Some((u16::from_be_bytes([first & 0x7F, self.byte()?]), true, offset))
    }
}

fn numbers(picture: Option<(u16, bool, u8)>, tl0: Option<(u8, u8)>) -> Numbers {
    match picture {
        Some((id, wide, offset)) => Numbers::Picture { id, wide, offset, tl0 },
        None => Numbers::None,
    }
}

/// RFC 7741 §4.2.
fn vp8(payload: &[u8]) -> Option<FrameInfo> {
    let mut reader = Reader { bytes: payload, at: 0 };
    let first = reader.byte()?;
    let (mut picture, mut tl0, mut temporal, mut sync) = (None, None, 0, false);
    if first & 0x80 != 0 {
        let has = reader.byte()?;
        if has & 0x80 != 0 {
            picture = Some(reader.picture_id()?);
        }
        if has & 0x40 != 0 {
            let offset = reader.at;
            tl0 = Some((reader.byte()?, offset));
        }
        if has & 0x30 != 0 {
            let layers = reader.byte()?;
            if has & 0x20 != 0 {
                (temporal, sync) = (layers >> 6, layers & 0x20 != 0);
            }
        }
    }
    // S set and PID zero: the first partition begins, and with it the frame's own header (RFC 7741 §4.3).
    let starts_frame = first & 0x10 != 0 && first & 0x07 == 0;
    // Its lowest bit is zero for a keyframe.
    let starts_keyframe = starts_frame && reader.byte().is_some_and(|header| header & 1 == 0);
    // That a packet goes on with a keyframe it does not say: by then the first has been seen, or is asked for again.
    let entry = match () {
        () if starts_keyframe => Entry::Anew,
        () if sync && temporal > 0 => Entry::Sync,
        () => Entry::None,
    };
    let cuts = if picture.is_some() { Cuts::from(0, temporal) } else { Cuts::ALL };
    Some(FrameInfo {
        starts_keyframe,
        starts_frame,
        temporal,
        cuts,
        entry,
        numbers: numbers(picture, tl0),
        ..FrameInfo::default()
    })
}

/// RFC 9628 §4.2.
fn vp9(payload: &[u8]) -> Option<FrameInfo> {
    let mut reader = Reader { bytes: payload, at: 0 };
    let first = reader.byte()?;
    let [has_picture, predicted, has_layers, flexible, begins, ends_frame] =
        [0x80, 0x40, 0x20, 0x10, 0x08, 0x04].map(|bit| first & bit != 0);
    let picture = if has_picture { Some(reader.picture_id()?) } else { None };
    let (mut temporal, mut spatial, mut above, mut tl0) = (0, 0, false, None);
    if has_layers {
        let layers = reader.byte()?;
        (temporal, spatial, above) = (layers >> 5, layers >> 1 & 0x07, layers & 0x10 != 0);
        if !flexible {
            let offset = reader.at;
            tl0 = Some((reader.byte()?, offset));
        }
    }
    // All spatial layers of a picture share its number; the picture begins with the lowest.
    let starts_frame = begins && spatial == 0;
    let starts_keyframe = starts_frame && !predicted;
    let over = begins && !predicted && spatial > 0;
    let entry = match () {
        () if starts_keyframe => Entry::Anew,
        () if above || over => Entry::Picture { above, over },
        () => Entry::None,
    };
    // A lower layer goes along even where the higher ones don't build on it (Z): then a smaller picture is there at once when the
    // path gets worse, without a keyframe that would make it worse still.
    let cuts = if picture.is_some() { Cuts::from(spatial, temporal) } else { Cuts::ALL };
    let numbers = numbers(picture, tl0);
    Some(FrameInfo { starts_keyframe, starts_frame, ends_frame, spatial, temporal, cuts, entry, numbers })
}

/// NAL unit types of RFC 6184 and H.264 table 7-1.
mod nal {
    pub(super) const SLICE: u8 = 1;
    pub(super) const IDR: u8 = 5;
    pub(super) const SPS: u8 = 7;
    pub(super) const DELIMITER: u8 = 9;
    pub(super) const STAP_A: u8 = 24;
    pub(super) const FU_A: u8 = 28;
}

/// RFC 6184 §5. A keyframe starts at its sequence parameter set: an IDR picture cannot be decoded without it, and
/// WebRTC senders repeat the set in front of each. Starting at the IDR itself would lose the set.
fn h264(payload: &[u8]) -> Option<FrameInfo> {
    let (&first, rest) = payload.split_first()?;
    let mut info = FrameInfo::default();
    match first & 0x1F {
        nal::STAP_A => {
            let mut units = rest;
            while let Some((length, tail)) = units.split_first_chunk() {
                let Some((unit, tail)) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length))) else { break };
                if let Some((&header, body)) = unit.split_first() {
                    nal_unit(&mut info, header & 0x1F, body);
                }
                units = tail;
            }
        }
        nal::FU_A => {
            let (&fragment, body) = rest.split_first()?;
            if fragment & 0x80 != 0 {
                nal_unit(&mut info, fragment & 0x1F, body);
            }
        }
        kind => nal_unit(&mut info, kind, rest),
    }
    Some(info)
}

/// Notes what one NAL unit, or the beginning of one, says.
fn nal_unit(info: &mut FrameInfo, kind: u8, body: &[u8]) {
    match kind {
        nal::SPS => {
            info.starts_keyframe = true;
            info.starts_frame = true;
        }
        nal::DELIMITER => info.starts_frame = true,
        // The slice header opens with first_mb_in_slice as Exp-Golomb: a set bit is zero, the picture's first slice.
        nal::SLICE | nal::IDR => info.starts_frame |= body.first().is_some_and(|byte| byte & 0x80 != 0),
        _ => {}
    }
}

/// The AV1 payload format: §4.4 for the aggregation header, appendix A for the dependency descriptor.
fn av1(payload: &[u8], descriptor: Option<&[u8]>) -> Option<FrameInfo> {
    let (&aggregation, rest) = payload.split_first()?;
    let [continues, sequence_starts] = [0x80, 0x08].map(|bit| aggregation & bit != 0);
    // With W = 1 the only element has no length in front; an extension's length is never in the way of its first byte.
    let first = if aggregation >> 4 & 0x03 == 1 { rest } else { skip_leb128(rest).unwrap_or_default() };
    let temporal = match first {
        // obu_header() with obu_extension_flag set: temporal_id is the top of the next byte.
        [header, extension, ..] if !continues && header & 0x04 != 0 => extension >> 5,
        _ => 0,
    };
    let Some(descriptor) = descriptor.and_then(<[u8]>::split_first_chunk::<3>) else {
        return Some(FrameInfo {
            starts_keyframe: sequence_starts,
            entry: if sequence_starts { Entry::Anew } else { Entry::None },
            starts_frame: !continues,
            temporal,
            ..FrameInfo::default()
        });
    };
    let (&[flags, high, low], extended) = descriptor;
    let starts_frame = flags & 0x80 != 0;
    // template_dependency_structure_present_flag; the structure comes with the first packet of a keyframe only.
    let structure = extended.first().is_some_and(|byte| byte & 0x80 != 0);
    Some(FrameInfo {
        starts_keyframe: starts_frame && structure,
        entry: if starts_frame && structure { Entry::Anew } else { Entry::None },
        starts_frame,
        ends_frame: flags & 0x40 != 0,
        temporal,
        numbers: Numbers::DependencyFrame { number: u16::from_be_bytes([high, low]) },
        ..FrameInfo::default()
    })
}

/// What follows a LEB128 number, which is at most eight bytes long.
fn skip_leb128(bytes: &[u8]) -> Option<&[u8]> {
    let last = bytes.iter().take(8).position(|byte| byte & 0x80 == 0)?;
    bytes.get(last + 1..)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn info(codec: Codec, payload: &[u8]) -> FrameInfo {
        frame_info(codec, payload, &Extensions::default())
    }

    #[test]
    fn vp8_keyframe_with_all_numbers() {
        let keyframe = [0x90, 0xE0, 0x92, 0x34, 0x07, 0x60, 0x10, 0, 0, 0x9D, 0x01, 0x2A];
        let expected = Numbers::Picture { id: 0x1234, wide: true, offset: 2, tl0: Some((7, 4)) };
        let found = info(Codec::Vp8, &keyframe);
        assert_eq!((found.starts_keyframe, found.starts_frame, found.temporal), (true, true, 1));
        assert_eq!((found.numbers, found.entry), (expected, Entry::Anew));
    }

    #[test]
    fn vp8_says_where_a_temporal_layer_begins() {
        let frame = |layers: u8| info(Codec::Vp8, &[0x90, 0xE0, 0x92, 0x34, 0x07, layers, 0x11]);
        let (sync, on) = (frame(0xA0), frame(0x80));
        assert_eq!((sync.temporal, sync.entry, sync.cuts), (2, Entry::Sync, Cuts::from(0, 2)));
        assert_eq!((on.temporal, on.entry, on.cuts), (2, Entry::None, Cuts::from(0, 2)));
        assert_eq!((frame(0x20).entry, frame(0x20).cuts), (Entry::None, Cuts::ALL));
        // Without a picture id no frame could be left out without a gap.
        assert_eq!(info(Codec::Vp8, &[0x90, 0x20, 0x80, 0x11]).cuts, Cuts::ALL);
    }

    #[test]
    fn vp8_delta_frames_and_continuations_start_no_keyframe() {
        let delta = info(Codec::Vp8, &[0x90, 0x80, 0x05, 0x11]);
        assert!(!delta.starts_keyframe && delta.starts_frame);
        assert_eq!(delta.numbers, Numbers::Picture { id: 5, wide: false, offset: 2, tl0: None });
        let continuation = info(Codec::Vp8, &[0x80, 0x80, 0x05, 0x10]);
        assert!(!continuation.starts_keyframe && !continuation.starts_frame);
        let second_partition = info(Codec::Vp8, &[0x91, 0x80, 0x05, 0x10]);
        assert!(!second_partition.starts_keyframe && !second_partition.starts_frame);
        assert!(info(Codec::Vp8, &[0x10, 0x10]).starts_keyframe);
    }

    #[test]
    fn vp9_in_both_modes() {
        let key = info(Codec::Vp9, &[0xA8, 0x81, 0x02, 0x20, 0x09, 0]);
        assert!(key.starts_keyframe && key.starts_frame);
        assert_eq!(key.temporal, 1);
        assert_eq!(key.numbers, Numbers::Picture { id: 0x0102, wide: true, offset: 1, tl0: Some((9, 4)) });
        let flexible = info(Codec::Vp9, &[0xF8, 0x03, 0x40, 0x02, 0]);
        assert!(!flexible.starts_keyframe && flexible.starts_frame);
        assert_eq!(flexible.temporal, 2);
        assert_eq!(flexible.numbers, Numbers::Picture { id: 3, wide: false, offset: 1, tl0: None });
        assert_eq!((flexible.entry, flexible.cuts), (Entry::None, Cuts::from(0, 2)));
        let above = info(Codec::Vp9, &[0xF8, 0x03, 0x50, 0x02, 0]);
        assert_eq!(above.entry, Entry::Picture { above: true, over: false });
        let over = info(Codec::Vp9, &[0xBC, 0x03, 0x02, 0x02, 0]);
        assert_eq!((over.spatial, over.entry, over.cuts), (1, Entry::Picture { above: false, over: true }, Cuts::from(1, 0)));
        assert!(over.ends_frame && !over.starts_frame && !over.starts_keyframe);
        // The second spatial layer of a keyframe is not where a receiver may start.
        assert!(!info(Codec::Vp9, &[0xA8, 0x01, 0x02, 0x00]).starts_keyframe);
        assert!(!info(Codec::Vp9, &[0x80, 0x01]).starts_keyframe);
    }

    #[test]
    fn h264_keyframes_start_at_their_parameter_set() {
        assert!(info(Codec::H264, &[0x67, 0x42]).starts_keyframe);
        assert!(info(Codec::H264, &[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68]).starts_keyframe);
        assert!(info(Codec::H264, &[0x78, 0, 1, 0x09, 0, 2, 0x67, 0x42]).starts_keyframe);
        let idr = info(Codec::H264, &[0x7C, 0x85, 0x88]);
        assert!(!idr.starts_keyframe && idr.starts_frame);
        assert!(!info(Codec::H264, &[0x7C, 0x45, 0x88]).starts_frame);
        assert!(!info(Codec::H264, &[0x61, 0x40]).starts_frame);
        assert!(info(Codec::H264, &[0x61, 0x9A]).starts_frame);
        assert!(info(Codec::H264, &[0x7C, 0x87, 0x42]).starts_keyframe);
    }

    #[test]
    fn av1_by_aggregation_header_or_descriptor() {
        assert!(info(Codec::Av1, &[0x18, 0x0A]).starts_keyframe);
        assert!(!info(Codec::Av1, &[0x10, 0x32]).starts_keyframe);
        assert!(!info(Codec::Av1, &[0x90, 0x32]).starts_frame);
        assert_eq!(info(Codec::Av1, &[0x10, 0x34, 0x40]).temporal, 2);
        assert_eq!(info(Codec::Av1, &[0x20, 0x81, 0x01, 0x34, 0x20]).temporal, 1);

        let with = |descriptor: &'static [u8]| {
            let ext = Extensions { dependency: Some(Bytes::from_static(descriptor)), ..Extensions::default() };
            frame_info(Codec::Av1, &[0x10, 0x32], &ext)
        };
        let key = with(&[0x80, 0x01, 0x02, 0x80, 0x00]);
        assert!(key.starts_keyframe && key.starts_frame);
        assert_eq!(key.numbers, Numbers::DependencyFrame { number: 0x0102 });
        assert!(!with(&[0xC1, 0x01, 0x03]).starts_keyframe);
        assert!(!with(&[0x41, 0x01, 0x03, 0x80]).starts_keyframe);
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(payload in prop::collection::vec(any::<u8>(), 0..64), dd in prop::collection::vec(any::<u8>(), 0..8)) {
            let ext = Extensions { dependency: Some(Bytes::from(dd)), ..Extensions::default() };
            for codec in Codec::ALL {
                if let Numbers::Picture { offset, wide, tl0, .. } = frame_info(codec, &payload, &ext).numbers {
                    prop_assert!(usize::from(offset) + usize::from(wide) < payload.len());
                    prop_assert!(tl0.is_none_or(|(_, offset)| usize::from(offset) < payload.len()));
                }
            }
        }
    }
}
