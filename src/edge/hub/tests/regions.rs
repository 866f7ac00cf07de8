//! Stories of rooms that span nodes: presence, chat, identities, cuts, homes that move or die.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::nodes::{Net, name};
use super::*;
use crate::edge::hub::quality::measured;
use crate::edge::hub::speakers::talking;
use crate::edge::media::Origin;
use crate::edge::message::{AdminOp, QualityKind};
use Source::{Camera, Microphone};

fn chat(cid: &str, to: Option<MemberId>, text: &str) -> ClientMessage {
    ClientMessage::Chat { cid: cid.into(), to, text: text.into() }
}

/// Three nodes, with one member at each, and the room's home at a fourth.
fn three(room_home: usize) -> (Net, String, Vec<Tab>) {
    let mut net = Net::new(4);
    let room = net.room_at(room_home);
    let tabs = (0..3).map(|node| net.join(node, &room, &format!("id-{node}")).expect("welcome")).collect();
    net.pass(500);
    (net, room, tabs)
}

#[test]
fn a_member_in_another_region_is_seen_and_heard_of() {
    for home in 0..4 {
        let mut net = Net::new(4);
        let room = net.room_at(home);
        let mut ada = net.join(0, &room, "ada").expect("welcome");
        let mut bob = net.join(1, &room, "bob").expect("welcome");
        net.pass(300);
        let tracks = net.on(0, |world| world.publish(&mut ada, &[("mic", Microphone), ("cam", Camera)]));
        net.pass(300);
        let tile = &net.screen(1, &bob).peers[&ada.pid];
        assert_eq!((tile.node.clone(), tile.name.as_str(), tile.tracks.len()), (name(0), "ADA", 2));
        // Both cascades know the tracks, each its own way, and the viewer's own shard has them from there.
        let origins = |net: &Net, node: usize, shard| -> Vec<Origin> {
            let added = net.worlds[node].kept.iter().filter(|(to, _)| *to == ShardId(shard));
            only!(added.map(|(_, command)| command), Command::AddTrack { track } => track.origin.clone())
        };
        assert_eq!(origins(&net, 0, 2), vec![Origin::Shard(ShardId(0)); 2]);
        assert_eq!(origins(&net, 1, 2), vec![Origin::Node { node: name(0), incarnation: 1 }; 2]);
        assert_eq!(origins(&net, 1, 0), vec![Origin::Shard(ShardId(2)); 2]);

        // They get slots like any other, and the way they come is told.
        net.on(1, |world| world.follow(&mut bob));
        assert_eq!(net.worlds[1].receives(&bob), tracks.iter().copied().collect());
        net.on(1, |world| world.media(Event::Path { track: tracks[0], nodes: vec![name(2), name(0)] }));
        let ways = |net: &mut Net| {
            let heard = net.worlds[1].heard[&bob.conn].iter().map(|frame| (*frame.body).clone());
            only!(heard, ServerMessage::Path { track, nodes } => (track, nodes.into_iter().map(|n| n.region.to_string()).collect::<Vec<_>>()))
        };
        assert_eq!(ways(&mut net), [(tracks[0], vec!["r1".to_owned(), "r2".into(), "r0".into()])]);

        // Who gets a slot for it later hears the way then.
        let mut eve = net.join(1, &room, "eve").expect("welcome");
        net.on(1, |world| world.follow(&mut eve));
        let heard = net.worlds[1].heard[&eve.conn].iter().map(|frame| (*frame.body).clone());
        assert_eq!(only!(heard, ServerMessage::Path { track, nodes } => (track, nodes.len())), [(tracks[0], 3)]);
        net.on(1, |world| world.say(eve.conn, ClientMessage::Bye {}));

        net.on(0, |world| world.ask(&ada, ClientMessage::Mute { track: tracks[0], muted: true })).expect("its own");
        net.on(0, |world| world.ask(&ada, ClientMessage::Hand { up: true })).expect("granted");
        net.pass(300);
        net.agree(&room);
        net.check();
        assert!(net.screen(1, &bob).peers[&ada.pid].tracks[&tracks[0]]);

        net.on(0, |world| world.ask(&ada, ClientMessage::Unpublish { track: tracks[1] })).expect("its own");
        net.pass(300);
        net.agree(&room);
        net.on(0, |world| world.say(ada.conn, ClientMessage::Bye {}));
        net.pass(300);
        assert_eq!(net.screen(1, &bob).left.last(), Some(&(ada.pid, LeaveReason::Left)));
        assert!(net.worlds[1].receives(&bob).is_empty());
        net.check();
        net.on(1, |world| world.say(bob.conn, ClientMessage::Bye {}));
        net.pass(60_000);
        net.worlds.iter().for_each(World::check_empty);
    }
}

