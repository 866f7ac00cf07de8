//! Counters of a shard, as plain integers read by message. Names follow the Prometheus metrics they become.

use serde::Serialize;

use crate::edge::peer::Dropped;

/// Everything a shard counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ShardStats {
    pub peers: u32,
    pub tracks: u32,
    pub subscriptions: u32,
    pub datagrams_in: u64,
    pub bytes_in: u64,
    pub datagrams_out: u64,
    pub bytes_out: u64,
    pub rtp_in: u64,
    /// Packets forwarded to peers, one per subscriber.
    pub rtp_out: u64,
    pub rtx_out: u64,
    /// Packets that waited in a pacer before they were sent.
    pub paced: u64,
    /// Packets that found a pacer full.
    pub pacer_drops: u64,
    /// Bytes of probes that were padding, or packets nobody asked for again.
    pub padding_bytes_out: u64,
    pub nacks_in: u64,
    pub nacks_out: u64,
    pub keyframe_requests_out: u64,
    pub pipe_packets_out: u64,
    /// Dropped because a pipe was full.
    pub pipe_drops: u64,
    /// Sends the kernel refused.
    pub send_errors: u64,
    /// Share of its time that the thread worked lately, in percent.
    pub busy_percent: u32,
    /// Times that pictures were made smaller for want of time.
    pub relief_steps: u64,
    pub dropped: Drops,
}

/// Datagrams and packets that were dropped, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// From an address no peer has validated.
    pub unknown_source: u64,
    /// STUN that is malformed, for an unknown ufrag, or with a wrong password.
    pub bad_stun: u64,
    pub bad_dtls: u64,
    /// Authentication failed or too short.
    pub bad_srtp: u64,
    /// A sequence number seen before.
    pub replayed: u64,
    pub bad_rtp: u64,
    pub bad_rtcp: u64,
    /// No published track has that SSRC, mid or rid.
    pub unknown_ssrc: u64,
    /// A bounded queue was full.
    pub queue_full: u64,
    /// Pictures' packets that the thread had no time to read.
    pub no_time: u64,
}

impl Drops {
    /// Counts what a peer dropped.
    pub fn count(&mut self, reason: Dropped) {
        let counter = match reason {
            Dropped::BadStun => &mut self.bad_stun,
            Dropped::BadDtls => &mut self.bad_dtls,
            Dropped::BadSrtp => &mut self.bad_srtp,
            Dropped::Replayed => &mut self.replayed,
            Dropped::BadRtp => &mut self.bad_rtp,
            Dropped::BadRtcp => &mut self.bad_rtcp,
            Dropped::UnknownSsrc => &mut self.unknown_ssrc,
            Dropped::UnknownSource => &mut self.unknown_source,
        };
        *counter += 1;
    }
}
