//! What `weir load` shows while it runs: a table that renews itself on a terminal, a line every five seconds elsewhere.

use std::io::{Write, stderr};

use crate::load::report::{Sample, bits};

/// Elsewhere than on a terminal, so many looks make a line.
const LINE_EVERY: u64 = 5;
/// Of the bar, in characters.
const WIDTH: usize = 32;

/// The display of one run.
pub(super) struct Live {
    on: bool,
    terminal: bool,
    size: u64,
    looks: u64,
    /// Lines that stand on the terminal.
    standing: usize,
    freezes: u64,
}

impl Live {
    pub(super) const fn new(on: bool, terminal: bool, size: u64) -> Self {
        Self { on, terminal, size, looks: 0, standing: 0, freezes: 0 }
    }

    pub(super) fn look(&mut self, sample: &Sample) {
        self.looks += 1;
        self.freezes += sample.freezes;
        if !self.on || !self.terminal && !self.looks.is_multiple_of(LINE_EVERY) {
            return;
        }
        let text = if self.terminal { self.table(sample) } else { self.line(sample) };
        let up = if self.standing > 0 { format!("\x1b[{}A\x1b[J", self.standing) } else { String::new() };
        self.standing = if self.terminal { text.lines().count() } else { 0 };
        // Who looked may be gone.
        let _ = write!(stderr(), "{up}{text}");
    }

    /// Takes away what is renewed: the final table follows.
    pub(super) fn end(&mut self) {
        if self.standing > 0 {
            let _ = write!(stderr(), "\x1b[{}A\x1b[J", self.standing);
            self.standing = 0;
        }
    }

    fn table(&self, sample: &Sample) -> String {
        let done = (sample.connected as usize * WIDTH).checked_div(self.size as usize).unwrap_or(0).min(WIDTH);
        let bar = format!("{}{}", "█".repeat(done), "░".repeat(WIDTH - done));
        let failed = if sample.failed > 0 { format!(", {} failed", sample.failed) } else { String::new() };
        let stage = if sample.steady { "all there" } else { "joining" };
        let latency = match (sample.p50_ms, sample.p99_ms) {
            (Some(p50), Some(p99)) => format!("p50 {p50:.2} ms, p99 {p99:.2} ms"),
            _ => "no packet yet".to_owned(),
        };
        let server = sample.server_cores.map(|cores| format!("{cores:.2} cores")).unwrap_or_else(|| "not asked for".to_owned());
        format!(
            "  {bar} {} of {} members{failed}, {stage}, {:.0} s\n\
             \x20 in         {:>10}  {:>8.0} packets/s   loss {:.3} %\n\
             \x20 out        {:>10}\n\
             \x20 latency    {latency}\n\
             \x20 pictures   {} freezes, by layer {:?}\n\
             \x20 server     {server}; generator {:.2} cores\n",
            sample.connected,
            self.size,
            sample.at,
            bits(sample.received_bps),
            sample.packets,
            sample.loss * 100.0,
            bits(sample.sent_bps),
            self.freezes,
            sample.layers,
            sample.generator_cores,
        )
    }

    fn line(&self, sample: &Sample) -> String {
        let latency = sample.p99_ms.map(|p99| format!(", p99 {p99:.1} ms")).unwrap_or_default();
        format!(
            "  {:>4.0} s: {} of {} members, {} failed; {} in, {} out, loss {:.3} %{latency}, {} freezes\n",
            sample.at,
            sample.connected,
            self.size,
            sample.failed,
            bits(sample.received_bps),
            bits(sample.sent_bps),
            sample.loss * 100.0,
            self.freezes
        )
    }
}
