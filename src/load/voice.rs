//! Who talks when, and what a microphone sends then: Opus frames of 20 ms, loud in syllables, quiet in between, with the level in the
//! header. Pure; `publisher` sends the packets.

use std::time::Duration;

use super::noise::Noise;

/// RTP clock of Opus, in Hz.
pub const CLOCK: u32 = 48_000;
/// From frame to frame.
pub const FRAME: Duration = Duration::from_millis(20);
/// Frames without sound that are still sent with DTX: one in 400 ms, as libopus does.
const DTX_EVERY: u64 = 20;
/// Payload of a frame of speech at some 32 kbps, of an open microphone's noise without DTX, and of a DTX frame, in bytes.
const SPEECH: f64 = 80.0;
const NOISE: f64 = 40.0;
const DTX: u8 = 3;
/// A syllable with the pause after it, in frames, and the part of it that sounds.
const SYLLABLE: u64 = 12;
const SOUNDS: u64 = 9;
/// After so many syllables comes a breath of one.
const PHRASE: u64 = 8;

/// Who of a room's microphones talks when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    /// Microphones of the room.
    pub of: u32,
    /// How many talk at a time.
    pub talkers: u32,
    /// How long each talks until the next do.
    pub turn: Duration,
}

impl Turns {
    /// Whether the microphone `index` talks at this time since the start.
    pub fn talks(&self, index: u32, since: Duration) -> bool {
        if self.talkers >= self.of {
            return true;
        }
        let turn = since.as_millis().checked_div(self.turn.as_millis()).unwrap_or(0) as u64;
        let first = (turn * u64::from(self.talkers)) % u64::from(self.of.max(1));
        let behind = (u64::from(index) + u64::from(self.of) - first) % u64::from(self.of.max(1));
        behind < u64::from(self.talkers)
    }
}

/// One frame to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of payload.
    pub size: u8,
    /// As in RFC 6464.
    pub voice: bool,
    pub dbov: u8,
    /// The first after silence (RFC 3551 §4.1).
    pub marker: bool,
}

/// One microphone.
#[derive(Clone, Debug)]
pub struct Microphone {
    noise: Noise,
    dtx: bool,
    frames: u64,
    silent: bool,
}

impl Microphone {
    /// `dtx`: silence is left out, but for a frame now and then.
    pub const fn new(dtx: bool, noise: Noise) -> Self {
        Self { noise, dtx, frames: 0, silent: true }
    }

    /// The next 20 ms. `None` where nothing is sent.
    pub fn frame(&mut self, talks: bool) -> Option<Frame> {
        let at = self.frames;
        self.frames += 1;
        let syllable = at / SYLLABLE % (PHRASE + 1);
        if talks && syllable < PHRASE && at % SYLLABLE < SOUNDS {
            let size = (SPEECH * self.noise.about(0.25)) as u8;
            let dbov = (35.0 * self.noise.about(0.15)) as u8;
            return Some(Frame { size, voice: true, dbov, marker: std::mem::replace(&mut self.silent, false) });
        }
        // Within a phrase a pause is no silence to the codec: it goes on for some frames.
        if self.dtx && !talks {
            self.silent = true;
            return at.is_multiple_of(DTX_EVERY).then_some(Frame { size: DTX, voice: false, dbov: 127, marker: false });
        }
        let size = (NOISE * self.noise.about(0.1)) as u8;
        Some(Frame { size, voice: false, dbov: (82.0 * self.noise.about(0.05)) as u8, marker: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_hundred_talks_and_then_the_next() {
        let turns = Turns { of: 100, talkers: 1, turn: Duration::from_secs(10) };
        for second in [0, 9, 10, 995, 1_000, 12_345] {
            let talking: Vec<u32> = (0..100).filter(|&index| turns.talks(index, Duration::from_secs(second))).collect();
            assert_eq!(talking, [(second / 10 % 100) as u32]);
        }
        let three = Turns { talkers: 3, ..turns };
        for second in 0..2_000 {
            assert_eq!((0..100).filter(|&index| three.talks(index, Duration::from_secs(second))).count(), 3);
        }
    }

    #[test]
    fn all_or_none_may_talk_and_a_turn_may_last_for_ever() {
        let turns = |of, talkers| Turns { of, talkers, turn: Duration::from_secs(1) };
        assert!(turns(2, 5).talks(1, Duration::ZERO) && turns(1, 1).talks(0, Duration::from_secs(9)));
        assert!(!turns(3, 0).talks(0, Duration::ZERO));
        let ever = Turns { of: 3, talkers: 1, turn: Duration::ZERO };
        assert!(ever.talks(0, Duration::from_secs(99)) && !ever.talks(1, Duration::from_secs(99)));
    }

    #[test]
    fn speech_is_loud_in_syllables_and_dtx_sends_hardly_anything() {
        let mut talking = Microphone::new(true, Noise::new(1));
        let frames: Vec<Frame> = (0..500).filter_map(|_| talking.frame(true)).collect();
        assert_eq!(frames.len(), 500, "a pause between syllables is no silence");
        let loud = frames.iter().filter(|frame| frame.voice && frame.dbov < 50).count();
        assert!((300..400).contains(&loud), "{loud}");
        assert!(frames[0].marker && frames[1..].iter().all(|frame| !frame.marker));

        let mut silent = Microphone::new(true, Noise::new(1));
        let sent: Vec<Option<Frame>> = (0..500).map(|_| silent.frame(false)).collect();
        assert_eq!(sent.iter().flatten().count(), 25);
        let mut open = Microphone::new(false, Noise::new(1));
        assert!((0..500).all(|_| open.frame(false).is_some_and(|frame| !frame.voice && frame.dbov > 70)));
    }
}
