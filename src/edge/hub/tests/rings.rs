//! Calls from browser to browser: what one member says to another about one, here and at other nodes, and what is refused.

use super::nodes::Net;
use super::*;
use crate::edge::message::{
    CallEnd, CallEndTo, CallFrom, CallMedia, CallReplyTo, CallTo, Candidate, Description, DescriptionKind, PeerSignalTo,
};

const MEDIA: CallMedia = CallMedia { audio: true, video: true };

fn ring(to: MemberId) -> ClientMessage {
    ClientMessage::Call(CallTo { to, call: "call-1".into(), media: MEDIA, room: false })
}

fn reply(to: MemberId, ok: bool) -> ClientMessage {
    ClientMessage::CallReply(CallReplyTo { to, call: "call-1".into(), ok, why: (!ok).then_some(CallEnd::Busy) })
}

fn end(to: MemberId, why: CallEnd) -> ClientMessage {
    ClientMessage::CallEnd(CallEndTo { to, call: "call-1".into(), why })
}

fn description(to: MemberId, sdp: String) -> ClientMessage {
    let desc = Some(Description { kind: DescriptionKind::Offer, sdp });
    ClientMessage::P2p(PeerSignalTo { to, call: "call-1".into(), desc, cand: None })
}

fn candidate(to: MemberId, text: String) -> ClientMessage {
    let cand = Candidate { candidate: text, sdp_mid: Some("0".into()), sdp_m_line_index: Some(0), username_fragment: None };
    ClientMessage::P2p(PeerSignalTo { to, call: "call-1".into(), desc: None, cand: Some(cand) })
}

/// What was heard about calls, as short words.
fn about_calls(heard: Vec<ServerMessage>) -> Vec<String> {
    let word = |message| match message {
        ServerMessage::Call(CallFrom { from, call, media, room }) => {
            assert_eq!((call.as_str(), media), ("call-1", MEDIA));
            Some(format!("{from} rings{}", if room { " from the room" } else { "" }))
        }
        ServerMessage::CallReply(reply) => Some(format!("{} says {} {:?}", reply.from, reply.ok, reply.why)),
        ServerMessage::CallEnd(end) => Some(format!("{} ends {:?}", end.from, end.why)),
        ServerMessage::P2p(signal) => {
            let what = signal.desc.map(|desc| desc.sdp).or(signal.cand.map(|cand| cand.candidate));
            Some(format!("{} sends {}", signal.from, what.expect("one of them")))
        }
        _ => None,
    };
    heard.into_iter().filter_map(word).collect()
}

#[test]
fn what_is_said_about_a_call_reaches_its_addressee_and_nobody_else() {
    let mut world = World::new();
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|name| world.join("room", name));
    world.ask(&ada, ring(bob.pid)).expect("granted");
    world.ask(&bob, reply(ada.pid, true)).expect("granted");
    world.ask(&ada, description(bob.pid, "v=0".into())).expect("granted");
    world.ask(&bob, candidate(ada.pid, "candidate:1".into())).expect("granted");
    world.ask(&bob, candidate(ada.pid, String::new())).expect("the end of candidates");
    world.ask(&ada, end(bob.pid, CallEnd::HungUp)).expect("granted");
    let (a, b) = (ada.pid, bob.pid);
    assert_eq!(about_calls(world.hear(bob.conn)), [format!("{a} rings"), format!("{a} sends v=0"), format!("{a} ends HungUp")]);
    assert_eq!(
        about_calls(world.hear(ada.conn)),
        [format!("{b} says true None"), format!("{b} sends candidate:1"), format!("{b} sends ")]
    );
    assert_eq!(about_calls(world.hear(eve.conn)), [""; 0]);
    world.check();
}

#[test]
fn who_lost_the_socket_hears_of_a_call_when_it_is_back() {
    let mut world = World::new();
    let (ada, mut bob) = (world.join("room", "ada"), world.join("room", "bob"));
    let last = world.cut(&bob);
    world.ask(&ada, ring(bob.pid)).expect("it may come back");
    world.resume(&mut bob, last);
    assert_eq!(about_calls(world.hear(bob.conn)), [format!("{} rings", ada.pid)]);
}

