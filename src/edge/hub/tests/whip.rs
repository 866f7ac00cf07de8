//! Stories of WHIP and WHEP: members without a socket, whose one offer is all they say.

use axum::http::StatusCode;

use super::nodes::Net;
use super::*;
use crate::edge::ice_servers::IceServers;
use crate::edge::media::CloseReason;
use crate::edge::message::LeaveReason;
use crate::edge::sdp::Fragment;
use crate::edge::whip::{Act, Ask, Outcome, Protocol, Query, Tags};
use crate::id::Identity;
use crate::turn::Issuer;
use Protocol::{Whep, Whip};
use Source::{Camera, Microphone};

const FFMPEG: &str = include_str!("../../../../tests/fixtures/sdp/ffmpeg_whip.sdp");

/// A session as its client sees it.
#[derive(Debug, Clone)]
struct Http {
    protocol: Protocol,
    room: RoomId,
    token: String,
    session: String,
    tag: String,
    answer: String,
}

/// Asks for something and expects it to be done.
macro_rules! done {
    ($outcome:expr, $pattern:pat => $value:expr) => {
        match $outcome {
            $pattern => $value,
            other => panic!("{other:?}"),
        }
    };
}

fn status(outcome: Outcome) -> u16 {
    done!(outcome, Outcome::Refused(refused) => refused.status.as_u16())
}

fn watching(audio: usize, video: usize) -> String {
    let lines = [(Kind::Audio, audio), (Kind::Video, video)];
    sdp(&lines.iter().flat_map(|(kind, count)| std::iter::repeat_n((*kind, false), *count)).collect::<Vec<_>>())
}

fn candidate() -> Fragment {
    Fragment::parse("a=candidate:1 1 udp 1 192.0.2.1 9 typ host").expect("a fragment")
}

fn fresh(ufrag: &str) -> Fragment {
    Fragment::parse(&format!("a=ice-ufrag:{ufrag}\na=ice-pwd:{}", "x".repeat(22))).expect("a fragment")
}

impl World {
    /// The sessions that were opened by HTTP, in an order that is the same each time.
    pub(super) fn http_sessions(&self) -> Vec<(String, &Member)> {
        let sessions: BTreeMap<_, _> = self.hub.sessions.iter().collect();
        let member = |(sid, id): (&String, &MemberId)| (sid.clone(), &self.hub.members[id]);
        sessions.into_iter().map(member).filter(|(_, member)| member.link == Link::Http).collect()
    }

    pub(super) fn whip(&mut self, ask: Ask) -> Outcome {
        let mut out = Vec::new();
        let outcome = self.hub.whip(self.now, ask, &mut out);
        self.take(out);
        outcome
    }

    fn post(&mut self, protocol: Protocol, token: &str, offer: &str, query: Query) -> Outcome {
        let act = Act::Open { offer: offer.into(), query, client: "test".into() };
        self.whip(Ask { protocol, room: RoomId::new("room"), token: token.into(), act })
    }

    fn open_http(&mut self, protocol: Protocol, claims: &Claims, offer: &str, query: Query) -> Http {
        let token = signed(claims);
        let (session, answer, tag) = done!(self.post(protocol, &token, offer, query),
            Outcome::Opened { session, answer, tag, .. } => (session, answer, tag));
        Http { protocol, room: RoomId::new("room"), token, session, tag, answer }
    }

    fn publish_http(&mut self, identity: &str) -> Http {
        self.open_http(Whip, &claims("room", identity), FFMPEG, Query::default())
    }

    fn watch(&mut self, identity: &str, member: Option<&str>, audio: usize, video: usize) -> Http {
        let query = Query { member: member.map(Identity::new), region: None };
        self.open_http(Whep, &claims("room", identity), &watching(audio, video), query)
    }

    fn patch(&mut self, http: &Http, tags: Tags, fragment: Fragment) -> Outcome {
        let act = Act::Patch { session: http.session.clone(), tags, fragment };
        self.whip(Ask { protocol: http.protocol, room: http.room.clone(), token: http.token.clone(), act })
    }

