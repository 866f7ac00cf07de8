//! The clients of this node: their sockets, their ids, and what they say. Part of `edge::peerjs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{ID_TAKEN, Kind, OPEN, Said, error, relayed};
use super::wire::{Down, Held, Letter, Message, Name, Refusal, Up, parts};
use super::{Broker, Caller, Output, Who, room};
use crate::edge::hub::ConnId;
use crate::edge::hub::bucket::Bucket;
use crate::id::NodeId;

/// Messages of one client in each second, and at once: who enters a large mesh calls many, with a dozen candidates each.
const MESSAGES: (f64, f64) = (200.0, 2_000.0);

/// Their bytes.
const BYTES: (f64, f64) = (256e3, 4e6);

/// Calls of one client to rooms in each second, and at once. Each costs a transport.
const CALLS: (f64, f64) = (0.5, 10.0);

/// Messages in a row that are none before a client is closed.
const MALFORMED: u32 = 20;

/// What a client may say before it has its id.
const HELD: usize = 64;

/// A claim that was not answered is repeated after this…
const RETRY: Duration = Duration::from_millis(500);

/// …for so long.
const CLAIMING: Duration = Duration::from_secs(10);

/// How often ids are told to their homes again.
const REFRESH: Duration = Duration::from_secs(10);

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    name: Name,
    token: Arc<str>,
    state: State,
    /// Which node decides about its id, and which run of it.
    home: (NodeId, u64),
    messages: Bucket,
    bytes: Bucket,
    calls: Bucket,
    malformed: u32,
    /// Its calls to rooms, by session: whom it called.
    pub(super) sessions: BTreeMap<String, Arc<str>>,
}

#[derive(Debug)]
enum State {
    /// The home has not answered yet.
    Claiming { since: Instant, retry_at: Instant, held: Vec<Said> },
    /// The id was granted at that time of day.
    Open { stamp: u64 },
}

impl Client {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    pub(super) fn id(&self) -> &str {
        &self.name.id
    }

    /// Its id, if it has it and belongs to that app.
    pub(super) fn open_id(&self, key: &str) -> Option<&Arc<str>> {
        (self.is_open() && *self.name.key == *key).then_some(&self.name.id)
    }
}

impl Broker {
    pub(super) fn open_clients(&self) -> usize {
        self.clients.values().filter(|client| client.is_open()).count()
    }

    /// A client wants its id. Who has it here keeps it, unless it is the same client. Of several that ask the home lets one have it.
    pub(super) fn opened(&mut self, conn: ConnId, who: Who) {
        if self.draining {
            return self.close(conn);
        }
        let (name, token) = (Name { key: who.key.into(), id: who.id.into() }, Arc::from(who.token));
        match self.names.get(&name).copied() {
            Some(old) if self.clients.get(&old).is_some_and(|client| client.token == token) => self.replace(old, conn),
            Some(_) => {
                self.stats.taken += 1;
                self.dismiss(conn, ID_TAKEN.to_owned());
            }
            None if room::is_room(&name.id) => self.dismiss(conn, ID_TAKEN.to_owned()),
            None => {
                let asked = (name.clone(), Arc::clone(&token));
                if let Some(old) = self.claiming.get(&asked).copied() {
                    return self.replace(old, conn);
                }
                let retry_at = self.now + RETRY;
                let client = Client {
                    home: self.home_of(&name),
                    name,
                    token,
                    state: State::Claiming { since: self.now, retry_at, held: Vec::new() },
                    messages: Bucket::new(self.now, MESSAGES.0, MESSAGES.1),
                    bytes: Bucket::new(self.now, BYTES.0, BYTES.1),
                    calls: Bucket::new(self.now, CALLS.0, CALLS.1),
                    malformed: 0,
                    sessions: BTreeMap::new(),
                };
                self.clients.insert(conn, client);
                self.claiming.insert(asked, conn);
                self.retries.insert((retry_at, conn));
                self.claim(conn);
            }
        }
    }