#[test]
fn who_is_not_there_or_not_to_be_seen_cannot_be_called() {
    let mut world = World::new();
    let (ada, bob) = (world.join("room", "ada"), world.join("room", "bob"));
    let elsewhere = world.join("another room", "eve");
    let hidden = world.join_with("recorder", |claims| claims.video.hidden = Some(true));
    world.ask(&bob, ClientMessage::Hand { up: true }).expect("there");
    world.say(bob.conn, ClientMessage::Bye {});
    for absent in [bob.pid, elsewhere.pid, hidden.pid, MemberId(7)] {
        for said in [ring(absent), reply(absent, true), end(absent, CallEnd::HungUp), candidate(absent, "c".into())] {
            assert_eq!(world.ask(&ada, said), Err(ErrorCode::NotFound));
        }
    }
    assert_eq!(about_calls(world.hear(elsewhere.conn)), [""; 0]);
    assert_eq!(world.ask(&hidden, ring(ada.pid)), Err(ErrorCode::Forbidden));
    assert_eq!(world.ask(&ada, ring(ada.pid)), Err(ErrorCode::BadMessage));
}

#[test]
fn who_may_not_publish_may_only_say_no() {
    let mut world = World::new();
    let ada = world.join("room", "ada");
    let mute = world.join_with("mute", |claims| claims.video.can_publish_data = Some(false));
    let viewer = world.join_with("viewer", |claims| claims.video.can_publish = Some(false));
    for said in [ring(ada.pid), reply(ada.pid, false), description(ada.pid, "v=0".into())] {
        assert_eq!(world.ask(&mute, said), Err(ErrorCode::Forbidden));
    }
    for said in [ring(ada.pid), reply(ada.pid, true), description(ada.pid, "v=0".into()), candidate(ada.pid, "c".into())] {
        assert_eq!(world.ask(&viewer, said), Err(ErrorCode::Forbidden));
    }
    world.ask(&viewer, reply(ada.pid, false)).expect("to decline needs nothing");
    world.ask(&viewer, end(ada.pid, CallEnd::Declined)).expect("nor to hang up");
}

#[test]
fn what_is_too_long_or_too_much_is_refused() {
    let mut world = World::new();
    let (ada, bob) = (world.join("room", "ada"), world.join("room", "bob"));
    world.ask(&ada, description(bob.pid, "x".repeat(64 * 1024))).expect("as long as it may be");
    assert_eq!(world.ask(&ada, description(bob.pid, "x".repeat(64 * 1024 + 1))), Err(ErrorCode::TooLarge));
    assert_eq!(world.ask(&ada, candidate(bob.pid, "x".repeat(1025))), Err(ErrorCode::TooLarge));
    let named = |call: String| ClientMessage::Call(CallTo { to: bob.pid, call, media: MEDIA, room: false });
    assert_eq!(world.ask(&ada, named(String::new())), Err(ErrorCode::BadMessage));
    assert_eq!(world.ask(&ada, named("x".repeat(129))), Err(ErrorCode::TooLarge));
    for (desc, cand) in [(false, false), (true, true)] {
        let desc = desc.then(|| Description { kind: DescriptionKind::Offer, sdp: String::new() });
        let cand = cand.then(|| Candidate {
            candidate: String::new(),
            sdp_mid: None,
            sdp_m_line_index: None,
            username_fragment: None,
        });
        let odd = ClientMessage::P2p(PeerSignalTo { to: bob.pid, call: "call-1".into(), desc, cand });
        assert_eq!(world.ask(&ada, odd), Err(ErrorCode::BadMessage));
    }
    world.pass(60_000);
    let (ada, bob) = (world.join("room", "ada"), world.join("room", "bob"));
    assert_eq!((0..30).filter(|_| world.ask(&ada, ring(bob.pid)).is_ok()).count(), 10);
    assert_eq!((0..60).filter(|_| world.ask(&ada, description(bob.pid, "v=0".into())).is_ok()).count(), 28);
    world.pass(1_000);
    assert_eq!((0..60).filter(|_| world.ask(&ada, candidate(bob.pid, "c".into())).is_ok()).count(), 20);
    assert!(world.live.contains(&ada.conn));
}

