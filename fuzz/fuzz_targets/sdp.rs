//! Offers: real ones with pieces cut out and put in, or raw text. Whatever comes, the negotiation must not panic, and its
//! answer must be one that it can read itself, with an m-line for each that was offered.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::StdRng;
use weir::edge::negotiate::{HostCandidate, MediaEndpoint, Negotiator, OfferedTrack};
use weir::edge::plan::Fingerprint;
use weir::edge::sdp::Offer;
use weir::id::{ShardId, TrackId};
use weir::rtp::Kind;

const OFFERS: [&str; 7] = [
    "",
    include_str!("../../tests/fixtures/sdp/chromium_call.sdp"),
    include_str!("../../tests/fixtures/sdp/firefox_call.sdp"),
    include_str!("../../tests/fixtures/sdp/safari_call.sdp"),
    include_str!("../../tests/fixtures/sdp/aiortc_call.sdp"),
    include_str!("../../tests/fixtures/sdp/libdatachannel.sdp"),
    include_str!("../../tests/fixtures/sdp/ffmpeg_whip.sdp"),
];

/// At a place, cut so many bytes out and put these in.
type Edit = (u16, u8, Vec<u8>);

fuzz_target!(|input: (u8, Vec<Edit>, Vec<Edit>)| {
    let (which, first, second) = input;
    let offer = OFFERS[usize::from(which) % OFFERS.len()];
    let mut rng = StdRng::seed_from_u64(0);
    let endpoint = MediaEndpoint {
        shard: ShardId(0),
        candidates: vec![HostCandidate { addr: ([127, 0, 0, 1], 7882).into(), tcp: false }],
        fingerprint: Fingerprint { algorithm: "sha-256".into(), hash: vec![0; 32] },
    };
    let mut negotiator = Negotiator::new(Arc::new(endpoint), &mut rng);
    // A second offer meets what the first has left behind.
    for edits in [first, second] {
        let text = edited(offer, &edits);
        let tracks = tracks(&text);
        let Ok(done) = negotiator.answer(&text, &tracks, edits.len() % 2 == 1, &mut rng) else { continue };
        let offered = Offer::parse(&text).expect("it was answered");
        let answered = Offer::parse(&done.answer).expect("our own answer can be read");
        assert_eq!(answered.media.len(), offered.media.len());
        assert_eq!(done.slots.len(), done.plan.send.len());
        assert_eq!(done.layers.len(), done.plan.receive.len());
    }
});

fn edited(offer: &str, edits: &[Edit]) -> String {
    let mut bytes = offer.as_bytes().to_vec();
    for (at, cut, put) in edits {
        let at = usize::from(*at).min(bytes.len());
        let end = (at + usize::from(*cut)).min(bytes.len());
        bytes.splice(at..end, put.iter().copied());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Names every sending line a track, as a client would.
fn tracks(text: &str) -> Vec<OfferedTrack> {
    let Ok(offer) = Offer::parse(text) else { return Vec::new() };
    let lines = offer.media.iter().zip(0..).filter(|(line, _)| line.direction.sends());
    let track = |(line, id): (&weir::edge::sdp::Section<'_>, u64)| {
        let kind = if line.media == "audio" { Kind::Audio } else { Kind::Video };
        Some(OfferedTrack { mid: line.mid?.to_owned(), track: TrackId(id), kind, layers: Vec::new() })
    };
    lines.filter_map(track).collect()
}
