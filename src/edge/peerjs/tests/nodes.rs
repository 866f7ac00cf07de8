//! Several nodes: ids are unique over all of them and messages find their way, whatever dies, is lost or is cut.

use super::*;
use crate::edge::peerjs::wire::Letter;

#[test]
fn peers_of_different_nodes_call_each_other_by_way_of_any_home() {
    for home in 0..3 {
        let mut net = Net::new(3, 1);
        let id = net.id_at(home);
        let (a, b) = (net.open(0, &id, "1"), net.open(1, "b", "2"));
        net.say(1, b, "OFFER", &id, json!({ "sdp": "x" }));
        net.pass(300);
        assert_eq!(net.told[&a][1], json!({ "type": "OFFER", "src": "b", "dst": id, "payload": { "sdp": "x" } }));
        net.say(0, a, "ANSWER", "b", json!(1));
        net.pass(300);
        assert_eq!(net.heard(b), ["OPEN", "ANSWER"], "home {home}");
        net.give(2, Input::List { number: 1, key: "peerjs".into() });
        net.pass(300);
        let mut both = vec!["b".to_owned(), id];
        both.sort();
        assert_eq!(net.listed[&1], Some(both));
    }
}

#[test]
fn an_id_is_taken_everywhere_and_the_same_client_moves_with_it() {
    for home in 0..3 {
        let mut net = Net::new(3, 1);
        let id = net.id_at(home);
        let a = net.open(0, &id, "1");
        let thief = net.open(1, &id, "2");
        assert_eq!(net.heard(thief), ["ID-TAKEN", "CLOSED"]);
        let moved = net.open(1, &id, "1");
        assert_eq!((net.heard(moved), net.heard(a)), (vec!["OPEN".into()], vec!["OPEN".into(), "CLOSED".into()]));
        let caller = net.open(0, "caller", "3");
        net.say(0, caller, "OFFER", &id, json!(1));
        net.pass(300);
        assert_eq!(net.heard(moved), ["OFFER"]);
        net.give(1, Input::Closed { conn: moved });
        net.pass(300);
        let next = net.open(2, &id, "2");
        assert_eq!(net.heard(next), ["OPEN"]);
    }
}

#[test]
fn of_two_who_want_an_id_at_once_one_gets_it() {
    for seed in 0..20 {
        let mut net = Net::new(4, seed);
        let conns: Vec<ConnId> = (0..4).map(|node| net.open_as(node, who("same", &node.to_string()))).collect();
        net.pass(1_000);
        let heard: Vec<Vec<String>> = conns.iter().map(|conn| net.heard(*conn)).collect();
        assert_eq!(heard.iter().filter(|heard| heard[..] == ["OPEN"]).count(), 1, "{heard:?}");
        assert_eq!(heard.iter().filter(|heard| heard[..] == ["ID-TAKEN", "CLOSED"]).count(), 3, "{heard:?}");
    }
}

/// Whoever asks for an id meanwhile, at the same node or another, who has it comes back to it.
#[test]
fn strangers_who_ask_for_an_id_do_not_keep_its_client_from_coming_back() {
    for home in 0..3 {
        for stays in [true, false] {
            let mut net = Net::new(3, 1);
            let id = net.id_at(home);
            let first = net.open(0, &id, "mine");
            let stranger = net.open_as(1, who(&id, "another's"));
            if !stays {
                net.give(1, Input::Closed { conn: stranger });
            }
            let back = net.open_as(1, who(&id, "mine"));
            net.pass(300);
            assert_eq!(net.heard(back), ["OPEN"], "home {home}, the stranger stays: {stays}");
            assert_eq!(net.heard(first), ["OPEN", "CLOSED"]);
            let caller = net.open(2, "caller", "3");
            net.say(2, caller, "OFFER", &id, json!(1));
            net.pass(300);
            assert_eq!(net.heard(back), ["OFFER"]);
            let next = net.open(2, &id, "another's");
            assert_eq!(net.heard(next), ["ID-TAKEN", "CLOSED"]);
        }
    }
}

