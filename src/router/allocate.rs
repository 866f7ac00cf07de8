//! What each peer's slots carry: asks `policy::layers` and turns the egresses toward what it says. Owns that exchange; the
//! decision is the policy's, the switch itself `router::forward`'s.

use std::time::{Duration, Instant};

use super::egress::{EgressKey, State};
use super::event::{Output, PeerKey};
use super::track::Track;
use super::view::{Reason, ViewItem};
use super::{PeerState, Router};
use crate::id::TrackId;
use crate::policy::layers::{self, Grant, Relief, Rung, Taken, Wish};
use crate::rtp::{Cut, Kind, Layer};
use crate::units::{Bitrate, PixelHeight};

/// How often everything is decided anew though nothing was said: what is sent is measured by the second, and holds end. Longer
/// leaves a receiver below what its path carries for as long; each round is a walk over all subscriptions.
pub(super) const REBALANCE: Duration = Duration::from_secs(1);

/// What was decided for one egress.
#[derive(Clone, Copy, Debug)]
struct Decision {
    key: EgressKey,
    /// What is granted; it may not flow yet.
    granted: Option<Rung>,
    /// What is sent meanwhile.
    sent: Option<Rung>,
    short: Option<Reason>,
    dark: Option<Reason>,
    /// The rung above what is granted was had before and had to be given up.
    gave_up: Option<u16>,
}

impl Router {
    /// Decides anew what each of a peer's slots should carry.
    pub(super) fn reallocate(&mut self, now: Instant, peer: PeerKey, out: &mut Vec<Output>) {
        let Some(state) = self.peers.get(&peer) else { return };
        let mut video = Vec::new();
        let mut decisions = Vec::new();
        let mut voices = Bitrate(0);
        for &key in state.slots.values() {
            let Some(egress) = self.egresses.get(key) else { continue };
            let Some(track) = egress.track.and_then(|id| self.tracks.get(&id)) else { continue };
            match track.kind {
                Kind::Audio => {
                    voices = voices.plus(track.audio_rate());
                    let voice = track.rungs.first().copied();
                    decisions.push(Decision { key, granted: voice, sent: voice, short: None, dark: None, gave_up: None });
                }
                Kind::Video => video.push((key, egress, track)),
            }
        }
        // The order of slots keeps equal priorities stable.
        video.sort_unstable_by_key(|(key, ..)| *key);
        let view = |track: &Track| state.view.as_ref().and_then(|view| view.get(&track.id)).copied();
        let mut wishes: Vec<Wish<'_>> = video
            .iter()
            .map(|(_, egress, track)| {
                let item = view(track).unwrap_or_else(|| unnamed(track, egress.unseen));
                Wish {
                    rungs: &track.rungs,
                    height: item.height,
                    visible: item.visible,
                    paused: false,
                    priority: item.priority,
                    screen: track.screen,
                    has: egress.granted,
                    barred: egress.hold.bars(now),
                }
            })
            .collect();
        // What is not to be sent is not probed for.
        let demand = layers::demand(&wishes).plus(voices).min(state.limit);
        let mut grants = Vec::new();
        let mut budget = state.budget.up_to(state.limit).without(voices);
        let busy = self.relief.is_some_and(|relief| relief.hold(peer.0.into(), &mut wishes, &mut budget));
        layers::allocate(budget, &wishes, &mut grants);
        decisions.extend(video.iter().zip(&wishes).zip(&grants).map(|(((key, _, track), wish), grant)| Decision {
            key: *key,
            granted: grant.rung.and_then(|rung| wish.rungs.get(rung)).copied(),
            sent: grant.rung.and_then(|rung| wish.rungs.get(layers::available(wish.rungs, rung))).copied(),
            short: grant.short.map(|why| if busy && why == Reason::Bandwidth { Reason::Busy } else { why }),
            dark: track.dark(now),
            gave_up: gave_up(wish, grant),
        }));
        for decision in decisions {
            self.aim(now, decision, out);
        }
        if let Some(state) = self.peers.get_mut(&peer)
            && layers::is_news(state.demand, demand)
        {
            state.demand = demand;
            out.push(Output::Demand { peer, rate: demand });
        }
    }

