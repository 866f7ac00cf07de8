//! RTP header extensions in their two forms (RFC 8285): found in a packet and told apart by their negotiated ids, and
//! written for one receiver. `rtp::header` finds the block and frames it; which id means what is negotiated by signaling.

use bytes::Bytes;

use super::clock::NtpTime;
use super::packet::{AudioLevel, Extensions};

/// The profile field of a block of one-byte elements.
pub(super) const ONE_BYTE: u16 = 0xBEDE;
/// The profile field of a block of two-byte elements, without its four application bits.
const TWO_BYTE: u16 = 0x1000;

/// The negotiated ids of header extensions, 1-255; `None` was not negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    pub mid: Option<u8>,
    pub rid: Option<u8>,
    pub repaired_rid: Option<u8>,
    pub abs_send_time: Option<u8>,
    pub transport_cc: Option<u8>,
    pub audio_level: Option<u8>,
    pub orientation: Option<u8>,
    pub playout_delay: Option<u8>,
    pub dependency: Option<u8>,
    pub capture_time: Option<u8>,
    /// `a=extmap-allow-mixed` (RFC 8285 §6): two-byte headers may be sent.
    pub allow_mixed: bool,
}

/// The extensions that belong to the hop a packet came over; they end here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop<'a> {
    pub mid: Option<&'a [u8]>,
    /// RFC 8852.
    pub rid: Option<&'a [u8]>,
    /// On an RTX packet: the rid of the stream it repairs.
    pub repaired_rid: Option<&'a [u8]>,
    pub transport_cc: Option<u16>,
    /// 24 bits, 6.18 fixed point seconds.
    pub abs_send_time: Option<u32>,
}

/// The extensions of the hop a packet leaves by. What was not negotiated there is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopOut<'a> {
    pub mid: Option<&'a [u8]>,
    /// A publisher's: servers send one layer at a time and name none.
    pub rid: Option<&'a [u8]>,
    pub repaired_rid: Option<&'a [u8]>,
    pub transport_cc: Option<u16>,
    pub abs_send_time: Option<u32>,
    /// The dependency descriptor's new frame number. Without one the descriptor is left out: Chromium sends it beside VP8 and
    /// H.264 too, believes it more than the payload, and drops every keyframe whose number is behind that of the source before.
    pub dependency_frame: Option<u16>,
}

/// The elements of an extension block, whichever form it has. Ends at the first malformed one.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    OneByte,
    TwoByte,
    /// Some other profile (RFC 3550 §5.3.1): nothing in it is ours.
    Opaque,
}

impl<'a> Elements<'a> {
    /// Of a block's body and its profile field.
    pub const fn new(profile: u16, body: &'a [u8]) -> Self {
        let form = match profile {
            ONE_BYTE => Form::OneByte,
            // RFC 8285 §4.3: the low four bits are the application's.
            profile if profile & 0xFFF0 == TWO_BYTE => Form::TwoByte,
            _ => Form::Opaque,
        };
        Self { rest: body, form }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            if first == 0 {
                self.rest = rest;
                continue;
            }
            let (id, len, rest) = match self.form {
                // RFC 8285 §4.2: id 15 ends the block.
                Form::OneByte if first >> 4 == 15 => return None,
                Form::OneByte => (first >> 4, usize::from(first & 0x0F) + 1, rest),
                Form::TwoByte => {
                    let (&len, rest) = rest.split_first()?;
                    (first, usize::from(len), rest)
                }
                Form::Opaque => return None,
            };
            let (data, rest) = rest.split_at_checked(len)?;
            self.rest = rest;
            // An element with the local id 0 but a length is to be skipped in the one-byte form.
            if id != 0 {
                return Some((id, data));
            }
        }
    }
}

/// Tells the elements apart. `packet` is the buffer they lie in: what must live longer shares it.
pub(super) fn collect<'a>(elements: Elements<'a>, packet: &'a Bytes, ids: &ExtensionIds) -> (Extensions, Hop<'a>) {
    let (mut ext, mut hop) = (Extensions::default(), Hop::default());
    for (id, data) in elements {
        let id = Some(id);
        if id == ids.transport_cc {
            hop.transport_cc = data.first_chunk().map(|&bytes| u16::from_be_bytes(bytes));
        } else if id == ids.abs_send_time {
            hop.abs_send_time = data.first_chunk().map(|&[a, b, c]| u32::from_be_bytes([0, a, b, c]));
        } else if id == ids.mid {
            hop.mid = Some(data);
        } else if id == ids.rid {
            hop.rid = Some(data);
        } else if id == ids.repaired_rid {
            hop.repaired_rid = Some(data);
        } else if id == ids.audio_level {
            ext.audio_level = data.first().map(|&byte| AudioLevel { voice: byte & 0x80 != 0, dbov: byte & 0x7F });
        } else if id == ids.orientation {
            ext.orientation = data.first().copied();
        } else if id == ids.playout_delay {
            ext.playout_delay = data.first_chunk().copied();
        } else if id == ids.capture_time {
            // What may follow is the offset to the sender's clock, which ends with the sender.
            ext.capture_time = data.first_chunk().map(|&bytes| NtpTime(u64::from_be_bytes(bytes)));
        } else if id == ids.dependency && data.len() >= 3 {
            ext.dependency = Some(packet.slice_ref(data));
        }
    }
    (ext, hop)
}

