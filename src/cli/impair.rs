//! `weir impair`: a UDP relay that behaves like a bad path, to see how a system fares on it. The impairment is changed while it
//! runs by lines of JSON on standard input.

use std::io::BufRead;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::say;
use crate::impair::Impairment;
use crate::impair::relay::Relay;

/// Lines that wait to be applied; a faster writer is held up.
const LINES: usize = 16;

/// Flags of `weir impair`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where to receive; clients are pointed here
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Where to send on to
    #[arg(long, value_name = "IP:PORT")]
    to: SocketAddr,
    /// Delay of each packet, one way
    #[arg(long, value_name = "MS", default_value_t = 0.0, value_parser = quantity)]
    delay_ms: f64,
    /// Each packet waits up to this much more; packets keep their order
    #[arg(long, value_name = "MS", default_value_t = 0.0, value_parser = quantity)]
    jitter_ms: f64,
    /// Share of packets lost, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    loss: f64,
    /// Mean length of a loss in packets; up to 1 loses each by itself
    #[arg(long, value_name = "PACKETS", default_value_t = 0.0, value_parser = quantity)]
    burst: f64,
    /// Bottleneck; 0 for none
    #[arg(long, value_name = "KBPS", default_value_t = 0)]
    rate_kbps: u32,
    /// What waits before the bottleneck at most; 0 for 100
    #[arg(long, value_name = "MS", default_value_t = 0)]
    queue_ms: u32,
    /// The same seed loses the same packets [default: a random one]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

const EXAMPLES: &str = "\
The impairment holds for both directions. It changes with each line of JSON on standard input; what a line does not name \
stays as it is, and \"way\" (\"there\" or \"back\") names one direction. Each line, an empty one too, is answered with what \
holds then and the packets counted so far.

Examples:
  weir impair --listen 127.0.0.1:7000 --to 127.0.0.1:7443 --delay-ms 40 --loss 0.02 --burst 3
  weir impair --listen 127.0.0.1:7000 --to 127.0.0.1:7443 --delay-ms 40 --rate-kbps 5000 --queue-ms 100 --seed 1
  {\"loss\": 0.1}
  {\"way\": \"back\", \"partition\": true}";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?;
    let (lines, mut changes) = mpsc::channel(LINES);
    // Not awaited: it may wait for a line for ever, and ends with the process.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                break;
            }
        }
    });
    runtime.block_on(async {
        let seed = args.seed.unwrap_or_else(rand::random);
        let relay = Relay::start(args.listen, args.to, [args.impairment(); 2], seed)
            .with_context(|| format!("--listen: {} cannot be bound", args.listen))?;
        let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be listened for")?;
        let mut terminate = signal(SignalKind::terminate()).context("signals cannot be listened for")?;
        say(json!({ "ready": relay.local_addr(), "to": args.to, "seed": seed }));
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                // At its end nothing changes any more, and the relay goes on.
                Some(line) = changes.recv() => say(answer(&relay, &line)),
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl Args {
    fn impairment(&self) -> Impairment {
        let Self { delay_ms, jitter_ms, loss, burst, rate_kbps, queue_ms, .. } = *self;
        Impairment { delay_ms, jitter_ms, loss, burst, rate_kbps, queue_ms, partition: false }
    }
}

/// Applies a line, and says what holds.
fn answer(relay: &Relay, line: &str) -> Value {
    match changed(relay.impairments(), line) {
        Ok([there, back]) => {
            relay.set(there, back);
            let counters = relay.counters();
            json!({
                "there": there, "back": back, "passed": counters.passed, "lost": counters.lost, "queued": counters.queued,
            })
        }
        Err(why) => json!({ "error": why }),
    }
}

/// The way there and the way back, with what the line names.
fn changed([there, back]: [Impairment; 2], line: &str) -> Result<[Impairment; 2], String> {
    if line.trim().is_empty() {
        return Ok([there, back]);
    }
    let mut named: serde_json::Map<String, Value> =
        serde_json::from_str(line).map_err(|why| format!("no JSON object: {why}"))?;
    let way = named.remove("way");
    let over = |old: Impairment| {
        let mut new = serde_json::to_value(old).unwrap_or_default();
        if let Some(fields) = new.as_object_mut() {
            fields.extend(named.clone());
        }
        let new: Impairment = serde_json::from_value(new).map_err(|why| why.to_string())?;
        let quantities = [new.delay_ms, new.jitter_ms, new.burst];
        if quantities.iter().any(|quantity| *quantity < 0.0) || !(0.0..=1.0).contains(&new.loss) {
            return Err("delay_ms, jitter_ms and burst are 0 or more, loss is 0 to 1".to_owned());
        }
        Ok(new)
    };
    match way.as_ref().map(|way| way.as_str()) {
        None => Ok([over(there)?, over(back)?]),
        Some(Some("there")) => Ok([over(there)?, back]),
        Some(Some("back")) => Ok([there, over(back)?]),
        Some(_) => Err("\"way\" is \"there\" or \"back\"; without it, both change".to_owned()),
    }
}

fn quantity(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "expected a number of 0 or more".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    quantity(text).ok().filter(|share| *share <= 1.0).ok_or_else(|| "expected a share from 0 to 1, such as 0.02".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOSSY: Impairment =
        Impairment { delay_ms: 40.0, jitter_ms: 0.0, loss: 0.02, burst: 3.0, rate_kbps: 0, queue_ms: 0, partition: false };

    #[test]
    fn a_line_changes_what_it_names_and_nothing_else() {
        let more = Impairment { loss: 0.1, ..LOSSY };
        let cut = Impairment { partition: true, ..LOSSY };
        for (line, expected) in [
            ("", [LOSSY, LOSSY]),
            ("{}", [LOSSY, LOSSY]),
            (r#"{"loss": 0.1}"#, [more, more]),
            (r#"{"way": "there", "loss": 0.1}"#, [more, LOSSY]),
            (r#"{"way": "back", "partition": true}"#, [LOSSY, cut]),
        ] {
            assert_eq!(changed([LOSSY; 2], line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn a_line_that_says_nothing_sound_changes_nothing() {
        for (line, named) in [
            ("loss=1", "JSON"),
            (r#"{"los": 1}"#, "los"),
            (r#"{"loss": 1.5}"#, "loss"),
            (r#"{"delay_ms": -1}"#, "delay_ms"),
            (r#"{"way": "up", "loss": 0.1}"#, "way"),
        ] {
            let said = changed([LOSSY; 2], line).expect_err(line);
            assert!(said.contains(named), "{said}");
        }
    }

    #[test]
    fn flags_are_numbers_that_make_sense() {
        assert_eq!((quantity("40.5"), share("0.02")), (Ok(40.5), Ok(0.02)));
        for text in ["-1", "NaN", "inf", "much"] {
            assert!(quantity(text).is_err() && share(text).is_err(), "{text}");
        }
        assert!(share("2").is_err(), "percent are not shares");
    }
}
