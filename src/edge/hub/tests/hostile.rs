//! Clients that break rules, and random ones.

use proptest::prelude::*;

use super::*;
use crate::edge::hub::quality::measured;
use crate::edge::hub::speakers::talking;
use crate::edge::media::{CloseReason, Quality, StreamState};
use crate::edge::message::{AdminOp, CallMedia, CallTo, Description, DescriptionKind, PeerSignalTo, ViewItem};
use crate::edge::sdp::Fragment;
use crate::edge::whip;
use crate::id::Identity;
use crate::policy::quality::Path;
use crate::rtp::{Layer, LayerSet};

#[test]
fn frames_that_are_no_messages_are_answered_and_then_end_it() {
    let mut world = World::new();
    let ada = world.join("room", "ada");
    let bob = world.join("room", "bob");
    let broken = |conn| Input::Malformed { conn, code: ErrorCode::BadMessage, why: "not JSON".into() };
    for _ in 0..9 {
        world.input(broken(ada.conn));
    }
    world.say(ada.conn, ClientMessage::Ping { ts: 1.5, rtt: None, frozen_ms: None });
    for _ in 0..9 {
        world.input(broken(ada.conn));
    }
    assert!(world.live.contains(&ada.conn), "one good frame between them");
    world.input(broken(ada.conn));
    let heard = world.hear(ada.conn);
    assert_eq!(only!(heard.clone(), ServerMessage::Err { code, .. } => code), [ErrorCode::BadMessage; 18]);
    assert_eq!(only!(heard, ServerMessage::Leave { reason, .. } => reason), [LeaveReason::Protocol]);
    assert!(!world.live.contains(&ada.conn));
    assert_eq!(only!(world.hear(bob.conn), ServerMessage::PeerLeft { reason, .. } => reason), [LeaveReason::Protocol]);
    // Before hello it is no different.
    let conn = world.open();
    for _ in 0..10 {
        world.say(conn, ClientMessage::Bye {});
    }
    assert!(!world.live.contains(&conn));
    world.check();
}

#[test]
fn who_asks_too_often_is_refused_and_at_last_removed() {
    let mut world = World::new();
    let (ada, bob) = (world.join("room", "ada"), world.join("room", "bob"));
    let chat = || ClientMessage::Chat { cid: String::new(), to: None, text: "spam".into() };
    let granted = (0..100).filter(|_| world.ask(&ada, chat()).is_ok()).count();
    assert_eq!(granted, 20);
    world.pass(1_000);
    assert_eq!((0..100).filter(|_| world.ask(&ada, chat()).is_ok()).count(), 4);
    assert_eq!(only!(world.hear(bob.conn), ServerMessage::Chat(_) => ()).len(), 24);
    world.pass(10_000);
    world.ask(&ada, ClientMessage::Hand { up: true }).expect("the others are not used up");
    for _ in 0..1_000 {
        world.say(ada.conn, ClientMessage::Ping { ts: 0.0, rtt: None, frozen_ms: Some(-1e300) });
    }
    assert!(!world.live.contains(&ada.conn));
    assert_eq!(only!(world.hear(ada.conn), ServerMessage::Leave { reason, .. } => reason), [LeaveReason::Protocol]);
    world.check();
}

#[test]
fn lists_are_bounded() {
    let mut world = World::new();
    let ada = world.join("room", "ada");
    let subscribe = ClientMessage::Subscribe { tracks: vec![TrackId(1); 1_025], on: true };
    assert_eq!(world.ask(&ada, subscribe), Err(ErrorCode::TooMany));
    let item = ViewItem { track: TrackId(1), w: 0, h: 0, visible: true, prio: 0 };
    assert_eq!(world.ask(&ada, ClientMessage::View { items: vec![item; 1_025], limit_bps: None }), Err(ErrorCode::TooMany));
    // Wishes for what is not there leave nothing behind.
    let _ = world.ask(&ada, ClientMessage::Subscribe { tracks: (0..1_000).map(TrackId).collect(), on: false });
    assert!(world.hub.members[&ada.pid].wishes.is_empty());
}

