//! Offers of a client and what an answer makes of them: SDP out, [`Settled`] in. Always the offerer, always one bundle. Pure; the
//! room protocol, WHIP and WHEP all come through here.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::edge::plan::{DtlsPlan, ExtensionIds, Fingerprint, IceCredentials};
use crate::edge::sdp::{self, Section, Setup};
use crate::rtp::Kind;

use super::transport;

/// Payload types we offer.
pub const OPUS: u8 = 111;
pub const VP8: u8 = 96;
pub const RTX: u8 = 97;

/// M-lines of one kind that are offered at most, whatever is asked for.
pub const MOST_LINES: usize = 64;

/// Every header extension we offer.
const EXTENSIONS: ExtensionIds = ExtensionIds {
    mid: Some(1),
    rid: Some(2),
    repaired_rid: Some(3),
    transport_cc: Some(4),
    audio_level: Some(5),
    capture_time: Some(6),
    abs_send_time: None,
    orientation: None,
    playout_delay: None,
    dependency: None,
    allow_mixed: false,
};

type Field = fn(&mut ExtensionIds) -> &mut Option<u8>;
/// An extension's URI, and where its number is kept.
type Extension = (&'static str, Field);

const MID: Extension = ("urn:ietf:params:rtp-hdrext:sdes:mid", |ids| &mut ids.mid);
const RID: Extension = ("urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id", |ids| &mut ids.rid);
const REPAIRED: Extension = ("urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id", |ids| &mut ids.repaired_rid);
const TRANSPORT_CC: Extension =
    ("http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01", |ids| &mut ids.transport_cc);
const LEVEL: Extension = ("urn:ietf:params:rtp-hdrext:ssrc-audio-level", |ids| &mut ids.audio_level);
const CAPTURE: Extension = ("http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time", |ids| &mut ids.capture_time);

/// One m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub mid: String,
    pub kind: Kind,
    pub way: Way,
}

/// What an m-line is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    Receives,
    /// With the restriction identifiers of simulcast, smallest first; none for one encoding, which then has these SSRCs: the
    /// media's, and that of its retransmissions for video.
    Sends {
        rids: Vec<String>,
        ssrc: u32,
        rtx: u32,
    },
}

impl Line {
    pub const fn sends(&self) -> bool {
        matches!(self.way, Way::Sends { .. })
    }
}

/// What offer and answer came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub transport: transport::Settings,
    pub extensions: ExtensionIds,
    /// Video losses are repaired on a stream of their own.
    pub rtx: bool,
    /// M-lines that receive.
    pub slots: Vec<Slot>,
    /// M-lines that send and were accepted.
    pub sends: Vec<String>,
}

/// A place to receive in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub mid: String,
    pub kind: Kind,
    /// As far as the answer tells.
    pub ssrc: Option<u32>,
    pub rtx: Option<u32>,
}

/// Writes an offer.
pub fn write(lines: &[Line], ice: &IceCredentials, fingerprint: &Fingerprint) -> String {
    let mids: Vec<&str> = lines.iter().map(|line| line.mid.as_str()).collect();
    let hash: Vec<String> = fingerprint.hash.iter().map(|byte| format!("{byte:02X}")).collect();
    let transport = [
        format!("ice-ufrag:{}", ice.ufrag),
        format!("ice-pwd:{}", ice.pwd),
        format!("fingerprint:{} {}", fingerprint.algorithm, hash.join(":")),
        "setup:actpass".to_owned(),
    ];
    let mut out = format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n", mids.join(" "));
    for line in lines {
        let (kind, formats) = match line.kind {
            Kind::Audio => ("audio", OPUS.to_string()),
            Kind::Video => ("video", format!("{VP8} {RTX}")),
        };
        // A string takes everything.
        let _ = write!(out, "m={kind} 9 UDP/TLS/RTP/SAVPF {formats}\r\nc=IN IP4 0.0.0.0\r\na=mid:{}\r\n", line.mid);
        let way = if line.sends() { "sendonly" } else { "recvonly" };
        let common = ["rtcp-mux", "rtcp-rsize", way].map(str::to_owned);
        for attribute in transport.iter().chain(&common).chain(&media(line)) {
            let _ = write!(out, "a={attribute}\r\n");
        }
    }
    out
}

