//! The loop of a shard: what comes in, from the socket, TCP, pipes and signaling; what the router makes of it; and what goes
//! out. Owns the glue between peers and router; decides nothing.

mod report;
mod send;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::events::Events;
use super::peers::Peers;
use super::pipe::{Pipes, Wish};
use super::socket::{BATCH_SIZE, MediaSocket, ReadBuffers};
use super::stats::ShardStats;
use super::tcp::TcpConnections;
use super::timers::Timers;
use super::{Inbox, Start};
use crate::edge::media::{Command, Event, Origin, TrackSpec};
use crate::edge::peer::{self, Certificate, Peer, PeerEvent, Route, Sending, Sent, TransportEvent};
use crate::id::{MemberId, ShardId};
use crate::policy::bandwidth::START;
use crate::policy::door::{Door, Taken};
use crate::policy::layers::Budget;
use crate::policy::overload::{Change, Gauge};
use crate::router::{Branch, Feed, Ingress, Input, NewTrack, Output, PeerKey, Router, Upstream};
use crate::rtp::Source;
use crate::rtp::clock::Epoch;
use crate::units::Bitrate;

/// How many messages of one kind are taken per turn, so that none starves another.
const TURN: usize = 128;

/// Events that may wait for signaling beyond its queue.
const MAX_UNSENT: usize = 65_536;

/// Batches read from the socket per turn.
const READS: usize = 8;

pub(super) struct Shard {
    socket: MediaSocket,
    buffers: Option<ReadBuffers>,
    tcp: TcpConnections,
    certificate: Arc<Certificate>,
    budget: Bitrate,
    gather: Duration,
    pipes: Pipes,
    commands: mpsc::Receiver<Command>,
    inbox: mpsc::Receiver<Inbox>,
    events: Events,
    peers: Peers,
    timers: Timers,
    router: Router,
    /// Joins this thread's clock and NTP's, once for its life.
    epoch: Epoch,
    /// Reused from call to call.
    outputs: Vec<Output>,
    happened: Vec<PeerEvent>,
    /// Peers with something to send.
    dirty: Vec<PeerKey>,
    flush_at: Option<Instant>,
    gauge: Gauge,
    door: Door,
    changes: Vec<Change>,
    stats: ShardStats,
}

enum Woken {
    Socket,
    Tcp(Option<super::tcp::Arrival>),
    Media(Option<Vec<Feed>>),
    Wish(Option<(ShardId, Wish)>),
    Command(Option<Command>),
    Inbox(Option<Inbox>),
    Timer,
}

impl Shard {
    pub(super) fn new(start: Start) -> io::Result<Self> {
        Ok(Self {
            socket: MediaSocket::new(start.socket)?,
            buffers: None,
            tcp: TcpConnections::default(),
            certificate: start.certificate,
            budget: start.budget,
            gather: start.gather,
            pipes: start.pipes,
            commands: start.commands,
            inbox: start.inbox,
            events: Events::new(start.id, start.events, MAX_UNSENT),
            peers: Peers::default(),
            timers: Timers::default(),
            router: Router::new(rand::random()).with_loudest(start.loudest, Ingress::Peers),
            epoch: start.epoch,
            outputs: Vec::new(),
            happened: Vec::new(),
            dirty: Vec::new(),
            flush_at: None,
            gauge: Gauge::new(Instant::now(), start.full_percent),
            door: Door::default(),
            changes: Vec::new(),
            stats: ShardStats::default(),
        })
    }

    pub(super) async fn run(mut self) -> io::Result<()> {
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        loop {
            let deadlines = [self.router.deadline(), self.timers.next(), self.flush_at, self.gauge.deadline()];
            let deadline = deadlines.into_iter().flatten().min();
            if let Some(deadline) = deadline {
                sleep.as_mut().reset(deadline.into());
            }
            let woken = tokio::select! {
                ready = self.socket.readable() => { ready?; Woken::Socket }
                arrival = self.tcp.arrivals.recv() => Woken::Tcp(arrival),
                items = self.pipes.media.recv() => Woken::Media(items),
                wish = self.pipes.control.recv() => Woken::Wish(wish),
                command = self.commands.recv() => Woken::Command(command),
                message = self.inbox.recv() => Woken::Inbox(message),
                () = &mut sleep, if deadline.is_some() => Woken::Timer,
            };
            let now = Instant::now();
            match woken {
                Woken::Socket => self.read_socket(now),
                Woken::Tcp(Some(arrival)) => self.tcp_arrival(now, arrival),
                Woken::Media(Some(items)) => self.fed(now, items),
                Woken::Wish(Some((from, wish))) => self.wish(now, from, wish),
                Woken::Command(Some(command)) => self.command(now, command),
                Woken::Inbox(Some(message)) => {
                    if self.message(now, message) {
                        break;
                    }
                }
                Woken::Inbox(None) | Woken::Command(None) => break,
                Woken::Timer | Woken::Tcp(None) | Woken::Media(None) | Woken::Wish(None) => {}
            }
            if self.drain_queues(now) {
                break;
            }
            self.run_timers(now);
            self.flush_when_due(now);
            self.note_work(now);
            self.events.send();
        }
        self.close_all(Instant::now());
        Ok(())
    }