    fn delete(&mut self, http: &Http) -> Outcome {
        let act = Act::Close { session: http.session.clone(), tags: Tags::Any };
        self.whip(Ask { protocol: http.protocol, room: http.room.clone(), token: http.token.clone(), act })
    }

    fn member(&self, http: &Http) -> MemberId {
        self.hub.sessions[&http.session]
    }

    /// What each slot of a viewer carries.
    fn seen(&self, http: &Http) -> Vec<Option<TrackId>> {
        self.hub.members[&self.member(http)].slots.bindings().map(|(_, _, track)| track).collect()
    }

    fn speak(&mut self, track: TrackId) {
        self.media(Event::Levels { levels: vec![(track, super::super::speakers::talking(60))] });
        self.pass(400);
    }

    /// What a member publishes: its microphone, its camera.
    fn tracks_of(&self, identity: &str) -> [Option<TrackId>; 2] {
        let room = &self.hub.rooms[&RoomId::new("room")];
        let owner = room.by_identity[&Identity::new(identity)];
        [Microphone, Camera].map(|source| {
            let found = room.tracks.iter().find(|track| track.owner == owner && track.info.source == source);
            found.map(|track| track.info.id)
        })
    }
}

#[test]
fn a_publisher_is_a_member_like_any_other_until_it_is_deleted() {
    let mut world = World::new();
    let mut ada = world.join("room", "ada");
    let obs = world.publish_http("obs");
    assert!(
        obs.answer.contains("a=candidate:1 1 udp") && obs.answer.contains("a=recvonly") && !obs.answer.contains("sendrecv")
    );
    world.follow(&mut ada);
    let heard = world.hear(ada.conn);
    let named = heard.iter().filter_map(|message| match message {
        ServerMessage::PeerJoined { peer } => Some(peer.name.clone()),
        ServerMessage::TrackAdded { track, .. } => Some(format!("{:?}", track.source)),
        _ => None,
    });
    assert_eq!(named.collect::<Vec<_>>(), ["OBS", "Microphone", "Camera"]);
    assert_eq!(world.receives(&ada).len(), 2);
    world.media(Event::Connected { member: world.member(&obs) });
    world.pass(3_600_000);
    world.check();
    // The token ended long ago, and still it is the one that opened the session.
    assert_eq!(world.delete(&obs), Outcome::Closed);
    assert_eq!(only!(world.hear(ada.conn), ServerMessage::PeerLeft { reason, .. } => reason), [LeaveReason::Left]);
    assert_eq!(status(world.delete(&obs)), 404);
    world.check();
    world.cut(&ada);
    world.pass(60_000);
    world.check_empty();
}

#[test]
fn who_is_refused_leaves_no_trace() {
    let mut world = World::new();
    let mut refused = |change: &dyn Fn(&mut Claims), protocol, offer: &str| {
        let mut claims = claims("room", "eve");
        change(&mut claims);
        let found = status(world.post(protocol, &signed(&claims), offer, Query::default()));
        world.check_empty();
        found
    };
    let good = |_: &mut Claims| {};
    assert_eq!(refused(&|claims| claims.exp = 1, Whip, FFMPEG), 401);
    assert_eq!(refused(&|claims| claims.video.room_join = false, Whip, FFMPEG), 403);
    assert_eq!(refused(&|claims| claims.video.room = "other".into(), Whip, FFMPEG), 403);
    assert_eq!(refused(&|claims| claims.video.can_publish = Some(false), Whip, FFMPEG), 403);
    assert_eq!(refused(&|claims| claims.video.hidden = Some(true), Whip, FFMPEG), 403);
    assert_eq!(refused(&|claims| claims.video.can_publish_sources = vec![Microphone], Whip, FFMPEG), 403);
    assert_eq!(refused(&|claims| claims.video.can_subscribe = Some(false), Whep, &watching(1, 1)), 403);
    assert_eq!(refused(&good, Whip, &watching(1, 1)), 422, "it sends nothing");
    assert_eq!(refused(&good, Whep, FFMPEG), 422, "it receives nothing");
    assert_eq!(refused(&good, Whip, &FFMPEG.replace("H264/90000", "H265/90000")), 422, "its picture would be left out");
    assert_eq!(refused(&good, Whip, &FFMPEG.replace("packetization-mode=1", "packetization-mode=0")), 422);
    assert_eq!(refused(&good, Whep, &watching(1, 1).replace("opus", "PCMU").replace("VP8", "MPV")), 422);
    assert_eq!(refused(&good, Whip, &FFMPEG.replace("a=group:BUNDLE 0 1", "a=x")), 422, "several transports");
    assert_eq!(refused(&good, Whip, &FFMPEG.replace("a=fingerprint", "a=x")), 422);
    assert_eq!(refused(&good, Whip, "v=0\r\n"), 422);
    for token in ["", "x", "a.b.c"] {
        assert_eq!(status(world.post(Whip, token, FFMPEG, Query::default())), 401);
        world.check_empty();
    }
}

