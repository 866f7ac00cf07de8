//! Figures as they are printed.

use std::fmt;

use weir::load::report::{Report, Sample};

use super::servers::Kind;
use super::support::usage::Usage;

/// Over the columns of [`Row`].
pub(crate) const HEAD: &str =
    "server               subs  us/packet  cores  packets/s each    loss   p50 ms  p99 ms  KiB/sub  AES-GCM  generator";

/// One visit.
pub(crate) struct Row {
    kind: Kind,
    subscribers: u32,
    /// While measured: CPU time of the server and packets that arrived.
    cpu: f64,
    packets: f64,
    lost: f64,
    seconds: f64,
    /// Median of the seconds' own percentiles, where packets say when they were sent.
    latency_ms: Option<(f64, f64)>,
    /// Above the empty server's, in KiB.
    memory: f64,
    /// Connected, and of these with AES-GCM.
    connected: u64,
    aes_gcm: u64,
    /// Cores.
    generator: f64,
}

impl Row {
    /// Of seconds that were measured.
    pub(crate) fn of(kind: Kind, subscribers: u32, empty: &Usage, looks: &[(Sample, Usage)], report: &Report) -> Option<Self> {
        let ((first, before), (last, after)) = (looks.first()?, looks.last()?);
        let (seconds, packets) = (last.at - first.at, last.received.saturating_sub(first.received) as f64);
        if seconds <= 0.0 || packets <= 0.0 {
            return None;
        }
        let each = || looks.iter().skip(1).map(|(sample, _)| sample);
        let count = each().count().max(1) as f64;
        // A share of what was to come: of that, `1 - loss` came.
        let lost = each().map(|sample| sample.loss.min(0.999)).map(|loss| packets / count * loss / (1.0 - loss)).sum();
        let median = |value: fn(&Sample) -> Option<f64>| {
            let mut values: Vec<f64> = each().filter_map(value).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        Some(Self {
            kind,
            subscribers,
            cpu: after.cpu - before.cpu,
            packets,
            lost,
            seconds,
            latency_ms: median(|sample| sample.p50_ms).zip(median(|sample| sample.p99_ms)),
            memory: after.resident_kib - empty.resident_kib,
            connected: report.joins.connected,
            aes_gcm: report.joins.aes_gcm,
            generator: each().map(|sample| sample.generator_cores).sum::<f64>() / count,
        })
    }

    fn each(&self) -> f64 {
        self.cpu * 1e6 / self.packets
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency =
            self.latency_ms.map_or([String::from("-"), "-".into()], |(p50, p99)| [p50, p99].map(|ms| format!("{ms:.1}")));
        write!(
            f,
            "{:<20} {:>4} {:>10.2} {:>6.2} {:>15.1} {:>6.2}% {:>8} {:>7} {:>8.0} {:>8} {:>10.2}",
            self.kind.name(),
            self.subscribers,
            self.each(),
            self.cpu / self.seconds,
            self.packets / self.seconds / f64::from(self.subscribers.max(1)),
            self.lost / (self.lost + self.packets) * 100.0,
            latency[0],
            latency[1],
            self.memory / f64::from(self.subscribers.max(1)),
            format!("{}/{}", self.aes_gcm, self.connected),
            self.generator,
        )
    }
}

/// All rounds of a server together, beside weir's.
pub(crate) fn summary(rows: &[Row]) -> String {
    let mut out = String::from("\nAll rounds:\n");
    let mut crowds: Vec<u32> = rows.iter().map(|row| row.subscribers).collect();
    crowds.dedup();
    for crowd in crowds {
        let cost = |kind: Kind| {
            let visits = rows.iter().filter(|row| row.kind == kind && row.subscribers == crowd);
            let (cpu, packets) = visits.fold((0.0, 0.0), |(cpu, packets), row| (cpu + row.cpu, packets + row.packets));
            (packets > 0.0).then(|| cpu * 1e6 / packets)
        };
        let Some(ours) = cost(Kind::Weir) else { continue };
        let others: Vec<(Kind, f64)> =
            Kind::ALL.into_iter().filter(|kind| *kind != Kind::Weir).filter_map(|kind| Some((kind, cost(kind)?))).collect();
        out.push_str(&format!("  1 to {crowd}: weir {ours:.2} us per packet"));
        for (kind, cost) in &others {
            out.push_str(&format!("; {} {cost:.2} ({:.2} x weir)", kind.name(), cost / ours));
        }
        if let Some(best) = others.iter().map(|(_, cost)| *cost).min_by(f64::total_cmp) {
            out.push_str(&format!("; weir / best peer = {:.2}", ours / best));
        }
        out.push('\n');
    }
    out
}
