//! What others were hurt by: each of these is refused, and leaves nothing behind.

use super::*;

/// Ways into a network that relays were used for.
const INSIDE: &[&str] = &[
    "127.0.0.1:80",
    "0.0.0.0:80",
    "10.0.0.1:80",
    "172.16.0.1:80",
    "192.168.1.1:80",
    "169.254.169.254:80",
    "100.64.0.1:80",
    "224.0.0.1:80",
    "239.255.255.250:1900",
    "255.255.255.255:80",
    "240.0.0.1:80",
    "198.51.100.7:9090",
];
const INSIDE_V6: &[&str] = &[
    "[::]:80",
    "[::1]:80",
    "[fe80::1]:80",
    "[fd00:ec2::254]:80",
    "[ff02::1]:80",
    "[64:ff9b::127.0.0.1]:80",
    "[2002:7f00:1::]:80",
    "[2001:0:808:808::80ff:fffe]:80",
    "[2001:db8::1]:80",
];
/// IPv4 in IPv6's clothes.
const MAPPED: &[&str] =
    &["[::ffff:127.0.0.1]:80", "[::ffff:10.0.0.1]:80", "[::ffff:169.254.169.254]:80", "[::ffff:0.0.0.0]:80"];

#[test]
fn no_permission_leads_inside() {
    let mut world = World::new(settings());
    let (four, six, ada) = (udp("192.0.2.1:1"), udp("192.0.2.1:2"), login("ada"));
    world.allocate(four, &ada);
    assert_eq!(world.ask(six, &ada, ALLOCATE, &[UDP, (0x0017, &[2, 0, 0, 0])]).code(), None);
    for (client, peers) in [(four, INSIDE), (four, MAPPED), (six, INSIDE_V6), (six, MAPPED)] {
        for peer in peers {
            // The address of this host is permitted for its media; the port is judged at each packet.
            let expected = if peer.starts_with("198.51.100.7") { None } else { Some(403) };
            assert_eq!(world.permit(client, &ada, peer), expected, "permission for {peer}");
            assert_eq!(world.bind(client, &ada, 0x4001, peer), Some(403), "channel to {peer}");
            assert_eq!(world.send(client, peer, b"x"), None, "send to {peer}");
        }
    }
    assert_eq!(world.send_channel(four, 0x4001, b"x"), None);
    assert_eq!(world.server.stats().packets_to_peers, 0);
}

/// One bad peer among good ones spoils all of them.
#[test]
fn permissions_are_given_all_or_none() {
    let mut world = World::new(settings());
    let (client, ada) = (udp("192.0.2.1:1"), login("ada"));
    world.allocate(client, &ada);
    let next = world.next + 1;
    let (good, bad) = (xored(next, "8.8.8.8:9"), xored(next, "127.0.0.1:9"));
    let both = [(message::XOR_PEER_ADDRESS, good.as_slice()), (message::XOR_PEER_ADDRESS, bad.as_slice())];
    assert_eq!(world.ask(client, &ada, CREATE_PERMISSION, &both).code(), Some(403));
    assert_eq!(world.send(client, "8.8.8.8:9", b"x"), None);
}

/// The tables say yes, the rule says no: what is sent is judged by itself.
#[test]
fn a_permission_that_should_not_be_there_opens_nothing() {
    let mut world = World::new(settings());
    let (client, ada) = (udp("192.0.2.1:1"), login("ada"));
    world.allocate(client, &ada);
    let now = world.now.instant;
    let allocation = world.server.allocations.get_mut(&RelayId(0)).expect("the allocation");
    for (number, peer) in (0x4000..).zip(INSIDE) {
        allocation.peers.bind(now, number, addr(peer)).expect("room");
    }
    for (number, peer) in (0x4000..).zip(INSIDE) {
        assert_eq!(world.send(client, peer, b"x"), None, "send to {peer}");
        assert_eq!(world.send_channel(client, number, b"x"), None, "channel data to {peer}");
        assert!(world.hear_peer(0, peer, 1).is_empty(), "from {peer}");
    }
    assert_eq!(world.server.stats().dropped.forbidden, 3 * INSIDE.len() as u64);
}

#[test]
fn wrong_passwords_and_names_get_nothing() {
    let mut world = World::new(settings());
    let client = udp("192.0.2.1:1");
    let (_, right) = Issuer::new(SECRET).issue("ada", UNIX + 3_600);
    for (name, password) in [
        (format!("{}:ada", UNIX + 3_600), "wrong".to_owned()),
        // A longer life, or another user, than was signed for.
        (format!("{}:ada", UNIX + 9_999_999), right.clone()),
        (format!("{}:ben", UNIX + 3_600), right.clone()),
        ("ada".to_owned(), right.clone()),
        (String::new(), String::new()),
        ("phone".to_owned(), String::new()),
        ("phone".to_owned(), "12345".to_owned()),
    ] {
        let answer = world.ask(client, &Login { name: name.clone(), password }, ALLOCATE, &[UDP]);
        assert_eq!(answer.code(), Some(401), "{name}");
        assert!(answer.attribute(MESSAGE_INTEGRITY).is_none(), "nothing is signed for a stranger");
    }
    assert_eq!(world.server.stats().refused.unauthorized, 7);
    assert_eq!(world.server.remembered(), 0);
    world.allocate(client, &Login { name: "phone".into(), password: "1234".into() });
}