#[test]
fn a_bad_offer_replaces_nobody_and_a_good_one_the_older_session() {
    let mut world = World::new();
    let first = world.publish_http("obs");
    let token = signed(&claims("room", "obs"));
    assert_eq!(status(world.post(Whip, &token, &watching(1, 1), Query::default())), 422);
    // Good SDP, but more of it than one offer may hold.
    let many = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n".repeat(world.hub.config.limits.candidates + 1);
    assert_eq!(status(world.post(Whip, &token, &format!("{FFMPEG}{many}"), Query::default())), 422);
    assert!(world.hub.sessions.contains_key(&first.session));
    let second = world.publish_http("obs");
    assert_eq!(status(world.delete(&first)), 404);
    world.check();
    assert_eq!(world.delete(&second), Outcome::Closed);
    world.check_empty();
}

#[test]
fn only_the_owner_of_a_session_has_power_over_it() {
    let mut world = World::new();
    let http = world.publish_http("obs");
    let mut asked = |change: &dyn Fn(&mut Http)| {
        let mut other = http.clone();
        change(&mut other);
        (status(world.patch(&other, Tags::Any, candidate())), status(world.delete(&other)))
    };
    assert_eq!(asked(&|http| http.token = "x".into()), (401, 401));
    assert_eq!(asked(&|http| http.token = signed(&claims("room", "eve"))), (401, 401));
    assert_eq!(asked(&|http| http.token = signed(&claims("other", "obs"))), (401, 401));
    assert_eq!(asked(&|http| http.protocol = Whep), (404, 404));
    assert_eq!(asked(&|http| http.room = RoomId::new("other")), (404, 404));
    assert_eq!(asked(&|http| http.session = "0".repeat(32)), (404, 404));
    assert_eq!(asked(&|http| http.session.clear()), (404, 404));
    // A socket's session is none of these, and none of these is a socket's.
    let tab = world.join("room", "ada");
    assert_eq!(status(world.delete(&Http { session: tab.sid.clone(), ..http.clone() })), 404);
    let conn = world.open();
    let resume = Some(Resume { sid: http.session.clone(), secret: http.session.clone(), last_seq: 0 });
    world.say(conn, ClientMessage::Hello { token: String::new(), resume, client: None, opts: Options::default() });
    assert!(!world.live.contains(&conn));
    world.check();
    // A fresh token of the same member is as good as the one that opened it.
    let mut later = claims("room", "obs");
    later.exp += 5;
    assert_eq!(world.delete(&Http { token: signed(&later), ..http }), Outcome::Closed);
}

