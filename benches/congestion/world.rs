//! Real QUIC connections in virtual time: quinn's own state machine, fed by hand, over one bottleneck that all flows share in
//! one direction and one way back. Packets, acknowledgements, loss detection, retransmission and pacing are quinn's; the path is
//! [`weir::impair::Path`]. Owns the clock and the connections; `traffic` says what they carry.

use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::congestion::{ControllerFactory, ControllerMetrics};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, Endpoint, EndpointConfig, Event, ServerConfig, TransportConfig,
    VarInt,
};
use rustls::RootCertStore;
use rustls::pki_types::PrivatePkcs8KeyDer;
use weir::impair::{Impairment, Path, Verdict};

use crate::traffic::{Receiver, Report, Sender};

/// What a datagram weighs on the wire beyond its payload: IPv4 and UDP.
const HEADERS: usize = 28;

/// The link's path MTU.
const MTU: u16 = 1_300;

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 443);

/// One end of one flow.
struct End {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    address: SocketAddr,
    transmit: Vec<u8>,
}

/// One connection with its traffic, media or bulk, from client to server.
pub(crate) struct Flow {
    client: End,
    server: End,
    sender: Sender,
    receiver: Receiver,
    /// When it begins, after the world.
    starts: Duration,
    /// Bytes that arrived, by second.
    pub(crate) arrived: Vec<u64>,
}

/// A datagram on its way, ordered by arrival.
#[derive(PartialEq, Eq)]
struct InFlight {
    due: Instant,
    number: u64,
    flow: usize,
    to_server: bool,
    data: Vec<u8>,
}

impl Ord for InFlight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Connections that share a path.
pub(crate) struct World {
    start: Instant,
    now: Instant,
    flows: Vec<Flow>,
    there: Path,
    back: Path,
    in_flight: BinaryHeap<InFlight>,
    number: u64,
    /// What the bottleneck's queue held every 10 ms.
    queue: Vec<Duration>,
}

impl World {
    pub(crate) fn new(there: Impairment, back: Impairment, seed: u64) -> Self {
        let start = Instant::now();
        let path = |impairment, seed| Path::new(impairment, seed);
        Self {
            start,
            now: start,
            flows: Vec::new(),
            there: path(there, seed),
            back: path(back, seed + 1_000),
            in_flight: BinaryHeap::new(),
            number: 0,
            queue: Vec::new(),
        }
    }

    /// Adds a connection that begins after `starts`.
    pub(crate) fn add(&mut self, controller: Arc<dyn ControllerFactory + Send + Sync>, sender: Sender, starts: Duration) {
        let index = self.flows.len() as u8;
        let server = ServerEnd::new();
        let client = SocketAddr::new(Ipv4Addr::new(10, 1, 0, index).into(), 1_000);
        let end = |server: Option<Arc<ServerConfig>>, address, seed: u8| End {
            endpoint: Endpoint::new(Arc::new(EndpointConfig::default()), server, false, Some([seed; 32])),
            connection: None,
            address,
            transmit: Vec::new(),
        };
        let config = transport(controller);
        let (server_config, roots) = server.into_parts(Arc::clone(&config));
        let mut client = end(None, client, index * 2 + 1);
        let mut roots = ClientConfig::with_root_certificates(Arc::new(roots)).expect("roots are sound");
        roots.transport_config(Arc::clone(&config));
        let connected = client.endpoint.connect(self.start, roots, SERVER, "link").expect("the first connection");
        client.connection = Some(connected);
        let server = end(Some(Arc::new(server_config)), SERVER, index * 2 + 2);
        let receiver = Receiver::default();
        self.flows.push(Flow { client, server, sender, receiver, starts, arrived: Vec::new() });
    }

