//! Any lines of text as frames of three members of a room, with time passing between them. Nothing may panic, only open
//! connections are sent to, and when everybody has gone nothing is left.

#![no_main]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use weir::config::{Keys, Secret};
use weir::edge::hub::{Config, ConnId, Hub, Input, Limits, Output};
use weir::edge::ice_servers::IceServers;
use weir::edge::message::{ClientFrame, ClientMessage, ErrorCode, Options};
use weir::edge::negotiate::MediaEndpoint;
use weir::edge::plan::Fingerprint;
use weir::edge::token::{self, Claims, MAX_JOIN_TTL};
use weir::id::{NodeId, RegionId, ShardId};

const UNIX: u64 = 1_800_000_000;

fuzz_target!(|data: &[u8]| {
    let keys: Keys = [("key".to_owned(), Secret::new("a secret that is long enough to be one"))].into_iter().collect();
    let endpoint = |shard| {
        let fingerprint = Fingerprint { algorithm: "sha-256".into(), hash: vec![1; 32] };
        Arc::new(MediaEndpoint { shard: ShardId(shard), candidates: Vec::new(), fingerprint })
    };
    let config = Config {
        node: NodeId::new("node"),
        region: RegionId::new("here"),
        keys: keys.clone(),
        max_token_ttl: MAX_JOIN_TTL,
        endpoints: vec![endpoint(0), endpoint(1)],
        cascade: None,
        drain: Duration::from_secs(3),
        ice_servers: IceServers::default(),
        limits: Limits { room_members_per_shard: 1, ..Limits::default() },
    };
    let mut now = Instant::now();
    let mut hub = Hub::new(config, now, UNIX * 1000, [1; 32]);
    let mut out = Vec::new();
    let mut live = BTreeSet::new();
    for member in 0..3u64 {
        let conn = ConnId(member);
        live.insert(conn);
        hub.handle(now, Input::Opened { conn }, &mut out);
        let mut claims = Claims::join("key", "room", &member.to_string(), "Name", UNIX, MAX_JOIN_TTL);
        claims.video.room_admin = member == 0;
        let token = token::mint(&keys, &claims).expect("signs");
        let hello = ClientMessage::Hello { token, resume: None, client: None, opts: Options::default() };
        hub.handle(now, Input::Frame { conn, frame: ClientFrame { id: None, body: hello } }, &mut out);
    }
    out.clear();
    for line in data.split(|&byte| byte == b'\n') {
        let Some((&first, line)) = line.split_first() else { continue };
        let conn = ConnId(u64::from(first & 3));
        now += Duration::from_millis(u64::from(first >> 2) * 20);
        let frame = std::str::from_utf8(line).ok().and_then(|text| serde_json::from_str(text).ok());
        let input = match frame {
            Some(frame) => Input::Frame { conn, frame },
            None if line.is_empty() => {
                live.remove(&conn);
                Input::Closed { conn }
            }
            None => Input::Malformed { conn, code: ErrorCode::BadMessage, why: String::new() },
        };
        hub.handle(now, input, &mut out);
        if hub.deadline().is_some_and(|at| at <= now) {
            hub.handle_timeout(now, &mut out);
        }
        for output in out.drain(..) {
            match output {
                Output::Send { conn, frame } => {
                    assert!(live.contains(&conn));
                    serde_json::to_string(&frame).expect("serializes");
                }
                Output::Close { conn } => assert!(live.remove(&conn)),
                Output::Media { .. } | Output::Ended { .. } => {}
            }
        }
    }
    for &conn in &live {
        hub.handle(now, Input::Closed { conn }, &mut out);
    }
    while let Some(at) = hub.deadline() {
        now = now.max(at);
        hub.handle_timeout(now, &mut out);
    }
    let snapshot = hub.snapshot();
    assert_eq!((snapshot.members, snapshot.sockets, snapshot.rooms.len()), (0, 0, 0));
});
