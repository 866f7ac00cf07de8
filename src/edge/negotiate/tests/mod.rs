//! What offers come to. Here: the member under test and the words to speak of descriptions; `shapes` has offers as real
//! clients write them, `rules` what each rule makes of small ones, `hostile` what must not hurt.

mod hostile;
mod rules;
mod shapes;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::edge::plan::PayloadType;
use crate::rtp::Codec;

struct Member {
    negotiator: Negotiator,
    rng: StdRng,
}

impl Member {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let endpoint = MediaEndpoint {
            shard: ShardId(0x0a),
            candidates: vec![
                HostCandidate { addr: ([127, 0, 0, 1], 7881).into(), tcp: true },
                HostCandidate { addr: ([127, 0, 0, 1], 7882).into(), tcp: false },
            ],
            fingerprint: Fingerprint { algorithm: "sha-256".into(), hash: (0..32).collect() },
        };
        Self { negotiator: Negotiator::new(endpoint.into(), &mut rng), rng }
    }

    fn offers(&mut self, sdp: &str, tracks: &[OfferedTrack]) -> Result<Negotiated, BadOffer> {
        self.negotiator.answer(sdp, tracks, false, &mut self.rng)
    }

    fn restarts_ice(&mut self, sdp: &str, tracks: &[OfferedTrack]) -> Result<Negotiated, BadOffer> {
        self.negotiator.answer(sdp, tracks, true, &mut self.rng)
    }
}

fn audio(mid: &str) -> OfferedTrack {
    OfferedTrack { mid: mid.into(), track: TrackId(1), kind: Kind::Audio, layers: Vec::new() }
}

fn video(mid: &str) -> OfferedTrack {
    OfferedTrack { mid: mid.into(), track: TrackId(2), kind: Kind::Video, layers: Vec::new() }
}

/// The lines of one m-line of a description.
fn section(sdp: &str, index: usize) -> Vec<&str> {
    let text = sdp.split("m=").nth(index + 1).expect("the m-line is there");
    text.lines().collect()
}

/// The same m-line with `rids` told.
fn simulcast(mid: &str, layers: &[(&str, u32)]) -> OfferedTrack {
    let layer = |(rid, height): &(&str, u32)| LayerInfo {
        rid: Some((*rid).into()),
        height: crate::units::PixelHeight(*height),
        ..LayerInfo::default()
    };
    OfferedTrack { layers: layers.iter().map(layer).collect(), ..video(mid) }
}

const FINGERPRINT: &str = "a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:\
                           10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F";

/// An offer of small m-lines (`opus`, `vp8`, or their attributes by hand), all in the bundle, transport at session level.
fn offer(lines: &[String]) -> String {
    let mids: Vec<&str> = lines.iter().filter_map(|line| line.lines().find_map(|line| line.strip_prefix("a=mid:"))).collect();
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:0123456789abcdef012345\r\n{FINGERPRINT}\r\na=setup:actpass\r\n{}",
        mids.join(" "),
        lines.concat()
    )
}

fn opus(mid: &str, direction: &str) -> String {
    format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n")
}

fn vp8(mid: &str, direction: &str) -> String {
    format!(
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n\
         a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
    )
}

/// The direction that an m-line was answered with; `refused` for port 0.
fn direction(answer: &str, index: usize) -> String {
    let lines = section(answer, index);
    if lines[0].split(' ').nth(1) == Some("0") {
        return "refused".into();
    }
    let names = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];
    lines.iter().find(|line| names.contains(line)).expect("a direction")[2..].into()
}

/// `a=msid` and SSRCs of a slot.
fn streams(answer: &str, index: usize) -> Vec<String> {
    section(answer, index)
        .iter()
        .filter(|line| line.starts_with("a=ssrc") || line.starts_with("a=msid:"))
        .map(|line| line.to_string())
        .collect()
}

/// What holds of every answer, whatever was offered.
fn check(sdp: &str, done: &Negotiated) {
    let offer = Offer::parse(sdp).expect("it was answered");
    let answer = Offer::parse(&done.answer).expect("our own answer can be read");
    assert_eq!(answer.media.len(), offer.media.len());
    let accepted: Vec<&str> = answer.media.iter().filter(|line| line.is_live()).filter_map(|line| line.mid).collect();
    assert_eq!(answer.bundle, offer.bundle.as_ref().map(|_| accepted), "the group has what is accepted");
    let mut ssrcs: Vec<u32> = Vec::new();
    for (line, offered) in answer.media.iter().zip(&offer.media) {
        assert_eq!((line.media, line.mid, line.protocol), (offered.media, offered.mid, offered.protocol));
        if !line.is_live() || line.media == "application" {
            continue;
        }
        assert!(offered.is_live());
        assert!(!line.direction.sends() || offered.direction.receives());
        assert!(!line.direction.receives() || offered.direction.sends());
        for format in &line.codecs {
            let theirs = offered.codecs.iter().find(|theirs| theirs.pt == format.pt).expect("only what was offered");
            assert!(theirs.name.eq_ignore_ascii_case(format.name) && !format.name.is_empty());
        }
        let order: Vec<u8> = offered.codecs.iter().map(|format| format.pt).collect();
        let place = |pt: u8| order.iter().position(|offered| *offered == pt);
        assert!(line.codecs.is_sorted_by_key(|format| place(format.pt)), "the client's order");
        ssrcs.extend(&line.ssrcs);
    }
    let planned: Vec<u32> = done.plan.send.iter().flat_map(|send| [Some(send.ssrc), send.rtx_ssrc]).flatten().collect();
    assert_eq!(ssrcs, planned, "the plan sends what the answer says");
    let mut distinct = planned.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), planned.len());
    assert_eq!(done.slots.len(), done.plan.send.len());
    for (slot, send) in done.slots.iter().zip(&done.plan.send) {
        assert_eq!((slot.slot, &slot.mid, slot.kind), (send.slot, &send.mid, send.kind));
    }
    assert_eq!(done.layers.len(), done.plan.receive.len());
    for ((track, layers), receive) in done.layers.iter().zip(&done.plan.receive) {
        let rids: Vec<&str> = layers.iter().filter_map(|layer| layer.rid.as_deref()).collect();
        assert_eq!((*track, rids), (receive.track, receive.rids.iter().map(String::as_str).collect()));
        assert!((1..=crate::rtp::Layer::MAX).contains(&layers.len()));
    }
}
