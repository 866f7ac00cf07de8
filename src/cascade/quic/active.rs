//! One link that is up: its machines, and the handing over between them and the connection. Owns what the transport did not
//! take yet, and the figures that are shown of the link. `quic::Links` calls it; it never waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use quinn::{Connection, SendStream, VarInt, WriteError};
use rustc_hash::FxHashMap;

use super::Event;
use super::controller::Figures;
use super::figures::Ticker;
use super::handshake::Ready;
use super::pump::Raw;
use crate::cascade::link::health::Health;
use crate::cascade::link::receive::{Received, Receiver, probe};
use crate::cascade::link::send::{self, Action, Key, Network, Sender};
use crate::cascade::status::LinkStatus;
use crate::cascade::wire::{Decoder, Frame, Hello, LinkMetrics};
use crate::id::LinkId;
use crate::rtp::{Epoch, NtpTime};
use crate::units::Bitrate;

/// Bytes of control frames that wait for a neighbour to read. Above, it is closed: what it missed cannot be told again.
pub(super) const MAX_CONTROL: usize = 2 << 20;

/// What may wait in the transport beyond what is under way, in time at the present rate. Less may leave the path idle between
/// two flushes; more takes the choice of what goes next away from the link's queues.
const AHEAD: Duration = Duration::from_millis(4);

/// What the transport may hold of streams beyond its window: a bound in case the pacer's estimate drifts.
const AHEAD_BYTES: u64 = 64 << 10;

/// How soon to try again when the transport took less than was offered.
const AGAIN: Duration = Duration::from_millis(2);

/// What a packet has around what is handed over, as a share of it: QUIC's and the streams' headers, and the seal, 35 bytes. Not more than
/// the least that there can be, which is that of the longest packets: too little is made good whenever nothing waits, too much adds up
/// until nothing is handed over any more.
const AROUND_PERCENT: u64 = 2;

pub(super) struct Active {
    pub id: LinkId,
    pub hello: Hello,
    pub dialed: bool,
    pub version: u8,
    pub up: Instant,
    pub connection: Connection,
    figures: Arc<Figures>,
    control: SendStream,
    control_waits: VecDeque<u8>,
    decoder: Decoder,
    sender: Sender,
    receiver: Receiver,
    received: Vec<Received>,
    health: Health,
    streams: FxHashMap<Key, SendStream>,
    /// Done before anything else of the sender's, when the transport takes more.
    rest: VecDeque<Action>,
    /// Bytes handed over since the link is up, as the transport will count them.
    handed: u64,
    send_window: u64,
    ticker: Ticker,
    scratch: Vec<u8>,
}

impl Active {
    pub(super) fn new(now: Instant, id: LinkId, ready: Ready) -> (Self, quinn::RecvStream) {
        let Ready { connection, control, incoming, mut decoder, established, dialed, figures } = ready;
        decoder.speak(established.version);
        let ticker = Ticker::new(now, &connection.stats());
        let active = Self {
            id,
            hello: established.hello,
            dialed,
            version: established.version,
            up: now,
            connection,
            figures,
            control,
            control_waits: VecDeque::new(),
            decoder,
            sender: Sender::default(),
            receiver: Receiver::default(),
            received: Vec::new(),
            health: Health::new(now),
            streams: FxHashMap::default(),
            rest: VecDeque::new(),
            handed: 0,
            send_window: 0,
            ticker,
            scratch: Vec::new(),
        };
        (active, incoming)
    }

