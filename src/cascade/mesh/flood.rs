//! Links that come and go, and the states that are told over them: when this node's own is said anew, whose are passed on, when the
//! graph is looked at again. Owns those rules; the states themselves are `mesh::nodes`'.
//!
//! A change is passed on at once, over every link but the one it came by, to all whom its node does not name as a neighbour, and by
//! cores only: an edge has no neighbour that a core does not have. Figures follow with a beat that slows down as the cluster
//! grows, since nothing depends on them, and are not passed on to neighbours of who passed them on either.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::links::{Allowance, Link};
use super::nodes::{MAX_NODES, News};
use super::routes::Routes;
use super::{Mesh, Output};
use crate::cascade::topology::Topology;
use crate::cascade::wire::{Frame, Hello, NodeState};
use crate::id::LinkId;
use crate::router;

/// Between two states of this node at least. Longer spares the cluster the many small steps of one event; shorter spreads a second
/// event sooner.
const GAP: Duration = Duration::from_millis(100);

/// Between two beats of this node, in a small cluster.
const BEAT: Duration = Duration::from_secs(5);

/// The beat is this much longer for each known node: what a link carries for people stays the same however many there are.
const BEAT_PER_NODE: Duration = Duration::from_millis(200);

/// How long changes of others, and new links, are gathered before ways are looked at again. Longer saves searches when many come
/// at once.
const SETTLE: Duration = Duration::from_millis(20);

/// Between two looks at all ways, for each known node, when changes of others keep coming: what a storm of them costs grows with the
/// cluster otherwise. Longer saves more while a large cluster starts; what breaks at this node is looked at once in any case.
const SETTLE_PER_NODE: Duration = Duration::from_micros(400);

/// At most this, however many are known: invented nodes must not keep those that are there waiting.
const SETTLE_MOST: Duration = Duration::from_millis(100);

/// States a neighbour may send at once, and in each second: it tells all it knows when a link comes up.
const STATES: (f64, f64) = (2.0 * MAX_NODES as f64, 1_000.0);

/// Subscriptions a neighbour may ask for at once, and in each second.
const SUBSCRIBES: (f64, f64) = (8_192.0, 1_000.0);

/// Bytes that a neighbour's rooms may say at once, and in each second.
const ROOM_BYTES: (f64, f64) = (16e6, 8e6);

/// Documents a neighbour may give at once, and in each second.
const DOCUMENTS: (f64, f64) = (16.0, 0.2);

/// How long a link that the document does not want any more is kept for those whose media still comes by it.
const LEAVE: Duration = Duration::from_secs(10);

/// Links of this node at most; more are closed.
pub(super) const MAX_LINKS: usize = 1_024;

/// When what is told and looked at.
#[derive(Debug)]
pub(super) struct Schedule {
    said_at: Option<Instant>,
    say_at: Option<Instant>,
    beat_at: Instant,
    pub(super) settle_at: Option<Instant>,
    settled_at: Option<Instant>,
}

impl Schedule {
    pub(super) const fn new(now: Instant) -> Self {
        Self { said_at: None, say_at: None, beat_at: now, settle_at: Some(now), settled_at: None }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        [Some(self.beat_at), self.say_at, self.settle_at].into_iter().flatten().min()
    }
}

impl Mesh {
    pub(super) fn link_up(&mut self, now: Instant, id: LinkId, hello: Hello, out: &mut Vec<Output>) {
        let node = hello.node;
        if node.id == self.nodes.me().node.id {
            return out.push(Output::Close { link: id, why: "a link to a node of our own name".to_owned() });
        }
        if self.links.get(id).is_some() || self.links.len() >= MAX_LINKS {
            return out.push(Output::Close { link: id, why: "too many links".to_owned() });
        }
        if let Some((before, incarnation)) = self.links.to(&node.id).and_then(|l| Some((l, self.links.get(l)?.incarnation))) {
            if incarnation > node.incarnation {
                return out.push(Output::Close { link: id, why: "of an earlier run of the node".to_owned() });
            }
            self.close(now, before, "another link to the node is up", out);
        }
        self.nodes.hello(&node, hello.epoch);
        self.nodes.link_up(&node.id);
        // By our document; by a newer one it may be.
        let wanted = self.joins(&node.id);
        let allow = |(most, per_second)| Allowance::new(now, most, per_second);
        self.links.insert(
            id,
            Link {
                node: node.id,
                incarnation: node.incarnation,
                goaway: node.draining,
                unwanted: if wanted { None } else { Some(now + LEAVE) },
                epoch: hello.epoch,
                flows_in: Default::default(),
                flows_out: Default::default(),
                children: 0,
                states: allow(STATES),
                subscribes: allow(SUBSCRIBES),
                rooms: allow(ROOM_BYTES),
                documents: allow(DOCUMENTS),
            },
        );
        self.settle_soon(now);
        for state in self.nodes.all() {
            out.push(Output::Send { link: id, frame: Frame::State(state.clone()) });
        }
        if self.nodes.me().node.draining {
            out.push(Output::Send { link: id, frame: Frame::Goaway { reason: "draining".to_owned() } });
        }
        self.offer_document(id, out);
        self.say_soon(now, out);
    }

