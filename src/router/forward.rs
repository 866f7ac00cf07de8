//! The way of a packet through the router, and of the feedback back: the hot path. Owns switching at keyframes and answering
//! losses; which layer an egress should carry was decided before (`Router::reallocate`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::Router;
use super::audio::Pass;
use super::egress::{EgressKey, State};
use super::event::{Feed, Output, PeerKey, Upstream};
use super::track::LayerState;
use crate::id::{Slot, TrackId};
use crate::rtp::clock::SenderClock;
use crate::rtp::rewrite::Timestamping;
use crate::rtp::{Kind, Layer, Packet, Selector};

impl Router {
    pub(super) fn packet(&mut self, now: Instant, id: TrackId, layer: Layer, mut packet: Arc<Packet>, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let audio = track.kind == Kind::Audio;
        let starts = audio || packet.frame.starts_keyframe;
        let Some(state) = track.layer_mut(layer) else { return };
        // Two ways for a track carry the same packets while one takes over from the other.
        if state.history.get(packet.seq).is_some() {
            return;
        }
        state.describe(&mut packet);
        let started = state.record(now, &packet);
        state.history.push(Arc::clone(&packet));
        let pass = if audio { self.hear(now, id, &packet, out) } else { Pass::ALL };
        let Some(state) = self.tracks.get_mut(&id).and_then(|track| track.layer_mut(layer)) else { return };
        for &branch in state.branches.iter().filter(|_| pass.onward) {
            let feed = Feed::Packet { track: id, layer, stream: state.stream, packet: Arc::clone(&packet) };
            out.push(Output::Feed { branch, feed });
        }
        if starts {
            state.need.clear();
        }
        if !pass.here {
            return;
        }
        // The list is taken out while egresses change, and the layers' lists with them.
        let sinks = std::mem::take(&mut state.sinks);
        let mut switched = Vec::new();
        for &key in &sinks {
            let Some(egress) = self.egresses.get_mut(key) else { continue };
            if egress.state.awaits() == Some(layer) {
                if starts && egress.connected {
                    switched.push(key);
                }
                continue;
            }
            if let Some(rewritten) = egress.place(state.stream, &packet) {
                out.push(Output::Forward { peer: egress.peer, slot: egress.slot, packet: Arc::clone(&packet), rewritten });
            }
        }
        state.sinks = sinks;
        // A voice that was bound while it began to speak is heard from there.
        let first = if audio && !switched.is_empty() { self.beginning(now, id, &packet) } else { packet };
        for key in switched {
            self.switch(now, id, layer, key, &first, out);
        }
        if started && !audio {
            self.reallocate_all(now, id, out);
        }
    }

    /// Starts an egress on `layer` with a keyframe's first packet, unless the timestamps can't be mapped yet.
    pub(super) fn switch(
        &mut self,
        now: Instant,
        id: TrackId,
        layer: Layer,
        key: EgressKey,
        packet: &Packet,
        out: &mut Vec<Output>,
    ) {
        let (Some(track), Some(egress)) = (self.tracks.get(&id), self.egresses.get_mut(key)) else { return };
        let Some(new) = track.layer(layer) else { return };
        let before = egress.rewriter.current().map(|(stream, _)| stream);
        let old = track.layers.iter().find(|layer| Some(layer.stream) == before);
        let timestamping = match (old, new.report) {
            (Some(old), _) if old.stream == new.stream => Timestamping::Mapped { delta: 0 },
            (Some(LayerState { report: Some(old), .. }), Some(report)) => Timestamping::Mapped { delta: report.delta_to(old) },
            // Two layers of one source: without both reports the picture would jump in time, so keep the one that flows.
            (Some(old), _)
                if old.flows
                    && matches!(egress.state, State::Forwarding { .. })
                    && !(old.never_reports(now) || new.never_reports(now)) =>
            {
                return self.need_keyframe(now, id, layer, out);
            }
            _ => Timestamping::Elapsed,
        };
        egress.rewriter.start(new.stream, packet, timestamping);
        egress.selector = Selector::new(egress.cut);
        // Packets after the keyframe's first may have come before it.
        for packet in new.history.from(packet.seq) {
            if let Some(rewritten) = egress.place(new.stream, packet) {
                out.push(Output::Forward { peer: egress.peer, slot: egress.slot, packet: Arc::clone(packet), rewritten });
            }
        }
        self.set_state(now, key, State::Forwarding { layer, next: None }, out);
        self.update_wanted(now, id, out);
    }

