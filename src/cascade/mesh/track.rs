//! A track as the mesh keeps it: the way it comes, who gets it, what came of each layer. Owns the values and their bookkeeping;
//! what is done about them is `mesh::parent`'s (upward) and `mesh::children`'s (downward).

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use rustc_hash::FxHashMap;

use crate::cascade::link::rtp;
use crate::cascade::wire::TrackInfo;
use crate::id::{LinkId, NodeId, ShardId};
use crate::rtp::sequence::{Unwrapper, Window, newer16, newer32};
use crate::rtp::{Layer, LayerSet};

/// After a silence this long a packet with a later timestamp is taken for newer than all before, for numbers may have wrapped
/// meanwhile. Longer mistakes a fast layer's return.
const SILENCE: Duration = Duration::from_secs(8);

/// Words of 64 numbers in which duplicates of a layer are known.
const WINDOW: usize = 64;

/// Numberings of a layer that are told apart: the present one, and late packets of those before.
const STREAMS: usize = 3;

/// How many packets more than the first child missed are asked for, for those that follow it.
const MARGIN: u16 = 4;

/// A layer that had a packet this lately flows.
pub(super) const FLOWS: Duration = Duration::from_millis(1_500);

/// One track of another node, or one that is published here.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) info: TrackInfo,
    /// The shard its publisher is on, if that is on this node.
    pub(super) from: Option<ShardId>,
    /// A room here knows it; else it only passes through.
    pub(super) rooms: bool,
    /// The router's word: what anybody here or behind a link wants.
    pub(super) wanted: LayerSet,
    pub(super) parent: Option<Parent>,
    /// Who is to take over from the parent.
    pub(super) next: Option<Parent>,
    pub(super) children: FxHashMap<LinkId, Child>,
    pub(super) layers: ArrayVec<Incoming, { Layer::MAX }>,
    /// Who refused or failed, and until when it is not asked again.
    pub(super) shunned: Vec<(NodeId, Instant)>,
    /// Failures in a row.
    pub(super) failures: u32,
    pub(super) retry_at: Option<Instant>,
    /// A better parent than the present, and when it is taken if it stays the better one.
    pub(super) better: Option<(NodeId, Instant)>,
    pub(super) refresh_at: Option<Instant>,
    /// Nobody needs it: forgotten then.
    pub(super) expire_at: Option<Instant>,
    /// The way that children and rooms were told last.
    pub(super) told: Vec<NodeId>,
    /// When this track is looked at next, as in the mesh's list of them.
    pub(super) due: Option<Instant>,
}

/// A neighbour that is asked for a track.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) link: LinkId,
    pub(super) node: NodeId,
    pub(super) layers: LayerSet,
    pub(super) flows: [Option<u32>; Layer::MAX],
    pub(super) state: State,
    /// Layers of which packets came.
    pub(super) seen: LayerSet,
    /// Whom it was told the track goes to: the longest way down, this node last.
    pub(super) below: Vec<NodeId>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has not answered.
    Asked { until: Instant },
    /// Its way to the publisher's node, itself first.
    Up { path: Vec<NodeId>, since: Instant },
    /// It has lost its way, and may find another.
    Lost,
}

impl Parent {
    pub(super) fn path(&self) -> Option<&[NodeId]> {
        match &self.state {
            State::Up { path, .. } => Some(path),
            State::Asked { .. } | State::Lost => None,
        }
    }
}

/// A neighbour that gets a track from here.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) node: NodeId,
    pub(super) layers: LayerSet,
    pub(super) flows: [Option<u32>; Layer::MAX],
    /// Who asked it, and it.
    pub(super) path: Vec<NodeId>,
    /// What it had when it came: where a track that is new here is to go on.
    pub(super) have: Vec<(Layer, u32, u16)>,
}

/// The numbers of one encoder's run.
#[derive(Debug, Default)]
struct Numbering {
    stream: u32,
    unwrapper: Unwrapper,
    window: Box<Window<WINDOW>>,
    /// Of the packet with the highest number.
    timestamp: Option<u32>,
}

/// What came of one layer, whoever the parent was.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// Newest last.
    streams: ArrayVec<Numbering, STREAMS>,
    pub(super) last: Option<Instant>,
    /// When the publisher was last asked for a keyframe.
    pub(super) keyframe_at: Option<Instant>,
    /// The number that the first packet from a new parent left out, and when a keyframe is asked for if it does not come.
    pub(super) gap: Option<(u16, Instant)>,
    bytes: u64,
    since: Option<Instant>,
    kbps: u32,
}