    /// A turn has ended: what follows from how much there is to do.
    fn note_work(&mut self, began: Instant) {
        let now = Instant::now();
        let left = self.door.left(now);
        self.gauge.worked(began, now, left, &mut self.changes);
        if self.changes.is_empty() {
            return;
        }
        for change in std::mem::take(&mut self.changes) {
            match change {
                Change::Full(full) => {
                    tracing::info!(
                        shard = self.events.id().0,
                        full,
                        "busy for {:.0} % of the time",
                        self.gauge.share() * 100.0
                    );
                    self.tell(Event::Full { shard: self.events.id(), full });
                }
                Change::Relief(share) => {
                    self.stats.relief_steps += u64::from(share < 1.0);
                    self.route(now, Input::Relief { share });
                }
            }
        }
    }

    /// Takes what else waits, without waiting. True when the shard is to stop.
    fn drain_queues(&mut self, now: Instant) -> bool {
        for _ in 0..TURN {
            let Ok(items) = self.pipes.media.try_recv() else { break };
            self.fed(now, items);
        }
        for _ in 0..TURN {
            let Ok((from, wish)) = self.pipes.control.try_recv() else { break };
            self.wish(now, from, wish);
        }
        for _ in 0..TURN {
            let Ok(arrival) = self.tcp.arrivals.try_recv() else { break };
            self.tcp_arrival(now, arrival);
        }
        for _ in 0..TURN {
            let Ok(command) = self.commands.try_recv() else { break };
            self.command(now, command);
        }
        for _ in 0..TURN {
            let Ok(message) = self.inbox.try_recv() else { break };
            if self.message(now, message) {
                return true;
            }
        }
        false
    }

    fn read_socket(&mut self, now: Instant) {
        // The shard's other parts work on the datagrams in place, so the buffers are taken out meanwhile.
        let mut buffers = std::mem::take(&mut self.buffers).unwrap_or_default();
        let mut read = 0;
        for _ in 0..READS {
            read = self.socket.receive(&mut buffers);
            if read == 0 {
                break;
            }
            for (from, datagram) in buffers.datagrams() {
                self.datagram(now, Route::Udp(from), datagram);
            }
        }
        self.buffers = Some(buffers);
        let to = Instant::now();
        if self.door.turn(now, to, read < BATCH_SIZE)
            && let Some(dropped) = self.socket.dropped()
        {
            self.door.look(to, Taken { read: self.stats.datagrams_in, dropped });
        }
    }

    fn tcp_arrival(&mut self, now: Instant, (route, frame): super::tcp::Arrival) {
        match frame {
            Some(mut frame) => self.datagram(now, route, &mut frame),
            None => {
                if let Route::Tcp { conn, .. } = route {
                    self.tcp.close(conn);
                }
                let Some(key) = self.peers.of_route(route) else { return };
                let mut happened = std::mem::take(&mut self.happened);
                if let Some(peer) = self.peers.get_mut(key).and_then(|entry| entry.peer.as_mut()) {
                    peer.forget_route(route, &mut happened);
                }
                self.peers.forget_route(key, route);
                self.after_peer(now, key, happened);
            }
        }
    }

