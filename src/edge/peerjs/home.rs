//! The home of ids: which node each of them is at, and what waits for peers that are not there. Of two clients that want one id the
//! home lets one have it. Pure; part of `edge::peerjs`, which asks the home that [`View::home`] names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Terms;
use super::wire::{Down, Held, Letter, Name, Refusal, Up};
use crate::cluster::View;
use crate::id::NodeId;

/// How long a message waits for a peer that is not there; then its sender is told that nobody came.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a home that may be new waits for nodes to tell which ids they have, before it gives away one that it does not know. Who
/// asked meanwhile asks again. Shorter lets newcomers in sooner after a node died; some of them then lose their id again.
const SETTLING: Duration = Duration::from_secs(1);

/// A node that does not tell an id again for so long has lost it. Longer than three times of telling.
const LEASE: Duration = Duration::from_secs(35);

/// Ids of which this node is the home. A sound cluster has fewer; this is against one that is not.
pub(super) const MOST_CLAIMS: usize = 200_000;

/// Messages that wait for one peer, and for all. What is beyond is answered as if it had waited.
pub(super) const MOST_FOR_ONE: usize = 128;
pub(super) const MOST_WAITING: usize = 8_192;

/// Their bytes.
pub(super) const WAITING_BYTES: usize = 16 << 20;

/// Which ids are where, and what waits.
#[derive(Debug, Default)]
pub(super) struct Home {
    /// Nodes came or went a moment ago.
    settling_until: Option<Instant>,
    claims: BTreeMap<Name, Claim>,
    waiting: BTreeMap<Name, Vec<Waiting>>,
    /// When the first of a peer's messages may have waited for long enough, in order.
    due: VecDeque<(Instant, Name)>,
    count: usize,
    bytes: usize,
    /// When claims of other nodes are looked through.
    sweep_at: Option<Instant>,
}

#[derive(Debug)]
struct Claim {
    node: NodeId,
    token: Arc<str>,
    stamp: u64,
    /// Which run of the node.
    run: u64,
    told: Instant,
}

#[derive(Debug)]
struct Waiting {
    letter: Letter,
    until: Instant,
}

/// To whom what is told.
pub(super) type Told = Vec<(NodeId, Down)>;

impl Home {
    pub(super) fn claims(&self) -> usize {
        self.claims.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.count
    }

