//! The SFU as a state machine without IO: packets, wishes and feedback go in, packets and requests come out. Owns which
//! track goes where, in which layer, and each receiver's numbering. It knows no socket, no SDP, no room beyond its tracks,
//! and no clock but the one it is told. A shard drives one; the simulator drives thousands.
//!
//! ```text
//!              Input::Packet                     Output::Forward ──▶ peer
//!  peer ──▶ ┌─────────────────────────────────┐  Output::Feed    ──▶ another shard (pipe), another node (link)
//!  feed ──▶ │ track ─ layer ─ sinks ─ egress  │
//!           └─────────────────────────────────┘  Output::RequestKeyframe, Output::Wanted ──▶ upstream
//! ```

mod allocate;
mod audio;
mod branch;
mod egress;
mod event;
mod forward;
mod meter;
mod stats;
mod track;
mod view;

#[cfg(test)]
mod audio_tests;
#[cfg(test)]
mod tests;

pub use audio::Ingress;
pub use event::{Branch, Feed, Have, Input, NewTrack, Output, PeerKey, Upstream};
pub use stats::{Picture, Subscription};
pub use view::{Reason, StreamState, ViewItem};

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::id::{RoomId, Slot, TrackId};
use crate::policy::layers::{Budget, Relief};
use crate::rtp::clock::NtpTime;
use crate::rtp::{Kind, Layer, LayerSet};
use crate::units::Bitrate;
use audio::{Choice, Microphones};
use egress::{Egress, EgressKey, Egresses, State};
use track::Track;

/// How often levels are looked at: needs for keyframes, layers that stopped, wishes that ended, loudness. Longer delays a repeated
/// request; each round costs a walk over the tracks.
const REVIEW: Duration = Duration::from_millis(100);

/// How often other shards are told again what is wanted.
const REFRESH: Duration = Duration::from_millis(300);

/// What a peer may receive before anybody says.
const DEFAULT_BUDGET: Budget = Budget::fixed(Bitrate::mbps(20));

/// The forwarding state of one shard.
#[derive(Debug)]
pub struct Router {
    /// Draws where numberings begin (RFC 3550 §5.1); nothing here is secret.
    rng: SmallRng,
    tracks: FxHashMap<TrackId, Track>,
    peers: FxHashMap<PeerKey, PeerState>,
    egresses: Egresses,
    review_at: Option<Instant>,
    refresh_at: Option<Instant>,
    rebalance_at: Option<Instant>,
    /// Somebody was loud at the last review.
    loud: bool,
    choice: Choice,
    /// The microphones of each room, where there is a choice.
    rooms: FxHashMap<RoomId, Microphones>,
    /// Rooms whose speaker somebody here follows.
    followed: FxHashSet<RoomId>,
    /// While the node has too much to do.
    relief: Option<Relief>,
}

#[derive(Debug)]
struct PeerState {
    connected: bool,
    /// What its path carries, and what it is to receive at most.
    budget: Budget,
    limit: Bitrate,
    view: Option<FxHashMap<TrackId, ViewItem>>,
    slots: FxHashMap<Slot, EgressKey>,
    /// The demand that was told last.
    demand: Bitrate,
}