    /// Takes in what came. An error closes the link.
    pub(super) fn raws(
        &mut self,
        now: Instant,
        epoch: &Epoch,
        raws: Vec<Raw>,
        out: &mut VecDeque<Event>,
    ) -> Result<(), String> {
        self.health.heard(now);
        for raw in raws {
            match raw {
                Raw::Control(bytes) => {
                    self.decoder.push(&bytes);
                    self.frames(now, epoch, out)?;
                }
                Raw::ControlEnd => return Err("it ended the control stream".into()),
                Raw::Datagram(bytes) => match self.receiver.datagram(bytes).map_err(|why| why.to_string())? {
                    Received::Media { flow, rtp } => self.media(flow, rtp, out),
                    Received::Probe(frame) => self.probe(now, epoch, &frame),
                },
                Raw::Chunk { key, bytes } => {
                    let mut received = std::mem::take(&mut self.received);
                    let result = self.receiver.chunk(key, bytes, &mut received);
                    for received in received.drain(..) {
                        if let Received::Media { flow, rtp } = received {
                            self.media(flow, rtp, out);
                        }
                    }
                    self.received = received;
                    result.map_err(|why| why.to_string())?;
                }
                Raw::Waits { key } => self.receiver.opened(now, key),
                Raw::End { key } => self.receiver.end(key).map_err(|why| why.to_string())?,
                Raw::Reset { key } => self.receiver.reset(key),
                Raw::Closed(why) => return Err(super::reason(&why)),
            }
        }
        Ok(())
    }

    fn media(&mut self, flow: u32, rtp: Bytes, out: &mut VecDeque<Event>) {
        self.ticker.packets_in += 1;
        out.push_back(Event::Media { link: self.id, flow, rtp });
    }

    /// Frames that are whole.
    pub(super) fn frames(&mut self, now: Instant, epoch: &Epoch, out: &mut VecDeque<Event>) -> Result<(), String> {
        while let Some(frame) = self.decoder.next() {
            match frame.map_err(|why| why.to_string())? {
                Frame::Hello(_) => return Err("it said hello twice".into()),
                frame @ (Frame::Ping { .. } | Frame::Pong { .. }) => self.probe(now, epoch, &frame),
                frame => out.push_back(Event::Frame { link: self.id, frame }),
            }
        }
        Ok(())
    }

    fn probe(&mut self, now: Instant, epoch: &Epoch, frame: &Frame) {
        if let Some(answer) = self.health.probe(now, epoch.ntp(now), frame).as_ref().and_then(probe) {
            let _ = self.connection.send_datagram(answer);
        }
    }

    /// Queues a control frame. Kinds that the neighbour does not know are left out.
    pub(super) fn send(&mut self, frame: &Frame) -> Result<(), String> {
        self.scratch.clear();
        match frame.encode(self.version, &mut self.scratch) {
            Ok(()) => self.control_waits.extend(&self.scratch),
            Err(crate::cascade::wire::WireError::Newer(_)) => {}
            Err(why) => tracing::error!(node = %self.hello.node.id, %why, "a frame of our own cannot be sent"),
        }
        if self.control_waits.len() > MAX_CONTROL {
            return Err(format!("it does not read: {} bytes of control wait for it", self.control_waits.len()));
        }
        Ok(())
    }

    pub(super) fn push(&mut self, now: Instant, packet: &send::Outgoing<'_>) {
        self.sender.push(now, packet);
    }

    pub(super) fn end_flow(&mut self, flow: u32) {
        self.sender.end_flow(flow);
    }

    /// Hands over what the transport should have now, and does what is due. An error closes the link.
    pub(super) fn flush(&mut self, now: Instant, epoch: &Epoch, out: &mut VecDeque<Event>) -> Result<(), String> {
        self.check_health(now, epoch)?;
        self.flush_control()?;
        self.flush_rest(now);
        let network = self.network();
        self.sender.update(now, network);
        while let Some(event) = self.sender.next_event() {
            match event {
                send::Event::Shed { flow } => {
                    self.send(&Frame::Shed { flow })?;
                    out.push_back(Event::Shed { link: self.id, flow });
                }
                send::Event::KeyframeWanted { flow } => out.push_back(Event::KeyframeWanted { link: self.id, flow }),
            }
        }
        self.hand_over(now);
        self.flush_control()
    }

