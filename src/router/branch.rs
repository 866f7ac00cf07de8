//! The branches of a router: other shards and other nodes that get packets whole. Owns what each of them wants, what it is
//! given when it begins to want a layer, and what comes from the router on the other side. `router::forward` feeds them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Router;
use super::event::{Branch, Feed, Have, Output, Upstream};
use super::track::LayerState;
use crate::id::TrackId;
use crate::rtp::{Layer, LayerSet, Packet};

/// A keyframe this young starts a newcomer; an older one is asked for anew. Longer spares the publisher a keyframe and has
/// the newcomer catch up for as long.
const FRESH: Duration = Duration::from_millis(700);

impl Router {
    /// Takes in what a router nearer to the publisher feeds. A numbering that is not known yet begins; one that has ended is
    /// passed over.
    pub(super) fn fed(&mut self, now: Instant, feed: Feed, out: &mut Vec<Output>) {
        let (track, layer, stream) = match feed {
            Feed::Packet { track, layer, stream, .. } | Feed::Report { track, layer, stream, .. } => (track, layer, stream),
            Feed::Shed { track, layer } => return self.shed(now, track, layer, out),
        };
        let Some(state) = self.tracks.get(&track).and_then(|track| track.layer(layer)) else { return };
        if state.has_retired(stream) {
            return;
        }
        if state.stream != stream {
            self.restart(now, track, layer, stream, out);
        }
        match feed {
            Feed::Packet { packet, .. } => self.packet(now, track, layer, packet, out),
            Feed::Report { report, .. } => self.report(track, layer, report, out),
            Feed::Shed { .. } => {}
        }
    }

    /// A layer does not fit a link on its way to here: everybody who had it looks for a smaller one, for a while.
    fn shed(&mut self, now: Instant, id: TrackId, layer: Layer, out: &mut Vec<Output>) {
        let Some(state) = self.tracks.get_mut(&id).and_then(|track| track.layer_mut(layer)) else { return };
        state.shed(now);
        for &branch in &state.branches {
            out.push(Output::Feed { branch, feed: Feed::Shed { track: id, layer } });
        }
        self.reallocate_all(now, id, out);
    }

    pub(super) fn branch_interest(
        &mut self,
        now: Instant,
        branch: Branch,
        id: TrackId,
        wanted: LayerSet,
        have: &[Have],
        out: &mut Vec<Output>,
    ) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        // A pipe never feeds a pipe: a track that came by one is wanted only by peers and links.
        if let (Upstream::Pipe(_), Branch::Pipe(_)) = (track.upstream, branch) {
            return;
        }
        for (layer, state) in (0..).map(Layer).zip(&mut track.layers) {
            let present = state.branches.contains(&branch);
            if wanted.contains(layer) && !present {
                state.branches.push(branch);
                let stream = state.stream;
                if let Some(report) = state.report {
                    out.push(Output::Feed { branch, feed: Feed::Report { track: id, layer, stream, report } });
                }
                let have = have.iter().find(|have| have.layer == layer);
                for packet in catch_up(now, state, have) {
                    let feed = Feed::Packet { track: id, layer, stream, packet: Arc::clone(packet) };
                    out.push(Output::Feed { branch, feed });
                }
            } else if !wanted.contains(layer) && present {
                state.branches.retain(|&other| other != branch);
            }
        }
        self.update_wanted(now, id, out);
    }

    pub(super) fn branch_gone(&mut self, now: Instant, branch: Branch, out: &mut Vec<Output>) {
        let of = |state: &LayerState| state.branches.contains(&branch);
        let fed = self.tracks.values().filter(|track| track.layers.iter().any(of));
        let fed: Vec<TrackId> = fed.map(|track| track.id).collect();
        for id in fed {
            self.branch_interest(now, branch, id, LayerSet::EMPTY, &[], out);
        }
    }
}

/// What a branch that begins to want a layer gets of the past.
fn catch_up<'s>(now: Instant, state: &'s LayerState, have: Option<&Have>) -> impl Iterator<Item = &'s Arc<Packet>> {
    let newest = state.history.newest().map(|packet| packet.seq);
    let after = have.filter(|have| have.stream == state.stream).zip(newest).and_then(|(have, newest)| {
        let behind = (newest as u16).wrapping_sub(have.seq);
        // Ahead of us, or so far behind that it is not kept.
        let from = newest.checked_sub(behind.into())?;
        (behind < 1 << 15 && state.history.get(from).is_some()).then_some(from + 1)
    });
    let keyframe = state.history.keyframe().filter(|&seq| {
        let first = state.history.get(seq);
        first.is_some_and(|first| now.saturating_duration_since(first.arrival) <= FRESH)
    });
    let from = after.or(keyframe);
    from.into_iter().flat_map(|from| state.history.from(from))
}
