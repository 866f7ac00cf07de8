//! What a node knows of the others and what it does about it: who is reachable, which way each track comes, who gets it from
//! here. Owns link states, subscriptions and the mapping of flows to tracks; the packets' way inside the node is the router's,
//! the bytes on a link are `cascade::link`'s. Pure: `shard::cascade` drives one, the simulator hundreds.
//!
//! ```text
//!   links ── states ──▶ nodes ──▶ routes ──▶ parent: who is asked for a track   ──▶ Subscribe, Unsubscribe, Keyframe
//!   neighbours ── Subscribe ────────────────▶ children: who gets it from here   ──▶ router: tracks, branches
//!   neighbours ── RTP, by flow ─────────────▶ media: numbers, duplicates        ──▶ router: packets
//!   rooms ── RoomMessage ───────────────────▶ rooms: one hop nearer             ──▶ link or rooms here
//! ```

mod children;
mod dial;
mod event;
mod flood;
mod links;
mod media;
mod nodes;
mod parent;
mod rooms;
mod routes;
mod state;
mod track;

#[cfg(test)]
mod tests;

pub use event::{Input, Outflow, Output};
pub use state::{Drops, Sizes, Way};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustc_hash::FxHashMap;

use crate::cascade::topology::Topology;
use crate::cascade::wire::{Frame, Refusal};
use crate::cluster::{NodeInfo, View};
use crate::id::{LinkId, NodeId, TrackId};
use crate::router;
use links::Links;
use nodes::Nodes;
use routes::Routes;
use track::Track;

/// One node's part of the cascade.
#[derive(Debug)]
pub struct Mesh {
    rng: SmallRng,
    topology: Arc<Topology>,
    nodes: Nodes,
    links: Links,
    routes: Routes,
    tracks: FxHashMap<TrackId, Track>,
    /// When each track is looked at next.
    wake: BTreeSet<(Instant, TrackId)>,
    flood: flood::Schedule,
    /// To whom a link should be kept by this node, as it was said.
    dialed: BTreeMap<NodeId, NodeInfo>,
    drops: Drops,
}

impl Mesh {
    /// A node without links. Equal seeds behave equally.
    pub fn new(me: NodeInfo, topology: Arc<Topology>, now: Instant, seed: u64) -> Self {
        let mut mesh = Self {
            rng: SmallRng::seed_from_u64(seed),
            nodes: Nodes::new(me, topology.epoch),
            topology,
            links: Links::default(),
            routes: Routes::default(),
            tracks: FxHashMap::default(),
            wake: BTreeSet::new(),
            flood: flood::Schedule::new(now),
            dialed: BTreeMap::new(),
            drops: Drops::default(),
        };
        mesh.rebuild(now);
        // Those that the document lists are dialed at once.
        mesh.flood.settle_at = Some(now);
        mesh
    }

    /// Takes in what happened; appends to `out` what is to be done.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::LinkUp { link, hello } => self.link_up(now, link, hello, out),
            Input::LinkDown { link } => self.link_down(now, link, out),
            Input::Frame { link, frame } => self.frame(now, link, frame, out),
            Input::Metrics { link, metrics } => {
                if let Some(link) = self.links.get(link) {
                    self.nodes.metrics(&link.node, metrics);
                }
            }
            Input::Track { info, from } => self.track_told(now, info, from, out),
            Input::TrackGone { track } => self.track_gone(now, track, out),
            Input::Muted { track, muted } => out.push(Output::Router(router::Input::Muted { track, muted })),
            Input::Wanted { track, layers } => self.wanted(now, track, layers, out),
            Input::KeyframeWanted { track, layer } => self.need_keyframe(now, track, layer, out),
            Input::Room { to, room, body } => self.room_out(to, room, body, out),
            Input::Topology { topology } => self.new_topology(now, topology, out),
            Input::Drain => self.drain(now, out),
            Input::Timeout => {}
        }
        self.due(now, out);
    }

    /// When [`Input::Timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let track = self.wake.first().map(|(at, _)| *at);
        track.into_iter().chain(self.flood.deadline()).min()
    }

    /// Who can be reached.
    pub fn view(&self) -> View {
        View { me: self.nodes.me().node.id.clone(), nodes: Arc::clone(self.nodes.reachable()) }
    }

    fn frame(&mut self, now: Instant, link: LinkId, frame: Frame, out: &mut Vec<Output>) {
        if self.links.get(link).is_none() {
            return;
        }
        match frame {
            Frame::State(state) => self.state_came(now, link, state, out),
            Frame::Subscribe(subscribe) => self.child_subscribes(now, link, subscribe, out),
            Frame::Unsubscribe { track } => self.child_leaves(now, link, track, out),
            Frame::Subscribed { track, path } => self.subscribed(now, link, track, path, out),
            Frame::Refused { track, why } => self.refused(now, link, track, why, out),
            Frame::Keyframe { track, layer } => self.child_needs_keyframe(link, track, layer, out),
            Frame::Room(message) => self.room_in(now, link, message, out),
            Frame::Goaway { .. } => self.goaway(now, link, out),
            Frame::Topology { text } => self.document_came(now, link, text, out),
            // Reports come by `Mesh::report`, on our clock; what is shed is made good by who shed it.
            Frame::Shed { flow } => self.shed(link, flow, out),
            Frame::Report { .. } | Frame::Ping { .. } | Frame::Pong { .. } => {}
            Frame::Hello(_) => self.close(now, link, "a second hello", out),
        }
    }

    /// Does everything whose time has come.
    fn due(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.flood_due(now, out);
        while let Some(&(at, id)) = self.wake.first().filter(|(at, _)| *at <= now) {
            self.wake.remove(&(at, id));
            if let Some(track) = self.tracks.get_mut(&id) {
                track.due = None;
            }
            self.track_due(now, id, out);
            self.arm(now, id);
        }
    }

    /// Puts a track in the list of those to look at, by its next deadline.
    fn arm(&mut self, now: Instant, id: TrackId) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        // Never twice at one time, so that a round of the list ends.
        let due = track.deadline().map(|at| at.max(now + Duration::from_millis(1)));
        if due != track.due {
            if let Some(before) = track.due {
                self.wake.remove(&(before, id));
            }
            self.wake.extend(due.map(|at| (at, id)));
            track.due = due;
        }
    }

    /// Tells the router of a new track, and keeps it.
    fn add_track(&mut self, id: TrackId, track: Track, out: &mut Vec<Output>) {
        let upstream = match track.from {
            Some(shard) => router::Upstream::Pipe(shard),
            None => router::Upstream::Cascade,
        };
        let (kind, layers) = (track.info.kind, track.info.layers.clone());
        out.push(Output::Router(router::Input::TrackAdded(router::NewTrack {
            id,
            kind,
            layers,
            muted: false,
            // There is nobody here to allocate to.
            screen: false,
            upstream,
        })));
        self.tracks.insert(id, track);
    }

    /// Forgets a track and lets go what it holds.
    fn remove_track(&mut self, now: Instant, id: TrackId, out: &mut Vec<Output>) {
        let Some(mut track) = self.tracks.remove(&id) else { return };
        if let Some(due) = track.due {
            self.wake.remove(&(due, id));
        }
        for parent in [track.parent.take(), track.next.take()].into_iter().flatten() {
            self.release(now, id, parent, true, out);
        }
        for (link, child) in track.children {
            self.forget_child(link, &child, out);
            out.push(Output::Send { link, frame: Frame::Refused { track: id, why: Refusal::NoTrack } });
        }
        out.push(Output::Router(router::Input::TrackRemoved { track: id }));
    }
}
