//! The shard of the links: a router without peers, the mesh that says which track goes where, and the QUIC endpoint. Pipes join
//! it to the shards that have peers. Owns the glue between the three; decides nothing.
//!
//! ```text
//!   other shards ══ pipes ══▶ router ── feeds ──▶ links ══ QUIC ══ neighbours
//!                               ▲                  │
//!                               └───── mesh ◀──────┘   frames; which packet of which flow belongs to which track
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::events::Events;
use super::pipe::{Pipes, Wish};
use super::{CascadeAsk, Handle};
use crate::cascade::link::send::Class;
use crate::cascade::mesh::{self, Mesh};
use crate::cascade::quic::{self, Links};
use crate::cascade::status::Status;
use crate::cascade::tls::Tls;
use crate::cascade::topology::Topology;
use crate::cascade::wire::{Frame, TrackInfo};
use crate::cluster::NodeInfo;
use crate::edge::media::{Command, Event, Origin, TrackSpec};
use crate::id::{LinkId, NodeId, ShardId};
use crate::router::{self, Branch, Feed, Ingress, Router, Upstream};
use crate::rtp::Source;
use crate::rtp::clock::Epoch;

/// Messages of one kind that are taken per turn, so that none starves another.
const TURN: usize = 256;

/// Events that may wait for signaling beyond its queue. Beyond, the oldest is lost; what nodes tell each other is told again.
const MAX_UNSENT: usize = 16_384;

/// How often the links' figures are told to the mesh, and by it to others. Shorter draws livelier pictures.
const METRICS: Duration = Duration::from_secs(1);

/// What the shard of the links needs to start.
pub struct Start {
    pub id: ShardId,
    pub me: NodeInfo,
    pub topology: Topology,
    pub tls: Tls,
    pub socket: UdpSocket,
    /// Where to dial some nodes instead of at their own address: through what makes the path worse, in development.
    pub via: BTreeMap<NodeId, String>,
    pub epoch: Epoch,
    /// Microphones of one room that are passed on to other nodes at a time; 0: all.
    pub loudest: usize,
    pub pipes: Pipes,
    pub commands: mpsc::Receiver<Command>,
    pub asks: mpsc::Receiver<CascadeAsk>,
    pub events: mpsc::Sender<(ShardId, Event)>,
}

/// Starts the thread. An error is the system's: no thread, no runtime, or a socket it can't use.
pub fn start(start: Start) -> std::io::Result<Handle> {
    let id = start.id;
    let thread = super::thread("cascade".to_owned(), id, async move { Cascade::new(start)?.run().await })?;
    Ok(Handle { id, thread })
}

struct Cascade {
    links: Links,
    mesh: Mesh,
    router: Router,
    pipes: Pipes,
    via: BTreeMap<NodeId, String>,
    topology: Arc<Topology>,
    me: NodeInfo,
    commands: mpsc::Receiver<Command>,
    asks: mpsc::Receiver<CascadeAsk>,
    events: Events,
    metrics_at: Instant,
    /// Links that are up.
    up: BTreeSet<LinkId>,
    /// Reused from call to call.
    work: Vec<mesh::Output>,
    outputs: Vec<router::Output>,
}

enum Woken {
    Link(quic::Event),
    Media(Option<Vec<Feed>>),
    Wish(Option<(ShardId, Wish)>),
    Command(Option<Command>),
    Ask(Option<CascadeAsk>),
    Timer,
}

/// How the shard ends.
enum End {
    /// Neighbours are told.
    Stopped,
    /// As if the power had gone.
    Killed,
}

impl Cascade {
    fn new(start: Start) -> std::io::Result<Self> {
        let now = Instant::now();
        let topology = Arc::new(start.topology);
        let links = Links::bind(quic::Config {
            socket: start.socket,
            tls: start.tls,
            me: start.me.clone(),
            epoch: topology.epoch,
            clock: start.epoch,
        })?;
        let mesh = Mesh::new(start.me.clone(), Arc::clone(&topology), now, rand::random());
        Ok(Self {
            links,
            mesh,
            router: Router::new(rand::random()).with_loudest(start.loudest, Ingress::Pipes),
            pipes: start.pipes,
            via: start.via,
            topology,
            me: start.me,
            commands: start.commands,
            asks: start.asks,
            events: Events::new(start.id, start.events, MAX_UNSENT),
            metrics_at: now + METRICS,
            up: BTreeSet::new(),
            work: Vec::new(),
            outputs: Vec::new(),
        })
    }

