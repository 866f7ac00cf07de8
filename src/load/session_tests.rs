//! What a member says and does when the server refuses, and when others go.

use super::scenario::Scenario;
use super::session::{Do, Edge, Said, Session, Setup, Track};
use super::subscriber::Bound;
use crate::edge::plan::{Fingerprint, IceCredentials};
use crate::id::{MemberId, NodeId, TrackId};
use crate::rtp::Kind;

/// One who watches, let in, with the first offer on its way.
fn entered() -> Session {
    let seat = Scenario { subscribers: 1, ..Scenario::default() }.seats().next().expect("a seat");
    let ice = IceCredentials { ufrag: "ufrag".into(), pwd: "password".into() };
    let fingerprint = Fingerprint { algorithm: "sha-256".into(), hash: vec![1; 32] };
    let mut session = Session::new(Setup { seat, token: String::new(), ice, fingerprint, seed: 1, limit_bps: None });
    let done = session.hear(Said::Welcome { edge: Edge { id: NodeId::new("here") }, peers: vec![] });
    assert!(matches!(done.as_slice(), [Do::Entered, Do::Say(_)]), "{done:?}");
    session
}

fn refusal(id: u32, code: &str) -> Said {
    Said::Err { id: Some(id), code: code.into(), msg: "no".into() }
}

#[test]
fn an_offer_that_is_refused_ends_it_and_one_too_soon_is_made_again() {
    let mut session = entered();
    assert_eq!(session.hear(refusal(2, "bad_sdp")), [Do::Over("the offer was refused: bad_sdp: no".into())]);
    let mut session = entered();
    assert_eq!(session.hear(refusal(9, "bad_sdp")), [Do::Trouble("bad_sdp: no".into())], "another request");
    assert_eq!(session.hear(refusal(2, "rate_limited")), []);
    let again = session.due();
    assert!(matches!(again.as_slice(), [Do::Say(offer)] if offer["neg"] == 2 && offer["id"] == 3), "{again:?}");
}

#[test]
fn nothing_is_waited_for_where_a_track_is_gone() {
    let (track, pid) = (TrackId(7), MemberId::random(&mut rand::rng()));
    let known = |id| Track { id, kind: Kind::Video, muted: false, layers: vec![] };
    let over = [Do::Bind { mid: "1".into(), bound: Bound { paused: true, ..Bound::default() } }];
    for gone in [Said::PeerLeft { pid }, Said::TrackRemoved { track }] {
        let mut session = entered();
        session.hear(Said::TrackAdded { pid, track: known(track) });
        session.hear(Said::TrackAdded { pid: MemberId::random(&mut rand::rng()), track: known(TrackId(8)) });
        session.hear(Said::Bind { mid: "1".into(), track: Some(track) });
        session.hear(Said::Bind { mid: "2".into(), track: Some(TrackId(8)) });
        assert_eq!(session.hear(gone), over);
        assert_eq!(session.hear(Said::Bind { mid: "1".into(), track: None }), [], "it is so already");
    }
}