#[test]
fn a_newcomer_is_told_of_everybody_and_of_what_was_said() {
    let (mut net, room, tabs) = three(3);
    net.on(0, |world| world.ask(&tabs[0], chat("1", None, "hello"))).expect("granted");
    net.pass(300);
    let here = net.join(1, &room, "late").expect("welcome");
    let welcome = net.screen(1, &here);
    assert_eq!((welcome.peers.len(), welcome.texts()), (3, vec!["hello"]), "all at once, where the room is known");
    let there = net.join(3, &room, "later").expect("welcome");
    net.pass(300);
    let screen = net.screen(3, &there);
    assert_eq!((screen.peers.len(), screen.texts()), (4, vec!["hello"]), "soon, where it is not");
    net.agree(&room);
}

#[test]
fn chat_is_in_one_order_everywhere() {
    let (mut net, _, tabs) = three(3);
    net.loss = 150;
    for round in 0..15 {
        for (node, tab) in tabs.iter().enumerate() {
            net.on(node, |world| world.ask(tab, chat(&round.to_string(), None, &format!("{node}-{round}")))).expect("granted");
        }
        net.pass(if round % 5 == 0 { 3_000 } else { 700 });
    }
    net.loss = 0;
    net.pass(20_000);
    let screens: Vec<_> = tabs.iter().enumerate().map(|(node, tab)| net.screen(node, tab)).collect();
    assert_eq!(screens[0].chat.len(), 45);
    assert!(screens.iter().all(|screen| screen.chat == screens[0].chat));
    assert!(screens[0].chat.is_sorted_by_key(|line| line.at), "as the home's clock has it");
    for node in 0..3 {
        let own: Vec<&str> = screens[0].texts().into_iter().filter(|text| text.starts_with(&node.to_string())).collect();
        assert_eq!(own.len(), 15);
    }
}

#[test]
fn a_line_for_one_member_goes_to_that_member_only() {
    let (mut net, _, tabs) = three(3);
    net.loss = 400;
    net.on(0, |world| world.ask(&tabs[0], chat("1", Some(tabs[1].pid), "psst"))).expect("granted");
    net.pass(30_000);
    assert_eq!(net.screen(0, &tabs[0]).texts(), ["psst"]);
    assert_eq!(net.screen(1, &tabs[1]).texts(), ["psst"]);
    assert_eq!(net.screen(2, &tabs[2]).texts(), [""; 0]);
    let nobody = MemberId(7);
    assert_eq!(net.on(0, |world| world.ask(&tabs[0], chat("2", Some(nobody), "psst"))), Err(ErrorCode::NotFound));
}

