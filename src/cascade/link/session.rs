//! How a link begins: both say hello, once, and each holds the other to its certificate. Owns the rules; frames come and go
//! through `cascade::quic`.

use std::time::{Duration, Instant};

use crate::cascade::wire::{Frame, Hello, Identity, OLDEST, VERSION};
use crate::cluster::NodeInfo;
use crate::id::{NodeId, RegionId};

/// How long a neighbour may take for its hello, from the moment its connection is there.
pub const WITHIN: Duration = Duration::from_secs(3);

/// What is said first on every link.
pub fn hello(me: NodeInfo, epoch: u64) -> Hello {
    Hello { versions: (OLDEST, VERSION), node: me, epoch }
}

/// Why a link does not come up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the first frame was no hello")]
    NotHello,
    #[error("no hello within {} s", WITHIN.as_secs())]
    Late,
    #[error("it says it is {said}, its certificate says {certified}")]
    WrongName { said: String, certified: String },
    #[error("{dialed} was dialed and {answered} answers: check the addresses in the topology")]
    WrongNode { dialed: NodeId, answered: NodeId },
    #[error("{node} was dialed in region {dialed} and is in {answered}: check the regions in the topology")]
    WrongRegion { node: NodeId, dialed: RegionId, answered: RegionId },
    #[error("it has this node's own name: two nodes have the same id, or this node dials itself")]
    Myself,
    #[error("it speaks wire versions {0} to {1}, this node {OLDEST} to {VERSION}: upgrade the older one step by step")]
    Version(u8, u8),
}

/// A link whose hello is awaited.
#[derive(Debug)]
pub struct Session {
    me: NodeId,
    /// What the neighbour's certificate says.
    certified: Identity,
    dialed: Option<(NodeId, RegionId)>,
    until: Instant,
}

/// What both agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    pub hello: Hello,
    /// The newest that both speak.
    pub version: u8,
}

impl Session {
    /// `dialed`: who was meant, on the dialing side.
    pub fn new(now: Instant, me: NodeId, certified: Identity, dialed: Option<(NodeId, RegionId)>) -> Self {
        Self { me, certified, dialed, until: now + WITHIN }
    }

    /// The neighbour's first frame.
    pub fn begin(&self, frame: Frame) -> Result<Established, Refused> {
        let Frame::Hello(hello) = frame else { return Err(Refused::NotHello) };
        let said = &hello.node;
        if said.id != self.certified.node || said.region != self.certified.region {
            let name = |node: &dyn std::fmt::Display, region: &dyn std::fmt::Display| format!("{node} in {region}");
            return Err(Refused::WrongName {
                said: name(&said.id, &said.region),
                certified: name(&self.certified.node, &self.certified.region),
            });
        }
        if said.id == self.me {
            return Err(Refused::Myself);
        }
        if let Some((node, region)) = self.dialed.clone() {
            if node != said.id {
                return Err(Refused::WrongNode { dialed: node, answered: said.id.clone() });
            }
            if region != said.region {
                return Err(Refused::WrongRegion { node, dialed: region, answered: said.region.clone() });
            }
        }
        let (oldest, newest) = hello.versions;
        let version = newest.min(VERSION);
        if version < oldest.max(OLDEST) {
            return Err(Refused::Version(oldest, newest));
        }
        Ok(Established { hello, version })
    }

    /// Whether the neighbour took too long.
    pub fn check(&self, now: Instant) -> Result<(), Refused> {
        if now >= self.until { Err(Refused::Late) } else { Ok(()) }
    }

    pub const fn deadline(&self) -> Instant {
        self.until
    }
}

