//! What an offer and its answer settled, as plain data: the seam between signaling, which speaks SDP, and the peer, which
//! speaks packets. `edge::negotiate` makes it, `edge::peer` obeys it. A plan describes the whole session each time, so
//! that applying it twice is the same as once.

pub use crate::id::Slot;
use crate::id::TrackId;
pub use crate::rtp::ExtensionIds;
use crate::rtp::{Codec, Kind};

/// The canonical name (RFC 3550 §6.5.1) of everything we send, in `a=ssrc` and in RTCP SDES. One name, because our sender
/// reports put all streams on one clock; a client sees only ours, so it need not be unique.
pub const CNAME: &str = "weir";

/// Everything a peer must know to carry a member's media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaPlan {
    pub ice: IcePlan,
    pub dtls: DtlsPlan,
    pub extensions: ExtensionIds,
    /// Payload types are one space over the whole bundle.
    pub payload_types: Vec<PayloadType>,
    pub receive: Vec<ReceivePlan>,
    pub send: Vec<SendPlan>,
    pub sctp: Option<SctpPlan>,
}

/// ICE-lite credentials of both sides (RFC 8445 §5.3). The local ones change only with an ICE restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcePlan {
    pub local: IceCredentials,
    pub remote: IceCredentials,
}

/// A user fragment and its password. `Debug` keeps the password to itself.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// Ours is `<shard as two hex digits><14 random hex digits>`: the TCP listener finds the shard by it.
    pub ufrag: String,
    pub pwd: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceCredentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// Who opens the DTLS handshake and which certificate it must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtlsPlan {
    /// The client offered `setup:passive`, so we open the handshake.
    pub we_are_client: bool,
    /// `a=fingerprint`; the handshake is refused unless the certificate matches one of them.
    pub fingerprints: Vec<Fingerprint>,
}

/// A certificate's hash (RFC 8122).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Lower case: `sha-256`, `sha-384` or `sha-512`.
    pub algorithm: String,
    pub hash: Vec<u8>,
}

/// One payload type of the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadType {
    pub pt: u8,
    pub codec: Codec,
    /// The payload type that carries its retransmissions (RFC 4588).
    pub rtx: Option<u8>,
    /// The `fmtp` parameters as they were agreed; H.264 profiles are told apart by it.
    pub fmtp: String,
}

/// A track the member sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivePlan {
    pub mid: String,
    pub track: TrackId,
    pub kind: Kind,
    /// Restriction identifiers, layer 0 first; empty without simulcast.
    pub rids: Vec<String>,
    /// `a=ssrc` of the offer with its retransmission SSRC; may be empty (then found by mid, rid, or payload type).
    pub ssrcs: Vec<(u32, Option<u32>)>,
}

/// A place the member receives in. Which track it carries changes without negotiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendPlan {
    pub slot: Slot,
    pub mid: String,
    pub kind: Kind,
    pub ssrc: u32,
    /// Present for video where the client takes RTX.
    pub rtx_ssrc: Option<u32>,
}

/// Data channels (RFC 8841).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SctpPlan {
    pub port: u16,
    pub max_message_size: u32,
}
