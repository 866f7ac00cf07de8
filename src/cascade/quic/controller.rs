//! The congestion controller inside the transport, and what the link's pacer reads of it. The decisions are
//! `cascade::congestion`'s; here they are put into the transport's form. The transport calls it with its connection locked; the
//! pacer reads the figures without a lock.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;

use crate::cascade::congestion;
use crate::units::Bitrate;

/// What the controller says and what it is told, shared with the pacer. Each is a figure by itself: no two must agree.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Bits per second.
    rate: AtomicU64,
    window: AtomicU64,
    in_flight: AtomicU64,
    /// Bytes of packets that were sent, in all.
    sent: AtomicU64,
    /// What the application would send, bits per second; 0 until it said so.
    demand: AtomicU64,
}

impl Figures {
    pub(super) fn rate(&self) -> Bitrate {
        Bitrate(self.rate.load(Relaxed))
    }

    /// Bytes that may be under way.
    pub(super) fn window(&self) -> u64 {
        self.window.load(Relaxed)
    }

    /// Bytes under way.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// Bytes sent since the link is up.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// What the application would send.
    pub(super) fn want(&self, demand: Bitrate) {
        self.demand.store(demand.0.max(1), Relaxed);
    }
}

/// Makes the controller of one connection.
#[derive(Debug)]
pub(super) struct Factory {
    pub figures: Arc<Figures>,
    /// To begin with.
    pub start: Bitrate,
}

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, _mtu: u16) -> Box<dyn Controller> {
        let adapter =
            Adapter { inner: congestion::Controller::new(now, self.start), figures: Arc::clone(&self.figures), in_flight: 0 };
        adapter.tell();
        Box::new(adapter)
    }
}

#[derive(Clone)]
struct Adapter {
    inner: congestion::Controller,
    figures: Arc<Figures>,
    in_flight: u64,
}

impl Adapter {
    fn tell(&self) {
        self.figures.rate.store(self.inner.rate().0, Relaxed);
        self.figures.window.store(self.inner.window(), Relaxed);
        self.figures.in_flight.store(self.in_flight, Relaxed);
    }
}

impl Controller for Adapter {
    fn on_sent(&mut self, now: Instant, bytes: u64, _number: u64) {
        self.inner.on_sent(now, bytes);
        self.in_flight += bytes;
        self.figures.sent.fetch_add(bytes, Relaxed);
        self.figures.in_flight.store(self.in_flight, Relaxed);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.inner.on_ack(now, sent, bytes, rtt.get(), app_limited);
    }

    fn on_end_acks(&mut self, _now: Instant, in_flight: u64, _app_limited: bool, _largest: Option<u64>) {
        self.in_flight = in_flight;
        let demand = self.figures.demand.load(Relaxed);
        if demand > 0 {
            self.inner.set_demand(Bitrate(demand));
        }
        self.tell();
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, lost: u64) {
        self.in_flight = self.in_flight.saturating_sub(lost);
        self.inner.on_lost(now, sent, lost, persistent);
        self.tell();
    }

    fn on_mtu_update(&mut self, _mtu: u16) {}

    fn window(&self) -> u64 {
        self.inner.window()
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
