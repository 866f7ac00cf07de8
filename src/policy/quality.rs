//! How good a call is for one member, as people would rate it: 1 (bad) to 5. Owns the formulas, for voices and pictures, in each direction;
//! what goes into them peers and router measure, `edge::hub` tells the result.
//!
//! - **Voices** after the E-model (ITU-T G.107), as far as a server sees its terms: delay in the form of Cole and Rosenbluth ("Voice over
//!   IP performance monitoring", 2001), loss as an effective equipment impairment (G.107 §7.3) for a codec that conceals well, and the
//!   usual way from a rating to an opinion (G.107 Annex B).
//! - **Pictures** after ITU-T P.1203.1: what a picture lacks in lines costs by its logarithm; a picture that stands costs most.
//!   A visible picture that is not sent at all is as bad as can be. The constants are ours: the standard's are of films.
//!
//! A call is as good as the mean of both, but never better than its voices: who is not understood is not there.

use std::time::Duration;

/// What a path did to packets of late.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Path {
    pub round_trip: Duration,
    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// As a share of 1, before repair.
    pub loss: f32,
}

/// What became of pictures of late: those on a member's screen, or those it publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pictures {
    /// How many there should be.
    pub expected: u16,
    /// How many of them are not sent at all for want of bandwidth.
    pub missing: u16,
    /// Of the others together: how often the wanted height would have to be halved to get what is sent.
    pub halvings: f32,
    /// For how much of the time a picture stood, as a share of 1.
    pub frozen: f32,
}

/// A best rating without delay and loss (G.107's default values).
const BEST_RATING: f32 = 93.2;

/// How robust the codec is against random loss (Bpl of G.113): Opus with its own concealment, about that of the best listed
/// there. Raising it forgives loss.
const ROBUSTNESS: f32 = 20.0;

/// Frame, lookahead and what browsers hold back at least, one way.
const CODEC_DELAY_MS: f32 = 45.0;

/// The best opinion that the model gives; it is stretched to the 5 people expect.
const BEST_OPINION: f32 = 4.4;

/// What each halving of a picture's lines costs.
const HALVING: f32 = 0.8;

/// How fast standing pictures spoil: at a tenth of the time more than half is lost.
const FREEZE: f32 = 8.0;

/// Loss that repair hides, and what each percent more costs a picture.
const HIDDEN_LOSS: f32 = 0.02;
const LOSS_COST: f32 = 0.1;

/// The quality of voices on a path.
pub fn voice(path: &Path) -> f32 {
    let ms = |time: Duration| (time.as_secs_f32() * 1_000.0).min(10_000.0);
    // A receiver buffers about twice the jitter.
    let delay = ms(path.round_trip) / 2.0 + 2.0 * ms(path.jitter) + CODEC_DELAY_MS;
    let of_delay = 0.024 * delay + 0.11 * (delay - 177.3).max(0.0);
    let percent = share(path.loss) * 100.0;
    let of_loss = 95.0 * percent / (percent + ROBUSTNESS);
    // Below the first the formula turns up again.
    let rating = (BEST_RATING - of_delay - of_loss).clamp(6.5, 100.0);
    let opinion = 1.0 + 0.035 * rating + 7e-6 * rating * (rating - 60.0) * (100.0 - rating);
    (1.0 + (opinion - 1.0) * 4.0 / (BEST_OPINION - 1.0)).clamp(1.0, 5.0)
}

/// The quality of pictures; `None` where there should be none.
pub fn pictures(path: &Path, pictures: &Pictures) -> Option<f32> {
    let expected = f32::from(pictures.expected.max(pictures.missing));
    if expected == 0.0 {
        return None;
    }
    let missing = f32::from(pictures.missing) / expected;
    let sent = expected * (1.0 - missing);
    let halvings = if sent > 0.0 { pictures.halvings.max(0.0) / sent } else { 0.0 };
    let stands = 4.0 * (1.0 - (-FREEZE * share(pictures.frozen)).exp());
    let lossy = (share(path.loss) - HIDDEN_LOSS).max(0.0) * 100.0 * LOSS_COST;
    let of_sent = (5.0 - HALVING * halvings - stands - lossy).clamp(1.0, 5.0);
    Some(missing + (1.0 - missing) * of_sent)
}

