//! What leaves the shard for its peers: each peer's batch, filled by what is forwarded, by reports, and by what waited for its turn;
//! and the batches themselves. Owns the way out, and none of the decisions before it.

use std::time::Instant;

use super::Shard;
use crate::edge::peer::{Peer, Released, Route, Sent};
use crate::router::PeerKey;

impl Shard {
    /// Lets a peer append one sealed packet to its batch, or keep it until its turn.
    pub(super) fn append(&mut self, key: PeerKey, write: impl FnOnce(&mut Peer, &mut Vec<u8>) -> Sent) -> Sent {
        let Some(entry) = self.peers.get_mut(key) else { return Sent::Refused };
        let Some(peer) = entry.peer.as_mut() else { return Sent::Refused };
        let sent = write(peer, entry.batch.buffer());
        match sent {
            Sent::Now => {
                entry.batch.close();
                if !std::mem::replace(&mut entry.dirty, true) {
                    self.dirty.push(key);
                }
                return sent;
            }
            Sent::Later => {
                self.stats.paced += 1;
                self.timers.arm(key, peer.release_at(), &mut entry.armed);
            }
            Sent::Dropped => self.stats.pacer_drops += 1,
            Sent::Refused => {}
        }
        entry.batch.abandon();
        sent
    }

    /// Lets a peer say what its reports and requests have come to: one compound packet, or several when one is full.
    pub(super) fn write_rtcp(&mut self, now: Instant, key: PeerKey) {
        let Self { peers, router, dirty, .. } = self;
        let Some(entry) = peers.get_mut(key) else { return };
        let Some(peer) = entry.peer.as_mut() else { return };
        while peer.write_rtcp(now, |slot, at| router.timestamp_at(key, slot, at), entry.batch.buffer()) {
            entry.batch.close();
            if !std::mem::replace(&mut entry.dirty, true) {
                dirty.push(key);
            }
        }
        entry.batch.abandon();
    }

    /// Lets a peer send what waited for its turn, and what its probes are due.
    pub(super) fn release(&mut self, now: Instant, key: PeerKey) {
        let Self { peers, dirty, stats, .. } = self;
        let Some(entry) = peers.get_mut(key) else { return };
        let Some(peer) = entry.peer.as_mut() else { return };
        while let Some(released) = peer.release(now, entry.batch.buffer()) {
            let before = entry.batch.bytes();
            entry.batch.close();
            match released {
                Released::Video => stats.rtp_out += 1,
                Released::Repair => stats.rtx_out += 1,
                Released::Padding => stats.padding_bytes_out += (entry.batch.bytes() - before) as u64,
            }
            if !std::mem::replace(&mut entry.dirty, true) {
                dirty.push(key);
            }
        }
        entry.batch.abandon();
    }

    pub(super) fn flush_when_due(&mut self, now: Instant) {
        let (sent, dropped) = self.pipes.flush();
        self.stats.pipe_packets_out += sent;
        self.stats.pipe_drops += dropped;
        if self.dirty.is_empty() {
            return;
        }
        if !self.gather.is_zero() && now < *self.flush_at.get_or_insert(now + self.gather) {
            return;
        }
        self.flush_at = None;
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            self.flush_peer(key);
        }
        self.dirty = dirty;
    }

    pub(super) fn flush_peer(&mut self, key: PeerKey) {
        let Some(entry) = self.peers.get_mut(key) else { return };
        entry.dirty = false;
        if entry.batch.is_empty() {
            return;
        }
        self.stats.datagrams_out += entry.batch.len() as u64;
        self.stats.bytes_out += entry.batch.bytes() as u64;
        match entry.peer.as_ref().and_then(Peer::route) {
            Some(Route::Udp(addr)) => {
                for (bytes, segment) in entry.batch.runs(self.socket.max_segments()) {
                    if self.socket.send(addr, bytes, segment).is_err() {
                        self.stats.send_errors += 1;
                    }
                }
            }
            Some(Route::Tcp { conn, .. }) => {
                let sent = self.tcp.send(conn, entry.batch.packets());
                self.stats.dropped.queue_full += if sent { 0 } else { entry.batch.len() as u64 };
            }
            None => {}
        }
        entry.batch.clear();
    }
}
