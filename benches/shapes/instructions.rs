//! Instructions of the server's process for each packet that it sends, counted by valgrind's callgrind: the same from run to run on any
//! machine, which no time is. The kernel's are not among them, and a server that is fifty times slower finds more packets waiting each time that
//! it looks, so batches are larger than they would be; what members say of themselves and of their paths is included.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::runtime::Runtime;
use weir::load::drive;
use weir::load::http::Http;
use weir::load::layout::Layout;
use weir::load::plan::Plan;
use weir::load::report::Sample;
use weir::load::scenario::{Camera, Scenario};
use weir::load::server::Meter;
use weir::rtp::Kind;

use super::support::weir::{Weir, binary};
use super::{Options, Shape, plan, shapes};

/// What a server bears that is so slow, beside those of [`more`].
const SMALL: [&str; 3] = ["talk-10", "talk-100", "show-10"];
/// What comes with the joins is over by then: keyframes, and the search for the rate of a path.
const SETTLE: Duration = Duration::from_secs(10);
/// Joins per second.
const RAMP: f64 = 4.0;
const HEAD: &str = "shape          members  out pkt/s  instr/pkt  lost voice/picture    p99 ms";

fn more() -> [Shape; 2] {
    let rooms = Scenario { rooms: 5, members: 4, camera: Camera::Lines(180), ..Scenario::default() };
    let show = Scenario {
        publishers: 1,
        subscribers: 25,
        camera: Camera::Lines(360),
        simulcast: false,
        layouts: vec![Layout::All],
        ..Scenario::default()
    };
    [
        Shape { name: "show-25", what: "360p and a voice for 25", scenario: show, ramp: RAMP },
        Shape { name: "rooms-5", what: "5 rooms of 4", scenario: rooms, ramp: RAMP },
    ]
}

pub(super) fn print(runtime: &Runtime, options: &Options) {
    println!("{HEAD}");
    let named = |shape: &Shape| !options.only.is_empty() || SMALL.contains(&shape.name);
    let all = shapes().into_iter().filter(named).chain(more());
    for shape in all.filter(|shape| options.wants(shape.name)) {
        match runtime.block_on(visit(options, &shape)) {
            Ok(row) => println!("{row}"),
            Err(why) => println!("{:<12} failed: {why}", shape.name),
        }
    }
}

async fn visit(options: &Options, shape: &Shape) -> Result<String, String> {
    let folder = Folder::create()?;
    let counts = folder.0.join("counts");
    let mut command = Command::new("valgrind");
    command
        .args(["--quiet", "--tool=callgrind", "--fair-sched=try"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(binary());
    // It is as slow as one that has too much to do, and should take everybody in all the same.
    let server =
        Weir::start_by(command, Ipv4Addr::LOCALHOST, &["--shards", &options.shards, "--set", "limits.busy_percent=100"])
            .await?;
    let (there, all_there) = tokio::sync::oneshot::channel();
    let window = Duration::from_secs(options.seconds);
    let (pid, meter) = (server.pid(), Meter { pids: Vec::new(), pages: vec![server.metrics.clone()] });
    let counted = tokio::spawn(async move {
        all_there.await.map_err(|_| "not all came".to_owned())?;
        tokio::time::sleep(SETTLE).await;
        let before = packets(&meter).await?;
        dump(pid).await?;
        tokio::time::sleep(window).await;
        let after = packets(&meter).await?;
        dump(pid).await.map(|()| after - before)
    });
    let mut there = Some(there);
    let look = |sample: &Sample| {
        if sample.steady {
            let _ = there.take().map(|there| there.send(()));
        }
    };
    // Both dumps take some seconds.
    let plan = Plan { ramp: RAMP, duration: SETTLE + window * 3 + SETTLE, ..plan(options, shape, &server) };
    let report = drive::run(plan, look, std::future::pending()).await?;
    drop(there);
    let packets = counted.await.map_err(|error| error.to_string())??;
    let executed = total(&counts.with_extension("2"))?;
    let lost = |kind| {
        let heard = report.heard.of(kind);
        format!("{:.3} %", 100.0 * heard.lost as f64 / heard.expected.max(1) as f64)
    };
    let p99 = report.latency.iter().find(|latency| latency.hops == 0).map(|latency| latency.ms.p99);
    Ok(format!(
        "{:<14} {:>7} {:>10.0} {:>10.0} {:>10}/{:<10} {:>7}",
        shape.name,
        report.joins.connected,
        packets / window.as_secs_f64(),
        executed / packets.max(1.0),
        lost(Kind::Audio),
        lost(Kind::Video),
        p99.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}")),
    ))
}

/// Where valgrind writes; ends with the value.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("weir-instructions-{}", std::process::id()));
        std::fs::create_dir_all(&path).map(|()| Self(path.clone())).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How many packets it has sent.
async fn packets(meter: &Meter) -> Result<f64, String> {
    meter.read(&Http::default()).await?.packets.ok_or_else(|| "the server does not say what it sent".to_owned())
}

/// Has what was counted so far written, and counting begin anew.
async fn dump(pid: u32) -> Result<(), String> {
    let run =
        tokio::task::spawn_blocking(move || Command::new("callgrind_control").args(["--dump", &pid.to_string()]).output());
    let done = run.await.map_err(|error| error.to_string())?.map_err(|error| format!("callgrind_control: {error}"))?;
    if done.status.success() {
        Ok(())
    } else {
        Err(format!("callgrind_control: {}", String::from_utf8_lossy(&done.stderr).trim()))
    }
}

/// What a dump says was executed.
fn total(dump: &Path) -> Result<f64, String> {
    let text = std::fs::read_to_string(dump).map_err(|error| format!("{}: {error}", dump.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")));
    line.and_then(|line| line.trim().parse().ok()).ok_or_else(|| format!("{}: no total", dump.display()))
}
