//! Which frames of a scalable stream one receiver gets. Owns the one rule that keeps its decoder whole: a frame is passed on only
//! if everything it builds on was. Each egress of the router has one; what to aim for was decided before, by `policy::layers`.
//!
//! Of every [`Cut`] it is known whether it is **intact**: whether all of its frames were passed on since a point where it begins
//! (a keyframe, or what [`Entry`] says). The cut moves only to one that is intact, or begins with the very frame at hand. So fewer
//! frames per second come at once; more come at the stream's next sync point; a sharper picture, or in streams whose spatial
//! layers don't share their frames a blurrier one, may have to wait for a keyframe, which [`Selector::waits`] says.
//!
//! Only the last hop does this. Over pipes and links a layer travels whole, because those behind it differ in what they can have; so
//! a stream of several spatial layers crosses a link with all of them, where simulcast crosses with what somebody watches.
//!
//! A frame is decided once, with the first of its packets that comes, so that none is passed on in part.

use super::packet::{FrameInfo, Numbers};
use super::scalable::{Cut, Cuts, Entry};
use super::sequence::Window;

/// The state of one receiver's cut of one stream.
#[derive(Clone, Debug)]
pub struct Selector {
    goal: Cut,
    open: Cut,
    intact: Cuts,
    moved: Option<Moved>,
    newest: Option<u64>,
    decided: Window<4>,
    passed: Window<4>,
}

/// The latest move, for frames of before it that come late.
#[derive(Clone, Copy, Debug)]
struct Moved {
    /// With this frame.
    at: u64,
    before: Cut,
    /// What it moved to was intact, so its late frames are too.
    intact: bool,
}

/// How many frames, or VP8 and VP9 pictures four times, lie between two moves at least, so that late ones are judged by what held
/// at their time. More rides out worse reordering; less follows a path that keeps getting worse sooner.
const SETTLE: u64 = 12;

impl Default for Selector {
    fn default() -> Self {
        Self::new(Cut::ALL)
    }
}

impl Selector {
    /// For a stream that starts with a keyframe.
    pub fn new(goal: Cut) -> Self {
        Self {
            goal,
            open: goal,
            intact: Cuts::ALL,
            moved: None,
            newest: None,
            decided: Window::default(),
            passed: Window::default(),
        }
    }

    /// From the next frames on that allow it, what is passed on is `goal`.
    pub fn aim(&mut self, goal: Cut) {
        self.goal = goal;
    }

    /// The cut that is passed on now.
    pub const fn open(&self) -> Cut {
        self.open
    }

    /// Another spatial layer is aimed for, which can't begin without a keyframe.
    pub fn waits(&self) -> bool {
        self.goal.spatial != self.open.spatial && !self.intact.contains(Cut { spatial: self.goal.spatial, ..Cut::BASE })
    }

    /// Whether the packet's frame is passed on.
    pub fn passes(&mut self, frame: &FrameInfo) -> bool {
        if frame.entry == Entry::None && frame.cuts == Cuts::ALL {
            return true;
        }
        let Some(id) = self.id_of(frame) else { return true };
        if self.decided.contains(id) {
            return self.passed.contains(id);
        }
        let late = self.newest.is_some_and(|newest| id < newest);
        let passes = match self.moved {
            Some(Moved { at, before, intact }) if late && id < at => {
                let passes = frame.cuts.contains(before) || (intact && frame.cuts.contains(self.open));
                if !passes {
                    self.intact = self.intact.without(frame.cuts).with(self.open);
                }
                passes
            }
            _ => self.decide(frame, id, late),
        };
        if !late {
            self.newest = Some(id);
        }
        self.decided.insert(id);
        if passes {
            self.passed.insert(id);
        }
        passes
    }

    fn decide(&mut self, frame: &FrameInfo, id: u64, late: bool) -> bool {
        if frame.entry == Entry::Anew && !late {
            self.intact = Cuts::ALL;
        }
        let begins = if late { Cuts::NONE } else { self.begins(frame, id) };
        let settled = frame.entry == Entry::Anew || self.moved.is_none_or(|moved| id >= moved.at + SETTLE);
        if self.goal != self.open
            && !late
            && settled
            && let Some(cut) = self.reachable(self.intact.union(begins))
            && cut != self.open
        {
            self.moved = Some(Moved { at: id, before: self.open, intact: self.intact.contains(cut) });
            self.open = cut;
        }
        let passes = frame.cuts.contains(self.open);
        self.intact = if passes { self.intact.union(begins) } else { self.intact.without(frame.cuts) };
        passes
    }

    /// The best cut up to the goal among those that are `sound`; while there is none, at least not more frames than the goal has.
    fn reachable(&self, sound: Cuts) -> Option<Cut> {
        let (goal, open) = (self.goal, self.open);
        let fits = |cut: &Cut| cut.spatial <= goal.spatial && cut.temporal <= goal.temporal && sound.contains(*cut);
        let fewer = Cut { temporal: open.temporal.min(goal.temporal), ..open };
        Cut::each().rev().find(fits).or((sound.contains(fewer)).then_some(fewer))
    }

    /// The cuts that begin with this frame, if it is passed on.
    fn begins(&self, frame: &FrameInfo, id: u64) -> Cuts {
        let (spatial, temporal) = (frame.spatial, frame.temporal);
        match frame.entry {
            Entry::None | Entry::Anew => Cuts::NONE,
            Entry::Sync if temporal > 0 => Cuts::of_row(0, (self.intact.row(0) & (1 << (temporal - 1))) << 1),
            Entry::Sync => Cuts::NONE,
            Entry::Picture { above, over } => {
                let below = if spatial == 0 { 0xF } else { self.intact.row(spatial - 1) };
                let mut row = self.intact.row(spatial);
                if over && temporal == 0 && spatial > 0 {
                    row |= below;
                }
                if above && row & (1 << temporal) != 0 {
                    row |= (0xF << (temporal + 1)) & below;
                }
                Cuts::of_row(spatial, row)
            }
            Entry::Targets { begin, references } => {
                let mut left = references;
                while left != 0 {
                    let back = u64::from(left.trailing_zeros()) + 1;
                    if !self.passed.contains(id.saturating_sub(back)) {
                        return Cuts::NONE;
                    }
                    left &= left - 1;
                }
                begin
            }
        }
    }

    /// A number that grows by one with each frame. `None` without numbers in the stream: then nothing can be told apart.
    fn id_of(&self, frame: &FrameInfo) -> Option<u64> {
        // Far from zero, so that nothing before the first frame is below it.
        const BASE: u64 = 1 << 20;
        // The spatial layers of a VP9 picture are frames of one number.
        const LAYERS: u64 = Cut::LAYERS as u64;
        let layer = u64::from(frame.spatial.min(Cut::LAYERS - 1));
        let (number, bits, step, of_picture) = match frame.numbers {
            Numbers::None => return None,
            Numbers::Picture { id, wide, .. } => (id, if wide { 15 } else { 7 }, LAYERS, layer),
            Numbers::DependencyFrame { number } => (number, 16, 1, 0),
        };
        let Some(newest) = self.newest else { return Some((BASE + u64::from(number)) * step + of_picture) };
        let newest = newest / step;
        let ahead = (number.wrapping_sub(newest as u16) << (16 - bits)) as i16 >> (16 - bits);
        Some(newest.saturating_add_signed(i64::from(ahead)) * step + of_picture)
    }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
