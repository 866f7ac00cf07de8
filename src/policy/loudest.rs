//! Which microphones of a room are forwarded, when there are more than anybody could listen to. Owns that choice for one place: the
//! publisher's shard and the shard of the links make it among what enters there, each shard with members among all that comes.
//! The router carries it out; what a voice is, `policy::speaker` says.
//!
//! There are N places (`media.loudest`) and [`SPARE`] more for those who spoke lately.
//!
//! - Who speaks takes a free place, or that of somebody who has been silent for [`RECENT`], with its first loud 60 ms: nobody
//!   misses those who were silent, so it does no harm that it may be a cough.
//! - When all places belong to people who spoke just now, only a voice takes one, that is more than a cough: of whoever paused
//!   longest, else of who is softest, if that is softer by 6 dB.
//! - A silent one keeps its place until another needs it, so that an answer is never cut. Places beyond N end after [`RECENT`].
//!
//! So with one person talking among a hundred, N streams flow at most, and N + 2 in a lively discussion. Where there are N microphones
//! or fewer the router doesn't ask, and all are forwarded.

use std::time::{Duration, Instant};

/// Places beyond those of the loudest, for the recently loud. More of them hear each other in a heated discussion; each costs
/// every receiver a stream.
pub const SPARE: usize = 2;

/// Who was silent for so long has spoken. Longer keeps the places of a discussion together, and more streams flowing; shorter
/// lets the next one in sooner.
pub const RECENT: Duration = Duration::from_secs(3);

/// A pause in which somebody's place may be taken by a voice, when all others spoke more lately.
const PAUSE: Duration = Duration::from_millis(400);

/// How much louder a voice must be than the softest of those who speak, in decibels. Less makes two of them take turns.
const MARGIN: u8 = 6;

/// The places of one room. `K` names a track.
#[derive(Clone, Debug)]
pub struct Loudest<K> {
    most: usize,
    places: Vec<Place<K>>,
}

#[derive(Clone, Copy, Debug)]
struct Place<K> {
    who: K,
    /// When it last spoke.
    spoke: Instant,
    loudness: u8,
}

/// What a packet said of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// It speaks, or coughs.
    pub speaks: bool,
    /// It is a voice.
    pub voice: bool,
    /// Decibels above its own noise.
    pub loudness: u8,
}

/// Who came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered<K> {
    /// Whose place it took.
    pub instead_of: Option<K>,
}

impl<K: Copy + PartialEq> Loudest<K> {
    /// No places taken; `loudest` is N, at least one.
    pub fn new(loudest: usize) -> Self {
        Self { most: loudest.max(1), places: Vec::new() }
    }

    /// How many microphones need no choice.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Whose places they are, those that came first being first.
    pub fn places(&self) -> impl Iterator<Item = K> {
        self.places.iter().map(|place| place.who)
    }

    /// Whether it has a place.
    pub fn has(&self, who: K) -> bool {
        self.places.iter().any(|place| place.who == who)
    }

    /// Takes in a packet of a track; says so if that gave it a place. Constant time for all but the one who comes in.
    pub fn heard(&mut self, now: Instant, who: K, sound: Sound) -> Option<Entered<K>> {
        if !sound.speaks {
            return None;
        }
        if let Some(place) = self.places.iter_mut().find(|place| place.who == who) {
            (place.spoke, place.loudness) = (now, sound.loudness);
            return None;
        }
        let place = Place { who, spoke: now, loudness: sound.loudness };
        if self.places.len() < self.most + SPARE {
            self.places.push(place);
            return Some(Entered { instead_of: None });
        }
        let silent = |place: &Place<K>| now.saturating_duration_since(place.spoke);
        let (at, longest) = self.places.iter().map(silent).enumerate().max_by_key(|&(_, silent)| silent)?;
        let at = if longest >= RECENT || (sound.voice && longest >= PAUSE) {
            at
        } else {
            let (softest, place) = self.places.iter().enumerate().min_by_key(|(_, place)| place.loudness)?;
            (sound.voice && place.loudness.saturating_add(MARGIN) <= sound.loudness).then_some(softest)?
        };
        let taken = std::mem::replace(self.places.get_mut(at)?, place);
        Some(Entered { instead_of: Some(taken.who) })
    }

