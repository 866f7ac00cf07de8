//! What the members here see of those at other nodes: rosters that change become peers that come and go and tracks that are
//! added and removed. Also ends a session whose identity has a newer one elsewhere. Part of `edge::hub::relay`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::message::{Down, Roll, Up, parts};
use super::roster::{Applied, Card, Change, Delta, Roster};
use super::span::{self, Other};
use crate::edge::hub::farewell::Farewell;
use crate::edge::hub::member::Link;
use crate::edge::hub::room::RoomTrack;
use crate::edge::hub::timers::Wake;
use crate::edge::hub::{Hub, TrackPlace};
use crate::edge::message::{LeaveAction, LeaveReason, ServerMessage, Track};
use crate::id::{MemberId, NodeId, RoomId, TrackId};

/// How long the session of a member that was asked to move stays beside the one it has joined elsewhere. Raising it keeps those
/// longer that nobody lets go of; below the time that a connection and a keyframe take, pictures stop at each move.
const OVERLAP: Duration = Duration::from_secs(5);

impl Hub {
    /// The home of a room with members here speaks.
    pub(super) fn heard_down(&mut self, room: &RoomId, down: Down) {
        match down {
            Down::Roll(roll) => self.roll(room, roll),
            Down::Roster(delta) => self.copy_roster(room, delta),
            Down::Lines(lines) => self.lines(room, lines),
            Down::Passing(passing) => self.passing(room, passing),
            Down::Gone { node, incarnation, reason } => {
                let span = self.rooms.get(room).and_then(|room| room.span.as_ref());
                let other = span.and_then(|span| span.others.get(&node));
                if other.is_some_and(|other| other.roster.incarnation == incarnation) {
                    self.drop_node(room, &node, reason);
                }
            }
        }
    }

    /// The home's answer to a beat, or its word that somebody is gone.
    fn roll(&mut self, id: &RoomId, roll: Roll) {
        let Some(relay) = &self.relay else { return };
        let Some(room) = self.rooms.get_mut(id) else { return };
        let Some(span) = &mut room.span else { return };
        if let Some(beat) = roll.answers.filter(|beat| span.is_answer(*beat)) {
            span.answered(self.now, beat);
            match span.epoch {
                Some(epoch) if epoch == roll.epoch => {}
                None => (span.epoch, span.seen) = (Some(roll.epoch), 0),
                // It forgot the room and has begun anew: it is told what lines there are.
                Some(_) => {
                    span.begin();
                    span.beat_at = self.now;
                }
            }
            span.offers &= span.epoch.is_none() || !roll.lines.is_empty();
        }
        if roll.last > span.seen || !roll.lines.is_empty() {
            // What is missing follows, or is lost too.
            span.beat_at = span.beat_at.min(self.now + span::BEAT_AGAIN);
        }
        for (node, other) in &mut span.others {
            other.unlisted = !roll.nodes.iter().any(|(listed, run)| listed == node && *run >= other.roster.incarnation);
        }
        let me = relay.view.me.clone();
        let rosters = roll.want.map(|since| span.roster.since(&me, since)).unwrap_or_default();
        let wanted: BTreeSet<&str> = roll.lines.iter().map(String::as_str).collect();
        let lines = room.chat.iter().filter(|line| line.to.is_none() && wanted.contains(line.id.as_str()));
        let lines: Vec<_> = lines.cloned().map(std::sync::Arc::new).collect();
        for delta in rosters {
            self.tell_home(id, Up::Roster(delta));
        }
        if !lines.is_empty() {
            for part in parts(lines) {
                self.tell_home(id, Up::Lines(part));
            }
        }
        self.review(id);
    }

    /// Takes in what changed at another node.
    fn copy_roster(&mut self, id: &RoomId, mut delta: Delta) {
        let (Some(relay), Some(room)) = (&self.relay, self.rooms.get_mut(id)) else { return };
        let Some(span) = &mut room.span else { return };
        if delta.node == relay.view.me {
            return;
        }
        // A member is at one node only: who speaks of another's is not heard.
        let node = delta.node.clone();
        let (members, others) = (&self.members, &span.others);
        delta.changed.retain(|(_, card)| {
            let elsewhere = others.iter().any(|(other, known)| *other != node && known.roster.get(card.id).is_some());
            !elsewhere && !members.contains_key(&card.id)
        });
        let known = others.contains_key(&node);
        if !known && others.len() >= super::message::MAX_NODES {
            return;
        }
        let other = span.others.entry(node.clone()).or_insert_with(|| Other {
            roster: Roster::new(delta.incarnation, delta.region.clone()),
            unlisted: false,
            doubted: None,
        });
        match other.roster.apply(&delta, self.config.limits.room_members) {
            Applied::Gap => {
                if !known {
                    span.others.remove(&node);
                }
                span.lacks(self.now);
            }
            Applied::Known => other.unlisted = false,
            Applied::Changed(changes) => {
                other.unlisted = false;
                self.show(id, &node, changes);
            }
        }
    }

    /// Everybody at a node is gone.
    pub(super) fn drop_node(&mut self, id: &RoomId, node: &NodeId, reason: LeaveReason) {
        let Some(span) = self.rooms.get_mut(id).and_then(|room| room.span.as_mut()) else { return };
        if let Some(mut other) = span.others.remove(node) {
            let changes = other.roster.clear(reason);
            self.show(id, node, changes);
        }
    }

