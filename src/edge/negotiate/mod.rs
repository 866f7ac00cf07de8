//! Offer in, answer and [`MediaPlan`] out (JSEP, RFC 9429, from the answerer's side). Pure: randomness comes in, nothing is
//! sent. One [`Negotiator`] per member; `edge::session` feeds it. Reading and writing SDP text is `edge::sdp`'s.

mod codecs;
mod extensions;
mod layers;
mod slots;
#[cfg(test)]
mod tests;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;

use rand::RngExt;

use super::plan::{
    CNAME, DtlsPlan, ExtensionIds, Fingerprint, IceCredentials, IcePlan, MediaPlan, ReceivePlan, SctpPlan, SendPlan, Slot,
};
pub use super::sdp::BadOffer;
use super::sdp::{Answer, Direction, Media, MediaBody, Offer, RtpBody, Section, shown};
use crate::id::{ShardId, TrackId};
use crate::rtp::{Codec, Kind, LayerInfo};

/// Our end of the SCTP association; the number means nothing under DTLS, but every stack uses this one.
const SCTP_PORT: u16 = 5000;
/// The largest data channel message that we take, and that we send to whoever takes more.
const MAX_MESSAGE: u32 = 256 * 1024;
/// What an offer that does not say takes (RFC 8841 §6.1).
const DEFAULT_MESSAGE: u32 = 64 * 1024;

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

/// One member's side of the negotiation: credentials, SSRCs and slots that live as long as its connection.
#[derive(Debug)]
pub struct Negotiator {
    endpoint: Arc<MediaEndpoint>,
    session_id: u64,
    version: u64,
    local: IceCredentials,
    /// What the latest good offer said of the transport.
    agreed: Option<(IceCredentials, DtlsPlan)>,
    slots: slots::Table,
    sends_nothing: bool,
}

impl Negotiator {
    /// Draws the credentials.
    pub fn new(endpoint: Arc<MediaEndpoint>, rng: &mut impl rand::Rng) -> Self {
        let local = transport::credentials(endpoint.shard, rng);
        // 62 bits, as JSEP wants it of `o=` (RFC 9429 §5.2.1).
        let session_id = rng.random::<u64>() >> 2;
        Self { endpoint, session_id, version: 0, local, agreed: None, slots: slots::Table::default(), sends_nothing: false }
    }

    /// For a client that only publishes: what it offers to receive is answered as if it did not.
    #[must_use]
    pub fn sending_nothing(self) -> Self {
        Self { sends_nothing: true, ..self }
    }

    /// Restarts ICE without an offer: the client's new credentials in, those of both sides out. `None` before there was an offer.
    pub fn restart(&mut self, remote: IceCredentials, rng: &mut impl rand::Rng) -> Option<IcePlan> {
        let (known, _) = self.agreed.as_mut()?;
        known.clone_from(&remote);
        self.local = transport::credentials(self.endpoint.shard, rng);
        Some(IcePlan { local: self.local.clone(), remote })
    }

    /// Answers an offer. On error nothing has changed.
    ///
    /// An m-line that sends must be named in `tracks`, or it is answered as if it did not. One without a codec that we
    /// carry, outside the bundle, or of an unknown kind is refused with port 0; a track on it is not in `layers`.
    pub fn answer(
        &mut self,
        sdp: &str,
        tracks: &[OfferedTrack],
        ice_restart: bool,
        rng: &mut impl rand::Rng,
    ) -> Result<Negotiated, BadOffer> {
        let mut offer = Offer::parse(sdp)?;
        for section in offer.media.iter_mut().filter(|_| self.sends_nothing) {
            section.direction = Direction::of(section.direction.sends(), false);
        }
        let mids = mids(&offer)?;
        check_tracks(&mids, tracks)?;
        let remote = transport::remote(&offer, self.agreed.as_ref().map(|(_, dtls)| dtls))?;
        let restarted = self.agreed.as_ref().is_some_and(|(ice, _)| ice_restart || *ice != remote.ice);
        let local = if restarted { transport::credentials(self.endpoint.shard, rng) } else { self.local.clone() };

        let mut draft = Draft::default();
        let mut lines = Vec::with_capacity(offer.media.len());
        for (section, mid) in offer.media.iter().zip(&mids) {
            lines.push(draft.line(&offer, section, mid, tracks)?);
        }
        let receiving: Vec<(&str, Kind)> = lines.iter().filter_map(Line::receiving).collect();
        let foreign: Vec<u32> = offer.media.iter().flat_map(|section| section.ssrcs.iter().copied()).collect();
        let slots = self.slots.renewed(&receiving, &foreign, rng);
        let media: Vec<Media> =
            offer.media.iter().zip(lines).map(|(section, line)| line.into_media(section, &slots, &mut draft)).collect();
        if media.iter().all(|media| matches!(media.body, MediaBody::Refused { .. })) {
            return Err(BadOffer(
                "no m-line can be used: offer audio with opus, video with VP8, VP9, H264 or AV1, or a data channel".into(),
            ));
        }

        let answer = Answer {
            session_id: self.session_id,
            version: self.version,
            ice: &local,
            fingerprint: &self.endpoint.fingerprint,
            active: remote.dtls.we_are_client,
            candidates: transport::ranked(&self.endpoint.candidates),
            allow_mixed: draft.extensions.allow_mixed,
            bundle: offer.bundle.is_some(),
            media,
        };
        let answer = answer.to_string();
        self.version += 1;
        self.local = local.clone();
        self.agreed = Some((remote.ice.clone(), remote.dtls.clone()));
        self.slots = slots;
        let slot = |held: &slots::Held| ReceiveSlot { slot: held.slot, mid: held.mid.clone(), kind: held.kind };
        Ok(Negotiated {
            answer,
            plan: MediaPlan {
                ice: IcePlan { local, remote: remote.ice },
                dtls: remote.dtls,
                extensions: draft.extensions,
                payload_types: draft.payload_types.into_list(),
                receive: draft.receive,
                send: draft.send,
                sctp: draft.sctp,
            },
            layers: draft.layers,
            slots: self.slots.iter().map(slot).collect(),
        })
    }
}

