//! What this node knows of all nodes: the newest state of each, its own included, and who can be reached by them. Owns the merge
//! of states and the reachable set; who is told of a new state is `mesh::flood`'s, which way media takes `mesh::routes`'.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::flood::MAX_LINKS;
use crate::cascade::wire::{LinkMetrics, MAX_LIST, Neighbour, NodeState};
use crate::cluster::NodeInfo;
use crate::id::NodeId;

/// Nodes that are known at most, this one and its neighbours not counted. More are ignored: they get no media and no rooms from here.
pub(super) const MAX_NODES: usize = 4_096;

/// Neighbours that all known nodes list at most, together: bounds what the graph costs to keep and to search. A state that goes
/// beyond is ignored.
pub(super) const MAX_LISTED: usize = 1 << 17;

/// How long a node that cannot be reached is remembered. Longer recognises an old state of it as old after a longer partition.
const FORGET: Duration = Duration::from_secs(60);

/// What a state that came brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It was known already, or is older than what is known.
    None,
    /// Newer, but only in its figures.
    Figures,
    /// A node, a link, an epoch that was not known before.
    Change,
    /// It is about this node, from an earlier run or a forger: ours must be said anew, above it.
    Own,
    /// No incarnation is left to be above it.
    Forged,
}

#[derive(Debug)]
struct Entry {
    state: NodeState,
    unreachable_since: Option<Instant>,
}

/// The states of all nodes.
#[derive(Debug)]
pub(super) struct Nodes {
    me: NodeState,
    others: BTreeMap<NodeId, Entry>,
    /// Neighbours that the others list, together.
    listed: usize,
    reachable: Arc<BTreeMap<NodeId, NodeInfo>>,
}

impl Nodes {
    pub(super) fn new(me: NodeInfo, epoch: u64) -> Self {
        let reachable = Arc::new(BTreeMap::from([(me.id.clone(), me.clone())]));
        let me = NodeState { node: me, seq: 1, epoch, neighbours: Vec::new() };
        Self { me, others: BTreeMap::new(), listed: 0, reachable }
    }

    pub(super) const fn me(&self) -> &NodeState {
        &self.me
    }

    /// This node's own state, to change; [`Self::say`] numbers the change.
    pub(super) const fn me_mut(&mut self) -> &mut NodeState {
        &mut self.me
    }

    /// The own state as it is to be said next.
    pub(super) fn say(&mut self) -> &NodeState {
        self.me.seq = self.me.seq.saturating_add(1);
        &self.me
    }

    pub(super) fn reachable(&self) -> &Arc<BTreeMap<NodeId, NodeInfo>> {
        &self.reachable
    }

    pub(super) fn len(&self) -> usize {
        self.others.len()
    }

    pub(super) const fn listed(&self) -> usize {
        self.listed
    }

    pub(super) fn get(&self, id: &NodeId) -> Option<&NodeState> {
        if *id == self.me.node.id { Some(&self.me) } else { self.others.get(id).map(|entry| &entry.state) }
    }

    /// Every state that is known, this node's own first.
    pub(super) fn all(&self) -> impl Iterator<Item = &NodeState> {
        std::iter::once(&self.me).chain(self.others.values().map(|entry| &entry.state))
    }

    /// Takes in a neighbour's hello: what it says of itself is true at once.
    pub(super) fn hello(&mut self, node: &NodeInfo, epoch: u64) {
        let known = self.others.get(&node.id).map(|entry| entry.state.node.incarnation);
        if known.is_none_or(|known| known < node.incarnation) {
            // A neighbour is known however many there are: links are bounded too.
            self.insert(NodeState { node: node.clone(), seq: 0, epoch, neighbours: Vec::new() }, MAX_NODES + MAX_LINKS);
        }
    }

    /// The newest by (incarnation, seq) counts. One that nothing can follow is passed on to nobody: its node could not say itself anew.
    pub(super) fn merge(&mut self, state: NodeState) -> News {
        let age = |state: &NodeState| (state.node.incarnation, state.seq);
        if state.node.id == self.me.node.id {
            if age(&state) <= age(&self.me) {
                return News::None;
            }
            let above = match (state.node.incarnation == self.me.node.incarnation, state.seq.checked_add(1)) {
                (true, Some(_)) => Some((state.node.incarnation, state.seq)),
                _ => state.node.incarnation.checked_add(1).map(|incarnation| (incarnation, 0)),
            };
            let Some((incarnation, seq)) = above else { return News::Forged };
            (self.me.node.incarnation, self.me.seq) = (incarnation, seq);
            return News::Own;
        }
        if state.neighbours.len() > MAX_LIST || state.node.incarnation == u64::MAX || state.seq == u64::MAX {
            return News::Forged;
        }
        self.insert(state, MAX_NODES)
    }

