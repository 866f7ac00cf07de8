//! Offer in, answer and [`MediaPlan`] out (JSEP, RFC 9429, from the answerer's side). Pure: randomness comes in, nothing is
//! sent. One [`Negotiator`] per member; `edge::session` feeds it. Reading and writing SDP text is `edge::sdp`'s.

use std::net::SocketAddr;
use std::sync::Arc;

use super::plan::{Fingerprint, MediaPlan, Slot};
use crate::id::{ShardId, TrackId};
use crate::rtp::{Kind, LayerInfo};

/// What every answer of one shard says of the server.
#[derive(Debug, Clone)]
pub struct MediaEndpoint {
    pub shard: ShardId,
    /// Where clients reach the shard, best first.
    pub candidates: Vec<HostCandidate>,
    /// Of the node's DTLS certificate.
    pub fingerprint: Fingerprint,
}

/// One `a=candidate` of type host (RFC 8839); TCP ones are passive (RFC 6544).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostCandidate {
    pub addr: SocketAddr,
    pub tcp: bool,
}

/// A sending m-line of the client, by the application's words.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferedTrack {
    pub mid: String,
    pub track: TrackId,
    pub kind: Kind,
    /// As the client said them; matched to the offer's rids, sorted smallest first.
    pub layers: Vec<LayerInfo>,
}

/// What an offer came to.
#[derive(Debug, Clone)]
pub struct Negotiated {
    pub answer: String,
    pub plan: MediaPlan,
    /// The layers of each accepted track, smallest first: index = [`crate::rtp::Layer`].
    pub layers: Vec<(TrackId, Vec<LayerInfo>)>,
    /// Every receive slot that exists now, in order of their m-lines.
    pub slots: Vec<ReceiveSlot>,
}

/// A receiving m-line of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveSlot {
    pub slot: Slot,
    pub mid: String,
    pub kind: Kind,
}

/// Why an offer can't be used. The text says which line and what would do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadOffer(pub String);

/// One member's side of the negotiation: credentials, SSRCs and slots that live as long as its connection.
#[derive(Debug)]
pub struct Negotiator {
    endpoint: Arc<MediaEndpoint>,
}

impl Negotiator {
    /// Draws the credentials.
    pub fn new(endpoint: Arc<MediaEndpoint>, rng: &mut impl rand::Rng) -> Self {
        let _ = rng;
        Self { endpoint }
    }

    /// Answers an offer. On error nothing has changed.
    pub fn answer(
        &mut self,
        sdp: &str,
        tracks: &[OfferedTrack],
        ice_restart: bool,
        rng: &mut impl rand::Rng,
    ) -> Result<Negotiated, BadOffer> {
        let _ = (&self.endpoint, sdp, tracks, ice_restart, rng);
        Err(BadOffer("not there yet".into()))
    }
}
