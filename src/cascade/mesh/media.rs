//! Packets that come in by a link, and the flows on which they leave: the hot path. Owns the numbers that are the same whichever
//! parent they came from; parsing is
//! `cascade::link`'s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Mesh, Outflow, Output};
use crate::cascade::link::rtp::read;
use crate::id::{LinkId, TrackId};
use crate::router::{self, Feed};
use crate::rtp::{Layer, SenderClock};

/// How long the packets that a new parent left out may still come before a keyframe is asked for.
const GAP: Duration = Duration::from_millis(150);

impl Mesh {
    /// Takes in an RTP packet that came on a flow of a link.
    pub fn media(&mut self, now: Instant, link: LinkId, flow: u32, rtp: Bytes, out: &mut Vec<Output>) {
        let Some((id, layer)) = self.links.get(link).and_then(|link| link.flows_in.get(flow)) else {
            self.drops.unknown_flow += 1;
            return;
        };
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let Some(packet) = read(&rtp).filter(|packet| packet.codec.kind() == track.info.kind) else {
            self.drops.malformed += 1;
            return;
        };
        let (stream, wire) = (packet.stream, packet.seq);
        let sender = [&mut track.next, &mut track.parent].into_iter().flatten().find(|parent| parent.link == link);
        let fresh = sender.is_some_and(|sender| {
            let fresh = !sender.seen.contains(layer);
            sender.seen = sender.seen.with(layer);
            fresh
        });
        let takes_over = fresh && track.next.is_some();
        let Some(incoming) = track.layer_mut(layer) else { return };
        let before = incoming.have();
        let seq = incoming.take(now, &packet, rtp.len());
        if let (true, Some((old, last))) = (fresh, before)
            && old == stream
            && (2..1 << 15).contains(&wire.wrapping_sub(last))
        {
            incoming.gap = Some((last.wrapping_add(1), now + GAP));
        } else if incoming.gap.is_some_and(|(missing, _)| missing == wire) {
            incoming.gap = None;
        }
        match seq {
            Some(seq) => {
                let packet = Arc::new(packet.packet(now, seq));
                out.push(Output::Router(router::Input::Fed(Feed::Packet { track: id, layer, stream, packet })));
            }
            None => self.drops.duplicate += 1,
        }
        if takes_over {
            self.take_over(now, id, out);
        }
        if fresh {
            self.arm(now, id);
        }
    }

    /// Takes in a sender report for a flow, its time on this node's clock.
    pub fn report(&mut self, _now: Instant, link: LinkId, flow: u32, stream: u32, report: SenderClock, out: &mut Vec<Output>) {
        match self.links.get(link).and_then(|link| link.flows_in.get(flow)) {
            Some((track, layer)) => {
                out.push(Output::Router(router::Input::Fed(Feed::Report { track, layer, stream, report })));
            }
            None => self.drops.unknown_flow += 1,
        }
    }

    /// A layer does not fit the link that it comes by.
    pub(super) fn shed(&mut self, link: LinkId, flow: u32, out: &mut Vec<Output>) {
        match self.links.get(link).and_then(|link| link.flows_in.get(flow)) {
            Some((track, layer)) => out.push(Output::Router(router::Input::Fed(Feed::Shed { track, layer }))),
            None => self.drops.unknown_flow += 1,
        }
    }

    /// How a layer's packets leave by a link; `None` for one that does not.
    pub fn outflow(&self, link: LinkId, track: TrackId, layer: Layer) -> Option<Outflow> {
        let track = self.tracks.get(&track)?;
        let flow = track.children.get(&link)?.flows.get(usize::from(layer.0)).copied().flatten()?;
        Some(Outflow { flow, kind: track.info.kind, base: layer == Layer(0) })
    }

    /// What a flow carries on which this node sends.
    pub fn layer_of_flow(&self, link: LinkId, flow: u32) -> Option<(TrackId, Layer)> {
        self.links.get(link)?.flows_out.get(&flow).copied()
    }
}
