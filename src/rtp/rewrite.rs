//! The numbering of one outgoing stream: one SSRC to one subscriber, which lives on while the track behind it and the
//! layer of the track change. Owns what keeps the subscriber's decoder content: sequence numbers without gaps apart from
//! real loss, timestamps and picture numbers that go on, no packet twice. Peers call it for every packet and subscriber.
//!
//! The output is a row of **segments**, each a stretch of one source (a layer of a track) mapped by constant differences.
//! A switch opens one; so does a packet dropped on purpose, to close its gap. Late packets still find the segment they
//! belong to, and a NACK finds its way back through the same segments to the source's history, so nothing is kept per packet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::packet::{Numbers, Packet};
use super::resend::Resends;
use super::scalable::Cut;
use super::sequence::{Window, distance16, distance32};
use super::{Codec, sequence};

/// How many segments are remembered. Raising it answers NACKs that reach further back over many drops.
const SEGMENTS: usize = 64;
/// A larger jump of the source is taken for its restart, not for loss that the subscriber should wait for.
const MAX_JUMP: u64 = sequence::MAX_DROPOUT as u64;
/// How far two layers' sender reports may disagree with the time that passed before they are taken for nonsense.
const MAX_MAPPING_ERROR: Duration = Duration::from_secs(5);

/// How a new segment's first timestamp follows from the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamping {
    /// Adding `delta` to a timestamp of the new source gives the one of the source before, of the same moment. Known when
    /// both have sender reports; zero when a source goes on after a pause.
    Mapped { delta: u32 },
    /// The clocks have nothing in common: go on by the time that passed between the packets' arrivals.
    Elapsed,
}

/// A packet's place in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewritten {
    pub seq: u16,
    /// Extended; its low 16 bits are `seq`.
    pub ext_seq: u64,
    pub timestamp: u32,
    /// Last packet of what the receiver gets of a picture.
    pub marker: bool,
    /// It only holds the place of a packet that was dropped: nothing of the payload is sent.
    pub empty: bool,
    /// The packet's numbers with their new values, at their old places.
    pub numbers: Numbers,
}

impl Rewritten {
    /// The frame number to write into the dependency descriptor ([`super::HopOut::dependency_frame`]).
    pub const fn dependency_frame(&self) -> Option<u16> {
        match self.numbers {
            Numbers::DependencyFrame { number } => Some(number),
            Numbers::None | Numbers::Picture { .. } => None,
        }
    }
}

/// Which packet of which source went out under a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent<K> {
    pub source: K,
    /// In the source's numbering.
    pub seq: u64,
    /// In the output's.
    pub ext_seq: u64,
}

/// The numbering of one outgoing SSRC. `K` names a source: a layer of a track.
#[derive(Debug)]
pub struct Rewriter<K> {
    segments: VecDeque<Segment<K>>,
    sent: Window<32>,
    /// Of those, the ones that went out empty.
    filled: Window<32>,
    resends: Option<Box<Resends>>,
    /// The highest sequence number given out; one below the first before that.
    highest: u64,
    /// The packet with that number; `None` before the first.
    last: Option<Last>,
    first_timestamp: u32,
    picture: Option<u16>,
    tl0: Option<u8>,
    frame: Option<u16>,
    /// The source's id of the last picture that was dropped on purpose.
    skipped_picture: Option<u16>,
}

/// A stretch of one source. It reaches to where the next one begins in the output.
#[derive(Clone, Copy, Debug)]
struct Segment<K> {
    source: K,
    /// The source's sequence number that becomes `first`.
    source_first: u64,
    first: u64,
    /// What to add to the source's numbers, wrapping.
    timestamp: u32,
    picture: u16,
    frame: u16,
    tl0: u8,
    /// The highest spatial layer that is sent: a picture ends with it.
    top: u8,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    timestamp: u32,
    arrival: Instant,
}

