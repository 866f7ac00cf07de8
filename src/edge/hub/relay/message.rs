//! What the rooms of one node tell those of another, as types and as bytes. Owns the shapes and their limits; `relay` gives
//! them their meaning. A body is one byte with the version of this language and a postcard value. Whoever sends it is a node of
//! our own cluster, but a bug or an intruder there must not hurt this one: nothing that is too long or too many gets past
//! [`parse`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::roster::{Card, Delta};
use crate::edge::hub::Limits;
use crate::edge::hub::call::Said;
use crate::edge::message::{AdminOp, Chat, LeaveReason};
use crate::edge::token::MAX_TEXT;
use crate::id::{MemberId, NodeId};
use crate::rtp::Layer;

/// The version spoken. Bodies of others are left.
const VERSION: u8 = 2;

/// Bytes of a body. Larger ones are left unread; the cascade carries no larger ones either.
pub(super) const MAX_BODY: usize = 200 << 10;

/// Nodes of one room. A list of more is refused, so a room can't span more.
pub(super) const MAX_NODES: usize = 512;

/// Members in one list. More than a room holds, so that a list tells all of a node's members.
const MAX_MEMBERS: usize = 8_192;

/// Bytes of lines of chat in one message; more are sent in several.
const LINES_BYTES: usize = 48 << 10;

/// To another node's rooms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Message {
    /// To a room's home.
    Up(Up),
    /// From a room's home.
    Down(Down),
    /// From member to member. Repeated until `Done`.
    Errand {
        id: u64,
        errand: Errand,
    },
    Done {
        id: u64,
    },
}

/// What a node with members of a room tells the room's home.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Up {
    /// The node is still there, and knows this. Answered by `Roll` and all that it lacks.
    Beat(Beat),
    /// Of its own members.
    Roster(Delta),
    /// A line of chat that a member said. Repeated until it comes back in `Lines`.
    Line(Arc<Chat>),
    /// Lines that the home asked for.
    Lines(Vec<Arc<Chat>>),
    Passing(Passing),
    /// The last of its members left.
    Detach {
        incarnation: u64,
        reason: LeaveReason,
    },
}

/// What a room's home tells a node with members of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Down {
    Roll(Roll),
    /// Of another node's members.
    Roster(Delta),
    Lines(Lines),
    Passing(Passing),
    /// A node has no members in the room any more.
    Gone {
        node: NodeId,
        incarnation: u64,
        reason: LeaveReason,
    },
}

/// How far a node is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Beat {
    /// The answer names it.
    pub(super) number: u64,
    pub(super) incarnation: u64,
    /// Of its own roster.
    pub(super) version: u64,
    /// What it has of others.
    pub(super) known: Vec<Known>,
    /// Whose numbering of lines it follows, and the last it has.
    pub(super) epoch: Option<u64>,
    pub(super) seen: u64,
    /// What lines it has, until it knows that the home has them too.
    pub(super) lines: Vec<Placed>,
}

/// A line by its id, and the time that gives it its place. Two homes may have given it one each while the network was cut; the present
/// home's counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Placed {
    pub(super) id: String,
    pub(super) at: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) node: NodeId,
    pub(super) incarnation: u64,
    pub(super) version: u64,
}

/// Who is in the room, by nodes, and what the home lacks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Roll {
    /// The beat that it answers.
    pub(super) answers: Option<u64>,
    /// Names this home's numbering of lines: another home, or the same one after it forgot the room, has another.
    pub(super) epoch: u64,
    /// The number of the newest line.
    pub(super) last: u64,
    /// With the run of each.
    pub(super) nodes: Vec<(NodeId, u64)>,
    /// The home has the receiver's roster up to here only.
    pub(super) want: Option<u64>,
    /// Lines that the home does not have.
    pub(super) lines: Vec<String>,
}

/// Lines of chat in the home's order, apart from those the receiver said it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Lines {
    pub(super) epoch: u64,
    /// The number of the line before the first, and of the last.
    pub(super) since: u64,
    pub(super) upto: u64,
    pub(super) lines: Vec<Arc<Chat>>,
}

/// What is only true now: lost where it can't be passed on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Passing {
    React { from: MemberId, emoji: String },
    Data { from: MemberId, label: Arc<str>, binary: bool, payload: Bytes },
}

impl Passing {
    pub(super) fn from(&self) -> MemberId {
        match self {
            Self::React { from, .. } | Self::Data { from, .. } => *from,
        }
    }
}

/// For one member of the receiving node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Errand {
    /// A line of chat for it alone.
    Whisper(Chat),
    /// What an admin of the sending node does to it.
    Admin { by: MemberId, target: MemberId, op: AdminOp },
    /// What a member says about a call with it.
    Call { from: MemberId, to: MemberId, said: Said },
}

impl Errand {
    /// Who sends it.
    pub(super) fn issuer(&self) -> MemberId {
        match self {
            Self::Whisper(line) => line.from,
            Self::Admin { by, .. } => *by,
            Self::Call { from, .. } => *from,
        }
    }
}

