//! What must hold in a simulated cluster: at any time, and when it has come to rest. Owns the observations and the judgement.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::node::Node;
use super::run::{Sim, Viewer};
use crate::cascade::wire::Frame;
use crate::id::{LinkId, NodeId, TrackId};
use crate::rtp::{Layer, LayerSet};

/// A member that can be served is served this long after the last thing that went wrong: a silent link is noticed (1.2 s) and the
/// rest is repair.
pub const SERVED: Duration = Duration::from_millis(2_200);

/// Packets come ten times a second: this long without one is an outage.
const OUTAGE: Duration = Duration::from_millis(1_000);

/// How long a circle of parents may last: until the news of it has gone around.
const CIRCLE: Duration = Duration::from_millis(1_500);

/// Between two keyframe requests for a layer, by one node or to the publisher.
const KEYFRAMES: Duration = Duration::from_millis(450);

/// Numbers of a viewer's layer that are remembered, to find one that comes twice.
const REMEMBERED: usize = 512;

/// What has been seen.
#[derive(Debug)]
pub struct Checks {
    /// What did not hold, and when.
    pub violations: Vec<String>,
    /// The longest that a member who could be served was not, beyond the bound's beginning.
    pub worst_outage: Duration,
    /// Packets that reached viewers.
    pub packets: u64,
    /// Closed links, by reason.
    pub closed: BTreeMap<String, u64>,
    pub(super) stale: bool,
    rounds: u64,
    start: Instant,
    quiet_since: Instant,
    reachable: BTreeMap<(usize, usize), Instant>,
    numbers: BTreeMap<(usize, TrackId, Layer), VecDeque<(u32, u64)>>,
    keyframes: BTreeMap<(TrackId, Layer), Instant>,
    asked: BTreeMap<(LinkId, TrackId, Layer), Instant>,
    circles: BTreeMap<(TrackId, usize), Instant>,
    crossings: BTreeMap<(TrackId, Layer, usize, usize), u64>,
    /// Keeps the order in which packets came, for those who ask.
    pub log: Option<Vec<(usize, TrackId, Layer, u64)>>,
}

impl Checks {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            violations: Vec::new(),
            worst_outage: Duration::ZERO,
            packets: 0,
            closed: BTreeMap::new(),
            stale: true,
            rounds: 0,
            start,
            quiet_since: start,
            reachable: BTreeMap::new(),
            numbers: BTreeMap::new(),
            keyframes: BTreeMap::new(),
            asked: BTreeMap::new(),
            circles: BTreeMap::new(),
            crossings: BTreeMap::new(),
            log: None,
        }
    }

    fn broken(&mut self, now: Instant, what: String) {
        let at = (now - self.start).as_secs_f64();
        self.violations.push(format!("at {at:.3} s: {what}"));
    }

    pub(super) fn disturbed(&mut self, now: Instant) {
        self.quiet_since = now;
        self.stale = true;
    }

    pub(super) fn crossed(&mut self, from: usize, to: usize, track: TrackId, layer: Layer) {
        *self.crossings.entry((track, layer, from, to)).or_default() += 1;
    }

    pub(super) fn closed(&mut self, now: Instant, at: usize, why: &str) {
        *self.closed.entry(why.to_owned()).or_default() += 1;
        if !matches!(
            why,
            "another link to the node is up" | "of an earlier run of the node" | "the topology does not join these nodes"
        ) {
            self.broken(now, format!("node {at} closes a link: {why}"));
        }
    }

    pub(super) fn seen(
        &mut self,
        now: Instant,
        at: usize,
        track: TrackId,
        layer: Layer,
        number: (u32, u64),
        viewer: &mut Viewer,
    ) {
        self.packets += 1;
        if let Some(log) = &mut self.log {
            log.push((at, track, layer, number.1));
        }
        let numbers = self.numbers.entry((at, track, layer)).or_default();
        if numbers.contains(&number) {
            self.broken(now, format!("node {at}: packet {} of {track} {layer:?} came twice", number.1));
            return;
        }
        numbers.push_back(number);
        if numbers.len() > REMEMBERED {
            numbers.pop_front();
        }
        if let Some(last) = viewer.last.get_mut(usize::from(layer.0)) {
            *last = Some(now);
        }
    }

    /// A layer that a member watches anew begins with the latest keyframe, which it may have had before.
    pub(super) fn watches(&mut self, at: usize, track: TrackId, layers: LayerSet) {
        self.numbers.retain(|&(viewer, id, layer), _| viewer != at || id != track || layers.contains(layer));
    }

    pub(super) fn keyframe(&mut self, now: Instant, track: TrackId, layer: Layer) {
        if let Some(before) = self.keyframes.insert((track, layer), now)
            && now - before < KEYFRAMES
        {
            self.broken(now, format!("the publisher of {track} {layer:?} is asked again after {:?}", now - before));
        }
    }

    pub(super) fn frame(&mut self, now: Instant, at: usize, link: LinkId, frame: &Frame) {
        if let Frame::Keyframe { track, layer } = frame
            && let Some(before) = self.asked.insert((link, *track, *layer), now)
            && now - before < KEYFRAMES
        {
            self.broken(now, format!("node {at} asks for a keyframe again after {:?}", now - before));
        }
    }
}

