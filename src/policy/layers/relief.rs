//! What is taken off everybody's pictures while a node has too much to do: first no member's pictures together may take more than
//! a lid, which lies where the sum comes out right, so that the largest give way and no smallest layer does; when that is not
//! enough, everybody's pictures are paused one by one, the least wanted first. Pure; `policy::overload` says how much is too much.

use std::cmp::Reverse;

use super::{Budget, Wish, smallest};
use crate::units::Bitrate;

/// What one member's pictures take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub now: Bitrate,
    /// And would take, were each at its smallest.
    pub smallest: Bitrate,
}

/// How much is taken off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Relief {
    /// Of what all pictures took when it began.
    share: f64,
    /// What a member's pictures may take, where they are not at their smallest.
    lid: Bitrate,
    /// Which part of its pictures a member keeps.
    kept: f64,
}

impl Relief {
    /// The relief that leaves `share` of what all took when it began; `before` is the one in force, and `members` what each takes under
    /// it. `None` when there is nothing to take off.
    pub fn toward(before: Option<Self>, share: f64, members: &[Taken]) -> Option<Self> {
        if share >= 1.0 {
            return None;
        }
        let most = members.iter().map(|taken| taken.now.0).max().unwrap_or(0);
        let before = before.unwrap_or(Self { share: 1.0, lid: Bitrate(most), kept: 1.0 });
        let change = share / before.share;
        if change >= 1.0 {
            // Given back in the other order.
            return Some(match before.kept < 1.0 {
                true => Self { share, kept: (before.kept * change).min(1.0), ..before },
                false => Self { share, lid: Bitrate((before.lid.0 as f64 * change) as u64), ..before },
            });
        }
        let under = |lid: u64| -> f64 { members.iter().map(|taken| taken.under(lid) as f64).sum() };
        let goal = under(most) * change;
        let floor = under(0);
        if floor >= goal {
            // From here everybody is at the smallest. The mean is where the way back begins.
            let lid = Bitrate(floor as u64 / (members.len() as u64).max(1));
            let part = if floor > 0.0 { goal / floor } else { change };
            return Some(Self { share, lid, kept: before.kept * part });
        }
        let (mut low, mut high) = (0, most);
        while high - low > most / 1_000 + 1 {
            let middle = low + (high - low) / 2;
            match under(middle) > goal {
                true => high = middle,
                false => low = middle,
            }
        }
        Some(Self { share, lid: Bitrate(low), kept: before.kept })
    }

    /// Holds a member's wishes, and its budget for pictures, to it. True where that takes anything off.
    pub fn hold(&self, who: u64, wishes: &mut [Wish<'_>], budget: &mut Budget) -> bool {
        let lid = self.lid.max(smallest(wishes));
        let held = lid < budget.now;
        *budget = budget.up_to(lid);
        if self.kept >= 1.0 {
            return held;
        }
        let mut ranked: Vec<&mut Wish<'_>> = wishes.iter_mut().filter(|wish| wish.visible).collect();
        ranked.sort_by_key(|wish| Reverse(wish.worth()));
        // Of three pictures, half is one for some and two for others.
        let odd = who.wrapping_mul(0x9E37_79B9_7F4A_7C15) as f64 / u64::MAX as f64;
        let kept = (ranked.len() as f64 * self.kept + odd) as usize;
        for wish in ranked.iter_mut().skip(kept) {
            wish.paused = true;
        }
        held || kept < ranked.len()
    }
}

impl Taken {
    fn under(self, lid: u64) -> u64 {
        self.now.0.min(lid.max(self.smallest.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::layers::ladder::tests::encoding;
    use crate::policy::layers::{Grant, Reason, Rung, allocate, ladder};
    use crate::units::PixelHeight;

    fn taken(now: u64, smallest: u64) -> Taken {
        Taken { now: Bitrate::kbps(now), smallest: Bitrate::kbps(smallest) }
    }

    fn wish(rungs: &[Rung], priority: u8) -> Wish<'_> {
        let height = PixelHeight(720);
        Wish { rungs, height, visible: true, paused: false, priority, screen: false, has: None, barred: None }
    }

    fn grants(relief: Relief, who: u64, mut wishes: Vec<Wish<'_>>) -> Vec<Grant> {
        let (mut budget, mut grants) = (Budget::fixed(Bitrate::mbps(50)), Vec::new());
        assert!(relief.hold(who, &mut wishes, &mut budget));
        allocate(budget, &wishes, &mut grants);
        grants
    }

    #[test]
    fn the_largest_give_way_first() {
        let members = [taken(4_000, 300), taken(1_000, 300), taken(300, 300)];
        let relief = Relief::toward(None, 0.6, &members).expect("something");
        assert!((1_800_000..1_900_000).contains(&relief.lid.0), "3180 of 5300 kbps are left: {relief:?}");
        assert_eq!(relief.kept, 1.0);
        assert_eq!(Relief::toward(Some(relief), 1.0, &members), None);
    }

    #[test]
    fn below_the_smallest_pictures_are_paused_and_everybody_keeps_a_like_part() {
        let members = [taken(300, 300); 10];
        let relief = Relief::toward(None, 0.5, &members).expect("something");
        assert!((relief.kept - 0.5).abs() < 0.01, "{relief:?}");
        let mut rungs = Vec::new();
        ladder(&[encoding(180, 100, 1), encoding(720, 1_000, 1)], false, &mut rungs);
        let shown = |who| {
            let grants = grants(relief, who, vec![wish(&rungs, 0), wish(&rungs, 9), wish(&rungs, 0), wish(&rungs, 0)]);
            assert_eq!(grants[1].rung, Some(0), "what was asked for first is kept");
            assert!(grants.iter().all(|grant| grant.rung.is_some() || grant.short == Some(Reason::Busy)), "{grants:?}");
            grants.iter().filter(|grant| grant.rung.is_some()).count()
        };
        let all: usize = (1..=100).map(shown).sum();
        assert!((190..=210).contains(&all), "half of 400, and not all of one and none of another: {all}");
    }

    #[test]
    fn pictures_come_back_before_they_get_larger() {
        let members = [taken(300, 300), taken(3_000, 300)];
        let down = Relief::toward(None, 0.1, &members).expect("something");
        assert!(down.kept < 1.0);
        let members = [taken(150, 150), taken(150, 150)];
        let (mut relief, mut share) = (down, 0.1);
        while relief.kept < 1.0 {
            share *= 1.1;
            let next = Relief::toward(Some(relief), share, &members).expect("something");
            assert_eq!(next.lid, relief.lid);
            relief = next;
        }
        let wider = Relief::toward(Some(relief), share * 1.1, &members).expect("something");
        assert!(wider.lid > relief.lid && wider.kept == 1.0);
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_was_to_be_left(
            members in prop::collection::vec((1u64..5_000, 1u64..1_000), 1..60),
            share in 0.02f64..0.99,
        ) {
            let members: Vec<Taken> = members.into_iter().map(|(now, least)| taken(now.max(least), least)).collect();
            let relief = Relief::toward(None, share, &members).unwrap();
            let before: u64 = members.iter().map(|taken| taken.now.0).sum();
            let after = members.iter().map(|taken| taken.under(relief.lid.0)).sum::<u64>();
            let floor: u64 = members.iter().map(|taken| taken.smallest.0).sum();
            let goal = before as f64 * share;
            if relief.kept < 1.0 {
                prop_assert!((floor as f64 * relief.kept - goal).abs() <= goal * 0.01);
            } else {
                prop_assert!((after as f64 - goal).abs() <= goal * 0.02 + 100.0 * members.len() as f64, "{after} of {goal}");
            }
        }
    }
}