/// As bytes; `None` for what is too large to be sent.
pub(super) fn encode(message: &Message) -> Option<Bytes> {
    let body = postcard::to_extend(message, vec![VERSION]).ok()?;
    (body.len() <= MAX_BODY).then(|| body.into())
}

/// Reads what another node sent; `None` for what is no message, or is more than it may be.
pub(super) fn parse(body: &[u8], limits: &Limits) -> Option<Message> {
    let (version, rest) = body.split_first()?;
    if *version != VERSION || body.len() > MAX_BODY {
        return None;
    }
    let (message, left) = postcard::take_from_bytes::<Message>(rest).ok()?;
    (left.is_empty() && sound(&message, limits)).then_some(message)
}

/// Splits lines into messages.
pub(super) fn parts(lines: Vec<Arc<Chat>>) -> Vec<Vec<Arc<Chat>>> {
    let (mut parts, mut bytes) = (vec![Vec::new()], 0);
    for line in lines {
        let weight = line.text.len() + line.name.len() + line.cid.len() + 64;
        if bytes + weight > LINES_BYTES && bytes > 0 {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += weight;
        if let Some(part) = parts.last_mut() {
            part.push(line);
        }
    }
    parts
}

fn sound(message: &Message, limits: &Limits) -> bool {
    let lines_fit = |lines: &[Arc<Chat>]| lines.len() <= limits.chat_kept && lines.iter().all(|line| chat(line, limits));
    let ids_fit = |ids: &[&String]| ids.len() <= limits.chat_kept && ids.iter().all(|id| text(id));
    match message {
        Message::Up(Up::Beat(beat)) => {
            beat.known.len() <= MAX_NODES
                && beat.known.iter().all(|known| text(known.node.as_str()))
                && ids_fit(&beat.lines.iter().map(|line| &line.id).collect::<Vec<_>>())
        }
        Message::Up(Up::Roster(it)) | Message::Down(Down::Roster(it)) => delta(it, limits),
        Message::Up(Up::Line(line)) => chat(line, limits) && line.to.is_none(),
        Message::Up(Up::Lines(lines)) => lines_fit(lines) && lines.iter().all(|line| line.to.is_none()),
        Message::Down(Down::Lines(it)) => {
            lines_fit(&it.lines) && it.since <= it.upto && it.lines.iter().all(|line| line.to.is_none())
        }
        Message::Up(Up::Passing(it)) | Message::Down(Down::Passing(it)) => match it {
            Passing::React { emoji, .. } => emoji.len() <= limits.emoji_bytes,
            Passing::Data { label, payload, .. } => label.len() <= limits.name_bytes && payload.len() <= limits.data_bytes,
        },
        Message::Down(Down::Roll(roll)) => {
            roll.nodes.len() <= MAX_NODES
                && roll.nodes.iter().all(|(node, _)| text(node.as_str()))
                && ids_fit(&roll.lines.iter().collect::<Vec<_>>())
        }
        Message::Down(Down::Gone { node, .. }) => text(node.as_str()),
        Message::Errand { errand: Errand::Call { said, .. }, .. } => said.fits(limits).is_ok(),
        Message::Errand { errand: Errand::Whisper(line), .. } => chat(line, limits) && line.to.is_some(),
        Message::Up(Up::Detach { .. }) | Message::Errand { errand: Errand::Admin { .. }, .. } | Message::Done { .. } => true,
    }
}

fn text(text: &str) -> bool {
    text.len() <= MAX_TEXT
}

fn chat(line: &Chat, limits: &Limits) -> bool {
    text(&line.id) && line.cid.len() <= limits.name_bytes && text(&line.name) && line.text.len() <= limits.chat_bytes
}

fn delta(delta: &Delta, limits: &Limits) -> bool {
    let named = delta.changed.len().max(delta.gone.len()).max(delta.present.as_ref().map_or(0, Vec::len));
    let numbered = delta.changed.iter().all(|(version, _)| (delta.since..=delta.version).contains(version));
    named <= MAX_MEMBERS
        && numbered
        && text(delta.node.as_str())
        && text(delta.region.as_str())
        && delta.changed.iter().all(|(_, it)| card(it, limits))
}

fn card(card: &Card, limits: &Limits) -> bool {
    let attr = |(key, value): (&String, &String)| key.len() + value.len() <= limits.attr_bytes;
    let tracks = card.tracks.iter().all(|track| {
        track.name.as_ref().is_none_or(|name| name.len() <= limits.name_bytes)
            && track.layers.len() <= Layer::MAX
            && track.layers.iter().all(|layer| layer.rid.as_ref().is_none_or(|rid| rid.len() <= limits.name_bytes))
    });
    text(card.identity.as_str())
        && text(&card.name)
        && card.attrs.len() <= limits.attrs
        && card.attrs.iter().all(attr)
        && card.tracks.len() <= limits.m_lines
        && tracks
}