#[test]
fn candidates_change_nothing_and_new_credentials_restart_ice() {
    let mut world = World::new();
    let http = world.publish_http("obs");
    world.commands();
    let tag = http.tag.clone();
    assert_eq!(world.patch(&http, Tags::Any, candidate()), Outcome::Trickled { tag: tag.clone() });
    assert_eq!(world.patch(&http, Tags::OneOf(vec![tag.clone()]), candidate()), Outcome::Trickled { tag: tag.clone() });
    assert!(world.commands().is_empty());

    let (next, fragment) =
        done!(world.patch(&http, Tags::Any, fresh("next")), Outcome::Restarted { tag, fragment } => (tag, fragment));
    assert_ne!(next, tag);
    assert!(fragment.contains(&format!("a=ice-ufrag:{next}\r\n")) && fragment.contains("a=candidate:1 1 udp"), "{fragment}");
    let plans = world.commands().into_iter().filter_map(|(_, command)| match command {
        Command::Configure { plan, .. } => {
            Some((plan.ice.local.ufrag.clone(), plan.ice.remote.ufrag.clone(), plan.receive.len()))
        }
        _ => None,
    });
    assert_eq!(plans.collect::<Vec<_>>(), [(next.clone(), "next".to_owned(), 2)]);

    // Late words about the session before are told so; without a tag they can't be told apart.
    assert_eq!(status(world.patch(&http, Tags::OneOf(vec![tag]), candidate())), 412);
    assert_eq!(world.patch(&http, Tags::Any, fresh("next")), Outcome::Trickled { tag: next.clone() }, "it is what it is");
    assert_eq!(world.delete(&http), Outcome::Closed);
    assert_eq!(status(world.patch(&http, Tags::OneOf(vec![next]), candidate())), 404);
}

#[test]
fn restarts_and_requests_have_a_rate() {
    let mut world = World::new();
    let http = world.publish_http("obs");
    let mut asked = |fragment: &dyn Fn(usize) -> Fragment| {
        let outcomes = (0..300).map(|at| world.patch(&http, Tags::Any, fragment(at)));
        outcomes
            .filter(|outcome| matches!(outcome, Outcome::Refused(refused) if refused.status == StatusCode::TOO_MANY_REQUESTS))
            .count()
    };
    assert!(asked(&|at| fresh(&format!("u{at:04}"))) > 200);
    assert_eq!(asked(&|_| candidate()), 300);
}

#[test]
fn layers_are_taken_with_rids_and_without() {
    let mut world = World::new();
    let layers = |world: &World, identity: &str| {
        let camera = world.tracks_of(identity)[1].expect("a camera");
        let room = &world.hub.rooms[&RoomId::new("room")];
        let layers = &room.track(camera).expect("known").info.layers;
        layers.iter().map(|layer| layer.rid.clone().unwrap_or_default()).collect::<Vec<_>>()
    };
    world.publish_http("ffmpeg");
    assert_eq!(layers(&world, "ffmpeg"), [""]);
    let http = world.open_http(Whip, &claims("room", "chromium"), &sdp(&[(Kind::Video, true)]), Query::default());
    assert_eq!(layers(&world, "chromium"), ["q", "h", "f"]);
    assert!(http.answer.contains("a=simulcast:recv q;h;f"));
    // OBS streams only if all of its layers are taken; 0 is its largest.
    let rids = "a=rid:2 send\r\na=rid:0 send\r\na=rid:3 send\r\na=rid:1 send\r\na=simulcast:send 2;0;3;1\r\n";
    let offer = format!("{}{rids}", sdp(&[(Kind::Audio, true), (Kind::Video, true)]).split("a=rid").next().expect("a part"));
    let act =
        Act::Open { offer, query: Query::default(), client: "Mozilla/5.0 (OBS-Studio/32.0.1; Linux x86_64; en-US)".into() };
    let token = signed(&claims("room", "obs"));
    let answer = done!(world.whip(Ask { protocol: Whip, room: RoomId::new("room"), token, act }), Outcome::Opened { answer, .. } => answer);
    assert!(answer.contains("a=simulcast:recv 2;0;3;1"), "{answer}");
    assert_eq!(layers(&world, "obs"), ["3", "2", "1", "0"]);
}

