//! A room's home: it keeps a copy of every node's roster, puts lines of chat in one order, and passes everything on. It shows
//! nothing to anybody itself; the node it is on takes part in the room like any other, if it has members of it. Pure: told the
//! time, it says what to tell whom.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{Beat, Down, Known, Lines, MAX_NODES, Passing, Roll, Up, parts};
use super::roster::{Applied, Delta, Roster};
use super::seen::Seen;
use crate::cluster::View;
use crate::edge::hub::Limits;
use crate::edge::message::Chat;
use crate::id::{NodeId, RegionId};

/// A node that says nothing for so long has nobody in the room any more. Longer than three beats.
pub(super) const LEASE: Duration = Duration::from_secs(15);

/// A roster is asked for again after this at the earliest.
const WANT_AGAIN: Duration = Duration::from_millis(300);

/// Ids of lines that are remembered, per line kept: repeats of older ones would be taken as new.
pub(super) const SEEN_PER_LINE: usize = 8;

/// How far ahead of our clock the time of a line may be, in milliseconds; all later lines come after it.
const MAX_AHEAD_MS: u64 = 60_000;

/// A room as its home knows it.
#[derive(Debug)]
pub(super) struct Home {
    /// Names the numbering of lines.
    epoch: u64,
    /// The newest lines with their numbers.
    lines: VecDeque<(u64, Arc<Chat>)>,
    last: u64,
    last_at: u64,
    seen: Seen,
    nodes: BTreeMap<NodeId, Attached>,
}

/// A node with members of the room.
#[derive(Debug)]
struct Attached {
    roster: Roster,
    heard: Instant,
    /// When its roster was asked for.
    wanted: Option<Instant>,
}

/// Who is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum To {
    Node(NodeId),
    AllBut(NodeId),
    All,
}

/// What a home is told the time by, and what it may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) now: Instant,
    pub(super) unix_ms: u64,
    pub(super) limits: &'a Limits,
}

impl Home {
    pub(super) fn new(epoch: u64, limits: &Limits) -> Self {
        Self {
            epoch,
            lines: VecDeque::new(),
            last: 0,
            last_at: 0,
            seen: Seen::new(limits.chat_kept * SEEN_PER_LINE),
            nodes: BTreeMap::new(),
        }
    }

