//! The rungs of a track: what can be sent of it, in the order of its worth. Owns that order and what each rung is reckoned to
//! take; what was measured is the router's to say.

use crate::rtp::{Cut, Layer};
use crate::units::{Bitrate, PixelHeight};

/// A layer is enough for a picture when it has at least this share of its lines: 3/4. Raising it makes pictures sharper and
/// streams heavier; below 1/2 the blur is plain to see.
const ENOUGH: (u32, u32) = (3, 4);

/// Frames per second below which the smallest picture of a camera is not sent at all, and a larger one not taken yet. Lower keeps
/// a picture on thinner paths, and it stutters; the second is where faces begin to move rather than to jump.
const LEAST_FRAMES: (u32, u32) = (7, 12);

/// What a rung takes beside what was measured of it, in twentieths: what is lost is sent again, and encoders swing.
const ALLOWANCE: u64 = 1;

/// One encoding of a track, as it is known now.
#[derive(Clone, Copy, Debug)]
pub struct Encoding {
    /// Of its largest spatial layer.
    pub height: PixelHeight,
    /// What it takes in each cut, by [`Cut::index`].
    pub rates: [Bitrate; Cut::COUNT],
    /// Frames per second with temporal layers up to each; zero if that is not known.
    pub frames: [u32; Cut::LAYERS as usize],
    /// The highest spatial and temporal layer it has.
    pub largest: Cut,
    /// Packets arrive.
    pub active: bool,
    /// It did not fit a link on its way to here, and is not asked for.
    pub held: bool,
}

/// One thing that can be sent of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    pub layer: Layer,
    pub cut: Cut,
    pub height: PixelHeight,
    /// With headers, and what is sent again.
    pub rate: Bitrate,
    pub active: bool,
    pub held: bool,
}

impl Rung {
    /// Its place in the order of all that any track could offer: ladders change as they are measured, ranks don't.
    pub const fn rank(&self) -> u16 {
        rank(self.layer, self.cut)
    }
}

/// [`Rung::rank`] of what is sent now.
pub const fn rank(layer: Layer, cut: Cut) -> u16 {
    layer.0 as u16 * Cut::COUNT as u16 + cut.index() as u16
}

/// Fills `rungs` with what a track offers, the least first: by height, then by frames per second. `detail`: sharpness is worth
/// more than movement.
pub fn ladder(encodings: &[Encoding], detail: bool, rungs: &mut Vec<Rung>) {
    rungs.clear();
    for (layer, encoding) in (0..).map(Layer).zip(encodings) {
        let largest = encoding.largest;
        for spatial in 0..=largest.spatial {
            let height = PixelHeight(encoding.height.0 >> (largest.spatial - spatial).min(31));
            let least = match (detail, rungs.is_empty()) {
                (true, _) => 0,
                (false, true) => LEAST_FRAMES.0,
                (false, false) => LEAST_FRAMES.1,
            };
            for temporal in 0..=largest.temporal {
                let frames = encoding.frames.get(usize::from(temporal)).copied().unwrap_or(0);
                let all = temporal == largest.temporal;
                if !all && frames < least {
                    continue;
                }
                // What has no such layers, as far as is known, is sent whole.
                let cut = if largest == Cut::BASE { Cut::ALL } else { Cut { spatial, temporal } };
                let rate = encoding.rates.get(cut.index()).copied().unwrap_or_default();
                let rate = Bitrate(rate.0.saturating_add(rate.0 / 20 * ALLOWANCE));
                rungs.push(Rung { layer, cut, height, rate, active: encoding.active, held: encoding.held });
            }
        }
    }
}

/// The rung that the screen calls for, whatever it costs.
pub fn wanted(rungs: &[Rung], height: PixelHeight) -> usize {
    let need = u64::from(height.0) * u64::from(ENOUGH.0) / u64::from(ENOUGH.1);
    let enough = rungs.iter().find(|rung| u64::from(rung.height.0) >= need).map(|rung| rung.height);
    let goal = enough.or(rungs.last().map(|rung| rung.height)).unwrap_or_default();
    rungs.iter().rposition(|rung| rung.height <= goal).unwrap_or(0)
}

/// Where something with this rank stands on a ladder that may have changed since: the highest rung up to it.
pub fn position(rungs: &[Rung], rank: u16) -> Option<usize> {
    rungs.iter().rposition(|rung| rung.rank() <= rank)
}

