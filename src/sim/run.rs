//! The simulator's loop: events in order of virtual time, each handed to the node it is for, what follows put back in the queue.
//! Owns time, members and faults; what must hold meanwhile is `sim::check`'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::check::Checks;
use super::net::{self, Net, Weather, end, link};
use super::node::{Effect, Input, Node, PIPE, packet};
use super::world::World;
use crate::cascade::mesh;
use crate::cascade::topology::Topology;
use crate::cascade::wire::{Frame, TrackInfo};
use crate::cluster::NodeInfo;
use crate::id::{LinkId, NodeId, RoomId, TrackId};
use crate::router::{self, Branch, Feed};
use crate::rtp::{Kind, Layer, LayerInfo, LayerSet};

/// Between two packets of a layer.
pub const PACE: Duration = Duration::from_millis(100);

/// How often what must hold at any time is looked at.
const CHECK: Duration = Duration::from_millis(100);

/// How much sooner or later than the publisher's node others may hear of a track.
const RUMOUR: Duration = Duration::from_millis(200);

/// What may be done to a running cluster.
#[derive(Clone, Debug)]
pub enum Act {
    /// Nothing passes between two nodes any more.
    Cut(usize, usize),
    Heal(usize, usize),
    /// All that was cut passes again.
    HealAll,
    /// The process is gone.
    Kill(usize),
    /// It comes back, knowing nothing.
    Start(usize),
    Drain(usize),
    /// An operator gives one node a newer document.
    Document(usize, Arc<Topology>),
    Publish(TrackId, usize),
    /// The publisher leaves.
    End(TrackId),
    Watch(usize, TrackId, LayerSet),
    Say(usize, usize, Bytes),
}

#[derive(Debug)]
enum Event {
    Frame { to: LinkId, frame: Frame },
    Media { to: LinkId, flow: u32, rtp: Bytes },
    Dial { from: usize, to: usize, run: u32 },
    Up { connection: u32 },
    Silence { connection: u32, side: usize },
    Closed { end: LinkId },
    Wake { node: usize, run: u32 },
    Packet { track: TrackId },
    Published { track: TrackId, run: u32 },
    Forgotten { node: usize, track: TrackId },
    Interest { node: usize, track: TrackId },
    Act(Act),
    Check,
}

/// A track as its publisher sees it.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) info: TrackInfo,
    pub(super) origin: usize,
    pub(super) since: Option<Instant>,
    pub(super) wanted: LayerSet,
    stream: u32,
    seqs: [u64; Layer::MAX],
    keyframe_due: LayerSet,
}

/// A member's wish.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) layers: LayerSet,
    pub(super) since: Instant,
    pub(super) last: [Option<Instant>; Layer::MAX],
}

/// A cluster in virtual time.
#[derive(Debug)]
pub struct Sim {
    pub(super) now: Instant,
    start: Instant,
    rng: SmallRng,
    pub(super) nodes: Vec<Node>,
    pub(super) index: BTreeMap<NodeId, usize>,
    pub(super) world: World,
    pub(super) net: Net,
    queue: BTreeMap<(Instant, u64), Event>,
    order: u64,
    documents: BTreeMap<String, Arc<Topology>>,
    pub(super) tracks: BTreeMap<TrackId, Published>,
    pub(super) viewers: BTreeMap<(usize, TrackId), Viewer>,
    pub(super) checks: Checks,
    /// What rooms heard: to, from, body.
    pub said: Vec<(usize, NodeId, Bytes)>,
    /// Between two packets of a layer, from now on.
    pub pace: Duration,
    /// Events handled so far.
    pub events: u64,
}