    fn check_health(&mut self, now: Instant, epoch: &Epoch) -> Result<(), String> {
        if self.health.deadline() <= now {
            // Acknowledgements are a sign of life too, and nobody else sees them.
            if self.ticker.anything_came(&self.connection.stats()) {
                self.health.heard(now);
            }
            if self.health.is_dead(now) {
                return Err(format!("silent for {:?}", crate::cascade::link::health::SILENCE));
            }
            if let Some(ping) = self.health.ping(now, epoch.ntp(now)).as_ref().and_then(probe) {
                let _ = self.connection.send_datagram(ping);
            }
        }
        if self.ticker.is_due(now) {
            self.receiver.check(now).map_err(|why| why.to_string())?;
            self.ticker.tick(now, &self.connection.stats());
            self.figures.want(Bitrate(self.sender.demand(now) * 8));
        }
        Ok(())
    }

    fn network(&mut self) -> Network {
        let (rate, window) = (self.figures.rate().0 / 8, self.figures.window());
        // The transport's own packets make it err downward, so it starts anew when nothing can be left.
        self.handed = self.handed.max(self.figures.sent());
        let pending = self.seems_to_wait();
        let ahead = rate * AHEAD.as_millis() as u64 / 1_000;
        let budget = if self.rest.is_empty() { (window + ahead).saturating_sub(self.figures.in_flight() + pending) } else { 0 };
        let send_window = window + window / 4 + AHEAD_BYTES;
        if send_window.abs_diff(self.send_window) > self.send_window / 8 {
            self.connection.set_send_window(send_window);
            self.send_window = send_window;
        }
        Network {
            rate,
            budget,
            datagram_space: self.connection.datagram_send_buffer_space(),
            datagram_max: self.connection.max_datagram_size().unwrap_or(0),
            loss: self.ticker.loss,
            bursts: self.ticker.bursts,
            rtt: self.health.rtt().unwrap_or(Duration::from_millis(50)),
        }
    }

    /// Bytes that were handed over and not sent yet, about.
    pub(super) fn seems_to_wait(&self) -> u64 {
        self.handed.saturating_sub(self.figures.sent())
    }

    fn hand_over(&mut self, now: Instant) {
        let mut run: Option<(Key, Vec<Bytes>)> = None;
        while let Some(action) = self.sender.next_action() {
            match (action, &mut run) {
                (Action::Write { key, bytes }, Some((of, writes))) if *of == key => writes.push(bytes),
                (Action::Write { key, bytes }, _) => {
                    if let Some((key, writes)) = run.replace((key, vec![bytes])) {
                        self.write(key, writes);
                    }
                }
                (action, _) => {
                    if let Some((key, writes)) = run.take() {
                        self.write(key, writes);
                    }
                    self.act(now, action);
                }
            }
        }
        if let Some((key, writes)) = run {
            self.write(key, writes);
        }
    }

    fn act(&mut self, now: Instant, action: Action) {
        match action {
            Action::Datagram(bytes) => {
                self.handed += bytes.len() as u64;
                let _ = self.connection.send_datagram(bytes);
            }
            Action::Reset { key, flow } => {
                self.rest.retain(|waiting| match waiting {
                    Action::Open { key: of, .. } | Action::Write { key: of, .. } | Action::Finish { key: of } => *of != key,
                    Action::Datagram(_) | Action::Reset { .. } => true,
                });
                let reset = self.streams.remove(&key).map(|mut stream| stream.reset(VarInt::from_u32(0)));
                if reset.is_some_and(|reset| reset.is_ok()) {
                    self.sender.gave_up(now, flow);
                }
            }
            action if !self.rest.is_empty() => self.rest.push_back(action),
            Action::Open { key, priority } => match self.connection.open_uni().now_or_never() {
                Some(Ok(stream)) => {
                    let _ = stream.set_priority(priority);
                    self.streams.insert(key, stream);
                }
                Some(Err(_)) => {}
                None => self.rest.push_back(Action::Open { key, priority }),
            },
            Action::Write { key, bytes } => self.write(key, vec![bytes]),
            Action::Finish { key } => {
                if let Some(stream) = self.streams.get_mut(&key) {
                    let _ = stream.finish();
                }
            }
        }
    }

