//! What a link's transport counted lately: rates and losses from the growth of its counters.

use std::time::{Duration, Instant};

use quinn::ConnectionStats;

/// How often the figures are taken.
const TICK: Duration = Duration::from_millis(500);

/// Weight of the newest loss figure. Higher follows sooner and jumps more.
const WEIGHT: f32 = 0.3;

/// Packets lost at a time, on average, from which losses are called bursts.
const BURST: f32 = 1.8;

/// Fewer packets than this say nothing of the loss.
const ENOUGH: u64 = 20;

pub(super) struct Ticker {
    at: Instant,
    before: Counts,
    /// Of `udp_rx`, when somebody last looked for a sign of life.
    heard: u64,
    /// Bits per second.
    pub rate_out: u64,
    pub rate_in: u64,
    pub loss: f32,
    pub bursts: bool,
    pub packets_in: u64,
}

#[derive(Clone, Copy)]
struct Counts {
    bytes_out: u64,
    bytes_in: u64,
    sent: u64,
    lost: u64,
    events: u64,
}

impl Counts {
    const fn of(stats: &ConnectionStats) -> Self {
        Self {
            bytes_out: stats.udp_tx.bytes,
            bytes_in: stats.udp_rx.bytes,
            sent: stats.path.sent_packets,
            lost: stats.path.lost_packets,
            events: stats.path.congestion_events,
        }
    }
}

impl Ticker {
    pub(super) const fn new(now: Instant, stats: &ConnectionStats) -> Self {
        let before = Counts::of(stats);
        Self { at: now, before, heard: before.bytes_in, rate_out: 0, rate_in: 0, loss: 0.0, bursts: false, packets_in: 0 }
    }

    /// Whether any byte came since this was asked last.
    pub(super) const fn anything_came(&mut self, stats: &ConnectionStats) -> bool {
        let came = stats.udp_rx.bytes != self.heard;
        self.heard = stats.udp_rx.bytes;
        came
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.deadline() <= now
    }

    pub(super) fn deadline(&self) -> Instant {
        self.at + TICK
    }

    pub(super) fn tick(&mut self, now: Instant, stats: &ConnectionStats) {
        let (counts, before) = (Counts::of(stats), self.before);
        let elapsed = now.saturating_duration_since(self.at).max(Duration::from_millis(1)).as_secs_f64();
        let rate = |bytes: u64| (bytes as f64 * 8.0 / elapsed) as u64;
        self.rate_out = rate(counts.bytes_out.saturating_sub(before.bytes_out));
        self.rate_in = rate(counts.bytes_in.saturating_sub(before.bytes_in));
        let (sent, lost) = (counts.sent.saturating_sub(before.sent), counts.lost.saturating_sub(before.lost));
        if sent >= ENOUGH {
            let loss = (lost as f32 / sent as f32).min(1.0);
            self.loss += (loss - self.loss) * WEIGHT;
            let events = counts.events.saturating_sub(before.events);
            self.bursts = lost > 0 && lost as f32 / events.max(1) as f32 >= BURST;
        }
        self.at = now;
        self.before = counts;
    }
}
