//! Traces of levels as microphones give them, and what is made of them: who is heard when, and how often the dominant one
//! changes for nothing.

use super::*;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const CLOCK: u32 = 48_000;

/// What one microphone picks up, one frame after the other, in the units of levels (127 the loudest).
trait Sound: FnMut(u32) -> u8 {}
impl<F: FnMut(u32) -> u8> Sound for F {}

/// A quiet room.
fn room(rng: &mut SmallRng) -> u8 {
    40 + rng.random_range(0..6)
}

/// Speech: syllables of 120-260 ms with stops of 40-100 ms between them, phrases of 1-3 s with pauses of 200-700 ms.
fn speech(mut rng: SmallRng) -> impl Sound {
    let (mut syllable, mut stop, mut phrase) = (0u32, 0u32, rng.random_range(5..14));
    move |_| {
        if syllable == 0 && stop == 0 {
            syllable = rng.random_range(6..13);
            stop = rng.random_range(2..5);
            phrase -= 1;
            if phrase == 0 {
                phrase = rng.random_range(5..14);
                stop = rng.random_range(10..35);
            }
        }
        if syllable > 0 {
            syllable -= 1;
            return 75 + rng.random_range(0..20);
        }
        stop -= 1;
        room(&mut rng) + 5
    }
}

/// A cough of 240-380 ms now and then: loudest at its beginning.
fn coughs(mut rng: SmallRng) -> impl Sound {
    let (mut next, mut left) = (100u32, 0u32);
    move |at| {
        if at >= next {
            next = at + rng.random_range(100..300);
            left = rng.random_range(13..20);
        }
        left = left.saturating_sub(1);
        if left > 0 { (80 + 2 * left).min(115) as u8 } else { room(&mut rng) }
    }
}

/// Somebody typing: strokes of a frame or two, 4 to 10 a second.
fn keyboard(mut rng: SmallRng) -> impl Sound {
    let mut next = 0u32;
    move |at| {
        if at >= next {
            next = at + rng.random_range(5..13);
        }
        if at + 2 > next { 75 + rng.random_range(0..10) } else { room(&mut rng) }
    }
}

/// A fan.
fn hum(mut rng: SmallRng) -> impl Sound {
    move |_| 72 + rng.random_range(0..4)
}

fn silence(mut rng: SmallRng) -> impl Sound {
    move |_| room(&mut rng)
}

/// Microphones heard together.
struct Table {
    start: Instant,
    frame: u32,
    heard: Vec<Activity>,
    dominant: Dominant<usize>,
    /// Who was dominant from which frame on.
    changes: Vec<(u32, usize)>,
}

impl Table {
    fn new(seats: usize) -> Self {
        let heard = vec![Activity::default(); seats];
        Self { start: Instant::now(), frame: 0, heard, dominant: Dominant::default(), changes: Vec::new() }
    }

    /// Lets time pass for `ms`; decides every 100 ms, and when a voice begins.
    fn run(&mut self, ms: u32, sounds: &mut [Box<dyn FnMut(u32) -> u8>]) {
        for _ in 0..ms / 20 {
            self.frame += 1;
            let now = self.start + FRAME * self.frame;
            let mut begins = self.frame.is_multiple_of(5);
            for (activity, sound) in self.heard.iter_mut().zip(&mut *sounds) {
                let level = AudioLevel { voice: true, dbov: 127 - sound(self.frame) };
                begins |= activity.record(now, self.frame * 960, CLOCK, level).begins;
            }
            let voices = self.heard.iter().enumerate().filter_map(|(seat, activity)| Some((seat, activity.reading(now)?)));
            if begins && self.dominant.decide(voices) {
                self.changes.push((self.frame, self.dominant.get().expect("it changed to somebody")));
            }
        }
    }

    fn is_voice(&self, seat: usize) -> bool {
        let now = self.start + FRAME * self.frame;
        self.heard[seat].reading(now).is_some_and(|reading| reading.voice)
    }
}

fn rng(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}

#[test]
fn speech_is_a_voice_within_half_a_second_and_begins_to_speak_within_80_ms() {
    for seed in 0..50 {
        let mut activity = Activity::default();
        let (start, mut quiet, mut talk) = (Instant::now(), silence(rng(seed)), speech(rng(seed)));
        let (mut onset, mut speaks, mut voice) = (None, None, None);
        for frame in 1..200u32 {
            let loud = if frame < 50 { quiet(frame) } else { talk(frame) };
            let level = AudioLevel { voice: true, dbov: 127 - loud };
            let heard = activity.record(start + FRAME * frame, frame * 960, CLOCK, level);
            assert!(frame >= 50 || heard == Heard::default(), "seed {seed}: a quiet room is silent");
            onset = onset.or((loud > 70).then_some(frame));
            speaks = speaks.or(heard.speaks.then_some(frame));
            voice = voice.or(heard.voice.then_some(frame));
        }
        let onset = onset.expect("it talked");
        assert!(speaks.expect("heard") - onset <= 3, "seed {seed}");
        assert!(voice.expect("heard") - onset <= 25, "seed {seed}: {:?}", voice.map(|at| at - onset));
    }
}