impl<K: Copy + Eq> Rewriter<K> {
    /// The two beginnings should be random (RFC 3550 §5.1).
    pub fn new(first_seq: u16, first_timestamp: u32) -> Self {
        Self {
            segments: VecDeque::new(),
            sent: Window::default(),
            filled: Window::default(),
            resends: None,
            highest: sequence::Unwrapper::default().peek(first_seq) - 1,
            last: None,
            first_timestamp,
            picture: None,
            tl0: None,
            frame: None,
            skipped_picture: None,
        }
    }

    /// From `packet` on, the output is `source`: for video its first packet is one that starts a keyframe. It becomes the
    /// number after the highest given out; what is still missing of the source before stays missing. `packet` itself goes
    /// through [`Self::forward`] like those after it; if some of those have come already, replay them from the history.
    pub fn start(&mut self, source: K, packet: &Packet, timestamping: Timestamping) {
        let first = self.highest + 1;
        let timestamp = self.first_timestamp_of(packet, timestamping);
        let (mut picture, mut tl0, mut frame) = (0, 0, 0);
        match packet.frame.numbers {
            Numbers::None => {}
            Numbers::Picture { id, tl0: index, .. } => {
                picture = self.picture.map_or(0, |last| last.wrapping_add(1).wrapping_sub(id));
                if let (Some((index, _)), Some(last)) = (index, self.tl0) {
                    tl0 = last.wrapping_add(1).wrapping_sub(index);
                }
            }
            Numbers::DependencyFrame { number } => {
                frame = self.frame.map_or(0, |last| last.wrapping_add(1).wrapping_sub(number));
            }
        }
        // Segments that sent nothing give their numbers back.
        while self.segments.back().is_some_and(|segment| segment.first >= first) {
            self.segments.pop_back();
        }
        self.skipped_picture = None;
        let timestamp = timestamp.wrapping_sub(packet.timestamp);
        self.open(Segment { source, source_first: packet.seq, first, timestamp, picture, frame, tl0, top: Cut::ALL.spatial });
    }

    /// From `packet` on, spatial layers above `top` are not sent: the marker moves to the last packet of that one.
    pub fn cut_above(&mut self, source: K, packet: &Packet, top: u8) {
        let Some(newest) = self.segments.back().copied() else { return };
        if newest.top == top || newest.source != source || packet.seq < newest.source_first {
            return;
        }
        let first = newest.first + (packet.seq - newest.source_first);
        let next = Segment { source_first: packet.seq, first, top, ..newest };
        match self.segments.back_mut() {
            Some(newest) if newest.first == first => *newest = next,
            _ => self.open(next),
        }
    }

    /// The packet's place in the output, given once. `None` if it is not to be sent: of a source that is not, or was not
    /// then, the output; from before its segment; sent already; or too late to tell.
    pub fn forward(&mut self, source: K, packet: &Packet) -> Option<Rewritten> {
        self.follow_jump(source, packet.seq);
        let (segment, ext_seq) = self.locate(source, packet.seq)?;
        let rewritten = segment.rewrite(packet, ext_seq);
        if !self.sent.insert(ext_seq) {
            return None;
        }
        if ext_seq > self.highest {
            self.highest = ext_seq;
            self.last = Some(Last { timestamp: rewritten.timestamp, arrival: packet.arrival });
            match rewritten.numbers {
                Numbers::None => {}
                Numbers::Picture { id, tl0, .. } => {
                    self.picture = Some(id);
                    self.tl0 = tl0.map(|(index, _)| index).or(self.tl0);
                }
                Numbers::DependencyFrame { number } => self.frame = Some(number),
            }
        }
        Some(rewritten)
    }

