//! What forwarding costs: one publisher, many subscribers, one shard, over loopback in one process. Reports CPU time and,
//! where `perf` can count, instructions per forwarded packet of the shard's thread alone, beside a floor in the same run: a
//! thread that seals the same packets and sends them in the same runs, and does nothing else.
//!
//! `cargo bench --bench fanout -- [--subscribers 50] [--seconds 8] [--gather-ms 0] [--bursts 1,10]`

#![allow(clippy::indexing_slicing)] // a bench that is wrong should stop

mod client;
mod floor;
mod meter;
#[allow(dead_code)] // made for tests too, which also use TCP
#[path = "../../tests/support/client.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use weir::edge::media::{Command, Event, Origin, TrackSpec, ViewItem};
use weir::edge::peer::Certificate;
use weir::edge::plan::{DtlsPlan, ExtensionIds, IceCredentials, IcePlan, MediaPlan, PayloadType, ReceivePlan, SendPlan, Slot};
use weir::id::{MemberId, RoomId, ShardId, TrackId};
use weir::load::member::{Happened, Role};
use weir::load::publisher::Published;
use weir::load::worker::{self, Worker};
use weir::rtp::clock::{Epoch, NtpTime};
use weir::rtp::{Codec, Kind, LayerInfo, Source};
use weir::shard::{self, Inbox, pipe};
use weir::units::{Bitrate, PixelHeight};

const TRACK: TrackId = TrackId(1);
const PUBLISHED_SSRC: u32 = 0x1111_1111;

/// How the bench is run.
struct Options {
    subscribers: u32,
    seconds: u64,
    gather: Duration,
    bursts: Vec<u32>,
}

impl Options {
    fn from_arguments() -> Self {
        let words: Vec<String> = std::env::args().collect();
        let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
        let number = |name: &str, default: u64| value(name).map_or(default, |text| text.parse().expect("a number"));
        let bursts = value("--bursts").map_or("1,10", String::as_str);
        Self {
            subscribers: number("--subscribers", 50) as u32,
            seconds: number("--seconds", 8),
            gather: Duration::from_millis(number("--gather-ms", 0)),
            bursts: bursts.split(',').map(|burst| burst.parse().expect("numbers")).collect(),
        }
    }
}

/// One row of the report.
struct Row {
    what: String,
    burst: u32,
    forwarded: u64,
    received: u64,
    cost: meter::Cost,
}

fn main() {
    let options = Options::from_arguments();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut rows = Vec::new();
    for &burst in &options.bursts {
        rows.push(runtime.block_on(forwarding(&options, burst)));
        rows.push(floor::run(options.subscribers, options.seconds, burst));
    }
    println!(
        "\n1 publisher, 500 packets/s of 1200 bytes, {} subscribers, AES-128-GCM, gather {:?}, per forwarded packet:\n",
        options.subscribers, options.gather
    );
    println!(
        "{:<8} {:>5} {:>10} {:>9} {:>8} {:>10} {:>12} {:>14}",
        "what", "burst", "packets", "arrived", "CPU us", "in kernel", "user instr", "kernel instr"
    );
    for row in &rows {
        let arrived = row.received as f64 / row.forwarded.max(1) as f64 * 100.0;
        let (cpu, user, kernel) = row.cost.per(row.forwarded);
        let count = |value: Option<f64>| value.map_or("not counted".to_owned(), |value| format!("{value:.0}"));
        println!(
            "{:<8} {:>5} {:>10} {:>8.2}% {:>8.2} {:>9.0}% {:>12} {:>14}",
            row.what,
            row.burst,
            row.forwarded,
            arrived,
            cpu,
            row.cost.in_kernel * 100.0,
            count(user),
            count(kernel)
        );
    }
    for pair in rows.chunks(2) {
        if let [weir, floor] = pair {
            let ratio = weir.cost.per(weir.forwarded).0 / floor.cost.per(floor.forwarded).0;
            println!("\nbursts of {}: {ratio:.2} x the floor's CPU", weir.burst);
        }
    }
}