    /// Takes a place away whose time is over: one beyond N, of whoever has been silent longest. Call it until there is none.
    pub fn expired(&mut self, now: Instant) -> Option<K> {
        if self.places.len() <= self.most {
            return None;
        }
        let at = self.places.iter().enumerate().min_by_key(|(_, place)| place.spoke).map(|(at, _)| at)?;
        let over = self.places.get(at).is_some_and(|place| now.saturating_duration_since(place.spoke) >= RECENT);
        over.then(|| self.places.remove(at).who)
    }

    /// It is muted or gone.
    pub fn remove(&mut self, who: K) -> bool {
        let before = self.places.len();
        self.places.retain(|place| place.who != who);
        self.places.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEAKS: Sound = Sound { speaks: true, voice: false, loudness: 40 };
    const VOICE: Sound = Sound { voice: true, ..SPEAKS };
    const SILENT: Sound = Sound { speaks: false, ..SPEAKS };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Five people who spoke one after the other, a tenth of a second apart.
    fn lively(start: Instant) -> Loudest<u32> {
        let mut loudest = Loudest::new(3);
        for who in 0..5 {
            assert_eq!(loudest.heard(start + ms(u64::from(who) * 100), who, VOICE), Some(Entered { instead_of: None }));
        }
        loudest
    }

    #[test]
    fn in_silence_nobody_has_a_place_and_who_speaks_gets_one_at_once() {
        let start = Instant::now();
        let mut loudest = Loudest::new(3);
        assert_eq!(loudest.heard(start, 1, SILENT), None);
        assert_eq!(loudest.places().count(), 0);
        assert_eq!(loudest.heard(start, 1, SPEAKS), Some(Entered { instead_of: None }));
        assert_eq!(loudest.heard(start + ms(20), 1, SPEAKS), None, "it came in once");
    }

    #[test]
    fn the_silent_keep_three_places_and_the_others_end() {
        let start = Instant::now();
        let mut loudest = lively(start);
        assert_eq!(loudest.expired(start + ms(2_900)), None, "all of them spoke lately");
        let now = start + ms(60_000);
        let mut gone = Vec::new();
        gone.extend(std::iter::from_fn(|| loudest.expired(now)));
        assert_eq!(gone, vec![0, 1]);
        assert_eq!(loudest.places().collect::<Vec<_>>(), vec![2, 3, 4]);
    }

    #[test]
    fn a_cough_takes_no_place_of_those_who_spoke_just_now() {
        let start = Instant::now();
        let mut loudest = lively(start);
        let cough = Sound { loudness: 80, ..SPEAKS };
        assert_eq!(loudest.heard(start + ms(2_000), 9, cough), None);
        assert_eq!(loudest.heard(start + RECENT, 9, cough), Some(Entered { instead_of: Some(0) }), "nobody misses this one");
    }

    #[test]
    fn a_voice_takes_the_place_of_who_paused_longest() {
        let start = Instant::now();
        let mut loudest = lively(start);
        assert_eq!(loudest.heard(start + ms(600), 9, VOICE), Some(Entered { instead_of: Some(0) }));
    }

    #[test]
    fn of_those_who_all_talk_the_softest_gives_way_to_one_who_is_clearly_louder() {
        let start = Instant::now();
        let mut loudest = lively(start);
        let now = start + ms(500);
        for who in 0..5 {
            loudest.heard(now, who, Sound { loudness: 40 + who as u8, ..VOICE });
        }
        assert_eq!(loudest.heard(now, 9, Sound { loudness: 45, ..VOICE }), None);
        assert_eq!(loudest.heard(now, 9, Sound { loudness: 46, ..VOICE }), Some(Entered { instead_of: Some(0) }));
        assert_eq!(loudest.heard(now, 0, VOICE), None, "they do not take turns");
    }

    #[test]
    fn who_is_muted_leaves_its_place() {
        let start = Instant::now();
        let mut loudest = lively(start);
        assert!(loudest.remove(2));
        assert!(!loudest.remove(2));
        assert_eq!(loudest.heard(start + ms(500), 9, SPEAKS), Some(Entered { instead_of: None }));
    }
}
