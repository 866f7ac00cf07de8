//! A run: lets the members of a scenario join one after the other, looks at what they have every second, has them leave, and sums up.
//! Owns workers and the members' tasks; decides nothing about media.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashSet;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use crate::edge::peer::Certificate;
use crate::edge::peer::srtp::Profile;
use crate::edge::plan::IceCredentials;
use crate::rtp::Kind;
use crate::rtp::clock::{Epoch, NtpTime};

use super::account::{Histogram, Latencies};
use super::exchange;
use super::http::Http;
use super::member::{Happened, Role};
use super::plan::Plan;
use super::report::{self, Generator, Joins, Report, Sample, Server, Times, share};
use super::scenario::Seat;
use super::server::Use;
use super::session::{Session, Setup, role_lines, sending_lines};
use super::signal::{self, Ended, Line};
use super::worker::{Key, Reading, Worker};

/// How often everything is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long media may take after the last join before the rest is given up.
const SETTLING: Duration = Duration::from_secs(20);
/// How long goodbyes may take.
const PARTING: Duration = Duration::from_secs(5);
/// News of members that may wait.
const NEWS: usize = 65_536;

/// What the members' tasks tell.
enum News {
    Entered(Duration),
    Failed { key: Key, entered: bool, why: String },
}

/// Does what the plan says. `look` is called every second; when `interrupted` is done, members leave early.
pub async fn run(plan: Plan, mut look: impl FnMut(&Sample), interrupted: impl Future<Output = ()>) -> Result<Report, String> {
    let mut run = Run::start(plan).await?;
    tokio::pin!(interrupted);
    let held = tokio::select! {
        done = run.hold(&mut look) => done,
        () = &mut interrupted => Ok(()),
    };
    // Who came says goodbye, whatever happened.
    let report = run.finish().await;
    held.map(|()| report)
}

struct Run {
    plan: Plan,
    http: Http,
    certificate: Arc<Certificate>,
    workers: Vec<Arc<Worker>>,
    happened: mpsc::Receiver<(u64, Happened)>,
    tasks: JoinSet<()>,
    news: mpsc::Receiver<News>,
    tell: mpsc::Sender<News>,
    stop: watch::Sender<bool>,
    began: Instant,
    began_unix: u64,
    entering: Histogram,
    entered: u64,
    /// Who is gone, or was never there.
    lost: FxHashSet<Key>,
    /// How often for which reason, one for each of them.
    failures: BTreeMap<String, u64>,
    asked: u64,
    latest: Vec<Reading>,
    samples: Vec<Sample>,
    steady: Steady,
    used: Option<(Instant, Use)>,
}

/// The time in which all are there.
#[derive(Default)]
struct Steady {
    since: Option<(Instant, Use, Vec<Duration>)>,
    until: Option<(Instant, Use, Vec<Duration>)>,
    received: [u64; 2],
    latencies: Latencies,
}

impl Run {
    async fn start(plan: Plan) -> Result<Self, String> {
        let certificate = Certificate::generate().map_err(|why| why.to_string())?;
        let certificate = Arc::new(certificate);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began = Instant::now();
        let epoch = Epoch { instant: began, ntp: NtpTime::from_unix(unix) };
        let (happens, happened) = mpsc::channel(NEWS);
        let start = |index| {
            Worker::start(index, epoch, Arc::clone(&certificate), happens.clone())
                .map(Arc::new)
                .map_err(|why| format!("a thread for media can't be started: {why}"))
        };
        let workers = (0..plan.threads.max(1)).map(start).collect::<Result<Vec<_>, _>>()?;
        let (tell, news) = mpsc::channel(NEWS);
        let http = Http::default();
        // Better now than after all have joined.
        let used = if plan.meter.is_some() { Some((began, plan.meter.read(&http).await?)) } else { None };
        Ok(Self {
            plan,
            http,
            certificate,
            workers,
            happened,
            tasks: JoinSet::new(),
            news,
            tell,
            stop: watch::channel(false).0,
            began,
            began_unix: unix.as_secs(),
            entering: Histogram::default(),
            entered: 0,
            lost: FxHashSet::default(),
            failures: BTreeMap::new(),
            asked: 0,
            latest: Vec::new(),
            samples: Vec::new(),
            steady: Steady::default(),
            used,
        })
    }

