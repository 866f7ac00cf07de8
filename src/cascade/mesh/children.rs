//! Downward: the tracks this node has to give, the neighbours that ask for them, and what they are refused for. Owns those rules;
//! packets to a child are the router's, by its branch.

use std::time::Instant;

use super::links::Link;
use super::track::{Child, Track};
use super::{Mesh, Output};
use crate::cascade::wire::{Frame, Refusal, Subscribe, TrackInfo};
use crate::id::{LinkId, ShardId, TrackId};
use crate::router::{self, Branch, Have};
use crate::rtp::{Layer, LayerSet};

/// Nodes on a way at most, whatever the topology says.
pub(super) const MAX_PATH: usize = 16;

/// Tracks that are known at most. More are refused.
const MAX_TRACKS: usize = 65_536;

/// Tracks that one neighbour gets from here at most.
const MAX_CHILDREN: usize = 16_384;

impl Mesh {
    /// A room here knows a track.
    pub(super) fn track_told(&mut self, now: Instant, info: TrackInfo, from: Option<ShardId>, out: &mut Vec<Output>) {
        let id = info.id;
        let from = from.filter(|_| info.origin == self.nodes.me().node.id);
        if let Some(track) = self.tracks.get(&id)
            && (!same(&track.info, &info) || track.from != from)
        {
            self.remove_track(now, id, out);
        }
        if let Some(track) = self.tracks.get_mut(&id) {
            (track.rooms, track.expire_at) = (true, None);
            let nodes = track.told.clone();
            if !nodes.is_empty() {
                out.push(Output::Path { track: id, nodes });
            }
            return;
        }
        if info.layers.is_empty() || info.layers.len() > Layer::MAX || self.tracks.len() >= MAX_TRACKS {
            return;
        }
        let mut track = Track::new(info);
        (track.rooms, track.from) = (true, from);
        self.add_track(id, track, out);
    }

    /// No room here knows it any more. One that is published here is over; another may still pass through.
    pub(super) fn track_gone(&mut self, now: Instant, id: TrackId, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        track.rooms = false;
        if track.from.is_some() || track.children.is_empty() {
            return self.remove_track(now, id, out);
        }
        self.expire_unless_needed(now, id);
        self.arm(now, id);
    }

    pub(super) fn child_subscribes(&mut self, now: Instant, link: LinkId, ask: Subscribe, out: &mut Vec<Output>) {
        let id = ask.track.id;
        let Some(known) = self.links.get(link) else { return };
        if let Err(why) = well_formed(known, &ask) {
            return self.close(now, link, why, out);
        }
        if ask.layers.is_empty() {
            return self.child_leaves(now, link, id, out);
        }
        if let Err(why) = self.admit(now, link, &ask, out) {
            return self.refuse_child(now, link, id, why, out);
        }
        self.keep_child(now, link, ask, out);
        self.look_up(now, id, out);
        self.arm(now, id);
    }