/// One thing that may happen. Numbers choose among who and what is there.
#[derive(Debug, Clone)]
enum Step {
    Join { room: u8, identity: u8 },
    Cut(u8),
    Resume { who: u8, back: u8 },
    Garbage(u8),
    Pass(u16),
    Offer { who: u8, tracks: u8, audio: u8, video: u8 },
    Say { who: u8, what: u8, target: u8, flag: bool },
    Media { who: u8, what: u8, value: u8 },
    Http { who: u8, what: u8, audio: u8, video: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let small = 0u8..8;
    prop_oneof![
        3 => (0u8..2, 0u8..6).prop_map(|(room, identity)| Step::Join { room, identity }),
        1 => small.clone().prop_map(Step::Cut),
        2 => (small.clone(), 0u8..20).prop_map(|(who, back)| Step::Resume { who, back }),
        1 => small.clone().prop_map(Step::Garbage),
        2 => prop_oneof![0u16..300, 0u16..20_000].prop_map(Step::Pass),
        5 => (small.clone(), 0u8..16, 0u8..5, 0u8..5).prop_map(|(who, tracks, audio, video)| Step::Offer { who, tracks, audio, video }),
        5 => (small.clone(), any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(who, what, target, flag)| Step::Say { who, what, target, flag }),
        4 => (small.clone(), any::<u8>(), any::<u8>()).prop_map(|(who, what, value)| Step::Media { who, what, value }),
        3 => (small, any::<u8>(), 0u8..3, 0u8..3).prop_map(|(who, what, audio, video)| Step::Http { who, what, audio, video }),
    ]
}

/// Does it, if there is anybody to do it.
fn perform(world: &mut World, tabs: &mut Vec<Tab>, step: Step) {
    let pick = |tabs: &[Tab], who: u8| (!tabs.is_empty()).then(|| usize::from(who) % tabs.len());
    let tracks: Vec<TrackId> =
        world.hub.rooms.values().flat_map(|room| room.tracks.iter().map(|track| track.info.id)).collect();
    let some_track = |value: u8| tracks.get(usize::from(value) % tracks.len().max(1)).copied().unwrap_or(TrackId(9));
    match step {
        Step::Join { room, identity } => {
            let mut claims = claims(&format!("room-{room}"), &format!("id-{identity}"));
            claims.video.room_admin = identity == 0;
            claims.video.hidden = Some(identity == 5);
            let conn = world.open();
            world.say(conn, hello(&claims));
            if world.live.contains(&conn) {
                tabs.push(world.tab(conn));
            }
        }
        Step::Cut(who) => {
            if let Some(at) = pick(tabs, who)
                && world.live.contains(&tabs[at].conn)
            {
                world.cut(&tabs[at]);
            }
        }
        Step::Resume { who, back } => {
            if let Some(at) = pick(tabs, who) {
                let last = world.last_seq.get(&tabs[at].conn).copied().unwrap_or(0);
                world.resume(&mut tabs[at], last.saturating_sub(u32::from(back)));
            }
        }
        Step::Garbage(who) => {
            if let Some(at) = pick(tabs, who)
                && world.live.contains(&tabs[at].conn)
            {
                world.input(Input::Malformed { conn: tabs[at].conn, code: ErrorCode::BadMessage, why: "x".into() });
            }
        }
        Step::Pass(ms) => world.pass(ms.into()),
        Step::Offer { who, tracks, audio, video } => {
            let Some(at) = pick(tabs, who) else { return };
            let tab = &mut tabs[at];
            let sources = [Source::Microphone, Source::Camera, Source::ScreenShare, Source::ScreenShareAudio];
            for (bit, source) in sources.into_iter().enumerate() {
                let cid = format!("{source:?}");
                let line = tab.lines.iter().position(|(_, track)| track.as_ref().is_some_and(|track| track.cid == cid));
                match (tracks >> bit & 1 == 1, line) {
                    (true, None) => {
                        let track = published(&tab.lines.len().to_string(), &cid, source);
                        tab.lines.push((track.kind, Some(track)));
                    }
                    (false, Some(at)) => tab.lines[at].1 = None,
                    _ => {}
                }
            }
            tab.lines.extend(std::iter::repeat_n((Kind::Audio, None), audio.into()));
            tab.lines.extend(std::iter::repeat_n((Kind::Video, None), video.into()));
            tab.lines.truncate(66);
            tab.neg += 1;
            let (conn, offer) = (tab.conn, tab.as_offer());
            world.say(conn, offer);
        }
        Step::Say { who, what, target, flag } => {
            let Some(at) = pick(tabs, who) else { return };
            let conn = tabs[at].conn;
            let pid = tabs[usize::from(target) % tabs.len()].pid;
            let track = some_track(target);
            let ops = [AdminOp::Mute, AdminOp::Remove, AdminOp::LowerHand];
            let item = |track| ViewItem { track, w: 1, h: target.into(), visible: flag, prio: what };
            world.say(
                conn,
                match what % 15 {
                    0 => ClientMessage::Bye {},
                    1 => ClientMessage::Mute { track, muted: flag },
                    2 => ClientMessage::Unpublish { track },
                    3 | 4 => ClientMessage::Subscribe { tracks: vec![track, some_track(what)], on: flag },
                    5 => ClientMessage::View { items: vec![item(track), item(some_track(what))], limit_bps: Some(what.into()) },
                    6 => ClientMessage::Chat { cid: "c".into(), to: flag.then_some(pid), text: "x".repeat(target.into()) },
                    7 => ClientMessage::React { emoji: "👍".into() },
                    8 => ClientMessage::Hand { up: flag },
                    9 => ClientMessage::Meta { name: flag.then(|| "n".repeat(target.into())), attrs: None },
                    10 => ClientMessage::Admin { op: ops[usize::from(target) % 3], target: pid },
                    11 => ClientMessage::Candidate { mid: None, cand: String::new() },
                    12 => {
                        let media = CallMedia { audio: flag, video: flag };
                        ClientMessage::Call(CallTo { to: pid, call: "x".repeat(target.into()), media, room: flag })
                    }
                    13 => {
                        let desc =
                            flag.then(|| Description { kind: DescriptionKind::Offer, sdp: "x".repeat(1 << (target % 18)) });
                        ClientMessage::P2p(PeerSignalTo { to: pid, call: "c".into(), desc, cand: None })
                    }
                    _ => ClientMessage::Ping { ts: f64::NAN, rtt: None, frozen_ms: Some(f64::NAN) },
                },
            );
        }
        Step::Http { who, what, audio, video } => {
            let sessions: Vec<(String, &Member)> = world.http_sessions();
            let found = sessions.get(usize::from(who) % sessions.len().max(1));
            let (room, token, session, watches) = match found {
                Some((sid, member)) if what % 4 > 1 => {
                    let exp = UNIX_MS / 1000 + world.seconds() as u64 + 300;
                    let claims = Claims { exp, ..member.access.claims.clone() };
                    (
                        member.room.clone(),
                        signed(&claims),
                        sid.clone(),
                        !member.http.as_ref().is_some_and(|http| http.publishes()),
                    )
                }
                _ => {
                    let room = format!("room-{}", who % 2);
                    let token = signed(&claims(&room, &format!("id-{}", who % 6)));
                    (RoomId::new(room), token, String::new(), what % 4 == 1)
                }
            };
            let protocol = if watches { whip::Protocol::Whep } else { whip::Protocol::Whip };
            let lines = [(Kind::Audio, audio), (Kind::Video, video)];
            let lines = lines.iter().flat_map(|(kind, count)| std::iter::repeat_n((*kind, !watches), (*count).into()));
            let query = whip::Query { member: (what > 127).then(|| Identity::new(format!("id-{}", what % 6))), region: None };
            let tags = whip::Tags::Any;
            let act = match what % 4 {
                2 => {
                    let text = format!("a=ice-ufrag:u{what:03}\r\na=ice-pwd:{}\r\n", "p".repeat(22));
                    whip::Act::Patch { session, tags, fragment: Fragment::parse(&text).expect("a fragment") }
                }
                3 => whip::Act::Close { session, tags },
                _ => whip::Act::Open { offer: sdp(&lines.collect::<Vec<_>>()), query, client: "OBS".into() },
            };
            world.whip(whip::Ask { protocol, room, token, act });
        }
        Step::Media { who, what, value } => {
            let member = pick(tabs, who).map_or(MemberId(1), |at| tabs[at].pid);
            let track = some_track(value);
            world.media(match what % 9 {
                0 | 1 => Event::Connected { member },
                2 => Event::IceDown { member },
                3 => Event::IceUp { member },
                4 if value < 40 => Event::Closed { member, why: CloseReason::ConsentLost },
                4 => Event::LayersWanted { track, layers: LayerSet(value) },
                5 => {
                    let state = StreamState::Forwarding { layer: Layer(value), short: None };
                    Event::StreamState { member, slot: Slot(value.into()), track, state }
                }
                6 => Event::Levels { levels: vec![(track, talking(value)), (some_track(what), talking(what))] },
                7 => Event::Quality {
                    member,
                    quality: Quality { down: Path { loss: 2.0, ..Path::default() }, ..measured(value.into(), f32::NAN) },
                },
                _ => Event::Data { member, label: "l".into(), binary: false, payload: vec![0; value.into()].into() },
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_tables_stay_true_and_end_empty(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::with(3, |limits| {
            limits.room_members_per_shard = 2;
            limits.ring_events = 12;
            limits.audio_slots = 3;
        });
        let mut tabs = Vec::new();
        for step in steps {
            perform(&mut world, &mut tabs, step);
            world.check();
        }
        for tab in &tabs {
            if world.live.contains(&tab.conn) {
                world.cut(tab);
            }
        }
        let watching: Vec<MemberId> = world.http_sessions().into_iter().map(|(_, member)| member.id).collect();
        for member in watching {
            world.media(Event::Closed { member, why: CloseReason::ConsentLost });
        }
        let open: Vec<ConnId> = world.live.iter().copied().collect();
        for conn in open {
            world.live.remove(&conn);
            world.input(Input::Closed { conn });
        }
        world.pass(60_000);
        world.check_empty();
        // Every shard was told of every end.
        let mut peers: BTreeSet<MemberId> = BTreeSet::new();
        let mut known: BTreeSet<(ShardId, TrackId)> = BTreeSet::new();
        for (shard, command) in world.commands() {
            match command {
                Command::AddPeer { member, .. } => prop_assert!(peers.insert(member)),
                Command::RemovePeer { member } => prop_assert!(peers.remove(&member)),
                Command::AddTrack { track } => prop_assert!(known.insert((shard, track.id)), "{:?} added twice", track.id),
                Command::RemoveTrack { track } => prop_assert!(known.remove(&(shard, track)), "{track:?} was not there"),
                Command::Bind { track: Some(track), .. } => prop_assert!(known.contains(&(shard, track)), "bound unknown {track:?}"),
                _ => {}
            }
        }
        prop_assert!(known.is_empty(), "{known:?}");
    }
}
