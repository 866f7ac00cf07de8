//! What each rule makes of a small offer.

use super::*;

#[test]
fn a_sending_line_without_a_track_is_silenced_but_still_receives() {
    let lines = ["sendonly", "recvonly", "sendrecv", "inactive"];
    let sdp = offer(&lines.map(|direction| opus(direction, direction)));
    let directions = |done: &Negotiated| [0, 1, 2, 3].map(|index| direction(&done.answer, index)).to_vec();

    let done = Member::new().offers(&sdp, &[]).expect("a good offer");
    check(&sdp, &done);
    assert_eq!(directions(&done), ["inactive", "sendonly", "sendonly", "inactive"]);
    assert_eq!(done.slots.len(), 2);

    let named: Vec<OfferedTrack> =
        lines.iter().zip(1..).map(|(mid, id)| OfferedTrack { track: TrackId(id), ..audio(mid) }).collect();
    let done = Member::new().offers(&sdp, &named).expect("a good offer");
    check(&sdp, &done);
    assert_eq!(directions(&done), ["recvonly", "sendonly", "sendrecv", "inactive"]);
    assert_eq!(done.layers.len(), 2, "a track on a line that does not send is not taken");
}

#[test]
fn audio_and_video_slots_of_one_index_share_a_stream() {
    let sdp = offer(&[vp8("a", "recvonly"), opus("b", "recvonly"), opus("c", "recvonly"), vp8("d", "recvonly")]);
    let done = Member::new().offers(&sdp, &[]).expect("a good offer");
    let msid = |index| streams(&done.answer, index).remove(0);
    assert_eq!(
        [0, 1, 2, 3].map(msid),
        ["a=msid:slot-0 video-0", "a=msid:slot-0 audio-0", "a=msid:slot-1 audio-1", "a=msid:slot-1 video-1"]
    );
    assert_eq!(done.slots.iter().map(|slot| slot.slot.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(streams(&done.answer, 0)[1].starts_with("a=ssrc-group:FID "));
    assert_eq!(done.answer.matches(" cname:weir").count(), 6);
}

#[test]
fn slots_keep_their_numbers_and_ssrcs_through_later_offers() {
    let mut member = Member::new();
    let first = offer(&[vp8("0", "recvonly"), vp8("1", "recvonly")]);
    let before = member.offers(&first, &[]).expect("a good offer");
    let more = offer(&[vp8("0", "recvonly"), vp8("1", "recvonly"), vp8("2", "recvonly")]);
    let after = member.offers(&more, &[]).expect("a good offer");
    assert_eq!(after.plan.send[..2], before.plan.send[..]);

    // The first line is stopped and its place taken by another transceiver.
    let recycled = offer(&[vp8("3", "recvonly"), vp8("1", "recvonly"), vp8("2", "recvonly")]);
    let last = member.offers(&recycled, &[]).expect("a good offer");
    check(&recycled, &last);
    assert_eq!(last.plan.send[1..], after.plan.send[1..]);
    assert_eq!(last.plan.send[0].slot, Slot(0), "the freed number");
    assert_ne!(last.plan.send[0].ssrc, before.plan.send[0].ssrc, "but never the SSRC");
}

#[test]
fn a_line_that_changes_its_role_gets_fresh_ssrcs_when_it_comes_back() {
    let mut member = Member::new();
    let before = member.offers(&offer(&[vp8("0", "recvonly"), opus("1", "recvonly")]), &[]).expect("a good offer");
    let away = offer(&[vp8("0", "sendonly"), opus("1", "recvonly")]);
    let done = member.offers(&away, &[video("0")]).expect("a good offer");
    assert_eq!(done.slots.len(), 1);
    assert_eq!(done.plan.receive.len(), 1);
    let back = member.offers(&offer(&[vp8("0", "recvonly"), opus("1", "recvonly")]), &[]).expect("a good offer");
    assert_eq!(back.plan.send[1], before.plan.send[1]);
    assert_ne!(back.plan.send[0].ssrc, before.plan.send[0].ssrc);
}

#[test]
fn only_an_ice_restart_draws_new_credentials() {
    let mut member = Member::new();
    let sdp = offer(&[opus("0", "recvonly")]);
    let local = |done: Negotiated| done.plan.ice.local;
    let first = local(member.restarts_ice(&sdp, &[]).expect("a good offer"));
    assert_eq!(local(member.offers(&sdp, &[]).expect("a good offer")), first);
    let asked = local(member.restarts_ice(&sdp, &[]).expect("a good offer"));
    assert_ne!(asked, first);
    let moved = sdp.replace("ice-ufrag:abcd", "ice-ufrag:efgh");
    let changed = local(member.offers(&moved, &[]).expect("a good offer"));
    assert_ne!(changed, asked);
    assert_eq!(local(member.offers(&moved, &[]).expect("a good offer")), changed);
    assert!(changed.ufrag.starts_with("0a"), "the shard stays readable");
}

#[test]
fn lines_we_cannot_use_are_refused_in_their_place() {
    let pcmu = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=rtcp-mux\r\na=rtpmap:0 PCMU/8000\r\n";
    let text = "m=text 9 UDP/TLS/RTP/SAVPF 98\r\na=mid:1\r\n";
    let plain = opus("2", "sendrecv").replace("UDP/TLS/RTP/SAVPF", "RTP/AVP");
    let stopped = opus("3", "sendrecv").replace("audio 9", "audio 0");
    let sctp = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:5\r\n";
    let second = sctp.replace("mid:5", "mid:6");
    let sdp = offer(&[pcmu.into(), text.into(), plain, stopped, opus("4", "sendrecv"), sctp.into(), second]);
    let done = Member::new().offers(&sdp, &[audio("0")]).expect("two lines are fine");
    check(&sdp, &done);
    assert!(done.answer.contains("a=group:BUNDLE 4 5\r\n"));
    for index in [0, 1, 2, 3, 6] {
        assert_eq!(direction(&done.answer, index), "refused", "{index}");
    }
    assert!(done.layers.is_empty());
    assert!(section(&done.answer, 4).contains(&"a=end-of-candidates"), "the first accepted line carries them");
    assert_eq!(done.plan.sctp, Some(SctpPlan { port: 5000, max_message_size: 65_536 }));
}

#[test]
fn a_single_line_needs_neither_bundle_nor_mid() {
    let sdp = offer(&[opus("0", "sendrecv")]).replace("a=group:BUNDLE 0\r\n", "").replace("a=mid:0\r\n", "");
    let done = Member::new().offers(&sdp, &[audio("0")]).expect("it goes by its index");
    check(&sdp, &done);
    assert!(!done.answer.contains("BUNDLE") && !done.answer.contains("a=mid"));
    assert_eq!(done.plan.receive[0].mid, "0");
}

#[test]
fn simulcast_takes_the_first_alternative_and_four_layers() {
    let answer = |attributes: &str, told: &OfferedTrack| {
        let sdp = offer(&[vp8("0", "sendonly") + attributes]);
        let done = Member::new().offers(&sdp, std::slice::from_ref(told)).expect("a good offer");
        check(&sdp, &done);
        let lines = section(&done.answer, 0).into_iter().filter(|line| line.starts_with("a=rid") || line.starts_with("a=sim"));
        (lines.map(str::to_owned).collect::<Vec<_>>(), done.plan.receive[0].rids.clone())
    };
    let rids = |ids: &str| ids.split(' ').map(|id| format!("a=rid:{id} send\r\n")).collect::<String>();

    let (lines, order) =
        answer(&(rids("a b c") + "a=simulcast:send ~a,b;c recv a\r\n"), &simulcast("0", &[("a", 720), ("c", 180)]));
    assert_eq!(lines, ["a=rid:a recv", "a=rid:c recv", "a=simulcast:recv a;c"]);
    assert_eq!(order, ["c", "a"], "smallest first");

    let (lines, order) = answer(&(rids("1 2 3 4 5") + "a=simulcast:send 1;2;3;4;5\r\n"), &video("0"));
    assert_eq!(lines.last().map(String::as_str), Some("a=simulcast:recv 1;2;3;4"));
    assert_eq!(order.len(), 4);

    let restricted = "a=rid:x send pt=96;max-width=640\r\na=rid:y send pt=100\r\na=simulcast:send x;y\r\n";
    let (lines, _) = answer(restricted, &video("0"));
    assert_eq!(lines, ["a=rid:x recv pt=96;max-width=640", "a=simulcast:recv x"]);

    let (lines, order) = answer(&rids("only"), &video("0"));
    assert_eq!((lines, order), (vec!["a=rid:only recv".to_owned()], vec!["only".to_owned()]), "a rid without simulcast");
}

#[test]
fn a_silent_line_keeps_its_simulcast_for_when_it_sends_again() {
    for direction in ["inactive", "sendonly"] {
        let layers = "a=rid:q send\r\na=rid:f send\r\na=simulcast:send q;f\r\n";
        let done = Member::new().offers(&offer(&[vp8("0", direction) + layers]), &[]).expect("a good offer");
        let lines = section(&done.answer, 0);
        assert!(lines.contains(&"a=inactive") && lines.contains(&"a=simulcast:recv q;f"), "{lines:#?}");
        assert!(done.plan.receive.is_empty());
    }
}

#[test]
fn two_byte_extension_ids_and_those_we_do_not_know() {
    let mid = "urn:ietf:params:rtp-hdrext:sdes:mid";
    let line = opus("0", "sendrecv")
        + &format!(
            "a=extmap:0 {mid}\r\na=extmap:15 {mid}\r\na=extmap:4096 {mid}\r\na=extmap:9 urn:unknown\r\na=extmap:200 {mid}\r\n"
        );
    let done = Member::new().offers(&offer(&[line]), &[]).expect("a good offer");
    assert_eq!(done.plan.extensions, ExtensionIds { mid: Some(200), ..ExtensionIds::default() });
    assert_eq!(done.answer.matches("a=extmap").count(), 1);
}

#[test]
fn the_answers_version_grows_and_its_session_stays() {
    let mut member = Member::new();
    let sdp = offer(&[opus("0", "recvonly")]);
    let origin = |answer: &str| -> Vec<u64> {
        let line = answer.lines().nth(1).expect("o=").to_owned();
        line.split(' ').skip(1).take(2).map(|word| word.parse().expect("a number")).collect()
    };
    let first = origin(&member.offers(&sdp, &[]).expect("a good offer").answer);
    let second = origin(&member.offers(&sdp, &[]).expect("a good offer").answer);
    assert_eq!(second, [first[0], first[1] + 1]);
}

#[test]
fn transport_attributes_may_stand_for_the_session_and_lines_override_them() {
    let sdp = offer(&[opus("0", "recvonly")]);
    let done = Member::new().offers(&sdp.replace("sha-256", "SHA-256"), &[]).expect("a good offer");
    assert_eq!(done.plan.dtls.fingerprints[0].algorithm, "sha-256");
    let own = opus("0", "recvonly") + "a=ice-ufrag:mine\r\na=setup:passive\r\n" + &FINGERPRINT.replace(" 00:", " FF:") + "\r\n";
    let done = Member::new().offers(&offer(&[own]), &[]).expect("a good offer");
    assert_eq!(done.plan.ice.remote.ufrag, "mine");
    assert_eq!(done.plan.ice.remote.pwd, "0123456789abcdef012345", "what a line lacks is the session's");
    assert!(done.plan.dtls.we_are_client);
    let hashes: Vec<u8> = done.plan.dtls.fingerprints.iter().map(|fingerprint| fingerprint.hash[0]).collect();
    assert_eq!(hashes, [0xff]);
}