#[test]
fn reactions_and_data_reach_other_regions_and_levels_make_speakers_of_their_members() {
    let (mut net, room, mut tabs) = three(3);
    let mut tab = tabs.remove(0);
    let mic = net.on(0, |world| world.publish(&mut tab, &[("mic", Microphone)]))[0];
    let (bob, eve) = (tabs[0].clone(), tabs[1].clone());
    net.on(1, |world| world.connect(&bob));
    net.pass(300);
    net.on(0, |world| world.ask(&tab, ClientMessage::React { emoji: "👍".into() })).expect("granted");
    let data = Event::Data { member: tab.pid, label: "l".into(), binary: true, payload: Bytes::from_static(b"xyz") };
    net.on(0, |world| world.media(data));
    net.pass(300);
    for (node, peer) in [(1, &bob), (2, &eve)] {
        let heard = net.worlds[node].heard[&peer.conn].iter().map(|frame| (*frame.body).clone());
        assert_eq!(only!(heard, ServerMessage::React { from, .. } => from), [tab.pid]);
    }
    let data = |net: &Net, node: usize| only!(&net.worlds[node].kept, (_, Command::Data { member, payload, .. }) => (*member, payload.clone()));
    assert_eq!(data(&net, 1), [(bob.pid, Bytes::from_static(b"xyz"))]);
    assert_eq!(data(&net, 2), [], "its media is not up");

    for node in [0, 1, 2] {
        for _ in 0..10 {
            net.on(node, |world| world.media(Event::Levels { levels: vec![(mic, talking(100))] }));
        }
    }
    net.on(0, |world| world.media(Event::Quality { member: tab.pid, quality: measured(900, 0.5) }));
    net.pass(8_000);
    for (node, peer) in [(1, &bob), (2, &eve)] {
        let heard: Vec<ServerMessage> = net.worlds[node].heard[&peer.conn].iter().map(|frame| (*frame.body).clone()).collect();
        let speakers =
            only!(heard.clone(), ServerMessage::Speakers { speakers } => speakers.iter().map(|s| s.pid).collect::<Vec<_>>());
        assert_eq!(speakers[0], [tab.pid]);
        let quality =
            only!(heard, ServerMessage::Quality { peers } => peers.iter().map(|peer| (peer.pid, peer.q)).collect::<Vec<_>>());
        assert_eq!(quality, [[(tab.pid, QualityKind::Poor)]]);
    }
    net.agree(&room);
}

#[test]
fn an_admin_rules_members_of_other_regions_and_nobody_else_does() {
    let mut net = Net::new(3);
    let room = net.room_at(2);
    let mut chief = claims(&room, "chief");
    chief.video.room_admin = true;
    let chief = net.join_as(0, &chief).expect("welcome");
    let (mut bob, eve) = (net.join(1, &room, "bob").expect("welcome"), net.join(2, &room, "eve").expect("welcome"));
    let mic = net.on(1, |world| world.publish(&mut bob, &[("mic", Microphone)]))[0];
    net.pass(300);
    let act = |op, target| ClientMessage::Admin { op, target };
    assert_eq!(net.on(2, |world| world.ask(&eve, act(AdminOp::Mute, bob.pid))), Err(ErrorCode::Forbidden));
    net.loss = 400;
    net.on(0, |world| world.ask(&chief, act(AdminOp::Mute, bob.pid))).expect("an admin");
    net.pass(20_000);
    net.loss = 0;
    net.pass(5_000);
    let heard = net.worlds[1].heard[&bob.conn].iter().map(|frame| (*frame.body).clone());
    assert_eq!(only!(heard, ServerMessage::MuteRequest { track, by } => (track, by)), [(mic, chief.pid)]);
    assert!(net.screen(2, &eve).peers[&bob.pid].tracks[&mic]);
    net.on(0, |world| world.ask(&chief, act(AdminOp::Remove, bob.pid))).expect("an admin");
    net.pass(2_000);
    assert!(!net.worlds[1].live.contains(&bob.conn));
    assert_eq!(net.screen(2, &eve).left, [(bob.pid, LeaveReason::Removed)]);
    net.agree(&room);
}

