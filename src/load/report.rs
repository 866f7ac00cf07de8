//! What a run came to: figures of the whole and of each second, as data that is printed, drawn and written as JSON. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::rtp::Kind;

use super::account::{ByKind, Heard, Histogram, Latencies, MAX_HOPS, Said};
use super::subscriber::LAYERS;

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Of weir, that made the load.
    pub version: &'static str,
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// What was asked for, in words: name and value.
    pub settings: Vec<(&'static str, String)>,
    /// From the first join to the last leave, and the part of it in which all were there.
    pub seconds: f64,
    pub steady_seconds: f64,
    pub joins: Joins,
    /// What subscribers had, over the whole run.
    pub heard: ByKind<Heard>,
    /// What publishers sent, over the whole run.
    pub said: ByKind<Said>,
    /// From publisher to subscriber, while all were there.
    pub latency: Vec<Latency>,
    pub server: Option<Server>,
    pub generator: Generator,
    /// One a second.
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Joins {
    pub asked: u64,
    /// Were let into their room.
    pub entered: u64,
    /// Had their media up.
    pub connected: u64,
    /// Of these, whose media is sealed with AES-GCM; the others' is with AES-CM and HMAC-SHA1.
    pub aes_gcm: u64,
    pub failed: u64,
    /// From the first that asked to the last that was connected.
    pub per_second: f64,
    /// From opening the socket until the room was entered, until media was up, and until the first packet and the first keyframe came.
    pub enter_ms: Times,
    pub connect_ms: Times,
    pub first_packet_ms: Times,
    pub first_keyframe_ms: Times,
    /// How often for which reason.
    pub failures: BTreeMap<String, u64>,
}

/// Percentiles, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Times {
    pub count: u64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub most: f64,
}

impl Times {
    pub fn of(histogram: &Histogram) -> Self {
        let at = |share| histogram.percentile(share).map_or(0.0, ms);
        Self { count: histogram.count(), p50: at(0.5), p95: at(0.95), p99: at(0.99), most: ms(histogram.most()) }
    }
}

/// How long packets took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    pub kind: Kind,
    /// Links between servers that they crossed; the last stands for longer ways too.
    pub hops: usize,
    pub ms: Times,
    /// What each link adds to the median of those that crossed none.
    pub per_link_ms: Option<f64>,
}

impl Latency {
    /// What it is the latency of.
    pub fn name(&self) -> String {
        let kind = if self.kind == Kind::Audio { "audio" } else { "video" };
        match self.hops {
            0 => format!("{kind}, within one server"),
            1 => format!("{kind}, over 1 link"),
            MAX_HOPS => format!("{kind}, over {MAX_HOPS} links or more"),
            hops => format!("{kind}, over {hops} links"),
        }
    }
}

/// What the server used while all were there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Server {
    pub cpu_seconds: f64,
    /// Mean, in cores.
    pub cores: f64,
    /// That it says it forwarded; else, that our subscribers received.
    pub packets: f64,
    pub cpu_us_per_packet: f64,
    pub resident_mib: Option<f64>,
}

/// The crowd itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Generator {
    pub threads: usize,
    /// Of the busiest thread, while all were there; near 1, the figures are the generator's.
    pub busiest: f64,
    pub send_errors: u64,
}

/// One second.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sample {
    /// Since the run began, in seconds.
    pub at: f64,
    /// Everybody has joined, and nobody has left.
    pub steady: bool,
    pub connected: u64,
    pub failed: u64,
    pub received_bps: f64,
    pub sent_bps: f64,
    pub packets: f64,
    /// Packets of media received since the run began.
    pub received: u64,
    /// Of what was to come in this second, 0 to 1.
    pub loss: f64,
    pub freezes: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// Pictures by layer, smallest first.
    pub layers: [u64; LAYERS],
    /// In cores.
    pub server_cores: Option<f64>,
    pub generator_cores: f64,
}