/// The rung to send while `target` may not flow: the highest live one up to it, else the lowest live one above it, else `target`
/// itself, to be waited for.
pub fn available(rungs: &[Rung], target: usize) -> usize {
    let live = |&index: &usize| rungs.get(index).is_some_and(|rung| rung.active);
    (0..=target).rev().find(live).or_else(|| (target..rungs.len()).find(live)).unwrap_or(target)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An encoding of `temporal` layers that halve 30 frames per second and cost a half, a quarter and a quarter.
    pub(in crate::policy::layers) fn encoding(height: u32, kbps: u64, temporal: u8) -> Encoding {
        let mut rates = [Bitrate::kbps(kbps); Cut::COUNT];
        let mut frames = [30; 4];
        for cut in Cut::each().filter(|cut| cut.temporal + 1 < temporal) {
            let below = temporal - 1 - cut.temporal;
            rates[cut.index()] = Bitrate::kbps(if cut.temporal == 0 { kbps / 2 } else { kbps * 3 / 4 });
            frames[usize::from(cut.temporal)] = 30 >> below;
        }
        let largest = Cut { spatial: 0, temporal: temporal - 1 };
        Encoding { height: PixelHeight(height), rates, frames, largest, active: true, held: false }
    }

    fn described(encodings: &[Encoding], detail: bool) -> Vec<(u8, u8, u8)> {
        let mut rungs = Vec::new();
        ladder(encodings, detail, &mut rungs);
        assert!(rungs.is_sorted_by_key(Rung::rank));
        rungs.iter().map(|rung| (rung.layer.0, rung.cut.spatial, rung.cut.temporal)).collect()
    }

    #[test]
    fn frames_are_given_up_before_the_picture_and_a_camera_never_stutters_for_sharpness() {
        let camera = [encoding(180, 100, 3), encoding(360, 400, 3)];
        // 7 and 15 frames of the small one, 15 of the large one.
        assert_eq!(described(&camera, false), [(0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 1), (1, 0, 2)]);
        assert_eq!(described(&camera, true).len(), 6, "a screen is sharp at any frame rate");
        let mut slow = encoding(180, 100, 3);
        slow.frames = [3, 7, 15, 15];
        assert_eq!(described(&[slow], false), [(0, 0, 1), (0, 0, 2)], "three frames a second are no picture");
    }

    #[test]
    fn a_stream_of_spatial_layers_has_rungs_as_simulcast_has() {
        let mut svc = encoding(720, 1_000, 3);
        svc.largest.spatial = 2;
        let rungs = described(&[svc], false);
        assert_eq!(rungs, [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 1), (0, 1, 2), (0, 2, 1), (0, 2, 2)]);
        let mut ladder_of = Vec::new();
        ladder(&[svc], false, &mut ladder_of);
        let heights: Vec<u32> = ladder_of.iter().map(|rung| rung.height.0).collect();
        assert_eq!(heights, [180, 180, 180, 360, 360, 720, 720]);
    }

    #[test]
    fn the_rung_follows_the_size_on_screen() {
        let mut rungs = Vec::new();
        ladder(&[180, 360, 720].map(|height| encoding(height, 100, 1)), false, &mut rungs);
        for (height, rung) in [(0, 0), (180, 0), (240, 0), (242, 1), (360, 1), (480, 1), (500, 2), (2_000, 2), (u32::MAX, 2)] {
            assert_eq!(wanted(&rungs, PixelHeight(height)), rung, "{height}");
        }
        ladder(&[encoding(180, 100, 3), encoding(360, 400, 3)], false, &mut rungs);
        assert_eq!(wanted(&rungs, PixelHeight(180)), 2, "with all its frames");
        assert_eq!(wanted(&[], PixelHeight(180)), 0);
        assert_eq!(position(&rungs, rungs[2].rank()), Some(2));
        assert_eq!(position(&rungs[1..], rungs[0].rank()), None);
    }

    #[test]
    fn a_layer_that_does_not_flow_is_bridged() {
        let mut rungs = Vec::new();
        let mut encodings = [180, 360, 720].map(|height| encoding(height, 100, 1));
        let mut live = |flags: [bool; 3]| {
            for (encoding, flag) in encodings.iter_mut().zip(flags) {
                encoding.active = flag;
            }
            ladder(&encodings, false, &mut rungs);
            rungs.clone()
        };
        assert_eq!(available(&live([false; 3]), 1), 1, "nothing flows: wait for the target");
        assert_eq!(available(&live([true, false, false]), 2), 0);
        assert_eq!(available(&live([false, false, true]), 0), 2);
    }
}
