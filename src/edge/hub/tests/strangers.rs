//! What other nodes send that they should not: bytes that are no message, members that are not theirs, too much of anything.

use proptest::prelude::*;

use super::nodes::{Net, name};
use super::*;

fn body(net: &mut Net, node: usize, from: usize, room: &str, body: Vec<u8>) {
    let event = Event::Room { from: name(from), room: RoomId::new(room), body: body.into() };
    net.on(node, |world| world.media(event));
}

#[test]
fn who_is_not_in_the_view_is_not_heard_and_opens_no_rooms() {
    let mut net = Net::new(2);
    let good = super::super::relay::tests::a_beat();
    body(&mut net, 0, 7, "x", good.clone());
    assert_eq!(net.worlds[0].hub.relay.as_ref().expect("a cluster").home_count(), 0);
    body(&mut net, 0, 1, "x", vec![1, 99]);
    assert_eq!(net.worlds[0].hub.snapshot().counters.bodies_refused, 1);
    body(&mut net, 0, 1, "x", good);
    assert_eq!(net.worlds[0].hub.relay.as_ref().expect("a cluster").home_count(), 1);
    net.pass(20_000);
    net.worlds[0].check_empty();
}

#[test]
fn a_node_speaks_of_its_own_members_only() {
    let mut net = Net::new(3);
    let room = net.room_at(0);
    let ada = net.join(0, &room, "ada").expect("welcome");
    let bob = net.join(1, &room, "bob").expect("welcome");
    net.pass(500);
    // Node 2 claims to have ada and bob, and that they are called otherwise; and speaks in the name of node 1.
    for (node, members) in [(2, vec![ada.pid, bob.pid]), (1, vec![bob.pid])] {
        let lie = super::super::relay::tests::a_roster(&name(node), &members, "MALLORY");
        body(&mut net, 0, 2, &room, lie);
    }
    net.pass(10_000);
    assert_eq!(net.screen(0, &ada).peers[&bob.pid].name, "BOB");
    assert_eq!(net.screen(1, &bob).peers[&ada.pid].name, "ADA");
    assert!(net.worlds[0].live.contains(&ada.conn) && net.worlds[1].live.contains(&bob.conn));
    net.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Any bytes, and good messages with some bytes turned, panic nowhere and leave nothing behind.
    #[test]
    fn any_bytes_are_survived(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        pick in any::<usize>(),
    ) {
        let mut net = Net::new(2);
        let room = net.room_at(0);
        let ada = net.join(0, &room, "ada").expect("welcome");
        net.join(1, &room, "bob").expect("welcome");
        net.pass(300);
        let samples = super::super::relay::tests::samples();
        let mut sample = samples[pick % samples.len()].clone();
        for (at, value) in flips {
            let at = at % sample.len();
            sample[at] = value;
        }
        for bytes in [noise.clone(), [&[1], &noise[..]].concat(), sample] {
            for node in [0, 1] {
                body(&mut net, node, 1 - node, &room, bytes.clone());
                net.check();
            }
        }
        net.pass(30_000);
        net.check();
        let _ = net.screen(0, &ada);
        for node in [0, 1] {
            let relay = net.worlds[node].hub.relay.as_ref().expect("a cluster");
            prop_assert!(relay.home_count() <= 1);
        }
    }
}
