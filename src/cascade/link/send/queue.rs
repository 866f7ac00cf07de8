//! What waits for room, in the order it came. One queue per class: oldest first over all its flows is oldest deadline first.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::Key;

/// Bytes that wait in one class; a flow that needs more is shed. Two seconds of 32 Mbps.
pub(super) const MAX_BYTES: usize = 8 << 20;

/// Packets that wait in one class.
pub(super) const MAX_ITEMS: usize = 16_384;

#[derive(Debug)]
pub(super) struct Item {
    pub flow: u32,
    /// When it came.
    pub at: Instant,
    pub bytes: Bytes,
    pub shape: Shape,
}

/// How a piece leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Datagram,
    /// Opens a stream.
    First {
        key: Key,
        last: bool,
    },
    /// Goes on with one.
    Next {
        key: Key,
        last: bool,
    },
    /// Ends one, without bytes.
    End {
        key: Key,
    },
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
}

impl Queue {
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.bytes + bytes <= MAX_BYTES && self.items.len() < MAX_ITEMS
    }

    /// Appends; the oldest go if there is no room. Says how many went.
    pub(super) fn push(&mut self, item: Item) -> u64 {
        let mut dropped = 0;
        while !self.has_room(item.bytes.len()) && self.pop().is_some() {
            dropped += 1;
        }
        self.bytes += item.bytes.len();
        self.items.push_back(item);
        dropped
    }

    pub(super) fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= item.bytes.len();
        Some(item)
    }

    /// When its oldest came.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.items.front().map(|item| item.at)
    }

    /// Whose packets wait; a flow as often as it has packets.
    pub(super) fn flows(&self) -> impl Iterator<Item = u32> {
        self.items.iter().map(|item| item.flow)
    }

    /// Whether anything of a flow waits.
    pub(super) fn holds(&self, flow: u32) -> bool {
        self.items.iter().any(|item| item.flow == flow)
    }

    /// Forgets a flow and says how many packets that were.
    pub(super) fn purge(&mut self, flow: u32) -> u64 {
        let before = self.items.len();
        let mut bytes = 0;
        self.items.retain(|item| {
            bytes += if item.flow == flow { item.bytes.len() } else { 0 };
            item.flow != flow
        });
        self.bytes -= bytes;
        (before - self.items.len()) as u64
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}
