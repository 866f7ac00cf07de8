//! Offers that are wrong, too large or random.

use proptest::prelude::*;

use super::shapes::{ALL, all_tracks};
use super::*;

fn refusal(sdp: &str, tracks: &[OfferedTrack]) -> String {
    Member::new().offers(sdp, tracks).expect_err(sdp).0
}

#[test]
fn errors_name_the_place_and_the_mend() {
    let good = offer(&[opus("0", "sendrecv"), vp8("1", "sendrecv")]);
    assert!(Member::new().offers(&good, &[audio("0"), video("1")]).is_ok());
    let transport_cc = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    let level = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    let with = |audio: &str, video: &str| offer(&[opus("0", "sendrecv") + audio, vp8("1", "sendrecv") + video]);
    let cases = [
        ("hello".to_owned(), "line 1: an SDP begins with v=0"),
        (good.replace("t=0 0", "t"), "line 4: expected `letter=value`, found `t`"),
        (good.replace("a=group:BUNDLE 0 1\r\n", ""), "bundlePolicy `max-bundle`"),
        (good.replace("a=mid:1", "a=mid:0"), "line 15: each m-line needs its own a=mid"),
        (good.replace("a=ice-ufrag:abcd\r\n", ""), "needs a=ice-ufrag and a=ice-pwd"),
        (good.replace("012345\r\n", "\r\n"), "line 7: expected 22-256 ICE characters"),
        (good.replace("sha-256", "sha-1"), "needs an a=fingerprint with sha-256"),
        (good.replace(":1F\r\n", "\r\n"), "line 8: not a fingerprint of that algorithm's length"),
        (good.replace("actpass", "holdconn"), "line 9: offer a=setup:actpass"),
        (good.replace("a=rtcp-mux\r\n", ""), "(m-line 0): offer a=rtcp-mux"),
        (good.replace("SAVPF 96 97", "SAVPF 96 x"), "payload types are numbers below 128"),
        (good.replace("audio 9", "audio 70000"), "line 10: expected m=<media>"),
        (good.replace("111", "96"), "m-line 1: payload type 96 means another codec"),
        (with("a=rid:a,b send\r\n", ""), "line 15: a=rid needs"),
        (with(&format!("a=extmap:1 {level}\r\n"), &format!("a=extmap:1 {transport_cc}\r\n")), "already stands for urn:ietf"),
        (with(&format!("a=extmap:1 {level}\r\n"), &format!("a=extmap:2 {level}\r\n")), "has another id in an m-line before"),
        (good.replace("opus", "PCMU").replace("VP8", "H263"), "no m-line can be used"),
        (good.replace("audio 9", "audio 0").replace("video 9", "video 0"), "no m-line is in use"),
    ];
    for (sdp, why) in cases {
        let error = refusal(&sdp, &[]);
        assert!(error.contains(why), "{error} should say {why}");
    }
    for (tracks, why) in [
        (vec![audio("7")], "m-line 7: the offer has no such a=mid"),
        (vec![audio("1")], "m-line 1: said to be Audio, offered as Video"),
        (vec![audio("0"), OfferedTrack { track: TrackId(9), ..audio("0") }], "m-line 0: named twice"),
        (vec![audio("0"), OfferedTrack { track: TrackId(1), ..video("1") }], "m-line 1: named twice"),
    ] {
        let error = refusal(&good, &tracks);
        assert!(error.contains(why), "{error} should say {why}");
    }
}

#[test]
fn a_bad_offer_changes_nothing() {
    let good = offer(&[vp8("0", "recvonly"), vp8("1", "recvonly")]);
    let mut member = Member::new();
    let before = member.offers(&good, &[]).expect("a good offer");
    let new_certificate = good.replace(":1E:1F", ":1F:1E").replace("ice-ufrag:abcd", "ice-ufrag:efgh");
    let error = member.offers(&new_certificate, &[]).expect_err("it is another connection");
    assert!(error.0.contains("certificate changed"), "{error}");
    let other_role = good.replace("actpass", "passive");
    let error = member.offers(&other_role, &[]).expect_err("we are the DTLS server already");
    assert!(error.0.contains("roles can't be swapped"), "{error}");
    // All that is drawn anew is drawn before this fails.
    let clash = offer(&[
        vp8("5", "recvonly"),
        vp8("6", "recvonly").replace("VP8", "H264").replace("a=rtpmap:97", "a=fmtp:96 packetization-mode=1\r\na=rtpmap:97"),
    ]);
    assert!(member.restarts_ice(&clash, &[]).is_err());
    let after = member.offers(&good, &[]).expect("a good offer");
    assert_eq!((after.plan, after.slots), (before.plan, before.slots));
}

