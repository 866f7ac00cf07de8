//! What to do when there is more to send than fits: which flow is shed, and when it may go on.

use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;

use super::flow::{Open, State};
use super::{Action, Class, Event, Sender};

/// More than this waits, at the present rate: upgrades are shed. Longer keeps sharp pictures over short dips and delays
/// everything below them.
const UPGRADE_QUEUE: Duration = Duration::from_millis(220);

/// More than this of audio and base layers waits: base layers are shed.
const BASE_QUEUE: Duration = Duration::from_millis(400);

/// The shortest shedding. Doubles each time a flow goes on too early, up to the longest.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
const MAX_PATIENCE: Duration = Duration::from_secs(16);

/// A flow that was shed again within this time went on too early.
const RELAPSE: Duration = Duration::from_secs(10);

/// How often it is looked whether a shed flow fits again.
const REVIEW: Duration = Duration::from_millis(100);

/// How often a keyframe is asked for while there is room for the flow.
const ASK: Duration = Duration::from_secs(1);

/// Of the present rate, what flows may take when one goes on; the rest is for keyframes and for what grows.
const USABLE_PERCENT: u64 = 85;

impl Sender {
    pub(super) fn delay_of(&self, bytes: usize) -> Duration {
        // A rate of nothing would mean waiting for ever.
        Duration::from_secs_f64(bytes as f64 / self.network.rate.max(10_000) as f64)
    }

    /// Gives up what has waited for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_old = |at: Instant, class: Class| now.saturating_duration_since(at) >= class.deadline();
        while self.audio.oldest().is_some_and(|at| is_old(at, Class::Audio)) {
            self.audio.pop();
            self.counters.shed += 1;
        }
        for class in [Class::Base, Class::Upgrade] {
            while let Some(flow) = self.queue(class).front().filter(|item| is_old(item.at, class)).map(|item| item.flow) {
                self.shed(now, flow);
                // Whatever became of the flow, its packets are gone now: this ends.
                self.counters.shed += self.queue(class).purge(flow);
            }
        }
        let rtt = self.network.rtt;
        for class in Class::ALL {
            let over = |open: &mut Open| now.saturating_duration_since(open.at) >= class.deadline() + rtt;
            while let Some(Open { key, flow, finished, .. }) = self.open_of(class).pop_front_if(over) {
                if finished {
                    self.actions.push_back(Action::Reset { key, flow });
                    continue;
                }
                self.unfinished -= 1;
                if self.queue(class).holds(flow) {
                    self.actions.push_back(Action::Reset { key, flow });
                    self.shed(now, flow);
                    continue;
                }
                // Its end never came: the source stalled, and what came of the frame may still be of use.
                self.actions.push_back(Action::Finish { key });
                if let Some(flow) = self.flows.get_mut(&flow) {
                    flow.end_frame(key);
                }
            }
        }
    }

    /// Pauses a flow until its next keyframe. Audio flows are left alone.
    pub(super) fn shed(&mut self, now: Instant, id: u32) {
        let Some(flow) = self.flows.get_mut(&id).filter(|flow| flow.class != Class::Audio) else { return };
        if matches!(flow.state, State::Shed { .. }) {
            return;
        }
        let relapsed = flow.resumed.is_some_and(|at| now.saturating_duration_since(at) < RELAPSE);
        flow.patience = if relapsed { (flow.patience * 2).min(MAX_PATIENCE) } else { PATIENCE };
        flow.state = State::Shed { until: now + flow.patience, asked: None };
        flow.forget_frame();
        self.counters.shed += self.base.purge(id) + self.upgrade.purge(id);
        self.reset_open(id);
        self.events.push_back(Event::Shed { flow: id });
        self.review.get_or_insert(now + REVIEW);
    }

    /// Sheds upgrades, the most expensive first, then base layers, until what waits is short enough.
    pub(super) fn shed_what_does_not_fit(&mut self, now: Instant) {
        while self.queue_delay() > UPGRADE_QUEUE && self.shed_largest(now, Class::Upgrade) {}
        let upgrades = self.upgrade.bytes();
        while upgrades == 0
            && self.delay_of(self.audio.bytes() + self.base.bytes()) > BASE_QUEUE
            && self.shed_largest(now, Class::Base)
        {}
    }

    /// Sheds the flow of a class that brings most, of those that wait.
    fn shed_largest(&mut self, now: Instant, class: Class) -> bool {
        let waiting: FxHashSet<u32> = self.queue(class).flows().collect();
        let rate = |id: &u32| self.flows.get(id).map_or(0, |flow| flow.meter.rate(now));
        let Some(largest) = waiting.into_iter().max_by_key(|id| (rate(id), *id)) else { return false };
        self.shed(now, largest);
        // Whatever became of the flow, its packets are gone now: this ends.
        self.counters.shed += self.queue(class).purge(largest);
        true
    }

    /// Whether a shed flow, whose keyframe begins now, goes on.
    pub(super) fn resumes(&mut self, now: Instant, id: u32) -> bool {
        let room = self.room(now);
        let short = self.queue_delay() <= UPGRADE_QUEUE;
        let Some(flow) = self.flows.get_mut(&id) else { return false };
        let State::Shed { until, .. } = flow.state else { return true };
        let fits = flow.meter.rate(now) <= room && short && until <= now;
        if fits {
            flow.state = State::Flowing;
            flow.resumed = Some(now);
        }
        fits
    }

    /// Bytes per second that another flow may take.
    fn room(&self, now: Instant) -> u64 {
        let flowing = self.flows.values().filter(|flow| flow.state == State::Flowing);
        let taken: u64 = flowing.map(|flow| flow.meter.rate(now)).sum();
        (self.network.rate / 100 * USABLE_PERCENT).saturating_sub(taken)
    }

    /// Asks for keyframes of the flows that fit again: base layers first, then the cheapest.
    pub(super) fn review_shed(&mut self, now: Instant) {
        let mut shed: Vec<(Class, u64, u32)> = Vec::new();
        for (&id, flow) in &self.flows {
            if matches!(flow.state, State::Shed { .. }) {
                shed.push((flow.class, flow.meter.rate(now), id));
            }
        }
        self.review = (!shed.is_empty()).then(|| now + REVIEW);
        shed.sort_unstable();
        let mut room = if self.queue_delay() > UPGRADE_QUEUE { 0 } else { self.room(now) };
        for (_, rate, id) in shed {
            let Some(rest) = room.checked_sub(rate) else { break };
            let Some(flow) = self.flows.get_mut(&id) else { continue };
            let State::Shed { until, asked } = &mut flow.state else { continue };
            if *until > now {
                continue;
            }
            // Whoever was asked for before keeps the room it was promised.
            room = rest;
            if asked.is_none_or(|at| now.saturating_duration_since(at) >= ASK) {
                *asked = Some(now);
                self.events.push_back(Event::KeyframeWanted { flow: id });
            }
        }
    }
}