    /// Joins, and stays.
    async fn hold(&mut self, look: &mut impl FnMut(&Sample)) -> Result<(), String> {
        let seats: Vec<Seat> = self.plan.scenario.seats().collect();
        let mut seats = seats.into_iter().zip(0u64..);
        // The first shows whether there is a server that lets us in at all.
        if let Some((seat, key)) = seats.next() {
            self.join(seat, key);
            match self.news.recv().await {
                Some(News::Failed { why, .. }) => return Err(why),
                Some(news) => self.hear(news),
                None => {}
            }
        }
        let mut joins = interval(Duration::from_secs_f64(1.0 / self.plan.ramp.clamp(0.01, 100_000.0)));
        joins.set_missed_tick_behavior(MissedTickBehavior::Burst);
        joins.tick().await;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.tick().await;
        let (mut waiting, mut until): (_, Option<Instant>) = (seats.next(), None);
        // When the last was sent.
        let mut all_asked = waiting.is_none().then(Instant::now);
        loop {
            let end = async {
                match until {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = joins.tick(), if waiting.is_some() => {
                    if let Some((seat, key)) = waiting.take() {
                        self.join(seat, key);
                    }
                    waiting = seats.next();
                    if waiting.is_none() {
                        all_asked = Some(Instant::now());
                    }
                }
                Some(news) = self.news.recv() => self.hear(news),
                Some((key, happened)) = self.happened.recv() => self.media(key, happened),
                _ = looks.tick() => {
                    let Some(sample) = self.look(until.is_some()).await else { continue };
                    look(&sample);
                    let there = sample.connected + sample.failed >= self.plan.scenario.size();
                    let late = all_asked.is_some_and(|at| at.elapsed() > SETTLING);
                    if until.is_none() && all_asked.is_some() && (there || late) {
                        if sample.connected == 0 {
                            let why = self.failures.keys().next().cloned();
                            return Err(why.unwrap_or_else(|| "nobody's media came up: is the server's UDP port reachable?".to_owned()));
                        }
                        until = Some(Instant::now() + self.plan.duration);
                        self.steady.since = Some(self.mark().await);
                        self.steady.received = self.received();
                        self.steady.latencies = Latencies::default();
                    }
                }
                () = end => {
                    if let Some(sample) = self.look(true).await {
                        look(&sample);
                    }
                    return Ok(());
                }
            }
        }
    }

    /// A moment of the time in which all are there.
    async fn mark(&mut self) -> (Instant, Use, Vec<Duration>) {
        let used = self.measure().await.unwrap_or_default();
        (Instant::now(), used, self.latest.iter().map(|reading| reading.cpu).collect())
    }

    /// What the server uses. A source that is slow or gone tells nothing, and is no reason to end a run.
    async fn measure(&self) -> Option<Use> {
        tokio::time::timeout(LOOK, self.plan.meter.read(&self.http)).await.ok()?.ok()
    }

    fn received(&self) -> [u64; 2] {
        let sum = |value: fn(&Reading) -> u64| self.latest.iter().map(value).sum();
        [sum(|reading| reading.heard.audio.received), sum(|reading| reading.heard.video.received)]
    }

    fn join(&mut self, seat: Seat, key: u64) {
        self.asked += 1;
        let Some(worker) = self.workers.get(key as usize % self.workers.len().max(1)).map(Arc::clone) else { return };
        let seed: u64 = rand::random();
        let lines = sending_lines(&seat.published, seed);
        let asked = Instant::now();
        let role = Role {
            published: seat.published.clone(),
            lines: role_lines(&lines),
            seed,
            verify: self.plan.verify,
            asked,
            began: self.began,
        };
        let ice = IceCredentials { ufrag: format!("{seed:016x}"), pwd: format!("{:032x}", rand::random::<u128>()) };
        let server = self.plan.servers.get(seat.edge).or(self.plan.servers.first()).cloned().unwrap_or_default();
        let (http, tokens, tell) = (self.http.clone(), self.plan.tokens.clone(), self.tell.clone());
        let (stop, fingerprint) = (self.stop.subscribe(), self.certificate.fingerprint());
        let (exchange, limit_bps) = (self.plan.http.clone(), self.plan.limit_bps);
        self.tasks.spawn(async move {
            let told = tell.clone();
            let entered = Box::new(move || drop(told.try_send(News::Entered(asked.elapsed()))));
            let token = tokens.of(&http, &server, &seat).await;
            let ended = match (token, exchange) {
                (Err(why), _) => Ended::Failed { entered: false, why },
                (Ok(token), Some(exchange)) => {
                    let exchange = exchange::Member { key, seat, role, worker, stop, ice, fingerprint, token, http, exchange };
                    exchange.carry(entered).await
                }
                (Ok(token), None) => {
                    let url = format!("{}/v1/ws", server.replacen("http", "ws", 1));
                    let token = token.unwrap_or_default();
                    let tls = Arc::clone(http.tls());
                    let session = Session::new(Setup { seat, token, ice, fingerprint, seed, limit_bps });
                    signal::carry(Line { key, url, tls, session, role, worker, stop }, entered).await
                }
            };
            if let Ended::Failed { entered, why } = ended {
                let _ = tell.try_send(News::Failed { key, entered, why });
            }
        });
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Entered(after) => {
                self.entered += 1;
                self.entering.record(after);
            }
            News::Failed { key, entered, why } => {
                let stage = if entered { "after it had joined: " } else { "" };
                self.lose(key, format!("{stage}{why}"));
            }
        }
    }

