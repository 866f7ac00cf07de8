//! Any texts as what three PeerJS clients of two nodes say, and any bytes as what the nodes' brokers say to each other, with time
//! passing and nodes coming and going between them. Nothing may panic; only open sockets are sent to, and JSON; an id has one client
//! at a node; and when everybody has gone nothing is left.
//!
//! Each line is one event; its first byte says whose and how long after the one before, its second what it is.

#![no_main]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir::cluster::{NodeInfo, View};
use weir::edge::hub::ConnId;
use weir::edge::peerjs::{Answer, Broker, Call, Input, MAX_FRAME, Output, Said, Who, is_ours};
use weir::id::{NodeId, RegionId};

/// Bytes of one broker's message to another: what a link takes.
const MOST_BODY: usize = 200 << 10;

struct World {
    brokers: [Broker; 2],
    now: Instant,
    start: Instant,
    /// By socket: its node, and whether it has its id.
    live: BTreeMap<ConnId, (usize, bool)>,
    next_conn: u64,
    under_way: VecDeque<(usize, Bytes)>,
    calls: Vec<(usize, ConnId, Box<Call>)>,
    sessions: Vec<(usize, String)>,
    lists: BTreeSet<u64>,
    asked: u64,
}

fn info(node: usize, run: u64) -> NodeInfo {
    NodeInfo { incarnation: run, ..NodeInfo::unknown(NodeId::new(format!("n{node}")), RegionId::new("r")) }
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        let mut world = Self {
            brokers: [0, 1].map(|node| Broker::new(info(node, 1), start)),
            now: start,
            start,
            live: BTreeMap::new(),
            next_conn: 0,
            under_way: VecDeque::new(),
            calls: Vec::new(),
            sessions: Vec::new(),
            lists: BTreeSet::new(),
            asked: 0,
        };
        world.see(0b11, 1);
        world
    }

    fn clock(&self) -> (Instant, u64) {
        (self.now, 1_800_000_000_000 + u64::try_from(self.now.duration_since(self.start).as_millis()).expect("short"))
    }

    fn give(&mut self, node: usize, input: Input) {
        let mut out = Vec::new();
        self.brokers[node].handle(self.clock(), input, &mut out);
        self.carry(node, out);
    }

    /// Each node sees itself, and the other if `both` says so.
    fn see(&mut self, both: u8, run: u64) {
        for node in 0..2 {
            let nodes = (0..2).filter(|other| *other == node || both == 0b11).map(|other| info(other, run));
            let nodes = nodes.map(|info| (info.id.clone(), info)).collect();
            self.give(node, Input::Cluster { view: View { me: info(node, run).id, nodes: Arc::new(nodes) } });
        }
    }

    fn carry(&mut self, node: usize, out: Vec<Output>) {
        let mut full = Vec::new();
        for output in out {
            match output {
                Output::Send { conn, text, caller } => {
                    let (at, opened) = self.live.get_mut(&conn).expect("an open socket");
                    assert_eq!(*at, node);
                    let said: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                    *opened |= said["type"] == "OPEN";
                    assert!(*opened || said.get("src").is_none() || said["type"] == "EXPIRE", "before its id: {text}");
                    // Some sockets are full now and then.
                    if text.len() % 7 == 0 {
                        full.push(caller);
                    }
                }
                Output::Close { conn } => assert!(self.live.remove(&conn).is_some(), "closed twice"),
                Output::Call { conn, call } => self.calls.push((node, conn, call)),
                Output::Node { to, body } => {
                    assert!(is_ours(&body) && body.len() <= MOST_BODY);
                    // To nodes that a body has named there is no way.
                    if to.as_str() == format!("n{}", 1 - node) {
                        self.under_way.push_back((node, body));
                    }
                }
                Output::Listed { number, .. } => assert!(self.lists.remove(&number), "answered twice"),
            }
        }
        for caller in full {
            self.give(node, Input::Full { caller });
        }
    }

    /// Delivers what is under way; `lost` is left out.
    fn deliver(&mut self, lost: u8) {
        for round in 0.. {
            assert!(round < 10_000, "the nodes never come to rest");
            let Some((from, body)) = self.under_way.pop_front() else { return };
            if lost & (1 << (round % 8)) == 0 {
                self.give(1 - from, Input::Node { from: info(from, 1).id, body });
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        for round in 0.. {
            assert!(round < 100_000, "timers without end");
            let next = (0..2).filter_map(|node| Some((self.brokers[node].deadline()?, node))).min();
            let Some((at, node)) = next.filter(|(at, _)| *at <= end) else { break };
            self.now = self.now.max(at);
            let mut out = Vec::new();
            self.brokers[node].handle_timeout(self.clock(), &mut out);
            self.carry(node, out);
            self.deliver(0);
        }
        self.now = end;
    }

    fn open(&mut self, node: usize, id: &[u8]) {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let id = String::from_utf8_lossy(id).into_owned();
        let who = Who { key: "app".into(), token: format!("t{}", id.len() % 2), id };
        if who.is_sound() {
            self.live.insert(conn, (node, false));
            self.give(node, Input::Opened { conn, who });
        }
    }

    fn event(&mut self, first: u8, line: &[u8]) {
        let (node, which) = (usize::from(first & 1), usize::from(first >> 1 & 3));
        self.pass(u64::from(first >> 3) * 40);
        let Some((&what, rest)) = line.split_first() else { return };
        let conn = self.live.iter().filter(|(_, (at, _))| *at == node).map(|(conn, _)| *conn).cycle().nth(which);
        match (what, conn) {
            (b'+', _) => self.open(node, rest),
            (b'-', Some(conn)) => {
                self.live.remove(&conn);
                self.give(node, Input::Closed { conn });
            }
            (b'n', _) => self.give(node, Input::Node { from: info(1 - node, 1).id, body: Bytes::copy_from_slice(rest) }),
            (b'P', _) => self.give(node, Input::Node { from: info(1 - node, 1).id, body: Bytes::copy_from_slice(line) }),
            (b'c', _) => self.see(rest.first().copied().unwrap_or(0b11), u64::from(first)),
            (b'x', _) => self.deliver(rest.first().copied().unwrap_or_default()),
            (b'?', _) => {
                self.asked += 1;
                self.lists.insert(self.asked);
                self.give(node, Input::List { number: self.asked, key: "app".into() });
            }
            (b'a', _) => {
                if let Some((node, conn, call)) = self.calls.pop() {
                    let session = format!("s{}", self.sessions.len());
                    self.sessions.push((node, session.clone()));
                    let answer = Answer { session, sdp: String::from_utf8_lossy(rest).into_owned() };
                    self.give(node, Input::Answered { conn, call, answer: Ok(answer) });
                }
            }
            (b'e', _) => {
                if let Some((node, session)) = self.sessions.pop() {
                    self.give(node, Input::Ended { session });
                }
            }
            (_, Some(conn)) => match std::str::from_utf8(line).ok().and_then(Said::parse) {
                Some(said) => self.give(node, Input::Said { conn, said }),
                None => self.give(node, Input::Malformed { conn }),
            },
            (_, None) => {}
        }
        if first & 4 != 0 {
            self.deliver(0);
        }
        for broker in &self.brokers {
            let stats = broker.stats();
            assert!(stats.peers <= self.live.len() && stats.waiting <= 8_192);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    assert!(data.len() < MAX_FRAME || Said::parse(&"x".repeat(MAX_FRAME + 1)).is_none());
    let mut world = World::new();
    world.open(0, b"a");
    world.open(1, b"b");
    world.open(0, b"c-c");
    world.deliver(0);
    for line in data.split(|&byte| byte == b'\n') {
        let Some((&first, line)) = line.split_first() else { continue };
        world.event(first, line);
    }
    for (conn, (node, _)) in std::mem::take(&mut world.live) {
        world.give(node, Input::Closed { conn });
    }
    // What waited has waited, and claims that a body made up are told no more.
    world.pass(120_000);
    for node in 0..2 {
        let stats = world.brokers[node].stats();
        assert_eq!((stats.peers, stats.claims, stats.waiting), (0, 0, 0), "at n{node}");
        assert_eq!(world.brokers[node].deadline(), None, "n{node} has nothing to do");
    }
    assert!(world.lists.is_empty(), "a list was not answered");
});
