//! Requests and their answers: who asks is proved first, then what is asked is granted or refused with the code that the RFC
//! gives (RFC 8656 §7-§12, RFC 8489 §9.2.4). Part of `server`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::RngExt;

use super::allocation::{Allocation, NoChannel, Peers};
use super::credentials::{Algorithm, Keys, PASSWORD_MD5, PASSWORD_SHA256};
use super::message::{
    ADDRESS_ERROR_CODE, Code, LIFETIME, Method, NONCE, OFFERED_ALGORITHMS, PASSWORD_ALGORITHMS, REALM, RESERVATION_TOKEN,
    Request, XOR_RELAYED_ADDRESS, family_of, signed,
};
use super::ports::Parity;
use super::quota::Bucket;
use super::server::{Ends, RESERVATION, Reservation};
use super::{Client, Now, Output, RelayId, Server};
use crate::stun::{Writer, XOR_MAPPED_ADDRESS};

const ALLOCATE_SUCCESS: u16 = 0x0103;
const ALLOCATE_ERROR: u16 = 0x0113;
const UDP: u8 = 17;

/// How often a port that somebody else holds is passed over before giving up.
const BIND_TRIES: u8 = 16;

/// Somebody who proved to know a password.
#[derive(Debug)]
struct Proved<'a> {
    name: &'a str,
    user: &'a str,
    password_algorithm: u16,
    keys: Keys,
    algorithm: Algorithm,
}

/// An allocation on its way: what its answer needs once its address is bound.
#[derive(Debug)]
pub(super) struct Pending {
    algorithm: Algorithm,
    lifetime: Duration,
    tries: u8,
    parity: Parity,
}

impl Server {
    pub(super) fn request(&mut self, now: Now, client: Client, request: &Request<'_>, out: &mut Vec<Output>) {
        match request.method {
            Method::Binding => return self.binding(client, request, out),
            Method::KeepAlive | Method::Send => return,
            _ => {}
        }
        let proved = match self.prove(now, client, request) {
            Ok(proved) => proved,
            Err(message) => return out.push(Output::Answer { client, message }),
        };
        let answered = if request.has_unknown() {
            Err(Code::UnknownAttribute)
        } else if request.malformed {
            Err(Code::BadRequest)
        } else if self.allocation_of(client).is_some_and(|allocation| allocation.name != proved.name) {
            // Nobody takes over the allocation of another (RFC 8656 §5).
            Err(Code::WrongCredentials)
        } else {
            match request.method {
                Method::Allocate => self.allocate(now, client, request, &proved, out),
                Method::Refresh => self.refresh(now, client, request, out),
                Method::CreatePermission => self.create_permission(now, client, request),
                Method::ChannelBind => self.channel_bind(now, client, request),
                Method::Binding | Method::KeepAlive | Method::Send => Ok(None),
            }
        };
        let answer = match answered {
            Ok(Some(answer)) => answer,
            Ok(None) => return,
            Err(code) => {
                self.count_refusal(code);
                request.error(code)
            }
        };
        out.push(Output::Answer { client, message: signed(answer, &proved.keys, proved.algorithm) });
    }

    /// Tells a client where it is seen. Nobody has to prove anything for that.
    fn binding(&mut self, client: Client, request: &Request<'_>, out: &mut Vec<Output>) {
        self.stats.bindings += 1;
        let mut answer = if request.has_unknown() {
            request.error(Code::UnknownAttribute)
        } else {
            let mut answer = request.success();
            answer.xor_address(XOR_MAPPED_ADDRESS, client.addr());
            answer
        };
        answer.fingerprint();
        out.push(Output::Answer { client, message: answer.finish() });
    }