    /// Nobody is in the room.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.keys()
    }

    /// When [`Home::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.nodes.values().map(|node| node.heard + LEASE).min()
    }

    /// Takes in what a node says.
    pub(super) fn hear(&mut self, terms: Terms<'_>, from: &NodeId, up: Up, out: &mut Vec<(To, Down)>) {
        match up {
            Up::Beat(beat) => self.beat(terms, from, &beat, out),
            Up::Roster(delta) => self.roster(terms, from, delta, out),
            Up::Line(line) => self.line(terms, from, line, out),
            Up::Lines(lines) => self.merge(terms, from, lines, out),
            Up::Passing(passing) => self.pass(from, passing, out),
            Up::Detach { incarnation, reason } => {
                if self.nodes.get(from).is_some_and(|node| node.roster.incarnation == incarnation) {
                    self.nodes.remove(from);
                    out.push((To::All, Down::Gone { node: from.clone(), incarnation, reason }));
                }
            }
        }
    }

    /// Forgets who was not heard of for long, and who can't be reached; the others are told who is left.
    pub(super) fn tick(&mut self, now: Instant, view: &View, out: &mut Vec<(To, Down)>) {
        let before = self.nodes.len();
        self.nodes.retain(|id, node| {
            let reached = view.nodes.get(id).is_some_and(|info| info.incarnation <= node.roster.incarnation);
            reached && now < node.heard + LEASE
        });
        if self.nodes.len() != before {
            out.push((To::All, self.roll(None, None, Vec::new())));
        }
    }

    /// The entry of a node that speaks; a new one if there is room. A node that was started anew has a new one.
    fn attached(&mut self, now: Instant, from: &NodeId, incarnation: u64, region: Option<&RegionId>) -> Option<&mut Attached> {
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(from) {
            return None;
        }
        let node = self.nodes.entry(from.clone()).or_insert_with(|| Attached {
            roster: Roster::new(incarnation, region.cloned().unwrap_or_else(|| RegionId::new(""))),
            heard: now,
            wanted: None,
        });
        if incarnation < node.roster.incarnation {
            return None;
        }
        node.heard = now;
        Some(node)
    }

    fn beat(&mut self, terms: Terms<'_>, from: &NodeId, beat: &Beat, out: &mut Vec<(To, Down)>) {
        let Some(node) = self.attached(terms.now, from, beat.incarnation, None) else { return };
        let have = if node.roster.incarnation == beat.incarnation { node.roster.version } else { 0 };
        let want = (have < beat.version).then_some(have);
        if want.is_some() {
            node.wanted = Some(terms.now);
        }
        let follows = beat.epoch == Some(self.epoch);
        let lacking = beat.lines.iter().map(|line| &line.id).filter(|id| !self.seen.contains(id)).cloned().collect();
        out.push((To::Node(from.clone()), self.roll(Some(beat.number), want, lacking)));

        for (id, node) in self.nodes.iter().filter(|(id, _)| *id != from) {
            let known = |known: &&Known| known.node == *id && known.incarnation == node.roster.incarnation;
            let version = beat.known.iter().find(known).map_or(0, |known| known.version);
            let lacks = node.roster.since(id, version);
            out.extend(lacks.into_iter().map(|delta| (To::Node(from.clone()), Down::Roster(delta))));
        }
        let since = if follows { beat.seen } else { 0 };
        if since < self.last {
            let has = |line: &Chat| beat.lines.iter().any(|known| known.id == line.id && known.at == line.at);
            let lines = self.lines.iter().filter(|(number, line)| *number > since && (follows || !has(line)));
            let lines = lines.map(|(_, line)| Arc::clone(line)).collect();
            self.tell_lines(&To::Node(from.clone()), since, lines, out);
        }
    }

    fn roster(&mut self, terms: Terms<'_>, from: &NodeId, delta: Delta, out: &mut Vec<(To, Down)>) {
        if delta.node != *from {
            return;
        }
        let Some(node) = self.attached(terms.now, from, delta.incarnation, Some(&delta.region)) else { return };
        match node.roster.apply(&delta, terms.limits.room_members) {
            Applied::Known => {}
            Applied::Changed(_) => {
                node.wanted = None;
                out.push((To::AllBut(from.clone()), Down::Roster(delta)));
            }
            Applied::Gap if node.wanted.is_some_and(|at| terms.now < at + WANT_AGAIN) => {}
            Applied::Gap => {
                node.wanted = Some(terms.now);
                let have = if node.roster.incarnation == delta.incarnation { node.roster.version } else { 0 };
                out.push((To::Node(from.clone()), self.roll(None, Some(have), Vec::new())));
            }
        }
    }

    /// Gives a line its place. One that was taken already is told again to who repeats it: it missed it.
    fn line(&mut self, terms: Terms<'_>, from: &NodeId, line: Arc<Chat>, out: &mut Vec<(To, Down)>) {
        if self.nodes.get(from).is_none_or(|node| node.roster.get(line.from).is_none()) {
            return;
        }
        if self.seen.contains(&line.id) {
            if let Some((number, line)) = self.lines.iter().find(|(_, known)| known.id == line.id) {
                let lines = Lines { epoch: self.epoch, since: number - 1, upto: *number, lines: vec![Arc::clone(line)] };
                out.push((To::Node(from.clone()), Down::Lines(lines)));
            }
            return;
        }
        let at = terms.unix_ms.max(self.last_at + 1);
        let since = self.last;
        let line = Arc::new(Chat { at, ..Chat::clone(&line) });
        self.keep(Arc::clone(&line), terms.limits.chat_kept);
        self.tell_lines(&To::All, since, vec![line], out);
    }

    /// Takes over lines of the home before, or of the other side of a cut.
    fn merge(&mut self, terms: Terms<'_>, from: &NodeId, lines: Vec<Arc<Chat>>, out: &mut Vec<(To, Down)>) {
        if !self.nodes.contains_key(from) {
            return;
        }
        let (since, mut fresh) = (self.last, Vec::new());
        for line in lines {
            if self.seen.contains(&line.id) {
                continue;
            }
            let latest = terms.unix_ms.saturating_add(MAX_AHEAD_MS);
            let line = if line.at > latest { Arc::new(Chat { at: latest, ..Chat::clone(&line) }) } else { line };
            self.keep(Arc::clone(&line), terms.limits.chat_kept);
            fresh.push(line);
        }
        if !fresh.is_empty() {
            self.tell_lines(&To::All, since, fresh, out);
        }
    }

    fn keep(&mut self, line: Arc<Chat>, most: usize) {
        self.seen.insert(&line.id);
        self.last += 1;
        self.last_at = self.last_at.max(line.at);
        self.lines.push_back((self.last, line));
        if self.lines.len() > most {
            self.lines.pop_front();
        }
    }

    /// Tells the newest lines, of which `since` is the number before; those not in `lines` are known to the receiver.
    fn tell_lines(&self, to: &To, since: u64, lines: Vec<Arc<Chat>>, out: &mut Vec<(To, Down)>) {
        let mut parts = parts(lines).into_iter().peekable();
        let mut from = since;
        while let Some(lines) = parts.next() {
            let number =
                |line: &Arc<Chat>| self.lines.iter().rev().find(|(_, kept)| kept.id == line.id).map(|(number, _)| *number);
            let upto = if parts.peek().is_some() { lines.last().and_then(number).unwrap_or(from) } else { self.last };
            out.push((to.clone(), Down::Lines(Lines { epoch: self.epoch, since: from, upto, lines })));
            from = upto;
        }
    }

    fn pass(&self, from: &NodeId, passing: Passing, out: &mut Vec<(To, Down)>) {
        if self.nodes.len() > 1 && self.nodes.get(from).is_some_and(|node| node.roster.get(passing.from()).is_some()) {
            out.push((To::AllBut(from.clone()), Down::Passing(passing)));
        }
    }

    fn roll(&self, answers: Option<u64>, want: Option<u64>, lines: Vec<String>) -> Down {
        let nodes = self.nodes.iter().map(|(id, node)| (id.clone(), node.roster.incarnation)).collect();
        Down::Roll(Roll { answers, epoch: self.epoch, last: self.last, nodes, want, lines })
    }
}