#[test]
fn a_session_that_never_connects_or_loses_its_media_is_over() {
    let mut world = World::new();
    let mut ada = world.join("room", "ada");
    for (up, why) in [(false, CloseReason::NeverConnected), (true, CloseReason::ConsentLost), (true, CloseReason::PeerClosed)] {
        let http = world.publish_http("obs");
        let member = world.member(&http);
        world.follow(&mut ada);
        if up {
            world.media(Event::Connected { member });
            world.media(Event::IceDown { member });
            world.pass(5_000);
            assert!(world.hub.has_member(member), "it may come back");
        }
        world.media(Event::Closed { member, why });
        assert_eq!(status(world.delete(&http)), 404);
        world.check();
    }
    let http = world.publish_http("obs");
    world.input(Input::Remove { member: world.member(&http) });
    assert_eq!(status(world.delete(&http)), 404);
}

#[test]
fn a_viewer_watches_one_member_whenever_it_is_there() {
    let mut world = World::new();
    let mut ada = world.join("room", "ada");
    world.publish(&mut ada, &[("mic", Microphone), ("cam", Camera)]);
    world.hear(ada.conn);
    let http = world.watch("tv", Some("obs"), 1, 1);
    assert_eq!(world.seen(&http), [None, None], "it is not there yet");
    world.publish_http("obs");
    world.pass(50);
    assert_eq!(world.seen(&http), world.tracks_of("obs"));
    world.publish_http("obs");
    world.pass(50);
    assert_eq!(world.seen(&http), world.tracks_of("obs"), "the newer session of the same identity");
    let views = world.commands().into_iter().filter_map(|(_, command)| match command {
        Command::View { items, .. } => items.into_iter().map(|item| item.track).next_back(),
        _ => None,
    });
    assert_eq!(views.last(), world.tracks_of("obs")[1], "as large as there is");
    let via = world.hub.snapshot().rooms[0].members.iter().map(|member| (member.via, member.hidden)).collect::<BTreeSet<_>>();
    assert_eq!(via, BTreeSet::from([("websocket", false), ("whip", false), ("whep", true)]), "the operator sees all");
    let pid = world.member(&http);
    let seen = only!(world.hear(ada.conn), ServerMessage::PeerJoined { peer } => peer.pid);
    assert!(!seen.contains(&pid), "nobody is told of a viewer");
    assert!(!world.receives(&ada).is_empty() || ada.lines.len() == 2);
    world.check();
}

#[test]
fn who_only_watches_gives_nobody_else_work() {
    let mut world = World::new();
    let mut ada = world.join("room", "ada");
    world.publish(&mut ada, &[("mic", Microphone), ("cam", Camera)]);
    for _ in 0..50 {
        world.watch("tv", None, 1, 1);
    }
    world.pass(1_000);
    let timers = world.hub.timers.len();
    world.watch("tv", None, 1, 1);
    assert!(world.hub.timers.len() <= timers + 3, "{} and then {}", timers, world.hub.timers.len());
}

#[test]
fn one_token_serves_an_audience_and_a_token_may_show_its_viewer() {
    let mut world = World::new();
    let ada = world.join("room", "ada");
    let (first, second) = (world.watch("ada", None, 1, 1), world.watch("ada", None, 0, 1));
    assert!(world.hub.has_member(ada.pid) && world.hub.sessions.contains_key(&first.session));
    assert_eq!(world.seen(&second).len(), 1);
    world.check();
    let mut shown = claims("room", "tv");
    shown.video.hidden = Some(false);
    world.open_http(Whep, &shown, &watching(1, 1), Query::default());
    let seen = only!(world.hear(ada.conn), ServerMessage::PeerJoined { peer } => peer.identity.as_str().to_owned());
    assert_eq!(seen, ["tv"]);
    let long = world.watch(&"é".repeat(64), None, 1, 1);
    assert!(world.hub.members[&world.member(&long)].access.identity.as_str().len() <= token::MAX_TEXT);
}

