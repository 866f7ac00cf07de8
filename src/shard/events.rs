//! What a shard tells signaling: events that must be heard wait here when signaling's queue is full, the others are dropped then.
//! Owns that queue; both kinds of shards have one.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::edge::media::Event;
use crate::id::ShardId;

/// The way of one shard to signaling.
pub(super) struct Events {
    id: ShardId,
    sender: mpsc::Sender<(ShardId, Event)>,
    /// Events that found no room and must not be lost.
    unsent: VecDeque<Event>,
    /// How many of them may wait. Signaling has been stuck for long then, and the oldest news is the least worth.
    most: usize,
}

impl Events {
    pub(super) fn new(id: ShardId, sender: mpsc::Sender<(ShardId, Event)>, most: usize) -> Self {
        Self { id, sender, unsent: VecDeque::new(), most }
    }

    /// Who tells.
    pub(super) const fn id(&self) -> ShardId {
        self.id
    }

    /// Tells what must be heard; false if the oldest event that waited was dropped for it.
    pub(super) fn tell(&mut self, event: Event) -> bool {
        let full = self.unsent.len() == self.most;
        if full {
            self.unsent.pop_front();
        }
        self.unsent.push_back(event);
        self.send();
        !full
    }

    /// Tells what the next report replaces anyway; false if there was no room.
    pub(super) fn tell_if_room(&self, event: Event) -> bool {
        self.sender.try_send((self.id, event)).is_ok()
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn send(&mut self) {
        while let Some(event) = self.unsent.pop_front() {
            match self.sender.try_reserve() {
                Ok(permit) => permit.send((self.id, event)),
                Err(_) => {
                    self.unsent.push_front(event);
                    return;
                }
            }
        }
    }
}
