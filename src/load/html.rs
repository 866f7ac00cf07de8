//! The report as one page that needs nothing else: figures, tables, and plots drawn as SVG. Pure; numbers come from `report`, lines
//! from `plot`.

use std::fmt::Write;

use crate::rtp::Kind;

use super::account::{Heard, Said};
use super::plot::{self, Line, Plot};
use super::report::{BUSY, Report, Sample, Times, bits, share};

/// Colours of lines, by place; both themes name them.
const STYLE: &str = include_str!("report.css");

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>weir load</title><style>{STYLE}</style></head><body><main>\n"
    );
    header(&mut out, report);
    figures(&mut out, report);
    plots(&mut out, report);
    tables(&mut out, report);
    out.push_str("</main></body></html>\n");
    out
}

fn header(out: &mut String, report: &Report) {
    let _ = write!(
        out,
        "<header><h1>weir load</h1><p>{} s, of which {} s with everybody there</p></header><dl class=\"settings\">",
        report.seconds.round(),
        report.steady_seconds.round()
    );
    for (name, value) in &report.settings {
        let _ = write!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value));
    }
    out.push_str("</dl>\n");
}

/// The few numbers that one looks for first.
fn figures(out: &mut String, report: &Report) {
    out.push_str("<section class=\"figures\">");
    let mut figure = |name: &str, value: String, more: String, bad: bool| {
        let class = if bad { " class=\"bad\"" } else { "" };
        let _ = write!(out, "<div{class}><span>{name}</span><b>{value}</b><small>{}</small></div>", escape(&more));
    };
    let joins = &report.joins;
    figure(
        "joined",
        format!("{} <i>of {}</i>", joins.connected, joins.asked),
        format!("{:.1} per second, media after {:.0} ms at p95", joins.per_second, joins.connect_ms.p95),
        joins.failed > 0 || joins.connected < joins.asked,
    );
    let (lost, expected) = [Kind::Audio, Kind::Video]
        .map(|kind| report.heard.of(kind))
        .iter()
        .fold((0, 0), |(lost, expected), heard| (lost + heard.lost, expected + heard.expected));
    figure("lost", format!("{:.3} <i>%</i>", share(lost, expected) * 100.0), format!("{lost} of {expected} packets"), lost > 0);
    let worst = report.latency.iter().max_by(|a, b| a.ms.p99.total_cmp(&b.ms.p99));
    if let Some(latency) = worst {
        figure(
            "latency, p99",
            format!("{:.1} <i>ms</i>", latency.ms.p99),
            format!("{}; p50 {:.2} ms", latency.name(), latency.ms.p50),
            false,
        );
    }
    let video = &report.heard.video;
    if video.frames > 0 {
        let stood = format!("{:.1} s in all; {} stand still at the end", video.frozen_ms as f64 / 1e3, video.stalled);
        figure("freezes", video.freezes.to_string(), stood, video.freezes + video.stalled > 0);
    }
    if let Some(server) = &report.server {
        let more = format!("{:.2} cores for {:.0} packets/s", server.cores, server.packets / report.steady_seconds.max(0.001));
        figure("server, per packet", format!("{:.2} <i>µs</i>", server.cpu_us_per_packet), more, false);
    }
    let generator = &report.generator;
    let busy = generator.busiest > BUSY;
    let more = if busy { "too busy to trust the latencies: more --threads" } else { "busiest thread" };
    figure("generator", format!("{:.0} <i>%</i>", generator.busiest * 100.0), more.to_owned(), busy);
    out.push_str("</section>\n");
}

fn plots(out: &mut String, report: &Report) {
    let samples = &report.samples;
    let line = |name: &'static str, value: fn(&Sample) -> Option<f64>| Line {
        name,
        points: samples.iter().filter_map(|sample| Some((sample.at, value(sample)?))).collect(),
    };
    let steady = samples.iter().find(|sample| sample.steady).map(|sample| sample.at);
    let mut all = vec![
        Plot {
            title: "members with media",
            unit: "",
            lines: vec![
                line("connected", |sample| Some(sample.connected as f64)),
                line("failed", |sample| (sample.failed > 0).then_some(sample.failed as f64)),
            ],
        },
        Plot {
            title: "latency, publisher to subscriber",
            unit: "ms",
            lines: vec![line("p50", |sample| sample.p50_ms), line("p99", |sample| sample.p99_ms)],
        },
        Plot {
            title: "rate",
            unit: "Mbps",
            lines: vec![
                line("received", |sample| Some(sample.received_bps / 1e6)),
                line("sent", |sample| Some(sample.sent_bps / 1e6)),
            ],
        },
        Plot { title: "loss after repair", unit: "%", lines: vec![line("lost", |sample| Some(sample.loss * 100.0))] },
        Plot {
            title: "CPU",
            unit: "cores",
            lines: vec![line("server", |sample| sample.server_cores), line("generator", |sample| Some(sample.generator_cores))],
        },
    ];
    if report.heard.video.frames > 0 {
        all.push(Plot {
            title: "pictures by layer",
            unit: "",
            lines: vec![
                line("smallest", |sample| sample.layers.first().map(|count| *count as f64)),
                line("second", |sample| sample.layers.get(1).map(|count| *count as f64)),
                line("third", |sample| sample.layers.get(2).map(|count| *count as f64)),
            ],
        });
        all.push(Plot {
            title: "freezes in a second",
            unit: "",
            lines: vec![line("freezes", |sample| Some(sample.freezes as f64))],
        });
    }
    out.push_str("<section class=\"plots\">");
    all.iter().for_each(|plot| out.push_str(&plot::draw(plot, report.seconds, steady)));
    out.push_str("</section>\n");
}

