//! Rooms that span nodes. Each node owns the *roster* of its own members and tells it to the room's *home*, the node that
//! [`View::home`] names; the home passes rosters on, puts lines of chat in one order, and may have no members of the room
//! itself. Part of `edge::hub`.
//!
//! ```text
//!   node with members (Span) ── Up: beat, roster, line ──▶ home (Home) ── Down: roll, rosters, lines ──▶ every such node
//! ```
//!
//! Messages may be lost at any time, so all of them are facts with versions, and there is one way to heal: a node's *beat* says
//! how far it is, and the home answers with what it lacks. A beat is sent every few seconds, and soon after a gap was noticed.
//! When the view names another home, everybody tells the new one all it knows, and goes on with what it has meanwhile.
//!
//! - `roster`: cards of members with versions; originals, copies, deltas
//! - `message`: what is said, and how much of it
//! - `home`: the home's side; `span`: the side of a node with members
//! - `presence`: what members see of changes in copies
//! - `talk`: chat, reactions, data and an admin's acts across nodes

mod home;
mod message;
mod presence;
mod roster;
mod seen;
mod span;
mod talk;
#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rand::RngExt;

use super::Hub;
use super::timers::Wake;
use crate::cluster::{NodeInfo, View};
use crate::edge::media::Command;
use crate::edge::message::LeaveReason;
use crate::id::{MemberId, NodeId, RoomId, ShardId};
use home::{Home, Terms, To};
use message::{Down, Message, Up};
pub(super) use roster::Card;
pub(super) use span::Span;

/// Rooms this node is the home of. A node of a sound cluster opens no more than its own limit; this is against one that is not.
const HOMES: usize = 50_000;

/// How this node is tied to the others.
#[derive(Debug)]
pub(super) struct Relay {
    /// The cascade's shard.
    pub(super) shard: ShardId,
    pub(super) view: View,
    /// The rooms that this node is the home of.
    homes: BTreeMap<RoomId, Home>,
    /// Of the latest change of any roster here.
    version: u64,
    /// Members whose cards may have changed, and why they went if they did.
    changed: BTreeMap<RoomId, BTreeMap<MemberId, LeaveReason>>,
    /// What this node's rooms say to its own homes, and back.
    inbox: VecDeque<(RoomId, Message)>,
}

impl Relay {
    /// On its own until the first view comes.
    pub(super) fn new(shard: ShardId, config: &super::Config) -> Self {
        let me = NodeInfo::unknown(config.node.clone(), config.region.clone());
        Self {
            shard,
            view: View::alone(me),
            homes: BTreeMap::new(),
            version: 0,
            changed: BTreeMap::new(),
            inbox: VecDeque::new(),
        }
    }

    /// A member's card may have changed; or it went, for this reason.
    pub(super) fn mark(&mut self, room: &RoomId, member: MemberId, reason: LeaveReason) {
        self.changed.entry(room.clone()).or_default().insert(member, reason);
    }

    pub(super) fn incarnation(&self) -> u64 {
        self.view.nodes.get(&self.view.me).map_or(0, |me| me.incarnation)
    }

    /// Whether this node is a room's home.
    #[cfg(test)]
    pub(super) fn homes_of(&self, room: &RoomId) -> bool {
        self.homes.contains_key(room)
    }

    #[cfg(test)]
    pub(super) fn home_count(&self) -> usize {
        self.homes.len()
    }

    fn is_me(&self, node: &NodeId) -> bool {
        self.view.me == *node
    }
}

impl Hub {
    /// A member's card may have changed.
    pub(super) fn mark(&mut self, room: &RoomId, member: MemberId) {
        if let Some(relay) = &mut self.relay {
            relay.mark(room, member, LeaveReason::Left);
        }
    }

    /// Tells the homes what changed, and lets this node's own homes and rooms hear each other, until all is said.
    pub(super) fn settle(&mut self) {
        while let Some(relay) = &mut self.relay {
            if let Some((room, message)) = relay.inbox.pop_front() {
                let me = relay.view.me.clone();
                self.heard(&me, &room, message);
            } else if let Some((room, members)) = relay.changed.pop_first() {
                self.tell_roster(&room, members);
            } else {
                return;
            }
        }
    }

