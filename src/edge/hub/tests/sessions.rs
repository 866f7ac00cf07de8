//! Stories of sessions: joining, losing a socket, coming back, leaving; and of what members say to each other.

use super::*;
use crate::edge::media::CloseReason;
use crate::edge::message::{AdminOp, Chat};
use Source::{Camera, Microphone};

fn chat(cid: &str, to: Option<MemberId>, text: &str) -> ClientMessage {
    ClientMessage::Chat { cid: cid.into(), to, text: text.into() }
}

fn texts(heard: Vec<ServerMessage>) -> Vec<String> {
    only!(heard, ServerMessage::Chat(chat) => chat.text)
}

fn left(heard: Vec<ServerMessage>) -> Vec<(MemberId, LeaveReason)> {
    only!(heard, ServerMessage::PeerLeft { pid, reason } => (pid, reason))
}

#[test]
fn hello_comes_first_and_soon_and_with_a_good_token() {
    let mut world = World::new();
    let conn = world.open();
    world.say(conn, chat("", None, "hi"));
    assert_eq!(only!(world.hear(conn), ServerMessage::Err { code, .. } => code), [ErrorCode::BadState]);
    world.pass(4_999);
    assert!(world.live.contains(&conn));
    world.pass(1);
    assert_eq!(only!(world.hear(conn), ServerMessage::Leave { reason, .. } => reason), [LeaveReason::TimedOut]);
    assert!(world.live.is_empty());

    let conn = world.open();
    world.say(conn, ClientMessage::Hello { token: "x".into(), resume: None, client: None, opts: Options::default() });
    assert_eq!(only!(world.hear(conn), ServerMessage::Err { code, .. } => code), [ErrorCode::Unauthorized]);
    assert!(world.live.is_empty());

    let ada = world.join("room", "ada");
    assert_eq!(world.ask(&ada, hello(&claims("room", "ada"))), Err(ErrorCode::BadState));
    world.pass(601_000);
    assert!(world.live.contains(&ada.conn), "a token that has ended does not end the session");
    world.check();
}

#[test]
fn a_lost_socket_resumes_and_misses_nothing() {
    let mut world = World::new();
    let (mut ada, mut bob) = (world.join("room", "ada"), world.join("room", "bob"));
    world.publish(&mut ada, &[("mic", Microphone)]);
    world.connect(&ada);
    world.pass(100);
    world.commands();
    let seen = world.cut(&ada);
    world.hear(bob.conn);
    world.ask(&bob, chat("1", None, "one")).expect("granted");
    world.pass(1_000);
    world.ask(&bob, chat("2", Some(ada.pid), "two")).expect("granted");
    world.publish(&mut bob, &[("mic", Microphone)]);
    assert!(only!(world.hear(bob.conn), ServerMessage::PeerUpdated { away, .. } => away).is_empty(), "not told yet");
    world.pass(1_000);
    assert_eq!(only!(world.hear(bob.conn), ServerMessage::PeerUpdated { pid, away, .. } => (pid, away)), [(ada.pid, true)]);
    world.pass(25_000);

    let old = ada.clone();
    world.resume(&mut ada, seen);
    let frames = world.heard[&ada.conn].clone();
    assert!(matches!(&*frames[0].body, ServerMessage::Resumed { .. }) && frames[0].seq == 0);
    assert_eq!(frames[1].seq, seen + 1);
    let heard = world.hear(ada.conn);
    assert_eq!(texts(heard.clone()), ["one", "two"]);
    assert_eq!(only!(heard.clone(), ServerMessage::TrackAdded { pid, .. } => pid), [bob.pid]);
    assert_eq!(only!(heard, ServerMessage::NeedSlots { audio, video } => (audio, video)), [(1, 0)]);
    assert_eq!(only!(world.hear(bob.conn), ServerMessage::PeerUpdated { pid, away, .. } => (pid, away)), [(ada.pid, false)]);
    let touched = only!(world.commands(), (_, Command::RemovePeer { member } | Command::AddPeer { member, .. }) => member);
    assert!(touched.is_empty(), "the media is not touched");

    // The frame with the new secret may have been lost: the old one works until the new one is used, and then no more.
    let seen = world.cut(&ada);
    let mut again = old.clone();
    world.resume(&mut again, seen);
    assert!(matches!(world.hear(again.conn)[0], ServerMessage::Resumed { .. }));
    let seen = world.cut(&again);
    world.resume(&mut again, seen);
    let seen = world.cut(&again);
    let mut stolen = old;
    world.resume(&mut stolen, seen);
    assert_eq!(only!(world.hear(stolen.conn), ServerMessage::Err { code, .. } => code), [ErrorCode::Unauthorized]);
    world.check();
}

