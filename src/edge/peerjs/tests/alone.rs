//! One node: what PeerServer does, done right, and what hostile clients try.

use super::*;
use crate::edge::peerjs::home::{MOST_FOR_ONE, MOST_WAITING};

#[test]
fn two_clients_call_each_other_and_nobody_speaks_for_another() {
    let mut net = Net::new(1, 1);
    let (a, b) = (net.open(0, "a", "1"), net.open(0, "b", "2"));
    assert_eq!((net.heard(a), net.heard(b)), (vec!["OPEN".into()], vec!["OPEN".into()]));
    let lie = r#"{"type":"OFFER","src":"somebody","dst":"b","payload":{"sdp":"x"},"extra":1}"#;
    net.give(0, Input::Said { conn: a, said: Said::parse(lie).expect("a message") });
    assert_eq!(net.told[&b], [json!({ "type": "OFFER", "src": "a", "dst": "b", "payload": { "sdp": "x" } })]);
    for kind in ["ANSWER", "CANDIDATE", "LEAVE", "EXPIRE"] {
        net.say(0, b, kind, "a", json!(null));
    }
    assert_eq!(net.heard(a), ["ANSWER", "CANDIDATE", "LEAVE", "EXPIRE"]);
}

#[test]
fn apps_do_not_meet() {
    let mut net = Net::new(1, 1);
    let a = net.open(0, "a", "1");
    let other = net.open_as(0, Who { key: "other".into(), ..who("a", "2") });
    assert_eq!(net.heard(other), ["OPEN"]);
    net.say(0, a, "OFFER", "a", json!(1));
    assert_eq!((net.heard(a), net.heard(other)), (vec!["OPEN".into(), "OFFER".into()], vec![]));
    net.give(0, Input::List { number: 5, key: "other".into() });
    assert_eq!(net.listed[&5], Some(vec!["a".to_owned()]));
}

#[test]
fn an_id_is_one_clients_and_the_client_may_come_back_for_it() {
    let mut net = Net::new(1, 1);
    let first = net.open(0, "a", "1");
    let thief = net.open(0, "a", "2");
    assert_eq!(net.heard(thief), ["ID-TAKEN", "CLOSED"]);
    let again = net.open(0, "a", "1");
    assert_eq!((net.heard(again), net.heard(first)), (vec!["OPEN".into()], vec!["OPEN".into(), "CLOSED".into()]));
    // The old socket's end is no end of the client.
    net.give(0, Input::Closed { conn: first });
    let b = net.open(0, "b", "3");
    net.say(0, b, "OFFER", "a", json!(1));
    assert_eq!(net.heard(again), ["OFFER"]);
    net.give(0, Input::Closed { conn: again });
    let next = net.open(0, "a", "2");
    assert_eq!(net.heard(next), ["OPEN"]);
    let stats = net.brokers[0].stats();
    assert_eq!((stats.peers, stats.claims, stats.taken, stats.replaced, stats.opened), (2, 2, 1, 1, 3));
}

#[test]
fn a_message_waits_five_seconds_for_its_peer_and_then_the_call_is_over() {
    let mut net = Net::new(1, 1);
    let a = net.open(0, "a", "1");
    net.heard(a);
    net.say(0, a, "OFFER", "b", json!(1));
    net.say(0, a, "CANDIDATE", "b", json!(2));
    net.pass(4_000);
    let b = net.open(0, "b", "2");
    assert_eq!(net.heard(b), ["OPEN", "OFFER", "CANDIDATE"]);
    net.pass(10_000);
    assert_eq!(net.heard(a), Vec::<String>::new());

    net.say(0, a, "OFFER", "c", json!(1));
    net.say(0, a, "LEAVE", "d", json!(1));
    net.pass(3_000);
    net.say(0, a, "CANDIDATE", "c", json!(2));
    net.say(0, b, "OFFER", "c", json!(2));
    net.pass(1_999);
    assert_eq!(net.heard(a), Vec::<String>::new());
    net.pass(1);
    assert_eq!(net.told[&a], [json!({ "type": "EXPIRE", "src": "c", "dst": "a" })]);
    net.pass(10_000);
    assert_eq!((net.heard(a), net.heard(b)), (vec!["EXPIRE".into()], vec!["EXPIRE".into()]), "once for each call");
    assert_eq!(net.brokers[0].stats().waiting, 0);
    assert_eq!(net.brokers[0].stats().expired, 2);
}

