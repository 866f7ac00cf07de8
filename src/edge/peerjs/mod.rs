//! The server side of [PeerJS](https://peerjs.com): clients come by an id of their choice and call each other by it. Owns ids, and
//! the way of a message from one peer to another; media goes from browser to browser. No clock, no IO: `edge::signal` has the
//! sockets and hands over what they said.
//!
//! An id is unique in the whole deployment. Each has a *home*, the node that [`View::home`] names for it, as rooms have: nodes
//! claim ids there for their clients, and messages for peers of other nodes go by way of it.
//!
//! ```text
//!   client ─ OFFER ─▶ node ── Up: claim, hold, relay ──▶ home ── Down: granted, lost, deliver ──▶ node ─ OFFER ─▶ client
//! ```
//!
//! Messages between nodes may be lost. A claim is repeated until it is answered; ids are told again every few seconds, and at once
//! to a home that is new. After a cut two clients may have one id: the home then finds which keeps it.
//!
//! - `message`: what clients and server say to each other; `wire`: what nodes say
//! - `clients`: the side of a node with clients; `home`: the home's
//! - `listing`: who is there, asked of all nodes; `room`: calls to a room of members

mod clients;
mod home;
mod listing;
pub mod message;
mod room;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustc_hash::FxHashMap;

pub use message::{MAX_FRAME, MAX_SECRET, Said};
pub use room::{Answer, Call};
pub use wire::is_ours;

use super::hub::ConnId;
use super::hub::bucket::Bucket;
use crate::cluster::{NodeInfo, View};
use crate::id::{NodeId, RoomId};
use clients::Client;
use home::Home;
use listing::Listing;
use wire::{Letter, Message, Name, Up};

/// Bytes of messages that clients here may send to other nodes at once, and in each second: a part of what a link takes, so that
/// rooms' messages always pass.
const ELSEWHERE_BYTES: (f64, f64) = (4e6, 1e6);

/// Nodes that forward a message to the home they see, while they do not agree on it.
const MOST_HOPS: u8 = 3;

/// Who wants to be called by an id.
#[derive(Debug, Clone)]
pub struct Who {
    /// Names the app: peers of different apps do not meet.
    pub key: String,
    pub id: String,
    /// Known to the client only; with it the client comes back to its id.
    pub token: String,
}

impl Who {
    /// Whether it may be asked for.
    pub fn is_sound(&self) -> bool {
        let texts = message::is_text(&self.key, MAX_SECRET) && message::is_text(&self.token, MAX_SECRET);
        texts && message::is_id(&self.id)
    }
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// A client connected. Its key is one that this node serves.
    Opened {
        conn: ConnId,
        who: Who,
    },
    Said {
        conn: ConnId,
        said: Said,
    },
    /// It said what is no message.
    Malformed {
        conn: ConnId,
    },
    /// The connection is gone, whoever ended it.
    Closed {
        conn: ConnId,
    },
    /// What was to be sent found no space, since the client reads too slowly. `caller` came with it.
    Full {
        caller: Option<Caller>,
    },
    /// What became of [`Output::Call`]; the error says why, in words for people.
    Answered {
        conn: ConnId,
        call: Box<Call>,
        answer: Result<Answer, String>,
    },
    /// A session of a room is over, whoever ended it; maybe none that was a client's call.
    Ended {
        session: String,
    },
    /// Who is there? `number` comes back with the answer.
    List {
        number: u64,
        key: String,
    },
    /// A body of another node's broker: see [`is_ours`].
    Node {
        from: NodeId,
        body: Bytes,
    },
    /// Which nodes can be reached.
    Cluster {
        view: View,
    },
    /// Every client is sent away, and none is taken any more.
    Drain,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    Send {
        conn: ConnId,
        text: String,
        /// Who should hear that it could not be sent.
        caller: Option<Caller>,
    },
    /// Close the connection after what was sent before. The broker has forgotten it.
    Close { conn: ConnId },
    /// A client calls a room; to be answered by [`Input::Answered`].
    Call { conn: ConnId, call: Box<Call> },
    /// For another node's broker.
    Node { to: NodeId, body: Bytes },
    /// `None`: too many ask.
    Listed { number: u64, ids: Option<Vec<String>> },
}