    fn media(&mut self, key: Key, happened: Happened) {
        if let Happened::Over(why) = happened {
            self.lose(key, format!("media ended: {why:?}"));
        }
    }

    /// Whose media ends is soon told so by its socket too: the first reason counts, or one member would be two.
    fn lose(&mut self, key: Key, why: String) {
        if self.lost.insert(key) {
            *self.failures.entry(why).or_default() += 1;
        }
    }

    /// One look at everything. No sample comes of one that follows soon upon another: its rates would mean nothing.
    async fn look(&mut self, steady: bool) -> Option<Sample> {
        let mut readings = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            readings.push(worker.read().await);
        }
        let now = Instant::now();
        let at = now.saturating_duration_since(self.began).as_secs_f64();
        let took = at - self.samples.last().map_or(0.0, |sample| sample.at);
        let mut latencies = Latencies::default();
        readings.iter().for_each(|reading| latencies.add(&reading.latencies));
        if steady {
            self.steady.latencies.add(&latencies);
        }
        if took < LOOK.as_secs_f64() / 2.0 {
            self.latest = readings;
            return None;
        }
        let grown = |value: fn(&Reading) -> u64| {
            let sum = |readings: &[Reading]| readings.iter().map(value).sum::<u64>();
            sum(&readings).saturating_sub(sum(&self.latest))
        };
        let all = latencies.all();
        let cpu = |readings: &[Reading]| readings.iter().map(|reading| reading.cpu).sum::<Duration>();
        let generator_cores = cpu(&readings).saturating_sub(cpu(&self.latest)).as_secs_f64() / took;
        let expected = grown(|reading| reading.heard.audio.expected + reading.heard.video.expected);
        let lost = grown(|reading| reading.heard.audio.lost + reading.heard.video.lost);
        let mut layers = [0; super::subscriber::LAYERS];
        for reading in &readings {
            layers.iter_mut().zip(reading.layers).for_each(|(sum, here)| *sum += here);
        }
        let mut sample = Sample {
            at,
            steady,
            connected: readings.iter().map(|reading| reading.connected as u64).sum(),
            failed: self.lost.len() as u64,
            received_bps: grown(|reading| reading.heard.audio.bytes + reading.heard.video.bytes) as f64 * 8.0 / took,
            sent_bps: grown(|reading| reading.said.audio.bytes + reading.said.video.bytes) as f64 * 8.0 / took,
            packets: grown(|reading| reading.heard.audio.received + reading.heard.video.received) as f64 / took,
            received: readings.iter().map(|reading| reading.heard.audio.received + reading.heard.video.received).sum(),
            loss: share(lost, expected),
            freezes: grown(|reading| reading.heard.video.freezes),
            p50_ms: all.percentile(0.5).map(report::ms),
            p99_ms: all.percentile(0.99).map(report::ms),
            layers,
            server_cores: None,
            generator_cores,
        };
        if let Some((before_at, before)) = self.used
            && let Some(used) = self.measure().await
        {
            let seconds = now.saturating_duration_since(before_at).as_secs_f64().max(0.001);
            sample.server_cores = used.cpu_seconds.zip(before.cpu_seconds).map(|(now, before)| (now - before) / seconds);
            self.used = Some((now, used));
        }
        self.latest = readings;
        self.samples.push(sample);
        Some(sample)
    }

    /// Has everybody leave, and sums up.
    async fn finish(mut self) -> Report {
        if self.steady.since.is_some() {
            self.steady.until = Some(self.mark().await);
        }
        let received = self.received();
        self.stop.send_replace(true);
        let parting = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(PARTING, parting).await;
        while let Ok(news) = self.news.try_recv() {
            if let News::Entered(_) = news {
                self.hear(news);
            }
        }
        let mut report = self.report();
        report.server = self.server(received);
        report
    }

    fn report(&self) -> Report {
        let mut heard = super::account::ByKind::default();
        let mut said = super::account::ByKind::default();
        for reading in &self.latest {
            for kind in [Kind::Audio, Kind::Video] {
                let (heard, said): (&mut super::account::Heard, &mut super::account::Said) =
                    (heard.of_mut(kind), said.of_mut(kind));
                heard.add(reading.heard.of(kind));
                said.add(reading.said.of(kind));
            }
        }
        let seconds = self.samples.last().map_or(0.0, |sample| sample.at);
        let span = |from: &Option<(Instant, Use, Vec<Duration>)>, to: &Option<(Instant, Use, Vec<Duration>)>| {
            let (from, to) = from.as_ref().zip(to.as_ref())?;
            Some(to.0.saturating_duration_since(from.0).as_secs_f64())
        };
        Report {
            version: env!("CARGO_PKG_VERSION"),
            began: self.began_unix,
            settings: Vec::new(),
            seconds,
            steady_seconds: span(&self.steady.since, &self.steady.until).unwrap_or(0.0),
            joins: self.joins(),
            heard,
            said,
            latency: report::latencies(&self.steady.latencies),
            server: None,
            generator: self.generator(),
            samples: self.samples.clone(),
        }
    }

    fn joins(&self) -> Joins {
        let [mut connect, mut packet, mut keyframe] = std::array::from_fn(|_| Histogram::default());
        let (mut connected, mut aes_gcm, mut last) = (0, 0, self.began);
        for milestones in self.latest.iter().flat_map(|reading| &reading.milestones) {
            let since = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(milestones.asked));
            if let Some(at) = milestones.connected {
                connected += 1;
                aes_gcm += u64::from(milestones.profile == Some(Profile::Aes128Gcm));
                last = last.max(at);
            }
            since(milestones.connected).iter().for_each(|time| connect.record(*time));
            since(milestones.firsts.packet).iter().for_each(|time| packet.record(*time));
            since(milestones.firsts.keyframe).iter().for_each(|time| keyframe.record(*time));
        }
        let first = self.latest.iter().flat_map(|reading| &reading.milestones).map(|milestones| milestones.asked).min();
        let took = last.saturating_duration_since(first.unwrap_or(self.began)).as_secs_f64();
        Joins {
            asked: self.asked,
            entered: self.entered,
            connected,
            aes_gcm,
            failed: self.lost.len() as u64,
            per_second: if took > 0.0 { connected as f64 / took } else { 0.0 },
            enter_ms: Times::of(&self.entering),
            connect_ms: Times::of(&connect),
            first_packet_ms: Times::of(&packet),
            first_keyframe_ms: Times::of(&keyframe),
            failures: self.failures.clone(),
        }
    }

    fn generator(&self) -> Generator {
        let busiest = self.steady.since.as_ref().zip(self.steady.until.as_ref()).map_or(0.0, |(since, until)| {
            let seconds = until.0.saturating_duration_since(since.0).as_secs_f64().max(0.001);
            let each = since.2.iter().zip(&until.2);
            each.map(|(from, to)| to.saturating_sub(*from).as_secs_f64() / seconds).fold(0.0, f64::max)
        });
        let send_errors = self.latest.iter().map(|reading| reading.send_errors).sum();
        Generator { threads: self.workers.len(), busiest, send_errors }
    }

    fn server(&self, received: [u64; 2]) -> Option<Server> {
        let (since, until) = self.steady.since.as_ref().zip(self.steady.until.as_ref())?;
        let cpu_seconds = until.1.cpu_seconds? - since.1.cpu_seconds?;
        let told = until.1.packets.zip(since.1.packets).map(|(until, since)| until - since);
        let ours = received.iter().sum::<u64>().saturating_sub(self.steady.received.iter().sum()) as f64;
        let packets = told.unwrap_or(ours);
        let seconds = until.0.saturating_duration_since(since.0).as_secs_f64().max(0.001);
        Some(Server {
            cpu_seconds,
            cores: cpu_seconds / seconds,
            packets,
            cpu_us_per_packet: if packets > 0.0 { cpu_seconds * 1e6 / packets } else { 0.0 },
            resident_mib: until.1.resident_bytes.map(|bytes| bytes / 1_048_576.0),
        })
    }
}
