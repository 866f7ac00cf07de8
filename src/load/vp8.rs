//! Frames of a VP8 encoder that encodes nothing: sizes as a real one's (keyframes large and paid back later, three temporal layers),
//! and payload descriptors (RFC 7741) that forwarders can go by. Pure; `camera` sends the packets.

use std::time::Duration;

use super::noise::Noise;

/// RTP clock of video, in Hz.
pub const CLOCK: u32 = 90_000;
/// Payload of one packet at most, in bytes, descriptor included.
pub const MAX_PAYLOAD: usize = 1_150;
/// Descriptor with everything: flags, extension, 15-bit picture id, TL0PICIDX, temporal layer.
pub const DESCRIPTOR: usize = 6;
/// Of a keyframe: frame tag, start code, width, height (RFC 6386 §9.1).
const KEY_HEADER: usize = 10;
/// A keyframe is larger than the mean frame by this, as of a face before a quiet wall.
const KEYFRAME_SIZE: f64 = 6.0;
/// What a keyframe took beyond its share is paid back by the frames after it, by so much of their size at most.
const PAID_BACK: f64 = 0.4;
/// The base layer carries more of the picture's changes than those above it.
const SIZES: [f64; 4] = [1.6, 0.8, 0.8, 0.8];
/// Temporal layers of four frames, as libvpx has them with three layers.
const PATTERN: [(u8, bool); 4] = [(0, false), (2, true), (1, true), (2, false)];

/// The beginning of a packet's payload: descriptor and frame header. The rest is filler.
pub const MAX_HEAD: usize = DESCRIPTOR + KEY_HEADER;

/// One packet of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub head: [u8; MAX_HEAD],
    pub head_len: u8,
    /// Of the whole payload, head included.
    pub payload: u16,
    /// Last packet of its frame.
    pub marker: bool,
}

/// What one layer of a camera is encoded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub width: u16,
    pub height: u16,
    pub fps: u32,
    /// Bits per second of payload.
    pub rate: u64,
}

/// An encoder's state.
#[derive(Clone, Debug)]
pub struct Encoder {
    shape: Shape,
    noise: Noise,
    picture: u16,
    tl0: u8,
    /// Of the next frame, in [`PATTERN`].
    place: usize,
    /// Bytes that keyframes took ahead.
    debt: f64,
}

