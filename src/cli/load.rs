//! `weir load`: sends a crowd to a server and says how it fared.

mod show;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::flags::ConfigFlags;
use super::{run, say};
use crate::config::{Keys, Secret};
use crate::load::drive;
use crate::load::html;
use crate::load::http::Http;
use crate::load::layout::Layout;
use crate::load::plan::{Exchange, Plan, Tokens};
use crate::load::report::{Report, Sample};
use crate::load::scenario::{Camera, Scenario};
use crate::load::server::Meter;

/// Where `weir dev` and `weir serve` listen by default.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// Ports of one address, of which some are taken.
const MOST_MEMBERS: u64 = 60_000;

/// Flags of `weir load`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    crowd: CrowdFlags,
    #[command(flatten)]
    media: MediaFlags,
    #[command(flatten)]
    target: TargetFlags,
    #[command(flatten)]
    pace: PaceFlags,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    flags: ConfigFlags,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Who comes")]
struct CrowdFlags {
    /// Members of each room who send and watch
    #[arg(long, short, value_name = "COUNT", default_value_t = 0)]
    members: u32,
    /// Members of each room who only send
    #[arg(long, short, value_name = "COUNT", default_value_t = 0)]
    publishers: u32,
    /// Members of each room who only watch
    #[arg(long, short, value_name = "COUNT", default_value_t = 0)]
    subscribers: u32,
    /// How many such rooms
    #[arg(long, short, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rooms: u32,
    /// The room's name; with several, a number follows
    #[arg(long, value_name = "NAME", default_value = "load")]
    room: String,
    /// What every identity begins with: several crowds in one room must not take each other's
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    identity: String,
    /// What those who watch have on screen, dealt out in turn: grid, grid:TILES, speaker, thumbnails, or all (everything at its
    /// largest)
    #[arg(long = "layout", value_name = "LAYOUT,…", value_delimiter = ',', default_value = "grid")]
    layouts: Vec<Layout>,
    /// What each of them wants to receive at most, such as 2M or 500k
    #[arg(long, value_name = "BPS", value_parser = bps)]
    limit_bps: Option<u32>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What they send")]
struct MediaFlags {
    /// The camera: 180p, 360p, 720p, 1080p, or none
    #[arg(long, value_name = "SIZE", default_value = "720p", value_parser = camera)]
    video: Camera,
    /// Whether the camera is sent in up to three layers
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    simulcast: bool,
    /// Pictures per second
    #[arg(long, value_name = "COUNT", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=120))]
    fps: u32,
    /// Of the largest layer, such as 1500k; the smaller ones follow
    #[arg(long, value_name = "BPS", value_parser = bps)]
    video_bps: Option<u32>,
    /// Whether there is a microphone
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    audio: bool,
    /// Microphones of each room that talk at a time; the others are open
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    talkers: u32,
    /// How long each talks until the next do, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    turn: f64,
    /// Silent microphones send a packet every 400 ms instead of every 20 ms
    #[arg(long)]
    dtx: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where they go")]
struct TargetFlags {
    /// A server's public address; with several, members are spread over them
    #[arg(long = "url", short, value_name = "URL", default_value = DEFAULT_URL)]
    urls: Vec<String>,
    /// Spread them over all edges that the server knows of
    #[arg(long)]
    edges: bool,
    /// Ask the server for tokens, as `weir dev` hands them out
    #[arg(long, conflicts_with_all = ["key", "secret", "bearer"])]
    dev: bool,
    /// Name of the API key that signs the tokens [default: the only one of --config]
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// Its secret, where no --config holds it
    #[arg(long, value_name = "SECRET", env = "WEIR_LOAD_SECRET", requires = "key", hide_env_values = true)]
    secret: Option<String>,
    /// One token for all, as servers of WHIP and WHEP often have it
    #[arg(long, value_name = "TOKEN", env = "WEIR_LOAD_BEARER", hide_env_values = true)]
    bearer: Option<String>,
    /// Publishers come by WHIP, here; {room} and {identity} are filled in
    #[arg(long, value_name = "URL")]
    whip: Option<String>,
    /// Subscribers come by WHEP, here
    #[arg(long, value_name = "URL")]
    whep: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How fast and how long")]
struct PaceFlags {
    /// Joins per second
    #[arg(long, value_name = "COUNT", default_value_t = 20.0, value_parser = seconds)]
    ramp: f64,
    /// How long all of them stay, in seconds
    #[arg(long, short, value_name = "SECONDS", default_value_t = 20.0, value_parser = seconds)]
    duration: f64,
    /// Threads for media; the table's last line says how busy the busiest was
    #[arg(long, short, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Open and check every packet instead of a sample
    #[arg(long)]
    verify: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What is said of it")]
struct OutputFlags {
    /// Write all figures as JSON, to a file or to standard output with -
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a line of JSON to standard output every second, while it runs
    #[arg(long, conflicts_with = "json")]
    samples: bool,
    /// Write a page with plots, which needs nothing else to be looked at
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// The server's process on this machine, to tell its CPU; may be given several times
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
    /// The server's page of metrics, to tell its CPU and packets; may be given several times
    #[arg(long, value_name = "URL")]
    metrics: Vec<String>,
    /// Say nothing while it runs
    #[arg(long, short)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Members come one after the other, stay, and leave; then a table says how long joining took, what was lost, how long packets took \
from sender to receiver, and how often pictures stood still. Latency is told apart by how many links between servers were crossed. \
It is measured with one clock, this process's, which stamps each frame and reads the stamp again: senders and receivers need no \
synchronised clocks, and what the generator itself is late by is part of it, so look at its load in the last line.

A member needs a port and a file; `ulimit -n` bounds how many there can be. A server that is to be tried over a bad network: run this \
in a network namespace behind `tc qdisc … netem`. Servers behind TLS \
are believed as this machine's programs do; SSL_CERT_FILE names other authorities.

Examples, with `weir dev` running in another terminal:
  weir load --dev -p 1 -s 50                                one camera, fifty who watch
  weir load --dev -p 1 -s 1000 --video none --threads 2     a speech for a thousand
  weir load --dev -m 20                                     twenty who see each other
  weir load --dev -m 4 -r 200 --ramp 50                     two hundred rooms of four
  weir load --dev -m 100 --video none                       a hundred open microphones, one talks
  weir load --dev -p 40 -s 1 --limit-bps 2M                 forty cameras, and one who has 2 Mbps for them
  weir load --dev --edges -m 30 --layout grid:9,speaker     over all regions, with different screens
  weir load --dev -m 20 --metrics http://127.0.0.1:9090/metrics --report report.html --json figures.json

Other servers:
  weir load --config weir.toml --url http://10.0.0.7:8080 -m 10
  WEIR_LOAD_SECRET=$SECRET weir load --key app --url http://10.0.0.7:8080 -m 10
  weir load -p 1 -s 100 --whip http://10.0.0.7/whip/{room} --whep http://10.0.0.7/whep/{room} --bearer $TOKEN";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    run::raise_open_files();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?;
    runtime.block_on(load(args))
}

async fn load(args: Args) -> anyhow::Result<ExitCode> {
    let plan = args.plan().await?;
    let (settings, size) = (settings(&plan), plan.scenario.size());
    let mut stop = signal(SignalKind::interrupt()).context("signals cannot be listened for")?;
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be listened for")?;
    let interrupted = async move {
        tokio::select! {
            _ = stop.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let mut shown = show::Live::new(!args.output.quiet, std::io::stderr().is_terminal(), size);
    let look = |sample: &Sample| {
        shown.look(sample);
        if args.output.samples {
            // Numbers only: they can be written.
            say(serde_json::to_string(sample).unwrap_or_default());
        }
    };
    let ran = drive::run(plan, look, interrupted).await;
    shown.end();
    let mut report = ran.map_err(|why| anyhow::anyhow!(why))?;
    report.settings = settings;
    let json = args.output.json.as_deref();
    if !args.output.samples && json.is_none_or(|path| path.as_os_str() != "-") {
        say(report.table().trim_end());
    }
    write_out(&report, json, args.output.report.as_deref())?;
    // A script that asks whether the crowd got in has its answer in the exit code.
    let all_came = report.joins.failed == 0 && report.joins.connected == size;
    Ok(if all_came { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write_out(report: &Report, json: Option<&std::path::Path>, page: Option<&std::path::Path>) -> anyhow::Result<()> {
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(report).context("the figures can't be written as JSON")?;
        if path.as_os_str() == "-" {
            say(text);
        } else {
            std::fs::write(path, text + "\n").with_context(|| format!("--json: {} can't be written", path.display()))?;
        }
    }
    if let Some(path) = page {
        std::fs::write(path, html::page(report)).with_context(|| format!("--report: {} can't be written", path.display()))?;
        let _ = writeln!(std::io::stderr(), "  the report is in {}", path.display());
    }
    Ok(())
}

impl Args {
    async fn plan(&self) -> anyhow::Result<Plan> {
        let CrowdFlags { members, publishers, subscribers, .. } = self.crowd;
        anyhow::ensure!(
            members | publishers | subscribers > 0,
            "nobody would come: say who does with --members, --publishers or --subscribers; `weir load --help` has examples"
        );
        let size = u64::from(self.crowd.rooms) * [members, publishers, subscribers].map(u64::from).iter().sum::<u64>();
        anyhow::ensure!(
            size <= MOST_MEMBERS,
            "{size} members would come, and each needs a UDP port of its own: {MOST_MEMBERS} at most; run this on several machines, each \
             with another --identity"
        );
        let http = (self.target.whip.is_some() || self.target.whep.is_some())
            .then(|| Exchange { whip: self.target.whip.clone(), whep: self.target.whep.clone() });
        anyhow::ensure!(
            http.is_none() || members == 0,
            "WHIP sends and WHEP receives, so nobody does both there: use --publishers and --subscribers"
        );
        let servers = self.servers().await?;
        Ok(Plan {
            scenario: Scenario {
                room: self.crowd.room.clone(),
                rooms: self.crowd.rooms,
                identity: self.crowd.identity.clone(),
                publishers,
                subscribers,
                members,
                camera: self.media.video,
                simulcast: self.media.simulcast,
                fps: self.media.fps,
                rate: self.media.video_bps.map(u64::from),
                microphone: self.media.audio,
                talkers: self.media.talkers,
                turn: Duration::from_secs_f64(self.media.turn),
                dtx: self.media.dtx,
                layouts: self.crowd.layouts.clone(),
                edges: servers.len(),
            },
            servers,
            tokens: self.tokens(http.is_some())?,
            http,
            ramp: self.pace.ramp,
            duration: Duration::from_secs_f64(self.pace.duration),
            threads: self.pace.threads as usize,
            verify: self.pace.verify,
            limit_bps: self.crowd.limit_bps,
            meter: Meter { pids: self.output.pid.clone(), pages: self.output.metrics.clone() },
        })
    }

    async fn servers(&self) -> anyhow::Result<Vec<String>> {
        let mut servers = Vec::new();
        for url in &self.target.urls {
            let url = url.trim_end_matches('/');
            let known = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
            anyhow::ensure!(known, "--url: {url}: expected an address such as {DEFAULT_URL} or https://calls.example.org");
            servers.push(url.to_owned());
        }
        if self.target.edges
            && let Some(first) = servers.first()
        {
            let edges = Http::default().edges(first).await.map_err(|why| anyhow::anyhow!(why))?;
            servers = edges.into_iter().map(|edge| edge.url.trim_end_matches('/').to_owned()).collect();
        }
        Ok(servers)
    }

    fn tokens(&self, http: bool) -> anyhow::Result<Tokens> {
        let target = &self.target;
        if target.dev {
            return Ok(Tokens::Dev);
        }
        if let Some(token) = &target.bearer {
            anyhow::ensure!(
                http,
                "--bearer is one token for all, and in the room protocol each would take the place of the one before: use it with --whip and \
                 --whep; for the room protocol give --dev, --config FILE, or --key NAME and --secret SECRET"
            );
            return Ok(Tokens::Given(token.clone()));
        }
        if let (Some(key), Some(secret)) = (&target.key, &target.secret) {
            let keys: Keys = [(key.clone(), Secret::new(secret.clone()))].into_iter().collect();
            return Ok(Tokens::Signed { keys, key: key.clone() });
        }
        let keys = self.flags.load()?.config.auth.keys;
        if keys.is_empty() && http {
            return Ok(Tokens::None);
        }
        anyhow::ensure!(
            !keys.is_empty(),
            "members need tokens: --dev asks a `weir dev` for them; for another server give its --config FILE, or --key NAME and \
             --secret SECRET"
        );
        let key = super::token::chosen(target.key.clone(), &keys)?;
        Ok(Tokens::Signed { keys, key })
    }
}

/// What was asked for, in words.
fn settings(plan: &Plan) -> Vec<(&'static str, String)> {
    let scenario = &plan.scenario;
    let each = [(scenario.members, "members"), (scenario.publishers, "publishers"), (scenario.subscribers, "subscribers")];
    let who: Vec<String> = each.iter().filter(|(count, _)| *count > 0).map(|(count, who)| format!("{count} {who}")).collect();
    let layers: Vec<String> = scenario.layers().iter().map(|layer| format!("{}p", layer.shape.height)).collect();
    let video = if layers.is_empty() { "none".to_owned() } else { format!("{} at {}/s", layers.join(" + "), scenario.fps) };
    let audio = match scenario.microphone {
        true => format!("{} talk at a time{}", scenario.talkers, if scenario.dtx { ", DTX" } else { "" }),
        false => "none".to_owned(),
    };
    let layouts: Vec<String> = scenario.layouts.iter().map(ToString::to_string).collect();
    let servers = match &plan.http {
        Some(Exchange { whip, whep }) => [whip, whep].into_iter().flatten().cloned().collect::<Vec<_>>().join(", "),
        None => plan.servers.join(", "),
    };
    let mut settings = vec![
        ("servers", servers),
        ("rooms", format!("{} of {}", scenario.rooms, who.join(", "))),
        ("video", video),
        ("microphones", audio),
        ("layout", layouts.join(", ")),
        ("ramp", format!("{} joins/s", plan.ramp)),
        ("stay", format!("{} s", plan.duration.as_secs_f64())),
    ];
    settings.extend(plan.limit_bps.map(|limit| ("limit", crate::load::report::bits(f64::from(limit)))));
    settings
}

fn camera(text: &str) -> Result<Camera, String> {
    match text {
        "none" => Ok(Camera::Off),
        "180p" => Ok(Camera::Lines(180)),
        "360p" => Ok(Camera::Lines(360)),
        "720p" => Ok(Camera::Lines(720)),
        "1080p" => Ok(Camera::Lines(1_080)),
        _ => Err("expected 180p, 360p, 720p, 1080p or none".to_owned()),
    }
}

fn bps(text: &str) -> Result<u32, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let factor = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "m" | "M" => 1e6,
        _ => return Err("expected bits per second, such as 500k or 2M".to_owned()),
    };
    let rate = digits.parse::<f64>().ok().map(|value| value * factor).filter(|rate| (1.0..=f64::from(u32::MAX)).contains(rate));
    rate.map(|rate| rate as u32).ok_or_else(|| "expected bits per second, such as 500k or 2M".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && (0.0..=1e6).contains(number) && *number > 0.0);
    number.ok_or_else(|| "expected a number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::try_parse_from(std::iter::once("load").chain(line.split(' '))).expect(line).args
    }

    #[tokio::test]
    async fn the_scenarios_of_the_help_are_plans() {
        for line in EXAMPLES.lines().filter_map(|line| line.trim().strip_prefix("weir load --dev ")) {
            let line = line.split("  ").next().unwrap_or(line);
            if line.contains("--edges") {
                continue;
            }
            let plan = args(&format!("--dev {line}")).plan().await.expect(line);
            assert!(plan.scenario.size() > 1 && !settings(&plan).is_empty(), "{line}");
        }
    }

    #[tokio::test]
    async fn what_can_not_be_says_the_mend() {
        for (line, named) in [
            ("--dev", "--members"),
            ("--dev -m 2 --url wss://a.b", "https://"),
            ("--dev -m 2 --url localhost:8080", DEFAULT_URL),
            ("-m 2", "--dev"),
            ("-m 2 --bearer x", "--whip"),
            ("--dev -m 2 --whip http://a/{room}", "--publishers"),
            ("--dev -m 4294967295 -p 4294967295 -r 100000", "--identity"),
            ("--dev -m 61 -r 1000", "--identity"),
        ] {
            let said = args(line).plan().await.expect_err(line).to_string();
            assert!(said.contains(named), "{line}: {said}");
        }
    }

    #[test]
    fn rates_have_units() {
        assert_eq!(
            (bps("2M"), bps("500k"), bps("1.5M"), bps("64000")),
            (Ok(2_000_000), Ok(500_000), Ok(1_500_000), Ok(64_000))
        );
        for text in ["", "M", "-1", "1G", "0", "1e9M"] {
            assert!(bps(text).is_err(), "{text}");
        }
    }
}
