//! One node's part in a room that may span several: the original of its own roster, copies of the others', how far it is in the
//! home's order of lines, and what it has yet to be sure of. Owns the state and its small steps; `relay` sends and receives.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::home::SEEN_PER_LINE;
use super::message::{Beat, Errand, Known, Placed};
use super::roster::{Card, Roster};
use super::seen::Seen;
use crate::cluster::View;
use crate::edge::hub::Limits;
use crate::edge::message::Chat;
use crate::id::{Identity, MemberId, NodeId, RegionId};

/// How often the home hears that all is well. Shorter heals lost messages sooner, and costs two messages per room and node.
pub(super) const BEAT: Duration = Duration::from_secs(4);

/// A beat that was not answered is repeated after this.
pub(super) const BEAT_AGAIN: Duration = Duration::from_secs(1);

/// A message that is missing is asked for after this: those behind it may be on their way.
pub(super) const GAP: Duration = Duration::from_millis(50);

/// A node that can't be reached, or that the home does not name, keeps its place in the room for this long. Longer shows
/// people who are gone; shorter empties the room on screen at a short cut, and must leave a new home time to hear of everybody.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// What was said and not confirmed is said again after this.
const SAY_AGAIN: Duration = Duration::from_millis(1_500);

/// How often it is said before it is given up.
const SAY_MOST: u32 = 40;

/// Lines of a room that wait to be confirmed; members are refused more.
pub(super) const UNCONFIRMED: usize = 64;

/// Errands of a room that wait to be confirmed, and those of one member: a call begins with some dozens at once, and whoever says
/// more must not keep the others from being heard.
pub(super) const UNCONFIRMED_ERRANDS: usize = 256;
pub(super) const UNCONFIRMED_OF_ONE: usize = 64;

/// Errands that were run are known, so that none is run twice: more than come in the time that one is repeated for.
const RAN: usize = 4_096;

/// What a node knows and does of a room beyond itself.
#[derive(Debug)]
pub(in crate::edge::hub) struct Span {
    /// The node that is the room's home, and which run of it, once it was told of us.
    pub(super) home: Option<(NodeId, u64)>,
    /// Of this node's members.
    pub(super) roster: Roster,
    /// Whose numbering of lines it follows, and the last it has.
    pub(super) epoch: Option<u64>,
    pub(super) seen: u64,
    pub(super) beat_at: Instant,
    /// Beats sent.
    beats: u64,
    /// The first beat to this home; what it said before is of another time.
    first_beat: u64,
    /// The home is told what lines there are, until it has them all.
    pub(super) offers: bool,
    /// Something was found missing since the last beat.
    lacks: bool,
    /// The other nodes with members of the room.
    pub(super) others: BTreeMap<NodeId, Other>,
    /// Lines that were shown.
    pub(in crate::edge::hub) shown: Seen,
    /// Errands that were run.
    pub(super) ran: Seen,
    /// Lines of our members that the home has not put in its order.
    pub(super) lines: VecDeque<Unconfirmed<Arc<Chat>>>,
    pub(super) errands: VecDeque<Unconfirmed<(u64, NodeId, Errand)>>,
}

/// Another node's part.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) roster: Roster,
    /// The home does not name it.
    pub(super) unlisted: bool,
    /// Since when it is not sure that it is still there.
    pub(super) doubted: Option<Instant>,
}

/// What was said and is said again.
#[derive(Debug)]
pub(super) struct Unconfirmed<T> {
    pub(super) what: T,
    said: Instant,
    times: u32,
}

impl<T> Unconfirmed<T> {
    pub(super) fn new(what: T, now: Instant) -> Self {
        Self { what, said: now, times: 1 }
    }
}

/// Takes what is due to be said again; what was said often enough is given up.
pub(super) fn due<T: Clone>(queue: &mut VecDeque<Unconfirmed<T>>, now: Instant) -> Vec<T> {
    queue.retain(|item| item.times < SAY_MOST || now < item.said + SAY_AGAIN);
    let due = queue.iter_mut().filter(|item| now >= item.said + SAY_AGAIN);
    due.map(|item| {
        (item.said, item.times) = (now, item.times + 1);
        item.what.clone()
    })
    .collect()
}

impl Span {
    pub(in crate::edge::hub) fn new(incarnation: u64, region: RegionId, limits: &Limits, now: Instant) -> Self {
        Self {
            home: None,
            roster: Roster::new(incarnation, region),
            epoch: None,
            seen: 0,
            beat_at: now,
            beats: 0,
            first_beat: 1,
            offers: true,
            lacks: false,
            others: BTreeMap::new(),
            shown: Seen::new(limits.chat_kept * SEEN_PER_LINE),
            ran: Seen::new(RAN),
            lines: VecDeque::new(),
            errands: VecDeque::new(),
        }
    }