#[cfg(test)]
mod tests {
    use super::super::roster::tests::card;
    use super::*;

    fn line(id: &str, from: u64, at: u64) -> Arc<Chat> {
        let from = crate::id::MemberId(from);
        Arc::new(Chat { id: id.into(), cid: String::new(), from, name: "n".into(), to: None, text: id.into(), at })
    }

    fn told(out: Vec<(To, Down)>) -> Vec<(To, Vec<String>)> {
        let lines = |(to, down)| match down {
            Down::Lines(lines) => Some((to, lines.lines.iter().map(|line| line.id.clone()).collect())),
            _ => None,
        };
        out.into_iter().filter_map(lines).collect()
    }

    fn attached(limits: &Limits, now: Instant, nodes: &[(&str, u64)]) -> Home {
        let mut home = Home::new(9, limits);
        for (node, member) in nodes {
            let mut roster = Roster::new(1, RegionId::new("r"));
            roster.set(1, card(*member, "x"));
            let node = NodeId::new(*node);
            for delta in roster.since(&node, 0) {
                home.hear(Terms { now, unix_ms: 1_000, limits }, &node, Up::Roster(delta), &mut Vec::new());
            }
        }
        home
    }

    #[test]
    fn a_line_gets_one_place_however_often_it_is_said_and_only_by_its_own_node() {
        let (limits, now) = (Limits::default(), Instant::now());
        let (a, b) = (NodeId::new("a"), NodeId::new("b"));
        let mut home = attached(&limits, now, &[("a", 1), ("b", 2)]);
        let terms = Terms { now, unix_ms: 1_000, limits: &limits };
        let mut say = |from: &NodeId, line| {
            let mut out = Vec::new();
            home.hear(terms, from, Up::Line(line), &mut out);
            told(out)
        };
        assert_eq!(say(&a, line("one", 1, 77)), [(To::All, vec!["one".to_owned()])]);
        assert_eq!(say(&a, line("one", 1, 77)), [(To::Node(a.clone()), vec!["one".to_owned()])]);
        assert_eq!(say(&b, line("two", 1, 77)), [], "not a member of that node");
        assert_eq!(say(&b, line("two", 2, 77)).len(), 1);
        let times: Vec<u64> = home.lines.iter().map(|(_, line)| line.at).collect();
        assert_eq!(times, [1_000, 1_001], "the home's clock counts, and no two are equal");
    }

    #[test]
    fn a_node_that_is_silent_or_out_of_reach_is_forgotten_and_the_others_hear_of_it() {
        let (limits, now) = (Limits::default(), Instant::now());
        let mut home = attached(&limits, now, &[("a", 1), ("b", 2)]);
        let info = |id: &str| crate::cluster::NodeInfo {
            id: NodeId::new(id),
            region: RegionId::new("r"),
            role: crate::cluster::Role::Both,
            incarnation: 1,
            draining: false,
            url: None,
            addr: None,
        };
        let mut out = Vec::new();
        home.tick(now, &View::alone(info("a")), &mut out);
        assert!(matches!(&out[..], [(To::All, Down::Roll(roll))] if roll.nodes == [(NodeId::new("a"), 1)]));
        home.tick(now + LEASE - Duration::from_millis(1), &View::alone(info("a")), &mut out);
        assert!(!home.is_empty());
        assert_eq!(home.deadline(), Some(now + LEASE));
        home.tick(now + LEASE, &View::alone(info("a")), &mut out);
        assert!(home.is_empty());
    }
}