    fn write(&mut self, key: Key, mut writes: Vec<Bytes>) {
        if !self.rest.is_empty() {
            self.rest.extend(writes.into_iter().map(|bytes| Action::Write { key, bytes }));
            return;
        }
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let mut left = writes.as_mut_slice();
        while !left.is_empty() {
            match stream.write_chunks(left).now_or_never() {
                Some(Ok(written)) => {
                    self.handed += written.bytes as u64 * (100 + AROUND_PERCENT) / 100;
                    left = left.get_mut(written.chunks..).unwrap_or_default();
                }
                // The neighbour does not want this stream, or the link is over.
                Some(Err(WriteError::Stopped(_) | WriteError::ConnectionLost(_) | _)) => return,
                None => break,
            }
        }
        self.rest.extend(left.iter_mut().map(|bytes| Action::Write { key, bytes: std::mem::take(bytes) }));
    }

    fn flush_rest(&mut self, now: Instant) {
        let mut waiting = std::mem::take(&mut self.rest);
        while let Some(action) = waiting.pop_front() {
            self.act(now, action);
            if !self.rest.is_empty() {
                self.rest.append(&mut waiting);
            }
        }
    }

    fn flush_control(&mut self) -> Result<(), String> {
        while !self.control_waits.is_empty() {
            let (front, _) = self.control_waits.as_slices();
            match self.control.write(front).now_or_never() {
                Some(Ok(written)) => drop(self.control_waits.drain(..written)),
                Some(Err(WriteError::ConnectionLost(why))) => return Err(super::reason(&why)),
                Some(Err(why)) => return Err(format!("it does not read its control stream: {why}")),
                None => break,
            }
        }
        Ok(())
    }

    pub(super) fn close(&self, code: u32, why: &str) {
        let why = why.get(..why.floor_char_boundary(200)).unwrap_or_default();
        self.connection.close(VarInt::from_u32(code), why.as_bytes());
    }

    /// When to flush next, if nothing else happens.
    pub(super) fn deadline(&self, now: Instant) -> Instant {
        let stuck = !self.rest.is_empty() || !self.control_waits.is_empty() || self.sender.is_waiting();
        let again = stuck.then(|| now + AGAIN);
        let due = [Some(self.health.deadline()), self.sender.deadline(), Some(self.ticker.deadline()), again];
        due.into_iter().flatten().min().unwrap_or(now)
    }

    pub(super) fn map(&self, theirs: NtpTime) -> NtpTime {
        self.health.map(theirs)
    }

    pub(super) fn metrics(&self) -> LinkMetrics {
        let rtt = self.health.rtt().unwrap_or_default();
        let kbps = |rate: u64| u32::try_from(rate / 1_000).unwrap_or(u32::MAX);
        LinkMetrics {
            rtt_us: u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX),
            loss_permille: (self.ticker.loss * 1_000.0) as u16,
            kbps_out: kbps(self.ticker.rate_out),
            kbps_in: kbps(self.ticker.rate_in),
            target_kbps: kbps(self.figures.rate().0),
            queue_ms: u16::try_from(self.sender.queue_delay().as_millis()).unwrap_or(u16::MAX),
        }
    }

    pub(super) fn status(&self, now: Instant) -> LinkStatus {
        let counters = self.sender.counters();
        let stats = self.connection.stats();
        LinkStatus {
            node: self.hello.node.id.clone(),
            region: self.hello.node.region.clone(),
            dialed: self.dialed,
            version: self.version,
            up_s: now.saturating_duration_since(self.up).as_secs(),
            metrics: self.metrics(),
            clock_offset_ms: self.health.offset().unwrap_or(0) as f64 / (1u64 << 32) as f64 * 1_000.0,
            packets_out: counters.packets,
            packets_in: self.ticker.packets_in,
            bytes_out: stats.udp_tx.bytes,
            bytes_in: stats.udp_rx.bytes,
            shed: counters.shed,
            flows_shed: self.sender.shed_flows(),
        }
    }

    /// What the controller believes of the path, to begin the next link with.
    pub(super) fn rate(&self) -> Bitrate {
        self.figures.rate()
    }
}