/// What the m-lines come to, gathered one by one.
#[derive(Debug, Default)]
struct Draft {
    extensions: ExtensionIds,
    /// An m-line with media was there; `allow_mixed` is what all of them agree on.
    has_media: bool,
    payload_types: codecs::Table,
    receive: Vec<ReceivePlan>,
    send: Vec<SendPlan>,
    layers: Vec<(TrackId, Vec<LayerInfo>)>,
    sctp: Option<SctpPlan>,
}

/// The decision on one m-line.
#[derive(Debug)]
enum Line<'m> {
    Refused,
    Data,
    Rtp { mid: &'m str, kind: Kind, receives: bool, rtx: bool, body: RtpBody },
}

impl Draft {
    fn line<'m>(
        &mut self,
        offer: &Offer<'_>,
        section: &Section<'_>,
        mid: &'m str,
        tracks: &[OfferedTrack],
    ) -> Result<Line<'m>, BadOffer> {
        let bundled = offer.bundle.as_ref().is_none_or(|mids| section.mid.is_some_and(|mid| mids.contains(&mid)));
        if !section.is_live() || !bundled {
            return Ok(Line::Refused);
        }
        let kind = match section.media {
            "audio" => Kind::Audio,
            "video" => Kind::Video,
            "application" => return Ok(self.data(section)),
            _ => return Ok(Line::Refused),
        };
        if !matches!(section.protocol, "UDP/TLS/RTP/SAVPF" | "TCP/TLS/RTP/SAVPF" | "UDP/TLS/RTP/SAVP" | "RTP/SAVPF") {
            return Ok(Line::Refused);
        }
        let track = tracks.iter().find(|track| track.mid == mid);
        if let Some(track) = track
            && track.kind != kind
        {
            return Err(BadOffer(format!("track on m-line {mid}: said to be {:?}, offered as {kind:?}", track.kind)));
        }
        let chosen = codecs::choose(section, kind, extensions::has_transport_cc(section));
        if chosen.is_empty() {
            return Ok(Line::Refused);
        }
        if !section.rtcp_mux {
            return Err(BadOffer(format!("line {} (m-line {mid}): offer a=rtcp-mux: there is one port", section.line)));
        }
        self.payload_types.add(mid, &chosen)?;
        let payload_types = codecs::payload_types(section, &chosen);
        let mut attributes = Vec::new();
        codecs::attributes(&chosen, &mut attributes);
        // Where the dependency descriptor is agreed, Chromium says all of VP8's layers in it and leaves the payload's own
        // descriptor empty. Receivers that don't have it would know nothing of pictures then, and we would keep two
        // numberings; so it is for the codec that has no other.
        let described = section.direction.receives() || chosen.first().is_some_and(|first| first.plan.codec == Codec::Av1);
        extensions::accept(&mut self.extensions, mid, section, described, &mut attributes)?;
        self.extensions.allow_mixed = section.allow_mixed && (self.extensions.allow_mixed || !self.has_media);
        self.has_media = true;

        // Streams are answered on a silent line too: a browser forgets all encodings but the first for good when an answer
        // lacks them (W3C WebRTC, setting a remote description), and the line may send again.
        let streams = match kind {
            Kind::Audio => Vec::new(),
            Kind::Video => layers::streams(section, &payload_types),
        };
        layers::attributes(section, &streams, &mut attributes);
        let track = track.filter(|_| section.direction.sends());
        if let Some(track) = track {
            let arranged = layers::arrange(&streams, &track.layers);
            let rids: Vec<String> = arranged.iter().filter_map(|layer| layer.rid.as_deref()).map(str::to_owned).collect();
            // With rids nothing says which SSRC is which layer; the packets do.
            let ssrcs = if rids.is_empty() { primary_ssrcs(section) } else { Vec::new() };
            self.receive.push(ReceivePlan { mid: mid.to_owned(), track: track.track, kind, rids, ssrcs });
            self.layers.push((track.track, arranged));
        }
        let receives = section.direction.receives();
        let body = RtpBody {
            direction: Direction::of(receives, track.is_some()),
            payload_types,
            rtcp_rsize: section.rtcp_rsize,
            attributes,
        };
        let rtx = kind == Kind::Video && chosen.iter().any(codecs::Chosen::has_rtx);
        Ok(Line::Rtp { mid, kind, receives, rtx, body })
    }

    /// Data channels (RFC 8841): one association, so the first m-line that fits is it.
    fn data(&mut self, section: &Section<'_>) -> Line<'static> {
        let fits = matches!(section.protocol, "UDP/DTLS/SCTP" | "TCP/DTLS/SCTP")
            && section.formats.split_ascii_whitespace().eq(["webrtc-datachannel"]);
        if !fits || self.sctp.is_some() {
            return Line::Refused;
        }
        let max_message_size = match section.max_message_size {
            None => DEFAULT_MESSAGE,
            // 0 means any size.
            Some(0) => MAX_MESSAGE,
            Some(size) => u32::try_from(size).unwrap_or(MAX_MESSAGE).min(MAX_MESSAGE),
        };
        self.sctp = Some(SctpPlan { port: section.sctp_port.unwrap_or(SCTP_PORT), max_message_size });
        Line::Data
    }
}

