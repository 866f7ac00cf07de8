//! Data on its way through the relay: from a client to a peer in channel data or a Send indication, and back. Each packet is
//! judged anew: permission, policy by address and port, quota. Part of `server`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use arrayvec::ArrayVec;
use rand::RngExt;

use super::message::{DATA, DATA_INDICATION, Request, XOR_PEER_ADDRESS};
use super::{Client, MOST_HEAD, Now, Output, RelayId, Server};
use crate::stun::{HEADER, Writer};

/// More does not fit the length field of a Data indication with all that goes before it.
const MOST_DATA: usize = 65_000;

impl Server {
    /// RFC 8656 §12.4: a channel number, a length, the data.
    pub(super) fn channel_data(&mut self, now: Now, client: Client, message: &[u8], out: &mut Vec<Output>) {
        let Some(&[a, b, c, d]) = message.first_chunk() else {
            self.stats.dropped.malformed += 1;
            return;
        };
        let (number, length) = (u16::from_be_bytes([a, b]), usize::from(u16::from_be_bytes([c, d])));
        // Padding may follow (RFC 8656 §12.5).
        if message.len() < 4 + length {
            self.stats.dropped.malformed += 1;
            return;
        }
        let allocation = self.allocation_of(client);
        let Some((relay, peer)) = allocation.and_then(|found| Some((found.id, found.peers.peer_of(now.instant, number)?)))
        else {
            self.stats.dropped.unknown += 1;
            return;
        };
        self.forward(now, relay, peer, 4..4 + length, out);
    }

    /// RFC 8656 §11.2.
    pub(super) fn send_indication(&mut self, now: Now, client: Client, request: &Request<'_>, out: &mut Vec<Output>) {
        let (&[peer], Some(data), false) = (request.peers.as_slice(), request.data.clone(), request.has_unknown()) else {
            self.stats.dropped.malformed += 1;
            return;
        };
        let Some(relay) = self.allocation_of(client).map(|allocation| allocation.id) else {
            self.stats.dropped.unknown += 1;
            return;
        };
        self.forward(now, relay, peer, data, out);
    }

    fn forward(&mut self, now: Now, relay: RelayId, peer: SocketAddr, data: Range<usize>, out: &mut Vec<Output>) {
        let Some(to) = self.way_to(peer) else {
            self.stats.dropped.forbidden += 1;
            return;
        };
        let Some(allocation) = self.allocations.get_mut(&relay) else { return };
        if allocation.is_v4 != peer.is_ipv4() || !allocation.peers.has_permission(now.instant, peer.ip()) {
            self.stats.dropped.no_permission += 1;
            return;
        }
        if !self.users.take(now.instant, &allocation.user, &mut allocation.bucket, data.len()) {
            self.stats.dropped.over_rate += 1;
            return;
        }
        self.stats.packets_to_peers += 1;
        self.stats.bytes_to_peers += data.len() as u64;
        out.push(Output::ToPeer { relay, to, data });
    }

    /// Takes in a datagram of `length` bytes that came from `from` to a relayed address.
    pub fn from_peer(&mut self, now: Now, relay: RelayId, from: SocketAddr, length: usize, out: &mut Vec<Output>) {
        let from = self.came_from(SocketAddr::new(from.ip().to_canonical(), from.port()));
        if self.way_to(from).is_none() {
            self.stats.dropped.forbidden += 1;
            return;
        }
        let Some(allocation) = self.allocations.get_mut(&relay) else { return };
        if length > MOST_DATA {
            self.stats.dropped.malformed += 1;
            return;
        }
        if !allocation.peers.has_permission(now.instant, from.ip()) {
            self.stats.dropped.no_permission += 1;
            return;
        }
        if !self.users.take(now.instant, &allocation.user, &mut allocation.bucket, length) {
            self.stats.dropped.over_rate += 1;
            return;
        }
        let client = allocation.client;
        let channel = allocation.peers.channel_to(now.instant, from);
        // Over UDP channel data needs no padding (RFC 8656 §12.5).
        let padding = match (channel, client) {
            (Some(_), Client::Udp { .. }) => 0,
            _ => length.next_multiple_of(4) - length,
        };
        let mut head = ArrayVec::new();
        match channel {
            Some(number) => {
                head.extend(number.to_be_bytes());
                head.extend((length as u16).to_be_bytes());
            }
            None => self.data_indication(from, length, &mut head),
        }
        self.stats.packets_to_clients += 1;
        self.stats.bytes_to_clients += length as u64;
        out.push(Output::ToClient { client, head, padding });
    }

    /// RFC 8656 §11.4, up to the data.
    fn data_indication(&mut self, from: SocketAddr, length: usize, head: &mut ArrayVec<u8, MOST_HEAD>) {
        let mut indication = Writer::new(DATA_INDICATION, &self.rng.random());
        indication.xor_address(XOR_PEER_ADDRESS, from);
        let mut whole = indication.finish();
        whole.extend_from_slice(&DATA.to_be_bytes());
        whole.extend_from_slice(&(length as u16).to_be_bytes());
        let attributes = (whole.len() - HEADER + length.next_multiple_of(4)) as u16;
        if let Some(field) = whole.get_mut(2..4) {
            field.copy_from_slice(&attributes.to_be_bytes());
        }
        head.extend(whole.into_iter().take(MOST_HEAD));
    }

    /// Where what is for a peer is sent; none if it must not be.
    pub(super) fn way_to(&self, peer: SocketAddr) -> Option<SocketAddr> {
        let is_relayed = self.relayed.contains_key(&peer);
        if !self.settings.policy.lets_through(peer, || is_relayed) {
            return None;
        }
        // Another client's relayed address is on this host, whatever NAT stands before it.
        Some(if is_relayed {
            SocketAddr::new(self.inside(peer.is_ipv4()), peer.port())
        } else {
            self.settings.policy.way_to(peer)
        })
    }

    /// Whom what a relayed address got from `from` is of: the way back of [`Self::way_to`].
    fn came_from(&self, from: SocketAddr) -> SocketAddr {
        if from.ip() == self.inside(from.is_ipv4())
            && let Some(external) = self.external(from.is_ipv4())
        {
            let relayed = SocketAddr::new(external, from.port());
            if self.relayed.contains_key(&relayed) {
                return relayed;
            }
        }
        self.settings.policy.came_from(from)
    }

    /// Where relayed addresses reach each other on this host.
    fn inside(&self, is_v4: bool) -> IpAddr {
        match self.bind_ip(is_v4) {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        }
    }
}
