//! Which packets a thread leaves unread while more come than it can read: pictures', so that the kernel does not take voices. What
//! waits in a socket is in the order in which it came, and when there is no place left the kernel drops whatever comes next. So
//! pictures are turned away at the door, before they cost anything, and all packets of one stream or none: half of each picture
//! would be worth nothing to anybody.
//!
//! That a thread is behind says little: keyframes of a large room take a while, and the socket holds what comes meanwhile. So it is
//! the kernel that is asked whether anything was dropped. This holds for the second or two that [`super::overload`] needs to make
//! pictures smaller; a thread that turns anything away counts as full there. Pure.

use std::time::{Duration, Instant};

use super::overload::Left;

/// So long a socket may have something left to read, turn after turn, before the kernel is asked.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often it is asked: less often loses more voices of a crowd that comes at once; each time is a look at all of the
/// machine's sockets.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// By what share of the streams the door shuts at least, when something was dropped.
const SHUT_BY: f64 = 0.1;
/// How often it moves while it opens, and by what share: those who are let in again need keyframes first.
const OPEN_EVERY: Duration = Duration::from_millis(100);
const OPEN_BY: f64 = 0.1;

/// What became of a socket's datagrams so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub read: u64,
    /// By the kernel, for want of space.
    pub dropped: u64,
}

/// The share of the streams of pictures that is turned away.
#[derive(Debug, Default)]
pub struct Door {
    shut: f64,
    /// Since when the socket has not been read to its end.
    behind: Option<Instant>,
    looked: Option<Instant>,
    /// At the last look, since it is behind.
    taken: Option<Taken>,
    moved: Option<Instant>,
    read: Option<Instant>,
    /// It shut further at the last look.
    shuts: bool,
}

impl Door {
    /// The socket was read from `from` to `to`; `all`: what is left in it is not worth a read. True when [`Self::look`] is due.
    pub fn turn(&mut self, from: Instant, to: Instant, all: bool) -> bool {
        self.read = Some(to);
        if all {
            (self.behind, self.taken, self.shuts) = (None, None, false);
            self.open(to);
            return false;
        }
        let behind = to.saturating_duration_since(*self.behind.get_or_insert(from));
        behind >= PATIENCE && self.looked.is_none_or(|looked| to.saturating_duration_since(looked) >= LOOK_EVERY)
    }

    /// What was read and dropped in all, since the socket was made. What was dropped before it fell behind does not count.
    pub fn look(&mut self, now: Instant, taken: Taken) {
        self.looked = Some(now);
        let before = self.taken.replace(taken).unwrap_or(taken);
        let dropped = taken.dropped.saturating_sub(before.dropped) as f64;
        self.shuts = dropped > 0.0;
        if !self.shuts {
            return;
        }
        let read = taken.read.saturating_sub(before.read) as f64;
        self.shut = (self.shut + (dropped / (dropped + read)).max(SHUT_BY)).min(1.0);
        self.moved = Some(now);
    }

    fn open(&mut self, now: Instant) {
        if self.is_shut() && self.moved.is_none_or(|moved| now.saturating_duration_since(moved) >= OPEN_EVERY) {
            // Not by sums of steps, of which nothing is ever quite the rest.
            self.shut = if self.shut < OPEN_BY * 1.5 { 0.0 } else { self.shut - OPEN_BY };
            self.moved = Some(now);
        }
    }

    /// What was turned away in the last turn. A socket in which nothing comes is read to its end.
    pub fn left(&mut self, now: Instant) -> Left {
        if self.is_shut() && self.read.is_none_or(|read| now.saturating_duration_since(read) >= OPEN_EVERY) {
            self.turn(now, now, true);
        }
        match (self.shuts, self.is_shut()) {
            (true, _) => Left::More,
            (false, true) => Left::Some,
            (false, false) => Left::Nothing,
        }
    }

    /// Whether anything is turned away.
    pub fn is_shut(&self) -> bool {
        self.shut > 0.0
    }

    /// Whether a packet of this stream of pictures is. Repairs are while any are: what they repair may be turned away too.
    pub fn turns_away(&self, ssrc: u32, repair: bool) -> bool {
        // Senders choose SSRCs as they like; the golden ratio spreads even those that count up.
        self.is_shut() && (repair || f64::from(ssrc.wrapping_mul(0x9E37_79B9)) < self.shut * f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(5);

    /// A socket of which the kernel drops so many of the 100 datagrams that come in each turn.
    struct Socket {
        door: Door,
        now: Instant,
        taken: Taken,
    }

    impl Socket {
        fn new() -> Self {
            Self { door: Door::default(), now: Instant::now(), taken: Taken::default() }
        }

        fn turns(&mut self, turns: u32, all: bool, dropped: u64) {
            for _ in 0..turns {
                self.taken = Taken { read: self.taken.read + 100 - dropped, dropped: self.taken.dropped + dropped };
                if self.door.turn(self.now, self.now + TURN, all) {
                    self.door.look(self.now + TURN, self.taken);
                }
                self.now += TURN;
            }
        }

        fn away(&self) -> Vec<u32> {
            (0..10_000).filter(|&ssrc| self.door.turns_away(ssrc, false)).collect()
        }
    }

    #[test]
    fn who_is_behind_and_loses_nothing_turns_nobody_away() {
        let mut socket = Socket::new();
        socket.turns(400, false, 0);
        assert!(!socket.door.is_shut() && !socket.door.turns_away(1, true) && socket.door.left(socket.now) == Left::Nothing);
        // A burst that the socket could not hold, read to the end soon: the next one may be as short.
        socket.turns(5, true, 50);
        socket.turns(100, false, 0);
        assert!(!socket.door.is_shut());
    }

    #[test]
    fn what_the_kernel_drops_shuts_the_door_to_pictures_within_half_a_second() {
        let mut socket = Socket::new();
        socket.turns(25, false, 20);
        let some = socket.away().len();
        assert!((1_500..2_500).contains(&some), "a fifth was dropped: {some}");
        assert!(socket.door.turns_away(1, true), "no repairs");
        assert_eq!(socket.door.left(socket.now), Left::More);
        socket.turns(100, false, 20);
        assert_eq!(socket.away().len(), 10_000);
        socket.turns(40, false, 0);
        assert_eq!(socket.door.left(socket.now), Left::Some, "enough is turned away");
    }

    #[test]
    fn it_opens_by_and_by_once_all_is_read() {
        let mut socket = Socket::new();
        socket.turns(200, false, 20);
        socket.turns(100, true, 0);
        let half = socket.away().len();
        assert!((4_000..6_000).contains(&half), "{half}");
        for _ in 0..6 {
            socket.now += OPEN_EVERY;
            socket.door.left(socket.now);
        }
        assert!(!socket.door.is_shut() && socket.door.left(socket.now) == Left::Nothing, "nothing comes any more");
    }

    #[test]
    fn who_is_turned_away_stays_so_while_it_shuts_and_who_is_let_in_while_it_opens() {
        let (mut socket, mut before) = (Socket::new(), Vec::new());
        for all in [false, true] {
            for _ in 0..30 {
                socket.turns(10, all, if all { 0 } else { 5 });
                let away = socket.away();
                let (fewer, more) = if all { (&away, &before) } else { (&before, &away) };
                assert!(fewer.iter().all(|ssrc| more.binary_search(ssrc).is_ok()), "all of a stream or nothing");
                before = away;
            }
        }
    }
}