#[test]
fn coughs_keys_and_fans_are_never_a_voice() {
    for seed in 0..20 {
        let mut table = Table::new(3);
        let mut sounds: Vec<Box<dyn FnMut(u32) -> u8>> =
            vec![Box::new(coughs(rng(seed))), Box::new(keyboard(rng(seed))), Box::new(hum(rng(seed)))];
        for _ in 0..600 {
            table.run(100, &mut sounds);
            assert!(!(0..3).any(|seat| table.is_voice(seat)), "seed {seed}");
        }
        assert_eq!(table.changes, vec![]);
    }
}

#[test]
fn nobody_takes_over_from_a_speaker_by_coughing_typing_or_humming() {
    for seed in 0..20 {
        let mut table = Table::new(5);
        let mut sounds: Vec<Box<dyn FnMut(u32) -> u8>> = vec![
            Box::new(coughs(rng(seed))),
            Box::new(speech(rng(seed))),
            Box::new(keyboard(rng(seed))),
            Box::new(hum(rng(seed))),
            Box::new(silence(rng(seed))),
        ];
        table.run(60_000, &mut sounds);
        let [(_, 1)] = table.changes[..] else { panic!("seed {seed}: {:?}", table.changes) };
        // In the silence after, with the noises going on, the last one stays.
        sounds[1] = Box::new(silence(rng(seed + 1)));
        table.run(20_000, &mut sounds);
        assert_eq!(table.changes.len(), 1, "seed {seed}");
    }
}

#[test]
fn turns_are_followed_within_half_a_second_each_and_not_more_often() {
    let mut delays = Vec::new();
    for seed in 0..50 {
        let mut table = Table::new(2);
        table.run(1_000, &mut [Box::new(silence(rng(seed))), Box::new(silence(rng(seed)))]);
        for turn in 0..10u64 {
            let talks = (turn % 2) as usize;
            let mut sounds: Vec<Box<dyn FnMut(u32) -> u8>> =
                vec![Box::new(silence(rng(seed))), Box::new(silence(rng(seed + 100)))];
            // Who takes the word begins with a syllable, at once.
            sounds[talks] = Box::new(speech(rng(seed * 100 + turn)));
            let (from, before) = (table.frame, table.changes.len());
            table.run(5_000, &mut sounds);
            let [(at, who)] = table.changes[before..] else {
                panic!("seed {seed}, turn {turn}: {:?}", &table.changes[before..])
            };
            assert_eq!(who, talks);
            delays.push((at - from) * 20);
        }
    }
    delays.sort_unstable();
    let [p50, p95, most] = [50, 95, 100].map(|share| delays[delays.len() * share / 100 - 1]);
    println!("{} turns: seen after {p50} ms (p95 {p95} ms, {most} ms at most)", delays.len());
    assert!(p50 <= 340 && p95 <= 420 && most <= 500, "{p50} {p95} {most}");
}

#[test]
fn two_who_talk_over_each_other_do_not_take_turns() {
    let mut changes = 0;
    for seed in 0..50 {
        let mut table = Table::new(2);
        let mut sounds: Vec<Box<dyn FnMut(u32) -> u8>> = vec![Box::new(speech(rng(seed))), Box::new(speech(rng(seed + 1_000)))];
        table.run(10_000, &mut sounds);
        changes += table.changes.len();
    }
    // Each has phrases and pauses of its own, so the word does pass now and then.
    let per_minute = changes as f64 * 60.0 / (50.0 * 10.0);
    println!("{per_minute:.1} changes a minute");
    assert!(per_minute <= 25.0, "{per_minute}");
}

#[test]
fn packets_in_a_burst_and_with_gaps_count_by_their_own_time() {
    let (start, level) = (Instant::now(), AudioLevel { voice: true, dbov: 40 });
    let quiet = AudioLevel { voice: false, dbov: 85 };
    let mut activity = Activity::default();
    activity.record(start, 0, CLOCK, quiet);
    // A fifth of a second all at once.
    let heard: Vec<Heard> = (1..=10u32).map(|at| activity.record(start, at * 960, CLOCK, level)).collect();
    assert!(heard[2].speaks && !heard[1].speaks);
    // One of them again, and one of long ago.
    assert!(!activity.record(start, 9 * 960, CLOCK, level).begins);
    assert_eq!(activity.reading(start).map(|reading| reading.long), Some(10));
    // Nothing while the other side was silent (DTX): what was heard is over.
    assert_eq!(activity.reading(start + Duration::from_secs(2)), None);
    activity.record(start + Duration::from_secs(2), 110 * 960, CLOCK, level);
    assert_eq!(activity.reading(start + Duration::from_secs(2)).map(|reading| reading.long), Some(1));
    // A clock that jumps back by a lot began anew.
    activity.record(start + Duration::from_secs(2), 0u32.wrapping_sub(1 << 30), CLOCK, level);
    assert_eq!(activity.reading(start + Duration::from_secs(2)).map(|reading| reading.long), Some(2));
}