impl Sim {
    /// A cluster whose nodes all start at `start`. Equal seeds give equal runs.
    pub fn new(world: World, weather: Weather, start: Instant, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut sim = Self {
            now: start,
            start,
            nodes: Vec::new(),
            index: world.nodes.iter().enumerate().map(|(at, node)| (node.id.clone(), at)).collect(),
            net: Net::new(weather),
            queue: BTreeMap::new(),
            order: 0,
            documents: BTreeMap::new(),
            tracks: BTreeMap::new(),
            viewers: BTreeMap::new(),
            checks: Checks::new(start),
            said: Vec::new(),
            pace: PACE,
            events: 0,
            rng: SmallRng::seed_from_u64(rng.random()),
            world,
        };
        sim.documents.insert(sim.world.topology.text.clone(), Arc::clone(&sim.world.topology));
        for info in sim.world.nodes.clone() {
            let seed = rng.random();
            sim.nodes.push(Node::new(info, Arc::clone(&sim.world.topology), start, seed, 0));
        }
        for at in 0..sim.nodes.len() {
            sim.give(at, Input::Mesh(mesh::Input::Timeout));
        }
        sim.push(start + CHECK, Event::Check);
        sim
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Has something happen `after` the start.
    pub fn at(&mut self, after: Duration, act: Act) {
        self.push(self.start + after, Event::Act(act));
    }

    /// Lets time pass until `after` the start. Stops early when something that must hold does not.
    pub fn run(&mut self, after: Duration) {
        let until = self.start + after;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.events += 1;
            self.event(event);
            if !self.checks.violations.is_empty() {
                return;
            }
        }
        self.now = until;
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.queue.insert((at, self.order), event);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Frame { to, frame } => {
                if let Some(node) = self.node_of(to) {
                    self.give(node, Input::Mesh(mesh::Input::Frame { link: to, frame }));
                }
            }
            Event::Media { to, flow, rtp } => {
                if let Some(node) = self.node_of(to) {
                    self.give(node, Input::Media { link: to, flow, rtp });
                }
            }
            Event::Dial { from, to, run } => self.dial(from, to, run),
            Event::Up { connection } => self.up(connection),
            Event::Silence { connection, side } => self.silence(connection, side),
            Event::Closed { end } => self.down(end),
            Event::Wake { node, run } => {
                if let Some(state) = self.nodes.get_mut(node).filter(|state| state.alive && state.run == run) {
                    if state.wake.is_some_and(|wake| wake > self.now) {
                        return;
                    }
                    state.wake = None;
                    self.give(node, Input::Mesh(mesh::Input::Timeout));
                    self.give(node, Input::Router(router::Input::Timeout));
                }
            }
            Event::Packet { track } => self.packet(track),
            Event::Published { track, run } => self.published(track, run),
            Event::Forgotten { node, track } => {
                if self.viewers.remove(&(node, track)).is_some() {
                    self.give(node, Input::Mesh(mesh::Input::TrackGone { track }));
                }
            }
            Event::Interest { node, track } => self.interest(node, track),
            Event::Act(act) => self.act(act),
            Event::Check => {
                self.check();
                self.push(self.now + CHECK, Event::Check);
            }
        }
    }

    /// The living node at an end of a connection that is up there.
    fn node_of(&self, link: LinkId) -> Option<usize> {
        let (connection, side) = end(link);
        let connection = self.net.connections.get(&connection)?;
        let node = connection.ends.get(side).copied().filter(|_| connection.up.get(side) == Some(&true))?;
        self.nodes.get(node).is_some_and(|node| node.alive).then_some(node)
    }

    fn give(&mut self, at: usize, input: Input) {
        let Some(node) = self.nodes.get_mut(at).filter(|node| node.alive) else { return };
        let mut effects = Vec::new();
        node.handle(self.now, input, &mut effects);
        self.take(at, effects);
    }

    fn take(&mut self, at: usize, effects: Vec<Effect>) {
        for effect in effects {
            self.effect(at, effect);
        }
        let Some(node) = self.nodes.get_mut(at) else { return };
        let run = node.run;
        if let Some(deadline) = node.deadline().map(|at| at.max(self.now))
            && node.wake.is_none_or(|wake| deadline < wake)
        {
            node.wake = Some(deadline);
            self.push(deadline, Event::Wake { node: at, run });
        }
    }

    fn effect(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Send { link, frame } => self.send(at, link, frame),
            Effect::Media { link: from, flow, rtp, track, layer } => {
                let (connection, side) = end(from);
                if let Some(to) = self.net.connections.get(&connection).and_then(|c| c.ends.get(1 - side)).copied() {
                    self.checks.crossed(at, to, track, layer);
                }
                if let Some(arrival) = self.net.media(&mut self.rng, self.now, from) {
                    self.push(arrival, Event::Media { to: link(connection, 1 - side), flow, rtp });
                }
            }
            Effect::Close { link: closed, why } => {
                self.checks.closed(self.now, at, &why);
                let (connection, side) = end(closed);
                self.net.end(connection);
                self.push(self.now + Duration::from_millis(50), Event::Closed { end: link(connection, 1 - side) });
                self.push(self.now, Event::Closed { end: closed });
            }
            Effect::Dial(to) => {
                let Some(&other) = self.index.get(&to) else { return };
                let wait = Duration::from_millis(self.rng.random_range(0..50));
                let Some(node) = self.nodes.get_mut(at) else { return };
                node.dials.insert(to, ());
                let run = node.run;
                self.push(self.now + wait, Event::Dial { from: at, to: other, run });
            }
            Effect::HangUp(to) => {
                let Some(&other) = self.index.get(&to) else { return };
                if let Some(node) = self.nodes.get_mut(at) {
                    node.dials.remove(&to);
                }
                if let Some(connection) = self.net.between(at, other) {
                    self.net.end(connection);
                    self.push(self.now, Event::Closed { end: link(connection, 0) });
                    self.push(self.now, Event::Closed { end: link(connection, 1) });
                }
            }
            Effect::Document(text) => {
                let document = self.documents.get(&text).cloned();
                let node = self.nodes.get_mut(at);
                if let (Some(topology), Some(node)) = (document, node) {
                    node.topology = Arc::clone(&topology);
                    self.checks.stale = true;
                    self.give(at, Input::Mesh(mesh::Input::Topology { topology }));
                }
            }
            Effect::Seen { track, layer, stream, seq } => {
                if let Some(viewer) = self.viewers.get_mut(&(at, track)) {
                    self.checks.seen(self.now, at, track, layer, (stream, seq), viewer);
                }
            }
            Effect::Wanted { track, layers } => {
                if let Some(published) = self.tracks.get_mut(&track) {
                    published.wanted = layers;
                }
            }
            Effect::Keyframe { track, layer } => {
                if let Some(published) = self.tracks.get_mut(&track) {
                    published.keyframe_due = published.keyframe_due.with(layer);
                    self.checks.keyframe(self.now, track, layer);
                }
            }
            Effect::Said { from, body } => self.said.push((at, from, body)),
        }
    }

    fn send(&mut self, at: usize, from: LinkId, frame: Frame) {
        let (connection, side) = end(from);
        self.checks.frame(self.now, at, from, &frame);
        if let Some((arrival, frame)) = self.net.frame(&mut self.rng, self.now, from, frame) {
            self.push(arrival, Event::Frame { to: link(connection, 1 - side), frame });
        }
    }

    fn dial(&mut self, from: usize, to: usize, run: u32) {
        let (Some(node), Some(other)) = (self.nodes.get(from), self.nodes.get(to)) else { return };
        if !node.alive || node.run != run || !node.dials.contains_key(&other.info.id) || self.net.between(from, to).is_some() {
            return;
        }
        if !other.alive || self.net.is_blocked(from, to) {
            let wait = Duration::from_millis(self.rng.random_range(300..600));
            return self.push(self.now + wait, Event::Dial { from, to, run });
        }
        let delay = self.world.delay(from, to);
        let connection = self.net.connect(from, to, delay);
        self.push(self.now + delay * 3, Event::Up { connection });
    }

    fn up(&mut self, id: u32) {
        let Some(connection) = self.net.connections.get(&id) else { return };
        let [a, b] = connection.ends;
        let (Some(first), Some(second)) = (self.nodes.get(a), self.nodes.get(b)) else { return };
        let fails = connection.cut.is_some() || connection.over || !first.alive || !second.alive;
        if fails {
            let run = first.run;
            self.net.end(id);
            return self.push(self.now + Duration::from_millis(300), Event::Dial { from: a, to: b, run });
        }
        let hellos = [second.mesh.hello(), first.mesh.hello()];
        if let Some(connection) = self.net.connections.get_mut(&id) {
            connection.up = [true; 2];
        }
        self.checks.stale = true;
        for ((side, node), hello) in [(0, a), (1, b)].into_iter().zip(hellos) {
            self.give(node, Input::Mesh(mesh::Input::LinkUp { link: link(id, side), hello }));
        }
    }

    /// An end has heard nothing for too long.
    fn silence(&mut self, id: u32, side: usize) {
        let Some(connection) = self.net.connections.get(&id) else { return };
        if connection.cut.is_none() && !connection.over {
            return;
        }
        let other = link(id, 1 - side);
        self.net.end(id);
        self.down(link(id, side));
        // The network may have healed meanwhile; the end of the connection is told or noticed.
        self.push(self.now + net::DETECTION, Event::Closed { end: other });
    }

    /// The connection is over for one of its ends.
    fn down(&mut self, gone: LinkId) {
        let (id, side) = end(gone);
        let node = self.node_of(gone);
        let Some(connection) = self.net.connections.get_mut(&id) else { return };
        let [a, b] = connection.ends;
        if let Some(up) = connection.up.get_mut(side) {
            *up = false;
        }
        self.checks.stale = true;
        self.net.end(id);
        if let Some(node) = node {
            self.give(node, Input::Mesh(mesh::Input::LinkDown { link: gone }));
        }
        let Some(dialer) = self.nodes.get(a).filter(|_| side == 0) else { return };
        let wait = Duration::from_millis(self.rng.random_range(100..300));
        let run = dialer.run;
        self.push(self.now + wait, Event::Dial { from: a, to: b, run });
    }

    fn packet(&mut self, id: TrackId) {
        let Some(track) = self.tracks.get_mut(&id).filter(|track| track.since.is_some()) else { return };
        let (origin, stream) = (track.origin, track.stream);
        let mut feeds = Vec::new();
        for layer in track.wanted.iter() {
            let Some(seq) = track.seqs.get_mut(usize::from(layer.0)) else { continue };
            *seq += 1;
            let keyframe = track.keyframe_due.contains(layer) || *seq % 100 == 1;
            track.keyframe_due = LayerSet(track.keyframe_due.0 & !LayerSet::of(layer).0);
            let packet = Arc::new(packet(self.now, *seq, keyframe));
            feeds.push(Feed::Packet { track: id, layer, stream: stream + u32::from(layer.0), packet });
        }
        for feed in feeds {
            self.give(origin, Input::Router(router::Input::Fed(feed)));
        }
        self.push(self.now + self.pace, Event::Packet { track: id });
    }

    fn published(&mut self, id: TrackId, run: u32) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let at = track.origin;
        if !self.nodes.get(at).is_some_and(|node| node.alive && node.run == run) {
            return;
        }
        track.since = Some(self.now);
        let info = track.info.clone();
        self.give(at, Input::Mesh(mesh::Input::Track { info, from: Some(PIPE) }));
        self.push(self.now, Event::Packet { track: id });
    }

    /// A room has heard of a track, and a member here wants it as the viewer says.
    fn interest(&mut self, node: usize, id: TrackId) {
        let Some(track) = self.tracks.get(&id) else { return };
        let Some(viewer) = self.viewers.get(&(node, id)) else { return };
        let (info, layers) = (track.info.clone(), viewer.layers);
        self.checks.watches(node, id, layers);
        self.give(node, Input::Mesh(mesh::Input::Track { info, from: None }));
        let branch = Branch::Pipe(PIPE);
        let interest = router::Input::BranchInterest { branch, track: id, layers, have: Vec::new() };
        self.give(node, Input::Router(interest));
        for layer in layers.iter() {
            self.give(node, Input::Router(router::Input::BranchKeyframe { branch, track: id, layer }));
        }
    }

    fn act(&mut self, act: Act) {
        let now = self.now;
        match act {
            Act::Cut(a, b) => {
                self.checks.disturbed(now);
                if let Some(connection) = self.net.block(now, a, b) {
                    self.fall_silent(connection);
                }
            }
            Act::Heal(a, b) => self.heal(a, b),
            Act::HealAll => {
                for (a, b) in self.net.blocked() {
                    self.heal(a, b);
                }
            }
            Act::Kill(at) => self.kill(at),
            Act::Start(at) => self.revive(at),
            Act::Drain(at) => {
                self.checks.disturbed(now);
                if let Some(node) = self.nodes.get_mut(at) {
                    node.draining = true;
                }
                self.give(at, Input::Mesh(mesh::Input::Drain));
            }
            Act::Document(at, topology) => {
                self.checks.disturbed(now);
                self.documents.insert(topology.text.clone(), Arc::clone(&topology));
                self.world.topology = Arc::clone(&topology);
                if let Some(node) = self.nodes.get_mut(at) {
                    node.topology = Arc::clone(&topology);
                }
                self.give(at, Input::Mesh(mesh::Input::Topology { topology }));
            }
            Act::Publish(id, at) => {
                let Some(node) = self.nodes.get(at).filter(|node| node.alive) else { return };
                let layers = vec![LayerInfo::default(); 3];
                let room = RoomId::new(format!("room-{}", id.0 / 16));
                let (origin, incarnation) = (node.info.id.clone(), node.info.incarnation);
                let info = TrackInfo { id, room, kind: Kind::Video, layers, origin, incarnation };
                let track = Published {
                    info,
                    origin: at,
                    since: None,
                    wanted: LayerSet::EMPTY,
                    stream: self.rng.random::<u32>() & 0xFFFF_FF00,
                    seqs: [self.rng.random_range(1 << 16..1 << 17); Layer::MAX],
                    keyframe_due: LayerSet::EMPTY,
                };
                let run = node.run;
                self.tracks.insert(id, track);
                // Viewers may hear of it before its own node's mesh does.
                self.push(now + RUMOUR / 2, Event::Published { track: id, run });
            }
            Act::End(id) => self.end_track(id),
            Act::Watch(node, id, layers) => {
                if self.tracks.get(&id).is_none_or(|track| track.origin == node)
                    || !self.nodes.get(node).is_some_and(|node| node.alive)
                {
                    return;
                }
                let viewer = Viewer { layers, since: now, last: [None; Layer::MAX] };
                let last = self.viewers.get(&(node, id)).map(|before| before.last);
                self.viewers.insert((node, id), Viewer { last: last.unwrap_or_default(), ..viewer });
                let wait = RUMOUR.mul_f64(self.rng.random());
                self.push(now + wait, Event::Interest { node, track: id });
            }
            Act::Say(from, to, body) => {
                let Some(to) = self.nodes.get(to).map(|node| node.info.id.clone()) else { return };
                let mut effects = Vec::new();
                if let Some(node) = self.nodes.get_mut(from).filter(|node| node.alive) {
                    node.say(now, to, body, &mut effects);
                }
                self.take(from, effects);
            }
        }
    }

    fn fall_silent(&mut self, connection: u32) {
        for side in [0, 1] {
            let wait = net::detection(&mut self.rng);
            self.push(self.now + wait, Event::Silence { connection, side });
        }
        self.checks.stale = true;
    }

    fn heal(&mut self, a: usize, b: usize) {
        for (from, frame) in self.net.unblock(a, b) {
            let (connection, side) = end(from);
            if let Some((arrival, frame)) = self.net.frame(&mut self.rng, self.now, from, frame) {
                self.push(arrival, Event::Frame { to: link(connection, 1 - side), frame });
            }
        }
        self.checks.stale = true;
    }

    fn kill(&mut self, at: usize) {
        self.checks.disturbed(self.now);
        let Some(node) = self.nodes.get_mut(at).filter(|node| node.alive) else { return };
        node.alive = false;
        node.dials.clear();
        let links: Vec<u32> = self.net.connections.iter().filter(|(_, c)| c.ends.contains(&at)).map(|(id, _)| *id).collect();
        for id in links {
            self.net.cut(self.now, id);
            self.fall_silent(id);
        }
        self.viewers.retain(|(node, _), _| *node != at);
        let published: Vec<TrackId> = self.tracks.iter().filter(|(_, t)| t.origin == at).map(|(id, _)| *id).collect();
        for id in published {
            self.end_track(id);
        }
    }

    fn revive(&mut self, at: usize) {
        let seed = self.rng.random();
        let Some(node) = self.nodes.get_mut(at).filter(|node| !node.alive) else { return };
        let info = NodeInfo { incarnation: node.info.incarnation + 1, ..node.info.clone() };
        // A process reads the document it finds: the latest.
        *node = Node::new(info, Arc::clone(&self.world.topology), self.now, seed, node.run + 1);
        self.checks.stale = true;
        self.give(at, Input::Mesh(mesh::Input::Timeout));
        let dialers: Vec<(usize, u32)> = self.nodes.iter().enumerate().map(|(other, node)| (other, node.run)).collect();
        for (other, run) in dialers {
            self.push(self.now + Duration::from_millis(100), Event::Dial { from: other, to: at, run });
        }
    }

    fn end_track(&mut self, id: TrackId) {
        let Some(track) = self.tracks.remove(&id) else { return };
        self.give(track.origin, Input::Mesh(mesh::Input::TrackGone { track: id }));
        let watching: Vec<usize> = self.viewers.keys().filter(|(_, track)| *track == id).map(|(node, _)| *node).collect();
        for node in watching {
            let wait = RUMOUR.mul_f64(self.rng.random());
            self.push(self.now + wait, Event::Forgotten { node, track: id });
        }
    }
}
