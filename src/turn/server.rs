//! The relay as a state machine: what clients and peers send goes in, what to send comes out. Owns every table and its bounds;
//! `request` answers requests, `relay` forwards data. Memory is kept for allocations only, and those need credentials: strangers
//! are answered from what they sent.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustc_hash::FxHashMap;

use super::allocation::Allocation;
use super::credentials::Credentials;
use super::message::{Code, Method, Request};
use super::nonce::Nonces;
use super::ports::Ports;
use super::quota::Users;
use super::request::Pending;
use super::{Client, Now, Output, RelayId, Settings, Stats};

/// How long a nonce is good for, in seconds. Clients are told and sign again.
const NONCE_LIFETIME: u64 = 3_600;

/// How long a reserved port waits for whoever reserved it (RFC 8656 §7.2).
pub(super) const RESERVATION: Duration = Duration::from_secs(30);

/// A port kept for the second half of a pair.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) port: u16,
    pub(super) user: Arc<str>,
    pub(super) is_v4: bool,
    pub(super) until: Instant,
}

/// What ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ends {
    Allocation(RelayId),
    Reservation([u8; 8]),
}

/// The relay.
#[derive(Debug)]
pub struct Server {
    pub(super) settings: Settings,
    pub(super) credentials: Credentials,
    pub(super) nonces: Nonces,
    pub(super) rng: StdRng,
    pub(super) next_relay: u64,
    pub(super) ports: Ports,
    pub(super) users: Users,
    pub(super) allocations: FxHashMap<RelayId, Allocation>,
    /// Those of them whose address is being bound.
    pub(super) pending: FxHashMap<RelayId, Pending>,
    pub(super) clients: HashMap<Client, RelayId>,
    /// Allocations by relayed address.
    pub(super) relayed: HashMap<SocketAddr, RelayId>,
    pub(super) reservations: HashMap<[u8; 8], Reservation>,
    pub(super) ends: BTreeSet<(Instant, Ends)>,
    pub(super) stats: Stats,
}

impl Server {
    /// `seed` must come from the system's randomness: nonces and ports are drawn from it.
    pub fn new(settings: Settings, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let nonce_key: [u8; 32] = rng.random();
        Self {
            credentials: Credentials::new(settings.realm.clone(), settings.issuer.clone(), settings.users.clone()),
            nonces: Nonces::new(&nonce_key, NONCE_LIFETIME),
            rng,
            next_relay: 0,
            ports: Ports::new(settings.ports.clone()),
            users: Users::new(settings.user_allocations, settings.user_kbps),
            allocations: FxHashMap::default(),
            pending: FxHashMap::default(),
            clients: HashMap::new(),
            relayed: HashMap::new(),
            reservations: HashMap::new(),
            ends: BTreeSet::new(),
            stats: Stats::default(),
            settings,
        }
    }

    /// Takes in one datagram, or one frame of a connection; appends to `out` what is to be done.
    pub fn from_client(&mut self, now: Now, client: Client, message: &[u8], out: &mut Vec<Output>) {
        match message.first() {
            Some(0x40..=0x7f) => self.channel_data(now, client, message, out),
            Some(0..=0x3f) => match Request::read(message) {
                Some(request) if request.method == Method::Send => self.send_indication(now, client, &request, out),
                Some(request) => self.request(now, client, &request, out),
                None => self.stats.dropped.malformed += 1,
            },
            _ => self.stats.dropped.malformed += 1,
        }
    }

    /// A client's connection is gone, and what it held with it.
    pub fn gone(&mut self, client: Client, out: &mut Vec<Output>) {
        if let Some(&relay) = self.clients.get(&client) {
            self.remove(relay, out);
        }
    }

    /// Whether a client holds an allocation: connections without one are not kept for long.
    pub fn holds(&self, client: Client) -> bool {
        self.clients.contains_key(&client)
    }

    /// When [`Server::handle_timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// Ends what nobody refreshed.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        while self.deadline().is_some_and(|at| at <= now) {
            match self.ends.pop_first() {
                Some((_, Ends::Allocation(relay))) => {
                    self.stats.expired += 1;
                    self.remove(relay, out);
                }
                Some((_, Ends::Reservation(token))) => {
                    if let Some(reservation) = self.reservations.remove(&token) {
                        self.ports.free(reservation.port);
                        self.users.release(&reservation.user);
                    }
                }
                None => {}
            }
        }
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        Stats {
            allocations: u32::try_from(self.allocations.len()).unwrap_or(u32::MAX),
            users: u32::try_from(self.users.len()).unwrap_or(u32::MAX),
            ..self.stats.clone()
        }
    }

    /// Entries in all tables together, to show that strangers leave none.
    pub fn remembered(&self) -> usize {
        self.allocations.len()
            + self.pending.len()
            + self.clients.len()
            + self.relayed.len()
            + self.reservations.len()
            + self.ends.len()
            + self.users.len()
    }

    pub(super) fn allocation_of(&self, client: Client) -> Option<&Allocation> {
        self.allocations.get(self.clients.get(&client)?).filter(|allocation| allocation.relayed.is_some())
    }

    /// Gives an allocation until `until`.
    pub(super) fn extend(&mut self, relay: RelayId, until: Instant) {
        if let Some(allocation) = self.allocations.get_mut(&relay) {
            self.ends.remove(&(allocation.until, Ends::Allocation(relay)));
            allocation.until = until;
            self.ends.insert((until, Ends::Allocation(relay)));
        }
    }

    pub(super) fn remove(&mut self, relay: RelayId, out: &mut Vec<Output>) {
        let Some(allocation) = self.allocations.remove(&relay) else { return };
        self.pending.remove(&relay);
        self.clients.remove(&allocation.client);
        self.ends.remove(&(allocation.until, Ends::Allocation(relay)));
        if let Some(relayed) = allocation.relayed {
            self.relayed.remove(&relayed);
        }
        self.ports.free(allocation.port);
        self.users.release(&allocation.user);
        out.push(Output::Unbind { relay });
    }

    /// The address of that family that peers see.
    pub(super) fn external(&self, is_v4: bool) -> Option<IpAddr> {
        self.settings.external.iter().copied().find(|ip| ip.is_ipv4() == is_v4)
    }

    /// Where sockets of relayed addresses are bound.
    pub(super) fn bind_ip(&self, is_v4: bool) -> IpAddr {
        if is_v4 { self.settings.bind_v4.into() } else { self.settings.bind_v6.into() }
    }

    pub(super) fn count_refusal(&mut self, code: Code) {
        let refused = &mut self.stats.refused;
        let count = match code {
            Code::BadRequest => &mut refused.bad_request,
            Code::Unauthorized => &mut refused.unauthorized,
            Code::Forbidden => &mut refused.forbidden,
            Code::AllocationMismatch => &mut refused.mismatch,
            Code::StaleNonce => &mut refused.stale_nonce,
            Code::WrongCredentials => &mut refused.wrong_credentials,
            Code::QuotaReached => &mut refused.quota,
            Code::InsufficientCapacity => &mut refused.capacity,
            Code::UnknownAttribute | Code::FamilyNotSupported | Code::TransportNotSupported | Code::FamilyMismatch => {
                &mut refused.unsupported
            }
        };
        *count += 1;
    }
}
