//! What each peer's subscriptions get, beside what its screen calls for, and why it is less. Owns the view from outside onto decisions
//! that were made elsewhere; changes nothing. A shard asks once in a while.

use super::Router;
use super::egress::{Egress, State};
use super::event::{PeerKey, Upstream};
use super::track::Track;
use super::view::ViewItem;
use crate::id::{Slot, TrackId};
use crate::policy::layers::{self, Budget, Reason};
use crate::policy::quality::Pictures;
use crate::rtp::{Kind, Layer};
use crate::units::{Bitrate, PixelHeight};

/// What can be sent of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    pub height: PixelHeight,
    /// Per second, as measured lately; none while the layer has not been.
    pub frames: Option<u32>,
}

/// One slot of a peer and the track it carries. Voices have no pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub slot: Slot,
    pub track: TrackId,
    pub kind: Kind,
    /// On screen; 0 when it can't be seen.
    pub screen: PixelHeight,
    /// What the screen calls for.
    pub wanted: Option<Picture>,
    /// What was granted; it may not flow yet.
    pub target: Option<Picture>,
    /// What is sent.
    pub current: Option<Picture>,
    /// Why what is sent is not what the screen calls for.
    pub short: Option<Reason>,
}

impl Router {
    /// What a peer gets, by slot.
    pub fn subscriptions(&self, peer: PeerKey) -> Vec<Subscription> {
        let Some(state) = self.peers.get(&peer) else { return Vec::new() };
        let egresses = state.slots.values().filter_map(|&key| self.egresses.get(key));
        let of = |egress: &Egress| {
            let track = self.tracks.get(&egress.track?)?;
            let item = state.view.as_ref().and_then(|view| view.get(&track.id)).copied();
            Some(subscription(egress, track, item))
        };
        let mut list: Vec<Subscription> = egresses.filter_map(of).collect();
        list.sort_by_key(|subscription| subscription.slot);
        list
    }

    /// What a peer may receive, and what all that it has on screen would take.
    pub fn budget(&self, peer: PeerKey) -> Option<(Budget, Bitrate)> {
        self.peers.get(&peer).map(|state| (state.budget.up_to(state.limit), state.demand))
    }

    /// How the pictures on a peer's screen fare. What is off or not sent by its owner is no fault of the peer's path.
    pub fn shown(&self, peer: PeerKey) -> Pictures {
        let mut pictures = Pictures::default();
        for subscription in self.subscriptions(peer) {
            let Some(wanted) = subscription.wanted.filter(|_| subscription.kind == Kind::Video) else { continue };
            match (subscription.short, subscription.current) {
                (Some(Reason::OffScreen | Reason::Muted | Reason::NoMedia | Reason::Quiet), _) => {}
                // It has just begun, or is about to.
                (Some(Reason::Keyframe), None) => {}
                (_, None) => {
                    pictures.expected += 1;
                    pictures.missing += 1;
                }
                (_, Some(current)) => {
                    pictures.expected += 1;
                    pictures.halvings += halvings(wanted.height, current.height);
                }
            }
        }
        pictures
    }

    /// How the pictures fare that a peer publishes: which of the layers that somebody wants do not come.
    pub fn published(&self, peer: PeerKey) -> Pictures {
        let mut pictures = Pictures::default();
        let own = self.tracks.values().filter(|track| track.upstream == Upstream::Peer(peer));
        for track in own.filter(|track| track.kind == Kind::Video && !track.muted) {
            let Some(asked) = track.asked().and_then(|asked| asked.iter().last()) else { continue };
            let highest = (0..=asked.0).zip(&track.layers).filter(|(_, layer)| layer.flows).max_by_key(|&(at, _)| at);
            pictures.expected += 1;
            match highest {
                Some((at, _)) => pictures.halvings += halvings(track.height_of(asked), track.height_of(Layer(at))),
                None => pictures.missing += 1,
            }
        }
        pictures
    }
}

fn subscription(egress: &Egress, track: &Track, item: Option<ViewItem>) -> Subscription {
    let base = Subscription {
        slot: egress.slot,
        track: track.id,
        kind: track.kind,
        screen: PixelHeight(0),
        wanted: None,
        target: None,
        current: None,
        short: None,
    };
    if track.kind == Kind::Audio {
        let short = match () {
            () if track.muted => Some(Reason::Muted),
            () if !track.voice.is_heard() => Some(Reason::Quiet),
            () => None,
        };
        return Subscription { short, ..base };
    }
    let rungs = &track.rungs;
    let seen = item.filter(|item| item.visible);
    let picture = |at: usize| rungs.get(at).map(|rung| Picture { height: rung.height, frames: track.frames_of(rung) });
    let target = egress.granted.and_then(|rank| layers::position(rungs, rank));
    let current = match egress.state {
        State::Forwarding { layer, .. } => layers::position(rungs, layers::rank(layer, egress.selector.open())),
        State::Paused | State::AwaitingKeyframe(_) => None,
    };
    let short = match (egress.dark, egress.short, target) {
        // The router notices some time later that nothing comes.
        _ if track.muted => Some(Reason::Muted),
        (Some(dark), ..) => Some(dark),
        (None, Some(short), _) => Some(short),
        (None, None, None) => Some(Reason::OffScreen),
        (None, None, Some(target)) if current == Some(target) => None,
        (None, None, Some(target)) if rungs.get(target).is_some_and(|rung| rung.active) => Some(Reason::Keyframe),
        (None, None, Some(_)) => Some(Reason::NoMedia),
    };
    Subscription {
        screen: seen.map_or(PixelHeight(0), |item| item.height),
        wanted: seen.and_then(|item| picture(layers::wanted(rungs, item.height))),
        target: target.and_then(picture),
        current: current.and_then(picture),
        short,
        ..base
    }
}

/// How often one height has to be halved to get the other.
fn halvings(from: PixelHeight, to: PixelHeight) -> f32 {
    (from.0.max(1) as f32 / to.0.max(1) as f32).log2().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_lines_is_two_halvings_and_more_lines_are_none() {
        let of = |from, to| halvings(PixelHeight(from), PixelHeight(to));
        assert_eq!((of(720, 180), of(180, 720), of(360, 360)), (2.0, 0.0, 0.0));
        assert_eq!(of(0, 0), 0.0);
    }
}