    pub(super) fn report(&mut self, id: TrackId, layer: Layer, report: SenderClock, out: &mut Vec<Output>) {
        let Some(state) = self.tracks.get_mut(&id).and_then(|track| track.layer_mut(layer)) else { return };
        state.report = Some(report);
        for &branch in &state.branches {
            out.push(Output::Feed { branch, feed: Feed::Report { track: id, layer, stream: state.stream, report } });
        }
    }

    /// The publisher's encoder was replaced: another numbering begins.
    pub(super) fn layer_restarted(&mut self, now: Instant, id: TrackId, layer: Layer, out: &mut Vec<Output>) {
        let stream = self.rng.random();
        self.restart(now, id, layer, stream, out);
    }

    /// Takes over another numbering: those who were served wait for its first keyframe.
    pub(super) fn restart(&mut self, now: Instant, id: TrackId, layer: Layer, stream: u32, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let Some(state) = track.layer_mut(layer) else { return };
        state.restart(stream);
        for key in state.sinks.clone() {
            let Some(egress) = self.egresses.get_mut(key) else { continue };
            if let State::Forwarding { layer: current, next } = egress.state
                && current == layer
            {
                self.set_state(now, key, State::AwaitingKeyframe(next.unwrap_or(layer)), out);
            }
        }
    }

    pub(super) fn nack(&mut self, now: Instant, peer: PeerKey, slot: Slot, rtt: Duration, lost: &[u16], out: &mut Vec<Output>) {
        let Some(&key) = self.peers.get(&peer).and_then(|state| state.slots.get(&slot)) else { return };
        let Some(egress) = self.egresses.get_mut(key) else { return };
        let Some(track) = egress.track.and_then(|id| self.tracks.get_mut(&id)) else { return };
        let mut broken = None;
        for &seq in lost {
            if let Some(hole) = egress.rewriter.missing(seq) {
                let found = (0..).map(Layer).zip(&mut track.layers).find(|(_, layer)| layer.stream == hole.source);
                if let Some((layer, state)) = found
                    && state.hole.is_missed(now, hole.seq)
                {
                    broken = Some((track.id, layer));
                }
                continue;
            }
            let Some(sent) = egress.rewriter.retransmit(seq, now, rtt) else { continue };
            let layer = track.layers.iter().find(|layer| layer.stream == sent.source);
            let Some(packet) = layer.and_then(|layer| layer.history.get(sent.seq)) else { continue };
            let Some(rewritten) = egress.rewriter.again(&sent, packet) else { continue };
            out.push(Output::Retransmit { peer, slot, packet: Arc::clone(packet), rewritten });
        }
        if let Some((id, layer)) = broken {
            self.need_keyframe(now, id, layer, out);
        }
    }

    pub(super) fn keyframe_wanted(&mut self, now: Instant, peer: PeerKey, slot: Slot, out: &mut Vec<Output>) {
        let Some(&key) = self.peers.get(&peer).and_then(|state| state.slots.get(&slot)) else { return };
        let Some(egress) = self.egresses.get(key) else { return };
        let (Some(id), State::Forwarding { layer, .. }) = (egress.track, egress.state) else { return };
        self.need_keyframe(now, id, layer, out);
    }

    pub(super) fn need_keyframe(&mut self, now: Instant, id: TrackId, layer: Layer, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let upstream = track.upstream;
        if track.kind == Kind::Audio {
            return;
        }
        let Some(state) = track.layer_mut(layer) else { return };
        state.need.raise();
        if state.need.ask(now) {
            out.push(Output::RequestKeyframe { upstream, track: id, layer });
        }
    }

    /// Repeats requests whose keyframe has not come while anybody still needs it.
    pub(super) fn ask_again(&mut self, now: Instant, id: TrackId, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let upstream = track.upstream;
        for (layer, state) in (0..).map(Layer).zip(&mut track.layers) {
            // A layer nobody gets needs nothing; behind a branch the need is known there and told again.
            if state.sinks.is_empty() && (state.branches.is_empty() || !matches!(upstream, Upstream::Peer(_))) {
                state.need.clear();
            }
            if state.need.ask(now) {
                out.push(Output::RequestKeyframe { upstream, track: id, layer });
            }
        }
    }
}