    fn datagram(&mut self, now: Instant, route: Route, datagram: &mut [u8]) {
        self.stats.datagrams_in += 1;
        self.stats.bytes_in += datagram.len() as u64;
        let key = match peer::ufrag_of(datagram) {
            Some(ufrag) => self.peers.of_ufrag(ufrag),
            None => self.peers.of_route(route),
        };
        let Some((key, peer)) = key.and_then(|key| Some((key, self.peers.get_mut(key)?.peer.as_mut()?))) else {
            match peer::is_stun(datagram) {
                true => self.stats.dropped.bad_stun += 1,
                false => self.stats.dropped.unknown_source += 1,
            }
            return;
        };
        if self.door.is_shut()
            && let Some((ssrc, repair)) = peer.picture_in(datagram)
            && self.door.turns_away(ssrc, repair)
        {
            peer.leave(ssrc);
            self.stats.dropped.no_time += 1;
            return;
        }
        let mut happened = std::mem::take(&mut self.happened);
        if let Err(reason) = peer.receive(now, route, datagram, &mut happened) {
            self.stats.dropped.count(reason);
        }
        self.after_peer(now, key, happened);
    }

    /// Carries out what a peer reported, and sends what it has to say itself.
    fn after_peer(&mut self, now: Instant, key: PeerKey, mut happened: Vec<PeerEvent>) {
        for event in happened.drain(..) {
            self.peer_event(now, key, event);
        }
        self.happened = happened;
        let Some(entry) = self.peers.get_mut(key) else { return };
        let Some(peer) = entry.peer.as_mut() else { return };
        while let Some((route, packet)) = peer.poll_transmit() {
            self.stats.datagrams_out += 1;
            self.stats.bytes_out += packet.len() as u64;
            match route {
                Route::Udp(addr) => {
                    if self.socket.send(addr, &packet, packet.len()).is_err() {
                        self.stats.send_errors += 1;
                    }
                }
                Route::Tcp { conn, .. } => {
                    self.tcp.send(conn, std::iter::once(packet.as_ref()));
                }
            }
        }
        self.timers.arm(key, peer.deadline(), &mut entry.armed);
    }

    fn peer_event(&mut self, now: Instant, key: PeerKey, event: PeerEvent) {
        let Some(member) = self.peers.get(key).map(|entry| entry.member) else { return };
        match event {
            PeerEvent::Packet { track, layer, packet } => {
                self.stats.rtp_in += 1;
                self.route(now, Input::Packet { track, layer, packet });
            }
            PeerEvent::Report { track, layer, report } => self.route(now, Input::Report { track, layer, report }),
            PeerEvent::LayerRestarted { track, layer } => self.route(now, Input::LayerRestarted { track, layer }),
            PeerEvent::Nack { slot, rtt, lost } => {
                self.stats.nacks_in += 1;
                self.route(now, Input::Nack { peer: key, slot, rtt, lost });
            }
            PeerEvent::KeyframeWanted { slot } => self.route(now, Input::KeyframeWanted { peer: key, slot }),
            PeerEvent::Budget(budget) => self.route(now, Input::Budget { peer: key, budget }),
            PeerEvent::Quality(quality) => self.tell_quality(key, member, quality),
            PeerEvent::Transport(event) => self.transport_event(now, key, event),
        }
    }

    fn transport_event(&mut self, now: Instant, key: PeerKey, event: TransportEvent) {
        let Some(entry) = self.peers.get(key) else { return };
        let member = entry.member;
        match event {
            TransportEvent::Validated(route) => self.peers.add_route(key, route),
            TransportEvent::Invalidated(route) => self.peers.forget_route(key, route),
            TransportEvent::Connected => {
                self.route(now, Input::Connected { peer: key, connected: true });
                self.tell(Event::Connected { member });
            }
            TransportEvent::IceDown => self.tell(Event::IceDown { member }),
            TransportEvent::IceUp => self.tell(Event::IceUp { member }),
            TransportEvent::Data { label, binary, payload } => {
                self.tell_if_room(Event::Data { member, label, binary, payload })
            }
            TransportEvent::Closed(why) => {
                tracing::debug!(%member, room = %entry.room, ?why, "transport closed");
                self.remove_peer(now, key);
                self.tell(Event::Closed { member, why });
            }
        }
    }

    fn route(&mut self, now: Instant, input: Input) {
        self.router.handle(now, input, &mut self.outputs);
        if self.outputs.is_empty() {
            return;
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            self.output(now, output);
        }
        self.outputs = outputs;
    }

