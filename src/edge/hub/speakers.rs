//! Who speaks in a room, from the loudness of its audio tracks. Smoothed, with hysteresis, and told at most every
//! [`INTERVAL`]: a list that flickers is worse than one that lags. Pure; `edge::hub` feeds it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::edge::message::Speaker;
use crate::id::{MemberId, TrackId};

/// The list changes at most this often.
pub(super) const INTERVAL: Duration = Duration::from_millis(300);

/// Loudness from which a track counts as speech, in the shards' measure: decibels above the track's own noise, 0 to 127.
/// Below [`SILENT`] it no longer does. Raising them leaves out soft voices, lowering lets in keyboards.
const LOUD: f32 = 20.0;
const SILENT: f32 = 12.0;

/// A speaker stays one for this long in a pause between words.
const HOLD: Duration = Duration::from_millis(800);

/// A track that was not heard of for this long is silent.
const STALE: Duration = Duration::from_millis(700);

/// How much louder or softer a speaker becomes before that alone is told.
const STEP: u8 = 10;

/// Speakers beyond are not listed: no screen shows more.
const LISTED: usize = 16;

/// One room's voices.
#[derive(Debug, Default)]
pub(super) struct Speakers {
    voices: BTreeMap<TrackId, Voice>,
    told: Vec<Speaker>,
}

#[derive(Debug)]
struct Voice {
    member: MemberId,
    level: f32,
    heard: Instant,
    /// When it was last loud.
    spoke: Option<Instant>,
    active: bool,
}

impl Speakers {
    /// A shard's word on one track.
    pub(super) fn heard(&mut self, now: Instant, track: TrackId, member: MemberId, level: u8) {
        let level = f32::from(level.min(127));
        let voice = self.voices.entry(track).or_insert(Voice { member, level: 0.0, heard: now, spoke: None, active: false });
        // Quick to rise, slow to fall.
        let weight = if level > voice.level { 0.7 } else { 0.4 };
        voice.level += weight * (level - voice.level);
        voice.heard = now;
        if voice.level >= LOUD || (voice.active && voice.level >= SILENT) {
            voice.spoke = Some(now);
        }
    }

    /// The track is muted: silent at once.
    pub(super) fn silence(&mut self, track: TrackId) {
        if let Some(voice) = self.voices.get_mut(&track) {
            (voice.level, voice.active) = (0.0, false);
        }
    }

    pub(super) fn remove(&mut self, track: TrackId) {
        self.voices.remove(&track);
    }

    /// When a track last was speech.
    pub(super) fn spoke(&self, track: TrackId) -> Option<Instant> {
        self.voices.get(&track)?.spoke
    }

    /// The list as it was told last.
    pub(super) fn told(&self) -> &[Speaker] {
        &self.told
    }

    /// Decides anew; the list, if it is to be told.
    pub(super) fn decide(&mut self, now: Instant) -> Option<Vec<Speaker>> {
        let mut loudest: BTreeMap<MemberId, u8> = BTreeMap::new();
        for voice in self.voices.values_mut() {
            if now.saturating_duration_since(voice.heard) > STALE {
                voice.level = 0.0;
            }
            let held = voice.spoke.is_some_and(|at| now.saturating_duration_since(at) <= HOLD);
            voice.active = voice.level >= LOUD || (voice.active && held);
            if voice.active {
                let level = loudest.entry(voice.member).or_default();
                *level = (*level).max(voice.level as u8);
            }
        }
        let mut list: Vec<Speaker> = loudest.into_iter().map(|(pid, level)| Speaker { pid, level }).collect();
        // Two that are about as loud keep their order.
        let rank = |speaker: &Speaker| self.told.iter().position(|told| told.pid == speaker.pid).unwrap_or(usize::MAX);
        list.sort_by_key(|speaker| (Reverse(speaker.level / STEP), rank(speaker), speaker.pid));
        list.truncate(LISTED);
        let same = list.len() == self.told.len()
            && list.iter().zip(&self.told).all(|(a, b)| a.pid == b.pid && a.level.abs_diff(b.level) < STEP);
        if same {
            return None;
        }
        self.told.clone_from(&list);
        Some(list)
    }

    /// Whether time alone may change the list.
    pub(super) fn restless(&self) -> bool {
        !self.told.is_empty() || self.voices.values().any(|voice| voice.active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pids(list: Option<Vec<Speaker>>) -> Option<Vec<u64>> {
        list.map(|list| list.iter().map(|speaker| speaker.pid.0).collect())
    }

    #[test]
    fn a_voice_is_listed_stays_through_a_pause_and_ends() {
        let mut now = Instant::now();
        let mut speakers = Speakers::default();
        let mut lists = Vec::new();
        for tick in 0..60u32 {
            now += Duration::from_millis(100);
            // Two seconds of speech with a gap of 500 ms in it, then silence; another track is noise all along.
            let speech = tick < 20 && !(8..13).contains(&tick);
            speakers.heard(now, TrackId(1), MemberId(1), if speech { 60 } else { 0 });
            speakers.heard(now, TrackId(2), MemberId(2), 15);
            if tick % 3 == 2 {
                lists.extend(pids(speakers.decide(now)));
            }
        }
        lists.dedup();
        assert_eq!(lists, vec![vec![1], vec![]]);
        assert!(!speakers.restless());
    }

    #[test]
    fn the_loudest_comes_first_and_near_equals_do_not_swap() {
        let start = Instant::now();
        let mut speakers = Speakers::default();
        let mut hear = |now, a, b| {
            for _ in 0..20 {
                speakers.heard(now, TrackId(1), MemberId(1), a);
                speakers.heard(now, TrackId(2), MemberId(2), b);
            }
            pids(speakers.decide(now))
        };
        assert_eq!(hear(start, 88, 105), Some(vec![2, 1]));
        assert_eq!(hear(start + INTERVAL, 103, 102), Some(vec![2, 1]), "told for its level, in the same order");
        assert_eq!(hear(start + 2 * INTERVAL, 105, 101), None);
        assert_eq!(hear(start + 3 * INTERVAL, 120, 88), Some(vec![1, 2]));
    }

    #[test]
    fn a_track_that_is_muted_or_unheard_of_falls_silent() {
        let mut now = Instant::now();
        let mut speakers = Speakers::default();
        for track in [1, 2] {
            for _ in 0..10 {
                speakers.heard(now, TrackId(track), MemberId(track), 110);
            }
        }
        assert_eq!(pids(speakers.decide(now)), Some(vec![1, 2]));
        speakers.silence(TrackId(1));
        assert_eq!(pids(speakers.decide(now)), Some(vec![2]));
        assert!(speakers.spoke(TrackId(1)).is_some(), "it did speak, a moment ago");
        now += Duration::from_secs(2);
        assert_eq!(pids(speakers.decide(now)), Some(vec![]));
    }
}