#[test]
fn a_resume_over_a_socket_that_seems_alive_takes_it_over() {
    let mut world = World::new();
    let (mut ada, bob) = (world.join("room", "ada"), world.join("room", "bob"));
    let old = ada.conn;
    let seen = world.last_seq[&old];
    world.resume(&mut ada, seen);
    assert!(!world.live.contains(&old) && world.live.contains(&ada.conn));
    // Its end is heard of late, and means nothing any more.
    world.input(Input::Closed { conn: old });
    world.pass(60_000);
    assert!(left(world.hear(bob.conn)).is_empty());
    world.check();
}

#[test]
fn a_resume_that_missed_too_much_is_given_the_room_anew() {
    let mut world = World::with(1, |limits| limits.ring_events = 10);
    let (mut ada, mut bob) = (world.join("room", "ada"), world.join("room", "bob"));
    let ids = world.publish(&mut bob, &[("mic", Microphone)]);
    world.follow(&mut ada);
    let seen = world.cut(&ada);
    for n in 0..20 {
        world.ask(&bob, chat("", None, &n.to_string())).expect("granted");
        world.pass(500);
    }
    let pid = ada.pid;
    world.resume(&mut ada, seen);
    let heard = world.hear(ada.conn);
    let welcome = only!(heard.clone(), ServerMessage::Welcome { you, chat, peers, .. } => (you.pid, chat.len(), peers.len()));
    assert_eq!(welcome, [(pid, 20, 1)], "the same member");
    assert_eq!(only!(heard, ServerMessage::Bind { track, .. } => track), [Some(ids[0])]);
    let seen = world.cut(&ada);
    world.resume(&mut ada, seen);
    assert!(matches!(world.hear(ada.conn)[0], ServerMessage::Resumed { .. }), "and goes on from there");
    world.check();
}

#[test]
fn a_session_is_held_for_thirty_seconds_and_then_joined_anew() {
    let mut world = World::new();
    let (mut ada, bob) = (world.join("room", "ada"), world.join("room", "bob"));
    world.connect(&ada);
    let seen = world.cut(&ada);
    world.pass(29_999);
    assert!(left(world.hear(bob.conn)).is_empty());
    world.pass(1);
    assert_eq!(left(world.hear(bob.conn)), [(ada.pid, LeaveReason::TimedOut)]);
    let conn = world.open();
    let resume = Some(Resume { sid: ada.sid.clone(), secret: ada.secret.clone(), last_seq: seen });
    let token = signed(&claims("room", "ada"));
    world.say(conn, ClientMessage::Hello { token, resume, client: None, opts: Options::default() });
    let again = world.tab(conn);
    assert_ne!(again.pid, ada.pid);
    ada.conn = conn;
    world.check();
}

