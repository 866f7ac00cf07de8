//! Who links to whom. Owns that rule and what was said of it; the connection itself is the link's shell's.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Mesh, Output};
use crate::cluster::{NodeInfo, Role};
use crate::id::{NodeId, RegionId};

impl Mesh {
    /// Says to whom a link should be kept, as far as that is news. Of two the one with the lower name dials; but one that the
    /// document does not list dials one that it lists, which could not know of it.
    pub(super) fn dial(&mut self, now: Instant, out: &mut Vec<Output>) {
        let me = self.nodes.me().node.clone();
        let mut wanted: BTreeMap<NodeId, NodeInfo> = BTreeMap::new();
        for listed in &self.topology.nodes {
            if self.dials(&me.id, &listed.id) && self.pair(&me, &listed.region, listed.role) {
                let node = NodeInfo {
                    id: listed.id.clone(),
                    region: listed.region.clone(),
                    role: listed.role,
                    incarnation: 0,
                    draining: false,
                    url: listed.url.clone(),
                    addr: Some(listed.addr.clone()),
                };
                wanted.insert(listed.id.clone(), node);
            }
        }
        for state in self.nodes.all().skip(1) {
            let node = &state.node;
            let known = wanted.get(&node.id);
            let addr = node.addr.clone().or_else(|| known.and_then(|known| known.addr.clone()));
            if self.dials(&me.id, &node.id) && addr.is_some() && self.pair(&me, &node.region, node.role) {
                // One that drains keeps the link it has; nobody opens another.
                if node.draining && !self.dialed.contains_key(&node.id) && known.is_none() {
                    continue;
                }
                wanted.insert(node.id.clone(), NodeInfo { addr, ..node.clone() });
            } else if known.is_some() && !self.pair(&me, &node.region, node.role) {
                wanted.remove(&node.id);
            }
        }
        let gone: Vec<NodeId> = self.dialed.keys().filter(|id| !wanted.contains_key(*id)).cloned().collect();
        for node in gone {
            // A link that still carries media is closed a while later.
            if self
                .links
                .to(&node)
                .and_then(|link| self.links.get(link))
                .is_some_and(|link| link.unwanted.is_some_and(|until| until > now))
            {
                continue;
            }
            self.dialed.remove(&node);
            out.push(Output::HangUp { node });
        }
        for (id, node) in wanted {
            let before = self.dialed.get(&id);
            let same = |before: &NodeInfo| before.addr == node.addr && before.incarnation >= node.incarnation;
            if before.is_some_and(same) {
                continue;
            }
            if before.is_some_and(|before| before.addr != node.addr) {
                out.push(Output::HangUp { node: id.clone() });
            }
            self.dialed.insert(id, node.clone());
            out.push(Output::Dial { node });
        }
    }

    /// Whether the first of two dials the other.
    fn dials(&self, me: &NodeId, other: &NodeId) -> bool {
        let listed = |id: &NodeId| self.topology.nodes.iter().any(|node| node.id == *id);
        match (listed(me), listed(other)) {
            (true, false) => false,
            (false, true) => true,
            (true, true) | (false, false) => me < other,
        }
    }

    /// Whether this node keeps a link to a known one.
    pub(super) fn joins(&self, node: &NodeId) -> bool {
        let me = &self.nodes.me().node;
        self.nodes.get(node).is_some_and(|state| self.pair(me, &state.node.region, state.node.role))
    }

    /// Within a region a core is linked to everybody; across regions cores are, where the document joins the regions.
    fn pair(&self, me: &NodeInfo, region: &RegionId, role: Role) -> bool {
        if me.region == *region {
            me.role.is_core() || role.is_core()
        } else {
            me.role.is_core() && role.is_core() && self.topology.may_link(&me.region, region)
        }
    }
}