/// Somebody whose call waits for what is sent.
#[derive(Debug)]
pub struct Caller(Letter);

/// What happened since the start, and what there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Clients that have their id.
    pub peers: usize,
    /// Ids of which this node is the home.
    pub claims: usize,
    /// Messages that wait for peers that are not there.
    pub waiting: usize,
    pub opened: u64,
    /// Clients that wanted an id which another has.
    pub taken: u64,
    /// Sockets given up for a newer one of the same client.
    pub replaced: u64,
    /// Messages handed to clients.
    pub delivered: u64,
    /// Calls that nobody came for.
    pub expired: u64,
    /// Messages dropped for their rate or number, or since the receiver reads too slowly.
    pub dropped: u64,
    pub malformed: u64,
    /// Messages of other nodes that could not be read.
    pub bodies_refused: u64,
}

/// What a home is told the time by.
#[derive(Debug, Clone, Copy)]
struct Terms<'a> {
    now: Instant,
    unix_ms: u64,
    view: &'a View,
}

/// The clients of this node, and the ids of which it is the home.
#[derive(Debug)]
pub struct Broker {
    now: Instant,
    unix_ms: u64,
    view: View,
    draining: bool,
    clients: FxHashMap<ConnId, Client>,
    /// Clients that have their id…
    names: FxHashMap<Name, ConnId>,
    /// …and those that have asked for one, by it and their token: strangers may ask for the same.
    claiming: FxHashMap<(Name, Arc<str>), ConnId>,
    /// Whose call a room's session is. The hub says when one is over.
    calls: FxHashMap<String, ConnId>,
    /// When claims that were not answered are repeated.
    retries: BTreeSet<(Instant, ConnId)>,
    /// When ids are told to their homes again.
    refresh_at: Option<Instant>,
    elsewhere: Bucket,
    home: Home,
    /// By app.
    listings: FxHashMap<Arc<str>, Listing>,
    /// What this node says to itself.
    inbox: VecDeque<Message>,
    stats: Stats,
    out: Vec<Output>,
}

impl Broker {
    /// Without clients, and on its own until a view comes.
    pub fn new(me: NodeInfo, now: Instant) -> Self {
        let (burst, rate) = ELSEWHERE_BYTES;
        Self {
            now,
            unix_ms: 0,
            view: View::alone(me),
            draining: false,
            clients: FxHashMap::default(),
            names: FxHashMap::default(),
            claiming: FxHashMap::default(),
            calls: FxHashMap::default(),
            retries: BTreeSet::new(),
            refresh_at: None,
            elsewhere: Bucket::new(now, rate, burst),
            home: Home::default(),
            listings: FxHashMap::default(),
            inbox: VecDeque::new(),
            stats: Stats::default(),
            out: Vec::new(),
        }
    }

    /// Takes in what happened; appends to `out` what is to be done, in order. `unix_ms` is the time of day at `now`.
    pub fn handle(&mut self, (now, unix_ms): (Instant, u64), input: Input, out: &mut Vec<Output>) {
        (self.now, self.unix_ms) = (now, unix_ms);
        match input {
            Input::Opened { conn, who } => self.opened(conn, who),
            Input::Said { conn, said } => self.said(conn, said),
            Input::Malformed { conn } => self.malformed(conn),
            Input::Closed { conn } => self.closed(conn),
            Input::Full { caller } => self.full(caller),
            Input::Answered { conn, call, answer } => self.answered(conn, &call, answer),
            Input::Ended { session } => self.ended(&session),
            Input::List { number, key } => self.list(number, key.into()),
            Input::Node { from, body } => self.node(&from, &body),
            Input::Cluster { view } => self.cluster(view),
            Input::Drain => self.drain(),
        }
        self.settle(out);
    }