/// Runs a shard with real peers for a while and measures its thread.
async fn forwarding(options: &Options, burst: u32) -> Row {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let server = socket.local_addr().expect("bound");
    let certificate = Arc::new(Certificate::generate().expect("a certificate"));
    let (command, commands) = mpsc::channel(shard::COMMANDS_DEPTH);
    let (inbox, messages) = mpsc::channel(shard::INBOX_DEPTH);
    let (events, mut heard) = mpsc::channel::<(ShardId, Event)>(65_536);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let epoch = Epoch { instant: Instant::now(), ntp: NtpTime::from_unix(unix) };
    let handle = shard::start(shard::Start {
        id: ShardId(0),
        socket,
        certificate: Arc::clone(&certificate),
        epoch,
        pipes: pipe::mesh(1).remove(0),
        commands,
        inbox: messages,
        events,
        gather: options.gather,
        budget: Bitrate::mbps(100),
        loudest: 3,
        full_percent: 0,
    })
    .expect("a shard");
    let drain = tokio::spawn(async move { while heard.recv().await.is_some() {} });

    let room = RoomId::new("bench");
    let client_certificate = Arc::new(Certificate::generate().expect("a certificate"));
    let (happens, mut happened) = mpsc::channel(1_024);
    let subscribers = Worker::start(0, epoch, Arc::clone(&client_certificate), happens).expect("a thread");
    let mut tasks = Vec::new();
    let publisher = MemberId(0);
    for index in 0..=options.subscribers {
        let member = MemberId(u64::from(index));
        let plan = plan(index, &client_certificate);
        let tell = |told| command.send(told);
        tell(Command::AddPeer { member, room: room.clone() }).await.expect("the shard runs");
        tell(Command::Configure { member, plan: Box::new(plan.clone()) }).await.expect("the shard runs");
        if member == publisher {
            let track = TrackSpec {
                id: TRACK,
                room: room.clone(),
                kind: Kind::Video,
                source: Source::Camera,
                layers: vec![LayerInfo { height: PixelHeight(720), ..LayerInfo::default() }],
                muted: false,
                origin: Origin::Member(publisher),
            };
            tell(Command::AddTrack { track }).await.expect("the shard runs");
            let (certificate, of_server) = (Arc::clone(&client_certificate), certificate.fingerprint());
            tasks.push(client::publisher(server, &plan, certificate, of_server, burst, PUBLISHED_SSRC).await);
        } else {
            tell(Command::Bind { member, slot: Slot(0), track: Some(TRACK) }).await.expect("the shard runs");
            let item = ViewItem { track: TRACK, height: PixelHeight(720), visible: true, priority: 0 };
            tell(Command::View { member, items: vec![item] }).await.expect("the shard runs");
            let role = Box::new(Role {
                published: Published { audio: None, video: Vec::new() },
                lines: [None, None],
                seed: rand::random(),
                verify: false,
                asked: Instant::now(),
                began: Instant::now(),
            });
            let settled = Box::new(client::settled(server, &plan, certificate.fingerprint()));
            subscribers.tell(worker::Command::Configure { key: index.into(), role, settled }).await;
            assert_eq!(happened.recv().await, Some((index.into(), Happened::Connected)));
        }
    }
    let joins = meter::cpu_ns_of("shard-0") as f64 / 1e6 / f64::from(options.subscribers + 1);
    println!("{} members joined: {joins:.2} ms of the shard's CPU each (ICE, DTLS, first plan)", options.subscribers + 1);
    // Until everybody has had a keyframe.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let forwarded = || async {
        let (reply, stats) = oneshot::channel();
        inbox.send(Inbox::Stats { reply }).await.expect("the shard runs");
        stats.await.expect("the shard answers").rtp_out
    };
    let (before, received_before) = (forwarded().await, subscribers.read().await.heard.video.received);
    let meter = meter::Meter::start("shard-0", options.seconds);
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let cost = tokio::task::spawn_blocking(move || meter.stop()).await.expect("measured");
    let (after, received_after) = (forwarded().await, subscribers.read().await.heard.video.received);
    inbox.send(Inbox::Stop).await.expect("the shard runs");
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    tokio::task::spawn_blocking(move || handle.join()).await.expect("joined");
    drain.abort();
    Row { what: "weir".into(), burst, forwarded: after - before, received: received_after - received_before, cost }
}

/// What signaling would have agreed with client `index`; 0 publishes.
fn plan(index: u32, client: &Certificate) -> MediaPlan {
    let credentials = |side: &str| IceCredentials {
        ufrag: format!("00{side}{index:013x}"),
        pwd: format!("{side}-password-of-client-{index:08}"),
    };
    let publishes = index == 0;
    let receive =
        ReceivePlan { mid: "0".into(), track: TRACK, kind: Kind::Video, rids: Vec::new(), ssrcs: vec![(PUBLISHED_SSRC, None)] };
    let send = SendPlan {
        slot: Slot(0),
        mid: "0".into(),
        kind: Kind::Video,
        ssrc: 0x2000_0000 + index,
        rtx_ssrc: Some(0x3000_0000 + index),
    };
    MediaPlan {
        ice: IcePlan { local: credentials("a"), remote: credentials("b") },
        dtls: DtlsPlan { we_are_client: false, fingerprints: vec![client.fingerprint()] },
        extensions: ExtensionIds { mid: Some(1), transport_cc: Some(3), abs_send_time: Some(2), ..ExtensionIds::default() },
        payload_types: vec![PayloadType { pt: 96, codec: Codec::Vp8, rtx: Some(97), fmtp: String::new() }],
        receive: publishes.then_some(receive).into_iter().collect(),
        send: (!publishes).then_some(send).into_iter().collect(),
        sctp: None,
    }
}

/// A socket on loopback that is not read by the shard.
fn client_socket(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.connect(server).expect("loopback");
    socket.set_nonblocking(true).expect("a socket");
    socket
}