/// Codecs, extensions and streams of an m-line.
fn media(line: &Line) -> Vec<String> {
    let mut attributes = match line.kind {
        Kind::Audio => vec![
            format!("rtpmap:{OPUS} opus/48000/2"),
            format!("fmtp:{OPUS} minptime=10;useinbandfec=1"),
            format!("rtcp-fb:{OPUS} transport-cc"),
        ],
        Kind::Video => vec![
            format!("rtpmap:{VP8} VP8/90000"),
            format!("rtcp-fb:{VP8} transport-cc"),
            format!("rtcp-fb:{VP8} nack"),
            format!("rtcp-fb:{VP8} nack pli"),
            format!("rtcp-fb:{VP8} ccm fir"),
            format!("rtpmap:{RTX} rtx/90000"),
            format!("fmtp:{RTX} apt={VP8}"),
        ],
    };
    let extensions: &[Extension] = match line.kind {
        Kind::Audio => &[MID, TRANSPORT_CC, LEVEL, CAPTURE],
        Kind::Video => &[MID, TRANSPORT_CC, CAPTURE, RID, REPAIRED],
    };
    attributes.extend(extensions.iter().filter_map(|(uri, field)| Some(format!("extmap:{} {uri}", offered(*field)?))));
    let Way::Sends { rids, ssrc, rtx } = &line.way else { return attributes };
    attributes.push(format!("msid:load {}", line.mid));
    if !rids.is_empty() {
        attributes.extend(rids.iter().map(|rid| format!("rid:{rid} send")));
        attributes.push(format!("simulcast:send {}", rids.join(";")));
        return attributes;
    }
    let rtx = (line.kind == Kind::Video).then_some(rtx);
    attributes.extend(rtx.map(|rtx| format!("ssrc-group:FID {ssrc} {rtx}")));
    for ssrc in [Some(ssrc), rtx].into_iter().flatten() {
        attributes.push(format!("ssrc:{ssrc} cname:load"));
        attributes.push(format!("ssrc:{ssrc} msid:load {}", line.mid));
    }
    attributes
}

/// The number under which an extension is offered.
fn offered(field: Field) -> Option<u8> {
    let mut ids = EXTENSIONS;
    *field(&mut ids)
}

/// Reads the answer to an offer with these lines. An error says what is missing.
pub fn settle(answer: &str, lines: &[Line], ice: &IceCredentials) -> Result<Settled, String> {
    // An answer has the shape of an offer.
    let read = sdp::Offer::parse(answer).map_err(|why| format!("the answer can't be read: {why}"))?;
    let accepted: Vec<(&Line, &Section<'_>)> = lines.iter().zip(&read.media).filter(|(_, section)| section.is_live()).collect();
    let Some((_, first)) = accepted.first() else { return Err("the server refused every m-line".to_owned()) };
    let transport = &first.transport;
    let (Some(ufrag), Some(pwd)) = (transport.ufrag, transport.pwd) else {
        return Err("the answer has no a=ice-ufrag and a=ice-pwd".to_owned());
    };
    let candidates = candidates(answer);
    if candidates.is_empty() {
        return Err("the answer names no UDP candidate; trickled ones are not waited for".to_owned());
    }
    let mut extensions = ExtensionIds::default();
    for (uri, field) in [MID, RID, REPAIRED, TRANSPORT_CC, LEVEL, CAPTURE] {
        if accepted.iter().flat_map(|(_, section)| &section.extensions).any(|extension| extension.uri == uri) {
            *field(&mut extensions) = offered(field);
        }
    }
    let slot = |(line, section): &(&Line, &Section<'_>)| {
        let group = section.groups.iter().find(|group| group.semantics == "FID");
        let [ssrc, rtx] = [0, 1].map(|index| group.and_then(|group| group.ssrcs.get(index)).copied());
        Slot { mid: line.mid.clone(), kind: line.kind, ssrc: ssrc.or_else(|| section.ssrcs.first().copied()), rtx }
    };
    Ok(Settled {
        transport: transport::Settings {
            candidates,
            local: ice.clone(),
            remote: IceCredentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() },
            dtls: DtlsPlan {
                we_are_client: transport.setup != Some(Setup::Active),
                fingerprints: transport.fingerprints.clone(),
            },
        },
        extensions,
        rtx: accepted.iter().any(|(_, section)| section.codecs.iter().any(|codec| codec.pt == RTX)),
        slots: accepted.iter().filter(|(line, section)| !line.sends() && section.direction.sends()).map(slot).collect(),
        sends: accepted.iter().filter(|(line, _)| line.sends()).map(|(line, _)| line.mid.clone()).collect(),
    })
}

