//! Voices on their way through the router: which microphones of a room are passed on, and from which packet. Owns the two gates of
//! each microphone, one toward other shards and nodes and one toward the peers here; who goes through, `policy::loudest` decides, and
//! what a voice is, `policy::speaker`. A gate is looked at once for a packet, ahead of the walk over its sinks.
//!
//! ```text
//!   publisher's shard                shard of the links            shard with members
//!   loudest of its peers ──pipe──▶  loudest of the node ──link──▶ … ──pipe──▶ loudest of all that comes ──▶ peers
//! ```
//!
//! A gate that opens replays the last packets, so that the first syllable is heard, and shards further on see the same beginning
//! of speech in the same moment. While it is shut nothing is sent; numbering goes on without a gap where it stopped, and
//! timestamps with the time that passed, as after a sender's own silence (RFC 3551 §4.1).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Router;
use super::egress::{EgressKey, State};
use super::event::{Feed, Output, Upstream};
use super::track::Track;
use crate::id::{RoomId, TrackId};
use crate::policy::loudest::{Loudest, Sound};
use crate::policy::speaker::{Activity, Reading};
use crate::rtp::{AudioLevel, Kind, Layer, Packet};

/// Packets before the one that opened a gate which are sent along: 60 ms of sound that said so, and as much before it.
/// More brings softer beginnings and has the receiver catch up for as long.
const PREROLL: u64 = 5;

/// Who is bound this soon after its gate opened gets the beginning too: signaling had to be asked for a slot.
const LATE: Duration = Duration::from_millis(200);

/// What enters a node or a shard, of which no more than the loudest are passed on to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    /// What this shard's peers publish.
    Peers,
    /// What comes over pipes: the shard of the links passes it on to other nodes.
    Pipes,
}

/// How a router chooses among microphones. By default it doesn't.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// How many are passed on; 0: all.
    pub(super) loudest: usize,
    pub(super) ingress: Ingress,
}

/// The microphones of one room.
#[derive(Debug)]
pub(super) struct Microphones {
    tracks: Vec<TrackId>,
    /// How many of them enter here.
    entering: usize,
    /// Among those that enter here, for others.
    onward: Loudest<TrackId>,
    /// Among all, for the peers here.
    here: Loudest<TrackId>,
    /// Somebody here listens to one of them, so all that pass are wanted.
    listened: bool,
}

/// What the router knows of an audio track's voice.
#[derive(Debug, Default)]
pub(super) struct Voice {
    activity: Activity,
    /// Whose microphone it is, if it is one.
    room: Option<RoomId>,
    onward: Gate,
    here: Gate,
}

/// Whether packets pass.
#[derive(Clone, Copy, Debug)]
enum Gate {
    /// From which packet on and since when, if it was shut before.
    Open(Option<(u64, Instant)>),
    /// The last packet that passed.
    Shut(Option<u64>),
}

impl Default for Gate {
    fn default() -> Self {
        Self::Open(None)
    }
}

impl Gate {
    const fn is_open(self) -> bool {
        matches!(self, Self::Open(_))
    }

    /// Where what it lets pass begins.
    fn start(self, newest: u64) -> u64 {
        let first = newest.saturating_sub(PREROLL);
        match self {
            Self::Shut(Some(last)) => first.max(last + 1),
            Self::Shut(None) | Self::Open(_) => first,
        }
    }
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass {
    /// To pipes and links.
    pub(super) onward: bool,
    /// To peers.
    pub(super) here: bool,
}

impl Pass {
    pub(super) const ALL: Self = Self { onward: true, here: true };
}

impl Voice {
    pub(super) fn new(upstream: Upstream) -> Self {
        let activity = match upstream {
            Upstream::Peer(_) => Activity::default(),
            Upstream::Pipe(_) | Upstream::Cascade => Activity::chosen(),
        };
        Self { activity, ..Self::default() }
    }

    /// Whether it is passed on to peers here.
    pub(super) const fn is_heard(&self) -> bool {
        self.here.is_open()
    }
}

impl Track {
    /// Its loudness, to be told to signaling where it enters the node.
    pub(super) fn loudness(&self, now: Instant) -> Option<Reading> {
        let enters = matches!(self.upstream, Upstream::Peer(_) | Upstream::Cascade);
        if enters && !self.muted && self.kind == Kind::Audio { self.voice.activity.reading(now) } else { None }
    }
}

impl Router {
    /// Passes on no more than the loudest of a room's microphones; see [`crate::policy::loudest`]. 0: all.
    #[must_use]
    pub fn with_loudest(mut self, loudest: usize, ingress: Ingress) -> Self {
        self.choice = Choice { loudest, ingress };
        self
    }

