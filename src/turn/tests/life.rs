//! What a client that behaves may expect: an address, peers, channels, refreshes, and an end.

use super::*;

#[test]
fn a_stranger_is_told_where_it_is_seen() {
    let mut world = World::new(settings());
    let request = Writer::new(1, &[3; 12]).finish();
    for from in ["192.0.2.1:5000", "[2001:db8::1]:5000"] {
        let answer = world.answer(udp(from), &request);
        assert_eq!(answer.address(0x0020), Some(addr(from)));
        assert!(answer.0.len() <= 3 * request.len());
    }
    assert_eq!((world.server.stats().bindings, world.server.remembered()), (2, 0));
}

#[test]
fn an_allocation_carries_data_both_ways_and_ends() {
    let mut world = World::new(settings());
    let (client, ada) = (udp("192.0.2.1:5000"), login("ada"));
    let answer = world.ask(client, &ada, ALLOCATE, &[UDP]);
    assert_eq!((answer.code(), answer.lifetime()), (None, Some(600)));
    assert_eq!(answer.address(0x0020), Some(client.addr()));
    assert!(answer.is_signed_by(&ada));
    let relayed = answer.address(message::XOR_RELAYED_ADDRESS).expect("an address");
    assert_eq!(relayed.ip(), addr("198.51.100.7:1").ip());
    assert!((50_000..51_000).contains(&relayed.port()));

    let peer = "8.8.8.8:4000";
    assert_eq!(world.send(client, peer, b"hi"), None, "no permission yet");
    assert!(world.hear_peer(0, peer, 2).is_empty());
    assert_eq!(world.permit(client, &ada, "8.8.8.8:1"), None, "the port does not matter");
    assert_eq!(world.send(client, peer, b"hello"), Some(addr(peer)));
    let back = world.hear_peer(0, peer, 5);
    let [Output::ToClient { client: to, head, padding: 3 }] = back.as_slice() else { panic!("{back:?}") };
    assert_eq!(*to, client);
    let whole = [&head[..], b"hello\0\0\0"].concat();
    let indication = Answer(whole);
    assert_eq!(kind_of(&indication.0), Some(0x0017));
    assert_eq!(indication.address(message::XOR_PEER_ADDRESS), Some(addr(peer)));
    assert_eq!(indication.attribute(message::DATA).as_deref(), Some(&b"hello"[..]));

    assert_eq!(world.bind(client, &ada, 0x4001, peer), None);
    assert_eq!(world.send_channel(client, 0x4001, b"data"), Some(addr(peer)));
    assert_eq!(world.send_channel(client, 0x4002, b"data"), None, "not bound");
    let back = world.hear_peer(0, peer, 5);
    let [Output::ToClient { head, padding: 0, .. }] = back.as_slice() else { panic!("{back:?}") };
    assert_eq!(head.as_slice(), [0x40, 1, 0, 5]);

    let out = world.ask(client, &ada, REFRESH, &[(message::LIFETIME, &[0, 0, 0, 0])]);
    assert_eq!((out.code(), out.lifetime()), (None, Some(0)));
    assert_eq!(world.server.remembered(), 0);
    assert_eq!(world.send_channel(client, 0x4001, b"data"), None);
    let stats = world.server.stats();
    assert_eq!((stats.allocated, stats.packets_to_peers, stats.packets_to_clients), (1, 2, 2));
    assert_eq!((stats.bytes_to_peers, stats.bytes_to_clients), (9, 10));
}

#[test]
fn connections_get_padding_and_take_their_allocation_with_them() {
    let mut world = World::new(settings());
    let client = Client::Stream { connection: 4, addr: addr("192.0.2.1:5000") };
    let ada = login("ada");
    world.allocate(client, &ada);
    assert!(world.server.holds(client));
    assert_eq!(world.bind(client, &ada, 0x4001, "8.8.8.8:9"), None);
    let back = world.hear_peer(0, "8.8.8.8:9", 5);
    assert!(matches!(back.as_slice(), [Output::ToClient { padding: 3, .. }]), "{back:?}");
    let mut out = Vec::new();
    world.server.gone(client, &mut out);
    assert!(matches!(out.as_slice(), [Output::Unbind { .. }]));
    assert_eq!(world.server.remembered(), 0);
}