    async fn run(mut self) -> std::io::Result<()> {
        self.mesh(Instant::now(), mesh::Input::Timeout);
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        let end = loop {
            let deadlines =
                [self.router.deadline(), self.mesh.deadline(), self.links.deadline(Instant::now()), Some(self.metrics_at)];
            if let Some(deadline) = deadlines.into_iter().flatten().min() {
                sleep.as_mut().reset(deadline.into());
            }
            let woken = tokio::select! {
                event = self.links.next() => Woken::Link(event),
                feeds = self.pipes.media.recv() => Woken::Media(feeds),
                wish = self.pipes.control.recv() => Woken::Wish(wish),
                command = self.commands.recv() => Woken::Command(command),
                ask = self.asks.recv() => Woken::Ask(ask),
                () = &mut sleep => Woken::Timer,
            };
            let now = Instant::now();
            match woken {
                Woken::Link(event) => self.link_event(now, event),
                Woken::Media(Some(feeds)) => self.fed(now, feeds),
                Woken::Wish(Some((from, wish))) => self.wish(now, from, wish),
                Woken::Command(Some(command)) => self.command(now, command),
                Woken::Ask(Some(ask)) => {
                    if let Some(end) = self.ask(now, ask) {
                        break end;
                    }
                }
                // Who ends the node ends signaling too, and says how in the same moment.
                Woken::Command(None) if matches!(self.asks.try_recv(), Ok(CascadeAsk::Kill)) => break End::Killed,
                Woken::Command(None) | Woken::Ask(None) => break End::Stopped,
                Woken::Media(None) | Woken::Wish(None) | Woken::Timer => {}
            }
            self.drain_queues(now);
            self.run_timers(now);
            self.links.flush(now);
            // What a pipe drops is missed by the shard behind it as if the network had lost it.
            let _ = self.pipes.flush();
            self.events.send();
        };
        match end {
            End::Stopped => self.links.shut_down("the node stops").await,
            // What is not polled any more says nothing.
            End::Killed => {}
        }
        Ok(())
    }

    /// Takes what else waits, without waiting.
    fn drain_queues(&mut self, now: Instant) {
        for _ in 0..TURN {
            let Some(event) = self.links.try_next() else { break };
            self.link_event(now, event);
        }
        for _ in 0..TURN {
            let Ok(feeds) = self.pipes.media.try_recv() else { break };
            self.fed(now, feeds);
        }
        for _ in 0..TURN {
            let Ok((from, wish)) = self.pipes.control.try_recv() else { break };
            self.wish(now, from, wish);
        }
        for _ in 0..TURN {
            let Ok(command) = self.commands.try_recv() else { break };
            self.command(now, command);
        }
    }

    fn run_timers(&mut self, now: Instant) {
        if self.router.deadline().is_some_and(|at| at <= now) {
            self.route(now, router::Input::Timeout);
        }
        if self.mesh.deadline().is_some_and(|at| at <= now) {
            self.mesh(now, mesh::Input::Timeout);
        }
        if self.metrics_at <= now {
            self.metrics_at = now + METRICS;
            for link in self.up.clone() {
                if let Some(metrics) = self.links.metrics(link) {
                    self.mesh(now, mesh::Input::Metrics { link, metrics });
                }
            }
        }
    }

    fn link_event(&mut self, now: Instant, event: quic::Event) {
        match event {
            quic::Event::Up { link, hello, dialed } => {
                tracing::info!(node = %hello.node.id, region = %hello.node.region, dialed, "link up");
                self.up.insert(link);
                self.mesh(now, mesh::Input::LinkUp { link, hello });
            }
            quic::Event::Down { link, why } => {
                tracing::info!(link = link.0, why, "link down");
                self.up.remove(&link);
                self.mesh(now, mesh::Input::LinkDown { link });
            }
            quic::Event::Frame { link, frame: Frame::Report { flow, stream, mut report } } => {
                report.ntp = self.links.map_clock(link, report.ntp);
                let mut work = std::mem::take(&mut self.work);
                self.mesh.report(now, link, flow, stream, report, &mut work);
                self.carry_out(now, work);
            }
            quic::Event::Frame { link, frame } => self.mesh(now, mesh::Input::Frame { link, frame }),
            quic::Event::Media { link, flow, rtp } => {
                let mut work = std::mem::take(&mut self.work);
                self.mesh.media(now, link, flow, rtp, &mut work);
                self.carry_out(now, work);
            }
            quic::Event::Shed { link, flow } => {
                let metrics = self.links.metrics(link).unwrap_or_default();
                let (target, queue) = (metrics.target_kbps, metrics.queue_ms);
                tracing::debug!(link = link.0, flow, target_kbps = target, queue_ms = queue, "a layer does not fit the link");
            }
            quic::Event::KeyframeWanted { link, flow } => {
                if let Some((track, layer)) = self.mesh.layer_of_flow(link, flow) {
                    self.route(now, router::Input::BranchKeyframe { branch: Branch::Link(link), track, layer });
                }
            }
        }
    }