    /// A track is one of a room's microphones.
    pub(super) fn microphone(&mut self, now: Instant, id: TrackId, room: RoomId, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id).filter(|track| track.kind == Kind::Audio) else { return };
        if self.choice.loudest == 0 || track.voice.room.is_some() {
            return;
        }
        track.voice.room = Some(room.clone());
        let enters = enters(self.choice.ingress, track.upstream);
        let loudest = self.choice.loudest;
        let new = || Microphones {
            tracks: Vec::new(),
            entering: 0,
            onward: Loudest::new(loudest),
            here: Loudest::new(loudest),
            listened: false,
        };
        let microphones = self.rooms.entry(room.clone()).or_insert_with(new);
        microphones.tracks.push(id);
        microphones.entering += usize::from(enters);
        self.gates_of_room(now, &room, out);
    }

    /// A track is gone; it is no longer in the router's table.
    pub(super) fn microphone_gone(&mut self, now: Instant, track: &Track, out: &mut Vec<Output>) {
        let Some(room) = &track.voice.room else { return };
        let Some(microphones) = self.rooms.get_mut(room) else { return };
        microphones.tracks.retain(|&other| other != track.id);
        microphones.entering -= usize::from(enters(self.choice.ingress, track.upstream));
        microphones.onward.remove(track.id);
        microphones.here.remove(track.id);
        if microphones.tracks.is_empty() {
            self.rooms.remove(room);
        } else {
            self.gates_of_room(now, room, out);
        }
    }

    /// A track was muted or no longer is.
    pub(super) fn microphone_muted(&mut self, now: Instant, id: TrackId, muted: bool, out: &mut Vec<Output>) {
        let room = self.tracks.get(&id).and_then(|track| track.voice.room.clone());
        let Some(microphones) = room.and_then(|room| self.rooms.get_mut(&room)) else { return };
        if muted {
            microphones.onward.remove(id);
            microphones.here.remove(id);
        }
        self.gates(now, id, out);
        self.update_wanted(now, id, out);
    }

    /// Somebody here listens to a track now.
    pub(super) fn listened(&mut self, id: TrackId) {
        let room = self.tracks.get(&id).and_then(|track| track.voice.room.as_ref());
        if let Some(microphones) = room.and_then(|room| self.rooms.get_mut(room)) {
            microphones.listened = true;
        }
    }

    /// Whether a microphone is wanted although nobody is bound to it: who speaks next is to be heard without being asked for.
    pub(super) fn is_listened_for(&self, track: &Track) -> bool {
        let Some(name) = &track.voice.room else { return false };
        let many = self.rooms.get(name).is_some_and(|room| room.listened && room.tracks.len() > room.here.most());
        let silent = track.muted && !matches!(track.upstream, Upstream::Peer(_));
        (many || self.followed.contains(name)) && !silent
    }

    /// Takes in a packet that the history has already; says where it goes. What passes a gate that it opens has gone out then.
    pub(super) fn hear(&mut self, now: Instant, id: TrackId, packet: &Packet, out: &mut Vec<Output>) -> Pass {
        let ingress = self.choice.ingress;
        let Some(track) = self.tracks.get_mut(&id) else { return Pass::ALL };
        let level = packet.ext.audio_level.unwrap_or_else(|| level_of_size(packet.payload.len()));
        let heard = track.voice.activity.record(now, packet.timestamp, packet.codec.clock_rate(), level);
        if heard.begins
            && let Some(reading) = track.loudness(now)
        {
            out.push(Output::Levels { levels: vec![(id, reading)] });
        }
        let pass = Pass { onward: track.voice.onward.is_open(), here: track.voice.here.is_open() };
        let Some(room) = track.voice.room.as_ref().filter(|_| heard.speaks && !track.muted) else { return pass };
        let Some(microphones) = self.rooms.get_mut(room) else { return pass };
        let sound = Sound { speaks: true, voice: heard.voice, loudness: track.voice.activity.loudness() };
        let onward = enters(ingress, track.upstream).then(|| microphones.onward.heard(now, id, sound)).flatten();
        let here = microphones.here.heard(now, id, sound);
        if here.is_some() {
            out.push(Output::Voices { room: room.clone(), tracks: microphones.here.places().collect() });
        }
        for entered in [onward, here].into_iter().flatten() {
            self.gates(now, id, out);
            if let Some(other) = entered.instead_of {
                self.gates(now, other, out);
            }
        }
        pass
    }

