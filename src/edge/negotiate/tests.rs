//! Offers as clients write them, and what must come of them.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::edge::plan::PayloadType;
use crate::rtp::Codec;

const CHROMIUM_CALL: &str = include_str!("../../../tests/fixtures/sdp/chromium_call.sdp");

pub(super) struct Member {
    negotiator: Negotiator,
    rng: StdRng,
}

impl Member {
    pub(super) fn new() -> Self {
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

    pub(super) fn offers(&mut self, sdp: &str, tracks: &[OfferedTrack]) -> Result<Negotiated, BadOffer> {
        self.negotiator.answer(sdp, tracks, false, &mut self.rng)
    }
}

pub(super) fn audio(mid: &str) -> OfferedTrack {
    OfferedTrack { mid: mid.into(), track: TrackId(1), kind: Kind::Audio, layers: Vec::new() }
}

pub(super) fn video(mid: &str) -> OfferedTrack {
    OfferedTrack { mid: mid.into(), track: TrackId(2), kind: Kind::Video, layers: Vec::new() }
}

/// The lines of one m-line of a description.
pub(super) fn section(sdp: &str, index: usize) -> Vec<&str> {
    let text = sdp.split("m=").nth(index + 1).expect("the m-line is there");
    text.lines().collect()
}

#[test]
fn a_chromium_call_is_answered_line_by_line() {
    let done = Member::new().offers(CHROMIUM_CALL, &[audio("0"), video("1")]).expect("a good offer");

    assert!(done.answer.contains("a=ice-lite\r\n"));
    assert!(done.answer.contains("a=group:BUNDLE 0 1 2 3 4 5\r\n"));
    let mic = section(&done.answer, 0);
    assert_eq!(mic[0], "audio 9 UDP/TLS/RTP/SAVPF 111 63");
    for line in ["a=recvonly", "a=setup:passive", "a=rtcp-mux", "a=rtcp-rsize", "a=fmtp:63 111/111", "a=end-of-candidates"] {
        assert!(mic.contains(&line), "{line} in {mic:#?}");
    }
    let camera = section(&done.answer, 1);
    assert_eq!(camera[0], "video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 108 109 116 117 45 46 98 99 100 101");
    for line in ["a=recvonly", "a=rid:q recv", "a=simulcast:recv q;h;f", "a=rtcp-fb:96 transport-cc", "a=fmtp:97 apt=96"] {
        assert!(camera.contains(&line), "{line} in {camera:#?}");
    }
    assert!(!done.answer.contains("goog-remb"), "transport-cc is there");
    assert!(!camera.iter().any(|line| line.contains("candidate")), "the first m-line has them");
    assert!(section(&done.answer, 2).contains(&"a=sendonly"));
    assert!(section(&done.answer, 5).contains(&"a=sctp-port:5000"));

    let plan = &done.plan;
    assert_eq!(plan.ice.remote.ufrag, "hT+w");
    assert!(plan.ice.local.ufrag.starts_with("0a") && plan.ice.local.ufrag.len() == 16);
    assert!(plan.ice.local.pwd.len() >= 24);
    assert!(!plan.dtls.we_are_client);
    assert_eq!(plan.dtls.fingerprints[0].hash.len(), 32);
    let vp8 = PayloadType { pt: 96, codec: Codec::Vp8, rtx: Some(97), fmtp: String::new() };
    assert!(plan.payload_types.contains(&vp8));
    let ids = ExtensionIds {
        mid: Some(4),
        rid: Some(10),
        repaired_rid: Some(11),
        abs_send_time: Some(2),
        transport_cc: Some(3),
        audio_level: Some(1),
        orientation: Some(13),
        playout_delay: Some(5),
        dependency: Some(12),
        allow_mixed: true,
    };
    assert_eq!(plan.extensions, ids);
    assert_eq!(plan.receive[0].ssrcs, [(2_882_045_699, None)]);
    assert_eq!(plan.receive[1].rids, ["q", "h", "f"]);
    assert_eq!(plan.send.len(), 3);
    assert_eq!(plan.sctp, Some(SctpPlan { port: 5000, max_message_size: 262_144 }));
    assert_eq!(done.layers[1].1.len(), 3);
    let slots: Vec<_> = done.slots.iter().map(|slot| (slot.slot.0, slot.mid.as_str(), slot.kind)).collect();
    assert_eq!(slots, [(0, "2", Kind::Audio), (1, "3", Kind::Video), (2, "4", Kind::Video)]);
}