    fn mesh(&mut self, now: Instant, input: mesh::Input) {
        let mut work = std::mem::take(&mut self.work);
        self.mesh.handle(now, input, &mut work);
        self.carry_out(now, work);
    }

    /// Does what the mesh wants, in order. The router may have more for the mesh, which is done in between.
    fn carry_out(&mut self, now: Instant, mut work: Vec<mesh::Output>) {
        for output in work.drain(..) {
            match output {
                mesh::Output::Send { link, frame } => self.links.send(link, &frame),
                mesh::Output::Close { link, why } => self.links.close(link, &why),
                mesh::Output::Dial { node } => {
                    let addr = self.via.get(&node.id).cloned().or(node.addr);
                    if let Some(addr) = addr {
                        self.links.dial(now, node.id, node.region, addr);
                    }
                }
                mesh::Output::HangUp { node } => self.links.hang_up(&node),
                mesh::Output::Router(input) => self.route(now, input),
                mesh::Output::FlowEnded { link, flow } => self.links.end_flow(link, flow),
                mesh::Output::Room { from, room, body } => self.tell(Event::Room { from, room, body }),
                mesh::Output::View(view) => {
                    tracing::debug!(nodes = view.nodes.len(), "the cluster changed");
                    self.tell(Event::Cluster { view });
                }
                mesh::Output::Path { track, nodes } => self.tell(Event::Path { track, nodes }),
                mesh::Output::NewTopology { text } => self.new_topology(now, &text),
            }
        }
        self.work = work;
    }