    /// From which packet on an egress that was bound a moment ago gets a track that speaks.
    pub(super) fn beginning(&self, now: Instant, id: TrackId, packet: &Arc<Packet>) -> Arc<Packet> {
        let Some(track) = self.tracks.get(&id) else { return Arc::clone(packet) };
        let Gate::Open(Some((first, since))) = track.voice.here else { return Arc::clone(packet) };
        if now.saturating_duration_since(since) > LATE {
            return Arc::clone(packet);
        }
        let first = track.layer(Layer(0)).and_then(|layer| layer.history.from(first).next());
        Arc::clone(first.unwrap_or(packet))
    }

    /// Lets places end whose time is over, and notes which rooms are listened to.
    pub(super) fn review_voices(&mut self, now: Instant, out: &mut Vec<Output>) {
        let mut ended = Vec::new();
        for microphones in self.rooms.values_mut() {
            ended.extend(std::iter::from_fn(|| microphones.onward.expired(now)));
            ended.extend(std::iter::from_fn(|| microphones.here.expired(now)));
            let bound = |id: &TrackId| self.tracks.get(id).is_some_and(|track| !track.bound.is_empty());
            microphones.listened = microphones.tracks.iter().any(bound);
        }
        for id in ended {
            self.gates(now, id, out);
        }
    }

    fn gates_of_room(&mut self, now: Instant, room: &RoomId, out: &mut Vec<Output>) {
        let tracks = self.rooms.get(room).map(|microphones| microphones.tracks.clone()).unwrap_or_default();
        for id in tracks {
            self.gates(now, id, out);
        }
    }

    /// Opens and shuts a microphone's gates as the choice has it.
    fn gates(&mut self, now: Instant, id: TrackId, out: &mut Vec<Output>) {
        let ingress = self.choice.ingress;
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let Some(microphones) = track.voice.room.as_ref().and_then(|room| self.rooms.get(room)) else { return };
        let onward =
            !enters(ingress, track.upstream) || microphones.entering <= microphones.onward.most() || microphones.onward.has(id);
        let here = microphones.tracks.len() <= microphones.here.most() || microphones.here.has(id);
        let Some(layer) = track.layers.first() else { return };
        let newest = layer.history.newest().map(|packet| packet.seq);
        let replay = |gate: &mut Gate, open: bool| match (gate.is_open(), open) {
            (true, false) => {
                *gate = Gate::Shut(newest);
                None
            }
            (false, true) => {
                let first = newest.map(|newest| gate.start(newest));
                *gate = Gate::Open(first.map(|first| (first, now)));
                first
            }
            (true, true) | (false, false) => None,
        };
        let (to_branches, to_peers) = (replay(&mut track.voice.onward, onward), replay(&mut track.voice.here, here));
        if let Some(first) = to_branches {
            for &branch in &layer.branches {
                for packet in layer.history.from(first) {
                    let feed = Feed::Packet { track: id, layer: Layer(0), stream: layer.stream, packet: Arc::clone(packet) };
                    out.push(Output::Feed { branch, feed });
                }
            }
        }
        if let Some(first) = to_peers {
            let recent = |packet: &&Arc<Packet>| now.saturating_duration_since(packet.arrival) <= LATE;
            let first = layer.history.from(first).find(recent).cloned();
            for key in layer.sinks.clone() {
                self.begin(now, id, key, first.as_deref(), out);
            }
        }
    }

    /// Lets an egress begin again with a track whose gate has opened: at a packet, or with the next one.
    fn begin(&mut self, now: Instant, id: TrackId, key: EgressKey, first: Option<&Packet>, out: &mut Vec<Output>) {
        match first.filter(|_| self.egresses.get(key).is_some_and(|egress| egress.connected)) {
            Some(first) => self.switch(now, id, Layer(0), key, first, out),
            None => self.set_state(now, key, State::AwaitingKeyframe(Layer(0)), out),
        }
    }
}

fn enters(ingress: Ingress, upstream: Upstream) -> bool {
    matches!((ingress, upstream), (Ingress::Peers, Upstream::Peer(_)) | (Ingress::Pipes, Upstream::Pipe(_)))
}

/// A guess for clients that tell no level: what varies makes larger packets than what does not.
fn level_of_size(bytes: usize) -> AudioLevel {
    AudioLevel { voice: false, dbov: 127 - bytes.min(97) as u8 }
}