impl Encoder {
    pub const fn new(shape: Shape, mut noise: Noise) -> Self {
        let (picture, tl0) = (noise.bits() as u16 & 0x7FFF, noise.bits() as u8);
        Self { shape, noise, picture, tl0, place: 0, debt: 0.0 }
    }

    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Time from frame to frame.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.shape.fps.max(1)
    }

    /// The packets of the next frame, appended.
    pub fn frame(&mut self, keyframe: bool, out: &mut Vec<Piece>) {
        if keyframe {
            self.place = 0;
        }
        let (temporal, sync) = PATTERN.get(self.place).copied().unwrap_or_default();
        let share = SIZES.get(self.place).copied().unwrap_or(1.0);
        self.place = (self.place + 1) % PATTERN.len();
        self.picture = self.picture.wrapping_add(1) & 0x7FFF;
        if temporal == 0 {
            self.tl0 = self.tl0.wrapping_add(1);
        }
        let size = self.size(keyframe, share);
        let count = size.div_ceil(MAX_PAYLOAD - DESCRIPTOR);
        for index in 0..count {
            // As even as can be, as senders split them.
            let body = size / count + usize::from(index < size % count);
            let mut head = [0; MAX_HEAD];
            let descriptor = self.descriptor(index == 0, temporal, sync && !keyframe);
            let frame = if index == 0 { self.frame_header(keyframe) } else { ([0; KEY_HEADER], 0) };
            let bytes = descriptor.into_iter().chain(frame.0.into_iter().take(frame.1));
            head.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            let head_len = DESCRIPTOR + frame.1;
            let payload = (DESCRIPTOR + body).max(head_len);
            out.push(Piece { head, head_len: head_len as u8, payload: payload as u16, marker: index + 1 == count });
        }
    }

    /// In bytes.
    fn size(&mut self, keyframe: bool, share: f64) -> usize {
        let mean = self.shape.rate as f64 / 8.0 / f64::from(self.shape.fps.max(1));
        let size = if keyframe {
            let size = mean * KEYFRAME_SIZE;
            self.debt += size - mean;
            size
        } else {
            let wanted = mean * share * self.noise.about(0.15);
            let paid = (wanted * PAID_BACK).min(self.debt);
            self.debt -= paid;
            wanted - paid
        };
        (size as usize).max(KEY_HEADER)
    }

    /// X and S; I, L and T; a 15-bit picture id; TL0PICIDX; temporal layer with its Y (RFC 7741 §4.2).
    const fn descriptor(&self, first: bool, temporal: u8, sync: bool) -> [u8; DESCRIPTOR] {
        let [high, low] = (self.picture | 0x8000).to_be_bytes();
        [0x80 | if first { 0x10 } else { 0 }, 0xE0, high, low, self.tl0, temporal << 6 | if sync { 0x20 } else { 0 }]
    }

    /// The first partition's: its lowest bit is zero for a keyframe, which has start code and size after it.
    fn frame_header(&self, keyframe: bool) -> ([u8; KEY_HEADER], usize) {
        let [w0, w1] = self.shape.width.to_le_bytes();
        let [h0, h1] = self.shape.height.to_le_bytes();
        // Version 0, shown.
        let tag = 0x10 | u8::from(!keyframe);
        ([tag, 0x02, 0, 0x9D, 0x01, 0x2A, w0, w1, h0, h1], if keyframe { KEY_HEADER } else { 3 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::{Codec, Extensions, Numbers, descriptor::frame_info};

    const SHAPE: Shape = Shape { width: 1280, height: 720, fps: 25, rate: 1_500_000 };

    fn frames(count: usize, keyframe_at: &[usize]) -> Vec<Vec<Piece>> {
        let mut encoder = Encoder::new(SHAPE, Noise::new(7));
        let frame = |index| {
            let mut pieces = Vec::new();
            encoder.frame(keyframe_at.contains(&index), &mut pieces);
            pieces
        };
        (0..count).map(frame).collect()
    }

    #[test]
    fn a_forwarder_reads_what_it_needs() {
        let (mut before, mut tl0) = (None, None);
        for (index, pieces) in frames(200, &[0, 90]).iter().enumerate() {
            for (at, piece) in pieces.iter().enumerate() {
                let head = &piece.head[..usize::from(piece.head_len)];
                let info = frame_info(Codec::Vp8, head, &Extensions::default());
                assert_eq!(info.starts_frame, at == 0);
                assert_eq!(info.starts_keyframe, at == 0 && [0, 90].contains(&index));
                let since = index - if index >= 90 { 90 } else { 0 };
                assert_eq!(info.temporal, [0, 2, 1, 2][since % 4], "frame {index}");
                let Numbers::Picture { id, wide: true, tl0: Some((number, _)), .. } = info.numbers else { panic!() };
                if at == 0 {
                    assert!(before.is_none_or(|before: u16| id == before.wrapping_add(1) & 0x7FFF));
                    let steps = u8::from(info.temporal == 0);
                    assert!(tl0.is_none_or(|tl0: u8| number == tl0.wrapping_add(steps)));
                    (before, tl0) = (Some(id), Some(number));
                }
                assert_eq!(piece.marker, at + 1 == pieces.len());
                assert!(usize::from(piece.payload) <= MAX_PAYLOAD && piece.payload >= u16::from(piece.head_len));
            }
        }
    }

    #[test]
    fn the_rate_is_kept_whatever_keyframes_are_asked_for() {
        for keyframes in [&[0][..], &[0, 100, 200, 300], &[0, 10, 500]] {
            let bytes: usize = frames(1_000, keyframes).iter().flatten().map(|piece| usize::from(piece.payload)).sum();
            let rate = bytes as f64 * 8.0 / 40.0;
            assert!((0.93..1.1).contains(&(rate / SHAPE.rate as f64)), "{keyframes:?}: {rate}");
        }
    }

    #[test]
    fn a_keyframe_is_several_times_a_frame() {
        let all = frames(100, &[0]);
        let size = |frame: &Vec<Piece>| frame.iter().map(|piece| usize::from(piece.payload)).sum::<usize>();
        let mean = all.iter().map(size).sum::<usize>() / all.len();
        assert!((4 * mean..9 * mean).contains(&size(&all[0])), "{} beside {mean}", size(&all[0]));
    }
}