    /// Changes the bottleneck.
    pub(crate) fn set(&mut self, there: Impairment) {
        self.there.set(there);
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Lets time pass until `end` after the beginning.
    pub(crate) fn run_until(&mut self, end: Duration) {
        let end = self.start + end;
        while self.now < end {
            for index in 0..self.flows.len() {
                self.step(index);
            }
            let sampled = self.start + Duration::from_millis(10) * self.queue.len() as u32;
            if self.now >= sampled {
                let queueing = self.there.queueing(self.now);
                self.queue.push(queueing);
            }
            let mut next = sampled.min(end);
            next = self.in_flight.peek().map_or(next, |first| next.min(first.due));
            for flow in &mut self.flows {
                let timers = [flow.client.deadline(), flow.server.deadline(), flow.sender.deadline(self.start + flow.starts)];
                next = timers.into_iter().flatten().fold(next, Instant::min);
            }
            self.now = next.max(self.now + Duration::from_micros(1));
            while self.in_flight.peek().is_some_and(|first| first.due <= self.now) {
                if let Some(packet) = self.in_flight.pop() {
                    self.arrive(packet);
                }
            }
        }
    }

    fn arrive(&mut self, packet: InFlight) {
        let second = self.elapsed().as_secs() as usize;
        let flow = &mut self.flows[packet.flow];
        let (end, from) =
            if packet.to_server { (&mut flow.server, flow.client.address) } else { (&mut flow.client, flow.server.address) };
        if packet.to_server {
            flow.arrived.resize(flow.arrived.len().max(second + 1), 0);
            flow.arrived[second] += (packet.data.len() + HEADERS) as u64;
        }
        end.receive(self.now, from, &packet.data);
    }

    /// Timers, traffic, and what they make a flow send.
    fn step(&mut self, index: usize) {
        let (now, begins) = (self.now, self.start + self.flows[index].starts);
        if now < begins {
            return;
        }
        let flow = &mut self.flows[index];
        for end in [&mut flow.client, &mut flow.server] {
            end.expire(now);
        }
        if let Some((_, connection)) = &mut flow.client.connection {
            while let Some(event) = connection.poll() {
                if let Event::ConnectionLost { reason } = event {
                    panic!("the connection was lost: {reason}");
                }
            }
            if !connection.is_handshaking() {
                flow.sender.send(now, begins, connection);
            }
        }
        if let Some((_, connection)) = &mut flow.server.connection {
            flow.receiver.receive(now, begins, connection);
        }
        for to_server in [true, false] {
            let (end, path) = if to_server {
                (&mut self.flows[index].client, &mut self.there)
            } else {
                (&mut self.flows[index].server, &mut self.back)
            };
            for data in end.transmit(now) {
                if let Verdict::Deliver(due) = path.send(now, data.len() + HEADERS) {
                    self.number += 1;
                    self.in_flight.push(InFlight { due, number: self.number, flow: index, to_server, data });
                }
            }
        }
    }

    /// What became of the media of a flow, from `from` after its beginning to the end.
    pub(crate) fn report(&self, flow: usize, from: Duration) -> Report {
        let flow = &self.flows[flow];
        Report::new(&flow.sender, &flow.receiver, from)
    }

    /// 95 of 100 samples of the bottleneck's queue are not above it.
    pub(crate) fn queue_p95(&self, from: Duration) -> Duration {
        let mut samples: Vec<_> = self.queue.iter().skip(from.as_millis() as usize / 10).copied().collect();
        samples.sort_unstable();
        samples.get(samples.len() * 95 / 100).copied().unwrap_or_default()
    }

    /// Bits per second of a flow, headers included, between two seconds of the world.
    pub(crate) fn throughput(&self, flow: usize, seconds: std::ops::Range<usize>) -> f64 {
        let arrived = &self.flows[flow].arrived;
        let span = seconds.len() as f64;
        seconds.filter_map(|second| arrived.get(second)).sum::<u64>() as f64 * 8.0 / span
    }

    /// Seconds that the bottleneck's queue holds now.
    pub(crate) fn queue_now(&mut self) -> f64 {
        self.there.queueing(self.now).as_secs_f64()
    }

    /// What a flow's congestion controller says of itself.
    pub(crate) fn controller(&self, flow: usize) -> Option<ControllerMetrics> {
        let connection = self.flows[flow].client.connection.as_ref();
        connection.map(|(_, connection)| connection.congestion_state().metrics())
    }
}

impl End {
    fn deadline(&mut self) -> Option<Instant> {
        self.connection.as_mut().and_then(|(_, connection)| connection.poll_timeout())
    }

    fn expire(&mut self, now: Instant) {
        if let Some((handle, connection)) = &mut self.connection {
            if connection.poll_timeout().is_some_and(|at| at <= now) {
                connection.handle_timeout(now);
            }
            while let Some(event) = connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(*handle, event) {
                    connection.handle_event(event);
                }
            }
        }
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, data: &[u8]) {
        let mut response = Vec::new();
        match self.endpoint.handle(now, from, None, None, BytesMut::from(data), &mut response) {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = self.endpoint.accept(incoming, now, &mut response, None);
                self.connection = accepted.ok();
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    fn transmit(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        if let Some((_, connection)) = &mut self.connection {
            self.transmit.clear();
            while let Some(transmit) = connection.poll_transmit(now, 10, &mut self.transmit) {
                let all = &self.transmit[..transmit.size];
                datagrams.extend(all.chunks(transmit.segment_size.unwrap_or(transmit.size)).map(<[u8]>::to_vec));
                self.transmit.clear();
            }
        }
        datagrams
    }
}

/// A certificate of its own for each flow.
struct ServerEnd {
    certificate: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl ServerEnd {
    fn new() -> Self {
        Self { certificate: rcgen::generate_simple_self_signed(vec!["link".to_owned()]).expect("a name is enough") }
    }

    fn into_parts(self, transport: Arc<TransportConfig>) -> (ServerConfig, RootCertStore) {
        let certificate = self.certificate.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(self.certificate.signing_key.serialize_der());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("it was made here");
        let mut config = ServerConfig::with_single_cert(vec![certificate], key.into()).expect("they belong together");
        config.transport_config(transport);
        (config, roots)
    }
}

/// As links set their transport up.
fn transport(controller: Arc<dyn ControllerFactory + Send + Sync>) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .initial_mtu(MTU)
        .min_mtu(MTU)
        .mtu_discovery_config(None)
        .max_concurrent_uni_streams(VarInt::from_u32(4_096))
        .receive_window(VarInt::from_u32(64 << 20))
        .stream_receive_window(VarInt::from_u32(32 << 20))
        .send_window(64 << 20)
        .datagram_send_buffer_size(64 << 10)
        .max_idle_timeout(None)
        .congestion_controller_factory(controller);
    Arc::new(config)
}