#[test]
fn of_two_at_one_node_who_want_an_id_at_once_one_gets_it() {
    for home in 0..3 {
        let mut net = Net::new(3, 1);
        let id = net.id_at(home);
        let (a, b) = (net.open_as(0, who(&id, "1")), net.open_as(0, who(&id, "2")));
        net.pass(1_000);
        assert_eq!(
            (net.heard(a), net.heard(b)),
            (vec!["OPEN".into()], vec!["ID-TAKEN".into(), "CLOSED".into()]),
            "home {home}"
        );
        net.give(0, Input::Closed { conn: a });
        net.pass(300);
        let next = net.open(1, &id, "3");
        assert_eq!(net.heard(next), ["OPEN"], "home {home}");
    }
}

#[test]
fn what_was_granted_to_one_that_has_gone_is_not_taken_for_the_next_ones() {
    for token in ["1", "2"] {
        for home in 0..3 {
            let mut net = Net::new(3, 1);
            let id = net.id_at(home);
            let gone = net.open_as(0, who(&id, "1"));
            net.give(0, Input::Closed { conn: gone });
            net.pass(2);
            let next = net.open(0, &id, token);
            let moved = net.open(1, &id, token);
            assert_eq!(net.heard(next), ["OPEN", "CLOSED"], "home {home}: the old socket is closed at once");
            assert_eq!(net.heard(moved), ["OPEN"]);
        }
    }
}

#[test]
fn an_id_whose_end_was_not_heard_of_is_free_again_at_its_node() {
    let mut net = Net::new(3, 1);
    let id = net.id_at(2);
    let a = net.open(0, &id, "1");
    net.loss = 1_000;
    net.give(0, Input::Closed { conn: a });
    net.loss = 0;
    // The home takes the first for a stranger; by that the node sees what the home does not know.
    let next = net.open(0, &id, "2");
    net.pass(600);
    assert_eq!(net.heard(next), ["OPEN"]);
}

#[test]
fn a_message_that_finds_nobody_at_a_home_that_was_is_sent_on() {
    let mut net = Net::new(3, 1);
    let id = net.id_at(2);
    let a = net.open(0, &id, "1");
    let letter = Letter {
        kind: message::Kind::Offer,
        key: "peerjs".into(),
        src: "b".into(),
        dst: id.as_str().into(),
        payload: Some("1".into()),
        from: name(1),
    };
    let body = wire::encode(&Message::Up(Up::Absent { letter })).expect("small");
    net.give(1, Input::Node { from: name(0), body });
    net.pass(300);
    assert_eq!(net.heard(a), ["OPEN", "OFFER"]);
}

#[test]
fn a_node_whose_clock_says_anything_breaks_nobody() {
    let mut net = Net::new(3, 1);
    let id = net.id_at(2);
    let held = |token: &str, stamp| wire::Held {
        name: Name { key: "peerjs".into(), id: id.as_str().into() },
        token: token.into(),
        stamp,
    };
    let body = wire::encode(&Message::Up(Up::Hold(vec![held("1", u64::MAX)]))).expect("small");
    net.give(2, Input::Node { from: name(0), body });
    let moved = net.open(1, &id, "1");
    assert_eq!(net.heard(moved), ["OPEN"]);
}

#[test]
fn a_call_to_nobody_at_any_node_expires() {
    let mut net = Net::new(3, 1);
    let id = net.id_at(2);
    let a = net.open(0, "a", "1");
    net.say(0, a, "OFFER", &id, json!(1));
    net.pass(4_000);
    assert_eq!(net.heard(a), ["OPEN"]);
    net.pass(2_000);
    assert_eq!(net.heard(a), ["EXPIRE"]);
    // One who comes in time is found, wherever it comes.
    net.say(0, a, "OFFER", &id, json!(1));
    net.pass(3_000);
    let late = net.open(1, &id, "2");
    assert_eq!(net.heard(late), ["OPEN", "OFFER"]);
}

#[test]
fn a_home_that_dies_is_followed_by_another_that_knows_the_same() {
    let mut net = Net::new(4, 1);
    let id = net.id_at(3);
    let (a, b) = (net.open(0, &id, "1"), net.open(1, "b", "2"));
    net.kill(3);
    // One who comes before anybody noticed waits for the next home.
    let thief = net.open_as(2, who(&id, "9"));
    net.pass(3_500);
    assert_eq!(net.heard(thief), ["ID-TAKEN", "CLOSED"]);
    net.say(1, b, "OFFER", &id, json!(1));
    net.pass(300);
    assert_eq!(net.heard(a), ["OPEN", "OFFER"]);
    // What waits at a home that is no longer one is taken over.
    net.say(0, a, "OFFER", "nobody-yet", json!(1));
    net.revive(3);
    net.pass(2_500);
    let late = net.open(3, "nobody-yet", "4");
    assert_eq!(net.heard(late), ["OPEN", "OFFER"]);
    net.say(1, b, "OFFER", &id, json!(1));
    net.pass(300);
    assert_eq!(net.heard(a), ["OFFER"]);
}