    /// The same client by another socket: what it was, it is.
    fn replace(&mut self, old: ConnId, conn: ConnId) {
        let Some(client) = self.clients.remove(&old) else { return };
        self.stats.replaced += 1;
        self.close(old);
        match &client.state {
            State::Claiming { retry_at, .. } => {
                self.retries.remove(&(*retry_at, old));
                self.retries.insert((*retry_at, conn));
                self.claiming.insert((client.name.clone(), Arc::clone(&client.token)), conn);
            }
            State::Open { .. } => {
                self.tell_client(conn, OPEN.to_owned());
                self.names.insert(client.name.clone(), conn);
            }
        }
        for session in client.sessions.keys() {
            self.calls.insert(session.clone(), conn);
        }
        self.clients.insert(conn, client);
    }

    fn home_of(&self, name: &Name) -> (NodeId, u64) {
        let home = name.home(&self.view);
        let run = self.view.nodes.get(&home).map_or(0, |node| node.incarnation);
        (home, run)
    }

    fn claim(&mut self, conn: ConnId) {
        let Some(client) = self.clients.get(&conn) else { return };
        let up = Up::Claim { name: client.name.clone(), token: Arc::clone(&client.token) };
        self.send(&client.home.0.clone(), Message::Up(up));
    }

    /// Repeats claims that were not answered; gives up those that waited for too long.
    pub(super) fn retry(&mut self) {
        let now = self.now;
        while let Some(&(_, conn)) = self.retries.first().filter(|(at, _)| *at <= now) {
            self.retries.pop_first();
            let Some(client) = self.clients.get_mut(&conn) else { continue };
            let State::Claiming { since, retry_at, .. } = &mut client.state else { continue };
            if now >= *since + CLAIMING {
                self.forget(conn, true);
                self.dismiss(conn, error("the server can't find out whether the id is free; try again"));
                continue;
            }
            *retry_at = now + RETRY;
            self.retries.insert((*retry_at, conn));
            self.claim(conn);
        }
    }