/// Of two links between the same two nodes, whether the new one is kept. Both ends come to the same answer.
///
/// `old` and `new` are the neighbour's incarnation by each link's hello, and whether this node dialed it.
pub fn replaces(me: &NodeId, neighbour: &NodeId, old: (u64, bool), new: (u64, bool)) -> bool {
    let ((old_run, old_dialed), (new_run, new_dialed)) = (old, new);
    if new_run != old_run {
        return new_run > old_run;
    }
    if old_dialed == new_dialed {
        // One side dialed twice: it has lost the first.
        return true;
    }
    // Both dialed: that of the lower name stays.
    new_dialed == (me < neighbour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Role;
    use crate::id::RegionId;

    fn node(id: &str) -> NodeInfo {
        NodeInfo {
            id: NodeId::new(id),
            region: RegionId::new("fra"),
            role: Role::Both,
            incarnation: 7,
            draining: false,
            url: None,
            addr: None,
        }
    }

    fn session(certified: &str, dialed: Option<&str>) -> Session {
        let certified = Identity { region: RegionId::new("fra"), node: NodeId::new(certified) };
        Session::new(Instant::now(), NodeId::new("me"), certified, dialed.map(|node| (NodeId::new(node), RegionId::new("fra"))))
    }

    fn said(id: &str, versions: (u8, u8)) -> Frame {
        Frame::Hello(Hello { versions, ..hello(node(id), 3) })
    }

    #[test]
    fn the_newest_common_version_is_spoken() {
        let version = |versions| session("a", None).begin(said("a", versions)).map(|established| established.version);
        assert_eq!(version((OLDEST, VERSION)), Ok(VERSION));
        assert_eq!(version((VERSION, VERSION + 5)), Ok(VERSION));
        assert_eq!(version((1, 1)), Ok(1));
        assert_eq!(version((VERSION + 1, VERSION + 2)), Err(Refused::Version(VERSION + 1, VERSION + 2)));
        assert_eq!(version((0, 0)), Err(Refused::Version(0, 0)));
    }

    #[test]
    fn a_name_other_than_the_certificates_is_refused() {
        assert!(matches!(session("a", None).begin(said("b", (1, 2))), Err(Refused::WrongName { .. })));
        let mut elsewhere = hello(node("a"), 3);
        elsewhere.node.region = RegionId::new("iad");
        assert!(matches!(session("a", None).begin(Frame::Hello(elsewhere)), Err(Refused::WrongName { .. })));
        assert_eq!(session("me", None).begin(said("me", (1, 2))), Err(Refused::Myself));
        let wrong = session("a", Some("b")).begin(said("a", (1, 2)));
        assert_eq!(wrong, Err(Refused::WrongNode { dialed: NodeId::new("b"), answered: NodeId::new("a") }));
        assert!(session("a", Some("a")).begin(said("a", (1, 2))).is_ok());
    }

    #[test]
    fn nothing_but_a_hello_begins_a_link_and_not_late() {
        assert_eq!(session("a", None).begin(Frame::Goaway { reason: String::new() }), Err(Refused::NotHello));
        let session = session("a", None);
        assert_eq!(session.check(session.deadline() - Duration::from_millis(1)), Ok(()));
        assert_eq!(session.check(session.deadline()), Err(Refused::Late));
    }

    #[test]
    fn both_ends_keep_the_same_one_of_two_links() {
        let (a, b) = (NodeId::new("a"), NodeId::new("b"));
        // Link 1 was dialed by a, link 2 by b; each end may learn of them in either order.
        for a_first in [true, false] {
            for b_first in [true, false] {
                let kept = |me: &NodeId, other: &NodeId, first_is_1: bool| {
                    let dialed_1 = me == &a;
                    let (old, new) = if first_is_1 { (dialed_1, !dialed_1) } else { (!dialed_1, dialed_1) };
                    replaces(me, other, (7, old), (7, new)) != first_is_1
                };
                assert!(kept(&a, &b, a_first), "a keeps link 1");
                assert!(kept(&b, &a, b_first), "b keeps link 1");
            }
        }
    }

    #[test]
    fn a_later_run_replaces_an_earlier_one_and_never_the_other_way() {
        let (a, b) = (NodeId::new("a"), NodeId::new("b"));
        for dialed in [(true, true), (true, false), (false, true), (false, false)] {
            assert!(replaces(&a, &b, (7, dialed.0), (8, dialed.1)));
            assert!(!replaces(&a, &b, (8, dialed.0), (7, dialed.1)));
        }
        assert!(replaces(&a, &b, (7, true), (7, true)), "a second dialing of the same side");
    }
}