#[test]
fn who_is_muted_is_not_dominant_any_more() {
    let voice = Reading { level: 40, voice: true, short: 20, long: 40, silent: 0 };
    let mut dominant = Dominant::default();
    assert!(dominant.decide([(1, voice)].into_iter()));
    dominant.forget(2);
    assert_eq!(dominant.get(), Some(1));
    dominant.forget(1);
    assert!(dominant.decide([(1, Reading::default()), (2, Reading { short: 16, ..voice })].into_iter()));
    assert_eq!(dominant.get(), Some(2));
}

/// People who read a text, of several languages: levels of 20 ms as they are sent (`tests/fixtures/speech/levels.py`).
const RECORDED: [(&str, &[u8]); 5] = [
    ("en", include_bytes!("../../tests/fixtures/speech/en.levels")),
    ("es", include_bytes!("../../tests/fixtures/speech/es.levels")),
    ("fr", include_bytes!("../../tests/fixtures/speech/fr.levels")),
    ("it", include_bytes!("../../tests/fixtures/speech/it.levels")),
    ("ru", include_bytes!("../../tests/fixtures/speech/ru.levels")),
];

/// Below this, `-dBov`, a recording has speech; what is quieter may be breath, an echo, or the end of a word.
const SPOKEN: u8 = 40;

/// A recording from a frame on, so much softer, in a room of its own: a microphone hears both.
fn recorded(levels: &'static [u8], from: usize, softer: u8, mut rng: SmallRng) -> impl Sound {
    let mut at = from;
    move |_| {
        let spoken = levels.get(at).copied().unwrap_or(127).saturating_add(softer);
        at += 1;
        let power = 10f32.powf(f32::from(spoken) / -10.0) + 10f32.powf((f32::from(room(&mut rng)) - 127.0) / 10.0);
        (127.0 + 10.0 * power.log10()).clamp(0.0, 127.0) as u8
    }
}

/// Where somebody begins to speak after a pause of 200 ms or more.
fn onsets(levels: &[u8]) -> Vec<usize> {
    let spoken = |at: usize| levels[at] < SPOKEN && levels[at + 1] < SPOKEN;
    (10..levels.len() - 200).filter(|&at| spoken(at) && levels[at - 10..at].iter().all(|&level| level > SPOKEN)).collect()
}

#[test]
fn recorded_people_are_heard_and_nobody_takes_the_word_from_them() {
    for (language, levels) in RECORDED {
        for softer in [0, 15, 25] {
            let mut table = Table::new(4);
            let mut sounds: Vec<Box<dyn FnMut(u32) -> u8>> = vec![
                Box::new(coughs(rng(1))),
                Box::new(recorded(levels, 0, softer, rng(2))),
                Box::new(keyboard(rng(3))),
                Box::new(hum(rng(4))),
            ];
            table.run(levels.len() as u32 * 20, &mut sounds);
            let [(at, 1)] = table.changes[..] else { panic!("{language}, {softer} dB softer: {:?}", table.changes) };
            let began = levels.iter().position(|&level| level < SPOKEN).expect("speech") as u32;
            assert!(at.saturating_sub(began) <= 50, "{language}, {softer} dB softer: {} ms", (at - began) * 20);
        }
    }
}

#[test]
fn turns_between_recorded_people_are_followed() {
    let mut delays = Vec::new();
    for (first, (_, one)) in RECORDED.into_iter().enumerate() {
        for (_, other) in RECORDED.into_iter().skip(first + 1) {
            let mut table = Table::new(2);
            let begins = [onsets(one), onsets(other)];
            for turn in 0..begins[0].len().min(begins[1].len()).min(12) * 2 {
                let talks = turn % 2;
                let levels = [one, other][talks];
                let mut sounds: Vec<Box<dyn FnMut(u32) -> u8>> = vec![Box::new(silence(rng(1))), Box::new(silence(rng(2)))];
                sounds[talks] = Box::new(recorded(levels, begins[talks][turn / 2], 0, rng(turn as u64)));
                let (from, before) = (table.frame, table.changes.len());
                table.run(4_000, &mut sounds);
                let [(at, who)] = table.changes[before..] else {
                    panic!("pair {first}, turn {turn}: {:?}", &table.changes[before..])
                };
                assert_eq!(who, talks);
                delays.push((at - from) * 20);
            }
        }
    }
    delays.sort_unstable();
    let [p50, p90, most] = [50, 90, 100].map(|share| delays[delays.len() * share / 100 - 1]);
    println!("{} turns of recorded people: seen after {p50} ms (p90 {p90} ms, {most} ms at most)", delays.len());
    assert!(delays.len() >= 100 && p50 <= 420 && p90 <= 500, "{p50} {p90} {most}");
}
