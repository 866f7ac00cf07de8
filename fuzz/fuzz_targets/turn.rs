//! Any datagrams and frames from clients who may hold an allocation, and any from peers. Nothing may panic, no client that did
//! not sign gets a table entry, nothing is sent to what is not of the public internet.

#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use weir::turn::framing::{self, Frame};
use weir::turn::{Client, Issuer, Now, Output, Policy, RelayId, Server, Settings};

fuzz_target!(|data: &[u8]| {
    let settings = Settings {
        realm: "example.org".into(),
        issuer: Issuer::new("a secret that nobody knows"),
        users: [("user".to_owned(), "password".to_owned())].into_iter().collect(),
        external: vec![IpAddr::from([198, 51, 100, 7])],
        bind_v4: [0, 0, 0, 0].into(),
        bind_v6: [0; 8].into(),
        ports: 50_000..=50_100,
        allocations: 10,
        user_allocations: 3,
        allocation_kbps: 0,
        user_kbps: 0,
        lifetime: Duration::from_secs(600),
        most_lifetime: Duration::from_secs(3_600),
        policy: Policy::default(),
    };
    let mut server = Server::new(settings, [1; 32]);
    let mut now = Now { instant: Instant::now(), unix: 1_800_000_000 };
    let client = Client::Udp { listener: 0, addr: SocketAddr::from(([192, 0, 2, 1], 5_000)) };
    let mut out = Vec::new();
    let mut rest = data;
    while let Frame::Whole(length) = framing::first(rest) {
        let (frame, more) = rest.split_at(length);
        server.from_client(now, client, frame, &mut out);
        assert!(out.len() <= 1, "one answer at most");
        for output in out.drain(..) {
            match output {
                Output::Answer { message, .. } => assert!(message.len() <= 4 * frame.len() + 64),
                other => panic!("a stranger made {other:?}"),
            }
        }
        now.instant += Duration::from_secs(1);
        rest = more;
    }
    server.from_client(now, client, data, &mut out);
    server.from_peer(now, RelayId(0), client.addr(), data.len(), &mut out);
    assert_eq!(server.remembered(), 0, "strangers leave nothing");
});