#[test]
fn a_crashed_tab_is_gone_for_the_others_within_fifteen_seconds() {
    for ice_down_after in [0, 3_000, 6_000, 10_000] {
        let mut world = World::new();
        let (mut ada, bob) = (world.join("room", "ada"), world.join("room", "bob"));
        world.publish(&mut ada, &[("mic", Microphone), ("cam", Camera)]);
        world.connect(&ada);
        world.pass(1_000);
        let crashed = world.seconds();
        world.cut(&ada);
        world.pass(ice_down_after);
        world.media(Event::IceDown { member: ada.pid });
        world.hear(bob.conn);
        while left(world.hear(bob.conn)).is_empty() {
            world.pass(100);
        }
        let took = world.seconds() - crashed;
        assert!((12.0..15.0).contains(&took), "{took} s with ICE down after {ice_down_after} ms");
        world.check();
    }
}

#[test]
fn media_that_comes_back_saves_a_session_without_a_socket() {
    let mut world = World::new();
    let (mut ada, bob) = (world.join("room", "ada"), world.join("room", "bob"));
    world.connect(&ada);
    let seen = world.cut(&ada);
    world.media(Event::IceDown { member: ada.pid });
    world.pass(10_000);
    world.media(Event::IceUp { member: ada.pid });
    world.pass(15_000);
    world.resume(&mut ada, seen);
    assert!(matches!(world.hear(ada.conn)[0], ServerMessage::Resumed { .. }));
    assert!(left(world.hear(bob.conn)).is_empty());
}

#[test]
fn media_that_ends_ends_the_session() {
    let mut world = World::new();
    let (ada, bob, cleo) = (world.join("room", "ada"), world.join("room", "bob"), world.join("room", "cleo"));
    world.cut(&ada);
    world.commands();
    world.media(Event::Closed { member: ada.pid, why: CloseReason::PeerClosed });
    assert_eq!(left(world.hear(cleo.conn)), [(ada.pid, LeaveReason::Left)]);
    assert!(only!(world.commands(), (_, Command::RemovePeer { member }) => member).is_empty(), "it is gone already");
    world.media(Event::Closed { member: bob.pid, why: CloseReason::ConsentLost });
    let told = only!(world.hear(bob.conn), ServerMessage::Leave { reason, action, .. } => (reason, action));
    assert_eq!(told, [(LeaveReason::TimedOut, LeaveAction::Reconnect)]);
    assert_eq!(left(world.hear(cleo.conn)), [(bob.pid, LeaveReason::TimedOut)]);
    // Reports about who is gone are of no interest.
    world.media(Event::IceDown { member: ada.pid });
    world.media(Event::Closed { member: ada.pid, why: CloseReason::ConsentLost });
    world.check();
}

#[test]
fn the_same_identity_replaces_the_old_session() {
    let mut world = World::new();
    let mut ada = world.join("room", "ada");
    let ids = world.publish(&mut ada, &[("mic", Microphone)]);
    world.ask(&ada, chat("", None, "before")).expect("granted");
    let mut bob = world.join("room", "bob");
    world.follow(&mut bob);
    world.hear(bob.conn);
    world.hear(ada.conn);

    let again = world.join("room", "ada");
    let told = only!(world.hear(ada.conn), ServerMessage::Leave { reason, action, .. } => (reason, action));
    assert_eq!(told, [(LeaveReason::Replaced, LeaveAction::Stop)]);
    assert!(!world.live.contains(&ada.conn));
    let heard = world.hear(bob.conn);
    let order: Vec<_> = heard
        .iter()
        .filter_map(|message| match message {
            ServerMessage::PeerLeft { pid, reason } => Some((*pid, Some(*reason))),
            ServerMessage::PeerJoined { peer } => Some((peer.pid, None)),
            _ => None,
        })
        .collect();
    assert_eq!(order, [(ada.pid, Some(LeaveReason::Replaced)), (again.pid, None)]);
    assert!(!world.receives(&bob).contains(&ids[0]));

    // Alone in the room it keeps the room, with its chat; in another room it is another member.
    world.say(bob.conn, ClientMessage::Bye {});
    let third = world.join("room", "ada");
    assert_eq!(only!(world.hear(third.conn), ServerMessage::Welcome { chat, .. } => chat.len()), [1]);
    world.join("elsewhere", "ada");
    assert!(world.live.contains(&third.conn));
    world.check();
}