impl<'m> Line<'m> {
    fn receiving(&self) -> Option<(&'m str, Kind)> {
        match self {
            Self::Rtp { mid, kind, receives: true, .. } => Some((mid, *kind)),
            _ => None,
        }
    }

    /// The m-line of the answer; a receiving one gets its slot's SSRCs.
    fn into_media(self, section: &Section<'_>, slots: &slots::Table, draft: &mut Draft) -> Media {
        let body = match self {
            Self::Refused => {
                MediaBody::Refused { formats: if section.formats.trim().is_empty() { "0" } else { section.formats }.to_owned() }
            }
            Self::Data => MediaBody::Data { sctp_port: SCTP_PORT, max_message_size: MAX_MESSAGE },
            Self::Rtp { mid, kind, receives, rtx, mut body } => {
                if let Some(held) = slots.get(mid).filter(|_| receives) {
                    held.attributes(rtx, CNAME, &mut body.attributes);
                    draft.send.push(SendPlan {
                        slot: held.slot,
                        mid: mid.to_owned(),
                        kind,
                        ssrc: held.ssrc,
                        rtx_ssrc: rtx.then_some(held.rtx_ssrc),
                    });
                }
                MediaBody::Rtp(body)
            }
        };
        Media {
            media: section.media.to_owned(),
            protocol: section.protocol.to_owned(),
            mid: section.mid.map(str::to_owned),
            body,
        }
    }
}

/// What each m-line is called. One without `a=mid` (RFC 8843 asks for it only in a bundle) goes by its index.
fn mids(offer: &Offer<'_>) -> Result<Vec<String>, BadOffer> {
    let mut mids: Vec<String> = Vec::with_capacity(offer.media.len());
    for (index, section) in offer.media.iter().enumerate() {
        let mid = section.mid.map_or_else(|| index.to_string(), str::to_owned);
        if mids.contains(&mid) {
            return Err(BadOffer(format!("line {}: the m-line needs its own a=mid", section.line)));
        }
        mids.push(mid);
    }
    Ok(mids)
}

fn check_tracks(mids: &[String], tracks: &[OfferedTrack]) -> Result<(), BadOffer> {
    for (index, track) in tracks.iter().enumerate() {
        let mid = shown(&track.mid);
        if !mids.contains(&track.mid) {
            return Err(BadOffer(format!("track on m-line {mid}: the offer has no such a=mid")));
        }
        if tracks.iter().take(index).any(|other| other.mid == track.mid || other.track == track.track) {
            return Err(BadOffer(format!("track on m-line {mid}: named twice; an m-line carries one track")));
        }
    }
    Ok(())
}

/// The media SSRCs of an m-line without rids, each with its retransmissions' (`FID`, RFC 4588 §8.8). What only repairs
/// another stream (`FID`, `FEC-FR`) is none of its own; of old-style simulcast (`SIM`) the first stream is taken.
fn primary_ssrcs(section: &Section<'_>) -> Vec<(u32, Option<u32>)> {
    let grouped = |semantics: &'static str| section.groups.iter().filter(move |group| group.semantics == semantics);
    let secondary = |ssrc: &u32| {
        let later = ["FID", "FEC-FR", "SIM"].into_iter().flat_map(grouped);
        later.flat_map(|group| group.ssrcs.iter().skip(1)).any(|other| other == ssrc)
    };
    let rtx = |ssrc: u32| {
        let group = grouped("FID").find(|group| group.ssrcs.first() == Some(&ssrc));
        group.and_then(|group| group.ssrcs.get(1)).copied()
    };
    section.ssrcs.iter().filter(|ssrc| !secondary(ssrc)).map(|ssrc| (*ssrc, rtx(*ssrc))).collect()
}
