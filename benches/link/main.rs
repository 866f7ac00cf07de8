//! What one hop over a link costs: CPU of the sending and of the receiving thread per RTP packet, beside plain UDP that carries
//! the same packets at the same pace in the same run. Also the bytes around a packet, and the memory of a flow and of a track.
//!
//! ```text
//! cargo bench --bench link                      bursts of 10 and single packets, 10 s each
//! cargo bench --bench link -- --seconds 3 --bursts 10
//! ```
//!
//! The floor sends each burst as one GSO send and reads with recvmmsg and GRO; it neither seals nor acknowledges, nor repeats
//! what was lost.

#![allow(clippy::indexing_slicing, reason = "a bench may stop at what is wrong")]

#[path = "../fanout/meter.rs"]
#[allow(dead_code, reason = "the other bench uses more of it")]
mod meter;

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use weir::cascade::link::send::{Class, Network, Outgoing, Sender};
use weir::cascade::mesh::{self, Mesh};
use weir::cascade::quic::{Config, Event, Links};
use weir::cascade::tls::Tls;
use weir::cascade::topology::Topology;
use weir::cascade::wire::TrackInfo;
use weir::cluster::{NodeInfo, Role};
use weir::id::{NodeId, RegionId, RoomId, TrackId};
use weir::router::Router;
use weir::rtp::{Codec, Epoch, Extensions, Header, Kind, LayerInfo, NtpTime, Packet};

/// Of a packet, with its RTP header.
const SIZE: usize = 1_200;

/// Bursts come at this pace, single packets at half of it.
const PACE: Duration = Duration::from_millis(2);

/// Flows that take turns.
const FLOWS: u32 = 8;

struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    bytes_out: AtomicU64,
    bytes_back: AtomicU64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let told = |name: &str| arguments.iter().position(|given| given == name).and_then(|at| arguments.get(at + 1));
    let seconds = told("--seconds").and_then(|text| text.parse().ok()).unwrap_or(10);
    let bursts: Vec<u32> = told("--bursts")
        .map(|text| text.split(',').filter_map(|burst| burst.parse().ok()).collect())
        .unwrap_or_else(|| vec![10, 1]);
    println!(
        "{:<6} {:>5} {:>9} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "what", "burst", "packets", "arrived", "send us", "recv us", "both us", "around B"
    );
    for burst in bursts {
        let link = measure("link", burst, seconds, link_threads(burst));
        let floor = measure("udp", burst, seconds, udp_threads(burst));
        println!("bursts of {burst}: {:.2} x plain UDP's CPU\n", link / floor);
    }
    println!("memory of a flow that has sent a frame: {} bytes", memory_of_a_flow());
    println!(
        "memory of a video track of three layers that a core knows: {} bytes; what it passes on is kept for 3 s",
        memory_of_a_track()
    );
}

/// Lets two threads warm up, and measures them. Says microseconds per packet, both together.
fn measure(what: &str, burst: u32, seconds: u64, (shared, threads): (Arc<Shared>, Vec<JoinHandle<()>>)) -> f64 {
    std::thread::park_timeout(Duration::from_secs(2));
    let names = [format!("{what}-send"), format!("{what}-recv")];
    let cpu = || names.each_ref().map(|name| meter::cpu_ns_of(name));
    let counts = || [&shared.sent, &shared.received, &shared.bytes_out, &shared.bytes_back].map(|count| count.load(Relaxed));
    let (cpu_before, before) = (cpu(), counts());
    std::thread::park_timeout(Duration::from_secs(seconds));
    let (cpu_after, after) = (cpu(), counts());
    shared.stop.store(true, Relaxed);
    for thread in threads {
        thread.join().expect("it ends");
    }
    let [sent, received, out, back] = std::array::from_fn(|n| after[n] - before[n]);
    let packets = sent.max(1) as f64;
    let [send, receive] = std::array::from_fn(|n| (cpu_after[n] - cpu_before[n]) as f64 / 1_000.0 / packets);
    let around = (out + back) as f64 / packets - SIZE as f64;
    println!(
        "{what:<6} {burst:>5} {sent:>9} {:>7.2}% {send:>9.2} {receive:>9.2} {:>9.2} {around:>9.1}",
        received as f64 / packets * 100.0,
        send + receive
    );
    send + receive
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.into()).spawn(work).expect("a thread")
}

fn shared() -> Arc<Shared> {
    let zero = || AtomicU64::new(0);
    Arc::new(Shared { stop: AtomicBool::new(false), sent: zero(), received: zero(), bytes_out: zero(), bytes_back: zero() })
}