#[test]
fn one_token_takes_no_more_than_its_share() {
    let mut world = World::with(1, |limits| limits.token_viewers = 2);
    let (first, _) = (world.watch("tv", None, 1, 1), world.watch("tv", None, 1, 1));
    let mut later = claims("room", "tv");
    later.exp += 5;
    for claims in [claims("room", "tv"), later] {
        let full =
            done!(world.post(Whep, &signed(&claims), &watching(1, 1), Query::default()), Outcome::Refused(refused) => refused);
        assert!(full.status == StatusCode::SERVICE_UNAVAILABLE && full.text.contains("2 at most"), "{full:?}");
    }
    world.watch("radio", None, 1, 1);
    world.join("room", "tv");
    world.delete(&first);
    world.watch("tv", None, 1, 1);
    // One that is shown takes the place of the one before.
    let mut shown = claims("room", "wall");
    shown.video.hidden = Some(false);
    (0..3).for_each(|_| drop(world.open_http(Whep, &shown, &watching(1, 1), Query::default())));
    world.check();
}

#[test]
fn an_audience_of_one_token_has_the_relay_of_some_users() {
    let mut world = World::new();
    let turn = vec!["turn:192.0.2.1:3478".to_owned()];
    let credentials = Some((Issuer::new("secret"), Duration::from_secs(60)));
    world.hub.config.ice_servers = IceServers { stun: vec![], turn, credentials };
    let mut user = |protocol, offer: &str, ends: bool| {
        let token = signed(&claims("room", "tv"));
        let (session, servers) = done!(world.post(protocol, &token, offer, Query::default()),
            Outcome::Opened { session, ice_servers, .. } => (session, ice_servers));
        if ends {
            let act = Act::Close { session, tags: Tags::Any };
            world.whip(Ask { protocol, room: RoomId::new("room"), token, act });
        }
        servers[0].username.clone().expect("a name").split_once(':').expect("an expiry").1.to_owned()
    };
    assert_eq!(user(Whip, FFMPEG, true), "tv");
    let again: BTreeSet<String> = (0..100).map(|_| user(Whep, &watching(1, 1), true)).collect();
    assert_eq!(again.into_iter().collect::<Vec<_>>(), ["tv/0"]);
    let together: BTreeSet<String> = (0..100).map(|_| user(Whep, &watching(1, 1), false)).collect();
    assert!((10..100).contains(&together.len()), "{together:?}");
}

#[test]
fn a_viewer_follows_who_speaks_and_stays_in_silence() {
    let mut world = World::new();
    let http = world.watch("tv", None, 1, 1);
    let [_, bobs] = ["ada", "bob"].map(|identity| {
        let mut tab = world.join("room", identity);
        world.publish(&mut tab, &[("mic", Microphone), ("cam", Camera)]);
        tab
    });
    world.pass(50);
    let (ada, bob) = (world.tracks_of("ada"), world.tracks_of("bob"));
    assert_eq!(world.seen(&http), ada, "before anybody speaks, who came first");
    for _ in 0..3 {
        world.speak(bob[0].expect("a microphone"));
    }
    assert_eq!(world.seen(&http), bob);
    world.pass(10_000);
    assert_eq!(world.seen(&http), bob, "in silence it stays");
    // A camera that is off is not looked at.
    for (muted, expected) in [(true, ada[1]), (false, bob[1])] {
        let (track, conn) = (bob[1].expect("a camera"), bobs.conn);
        world.say(conn, ClientMessage::Mute { track, muted });
        world.pass(50);
        assert_eq!(world.seen(&http), [bob[0], expected]);
    }
    // Somebody without a camera is heard; the picture stays with who has one.
    let mut voice = world.join("room", "voice");
    let mic = world.publish(&mut voice, &[("mic", Microphone)])[0];
    for _ in 0..3 {
        world.speak(mic);
    }
    assert_eq!(world.seen(&http), [Some(mic), bob[1]]);
    world.cut(&voice);
    world.pass(60_000);
    assert_eq!(world.seen(&http)[1], bob[1]);
    assert!(world.seen(&http)[0].is_some());
    world.check();
}