    /// Turns an egress toward what was decided, and asks the publisher for what may not flow yet.
    fn aim(&mut self, now: Instant, decision: Decision, out: &mut Vec<Output>) {
        let Decision { key, granted, sent, short, dark, gave_up } = decision;
        let Some(egress) = self.egresses.get_mut(key) else { return };
        if let Some(rank) = gave_up {
            egress.hold.gave_up(now, rank);
        }
        (egress.granted, egress.short, egress.dark) = (granted.as_ref().map(Rung::rank), short, dark);
        let mut waits = None;
        if let Some(sent) = sent {
            egress.cut = sent.cut;
            match egress.state {
                State::Forwarding { layer, .. } if layer == sent.layer => {
                    egress.selector.aim(sent.cut);
                    waits = egress.selector.waits().then_some(layer);
                }
                // Down at once: what flows gets thinner until the smaller layer's keyframe is there.
                State::Forwarding { layer, .. }
                    if layer > sent.layer && matches!(short, Some(Reason::Bandwidth | Reason::Busy)) =>
                {
                    egress.selector.aim(Cut { temporal: 0, ..egress.selector.open() });
                }
                State::Forwarding { .. } | State::AwaitingKeyframe(_) | State::Paused => {}
            }
        }
        let target = granted.map(|rung| rung.layer);
        let state = egress.state.toward(sent.map(|rung| rung.layer));
        // What is wanted is a walk over all who are bound, and most who are asked change nothing.
        let changed = std::mem::replace(&mut egress.target, target) != target || egress.state != state;
        let track = egress.track;
        self.set_state(now, key, state, out);
        let Some(id) = track else { return };
        if changed {
            self.update_wanted(now, id, out);
        }
        if let Some(layer) = waits {
            self.need_keyframe(now, id, layer, out);
        }
    }

    /// Decides anew for everybody who is bound to a track.
    pub(super) fn reallocate_all(&mut self, now: Instant, id: TrackId, out: &mut Vec<Output>) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        track.survey();
        let mut peers: Vec<PeerKey> = track.bound.iter().filter_map(|&key| self.egresses.get(key)).map(|e| e.peer).collect();
        peers.sort_unstable();
        peers.dedup();
        for peer in peers {
            self.reallocate(now, peer, out);
        }
    }

    /// From now on all pictures together take this share of what they took when that began; 1 lifts it.
    pub(super) fn relieve(&mut self, now: Instant, share: f64, out: &mut Vec<Output>) {
        let taken: Vec<Taken> = self.peers.values().map(|peer| self.taken(peer)).collect();
        self.relief = Relief::toward(self.relief, share, &taken);
        self.rebalance(now, out);
    }

    /// What the pictures take that a peer was granted.
    fn taken(&self, peer: &PeerState) -> Taken {
        let mut taken = Taken { now: Bitrate(0), smallest: Bitrate(0) };
        for egress in peer.slots.values().filter_map(|key| self.egresses.get(*key)) {
            let Some(track) = egress.track.and_then(|id| self.tracks.get(&id)) else { continue };
            let granted = track.rungs.iter().find(|rung| Some(rung.rank()) == egress.granted);
            if let (Kind::Video, Some(granted), Some(smallest)) = (track.kind, granted, track.rungs.first()) {
                taken.now = taken.now.plus(granted.rate);
                taken.smallest = taken.smallest.plus(smallest.rate);
            }
        }
        taken
    }

    /// Decides anew for everybody.
    pub(super) fn rebalance(&mut self, now: Instant, out: &mut Vec<Output>) {
        for track in self.tracks.values_mut() {
            track.survey();
        }
        let peers: Vec<PeerKey> = self.peers.keys().copied().collect();
        for peer in peers {
            self.reallocate(now, peer, out);
        }
    }
}

/// What no view could name yet starts small, so that a first picture is there soon, and with what flows already: a publisher
/// that starts a layer for a moment starts all its encoders anew.
fn unnamed(track: &Track, unseen: bool) -> ViewItem {
    let smallest = track.rungs.iter().find(|rung| rung.active).or(track.rungs.first());
    let height = smallest.map_or(PixelHeight(0), |rung| rung.height);
    ViewItem { track: track.id, height, visible: unseen, priority: 0 }
}

/// The rank from which on something was had before and does not fit any more.
fn gave_up(wish: &Wish<'_>, grant: &Grant) -> Option<u16> {
    let above = grant.rung.map_or(0, |rung| rung + 1);
    let lost = wish.rungs.get(above).map(Rung::rank)?;
    (grant.short == Some(Reason::Bandwidth) && wish.has.is_some_and(|has| has >= lost)).then_some(lost)
}

/// The layers that an egress needs to come: what it gets, what it waits for, what it was granted.
pub(super) fn needed(state: State, target: Option<Layer>) -> impl Iterator<Item = Layer> {
    state.layers().into_iter().chain([target]).flatten()
}