#[test]
fn what_waits_is_bounded_and_beyond_it_calls_fail_at_once() {
    let mut net = Net::new(1, 1);
    let a = net.open(0, "a", "1");
    net.heard(a);
    for _ in 0..MOST_FOR_ONE {
        net.say(0, a, "OFFER", "b", json!(1));
    }
    assert_eq!(net.heard(a), Vec::<String>::new());
    net.say(0, a, "OFFER", "b", json!(1));
    assert_eq!(net.heard(a), ["EXPIRE"]);
    let crowd: Vec<ConnId> = (0..20).map(|n| net.open_as(0, who(&format!("c{n}"), "1"))).collect();
    for n in 0..MOST_WAITING {
        net.say(0, crowd[n % crowd.len()], "OFFER", &format!("x{n}"), json!("y".repeat(100)));
    }
    assert_eq!(net.brokers[0].stats().waiting, MOST_WAITING);
    net.pass(20_000);
    assert_eq!((net.brokers[0].stats().waiting, net.brokers[0].stats().dropped), (0, 0));
    assert_eq!(net.heard(crowd[0]).len(), 1 + MOST_WAITING.div_ceil(crowd.len()));
}

#[test]
fn one_who_says_too_much_is_cut_short_and_hears_that_its_call_failed() {
    let mut net = Net::new(1, 1);
    let (a, b) = (net.open(0, "a", "1"), net.open(0, "b", "2"));
    for _ in 0..2_500 {
        net.say(0, a, "OFFER", "b", json!(1));
    }
    let (dropped, heard) = (net.brokers[0].stats().dropped, net.heard(b).len() as u64);
    assert!((400..=600).contains(&dropped) && heard + dropped == 2_501, "{dropped} {heard}");
    assert_eq!(net.heard(a).len() as u64, 1 + dropped);
    // Large ones count by their size.
    let large = json!("x".repeat(60_000));
    for _ in 0..200 {
        net.say(0, b, "CANDIDATE", "a", large.clone());
    }
    assert!(net.heard(a).len() < 80);
}

#[test]
fn malformed_messages_end_the_one_who_sends_nothing_else_and_hurt_nobody() {
    let mut net = Net::new(1, 1);
    let (a, b) = (net.open(0, "a", "1"), net.open(0, "b", "2"));
    for _ in 0..19 {
        net.give(0, Input::Malformed { conn: a });
    }
    net.say(0, a, "OFFER", "b", json!(1));
    for _ in 0..19 {
        net.give(0, Input::Malformed { conn: a });
    }
    assert_eq!(net.heard(a), ["OPEN"]);
    net.give(0, Input::Malformed { conn: a });
    assert_eq!((net.heard(a), net.heard(b)), (vec!["ERROR".into(), "CLOSED".into()], vec!["OPEN".into(), "OFFER".into()]));
    // Whatever comes for a connection that is no more is left.
    net.give(0, Input::Malformed { conn: a });
    net.say(0, a, "OFFER", "b", json!(1));
    net.give(0, Input::Closed { conn: a });
    assert_eq!(net.heard(b), Vec::<String>::new());
    let next = net.open(0, "a", "3");
    assert_eq!(net.heard(next), ["OPEN"]);
}

#[test]
fn a_drain_sends_everybody_away_and_takes_nobody() {
    let mut net = Net::new(1, 1);
    let a = net.open(0, "a", "1");
    net.give(0, Input::Drain);
    let late = net.open(0, "b", "1");
    assert_eq!((net.heard(a), net.heard(late)), (vec!["OPEN".into(), "CLOSED".into()], vec!["CLOSED".into()]));
    assert_eq!(net.brokers[0].stats().claims, 0);
}

