//! Pipes: how the shards of one node feed each other. A pipe is a link without a network: the same interest, keyframe and
//! teardown rules, carried by two bounded queues per shard. Owns the queues; what is put in is the router's.

use tokio::sync::mpsc;

use crate::id::{ShardId, TrackId};
use crate::router::{Branch, Feed, Input};
use crate::rtp::{Layer, LayerSet};

/// Batches of media that may wait for a shard. When full, the batch is dropped and counted: the receiver is far behind, and
/// what waits would be late.
const MEDIA_DEPTH: usize = 1_024;

/// Wishes that may wait. When full, the wish is dropped: interest is told again every few hundred milliseconds.
const CONTROL_DEPTH: usize = 4_096;

/// What flows upstream, toward the publisher's shard.
#[derive(Debug)]
pub enum Wish {
    Layers { track: TrackId, layers: LayerSet },
    Keyframe { track: TrackId, layer: Layer },
}

impl Wish {
    /// As the router of the shard that hears it over `pipe` takes it.
    pub fn into_input(self, pipe: ShardId) -> Input {
        let branch = Branch::Pipe(pipe);
        match self {
            Self::Layers { track, layers } => Input::BranchInterest { branch, track, layers, have: Vec::new() },
            Self::Keyframe { track, layer } => Input::BranchKeyframe { branch, track, layer },
        }
    }
}

/// A shard's end of all pipes.
#[derive(Debug)]
pub struct Pipes {
    me: ShardId,
    peers: Vec<PipeSender>,
    pub media: mpsc::Receiver<Vec<Feed>>,
    pub control: mpsc::Receiver<(ShardId, Wish)>,
    waiting: Vec<Vec<Feed>>,
}

#[derive(Clone, Debug)]
struct PipeSender {
    media: mpsc::Sender<Vec<Feed>>,
    control: mpsc::Sender<(ShardId, Wish)>,
}

/// Joins `count` shards, each with each.
pub fn mesh(count: u8) -> Vec<Pipes> {
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..count {
        let (media, media_end) = mpsc::channel(MEDIA_DEPTH);
        let (control, control_end) = mpsc::channel(CONTROL_DEPTH);
        senders.push(PipeSender { media, control });
        receivers.push((media_end, control_end));
    }
    let ends = (0..count).map(ShardId).zip(receivers);
    ends.map(|(me, (media, control))| Pipes {
        me,
        peers: senders.clone(),
        media,
        control,
        waiting: vec![Vec::new(); usize::from(count)],
    })
    .collect()
}

impl Pipes {
    /// Puts an item in the next batch for `to`.
    pub fn push(&mut self, to: ShardId, item: Feed) {
        if let Some(waiting) = self.waiting.get_mut(usize::from(to.0)) {
            waiting.push(item);
        }
    }

    /// Sends a wish upstream. A full queue drops it; it is told again.
    pub fn wish(&self, to: ShardId, wish: Wish) {
        if let Some(peer) = self.peers.get(usize::from(to.0)) {
            let _ = peer.control.try_send((self.me, wish));
        }
    }

    /// Sends what waits; returns (items sent, items dropped).
    pub fn flush(&mut self) -> (u64, u64) {
        let (mut sent, mut dropped) = (0, 0);
        for (waiting, peer) in self.waiting.iter_mut().zip(&self.peers) {
            if waiting.is_empty() {
                continue;
            }
            let count = waiting.len() as u64;
            match peer.media.try_send(std::mem::take(waiting)) {
                Ok(()) => sent += count,
                Err(_) => dropped += count,
            }
        }
        (sent, dropped)
    }
}