    fn insert(&mut self, state: NodeState, most: usize) -> News {
        let age = |state: &NodeState| (state.node.incarnation, state.seq);
        let full = self.others.len() >= most;
        let before = self.others.get(&state.node.id).map_or(0, |entry| entry.state.neighbours.len());
        let listed = self.listed - before + state.neighbours.len();
        if listed > MAX_LISTED {
            return News::None;
        }
        match self.others.get_mut(&state.node.id) {
            Some(entry) if age(&entry.state) >= age(&state) => News::None,
            Some(entry) => {
                let ids = |state: &NodeState| state.neighbours.iter().map(|n| n.node.clone()).collect::<Vec<_>>();
                let same =
                    entry.state.node == state.node && entry.state.epoch == state.epoch && ids(&entry.state) == ids(&state);
                (entry.state, self.listed) = (state, listed);
                if same { News::Figures } else { News::Change }
            }
            None if full => News::None,
            None => {
                self.listed = listed;
                self.others.insert(state.node.id.clone(), Entry { state, unreachable_since: None });
                News::Change
            }
        }
    }

    /// Lists a neighbour of this node, in order of names so that equal sets are equal lists.
    pub(super) fn link_up(&mut self, node: &NodeId) {
        if let Err(place) = self.me.neighbours.binary_search_by(|n| n.node.cmp(node)) {
            self.me.neighbours.insert(place, Neighbour { node: node.clone(), metrics: LinkMetrics::default() });
        }
    }

    pub(super) fn link_down(&mut self, node: &NodeId) {
        self.me.neighbours.retain(|n| n.node != *node);
    }

    pub(super) fn metrics(&mut self, node: &NodeId, metrics: LinkMetrics) {
        if let Ok(place) = self.me.neighbours.binary_search_by(|n| n.node.cmp(node))
            && let Some(neighbour) = self.me.neighbours.get_mut(place)
        {
            neighbour.metrics = metrics;
        }
    }

    /// The links that both ends list, by the order of [`Self::all`]; this node's own count as soon as they are up here.
    pub(super) fn adjacency(&self) -> Vec<Vec<usize>> {
        let index: FxHashMap<&NodeId, usize> = self.all().enumerate().map(|(at, state)| (&state.node.id, at)).collect();
        let lists: Vec<Vec<usize>> = self
            .all()
            .map(|state| {
                let mut list: Vec<usize> = state.neighbours.iter().filter_map(|n| index.get(&n.node).copied()).collect();
                list.sort_unstable();
                list.dedup();
                list
            })
            .collect();
        let mine = lists.first().cloned().unwrap_or_default();
        let both = |(from, list): (usize, &Vec<usize>)| {
            let lists_back = |to: usize| lists.get(to).is_some_and(|back| back.binary_search(&from).is_ok());
            let mut both: Vec<usize> = list.iter().copied().filter(|&to| from == 0 || (to != 0 && lists_back(to))).collect();
            if from != 0 && mine.binary_search(&from).is_ok() {
                both.insert(0, 0);
            }
            both
        };
        lists.iter().enumerate().map(both).collect()
    }

    /// Decides anew who can be reached: over links that both ends list, through cores. True when a node came, went or changed.
    pub(super) fn settle(&mut self, now: Instant, adjacency: &[Vec<usize>]) -> bool {
        let states: Vec<&NodeState> = self.all().collect();
        let mut reached = vec![false; states.len()];
        let mut waiting = vec![0_usize];
        while let Some(at) = waiting.pop() {
            if std::mem::replace(reached.get_mut(at).unwrap_or(&mut true), true) {
                continue;
            }
            let passes = at == 0 || states.get(at).is_some_and(|state| state.node.role.is_core());
            waiting.extend(adjacency.get(at).into_iter().flatten().copied().filter(|_| passes));
        }
        let me = &self.me.node;
        let nodes = || states.iter().zip(&reached).filter(|(_, reached)| **reached).map(|(state, _)| &state.node);
        // Both are in order of names, but for this node.
        let before = self.reachable.values().filter(|node| node.id != me.id);
        let same = nodes().skip(1).eq(before) && self.reachable.get(&me.id) == Some(me);
        if !same {
            self.reachable = Arc::new(nodes().map(|node| (node.id.clone(), node.clone())).collect());
        }
        for (entry, reached) in self.others.values_mut().zip(reached.iter().skip(1)) {
            entry.unreachable_since = if *reached { None } else { entry.unreachable_since.or(Some(now)) };
        }
        !same
    }

    /// Forgets whom nobody reached for long; true when there was somebody.
    pub(super) fn forget(&mut self, now: Instant) -> bool {
        let before = self.others.len();
        self.others
            .retain(|_, entry| entry.unreachable_since.is_none_or(|since| now.saturating_duration_since(since) < FORGET));
        self.listed = self.others.values().map(|entry| entry.state.neighbours.len()).sum();
        self.others.len() != before
    }
}