#[test]
fn the_same_identity_elsewhere_replaces_the_old_session() {
    for (first, second) in [(0, 1), (1, 0)] {
        let mut net = Net::new(3);
        let room = net.room_at(2);
        let watcher = net.join(2, &room, "watcher").expect("welcome");
        let old = net.join(first, &room, "ada").expect("welcome");
        net.pass(300);
        let other = net.join(second, &room, "keeps the room there").expect("welcome");
        net.pass(300);
        let new = net.join(second, &room, "ada").expect("welcome");
        net.pass(300);
        let heard = net.worlds[first].hear(old.conn);
        assert_eq!(
            only!(heard, ServerMessage::Leave { reason, action, .. } => (reason, action)),
            [(LeaveReason::Replaced, LeaveAction::Stop)]
        );
        let screen = net.screen(2, &watcher);
        assert_eq!(screen.left, [(old.pid, LeaveReason::Replaced)]);
        assert_eq!(screen.peers.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from([new.pid, other.pid]));
        net.agree(&room);
        // Two that come at the same moment, before either node can know: one of them stays.
        let both = [net.join(first, &room, "bob").expect("welcome"), net.join(second, &room, "bob").expect("welcome")];
        net.pass(500);
        let live = [(first, &both[0]), (second, &both[1])].map(|(node, tab)| net.worlds[node].live.contains(&tab.conn));
        assert_eq!(live.iter().filter(|live| **live).count(), 1, "{live:?}");
        net.agree(&room);
    }
}

#[test]
fn a_short_cut_changes_nothing_on_screen() {
    for home in 0..3 {
        let (mut net, room, tabs) = three(home);
        let before: Vec<_> = tabs.iter().enumerate().map(|(node, tab)| net.screen(node, tab).left.len()).collect();
        net.cut(&[0, 0, 1, 0]);
        net.pass(4_000);
        net.cut(&[0, 0, 0, 0]);
        net.pass(20_000);
        let after: Vec<_> = tabs.iter().enumerate().map(|(node, tab)| net.screen(node, tab).left.len()).collect();
        assert_eq!(before, after, "nobody left and came back, home n{home}");
        net.agree(&room);
    }
}

#[test]
fn a_region_cut_off_keeps_its_room_and_comes_back() {
    for home in 0..4 {
        let (mut net, room, tabs) = three(home);
        let apart = net.join(2, &room, "also apart").expect("welcome");
        net.pass(300);
        net.cut(&[0, 0, 1, 0]);
        net.on(2, |world| world.ask(&tabs[2], chat("1", None, "before anybody noticed"))).expect("granted");
        net.pass(10_000);
        assert_eq!(net.screen(2, &tabs[2]).peers.len(), 1, "with whom it can reach");
        assert_eq!(net.screen(0, &tabs[0]).peers.len(), 1);
        assert_eq!(
            net.screen(0, &tabs[0]).left,
            [(apart.pid, LeaveReason::TimedOut), (tabs[2].pid, LeaveReason::TimedOut)]
                .into_iter()
                .collect::<BTreeMap<_, _>>()
                .into_iter()
                .collect::<Vec<_>>()
        );
        net.agree(&room);
        net.on(2, |world| world.ask(&apart, chat("1", None, "we go on"))).expect("granted");
        net.on(0, |world| world.ask(&tabs[0], chat("1", None, "so do we"))).expect("granted");
        net.pass(2_000);
        assert_eq!(net.screen(2, &apart).texts(), ["before anybody noticed", "we go on"]);
        assert_eq!(net.screen(1, &tabs[1]).texts(), ["so do we"]);
        net.cut(&[0; 4]);
        net.pass(20_000);
        net.agree(&room);
        for (node, tab) in tabs.iter().enumerate() {
            let said: BTreeSet<String> = net.screen(node, tab).texts().into_iter().map(str::to_owned).collect();
            assert_eq!(said.len(), 3, "{said:?} at n{node}, home n{home}");
        }
        net.check();
    }
}