#[test]
fn lifetimes_are_bounded_and_run_out() {
    let mut world = World::new(settings());
    let (client, ada) = (udp("192.0.2.1:5000"), login("ada"));
    for (asked, got) in [(1u32, 600), (599, 600), (1_200, 1_200), (1_000_000, 3_600)] {
        let answer = world.ask(client, &ada, ALLOCATE, &[UDP, (message::LIFETIME, &asked.to_be_bytes())]);
        assert_eq!(answer.lifetime(), Some(got), "{asked}");
        assert_eq!(world.ask(client, &ada, REFRESH, &[(message::LIFETIME, &[0; 4])]).code(), None);
    }
    world.allocate(client, &ada);
    assert!(world.wait(599).is_empty());
    assert_eq!(world.ask(client, &ada, REFRESH, &[]).lifetime(), Some(600));
    assert!(world.wait(599).is_empty(), "the old deadline is gone");
    assert!(matches!(world.wait(1).as_slice(), [Output::Unbind { .. }]));
    assert_eq!((world.server.remembered(), world.server.stats().expired), (0, 1));
    assert_eq!(world.ask(client, &ada, REFRESH, &[]).code(), Some(437));
}

#[test]
fn permissions_last_five_minutes_and_channels_ten() {
    let mut world = World::new(settings());
    let (client, ada, peer) = (udp("192.0.2.1:5000"), login("ada"), "8.8.8.8:9");
    world.allocate(client, &ada);
    assert_eq!(world.bind(client, &ada, 0x4001, peer), None);
    world.wait(299);
    assert_eq!(world.send_channel(client, 0x4001, b"x"), Some(addr(peer)));
    world.wait(1);
    assert_eq!(world.send_channel(client, 0x4001, b"x"), None, "the channel alone is no permission");
    assert!(world.hear_peer(0, peer, 1).is_empty());
    assert_eq!(world.permit(client, &ada, peer), None);
    assert_eq!(world.send_channel(client, 0x4001, b"x"), Some(addr(peer)));
    assert_eq!(world.ask(client, &ada, REFRESH, &[]).code(), None);
    world.wait(299);
    assert_eq!(world.permit(client, &ada, peer), None);
    world.wait(1);
    assert_eq!(world.send_channel(client, 0x4001, b"x"), None, "ten minutes");
    assert_eq!(world.send(client, peer, b"x"), Some(addr(peer)));
    assert_eq!(world.bind(client, &ada, 0x4002, peer), None, "the old number is free");
}

#[test]
fn a_lost_answer_comes_again_and_a_second_allocation_does_not() {
    let mut world = World::new(settings());
    let (client, ada) = (udp("192.0.2.1:5000"), login("ada"));
    let nonce = world.server.nonces.make(world.now.unix, client.addr());
    let request = world.signed(&ada, ALLOCATE, &[UDP], &nonce);
    let first = world.answer(client, &request).address(message::XOR_RELAYED_ADDRESS);
    assert!(first.is_some());
    assert_eq!(world.answer(client, &request).address(message::XOR_RELAYED_ADDRESS), first);
    assert_eq!(world.server.stats().allocations, 1);
    assert_eq!(world.ask(client, &ada, ALLOCATE, &[UDP]).code(), Some(437));
    // With all that the lost one held: the token of a pair, and that a second family is not to be had.
    for (port, asked, told) in
        [(2, (0x0018, &[0x80][..]), message::RESERVATION_TOKEN), (3, (0x8000, &[2, 0, 0, 0][..]), message::ADDRESS_ERROR_CODE)]
    {
        let client = udp(&format!("192.0.2.2:{port}"));
        let nonce = world.server.nonces.make(world.now.unix, client.addr());
        let request = world.signed(&login("ben"), ALLOCATE, &[UDP, asked], &nonce);
        let [first, again] = [0, 1].map(|_| world.answer(client, &request).attribute(told));
        assert!(first.is_some() && first == again, "{first:?} and then {again:?}");
    }
}