    /// `packet` is dropped on purpose: those after it move up, so that the subscriber sees no gap. When that is too late,
    /// because later ones are gone already, its place comes back, once: an empty packet goes there, lest the subscriber wait for
    /// it.
    pub fn skip(&mut self, source: K, packet: &Packet) -> Option<Rewritten> {
        self.follow_jump(source, packet.seq);
        let (segment, ext_seq) = self.locate(source, packet.seq)?;
        let segment = *segment;
        let newest = self.segments.back_mut()?;
        if ext_seq <= self.highest || newest.first != segment.first {
            let fill = Rewritten { numbers: Numbers::None, marker: false, empty: true, ..segment.rewrite(packet, ext_seq) };
            if !self.sent.insert(ext_seq) {
                return None;
            }
            self.filled.insert(ext_seq);
            if ext_seq > self.highest {
                self.highest = ext_seq;
                self.last = Some(Last { timestamp: fill.timestamp, arrival: packet.arrival });
            }
            return Some(fill);
        }
        let mut next = Segment { source_first: packet.seq + 1, first: ext_seq, ..segment };
        if let (Codec::Vp8, Numbers::Picture { id, wide, .. }) = (packet.codec, packet.frame.numbers) {
            // A VP8 receiver waits for missing picture ids, so theirs is a gap to close too, once per picture. VP9 and the
            // dependency descriptor refer to other pictures by the difference of their numbers, which has to stay.
            let begun = self.picture == Some(picture_id(id, wide, segment.picture));
            if !begun && self.skipped_picture != Some(id) {
                self.skipped_picture = Some(id);
                next.picture = segment.picture.wrapping_sub(1);
            }
        }
        if newest.source_first == packet.seq {
            *newest = next;
        } else {
            self.open(next);
        }
        None
    }

    /// Which packet went out as `seq`, if it did and is not long ago: the way from a NACK to the source's history.
    pub fn lookup(&self, seq: u16) -> Option<Sent<K>> {
        // What has a place but never came has no copy to resend; it will be forwarded if it still comes.
        self.place(seq).filter(|place| self.sent.contains(place.ext_seq) && !self.filled.contains(place.ext_seq))
    }

    /// Which packet of the source would have gone out as `seq`, and has not come.
    pub fn missing(&self, seq: u16) -> Option<Sent<K>> {
        let never_came = |place: &Sent<K>| {
            place.ext_seq < self.highest && !self.sent.contains(place.ext_seq) && !self.filled.contains(place.ext_seq)
        };
        self.place(seq).filter(never_came)
    }

    fn place(&self, seq: u16) -> Option<Sent<K>> {
        let ext_seq = self.highest.checked_add_signed(i64::from(distance16(self.highest as u16, seq)))?;
        let segment = self.segment_at(ext_seq)?;
        Some(Sent { source: segment.source, seq: segment.source_first + (ext_seq - segment.first), ext_seq })
    }

    /// [`Self::lookup`] for a retransmission that will be made now: not more than a few of each packet, and not before
    /// the one before could have arrived.
    pub fn retransmit(&mut self, seq: u16, now: Instant, rtt: Duration) -> Option<Sent<K>> {
        let sent = self.lookup(seq)?;
        self.resends.get_or_insert_default().allow(sent.ext_seq, now, rtt).then_some(sent)
    }

    /// The place in the output of a packet that was found by [`Self::lookup`], the same as the first time.
    pub fn again(&self, sent: &Sent<K>, packet: &Packet) -> Option<Rewritten> {
        let segment = self.segment_at(sent.ext_seq)?;
        Some(segment.rewrite(packet, sent.ext_seq))
    }

    /// The source that is the output now, and what to add to its timestamps: what a sender report is made from.
    pub fn current(&self) -> Option<(K, u32)> {
        self.segments.back().map(|segment| (segment.source, segment.timestamp))
    }

    /// The highest sequence number given out, extended; `None` before the first packet.
    pub fn highest(&self) -> Option<u64> {
        self.last.map(|_| self.highest)
    }

    fn open(&mut self, segment: Segment<K>) {
        if self.segments.len() == SEGMENTS {
            self.segments.pop_front();
        }
        self.segments.push_back(segment);
    }

