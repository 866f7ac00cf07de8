//! Which layer of each track a member should receive, within what it may receive in all. Owns the decision; how a switch is
//! carried out is the router's. Called when a view, a budget, or the set of live layers changes, never per packet.
//!
//! The order is Jitsi's and Signal's lesson: everybody's smallest layer before anybody's upgrade, and upgrades one step at a
//! time, by priority. So one big picture never starves the rest of the grid.

use crate::rtp::Layer;
use crate::units::{Bitrate, PixelHeight};

/// A layer is enough for a picture when it has at least this share of its lines: 3/4. Raising it makes pictures sharper and
/// streams heavier; below 1/2 the blur is plain to see.
const ENOUGH: (u32, u32) = (3, 4);

/// One layer of a track as the decision sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub height: PixelHeight,
    /// What it takes: measured while it flows, else what the publisher said.
    pub rate: Bitrate,
    /// Packets arrive.
    pub active: bool,
}

/// A member's wish for one track.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// Smallest first, never empty.
    pub offers: &'a [Offer],
    /// Height on screen in device pixels.
    pub height: PixelHeight,
    pub visible: bool,
    /// Higher is served first.
    pub priority: u8,
}

/// What a member may receive. Two figures, so that a layer is kept by one and a better one is begun by the other: an estimate that
/// swings would otherwise switch layers with every swing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What its path carries now: enough to keep what it gets.
    pub now: Bitrate,
    /// What its path has carried for a while: a layer that it does not get yet has to fit into this.
    pub steady: Bitrate,
}

impl Budget {
    /// One figure for both.
    pub const fn fixed(rate: Bitrate) -> Self {
        Self { now: rate, steady: rate }
    }
}

/// What a wish gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Off screen, or not even the smallest layer fits.
    Paused,
    /// What the screen calls for within the budget; it may not flow yet.
    Layer(Layer),
}

/// The layer that the screen calls for, whatever it costs.
pub fn wanted(offers: &[Offer], height: PixelHeight) -> Layer {
    let need = height.0.saturating_mul(ENOUGH.0) / ENOUGH.1;
    let best = offers.iter().position(|offer| offer.height.0 >= need).unwrap_or(offers.len().saturating_sub(1));
    Layer(best as u8)
}

/// The layer to send while `target` may not flow: the largest live one up to it, else the smallest live one above it, else
/// `target` itself, to be waited for.
pub fn available(offers: &[Offer], target: Layer) -> Layer {
    let live = |&index: &usize| offers.get(index).is_some_and(|offer| offer.active);
    let up_to = (0..=usize::from(target.0)).rev().find(live);
    let above = || (usize::from(target.0)..offers.len()).find(live);
    up_to.or_else(above).map_or(target, |index| Layer(index as u8))
}

/// What all that is visible would take if the member's path carried everything. A layer that did not fit on the way to here would
/// not come for any budget, so the one below counts.
pub fn demand(wishes: &[Wish<'_>]) -> Bitrate {
    let rate = |wish: &Wish<'_>| {
        let up_to = usize::from(wanted(wish.offers, wish.height).0) + 1;
        let rates = wish.offers.iter().take(up_to).map(|offer| offer.rate);
        rates.filter(|&rate| rate < Bitrate(u64::MAX)).max().unwrap_or_default()
    };
    wishes.iter().filter(|wish| wish.visible).map(rate).fold(Bitrate(0), Bitrate::plus)
}

/// Whether a demand differs from the one told before by so much that it is worth telling: a tenth.
pub fn is_news(told: Bitrate, demand: Bitrate) -> bool {
    told.0.abs_diff(demand.0) > told.0 / 10
}

