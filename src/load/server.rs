//! What the server under load uses: CPU time of its processes, packets it forwarded. Reads `/proc` or pages of metrics.

use crate::admin::process;

use super::http::Http;

/// Where the server's use can be read.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    /// Processes on this machine.
    pub pids: Vec<u32>,
    /// Pages of metrics, as `http://127.0.0.1:9090/metrics`.
    pub pages: Vec<String>,
}

/// One reading, of all processes together. What could not be read is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Use {
    pub cpu_seconds: Option<f64>,
    /// RTP packets forwarded to members.
    pub packets: Option<f64>,
    pub resident_bytes: Option<f64>,
}

impl Meter {
    pub const fn is_some(&self) -> bool {
        !self.pids.is_empty() || !self.pages.is_empty()
    }

    /// Reads it now. An error says which source can't be read.
    pub async fn read(&self, http: &Http) -> Result<Use, String> {
        let mut used = Use::default();
        for page in &self.pages {
            let text = http.metrics(page).await?;
            used.add(&of_page(&text));
        }
        // Processes that have a page too would count twice.
        if self.pages.is_empty() {
            for &pid in &self.pids {
                let process = process::Process::read_of(&pid.to_string());
                let cpu_seconds = process.cpu_seconds.ok_or_else(|| format!("--pid {pid}: no such process"))?;
                let resident_bytes = process.resident_bytes.map(|bytes| bytes as f64);
                used.add(&Use { cpu_seconds: Some(cpu_seconds), packets: None, resident_bytes });
            }
        }
        Ok(used)
    }
}

impl Use {
    fn add(&mut self, other: &Self) {
        let add = |to: &mut Option<f64>, from: Option<f64>| {
            if let Some(from) = from {
                *to = Some(to.unwrap_or(0.0) + from);
            }
        };
        add(&mut self.cpu_seconds, other.cpu_seconds);
        add(&mut self.packets, other.packets);
        add(&mut self.resident_bytes, other.resident_bytes);
    }
}

/// What a page in the OpenMetrics text format says of it.
fn of_page(page: &str) -> Use {
    let sum = |name: &str| {
        let mut values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = rest.strip_prefix(' ').or_else(|| Some(rest.strip_prefix('{')?.split_once("} ")?.1))?;
            value.split_ascii_whitespace().next()?.parse::<f64>().ok()
        });
        values.next().map(|first| values.fold(first, |sum, value| sum + value))
    };
    Use {
        cpu_seconds: sum("weir_process_cpu_seconds_total").or_else(|| sum("process_cpu_seconds_total")),
        packets: sum("weir_rtp_out_total"),
        resident_bytes: sum("weir_process_resident_memory_bytes").or_else(|| sum("process_resident_memory_bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_summed_over_its_shards() {
        let page = "# HELP weir_rtp_out RTP\nweir_rtp_out_total{shard=\"0\"} 40\nweir_rtp_out_total{shard=\"1\"} 2\n\
                    weir_process_cpu_seconds_total 1.5\nweir_process_resident_memory_bytes 1048576\n# EOF\n";
        let expected = Use { cpu_seconds: Some(1.5), packets: Some(42.0), resident_bytes: Some(1_048_576.0) };
        assert_eq!(of_page(page), expected);
        let mut both = expected;
        both.add(&Use { cpu_seconds: Some(1.0), ..Use::default() });
        assert_eq!(both, Use { cpu_seconds: Some(2.5), ..expected });
        assert_eq!(of_page("nothing of ours"), Use::default());
    }
}
