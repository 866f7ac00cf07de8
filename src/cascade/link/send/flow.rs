//! One flow on its way out: where in its frames it is, what it brings, and whether it is shed.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Class, Key, begins_after};

#[derive(Debug)]
pub(super) struct Flow {
    pub class: Class,
    pub state: State,
    pub meter: Meter,
    /// The datagrams sent last, newest first, for audio.
    pub sent: [Option<Bytes>; 2],
    frame: Option<Frame>,
    /// How long the next shedding lasts at least.
    pub patience: Duration,
    /// When it went on after a shedding.
    pub resumed: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Flowing,
    /// Nothing leaves until a keyframe.
    Shed {
        /// Not to be taken up again before.
        until: Instant,
        /// When a keyframe was asked for last.
        asked: Option<Instant>,
    },
}

/// The newest frame of a flow.
#[derive(Clone, Copy, Debug)]
struct Frame {
    key: Key,
    stream: u32,
    timestamp: u32,
    ended: bool,
}

/// A stream that was opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub key: Key,
    pub flow: u32,
    /// When its first packet came.
    pub at: Instant,
    pub finished: bool,
}

/// Where a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It opens a frame. `ended`: the frame before, if it was not ended by its marker.
    First { ended: Option<Key> },
    /// It goes on with the newest frame.
    Next { key: Key },
    /// Its frame has ended.
    Late,
}

impl Flow {
    pub(super) fn new(now: Instant, class: Class) -> Self {
        Self {
            class,
            state: State::Flowing,
            meter: Meter::new(now),
            sent: [None, None],
            frame: None,
            patience: super::capacity::PATIENCE,
            resumed: None,
        }
    }

    /// Where a packet goes; `key` is taken if it opens a frame.
    pub(super) fn place(&mut self, stream: u32, timestamp: u32, marker: bool, key: Key) -> Place {
        let ended = match &mut self.frame {
            Some(frame) if frame.stream == stream && frame.timestamp == timestamp => {
                if frame.ended {
                    return Place::Late;
                }
                frame.ended = marker;
                return Place::Next { key: frame.key };
            }
            Some(frame) if frame.stream == stream && !begins_after(timestamp, frame.timestamp) => return Place::Late,
            Some(frame) => (!frame.ended).then_some(frame.key),
            None => None,
        };
        self.frame = Some(Frame { key, stream, timestamp, ended: marker });
        Place::First { ended }
    }

    /// Nothing of the newest frame is of use any more.
    pub(super) const fn forget_frame(&mut self) {
        self.frame = None;
    }

    /// The frame's stream was ended without its marker.
    pub(super) fn end_frame(&mut self, key: Key) {
        if let Some(frame) = self.frame.as_mut().filter(|frame| frame.key == key) {
            frame.ended = true;
        }
    }
}

/// How long a measurement of the rate takes. Longer is steadier and follows slower.
const WINDOW: Duration = Duration::from_millis(500);

/// Silent for this long, a flow brings nothing.
const SILENCE: Duration = Duration::from_secs(2);

/// Bytes per second that a flow brings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    since: Instant,
    bytes: u64,
    rate: u64,
}

impl Meter {
    const fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0, rate: 0 }
    }

    pub(super) fn add(&mut self, now: Instant, bytes: usize) {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            let measured = (self.bytes as f64 / elapsed.as_secs_f64()) as u64;
            self.rate = if self.rate == 0 || elapsed >= SILENCE { measured } else { self.rate.midpoint(measured) };
            (self.since, self.bytes) = (now, 0);
        }
        self.bytes += bytes as u64;
    }

    pub(super) fn rate(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= SILENCE {
            return 0;
        }
        // Before the first measurement, what came so far.
        if self.rate == 0 { (self.bytes as f64 / elapsed.max(WINDOW).as_secs_f64()) as u64 } else { self.rate }
    }
}