#[test]
fn who_calls_a_room_is_answered_by_it_and_nobody_else_has_its_id() {
    let mut net = Net::new(1, 1);
    let a = net.open(0, "a", "1");
    let thief = net.open(0, "room-x", "1");
    assert_eq!((net.heard(a), net.heard(thief)), (vec!["OPEN".into()], vec!["ID-TAKEN".into(), "CLOSED".into()]));
    let offer = |metadata| json!({ "type": "media", "connectionId": "mc_1", "sdp": { "sdp": "v=0" }, "metadata": metadata });
    net.say(0, a, "OFFER", "room-x", offer(json!({ "token": "t", "name": "Ada" })));
    net.say(0, a, "CANDIDATE", "room-x", json!({}));
    net.say(0, a, "OFFER", "room-x-y ben of y", offer(json!("anything")));
    let [(conn, call), (_, one)] = std::mem::take(&mut net.calls).try_into().expect("two calls");
    assert_eq!((conn, call.room.as_str(), &*call.peer, call.name.as_str()), (a, "x", "a", "Ada"));
    assert_eq!((call.token.as_deref(), call.offer.as_str(), &call.member), (Some("t"), "v=0", &None));
    let member = one.member.as_ref().map(crate::id::Identity::as_str);
    assert_eq!((one.room.as_str(), member, one.token.as_deref(), one.name.as_str()), ("x-y", Some("ben of y"), None, "a"));
    net.give(0, Input::Answered { conn, call, answer: Ok(Answer { session: "s1".into(), sdp: "v=1".into() }) });
    let payload = json!({ "type": "media", "connectionId": "mc_1", "sdp": { "type": "answer", "sdp": "v=1" } });
    assert_eq!(net.told[&a], [json!({ "type": "ANSWER", "src": "room-x", "dst": "a", "payload": payload })]);
    net.heard(a);
    net.give(0, Input::Answered { conn, call: one, answer: Err("it is full".into()) });
    let why = json!({ "type": "EXPIRE", "src": "room-x-y ben of y: it is full", "dst": "a" });
    assert_eq!(net.told[&a], [why, json!({ "type": "LEAVE", "src": "room-x-y ben of y", "dst": "a" })]);
    assert_eq!(net.heard(a), ["EXPIRE", "LEAVE"]);
    for payload in
        [json!(null), json!({ "type": "data", "connectionId": "x", "sdp": { "sdp": "" } }), json!({ "type": "media" })]
    {
        net.say(0, a, "OFFER", "room-z", payload);
        assert_eq!(net.heard(a), ["EXPIRE", "LEAVE"]);
    }
    // Each call costs the node a transport.
    for _ in 0..20 {
        net.say(0, a, "OFFER", "room-z", offer(json!(null)));
    }
    assert_eq!((net.calls.len(), net.heard(a).len()), (5, 30));
}

/// A LEAVE ends all connections of a client with an id, so one that is over must not end another.
#[test]
fn a_call_to_a_room_ends_with_its_session_and_no_other_does() {
    let mut net = Net::new(1, 1);
    let a = net.open(0, "a", "1");
    let offer = json!({ "type": "media", "connectionId": "mc_1", "sdp": { "sdp": "v=0" } });
    let call = |net: &mut Net, answer: Result<&str, &str>| {
        net.say(0, a, "OFFER", "room-x", offer.clone());
        let (conn, call) = net.calls.remove(0);
        let answer = answer.map(|session| Answer { session: session.into(), sdp: "v=1".into() }).map_err(str::to_owned);
        net.give(0, Input::Answered { conn, call, answer });
        let heard = net.heard(conn);
        heard.last().cloned().unwrap_or_default()
    };
    assert_eq!(call(&mut net, Ok("one")), "ANSWER");
    assert_eq!(call(&mut net, Err("the token has expired")), "EXPIRE", "and the first goes on");
    assert_eq!(call(&mut net, Ok("two")), "ANSWER");
    net.give(0, Input::Ended { session: "one".into() });
    net.give(0, Input::Ended { session: "of WHIP".into() });
    assert_eq!(net.heard(a), Vec::<String>::new());
    // The same client by another socket still hears of it.
    let again = net.open(0, "a", "1");
    net.give(0, Input::Ended { session: "two".into() });
    assert_eq!(net.told[&again][1], json!({ "type": "LEAVE", "src": "room-x", "dst": "a" }));
}

/// Each list asks all nodes, and any page may ask.
#[test]
fn however_many_ask_for_a_list_the_other_nodes_are_asked_once_a_second() {
    let mut net = Net::new(2, 1);
    let list = |net: &mut Net, number| net.give(0, Input::List { number, key: "peerjs".into() });
    net.open(1, "there", "1");
    let before = net.sent;
    for number in 0..1_000 {
        if number == 500 {
            net.open(0, "here", "1");
        }
        list(&mut net, number);
        net.pass(2);
    }
    net.pass(300);
    assert!(net.sent - before < 20, "{} messages in 2.3 s", net.sent - before);
    assert_eq!(net.listed.len(), 1_000);
    assert!(net.listed.values().all(|ids| ids.as_ref().is_some_and(|ids| ids.contains(&"there".to_owned()))));
    assert_eq!(net.listed[&500], Some(vec!["here".into(), "there".into()]), "who is here is there at once");
    net.pass(2_000);
    assert!(net.brokers[0].listings.is_empty());
}