#[test]
fn a_port_that_somebody_holds_is_passed_over() {
    let mut world = World::new(settings());
    let (client, ada) = (udp("192.0.2.1:5000"), login("ada"));
    world.binds.extend([false, false, true]);
    world.allocate(client, &ada);
    assert_eq!(world.ask(client, &ada, REFRESH, &[(message::LIFETIME, &[0; 4])]).code(), None);
    world.binds.extend([false; 40]);
    let answer = world.ask(client, &ada, ALLOCATE, &[UDP]);
    assert_eq!(answer.code(), Some(508));
    assert!(answer.is_signed_by(&ada));
    assert_eq!(world.server.remembered(), 0);
}

#[test]
fn a_pair_of_ports_is_even_and_its_half_waits_for_its_user() {
    let mut world = World::new(settings());
    let (ada, ben) = (login("ada"), login("ben"));
    let answer = world.ask(udp("192.0.2.1:1"), &ada, ALLOCATE, &[UDP, (0x0018, &[0x80])]);
    let even = answer.address(message::XOR_RELAYED_ADDRESS).expect("an address");
    assert_eq!(even.port() % 2, 0);
    let token = answer.attribute(message::RESERVATION_TOKEN).expect("a token");
    assert_eq!(world.ask(udp("192.0.2.9:1"), &ben, ALLOCATE, &[UDP, (0x0022, &token)]).code(), Some(508), "not his");
    let odd = world.ask(udp("192.0.2.1:4"), &ada, ALLOCATE, &[UDP, (0x0022, &token)]);
    assert_eq!(odd.address(message::XOR_RELAYED_ADDRESS).map(|odd| odd.port()), Some(even.port() + 1));
    assert_eq!(world.ask(udp("192.0.2.1:5"), &ada, ALLOCATE, &[UDP, (0x0022, &token)]).code(), Some(508), "once only");
}

#[test]
fn families_are_as_asked_for() {
    let mut world = World::new(settings());
    let ada = login("ada");
    let six = world.ask(udp("192.0.2.1:1"), &ada, ALLOCATE, &[UDP, (0x0017, &[2, 0, 0, 0])]);
    assert_eq!(six.address(message::XOR_RELAYED_ADDRESS).map(|relayed| relayed.ip()), Some(addr("[2001:db8::7]:1").ip()));
    assert_eq!(world.permit(udp("192.0.2.1:1"), &ada, "8.8.8.8:9"), Some(443));
    assert_eq!(world.permit(udp("192.0.2.1:1"), &ada, "[2606:4700::1111]:9"), None);
    assert_eq!(world.send(udp("192.0.2.1:1"), "[2606:4700::1111]:9", b"x"), Some(addr("[2606:4700::1111]:9")));
    let second = world.ask(udp("192.0.2.1:2"), &ada, ALLOCATE, &[UDP, (0x8000, &[2, 0, 0, 0])]);
    assert_eq!(second.code(), None);
    assert!(second.attribute(message::ADDRESS_ERROR_CODE).is_some(), "one address has to do");
    assert_eq!(world.ask(udp("192.0.2.1:3"), &ada, ALLOCATE, &[UDP, (0x0017, &[3, 0, 0, 0])]).code(), Some(440));
    let mut only_v4 = settings();
    only_v4.external.truncate(1);
    let mut world = World::new(only_v4);
    assert_eq!(world.ask(udp("192.0.2.1:1"), &ada, ALLOCATE, &[UDP, (0x0017, &[2, 0, 0, 0])]).code(), Some(440));
}