#[test]
fn a_home_that_dies_loses_no_member_and_no_line_of_chat() {
    let (mut net, room, tabs) = three(3);
    for n in 0..10 {
        net.on(n % 3, |world| world.ask(&tabs[n % 3], chat("", None, &format!("before {n}")))).expect("granted");
        net.pass(100);
    }
    // The last ones are on their way when it dies, and some are said before anybody knows.
    net.on(0, |world| world.ask(&tabs[0], chat("", None, "on its way"))).expect("granted");
    net.pass(40);
    net.kill(3);
    net.on(1, |world| world.ask(&tabs[1], chat("", None, "into the void"))).expect("granted");
    net.pass(15_000);
    let screens: Vec<_> = tabs.iter().enumerate().map(|(node, tab)| net.screen(node, tab)).collect();
    for screen in &screens {
        assert_eq!(screen.left, [], "nobody flickers");
        assert_eq!(screen.chat.len(), 12);
    }
    net.agree(&room);
    // It comes back and is home again; another node's newcomer knows all that was said.
    net.revive(3);
    net.pass(20_000);
    assert!(tabs.iter().enumerate().all(|(node, tab)| net.screen(node, tab).left.is_empty()));
    let late = net.join(3, &room, "late").expect("welcome");
    net.pass(1_000);
    assert_eq!(net.screen(3, &late).chat.len(), 12);
    net.agree(&room);
    net.check();
}

#[test]
fn a_node_that_dies_takes_its_members_along_after_the_grace_and_no_others() {
    let (mut net, room, tabs) = three(3);
    net.kill(2);
    net.pass(6_000);
    assert!(net.screen(0, &tabs[0]).left.is_empty(), "it may come back");
    net.pass(1_000);
    assert_eq!(net.screen(0, &tabs[0]).left, [(tabs[2].pid, LeaveReason::TimedOut)]);
    net.agree(&room);
    // Started anew at once, its members are gone at once.
    net.kill(1);
    net.revive(1);
    net.pass(2_000);
    assert_eq!(net.screen(0, &tabs[0]).left.last(), Some(&(tabs[1].pid, LeaveReason::TimedOut)));
    net.check();
}

#[test]
fn members_of_other_regions_count_for_what_a_room_holds() {
    let mut net = Net::with(2, 1, |limits| limits.room_members = 3);
    let room = net.room_at(1);
    for (node, identity) in [(0, "a"), (1, "b"), (0, "c")] {
        assert!(net.join(node, &room, identity).is_some());
        net.pass(300);
    }
    assert!(net.join(1, &room, "d").is_none(), "full");
    assert!(net.join(1, &room, "c").is_some(), "who replaces itself needs no space");
    net.pass(300);
    net.agree(&room);
}

#[test]
fn a_drained_edge_sends_its_members_elsewhere_with_a_token() {
    let (mut net, room, tabs) = three(3);
    let welcome = net.worlds[0].heard[&tabs[0].conn].iter().map(|frame| (*frame.body).clone());
    let edges = only!(welcome, ServerMessage::Welcome { edges, .. } => edges).remove(0);
    assert_eq!(edges.iter().map(|edge| edge.id.as_str()).collect::<Vec<_>>(), ["n0", "n1", "n2", "n3"]);
    let mut tab = tabs[0].clone();
    net.worlds[0].hear(tab.conn);
    net.on(0, |world| world.input(Input::Drain));
    let told =
        |heard: Vec<ServerMessage>| only!(heard, ServerMessage::Token { .. } | ServerMessage::Migrate { .. } => ()).len();
    let heard = net.worlds[0].heard[&tab.conn].iter().map(|frame| (*frame.body).clone()).collect::<Vec<_>>();
    assert!(
        matches!(&heard[..], [ServerMessage::Token { .. }, ServerMessage::Migrate { url, deadline_ms: 3_000 }] if url.ends_with(".example.org") && url != "https://n0.example.org"),
        "{heard:?}"
    );
    assert!(net.worlds[0].kept.iter().any(|(shard, command)| *shard == ShardId(2) && matches!(command, Command::Drain)));
    assert_eq!(told(heard), 2);
    // Who was away hears of it when it comes back.
    let seen = net.on(0, |world| world.cut(&tab));
    net.on(0, |world| world.resume(&mut tab, seen));
    assert!(told(net.worlds[0].hear(tab.conn)) >= 2);
    // When the cluster sees the drain too, nothing is told twice.
    net.draining[0] = true;
    net.tell_views();
    assert_eq!(told(net.worlds[0].hear(tab.conn)), 0);
    // It moves: the session here stays until it lets go, so that no picture stops.
    net.join(1, &room, "id-0").expect("welcome");
    net.pass(500);
    assert!(net.worlds[0].live.contains(&tab.conn));
    net.on(0, |world| world.say(tab.conn, ClientMessage::Bye {}));
    net.pass(500);
    net.agree(&room);
    // One that does not let go is replaced in the end.
    let (mut net, room, tabs) = three(3);
    net.on(0, |world| world.input(Input::Drain));
    net.join(1, &room, "id-0").expect("welcome");
    net.pass(500);
    assert!(net.worlds[0].live.contains(&tabs[0].conn));
    net.pass(6_000);
    assert!(!net.worlds[0].live.contains(&tabs[0].conn));
    net.agree(&room);
    // Who has no other edge is told nothing.
    let mut alone = World::new();
    let ada = alone.join("room", "ada");
    alone.hear(ada.conn);
    alone.input(Input::Drain);
    assert_eq!(alone.hear(ada.conn), []);
}