/// The UDP candidates of an answer, best first.
fn candidates(answer: &str) -> Vec<SocketAddr> {
    let mut found: Vec<(u32, SocketAddr)> = Vec::new();
    for line in answer.lines() {
        let Some(value) = line.trim_end().strip_prefix("a=candidate:") else { continue };
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        let [_, "1", protocol, priority, ip, port, ..] = words.as_slice() else { continue };
        let (Ok(priority), Ok(ip), Ok(port)) = (priority.parse(), ip.parse::<IpAddr>(), port.parse()) else { continue };
        if protocol.eq_ignore_ascii_case("udp") && !ip.is_unspecified() && port != 0 {
            found.push((priority, SocketAddr::new(ip, port)));
        }
    }
    found.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    let mut addresses: Vec<SocketAddr> = found.into_iter().map(|(_, address)| address).collect();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rand::SeedableRng;

    use super::*;
    use crate::edge::negotiate::{HostCandidate, MediaEndpoint, Negotiator, OfferedTrack};
    use crate::id::{ShardId, TrackId};

    fn ice() -> IceCredentials {
        IceCredentials { ufrag: "loadufrag".into(), pwd: "0123456789abcdef01234567".into() }
    }

    fn fingerprint(byte: u8) -> Fingerprint {
        Fingerprint { algorithm: "sha-256".into(), hash: vec![byte; 32] }
    }

    fn line(mid: &str, kind: Kind, rids: Option<&[&str]>) -> Line {
        let sends = |rids: &[&str]| Way::Sends { rids: rids.iter().map(|rid| (*rid).to_owned()).collect(), ssrc: 7, rtx: 8 };
        Line { mid: mid.into(), kind, way: rids.map_or(Way::Receives, sends) }
    }

    /// What our own server makes of an offer.
    fn answered(lines: &[Line]) -> (String, crate::edge::plan::MediaPlan) {
        let endpoint = MediaEndpoint {
            shard: ShardId(0),
            candidates: vec![
                HostCandidate { addr: "127.0.0.1:7881".parse().expect("an address"), tcp: true },
                HostCandidate { addr: "127.0.0.1:7882".parse().expect("an address"), tcp: false },
            ],
            fingerprint: fingerprint(9),
        };
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let mut server = Negotiator::new(Arc::new(endpoint), &mut rng);
        let sending = lines.iter().filter(|line| line.sends());
        let tracks: Vec<OfferedTrack> = sending
            .zip(1..)
            .map(|(line, id)| OfferedTrack { mid: line.mid.clone(), track: TrackId(id), kind: line.kind, layers: vec![] })
            .collect();
        let done = server.answer(&write(lines, &ice(), &fingerprint(1)), &tracks, false, &mut rng).expect("a good offer");
        (done.answer, done.plan)
    }

    #[test]
    fn what_our_server_answers_is_what_it_plans() {
        let lines = [
            line("0", Kind::Audio, Some(&[])),
            line("1", Kind::Video, Some(&["q", "h", "f"])),
            line("2", Kind::Audio, None),
            line("3", Kind::Video, None),
        ];
        let (answer, plan) = answered(&lines);
        let settled = settle(&answer, &lines, &ice()).expect("a good answer");
        assert_eq!(settled.extensions, plan.extensions);
        assert_eq!(settled.extensions, EXTENSIONS, "all of them are known");
        assert_eq!(settled.transport.candidates, [SocketAddr::from(([127, 0, 0, 1], 7_882))]);
        assert_eq!(settled.transport.remote, plan.ice.local);
        assert_eq!(settled.transport.dtls, DtlsPlan { we_are_client: true, fingerprints: vec![fingerprint(9)] });
        assert!(settled.rtx);
        assert_eq!(settled.sends, ["0", "1"]);
        assert_eq!(plan.receive[1].rids, ["q", "h", "f"]);
        assert_eq!(plan.receive[0].ssrcs, [(7, None)]);
        let slots: Vec<_> = settled.slots.iter().map(|slot| (slot.mid.as_str(), slot.ssrc, slot.rtx)).collect();
        let planned: Vec<_> = plan.send.iter().map(|send| (send.mid.as_str(), Some(send.ssrc), send.rtx_ssrc)).collect();
        assert_eq!(slots, planned);
    }

    #[test]
    fn one_encoding_names_its_ssrcs() {
        let lines = [line("0", Kind::Video, Some(&[]))];
        let (_, plan) = answered(&lines);
        assert_eq!(plan.receive[0].ssrcs, [(7, Some(8))]);
        assert!(plan.receive[0].rids.is_empty());
    }

    #[test]
    fn an_answer_that_can_not_be_used_says_why() {
        let lines = [line("0", Kind::Audio, None)];
        let (answer, _) = answered(&lines);
        for (broken, named) in [
            ("v=1".to_owned(), "v=0"),
            (answer.replace("m=audio 9", "m=audio 0"), "refused"),
            (answer.replace("a=ice-pwd", "a=other"), "ice-pwd"),
            (answer.replace(" udp ", " tcp "), "candidate"),
        ] {
            let said = settle(&broken, &lines, &ice()).expect_err(named);
            assert!(said.contains(named), "{said}");
        }
    }
}