#[test]
fn names_expire_for_new_allocations_and_not_for_old_ones() {
    let mut world = World::new(settings());
    let (client, ada) = (udp("192.0.2.1:1"), login("ada"));
    world.allocate(client, &ada);
    for _ in 0..8 {
        world.wait(500);
        assert_eq!(world.ask(client, &ada, REFRESH, &[]).code(), None, "calls outlast names");
    }
    assert_eq!(world.ask(udp("192.0.2.1:2"), &ada, ALLOCATE, &[UDP]).code(), Some(401));
    assert_eq!(world.ask(client, &ada, REFRESH, &[(message::LIFETIME, &[0; 4])]).code(), None);
    assert_eq!(world.ask(client, &ada, ALLOCATE, &[UDP]).code(), Some(401));
}

#[test]
fn nonces_are_good_for_their_client_and_their_hour() {
    let mut world = World::new(settings());
    let (client, ada) = (udp("192.0.2.1:1"), login("ada"));
    let old = world.server.nonces.make(world.now.unix, client.addr());
    let elsewhere = world.server.nonces.make(world.now.unix, addr("192.0.2.1:2"));
    world.wait(3_000);
    let request = world.signed(&ada, ALLOCATE, &[UDP], &elsewhere);
    assert_eq!(world.answer(client, &request).code(), Some(438), "overheard from another client");
    world.wait(500);
    let request = world.signed(&ada, ALLOCATE, &[UDP], &old);
    assert_eq!(world.answer(client, &request).code(), None);
    world.wait(101);
    let request = world.signed(&ada, REFRESH, &[], &old);
    let stale = world.answer(client, &request);
    assert_eq!(stale.code(), Some(438));
    let fresh = stale.attribute(message::NONCE).expect("a new one");
    let request = world.signed(&ada, REFRESH, &[], &fresh);
    assert_eq!(world.answer(client, &request).code(), None);
    for forged in [&b"x"[..], &[0; 200], b"obMatJos2AAAB"] {
        let request = world.signed(&ada, REFRESH, &[], forged);
        assert_eq!(world.answer(client, &request).code(), Some(438));
    }
    // Who neither knows the password nor the nonce learns which of them was wrong no more than the RFC says.
    let wrong = Login { name: ada.name, password: "wrong".into() };
    let request = world.signed(&wrong, REFRESH, &[], b"x");
    assert_eq!(world.answer(client, &request).code(), Some(401));
}

#[test]
fn nobody_touches_the_allocation_of_another() {
    let mut world = World::new(settings());
    let (client, ada, mallory) = (udp("192.0.2.1:1"), login("ada"), login("mallory"));
    world.allocate(client, &ada);
    // From the same address, behind one NAT say, with a good name of its own.
    for (kind, attributes) in [(REFRESH, vec![(message::LIFETIME, &[0u8, 0, 0, 0][..])]), (ALLOCATE, vec![UDP])] {
        let answer = world.ask(client, &mallory, kind, &attributes);
        assert_eq!(answer.code(), Some(441));
        assert!(answer.is_signed_by(&mallory));
    }
    assert_eq!(world.permit(client, &mallory, "8.8.8.8:9"), Some(441));
    assert_eq!(world.bind(client, &mallory, 0x4001, "8.8.8.8:9"), Some(441));
    // From another address there is nothing to touch.
    assert_eq!(world.ask(udp("192.0.2.66:1"), &mallory, REFRESH, &[]).code(), Some(437));
    assert_eq!(world.server.stats().allocations, 1);
}

#[test]
fn a_changed_message_is_nobodys() {
    let mut world = World::new(settings());
    let (client, ada) = (udp("192.0.2.1:1"), login("ada"));
    let nonce = world.server.nonces.make(world.now.unix, client.addr());
    let good = world.signed(&ada, ALLOCATE, &[UDP], &nonce);
    // Without the fingerprint, which would show it to be damaged.
    let mut good = good[..good.len() - 8].to_vec();
    let length = (good.len() - 20) as u16;
    good[2..4].copy_from_slice(&length.to_be_bytes());
    for at in 20..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        world.say(client, &changed);
        assert_eq!(world.server.stats().allocations, 0, "byte {at}");
    }
    assert_eq!(world.answer(client, &good).code(), None);
}

#[test]
fn requests_that_make_no_sense_say_so() {
    let mut world = World::new(settings());
    let (client, ada) = (udp("192.0.2.1:1"), login("ada"));
    for (attributes, code) in [
        (vec![], 400),
        (vec![(0x0019, &[6u8, 0, 0, 0][..])], 442),
        (vec![(0x0019, &[17][..])], 400),
        (vec![UDP, (0x001a, &[])], 420),
        (vec![UDP, (0x7777, &[1])], 420),
        (vec![UDP, (0x0018, &[0]), (0x0022, &[0; 8])], 400),
        (vec![UDP, (0x0022, &[0; 8])], 508),
        (vec![UDP, (0x8000, &[2, 0, 0, 0]), (0x0017, &[1, 0, 0, 0])], 400),
    ] {
        assert_eq!(world.ask(client, &ada, ALLOCATE, &attributes).code(), Some(code), "{attributes:?}");
    }
    assert_eq!(world.server.remembered(), 0);
    world.allocate(client, &ada);
    assert_eq!(world.ask(client, &ada, CREATE_PERMISSION, &[]).code(), Some(400));
    for number in [0, 0x3fff, 0x7fff, 0xffff] {
        assert_eq!(world.bind(client, &ada, number, "8.8.8.8:9"), Some(400));
    }
    assert_eq!(world.bind(client, &ada, 0x4001, "8.8.8.8:9"), None);
    assert_eq!(world.bind(client, &ada, 0x4001, "8.8.8.8:10"), Some(400), "the number is taken");
    assert_eq!(world.bind(client, &ada, 0x4002, "8.8.8.8:9"), Some(400), "the peer has another number");
    assert_eq!(world.bind(client, &ada, 0x4001, "8.8.8.8:9"), None, "again is fine");
}