    /// A neighbour's document, or the operator's: whoever has the higher epoch is right.
    fn new_topology(&mut self, now: Instant, text: &str) {
        let topology = match Topology::parse(text) {
            Ok((topology, _)) => topology,
            Err(problems) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                tracing::warn!(first, "a new topology document is not sound and is not used");
                return;
            }
        };
        self.take_topology(now, topology);
    }

    fn take_topology(&mut self, now: Instant, topology: Topology) {
        if topology.epoch <= self.topology.epoch {
            tracing::warn!(
                new = topology.epoch,
                old = self.topology.epoch,
                "the topology's epoch did not grow: it is not used"
            );
            return;
        }
        tracing::info!(epoch = topology.epoch, "new topology");
        self.topology = Arc::new(topology);
        self.links.set_me(self.me.clone(), self.topology.epoch);
        self.mesh(now, mesh::Input::Topology { topology: Arc::clone(&self.topology) });
    }

    fn route(&mut self, now: Instant, input: router::Input) {
        let mut outputs = std::mem::take(&mut self.outputs);
        self.router.handle(now, input, &mut outputs);
        for output in outputs.drain(..) {
            self.output(now, output);
        }
        self.outputs = outputs;
    }

    fn output(&mut self, now: Instant, output: router::Output) {
        match output {
            router::Output::Feed { branch: Branch::Pipe(pipe), feed } => self.pipes.push(pipe, feed),
            router::Output::Feed { branch: Branch::Link(link), feed } => self.feed(now, link, &feed),
            router::Output::RequestKeyframe { upstream: Upstream::Pipe(pipe), track, layer } => {
                self.pipes.wish(pipe, Wish::Keyframe { track, layer });
            }
            router::Output::RequestKeyframe { upstream: Upstream::Cascade, track, layer } => {
                self.mesh(now, mesh::Input::KeyframeWanted { track, layer });
            }
            router::Output::Wanted { upstream: Upstream::Pipe(pipe), track, layers } => {
                self.pipes.wish(pipe, Wish::Layers { track, layers });
            }
            router::Output::Wanted { upstream: Upstream::Cascade, track, layers } => {
                self.mesh(now, mesh::Input::Wanted { track, layers });
            }
            router::Output::Levels { levels } => {
                // A full queue is signaling's trouble, and a later report says as much.
                let _ = self.events.tell_if_room(Event::Levels { levels });
            }
            // There are no peers here.
            router::Output::Forward { .. }
            | router::Output::Retransmit { .. }
            | router::Output::Voices { .. }
            | router::Output::StreamState { .. }
            | router::Output::Demand { .. }
            | router::Output::RequestKeyframe { upstream: Upstream::Peer(_), .. }
            | router::Output::Wanted { upstream: Upstream::Peer(_), .. } => {}
        }
    }

    /// Hands a link what the router feeds it.
    fn feed(&mut self, now: Instant, link: LinkId, feed: &Feed) {
        let (Feed::Packet { track, layer, .. } | Feed::Report { track, layer, .. } | Feed::Shed { track, layer }) = feed;
        let Some(out) = self.mesh.outflow(link, *track, *layer) else { return };
        match feed {
            Feed::Packet { stream, packet, .. } => {
                let class = Class::of(out.kind, out.base);
                self.links.media(now, link, out.flow, class, *stream, packet);
            }
            Feed::Report { stream, report, .. } => {
                self.links.send(link, &Frame::Report { flow: out.flow, stream: *stream, report: *report });
            }
            Feed::Shed { .. } => self.links.send(link, &Frame::Shed { flow: out.flow }),
        }
    }

    fn fed(&mut self, now: Instant, feeds: Vec<Feed>) {
        for feed in feeds {
            self.route(now, router::Input::Fed(feed));
        }
    }

    fn wish(&mut self, now: Instant, pipe: ShardId, wish: Wish) {
        self.route(now, wish.into_input(pipe));
    }

    fn command(&mut self, now: Instant, command: Command) {
        let input = match command {
            Command::AddTrack { track } => return self.add_track(now, track),
            Command::RemoveTrack { track } => mesh::Input::TrackGone { track },
            Command::Mute { track, muted } => mesh::Input::Muted { track, muted },
            Command::Room { to, room, body } => mesh::Input::Room { to, room, body },
            Command::Drain => {
                self.me.draining = true;
                self.links.set_me(self.me.clone(), self.topology.epoch);
                mesh::Input::Drain
            }
            // Members are none of its business.
            Command::AddPeer { .. }
            | Command::Follow { .. }
            | Command::Configure { .. }
            | Command::RemovePeer { .. }
            | Command::Bind { .. }
            | Command::View { .. }
            | Command::Stats { .. }
            | Command::Limit { .. }
            | Command::Data { .. } => return,
        };
        self.mesh(now, input);
    }

    fn add_track(&mut self, now: Instant, track: TrackSpec) {
        let (from, origin, incarnation) = match track.origin {
            Origin::Shard(shard) => (Some(shard), self.me.id.clone(), self.me.incarnation),
            Origin::Node { node, incarnation } => (None, node, incarnation),
            // Its members are on other shards.
            Origin::Member(_) => return,
        };
        let microphone = (track.source == Source::Microphone).then(|| (track.id, track.room.clone()));
        let info = TrackInfo { id: track.id, room: track.room, kind: track.kind, layers: track.layers, origin, incarnation };
        self.mesh(now, mesh::Input::Track { info, from });
        if let Some((track, room)) = microphone {
            self.route(now, router::Input::Microphone { track, room });
        }
    }

    /// Answers; says how the shard is to end, if it is to.
    fn ask(&mut self, now: Instant, ask: CascadeAsk) -> Option<End> {
        match ask {
            // Whoever asked may have gone.
            CascadeAsk::Status { reply } => drop(reply.send(self.status(now))),
            CascadeAsk::Dependents { reply } => drop(reply.send(self.mesh.dependents())),
            CascadeAsk::Topology(topology) => self.take_topology(now, *topology),
            CascadeAsk::Tls(tls) => {
                if let Err(error) = self.links.reload(*tls) {
                    tracing::warn!(%error, "the new certificates can't be used");
                }
            }
            CascadeAsk::Stop => return Some(End::Stopped),
            CascadeAsk::Kill => return Some(End::Killed),
        }
        None
    }

    fn status(&self, now: Instant) -> Status {
        let links = self.up.iter().filter_map(|&link| self.links.status(now, link)).collect();
        Status { links, ..self.mesh.status(now) }
    }

    /// Tells signaling what it must hear. What is lost for want of room is told again by the nodes it came from.
    fn tell(&mut self, event: Event) {
        let _ = self.events.tell(event);
    }
}
