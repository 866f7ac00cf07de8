//! The simulated network: connections between pairs of nodes, what they delay, lose and hold back, and when their ends notice that
//! they are cut. Owns that model; who sends what is `sim::run`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::cascade::wire::Frame;
use crate::id::LinkId;

/// A silent link is given up after this long, at the latest.
pub const DETECTION: Duration = Duration::from_millis(1_200);

/// The soonest.
const DETECTION_LEAST: Duration = Duration::from_millis(900);

/// How bad the paths of a network are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Each packet waits up to this much more.
    pub jitter: Duration,
    /// Share of media packets lost.
    pub loss: f64,
    /// Media packets may overtake each other.
    pub reorder: bool,
}

/// A connection. End 0 dialed.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) ends: [usize; 2],
    pub(super) up: [bool; 2],
    delay: Duration,
    /// Nothing passes since.
    pub(super) cut: Option<Instant>,
    /// It ends, whatever the network does.
    pub(super) over: bool,
    ordered: [Option<Instant>; 2],
    media_ordered: [Option<Instant>; 2],
    held: [Vec<Frame>; 2],
}

/// All connections and cuts.
#[derive(Debug, Default)]
pub(super) struct Net {
    pub(super) weather: Weather,
    pub(super) connections: BTreeMap<u32, Connection>,
    pairs: BTreeMap<(usize, usize), u32>,
    blocked: BTreeSet<(usize, usize)>,
    next: u32,
}

/// The number of an end of a connection.
pub(super) const fn link(connection: u32, end: usize) -> LinkId {
    LinkId(connection * 2 + end as u32)
}

/// The connection and end of a number.
pub(super) const fn end(link: LinkId) -> (u32, usize) {
    (link.0 / 2, (link.0 % 2) as usize)
}

const fn pair(a: usize, b: usize) -> (usize, usize) {
    if a < b { (a, b) } else { (b, a) }
}

impl Net {
    pub(super) fn new(weather: Weather) -> Self {
        Self { weather, ..Self::default() }
    }

    /// The connection of a pair that is not over.
    pub(super) fn between(&self, a: usize, b: usize) -> Option<u32> {
        self.pairs.get(&pair(a, b)).copied()
    }

    pub(super) fn is_blocked(&self, a: usize, b: usize) -> bool {
        self.blocked.contains(&pair(a, b))
    }

    /// Whether media can go from one to the other now.
    pub(super) fn joins(&self, a: usize, b: usize) -> bool {
        let connection = self.between(a, b).and_then(|id| self.connections.get(&id));
        connection.is_some_and(|c| c.up == [true; 2] && c.cut.is_none() && !c.over)
    }

    pub(super) fn connect(&mut self, from: usize, to: usize, delay: Duration) -> u32 {
        let id = self.next;
        self.next += 1;
        let connection = Connection {
            ends: [from, to],
            up: [false; 2],
            delay,
            cut: None,
            over: false,
            ordered: [None; 2],
            media_ordered: [None; 2],
            held: Default::default(),
        };
        self.connections.insert(id, connection);
        self.pairs.insert(pair(from, to), id);
        id
    }

    /// Forgets a connection as the one of its pair; its ends may still learn of it.
    pub(super) fn end(&mut self, id: u32) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.over = true;
        let [a, b] = connection.ends;
        if self.pairs.get(&pair(a, b)) == Some(&id) {
            self.pairs.remove(&pair(a, b));
        }
        if connection.up == [false; 2] {
            self.connections.remove(&id);
        }
    }

    /// When a frame arrives at the other end, in order; `None` for one that is held back.
    pub(super) fn frame(&mut self, rng: &mut SmallRng, now: Instant, from: LinkId, frame: Frame) -> Option<(Instant, Frame)> {
        let (id, side) = end(from);
        let jitter = self.weather.jitter.mul_f64(rng.random());
        let connection = self.connections.get_mut(&id).filter(|connection| !connection.over)?;
        if connection.cut.is_some() {
            connection.held.get_mut(side)?.push(frame);
            return None;
        }
        let earliest = now + connection.delay + jitter;
        let ordered = connection.ordered.get_mut(side)?;
        let at = ordered.map_or(earliest, |last| last.max(earliest));
        *ordered = Some(at);
        Some((at, frame))
    }

    /// When a packet arrives at the other end, if it does.
    pub(super) fn media(&mut self, rng: &mut SmallRng, now: Instant, from: LinkId) -> Option<Instant> {
        let (id, side) = end(from);
        let weather = self.weather;
        let (jitter, lost) = (weather.jitter.mul_f64(rng.random()), rng.random_bool(weather.loss));
        let connection = self.connections.get_mut(&id).filter(|connection| !connection.over)?;
        if lost || connection.cut.is_some() {
            return None;
        }
        let earliest = now + connection.delay + jitter;
        let ordered = connection.media_ordered.get_mut(side)?;
        let at = if weather.reorder { earliest } else { ordered.map_or(earliest, |last| last.max(earliest)) };
        *ordered = Some(at);
        Some(at)
    }

    /// Cuts one pair's way. Returns its connection, if there is one.
    pub(super) fn block(&mut self, now: Instant, a: usize, b: usize) -> Option<u32> {
        self.blocked.insert(pair(a, b));
        let id = self.between(a, b)?;
        self.cut(now, id);
        Some(id)
    }

    pub(super) fn cut(&mut self, now: Instant, id: u32) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.cut.get_or_insert(now);
        }
    }

    /// Lets a pair's packets through again. Frames that were held back are to be sent now, if nobody has noticed.
    pub(super) fn unblock(&mut self, a: usize, b: usize) -> Vec<(LinkId, Frame)> {
        self.blocked.remove(&pair(a, b));
        let Some(id) = self.between(a, b) else { return Vec::new() };
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| !connection.over) else { return Vec::new() };
        connection.cut = None;
        let held = std::mem::take(&mut connection.held);
        (0..).zip(held).flat_map(|(side, frames)| frames.into_iter().map(move |frame| (link(id, side), frame))).collect()
    }

    pub(super) fn blocked(&self) -> Vec<(usize, usize)> {
        self.blocked.iter().copied().collect()
    }
}

/// How long an end needs to notice that nothing comes any more.
pub(super) fn detection(rng: &mut SmallRng) -> Duration {
    let span = (DETECTION - DETECTION_LEAST).mul_f64(rng.random());
    DETECTION_LEAST + span
}
