//! The links of a node over QUIC: the shell around `cascade::link`, and the only place that knows quinn. Owns the socket, who is
//! dialed and accepted, and one connection per neighbour; what is said on them is `cascade::mesh`'s, what a frame's bytes mean
//! `cascade::wire`'s.
//!
//! Runs on its caller's current-thread runtime: it starts no task of its own, nothing in it waits but [`Links::next`], and
//! packets take no lock but the transport's.
//!
//! ```text
//!   loop { select! {
//!       event = links.next() => { take it in; while let Some(event) = links.try_next() { take it in } }
//!       () = sleep_until(links.deadline(now)) => {}
//!   }
//!   links.flush(now) }
//! ```

mod active;
mod controller;
mod dial;
mod figures;
mod handshake;
mod pump;
#[cfg(test)]
mod tests;
mod transport;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, FuturesUnordered, SelectAll, StreamExt};
use quinn::{ConnectionError, Endpoint, Incoming, VarInt};

use self::active::Active;
use self::dial::Dials;
use self::handshake::{Me, Outcome, Ready};
use self::pump::{Batch, Pump};
use super::link::send::{Class, Outgoing};
use super::link::{rtp, session};
use super::status::LinkStatus;
use super::tls::Tls;
use super::wire::{Frame, Hello, LinkMetrics};
use crate::cluster::NodeInfo;
use crate::id::{LinkId, NodeId, RegionId};
use crate::rtp::{Epoch, NtpTime, Packet};
use crate::units::Bitrate;

/// Why a connection is closed, as its application code. The reason's text says more.
const GONE: u32 = 0;
/// It never became a link.
const REFUSED: u32 = 1;
/// The neighbour broke the rules, fell silent, or is not wanted.
const BROKEN: u32 = 2;
/// Another link to the same neighbour took its place.
const REPLACED: u32 = 3;

/// Of the control stream: above all media.
const CONTROL_PRIORITY: i32 = 10;

/// Callers whose handshake is under way. More are turned away; they come back.
const MAX_CALLERS: usize = 64;

/// From so many callers on, each must show that its address is its own before anything is spent on it.
const SUSPICIOUS_CALLERS: usize = 16;

/// Events that wait to be fetched before more is read from the network.
const MAX_EVENTS: usize = 4_096;

/// A link that was up for so long is dialed again at once when it is lost.
const LASTED: Duration = Duration::from_secs(10);

/// What it takes to have links.
pub struct Config {
    /// Bound already: links are dialed from it and accepted on it.
    pub socket: UdpSocket,
    pub tls: Tls,
    /// What the hello says.
    pub me: NodeInfo,
    /// Of the topology document.
    pub epoch: u64,
    pub clock: Epoch,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Both hellos were exchanged, and agree with the certificates.
    Up { link: LinkId, hello: Hello, dialed: bool },
    /// It is gone. Not said of a link that [`Links::close`] or [`Links::hang_up`] ended.
    Down { link: LinkId, why: String },
    /// Every frame but `Hello`, `Ping` and `Pong`.
    Frame { link: LinkId, frame: Frame },
    /// An RTP packet, for [`rtp::read`].
    Media { link: LinkId, flow: u32, rtp: Bytes },
    /// There was no room for the flow: it pauses until a keyframe. The neighbour was told.
    Shed { link: LinkId, flow: u32 },
    /// There would be room again for a flow that is shed.
    KeyframeWanted { link: LinkId, flow: u32 },
}

/// The links of a node.
pub struct Links {
    endpoint: Endpoint,
    tls: Tls,
    me: NodeInfo,
    epoch: u64,
    clock: Epoch,
    dials: Dials,
    /// The rate that the last link to a neighbour had.
    rates: BTreeMap<NodeId, Bitrate>,
    links: BTreeMap<LinkId, Active>,
    by_node: BTreeMap<NodeId, LinkId>,
    next_link: u32,
    callers: usize,
    incoming: BoxStream<'static, Incoming>,
    attempts: FuturesUnordered<BoxFuture<'static, (bool, Outcome)>>,
    pumps: SelectAll<Pump>,
    events: VecDeque<Event>,
    header: Vec<u8>,
}

