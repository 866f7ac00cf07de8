//! Who speaks, from audio levels. Owns the smoothing of one track's loudness; ranking and telling people is signaling's.
//!
//! The cheap form of Volfin and Cohen's idea: loudness counts above a noise floor that follows the track's own quiet, rises
//! within a syllable and falls over a sentence's pause, so that a cough does not win and a breath does not lose.

use std::time::{Duration, Instant};

use crate::rtp::AudioLevel;

/// How long the loudness takes to rise by most of a step.
const ATTACK: Duration = Duration::from_millis(80);
/// How long it takes to fall. Longer keeps a speaker over pauses; shorter changes speakers faster.
const DECAY: Duration = Duration::from_millis(600);
/// How fast the noise floor creeps up, per second of sound above it.
const FLOOR_RISE: f32 = 2.0;
/// Loudness above the floor below which a track counts as silent.
const AUDIBLE: f32 = 10.0;

/// One track's loudness. Units are those of RFC 6464 turned around: 0 is silence, 127 the loudest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loudness {
    smooth: f32,
    floor: f32,
    last: Option<Instant>,
}

impl Loudness {
    /// Takes in one packet's level.
    pub fn record(&mut self, now: Instant, level: AudioLevel) {
        let loud = f32::from(127 - level.dbov.min(127));
        let Some(last) = self.last.replace(now) else {
            self.floor = loud.min(40.0);
            return;
        };
        let passed = now.saturating_duration_since(last).min(DECAY).as_secs_f32();
        self.floor = if loud < self.floor { loud } else { (self.floor + FLOOR_RISE * passed).min(60.0) };
        let above = (loud - self.floor).max(0.0);
        let time = if above > self.smooth { ATTACK } else { DECAY };
        self.smooth += (above - self.smooth) * (passed / time.as_secs_f32()).min(1.0);
    }

    /// How loud it is now, or `None` when silent. Packets that stopped coming (DTX, mute) are silence.
    pub fn level(&self, now: Instant) -> Option<u8> {
        let idle = now.saturating_duration_since(self.last?).as_secs_f32();
        let level = self.smooth * (1.0 - (idle / DECAY.as_secs_f32())).max(0.0);
        (level >= AUDIBLE).then(|| level.min(127.0) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(loudness: &mut Loudness, start: Instant, from_ms: u64, to_ms: u64, dbov: u8) -> Instant {
        let mut now = start;
        for ms in (from_ms..to_ms).step_by(20) {
            now = start + Duration::from_millis(ms);
            loudness.record(now, AudioLevel { voice: true, dbov });
        }
        now
    }

    #[test]
    fn speech_is_heard_within_a_syllable_and_kept_over_a_pause() {
        let start = Instant::now();
        let mut loudness = Loudness::default();
        feed(&mut loudness, start, 0, 1_000, 90);
        let now = feed(&mut loudness, start, 1_000, 1_200, 30);
        assert!(loudness.level(now).is_some_and(|level| level > 40), "{loudness:?}");
        let now = feed(&mut loudness, start, 1_200, 1_500, 90);
        assert!(loudness.level(now).is_some(), "a short pause keeps the speaker");
        let now = feed(&mut loudness, start, 1_500, 4_000, 90);
        assert_eq!(loudness.level(now), None);
    }

    #[test]
    fn a_steady_hum_is_not_speech() {
        let start = Instant::now();
        let mut loudness = Loudness::default();
        let now = feed(&mut loudness, start, 0, 30_000, 70);
        assert_eq!(loudness.level(now), None);
    }

    #[test]
    fn silence_by_dtx_ends_it() {
        let start = Instant::now();
        let mut loudness = Loudness::default();
        feed(&mut loudness, start, 0, 1_000, 90);
        let now = feed(&mut loudness, start, 1_000, 2_000, 20);
        assert!(loudness.level(now).is_some());
        assert_eq!(loudness.level(now + DECAY), None);
    }
}
