//! Who of a room is at one node: cards of its members, numbered by their changes. The node itself keeps the original; its
//! room's home and the other nodes keep copies. A copy takes in deltas in order, notices when one is missing, and is brought up
//! to date from any version. Pure; knows nothing of who sends what to whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::edge::message::{LeaveReason, Peer, PeerQuality, ServerMessage, Track};
use crate::id::{Identity, MemberId, NodeId, RegionId};

/// Bytes of cards in one delta; more are sent in several. Higher saves messages, but one message holds up those behind it.
const PART_BYTES: usize = 48 << 10;

/// A member as other nodes know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::edge::hub) struct Card {
    pub(in crate::edge::hub) id: MemberId,
    pub(in crate::edge::hub) identity: Identity,
    /// When the session began, in milliseconds since the epoch; of two sessions of one identity the higher one stays.
    pub(in crate::edge::hub) stamp: u64,
    pub(in crate::edge::hub) name: String,
    pub(in crate::edge::hub) attrs: BTreeMap<String, String>,
    pub(in crate::edge::hub) hand: bool,
    pub(in crate::edge::hub) away: bool,
    pub(in crate::edge::hub) hidden: bool,
    /// Its token grants `roomAdmin`.
    pub(in crate::edge::hub) admin: bool,
    pub(in crate::edge::hub) tracks: Vec<Track>,
    pub(in crate::edge::hub) quality: Option<PeerQuality>,
}

impl Card {
    /// As members see it when it comes; its tracks are told one by one.
    pub(in crate::edge::hub) fn peer(&self, node: &NodeId, region: &RegionId, tracks: Vec<Track>) -> Peer {
        Peer {
            pid: self.id,
            identity: self.identity.clone(),
            name: self.name.clone(),
            attrs: self.attrs.clone(),
            node: node.clone(),
            region: region.clone(),
            hand: self.hand,
            away: self.away,
            tracks,
        }
    }

    /// As members are told after a change.
    pub(in crate::edge::hub) fn updated(&self) -> ServerMessage {
        ServerMessage::PeerUpdated {
            pid: self.id,
            name: self.name.clone(),
            attrs: self.attrs.clone(),
            hand: self.hand,
            away: self.away,
        }
    }

    /// About its size on the wire.
    fn weight(&self) -> usize {
        let attrs: usize = self.attrs.iter().map(|(key, value)| key.len() + value.len() + 4).sum();
        let track = |track: &Track| {
            let layers: usize = track.layers.iter().map(|layer| layer.rid.as_ref().map_or(0, String::len) + 20).sum();
            layers + track.name.as_ref().map_or(0, String::len) + 24
        };
        64 + self.identity.as_str().len() + self.name.len() + attrs + self.tracks.iter().map(track).sum::<usize>()
    }
}

/// The members of a room at one node.
#[derive(Debug, Clone)]
pub(in crate::edge::hub) struct Roster {
    /// Which run of the node.
    pub(in crate::edge::hub) incarnation: u64,
    pub(in crate::edge::hub) region: RegionId,
    /// Of the latest change; grows over all rooms of one run.
    pub(in crate::edge::hub) version: u64,
    /// With the version in which each was changed last; no two have the same.
    cards: BTreeMap<MemberId, (u64, Arc<Card>)>,
}

/// What changed in a roster from one version to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::edge::hub) struct Delta {
    pub(in crate::edge::hub) node: NodeId,
    pub(in crate::edge::hub) region: RegionId,
    pub(in crate::edge::hub) incarnation: u64,
    pub(in crate::edge::hub) since: u64,
    pub(in crate::edge::hub) version: u64,
    pub(in crate::edge::hub) changed: Vec<(u64, Arc<Card>)>,
    pub(in crate::edge::hub) gone: Vec<(MemberId, LeaveReason)>,
    /// Everybody who is there at `version`; in the last part of an answer, which can't name everybody who went.
    pub(in crate::edge::hub) present: Option<Vec<MemberId>>,
}

/// What a delta did to a copy.
#[derive(Debug)]
pub(in crate::edge::hub) enum Applied {
    /// Something before it is missing.
    Gap,
    /// It tells nothing new.
    Known,
    Changed(Vec<Change>),
}

/// One member before and after.
#[derive(Debug)]
pub(in crate::edge::hub) enum Change {
    Came(Arc<Card>),
    Changed(Arc<Card>, Arc<Card>),
    Went(Arc<Card>, LeaveReason),
}

