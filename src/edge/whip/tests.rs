//! What requests are refused for before anybody is asked, and what responses say.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::*;
use crate::edge::message::Grants;
use crate::edge::sdp::Offer;
use crate::rtp::Source;

const FFMPEG: &str = include_str!("../../../tests/fixtures/sdp/ffmpeg_whip.sdp");

fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
    let header =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"));
    list.iter().map(header).collect()
}

const POST: [(&str, &str); 2] = [("authorization", "Bearer abc"), ("content-type", "application/sdp")];
const PATCH: [(&str, &str); 2] = [("authorization", "Bearer abc"), ("content-type", "application/trickle-ice-sdpfrag")];

fn read(method: &str, session: Option<&str>, list: &[(&'static str, &str)]) -> Result<Head, Box<Response>> {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let query = Query { member: Some(Identity::new("a b")), region: Some(RegionId::new("fra")) };
    Head::read(&method, (Protocol::Whip, "röm /1", session), query, &headers(list), true)
}

fn status(method: &str, session: Option<&str>, list: &[(&'static str, &str)]) -> u16 {
    read(method, session, list).map_or_else(|response| response.status().as_u16(), |_| 0)
}

fn with<'a>(list: &[(&'static str, &'a str)], more: &[(&'static str, &'a str)]) -> Vec<(&'static str, &'a str)> {
    let replaced = |name: &str| more.iter().any(|(other, _)| *other == name);
    list.iter().filter(|(name, _)| !replaced(name)).chain(more).copied().collect()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[test]
fn each_flaw_of_a_request_has_its_status() {
    assert_eq!(status("POST", None, &POST), 0);
    assert_eq!(status("PATCH", Some("s"), &PATCH), 0);
    assert_eq!(status("DELETE", Some("s"), &PATCH[..1]), 0);
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "BREW"] {
        assert_eq!(status(method, None, &POST), 405, "{method}");
    }
    for method in ["GET", "POST", "PUT"] {
        assert_eq!(status(method, Some("s"), &POST), 405, "{method}");
    }
    for token in ["", "Bearer", "Bearer  ", "Basic abc", "abc"] {
        assert_eq!(status("POST", None, &with(&POST, &[("authorization", token)])), 401, "{token}");
    }
    assert_eq!(status("DELETE", Some("s"), &[]), 401);
    assert_eq!(status("POST", None, &with(&POST, &[("authorization", "bEaReR abc")])), 0);
    for kind in ["", "application/json", "application/sdpx", "application/trickle-ice-sdpfrag"] {
        assert_eq!(status("POST", None, &with(&POST, &[("content-type", kind)])), 415, "{kind}");
    }
    assert_eq!(status("PATCH", Some("s"), &POST), 415);
    assert_eq!(status("POST", None, &with(&POST, &[("content-type", "Application/SDP; charset=utf-8")])), 0);
    for (accept, expected) in [
        ("application/sdp", 0),
        ("text/html, application/*;q=0.5", 0),
        ("*/*", 0),
        ("text/html", 406),
        ("application/sdp;q=0", 406),
        ("", 406),
    ] {
        assert_eq!(status("POST", None, &with(&POST, &[("accept", accept)])), expected, "{accept}");
    }
    assert_eq!(status("POST", None, &with(&POST, &[("content-length", "262145")])), 413);
    assert_eq!(status("PATCH", Some("s"), &with(&PATCH, &[("content-length", "16385")])), 413);
    let tags = "\"x\",".repeat(17);
    assert_eq!(status("PATCH", Some("s"), &with(&PATCH, &[("if-match", &tags)])), 400);
}

#[test]
fn a_body_is_judged_before_anybody_is_asked() {
    let body = |method: &str, session, list: &[(&'static str, &str)], body: Option<&[u8]>| {
        let head = read(method, session, list).expect("a good head");
        head.ask(body).map_or_else(|response| response.status().as_u16(), |_| 0)
    };
    assert_eq!(body("POST", None, &POST, Some(FFMPEG.as_bytes())), 0);
    for bad in [&b""[..], b"hello", b"\xff\xfe", b"v=1\r\n", b"v=0\r\nm=audio\r\n", b"a=candidate:1\r\n"] {
        assert_eq!(body("POST", None, &POST, Some(bad)), 400, "{bad:?}");
    }
    assert_eq!(body("POST", None, &POST, None), 413);
    assert_eq!(body("PATCH", Some("s"), &PATCH, Some(b"a=candidate:1 1 udp 1 192.0.2.1 9 typ host")), 0);
    assert_eq!(body("PATCH", Some("s"), &PATCH, Some(b"")), 400);
    assert_eq!(body("PATCH", Some("s"), &PATCH, None), 413);
    assert_eq!(body("DELETE", Some("s"), &PATCH, Some(b"")), 0);
}

#[test]
fn tags_are_enforced_only_where_some_are_sent() {
    let tags = |value: Option<&str>| {
        let more: Vec<_> = value.map(|value| ("if-match", value)).into_iter().collect();
        let head = read("DELETE", Some("s"), &with(&PATCH, &more)).expect("a good head");
        match head.ask(Some(b"")).expect("an ask").act {
            Act::Close { tags, .. } => tags,
            act => panic!("{act:?}"),
        }
    };
    for any in [None, Some("*"), Some("\"*\""), Some("\"x\", *")] {
        assert!(tags(any).allow("now"), "{any:?}");
    }
    for good in ["\"now\"", "\"old\", \"now\"", "now"] {
        assert!(tags(Some(good)).allow("now"), "{good}");
    }
    for stale in ["\"old\"", "W/\"now\"", "", "\"\""] {
        assert!(!tags(Some(stale)).allow("now"), "{stale}");
    }
}

#[test]
fn a_session_is_created_with_all_that_its_client_needs() {
    let head = read("POST", None, &with(&POST, &[("origin", "https://meet.example")])).expect("a good head");
    let turn = IceServer {
        urls: vec!["turn:relay.example:3478".into(), "turns:relay.example:5349".into()],
        username: Some("1700:\"eve".into()),
        credential: Some("p\\w".into()),
    };
    let stun = IceServer { urls: vec!["stun:relay.example:3478".into()], username: None, credential: None };
    let opened =
        Outcome::Opened { session: "5e55".into(), answer: "v=0\r\n".into(), tag: "00ab".into(), ice_servers: vec![stun, turn] };
    let response = head.answer(opened);
    assert_eq!((response.status(), response.body().as_str()), (StatusCode::CREATED, "v=0\r\n"));
    assert_eq!(header(&response, "content-type"), "application/sdp");
    assert_eq!(header(&response, "location"), "/whip/r%C3%B6m%20%2F1/5e55");
    assert_eq!(header(&response, "etag"), "\"00ab\"");
    assert_eq!(header(&response, "access-control-allow-origin"), "https://meet.example");
    for exposed in ["Location", "Link", "ETag"] {
        assert!(header(&response, "access-control-expose-headers").contains(exposed));
    }
    let links: Vec<_> = response.headers().get_all("link").iter().map(|link| link.to_str().expect("text")).collect();
    let login = "; username=\"1700:\\\"eve\"; credential=\"p\\\\w\"; credential-type=\"password\"";
    assert_eq!(
        links,
        [
            "<stun:relay.example:3478>; rel=\"ice-server\"".to_owned(),
            format!("<turn:relay.example:3478>; rel=\"ice-server\"{login}"),
            format!("<turns:relay.example:5349>; rel=\"ice-server\"{login}"),
        ]
    );
}

#[test]
fn other_outcomes_are_told_as_http_has_it() {
    let head = read("POST", None, &POST).expect("a good head");
    let trickled = head.answer(Outcome::Trickled { tag: "t".into() });
    assert_eq!((trickled.status().as_u16(), header(&trickled, "etag")), (204, "\"t\""));
    let restarted = head.answer(Outcome::Restarted { tag: "u".into(), fragment: "a=x".into() });
    assert_eq!((restarted.status().as_u16(), restarted.body().as_str()), (200, "a=x"));
    assert_eq!(header(&restarted, "content-type"), "application/trickle-ice-sdpfrag");
    assert_eq!(head.answer(Outcome::Closed).status(), StatusCode::OK);

    let elsewhere = head.answer(Outcome::Elsewhere { edge: "https://fra.example/".into() });
    assert_eq!(elsewhere.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(header(&elsewhere, "location"), "https://fra.example/whip/r%C3%B6m%20%2F1?member=a%20b");
    let full =
        Refused { elsewhere: Some("https://iad.example".into()), ..Refused::new(StatusCode::SERVICE_UNAVAILABLE, "full") };
    let full = head.answer(Outcome::Refused(full));
    assert!(!header(&full, "retry-after").is_empty() && full.body().contains("https://iad.example/whip/"));
    assert!(header(&full, "link").ends_with("rel=\"alternate\""));
    let unknown = head.answer(Outcome::Refused(Refused::new(StatusCode::UNAUTHORIZED, "who?")));
    assert!(header(&unknown, "www-authenticate").starts_with("Bearer"));
}

#[test]
fn options_tell_what_is_taken_and_let_listed_pages_in() {
    let options =
        |session, list: &[(&'static str, &str)]| read("OPTIONS", session, list).expect("good").ask(None).expect_err("done");
    let endpoint = options(None, &[]);
    assert_eq!((endpoint.status().as_u16(), header(&endpoint, "accept-post")), (204, "application/sdp"));
    assert_eq!(header(&endpoint, "access-control-allow-methods"), "", "nobody asked");
    let session = options(Some("s"), &[("origin", "https://meet.example")]);
    assert_eq!(header(&session, "accept-patch"), "application/trickle-ice-sdpfrag");
    assert_eq!(header(&session, "access-control-allow-methods"), "OPTIONS, PATCH, DELETE");
    for asked in ["Authorization", "Content-Type", "If-Match"] {
        assert!(header(&session, "access-control-allow-headers").contains(asked));
    }
    let strange = Head::read(
        &Method::OPTIONS,
        (Protocol::Whep, "room", None),
        Query::default(),
        &headers(&[("origin", "https://evil.example")]),
        false,
    );
    let strange = strange.expect_err("refused");
    assert_eq!((strange.status().as_u16(), header(&strange, "access-control-allow-origin")), (403, ""));
}

fn grants(sources: Option<Vec<Source>>) -> Grants {
    Grants { publish: true, subscribe: true, data: true, admin: false, hidden: false, sources }
}

fn sources(sdp: &str, grants: &Grants) -> Result<Vec<Source>, StatusCode> {
    let offer = Offer::parse(sdp).expect("an offer");
    let tracks = tracks(&offer, grants, "test").map_err(|refused| refused.status)?;
    Ok(tracks.into_iter().map(|track| track.source).collect())
}

#[test]
fn the_lines_of_an_offer_become_a_camera_and_a_microphone() {
    use Source::{Camera, Microphone, ScreenShare, ScreenShareAudio};
    assert_eq!(sources(FFMPEG, &grants(None)), Ok(vec![Microphone, Camera]));
    let screen = grants(Some(vec![ScreenShare, ScreenShareAudio]));
    assert_eq!(sources(FFMPEG, &screen), Ok(vec![ScreenShareAudio, ScreenShare]), "a token says what it is");
    assert_eq!(sources(FFMPEG, &grants(Some(vec![Microphone]))), Err(StatusCode::FORBIDDEN));
    let three = format!("{FFMPEG}m=video 9 X 96\r\na=sendonly\r\nm=video 9 X 96\r\na=sendonly\r\nm=video 0 X 96\r\n");
    assert_eq!(sources(&three, &grants(None)), Ok(vec![Microphone, Camera, ScreenShare]), "further ones carry nothing");
    let watching = FFMPEG.replace("a=sendonly", "a=recvonly");
    assert_eq!(sources(&watching, &grants(None)), Err(StatusCode::UNPROCESSABLE_ENTITY));
    assert_eq!(sources("v=0\r\n", &grants(None)), Err(StatusCode::UNPROCESSABLE_ENTITY));
}

#[test]
fn the_layers_of_obs_are_known_by_their_numbers() {
    let sdp = "v=0\r\nm=video 9 X 96\r\na=mid:0\r\na=rid:1 send\r\na=rid:2 send\r\na=rid:0 send\r\na=simulcast:send 1;2;0\r\n";
    let offer = Offer::parse(sdp).expect("an offer");
    let layers = |client| {
        let found = tracks(&offer, &grants(None), client).expect("tracks");
        found[0].layers.iter().map(|layer| (layer.rid.clone().unwrap_or_default(), layer.h)).collect::<Vec<_>>()
    };
    let expected = [("2", 180), ("1", 360), ("0", 720)].map(|(rid, height)| (rid.to_owned(), height));
    assert_eq!(layers("Mozilla/5.0 (OBS-Studio/32.0.1; Linux x86_64; en-US)"), expected);
    assert_eq!(layers("GStreamer"), []);
}

proptest::proptest! {
    #[test]
    fn no_offer_of_any_shape_names_a_track_twice(text in "(v=0\n)(m=(audio|video|text) (0|9) X 96\n(a=(sendonly|recvonly|mid:[0-9]|rid:[0-9] send)\n){0,4}){0,12}") {
        if let Ok(offer) = Offer::parse(&text)
            && let Ok(found) = tracks(&offer, &grants(None), "OBS")
        {
            let mut cids: Vec<_> = found.iter().map(|track| track.cid.clone()).collect();
            cids.sort();
            cids.dedup();
            proptest::prop_assert_eq!(cids.len(), found.len());
            proptest::prop_assert!((1..=4).contains(&found.len()));
        }
    }
}
