//! Who speaks, from audio levels (RFC 6464). Owns what one track's levels say of its voice, and who of several is dominant;
//! who is forwarded is `policy::loudest`'s, telling people is signaling's.
//!
//! The idea is Volfin and Cohen's ("Dominant speaker identification for multipoint videoconferencing", 2012): a voice is judged by
//! how much of a moment, of a syllable or two and of a phrase was active, not by its peak. They compare likelihoods of the three
//! counts; a likelihood grows with its count, so comparing counts decides alike and can be read.
//!
//! - **Immediate**: loudness above the track's own noise. The noise is the least level of the last second or so (minimum statistics, after
//!   Martin, 2001): a fan has no pauses and becomes its own floor, speech has some and never does.
//! - **Short**: active frames of the last 560 ms, in bursts. A cough is one burst, and a keyboard makes none that lasts; two syllables
//!   are a voice after some 300 ms, one long vowel after 400.
//! - **Long**: active frames of the last 1.28 s. Of two who talk over each other the one who began stays dominant until
//!   the other has clearly said more.

use std::time::{Duration, Instant};

use crate::rtp::AudioLevel;
use crate::rtp::sequence::distance32;

/// What levels are counted in.
const FRAME: Duration = Duration::from_millis(20);

/// Loudness above the noise from which a frame is active, in decibels. Raising it misses soft voices, lowering it takes breath for speech.
const ACTIVE: f32 = 12.0;

/// Active frames of the last [`SHORT`] that make a voice: in one burst, which a cough is too, or in several. Raising them shows
/// speakers later, lowering the first lets coughs win, lowering the second keyboards.
const VOICE: (u32, u32) = (20, 12);

/// Active frames of the last [`SHORT`] below which a voice ends.
const ENDS: u32 = 6;
const SHORT: u32 = 28;
const SHORT_MASK: u64 = (1 << SHORT) - 1;

/// A gap up to here is a long or a lost packet, which was like its neighbours; a longer one was silence (DTX).
const LONGEST_PACKET: u32 = 6;

/// How long the loudness takes to rise by most of a step.
const ATTACK: f32 = 0.08;
/// How long it takes to fall. Longer shows a speaker's ring over pauses.
const DECAY: f32 = 0.6;
/// Loudness above the noise below which a track counts as silent.
const AUDIBLE: u8 = 10;

/// The floor never goes below: digital silence would make any breath loud. In the units of levels, 127 being the loudest.
const QUIET: u8 = 30;

/// What is taken for the level of a room that was not heard.
const UNHEARD: u8 = 50;

/// Frames of one part of the floor's window, and how many parts it has. A longer window takes a fan that is switched on for a voice
/// for as long; a shorter one takes a sentence without a pause for noise.
const PART: u8 = 10;
const PARTS: usize = 6;

/// One track's voice. Levels are those of RFC 6464 turned around: 0 is silence, 127 the loudest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activity {
    floor: Floor,
    /// Which frames were active; the newest is the lowest bit.
    frames: u64,
    /// Smoothed, above the floor.
    level: f32,
    /// When the newest packet came, and its RTP timestamp.
    last: Option<(Instant, u32)>,
    chosen: bool,
    voice: bool,
}

/// What a packet changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// It is active, and so was most of the last 80 ms: the beginning of speech, or of a cough.
    pub speaks: bool,
    /// It has spoken for so long that it is no cough.
    pub voice: bool,
    /// It was none with the packet before.
    pub begins: bool,
}

/// What is known of a track's voice at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Decibels above the track's own noise, smoothed; 0 to 127.
    pub level: u8,
    /// It is a voice: it has lasted longer than a cough, and is not over.
    pub voice: bool,
    /// Active frames of the last 28.
    pub short: u8,
    /// Of the last 64.
    pub long: u8,
    /// Frames since the last active one, up to 64.
    pub silent: u8,
}

impl Activity {
    /// One of a track that is passed on to here while it speaks only: what was before a beginning was quiet, though not heard.
    pub fn chosen() -> Self {
        Self { chosen: true, ..Self::default() }
    }

    /// Takes in one packet's level. `clock` is what its timestamps count, in hertz.
    pub fn record(&mut self, now: Instant, timestamp: u32, clock: u32, level: AudioLevel) -> Heard {
        let loud = 127 - level.dbov.min(127);
        let per_frame = (clock / 50).max(1);
        let passed = self.last.map(|(_, before)| distance32(before, timestamp));
        let frames = match passed {
            None => 1,
            // A packet that was overtaken says nothing new.
            Some(ticks) if ticks <= 0 && ticks.unsigned_abs() < clock.saturating_mul(10) => return Heard::default(),
            // The clock was set anew.
            Some(ticks) if ticks <= 0 => 1,
            Some(ticks) => (ticks.unsigned_abs() / per_frame).clamp(1, u64::BITS),
        };
        self.last = Some((now, timestamp));
        let (silent, like_this) = if frames <= LONGEST_PACKET { (0, frames) } else { (frames - 1, 1) };
        self.frames = self.frames.checked_shl(silent).unwrap_or(0);
        self.level *= (1.0 - silent as f32 * FRAME.as_secs_f32() / DECAY).max(0.0);
        if self.chosen && (silent > 0 || passed.is_none()) {
            self.floor.take(UNHEARD);
        }
        for _ in 0..like_this {
            let above = (f32::from(loud) - f32::from(self.floor.take(loud))).max(0.0);
            self.frames = self.frames << 1 | u64::from(above >= ACTIVE);
            let time = if above > self.level { ATTACK } else { DECAY };
            self.level += (above - self.level) * (FRAME.as_secs_f32() / time);
        }
        let voice = self.is_voice();
        let begins = voice && !std::mem::replace(&mut self.voice, voice);
        self.voice = voice;
        let speaks = self.frames & 1 == 1 && (self.frames & 0b1111).count_ones() >= 3;
        Heard { speaks, voice, begins }
    }

