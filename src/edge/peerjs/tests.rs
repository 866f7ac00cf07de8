//! Brokers in virtual time: one alone, and several whose messages take a while, are lost, or do not pass where the network is cut.

mod alone;
mod nodes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::*;
use crate::cluster::Role;
use crate::id::RegionId;

/// Neighbours notice a silent link after this.
const NOTICED: Duration = Duration::from_millis(1_500);

/// A cluster with its clients.
struct Net {
    brokers: Vec<Broker>,
    up: Vec<bool>,
    incarnations: Vec<u64>,
    /// Nodes on one side reach each other.
    sides: Vec<u8>,
    noticed: Option<Instant>,
    flying: BTreeMap<(Instant, u64), (usize, usize, Bytes)>,
    /// How many messages in a thousand are lost.
    loss: u32,
    now: Instant,
    start: Instant,
    rng: StdRng,
    sent: u64,
    next_conn: u64,
    /// What clients were told; `CLOSED` last for one that was closed.
    told: BTreeMap<ConnId, Vec<Value>>,
    listed: BTreeMap<u64, Option<Vec<String>>>,
    calls: Vec<(ConnId, Box<Call>)>,
}

const CLOSED: &str = "CLOSED";

fn name(node: usize) -> NodeId {
    NodeId::new(format!("n{node}"))
}

fn who(id: &str, token: &str) -> Who {
    Who { key: "peerjs".into(), id: id.into(), token: token.into() }
}

fn said(kind: &str, dst: &str, payload: Value) -> Said {
    Said::parse(&json!({ "type": kind, "dst": dst, "payload": payload }).to_string()).expect("a message")
}

impl Net {
    fn new(nodes: usize, seed: u64) -> Self {
        let start = Instant::now();
        let mut net = Self {
            brokers: Vec::new(),
            up: vec![true; nodes],
            incarnations: vec![1; nodes],
            sides: vec![0; nodes],
            noticed: None,
            flying: BTreeMap::new(),
            loss: 0,
            now: start,
            start,
            rng: StdRng::seed_from_u64(seed),
            sent: 0,
            next_conn: 0,
            told: BTreeMap::new(),
            listed: BTreeMap::new(),
            calls: Vec::new(),
        };
        net.brokers = (0..nodes).map(|node| Broker::new(net.info(node), start)).collect();
        net.tell_views();
        net.pass(1_000);
        net
    }

    fn info(&self, node: usize) -> NodeInfo {
        NodeInfo {
            id: name(node),
            region: RegionId::new("r"),
            role: Role::Both,
            incarnation: self.incarnations[node],
            draining: false,
            url: None,
            addr: None,
        }
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        self.up[from] && self.up[to] && self.sides[from] == self.sides[to]
    }

    /// Everybody learns whom it reaches now.
    fn tell_views(&mut self) {
        self.noticed = None;
        for node in (0..self.brokers.len()).filter(|&node| self.up[node]).collect::<Vec<_>>() {
            let nodes = (0..self.brokers.len()).filter(|&other| self.reaches(node, other));
            let nodes = nodes.map(|other| (name(other), self.info(other))).collect();
            self.give(node, Input::Cluster { view: View { me: name(node), nodes: Arc::new(nodes) } });
        }
    }

    fn clock(&self) -> (Instant, u64) {
        (self.now, 1_000_000 + u64::try_from(self.now.duration_since(self.start).as_millis()).expect("short"))
    }

    fn give(&mut self, node: usize, input: Input) {
        let (clock, mut out) = (self.clock(), Vec::new());
        self.brokers[node].handle(clock, input, &mut out);
        self.carry(node, out);
    }

    fn carry(&mut self, from: usize, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { conn, text, caller: _ } => {
                    let told = self.told.entry(conn).or_default();
                    assert_ne!(told.last(), Some(&json!(CLOSED)), "told after its end: {text}");
                    told.push(serde_json::from_str(&text).expect("JSON"));
                }
                Output::Close { conn } => self.told.entry(conn).or_default().push(json!(CLOSED)),
                Output::Call { conn, call } => self.calls.push((conn, call)),
                Output::Listed { number, ids } => {
                    assert!(self.listed.insert(number, ids).is_none(), "answered twice");
                }
                Output::Node { to, body } => {
                    let to: usize = to.as_str()[1..].parse().expect("a node's number");
                    assert!(from != to && is_ours(&body) && body.len() <= 200 << 10);
                    self.sent += 1;
                    if self.rng.random_range(0..1_000) >= self.loss {
                        // In order between two nodes; each pair has its own way.
                        let at = self.now + Duration::from_millis(5 + 23 * ((from * 7 + to * 13) % 5) as u64);
                        self.flying.insert((at, self.sent), (from, to, body));
                    }
                }
            }
        }
    }

    /// Lets time pass everywhere.
    fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        for round in 0.. {
            assert!(round < 200_000, "no rest");
            let timers = (0..self.brokers.len()).filter(|&node| self.up[node]).filter_map(|node| self.brokers[node].deadline());
            let next = timers.chain(self.flying.keys().next().map(|(at, _)| *at)).chain(self.noticed).min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            if self.noticed.is_some_and(|at| at <= self.now) {
                self.tell_views();
            }
            while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (from, to, body) = entry.remove();
                if self.reaches(from, to) {
                    self.give(to, Input::Node { from: name(from), body });
                }
            }
            for node in 0..self.brokers.len() {
                if self.up[node] && self.brokers[node].deadline().is_some_and(|at| at <= self.now) {
                    let (clock, mut out) = (self.clock(), Vec::new());
                    self.brokers[node].handle_timeout(clock, &mut out);
                    self.carry(node, out);
                }
            }
        }
        self.now = end;
    }

    /// The network is cut, or mended; everybody notices a little later.
    fn cut(&mut self, sides: &[u8]) {
        self.sides = sides.to_vec();
        self.noticed = Some(self.now + NOTICED);
    }

    /// A node dies, and its clients' sockets with it.
    fn kill(&mut self, node: usize) {
        self.up[node] = false;
        self.noticed = Some(self.now + NOTICED);
    }

    fn revive(&mut self, node: usize) {
        self.up[node] = true;
        self.incarnations[node] += 1;
        self.brokers[node] = Broker::new(self.info(node), self.now);
        self.noticed = Some(self.now + NOTICED);
    }

    fn open_as(&mut self, node: usize, who: Who) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.give(node, Input::Opened { conn, who });
        conn
    }

    /// Opens a socket, and waits until it is answered.
    fn open(&mut self, node: usize, id: &str, token: &str) -> ConnId {
        let conn = self.open_as(node, who(id, token));
        self.pass(300);
        conn
    }

    fn say(&mut self, node: usize, conn: ConnId, kind: &str, dst: &str, payload: Value) {
        self.give(node, Input::Said { conn, said: said(kind, dst, payload) });
    }

    /// The types of all a client was told since it was asked last.
    fn heard(&mut self, conn: ConnId) -> Vec<String> {
        let told = self.told.remove(&conn).unwrap_or_default();
        told.iter().map(|told| told["type"].as_str().or(told.as_str()).expect("a type").to_owned()).collect()
    }

    /// The home of an id, as `node` sees it.
    fn home(&self, node: usize, id: &str) -> usize {
        let home = Name { key: "peerjs".into(), id: id.into() }.home(&self.brokers[node].view);
        home.as_str()[1..].parse().expect("a node's number")
    }

    /// An id whose home is that node.
    fn id_at(&self, home: usize) -> String {
        (0..).map(|n| format!("id-{n}")).find(|id| self.home(0, id) == home).expect("some id")
    }
}
