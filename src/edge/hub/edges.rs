//! What members are told of the servers: which edges there are, by which way media comes, and where to go when this edge is
//! about to stop. Part of `edge::hub`.

use std::sync::Arc;

use super::{Door, Hub};
use crate::cluster::{NodeInfo, View, weight};
use crate::edge::media::Command;
use crate::edge::message::{Edge, EdgeAddress, ServerMessage};
use crate::id::{MemberId, NodeId, RegionId, RoomId, TrackId};

/// Edges that clients are told of. More make every `welcome` larger; a client tries a few.
const MOST_EDGES: usize = 64;

/// Nodes on a way that are told of; the topology allows fewer.
const MOST_HOPS: usize = 32;

/// The edges that can be joined at, this one first, then those of its region.
pub(super) fn edges_of(view: &View) -> Vec<EdgeAddress> {
    let region = view.nodes.get(&view.me).map(|me| &me.region);
    let mut edges: Vec<(&NodeInfo, &String)> = view.nodes.values().filter_map(joinable).collect();
    edges.sort_by_key(|(node, _)| (node.id != view.me, Some(&node.region) != region, &node.id));
    edges.truncate(MOST_EDGES);
    let address =
        |(node, url): (&NodeInfo, &String)| EdgeAddress { id: node.id.clone(), region: node.region.clone(), url: url.clone() };
    edges.into_iter().map(address).collect()
}

fn joinable(node: &NodeInfo) -> Option<(&NodeInfo, &String)> {
    node.url.as_ref().filter(|url| node.role.is_edge() && !node.draining && !url.is_empty()).map(|url| (node, url))
}

impl Hub {
    /// The edges that can be joined at, this one first. A new value when they change.
    pub fn edges(&self) -> &Arc<[EdgeAddress]> {
        &self.edges
    }

    /// The view has changed: members hear of it if the edges have.
    pub(super) fn edges_changed(&mut self) {
        let Some(relay) = &self.relay else { return };
        let edges = edges_of(&relay.view);
        if *self.edges == *edges {
            return;
        }
        self.edges = edges.clone().into();
        let body = Arc::new(ServerMessage::Edges { edges });
        for member in self.members.values_mut() {
            member.tell(Arc::clone(&body), &mut self.out);
        }
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        for member in members {
            self.offer_move(member, false);
        }
    }

    /// Lets nobody new in, and asks who is here to move.
    pub(super) fn drain(&mut self) {
        if self.door != Door::Open {
            return;
        }
        self.door = Door::Draining;
        self.drained_at = Some(self.now);
        if let Some(relay) = &self.relay {
            self.out.push(super::Output::Media { shard: relay.shard, command: Command::Drain });
        }
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        for member in members {
            self.offer_move(member, false);
        }
    }

    /// Asks a member to move, if this node is drained and there is another edge. Told again if that one goes, or the member may
    /// have missed it.
    pub(super) fn offer_move(&mut self, id: MemberId, missed: bool) {
        if self.door != Door::Draining {
            return;
        }
        let (Some(relay), Some(member)) = (&self.relay, self.members.get(&id)) else { return };
        let stands = |url: &&String| relay.view.nodes.values().filter_map(joinable).any(|(_, other)| other == *url);
        let told = member.sent_to.as_ref().filter(stands);
        if told.is_some() && !missed {
            return;
        }
        let Some(url) = told.cloned().or_else(|| next_edge(&relay.view, &member.room)) else { return };
        self.refresh_token(id);
        let left = self.drained_at.map_or(self.config.drain, |at| (at + self.config.drain).saturating_duration_since(self.now));
        let deadline_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
        if let Some(member) = self.members.get_mut(&id) {
            member.sent_to = Some(url.clone());
            member.reply(ServerMessage::Migrate { url, deadline_ms }, &mut self.out);
        }
    }

    /// A track of another node comes another way now.
    pub(super) fn path(&mut self, id: TrackId, mut nodes: Vec<NodeId>) {
        nodes.truncate(MOST_HOPS);
        let Some(place) = self.tracks.get(&id) else { return };
        let Some(room) = self.rooms.get_mut(&place.room) else { return };
        let Some(track) = room.track_mut(id) else { return };
        if track.remote.is_none() || track.path == nodes {
            return;
        }
        track.path = nodes;
        let receivers: Vec<MemberId> = room.members.clone();
        for member in receivers {
            if self.members.get(&member).is_some_and(|member| member.slots.carries(id)) {
                self.say_path(member, id);
            }
        }
    }

    /// Tells a member which way a track comes that one of its slots carries, if it comes from another node by a known way.
    pub(super) fn tell_path(&mut self, member: MemberId, id: TrackId) {
        let room = self.tracks.get(&id).and_then(|place| self.rooms.get(&place.room));
        if room.and_then(|room| room.track(id)).is_some_and(|track| !track.path.is_empty()) {
            self.say_path(member, id);
        }
    }

    fn say_path(&mut self, member: MemberId, id: TrackId) {
        let Some(relay) = &self.relay else { return };
        let room = self.tracks.get(&id).and_then(|place| self.rooms.get(&place.room));
        let Some(track) = room.and_then(|room| room.track(id)) else { return };
        let region = |node: &NodeId| relay.view.nodes.get(node).map_or_else(|| RegionId::new(""), |info| info.region.clone());
        let own = (!track.path.is_empty()).then_some(&relay.view.me);
        let way = own.into_iter().chain(track.path.iter().filter(|node| **node != relay.view.me));
        let nodes = way.map(|node| Edge { id: node.clone(), region: region(node) }).collect();
        if let Some(member) = self.members.get_mut(&member) {
            member.tell(ServerMessage::Path { track: id, nodes }, &mut self.out);
        }
    }
}

/// The edge of a region that members of a room should join at; `None` if this one is as good, or the region has none.
pub(super) fn edge_in(view: &View, region: &RegionId, room: &RoomId) -> Option<String> {
    if view.nodes.get(&view.me).is_some_and(|me| me.region == *region) {
        return None;
    }
    let there = view.nodes.values().filter_map(joinable).filter(|(node, _)| node.region == *region);
    there.max_by_key(|(node, _)| weight(room, &node.id)).map(|(_, url)| url.clone())
}

/// Where members of a room should go from here: all to the same edge, in the same region if there is one.
pub(super) fn next_edge(view: &View, room: &RoomId) -> Option<String> {
    let region = view.nodes.get(&view.me).map(|me| &me.region);
    let others = view.nodes.values().filter(|node| node.id != view.me).filter_map(joinable);
    let best = others.max_by_key(|(node, _)| (Some(&node.region) == region, weight(room, &node.id)));
    best.map(|(_, url)| url.clone())
}
