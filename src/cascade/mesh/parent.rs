//! Upward: who is asked for a track, what of it, and who takes over when that breaks or something better comes. Owns those
//! decisions; which neighbours are possible, and at what cost, is `mesh::routes`'.
//!
//! ```text
//!   wanted ─▶ asked ──Subscribed──▶ up ──a better way──▶ next asked ─▶ next up ─▶ every layer that flows came by it ─▶ parent
//!               │ refused, silent   │ LinkDown: the next best at once, with the numbers that came last
//!               ▼                   ▼ Subscribed with no path: it looks for a way, and so do we
//!             shunned for a while, the next best
//! ```

use std::time::{Duration, Instant};

use rand::RngExt;

use super::children::MAX_PATH;
use super::routes::{Candidate, Cost};
use super::track::{Parent, State, Track};
use super::{Mesh, Output};
use crate::cascade::wire::{Frame, Refusal, Subscribe};
use crate::id::{LinkId, NodeId, TrackId};
use crate::rtp::{Kind, Layer, LayerSet};

/// How long an answer to a subscription is waited for: a few round trips around the world, since it comes from the publisher's
/// node, hop by hop. Longer keeps a viewer waiting for a neighbour that hangs.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// How long two parents send side by side at most, once the new one's way stands.
pub(super) const OVERLAP: Duration = Duration::from_secs(3);

/// A subscription is told again this often.
const REFRESH: Duration = Duration::from_secs(10);

/// How long a way must be the better one before it is taken, at least and at most. Shorter follows a link that flaps.
const STABLE: (f64, f64) = (30.0, 60.0);

/// How soon a way is taken when the present one is about to end, or the document is a new one: spread, so that not all move at once.
const SOON: (f64, f64) = (0.0, 0.5);

/// First and last pause between failures in a row.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Between two keyframe requests for one layer.
const KEYFRAME_PACE: Duration = Duration::from_millis(500);

/// A track that nobody needs is kept this long: those who come back find it.
pub(super) const LINGER: Duration = Duration::from_secs(10);

/// Which of a track's two neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Parent,
    Next,
}

impl Place {
    const fn of(self, track: &mut Track) -> &mut Option<Parent> {
        match self {
            Self::Parent => &mut track.parent,
            Self::Next => &mut track.next,
        }
    }
}

impl Mesh {
    /// The router's word on what is wanted.
    pub(super) fn wanted(&mut self, now: Instant, id: TrackId, layers: LayerSet, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        track.wanted = layers;
        self.pursue(now, id, out);
        self.arm(now, id);
    }

    /// Makes who is asked agree with what is wanted.
    pub(super) fn pursue(&mut self, now: Instant, id: TrackId, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if track.from.is_some() {
            return;
        }
        if track.wanted.is_empty() {
            let gone = [track.parent.take(), track.next.take()];
            (track.retry_at, track.better, track.refresh_at) = (None, None, None);
            track.failures = 0;
            for parent in gone.into_iter().flatten() {
                self.release(now, id, parent, true, out);
            }
            self.tell(id, Vec::new(), out);
            return self.expire_unless_needed(now, id);
        }
        if track.parent.is_none() {
            track.parent = track.next.take();
        }
        let (layers, parent, next) = (track.wanted, track.parent.as_ref(), track.next.as_ref());
        let below = track.below(&self.nodes.me().node.id);
        // Who has no way looks for one by what it knows of those below: whom it wrongly thinks there, it cannot ask.
        let outdated = |parent: Option<&Parent>| {
            parent.is_some_and(|parent| parent.layers != layers || parent.path().is_none() && parent.below != below)
        };
        let (parent_outdated, next_outdated) = (outdated(parent), outdated(next));
        let lost = parent.is_some_and(|parent| parent.state == State::Lost) && next.is_none();
        let (alone, hold) = (parent.is_none(), track.retry_at.is_some_and(|at| at > now));
        let needed = track.rooms || !track.children.is_empty();
        // What the router still wants for those who have left keeps a way that stands, and asks for no other: else wishes that
        // nobody has any more would be passed around among nodes for ever.
        if !needed && (alone || lost) {
            if let Some(parent) = self.tracks.get_mut(&id).and_then(|track| track.parent.take()) {
                self.release(now, id, parent, true, out);
            }
            return self.expire_unless_needed(now, id);
        }
        if parent_outdated {
            self.subscribe(now, id, Place::Parent, out);
        }
        if next_outdated {
            self.subscribe(now, id, Place::Next, out);
        }
        if hold || !needed || !(alone || lost) {
            return self.tell_way(id, out);
        }
        match self.choose(now, id) {
            Some(candidate) => {
                // One that gets the track from here must know first that there is nothing to get.
                let is_child = self.tracks.get(&id).is_some_and(|track| track.children.contains_key(&candidate.link));
                if is_child {
                    self.lost(id, out);
                }
                self.ask(now, id, if alone { Place::Parent } else { Place::Next }, candidate, out);
            }
            None => {
                let wait = self.backoff(id);
                if let Some(track) = self.tracks.get_mut(&id) {
                    track.failures = track.failures.saturating_add(1);
                    track.retry_at = Some(now + wait);
                }
                self.lost(id, out);
            }
        }
    }