#[test]
fn ids_of_a_node_that_dies_are_free() {
    let mut net = Net::new(3, 1);
    let id = net.id_at(0);
    net.open(2, &id, "1");
    net.kill(2);
    net.pass(3_000);
    let next = net.open(1, &id, "2");
    assert_eq!(net.heard(next), ["OPEN"]);
}

#[test]
fn after_a_cut_who_had_the_id_first_keeps_it_and_the_same_client_its_last_socket() {
    for home in 0..3 {
        let mut net = Net::new(3, 1);
        let (id, other) = (net.id_at(home), format!("{}-mine", net.id_at(home)));
        let (a, mine) = (net.open(0, &id, "1"), net.open(0, &other, "m"));
        net.cut(&[0, 1, 1]);
        net.pass(2_500);
        let (b, moved) = (net.open(1, &id, "2"), net.open(1, &other, "m"));
        assert_eq!((net.heard(b), net.heard(moved)), (vec!["OPEN".into()], vec!["OPEN".into()]), "both sides go on");
        net.cut(&[0, 0, 0]);
        net.pass(15_000);
        assert_eq!(net.heard(b), ["ID-TAKEN", "CLOSED"], "home {home}");
        assert_eq!(net.heard(a), ["OPEN"]);
        assert_eq!((net.heard(mine), net.heard(moved)), (vec!["OPEN".into(), "CLOSED".into()], vec![]), "home {home}");
        let caller = net.open(2, "caller", "3");
        for (id, conn) in [(&id, a), (&other, moved)] {
            net.say(2, caller, "OFFER", id, json!(1));
            net.pass(300);
            assert_eq!(net.heard(conn), ["OFFER"]);
        }
    }
}

#[test]
fn lost_messages_are_made_good() {
    for seed in 0..30 {
        let mut net = Net::new(3, seed);
        net.loss = 300;
        let id = net.id_at(2);
        let a = net.open(0, &id, "1");
        net.pass(12_000);
        let opened = net.heard(a);
        // Twenty attempts, of which each is lost with a chance of a half.
        if opened != ["OPEN"] {
            assert_eq!(opened, ["ERROR", "CLOSED"]);
            continue;
        }
        net.give(0, Input::Closed { conn: a });
        // The release may be lost; the id is free at last.
        net.pass(80_000);
        net.loss = 0;
        let next = net.open(1, &id, "2");
        assert_eq!(net.heard(next), ["OPEN"], "seed {seed}");
    }
}

#[test]
fn an_id_that_its_node_has_lost_is_noticed_by_the_first_call() {
    let mut net = Net::new(3, 1);
    let id = net.id_at(2);
    let (a, b) = (net.open(0, &id, "1"), net.open(1, "b", "2"));
    net.loss = 1_000;
    net.give(0, Input::Closed { conn: a });
    net.loss = 0;
    net.say(1, b, "OFFER", &id, json!(1));
    net.pass(6_000);
    assert_eq!(net.heard(b), ["OPEN", "EXPIRE"]);
    let next = net.open(1, &id, "2");
    assert_eq!(net.heard(next), ["OPEN"]);
}

#[test]
fn nobody_waits_forever_for_a_home_that_never_answers() {
    let mut net = Net::new(2, 1);
    let id = net.id_at(1);
    net.loss = 1_000;
    let a = net.open_as(0, who(&id, "1"));
    for _ in 0..100 {
        net.say(0, a, "OFFER", "x", json!(1));
    }
    net.pass(12_000);
    let heard = net.heard(a);
    assert_eq!(heard.iter().filter(|told| *told == "EXPIRE").count(), 36, "64 are kept until it has its id");
    assert_eq!(heard[heard.len() - 2..], ["ERROR", "CLOSED"]);
    net.give(0, Input::List { number: 1, key: "peerjs".into() });
    net.pass(1_100);
    assert_eq!(net.listed[&1], Some(vec![]), "a node that does not answer is left out");
    net.pass(1_100);
    assert_eq!(net.brokers[0].deadline(), None);
}

