//! One room: its members here in order of their arrival, its tracks in order of their publishing, its newest chat, its
//! speakers. Owns the tables; `edge::hub` keeps them true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::relay::Span;
use super::speakers::Speakers;
use crate::edge::media::{Origin, TrackSpec};
use crate::edge::message::{Chat, Track};
use crate::id::{Identity, MemberId, NodeId, RoomId, ShardId, TrackId};
use crate::rtp::LayerInfo;

/// A call.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) id: RoomId,
    pub(super) members: Vec<MemberId>,
    pub(super) by_identity: BTreeMap<Identity, MemberId>,
    pub(super) tracks: Vec<RoomTrack>,
    /// How many members each shard has; none that has none.
    pub(super) shards: BTreeMap<ShardId, usize>,
    pub(super) chat: VecDeque<Chat>,
    pub(super) chats: u64,
    /// What it has to do with other nodes, unless this one is on its own.
    pub(super) span: Option<Span>,
    /// Members at other nodes whose quality changed and was not told.
    pub(super) quality_news: BTreeSet<MemberId>,
    pub(super) speakers: Speakers,
    /// The microphones that a shard passes on to its members, where there are more than are.
    pub(super) voices: BTreeMap<ShardId, Vec<TrackId>>,
    pub(super) speakers_decided: Option<Instant>,
    pub(super) opened: Instant,
}

/// How much a shard has to do. The least is where a newcomer goes; one that is full comes after all that are not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Load {
    /// It has too much to do to take newcomers.
    pub(super) full: bool,
    pub(super) members: usize,
}

/// A published track with what members need not know.
#[derive(Debug)]
pub(super) struct RoomTrack {
    pub(super) info: Track,
    pub(super) owner: MemberId,
    /// The shard its packets come from.
    pub(super) shard: ShardId,
    /// The node its owner is at and which run of it, if it is another one.
    pub(super) remote: Option<(NodeId, u64)>,
    pub(super) layers: Vec<LayerInfo>,
    /// The rids somebody watches, once the publisher was told.
    pub(super) active: Option<Vec<String>>,
    /// The way by which it comes from another node.
    pub(super) path: Vec<NodeId>,
}

impl Room {
    pub(super) fn new(id: RoomId, now: Instant, span: Option<Span>) -> Self {
        Self {
            id,
            members: Vec::new(),
            by_identity: BTreeMap::new(),
            tracks: Vec::new(),
            shards: BTreeMap::new(),
            chat: VecDeque::new(),
            chats: 0,
            span,
            quality_news: BTreeSet::new(),
            speakers: Speakers::default(),
            voices: BTreeMap::new(),
            speakers_decided: None,
            opened: now,
        }
    }

    pub(super) fn track(&self, id: TrackId) -> Option<&RoomTrack> {
        self.tracks.iter().find(|track| track.info.id == id)
    }

    pub(super) fn track_mut(&mut self, id: TrackId) -> Option<&mut RoomTrack> {
        self.tracks.iter_mut().find(|track| track.info.id == id)
    }

    /// What a member publishes, as others see it.
    pub(super) fn tracks_of(&self, owner: MemberId) -> Vec<Track> {
        self.tracks.iter().filter(|track| track.owner == owner).map(|track| track.info.clone()).collect()
    }

    /// A track as `shard` must know it.
    pub(super) fn spec(&self, track: &RoomTrack, shard: ShardId) -> TrackSpec {
        let origin = match &track.remote {
            _ if shard != track.shard => Origin::Shard(track.shard),
            Some((node, incarnation)) => Origin::Node { node: node.clone(), incarnation: *incarnation },
            None => Origin::Member(track.owner),
        };
        TrackSpec {
            id: track.info.id,
            room: self.id.clone(),
            kind: track.info.kind,
            source: track.info.source,
            layers: track.layers.clone(),
            muted: track.info.muted,
            origin,
        }
    }

    /// The shards that know the room's tracks: those with members of it, and the cascade's.
    pub(super) fn told(&self, cascade: Option<ShardId>) -> Vec<ShardId> {
        self.shards.keys().copied().chain(cascade).collect()
    }

    /// Whether a member is in the room, at whatever node.
    pub(super) fn has(&self, id: MemberId) -> bool {
        self.members.contains(&id) || self.span.as_ref().is_some_and(|span| span.find(id).is_some())
    }

    /// The member of that identity, at whatever node.
    pub(super) fn find(&self, identity: &Identity) -> Option<MemberId> {
        let elsewhere = || self.span.as_ref()?.elsewhere().find(|(_, _, card)| card.identity == *identity);
        self.by_identity.get(identity).copied().or_else(|| elsewhere().map(|(_, _, card)| card.id))
    }

    /// How many members it has, at all nodes that are known.
    pub(super) fn count(&self) -> usize {
        self.members.len() + self.span.as_ref().map_or(0, Span::count)
    }

    /// Keeps a line of chat for newcomers, in the order of all nodes where there are several.
    pub(super) fn keep_line(&mut self, line: Chat, most: usize) {
        let at = match &self.span {
            Some(_) => self.chat.partition_point(|kept| (kept.at, &kept.id) < (line.at, &line.id)),
            None => self.chat.len(),
        };
        self.chat.insert(at, line);
        if self.chat.len() > most {
            self.chat.pop_front();
        }
    }

    /// The room's home gives a line that is kept another place.
    pub(super) fn move_line(&mut self, id: &str, at: u64) {
        let known = self.chat.iter().position(|kept| kept.id == id && kept.at != at);
        if let Some(line) = known.and_then(|known| self.chat.remove(known)) {
            self.keep_line(Chat { at, ..line }, usize::MAX);
        }
    }

    /// Where the next member goes: to the room's fullest shard that has room for it, so that the room stays together, else to
    /// the least loaded of all.
    pub(super) fn place(&self, most: usize, loads: &[Load]) -> ShardId {
        let is_full = |shard: &ShardId| loads.get(usize::from(shard.0)).is_some_and(|load| load.full);
        let fits = |(shard, members): &(&ShardId, &usize)| **members < most && !is_full(shard);
        let own = self.shards.iter().filter(fits).max_by_key(|(_, members)| **members);
        own.map(|(shard, _)| *shard).unwrap_or_else(|| {
            let least = loads.iter().enumerate().min_by_key(|(_, load)| **load).map_or(0, |(at, _)| at);
            ShardId(u8::try_from(least).unwrap_or(0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_stays_on_its_shard_until_that_has_enough_of_it() {
        let mut room = Room::new(RoomId::new("r"), Instant::now(), None);
        let loads = [5, 3, 4].map(|members| Load { full: false, members });
        assert_eq!(room.place(2, &loads), ShardId(1), "a new room goes where there is least");
        room.shards.insert(ShardId(0), 1);
        assert_eq!(room.place(2, &loads), ShardId(0));
        room.shards.insert(ShardId(0), 2);
        assert_eq!(room.place(2, &loads), ShardId(1));
        room.shards.extend([(ShardId(0), 1), (ShardId(1), 2)]);
        assert_eq!(room.place(2, &loads), ShardId(0), "who left is made up for first");
    }
}
