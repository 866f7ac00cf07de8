//! What goes into the router and what comes out. Plain data; the shard translates to and from sockets, peers and pipes.

use std::sync::Arc;

use super::view::{StreamState, ViewItem};
use crate::id::{ShardId, Slot, TrackId};
use crate::rtp::clock::SenderClock;
use crate::rtp::rewrite::Rewritten;
use crate::rtp::{Kind, Layer, LayerInfo, LayerSet, Packet};
use crate::units::Bitrate;

/// A peer of this shard: an index the shard draws, used again only after [`Input::PeerGone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub u32);

/// Where a track's packets come from, and where the wishes for it go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    Peer(PeerKey),
    Pipe(ShardId),
}

/// A track as the router must know it.
#[derive(Clone, Debug)]
pub struct NewTrack {
    pub id: TrackId,
    pub kind: Kind,
    /// Smallest first; at least one, at most [`Layer::MAX`].
    pub layers: Vec<LayerInfo>,
    pub muted: bool,
    pub upstream: Upstream,
}

/// What may happen to a router.
#[derive(Debug)]
pub enum Input {
    // The room's state, told by signaling.
    TrackAdded(NewTrack),
    TrackRemoved {
        track: TrackId,
    },
    Muted {
        track: TrackId,
        muted: bool,
    },
    /// Which track a slot of a peer carries.
    Bind {
        peer: PeerKey,
        slot: Slot,
        track: Option<TrackId>,
    },
    /// What a peer has on screen; replaces the view before.
    View {
        peer: PeerKey,
        items: Vec<ViewItem>,
    },
    /// What a peer may receive at most.
    Budget {
        peer: PeerKey,
        rate: Bitrate,
    },
    /// Whether packets reach a peer. Until this is said, they do.
    Connected {
        peer: PeerKey,
        connected: bool,
    },
    PeerGone {
        peer: PeerKey,
    },

    // Media, from the track's upstream.
    Packet {
        track: TrackId,
        layer: Layer,
        packet: Arc<Packet>,
    },
    /// A sender report; its NTP time is already mapped to this node's clock.
    Report {
        track: TrackId,
        layer: Layer,
        report: SenderClock,
    },
    /// The layer's numbering starts anew: another SSRC.
    LayerRestarted {
        track: TrackId,
        layer: Layer,
    },

    // Feedback, from those it is forwarded to.
    Nack {
        peer: PeerKey,
        slot: Slot,
        rtt: std::time::Duration,
        lost: Vec<u16>,
    },
    /// PLI or FIR.
    KeyframeWanted {
        peer: PeerKey,
        slot: Slot,
    },
    /// Which layers the shard behind a pipe wants; replaces what it wanted before.
    PipeInterest {
        pipe: ShardId,
        track: TrackId,
        layers: LayerSet,
    },
    PipeKeyframe {
        pipe: ShardId,
        track: TrackId,
        layer: Layer,
    },
    /// The deadline passed.
    Timeout,
}

/// What the router wants done.
#[derive(Debug)]
pub enum Output {
    /// Send a packet to a peer.
    Forward {
        peer: PeerKey,
        slot: Slot,
        packet: Arc<Packet>,
        rewritten: Rewritten,
    },
    /// Send it again, as RTX where the peer has it.
    Retransmit {
        peer: PeerKey,
        slot: Slot,
        packet: Arc<Packet>,
        rewritten: Rewritten,
    },
    Pipe {
        pipe: ShardId,
        item: PipeItem,
    },
    /// Ask the publisher, or the shard nearer to it.
    RequestKeyframe {
        upstream: Upstream,
        track: TrackId,
        layer: Layer,
    },
    /// Which layers anybody here or behind a pipe wants; sent when it changes.
    Wanted {
        upstream: Upstream,
        track: TrackId,
        layers: LayerSet,
    },
    StreamState {
        peer: PeerKey,
        slot: Slot,
        track: TrackId,
        state: StreamState,
    },
    /// Loudness of the audio tracks published here, loudest first.
    Levels {
        levels: Vec<(TrackId, u8)>,
    },
}

/// What crosses a pipe downstream.
#[derive(Clone, Debug)]
pub enum PipeItem {
    Packet { track: TrackId, layer: Layer, packet: Arc<Packet> },
    Report { track: TrackId, layer: Layer, report: SenderClock },
    LayerRestarted { track: TrackId, layer: Layer },
}
