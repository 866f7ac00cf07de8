//! What forwarding costs here and elsewhere: the same crowd, of `weir load`'s own client, visits one server after the other, each in a
//! process of its own, and the CPU time of that process is divided by the packets that arrived. Servers take turns within a run,
//! because a machine's speed changes with what else it does: the ratio counts, not the microseconds.
//!
//! `cargo bench --bench peers -- [--subscribers 50,100] [--rounds 2] [--warm-up 6] [--seconds 15] [--rate 4600000] [--fps 50]`
//!
//! `WEIR_BINARY` names another `weir` than the one that cargo has built beside the bench. What is compared with: Janus (VideoRoom),
//! as Debian packages it, once as it is installed and once with `event_loops`. It takes no part on loopback, so everything happens
//! in a network namespace. Latency is that of packets whose capture time reaches the other side: Janus 1.1 takes it off.
//! mediasoup is not among them: building its worker downloads sources that no package registry has.
//! All share the machine's cores with the crowd; the column `generator` says how much of one the crowd took. What weir does beside
//! (transport-wide feedback of each subscriber, estimate, pacing, retransmission history) is part of its figure.

#![allow(clippy::indexing_slicing, clippy::unwrap_used)] // a bench that is wrong should stop

mod gateway;
mod network;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod turned;

use std::time::Duration;

use weir::load::drive;
use weir::load::layout::Layout;
use weir::load::plan::{Exchange, Plan};
use weir::load::report::Sample;
use weir::load::scenario::{Camera, Scenario};
use weir::load::server::Meter;

use servers::{Kind, Server};
use support::usage::Usage;
use table::Row;

/// How the bench is run.
struct Options {
    subscribers: Vec<u32>,
    rounds: u32,
    warm_up: Duration,
    seconds: u64,
    rate: u64,
    fps: u32,
}

impl Options {
    fn from_arguments() -> Self {
        let words: Vec<String> = std::env::args().collect();
        let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
        let number = |name: &str, default: u64| value(name).map_or(default, |text| text.parse().expect("a number"));
        let crowds = value("--subscribers").map_or("50,100", String::as_str);
        Self {
            subscribers: crowds.split(',').map(|crowd| crowd.parse().expect("numbers")).collect(),
            rounds: number("--rounds", 2) as u32,
            warm_up: Duration::from_secs(number("--warm-up", 6)),
            seconds: number("--seconds", 15),
            rate: number("--rate", 4_600_000),
            fps: number("--fps", 50) as u32,
        }
    }
}

fn main() {
    if let Some(missing) = servers::missing().or_else(network::missing) {
        eprintln!("peers: {missing}");
        std::process::exit(1);
    }
    network::enter();
    let options = Options::from_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    println!(
        "1 publisher: video of {} kb/s in {} frames/s, packets of 1150 bytes of payload, and a voice of 50 packets/s\n",
        options.rate / 1_000,
        options.fps
    );
    println!("{}", table::HEAD);
    let mut rows: Vec<Row> = Vec::new();
    for &subscribers in &options.subscribers {
        for _ in 0..options.rounds {
            for kind in Kind::ALL {
                match runtime.block_on(visit(&options, kind, subscribers)) {
                    Ok(row) => {
                        println!("{row}");
                        rows.push(row);
                    }
                    Err(why) => println!("{:<22} {subscribers:>4}  failed: {why}", kind.name()),
                }
            }
        }
    }
    println!("{}", table::summary(&rows));
}

/// Starts a server, lets the crowd visit it, and measures while all are there.
async fn visit(options: &Options, kind: Kind, subscribers: u32) -> Result<Row, String> {
    let server = Server::start(kind).await?;
    let empty = Usage::of(server.pid);
    let scenario = Scenario {
        publishers: 1,
        subscribers,
        camera: Camera::Lines(720),
        simulcast: false,
        fps: options.fps,
        rate: Some(options.rate),
        layouts: vec![Layout::All],
        ..Scenario::default()
    };
    let plan = Plan {
        scenario,
        servers: vec![server.url.clone()],
        tokens: server.tokens.clone(),
        http: Some(Exchange {
            whip: Some(format!("{}/whip/load", server.url)),
            whep: Some(format!("{}/whep/load", server.url)),
        }),
        ramp: 20.0,
        duration: options.warm_up + Duration::from_secs(options.seconds),
        threads: 1,
        verify: false,
        limit_bps: None,
        meter: Meter::default(),
    };
    let mut looks: Vec<(Sample, Usage)> = Vec::new();
    let look = |sample: &Sample| {
        if sample.steady {
            looks.push((*sample, Usage::of(server.pid)));
        }
    };
    let report = drive::run(plan, look, std::future::pending()).await?;
    let warm = looks.first().map_or(0.0, |(sample, _)| sample.at) + options.warm_up.as_secs_f64();
    looks.retain(|(sample, _)| sample.at >= warm);
    Row::of(kind, subscribers, &empty, &looks, &report).ok_or_else(|| {
        let failures: Vec<&str> = report.joins.failures.keys().map(String::as_str).collect();
        format!("nothing was measured ({})", failures.join("; "))
    })
}