/// What it costs, for the report and so that it does not grow unseen: `cargo test --lib costs -- --nocapture`.
#[test]
fn a_room_of_a_hundred_over_five_nodes_costs_little_to_fill_and_to_keep() {
    let mut net = Net::new(5);
    let room = net.room_at(0);
    for n in 0..100 {
        let mut tab = net.join(n % 5, &room, &format!("id-{n}")).expect("welcome");
        net.pass(50);
        net.on(n % 5, |world| world.publish(&mut tab, &[("mic", Microphone), ("cam", Camera)]));
        net.pass(50);
    }
    net.pass(500);
    net.agree(&room);
    let (joining, joining_bytes) = (net.sent, net.bytes);
    net.pass(60_000);
    let (minute, minute_bytes) = (net.sent - joining, net.bytes - joining_bytes);
    net.cores[0] = false;
    (net.sent, net.bytes) = (0, 0);
    net.tell_views();
    net.pass(1_000);
    net.agree(&room);
    println!("joining: {joining} messages, {joining_bytes} bytes; a quiet minute: {minute} messages, {minute_bytes} bytes;");
    println!("another home: {} messages, {} bytes", net.sent, net.bytes);
    assert!(joining < 1_000 && joining_bytes < 120_000, "{joining} messages, {joining_bytes} bytes");
    assert!(minute < 200 && minute_bytes < 10_000, "{minute} messages, {minute_bytes} bytes");
    assert!(net.sent < 40 && net.bytes < 60_000, "{} messages, {} bytes", net.sent, net.bytes);
}

/// One thing that may happen to a cluster.
#[derive(Debug, Clone)]
enum Step {
    Join { node: u8, room: u8, identity: u8 },
    Publish { who: u8, what: u8 },
    Mute { who: u8, muted: bool },
    Unpublish { who: u8 },
    Chat { who: u8 },
    Whisper { who: u8, to: u8 },
    Hand { who: u8, up: bool },
    Leave { who: u8 },
    Lose { who: u8 },
    Cut { sides: u8 },
    Kill { node: u8 },
    Revive { node: u8 },
    Loss { permille: u16 },
    Pass { ms: u16 },
}

