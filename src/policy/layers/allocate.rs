//! The shares: one pass over all that a member has on screen. Pure; see the module above for how it decides.

use std::cmp::Reverse;

use super::ladder::{Rung, position, wanted};
use super::{Budget, Reason};
use crate::units::{Bitrate, PixelHeight};

/// A rung that is not sent yet has to fit into this share of the steady budget: 9/10. Raising it fills the path sooner, and
/// more tries fail.
const ROOM: (u64, u64) = (9, 10);

/// What flows of a smallest rung is kept within this share of the budget: 5/4. A cut leaves less than the path carries, until the
/// queue is gone, and is over sooner than a picture that was paused is back. Raising it rides out larger cuts, with a longer queue.
const RIDE_OUT: (u64, u64) = (5, 4);

/// A member's wish for one track.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// The least first ([`super::ladder()`]).
    pub rungs: &'a [Rung],
    /// Height on screen in device pixels.
    pub height: PixelHeight,
    pub visible: bool,
    /// The node has no time for it ([`super::Relief`]).
    pub paused: bool,
    /// Higher is served first.
    pub priority: u8,
    /// A screen share, which is served before cameras of the same priority.
    pub screen: bool,
    /// The rank of what it gets now, if anything.
    pub has: Option<u16>,
    /// From this rank on, nothing is begun now ([`super::Hold`]).
    pub barred: Option<u16>,
}

impl Wish<'_> {
    /// What is served first is greater.
    pub fn worth(&self) -> (u8, bool, PixelHeight) {
        (self.priority, self.screen, self.height)
    }
}

/// What a wish gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which of its rungs; it may not flow yet. `None`: nothing.
    pub rung: Option<usize>,
    /// Why it is not what the screen calls for.
    pub short: Option<Reason>,
}