    /// Whether a subscription can be granted. A track that only passes through is known from here on.
    fn admit(&mut self, now: Instant, link: LinkId, ask: &Subscribe, out: &mut Vec<Output>) -> Result<(), Refusal> {
        let id = ask.track.id;
        let known = self.links.get_mut(link).ok_or(Refusal::Full)?;
        if !known.subscribes.take(now, 1.0) {
            return Err(Refusal::Full);
        }
        let me = self.nodes.me();
        if ask.path.contains(&me.node.id) {
            return Err(Refusal::Loop);
        }
        // One child too far away, told upward, would have this node refused, and all others here lose the track.
        let way = self.tracks.get(&id).and_then(|track| track.parent.as_ref()?.path()).unwrap_or_default();
        let regions = ask.path.iter().chain([&me.node.id]).chain(way).filter_map(|id| Some(&self.nodes.get(id)?.node.region));
        let mut regions: Vec<_> = regions.collect();
        regions.dedup();
        if ask.path.len() >= MAX_PATH || regions.len() > usize::from(self.topology.max_region_hops.max(1)) {
            return Err(Refusal::TooFar);
        }
        if ask.epoch.abs_diff(self.topology.epoch) > 1 {
            return Err(Refusal::Epoch);
        }
        let present = self.tracks.get(&id);
        let held = present.is_some_and(|track| track.children.contains_key(&link));
        if !held && known.children >= MAX_CHILDREN {
            return Err(Refusal::Full);
        }
        if ask.track.origin == me.node.id {
            let published = present.is_some_and(|track| track.from.is_some() && same(&track.info, &ask.track));
            return if published { Ok(()) } else { Err(Refusal::NoTrack) };
        }
        if me.node.draining && !held {
            return Err(Refusal::Draining);
        }
        if let Some(track) = present {
            if same(&track.info, &ask.track) {
                return self.check_way(now, link, ask, out);
            }
            // Of two runs of a publisher's node the later counts; rooms here know best.
            let later = track.info.origin == ask.track.origin && track.info.incarnation < ask.track.incarnation;
            if track.rooms || !later {
                return Err(Refusal::NoTrack);
            }
            self.remove_track(now, id, out);
        }
        if self.tracks.len() >= MAX_TRACKS {
            return Err(Refusal::Full);
        }
        let candidates = self.routes.candidates(&ask.track.room, &ask.track.origin);
        if !candidates.iter().any(|candidate| candidate.link != link) {
            return Err(Refusal::NoRoute);
        }
        self.add_track(id, Track::new(ask.track.clone()), out);
        Ok(())
    }

    /// A way that comes through who asks is none for it.
    fn check_way(&mut self, now: Instant, link: LinkId, ask: &Subscribe, out: &mut Vec<Output>) -> Result<(), Refusal> {
        let id = ask.track.id;
        let Some(track) = self.tracks.get(&id) else { return Ok(()) };
        // Told upward, such a path would have this node refused too, and all that get the track from here lose it.
        let through =
            |parent: &super::track::Parent| parent.path().is_some_and(|path| ask.path.iter().any(|node| path.contains(node)));
        if track.asked().any(|parent| parent.link == link) {
            // It would not ask if it still had a way of its own.
            self.subscribed(now, link, id, Vec::new(), out);
            return Err(Refusal::Loop);
        }
        if track.parent.as_ref().is_some_and(through) { Err(Refusal::Loop) } else { Ok(()) }
    }

    fn keep_child(&mut self, _now: Instant, link: LinkId, ask: Subscribe, out: &mut Vec<Output>) {
        let id = ask.track.id;
        let me = self.nodes.me().node.id.clone();
        let (Some(track), Some(known)) = (self.tracks.get_mut(&id), self.links.get_mut(link)) else { return };
        let node = known.node.clone();
        let mut flows = [None; Layer::MAX];
        for (layer, (slot, flow)) in (0..).map(Layer).zip(flows.iter_mut().zip(&ask.flows)) {
            *slot = Some(*flow).filter(|_| ask.layers.contains(layer));
        }
        let before = track.children.get(&link).map(|child| child.flows).unwrap_or_default();
        for old in before.iter().flatten().filter(|old| !flows.contains(&Some(**old))) {
            known.flows_out.remove(old);
            out.push(Output::FlowEnded { link, flow: *old });
        }
        for (layer, flow) in (0..).map(Layer).zip(flows) {
            if let Some(flow) = flow {
                known.flows_out.insert(flow, (id, layer));
            }
        }
        let child = Child { node, layers: ask.layers, flows, path: ask.path, have: ask.have.clone() };
        let newcomer = track.children.insert(link, child).is_none();
        known.children += usize::from(newcomer);
        track.expire_at = None;
        let have = ask.have.into_iter().map(|(layer, stream, seq)| Have { layer, stream, seq }).collect();
        let interest = router::Input::BranchInterest { branch: Branch::Link(link), track: id, layers: ask.layers, have };
        // The way is told first, so that it stands when the first packet comes.
        let published = track.from.is_some();
        if published || !track.told.is_empty() {
            let path = std::iter::once(&me).chain(&track.told).cloned().collect();
            out.push(Output::Send { link, frame: Frame::Subscribed { track: id, path } });
        }
        out.push(Output::Router(interest));
    }