impl Sim {
    /// What must hold at any time.
    pub(super) fn check(&mut self) {
        if std::mem::take(&mut self.checks.stale) {
            self.reach();
        }
        self.check_service();
        self.checks.rounds += 1;
        if self.checks.rounds.is_multiple_of(4) {
            self.check_circles();
        }
    }

    /// Notes since when each member's node can be reached by its tracks' media.
    fn reach(&mut self) {
        let origins: BTreeSet<usize> = self.tracks.values().map(|track| track.origin).collect();
        let mut reachable = BTreeMap::new();
        for origin in origins {
            for at in self.reached_from(origin) {
                let since = self.checks.reachable.get(&(origin, at)).copied().unwrap_or(self.now);
                reachable.insert((origin, at), since);
            }
        }
        self.checks.reachable = reachable;
    }

    /// The nodes that media from one can reach, as the network is.
    fn reached_from(&self, origin: usize) -> BTreeSet<usize> {
        let mut neighbours: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for connection in self.net.connections.values() {
            let [a, b] = connection.ends;
            if self.net.joins(a, b) {
                neighbours.entry(a).or_default().push(b);
                neighbours.entry(b).or_default().push(a);
            }
        }
        let mut reached: BTreeSet<(usize, u8)> = BTreeSet::new();
        let mut waiting = vec![(origin, 1_u8)];
        while let Some((at, regions)) = waiting.pop() {
            let Some(node) = self.nodes.get(at).filter(|node| node.alive) else { continue };
            if !reached.insert((at, regions)) || at != origin && !self.passes(node) {
                continue;
            }
            for &to in neighbours.get(&at).into_iter().flatten() {
                let Some(next) = self.nodes.get(to) else { continue };
                let crosses = node.info.region != next.info.region;
                let regions = regions + u8::from(crosses);
                let joined = self.world.topology.cost(&node.info.region, &next.info.region).is_some();
                if joined && regions <= self.world.topology.max_region_hops {
                    waiting.push((to, regions));
                }
            }
        }
        reached.into_iter().map(|(at, _)| at).collect()
    }

    /// Whether media of others goes through a node.
    fn passes(&self, node: &Node) -> bool {
        node.info.role.is_core() && !node.draining
    }

    fn check_service(&mut self) {
        let now = self.now;
        let mut broken = Vec::new();
        for (&(at, id), viewer) in &self.viewers {
            let Some(track) = self.tracks.get(&id) else { continue };
            let (Some(published), Some(&reachable)) = (track.since, self.checks.reachable.get(&(track.origin, at))) else {
                continue;
            };
            let able = [published, reachable, viewer.since, self.checks.quiet_since].into_iter().max().unwrap_or(now);
            for layer in viewer.layers.iter() {
                let last = viewer.last.get(usize::from(layer.0)).copied().flatten();
                let out_since = last.map_or(able, |last| last.max(able));
                let outage = now - out_since;
                if outage > OUTAGE && last.is_none_or(|last| last < able) {
                    self.checks.worst_outage = self.checks.worst_outage.max(outage);
                }
                if now - able > SERVED && last.is_none_or(|last| now - last > OUTAGE) {
                    let ways = self.nodes.get(at).map(|node| node.mesh.ways(id));
                    broken.push(format!("node {at} gets no {id} {layer:?} from node {}: {ways:?}", track.origin));
                }
            }
        }
        for what in broken {
            self.checks.broken(now, what);
        }
    }

    /// Parents whose way stands must not form a circle for long.
    fn check_circles(&mut self) {
        let mut circles = BTreeMap::new();
        for (&id, track) in &self.tracks {
            let watching = self.viewers.keys().filter(|(_, watched)| *watched == id);
            for &(viewer, _) in watching {
                let (mut at, mut hops) = (viewer, 0);
                while at != track.origin && hops <= self.nodes.len() {
                    let [parent, _] = self.nodes.get(at).map(|node| node.mesh.ways(id)).unwrap_or_default();
                    let Some(parent) = parent.filter(|way| way.up).and_then(|way| self.index.get(&way.node).copied()) else {
                        break;
                    };
                    (at, hops) = (parent, hops + 1);
                }
                if hops > self.nodes.len() {
                    let since = self.checks.circles.get(&(id, viewer)).copied().unwrap_or(self.now);
                    circles.insert((id, viewer), since);
                }
            }
        }
        self.checks.circles = circles;
        let late = self.checks.circles.iter().find(|(_, since)| self.now - **since > CIRCLE).map(|(key, _)| *key);
        if let Some((id, viewer)) = late {
            self.checks.broken(self.now, format!("the parents of {id} above node {viewer} form a circle"));
        }
    }