    /// Takes over which nodes can be reached. Rooms whose home is another one now are told there.
    pub(super) fn cluster(&mut self, view: View) {
        let Some(relay) = &mut self.relay else { return };
        if view.me != relay.view.me {
            return;
        }
        relay.view = view;
        let homes: Vec<RoomId> = relay.homes.keys().cloned().collect();
        let rooms: Vec<RoomId> = self.rooms.keys().cloned().collect();
        for room in rooms {
            self.find_home(&room);
            self.review(&room);
        }
        for room in homes {
            self.tend_home(&room);
        }
        self.edges_changed();
    }

    /// Sees to it that a room is told to the home it has now.
    fn find_home(&mut self, id: &RoomId) {
        let (Some(relay), Some(room)) = (&self.relay, self.rooms.get_mut(id)) else { return };
        let Some(span) = &mut room.span else { return };
        span.roster.incarnation = relay.incarnation();
        let node = relay.view.home(id).clone();
        let run = relay.view.nodes.get(&node).map_or(0, |info| info.incarnation);
        if span.home.as_ref() == Some(&(node.clone(), run)) {
            return;
        }
        span.home = Some((node, run));
        span.begin();
        for other in span.others.values_mut() {
            other.unlisted = false;
        }
        let me = relay.view.me.clone();
        for delta in span.roster.since(&me, 0) {
            self.tell_home(id, Up::Roster(delta));
        }
        self.beat(id);
        self.repeat_lines(id);
    }

    /// Tells a room's home which members came, changed and went.
    fn tell_roster(&mut self, id: &RoomId, members: BTreeMap<MemberId, LeaveReason>) {
        let (Some(relay), Some(room)) = (&mut self.relay, self.rooms.get_mut(id)) else { return };
        let mut cards = Vec::new();
        for (member, reason) in members {
            let card = self.members.get(&member).filter(|member| member.room == *id);
            cards.push((member, reason, card.map(|member| Arc::new(member.card(room)))));
        }
        let Some(span) = &mut room.span else { return };
        let since = span.roster.version;
        let (mut changed, mut gone) = (Vec::new(), Vec::new());
        for (member, reason, card) in cards {
            match card {
                Some(card) if span.roster.get(member) == Some(&card) => {}
                Some(card) => {
                    relay.version += 1;
                    span.roster.set(relay.version, Arc::clone(&card));
                    changed.push((relay.version, card));
                }
                None => {
                    if span.roster.remove(relay.version + 1, member) {
                        relay.version += 1;
                        gone.push((member, reason));
                    }
                }
            }
        }
        if span.home.is_none() {
            return self.find_home(id);
        }
        if changed.is_empty() && gone.is_empty() {
            return;
        }
        let delta = roster::Delta {
            node: relay.view.me.clone(),
            region: span.roster.region.clone(),
            incarnation: span.roster.incarnation,
            since,
            version: span.roster.version,
            changed,
            gone,
            present: None,
        };
        self.tell_home(id, Up::Roster(delta));
    }

    /// The last member here left: the home hears of it, and nothing of other nodes is kept.
    pub(super) fn detach(&mut self, id: &RoomId, span: Span, reason: LeaveReason) {
        let Some(relay) = &mut self.relay else { return };
        relay.changed.remove(id);
        if let Some((home, _)) = span.home {
            let incarnation = span.roster.incarnation;
            self.send_all(&[home], id, Message::Up(Up::Detach { incarnation, reason }));
        }
    }

    /// A room's own timer.
    pub(super) fn tend_span(&mut self, id: &RoomId) {
        let Some(span) = self.rooms.get(id).and_then(|room| room.span.as_ref()) else { return };
        if span.beat_at <= self.now {
            self.beat(id);
        }
        self.repeat(id);
        self.review(id);
    }

