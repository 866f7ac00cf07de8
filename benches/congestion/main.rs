//! How links carry media under weir's controller and under quinn's own, over bad paths, in virtual time: real QUIC connections, a
//! modelled path. One run of fixed seed a cell.
//!
//! `cargo bench --bench congestion -- [--seconds 30] [--only ours,cubic] [--cell 2] [--trace]`

#![allow(clippy::indexing_slicing)] // a bench that is wrong should stop

mod ours;
mod traffic;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::congestion::{BbrConfig, ControllerFactory, CubicConfig, NewRenoConfig};
use weir::impair::Impairment;

use ours::Ours;
use traffic::Sender;
use world::World;

/// What links of the design's table carry.
const DEMAND: u64 = 10_000_000;

/// The first moments are not counted: connections are made.
const WARM_UP: Duration = Duration::from_secs(2);

/// One bad path, 80 ms there and back.
struct Cell {
    name: &'static str,
    there: Impairment,
    demand: u64,
    /// Rates to change to, at such seconds.
    steps: &'static [(u64, u32)],
}

fn cells() -> Vec<Cell> {
    let plain = Impairment { delay_ms: 40.0, rate_kbps: 30_000, queue_ms: 100, ..Impairment::default() };
    let cell = |name, there| Cell { name, there, demand: DEMAND, steps: &[] };
    let narrow = Impairment { rate_kbps: 8_000, ..plain };
    vec![
        cell("no loss", plain),
        cell("loss 0.1 %", Impairment { loss: 0.001, ..plain }),
        cell("loss 1 %", Impairment { loss: 0.01, ..plain }),
        cell("loss 2 %", Impairment { loss: 0.02, ..plain }),
        cell("loss 5 %", Impairment { loss: 0.05, ..plain }),
        cell("loss 10 %", Impairment { loss: 0.1, ..plain }),
        cell("2 % in bursts of 4", Impairment { loss: 0.02, burst: 4.0, ..plain }),
        cell("jitter 10 ms", Impairment { jitter_ms: 10.0, ..plain }),
        cell("12 Mbps: just enough", Impairment { rate_kbps: 12_000, ..plain }),
        Cell {
            name: "10, 3, 10 Mbps",
            there: Impairment { rate_kbps: 10_000, ..plain },
            demand: 8_000_000,
            steps: &[(10, 3_000), (20, 10_000)],
        },
        cell("10 into 8", narrow),
        cell("10 into 8, queue 500 ms", Impairment { queue_ms: 500, ..narrow }),
        cell("10 into 8, queue 20 ms", Impairment { queue_ms: 20, ..narrow }),
        cell("10 into 8, loss 2 %", Impairment { loss: 0.02, ..narrow }),
    ]
}

type Factory = Arc<dyn ControllerFactory + Send + Sync>;

const CONTROLLERS: &[&str] = &["ours", "cubic", "newreno", "bbr"];

fn controller(name: &str, demand: u64) -> Factory {
    match name {
        "ours" => Arc::new(Ours::new(demand, demand)),
        "cubic" => Arc::new(CubicConfig::default()),
        "newreno" => Arc::new(NewRenoConfig::default()),
        "bbr" => Arc::new(BbrConfig::default()),
        other => panic!("no controller is called {other}; there are: {}", CONTROLLERS.join(", ")),
    }
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let value = |name: &str| words.iter().position(|word| word == name).and_then(|at| words.get(at + 1));
    let seconds: u64 = value("--seconds").map_or(30, |text| text.parse().expect("a number"));
    let only: Vec<&str> = value("--only").map_or(CONTROLLERS.to_vec(), |names| names.split(',').collect());
    let cell: Option<usize> = value("--cell").map(|text| text.parse().expect("a number"));
    let trace = words.iter().any(|word| word == "--trace");
    let began = Instant::now();

    println!(
        "\n10 Mbps of media (4 tracks, 30 fps, voice) over 80 ms RTT and 30 Mbps unless named, {seconds} s a cell, loss both ways."
    );
    println!("Frames complete within 150/250 ms of capture; track 1: the most important one; delay of what was complete.\n");
    println!(
        "{:<24} {:<8} {:>11} {:>8} {:>11} {:>11} {:>10} {:>6}",
        "path", "by", "150/250 ms", "track 1", "p50/p95 ms", "voice, p99", "queue p95", "used"
    );
    for (index, there) in cells().iter().enumerate() {
        if cell.is_some_and(|cell| cell != index) {
            continue;
        }
        for name in &only {
            measured(there, name, seconds, trace);
        }
    }
    if cell.is_none_or(|cell| cell == 99) {
        shares(&only, trace);
    }
    println!("\n{:.1} s", began.elapsed().as_secs_f64());
}