    pub(super) fn child_leaves(&mut self, now: Instant, link: LinkId, id: TrackId, out: &mut Vec<Output>) {
        self.remove_child(now, link, id, out);
        self.look_up(now, id, out);
        self.arm(now, id);
    }

    /// Children came or went, and the router may not say that anything else is wanted.
    fn look_up(&mut self, now: Instant, id: TrackId, out: &mut Vec<Output>) {
        if self.tracks.get(&id).is_some_and(|track| !track.wanted.is_empty()) {
            self.pursue(now, id, out);
        }
    }

    pub(super) fn child_needs_keyframe(&mut self, link: LinkId, id: TrackId, layer: Layer, out: &mut Vec<Output>) {
        let child = self.tracks.get(&id).and_then(|track| track.children.get(&link));
        if child.is_some_and(|child| child.layers.contains(layer)) {
            let branch = Branch::Link(link);
            out.push(Output::Router(router::Input::BranchKeyframe { branch, track: id, layer }));
        }
    }

    /// Tells a neighbour that it gets nothing, or nothing any more.
    pub(super) fn refuse_child(&mut self, now: Instant, link: LinkId, id: TrackId, why: Refusal, out: &mut Vec<Output>) {
        self.remove_child(now, link, id, out);
        out.push(Output::Send { link, frame: Frame::Refused { track: id, why } });
    }

    fn remove_child(&mut self, now: Instant, link: LinkId, id: TrackId, out: &mut Vec<Output>) {
        let Some(child) = self.tracks.get_mut(&id).and_then(|track| track.children.remove(&link)) else { return };
        self.forget_child(link, &child, out);
        let layers = LayerSet::EMPTY;
        let interest = router::Input::BranchInterest { branch: Branch::Link(link), track: id, layers, have: Vec::new() };
        out.push(Output::Router(interest));
        if self.tracks.get(&id).is_some_and(|track| track.from.is_none()) {
            self.expire_unless_needed(now, id);
        }
    }

    /// Ends the flows of a child that is not one any more.
    pub(super) fn forget_child(&mut self, link: LinkId, child: &Child, out: &mut Vec<Output>) {
        let Some(known) = self.links.get_mut(link) else { return };
        known.children = known.children.saturating_sub(1);
        for flow in child.flows.into_iter().flatten() {
            known.flows_out.remove(&flow);
            out.push(Output::FlowEnded { link, flow });
        }
    }

    /// Sends every child away.
    pub(super) fn refuse_children(&mut self, id: TrackId, why: Refusal, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        for (link, child) in std::mem::take(&mut track.children) {
            self.forget_child(link, &child, out);
            let (branch, layers) = (Branch::Link(link), LayerSet::EMPTY);
            out.push(Output::Router(router::Input::BranchInterest { branch, track: id, layers, have: Vec::new() }));
            out.push(Output::Send { link, frame: Frame::Refused { track: id, why } });
        }
    }
}

/// Whether two say the same of a track.
fn same(a: &TrackInfo, b: &TrackInfo) -> bool {
    (&a.origin, a.incarnation, a.kind, a.layers.len()) == (&b.origin, b.incarnation, b.kind, b.layers.len())
}

/// What no neighbour that works sends.
fn well_formed(link: &Link, ask: &Subscribe) -> Result<(), &'static str> {
    let layers = ask.track.layers.len();
    if layers == 0 || layers > Layer::MAX || ask.flows.len() != layers || ask.have.len() > Layer::MAX {
        return Err("a subscription with a wrong number of layers");
    }
    if ask.layers.0 >> layers != 0 {
        return Err("a subscription to a layer that is none");
    }
    if ask.path.last() != Some(&link.node) {
        return Err("a subscription on behalf of another");
    }
    let asked = || (0..).map(Layer).zip(&ask.flows).filter(|(layer, _)| ask.layers.contains(*layer));
    let taken = |(layer, flow): (Layer, &u32)| link.flows_out.get(flow).is_some_and(|used| *used != (ask.track.id, layer));
    let twice = |(layer, flow): (Layer, &u32)| asked().any(|(other, same)| other != layer && same == flow);
    if asked().any(taken) || asked().any(twice) {
        return Err("a flow that carries something else");
    }
    Ok(())
}