    /// Shows the members here what changed at a node.
    fn show(&mut self, id: &RoomId, node: &NodeId, changes: Vec<Change>) {
        let mut met = Vec::new();
        for change in changes {
            match change {
                Change::Came(card) => {
                    self.came(id, node, &card);
                    met.push(card);
                }
                Change::Changed(old, card) => {
                    self.changed(id, node, &old, &card);
                    met.push(card);
                }
                Change::Went(card, reason) => {
                    if !card.hidden {
                        self.tell_room(id, None, ServerMessage::PeerLeft { pid: card.id, reason });
                    }
                    self.withdraw(id, card.id, &self.shown_tracks(id, card.id), false);
                    self.left_watchers(id, &card.identity);
                }
            }
        }
        for card in met {
            self.give_way(id, node, &card);
        }
    }

    fn came(&mut self, id: &RoomId, node: &NodeId, card: &Card) {
        let region = self.rooms.get(id).and_then(|room| room.span.as_ref());
        let Some(other) = region.and_then(|span| span.others.get(node)) else { return };
        if !card.hidden {
            let peer = card.peer(node, &other.roster.region, Vec::new());
            self.tell_room(id, None, ServerMessage::PeerJoined { peer });
        }
        self.add_remote(id, node, card.id, &card.tracks);
        self.quality_came(id, card);
    }

    fn changed(&mut self, id: &RoomId, node: &NodeId, old: &Card, card: &Card) {
        let seen = |card: &Card| (card.name.clone(), card.attrs.clone(), card.hand, card.away);
        if !card.hidden && seen(old) != seen(card) {
            self.tell_room(id, None, card.updated());
        }
        // A track that became another under its id comes anew.
        let same = |a: &Track, b: &Track| (a.id, a.kind, a.source, &a.layers) == (b.id, b.kind, b.source, &b.layers);
        let stays = |track: &&Track| card.tracks.iter().any(|now| same(now, track));
        let gone = old.tracks.iter().filter(|track| !stays(track)).map(|track| track.id);
        let ours = self.shown_tracks(id, card.id);
        let gone: BTreeSet<TrackId> = gone.filter(|track| ours.contains(track)).collect();
        self.withdraw(id, card.id, &gone, true);
        self.add_remote(id, node, card.id, &card.tracks);
        for track in &card.tracks {
            if self.tracks.get(&track.id).is_some_and(|place| place.owner == card.id && place.room == *id) {
                self.set_muted(id, track.id, track.muted);
            }
        }
        if old.quality != card.quality {
            self.quality_came(id, card);
        }
    }

    /// The tracks of a member at another node that are in the room here.
    fn shown_tracks(&self, id: &RoomId, owner: MemberId) -> BTreeSet<TrackId> {
        let tracks = self.rooms.get(id).into_iter().flat_map(|room| &room.tracks);
        tracks.filter(|track| track.owner == owner && track.remote.is_some()).map(|track| track.info.id).collect()
    }

    /// Enters the tracks of a member at another node that are not there yet.
    fn add_remote(&mut self, id: &RoomId, node: &NodeId, owner: MemberId, tracks: &[Track]) {
        let (Some(relay), Some(room)) = (&self.relay, self.rooms.get_mut(id)) else { return };
        let Some(other) = room.span.as_ref().and_then(|span| span.others.get(node)) else { return };
        let origin = (node.clone(), other.roster.incarnation);
        let mut added = Vec::new();
        for info in tracks.iter().take(self.config.limits.tracks) {
            if self.tracks.contains_key(&info.id) {
                continue;
            }
            self.tracks.insert(info.id, TrackPlace { room: id.clone(), owner });
            let layers = info.layers.iter().map(super::super::publish::layer_info).collect();
            let track = RoomTrack {
                info: info.clone(),
                owner,
                shard: relay.shard,
                remote: Some(origin.clone()),
                layers,
                active: None,
                path: Vec::new(),
            };
            for shard in room.told(Some(relay.shard)) {
                let command = crate::edge::media::Command::AddTrack { track: room.spec(&track, shard) };
                self.out.push(crate::edge::hub::Output::Media { shard, command });
            }
            room.tracks.push(track);
            added.push(info.clone());
        }
        if added.is_empty() {
            return;
        }
        for track in added {
            self.tell_room(id, None, ServerMessage::TrackAdded { pid: owner, track });
        }
        self.deal_room(id);
    }

    fn quality_came(&mut self, id: &RoomId, card: &Card) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        if card.quality.is_some() && !card.hidden {
            room.quality_news.insert(card.id);
            self.timers.arm(Wake::Quality(id.clone()), self.now);
        }
    }

    /// Ends the session here of an identity that has a newer one at another node. Every node finds the same from the two cards.
    fn give_way(&mut self, id: &RoomId, node: &NodeId, card: &Card) {
        let (Some(relay), Some(room)) = (&self.relay, self.rooms.get(id)) else { return };
        let Some(own) = room.by_identity.get(&card.identity).copied() else { return };
        let Some(member) = self.members.get(&own) else { return };
        if (card.stamp, node) <= (member.stamp, &relay.view.me) {
            return;
        }
        // Whoever was asked to move lets go by itself, once the other session has pictures.
        match member.sent_to.is_some() && matches!(member.link, Link::Online(_)) {
            true => self.timers.arm(Wake::GiveWay(own), self.now + OVERLAP),
            false => self.replaced_elsewhere(own),
        }
    }

    /// Ends a session for a newer one at another node.
    pub(in crate::edge::hub) fn replaced_elsewhere(&mut self, id: MemberId) {
        self.counters.replaced += 1;
        let text = "the same identity joined from elsewhere".into();
        self.end(id, Farewell::told(LeaveReason::Replaced, LeaveAction::Stop, text));
    }
}