/// Shares `budget` among the wishes; `targets` is filled in their order.
pub fn allocate(budget: Bitrate, wishes: &[Wish<'_>], targets: &mut Vec<Target>) {
    targets.clear();
    targets.resize(wishes.len(), Target::Paused);
    let mut order: Vec<usize> = (0..wishes.len()).filter(|&i| wishes.get(i).is_some_and(|wish| wish.visible)).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(wishes.get(i).map_or(0, |wish| wish.priority)));
    let mut left = budget;
    let mut step = 0;
    // Each round lifts every wish by at most one layer, the first from nothing to the smallest.
    while step < Layer::MAX {
        for &i in &order {
            let (Some(wish), Some(target)) = (wishes.get(i), targets.get_mut(i)) else { continue };
            let goal = usize::from(wanted(wish.offers, wish.height).0);
            let reached = match *target {
                Target::Paused => 0,
                Target::Layer(layer) => usize::from(layer.0) + 1,
            };
            if reached != step || step > goal {
                continue;
            }
            let Some(offer) = wish.offers.get(step) else { continue };
            let below = step.checked_sub(1).and_then(|s| wish.offers.get(s)).map_or(Bitrate(0), |o| o.rate);
            let extra = offer.rate.saturating_sub(below);
            if extra <= left {
                left = left.saturating_sub(extra);
                *target = Target::Layer(Layer(step as u8));
            }
        }
        step += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offers(heights: &[u32]) -> Vec<Offer> {
        heights.iter().map(|&h| Offer { height: PixelHeight(h), rate: Bitrate::kbps(u64::from(h) * 2), active: true }).collect()
    }

    fn wish(offers: &[Offer], height: u32, priority: u8) -> Wish<'_> {
        Wish { offers, height: PixelHeight(height), visible: true, priority }
    }

    fn run(budget: Bitrate, wishes: &[Wish<'_>]) -> Vec<Target> {
        let mut targets = Vec::new();
        allocate(budget, wishes, &mut targets);
        targets
    }

    #[test]
    fn the_layer_follows_the_size_on_screen() {
        let offers = offers(&[180, 360, 720]);
        for (height, layer) in [(0, 0), (180, 0), (240, 0), (242, 1), (360, 1), (480, 1), (500, 2), (2000, 2)] {
            assert_eq!(wanted(&offers, PixelHeight(height)), Layer(layer), "{height}");
        }
    }

    #[test]
    fn everybody_has_a_picture_before_anybody_has_a_better_one() {
        let offers = offers(&[180, 360, 720]);
        let wishes = [wish(&offers, 720, 9), wish(&offers, 720, 0), wish(&offers, 720, 0)];
        let base = Bitrate::kbps(360);
        let targets = run(Bitrate(base.0 * 3), &wishes);
        assert_eq!(targets, [Target::Layer(Layer(0)); 3]);
        let targets = run(Bitrate(base.0 * 4), &wishes);
        assert_eq!(targets, [Target::Layer(Layer(1)), Target::Layer(Layer(0)), Target::Layer(Layer(0))]);
    }

    #[test]
    fn the_demand_is_what_the_screen_calls_for_and_can_come() {
        let mut offers = offers(&[180, 360, 720]);
        let mut hidden = wish(&offers, 720, 0);
        hidden.visible = false;
        let all = [wish(&offers, 720, 0), wish(&offers, 180, 0), hidden];
        assert_eq!(demand(&all), Bitrate::kbps(1_440 + 360));
        offers[2].rate = Bitrate(u64::MAX);
        assert_eq!(demand(&[wish(&offers, 720, 0)]), Bitrate::kbps(720), "the largest was shed on the way");
        assert!(is_news(Bitrate(0), Bitrate(1)) && !is_news(Bitrate(1_000), Bitrate(1_090)));
    }

    #[test]
    fn what_is_off_screen_costs_nothing() {
        let offers = offers(&[180]);
        let mut hidden = wish(&offers, 720, 9);
        hidden.visible = false;
        assert_eq!(run(Bitrate::kbps(360), &[hidden, wish(&offers, 90, 0)]), [Target::Paused, Target::Layer(Layer(0))]);
    }

    #[test]
    fn a_layer_that_does_not_flow_is_bridged() {
        let mut offers = offers(&[180, 360, 720]);
        for offer in &mut offers {
            offer.active = false;
        }
        assert_eq!(available(&offers, Layer(1)), Layer(1), "nothing flows: wait for the target");
        offers[0].active = true;
        assert_eq!(available(&offers, Layer(2)), Layer(0));
        offers[0].active = false;
        offers[2].active = true;
        assert_eq!(available(&offers, Layer(0)), Layer(2));
    }

    proptest! {
        #[test]
        fn the_budget_holds_and_nobody_gets_more_than_the_screen_shows(
            budget in 0u64..10_000,
            shape in prop::collection::vec((prop::collection::vec(1u32..2000, 1..=4), 0u32..2000, any::<u8>(), any::<bool>()), 0..20),
        ) {
            let sets: Vec<Vec<Offer>> = shape.iter().map(|(heights, ..)| {
                let mut heights = heights.clone();
                heights.sort_unstable();
                offers(&heights)
            }).collect();
            let wishes: Vec<Wish<'_>> = sets.iter().zip(&shape).map(|(offers, (_, height, priority, visible))| Wish {
                offers, height: PixelHeight(*height), visible: *visible, priority: *priority,
            }).collect();
            let targets = run(Bitrate::kbps(budget), &wishes);
            let mut spent = 0;
            for (wish, target) in wishes.iter().zip(&targets) {
                if let Target::Layer(layer) = target {
                    prop_assert!(wish.visible);
                    prop_assert!(*layer <= wanted(wish.offers, wish.height));
                    spent += wish.offers[usize::from(layer.0)].rate.0;
                }
            }
            prop_assert!(spent <= budget * 1000);
        }
    }
}