impl Router {
    /// An empty one; equal seeds behave equally.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
            tracks: FxHashMap::default(),
            peers: FxHashMap::default(),
            egresses: Egresses::default(),
            review_at: None,
            refresh_at: None,
            rebalance_at: None,
            loud: false,
            choice: Choice { loudest: 0, ingress: Ingress::Peers },
            rooms: FxHashMap::default(),
            followed: FxHashSet::default(),
            relief: None,
        }
    }

    /// Takes in what happened; appends to `out` what is to be done. `out` is the caller's, so nothing is left undrained here.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Packet { track, layer, packet } => self.packet(now, track, layer, packet, out),
            Input::Report { track, layer, report } => self.report(track, layer, report, out),
            Input::LayerRestarted { track, layer } => self.layer_restarted(now, track, layer, out),
            Input::Nack { peer, slot, rtt, lost } => self.nack(now, peer, slot, rtt, &lost, out),
            Input::KeyframeWanted { peer, slot } => self.keyframe_wanted(now, peer, slot, out),
            Input::Fed(feed) => self.fed(now, feed, out),
            Input::BranchKeyframe { track, layer, .. } => self.need_keyframe(now, track, layer, out),
            Input::BranchInterest { branch, track, layers, have } => {
                self.branch_interest(now, branch, track, layers, &have, out);
            }
            Input::BranchGone { branch } => self.branch_gone(now, branch, out),
            Input::TrackAdded(new) => {
                if !new.layers.is_empty() && !self.tracks.contains_key(&new.id) {
                    self.review_at.get_or_insert(now + REVIEW);
                    self.tracks.insert(new.id, Track::new(new, &mut self.rng));
                }
            }
            Input::Microphone { track, room } => self.microphone(now, track, room, out),
            // The next review asks for them.
            Input::Follow { room, on: true } => drop(self.followed.insert(room)),
            Input::Follow { room, on: false } => drop(self.followed.remove(&room)),
            Input::TrackRemoved { track } => self.track_removed(now, track, out),
            Input::Muted { track, muted } => self.muted(now, track, muted, out),
            Input::Bind { peer, slot, track } => self.bind(now, peer, slot, track, out),
            Input::View { peer, items } => {
                self.peer(peer).view = Some(items.into_iter().map(|item| (item.track, item)).collect());
                for key in self.peers.get(&peer).into_iter().flat_map(|state| state.slots.values()) {
                    if let Some(egress) = self.egresses.get_mut(*key) {
                        egress.unseen = false;
                    }
                }
                self.reallocate(now, peer, out);
            }
            Input::Limit { peer, rate } => {
                self.peer(peer).limit = rate;
                self.reallocate(now, peer, out);
            }
            Input::Relief { share } => self.relieve(now, share, out),
            Input::Budget { peer, budget } => {
                self.peer(peer).budget = budget;
                self.reallocate(now, peer, out);
            }
            Input::Connected { peer, connected } => self.connected(now, peer, connected, out),
            Input::PeerGone { peer } => self.peer_gone(now, peer, out),
            Input::Timeout => self.timeout(now, out),
        }
    }

    /// When [`Input::Timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.review_at
    }

    /// The RTP timestamp that a slot's stream has at `at`, for its sender report.
    pub fn timestamp_at(&self, peer: PeerKey, slot: Slot, at: NtpTime) -> Option<u32> {
        let egress = self.egresses.get(*self.peers.get(&peer)?.slots.get(&slot)?)?;
        let State::Forwarding { layer, .. } = egress.state else { return None };
        let track = self.tracks.get(&egress.track?)?;
        let layer = track.layer(layer)?;
        let (stream, delta) = egress.rewriter.current()?;
        let source = layer.report.filter(|_| layer.stream == stream)?.timestamp_at(at);
        Some(source.wrapping_add(delta))
    }

    /// How many tracks and how many served subscriptions there are.
    pub fn counts(&self) -> (usize, usize) {
        let bound = self.tracks.values().map(|track| track.bound.len()).sum();
        (self.tracks.len(), bound)
    }

    fn peer(&mut self, peer: PeerKey) -> &mut PeerState {
        let new = || PeerState {
            connected: true,
            budget: DEFAULT_BUDGET,
            limit: Bitrate(u64::MAX),
            view: None,
            slots: FxHashMap::default(),
            demand: Bitrate(0),
        };
        self.peers.entry(peer).or_insert_with(new)
    }

    fn bind(&mut self, now: Instant, peer: PeerKey, slot: Slot, track: Option<TrackId>, out: &mut Vec<Output>) {
        let key = match self.peer(peer).slots.get(&slot) {
            Some(&key) => key,
            None => {
                let connected = self.peer(peer).connected;
                let key = self.egresses.insert(Egress::new(peer, slot, connected, &mut self.rng));
                self.peer(peer).slots.insert(slot, key);
                key
            }
        };
        let Some(egress) = self.egresses.get_mut(key) else { return };
        let track = track.filter(|id| self.tracks.contains_key(id));
        if egress.track == track {
            return;
        }
        let before = egress.track;
        self.set_state(now, key, State::Paused, out);
        if let Some(old) = before.and_then(|id| self.tracks.get_mut(&id)) {
            old.bound.retain(|&other| other != key);
        }
        if let Some(egress) = self.egresses.get_mut(key) {
            egress.rebind(track);
        }
        if let Some(new) = track.and_then(|id| self.tracks.get_mut(&id)) {
            new.bound.push(key);
        }
        if let Some(id) = track {
            self.listened(id);
        }
        self.reallocate(now, peer, out);
    }

    fn track_removed(&mut self, now: Instant, id: TrackId, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.remove(&id) else { return };
        self.microphone_gone(now, &track, out);
        // It may have left this shard only, with the room's last member here; its own goes on sending what was asked for.
        if !matches!(track.upstream, Upstream::Peer(_)) && track.asked().is_some_and(|asked| asked != LayerSet::EMPTY) {
            out.push(Output::Wanted { upstream: track.upstream, track: id, layers: LayerSet::EMPTY });
        }
        for key in track.bound {
            if let Some(egress) = self.egresses.get_mut(key) {
                egress.rebind(None);
                egress.state = State::Paused;
            }
        }
    }

    /// The first keyframe is asked for when it can be seen: one that came during the handshake would be lost.
    fn connected(&mut self, now: Instant, peer: PeerKey, connected: bool, out: &mut Vec<Output>) {
        self.peer(peer).connected = connected;
        let keys: Vec<EgressKey> = self.peer(peer).slots.values().copied().collect();
        for key in keys {
            let Some(egress) = self.egresses.get_mut(key) else { continue };
            egress.connected = connected;
            if let (true, Some(id), Some(layer)) = (connected, egress.track, egress.state.awaits()) {
                self.need_keyframe(now, id, layer, out);
            }
        }
    }

    fn peer_gone(&mut self, now: Instant, peer: PeerKey, out: &mut Vec<Output>) {
        let Some(state) = self.peers.remove(&peer) else { return };
        for key in state.slots.into_values() {
            self.set_state(now, key, State::Paused, out);
            let bound = self.egresses.remove(key).and_then(|egress| egress.track);
            if let Some(track) = bound.and_then(|id| self.tracks.get_mut(&id)) {
                track.bound.retain(|&other| other != key);
            }
        }
        // A state told to a peer that is gone would reach nobody.
        out.retain(|output| !matches!(output, Output::StreamState { peer: p, .. } if *p == peer));
    }

    fn muted(&mut self, now: Instant, id: TrackId, muted: bool, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let unmuted = std::mem::replace(&mut track.muted, muted) && !muted;
        if track.kind == Kind::Audio {
            return self.microphone_muted(now, id, muted, out);
        }
        // An encoder that starts again may go on from its last frame, which receivers have long dropped.
        if unmuted {
            let served: Vec<Layer> =
                (0..).map(Layer).zip(&track.layers).filter(|(_, l)| !l.sinks.is_empty()).map(|(l, _)| l).collect();
            for layer in served {
                self.need_keyframe(now, id, layer, out);
            }
        }
    }

    /// Moves an egress to `state`: its layers' sinks, its keyframe need and the member's knowledge follow.
    fn set_state(&mut self, now: Instant, key: EgressKey, state: State, out: &mut Vec<Output>) {
        let Some(egress) = self.egresses.get_mut(key) else { return };
        let before = std::mem::replace(&mut egress.state, state);
        let connected = egress.connected;
        let Some(id) = egress.track else { return };
        if let Some(news) = egress.news() {
            out.push(Output::StreamState { peer: egress.peer, slot: egress.slot, track: id, state: news });
        }
        if before == state {
            return;
        }
        let Some(track) = self.tracks.get_mut(&id) else { return };
        for layer in before.layers().into_iter().flatten().filter(|&layer| !state.layers().contains(&Some(layer))) {
            if let Some(layer) = track.layer_mut(layer) {
                layer.sinks.retain(|&other| other != key);
            }
        }
        for layer in state.layers().into_iter().flatten().filter(|&layer| !before.layers().contains(&Some(layer))) {
            if let Some(layer) = track.layer_mut(layer) {
                layer.sinks.push(key);
            }
        }
        if track.kind == Kind::Video
            && connected
            && let Some(layer) = state.awaits()
            && before.awaits() != Some(layer)
        {
            self.need_keyframe(now, id, layer, out);
        }
    }

    /// Tells the upstream which layers are wanted, when that changed.
    fn update_wanted(&mut self, now: Instant, id: TrackId, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get(&id) else { return };
        let mut wanted = track.branch_interest();
        for egress in track.bound.iter().filter_map(|&key| self.egresses.get(key)) {
            for layer in allocate::needed(egress.state, egress.target) {
                wanted = wanted.with(layer);
            }
        }
        if self.is_listened_for(track) {
            wanted = wanted.with(Layer(0));
        }
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if let Some(layers) = track.ask_for(now, wanted) {
            out.push(Output::Wanted { upstream: track.upstream, track: id, layers });
        }
    }

    fn timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.review_at.is_none_or(|at| now < at) {
            return;
        }
        self.review_at = (!self.tracks.is_empty()).then_some(now + REVIEW);
        let refresh = self.refresh_at.is_none_or(|at| now >= at);
        if refresh {
            self.refresh_at = Some(now + REFRESH);
        }
        self.review_voices(now, out);
        if self.rebalance_at.is_none_or(|at| now >= at) {
            self.rebalance_at = Some(now + allocate::REBALANCE);
            self.rebalance(now, out);
        }
        let ids: Vec<TrackId> = self.tracks.keys().copied().collect();
        let mut levels = Vec::new();
        for id in ids {
            self.update_wanted(now, id, out);
            let Some(track) = self.tracks.get_mut(&id) else { continue };
            let mut stopped = false;
            for layer in &mut track.layers {
                stopped |= layer.went_idle(now) | layer.may_return(now);
            }
            if let (true, Upstream::Pipe(_), Some(layers)) = (refresh, track.upstream, track.asked()) {
                out.push(Output::Wanted { upstream: track.upstream, track: id, layers });
            }
            levels.extend(track.loudness(now).map(|reading| (id, reading)));
            if stopped && track.kind == Kind::Video {
                self.reallocate_all(now, id, out);
            }
            self.ask_again(now, id, out);
        }
        // Silence is told once.
        if std::mem::replace(&mut self.loud, !levels.is_empty()) || !levels.is_empty() {
            levels.sort_by_key(|&(_, reading)| std::cmp::Reverse(reading.level));
            out.push(Output::Levels { levels });
        }
    }
}