    fn output(&mut self, now: Instant, output: Output) {
        match output {
            Output::Forward { peer, slot, packet, rewritten } => {
                let sent = self.append(peer, |peer, buf| {
                    peer.forward(&Sending { now, slot, packet: &packet, rewritten: &rewritten }, buf)
                });
                self.stats.rtp_out += u64::from(sent == Sent::Now);
            }
            Output::Retransmit { peer, slot, packet, rewritten } => {
                let sent = self.append(peer, |peer, buf| {
                    peer.retransmit(&Sending { now, slot, packet: &packet, rewritten: &rewritten }, buf)
                });
                self.stats.rtx_out += u64::from(sent == Sent::Now);
            }
            Output::Feed { branch: Branch::Pipe(pipe), feed } => self.pipes.push(pipe, feed),
            // Links belong to the cascade's shard, which has no peers.
            Output::Feed { branch: Branch::Link(_), .. }
            | Output::RequestKeyframe { upstream: Upstream::Cascade, .. }
            | Output::Wanted { upstream: Upstream::Cascade, .. } => {}
            Output::RequestKeyframe { upstream: Upstream::Peer(peer), track, layer } => {
                let sent = self.append(peer, |peer, buf| match peer.request_keyframe(track, layer, buf) {
                    true => Sent::Now,
                    false => Sent::Refused,
                });
                self.stats.keyframe_requests_out += u64::from(sent == Sent::Now);
            }
            Output::RequestKeyframe { upstream: Upstream::Pipe(pipe), track, layer } => {
                self.pipes.wish(pipe, Wish::Keyframe { track, layer });
            }
            Output::Wanted { upstream: Upstream::Peer(_), track, layers } => self.tell(Event::LayersWanted { track, layers }),
            Output::Wanted { upstream: Upstream::Pipe(pipe), track, layers } => {
                self.pipes.wish(pipe, Wish::Layers { track, layers });
            }
            Output::Demand { peer, rate } => {
                let Some(entry) = self.peers.get_mut(peer) else { return };
                if let Some(member) = entry.peer.as_mut() {
                    member.demand(now, rate);
                    self.timers.arm(peer, member.deadline(), &mut entry.armed);
                }
            }
            Output::StreamState { peer, slot, track, state } => {
                if let Some(member) = self.peers.get(peer).map(|entry| entry.member) {
                    self.tell(Event::StreamState { member, slot, track, state });
                }
            }
            Output::Voices { room, tracks } => self.tell(Event::Voices { shard: self.events.id(), room, tracks }),
            Output::Levels { levels } => self.tell_if_room(Event::Levels { levels }),
        }
    }

    fn fed(&mut self, now: Instant, feeds: Vec<Feed>) {
        for feed in feeds {
            self.route(now, Input::Fed(feed));
        }
    }

    fn wish(&mut self, now: Instant, pipe: ShardId, wish: Wish) {
        self.route(now, wish.into_input(pipe));
    }

    /// True when the shard is to stop.
    fn message(&mut self, now: Instant, message: Inbox) -> bool {
        match message {
            Inbox::Tcp { stream, first } => self.adopt(now, stream, first),
            Inbox::Stats { reply } => {
                // Whoever asked may have gone.
                let _ = reply.send(self.snapshot());
            }
            Inbox::Member { member, reply } => {
                let _ = reply.send(self.member_stats(now, member));
            }
            Inbox::Stop => return true,
        }
        false
    }