#[test]
fn chat_goes_to_everybody_or_to_one_and_newcomers_read_up() {
    let mut world = World::with(1, |limits| limits.chat_kept = 3);
    let (ada, bob, cleo) = (world.join("room", "ada"), world.join("room", "bob"), world.join("room", "cleo"));
    let other = world.join("other", "dan");
    world.ask(&ada, chat("my-1", None, "hello\u{0} all\u{202e}\n")).expect("granted");
    world.ask(&ada, chat("my-2", Some(bob.pid), "psst")).expect("granted");
    let mine: Vec<Chat> = only!(world.hear(ada.conn), ServerMessage::Chat(chat) => chat);
    assert_eq!(
        mine.iter().map(|chat| (chat.cid.as_str(), chat.text.as_str())).collect::<Vec<_>>(),
        [("my-1", "hello all\n"), ("my-2", "psst")]
    );
    assert_eq!((mine[0].from, mine[0].name.as_str(), mine[0].at / 1000), (ada.pid, "ADA", UNIX_MS / 1000));
    assert_ne!(mine[0].id, mine[1].id);
    assert_eq!(texts(world.hear(bob.conn)), ["hello all\n", "psst"]);
    assert_eq!(texts(world.hear(cleo.conn)), ["hello all\n"]);
    assert_eq!(texts(world.hear(other.conn)), Vec::<String>::new());

    for (to, text, code) in [
        (None, "x".repeat(4097), ErrorCode::TooLarge),
        (None, "\u{7}\u{8} ".into(), ErrorCode::BadMessage),
        (Some(other.pid), "x".into(), ErrorCode::NotFound),
    ] {
        assert_eq!(world.ask(&ada, chat("", to, &text)), Err(code));
    }
    world.ask(&bob, chat("", None, "three")).expect("granted");
    world.ask(&bob, chat("", None, "four")).expect("granted");
    let eve = world.join("room", "eve");
    let told = only!(world.hear(eve.conn), ServerMessage::Welcome { chat, .. } => chat);
    assert_eq!(told[0].iter().map(|chat| chat.text.as_str()).collect::<Vec<_>>(), ["three", "four"], "and not the whisper");
}

#[test]
fn hands_names_and_reactions_are_seen_by_the_others() {
    let mut world = World::new();
    let ada = world.join("room", "ada");
    let boss = world.join_with("boss", |claims| claims.video.room_admin = true);
    world.hear(ada.conn);
    world.ask(&ada, ClientMessage::Hand { up: true }).expect("granted");
    let set = |key: &str, value: Option<&str>| BTreeMap::from([(key.to_owned(), value.map(str::to_owned))]);
    let meta = |name: Option<&str>, attrs| ClientMessage::Meta { name: name.map(str::to_owned), attrs: Some(attrs) };
    world.ask(&ada, meta(Some(" Ada L.\n"), set("mood", Some("fine")))).expect("granted");
    world.ask(&ada, meta(None, set("mood", None))).expect("granted");
    world.ask(&ada, ClientMessage::React { emoji: "👩‍🚀".into() }).expect("granted");
    world.ask(&boss, ClientMessage::Admin { op: AdminOp::LowerHand, target: ada.pid }).expect("an admin");
    let updates = |heard: Vec<ServerMessage>| only!(heard, ServerMessage::PeerUpdated { name, attrs, hand, .. } => (name, attrs.len(), hand));
    let heard = world.hear(boss.conn);
    assert_eq!(only!(heard.clone(), ServerMessage::React { from, emoji } => (from, emoji)), [(ada.pid, "👩‍🚀".into())]);
    let name = || "Ada L.".to_owned();
    let seen = [("ADA".to_owned(), 0, true), (name(), 1, true), (name(), 0, true), (name(), 0, false)];
    assert_eq!(updates(heard), seen);
    assert_eq!(updates(world.hear(ada.conn)), seen, "oneself too");

    assert_eq!(world.ask(&ada, meta(Some(""), BTreeMap::new())), Err(ErrorCode::TooLarge));
    assert_eq!(world.ask(&ada, meta(None, set("k", Some(&"x".repeat(512))))), Err(ErrorCode::TooLarge));
    let many = (0..17).map(|n| (n.to_string(), Some(String::new()))).collect();
    assert_eq!(world.ask(&ada, meta(None, many)), Err(ErrorCode::TooMany));
    assert_eq!(world.ask(&ada, ClientMessage::React { emoji: "x".repeat(33) }), Err(ErrorCode::TooLarge));
    assert_eq!(world.ask(&ada, ClientMessage::React { emoji: "\u{1b}".into() }), Err(ErrorCode::BadMessage));

    world.ask(&boss, ClientMessage::Admin { op: AdminOp::Remove, target: ada.pid }).expect("an admin");
    let told = only!(world.hear(ada.conn), ServerMessage::Leave { reason, action, .. } => (reason, action));
    assert_eq!(told, [(LeaveReason::Removed, LeaveAction::Stop)]);
    assert_eq!(left(world.hear(boss.conn)), [(ada.pid, LeaveReason::Removed)]);
    world.check();
}