    fn beat(&mut self, id: &RoomId) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        let Some(span) = &mut room.span else { return };
        let beat = span.beat(self.now, room.chat.iter());
        self.tell_home(id, Up::Beat(beat));
        self.schedule(id);
    }

    /// Lets go of nodes that have been out of reach, or without a place at the home, for too long.
    fn review(&mut self, id: &RoomId) {
        let Some(relay) = &self.relay else { return };
        let Some(span) = self.rooms.get_mut(id).and_then(|room| room.span.as_mut()) else { return };
        for node in span.review(self.now, &relay.view) {
            self.drop_node(id, &node, LeaveReason::TimedOut);
        }
        self.schedule(id);
    }

    /// Sets a room's timer to what it has to do next.
    fn schedule(&mut self, id: &RoomId) {
        if let Some(span) = self.rooms.get(id).and_then(|room| room.span.as_ref()) {
            self.timers.set(Wake::Span(id.clone()), span.deadline());
        }
    }

    /// Forgets nodes that a room of which this is the home has lost, and the room when it has none.
    pub(super) fn tend_home(&mut self, id: &RoomId) {
        let Some(relay) = &mut self.relay else { return };
        let Some(home) = relay.homes.get_mut(id) else { return };
        let mut out = Vec::new();
        home.tick(self.now, &relay.view, &mut out);
        self.tell_nodes(id, out);
    }

    /// A body from another node.
    pub(super) fn room_message(&mut self, from: &NodeId, room: &RoomId, body: &Bytes) {
        let Some(relay) = &mut self.relay else { return };
        // Who is not in the view can't be answered; it repeats what matters.
        if relay.is_me(from) || !relay.view.nodes.contains_key(from) {
            return;
        }
        match message::parse(body, &self.config.limits) {
            Some(message) => self.heard(from, room, message),
            None => {
                self.counters.bodies_refused += 1;
                tracing::debug!(%from, %room, "a message of another node's room can't be read");
            }
        }
    }

    fn heard(&mut self, from: &NodeId, room: &RoomId, message: Message) {
        match message {
            Message::Up(up) => self.heard_up(from, room, up),
            Message::Down(down) => {
                let span = self.rooms.get(room).and_then(|room| room.span.as_ref());
                if span.is_some_and(|span| span.is_home(from)) {
                    self.heard_down(room, down);
                    self.schedule(room);
                }
            }
            Message::Errand { id, errand } => self.run_errand(from, room, id, errand),
            Message::Done { id } => self.errand_done(from, room, id),
        }
    }

    /// As the room's home.
    fn heard_up(&mut self, from: &NodeId, id: &RoomId, up: Up) {
        let Some(relay) = &mut self.relay else { return };
        if !relay.homes.contains_key(id) {
            if !matches!(up, Up::Beat(_) | Up::Roster(_)) || relay.homes.len() >= HOMES {
                return;
            }
            relay.homes.insert(id.clone(), Home::new(self.rng.random(), &self.config.limits));
        }
        let Some(home) = relay.homes.get_mut(id) else { return };
        let (at, unix) = self.clock;
        let passed = self.now.saturating_duration_since(at).as_millis();
        let unix_ms = unix.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX));
        let mut out = Vec::new();
        home.hear(Terms { now: self.now, unix_ms, limits: &self.config.limits }, from, up, &mut out);
        self.tell_nodes(id, out);
    }

    /// Carries out what a home says; forgets a home without anybody.
    fn tell_nodes(&mut self, id: &RoomId, out: Vec<(To, Down)>) {
        let Some(relay) = &mut self.relay else { return };
        let Some(home) = relay.homes.get(id) else { return };
        let nodes: Vec<NodeId> = home.nodes().cloned().collect();
        match home.deadline() {
            Some(at) => self.timers.set(Wake::Home(id.clone()), at),
            None => {
                self.timers.clear(&Wake::Home(id.clone()));
                relay.homes.remove(id);
            }
        }
        for (to, down) in out {
            let message = Message::Down(down);
            let told: Vec<NodeId> = match to {
                To::Node(node) => vec![node],
                To::AllBut(node) => nodes.iter().filter(|other| **other != node).cloned().collect(),
                To::All => nodes.clone(),
            };
            self.send_all(&told, id, message);
        }
    }

    fn tell_home(&mut self, room: &RoomId, up: Up) {
        let home = self.rooms.get(room).and_then(|room| room.span.as_ref()).and_then(|span| span.home().cloned());
        if let Some(home) = home {
            self.send_all(&[home], room, Message::Up(up));
        }
    }

    /// Sends one message to several nodes; what is for this node stays here.
    fn send_all(&mut self, nodes: &[NodeId], room: &RoomId, message: Message) {
        let Some(relay) = &mut self.relay else { return };
        let here = nodes.iter().any(|node| relay.is_me(node));
        if nodes.len() > usize::from(here) {
            let Some(body) = message::encode(&message) else { return };
            for to in nodes.iter().filter(|node| !relay.is_me(node)) {
                let command = Command::Room { to: to.clone(), room: room.clone(), body: body.clone() };
                self.out.push(super::Output::Media { shard: relay.shard, command });
            }
        }
        if here {
            relay.inbox.push_back((room.clone(), message));
        }
    }

    /// What a new room needs to span nodes; `None` for a node on its own.
    pub(super) fn new_span(&self) -> Option<Span> {
        let relay = self.relay.as_ref()?;
        Some(Span::new(relay.incarnation(), self.config.region.clone(), &self.config.limits, self.now))
    }
}