    /// Forgets which packets crossed which links, for [`Self::check_rest`].
    pub fn begin_window(&mut self) {
        self.checks.crossings.clear();
    }

    /// What must hold when nothing has happened for a while and the window shows a stretch of that.
    pub fn check_rest(&mut self) {
        let mut broken = Vec::new();
        // What each node must be given, from the leaves up.
        let mut needed: BTreeMap<(usize, TrackId), LayerSet> = BTreeMap::new();
        for (&(at, id), viewer) in &self.viewers {
            let entry = needed.entry((at, id)).or_default();
            *entry = entry.union(viewer.layers);
        }
        for _ in 0..8 {
            for (&(at, id), &layers) in &needed.clone() {
                let [parent, _] = self.nodes.get(at).map(|node| node.mesh.ways(id)).unwrap_or_default();
                let origin = self.tracks.get(&id).map(|track| track.origin);
                if let Some(parent) = parent.and_then(|way| self.index.get(&way.node).copied())
                    && Some(parent) != origin
                {
                    let entry = needed.entry((parent, id)).or_default();
                    *entry = entry.union(layers);
                }
            }
        }
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.alive) {
            for (&id, track) in self.tracks.iter().filter(|(_, track)| track.origin != at) {
                let [parent, next] = node.mesh.ways(id);
                let want = needed.get(&(at, id)).copied().unwrap_or_default();
                let asked = parent.as_ref().map(|way| way.layers).unwrap_or_default();
                let reachable = self.checks.reachable.contains_key(&(track.origin, at));
                if asked != want && reachable {
                    broken.push(format!("node {at} asks {asked:?} of {id}, where {want:?} is watched"));
                }
                if next.is_some() {
                    broken.push(format!("node {at} still has two parents for {id}"));
                }
            }
        }
        let mut entries: BTreeMap<(TrackId, Layer, String), BTreeSet<usize>> = BTreeMap::new();
        for &(id, layer, from, to) in self.checks.crossings.keys() {
            let (Some(a), Some(b)) = (self.nodes.get(from), self.nodes.get(to)) else { continue };
            if !needed.get(&(to, id)).is_some_and(|layers| layers.contains(layer)) {
                broken.push(format!("{id} {layer:?} goes from node {from} to {to}, where nobody watches it"));
            }
            if a.info.region != b.info.region {
                let copies = entries.entry((id, layer, b.info.region.as_str().to_owned())).or_default();
                copies.insert(to);
                if copies.len() > 1 {
                    broken.push(format!("{id} {layer:?} enters region {} more than once: {copies:?}", b.info.region));
                }
            }
        }
        let live = self.tracks.len();
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.alive) {
            let sizes = node.mesh.sizes();
            if sizes.tracks > live || sizes.nodes >= self.nodes.len() || sizes.flows > 64 * (live + 1) * (sizes.links + 1) {
                let tracks = node.mesh.status(self.now).tracks.into_iter().map(|track| track.track);
                let over: Vec<_> =
                    tracks.filter(|id| !self.tracks.contains_key(id)).map(|id| (id, node.mesh.ways(id))).collect();
                broken.push(format!("node {at} keeps {sizes:?} for {live} tracks: {over:?}"));
            }
        }
        for what in broken {
            self.checks.broken(self.now, what);
        }
    }

    /// Which way a member's node gets a track: parents up to the publisher's node, as far as they stand.
    pub fn way(&self, viewer: usize, id: TrackId) -> Vec<usize> {
        let mut way = Vec::new();
        let mut at = viewer;
        while way.len() < self.nodes.len() {
            let [parent, _] = self.nodes.get(at).map(|node| node.mesh.ways(id)).unwrap_or_default();
            let Some(parent) = parent.and_then(|way| self.index.get(&way.node).copied()) else { break };
            way.push(parent);
            at = parent;
        }
        way
    }

    /// How many nodes a node can reach, as it knows.
    pub fn known(&self, at: usize) -> usize {
        self.nodes.get(at).map_or(0, |node| node.mesh.view().nodes.len())
    }

    /// What has been seen so far.
    pub const fn checks(&self) -> &Checks {
        &self.checks
    }

    /// Has the order of packets kept from now on.
    pub fn keep_log(&mut self) {
        self.checks.log = Some(Vec::new());
    }

    /// Subscriptions that a node still serves for others.
    pub fn dependents(&self, at: usize) -> usize {
        self.nodes.get(at).map_or(0, |node| node.mesh.dependents())
    }

    /// A node's name.
    pub fn name(&self, at: usize) -> Option<&NodeId> {
        self.nodes.get(at).map(|node| &node.info.id)
    }

    /// How many nodes there are, dead ones included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}
