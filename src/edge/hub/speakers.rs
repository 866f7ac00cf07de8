//! Who speaks in a room, from what shards hear of its microphones: the dominant one first. A new voice is looked at at once; how loud
//! everybody is, at most every [`INTERVAL`]: a list that flickers is worse than one that lags. Who is dominant and what a voice is,
//! `policy::speaker` says. Pure; `edge::hub` feeds it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::edge::message::Speaker;
use crate::id::{MemberId, TrackId};
use crate::policy::speaker::{Dominant, Reading};

/// Loudness changes are told at most this often.
pub(super) const INTERVAL: Duration = Duration::from_millis(300);

/// A speaker stays one for this long in a pause between words.
const HOLD: Duration = Duration::from_millis(800);

/// A track that was not heard of for this long is silent.
const STALE: Duration = Duration::from_millis(700);

/// A frame was active this many frames ago: it speaks on.
const SPEAKS_ON: u8 = 10;

/// How much louder or softer a speaker becomes before that alone is told.
const STEP: u8 = 10;

/// Speakers beyond are not listed: no screen shows more.
const LISTED: usize = 16;

/// One room's voices.
#[derive(Debug, Default)]
pub(super) struct Speakers {
    voices: BTreeMap<TrackId, Voice>,
    dominant: Dominant<TrackId>,
    told: Vec<Speaker>,
}

#[derive(Debug)]
struct Voice {
    member: MemberId,
    reading: Reading,
    heard: Instant,
    /// When it last spoke.
    spoke: Option<Instant>,
    /// It is listed: more than a cough, and not long over.
    active: bool,
}

impl Speakers {
    /// A shard's word on one track; true when somebody new may have to be told now.
    pub(super) fn heard(&mut self, now: Instant, track: TrackId, member: MemberId, reading: Reading) -> bool {
        let new = || Voice { member, reading, heard: now, spoke: None, active: false };
        let voice = self.voices.entry(track).or_insert_with(new);
        (voice.reading, voice.heard) = (reading, now);
        if reading.silent < SPEAKS_ON && (reading.voice || voice.active) {
            voice.spoke = Some(now);
        }
        reading.voice && (!voice.active || self.dominant.get().is_none())
    }

    /// The track is muted: silent at once.
    pub(super) fn silence(&mut self, track: TrackId) {
        self.dominant.forget(track);
        if let Some(voice) = self.voices.get_mut(&track) {
            (voice.reading, voice.active) = (Reading::default(), false);
        }
    }

    pub(super) fn remove(&mut self, track: TrackId) {
        self.dominant.forget(track);
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

    /// Who speaks, or spoke last.
    pub(super) fn dominant(&self) -> Option<MemberId> {
        self.dominant.get().and_then(|track| self.voices.get(&track)).map(|voice| voice.member)
    }

    /// Decides anew; the list, if it is to be told.
    pub(super) fn decide(&mut self, now: Instant) -> Option<Vec<Speaker>> {
        let mut loudest: BTreeMap<MemberId, u8> = BTreeMap::new();
        for voice in self.voices.values_mut() {
            if now.saturating_duration_since(voice.heard) > STALE {
                voice.reading = Reading { silent: u8::MAX, ..Reading::default() };
            }
            let held = voice.spoke.is_some_and(|at| now.saturating_duration_since(at) <= HOLD);
            voice.active = voice.reading.voice || (voice.active && held);
            if voice.active {
                let level = loudest.entry(voice.member).or_default();
                *level = (*level).max(voice.reading.level);
            }
        }
        self.dominant.decide(self.voices.iter().map(|(track, voice)| (*track, voice.reading)));
        let dominant = self.dominant();
        let mut list: Vec<Speaker> = loudest.into_iter().map(|(pid, level)| Speaker { pid, level }).collect();
        // Two that are about as loud keep their order.
        let rank = |speaker: &Speaker| self.told.iter().position(|told| told.pid == speaker.pid).unwrap_or(usize::MAX);
        list.sort_by_key(|speaker| (Some(speaker.pid) != dominant, Reverse(speaker.level / STEP), rank(speaker), speaker.pid));
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

/// Somebody in the middle of a sentence.
#[cfg(test)]
pub(super) fn talking(level: u8) -> Reading {
    Reading { level, voice: true, short: 20, long: 45, silent: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSED: Reading = Reading { level: 12, voice: false, short: 4, long: 30, silent: 20 };
    const NOISE: Reading = Reading { level: 40, voice: false, short: 12, long: 20, silent: 0 };

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
            match tick {
                0..8 | 13..20 => {
                    let news = speakers.heard(now, TrackId(1), MemberId(1), talking(60));
                    assert_eq!(news, lists.is_empty(), "only who is new must not wait");
                    lists.extend(pids(news.then(|| speakers.decide(now)).flatten()));
                }
                8..13 => assert!(!speakers.heard(now, TrackId(1), MemberId(1), PAUSED)),
                _ => {}
            }
            assert!(!speakers.heard(now, TrackId(2), MemberId(2), NOISE));
            if tick % 3 == 2 {
                lists.extend(pids(speakers.decide(now)));
            }
        }
        lists.dedup();
        assert_eq!(lists, vec![vec![1], vec![]]);
        assert!(!speakers.restless());
    }

    #[test]
    fn the_dominant_one_comes_first_however_loud_others_are() {
        let start = Instant::now();
        let mut speakers = Speakers::default();
        let mut hear = |now, a, b| {
            speakers.heard(now, TrackId(1), MemberId(1), a);
            speakers.heard(now, TrackId(2), MemberId(2), b);
            pids(speakers.decide(now))
        };
        assert_eq!(hear(start, talking(40), PAUSED), Some(vec![1]));
        assert_eq!(hear(start + INTERVAL, talking(40), talking(90)), Some(vec![1, 2]));
        assert_eq!(hear(start + 2 * INTERVAL, talking(42), talking(88)), None, "hardly louder, hardly softer");
        assert_eq!(hear(start + 3 * INTERVAL, PAUSED, talking(88)), Some(vec![2, 1]));
    }

    #[test]
    fn a_track_that_is_muted_or_unheard_of_falls_silent() {
        let mut now = Instant::now();
        let mut speakers = Speakers::default();
        for track in [1, 2] {
            speakers.heard(now, TrackId(track), MemberId(track), talking(110));
        }
        assert_eq!(pids(speakers.decide(now)).map(|list| list.len()), Some(2));
        speakers.silence(TrackId(1));
        assert_eq!(pids(speakers.decide(now)), Some(vec![2]));
        assert!(speakers.spoke(TrackId(1)).is_some(), "it did speak, a moment ago");
        now += Duration::from_secs(2);
        assert_eq!(pids(speakers.decide(now)), Some(vec![]));
    }
}
