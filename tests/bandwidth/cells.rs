//! The paths that are tried, and how their results are shown.

use super::world::{Path, Report, Source, run};

/// One path and what is sent over it.
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) path: Path,
    pub(crate) source: Source,
    pub(crate) seconds: u64,
}

/// An encoder that would take as much as there is.
pub(crate) fn elastic() -> Source {
    Source::Elastic(5_000_000)
}

/// As a browser sends them.
pub(crate) fn layers() -> Source {
    Source::Layers(vec![150_000, 500_000, 1_500_000])
}

/// Layers that lie close together, as of a picture with little motion.
pub(crate) fn near() -> Source {
    Source::Layers(vec![170_000, 300_000, 640_000])
}

/// 3 Mbps, 300 kbps from 20 s on, 3 Mbps again from 40 s on.
pub(crate) fn steps(queue_ms: u64) -> Path {
    Path { capacity: vec![(0, 3_000_000), (20, 300_000), (40, 3_000_000)], queue_ms, ..Path::plain(0) }
}

pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut add = |name: String, path: Path, source: Source, seconds| cells.push(Cell { name, path, source, seconds });
    for queue_ms in [50, 150, 300, 500] {
        add(format!("steps-{queue_ms}"), steps(queue_ms), elastic(), 60);
        add(format!("steps-layers-{queue_ms}"), steps(queue_ms), layers(), 60);
    }
    for loss in [0.0, 0.01, 0.02, 0.05, 0.1] {
        add(format!("loss-{}", (loss * 100.0) as u32), Path { loss, ..Path::plain(1_000_000) }, elastic(), 60);
    }
    for loss in [0.02, 0.1] {
        add(format!("loss-layers-{}", (loss * 100.0) as u32), Path { loss, ..Path::plain(3_000_000) }, layers(), 60);
    }
    for queue_ms in [50, 150, 300, 500] {
        let path = Path { competitor: Some((20, 60)), queue_ms, ..Path::plain(2_000_000) };
        add(format!("tcp-{queue_ms}"), path, elastic(), 80);
    }
    for feedback_loss in [0.1, 0.3] {
        let path = Path { feedback_loss, ..steps(150) };
        add(format!("feedback-loss-{}", (feedback_loss * 100.0) as u32), path.clone(), elastic(), 60);
        add(format!("feedback-loss-layers-{}", (feedback_loss * 100.0) as u32), path, layers(), 60);
    }
    for bucket in [0, 3_000, 10_000, 30_000] {
        let path = Path { queue_ms: 200, rtt_ms: 10, bucket, ..Path::plain(500_000) };
        add(format!("limited-{bucket}"), path, near(), 60);
    }
    for queue_ms in [100, 200, 300] {
        let path = Path { capacity: vec![(0, 5_000_000), (15, 400_000)], queue_ms, rtt_ms: 10, ..Path::plain(0) };
        add(format!("narrowed-{queue_ms}"), path, near(), 40);
    }
    add("rtt-200".into(), Path { rtt_ms: 200, ..Path::plain(1_000_000) }, elastic(), 60);
    cells
}

/// Runs one with a seed.
pub(crate) fn result(cell: &Cell, seed: u64) -> Report {
    run(&cell.path, &cell.source, cell.seconds, seed)
}

pub(crate) fn table() {
    println!(
        "| path | used, 5 s on | in the narrow part | queue p50, p95 ms | voice p95 ms | to 80 % again, s | beside | freezes, from 5 s | padding | dropped by path, pacer |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for cell in cells() {
        let report = result(&cell, 7);
        let all = 5..cell.seconds as usize;
        let steps = cell.path.capacity.len() > 1;
        let narrow = if steps { format!("{:.2}", report.utilisation(23..40)) } else { "".into() };
        let top = match &cell.source {
            Source::Elastic(rate) => *rate,
            Source::Layers(layers) => layers.last().copied().unwrap_or_default(),
        };
        let goal = cell.path.capacity[0].1.min(top) * 8 / 10;
        let again = match steps {
            true => report.arrived_at(40, goal),
            false => report.arrived_at(0, goal),
        };
        let again = again.map_or("never".into(), |s: usize| s.to_string());
        let beside = cell.path.competitor.map_or(String::new(), |(from, until)| {
            let span = from as usize + 5..until as usize;
            format!("{:.2} : {:.2}", report.rate(span.clone()) / 1e6, report.others(span) / 1e6)
        });
        println!(
            "| {} | {:.2} | {narrow} | {:.0}, {:.0} | {:.0} | {again} | {beside} | {} | {:.3} | {}, {} |",
            cell.name,
            report.utilisation(all),
            report.queue(0.5, 5..cell.seconds),
            report.queue(0.95, 5..cell.seconds),
            report.voice(0.95),
            report.freezes.iter().filter(|&&at| at >= 5).count(),
            report.padding as f64 / report.sent as f64,
            report.dropped_in_queue,
            report.dropped_by_pacer,
        );
    }
}

pub(crate) fn trace(name: &str, seed: u64) {
    for cell in cells().iter().filter(|cell| cell.name == name) {
        let report = result(cell, seed);
        for (at, second) in report.seconds.iter().enumerate() {
            println!(
                "{at:3} s  capacity {:4}  arrived {:4}  estimate {:4}  layer {}  others {:4}  queue p95 {:3.0} ms",
                second.capacity / 1_000,
                second.arrived / 1_000,
                second.estimate / 1_000,
                second.layer,
                second.others / 1_000,
                report.queue(0.95, at as u64..at as u64 + 1),
            );
        }
        println!("freezes at {:?}", report.freezes);
    }
}