#[test]
fn a_hidden_member_sees_and_is_not_seen() {
    let mut world = World::new();
    let mut ada = world.join("room", "ada");
    let ids = world.publish(&mut ada, &[("mic", Microphone)]);
    world.hear(ada.conn);
    let mut ghost = world.join_with("ghost", |claims| claims.video.hidden = Some(true));
    world.follow(&mut ghost);
    assert_eq!(world.receives(&ghost), ids.into_iter().collect());
    assert_eq!(world.ask(&ghost, ClientMessage::Hand { up: true }), Err(ErrorCode::Forbidden));
    let bob = world.join("room", "bob");
    assert_eq!(only!(world.hear(bob.conn), ServerMessage::Welcome { peers, .. } => peers.len()), [1]);
    world.cut(&ghost);
    world.pass(40_000);
    let heard = world.hear(ada.conn);
    let about = only!(heard, ServerMessage::PeerLeft { pid, .. } | ServerMessage::PeerUpdated { pid, .. } => pid);
    assert_eq!(about, []);
    world.check();
}

#[test]
fn a_member_is_given_fresh_tokens_with_the_same_grants() {
    let mut world = World::new();
    let mut ada = world.join_with("ada", |claims| claims.video.room_admin = true);
    for minutes in [5, 5, 5] {
        world.pass(minutes * 60_000);
        let tokens = only!(world.hear(ada.conn), ServerMessage::Token { jwt } => jwt);
        assert_eq!(tokens.len(), 1, "{} s", world.seconds());
        let unix = UNIX_MS / 1000 + world.seconds() as u64;
        let access = token::verify(&keys(), &tokens[0], unix + 299, Duration::from_secs(600)).expect("good for a while");
        assert!(access.grants.admin && access.identity.as_str() == "ada");
    }
    let seen = world.cut(&ada);
    world.resume(&mut ada, seen);
    assert_eq!(only!(world.hear(ada.conn), ServerMessage::Token { .. } => ()).len(), 1, "one may have been missed");
}

#[test]
fn rooms_and_nodes_have_an_end() {
    let mut world = World::with(1, |limits| {
        limits.room_members = 2;
        limits.rooms = 2;
        limits.members = 3;
    });
    let ada = world.join("one", "ada");
    world.join("one", "bob");
    let refused = |world: &mut World, room, identity| {
        let conn = world.open();
        world.say(conn, hello(&claims(room, identity)));
        assert!(!world.live.contains(&conn));
        only!(world.hear(conn), ServerMessage::Err { code, .. } => code)
    };
    assert_eq!(refused(&mut world, "one", "cleo"), [ErrorCode::Full]);
    world.join("one", "bob");
    world.join("two", "cleo");
    assert_eq!(refused(&mut world, "two", "dan"), [ErrorCode::Full], "members of the node");
    world.say(ada.conn, ClientMessage::Bye {});
    assert_eq!(refused(&mut world, "three", "dan"), [ErrorCode::Full], "rooms of the node");
    world.join("two", "dan");
    world.check();
}