#[test]
fn the_first_slot_is_the_speakers_and_further_ones_are_for_others() {
    let mut world = World::new();
    let http = world.watch("tv", None, 2, 2);
    for identity in ["ada", "bob", "cleo"] {
        let mut tab = world.join("room", identity);
        world.publish(&mut tab, &[("mic", Microphone), ("cam", Camera)]);
    }
    world.pass(50);
    for identity in ["ada", "cleo", "bob"] {
        let [mic, camera] = world.tracks_of(identity);
        for _ in 0..3 {
            world.speak(mic.expect("a microphone"));
        }
        let seen = world.seen(&http);
        assert_eq!((seen[0], seen[2]), (mic, camera), "{identity}");
        assert!(seen[1].is_some() && seen[3].is_some(), "{seen:?}");
        world.check();
    }
}

#[test]
fn shards_with_a_follower_listen_to_all_microphones_until_the_last_is_gone() {
    let mut world = World::new();
    let told = |world: &mut World| {
        let follow = |(_, command)| match command {
            Command::Follow { on, .. } => Some(on),
            _ => None,
        };
        world.commands().into_iter().filter_map(follow).collect::<Vec<_>>()
    };
    let fixed = world.watch("tv", Some("ada"), 1, 1);
    assert!(told(&mut world).is_empty());
    let (first, second) = (world.watch("tv", None, 1, 1), world.watch("tv", None, 0, 1));
    assert_eq!(told(&mut world), [true, true]);
    world.delete(&first);
    world.delete(&fixed);
    assert!(told(&mut world).is_empty());
    world.delete(&second);
    assert_eq!(told(&mut world), [false]);
    world.check_empty();
}

#[test]
fn who_is_full_says_so_and_who_drains_sends_elsewhere() {
    let mut world = World::with(1, |limits| limits.members = 1);
    let http = world.publish_http("obs");
    let token = signed(&claims("room", "eve"));
    assert_eq!(status(world.post(Whip, &token, FFMPEG, Query::default())), 503);
    world.input(Input::Drain);
    assert_eq!(status(world.post(Whip, &http.token, FFMPEG, Query::default())), 503, "there is no other");
    assert!(matches!(world.patch(&http, Tags::Any, candidate()), Outcome::Trickled { .. }), "who is here stays");
    world.input(Input::Shutdown { message: "bye".into() });
    world.check_empty();

    let mut net = Net::with(2, 1, |limits| limits.members = 1);
    net.tell_views();
    let token = signed(&claims("room", "obs"));
    let post = |net: &mut Net, node, region: Option<&str>, token: &str| {
        let query = Query { member: None, region: region.map(RegionId::new) };
        net.on(node, |world| world.post(Whip, token, FFMPEG, query))
    };
    let elsewhere = |edge: &str| Outcome::Elsewhere { edge: edge.into() };
    assert_eq!(post(&mut net, 0, Some("r1"), &token), elsewhere("https://n1.example.org"));
    assert_eq!(status(post(&mut net, 0, Some("r1"), "x")), 401, "strangers are not sent anywhere");
    for region in [None, Some("r0"), Some("nowhere")] {
        done!(post(&mut net, 0, region, &token), Outcome::Opened { .. } => ());
    }
    let other = signed(&claims("room", "eve"));
    let full = done!(post(&mut net, 0, None, &other), Outcome::Refused(refused) => refused);
    assert_eq!((full.status.as_u16(), full.elsewhere.as_deref()), (503, Some("https://n1.example.org")));
    net.on(0, |world| world.input(Input::Drain));
    assert_eq!(post(&mut net, 0, None, &other), elsewhere("https://n1.example.org"));
}