fn tables(out: &mut String, report: &Report) {
    table(
        out,
        "Latency from publisher to subscriber, while all were there",
        &["", "packets", "p50", "p95", "p99", "most", "each link adds"],
        report.latency.iter().map(|latency| {
            let link = latency.per_link_ms.map(|ms| format!("{ms:.2} ms")).unwrap_or_default();
            times(&latency.name(), &latency.ms).into_iter().chain([link]).collect()
        }),
    );
    let joins = &report.joins;
    let steps = [
        ("in the room", &joins.enter_ms),
        ("media up", &joins.connect_ms),
        ("first packet", &joins.first_packet_ms),
        ("first keyframe", &joins.first_keyframe_ms),
    ];
    let taken = steps.iter().filter(|(_, step)| step.count > 0).map(|(name, step)| times(name, step));
    table(out, "Time from asking to join", &["", "members", "p50", "p95", "p99", "most"], taken);
    let kinds = [("audio", Kind::Audio), ("video", Kind::Video)];
    let heard: Vec<(&str, &Heard)> =
        kinds.iter().map(|(name, kind)| (*name, report.heard.of(*kind))).filter(|(_, heard)| heard.expected > 0).collect();
    let row = |name: &str, heard: &Heard| {
        let Heard { expected, received, lost, late, duplicate, repaired, nacked, keyframes_asked, .. } = *heard;
        let numbers = [expected, received, lost, late, duplicate, repaired, nacked, keyframes_asked];
        std::iter::once(name.to_owned()).chain(numbers.iter().map(u64::to_string)).collect()
    };
    table(
        out,
        "Packets that subscribers received",
        &["", "expected", "received", "lost", "late", "twice", "repaired", "asked again", "keyframes asked"],
        heard.iter().map(|(name, heard)| row(name, heard)),
    );
    let said: Vec<(&str, &Said)> =
        kinds.iter().map(|(name, kind)| (*name, report.said.of(*kind))).filter(|(_, said)| said.packets > 0).collect();
    let row = |name: &str, said: &Said| {
        let Said { packets, bytes, keyframes, keyframes_asked, nacked, resent, lost } = *said;
        let mean = bits(bytes as f64 * 8.0 / report.seconds.max(0.001));
        let numbers = [keyframes, keyframes_asked, nacked, resent, lost];
        [name.to_owned(), packets.to_string(), mean].into_iter().chain(numbers.iter().map(u64::to_string)).collect()
    };
    table(
        out,
        "Packets that publishers sent",
        &["", "packets", "rate", "keyframes", "asked for", "asked again", "sent again", "lost on the way in"],
        said.iter().map(|(name, said)| row(name, said)),
    );
    table(
        out,
        "Why members failed",
        &["times", "reason"],
        joins.failures.iter().map(|(why, count)| vec![count.to_string(), why.clone()]),
    );
}

fn times(name: &str, times: &Times) -> Vec<String> {
    let ms = |value: f64| if value < 10.0 { format!("{value:.2} ms") } else { format!("{value:.0} ms") };
    vec![name.to_owned(), times.count.to_string(), ms(times.p50), ms(times.p95), ms(times.p99), ms(times.most)]
}

/// Nothing without rows.
fn table(out: &mut String, title: &str, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
        cells.map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect::<String>()
    };
    let _ = write!(
        out,
        "<section><h2>{title}</h2><div class=\"wide\"><table><thead><tr>{}</tr></thead><tbody>",
        cells("th", &mut head.iter().copied())
    );
    for row in rows {
        let _ = write!(out, "<tr>{}</tr>", cells("td", &mut row.iter().map(String::as_str)));
    }
    out.push_str("</tbody></table></div></section>\n");
}

/// Foreign text as text.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::example;

    #[test]
    fn the_page_needs_nothing_else_and_shows_text_as_text() {
        let page = page(&example());
        for outside in ["http://", "https://", "<script", "<link", "url(", "@import"] {
            let found = page.match_indices(outside).filter(|(at, _)| !page[*at..].starts_with("http://&lt;localhost"));
            assert_eq!(found.count(), 0, "{outside}");
        }
        assert!(page.contains("http://&lt;localhost&gt;&amp;co"), "escaped");
        for tag in ["section", "table", "svg", "div", "dl", "main"] {
            let count = |what: &str| page.matches(what).count();
            assert_eq!(count(&format!("<{tag}>")) + count(&format!("<{tag} ")), count(&format!("</{tag}>")), "{tag}");
        }
    }

    #[test]
    fn what_was_not_there_has_no_table() {
        let mut report = example();
        report.joins.failures.clear();
        report.latency.clear();
        let page = page(&report);
        assert!(!page.contains("Why members failed") && !page.contains("Latency from publisher"));
    }
}
