//! Who of an app is there: asked of every node, as each knows its own clients best. However many ask, the other nodes are asked about an
//! app once a second. Part of `edge::peerjs`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::wire::{Message, parts};
use super::{Broker, Output};
use crate::id::NodeId;

/// Nodes that have not answered after this are left out.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the other nodes said is good for so long. Longer asks them more seldom, shorter tells of newcomers there sooner.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// Who may wait for one list.
const MOST: usize = 1_024;

/// Ids in one list.
const MOST_IDS: usize = 10_000;

/// A list that is being put together, or was a moment ago.
#[derive(Debug)]
pub(super) struct Listing {
    /// Names it to other nodes.
    number: u64,
    /// Those of other nodes.
    ids: BTreeSet<Arc<str>>,
    waiting: BTreeSet<NodeId>,
    /// Who asked.
    asked: Vec<u64>,
    /// When it is handed over whatever is missing; or, when it was, forgotten.
    until: Instant,
    is_over: bool,
}

impl Listing {
    pub(super) const fn until(&self) -> Instant {
        self.until
    }
}

impl Broker {
    pub(super) fn list(&mut self, number: u64, key: Arc<str>) {
        let known = self.listings.get_mut(&key).filter(|listing| !listing.is_over || self.now < listing.until);
        match known {
            Some(listing) if !listing.is_over && listing.asked.len() >= MOST => {
                return self.out.push(Output::Listed { number, ids: None });
            }
            Some(listing) => listing.asked.push(number),
            None => {
                let waiting: BTreeSet<NodeId> = self.view.nodes.keys().filter(|node| **node != self.view.me).cloned().collect();
                for node in &waiting {
                    self.send(node, Message::List { number, key: Arc::clone(&key) });
                }
                let until = self.now + PATIENCE;
                let listing = Listing { number, ids: BTreeSet::new(), waiting, asked: vec![number], until, is_over: false };
                self.listings.insert(key, listing);
            }
        }
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
        let mut ours = self.listings.values_mut();
        let Some(listing) = ours.find(|listing| listing.number == number && listing.waiting.contains(from)) else { return };
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

    /// Hands over lists that are whole, or have waited for long enough; forgets those of before.
    pub(super) fn end_listings(&mut self) {
        let now = self.now;
        let mut whole = Vec::new();
        for (key, listing) in &mut self.listings {
            if !listing.is_over && (listing.waiting.is_empty() || listing.until <= now) {
                (listing.is_over, listing.until) = (true, now + GOOD_FOR);
                listing.waiting.clear();
            }
            if listing.is_over && !listing.asked.is_empty() {
                whole.push((Arc::clone(key), std::mem::take(&mut listing.asked)));
            }
        }
        for (key, asked) in whole {
            let mut ids: BTreeSet<Arc<str>> = self.own_ids(&key).into_iter().take(MOST_IDS).collect();
            if let Some(listing) = self.listings.get(&key) {
                let room = MOST_IDS.saturating_sub(ids.len());
                ids.extend(listing.ids.iter().take(room).cloned());
            }
            let ids: Vec<String> = ids.iter().map(|id| String::from(&**id)).collect();
            self.out.extend(asked.into_iter().map(|number| Output::Listed { number, ids: Some(ids.clone()) }));
        }
        self.listings.retain(|_, listing| !listing.is_over || now < listing.until);
    }
}
