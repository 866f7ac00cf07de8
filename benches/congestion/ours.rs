//! weir's controller behind quinn's trait, as links use it.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};
use weir::cascade::congestion;
use weir::units::Bitrate;

/// Makes controllers that begin with `start` and are told the demand by a shared number.
#[derive(Clone)]
pub(crate) struct Ours {
    pub(crate) start: Bitrate,
    pub(crate) demand: Arc<AtomicU64>,
}

impl Ours {
    pub(crate) fn new(start: u64, demand: u64) -> Self {
        Self { start: Bitrate(start), demand: Arc::new(AtomicU64::new(demand)) }
    }
}

impl ControllerFactory for Ours {
    fn build(self: Arc<Self>, now: Instant, _: u16) -> Box<dyn Controller> {
        let inner = congestion::Controller::new(now, self.start);
        Box::new(Adapter { inner, demand: Arc::clone(&self.demand) })
    }
}

#[derive(Clone)]
struct Adapter {
    inner: congestion::Controller,
    demand: Arc<AtomicU64>,
}

impl Controller for Adapter {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.inner.set_demand(Bitrate(self.demand.load(Ordering::Relaxed)));
        self.inner.on_ack(now, sent, bytes, rtt.get(), app_limited);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, lost_bytes: u64) {
        self.inner.on_lost(now, sent, lost_bytes, persistent);
    }

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        self.inner.window()
    }

    /// For `--trace`: the rate, and the queue that the controller sees, in microseconds.
    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window();
        metrics.pacing_rate = Some(self.inner.rate().0);
        metrics.ssthresh = Some(self.inner.queue().as_micros() as u64);
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.inner.window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
