//! A path made worse on purpose: delay, jitter, loss at random and in bursts, a rate with a queue, partition. Seeded, so that a
//! run can be repeated. For `weir dev`, `weir impair`, tests and benchmarks; kernels often lack the means. Owns the model
//! (pure) and a UDP relay that applies it.

use serde::{Deserialize, Serialize};

/// How bad one direction of a path is. Zero everywhere is a perfect one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Impairment {
    /// One way.
    pub delay_ms: f64,
    /// Each packet waits up to this much more; packets keep their order.
    pub jitter_ms: f64,
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// Mean length of a loss in packets (Gilbert's model); up to 1 loses each packet by itself.
    pub burst: f64,
    /// Bottleneck; 0 is none.
    pub rate_kbps: u32,
    /// What waits before the bottleneck at most, in milliseconds at its rate.
    pub queue_ms: u32,
    /// Nothing passes.
    pub partition: bool,
}
