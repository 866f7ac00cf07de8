//! What nobody may have too much of: allocations, permissions, channels, bytes.

use super::*;
use crate::turn::allocation::{MOST_CHANNELS, MOST_PERMISSIONS};
use crate::turn::message::MOST_PEERS;

#[test]
fn a_user_has_so_many_allocations_whatever_names_it_signs_with() {
    let mut world = World::new(settings());
    for port in 1..=3 {
        let (name, password) = Issuer::new(SECRET).issue("ada", UNIX + 100 + port);
        world.allocate(udp(&format!("192.0.2.1:{port}")), &Login { name, password });
    }
    let answer = world.ask(udp("192.0.2.1:4"), &login("ada"), ALLOCATE, &[UDP]);
    assert_eq!(answer.code(), Some(486));
    assert!(answer.is_signed_by(&login("ada")));
    world.allocate(udp("192.0.2.1:5"), &login("ben"));
    assert_eq!(world.server.stats().refused.quota, 1);
    world.wait(600);
    assert_eq!(world.server.remembered(), 0);
    world.allocate(udp("192.0.2.1:4"), &login("ada"));
}

#[test]
fn a_reserved_port_counts_until_it_is_used_or_forgotten() {
    let mut world = World::new(settings());
    let ada = login("ada");
    let pair = [UDP, (0x0018, &[0x80][..])];
    assert_eq!(world.ask(udp("192.0.2.1:1"), &ada, ALLOCATE, &pair).code(), None);
    assert_eq!(world.ask(udp("192.0.2.1:2"), &ada, ALLOCATE, &pair).code(), Some(486));
    world.allocate(udp("192.0.2.1:2"), &ada);
    assert_eq!(world.ask(udp("192.0.2.1:3"), &ada, ALLOCATE, &[UDP]).code(), Some(486));
    world.wait(30);
    world.allocate(udp("192.0.2.1:3"), &ada);
    world.wait(600);
    assert_eq!(world.server.remembered(), 0);
}

#[test]
fn the_node_has_so_many_allocations() {
    let mut world = World::new(Settings { allocations: 5, ..settings() });
    for user in 0..5 {
        world.allocate(udp(&format!("192.0.2.1:{}", user + 1)), &login(&user.to_string()));
    }
    assert_eq!(world.ask(udp("192.0.2.1:9"), &login("x"), ALLOCATE, &[UDP]).code(), Some(508));
    let mut world = World::new(Settings { ports: 50_000..=50_001, ..settings() });
    for user in 0..2 {
        world.allocate(udp(&format!("192.0.2.1:{}", user + 1)), &login(&user.to_string()));
    }
    assert_eq!(world.ask(udp("192.0.2.1:9"), &login("x"), ALLOCATE, &[UDP]).code(), Some(508), "no port is left");
    assert_eq!(world.server.stats().users, 2);
}

#[test]
fn permissions_and_channels_are_bounded_and_old_ones_make_room() {
    let mut world = World::new(settings());
    let (client, ada) = (udp("192.0.2.1:1"), login("ada"));
    world.allocate(client, &ada);
    let peer = |index: usize| format!("8.8.{}.{}:9", index / 200, 1 + index % 200);
    for index in 0..MOST_PERMISSIONS {
        assert_eq!(world.permit(client, &ada, &peer(index)), None);
    }
    assert_eq!(world.permit(client, &ada, &peer(MOST_PERMISSIONS)), Some(508));
    assert_eq!(world.permit(client, &ada, &peer(0)), None, "for longer is no more");
    world.wait(300);
    assert_eq!(world.permit(client, &ada, &peer(MOST_PERMISSIONS)), None);
    for (index, number) in (0..MOST_CHANNELS).zip(0x4000..) {
        // All of one address: a channel each, one permission together.
        assert_eq!(world.bind(client, &ada, number, &format!("8.8.8.8:{}", index + 1)), None);
    }
    assert_eq!(world.bind(client, &ada, 0x4fff, "8.8.8.8:9999"), Some(508));
    let many: Vec<_> = (0..=MOST_PEERS).map(|index| xored(world.next + 1, &peer(index))).collect();
    let many: Vec<_> = many.iter().map(|peer| (message::XOR_PEER_ADDRESS, peer.as_slice())).collect();
    assert_eq!(world.ask(client, &ada, CREATE_PERMISSION, &many).code(), Some(508));
}

#[test]
fn bytes_beyond_the_rate_are_dropped_and_counted() {
    let mut world = World::new(Settings { allocation_kbps: 8_000, user_kbps: 12_000, ..settings() });
    let (one, two, ada) = (udp("192.0.2.1:1"), udp("192.0.2.1:2"), login("ada"));
    for client in [one, two] {
        world.allocate(client, &ada);
        assert_eq!(world.bind(client, &ada, 0x4001, "8.8.8.8:9"), None);
    }
    let data = [0; 1_000];
    let passed = |world: &mut World, client| (0..2_000).filter(|_| world.send_channel(client, 0x4001, &data).is_some()).count();
    assert_eq!(passed(&mut world, one), 500, "half a second of one megabyte a second");
    assert_eq!(passed(&mut world, two), 250, "what is left of the user's");
    assert!(world.hear_peer(0, "8.8.8.8:9", 1_000).is_empty(), "both directions count");
    assert_eq!(world.server.stats().dropped.over_rate, 2_000 - 500 + 2_000 - 250 + 1);
    world.wait(60);
    assert_eq!(passed(&mut world, one), 500, "no more is saved up");
}