fn pace(burst: u32) -> Duration {
    if burst == 1 { PACE / 2 } else { PACE }
}

/// The packet of a flow: `frame` and the place in it.
fn packet(seq: u64, frame: u32, last: bool) -> Packet {
    let header =
        Header { marker: last, pt: 96, seq: seq as u16, timestamp: frame * 3_000, ssrc: 1, extension: None, payload: 0..0 };
    let mut payload = vec![seq as u8; SIZE - 12];
    payload[..4].copy_from_slice(&[0x90, 0x80, frame as u8 & 0x7F, 0x10]);
    Packet::new(Instant::now(), Codec::Vp8, seq, &header, Extensions::default(), Bytes::from(payload))
}

fn node(id: &str) -> NodeInfo {
    NodeInfo {
        id: NodeId::new(id),
        region: RegionId::new("r"),
        role: Role::Both,
        incarnation: 1,
        draining: false,
        url: None,
        addr: None,
    }
}

fn links(id: &str, tls: Tls) -> Links {
    let me = node(id);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let clock = Epoch { instant: Instant::now(), ntp: NtpTime::from_unix(unix) };
    Links::bind(Config { socket, tls, me, epoch: 1, clock }).expect("links")
}

/// As a task, like a shard: each waking of the root future is a system call.
fn on_a_runtime(work: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let task = runtime.spawn(work);
    runtime.block_on(task).expect("it ends");
}

fn link_threads(burst: u32) -> (Arc<Shared>, Vec<JoinHandle<()>>) {
    let nodes: Vec<_> = ["a", "b"].map(|node| (NodeId::new(node), RegionId::new("r"))).into();
    let mut tls = Tls::ephemeral("bench", &nodes, SystemTime::now()).expect("certificates");
    let (tls_b, tls_a) = (tls.pop().expect("two"), tls.pop().expect("two"));
    let shared = shared();
    let (tell, told) = std::sync::mpsc::sync_channel::<SocketAddr>(1);
    let of_receiver = Arc::clone(&shared);
    let receiver = spawn("link-recv", move || {
        on_a_runtime(async move {
            let mut links = links("b", tls_b);
            tell.send(links.local_addr().expect("bound")).expect("heard");
            receive(&mut links, &of_receiver).await;
        });
    });
    let addr = told.recv().expect("told");
    let of_sender = Arc::clone(&shared);
    let sender = spawn("link-send", move || {
        on_a_runtime(async move {
            let mut links = links("a", tls_a);
            links.dial(Instant::now(), NodeId::new("b"), RegionId::new("r"), addr.to_string());
            send(&mut links, &of_sender, burst).await;
        });
    });
    (shared, vec![receiver, sender])
}

async fn receive(links: &mut Links, shared: &Shared) {
    let count = |event: Event| shared.received.fetch_add(u64::from(matches!(event, Event::Media { .. })), Relaxed);
    let mut noted = Instant::now();
    while !shared.stop.load(Relaxed) {
        let now = Instant::now();
        let until = links.deadline(now).unwrap_or(now + PACE).max(now + Duration::from_micros(100));
        tokio::select! {
            event = links.next() => drop(count(event)),
            () = tokio::time::sleep_until(until.into()) => {}
        }
        while let Some(event) = links.try_next() {
            count(event);
        }
        let now = Instant::now();
        links.flush(now);
        if now - noted > Duration::from_millis(200) {
            noted = now;
            let link = links.link_to(&NodeId::new("a"));
            let status = link.and_then(|link| links.status(now, link));
            shared.bytes_back.store(status.map_or(0, |status| status.bytes_out), Relaxed);
        }
    }
}

async fn send(links: &mut Links, shared: &Shared, burst: u32) {
    let (mut link, mut next, mut frame, mut seqs) = (None, Instant::now(), 0u32, [0u64; FLOWS as usize]);
    while !shared.stop.load(Relaxed) {
        let now = Instant::now();
        let until = links.deadline(now).unwrap_or(next).min(next).max(now);
        tokio::select! {
            event = links.next() => if let Event::Up { link: up, .. } = event { link = Some(up) },
            () = tokio::time::sleep_until(until.into()) => {}
        }
        while links.try_next().is_some() {}
        let now = Instant::now();
        if let Some(link) = link.filter(|_| now >= next) {
            next += pace(burst);
            let flow = frame % FLOWS;
            for n in 0..burst {
                let seq = &mut seqs[flow as usize];
                // Single packets are parts of frames of ten too.
                let (timestamp, last) = if burst == 1 { (*seq as u32 / 10, *seq % 10 == 9) } else { (frame, n + 1 == burst) };
                links.media(now, link, flow, Class::Base, 7, &packet(*seq, timestamp, last));
                *seq += 1;
            }
            frame += 1;
            if frame % 50 == 0 {
                let status = links.status(now, link).expect("it is up");
                shared.bytes_out.store(status.bytes_out, Relaxed);
                shared.sent.store(status.packets_out, Relaxed);
            }
        }
        links.flush(Instant::now());
    }
}