    /// The best neighbour that may be asked; those who get the track from here are the last resort.
    fn choose(&mut self, now: Instant, id: TrackId) -> Option<Candidate> {
        let track = self.tracks.get(&id)?;
        let present: Vec<LinkId> = track.asked().map(|parent| parent.link).collect();
        let candidates = self.routes.candidates(&track.info.room, &track.info.origin);
        let free = |candidate: &&Candidate| {
            let shunned = track.shunned.iter().any(|(node, until)| *node == candidate.node && *until > now);
            !shunned && !present.contains(&candidate.link) && self.links.get(candidate.link).is_some()
        };
        candidates.iter().filter(free).min_by_key(|c| (track.children.contains_key(&c.link), c.cost)).cloned()
    }

    fn ask(&mut self, now: Instant, id: TrackId, place: Place, candidate: Candidate, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        (track.retry_at, track.better) = (None, None);
        track.refresh_at.get_or_insert(now + REFRESH);
        *place.of(track) = Some(Parent {
            link: candidate.link,
            node: candidate.node,
            layers: LayerSet::EMPTY,
            flows: [None; Layer::MAX],
            state: State::Asked { until: now + PATIENCE },
            seen: LayerSet::EMPTY,
            below: Vec::new(),
        });
        self.subscribe(now, id, place, out);
    }