#[test]
fn sha_256_is_offered_and_taken() {
    let mut world = World::new(settings());
    let (client, phone) = (udp("192.0.2.1:1"), Login { name: "phone".into(), password: "1234".into() });
    let challenge = world.answer(client, &Writer::new(ALLOCATE, &[1; 12]).finish());
    assert_eq!(challenge.code(), Some(401));
    let offered = challenge.attribute(message::PASSWORD_ALGORITHMS).expect("an offer");
    let nonce = challenge.attribute(message::NONCE).expect("a nonce");
    assert!(nonce.starts_with(b"obMatJos2"));
    let text = format!("{}:{REALM}:{}", phone.name, phone.password);
    let key = hmac::Key::new(hmac::HMAC_SHA256, ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref());
    let mut ask = |offer: &[u8], algorithm: Option<u8>| {
        let mut request = Writer::new(ALLOCATE, &world.transaction());
        request.attribute(UDP.0, UDP.1);
        request.attribute(USERNAME, phone.name.as_bytes());
        request.attribute(message::REALM, REALM.as_bytes());
        request.attribute(message::NONCE, &nonce);
        request.attribute(message::PASSWORD_ALGORITHMS, offer);
        if let Some(algorithm) = algorithm {
            request.attribute(0x001d, &[0, algorithm, 0, 0]);
        }
        request.integrity(0x001c, &key);
        world.answer(client, &request.finish())
    };
    assert_eq!(ask(&[0, 1, 0, 0], Some(2)).code(), Some(400), "somebody on the way made the offer less");
    assert_eq!(ask(&offered, None).code(), Some(400));
    assert_eq!(ask(&offered, Some(7)).code(), Some(400));
    let good = ask(&offered, Some(2));
    assert_eq!(good.code(), None);
    let (at, _, value) = Attributes::of(&good.0).find(|(_, kind, _)| *kind == 0x001c).expect("signed the same way");
    assert!(crate::stun::is_signed(&key, &good.0[..at], value));
}

#[test]
fn relays_reach_each_other_and_our_media_behind_a_nat() {
    let mut settings = settings();
    settings.bind_v4 = Ipv4Addr::new(10, 0, 0, 5);
    settings.policy.own_media = vec![Own { told: addr("198.51.100.7:40000"), at: addr("10.0.0.5:7882") }];
    let mut world = World::new(settings);
    let (a, b, ada, ben) = (udp("192.0.2.1:1"), udp("192.0.2.2:1"), login("ada"), login("ben"));
    let (of_a, of_b) = (world.allocate(a, &ada), world.allocate(b, &ben));
    for (client, login) in [(a, &ada), (b, &ben)] {
        assert_eq!(world.permit(client, login, "198.51.100.7:1"), None);
    }
    let inside = |relayed: SocketAddr| SocketAddr::new(addr("10.0.0.5:1").ip(), relayed.port());
    assert_eq!(world.send(a, &of_b.to_string(), b"x"), Some(inside(of_b)));
    assert_eq!(world.bind(b, &ben, 0x4001, &of_a.to_string()), None);
    let back = world.hear_peer(1, &inside(of_a).to_string(), 1);
    assert!(matches!(back.as_slice(), [Output::ToClient { head, .. }] if head.starts_with(&[0x40, 1])), "{back:?}");
    assert_eq!(world.send(a, "198.51.100.7:40000", b"x"), Some(addr("10.0.0.5:7882")));
    assert_eq!(world.bind(a, &ada, 0x4002, "198.51.100.7:40000"), None);
    let back = world.hear_peer(0, "10.0.0.5:7882", 1);
    assert!(matches!(back.as_slice(), [Output::ToClient { head, .. }] if head.starts_with(&[0x40, 2])), "{back:?}");
    // A port of the same host that is nobody's relay.
    assert_eq!(world.send(a, "198.51.100.7:22", b"x"), None);
    assert_eq!(world.bind(a, &ada, 0x4003, "198.51.100.7:22"), Some(403));
    assert_eq!(world.send(a, "10.0.0.5:7882", b"x"), None);
}