#[test]
fn offers_are_bounded() {
    let lines = |count: usize| (0..count).map(|index| opus(&index.to_string(), "recvonly")).collect::<Vec<_>>();
    let most = Member::new().offers(&offer(&lines(64)), &[]).expect("64 m-lines are fine");
    assert_eq!(most.slots.len(), 64);
    assert!(refusal(&offer(&lines(65)), &[]).contains("more than 64 m-lines"));
    let stopped: Vec<String> = lines(65).iter().map(|line| line.replace("audio 9", "audio 0")).collect();
    assert!(refusal(&offer(&stopped), &[]).contains("more than 64 m-lines"), "stopped ones count");

    let repeated = |line: &str, count: usize| offer(&[opus("0", "sendrecv") + &line.repeat(count)]);
    assert!(refusal(&repeated("a=x\r\n", 2_000), &[]).contains("more than 2000 attributes"));
    assert!(refusal(&repeated("a=extmap:1 urn:x\r\n", 65), &[]).contains("more than 64 a=extmap"));
    let ssrcs: String = (0..65).map(|ssrc| format!("a=ssrc:{ssrc} cname:x\r\n")).collect();
    assert!(refusal(&repeated(&ssrcs, 1), &[]).contains("more than 64 a=ssrc"));
    assert!(refusal(&repeated(&"x".repeat(256 * 1024), 1), &[]).contains("longer than 262144 bytes"));
}

#[test]
fn foreign_text_is_cut_and_escaped_in_errors() {
    let error = refusal(&offer(&[opus("0", "sendrecv") + "a=extmap:\u{1b}[2J" + &"x".repeat(1_000) + "\r\n"]), &[]);
    assert!(error.len() < 200 && error.contains("\\u{1b}[2Jxxx"), "{error}");
}

/// One way to damage an offer, by lines and by bytes.
#[derive(Debug, Clone)]
enum Damage {
    Drop(prop::sample::Index),
    Double(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index, prop::sample::Index),
    Put(prop::sample::Index, prop::sample::Index, String),
}

impl Damage {
    fn apply(&self, lines: &mut Vec<String>) {
        if lines.is_empty() {
            return;
        }
        let count = lines.len();
        match self {
            Self::Drop(at) => drop(lines.remove(at.index(count))),
            Self::Double(at) => lines.insert(at.index(count), lines[at.index(count)].clone()),
            Self::Swap(a, b) => lines.swap(a.index(count), b.index(count)),
            Self::Cut(at, byte) => {
                let line = &mut lines[at.index(count)];
                let end = byte.index(line.len() + 1);
                if line.is_char_boundary(end) {
                    line.truncate(end);
                }
            }
            Self::Put(at, byte, text) => {
                let line = &mut lines[at.index(count)];
                let at = byte.index(line.len() + 1);
                if line.is_char_boundary(at) {
                    line.insert_str(at, text);
                }
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    let text = prop_oneof![
        any::<String>(),
        Just(" ".to_owned()),
        Just(":".to_owned()),
        Just(";".to_owned()),
        Just("4294967296".to_owned()),
        Just("0".to_owned()),
        Just("-1".to_owned()),
        Just("a=".to_owned()),
        Just("\r\na=simulcast:send ;;~,\r\n".to_owned()),
    ];
    prop_oneof![
        at().prop_map(Damage::Drop),
        at().prop_map(Damage::Double),
        (at(), at()).prop_map(|(a, b)| Damage::Swap(a, b)),
        (at(), at()).prop_map(|(a, b)| Damage::Cut(a, b)),
        (at(), at(), text).prop_map(|(a, b, text)| Damage::Put(a, b, text)),
    ]
}

proptest! {
    #[test]
    fn damaged_offers_never_panic_and_good_answers_hold(
        which in 0..ALL.len(),
        damage in prop::collection::vec(damage(), 0..8),
        restart in any::<bool>(),
    ) {
        let tracks = all_tracks(ALL[which]);
        let mut lines: Vec<String> = ALL[which].split("\r\n").map(str::to_owned).collect();
        for damage in &damage {
            damage.apply(&mut lines);
        }
        let sdp = lines.join("\r\n");
        let mut member = Member::new();
        for round in 0..2 {
            let done = member.negotiator.answer(&sdp, &tracks, restart, &mut member.rng);
            if let Ok(done) = done {
                check(&sdp, &done);
            }
            if round == 0 {
                let _ = member.offers(ALL[which], &tracks);
            }
        }
    }

    #[test]
    fn random_text_never_panics(text in any::<String>()) {
        let _ = Member::new().offers(&text, &[]);
        let _ = Member::new().offers(&format!("v=0\r\n{text}"), &[]);
    }
}
