//! The peers of a shard and the three ways to find one: by member, by ICE ufrag, by address. Owns the indexes and keeps them
//! agreed; what a peer does is `edge::peer`'s.

use std::time::Instant;

use rustc_hash::FxHashMap;

use super::batch::Batch;
use crate::edge::peer::{Peer, Route};
use crate::id::{MemberId, RoomId};
use crate::router::PeerKey;

/// Addresses one peer may be known by. A client has a handful of interfaces; the oldest is forgotten beyond that.
const MAX_ROUTES: usize = 16;

/// A member placed on this shard.
pub(super) struct Entry {
    pub(super) member: MemberId,
    pub(super) room: RoomId,
    /// There from the first plan on.
    pub(super) peer: Option<Peer>,
    pub(super) batch: Batch,
    pub(super) dirty: bool,
    pub(super) armed: Option<Instant>,
    ufrags: Vec<String>,
    routes: Vec<Route>,
}

/// All peers of a shard.
#[derive(Default)]
pub(super) struct Peers {
    entries: Vec<Option<Entry>>,
    free: Vec<PeerKey>,
    by_member: FxHashMap<MemberId, PeerKey>,
    by_ufrag: FxHashMap<String, PeerKey>,
    by_route: FxHashMap<Route, PeerKey>,
}

impl Peers {
    pub(super) fn insert(&mut self, member: MemberId, room: RoomId) -> PeerKey {
        let entry = Entry {
            member,
            room,
            peer: None,
            batch: Batch::default(),
            dirty: false,
            armed: None,
            ufrags: Vec::new(),
            routes: Vec::new(),
        };
        let key = match self.free.pop() {
            Some(key) => key,
            None => {
                self.entries.push(None);
                PeerKey(self.entries.len() as u32 - 1)
            }
        };
        if let Some(place) = self.entries.get_mut(key.0 as usize) {
            *place = Some(entry);
        }
        self.by_member.insert(member, key);
        key
    }

    pub(super) fn remove(&mut self, key: PeerKey) -> Option<Entry> {
        let entry = self.entries.get_mut(key.0 as usize)?.take()?;
        self.by_member.remove(&entry.member);
        for ufrag in &entry.ufrags {
            self.by_ufrag.remove(ufrag);
        }
        for route in &entry.routes {
            self.by_route.remove(route);
        }
        self.free.push(key);
        Some(entry)
    }

    pub(super) fn get_mut(&mut self, key: PeerKey) -> Option<&mut Entry> {
        self.entries.get_mut(key.0 as usize)?.as_mut()
    }

    pub(super) fn get(&self, key: PeerKey) -> Option<&Entry> {
        self.entries.get(key.0 as usize)?.as_ref()
    }

    pub(super) fn of_member(&self, member: MemberId) -> Option<PeerKey> {
        self.by_member.get(&member).copied()
    }

    pub(super) fn of_ufrag(&self, ufrag: &str) -> Option<PeerKey> {
        self.by_ufrag.get(ufrag).copied()
    }

    pub(super) fn of_route(&self, route: Route) -> Option<PeerKey> {
        self.by_route.get(&route).copied()
    }

    /// A peer answers to this ufrag too. Old ones stay until it goes, since a restart overlaps.
    pub(super) fn add_ufrag(&mut self, key: PeerKey, ufrag: &str) {
        let Some(entry) = self.entries.get_mut(key.0 as usize).and_then(Option::as_mut) else { return };
        if !entry.ufrags.iter().any(|known| known == ufrag) {
            entry.ufrags.push(ufrag.to_owned());
            self.by_ufrag.insert(ufrag.to_owned(), key);
        }
        if entry.ufrags.len() > MAX_ROUTES {
            let oldest = entry.ufrags.remove(0);
            self.by_ufrag.remove(&oldest);
        }
    }

    /// A check from this address was authentic: it is this peer's, whoever had it before.
    pub(super) fn add_route(&mut self, key: PeerKey, route: Route) {
        if let Some(before) = self.by_route.insert(route, key)
            && before != key
            && let Some(entry) = self.get_mut(before)
        {
            entry.routes.retain(|&known| known != route);
        }
        let Some(entry) = self.entries.get_mut(key.0 as usize).and_then(Option::as_mut) else { return };
        if !entry.routes.contains(&route) {
            entry.routes.push(route);
        }
        if entry.routes.len() > MAX_ROUTES {
            let oldest = entry.routes.remove(0);
            self.by_route.remove(&oldest);
        }
    }

    /// The TCP connections of a peer.
    pub(super) fn tcp_of(entry: &Entry) -> impl Iterator<Item = u32> {
        entry.routes.iter().filter_map(|route| match route {
            Route::Tcp { conn, .. } => Some(*conn),
            Route::Udp(_) => None,
        })
    }

    pub(super) fn forget_route(&mut self, key: PeerKey, route: Route) {
        if self.of_route(route) == Some(key) {
            self.by_route.remove(&route);
        }
        if let Some(entry) = self.get_mut(key) {
            entry.routes.retain(|&known| known != route);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerKey, &Entry)> {
        (0..).map(PeerKey).zip(&self.entries).filter_map(|(key, entry)| Some((key, entry.as_ref()?)))
    }

    pub(super) fn len(&self) -> usize {
        self.by_member.len()
    }
}