    /// A member at another node, and which.
    pub(in crate::edge::hub) fn find(&self, id: MemberId) -> Option<(&NodeId, &Arc<Card>)> {
        self.others.iter().find_map(|(node, other)| Some((node, other.roster.get(id)?)))
    }

    /// Everybody at other nodes.
    pub(in crate::edge::hub) fn elsewhere(&self) -> impl Iterator<Item = (&NodeId, &RegionId, &Arc<Card>)> {
        self.others.iter().flat_map(|(node, other)| other.roster.cards().map(move |card| (node, &other.roster.region, card)))
    }

    /// How many members other nodes have.
    pub(in crate::edge::hub) fn count(&self) -> usize {
        self.others.values().map(|other| other.roster.len()).sum()
    }

    /// Whether any other node has members of the room.
    pub(in crate::edge::hub) fn is_shared(&self) -> bool {
        !self.others.is_empty()
    }

    /// The latest session of an identity at other nodes.
    pub(in crate::edge::hub) fn latest(&self, identity: &Identity) -> Option<u64> {
        self.elsewhere().filter(|(_, _, card)| card.identity == *identity).map(|(_, _, card)| card.stamp).max()
    }

    /// The node that is the room's home.
    pub(in crate::edge::hub) fn home(&self) -> Option<&NodeId> {
        self.home.as_ref().map(|(node, _)| node)
    }

    pub(super) fn is_home(&self, node: &NodeId) -> bool {
        self.home() == Some(node)
    }

    /// What the home is told of how far we are.
    pub(super) fn beat<'a>(&mut self, now: Instant, lines: impl Iterator<Item = &'a Chat>) -> Beat {
        self.beat_at = now + BEAT_AGAIN;
        self.lacks = false;
        self.beats += 1;
        let known = |(node, other): (&NodeId, &Other)| Known {
            node: node.clone(),
            incarnation: other.roster.incarnation,
            version: other.roster.version,
        };
        let lines = lines.filter(|line| self.offers && line.to.is_none());
        Beat {
            number: self.beats,
            incarnation: self.roster.incarnation,
            version: self.roster.version,
            known: self.others.iter().map(known).collect(),
            epoch: self.epoch,
            seen: self.seen,
            lines: lines.map(|line| Placed { id: line.id.clone(), at: line.at }).collect(),
        }
    }

    /// Marks who is in doubt; the nodes that have been for too long, or were started anew since.
    pub(super) fn review(&mut self, now: Instant, view: &View) -> Vec<NodeId> {
        let mut lost = Vec::new();
        for (id, other) in &mut self.others {
            let info = view.nodes.get(id);
            if info.is_some_and(|info| info.incarnation > other.roster.incarnation) {
                lost.push(id.clone());
                continue;
            }
            if info.is_some() && !other.unlisted {
                other.doubted = None;
            } else if now >= *other.doubted.get_or_insert(now) + GRACE {
                lost.push(id.clone());
            }
        }
        lost
    }

    /// Nothing waits to be confirmed, and nobody is in doubt.
    #[cfg(test)]
    pub(in crate::edge::hub) fn is_calm(&self) -> bool {
        self.lines.is_empty() && self.errands.is_empty() && self.others.values().all(|other| other.doubted.is_none())
    }

    /// Something is missing: the home is asked soon.
    pub(super) fn lacks(&mut self, now: Instant) {
        self.lacks = true;
        self.beat_at = self.beat_at.min(now + GAP);
    }

    /// Begins anew with a home that may know nothing.
    pub(super) fn begin(&mut self) {
        (self.epoch, self.seen, self.offers) = (None, 0, true);
        self.first_beat = self.beats + 1;
    }

    /// Whether it answers a beat since [`Span::begin`].
    pub(super) fn is_answer(&self, beat: u64) -> bool {
        beat >= self.first_beat
    }

    /// The home has answered: the next beat has time, unless something is missing.
    pub(super) fn answered(&mut self, now: Instant, beat: u64) {
        if !self.lacks && beat == self.beats {
            self.beat_at = self.beat_at.max(now + BEAT);
        }
    }

    /// When there is something to do by itself.
    pub(super) fn deadline(&self) -> Instant {
        let doubts = self.others.values().filter_map(|other| Some(other.doubted? + GRACE));
        let lines = self.lines.iter().map(|line| line.said + SAY_AGAIN);
        let errands = self.errands.iter().map(|errand| errand.said + SAY_AGAIN);
        doubts.chain(lines).chain(errands).fold(self.beat_at, Instant::min)
    }
}
