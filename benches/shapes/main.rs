//! What calls of different shapes cost a `weir serve` of its own process: from one camera for many to many rooms of few, and how that
//! grows with the members. The crowd is `weir load`'s, on the same machine, over loopback; the column `crowd` says how busy its
//! busiest thread was, and near 1.00 the row says more of it than of the server.
//!
//! `cargo bench --bench shapes -- [--only talk,rooms] [--seconds 15] [--threads 1] [--shards 1] [--instructions] [--list]`
//!
//! `--instructions` counts what the server's process executes, by valgrind, instead of timing it: of small shapes, as that is fifty times
//! slower.
//!
//! `WEIR_BINARY` names another `weir` than the one that cargo has built beside the bench. Columns: CPU of the whole process in cores and per
//! packet that it sent, while all were there; milliseconds of CPU for each join, and joins per second; what a member holds more of memory
//! than before it came; delay within the server and the sockets around it.

#![allow(clippy::indexing_slicing, clippy::unwrap_used)] // a bench that is wrong should stop

#[path = "../support/mod.rs"]
mod support;

mod instructions;
mod ramp;
mod sockets;

use std::net::Ipv4Addr;
use std::time::Duration;

use weir::load::drive;
use weir::load::layout::Layout;
use weir::load::plan::Plan;
use weir::load::report::{Report, Sample};
use weir::load::scenario::{Camera, Scenario};
use weir::load::server::Meter;
use weir::rtp::Kind;

use support::usage::Usage;
use support::weir::Weir;

/// A call, or many of one kind.
struct Shape {
    /// `--only` names the part before the dash.
    name: &'static str,
    what: &'static str,
    scenario: Scenario,
    /// Joins per second.
    ramp: f64,
}

/// How the bench is run.
struct Options {
    only: Vec<String>,
    seconds: u64,
    threads: usize,
    shards: String,
    instructions: bool,
}

fn shapes() -> Vec<Shape> {
    let one = |camera, subscribers| Scenario {
        publishers: 1,
        subscribers,
        camera,
        simulcast: false,
        layouts: vec![Layout::All],
        ..Scenario::default()
    };
    let silent = |subscribers| Scenario { publishers: 0, ..one(Camera::Off, subscribers) };
    let rooms = |rooms, members, camera| Scenario { rooms, members, camera, ..Scenario::default() };
    let shape = |name, what, scenario, ramp| Shape { name, what, scenario, ramp };
    vec![
        shape("idle-100", "nobody sends", silent(100), 50.0),
        shape("idle-1000", "nobody sends", silent(1_000), 50.0),
        shape("talk-10", "a voice for 10", one(Camera::Off, 10), 20.0),
        shape("talk-100", "a voice for 100", one(Camera::Off, 100), 50.0),
        shape("talk-1000", "a voice for 1000", one(Camera::Off, 999), 50.0),
        shape("show-10", "720p and a voice for 10", one(Camera::Lines(720), 10), 20.0),
        shape("show-50", "720p and a voice for 50", one(Camera::Lines(720), 50), 50.0),
        shape("show-100", "720p and a voice for 100", one(Camera::Lines(720), 100), 50.0),
        shape("show-200", "720p and a voice for 200", one(Camera::Lines(720), 200), 50.0),
        shape("show-500", "720p and a voice for 500", one(Camera::Lines(720), 500), 50.0),
        shape("show-800", "720p and a voice for 800", one(Camera::Lines(720), 800), 50.0),
        shape("shows-2", "720p and a voice for 500, twice", Scenario { rooms: 2, ..one(Camera::Lines(720), 500) }, 20.0),
        shape("call-20", "20 see each other", rooms(1, 20, Camera::Lines(720)), 20.0),
        shape("mics-100", "100 open microphones", rooms(1, 100, Camera::Off), 20.0),
        shape("groups-20", "20 rooms of 20 open microphones", rooms(20, 20, Camera::Off), 40.0),
        shape("rooms-50", "50 rooms of 4", rooms(50, 4, Camera::Lines(360)), 40.0),
        shape("rooms-100", "100 rooms of 4", rooms(100, 4, Camera::Lines(180)), 40.0),
        shape("rooms-150", "150 rooms of 4", rooms(150, 4, Camera::Lines(180)), 40.0),
        shape("rooms-200", "200 rooms of 4", rooms(200, 4, Camera::Lines(180)), 40.0),
    ]
}

/// These have figures of their own.
const SOCKETS: &str = "sockets";
const IDLE: usize = 10_000;
const RAMP: &str = "ramp";
const RAMP_ROOMS: u32 = 20;

const HEAD: &str = "shape          members  joins/s  ms/join  KiB each  out pkt/s  cores  µs/pkt  lost voice/picture    p50 ms   p99 ms  crowd";

