//! Calls to a room: `room-NAME` is no client's id but a room's, and whoever calls it becomes a member who publishes and is shown whoever
//! speaks. `room-NAME IDENTITY` shows one member only. The hub opens the session, as it does for WHIP and WHEP; this reads what such
//! a call asks for and writes what answers it. Part of `edge::peerjs`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::message::{Kind, Said, relayed};
use super::{Broker, Output};
use crate::edge::hub::ConnId;
use crate::edge::token::MAX_TEXT;
use crate::edge::whip;
use crate::id::{Identity, RegionId, RoomId};

/// What a room's id begins with.
const PREFIX: &str = "room-";

/// A call to a room.
#[derive(Debug)]
pub struct Call {
    pub room: RoomId,
    /// Who calls, by the id that it has.
    pub peer: Arc<str>,
    /// How the caller wants to be called; without it, its id.
    pub name: String,
    /// Whom it wants to watch; without it, it publishes too and watches whoever speaks.
    pub member: Option<Identity>,
    /// From `metadata.token`.
    pub token: Option<String>,
    pub offer: String,
    callee: Arc<str>,
    connection: String,
}

/// How a room answers a call.
#[derive(Debug)]
pub struct Answer {
    /// By which [`super::Input::Ended`] names it.
    pub session: String,
    pub sdp: String,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "connectionId")]
    connection: String,
    sdp: Description,
    #[serde(default)]
    metadata: Value,
}

#[derive(Deserialize)]
struct Description {
    sdp: String,
}

impl Call {
    /// Reads an offer; `None` for what is no call with media to a room.
    fn read(peer: &Arc<str>, said: &Said) -> Option<Self> {
        let (room, member) = match said.dst.strip_prefix(PREFIX)?.split_once(' ') {
            Some((room, member)) => (room, Some(Identity::new(member))),
            None => (said.dst.strip_prefix(PREFIX)?, None),
        };
        let payload: Payload = serde_json::from_str(said.payload.as_deref()?).ok()?;
        if room.is_empty() || payload.kind != "media" {
            return None;
        }
        let text = |key| payload.metadata.get(key).and_then(Value::as_str);
        let name = text("name").filter(|name| (1..=MAX_TEXT).contains(&name.len())).unwrap_or(peer);
        Some(Self {
            room: RoomId::new(room),
            peer: Arc::clone(peer),
            name: name.to_owned(),
            member,
            token: text("token").map(str::to_owned),
            offer: payload.sdp.sdp,
            callee: Arc::clone(&said.dst),
            connection: payload.connection,
        })
    }

    /// What the hub is asked.
    pub fn ask(&self, token: String) -> whip::Ask {
        let protocol = if self.member.is_some() { whip::Protocol::PeerjsMember } else { whip::Protocol::Peerjs };
        let query = whip::Query { member: self.member.clone(), region: None::<RegionId> };
        let act = whip::Act::Open { offer: self.offer.clone(), query, client: "peerjs".to_owned() };
        whip::Ask { protocol, room: self.room.clone(), token, act }
    }
}

/// Whether an id is a room's.
pub(super) fn is_room(id: &str) -> bool {
    id.starts_with(PREFIX)
}

impl Broker {
    /// A client speaks to a room. The answer has all candidates and the caller's come with its checks, so there is only the offer.
    pub(super) fn call_room(&mut self, conn: ConnId, id: &Arc<str>, said: &Said) {
        if said.kind != Kind::Offer {
            return;
        }
        match Call::read(id, said) {
            Some(call) => self.out.push(Output::Call { conn, call: Box::new(call) }),
            None => self.refuse_call(conn, id, &said.dst, "a room takes calls with media, and no data connections"),
        }
    }

    /// What the hub made of a call.
    pub(super) fn answered(&mut self, conn: ConnId, call: &Call, answer: Result<Answer, String>) {
        let Answer { session, sdp } = match answer {
            Ok(answer) => answer,
            Err(why) => return self.refuse_call(conn, &call.peer, &call.callee, &why),
        };
        // Of a client that has gone meanwhile the room hears by its media.
        let Some(client) = self.clients.get_mut(&conn) else { return };
        client.sessions.insert(session.clone(), Arc::clone(&call.callee));
        self.calls.insert(session, conn);
        let sdp = json!({ "type": "answer", "sdp": sdp });
        let payload = json!({ "sdp": sdp, "type": "media", "connectionId": call.connection }).to_string();
        self.stats.delivered += 1;
        self.tell_client(conn, relayed(Kind::Answer, &call.callee, &call.peer, Some(&payload)));
    }

    /// The caller hears why, and its call is closed.
    pub(super) fn refuse_call(&mut self, conn: ConnId, id: &str, callee: &str, why: &str) {
        if !self.clients.contains_key(&conn) {
            return;
        }
        self.stats.expired += 1;
        // Of an EXPIRE the client shows the sender and nothing else: "Could not connect to peer {src}".
        let src = format!("{callee}: {why}");
        self.tell_client(conn, relayed(Kind::Expire, &src, id, None));
        self.leave(conn, callee);
    }

    /// A call is over: the client closes its connection when it hears so.
    pub(super) fn ended(&mut self, session: &str) {
        let Some(conn) = self.calls.remove(session) else { return };
        let Some(callee) = self.clients.get_mut(&conn).and_then(|client| client.sessions.remove(session)) else { return };
        self.leave(conn, &callee);
    }

    /// Closes the client's connections with a room or member, unless a call to it goes on: a LEAVE ends them all.
    fn leave(&mut self, conn: ConnId, callee: &str) {
        let Some(client) = self.clients.get(&conn) else { return };
        if !client.sessions.values().any(|other| **other == *callee) {
            let text = relayed(Kind::Leave, callee, client.id(), None);
            self.tell_client(conn, text);
        }
    }
}