/// What all that is visible would take if the member's path carried everything. What did not fit on the way to here would not
/// come for any budget.
pub fn demand(wishes: &[Wish<'_>]) -> Bitrate {
    of_visible(wishes, |wish| {
        let up_to = wish.rungs.get(..=wanted(wish.rungs, wish.height)).unwrap_or_default();
        up_to.iter().rev().find(|rung| !rung.held).or(up_to.first())
    })
}

/// What the smallest rungs of all that is visible take.
pub fn smallest(wishes: &[Wish<'_>]) -> Bitrate {
    of_visible(wishes, |wish| wish.rungs.first())
}

/// What one rung of each visible wish takes together.
fn of_visible<'a>(wishes: &[Wish<'a>], rung: impl Fn(&Wish<'a>) -> Option<&'a Rung>) -> Bitrate {
    let visible = wishes.iter().filter(|wish| wish.visible);
    visible.filter_map(rung).map(|rung| rung.rate).fold(Bitrate(0), Bitrate::plus)
}

/// Whether a demand differs from the one told before by so much that it is worth telling: a tenth.
pub fn is_news(told: Bitrate, demand: Bitrate) -> bool {
    told.0.abs_diff(demand.0) > told.0 / 10
}

/// How one wish rises.
struct Climb {
    goal: usize,
    /// The rung it tries next.
    next: usize,
    has: Option<usize>,
    spent: Bitrate,
    grant: Grant,
}

/// Shares `budget`, which is for video alone, among the wishes; `grants` is filled in their order.
pub fn allocate(budget: Budget, wishes: &[Wish<'_>], grants: &mut Vec<Grant>) {
    let mut climbs: Vec<Climb> = wishes.iter().map(Climb::new).collect();
    let mut order: Vec<usize> =
        (0..wishes.len()).filter(|&i| wishes.get(i).is_some_and(|wish| wish.visible && !wish.paused)).collect();
    let rank = |&i: &usize| wishes.get(i).map(|wish| (wish.priority, wish.screen));
    // Stable: the order of slots keeps equals where they are.
    order.sort_by_key(|i| Reverse(wishes.get(*i).map(Wish::worth)));
    let mut spent = Bitrate(0);
    let mut rise = |who: &[usize], up_to: fn(&Wish<'_>, &Climb) -> usize| {
        let mut step = 0;
        loop {
            let mut more = false;
            for &i in who {
                let (Some(wish), Some(climb)) = (wishes.get(i), climbs.get_mut(i)) else { continue };
                let last = up_to(wish, climb).min(climb.goal);
                if climb.next <= step && climb.next <= last {
                    climb.rise(budget, wish, &mut spent);
                }
                more |= climb.next <= last;
            }
            step += 1;
            if !more {
                break;
            }
        }
    };
    rise(&order, |_, _| 0);
    rise(&order, |wish, _| smallest_picture(wish.rungs));
    for class in order.chunk_by(|a, b| rank(a) == rank(b)) {
        rise(class, |_, climb| climb.goal);
    }
    grants.clear();
    grants.extend(climbs.into_iter().map(|climb| climb.grant));
}

/// The last rung of the smallest picture.
fn smallest_picture(rungs: &[Rung]) -> usize {
    let Some(first) = rungs.first() else { return 0 };
    rungs.iter().rposition(|rung| rung.height <= first.height).unwrap_or(0)
}

impl Climb {
    fn new(wish: &Wish<'_>) -> Self {
        let short = match (wish.visible, wish.paused) {
            (false, _) => Some(Reason::OffScreen),
            (true, true) => Some(Reason::Busy),
            (true, false) => None,
        };
        Self {
            goal: wanted(wish.rungs, wish.height),
            next: 0,
            has: wish.has.and_then(|rank| position(wish.rungs, rank)),
            spent: Bitrate(0),
            grant: Grant { rung: None, short },
        }
    }

    /// Tries the next rung. One that does not fit may be followed by one that does: a sharp picture of few frames can be less
    /// than a blurred one of many.
    fn rise(&mut self, budget: Budget, wish: &Wish<'_>, spent: &mut Bitrate) {
        let at = self.next;
        self.next += 1;
        let Some(rung) = wish.rungs.get(at) else { return };
        let others = spent.saturating_sub(self.spent);
        let kept = self.has.is_some_and(|has| at <= has);
        let held = rung.held && at > 0;
        let barred = !kept && wish.barred.is_some_and(|rank| rung.rank() >= rank);
        // A first picture is tried as soon as it fits: there is nothing yet that it could spoil.
        let first = at == 0 && wish.barred.is_none();
        let limit = match kept || first {
            true if kept && at == 0 => Bitrate(budget.now.0 / RIDE_OUT.1 * RIDE_OUT.0),
            true => budget.now,
            false => Bitrate(budget.steady.0 / ROOM.1 * ROOM.0).min(budget.now),
        };
        if !held && !barred && others.plus(rung.rate) <= limit {
            *spent = others.plus(rung.rate);
            self.spent = rung.rate;
            self.grant = Grant { rung: Some(at), short: None };
        } else {
            self.grant.short = Some(if held { Reason::Link } else { Reason::Bandwidth });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::layers::ladder::tests::encoding;
    use crate::policy::layers::{Encoding, ladder};

    fn rungs(encodings: &[Encoding]) -> Vec<Rung> {
        let mut rungs = Vec::new();
        ladder(encodings, false, &mut rungs);
        rungs
    }

    /// Three layers without temporal ones: 105, 315 and 1050 kbps with the allowance.
    fn plain() -> Vec<Rung> {
        rungs(&[encoding(180, 100, 1), encoding(360, 300, 1), encoding(720, 1_000, 1)])
    }

    fn wish(rungs: &[Rung], height: u32, priority: u8) -> Wish<'_> {
        let height = PixelHeight(height);
        Wish { rungs, height, visible: true, paused: false, priority, screen: false, has: None, barred: None }
    }

    fn run(budget: Budget, wishes: &[Wish<'_>]) -> Vec<Option<usize>> {
        let mut grants = Vec::new();
        allocate(budget, wishes, &mut grants);
        for (grant, wish) in grants.iter().zip(wishes) {
            let whole = wish.visible && grant.rung == Some(wanted(wish.rungs, wish.height));
            assert_eq!(grant.short.is_none(), whole, "a reason is given where one is due: {grant:?}");
        }
        grants.into_iter().map(|grant| grant.rung).collect()
    }

    fn kbps(kbps: u64) -> Budget {
        Budget::fixed(Bitrate::kbps(kbps))
    }

    #[test]
    fn everybody_has_a_picture_before_anybody_has_a_better_one() {
        let rungs = plain();
        let wishes = [wish(&rungs, 720, 9), wish(&rungs, 720, 0), wish(&rungs, 720, 0)];
        assert_eq!(run(kbps(105 * 3), &wishes), [Some(0); 3]);
        assert_eq!(run(kbps(600), &wishes), [Some(1), Some(0), Some(0)]);
        assert_eq!(run(kbps(209), &wishes), [Some(0), None, None], "the second does not fit, and room is kept for none");
    }

    #[test]
    fn what_matters_more_gets_all_it_can_use_before_equals_rise_together() {
        let rungs = plain();
        let mut screen = wish(&rungs, 720, 0);
        screen.screen = true;
        let wishes = [wish(&rungs, 360, 0), wish(&rungs, 720, 0), screen.clone()];
        assert_eq!(run(kbps(1_600), &wishes), [Some(0), Some(0), Some(2)], "a screen before cameras");
        assert_eq!(run(kbps(1_700), &wishes), [Some(0), Some(1), Some(2)], "the larger tile before the smaller one");
        let wishes = [wish(&rungs, 720, 3), wish(&rungs, 720, 0), screen];
        assert_eq!(run(kbps(1_600), &wishes), [Some(2), Some(0), Some(0)], "what is pinned before a screen");
    }

    #[test]
    fn frames_come_back_before_sharpness_and_go_before_the_picture() {
        let rungs = rungs(&[encoding(180, 100, 3), encoding(360, 400, 3)]);
        let rates: Vec<u64> = rungs.iter().map(|rung| rung.rate.0 / 1_000).collect();
        assert_eq!(rates, [52, 78, 105, 315, 420]);
        for (budget, rung) in [(51, None), (53, Some(0)), (90, Some(1)), (120, Some(2)), (360, Some(3)), (480, Some(4))] {
            assert_eq!(run(kbps(budget), &[wish(&rungs, 360, 0)]), [rung], "{budget}");
        }
        let two = [wish(&rungs, 360, 0), wish(&rungs, 360, 0)];
        assert_eq!(run(kbps(110), &two), [Some(0), Some(0)], "both at 7 frames a second, rather than one at 30");
    }

    #[test]
    fn what_is_there_is_kept_by_what_the_path_carries_now_and_more_is_begun_by_what_it_carried_for_a_while() {
        let rungs = plain();
        let swing = Budget { now: Bitrate::kbps(330), steady: Bitrate::kbps(200) };
        let mut wish = wish(&rungs, 360, 0);
        assert_eq!(run(swing, &[wish.clone()]), [Some(0)], "not begun");
        wish.has = Some(rungs[1].rank());
        assert_eq!(run(swing, &[wish.clone()]), [Some(1)], "kept");
        assert_eq!(run(kbps(310), &[wish.clone()]), [Some(0)], "given up at once");
        wish.has = Some(rungs[0].rank());
        assert_eq!(run(kbps(340), &[wish.clone()]), [Some(0)], "too little to spare");
        assert_eq!(run(kbps(360), &[wish.clone()]), [Some(1)]);
        wish.barred = Some(rungs[1].rank());
        assert_eq!(run(kbps(5_000), &[wish.clone()]), [Some(0)], "it failed a moment ago");
        wish.has = None;
        wish.barred = Some(rungs[0].rank());
        assert_eq!(run(kbps(5_000), &[wish]), [None], "so it is after a pause");
    }

    #[test]
    fn what_matters_more_displaces_what_is_there() {
        let rungs = plain();
        let mut shown = wish(&rungs, 720, 0);
        shown.has = Some(rungs[2].rank());
        let pinned = wish(&rungs, 720, 3);
        assert_eq!(run(kbps(1_300), &[shown, pinned]), [Some(0), Some(2)]);
    }

    #[test]
    fn what_did_not_fit_a_link_is_beyond_any_budget_but_the_smallest_is_tried() {
        let mut encodings = [encoding(180, 100, 1), encoding(720, 1_000, 1)];
        encodings[1].held = true;
        let held = rungs(&encodings);
        let mut grants = Vec::new();
        allocate(kbps(9_000), &[wish(&held, 720, 0)], &mut grants);
        assert_eq!(grants, [Grant { rung: Some(0), short: Some(Reason::Link) }]);
        assert_eq!(demand(&[wish(&held, 720, 0)]), Bitrate::kbps(105));
        encodings[0].held = true;
        let held = rungs(&encodings);
        assert_eq!(run(kbps(9_000), &[wish(&held, 180, 0)]), [Some(0)]);
    }

    #[test]
    fn the_demand_is_what_the_screen_calls_for() {
        let rungs = plain();
        let mut hidden = wish(&rungs, 720, 0);
        hidden.visible = false;
        assert_eq!(demand(&[wish(&rungs, 720, 0), wish(&rungs, 180, 0), hidden]), Bitrate::kbps(1_050 + 105));
        assert!(is_news(Bitrate(0), Bitrate(1)) && !is_news(Bitrate(1_000), Bitrate(1_090)));
    }

    #[test]
    fn a_cut_pauses_no_picture_and_a_second_one_does() {
        let plain = plain();
        let wishes = vec![Wish { has: Some(plain[0].rank()), ..wish(&plain, 180, 0) }; 10];
        let granted = |kbps| run(Budget::fixed(Bitrate::kbps(kbps)), &wishes).into_iter().flatten().count();
        assert_eq!(granted(1_050), 10);
        assert_eq!(granted(1_050 * 85 / 100), 10);
        assert!(granted(1_050 * 85 * 85 / 10_000) < 10);
    }

    proptest! {
        #[test]
        fn the_budget_holds_and_nobody_gets_more_than_the_screen_shows(
            now in 0u64..10_000,
            steady in 0u64..10_000,
            shape in prop::collection::vec(
                (prop::collection::vec((1u32..2_000, 1u8..4), 1..=4), 0u32..2_000, any::<(u8, bool, bool)>(), prop::option::of(0u16..64)),
                0..20,
            ),
        ) {
            let sets: Vec<Vec<Rung>> = shape.iter().map(|(heights, ..)| {
                let mut heights = heights.clone();
                heights.sort_unstable();
                rungs(&heights.iter().map(|&(height, temporal)| encoding(height, u64::from(height) * 2, temporal)).collect::<Vec<_>>())
            }).collect();
            let wishes: Vec<Wish<'_>> = sets.iter().zip(&shape).map(|(rungs, (_, height, (priority, visible, screen), has))| Wish {
                visible: *visible, screen: *screen, has: *has, ..wish(rungs, *height, *priority)
            }).collect();
            let budget = Budget { now: Bitrate::kbps(now), steady: Bitrate::kbps(steady) };
            let (mut spent, mut only_smallest) = (0, true);
            for (wish, rung) in wishes.iter().zip(run(budget, &wishes)) {
                if let Some(rung) = rung {
                    prop_assert!(wish.visible);
                    prop_assert!(rung <= wanted(wish.rungs, wish.height));
                    spent += wish.rungs[rung].rate.0;
                    only_smallest &= rung == 0;
                }
            }
            prop_assert!(spent <= now * 1_000 || only_smallest && spent <= now * 1_250);
        }
    }
}