    /// The output timestamp of a segment's first packet. Always after the last one: two pictures with one timestamp would
    /// be taken for one.
    fn first_timestamp_of(&self, packet: &Packet, timestamping: Timestamping) -> u32 {
        let Some(last) = self.last else { return self.first_timestamp };
        let clock = packet.codec.clock_rate();
        let ticks = |time: Duration| (time.as_micros() as u64).wrapping_mul(u64::from(clock)) / 1_000_000;
        let elapsed = ticks(packet.arrival.saturating_duration_since(last.arrival)) as u32;
        if let (Timestamping::Mapped { delta }, Some(segment)) = (timestamping, self.segments.back()) {
            let mapped = packet.timestamp.wrapping_add(delta).wrapping_add(segment.timestamp);
            let error = distance32(last.timestamp.wrapping_add(elapsed), mapped);
            if u64::from(error.unsigned_abs()) <= ticks(MAX_MAPPING_ERROR) {
                let newer = sequence::newer32(mapped, last.timestamp);
                return if newer { mapped } else { last.timestamp.wrapping_add(1) };
            }
        }
        // The last packet had some length too: a usual audio frame's.
        last.timestamp.wrapping_add(elapsed.max(clock / 50))
    }

    /// A source that began a new numbering is not loss: goes on without a gap.
    fn follow_jump(&mut self, source: K, seq: u64) {
        let highest = self.highest;
        if let Some(segment) = self.segments.back().copied().filter(|segment| segment.source == source) {
            // Where the source would be if nothing were missing.
            let next = segment.source_first + (highest + 1).saturating_sub(segment.first);
            if seq > next + MAX_JUMP {
                while self.segments.back().is_some_and(|segment| segment.first > highest) {
                    self.segments.pop_back();
                }
                self.open(Segment { source_first: seq, first: highest + 1, ..segment });
            }
        }
    }

    /// The segment a source's packet belongs to, and its place in the output.
    fn locate(&self, source: K, seq: u64) -> Option<(&Segment<K>, u64)> {
        let mut end = u64::MAX;
        for segment in self.segments.iter().rev() {
            if segment.source == source && seq >= segment.source_first {
                let place = segment.first.saturating_add(seq - segment.source_first);
                return (place < end).then_some((segment, place));
            }
            end = segment.first;
        }
        None
    }

    fn segment_at(&self, ext_seq: u64) -> Option<&Segment<K>> {
        self.segments.iter().rev().find(|segment| segment.first <= ext_seq)
    }
}

impl<K> Segment<K> {
    const fn rewrite(&self, packet: &Packet, ext_seq: u64) -> Rewritten {
        let numbers = match packet.frame.numbers {
            Numbers::None => Numbers::None,
            Numbers::Picture { id, wide, offset, tl0 } => {
                let tl0 = match tl0 {
                    Some((index, at)) => Some((index.wrapping_add(self.tl0), at)),
                    None => None,
                };
                Numbers::Picture { id: picture_id(id, wide, self.picture), wide, offset, tl0 }
            }
            Numbers::DependencyFrame { number } => Numbers::DependencyFrame { number: number.wrapping_add(self.frame) },
        };
        Rewritten {
            seq: ext_seq as u16,
            ext_seq,
            timestamp: packet.timestamp.wrapping_add(self.timestamp),
            marker: packet.marker || (packet.frame.ends_frame && packet.frame.spatial == self.top),
            empty: false,
            numbers,
        }
    }
}

const fn picture_id(id: u16, wide: bool, delta: u16) -> u16 {
    id.wrapping_add(delta) & if wide { 0x7FFF } else { 0x7F }
}

/// Writes new picture numbers into a copy of the packet's payload. Numbers of the dependency descriptor are the header
/// writer's work.
pub fn apply_numbers(payload: &mut [u8], numbers: &Numbers) {
    let &Numbers::Picture { id, wide, offset, tl0 } = numbers else { return };
    let offset = usize::from(offset);
    match (wide, payload.get_mut(offset..)) {
        (true, Some([high, low, ..])) => [*high, *low] = (id | 0x8000).to_be_bytes(),
        (false, Some([only, ..])) => *only = id as u8 & 0x7F,
        _ => {}
    }
    if let Some((index, at)) = tl0
        && let Some(byte) = payload.get_mut(usize::from(at))
    {
        *byte = index;
    }
}

#[cfg(test)]
#[path = "rewrite_tests.rs"]
mod tests;