const NODES: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    let node = 0u8..NODES as u8;
    let who = any::<u8>();
    prop_oneof![
        6 => (node.clone(), 0u8..2, 0u8..7).prop_map(|(node, room, identity)| Step::Join { node, room, identity }),
        4 => (who, 0u8..4).prop_map(|(who, what)| Step::Publish { who, what }),
        3 => (who, any::<bool>()).prop_map(|(who, muted)| Step::Mute { who, muted }),
        1 => who.prop_map(|who| Step::Unpublish { who }),
        5 => who.prop_map(|who| Step::Chat { who }),
        1 => (who, who).prop_map(|(who, to)| Step::Whisper { who, to }),
        2 => (who, any::<bool>()).prop_map(|(who, up)| Step::Hand { who, up }),
        2 => who.prop_map(|who| Step::Leave { who }),
        1 => who.prop_map(|who| Step::Lose { who }),
        2 => (0u8..16).prop_map(|sides| Step::Cut { sides }),
        1 => node.clone().prop_map(|node| Step::Kill { node }),
        1 => node.prop_map(|node| Step::Revive { node }),
        1 => (0u16..400).prop_map(|permille| Step::Loss { permille }),
        7 => prop_oneof![0u16..200, 0u16..8_000].prop_map(|ms| Step::Pass { ms }),
    ]
}