fn measured(cell: &Cell, name: &str, seconds: u64, trace: bool) {
    let back = Impairment { rate_kbps: 0, ..cell.there };
    let mut world = World::new(cell.there, back, 1);
    world.add(controller(name, cell.demand), Sender::media(cell.demand, 1), Duration::ZERO);
    let (mut capacity, mut rate) = (0, cell.there.rate_kbps);
    for tenth in 1..=seconds * 10 {
        if let Some((_, kbps)) = cell.steps.iter().find(|(at, _)| at * 10 == tenth - 1) {
            rate = *kbps;
            world.set(Impairment { rate_kbps: rate, ..cell.there });
        }
        capacity += u64::from(rate) * 100;
        world.run_until(Duration::from_millis(100 * tenth));
        if trace {
            traced(&mut world, 1);
        }
    }
    let report = world.report(0, WARM_UP);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let used = world.throughput(0, 0..seconds as usize) * seconds as f64 / capacity as f64;
    println!(
        "{:<24} {:<8} {:>5.1}/{:>5.1} {:>8.1} {:>5.0}/{:>5.0} {:>5.1}, {:>4.0} {:>7.0} ms {:>4.0} %",
        cell.name,
        name,
        report.within[0] * 100.0,
        report.within[1] * 100.0,
        report.first_track * 100.0,
        ms(report.p50),
        ms(report.p95),
        report.voices * 100.0,
        ms(report.voice_p99),
        ms(world.queue_p95(WARM_UP)),
        used * 100.0,
    );
}

/// A line of what the controllers believe, beside the truth.
fn traced(world: &mut World, flows: usize) {
    print!("{:>6.1} s  queue {:>4.0} ms", world.elapsed().as_secs_f64(), world.queue_now() * 1e3);
    for flow in 0..flows {
        if let Some(metrics) = world.controller(flow) {
            let rate = metrics.pacing_rate.unwrap_or(0) as f64 / 1e6;
            let seen = metrics.ssthresh.unwrap_or(0) / 1_000;
            print!("  | window {:>7}, rate {rate:>6.2} Mbps, sees {seen:>3} ms", metrics.congestion_window);
        }
    }
    println!();
}

/// Two flows over one bottleneck of 10 Mbps; the second begins 5 s later. Mbps of each from 30 s to 60 s.
fn shares(only: &[&str], trace: bool) {
    println!("\nTwo flows over 10 Mbps, 80 ms, the second 5 s later; Mbps of each from 30 to 60 s:\n");
    println!("{:<24} {:<24} {:>8} {:>8} {:>10}", "first", "second", "first", "second", "queue p95");
    let show = |first: &str, second: &str, queue_ms: u32| {
        let there = Impairment { delay_ms: 40.0, rate_kbps: 10_000, queue_ms, ..Impairment::default() };
        let mut world = World::new(there, Impairment { rate_kbps: 0, ..there }, 3);
        for (name, starts) in [(first, 0), (second, 5)] {
            let sender = if name == "ours" { Sender::media(DEMAND, 1) } else { Sender::bulk() };
            world.add(controller(name, DEMAND), sender, Duration::from_secs(starts));
        }
        for tenth in 1..=600 {
            world.run_until(Duration::from_millis(100 * tenth));
            if trace {
                traced(&mut world, 2);
            }
        }
        let [a, b] = [0, 1].map(|flow| world.throughput(flow, 30..60) / 1e6);
        let kind = |name: &str| format!("{name} ({})", if name == "ours" { "media" } else { "bulk" });
        let queue = world.queue_p95(Duration::from_secs(30)).as_secs_f64() * 1e3;
        println!("{:<24} {:<24} {a:>8.1} {b:>8.1} {queue:>7.0} ms, of {queue_ms} ms", kind(first), kind(second));
    };
    if only.contains(&"ours") {
        for (first, second, queue) in [
            ("ours", "ours", 200),
            ("ours", "cubic", 50),
            ("ours", "cubic", 100),
            ("cubic", "ours", 100),
            ("ours", "cubic", 500),
        ] {
            show(first, second, queue);
        }
    }
    show("cubic", "cubic", 100);
}