#[test]
fn a_large_description_does_not_keep_more_than_a_session_may() {
    let mut world = World::new();
    let (ada, mut bob) = (world.join("room", "ada"), world.join("room", "bob"));
    let last = world.cut(&bob);
    for _ in 0..12 {
        world.ask(&ada, description(bob.pid, "x".repeat(60_000))).expect("granted");
    }
    world.resume(&mut bob, last);
    let heard = world.hear(bob.conn);
    assert_eq!(only!(heard, ServerMessage::Welcome { .. } => ()).len(), 1, "too much was missed: the room is told anew");
}

#[test]
fn a_call_crosses_nodes_once_whatever_is_lost() {
    for home in 0..3 {
        let mut net = Net::new(3);
        let room = net.room_at(home);
        let ada = net.join(0, &room, "ada").expect("welcome");
        let bob = net.join(1, &room, "bob").expect("welcome");
        net.pass(500);
        net.loss = 400;
        net.on(0, |world| world.ask(&ada, ring(bob.pid))).expect("granted");
        for n in 0..10 {
            net.on(0, |world| world.ask(&ada, candidate(bob.pid, format!("c{n}")))).expect("granted");
            net.on(1, |world| world.ask(&bob, candidate(ada.pid, format!("c{n}")))).expect("granted");
        }
        net.pass(30_000);
        net.loss = 0;
        net.pass(5_000);
        let heard = |net: &mut Net, node: usize, tab: &Tab| {
            let mut heard = about_calls(net.worlds[node].hear(tab.conn));
            heard.sort();
            heard
        };
        let sent = |by: MemberId| (0..10).map(move |n| format!("{by} sends c{n}"));
        assert_eq!(
            heard(&mut net, 1, &bob),
            [format!("{} rings", ada.pid)]
                .into_iter()
                .chain(sent(ada.pid))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
        );
        assert_eq!(heard(&mut net, 0, &ada), sent(bob.pid).collect::<Vec<_>>());
        let room = RoomId::new(room.as_str());
        assert!(net.worlds[..2].iter().all(|world| world.hub.rooms[&room].span.as_ref().is_some_and(|span| span.is_calm())));

        net.on(1, |world| world.say(bob.conn, ClientMessage::Bye {}));
        net.pass(500);
        assert_eq!(net.on(0, |world| world.ask(&ada, ring(bob.pid))), Err(ErrorCode::NotFound));
    }
}

#[test]
fn who_says_too_much_about_calls_keeps_nobody_else_from_being_heard() {
    let mut net = Net::new(2);
    let room = net.room_at(0);
    let [ada, bob] = ["ada", "bob"].map(|name| net.join(0, &room, name).expect("welcome"));
    let eve = net.join(1, &room, "eve").expect("welcome");
    net.pass(500);
    let chat = ClientMessage::Chat { cid: "1".into(), to: None, text: "remember this".into() };
    net.on(0, |world| world.ask(&bob, chat)).expect("granted");
    net.pass(500);
    let line = only!(net.worlds[1].hear(eve.conn), ServerMessage::Chat(chat) => chat.id).remove(0);

    // Nothing is confirmed at once, so what ada says waits; bob is heard nevertheless.
    let said = (0..100).filter(|n| net.on(0, |world| world.ask(&ada, candidate(eve.pid, format!("c{n}")))).is_ok()).count();
    assert_eq!(said, 64);
    net.on(0, |world| world.ask(&bob, ring(eve.pid))).expect("bob said nothing yet");
    net.pass(5_000);
    assert!(about_calls(net.worlds[1].hear(eve.conn)).contains(&format!("{} rings", bob.pid)));

    for n in 0..2_000 {
        net.on(0, |world| world.ask(&ada, candidate(eve.pid, format!("d{n}")))).expect("no faster than allowed");
        net.pass(50);
    }
    let room = RoomId::new(room.as_str());
    let span = net.worlds[1].hub.rooms[&room].span.as_ref().expect("several nodes");
    assert!(span.shown.contains(&line), "what was said about calls is not kept in the place of lines of chat");
}

#[test]
fn another_nodes_hidden_member_cannot_be_called() {
    let mut net = Net::new(2);
    let room = net.room_at(0);
    let ada = net.join(0, &room, "ada").expect("welcome");
    let mut claims = claims(&room, "recorder");
    claims.video.hidden = Some(true);
    let hidden = net.join_as(1, &claims).expect("welcome");
    net.pass(500);
    assert_eq!(net.on(0, |world| world.ask(&ada, ring(hidden.pid))), Err(ErrorCode::NotFound));
}
