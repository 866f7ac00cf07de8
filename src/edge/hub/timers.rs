//! When the hub has something to do by itself. One entry per reason, so that arming one again never leaves a stale one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::ConnId;
use crate::id::{MemberId, RoomId};

/// Why the hub wakes up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// A socket has not said `hello`.
    Hello(ConnId),
    /// Others should be told that a member's socket is lost.
    Away(MemberId),
    /// A session without a socket has been held for long enough.
    Gone(MemberId),
    /// A member that moved to another edge has had its time to let go of the session here.
    GiveWay(MemberId),
    /// The one that a session is for has been away for long enough.
    Watched(MemberId),
    /// A member's slots should be dealt out again.
    Slots(MemberId),
    /// A member's view has settled.
    View(MemberId),
    /// A member's token ends soon.
    Token(MemberId),
    Speakers(RoomId),
    Quality(RoomId),
    /// A room has something to tell other nodes.
    Span(RoomId),
    /// A room of which this node is the home has something to forget.
    Home(RoomId),
}

/// What wakes the hub, by time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Wake, Instant>,
    queue: BTreeSet<(Instant, Wake)>,
}

impl Timers {
    /// Wakes at `at`, and no more at the time set before.
    pub(super) fn set(&mut self, wake: Wake, at: Instant) {
        self.clear(&wake);
        self.queue.insert((at, wake.clone()));
        self.at.insert(wake, at);
    }

    /// Wakes at `at` unless it is set already.
    pub(super) fn arm(&mut self, wake: Wake, at: Instant) {
        if !self.at.contains_key(&wake) {
            self.set(wake, at);
        }
    }

    pub(super) fn clear(&mut self, wake: &Wake) {
        if let Some(at) = self.at.remove(wake) {
            self.queue.remove(&(at, wake.clone()));
        }
    }

    /// Everything of a member.
    pub(super) fn clear_member(&mut self, member: MemberId) {
        for wake in [Wake::Away, Wake::Gone, Wake::GiveWay, Wake::Watched, Wake::Slots, Wake::View, Wake::Token] {
            self.clear(&wake(member));
        }
    }

    /// Everything of a room's members.
    pub(super) fn clear_room(&mut self, room: &RoomId) {
        self.clear(&Wake::Speakers(room.clone()));
        self.clear(&Wake::Quality(room.clone()));
        self.clear(&Wake::Span(room.clone()));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes one that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Wake> {
        let (at, wake) = self.queue.first()?.clone();
        if at > now {
            return None;
        }
        self.clear(&wake);
        Some(wake)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.at.len(), self.queue.len());
        self.at.len()
    }
}