#[test]
fn what_strangers_and_bugs_send_changes_nothing() {
    let mut net = Net::new(2, 1);
    let a = net.open(0, "a", "1");
    let release = Up::Release { name: Name { key: "peerjs".into(), id: "a".into() }, token: None };
    let body = wire::encode(&Message::Up(release)).expect("small");
    net.give(0, Input::Node { from: NodeId::new("stranger"), body: body.clone() });
    // A node can't let go of what another has.
    net.give(0, Input::Node { from: name(1), body });
    for body in [&b""[..], b"P", b"Pxxxxxxx", &[b'P'; 4_000]] {
        net.give(0, Input::Node { from: name(1), body: Bytes::copy_from_slice(body) });
    }
    assert_eq!(net.brokers[0].stats().bodies_refused, 4);
    let thief = net.open(1, "a", "2");
    assert_eq!((net.heard(a), net.heard(thief)), (vec!["OPEN".into()], vec!["ID-TAKEN".into(), "CLOSED".into()]));
}

/// Clients come, call, move and go at nodes that die and are cut; at the end each id has one client, whom everybody reaches.
#[test]
fn whatever_happens_an_id_ends_up_with_one_client() {
    for seed in 0..25 {
        let mut net = Net::new(4, seed);
        let mut rng = StdRng::seed_from_u64(seed);
        net.loss = 20;
        let mut conns: Vec<(usize, ConnId)> = Vec::new();
        for step in 0..150 {
            let node = rng.random_range(0..4);
            let id = format!("p{}", rng.random_range(0..6));
            match rng.random_range(0..20) {
                0 if net.up.iter().all(|up| *up) => {
                    net.kill(node);
                    conns.retain(|(at, _)| *at != node);
                }
                1 => {
                    let sides: Vec<u8> = (0..4).map(|_| rng.random_range(0..2)).collect();
                    net.cut(&sides);
                }
                2 => {
                    if let Some(dead) = (0..4).find(|&node| !net.up[node]) {
                        net.revive(dead);
                    }
                }
                3..7 if !conns.is_empty() => {
                    let (node, conn) = conns.swap_remove(rng.random_range(0..conns.len()));
                    net.give(node, Input::Closed { conn });
                }
                7..12 if !conns.is_empty() => {
                    let (node, conn) = conns[step % conns.len()];
                    net.say(node, conn, "OFFER", &id, json!(step));
                }
                _ if net.up[node] => {
                    let token = rng.random_range(0..3).to_string();
                    conns.push((node, net.open_as(node, who(&id, &token))));
                }
                _ => {}
            }
            let ms = rng.random_range(0..1_500);
            net.pass(ms);
            conns.retain(|(_, conn)| net.told.get(conn).and_then(|told| told.last()) != Some(&json!(CLOSED)));
        }
        net.loss = 0;
        net.cut(&[0, 0, 0, 0]);
        for node in 0..4 {
            if !net.up[node] {
                net.revive(node);
            }
        }
        net.pass(90_000);
        for n in 0..6 {
            let id = format!("p{n}");
            let name = Name { key: "peerjs".into(), id: id.clone().into() };
            let holders: Vec<usize> = (0..4).filter(|&node| net.brokers[node].names.contains_key(&name)).collect();
            assert!(holders.len() <= 1, "seed {seed}: {id} is at {holders:?}");
            let Some(&at) = holders.first() else { continue };
            let conn = net.brokers[at].names[&name];
            for node in 0..4 {
                let caller = net.open(node, &format!("caller-{n}-{node}"), "x");
                net.told.remove(&conn);
                net.say(node, caller, "OFFER", &id, json!(1));
                net.pass(500);
                assert_eq!(net.heard(conn), ["OFFER"], "seed {seed}: {id} at n{at}, called from n{node}");
            }
        }
        let claims: usize = net.brokers.iter().map(|broker| broker.stats().claims).sum();
        let peers: usize = net.brokers.iter().map(|broker| broker.stats().peers).sum();
        assert_eq!(claims, peers, "seed {seed}");
    }
}