impl Roster {
    pub(in crate::edge::hub) fn new(incarnation: u64, region: RegionId) -> Self {
        Self { incarnation, region, version: 0, cards: BTreeMap::new() }
    }

    pub(in crate::edge::hub) fn get(&self, id: MemberId) -> Option<&Arc<Card>> {
        self.cards.get(&id).map(|(_, card)| card)
    }

    pub(in crate::edge::hub) fn cards(&self) -> impl Iterator<Item = &Arc<Card>> {
        self.cards.values().map(|(_, card)| card)
    }

    pub(in crate::edge::hub) fn len(&self) -> usize {
        self.cards.len()
    }

    /// Enters a card of this node's own member, if it changed anything.
    pub(in crate::edge::hub) fn set(&mut self, version: u64, card: Arc<Card>) {
        self.version = version;
        self.cards.insert(card.id, (version, card));
    }

    /// Takes a card of this node's own member out; whether there was one.
    pub(in crate::edge::hub) fn remove(&mut self, version: u64, id: MemberId) -> bool {
        let was = self.cards.remove(&id).is_some();
        if was {
            self.version = version;
        }
        was
    }

    /// Everybody goes.
    pub(in crate::edge::hub) fn clear(&mut self, reason: LeaveReason) -> Vec<Change> {
        std::mem::take(&mut self.cards).into_values().map(|(_, card)| Change::Went(card, reason)).collect()
    }

    /// What a copy at `version` lacks, in parts that follow each other. Nothing for one that is up to date.
    pub(in crate::edge::hub) fn since(&self, node: &NodeId, version: u64) -> Vec<Delta> {
        if version >= self.version {
            return Vec::new();
        }
        let mut lacking: Vec<&(u64, Arc<Card>)> = self.cards.values().filter(|(changed, _)| *changed > version).collect();
        lacking.sort_unstable_by_key(|(changed, _)| *changed);
        let part = |since| Delta {
            node: node.clone(),
            region: self.region.clone(),
            incarnation: self.incarnation,
            since,
            version: since,
            changed: Vec::new(),
            gone: Vec::new(),
            present: None,
        };
        let (mut parts, mut last, mut bytes) = (Vec::new(), part(version), 0);
        for (changed, card) in lacking {
            let weight = card.weight();
            if bytes + weight > PART_BYTES && !last.changed.is_empty() {
                let next = part(last.version);
                parts.push(std::mem::replace(&mut last, next));
                bytes = 0;
            }
            bytes += weight;
            last.version = *changed;
            last.changed.push((*changed, Arc::clone(card)));
        }
        last.version = self.version;
        last.present = Some(self.cards.keys().copied().collect());
        parts.push(last);
        parts
    }

    /// Takes a delta into a copy. At most `most` members are kept.
    pub(in crate::edge::hub) fn apply(&mut self, delta: &Delta, most: usize) -> Applied {
        let newer_run = delta.incarnation > self.incarnation;
        if delta.incarnation < self.incarnation || (!newer_run && delta.version <= self.version) {
            return Applied::Known;
        }
        if delta.since > if newer_run { 0 } else { self.version } {
            return Applied::Gap;
        }
        let mut changes = Vec::new();
        if newer_run {
            changes = self.clear(LeaveReason::TimedOut);
            self.incarnation = delta.incarnation;
        }
        self.region.clone_from(&delta.region);
        self.version = delta.version;
        for (id, reason) in &delta.gone {
            if let Some((_, card)) = self.cards.remove(id) {
                changes.push(Change::Went(card, *reason));
            }
        }
        if let Some(present) = &delta.present {
            let named: std::collections::BTreeSet<MemberId> = present.iter().copied().collect();
            let absent: Vec<MemberId> = self.cards.keys().filter(|id| !named.contains(id)).copied().collect();
            for id in absent {
                if let Some((_, card)) = self.cards.remove(&id) {
                    changes.push(Change::Went(card, LeaveReason::Left));
                }
            }
        }
        for (version, card) in &delta.changed {
            if self.cards.len() >= most && !self.cards.contains_key(&card.id) {
                continue;
            }
            match self.cards.insert(card.id, (*version, Arc::clone(card))) {
                Some((_, old)) if old == *card => {}
                Some((_, old)) => changes.push(Change::Changed(old, Arc::clone(card))),
                None => changes.push(Change::Came(Arc::clone(card))),
            }
        }
        Applied::Changed(changes)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) fn card(id: u64, name: &str) -> Arc<Card> {
        Arc::new(Card {
            id: MemberId(id),
            identity: Identity::new(format!("i{id}")),
            stamp: 1,
            name: name.into(),
            attrs: BTreeMap::new(),
            hand: false,
            away: false,
            hidden: false,
            admin: false,
            tracks: Vec::new(),
            quality: None,
        })
    }

