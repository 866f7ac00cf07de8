//! What goes into the router and what comes out. Plain data; the shard translates to and from sockets, peers and pipes.

use std::sync::Arc;

use super::view::{StreamState, ViewItem};
use crate::id::{LinkId, RoomId, ShardId, Slot, TrackId};
use crate::policy::layers::Budget;
use crate::policy::speaker::Reading;
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
    /// Another node, over whichever link the track's tree has chosen: its numbering is the same over all of them, so a change
    /// of link is no change here.
    Cascade,
}

/// A neighbour that gets a track's packets whole, to forward them further: another shard, or another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Branch {
    Pipe(ShardId),
    Link(LinkId),
}

/// The last packet of a layer that a branch had from elsewhere, so that it can go on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Have {
    pub layer: Layer,
    /// The numbering it belongs to, as in [`Feed::Packet`].
    pub stream: u32,
    /// As on the wire.
    pub seq: u16,
}

/// A track as the router must know it.
#[derive(Clone, Debug)]
pub struct NewTrack {
    pub id: TrackId,
    pub kind: Kind,
    /// Smallest first; at least one, at most [`Layer::MAX`].
    pub layers: Vec<LayerInfo>,
    pub muted: bool,
    /// A shared screen: sharpness is worth more than movement.
    pub screen: bool,
    pub upstream: Upstream,
}

/// What may happen to a router.
#[derive(Debug)]
pub enum Input {
    // The room's state, told by signaling.
    TrackAdded(NewTrack),
    /// An audio track is one of a room's microphones, of which only the loudest may be passed on.
    Microphone {
        track: TrackId,
        room: RoomId,
    },
    /// Whether somebody here is shown whoever speaks in a room: then all its microphones are wanted, bound or not.
    Follow {
        room: RoomId,
        on: bool,
    },
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
    /// What a peer's path carries.
    Budget {
        peer: PeerKey,
        budget: Budget,
    },
    /// What a peer is to receive at most, whatever its path carries.
    Limit {
        peer: PeerKey,
        rate: Bitrate,
    },
    /// The node has too much to do, or again has not: the share that all pictures may take of what they took when that began.
    Relief {
        share: f64,
    },
    /// Whether packets reach a peer. Until this is said, they do.
    Connected {
        peer: PeerKey,
        connected: bool,
    },
    PeerGone {
        peer: PeerKey,
    },

    // Media, from a track's publisher.
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
    /// Media from another router nearer to the publisher.
    Fed(Feed),
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
    /// Which layers a branch wants; replaces what it wanted before. A layer that is new to it starts after what it `have`s, if
    /// that is known here, else with the latest keyframe, if that is fresh.
    BranchInterest {
        branch: Branch,
        track: TrackId,
        layers: LayerSet,
        have: Vec<Have>,
    },
    BranchKeyframe {
        branch: Branch,
        track: TrackId,
        layer: Layer,
    },
    /// It wants nothing any more.
    BranchGone {
        branch: Branch,
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
    Feed {
        branch: Branch,
        feed: Feed,
    },
    /// Ask the publisher, or the router nearer to it.
    RequestKeyframe {
        upstream: Upstream,
        track: TrackId,
        layer: Layer,
    },
    /// Which layers anybody here or behind a branch wants; sent when it changes.
    Wanted {
        upstream: Upstream,
        track: TrackId,
        layers: LayerSet,
    },
    /// What all that a peer has on screen would take if its path carried everything; sent when it changes.
    Demand {
        peer: PeerKey,
        rate: Bitrate,
    },
    StreamState {
        peer: PeerKey,
        slot: Slot,
        track: TrackId,
        state: StreamState,
    },
    /// Loudness of audio tracks that enter the node here, loudest first.
    Levels {
        levels: Vec<(TrackId, Reading)>,
    },
    /// Which microphones of a room are passed on to the peers here, of more than are; told when one comes in.
    Voices {
        room: RoomId,
        tracks: Vec<TrackId>,
    },
}

/// What one router feeds another. `stream` names the layer's numbering: the publisher's router draws it, anew at each restart,
/// and everybody downstream takes it over.
#[derive(Clone, Debug)]
pub enum Feed {
    Packet {
        track: TrackId,
        layer: Layer,
        stream: u32,
        packet: Arc<Packet>,
    },
    Report {
        track: TrackId,
        layer: Layer,
        stream: u32,
        report: SenderClock,
    },
    /// The layer does not fit a link on its way: it stops, and a smaller one may be asked for instead.
    Shed {
        track: TrackId,
        layer: Layer,
    },
}