    /// Tells a parent which layers are wanted, where they are to go and what is there already.
    fn subscribe(&mut self, now: Instant, id: TrackId, place: Place, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let wanted = track.wanted;
        let path = track.below(&self.nodes.me().node.id);
        let came: Vec<_> = (0..).map(Layer).zip(&track.layers).map(|(layer, _)| track.have(layer)).collect();
        let info = track.info.clone();
        let Some(parent) = place.of(track) else { return };
        let Some(link) = self.links.get_mut(parent.link) else { return };
        let mut have = Vec::new();
        for (layer, (flow, came)) in (0..).map(Layer).zip(parent.flows.iter_mut().zip(came)) {
            match (wanted.contains(layer), *flow) {
                (true, None) => {
                    *flow = Some(link.flows_in.draw(now, id, layer));
                    have.extend(came);
                }
                (false, Some(old)) => {
                    link.flows_in.free(now, old);
                    *flow = None;
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
        parent.layers = wanted;
        parent.below.clone_from(&path);
        let flows = parent.flows.iter().take(info.layers.len()).map(|flow| flow.unwrap_or(0)).collect();
        let subscribe = Subscribe { track: info, layers: wanted, flows, have, path, epoch: self.topology.epoch };
        out.push(Output::Send { link: parent.link, frame: Frame::Subscribe(subscribe) });
    }

    /// Lets a neighbour go, and the flows it sent on.
    pub(super) fn release(&mut self, now: Instant, id: TrackId, parent: Parent, tell: bool, out: &mut Vec<Output>) {
        let Some(link) = self.links.get_mut(parent.link) else { return };
        for flow in parent.flows.into_iter().flatten() {
            link.flows_in.free(now, flow);
        }
        if tell {
            out.push(Output::Send { link: parent.link, frame: Frame::Unsubscribe { track: id } });
        }
    }

    /// Which of a track's neighbours a link leads to.
    fn place(&self, id: TrackId, link: LinkId) -> Option<Place> {
        let track = self.tracks.get(&id)?;
        if track.parent.as_ref().is_some_and(|parent| parent.link == link) {
            Some(Place::Parent)
        } else {
            track.next.as_ref().is_some_and(|next| next.link == link).then_some(Place::Next)
        }
    }

    pub(super) fn subscribed(&mut self, now: Instant, link: LinkId, id: TrackId, path: Vec<NodeId>, out: &mut Vec<Output>) {
        // It was given up a moment ago, or refused what it was asked before and grants what it was asked after: it is to know.
        let Some(place) = self.place(id, link) else {
            return out.push(Output::Send { link, frame: Frame::Unsubscribe { track: id } });
        };
        let me = &self.nodes.me().node.id;
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let (neighbour, origin) = (self.links.get(link).map(|link| &link.node), &track.info.origin);
        let ends = path.first() == neighbour && path.last() == Some(origin);
        if !path.is_empty() && (!ends || path.len() >= MAX_PATH || path.contains(me)) {
            self.give_up(now, id, place, Duration::from_secs(1), out);
        } else if let Some(parent) = place.of(track) {
            if path.is_empty() {
                parent.state = State::Lost;
            } else {
                let since = match parent.state {
                    State::Up { since, .. } => since,
                    State::Asked { .. } | State::Lost => now,
                };
                parent.state = State::Up { path, since };
                (track.failures, track.retry_at) = (0, None);
            }
            // A way that ends nowhere yet is no better than what there is.
            if place == Place::Next && track.next.as_ref().is_some_and(|next| next.state == State::Lost) {
                self.give_up(now, id, place, Duration::from_secs(1), out);
            }
        }
        self.take_over(now, id, out);
        self.pursue(now, id, out);
        self.arm(now, id);
    }

    pub(super) fn refused(&mut self, now: Instant, link: LinkId, id: TrackId, why: Refusal, out: &mut Vec<Output>) {
        let Some(place) = self.place(id, link) else { return };
        let shun = match why {
            Refusal::Loop | Refusal::NoRoute => Duration::from_millis(500),
            Refusal::Epoch | Refusal::NoTrack => Duration::from_millis(250),
            Refusal::Full => Duration::from_secs(3),
            Refusal::TooFar | Refusal::Draining => Duration::from_secs(10),
        };
        let asked = self.tracks.get_mut(&id).and_then(|track| place.of(track).as_ref());
        let below = asked.map(|parent| parent.below.clone()).unwrap_or_default();
        if why == Refusal::NoTrack {
            // The publisher's node says so: another way leads to the same answer. Its rooms may just not have heard yet.
            let wait = self.backoff(id);
            let Some(track) = self.tracks.get_mut(&id) else { return };
            track.failures = track.failures.saturating_add(1);
            track.retry_at = Some(now + wait);
            self.refuse_children(id, why, out);
        }
        self.give_up_quietly(now, id, place, shun, out);
        if why == Refusal::TooFar {
            self.shorten(now, id, &below, out);
        }
        self.pursue(now, id, out);
        self.expire_unless_needed(now, id);
        self.arm(now, id);
    }

    /// A neighbour was too far for the way down that it was told of. To this node itself it is not, or it would not have been asked: unless
    /// another way stands, those go who make it long, for all who get the track from here would lose it with them.
    fn shorten(&mut self, now: Instant, id: TrackId, below: &[NodeId], out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let elsewhere = track.asked().any(|parent| parent.path().is_some());
        let Some((me, far)) = below.split_last() else { return };
        let region = |id| self.nodes.get(id).map(|state| &state.node.region);
        // Ways are measured in regions: who is in this one makes it no longer.
        if elsewhere || far.iter().all(|node| region(node) == region(me)) {
            return;
        }
        let gone: Vec<LinkId> = track.children.iter().filter(|(_, child)| child.path == far).map(|(link, _)| *link).collect();
        // What else was asked may be refused as well, before this is known there.
        track.shunned.clear();
        track.retry_at = Some(now + BACKOFF.0);
        for link in gone {
            self.refuse_child(now, link, id, Refusal::TooFar, out);
        }
    }

    /// Lets a neighbour go and does not ask it again for a while.
    fn give_up(&mut self, now: Instant, id: TrackId, place: Place, shun: Duration, out: &mut Vec<Output>) {
        self.end(now, id, place, shun, true, out);
    }

    fn give_up_quietly(&mut self, now: Instant, id: TrackId, place: Place, shun: Duration, out: &mut Vec<Output>) {
        self.end(now, id, place, shun, false, out);
    }

    fn end(&mut self, now: Instant, id: TrackId, place: Place, shun: Duration, tell: bool, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let Some(parent) = place.of(track).take() else { return };
        track.shunned.retain(|(node, until)| *until > now && *node != parent.node);
        track.shunned.push((parent.node.clone(), now + shun));
        self.release(now, id, parent, tell, out);
    }

    /// The next parent becomes the parent, once it gives all that the present one does.
    pub(super) fn take_over(&mut self, now: Instant, id: TrackId, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let Some(Parent { state: State::Up { since, .. }, seen, .. }) = &track.next else { return };
        let lost = track.parent.as_ref().is_none_or(|parent| parent.path().is_none());
        let flowing = (0..)
            .map(Layer)
            .zip(&track.layers)
            .filter(|(layer, incoming)| track.wanted.contains(*layer) && incoming.flows(now));
        let complete = flowing.into_iter().all(|(layer, _)| seen.contains(layer));
        if !(lost || complete || now >= *since + OVERLAP) {
            return;
        }
        let before = std::mem::replace(&mut track.parent, track.next.take());
        track.better = None;
        if let Some(before) = before {
            self.release(now, id, before, true, out);
        }
        self.tell_way(id, out);
    }

    /// Tells children and rooms the way that packets come now, if there is one.
    fn tell_way(&mut self, id: TrackId, out: &mut Vec<Output>) {
        let way = self.tracks.get(&id).and_then(|track| track.parent.as_ref()?.path());
        if let Some(way) = way.map(<[NodeId]>::to_vec) {
            self.tell(id, way, out);
        }
    }

    fn tell(&mut self, id: TrackId, way: Vec<NodeId>, out: &mut Vec<Output>) {
        let me = &self.nodes.me().node.id;
        let Some(track) = self.tracks.get_mut(&id).filter(|track| track.told != way) else { return };
        let whole: Vec<NodeId> = std::iter::once(me).filter(|_| !way.is_empty()).chain(&way).cloned().collect();
        for &link in track.children.keys() {
            out.push(Output::Send { link, frame: Frame::Subscribed { track: id, path: whole.clone() } });
        }
        if track.rooms {
            out.push(Output::Path { track: id, nodes: way.clone() });
        }
        track.told = way;
    }

    /// Tells children, each time, that there is no way now.
    fn lost(&mut self, id: TrackId, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if track.told.is_empty() {
            for &link in track.children.keys() {
                out.push(Output::Send { link, frame: Frame::Subscribed { track: id, path: Vec::new() } });
            }
        }
        self.tell(id, Vec::new(), out);
    }

    /// Everything that came or went by a link: the tracks it was the way of have none, its children are no more.
    pub(super) fn way_gone(&mut self, link: LinkId) {
        for track in self.tracks.values_mut() {
            track.children.remove(&link);
            track.next.take_if(|next| next.link == link);
            track.parent.take_if(|parent| parent.link == link);
        }
    }

    /// Looks at every track's way after something changed.
    pub(super) fn review(&mut self, now: Instant, document: bool, out: &mut Vec<Output>) {
        let mut ids: Vec<TrackId> =
            self.tracks.values().filter(|track| track.from.is_none()).map(|track| track.info.id).collect();
        ids.sort_unstable();
        for id in ids {
            let Some(track) = self.tracks.get_mut(&id) else { continue };
            if track.wanted.is_empty() {
                self.expire_unless_needed(now, id);
            } else if track.parent.is_none() {
                // Failures before the change say nothing of what is now.
                (track.retry_at, track.failures) = (None, 0);
                self.pursue(now, id, out);
            } else {
                self.compare(now, id, document, out);
            }
            self.arm(now, id);
        }
    }

    /// Plans a move, if there is a better way than the present.
    fn compare(&mut self, now: Instant, id: TrackId, document: bool, out: &mut Vec<Output>) {
        let Some(track @ Track { info, parent: Some(parent), next: None, .. }) = self.tracks.get(&id) else { return };
        let (stands, node) = (track.stands(), parent.node.clone());
        let candidates = self.routes.candidates(&info.room, &info.origin);
        let present = candidates.iter().find(|candidate| candidate.node == node).map(|candidate| candidate.cost);
        if !stands {
            return self.hasten(now, id, present, out);
        }
        let best = self.choose(now, id).filter(|best| present.is_none_or(|present| best.cost.clearly_below(present)));
        let within = if present.is_none() || document { SOON } else { STABLE };
        let wait = Duration::from_secs_f64(self.rng.random_range(within.0..within.1));
        let Some(track) = self.tracks.get_mut(&id) else { return };
        track.better = best.map(|best| {
            let planned = track.better.take().filter(|(node, _)| *node == best.node).map(|(_, at)| at);
            (best.node, planned.map_or(now + wait, |at| at.min(now + wait)))
        });
    }

    /// Asks a better neighbour than the one whose answer is still waited for, or that has lost its way.
    fn hasten(&mut self, now: Instant, id: TrackId, present: Option<Cost>, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        (track.retry_at, track.failures) = (None, 0);
        let lost = track.parent.as_ref().is_some_and(|parent| parent.state == State::Lost);
        let best = self.choose(now, id).filter(|best| !lost && present.is_none_or(|present| best.cost < present));
        let is_child = |link| self.tracks.get(&id).is_some_and(|track| track.children.contains_key(&link));
        match best.filter(|best| !is_child(best.link)) {
            Some(best) => self.ask(now, id, Place::Next, best, out),
            None => self.pursue(now, id, out),
        }
    }

    /// Does what is due for one track.
    pub(super) fn track_due(&mut self, now: Instant, id: TrackId, out: &mut Vec<Output>) {
        self.ask_for_gaps(now, id, out);
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if track.expire_at.is_some_and(|at| at <= now) {
            return self.remove_track(now, id, out);
        }
        for place in [Place::Next, Place::Parent] {
            let Some(track) = self.tracks.get_mut(&id) else { return };
            let silent = |parent: &Parent| matches!(parent.state, State::Asked { until } if until <= now);
            if place.of(track).as_ref().is_some_and(silent) {
                self.give_up(now, id, place, Duration::from_secs(2), out);
            }
        }
        self.take_over(now, id, out);
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if track.retry_at.is_some_and(|at| at <= now) {
            track.retry_at = None;
        }
        let better = track.better.take_if(|(_, at)| *at <= now);
        if track.refresh_at.is_some_and(|at| at <= now) {
            track.refresh_at = Some(now + REFRESH);
            self.subscribe(now, id, Place::Parent, out);
            self.subscribe(now, id, Place::Next, out);
            // Who was shunned when the present way was chosen may be the better one.
            if self.tracks.get(&id).is_some_and(|track| track.better.is_none() && better.is_none() && track.stands()) {
                self.compare(now, id, false, out);
            }
        }
        if let Some((node, _)) = better
            && self.tracks.get(&id).is_some_and(|track| track.parent.is_some() && track.next.is_none())
            && let Some(best) = self.choose(now, id).filter(|best| best.node == node)
        {
            self.ask(now, id, Place::Next, best, out);
        }
        self.pursue(now, id, out);
    }

    /// Has a track forgotten after a while, if neither a room here nor a neighbour needs it.
    pub(super) fn expire_unless_needed(&mut self, now: Instant, id: TrackId) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if track.rooms || !track.children.is_empty() {
            track.expire_at = None;
        } else {
            track.expire_at.get_or_insert(now + LINGER);
        }
        self.arm(now, id);
    }

    /// Asks the publisher for a keyframe, by way of the parent.
    pub(super) fn need_keyframe(&mut self, now: Instant, id: TrackId, layer: Layer, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id).filter(|track| track.info.kind == Kind::Video) else { return };
        let Some(link) = track.parent.as_ref().map(|parent| parent.link) else { return };
        let Some(incoming) = track.layer_mut(layer) else { return };
        if incoming.keyframe_at.is_some_and(|at| now.saturating_duration_since(at) < KEYFRAME_PACE) {
            return;
        }
        incoming.keyframe_at = Some(now);
        out.push(Output::Send { link, frame: Frame::Keyframe { track: id, layer } });
    }

    /// Asks for keyframes where a new parent did not go on from where the old one ended.
    fn ask_for_gaps(&mut self, now: Instant, id: TrackId, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let due = |incoming: &mut super::track::Incoming| incoming.gap.take_if(|(_, at)| *at <= now).is_some();
        let missing: Vec<Layer> = (0..).map(Layer).zip(&mut track.layers).filter_map(|(l, i)| due(i).then_some(l)).collect();
        for layer in missing {
            self.need_keyframe(now, id, layer, out);
        }
    }

    fn backoff(&mut self, id: TrackId) -> Duration {
        let failures = self.tracks.get(&id).map_or(0, |track| track.failures);
        let wait = BACKOFF.0.saturating_mul(1 << failures.min(8)).min(BACKOFF.1);
        wait.mul_f64(self.rng.random_range(0.75..1.25))
    }
}