    fn adopt(&mut self, now: Instant, stream: TcpStream, first: Bytes) {
        let Ok(addr) = stream.peer_addr() else { return };
        match self.tcp.adopt(stream, addr) {
            Some(route) => self.datagram(now, route, &mut first.to_vec()),
            None => self.stats.dropped.queue_full += 1,
        }
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::AddPeer { member, room } => {
                if let Some(old) = self.peers.of_member(member) {
                    self.remove_peer(now, old);
                }
                let key = self.peers.insert(member, room);
                self.route(now, Input::Connected { peer: key, connected: false });
                self.route(now, Input::Limit { peer: key, rate: self.budget });
                // What its path carries it says once it is connected.
                self.route(now, Input::Budget { peer: key, budget: Budget::fixed(START) });
            }
            Command::Configure { member, plan } => {
                let Some(key) = self.peers.of_member(member) else { return };
                self.peers.add_ufrag(key, &plan.ice.local.ufrag);
                let mut happened = std::mem::take(&mut self.happened);
                let Some(entry) = self.peers.get_mut(key) else { return };
                match &mut entry.peer {
                    Some(peer) => peer.configure(now, &plan, &mut happened),
                    none => {
                        let (certificate, ssrc) = (Arc::clone(&self.certificate), rand::random());
                        let peer = none.insert(Peer::new(now, self.epoch, certificate, &plan, ssrc));
                        peer.limit(now, self.budget);
                    }
                }
                self.after_peer(now, key, happened);
            }
            Command::RemovePeer { member } => {
                if let Some(key) = self.peers.of_member(member) {
                    self.remove_peer(now, key);
                }
            }
            Command::AddTrack { track } => self.add_track(now, track),
            Command::Follow { room, on } => self.route(now, Input::Follow { room, on }),
            Command::RemoveTrack { track } => self.route(now, Input::TrackRemoved { track }),
            Command::Mute { track, muted } => self.route(now, Input::Muted { track, muted }),
            Command::Bind { member, slot, track } => self.for_peer(now, member, |peer| Input::Bind { peer, slot, track }),
            Command::View { member, items } => self.for_peer(now, member, |peer| Input::View { peer, items }),
            Command::Stats { member } => {
                if let Some(stats) = self.member_stats(now, member) {
                    self.tell_if_room(Event::Stats { member, stats });
                }
            }
            Command::Limit { member, rate } => {
                let rate = rate.min(self.budget);
                self.for_peer(now, member, |peer| Input::Limit { peer, rate });
            }
            // The cascade's shard only.
            Command::Room { .. } | Command::Drain => {}
            Command::Data { member, label, binary, payload } => {
                let Some(key) = self.peers.of_member(member) else { return };
                let Some(peer) = self.peers.get_mut(key).and_then(|entry| entry.peer.as_mut()) else { return };
                if !peer.send_data(now, &label, binary, &payload) {
                    self.stats.dropped.queue_full += 1;
                }
                self.after_peer(now, key, Vec::new());
            }
        }
    }

    fn for_peer(&mut self, now: Instant, member: MemberId, input: impl FnOnce(PeerKey) -> Input) {
        if let Some(key) = self.peers.of_member(member) {
            self.route(now, input(key));
        }
    }

    fn add_track(&mut self, now: Instant, track: TrackSpec) {
        let upstream = match track.origin {
            Origin::Shard(shard) => Upstream::Pipe(shard),
            // The cascade's shard only.
            Origin::Node { .. } => return,
            Origin::Member(member) => match self.peers.of_member(member) {
                Some(key) => Upstream::Peer(key),
                None => return,
            },
        };
        let screen = track.source == Source::ScreenShare;
        let new = NewTrack { id: track.id, kind: track.kind, layers: track.layers, muted: track.muted, screen, upstream };
        self.route(now, Input::TrackAdded(new));
        if track.source == Source::Microphone {
            self.route(now, Input::Microphone { track: track.id, room: track.room });
        }
    }

    fn remove_peer(&mut self, now: Instant, key: PeerKey) {
        self.route(now, Input::PeerGone { peer: key });
        if let Some(peer) = self.peers.get_mut(key).and_then(|entry| entry.peer.as_mut()) {
            peer.close(now);
        }
        // The goodbye goes out before the entry does.
        self.after_peer(now, key, Vec::new());
        self.flush_peer(key);
        let Some(entry) = self.peers.remove(key) else { return };
        for conn in Peers::tcp_of(&entry) {
            self.tcp.close(conn);
        }
    }

    fn close_all(&mut self, now: Instant) {
        let keys: Vec<PeerKey> = self.peers.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.remove_peer(now, key);
        }
    }

    fn run_timers(&mut self, now: Instant) {
        while let Some((at, key)) = self.timers.due(now) {
            let mut happened = std::mem::take(&mut self.happened);
            if let Some(entry) = self.peers.get_mut(key) {
                if entry.armed == Some(at) {
                    entry.armed = None;
                }
                if let Some(peer) = entry.peer.as_mut() {
                    peer.timeout(now, &mut happened);
                }
            }
            self.write_rtcp(now, key);
            self.release(now, key);
            self.after_peer(now, key, happened);
        }
        if self.router.deadline().is_some_and(|at| at <= now) {
            self.route(now, Input::Timeout);
        }
    }

    /// Tells signaling what it must hear.
    fn tell(&mut self, event: Event) {
        self.stats.dropped.queue_full += u64::from(!self.events.tell(event));
    }

    /// Tells what the next report replaces anyway.
    fn tell_if_room(&mut self, event: Event) {
        self.stats.dropped.queue_full += u64::from(!self.events.tell_if_room(event));
    }
}