    /// RFC 8489 §9.2.4. Keeps nothing of whoever fails; the answer is what to tell them.
    fn prove<'a>(&mut self, now: Now, client: Client, request: &Request<'a>) -> Result<Proved<'a>, Vec<u8>> {
        let Some(integrity) = request.integrity else {
            self.stats.challenges += 1;
            return Err(self.challenge(now, client, request, Code::Unauthorized));
        };
        let chosen = match (request.password_algorithm, request.password_algorithms) {
            (None, None) => Some(PASSWORD_MD5),
            // What was offered is repeated and signed: nobody on the way made it less.
            (Some(chosen @ (PASSWORD_MD5 | PASSWORD_SHA256)), Some(offered)) if offered == OFFERED_ALGORITHMS => Some(chosen),
            _ => None,
        };
        let (Some(name), Some(_), Some(nonce), Some(password_algorithm)) =
            (request.username, request.realm, request.nonce, chosen)
        else {
            self.count_refusal(Code::BadRequest);
            return Err(request.error(Code::BadRequest).finish());
        };
        // An allocation that lives is refreshed past the expiry of the name that made it: calls outlast names.
        let held = self.allocation_of(client);
        let held = held.filter(|held| held.name == name && held.password_algorithm == password_algorithm);
        let (user, keys, good) = match (held, self.credentials.claim(name, password_algorithm, now.unix)) {
            (Some(held), Some(claim)) => (claim.user, held.keys.clone(), true),
            (None, Some(claim)) => (claim.user, claim.keys, !claim.expired),
            (_, None) => return Err(self.turn_away(now, client, request, Code::Unauthorized)),
        };
        if !integrity.is_by(&keys) || !good {
            return Err(self.turn_away(now, client, request, Code::Unauthorized));
        }
        if !self.nonces.is_fresh(nonce, now.unix, client.addr()) {
            return Err(self.turn_away(now, client, request, Code::StaleNonce));
        }
        Ok(Proved { name, user, password_algorithm, keys, algorithm: integrity.algorithm })
    }

    fn turn_away(&mut self, now: Now, client: Client, request: &Request<'_>, code: Code) -> Vec<u8> {
        self.count_refusal(code);
        self.challenge(now, client, request, code)
    }

    /// What to sign the next request with.
    fn challenge(&self, now: Now, client: Client, request: &Request<'_>, code: Code) -> Vec<u8> {
        let mut answer = request.error(code);
        answer.attribute(REALM, self.credentials.realm().as_bytes());
        answer.attribute(NONCE, &self.nonces.make(now.unix, client.addr()));
        answer.attribute(PASSWORD_ALGORITHMS, &OFFERED_ALGORITHMS);
        answer.finish()
    }

    /// RFC 8656 §7.2.
    fn allocate(
        &mut self,
        now: Now,
        client: Client,
        request: &Request<'_>,
        proved: &Proved<'_>,
        out: &mut Vec<Output>,
    ) -> Result<Option<Writer>, Code> {
        if let Some(held) = self.allocation_of(client) {
            // The answer was lost, and the request came again.
            let same = held.transaction == request.transaction;
            return if same {
                Ok(Some(allocated(held, held.until.saturating_duration_since(now.instant))))
            } else {
                Err(Code::AllocationMismatch)
            };
        }
        match request.transport {
            Some(UDP) => {}
            Some(_) => return Err(Code::TransportNotSupported),
            None => return Err(Code::BadRequest),
        }
        let second_family = request.additional_family.is_some();
        let reserves = request.even_port == Some(true);
        let exclusive = [request.reservation.is_some(), request.even_port.is_some(), request.family.is_some(), second_family];
        // A token stands for a port that is chosen already; a second family goes with nothing that chooses one.
        let contradicts = (request.reservation.is_some() || second_family) && exclusive.iter().filter(|on| **on).count() > 1;
        if contradicts || (second_family && request.additional_family != Some(2)) {
            return Err(Code::BadRequest);
        }
        let is_v4 = match request.family {
            None | Some(1) => true,
            Some(2) => false,
            Some(_) => return Err(Code::FamilyNotSupported),
        };
        // Who names no family of an IPv6-only server gets nothing: RFC 8656 makes IPv4 the default.
        if request.reservation.is_none() && self.external(is_v4).is_none() {
            return Err(Code::FamilyNotSupported);
        }
        if self.allocations.len() + self.reservations.len() >= self.settings.allocations {
            return Err(Code::InsufficientCapacity);
        }
        let (user, port, is_v4, parity) = match request.reservation {
            Some(token) => {
                // Another's token opens nothing, and spends nothing.
                if self.reservations.get(&token).is_none_or(|reserved| *reserved.user != *proved.user) {
                    return Err(Code::InsufficientCapacity);
                }
                let reserved = self.reservations.remove(&token).ok_or(Code::InsufficientCapacity)?;
                self.ends.remove(&(reserved.until, Ends::Reservation(token)));
                (reserved.user, reserved.port, reserved.is_v4, Parity::Any)
            }
            None => {
                let user = self.users.hold(now.instant, proved.user).ok_or(Code::QuotaReached)?;
                // The reserved port counts like an allocation.
                if reserves && self.users.hold(now.instant, proved.user).is_none() {
                    self.users.release(&user);
                    return Err(Code::QuotaReached);
                }
                let parity = match request.even_port {
                    None => Parity::Any,
                    Some(false) => Parity::Even,
                    Some(true) => Parity::EvenPair,
                };
                let Some(port) = self.ports.draw(parity, &mut self.rng) else {
                    (0..=u8::from(reserves)).for_each(|_| self.users.release(&user));
                    return Err(Code::InsufficientCapacity);
                };
                (user, port, is_v4, parity)
            }
        };
        let lifetime = self.lifetime(request.lifetime);
        let id = RelayId(self.next_relay);
        self.next_relay += 1;
        let until = now.instant + lifetime;
        let allocation = Allocation {
            id,
            client,
            name: proved.name.to_owned(),
            password_algorithm: proved.password_algorithm,
            keys: proved.keys.clone(),
            user,
            bucket: Bucket::new(now.instant, self.settings.allocation_kbps),
            transaction: request.transaction,
            second_family,
            reserved: None,
            relayed: None,
            port,
            is_v4,
            until,
            peers: Peers::default(),
        };
        self.allocations.insert(id, allocation);
        self.clients.insert(client, id);
        self.ends.insert((until, Ends::Allocation(id)));
        let pending = Pending { algorithm: proved.algorithm, lifetime, tries: BIND_TRIES, parity };
        self.pending.insert(id, pending);
        out.push(Output::Bind { relay: id, at: SocketAddr::new(self.bind_ip(is_v4), port) });
        Ok(None)
    }

    /// Whether the address that [`Output::Bind`] named is bound now.
    pub fn bound(&mut self, now: Now, relay: RelayId, is_bound: bool, out: &mut Vec<Output>) {
        let Some(mut pending) = self.pending.remove(&relay) else { return };
        let Some(allocation) = self.allocations.get(&relay) else { return };
        let (client, is_v4, port, user) = (allocation.client, allocation.is_v4, allocation.port, allocation.user.clone());
        let transaction = allocation.transaction;
        let keys = allocation.keys.clone();
        let external = self.external(is_v4).filter(|_| is_bound);
        let Some(external) = external else {
            // Somebody else on this host holds it; it stays taken while another is tried.
            let next = (pending.tries > 0).then(|| self.ports.draw(pending.parity, &mut self.rng)).flatten();
            self.free(port, pending.parity);
            if let (Some(next), Some(allocation)) = (next, self.allocations.get_mut(&relay)) {
                allocation.port = next;
                pending.tries -= 1;
                self.pending.insert(relay, pending);
                let at = SocketAddr::new(self.bind_ip(is_v4), next);
                return out.push(Output::Bind { relay, at });
            }
            if pending.parity == Parity::EvenPair {
                self.users.release(&user);
            }
            self.remove(relay, out);
            self.count_refusal(Code::InsufficientCapacity);
            let mut answer = Writer::new(ALLOCATE_ERROR, &transaction);
            let (number, reason) = Code::InsufficientCapacity.parts();
            answer.error(number, reason);
            return out.push(Output::Answer { client, message: signed(answer, &keys, pending.algorithm) });
        };
        let relayed = SocketAddr::new(external, port);
        self.relayed.insert(relayed, relay);
        self.stats.allocated += 1;
        let Some(allocation) = self.allocations.get_mut(&relay) else { return };
        allocation.relayed = Some(relayed);
        if pending.parity == Parity::EvenPair {
            let token: [u8; 8] = self.rng.random();
            let until = now.instant + RESERVATION;
            let reservation = Reservation { port: port + 1, user, is_v4, until };
            self.reservations.insert(token, reservation);
            self.ends.insert((until, Ends::Reservation(token)));
            allocation.reserved = Some(token);
        }
        let answer = allocated(allocation, pending.lifetime);
        out.push(Output::Answer { client, message: signed(answer, &keys, pending.algorithm) });
    }

    fn free(&mut self, port: u16, parity: Parity) {
        self.ports.free(port);
        if parity == Parity::EvenPair {
            self.ports.free(port + 1);
        }
    }

    /// RFC 8656 §8.2.
    fn refresh(
        &mut self,
        now: Now,
        client: Client,
        request: &Request<'_>,
        out: &mut Vec<Output>,
    ) -> Result<Option<Writer>, Code> {
        let Some(held) = self.allocation_of(client) else {
            // Gone already, which is what it asks for.
            return if request.lifetime == Some(0) {
                Ok(Some(refreshed(request, Duration::ZERO)))
            } else {
                Err(Code::AllocationMismatch)
            };
        };
        let (id, family) = (held.id, held.relayed.map_or(1, |relayed| family_of(relayed.ip())));
        if request.family.is_some_and(|wanted| wanted != family) {
            return Err(Code::FamilyMismatch);
        }
        if request.lifetime == Some(0) {
            self.remove(id, out);
            return Ok(Some(refreshed(request, Duration::ZERO)));
        }
        let lifetime = self.lifetime(request.lifetime);
        self.extend(id, now.instant + lifetime);
        Ok(Some(refreshed(request, lifetime)))
    }

    /// RFC 8656 §9.2: all of the peers that it names, or none.
    fn create_permission(&mut self, now: Now, client: Client, request: &Request<'_>) -> Result<Option<Writer>, Code> {
        let held = self.allocation_of(client).ok_or(Code::AllocationMismatch)?;
        let (id, is_v4) = (held.id, held.is_v4);
        if request.peers.is_empty() {
            return Err(Code::BadRequest);
        }
        if request.too_many_peers {
            return Err(Code::InsufficientCapacity);
        }
        if !request.peers.iter().all(|peer| self.settings.policy.permits(peer.ip())) {
            return Err(Code::Forbidden);
        }
        if request.peers.iter().any(|peer| peer.is_ipv4() != is_v4) {
            return Err(Code::FamilyMismatch);
        }
        let ips: Vec<IpAddr> = request.peers.iter().map(SocketAddr::ip).collect();
        let permitted = self.allocations.get_mut(&id).is_some_and(|held| held.peers.permit(now.instant, &ips));
        if permitted { Ok(Some(request.success())) } else { Err(Code::InsufficientCapacity) }
    }

    /// RFC 8656 §12.2.
    fn channel_bind(&mut self, now: Now, client: Client, request: &Request<'_>) -> Result<Option<Writer>, Code> {
        let held = self.allocation_of(client).ok_or(Code::AllocationMismatch)?;
        let (id, is_v4) = (held.id, held.is_v4);
        let (Some(number), &[peer]) = (request.channel, request.peers.as_slice()) else { return Err(Code::BadRequest) };
        if self.way_to(peer).is_none() {
            return Err(Code::Forbidden);
        }
        if peer.is_ipv4() != is_v4 {
            return Err(Code::FamilyMismatch);
        }
        let bound = self.allocations.get_mut(&id).map(|held| held.peers.bind(now.instant, number, peer));
        match bound {
            Some(Ok(())) => Ok(Some(request.success())),
            Some(Err(NoChannel::Taken)) | None => Err(Code::BadRequest),
            Some(Err(NoChannel::Full)) => Err(Code::InsufficientCapacity),
        }
    }

    /// How long an allocation lives that asks for so many seconds.
    fn lifetime(&self, asked: Option<u32>) -> Duration {
        let least = self.settings.lifetime;
        asked.map_or(least, |asked| Duration::from_secs(asked.into())).clamp(least, self.settings.most_lifetime.max(least))
    }
}

/// The answer to who made an allocation, the first time and again (RFC 8656 §7.2).
fn allocated(allocation: &Allocation, lifetime: Duration) -> Writer {
    let mut answer = Writer::new(ALLOCATE_SUCCESS, &allocation.transaction);
    if let Some(relayed) = allocation.relayed {
        answer.xor_address(XOR_RELAYED_ADDRESS, relayed);
    }
    answer.attribute(LIFETIME, &seconds(lifetime));
    answer.xor_address(XOR_MAPPED_ADDRESS, allocation.client.addr());
    if allocation.second_family {
        // One address has to do (RFC 8656 §7.2, §18.13).
        let (number, reason) = Code::FamilyNotSupported.parts();
        let mut value = vec![2, 0, (number / 100) as u8, (number % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        answer.attribute(ADDRESS_ERROR_CODE, &value);
    }
    if let Some(token) = allocation.reserved {
        answer.attribute(RESERVATION_TOKEN, &token);
    }
    answer
}

fn refreshed(request: &Request<'_>, lifetime: Duration) -> Writer {
    let mut answer = request.success();
    answer.attribute(LIFETIME, &seconds(lifetime));
    answer
}

fn seconds(time: Duration) -> [u8; 4] {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).to_be_bytes()
}