    fn roster() -> Roster {
        Roster::new(7, RegionId::new("r"))
    }

    fn names(roster: &Roster) -> Vec<(MemberId, String)> {
        roster.cards().map(|card| (card.id, card.name.clone())).collect()
    }

    #[test]
    fn a_large_roster_comes_in_parts_and_a_lost_part_is_noticed() {
        let node = NodeId::new("a");
        let mut original = roster();
        for id in 1..=40 {
            original.set(id, card(id, &"x".repeat(4_000)));
        }
        let parts = original.since(&node, 0);
        assert!(parts.len() >= 4 && parts.iter().all(|part| part.changed.len() <= 12), "{} parts", parts.len());
        let mut copy = roster();
        assert!(matches!(copy.apply(&parts[0], 1_000), Applied::Changed(changes) if changes.len() == parts[0].changed.len()));
        assert!(matches!(copy.apply(&parts[2], 1_000), Applied::Gap));
        for part in original.since(&node, copy.version) {
            assert!(matches!(copy.apply(&part, 1_000), Applied::Changed(_)));
        }
        assert_eq!(names(&copy), names(&original));
        assert!(matches!(copy.apply(&parts[1], 1_000), Applied::Known), "one that comes late changes nothing");
        assert_eq!(original.since(&node, copy.version), []);
    }

    #[test]
    fn a_later_run_of_the_node_replaces_the_one_before() {
        let node = NodeId::new("a");
        let (mut old, mut new) = (roster(), Roster::new(8, RegionId::new("r")));
        old.set(5, card(1, "old"));
        new.set(1, card(2, "new"));
        let mut copy = roster();
        copy.apply(&old.since(&node, 0)[0], 10);
        let Applied::Changed(changes) = copy.apply(&new.since(&node, 0)[0], 10) else { panic!("not taken") };
        assert!(
            matches!(&changes[..], [Change::Went(one, LeaveReason::TimedOut), Change::Came(two)] if one.name == "old" && two.name == "new")
        );
        assert!(matches!(copy.apply(&old.since(&node, 0)[0], 10), Applied::Known));
    }

    #[test]
    fn a_copy_holds_no_more_than_it_may() {
        let mut original = roster();
        (1..=20).for_each(|id| original.set(id, card(id, "x")));
        let mut copy = roster();
        copy.apply(&original.since(&NodeId::new("a"), 0)[0], 5);
        assert_eq!(copy.len(), 5);
    }

    proptest! {
        /// Whatever is lost on the way, what a copy shows is what the original was at the version it says, and one answer
        /// brings it up to date.
        #[test]
        fn a_copy_is_never_wrong(steps in proptest::collection::vec((0u64..6, 0u8..4, any::<bool>()), 1..60)) {
            let node = NodeId::new("a");
            let (mut original, mut copy) = (roster(), roster());
            let mut past = BTreeMap::from([(0, Vec::new())]);
            let mut version = 0;
            for (id, what, lost) in steps {
                let since = original.version;
                let (mut changed, mut gone) = (Vec::new(), Vec::new());
                version += 1;
                if what == 0 {
                    if original.remove(version, MemberId(id)) {
                        gone.push((MemberId(id), LeaveReason::Left));
                    }
                } else {
                    let card = card(id, &format!("{what}"));
                    original.set(version, Arc::clone(&card));
                    changed.push((version, card));
                }
                past.insert(original.version, names(&original));
                let delta = Delta { node: node.clone(), region: RegionId::new("r"), incarnation: 7, since,
                    version: original.version, changed, gone, present: None };
                if !lost && let Applied::Gap = copy.apply(&delta, 100) {
                    for part in original.since(&node, copy.version) {
                        copy.apply(&part, 100);
                    }
                    prop_assert_eq!(copy.version, original.version);
                }
                prop_assert_eq!(&names(&copy), &past[&copy.version]);
            }
        }
    }
}
