//! One slot of one peer: what it carries, in which state, and in which numbering. Owns the state machine of a subscription;
//! the numbering itself is `rtp::rewrite`'s.

use rand::RngExt;

use super::event::PeerKey;
use super::view::{Reason, StreamState};
use crate::id::{Slot, TrackId};
use crate::policy::layers::Hold;
use crate::rtp::rewrite::{Rewriter, Rewritten};
use crate::rtp::{Cut, Layer, Packet, Selector};

/// Where a router keeps an [`Egress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EgressKey(u32);

/// One outgoing stream: it outlives the tracks it carries, as its SSRC does.
#[derive(Debug)]
pub(super) struct Egress {
    pub(super) peer: PeerKey,
    pub(super) slot: Slot,
    pub(super) track: Option<TrackId>,
    /// What the policy chose; `state` is on its way there, or bridges it while it does not flow.
    pub(super) target: Option<Layer>,
    pub(super) state: State,
    /// What of the layer that it aims for it is to get, and what of the one that it gets now.
    pub(super) cut: Cut,
    pub(super) selector: Selector,
    /// The rank of the rung that was granted.
    pub(super) granted: Option<u16>,
    /// Why it is less than the screen calls for.
    pub(super) short: Option<Reason>,
    /// Why nothing comes of the track.
    pub(super) dark: Option<Reason>,
    pub(super) hold: Hold,
    /// Sources are named by [`super::track::LayerState::stream`].
    pub(super) rewriter: Rewriter<u32>,
    /// Bound after the peer's last view, which could not name it.
    pub(super) unseen: bool,
    pub(super) reported: Option<StreamState>,
    /// Its packets reach the peer. Until then it waits for a keyframe that nobody asks for.
    pub(super) connected: bool,
}

/// What an egress does with its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No track, off screen, or no budget.
    Paused,
    /// Nothing is sent until this layer's keyframe.
    AwaitingKeyframe(Layer),
    /// `next` is sent from its keyframe on; until then `layer`.
    Forwarding { layer: Layer, next: Option<Layer> },
}

impl State {
    /// The layers whose packets it must see.
    pub(super) fn layers(self) -> [Option<Layer>; 2] {
        match self {
            Self::Paused => [None, None],
            Self::AwaitingKeyframe(layer) => [Some(layer), None],
            Self::Forwarding { layer, next } => [Some(layer), next],
        }
    }

    /// The layer whose keyframe it waits for.
    pub(super) fn awaits(self) -> Option<Layer> {
        match self {
            Self::Paused => None,
            Self::AwaitingKeyframe(layer) => Some(layer),
            Self::Forwarding { next, .. } => next,
        }
    }

    /// The state that leads to `target`, or to silence. Never stops a stream that flows before the next one can start.
    #[must_use]
    pub(super) fn toward(self, target: Option<Layer>) -> Self {
        match (self, target) {
            (_, None) => Self::Paused,
            (Self::Paused | Self::AwaitingKeyframe(_), Some(target)) => Self::AwaitingKeyframe(target),
            (Self::Forwarding { layer, .. }, Some(target)) if layer == target => Self::Forwarding { layer, next: None },
            (Self::Forwarding { layer, .. }, Some(target)) => Self::Forwarding { layer, next: Some(target) },
        }
    }
}

impl Egress {
    pub(super) fn new(peer: PeerKey, slot: Slot, connected: bool, rng: &mut impl rand::Rng) -> Self {
        Self {
            peer,
            slot,
            track: None,
            target: None,
            state: State::Paused,
            cut: Cut::ALL,
            selector: Selector::default(),
            granted: None,
            short: None,
            dark: None,
            hold: Hold::default(),
            // Below 2^15, so that a receiver that misses the first packets can't take a wrap for a jump back (RFC 3711 §3.3.1).
            rewriter: Rewriter::new(rng.random::<u16>() >> 1, rng.random()),
            unseen: true,
            reported: None,
            connected,
        }
    }

    /// A packet's place in the outgoing stream; `None` if it is not part of what this receiver gets.
    pub(super) fn place(&mut self, stream: u32, packet: &Packet) -> Option<Rewritten> {
        // A packet of padding only is the publisher's probe: it ends here, and its number with it.
        if packet.payload.is_empty() || !self.selector.passes(&packet.frame) {
            return self.rewriter.skip(stream, packet);
        }
        self.rewriter.cut_above(stream, packet, self.selector.open().spatial);
        self.rewriter.forward(stream, packet)
    }

    /// Carries another track, or none: what was decided about the one before is over.
    pub(super) fn rebind(&mut self, track: Option<TrackId>) {
        self.track = track;
        self.unseen = true;
        self.reported = None;
        self.granted = None;
        self.short = None;
        self.dark = None;
        self.hold = Hold::default();
    }

    /// What the member should be told, when that changed.
    pub(super) fn news(&mut self) -> Option<StreamState> {
        let state = match (self.state, self.dark) {
            (State::Paused, _) => StreamState::Paused(self.short.unwrap_or(Reason::OffScreen)),
            (State::AwaitingKeyframe(_) | State::Forwarding { .. }, Some(dark)) => StreamState::Paused(dark),
            (State::AwaitingKeyframe(_), None) => return None,
            (State::Forwarding { layer, .. }, None) => StreamState::Forwarding { layer, short: self.short },
        };
        (self.reported.replace(state) != Some(state)).then_some(state)
    }
}

/// All egresses of a router. Keys are used again.
#[derive(Debug, Default)]
pub(super) struct Egresses {
    entries: Vec<Option<Egress>>,
    free: Vec<EgressKey>,
}

impl Egresses {
    pub(super) fn insert(&mut self, egress: Egress) -> EgressKey {
        if let Some(key) = self.free.pop()
            && let Some(entry) = self.entries.get_mut(key.0 as usize)
        {
            *entry = Some(egress);
            return key;
        }
        self.entries.push(Some(egress));
        EgressKey(self.entries.len() as u32 - 1)
    }

    pub(super) fn get(&self, key: EgressKey) -> Option<&Egress> {
        self.entries.get(key.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, key: EgressKey) -> Option<&mut Egress> {
        self.entries.get_mut(key.0 as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, key: EgressKey) -> Option<Egress> {
        let egress = self.entries.get_mut(key.0 as usize)?.take()?;
        self.free.push(key);
        Some(egress)
    }
}