/// Appends a whole extension block for one receiver and says whether there was anything to write; the caller then sets
/// the header's X bit. Elements that need the two-byte form are left out where the receiver did not allow it.
pub(super) fn write(buf: &mut Vec<u8>, ids: &ExtensionIds, ext: &Extensions, hop: &HopOut<'_>) -> bool {
    let start = buf.len();
    let mut block = Block { buf, two_byte: ids.allow_mixed && needs_two_byte(ids, ext, hop) };
    let profile = if block.two_byte { TWO_BYTE } else { ONE_BYTE };
    let [high, low] = profile.to_be_bytes();
    block.buf.extend_from_slice(&[high, low, 0, 0]);

    if let (Some(id), Some(seq)) = (ids.transport_cc, hop.transport_cc) {
        block.put(id, &seq.to_be_bytes());
    }
    if let (Some(id), Some(time)) = (ids.abs_send_time, hop.abs_send_time) {
        let [_, a, b, c] = time.to_be_bytes();
        block.put(id, &[a, b, c]);
    }
    if let (Some(id), Some(mid)) = (ids.mid, hop.mid) {
        block.put(id, mid);
    }
    if let (Some(id), Some(rid)) = (ids.rid, hop.rid) {
        block.put(id, rid);
    }
    if let (Some(id), Some(rid)) = (ids.repaired_rid, hop.repaired_rid) {
        block.put(id, rid);
    }
    if let (Some(id), Some(level)) = (ids.audio_level, ext.audio_level) {
        block.put(id, &[u8::from(level.voice) << 7 | level.dbov & 0x7F]);
    }
    if let (Some(id), Some(orientation)) = (ids.orientation, ext.orientation) {
        block.put(id, &[orientation]);
    }
    if let (Some(id), Some(delay)) = (ids.playout_delay, ext.playout_delay) {
        block.put(id, &delay);
    }
    if let (Some(id), Some(time)) = (ids.capture_time, ext.capture_time) {
        block.put(id, &time.0.to_be_bytes());
    }
    if let (Some(id), Some(descriptor), Some(frame)) = (ids.dependency, &ext.dependency, hop.dependency_frame) {
        block.put_descriptor(id, descriptor, frame);
    }

    let body = buf.len() - start - 4;
    if body == 0 {
        buf.truncate(start);
        return false;
    }
    let words = body.div_ceil(4);
    buf.resize(start + 4 + words * 4, 0);
    if let Some(length) = buf.get_mut(start + 2..start + 4) {
        length.copy_from_slice(&(words as u16).to_be_bytes());
    }
    true
}

/// Whether any element that would be written has an id or a length that the one-byte form cannot say (RFC 8285 §4.2).
fn needs_two_byte(ids: &ExtensionIds, ext: &Extensions, hop: &HopOut<'_>) -> bool {
    let big = |id: Option<u8>, present: bool| present && id.is_some_and(|id| id > 14);
    let descriptor = ids.dependency.and(hop.dependency_frame).and(ext.dependency.as_ref());
    descriptor.is_some_and(|descriptor| descriptor.len() > 16)
        || big(ids.dependency, descriptor.is_some())
        || big(ids.transport_cc, hop.transport_cc.is_some())
        || big(ids.abs_send_time, hop.abs_send_time.is_some())
        || big(ids.mid, hop.mid.is_some())
        || big(ids.audio_level, ext.audio_level.is_some())
        || big(ids.orientation, ext.orientation.is_some())
        || big(ids.playout_delay, ext.playout_delay.is_some())
        || big(ids.capture_time, ext.capture_time.is_some())
        || big(ids.rid, hop.rid.is_some())
        || big(ids.repaired_rid, hop.repaired_rid.is_some())
}

/// A block being written.
struct Block<'b> {
    buf: &'b mut Vec<u8>,
    two_byte: bool,
}

impl Block<'_> {
    /// Appends one element; false if this form cannot carry it.
    fn put(&mut self, id: u8, data: &[u8]) -> bool {
        let framed = self.frame(id, data.len());
        if framed {
            self.buf.extend_from_slice(data);
        }
        framed
    }

    fn put_descriptor(&mut self, id: u8, descriptor: &[u8], frame: u16) {
        let at = self.buf.len() + if self.two_byte { 3 } else { 2 };
        if self.put(id, descriptor)
            && let Some(number) = self.buf.get_mut(at..at + 2)
        {
            number.copy_from_slice(&frame.to_be_bytes());
        }
    }

    fn frame(&mut self, id: u8, len: usize) -> bool {
        match (self.two_byte, len) {
            (true, 0..=255) => self.buf.extend_from_slice(&[id, len as u8]),
            (false, 1..=16) if id <= 14 => self.buf.push(id << 4 | (len as u8 - 1)),
            _ => return false,
        }
        true
    }
}