impl Options {
    fn from_arguments() -> Self {
        let words: Vec<String> = std::env::args().collect();
        let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
        if words.iter().any(|word| word == "--list") {
            for shape in shapes() {
                println!("{:<12} {}", shape.name, shape.what);
            }
            println!("{SOCKETS:<12} {IDLE} members who only hold their socket");
            println!("{RAMP:<12} {RAMP_ROOMS} rooms of 20, more than one shard bears, beside a call that is there before");
            std::process::exit(0);
        }
        Self {
            only: value("--only").map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default(),
            seconds: value("--seconds").map_or(15, |text| text.parse().expect("--seconds takes a number")),
            threads: value("--threads").map_or(1, |text| text.parse().expect("--threads takes a number")),
            shards: value("--shards").cloned().unwrap_or_else(|| "1".to_owned()),
            instructions: words.iter().any(|word| word == "--instructions"),
        }
    }

    fn wants(&self, shape: &str) -> bool {
        let kind = shape.split('-').next().unwrap_or_default();
        self.only.is_empty() || self.only.iter().any(|name| name == shape || name == kind)
    }
}

fn main() {
    let options = Options::from_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    if options.instructions {
        return instructions::print(&runtime, &options);
    }
    println!("{HEAD}");
    for shape in shapes().iter().filter(|shape| options.wants(shape.name)) {
        match runtime.block_on(visit(&options, shape)) {
            Ok(row) => println!("{row}"),
            Err(why) => println!("{:<12} failed: {why}", shape.name),
        }
    }
    for name in [SOCKETS, RAMP].into_iter().filter(|name| options.wants(name)) {
        let said = runtime.block_on(async {
            let server = Weir::start(Ipv4Addr::LOCALHOST, &["--shards", &options.shards]).await?;
            match name {
                RAMP => ramp::visit(&server, RAMP_ROOMS).await,
                _ => sockets::visit(&server, IDLE, options.seconds).await,
            }
        });
        println!("{}", said.unwrap_or_else(|why| format!("{name} failed: {why}")));
    }
}

/// Starts a server, lets the crowd visit it, and measures while all are there.
async fn visit(options: &Options, shape: &Shape) -> Result<String, String> {
    let server = Weir::start(Ipv4Addr::LOCALHOST, &["--shards", &options.shards]).await?;
    let empty = Usage::of(server.pid());
    let plan = plan(options, shape, &server);
    let mut looks: Vec<Usage> = Vec::new();
    let look = |sample: &Sample| {
        if sample.steady {
            looks.push(Usage::of(server.pid()));
        }
    };
    let report = drive::run(plan, look, std::future::pending()).await?;
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else { return Err("not all came".to_owned()) };
    Ok(row(shape, &report, [&empty, first, last]))
}

fn plan(options: &Options, shape: &Shape, server: &Weir) -> Plan {
    Plan {
        scenario: shape.scenario.clone(),
        servers: vec![server.url.clone()],
        tokens: server.tokens.clone(),
        http: None,
        ramp: shape.ramp,
        duration: Duration::from_secs(options.seconds),
        threads: options.threads,
        verify: false,
        limit_bps: None,
        meter: Meter { pids: Vec::new(), pages: vec![server.metrics.clone()] },
    }
}

fn row(shape: &Shape, report: &Report, [empty, joined, last]: [&Usage; 3]) -> String {
    let members = report.joins.connected;
    // What was forwarded while they came is taken off at what it costs once they are there.
    let server = report.server.unwrap_or_default();
    let steady = report.steady_seconds.max(1.0);
    let join_seconds = members as f64 / report.joins.per_second.max(1e-9);
    let forwarding = server.cores * join_seconds / 2.0;
    let per_join = (joined.cpu - empty.cpu - forwarding).max(0.0) * 1_000.0 / members.max(1) as f64;
    let idle = server.packets < 1.0;
    let lost = |kind| {
        let heard = report.heard.of(kind);
        format!("{:.3} %", 100.0 * heard.lost as f64 / heard.expected.max(1) as f64)
    };
    let delay = report.latency.iter().filter(|latency| latency.hops == 0).max_by_key(|latency| latency.ms.count);
    let time = |of: Option<f64>| of.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"));
    format!(
        "{:<14} {members:>7} {:>8.1} {per_join:>8.2} {:>9.0} {:>10.0} {:>6.2} {:>7} {:>10}/{:<10} {:>7} {:>8} {:>6.2}{}",
        shape.name,
        report.joins.per_second,
        (last.resident_kib - empty.resident_kib) / members.max(1) as f64,
        server.packets / steady,
        server.cores,
        if idle { "-".to_owned() } else { format!("{:.2}", server.cpu_us_per_packet) },
        lost(Kind::Audio),
        lost(Kind::Video),
        time(delay.map(|latency| latency.ms.p50)),
        time(delay.map(|latency| latency.ms.p99)),
        report.generator.busiest,
        if report.joins.failed > 0 { format!("  {} failed", report.joins.failed) } else { String::new() },
    )
}