/// The quality of one direction.
pub fn direction(path: &Path, shown: &Pictures) -> f32 {
    let voice = voice(path);
    pictures(path, shown).map_or(voice, |pictures| voice.min(f32::midpoint(voice, pictures)))
}

/// A share as it can be; what is not a number is none.
fn share(value: f32) -> f32 {
    // `max` passes over what is not a number, `clamp` does not.
    value.max(0.0).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(rtt: u64, jitter: u64, loss: f32) -> Path {
        Path { round_trip: Duration::from_millis(rtt), jitter: Duration::from_millis(jitter), loss }
    }

    const GRID: Pictures = Pictures { expected: 4, missing: 0, halvings: 0.0, frozen: 0.0 };

    #[test]
    fn the_scale_is_as_people_would_rate() {
        let of = |rtt, jitter, loss| (voice(&path(rtt, jitter, loss)) * 10.0).round() / 10.0;
        assert_eq!(of(20, 1, 0.0), 5.0);
        assert!((4.7..=5.0).contains(&of(200, 5, 0.0)), "another continent: {}", of(200, 5, 0.0));
        assert!((4.0..=4.7).contains(&of(40, 5, 0.03)), "some loss: {}", of(40, 5, 0.03));
        assert!((3.0..=4.0).contains(&of(40, 5, 0.08)), "{}", of(40, 5, 0.08));
        assert!(of(600, 20, 0.0) < 4.0, "people talk at the same time: {}", of(600, 20, 0.0));
        assert!(of(900, 20, 0.5) < 1.5);
    }

    #[test]
    fn each_thing_that_gets_worse_makes_it_worse() {
        let base = direction(&path(50, 5, 0.01), &GRID);
        for (path, shown) in [
            (path(900, 5, 0.01), GRID),
            (path(50, 200, 0.01), GRID),
            (path(50, 5, 0.1), GRID),
            (path(50, 5, 0.01), Pictures { missing: 1, ..GRID }),
            (path(50, 5, 0.01), Pictures { halvings: 4.0, ..GRID }),
            (path(50, 5, 0.01), Pictures { frozen: 0.1, ..GRID }),
        ] {
            assert!(direction(&path, &shown) < base - 0.2, "{path:?} {shown:?}");
        }
    }

    #[test]
    fn pictures_that_stand_or_lack_are_told_though_the_path_is_fine() {
        let fine = path(30, 2, 0.0);
        let of = |pictures: Pictures| direction(&fine, &pictures);
        assert!(of(GRID) > 4.8);
        assert!(of(Pictures { expected: 0, ..GRID }) > 4.8, "no picture is no fault");
        assert!((3.0..4.2).contains(&of(Pictures { frozen: 0.1, ..GRID })));
        assert!((2.9..3.2).contains(&of(Pictures { missing: 4, ..GRID })), "voices only, though pictures are wanted");
        assert!(of(Pictures { halvings: 4.0, ..GRID }) > 4.2, "one layer less is still good");
        assert!((3.9..4.3).contains(&of(Pictures { halvings: 8.0, ..GRID })));
    }

    #[test]
    fn what_is_no_figure_gives_a_score_all_the_same() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0] {
            let path = Path { round_trip: Duration::MAX, jitter: Duration::MAX, loss: bad };
            let pictures = Pictures { expected: 1, missing: u16::MAX, halvings: bad, frozen: bad };
            let score = direction(&path, &pictures);
            assert!((1.0..=5.0).contains(&score), "{score}");
        }
        // An infinite sum of what is missing, and nothing sent at all.
        let score = direction(&Path::default(), &Pictures { halvings: f32::INFINITY, expected: 1, ..Pictures::default() });
        assert!((2.9..3.1).contains(&score), "{score}");
    }
}