    pub(super) fn said(&mut self, conn: ConnId, said: Said) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        client.malformed = 0;
        let size = said.payload.as_ref().map_or(0, |payload| payload.len()) + said.dst.len();
        if !client.messages.take(self.now, 1.0) || !client.bytes.take(self.now, size as f64) {
            return self.drop_said(conn, &said);
        }
        match &mut client.state {
            State::Claiming { held, .. } if held.len() < HELD => held.push(said),
            State::Claiming { .. } => self.drop_said(conn, &said),
            State::Open { .. } => self.relay(conn, said),
        }
    }

    /// Drops what is too much. A caller is told that its call fails.
    fn drop_said(&mut self, conn: ConnId, said: &Said) {
        self.stats.dropped += 1;
        if let Some(client) = self.clients.get(&conn).filter(|_| said.kind == Kind::Offer) {
            let text = relayed(Kind::Expire, &said.dst, &client.name.id, None);
            self.tell_client(conn, text);
        }
    }

    /// To a peer here at once, to others by way of their home.
    fn relay(&mut self, conn: ConnId, said: Said) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let (key, src) = (Arc::clone(&client.name.key), Arc::clone(&client.name.id));
        if room::is_room(&said.dst) {
            if said.kind != Kind::Offer || client.calls.take(self.now, 1.0) {
                return self.call_room(conn, &src, &said);
            }
            self.stats.dropped += 1;
            return self.refuse_call(conn, &src, &said.dst, "too many calls; wait a few seconds");
        }
        let Said { kind, dst, payload } = said.clone();
        let letter = Letter { kind, key, src, dst, payload, from: self.view.me.clone() };
        if kind == Kind::Heartbeat {
            return;
        }
        let name = letter.to();
        if self.names.contains_key(&name) {
            return self.deliver(letter);
        }
        let home = name.home(&self.view);
        if home != self.view.me && !self.elsewhere.take(self.now, letter.weight() as f64) {
            return self.drop_said(conn, &said);
        }
        self.send(&home, Message::Up(Up::Relay { letter, hops: 0 }));
    }

    /// Hands a message to the client it is for; if that is gone, the home sees what becomes of it.
    fn deliver(&mut self, letter: Letter) {
        let name = letter.to();
        if let Some(conn) = self.names.get(&name).copied() {
            let ours = if letter.kind == Kind::Expire { &mut self.stats.expired } else { &mut self.stats.delivered };
            *ours += 1;
            let text = relayed(letter.kind, &letter.src, &letter.dst, letter.payload.as_deref());
            let caller = (letter.kind == Kind::Offer).then(|| Caller(letter.expired()));
            self.out.push(Output::Send { conn, text, caller });
        } else if letter.kind.waits() {
            let home = name.home(&self.view);
            self.send(&home, Message::Up(Up::Absent { letter }));
        }
    }

    /// What an id's home says.
    pub(super) fn heard_down(&mut self, from: &NodeId, down: Down) {
        match down {
            Down::Granted { name, token, stamp } => self.granted(from, name, token, stamp),
            Down::Refused { name, token, why } => {
                let asked = (name, token);
                let Some(conn) = self.claiming.get(&asked).copied() else { return };
                if why == Refusal::Yours && !self.names.contains_key(&asked.0) {
                    // Who had it here has gone, and the home has not heard of it.
                    self.send(from, Message::Up(Up::Release { name: asked.0, token: None }));
                    return self.claim(conn);
                }
                self.forget(conn, false);
                let text = match why {
                    Refusal::Taken | Refusal::Yours => {
                        self.stats.taken += 1;
                        ID_TAKEN.to_owned()
                    }
                    Refusal::Full => error("the server keeps no more ids; try again later"),
                };
                self.dismiss(conn, text);
            }
            Down::Lost { name, stamp, replaced } => {
                let Some(conn) = self.names.get(&name).copied() else { return };
                let Some(State::Open { stamp: ours }) = self.clients.get(&conn).map(|client| &client.state) else { return };
                if *ours != stamp {
                    return;
                }
                self.forget(conn, false);
                if replaced {
                    self.stats.replaced += 1;
                    self.close(conn);
                } else {
                    self.stats.taken += 1;
                    self.dismiss(conn, ID_TAKEN.to_owned());
                }
            }
            Down::Deliver { letter } => self.deliver(letter),
        }
    }

    fn granted(&mut self, from: &NodeId, name: Name, token: Arc<str>, stamp: u64) {
        if let Some(open) = self.names.get(&name).copied() {
            // The same client's, who asked more than once; or the home does not know who is here.
            match self.clients.get_mut(&open) {
                Some(Client { token: ours, state: State::Open { stamp: known }, .. }) if *ours == token => {
                    *known = stamp.max(*known);
                }
                _ => self.hold(vec![open]),
            }
            return;
        }
        let asked = (name, token);
        let Some(conn) = self.claiming.remove(&asked) else {
            // The client did not wait for it.
            return self.send(from, Message::Up(Up::Release { name: asked.0, token: Some(asked.1) }));
        };
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let State::Claiming { retry_at, held, .. } = &mut client.state else { return };
        let (retry_at, held) = (*retry_at, std::mem::take(held));
        client.state = State::Open { stamp };
        self.names.insert(asked.0, conn);
        self.retries.remove(&(retry_at, conn));
        self.refresh_at.get_or_insert(self.now + REFRESH);
        self.stats.opened += 1;
        self.tell_client(conn, OPEN.to_owned());
        for said in held {
            self.relay(conn, said);
        }
    }

    pub(super) fn malformed(&mut self, conn: ConnId) {
        self.stats.malformed += 1;
        let Some(client) = self.clients.get_mut(&conn) else { return };
        client.malformed += 1;
        if client.malformed >= MALFORMED {
            self.forget(conn, true);
            self.dismiss(conn, error("too many messages that are none"));
        }
    }

    /// A client reads too slowly. It keeps its socket, or whoever sends much could take that from it.
    pub(super) fn full(&mut self, caller: Option<Caller>) {
        self.stats.dropped += 1;
        if let Some(Caller(letter)) = caller {
            self.send(&letter.from.clone(), Message::Down(Down::Deliver { letter }));
        }
    }

    pub(super) fn closed(&mut self, conn: ConnId) {
        self.forget(conn, true);
    }

    /// The client is gone, and with `release` its id is free.
    fn forget(&mut self, conn: ConnId, release: bool) {
        let Some(client) = self.clients.remove(&conn) else { return };
        for session in client.sessions.keys() {
            self.calls.remove(session);
        }
        let asked = (client.name, client.token);
        match client.state {
            State::Claiming { retry_at, .. } => {
                self.retries.remove(&(retry_at, conn));
                self.claiming.remove(&asked);
            }
            State::Open { .. } => drop(self.names.remove(&asked.0)),
        }
        if release {
            self.send(&client.home.0, Message::Up(Up::Release { name: asked.0, token: Some(asked.1) }));
        }
    }

    /// Sends everybody away. What they have with each other goes on without us.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        let all: Vec<ConnId> = self.clients.keys().copied().collect();
        for conn in all {
            self.forget(conn, true);
            self.close(conn);
        }
    }

    pub(super) fn tell_client(&mut self, conn: ConnId, text: String) {
        self.out.push(Output::Send { conn, text, caller: None });
    }

    fn close(&mut self, conn: ConnId) {
        self.out.push(Output::Close { conn });
    }

    /// Closes with a last word.
    fn dismiss(&mut self, conn: ConnId, text: String) {
        self.tell_client(conn, text);
        self.close(conn);
    }

    /// Ids whose home is another one now are told there.
    pub(super) fn find_homes(&mut self) {
        let (mut moved, mut claims) = (Vec::new(), Vec::new());
        let view = self.view.clone();
        for (conn, client) in &mut self.clients {
            let home = client.name.home(&view);
            let run = view.nodes.get(&home).map_or(0, |node| node.incarnation);
            if client.home == (home.clone(), run) {
                continue;
            }
            client.home = (home, run);
            match client.state {
                State::Claiming { .. } => claims.push(*conn),
                State::Open { .. } => moved.push(*conn),
            }
        }
        self.hold(moved);
        claims.into_iter().for_each(|conn| self.claim(conn));
    }

    /// Tells homes again which ids are here.
    pub(super) fn refresh(&mut self) {
        if self.refresh_at.is_none_or(|at| at > self.now) {
            return;
        }
        let me = self.view.me.clone();
        let away = |client: &Client| client.is_open() && client.home.0 != me;
        let all: Vec<ConnId> = self.clients.iter().filter(|(_, client)| away(client)).map(|(conn, _)| *conn).collect();
        self.hold(all);
        self.refresh_at = (!self.clients.is_empty()).then_some(self.now + REFRESH);
    }

    fn hold(&mut self, conns: Vec<ConnId>) {
        let mut by_home: std::collections::BTreeMap<NodeId, Vec<Held>> = std::collections::BTreeMap::new();
        for client in conns.iter().filter_map(|conn| self.clients.get(conn)) {
            let State::Open { stamp } = client.state else { continue };
            let held = Held { name: client.name.clone(), token: Arc::clone(&client.token), stamp };
            by_home.entry(client.home.0.clone()).or_default().push(held);
        }
        for (home, held) in by_home {
            let weight = |held: &Held| held.name.key.len() + held.name.id.len() + held.token.len() + 16;
            for part in parts(held, weight) {
                self.send(&home, Message::Up(Up::Hold(part)));
            }
        }
    }
}