fn perform(net: &mut Net, tabs: &mut Vec<(usize, Tab)>, said: &mut u32, step: Step) {
    let live = |net: &Net, node: usize, tab: &Tab| net.up[node] && net.worlds[node].live.contains(&tab.conn);
    tabs.retain(|(node, tab)| live(net, *node, tab));
    let pick = |who: u8| (!tabs.is_empty()).then(|| usize::from(who) % tabs.len());
    match step {
        Step::Join { node, room, identity } => {
            let node = usize::from(node);
            if net.up[node] {
                let tab = net.join(node, &format!("room-{room}"), &format!("id-{identity}"));
                tabs.extend(tab.map(|tab| (node, tab)));
            }
        }
        Step::Publish { who, what } => {
            let Some((node, tab)) = pick(who).and_then(|at| tabs.get_mut(at)) else { return };
            let sources = [Microphone, Camera, Source::ScreenShare, Source::ScreenShareAudio];
            let source = sources[usize::from(what)];
            let cid = format!("{source:?}");
            if tab.lines.iter().all(|(_, track)| track.as_ref().is_none_or(|track| track.cid != cid)) {
                let node = *node;
                net.on(node, |world| world.publish(tab, &[(&cid, source)]));
            }
        }
        Step::Mute { who, muted } => {
            let Some((node, tab)) = pick(who).map(|at| &tabs[at]) else { return };
            let own = net.worlds[*node].hub.members[&tab.pid].tracks();
            if let Some(track) = own.first() {
                net.on(*node, |world| world.say(tab.conn, ClientMessage::Mute { track: *track, muted }));
            }
        }
        Step::Unpublish { who } => {
            let Some((node, tab)) = pick(who).map(|at| &mut tabs[at]) else { return };
            let own = net.worlds[*node].hub.members[&tab.pid].tracks();
            if let Some(track) = own.first() {
                net.on(*node, |world| world.say(tab.conn, ClientMessage::Unpublish { track: *track }));
            }
        }
        Step::Chat { who } => {
            let Some((node, tab)) = pick(who).map(|at| &tabs[at]) else { return };
            *said += 1;
            let text = said.to_string();
            net.on(*node, |world| world.say(tab.conn, chat("", None, &text)));
        }
        Step::Whisper { who, to } => {
            let (Some(from), Some(to)) = (pick(who), pick(to)) else { return };
            let ((node, tab), to) = (&tabs[from], tabs[to].1.pid);
            net.on(*node, |world| world.say(tab.conn, chat("", Some(to), "psst")));
        }
        Step::Hand { who, up } => {
            let Some((node, tab)) = pick(who).map(|at| &tabs[at]) else { return };
            net.on(*node, |world| world.say(tab.conn, ClientMessage::Hand { up }));
        }
        Step::Leave { who } => {
            let Some((node, tab)) = pick(who).map(|at| &tabs[at]) else { return };
            net.on(*node, |world| world.say(tab.conn, ClientMessage::Bye {}));
        }
        Step::Lose { who } => {
            let Some((node, tab)) = pick(who).map(|at| &tabs[at]) else { return };
            net.on(*node, |world| world.cut(tab));
        }
        Step::Cut { sides } => net.cut(&[0, 1, 2, 3].map(|bit| sides >> bit & 1)),
        Step::Kill { node } => {
            if net.up.iter().filter(|up| **up).count() > 2 && net.up[usize::from(node)] {
                net.kill(node.into());
            }
        }
        Step::Revive { node } => {
            if !net.up[usize::from(node)] {
                net.revive(node.into());
            }
        }
        Step::Loss { permille } => net.loss = permille.into(),
        Step::Pass { ms } => net.pass(ms.into()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// While it lasts no screen contradicts itself and no table grows; when the network is sound again, everybody sees the same.
    #[test]
    fn whatever_happens_between_nodes_all_see_the_same_in_the_end(
        seed in any::<u64>(), steps in proptest::collection::vec(step(), 1..100)
    ) {
        let mut net = Net::with(NODES, seed, |limits| limits.chat_kept = 500);
        let (mut tabs, mut said) = (Vec::new(), 0);
        for step in steps {
            perform(&mut net, &mut tabs, &mut said, step);
            net.check();
        }
        net.loss = 0;
        net.cut(&[0; NODES]);
        net.pass(60_000);
        net.check();
        for room in ["room-0", "room-1"] {
            net.agree(room);
            let id = RoomId::new(room);
            // One identity has one session.
            let hubs = || (0..NODES).filter(|&node| net.up[node]).map(|node| &net.worlds[node].hub);
            let identities = hubs().filter_map(|hub| hub.rooms.get(&id)).flat_map(|room| room.by_identity.keys());
            let mut seen = BTreeSet::new();
            prop_assert!(identities.into_iter().all(|identity| seen.insert(identity.clone())), "two sessions of one identity");
            // The same lines are kept at all nodes, nothing waits, and only one node is home.
            let kept: Vec<Vec<&str>> = hubs().filter_map(|hub| hub.rooms.get(&id))
                .map(|room| room.chat.iter().filter(|line| line.to.is_none()).map(|line| line.id.as_str()).collect()).collect();
            prop_assert!(kept.iter().all(|lines| *lines == kept[0]), "{kept:?}");
            let homes = hubs().filter(|hub| hub.relay.as_ref().is_some_and(|relay| relay.homes_of(&id))).count();
            prop_assert_eq!(homes, usize::from(!kept.is_empty()));
            prop_assert!(hubs().filter_map(|hub| hub.rooms.get(&id)).all(|room| room.span.as_ref().is_some_and(|span| span.is_calm())));
        }
        for (node, tab) in &tabs {
            let _ = net.screen(*node, tab);
        }
        // Everybody goes, and nothing is left.
        for node in 0..NODES {
            let conns: Vec<ConnId> = net.worlds[node].live.iter().copied().collect();
            for conn in conns {
                net.on(node, |world| {
                    world.live.remove(&conn);
                    world.input(Input::Closed { conn });
                });
            }
        }
        net.pass(60_000);
        for node in (0..NODES).filter(|&node| net.up[node]) {
            net.worlds[node].check_empty();
        }
    }
}

#[test]
fn an_edge_with_too_much_to_do_names_others() {
    let mut net = Net::new(2);
    net.pass(100);
    for shard in [0, 1] {
        net.worlds[0].input(Input::Media { event: Event::Full { shard: ShardId(shard), full: true } });
    }
    let world = &mut net.worlds[0];
    let late = world.open();
    world.say(late, hello(&claims("room", "late")));
    let [ServerMessage::Edges { edges }, ServerMessage::Err { code: ErrorCode::Full, .. }] = &world.hear(late)[..] else {
        panic!("the others first, then the refusal")
    };
    assert!(edges.iter().all(|edge| edge.id == nodes::name(1)) && !edges.is_empty(), "{edges:?}");
}
