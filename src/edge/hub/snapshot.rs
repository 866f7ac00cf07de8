//! The rooms of this node as the operator sees them. Plain data for the admin listener.

use serde::Serialize;

use super::member::{Link, Media};
use super::{Door, Hub};
use crate::edge::message::Track;
use crate::id::{Identity, MemberId, NodeId, RegionId, RoomId};

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    pub node: NodeId,
    pub region: RegionId,
    pub draining: bool,
    /// Open WebSockets, those without a session included.
    pub sockets: usize,
    pub members: usize,
    pub rooms: Vec<RoomSnapshot>,
    pub counters: Counters,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoomSnapshot {
    pub id: RoomId,
    pub age_s: u64,
    /// The node that orders the room, where there are several.
    pub home: Option<NodeId>,
    /// Members at other nodes.
    pub elsewhere: usize,
    pub members: Vec<MemberSnapshot>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemberSnapshot {
    pub id: MemberId,
    pub identity: Identity,
    pub name: String,
    pub region: RegionId,
    pub shard: u8,
    pub hidden: bool,
    /// How it speaks to the node: `websocket`, `whip`, `whep` or `peerjs`.
    pub via: &'static str,
    /// It has no socket and is waited for.
    pub away: bool,
    /// `idle`, `connecting`, `up` or `down`.
    pub media: &'static str,
    pub age_s: u64,
    pub rtt_ms: Option<u32>,
    /// The worse of both directions, as a share of 1.
    pub loss: Option<f32>,
    pub tracks: Vec<Track>,
    /// Receive slots: how many carry something, and how many there are.
    pub slots_bound: usize,
    pub slots: usize,
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    pub joins: u64,
    pub leaves: u64,
    pub replaced: u64,
    /// Sessions that nobody came back for in time.
    pub timed_out: u64,
    pub resumes: u64,
    /// Resumes that could not be: the session was over, or the secret wrong.
    pub resumes_missed: u64,
    /// Requests answered with `err`, refused hellos included.
    pub refused: u64,
    /// Frames that were no messages.
    pub malformed: u64,
    /// Data channel messages, one per receiver.
    pub data_relayed: u64,
    /// Dropped for their size, their rate or a missing grant.
    pub data_dropped: u64,
    /// Messages of other nodes' rooms that could not be read.
    pub bodies_refused: u64,
}

impl Hub {
    /// The rooms as they are.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            node: self.config.node.clone(),
            region: self.config.region.clone(),
            draining: self.door != Door::Open,
            sockets: self.conns.len(),
            members: self.members.len(),
            rooms: self.rooms.keys().filter_map(|id| self.room_snapshot(id)).collect(),
            counters: self.counters,
        }
    }

    /// The members of a room whom others see, at all nodes, by identity and name; none of a room without members here.
    pub fn present(&self, room: &RoomId) -> Vec<(Identity, String)> {
        let Some(room) = self.rooms.get(room) else { return Vec::new() };
        let here = room.members.iter().filter_map(|id| self.members.get(id)).filter(|member| !member.hidden());
        let here = here.map(|member| (member.access.identity.clone(), member.name.clone()));
        let elsewhere = room.span.iter().flat_map(|span| span.elsewhere()).filter(|(_, _, card)| !card.hidden);
        here.chain(elsewhere.map(|(_, _, card)| (card.identity.clone(), card.name.clone()))).collect()
    }

    fn room_snapshot(&self, id: &RoomId) -> Option<RoomSnapshot> {
        let room = self.rooms.get(id)?;
        let members = room.members.iter().filter_map(|id| {
            let member = self.members.get(id)?;
            Some(MemberSnapshot {
                id: member.id,
                identity: member.access.identity.clone(),
                name: member.name.clone(),
                region: self.config.region.clone(),
                shard: member.shard.0,
                hidden: member.hidden(),
                via: member.http.as_ref().map_or("websocket", |http| http.protocol()),
                away: matches!(member.link, Link::Away { .. }),
                media: match member.media {
                    Media::Idle => "idle",
                    Media::Connecting => "connecting",
                    Media::Up => "up",
                    Media::Down(_) => "down",
                },
                age_s: self.now.saturating_duration_since(member.joined).as_secs(),
                rtt_ms: member.quality.map(|quality| u32::try_from(quality.down.round_trip.as_millis()).unwrap_or(u32::MAX)),
                loss: member.quality.map(|quality| quality.up.loss.max(quality.down.loss)),
                tracks: room.tracks_of(member.id),
                slots_bound: member.slots.bindings().filter(|(_, _, track)| track.is_some()).count(),
                slots: member.slots.bindings().count(),
            })
        });
        let age = self.now.saturating_duration_since(room.opened).as_secs();
        let span = room.span.as_ref();
        Some(RoomSnapshot {
            id: room.id.clone(),
            age_s: age,
            home: span.and_then(|span| span.home().cloned()),
            elsewhere: span.map_or(0, |span| span.count()),
            members: members.collect(),
        })
    }
}