impl Links {
    /// Must be called within the runtime that will drive the links.
    pub fn bind(config: Config) -> io::Result<Self> {
        let Config { socket, tls, me, epoch, clock } = config;
        socket.set_nonblocking(true)?;
        let endpoint = transport::endpoint(socket, &tls)?;
        let incoming = stream::unfold(endpoint.clone(), |endpoint| async move {
            let caller = endpoint.accept().await?;
            Some((caller, endpoint))
        });
        Ok(Self {
            endpoint,
            tls,
            me,
            epoch,
            clock,
            dials: Dials::default(),
            rates: BTreeMap::new(),
            links: BTreeMap::new(),
            by_node: BTreeMap::new(),
            next_link: 0,
            callers: 0,
            incoming: incoming.boxed(),
            attempts: FuturesUnordered::new(),
            pumps: SelectAll::new(),
            events: VecDeque::new(),
            header: Vec::new(),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// What further hellos say.
    pub fn set_me(&mut self, me: NodeInfo, epoch: u64) {
        (self.me, self.epoch) = (me, epoch);
    }

    /// Further links show and check certificates anew. Those that are up stay; whoever must go is closed by name.
    pub fn reload(&mut self, tls: Tls) -> io::Result<()> {
        self.endpoint.set_server_config(Some(transport::server(&tls, &std::sync::Arc::default())?));
        self.tls = tls;
        Ok(())
    }

    /// Wants a link to a neighbour at `host:port`, until [`Links::hang_up`]. Tried again for as long as it takes, also when a
    /// link is lost; a link that the neighbour dialed will do. The first try leaves with the next [`Links::flush`].
    pub fn dial(&mut self, now: Instant, node: NodeId, region: RegionId, addr: String) {
        let linked = self.by_node.contains_key(&node);
        self.dials.want(now, node, region, addr, linked);
    }

    /// Wants it no more, and ends the link if there is one.
    pub fn hang_up(&mut self, node: &NodeId) {
        self.dials.forget(node);
        if let Some(&link) = self.by_node.get(node) {
            self.drop_link(link, GONE, "not needed any more");
        }
    }

    /// What happens next. Cancel safe. Timers are [`Links::flush`]'s.
    pub async fn next(&mut self) -> Event {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// What is there already, without waiting.
    pub fn try_next(&mut self) -> Option<Event> {
        if self.events.is_empty() {
            // Whoever is not ready wakes nobody here: `next` will ask it again.
            let mut cx = Context::from_waker(std::task::Waker::noop());
            self.poll_network(&mut cx);
        }
        self.events.pop_front()
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.events.is_empty() {
            self.poll_network(cx);
        }
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    /// Reads until there is nothing more, or enough.
    fn poll_network(&mut self, cx: &mut Context<'_>) {
        while self.events.len() < MAX_EVENTS {
            let batch = Pin::new(&mut self.pumps).poll_next_unpin(cx);
            if let Poll::Ready(Some(batch)) = batch {
                self.batch(batch);
                continue;
            }
            if let Poll::Ready(Some((called, outcome))) = self.attempts.poll_next_unpin(cx) {
                self.callers -= usize::from(called);
                self.outcome(outcome);
                continue;
            }
            if let Poll::Ready(Some(caller)) = self.incoming.poll_next_unpin(cx) {
                self.caller(caller);
                continue;
            }
            return;
        }
    }

    fn batch(&mut self, batch: Batch) {
        let now = Instant::now();
        let Some(link) = self.links.get_mut(&batch.link) else { return };
        if let Err(why) = link.raws(now, &self.clock, batch.raws, &mut self.events) {
            self.lose(now, batch.link, why);
        }
    }

    fn caller(&mut self, caller: Incoming) {
        if self.callers >= MAX_CALLERS {
            caller.refuse();
        } else if self.callers >= SUSPICIOUS_CALLERS && !caller.remote_address_validated() {
            let _ = caller.retry();
        } else {
            self.callers += 1;
            let me = self.introduction();
            self.attempts.push(Box::pin(async move { (true, handshake::accept(caller, me).await) }));
        }
    }

    fn introduction(&self) -> Me {
        Me { hello: session::hello(self.me.clone(), self.epoch), tls: self.tls.clone() }
    }

    fn outcome(&mut self, outcome: Outcome) {
        let now = Instant::now();
        match outcome {
            Outcome::Ready(ready) => self.up(now, *ready),
            Outcome::DialFailed { node, why } => {
                if self.by_node.contains_key(&node) {
                    return self.dials.linked(&node);
                }
                let failures = self.dials.failed(now, &node, rand::random());
                if failures.is_power_of_two() {
                    tracing::warn!(%node, why, failures, "no link to a neighbour");
                }
            }
            Outcome::Refused { from, why } => tracing::debug!(port = from.port(), why, "a caller did not become a link"),
        }
    }

    fn up(&mut self, now: Instant, ready: Ready) {
        let node = ready.established.hello.node.id.clone();
        let run = ready.established.hello.node.incarnation;
        if let Some((&id, old)) = self.by_node.get(&node).and_then(|id| self.links.get_key_value(id)) {
            let old = (old.hello.node.incarnation, old.dialed);
            if !session::replaces(&self.me.id, &node, old, (run, ready.dialed)) {
                ready.connection.close(VarInt::from_u32(REPLACED), b"there is a better link to the same node");
                return self.dials.linked(&node);
            }
            self.drop_link(id, REPLACED, "another link to the same node took its place");
            self.events.push_back(Event::Down { link: id, why: "another link to the same node took its place".into() });
        }
        let id = LinkId(self.next_link);
        self.next_link = self.next_link.wrapping_add(1);
        let (mut active, control) = Active::new(now, id, ready);
        self.pumps.push(Pump::new(id, &active.connection, control));
        self.dials.linked(&node);
        self.events.push_back(Event::Up { link: id, hello: active.hello.clone(), dialed: active.dialed });
        // What came right behind the hello.
        let early = active.frames(now, &self.clock, &mut self.events);
        self.links.insert(id, active);
        self.by_node.insert(node, id);
        if let Err(why) = early {
            self.lose(now, id, why);
        }
    }

    /// Ends a link for a reason that its owner must hear.
    fn lose(&mut self, now: Instant, id: LinkId, why: String) {
        let Some(link) = self.links.get(&id) else { return };
        let (node, lasted) = (link.hello.node.id.clone(), now.saturating_duration_since(link.up) >= LASTED);
        tracing::info!(%node, why, "a link is down");
        self.drop_link(id, BROKEN, &why);
        if lasted {
            self.dials.lasted(&node);
        }
        self.dials.failed(now, &node, rand::random());
        self.events.push_back(Event::Down { link: id, why });
    }

    fn drop_link(&mut self, id: LinkId, code: u32, why: &str) {
        let Some(link) = self.links.remove(&id) else { return };
        self.by_node.retain(|_, of| *of != id);
        self.rates.insert(link.hello.node.id.clone(), link.rate());
        link.close(code, why);
    }

    /// Queues a control frame. A link whose neighbour does not read is lost with the next flush.
    pub fn send(&mut self, link: LinkId, frame: &Frame) {
        let Some(active) = self.links.get_mut(&link) else { return };
        if let Err(why) = active.send(frame) {
            self.lose(Instant::now(), link, why);
        }
    }

    /// Queues a packet of a flow that the neighbour asked for. `stream` names the packet's numbering.
    pub fn media(&mut self, now: Instant, link: LinkId, flow: u32, class: Class, stream: u32, packet: &Packet) {
        let Some(active) = self.links.get_mut(&link) else { return };
        self.header.clear();
        rtp::write_header(&mut self.header, stream, packet);
        active.push(
            now,
            &Outgoing {
                flow,
                class,
                stream,
                timestamp: packet.timestamp,
                starts_keyframe: packet.frame.starts_keyframe,
                marker: packet.marker,
                head: &self.header,
                payload: &packet.payload,
            },
        );
    }

    /// The flow's id means nothing to the neighbour any more.
    pub fn end_flow(&mut self, link: LinkId, flow: u32) {
        if let Some(active) = self.links.get_mut(&link) {
            active.end_flow(flow);
        }
    }

    /// Hands over to the transport what it should have now, dials who is due, and ends links that are silent. Call it after each
    /// round of work and at [`Links::deadline`].
    pub fn flush(&mut self, now: Instant) {
        for due in self.dials.due(now) {
            let start = self.rates.get(&due.node).copied().unwrap_or(transport::START);
            let (endpoint, me) = (self.endpoint.clone(), self.introduction());
            self.attempts.push(Box::pin(async move { (false, handshake::dial(endpoint, me, due, start).await) }));
        }
        let mut lost = Vec::new();
        for link in self.links.values_mut() {
            if let Err(why) = link.flush(now, &self.clock, &mut self.events) {
                lost.push((link.id, why));
            }
        }
        for (id, why) in lost {
            self.lose(now, id, why);
        }
    }

    /// When to flush next, if nothing else happens. `now` itself if events wait or there is a new attempt to begin.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let links = self.links.values().map(|link| link.deadline(now));
        links.chain(self.dials.deadline()).min()
    }

    /// Ends a link, and says why to the neighbour. It is dialed again if it is wanted.
    pub fn close(&mut self, link: LinkId, why: &str) {
        let Some(node) = self.links.get(&link).map(|active| active.hello.node.id.clone()) else { return };
        self.drop_link(link, BROKEN, why);
        self.dials.failed(Instant::now(), &node, rand::random());
    }

    /// The link to a node, if there is one.
    pub fn link_to(&self, node: &NodeId) -> Option<LinkId> {
        self.by_node.get(node).copied()
    }

    /// A time of the neighbour's clock on ours, as for a sender report that came from it.
    pub fn map_clock(&self, link: LinkId, theirs: NtpTime) -> NtpTime {
        self.links.get(&link).map_or(theirs, |active| active.map(theirs))
    }

    pub fn metrics(&self, link: LinkId) -> Option<LinkMetrics> {
        Some(self.links.get(&link)?.metrics())
    }

    pub fn status(&self, now: Instant, link: LinkId) -> Option<LinkStatus> {
        Some(self.links.get(&link)?.status(now))
    }

    /// Ends all links and waits, shortly, until the neighbours were told.
    pub async fn shut_down(self, why: &str) {
        self.endpoint.close(VarInt::from_u32(GONE), why.as_bytes());
        let _ = tokio::time::timeout(Duration::from_millis(500), self.endpoint.wait_idle()).await;
    }
}

/// A connection's end in words.
fn reason(why: &ConnectionError) -> String {
    match why {
        ConnectionError::ApplicationClosed(close) => {
            let text = String::from_utf8_lossy(&close.reason);
            // What the neighbour says goes to a log: one line of it.
            let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
            format!("the neighbour closed it: {text}")
        }
        ConnectionError::TimedOut => "silent".to_owned(),
        other => other.to_string(),
    }
}