    pub(super) fn link_down(&mut self, now: Instant, id: LinkId, out: &mut Vec<Output>) {
        let Some(link) = self.links.remove(id) else { return };
        self.nodes.link_down(&link.node);
        out.push(Output::Router(router::Input::BranchGone { branch: router::Branch::Link(id) }));
        self.way_gone(id);
        // Those whose parent is gone find the next in it.
        self.settle(now, false, out);
        self.say_soon(now, out);
    }

    /// Ends a link, whose shell will say so later.
    pub(super) fn close(&mut self, now: Instant, link: LinkId, why: &str, out: &mut Vec<Output>) {
        out.push(Output::Close { link, why: why.to_owned() });
        self.link_down(now, link, out);
    }

    pub(super) fn goaway(&mut self, now: Instant, id: LinkId, out: &mut Vec<Output>) {
        let Some(link) = self.links.get_mut(id) else { return };
        if !std::mem::replace(&mut link.goaway, true) {
            self.settle(now, false, out);
        }
    }

    pub(super) fn drain(&mut self, now: Instant, out: &mut Vec<Output>) {
        if std::mem::replace(&mut self.nodes.me_mut().node.draining, true) {
            return;
        }
        for link in self.links.ids() {
            out.push(Output::Send { link, frame: Frame::Goaway { reason: "draining".to_owned() } });
        }
        self.settle(now, false, out);
        self.say_soon(now, out);
    }

    pub(super) fn state_came(&mut self, now: Instant, id: LinkId, state: NodeState, out: &mut Vec<Output>) {
        let Some(link) = self.links.get_mut(id) else { return };
        if !link.states.take(now, 1.0) {
            return self.close(now, id, "too many states", out);
        }
        let of_neighbour = link.node == state.node.id;
        if of_neighbour && state.node.incarnation == link.incarnation {
            link.goaway |= state.node.draining;
            link.epoch = link.epoch.max(state.epoch);
        }
        let (node, incarnation, seq) = (state.node.id.clone(), state.node.incarnation, state.seq);
        let news = self.nodes.merge(state);
        match news {
            News::None => return,
            News::Forged => return self.close(now, id, "a state that nothing can follow", out),
            News::Own => return self.say_soon(now, out),
            News::Figures => {}
            News::Change => self.settle_soon(now),
        }
        if of_neighbour {
            self.offer_document(id, out);
        }
        if !self.nodes.me().node.role.is_core() {
            return;
        }
        let Some(state) = self.nodes.get(&node).filter(|state| (state.node.incarnation, state.seq) == (incarnation, seq))
        else {
            return;
        };
        // If the link to a named neighbour has just gone, the node will say so, and no longer name it.
        let sender = self.links.get(id).and_then(|link| self.nodes.get(&link.node)).filter(|_| news == News::Figures);
        let has = |state: &NodeState, node| state.neighbours.binary_search_by(|n| n.node.cmp(node)).is_ok();
        for (other, link) in self.links.iter().filter(|(other, link)| *other != id && link.node != node) {
            if !has(state, &link.node) && !sender.is_some_and(|sender| has(sender, &link.node)) {
                out.push(Output::Send { link: other, frame: Frame::State(state.clone()) });
            }
        }
    }