/// Per kind and number of links, what is known of latency.
pub fn latencies(latencies: &Latencies) -> Vec<Latency> {
    let of = |kind| (0..=MAX_HOPS).filter_map(move |hops| Some((kind, hops, latencies.of(kind, hops)?)));
    let known = [Kind::Audio, Kind::Video].into_iter().flat_map(of).filter(|(.., histogram)| histogram.count() > 0);
    let mut all: Vec<Latency> =
        known.map(|(kind, hops, histogram)| Latency { kind, hops, ms: Times::of(histogram), per_link_ms: None }).collect();
    for kind in [Kind::Audio, Kind::Video] {
        let Some(near) = all.iter().find(|latency| latency.kind == kind && latency.hops == 0).map(|latency| latency.ms.p50)
        else {
            continue;
        };
        for latency in all.iter_mut().filter(|latency| latency.kind == kind && latency.hops > 0) {
            latency.per_link_ms = Some((latency.ms.p50 - near) / latency.hops as f64);
        }
    }
    all
}

/// In milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// A share of what was expected, 0 to 1.
pub fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

impl Report {
    /// The final table.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: String| out.push_str(&format!("  {name:<22} {value}\n"));
        let joins = &self.joins;
        line(
            "joined",
            format!(
                "{} of {}, {} failed; {:.1}/s; in the room after {} ms, media after {} ms (p50/p95/p99)",
                joins.connected,
                joins.asked,
                joins.failed,
                joins.per_second,
                three(&joins.enter_ms),
                three(&joins.connect_ms)
            ),
        );
        for (why, count) in &joins.failures {
            line("", format!("{count} × {why}"));
        }
        if joins.first_packet_ms.count > 0 {
            let keyframe = match joins.first_keyframe_ms.count {
                0 => String::new(),
                _ => format!(", first keyframe {} ms", three(&joins.first_keyframe_ms)),
            };
            line("first packet", format!("{} ms{keyframe}", three(&joins.first_packet_ms)));
        }
        for kind in [Kind::Audio, Kind::Video] {
            let (heard, said) = (self.heard.of(kind), self.said.of(kind));
            if said.packets + heard.expected == 0 {
                continue;
            }
            let name = if kind == Kind::Audio { "audio" } else { "video" };
            line(
                name,
                format!(
                    "sent {}, expected {}, received {}, lost {} ({:.3} %), late {}, twice {}, repaired {}",
                    said.packets,
                    heard.expected,
                    heard.received,
                    heard.lost,
                    share(heard.lost, heard.expected) * 100.0,
                    heard.late,
                    heard.duplicate,
                    heard.repaired
                ),
            );
            if kind == Kind::Video && heard.expected > 0 {
                line(
                    "pictures",
                    format!(
                        "{} frames, {} freezes ({:.1} s), {} stand still; keyframes: {} sent, {} asked of publishers, {} by subscribers",
                        heard.frames,
                        heard.freezes,
                        heard.frozen_ms as f64 / 1e3,
                        heard.stalled,
                        said.keyframes,
                        said.keyframes_asked,
                        heard.keyframes_asked
                    ),
                );
            }
            if heard.broken > 0 {
                line(
                    "",
                    format!(
                        "{} of {} opened packets were forged or not decipherable",
                        heard.broken,
                        heard.broken + heard.verified
                    ),
                );
            }
        }
        for latency in &self.latency {
            let Times { p50, p95, p99, most, .. } = latency.ms;
            let link = latency.per_link_ms.map(|ms| format!("; {ms:.2} for each link")).unwrap_or_default();
            let name = latency.name();
            line("latency", format!("{name}: p50 {p50:.2} ms, p95 {p95:.2}, p99 {p99:.2}, most {most:.1}{link}"));
        }
        let steady: Vec<&Sample> = self.samples.iter().filter(|sample| sample.steady).collect();
        if !steady.is_empty() {
            let mean = |value: fn(&Sample) -> f64| steady.iter().map(|sample| value(sample)).sum::<f64>() / steady.len() as f64;
            line(
                "rate",
                format!(
                    "{} in, {} out, {:.0} packets/s",
                    bits(mean(|sample| sample.received_bps)),
                    bits(mean(|sample| sample.sent_bps)),
                    mean(|sample| sample.packets)
                ),
            );
        }
        if let Some(server) = &self.server {
            let memory = server.resident_mib.map(|mib| format!(", {mib:.0} MiB")).unwrap_or_default();
            line(
                "server",
                format!("{:.2} µs of CPU per forwarded packet, {:.2} cores{memory}", server.cpu_us_per_packet, server.cores),
            );
        }
        let Generator { threads, busiest, send_errors } = self.generator;
        line("generator", format!("{threads} threads, the busiest {:.0} % busy, {send_errors} failed sends", busiest * 100.0));
        if busiest > BUSY {
            line("", "it was too busy to trust the latencies: give it more --threads, or a machine of its own".to_owned());
        }
        out
    }
}