    /// When [`Home::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.front().map(|(at, _)| *at).into_iter().chain(self.sweep_at).min()
    }

    /// Takes in what a node says of an id of which this is the home.
    pub(super) fn hear(&mut self, terms: Terms<'_>, from: &NodeId, up: Up, out: &mut Told) {
        match up {
            Up::Claim { name, token } => self.claim(terms, from, name, token, out),
            Up::Hold(all) => all.into_iter().for_each(|held| self.hold(terms, from, held, out)),
            Up::Release { name, token } => {
                let meant = |claim: &Claim| claim.node == *from && token.is_none_or(|token| token == claim.token);
                if self.claims.get(&name).is_some_and(meant) {
                    self.claims.remove(&name);
                }
            }
            Up::Relay { letter, .. } => self.relay(terms.now, letter, out),
            Up::Absent { letter } => {
                let name = letter.to();
                if self.claims.get(&name).is_some_and(|claim| claim.node == *from) {
                    self.claims.remove(&name);
                }
                self.relay(terms.now, letter, out);
            }
        }
    }

    /// A client wants an id. Who has it keeps it, unless the same client comes by another way.
    fn claim(&mut self, terms: Terms<'_>, from: &NodeId, name: Name, token: Arc<str>, out: &mut Told) {
        let stamp = match self.claims.get(&name) {
            Some(claim) if claim.token != token => {
                let why = if claim.node == *from { Refusal::Yours } else { Refusal::Taken };
                return out.push((from.clone(), Down::Refused { name, token, why }));
            }
            Some(claim) if claim.node == *from => claim.stamp,
            Some(claim) => {
                out.push((claim.node.clone(), Down::Lost { name: name.clone(), stamp: claim.stamp, replaced: true }));
                terms.unix_ms.max(claim.stamp.saturating_add(1))
            }
            None if self.settling_until.is_some_and(|until| terms.now < until) => return,
            None if self.claims.len() >= MOST_CLAIMS => {
                return out.push((from.clone(), Down::Refused { name, token, why: Refusal::Full }));
            }
            None => terms.unix_ms,
        };
        out.push((from.clone(), Down::Granted { name: name.clone(), token: Arc::clone(&token), stamp }));
        self.enter(terms, from, Held { name, token, stamp }, out);
    }

    /// A node has an id, as another home granted it, or this one. If two have it, the network was cut: of two clients the one that
    /// had it first keeps it, of one client the later socket. Every home finds the same.
    fn hold(&mut self, terms: Terms<'_>, from: &NodeId, held: Held, out: &mut Told) {
        if let Some(claim) = self.claims.get(&held.name).filter(|claim| claim.node != *from) {
            let replaced = claim.token == held.token;
            let (ours, theirs) = ((claim.stamp, &claim.node), (held.stamp, from));
            let wins = if replaced { theirs > ours } else { theirs < ours };
            let (loser, stamp) = if wins { (claim.node.clone(), claim.stamp) } else { (from.clone(), held.stamp) };
            out.push((loser, Down::Lost { name: held.name.clone(), stamp, replaced }));
            if !wins {
                return;
            }
        } else if self.claims.len() >= MOST_CLAIMS && !self.claims.contains_key(&held.name) {
            return;
        }
        self.enter(terms, from, held, out);
    }

    /// The id is at that node now; what waited for it goes there.
    fn enter(&mut self, terms: Terms<'_>, from: &NodeId, held: Held, out: &mut Told) {
        let Held { name, token, stamp } = held;
        let waited = self.take(&name);
        out.extend(waited.into_iter().map(|letter| (from.clone(), Down::Deliver { letter })));
        let run = terms.view.nodes.get(from).map_or(0, |info| info.incarnation);
        if *from != terms.view.me {
            self.sweep_at.get_or_insert(terms.now + LEASE);
        }
        self.claims.insert(name, Claim { node: from.clone(), token, stamp, run, told: terms.now });
    }

    fn relay(&mut self, now: Instant, letter: Letter, out: &mut Told) {
        let name = letter.to();
        if let Some(claim) = self.claims.get(&name) {
            return out.push((claim.node.clone(), Down::Deliver { letter }));
        }
        if !letter.kind.waits() {
            return;
        }
        let most = self.waiting.get(&name).map_or(0, Vec::len) >= MOST_FOR_ONE;
        let full = self.count >= MOST_WAITING || self.due.len() >= MOST_WAITING || self.bytes >= WAITING_BYTES;
        if most || full {
            return out.push((letter.from.clone(), Down::Deliver { letter: letter.expired() }));
        }
        let until = now + PATIENCE;
        self.count += 1;
        self.bytes += letter.weight();
        self.waiting.entry(name.clone()).or_default().push(Waiting { letter, until });
        self.due.push_back((until, name));
    }

    /// What waits for a peer, which is there now or has another home.
    fn take(&mut self, name: &Name) -> Vec<Letter> {
        let letters: Vec<Letter> = self.waiting.remove(name).unwrap_or_default().into_iter().map(|one| one.letter).collect();
        self.forget(&letters);
        letters
    }

    fn forget(&mut self, letters: &[Letter]) {
        self.count = self.count.saturating_sub(letters.len());
        self.bytes = self.bytes.saturating_sub(letters.iter().map(Letter::weight).sum());
    }

    /// Tells who called in vain, once for each call, and forgets ids that their nodes tell no more.
    pub(super) fn tick(&mut self, terms: Terms<'_>, out: &mut Told) {
        while let Some((_, name)) = self.due.pop_front_if(|(at, _)| *at <= terms.now) {
            let Some(waiting) = self.waiting.get_mut(&name) else { continue };
            let over: BTreeSet<Arc<str>> =
                waiting.iter().filter(|one| one.until <= terms.now).map(|one| Arc::clone(&one.letter.src)).collect();
            // What the same caller said since belongs to the same call.
            let gone: Vec<Letter> =
                waiting.extract_if(.., |one| over.contains(&one.letter.src)).map(|one| one.letter).collect();
            if waiting.is_empty() {
                self.waiting.remove(&name);
            }
            self.forget(&gone);
            let mut told = BTreeSet::new();
            for letter in gone.iter().filter(|letter| told.insert(Arc::clone(&letter.src))) {
                out.push((letter.from.clone(), Down::Deliver { letter: letter.expired() }));
            }
        }
        if self.sweep_at.is_some_and(|at| at <= terms.now) {
            let me = &terms.view.me;
            self.claims.retain(|_, claim| claim.node == *me || terms.now < claim.told + LEASE);
            self.sweep_at = self.claims.values().filter(|claim| claim.node != *me).map(|claim| claim.told + LEASE).min();
        }
    }

    /// Other nodes can be reached now: lets go of ids at nodes that are gone, and of those that have another home. What waits for
    /// those is returned, to be sent there.
    pub(super) fn review(&mut self, now: Instant, view: &View) -> Vec<Letter> {
        self.settling_until = Some(now + SETTLING);
        self.claims.retain(|name, claim| {
            let there = view.nodes.get(&claim.node).is_some_and(|node| node.incarnation == claim.run);
            there && name.is_at_home(view)
        });
        let moved: Vec<Name> = self.waiting.keys().filter(|name| !name.is_at_home(view)).cloned().collect();
        moved.iter().flat_map(|name| self.take(name)).collect()
    }
}
