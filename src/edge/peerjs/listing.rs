//! Who of an app is there: asked of every node, as each knows its own clients best. Part of `edge::peerjs`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::wire::{Message, parts};
use super::{Broker, Output};
use crate::id::NodeId;

/// Nodes that have not answered after this are left out.
const PATIENCE: Duration = Duration::from_secs(1);

/// Lists that may be asked for at a time.
const MOST: usize = 64;

/// Ids in one list.
const MOST_IDS: usize = 10_000;

/// A list that is being put together.
#[derive(Debug)]
pub(super) struct Listing {
    ids: BTreeSet<Arc<str>>,
    waiting: BTreeSet<NodeId>,
    pub(super) until: Instant,
}

impl Broker {
    pub(super) fn list(&mut self, number: u64, key: Arc<str>) {
        if self.listings.len() >= MOST {
            return self.out.push(Output::Listed { number, ids: None });
        }
        let waiting: BTreeSet<NodeId> = self.view.nodes.keys().filter(|node| **node != self.view.me).cloned().collect();
        for node in &waiting {
            self.send(node, Message::List { number, key: Arc::clone(&key) });
        }
        let ids = self.own_ids(&key).into_iter().take(MOST_IDS).collect();
        self.listings.insert(number, Listing { ids, waiting, until: self.now + PATIENCE });
        self.end_listings();
    }

    fn own_ids(&self, key: &str) -> Vec<Arc<str>> {
        self.clients.values().filter_map(|client| client.open_id(key)).cloned().collect()
    }

    pub(super) fn asked_to_list(&mut self, from: &NodeId, number: u64, key: &str) {
        let mut ids = self.own_ids(key);
        ids.truncate(MOST_IDS);
        let mut parts = parts(ids, |id| id.len() + 2).into_iter().peekable();
        while let Some(ids) = parts.next() {
            self.send(from, Message::Listed { number, ids, more: parts.peek().is_some() });
        }
    }

    pub(super) fn listed(&mut self, from: &NodeId, number: u64, ids: Vec<Arc<str>>, more: bool) {
        let Some(listing) = self.listings.get_mut(&number).filter(|listing| listing.waiting.contains(from)) else { return };
        let room = MOST_IDS.saturating_sub(listing.ids.len());
        listing.ids.extend(ids.into_iter().take(room));
        if !more {
            listing.waiting.remove(from);
        }
        self.end_listings();
    }

    /// Nodes that are gone will not answer.
    pub(super) fn fewer_listed(&mut self) {
        let nodes = &self.view.nodes;
        self.listings.values_mut().for_each(|listing| listing.waiting.retain(|node| nodes.contains_key(node)));
        self.end_listings();
    }

    /// Hands over lists that are whole, or have waited for long enough.
    pub(super) fn end_listings(&mut self) {
        let now = self.now;
        for (number, listing) in self.listings.extract_if(|_, listing| listing.waiting.is_empty() || listing.until <= now) {
            let ids = listing.ids.iter().map(|id| String::from(&**id)).collect();
            self.out.push(Output::Listed { number, ids: Some(ids) });
        }
    }
}