    /// When [`Broker::handle_timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let retry = self.retries.first().map(|(at, _)| *at);
        let listing = self.listings.values().map(Listing::until).min();
        [retry, listing, self.refresh_at, self.home.deadline()].into_iter().flatten().min()
    }

    /// Does what is due by now.
    pub fn handle_timeout(&mut self, (now, unix_ms): (Instant, u64), out: &mut Vec<Output>) {
        (self.now, self.unix_ms) = (now, unix_ms);
        self.retry();
        self.refresh();
        self.end_listings();
        let mut told = Vec::new();
        self.home.tick(Terms { now, unix_ms, view: &self.view }, &mut told);
        self.tell(told);
        self.settle(out);
    }

    pub fn stats(&self) -> Stats {
        Stats { peers: self.open_clients(), claims: self.home.claims(), waiting: self.home.waiting(), ..self.stats }
    }

    /// Lets this node's clients and its home hear each other, until all is said.
    fn settle(&mut self, out: &mut Vec<Output>) {
        while let Some(message) = self.inbox.pop_front() {
            let me = self.view.me.clone();
            self.heard(&me, message);
        }
        out.append(&mut self.out);
    }

    /// A body from another node.
    fn node(&mut self, from: &NodeId, body: &[u8]) {
        // Who is not in the view can't be answered; it repeats what matters.
        if *from == self.view.me || !self.view.nodes.contains_key(from) {
            return;
        }
        match wire::parse(body) {
            Some(message) => self.heard(from, message),
            None => self.stats.bodies_refused += 1,
        }
    }

    fn heard(&mut self, from: &NodeId, message: Message) {
        match message {
            Message::Up(up) => self.heard_up(from, up),
            Message::Down(down) => self.heard_down(from, down),
            Message::List { number, key } => self.asked_to_list(from, number, &key),
            Message::Listed { number, ids, more } => self.listed(from, number, ids, more),
        }
    }

    /// As the home, or as a node that another one takes for it.
    fn heard_up(&mut self, from: &NodeId, up: Up) {
        let up = match up {
            // While nodes disagree about a home, claims are repeated and messages are passed on.
            Up::Claim { name, .. } if !name.is_at_home(&self.view) => return,
            Up::Hold(mut held) => {
                held.retain(|held| held.name.is_at_home(&self.view));
                Up::Hold(held)
            }
            Up::Relay { letter, hops } if !letter.to().is_at_home(&self.view) => return self.pass_on(letter, hops),
            Up::Absent { letter } if !letter.to().is_at_home(&self.view) => return self.pass_on(letter, 0),
            up => up,
        };
        let mut told = Vec::new();
        self.home.hear(Terms { now: self.now, unix_ms: self.unix_ms, view: &self.view }, from, up, &mut told);
        self.tell(told);
    }

    /// To the home that is seen from here.
    fn pass_on(&mut self, letter: Letter, hops: u8) {
        let home = letter.to().home(&self.view);
        if hops < MOST_HOPS {
            self.send(&home, Message::Up(Up::Relay { letter, hops: hops + 1 }));
        }
    }

    fn tell(&mut self, told: home::Told) {
        for (to, down) in told {
            self.send(&to, Message::Down(down));
        }
    }

    fn send(&mut self, to: &NodeId, message: Message) {
        if *to == self.view.me {
            self.inbox.push_back(message);
        } else if let Some(body) = wire::encode(&message) {
            self.out.push(Output::Node { to: to.clone(), body });
        }
    }

    /// Takes over which nodes can be reached. Ids whose home is another one now are told there.
    fn cluster(&mut self, view: View) {
        if view.me != self.view.me {
            return;
        }
        self.view = view;
        for letter in self.home.review(self.now, &self.view) {
            let home = letter.to().home(&self.view);
            self.send(&home, Message::Up(Up::Relay { letter, hops: 0 }));
        }
        self.find_homes();
        self.fewer_listed();
    }
}

impl Name {
    /// Which node decides about it.
    fn home(&self, view: &View) -> NodeId {
        view.home(&RoomId::new(format!("peerjs {} {}", self.key, self.id))).clone()
    }

    fn is_at_home(&self, view: &View) -> bool {
        self.home(view) == view.me
    }
}