impl Incoming {
    /// The unwrapped number of a packet, the same whichever way it came; `None` for one that came before.
    pub(super) fn take(&mut self, now: Instant, packet: &rtp::Incoming, bytes: usize) -> Option<u64> {
        let at = self.streams.iter().position(|known| known.stream == packet.stream);
        let at = at.unwrap_or_else(|| {
            if self.streams.is_full() {
                self.streams.remove(0);
            }
            self.streams.push(Numbering { stream: packet.stream, ..Numbering::default() });
            self.streams.len() - 1
        });
        let silent = self.last.is_some_and(|last| now.saturating_duration_since(last) > SILENCE);
        let numbering = self.streams.get_mut(at)?;
        // What is sent again after a silence is as old as it was.
        let later = numbering.timestamp.is_none_or(|newest| newer32(packet.timestamp(), newest));
        let unwrapper = &mut numbering.unwrapper;
        let seq = if silent && later { unwrapper.restart(packet.seq) } else { unwrapper.unwrap(packet.seq) };
        if !numbering.window.insert(seq) {
            return None;
        }
        if numbering.unwrapper.highest() == Some(seq) {
            numbering.timestamp = Some(packet.timestamp());
        }
        self.last = Some(now);
        self.count(now, bytes);
        Some(seq)
    }

    /// The numbering and the highest number that came.
    pub(super) fn have(&self) -> Option<(u32, u16)> {
        let numbering = self.streams.last()?;
        Some((numbering.stream, numbering.unwrapper.highest()? as u16))
    }

    pub(super) fn flows(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now.saturating_duration_since(last) < FLOWS)
    }

    /// Of the last seconds.
    pub(super) fn kbps(&self, now: Instant) -> u32 {
        if self.flows(now) { self.kbps } else { 0 }
    }

    fn count(&mut self, now: Instant, bytes: usize) {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        if passed >= Duration::from_secs(2) {
            self.kbps = (self.bytes as f64 * 8.0 / 1_000.0 / passed.as_secs_f64()) as u32;
            (self.since, self.bytes) = (Some(now), 0);
        }
        self.bytes += bytes as u64;
    }
}

impl Track {
    pub(super) fn new(info: TrackInfo) -> Self {
        let layers = info.layers.iter().take(Layer::MAX).map(|_| Incoming::default()).collect();
        Self {
            info,
            from: None,
            rooms: false,
            wanted: LayerSet::EMPTY,
            parent: None,
            next: None,
            children: FxHashMap::default(),
            layers,
            shunned: Vec::new(),
            failures: 0,
            retry_at: None,
            better: None,
            refresh_at: None,
            expire_at: None,
            told: Vec::new(),
            due: None,
        }
    }

    pub(super) fn layer_mut(&mut self, layer: Layer) -> Option<&mut Incoming> {
        self.layers.get_mut(usize::from(layer.0))
    }

    /// Where a layer is to go on: after what came here, else a little before what those who ask here had, since they may differ.
    pub(super) fn have(&self, layer: Layer) -> Option<(Layer, u32, u16)> {
        let own = self.layers.get(usize::from(layer.0)).and_then(Incoming::have);
        let own = own.map(|(stream, seq)| (layer, stream, seq));
        let of_children = self.children.values().flat_map(|child| &child.have).filter(|have| have.0 == layer);
        let before = of_children.map(|&(layer, stream, seq)| (layer, stream, seq.wrapping_sub(MARGIN)));
        own.or(before.reduce(|a, b| if a.1 == b.1 && newer16(a.2, b.2) { b } else { a }))
    }

    /// The longest way down from here, this node last.
    pub(super) fn below(&self, me: &NodeId) -> Vec<NodeId> {
        let longest = self.children.values().map(|child| &child.path).max_by_key(|path| (path.len(), *path));
        longest.into_iter().flatten().chain([me]).cloned().collect()
    }

    /// Those who are asked for it: the parent, and who is to take over.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Parent> {
        self.parent.iter().chain(&self.next)
    }

    /// Whether it has a way to the publisher's node.
    pub(super) fn stands(&self) -> bool {
        self.parent.as_ref().is_some_and(|parent| parent.path().is_some())
    }

    /// When something about it is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let asked = |parent: &Parent| match parent.state {
            State::Asked { until } => Some(until),
            State::Up { .. } | State::Lost => None,
        };
        let takes_over = self.next.as_ref().and_then(|next| match next.state {
            State::Up { since, .. } => Some(since + super::parent::OVERLAP),
            State::Asked { .. } | State::Lost => None,
        });
        let gaps = self.layers.iter().filter_map(|layer| Some(layer.gap?.1));
        let better = self.better.as_ref().map(|(_, at)| *at);
        let others = [takes_over, self.retry_at, better, self.refresh_at, self.expire_at];
        others.into_iter().flatten().chain(self.asked().filter_map(asked)).chain(gaps).min()
    }
}