/// From here on a thread's own work shows in what it measures.
pub const BUSY: f64 = 0.85;

fn three(times: &Times) -> String {
    format!("{:.0}/{:.0}/{:.0}", times.p50, times.p95, times.p99)
}

/// A bit rate in words.
pub fn bits(bps: f64) -> String {
    crate::units::Bitrate(bps as u64).to_string()
}

/// A run that never was, for tests of what shows one.
#[cfg(test)]
pub(crate) fn example() -> Report {
    let mut histogram = Histogram::default();
    (1..=100).for_each(|ms| histogram.record(Duration::from_millis(ms)));
    let times = Times::of(&histogram);
    let sample = |second: u32| Sample {
        at: f64::from(second),
        steady: second > 2,
        connected: u64::from(second.min(4)),
        received_bps: 1e6 * f64::from(second % 7),
        sent_bps: 2e6,
        packets: 300.0,
        p50_ms: Some(1.0 + f64::from(second % 3)),
        p99_ms: (second > 1).then_some(9.0),
        server_cores: Some(0.5),
        layers: [1, 2, 3, 0],
        ..Sample::default()
    };
    Report {
        version: "0.0.0",
        began: 1_800_000_000,
        settings: vec![("rooms", "1".into()), ("url", "http://<localhost>&co".into())],
        seconds: 30.0,
        steady_seconds: 27.0,
        joins: Joins {
            asked: 5,
            entered: 4,
            connected: 4,
            aes_gcm: 4,
            failed: 1,
            per_second: 2.0,
            enter_ms: times,
            connect_ms: times,
            first_packet_ms: times,
            first_keyframe_ms: times,
            failures: BTreeMap::from([("the server is full".to_owned(), 1)]),
        },
        heard: ByKind {
            audio: Heard::default(),
            video: Heard { expected: 1_000, received: 990, lost: 10, frames: 100, ..Heard::default() },
        },
        said: ByKind { audio: Said::default(), video: Said { packets: 1_000, ..Said::default() } },
        latency: vec![
            Latency { kind: Kind::Video, hops: 0, ms: times, per_link_ms: None },
            Latency { kind: Kind::Video, hops: 1, ms: times, per_link_ms: Some(0.0) },
        ],
        server: Some(Server {
            cpu_seconds: 13.5,
            cores: 0.5,
            packets: 5_400_000.0,
            cpu_us_per_packet: 2.5,
            resident_mib: None,
        }),
        generator: Generator { threads: 1, busiest: 0.93, send_errors: 0 },
        samples: (0..30).map(sample).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_happened_and_leaves_out_what_did_not() {
        let report = example();
        let table = report.table();
        for said in [
            "4 of 5",
            "1 × the server is full",
            "lost 10 (1.000 %)",
            "1 link: p50",
            "0.00 for each link",
            "2.50 µs",
            "too busy",
        ] {
            assert!(table.contains(said), "{said} in\n{table}");
        }
        let quiet = Report { heard: ByKind::default(), said: ByKind::default(), server: None, ..report };
        let table = quiet.table();
        assert!(!table.contains("expected") && !table.contains("CPU"), "{table}");
    }

    #[test]
    fn latencies_that_nobody_had_are_left_out() {
        let mut all = Latencies::default();
        all.record(Kind::Video, 9, Duration::from_millis(80));
        all.record(Kind::Audio, 0, Duration::from_millis(1));
        all.record(Kind::Audio, 2, Duration::from_millis(41));
        let mut known = latencies(&all);
        let audio: Vec<_> = known.drain(..2).map(|latency| latency.per_link_ms.map(f64::round)).collect();
        assert_eq!(audio, [None, Some(20.0)]);
        assert_eq!((known.len(), known[0].per_link_ms), (1, None));
        assert_eq!((known[0].kind, known[0].hops, known[0].ms.count), (Kind::Video, MAX_HOPS, 1));
        assert!((known[0].ms.p50 - 80.0).abs() < 2.0);
    }
}
