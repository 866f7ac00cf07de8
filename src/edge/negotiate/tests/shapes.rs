//! Offers as real clients write them: Chromium's, Firefox's, aiortc's, libdatachannel's and ffmpeg's are recorded; Safari's
//! are written after its own.

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/fixtures/sdp/", $name, ".sdp"))
    };
}

pub(super) const ALL: [&str; 11] = [
    fixture!("aiortc_call"),
    fixture!("chromium_call"),
    fixture!("chromium_data"),
    fixture!("chromium_h264_red"),
    fixture!("chromium_sendrecv"),
    fixture!("ffmpeg_whip"),
    fixture!("firefox_call"),
    fixture!("firefox_sendrecv"),
    fixture!("libdatachannel"),
    fixture!("safari_call"),
    fixture!("safari_sendrecv"),
];

/// Names every sending media line a track.
pub(super) fn all_tracks(sdp: &str) -> Vec<OfferedTrack> {
    let offer = Offer::parse(sdp).expect("fixtures are good");
    let line = |(index, line): (usize, &Section<'_>)| {
        let kind = match line.media {
            "audio" => Kind::Audio,
            "video" => Kind::Video,
            _ => return None,
        };
        let mid = line.mid?.to_owned();
        line.direction.sends().then(|| OfferedTrack { mid, track: TrackId(index as u64), kind, layers: Vec::new() })
    };
    offer.media.iter().enumerate().filter_map(line).collect()
}

#[test]
fn every_shape_is_accepted_whole() {
    for sdp in ALL {
        let tracks = all_tracks(sdp);
        let done = Member::new().offers(sdp, &tracks).expect(sdp);
        check(sdp, &done);
        assert_eq!(done.layers.len(), tracks.len(), "{sdp}");
        assert!(!done.answer.contains("m=audio 0") && !done.answer.contains("m=video 0"), "{}", done.answer);
    }
}

#[test]
fn av1_is_described_where_it_comes_first() {
    let offer = fixture!("chromium_call");
    let (before, camera) = offer.split_once("m=video ").expect("there is a camera");
    let (formats, rest) = camera.split_once("\r\n").expect("a line");
    let (head, formats) = formats.split_once("SAVPF ").expect("formats");
    let av1_first = format!("{before}m=video {head}SAVPF 45 46 {}\r\n{rest}", formats.replace(" 45 46", ""));
    let done = Member::new().offers(&av1_first, &[audio("0"), video("1")]).expect("a good offer");
    let camera = section(&done.answer, 1);
    assert!(camera[0].contains("SAVPF 45 46 96"), "{}", camera[0]);
    assert!(camera.iter().any(|line| line.contains("dependency-descriptor")), "{camera:#?}");
}

