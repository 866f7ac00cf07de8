//! One allocation: a relayed address, the peers that it may talk with, and the channels bound to them (RFC 8656 §3). Owns the
//! tables and their bounds and lifetimes; judges no peer. Part of `server`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::credentials::Keys;
use super::quota::Bucket;
use super::{Client, RelayId};
use crate::stun::Transaction;

/// RFC 8656 §9.
const PERMISSION: Duration = Duration::from_secs(300);
/// RFC 8656 §12.
const CHANNEL: Duration = Duration::from_secs(600);

/// Peers that one allocation may talk with at a time. A browser names as many as the other side has candidates.
pub(super) const MOST_PERMISSIONS: usize = 128;
pub(super) const MOST_CHANNELS: usize = 128;

/// Channel numbers. RFC 8656 uses up to 0x4fff, RFC 5766 up to 0x7ffe.
const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x7ffe;

/// Why a channel can't be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoChannel {
    /// The number is none, or number or peer are bound otherwise.
    Taken,
    Full,
}

#[derive(Debug)]
struct Channel {
    peer: SocketAddr,
    until: Instant,
}

/// A relayed address in use.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) id: RelayId,
    pub(super) client: Client,
    /// The whole name that it was made with; requests of others are refused.
    pub(super) name: String,
    pub(super) password_algorithm: u16,
    pub(super) keys: Keys,
    /// Whose quota it is in.
    pub(super) user: Arc<str>,
    pub(super) bucket: Bucket,
    /// The request that made it: one that is repeated gets its answer again.
    pub(super) transaction: Transaction,
    /// The client asked for a second address of the other family, which is never given.
    pub(super) second_family: bool,
    /// What the port above it is reserved by.
    pub(super) reserved: Option<[u8; 8]>,
    /// As peers see it; none until the shell has bound it.
    pub(super) relayed: Option<SocketAddr>,
    pub(super) port: u16,
    pub(super) is_v4: bool,
    pub(super) until: Instant,
    pub(super) peers: Peers,
}

/// Whom an allocation may talk with, and by which channels.
#[derive(Debug, Default)]
pub(super) struct Peers {
    permissions: FxHashMap<IpAddr, Instant>,
    channels: FxHashMap<u16, Channel>,
    numbers: FxHashMap<SocketAddr, u16>,
}

impl Peers {
    /// Lets all of `ips` send and be sent to, or none if that is too many.
    pub(super) fn permit(&mut self, now: Instant, ips: &[IpAddr]) -> bool {
        let fresh = |permissions: &FxHashMap<IpAddr, Instant>| ips.iter().filter(|ip| !permissions.contains_key(ip)).count();
        if self.permissions.len() + fresh(&self.permissions) > MOST_PERMISSIONS {
            self.permissions.retain(|_, until| *until > now);
            if self.permissions.len() + fresh(&self.permissions) > MOST_PERMISSIONS {
                return false;
            }
        }
        self.permissions.extend(ips.iter().map(|ip| (*ip, now + PERMISSION)));
        true
    }

    pub(super) fn has_permission(&self, now: Instant, ip: IpAddr) -> bool {
        self.permissions.get(&ip).is_some_and(|until| *until > now)
    }

    /// Binds a channel, or binds it for longer (RFC 8656 §12.2).
    pub(super) fn bind(&mut self, now: Instant, number: u16, peer: SocketAddr) -> Result<(), NoChannel> {
        if !CHANNELS.contains(&number) {
            return Err(NoChannel::Taken);
        }
        self.channels.retain(|_, channel| channel.until > now);
        self.numbers.retain(|_, number| self.channels.contains_key(number));
        let number_is_others = self.channels.get(&number).is_some_and(|channel| channel.peer != peer);
        if number_is_others || self.numbers.get(&peer).is_some_and(|other| *other != number) {
            return Err(NoChannel::Taken);
        }
        let is_new = !self.channels.contains_key(&number);
        if (is_new && self.channels.len() >= MOST_CHANNELS) || !self.permit(now, &[peer.ip()]) {
            return Err(NoChannel::Full);
        }
        self.channels.insert(number, Channel { peer, until: now + CHANNEL });
        self.numbers.insert(peer, number);
        Ok(())
    }

    /// Whom a channel leads to.
    pub(super) fn peer_of(&self, now: Instant, number: u16) -> Option<SocketAddr> {
        self.channels.get(&number).filter(|channel| channel.until > now).map(|channel| channel.peer)
    }

    /// The channel that leads to a peer.
    pub(super) fn channel_to(&self, now: Instant, peer: SocketAddr) -> Option<u16> {
        let number = *self.numbers.get(&peer)?;
        self.peer_of(now, number).map(|_| number)
    }
}