#[test]
fn a_node_that_drains_lets_nobody_in_and_one_that_stops_tells_everybody() {
    let mut world = World::with(2, |limits| limits.room_members_per_shard = 1);
    let (mut ada, mut bob) = (world.join("room", "ada"), world.join("room", "bob"));
    world.publish(&mut ada, &[("mic", Microphone)]);
    world.input(Input::Drain);
    let late = world.open();
    world.say(late, hello(&claims("room", "late")));
    assert_eq!(only!(world.hear(late), ServerMessage::Err { code, .. } => code), [ErrorCode::Full]);
    let seen = world.cut(&bob);
    world.resume(&mut bob, seen);
    assert!(matches!(world.hear(bob.conn)[0], ServerMessage::Resumed { .. }), "who is here stays");
    let greeting = world.open();

    world.commands();
    world.input(Input::Shutdown { message: "good night".into() });
    for conn in [ada.conn, bob.conn, greeting] {
        let told = only!(world.hear(conn), ServerMessage::Leave { reason, action, message } => (reason, action, message));
        assert_eq!(told, [(LeaveReason::Shutdown, LeaveAction::Reconnect, "good night".into())]);
    }
    assert_eq!(only!(world.commands(), (_, Command::RemovePeer { member }) => member).len(), 2);
    world.check_empty();
}

#[test]
fn the_operator_sees_rooms_and_can_remove_a_member() {
    let mut world = World::new();
    let (mut ada, mut bob) = (world.join("room", "ada"), world.join("room", "bob"));
    world.publish(&mut ada, &[("mic", Microphone)]);
    world.follow(&mut bob);
    world.cut(&ada);
    let snapshot = world.hub.snapshot();
    assert_eq!((snapshot.members, snapshot.sockets, snapshot.rooms.len()), (2, 1, 1));
    let [first, second] = &snapshot.rooms[0].members[..] else { panic!("two members") };
    assert_eq!((first.away, first.tracks.len(), first.media), (true, 1, "connecting"));
    assert_eq!((second.slots, second.slots_bound, second.identity.as_str()), (1, 1, "bob"));
    assert!(serde_json::to_string(&snapshot).expect("serializes").contains("\"identity\":\"bob\""));
    world.input(Input::Remove { member: bob.pid });
    let told = only!(world.hear(bob.conn), ServerMessage::Leave { reason, action, .. } => (reason, action));
    assert_eq!(told, [(LeaveReason::Removed, LeaveAction::Stop)]);
    world.check();
}

#[test]
fn a_node_with_too_much_to_do_turns_newcomers_away_and_keeps_who_is_here() {
    let mut world = World::with(2, |_| {});
    let mut ada = world.join("room", "ada");
    let busy =
        |world: &mut World, shard, full| world.input(Input::Media { event: Event::Full { shard: ShardId(shard), full } });
    busy(&mut world, 0, true);
    world.join("other", "bob");
    let placed = only!(world.commands(), (shard, Command::AddPeer { .. }) => shard);
    assert_eq!(placed[1], ShardId(1), "a shard that has time is left");
    busy(&mut world, 1, true);
    let late = world.open();
    world.say(late, hello(&claims("room", "late")));
    assert_eq!(only!(world.hear(late), ServerMessage::Err { code, .. } => code), [ErrorCode::Full]);
    let seen = world.cut(&ada);
    world.resume(&mut ada, seen);
    assert!(matches!(world.hear(ada.conn)[0], ServerMessage::Resumed { .. }), "who is here stays");
    world.join("room", "ada");
    busy(&mut world, 0, false);
    world.join("room", "late");
    world.check();
}