#[test]
fn a_chromium_call_is_answered_line_by_line() {
    let done = Member::new().offers(fixture!("chromium_call"), &[audio("0"), video("1")]).expect("a good offer");

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
    let described = |mid| section(&done.answer, mid).iter().any(|line| line.contains("dependency-descriptor"));
    assert!(!described(1) && described(3), "what VP8 says of its layers is to stay in its own descriptor");
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
        capture_time: None,
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

#[test]
fn the_clients_preference_stands() {
    let sdp = fixture!("chromium_h264_red");
    let done = Member::new().offers(sdp, &[audio("0"), video("1")]).expect("a good offer");
    assert_eq!(section(&done.answer, 0)[0], "audio 9 UDP/TLS/RTP/SAVPF 63 111");
    let camera = section(&done.answer, 1);
    assert!(camera[0].starts_with("video 9 UDP/TLS/RTP/SAVPF 102 103 108 109 116 117 96 97"), "mode 1 only: {}", camera[0]);
    assert_eq!(done.plan.receive[1].ssrcs.len(), 1);
    assert!(done.plan.receive[1].ssrcs[0].1.is_some(), "the FID group's second is its RTX");
}

#[test]
fn firefox_bundle_only_lines_and_directed_extensions() {
    let done = Member::new().offers(fixture!("firefox_call"), &[audio("0"), video("1")]).expect("a good offer");
    assert!(done.answer.contains("a=group:BUNDLE 0 1 2 3 4\r\n"), "port 0 with a=bundle-only is no refusal");
    let camera = section(&done.answer, 1);
    for line in [
        "a=extmap:6/sendonly http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
        "a=extmap:9/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
        "a=simulcast:recv q;h;f",
    ] {
        assert!(camera.contains(&line), "{line} in {camera:#?}");
    }
    assert!(!done.answer.contains("max-fs"), "the size of pictures is not limited");
    assert!(section(&done.answer, 0).contains(&"a=fmtp:109 minptime=10;useinbandfec=1;stereo=1;maxplaybackrate=48000"));
    assert_eq!(done.plan.receive[1].rids, ["q", "h", "f"]);
    assert!(done.plan.receive[1].ssrcs.is_empty(), "which layer has which SSRC is not told");
    assert!(done.plan.extensions.allow_mixed, "said by each m-line instead of the session");
}

#[test]
fn safari_offers_h264_first_and_h265_which_is_dropped() {
    let done = Member::new().offers(fixture!("safari_call"), &[audio("0"), video("1")]).expect("a good offer");
    assert_eq!(section(&done.answer, 1)[0], "video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 102 125 104 124");
    assert_eq!(done.plan.receive[1].rids, ["0", "1", "2"]);

    let done = Member::new().offers(fixture!("safari_sendrecv"), &[audio("0"), video("1")]).expect("a good offer");
    assert_eq!(done.plan.receive[1].ssrcs, [(2_222_222_222, Some(3_333_333_333))]);
    assert_eq!(done.plan.send.len(), 2, "each line is a slot too");
    assert_eq!(direction(&done.answer, 1), "sendrecv");
}

#[test]
fn libdatachannel_has_no_extension_and_names_its_lines() {
    let tracks = [audio("audio-stream"), video("video-stream")];
    let done = Member::new().offers(fixture!("libdatachannel"), &tracks).expect("a good offer");
    assert_eq!(done.plan.ice.remote.ufrag, "6kYB");
    assert_eq!(done.plan.dtls.fingerprints.len(), 1, "it is said for the session");
    assert_eq!(done.plan.extensions, ExtensionIds::default());
    assert_eq!(done.plan.receive[0].ssrcs, [(1, None)]);
    assert_eq!((done.slots[0].mid.as_str(), done.plan.send[0].rtx_ssrc), ("in", None));
    assert!(done.answer.contains("a=rtcp-fb:102 goog-remb\r\n"), "without transport-cc");
    let audio = section(&done.answer, 1);
    assert!(audio.contains(&"a=fmtp:111 minptime=10;useinbandfec=1;stereo=1;maxaveragebitrate=96000"), "{audio:#?}");
}

#[test]
fn ffmpeg_is_the_dtls_server() {
    let mut member = Member::new();
    let done = member.offers(fixture!("ffmpeg_whip"), &[audio("0"), video("1")]).expect("a good offer");
    assert!(done.plan.dtls.we_are_client);
    assert!(done.answer.contains("a=setup:active\r\n"));
    let first = done.answer.lines().find(|line| line.starts_with("a=candidate"));
    assert_eq!(first, Some("a=candidate:1 1 udp 2130706175 127.0.0.1 7882 typ host"), "UDP comes first");

    let again = fixture!("ffmpeg_whip").replace("a=setup:passive", "a=setup:actpass");
    let done = member.offers(&again, &[]).expect("a later offer leaves the choice");
    assert!(done.plan.dtls.we_are_client, "and the role stays");
}

#[test]
fn aiortc_is_told_remb_and_shows_three_fingerprints() {
    let done = Member::new().offers(fixture!("aiortc_call"), &[audio("0"), video("1")]).expect("a good offer");
    assert!(done.answer.contains("a=rtcp-fb:97 goog-remb\r\n"));
    let lengths: Vec<usize> = done.plan.dtls.fingerprints.iter().map(|fingerprint| fingerprint.hash.len()).collect();
    assert_eq!(lengths, [32, 48, 64]);
    assert!(done.plan.send[1].rtx_ssrc.is_some());
}