    /// Whether it is a voice now, having been one or not.
    fn is_voice(&self) -> bool {
        let recent = self.frames & SHORT_MASK;
        let active = recent.count_ones();
        // Where three active frames in a row end: a burst begins there, looking back.
        let bursts = recent & recent >> 1 & recent >> 2;
        let syllables = (bursts & !(bursts >> 1)).count_ones();
        (self.voice && active >= ENDS) || active >= VOICE.0 || (active >= VOICE.1 && syllables >= 2)
    }

    /// Loudness above the noise, smoothed, as of the last packet.
    pub fn loudness(&self) -> u8 {
        self.level.clamp(0.0, 127.0) as u8
    }

    /// How it is now, or `None` when silent for long. Packets that stopped coming (DTX, mute) are silence.
    pub fn reading(&self, now: Instant) -> Option<Reading> {
        let idle = now.saturating_duration_since(self.last?.0);
        // The next packet may still be on its way.
        let missed = (idle.as_millis() / FRAME.as_millis()).saturating_sub(u128::from(LONGEST_PACKET)) as u32;
        let level = self.level * (1.0 - idle.as_secs_f32() / DECAY).clamp(0.0, 1.0);
        let reading = Reading { level: level as u8, ..self.reading_of(self.frames.checked_shl(missed).unwrap_or(0)) };
        (reading.level >= AUDIBLE || reading.long > 0).then_some(reading)
    }

    fn reading_of(&self, frames: u64) -> Reading {
        let short = (frames & SHORT_MASK).count_ones();
        let voice = self.voice && short >= ENDS;
        let short = short as u8;
        Reading { level: self.loudness(), voice, short, long: frames.count_ones() as u8, silent: frames.trailing_zeros() as u8 }
    }
}

/// The least level of the last parts of a window.
#[derive(Clone, Copy, Debug)]
struct Floor {
    parts: [u8; PARTS],
    newest: usize,
    frames: u8,
}

impl Default for Floor {
    fn default() -> Self {
        Self { parts: [u8::MAX; PARTS], newest: 0, frames: 0 }
    }
}

impl Floor {
    /// The floor after one more frame.
    fn take(&mut self, loud: u8) -> u8 {
        if self.frames == PART {
            self.frames = 0;
            self.newest = (self.newest + 1) % PARTS;
            if let Some(part) = self.parts.get_mut(self.newest) {
                *part = u8::MAX;
            }
        }
        self.frames += 1;
        if let Some(part) = self.parts.get_mut(self.newest) {
            *part = loud.min(*part);
        }
        self.parts.iter().copied().min().unwrap_or(QUIET).max(QUIET)
    }
}

/// The dominant speaker of a room. `K` names a voice.
///
/// Somebody else takes over who is a voice, if the dominant one has fallen silent, or, when both talk on, if the other has said clearly
/// more over the long window. In silence nobody takes over: the last one stays.
#[derive(Clone, Copy, Debug)]
pub struct Dominant<K>(Option<K>);

impl<K> Default for Dominant<K> {
    fn default() -> Self {
        Self(None)
    }
}

/// The dominant one has fallen silent after so many frames without an active one. Shorter has pauses for breath change the speaker,
/// longer shows the next one later.
const PAUSE: u8 = 15;

/// Active frames of the long window by which one who talks over another must be ahead.
const MORE: u8 = 20;

impl<K: Copy + Ord> Dominant<K> {
    /// Who is dominant now.
    pub fn get(&self) -> Option<K> {
        self.0
    }

    /// Decides anew; true when that changed something. Who is not among the voices is silent.
    pub fn decide(&mut self, voices: impl Iterator<Item = (K, Reading)>) -> bool {
        let silence = Reading { silent: u8::MAX, ..Reading::default() };
        let mut own = self.0.map(|_| silence);
        let mut best: Option<(K, Reading)> = None;
        for (key, reading) in voices {
            if self.0 == Some(key) {
                own = Some(reading);
            } else if reading.voice && reading.silent < PAUSE {
                let rank = |(key, of): (K, Reading)| (of.long, of.level, key);
                if best.is_none_or(|best| rank(best) < rank((key, reading))) {
                    best = Some((key, reading));
                }
            }
        }
        let Some((challenger, reading)) = best else { return false };
        let takes_over = own.is_none_or(|own| {
            let fell_silent = own.silent >= PAUSE;
            let says_less = own.long + MORE <= reading.long && own.short < reading.short;
            fell_silent || says_less
        });
        if takes_over {
            self.0 = Some(challenger);
        }
        takes_over
    }

    /// Somebody is gone or muted: whoever speaks next is dominant.
    pub fn forget(&mut self, key: K) {
        if self.0 == Some(key) {
            self.0 = None;
        }
    }
}

#[cfg(test)]
#[path = "speaker_tests.rs"]
mod tests;