fn udp_threads(burst: u32) -> (Arc<Shared>, Vec<JoinHandle<()>>) {
    let shared = shared();
    let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let (from, to) = (bind(), bind());
    let destination = to.local_addr().expect("bound");
    to.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket");
    let of_receiver = Arc::clone(&shared);
    let receiver = spawn("udp-recv", move || {
        on_a_runtime(async move {
            let state = UdpSocketState::new((&to).into()).expect("a socket");
            let to = tokio::net::UdpSocket::from_std(to).expect("a socket");
            let mut buffers = vec![vec![0u8; 65_536]; BATCH_SIZE];
            let mut metas = [RecvMeta::default(); BATCH_SIZE];
            while !of_receiver.stop.load(Relaxed) {
                let _ = tokio::time::timeout(Duration::from_millis(100), to.readable()).await;
                let mut slices: Vec<IoSliceMut<'_>> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
                let read = to.try_io(tokio::io::Interest::READABLE, || state.recv((&to).into(), &mut slices, &mut metas));
                for meta in metas.iter().take(read.unwrap_or(0)) {
                    of_receiver.received.fetch_add(meta.len.div_ceil(meta.stride.max(1)) as u64, Relaxed);
                }
            }
        });
    });
    let of_sender = Arc::clone(&shared);
    let sender = spawn("udp-send", move || {
        on_a_runtime(async move {
            let state = UdpSocketState::new((&from).into()).expect("a socket");
            let (mut next, mut seq, mut buffer) = (Instant::now(), 0u64, Vec::new());
            while !of_sender.stop.load(Relaxed) {
                tokio::time::sleep_until(next.into()).await;
                next += pace(burst);
                buffer.clear();
                for n in 0..burst {
                    weir::cascade::link::rtp::write(&mut buffer, 7, &packet(seq, seq as u32 / 10, n + 1 == burst));
                    seq += 1;
                }
                let segment_size = (burst > 1).then_some(SIZE);
                let transmit = Transmit { destination, ecn: None, contents: &buffer, segment_size, src_ip: None };
                let _ = state.try_send((&from).into(), &transmit);
                of_sender.sent.fetch_add(u64::from(burst), Relaxed);
                of_sender.bytes_out.fetch_add(buffer.len() as u64, Relaxed);
            }
        });
    });
    (shared, vec![receiver, sender])
}

/// By the growth of the process over many flows.
fn memory_of_a_flow() -> u64 {
    const MANY: u32 = 16_000;
    let (now, payload) = (Instant::now(), [0; 500]);
    let mut sender = Sender::default();
    sender.update(now, Network { budget: 1 << 40, ..Network::default() });
    let before = resident();
    for flow in 0..MANY {
        let packet = Outgoing {
            flow,
            class: Class::Base,
            stream: 1,
            timestamp: 0,
            starts_keyframe: true,
            marker: true,
            head: &payload[..12],
            payload: &payload,
        };
        sender.push(now, &packet);
        while sender.next_action().is_some() {}
    }
    let grown = resident().saturating_sub(before);
    drop(sender);
    grown / u64::from(MANY)
}

/// In the mesh and the router of a core. By the growth of the process over many tracks.
fn memory_of_a_track() -> u64 {
    const MANY: u64 = 16_000;
    let now = Instant::now();
    let me = node("core");
    let mut mesh = Mesh::new(me, Arc::new(Topology::single()), now, 1);
    let mut router = Router::new(1);
    let (mut done, mut fed) = (Vec::new(), Vec::new());
    let before = resident();
    for track in 0..MANY {
        let info = TrackInfo {
            id: TrackId(track),
            room: RoomId::new(format!("room-{}", track % 1_000)),
            kind: Kind::Video,
            layers: vec![LayerInfo::default(); 3],
            origin: NodeId::new("edge"),
            incarnation: 1,
        };
        mesh.handle(now, mesh::Input::Track { info, from: None }, &mut done);
        for output in done.drain(..) {
            if let mesh::Output::Router(input) = output {
                router.handle(now, input, &mut fed);
            }
        }
        fed.clear();
    }
    let grown = resident().saturating_sub(before);
    assert_eq!(router.counts().0 as u64, MANY, "it knows them all");
    grown / MANY
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}
