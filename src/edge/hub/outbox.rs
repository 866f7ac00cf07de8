//! What a session was told, kept for a resume: events numbered without a gap, the newest of them held in a ring bounded by
//! count and by bytes. Knows nothing of sockets. `edge::hub` owns one per member.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::edge::message::{Peer, ServerFrame, ServerMessage};

/// The events of one session.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Of the latest event.
    seq: u32,
    ring: VecDeque<(ServerFrame, usize)>,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
}

impl Outbox {
    pub(super) fn new(max_events: usize, max_bytes: usize) -> Self {
        Self { seq: 0, ring: VecDeque::new(), bytes: 0, max_events, max_bytes }
    }

    /// Numbers an event and keeps it.
    pub(super) fn push(&mut self, body: Arc<ServerMessage>) -> ServerFrame {
        self.seq += 1;
        let frame = ServerFrame { seq: self.seq, body };
        let size = weight(&frame.body);
        self.ring.push_back((frame.clone(), size));
        self.bytes += size;
        while self.ring.len() > self.max_events || self.bytes > self.max_bytes {
            let Some((_, size)) = self.ring.pop_front() else { break };
            self.bytes -= size;
        }
        frame
    }

    /// Numbers a snapshot. It stands for everything before it, so nothing older is kept, and it is not kept itself: a client
    /// that misses it is given a new one.
    pub(super) fn snapshot(&mut self, body: ServerMessage) -> ServerFrame {
        self.seq += 1;
        self.ring.clear();
        self.bytes = 0;
        ServerFrame { seq: self.seq, body: Arc::new(body) }
    }

    /// The events after `last`, oldest first; `None` when some of them are no longer held, or `last` was never sent.
    pub(super) fn after(&self, last: u32) -> Option<impl Iterator<Item = &ServerFrame>> {
        let missed = usize::try_from(self.seq.checked_sub(last)?).ok()?;
        let first = self.ring.len().checked_sub(missed)?;
        Some(self.ring.range(first..).map(|(frame, _)| frame))
    }
}

/// About how much memory an event holds. Shared between the members of a room, so this is more than it costs.
fn weight(body: &ServerMessage) -> usize {
    const SMALL: usize = 128;
    let peer = |peer: &Peer| {
        let attrs: usize = peer.attrs.iter().map(|(key, value)| key.len() + value.len()).sum();
        peer.name.len() + attrs + peer.tracks.len() * 2 * SMALL
    };
    SMALL
        + match body {
            ServerMessage::Answer { sdp, mids, .. } => sdp.len() + mids.len() * SMALL,
            ServerMessage::Chat(chat) => chat.text.len() + chat.name.len() + chat.cid.len(),
            ServerMessage::P2p(signal) => signal.desc.as_ref().map_or(SMALL, |desc| desc.sdp.len()),
            ServerMessage::PeerJoined { peer: joined } => peer(joined),
            ServerMessage::PeerUpdated { name, attrs, .. } => {
                name.len() + attrs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
            }
            ServerMessage::TrackAdded { track, .. } => track.layers.len() * SMALL,
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Arc<ServerMessage> {
        Arc::new(ServerMessage::Answer { neg: 0, sdp: text.into(), mids: Vec::new() })
    }

    fn seqs(outbox: &Outbox, last: u32) -> Option<Vec<u32>> {
        outbox.after(last).map(|frames| frames.map(|frame| frame.seq).collect())
    }

    #[test]
    fn what_was_missed_is_replayed_while_it_is_held() {
        let mut outbox = Outbox::new(3, usize::MAX);
        assert_eq!(outbox.snapshot(ServerMessage::Ack { id: 0 }).seq, 1);
        assert_eq!(seqs(&outbox, 1), Some(vec![]));
        assert_eq!(seqs(&outbox, 0), None, "the snapshot is not kept");
        for _ in 0..4 {
            outbox.push(event("x"));
        }
        assert_eq!(seqs(&outbox, 5), Some(vec![]));
        assert_eq!(seqs(&outbox, 2), Some(vec![3, 4, 5]));
        assert_eq!(seqs(&outbox, 1), None, "2 was pushed out");
        assert_eq!(seqs(&outbox, 6), None, "6 was never sent");
    }

    #[test]
    fn the_ring_is_bounded_by_bytes() {
        let mut outbox = Outbox::new(1_000, 10_000);
        for _ in 0..100 {
            outbox.push(event(&"x".repeat(1_000)));
        }
        assert!(outbox.bytes <= 10_000 && outbox.ring.len() == 8, "{} events", outbox.ring.len());
        outbox.push(event(&"x".repeat(20_000)));
        assert_eq!((outbox.bytes, outbox.ring.len()), (0, 0), "one too large to hold");
        assert_eq!(seqs(&outbox, 101), Some(vec![]));
        assert_eq!(seqs(&outbox, 100), None);
    }
}
