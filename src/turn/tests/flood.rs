//! Strangers by the hundred thousand: they cost no memory, and get back little more than they sent.

use super::*;

const STRANGERS: u32 = 100_000;

/// Resident memory of this process, in KiB.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

fn from(index: u32) -> Client {
    Client::Udp {
        listener: 0,
        addr: SocketAddr::new(Ipv4Addr::from(0x0b00_0000 + index / 7).into(), 1_024 + (index % 7) as u16),
    }
}

#[test]
fn a_hundred_thousand_strangers_leave_nothing() {
    let mut world = World::new(settings());
    let bare = Writer::new(ALLOCATE, &[1; 12]).finish();
    let mut usual = Writer::new(ALLOCATE, &[1; 12]);
    usual.attribute(UDP.0, UDP.1);
    let usual = usual.finish();
    let forged =
        world.signed(&Login { name: format!("{}:x", UNIX + 9), password: "guessed".into() }, ALLOCATE, &[UDP], b"made up");
    let mut out = Vec::new();
    let mut flood = |server: &mut Server, now: Now, from_index: u32| {
        for index in from_index..from_index + STRANGERS {
            for message in [&bare, &usual, &forged] {
                server.from_client(now, from(index), message, &mut out);
                let [Output::Answer { message: answer, .. }] = out.as_slice() else { panic!("{out:?}") };
                // With the headers of IP and UDP, which count on the wire, no more than three times what was sent.
                assert!(answer.len() + 28 <= 3 * (message.len() + 28), "{} for {}", answer.len(), message.len());
                out.clear();
            }
        }
    };
    flood(&mut world.server, world.now, 0);
    let before = resident();
    flood(&mut world.server, world.now, STRANGERS);
    assert_eq!(world.server.remembered(), 0);
    assert_eq!(world.server.deadline(), None);
    assert_eq!(world.server.stats().challenges, 4 * u64::from(STRANGERS));
    assert_eq!(world.server.stats().refused.unauthorized, 2 * u64::from(STRANGERS));
    if let (Some(before), Some(after)) = (before, resident()) {
        // Tests beside this one take some too; a table of the strangers would take ten times as much.
        assert!(after < before + 20_000, "{before} KiB became {after} KiB");
    }
}

#[test]
fn data_without_an_allocation_is_dropped_silently() {
    let mut world = World::new(settings());
    for index in 0..1_000 {
        assert!(world.say(from(index), &[0x40, 1, 0, 4, 1, 2, 3, 4]).is_empty());
        assert_eq!(world.send(from(index), "8.8.8.8:9", b"x"), None);
    }
    assert_eq!((world.server.stats().dropped.unknown, world.server.remembered()), (2_000, 0));
}