#[test]
fn a_viewer_watches_across_regions() {
    let mut net = Net::new(2);
    net.tell_views();
    net.pass(100);
    net.on(0, |world| world.publish_http("obs"));
    let fixed = net.on(1, |world| world.watch("tv", Some("obs"), 1, 1));
    let follower = net.on(1, |world| world.watch("tv", None, 1, 1));
    net.pass(5_000);
    let tracks = net.worlds[0].tracks_of("obs");
    assert_eq!(net.worlds[1].seen(&fixed), tracks);
    assert_eq!(net.worlds[1].seen(&follower), tracks);
    net.check();
}

#[test]
fn a_peerjs_call_publishes_and_is_shown_who_speaks() {
    let mut world = World::new();
    world.publish_http("eva");
    let [eva_voice, eva_picture] = world.tracks_of("eva");
    let offer = include_str!("../../../../tests/fixtures/sdp/chromium_sendrecv.sdp");
    let ada = world.open_http(Protocol::Peerjs, &claims("room", "ada"), offer, Query::default());
    assert_eq!(ada.answer.matches("a=sendrecv").count(), 2, "{}", ada.answer);
    world.pass(100);
    assert_eq!(world.seen(&ada), [eva_voice, eva_picture]);
    let [voice, picture] = world.tracks_of("ada");
    assert!(voice.is_some() && picture.is_some());
    // By another call she watches one member and sends nothing.
    let query = Query { member: Some(Identity::new("eva")), region: None };
    let watch = world.open_http(Protocol::PeerjsMember, &claims("room", "ada"), offer, query);
    assert_eq!(watch.answer.matches("a=sendonly").count(), 2, "{}", watch.answer);
    world.pass(100);
    assert_eq!(world.seen(&watch), [eva_voice, eva_picture]);
    assert_eq!(world.tracks_of("ada"), [voice, picture], "she is still there");
    for (grant, expected) in [("canPublish", 403), ("canSubscribe", 403)] {
        let mut refused = claims("room", "bob");
        match grant {
            "canPublish" => refused.video.can_publish = Some(false),
            _ => refused.video.can_subscribe = Some(false),
        }
        assert_eq!(status(world.post(Protocol::Peerjs, &signed(&refused), offer, Query::default())), expected, "{grant}");
    }
    assert_eq!(status(world.post(Protocol::Peerjs, "x", offer, Query::default())), 401);
}

#[test]
fn a_peerjs_call_to_one_member_lasts_as_long_as_that_one_is_there() {
    let mut net = Net::new(2);
    net.tell_views();
    net.pass(100);
    let eva = net.on(0, |world| world.publish_http("eva"));
    let call = |world: &mut World, identity: &str| {
        let query = Query { member: Some(Identity::new(identity)), region: None };
        world.open_http(Protocol::PeerjsMember, &claims("room", "ben"), &watching(1, 1), query)
    };
    // At her node and at another.
    let watches = [0, 1].map(|node| net.on(node, |world| call(world, "eva")));
    let nobody = net.on(1, |world| call(world, "nobody"));
    net.pass(4_000);
    assert_eq!(net.worlds[1].ended, Vec::<String>::new(), "who is called may come yet");
    net.pass(2_000);
    assert_eq!(net.worlds[1].ended, std::slice::from_ref(&nobody.session));
    // She comes again, as after a reload.
    net.on(0, |world| world.delete(&eva));
    net.pass(3_000);
    let eva = net.on(0, |world| world.publish_http("eva"));
    net.pass(20_000);
    assert_eq!(net.worlds[1].seen(&watches[1]), net.worlds[0].tracks_of("eva"));
    net.on(0, |world| world.delete(&eva));
    net.pass(7_000);
    assert_eq!(net.worlds[0].ended[2..], [watches[0].session.clone()], "after both of hers");
    assert_eq!(net.worlds[1].ended[1..], [watches[1].session.clone()]);
    // A viewer by WHEP waits for as long as it likes.
    let patient = net.on(1, |world| world.watch("tv", Some("eva"), 1, 1));
    net.pass(60_000);
    assert!(net.worlds[1].hub.sessions.contains_key(&patient.session));
}