    pub(super) fn flood_due(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.flood.settle_at.is_some_and(|at| at <= now) {
            self.settle(now, false, out);
        }
        let said = self.flood.say_at.is_some_and(|at| at <= now);
        let beat = self.flood.beat_at <= now;
        if said || beat {
            self.say(now, out);
        }
        if beat {
            let period = BEAT + BEAT_PER_NODE * self.nodes.len().saturating_sub(25) as u32;
            self.flood.beat_at = now + period.mul_f64(self.rng.random_range(0.9..1.1));
            self.keep_house(now, out);
        }
    }

    fn settle_soon(&mut self, now: Instant) {
        let apart = (SETTLE_PER_NODE * self.nodes.len() as u32).min(SETTLE_MOST);
        let again = self.flood.settled_at.map(|at| at + apart);
        self.flood.settle_at.get_or_insert((now + SETTLE).max(again.unwrap_or(now)));
    }

    /// Says the own state now, or as soon as the last one is old enough.
    fn say_soon(&mut self, now: Instant, out: &mut Vec<Output>) {
        match self.flood.said_at.map(|at| at + GAP).filter(|at| *at > now) {
            Some(at) => self.flood.say_at = Some(at),
            None => self.say(now, out),
        }
    }

    fn say(&mut self, now: Instant, out: &mut Vec<Output>) {
        (self.flood.said_at, self.flood.say_at) = (Some(now), None);
        let state = self.nodes.say();
        for (link, _) in self.links.iter() {
            out.push(Output::Send { link, frame: Frame::State(state.clone()) });
        }
    }

    /// What needs no moment of its own: forgetting, and links that are not wanted.
    fn keep_house(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.nodes.forget(now) {
            self.settle(now, false, out);
        }
        let over = |link: &Link| link.unwanted.is_some_and(|until| until <= now);
        let over: Vec<LinkId> = self.links.iter().filter(|(_, link)| over(link)).map(|(id, _)| id).collect();
        for link in over {
            self.close(now, link, "the topology does not join these nodes", out);
        }
    }

    /// Looks at everything anew: who is reachable, which ways there are, whether each track's is still the right one.
    pub(super) fn settle(&mut self, now: Instant, document: bool, out: &mut Vec<Output>) {
        if self.rebuild(now) {
            out.push(Output::View(self.view()));
        }
        self.dial(now, out);
        self.review(now, document, out);
    }

    /// Builds the graph anew; true when the view changed.
    pub(super) fn rebuild(&mut self, now: Instant) -> bool {
        (self.flood.settle_at, self.flood.settled_at) = (None, Some(now));
        let adjacency = self.nodes.adjacency();
        let changed = self.nodes.settle(now, &adjacency);
        let links = self.links.iter().map(|(id, link)| (link.node.clone(), id));
        let leaving = |node: &_| self.links.to(node).and_then(|link| self.links.get(link)).is_some_and(|link| link.goaway);
        self.routes = Routes::new(&self.nodes, adjacency, &self.topology, links, leaving);
        changed
    }

    pub(super) fn new_topology(&mut self, now: Instant, topology: Arc<Topology>, out: &mut Vec<Output>) {
        if topology.epoch <= self.topology.epoch {
            return;
        }
        self.topology = topology;
        self.nodes.me_mut().epoch = self.topology.epoch;
        for link in self.links.ids() {
            self.offer_document(link, out);
        }
        let wants: Vec<(LinkId, bool)> = self.links.iter().map(|(id, link)| (id, self.joins(&link.node))).collect();
        for (id, wanted) in wants {
            if let Some(link) = self.links.get_mut(id) {
                link.unwanted = if wanted { None } else { link.unwanted.or(Some(now + LEAVE)) };
            }
        }
        self.settle(now, true, out);
        self.say_soon(now, out);
    }

    /// Gives a neighbour the document, if its own is older.
    fn offer_document(&mut self, id: LinkId, out: &mut Vec<Output>) {
        let Some(link) = self.links.get_mut(id) else { return };
        if link.epoch < self.topology.epoch && !self.topology.text.is_empty() {
            link.epoch = self.topology.epoch;
            out.push(Output::Send { link: id, frame: Frame::Topology { text: self.topology.text.clone() } });
        }
    }

    pub(super) fn document_came(&mut self, now: Instant, id: LinkId, text: String, out: &mut Vec<Output>) {
        let Some(link) = self.links.get_mut(id) else { return };
        if !link.documents.take(now, 1.0) {
            return self.close(now, id, "too many documents", out);
        }
        out.push(Output::NewTopology { text });
    }
}
