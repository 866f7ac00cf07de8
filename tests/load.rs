//! A crowd and a real node, in one process: everybody joins, everything that was sent arrives, and the figures say so.

#![allow(clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use weir::config::{Config, Layers, Secret, Source};
use weir::load::drive;
use weir::load::http::Http;
use weir::load::plan::{Plan, Tokens};
use weir::load::report::{Report, Sample};
use weir::load::scenario::{Camera, Scenario};
use weir::load::server::Meter;
use weir::node::Node;
use weir::rtp::Kind;

const KEY: &str = "app";
const SECRET: &str = "a-secret-that-is-long-enough-for-it";

/// A node with ports of its own.
fn config() -> Config {
    let tcp = || TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let mut layers = Layers::default();
    for (key, value) in [
        ("http.listen", tcp().to_string()),
        ("admin.listen", tcp().to_string()),
        ("media.listen_ip", "127.0.0.1".to_owned()),
        ("media.advertise", "127.0.0.1".to_owned()),
        ("media.tcp_port", "0".to_owned()),
        ("media.udp_port", udp.to_string()),
        ("media.shards", "1".to_owned()),
    ] {
        layers.given(Source::Dev, key, &value);
    }
    let mut config = layers.load().expect("sound").config;
    config.auth.keys = [(KEY.to_owned(), Secret::new(SECRET.to_owned()))].into_iter().collect();
    config
}

fn plan(config: &Config, scenario: Scenario) -> Plan {
    Plan {
        scenario,
        servers: vec![format!("http://{}", config.http.listen)],
        tokens: Tokens::Signed { keys: config.auth.keys.clone(), key: KEY.to_owned() },
        http: None,
        ramp: 20.0,
        duration: Duration::from_secs(4),
        threads: 1,
        verify: true,
        limit_bps: None,
        meter: Meter { pids: Vec::new(), pages: vec![format!("http://{}/metrics", config.admin.listen)] },
    }
}

async fn run(config: &Config, scenario: Scenario) -> Report {
    let mut looks = 0;
    let report =
        drive::run(plan(config, scenario), |_| looks += 1, std::future::pending()).await.expect("the node lets them in");
    assert_eq!(looks, report.samples.len());
    report
}

/// What must hold of every run that nothing disturbs.
fn assert_whole(report: &Report, members: u64) {
    let joins = &report.joins;
    assert_eq!(
        (joins.asked, joins.entered, joins.connected, joins.failed),
        (members, members, members, 0),
        "{:?}",
        joins.failures
    );
    for kind in [Kind::Audio, Kind::Video] {
        let heard = report.heard.of(kind);
        assert_eq!(
            (heard.received, heard.lost, heard.duplicate, heard.broken),
            (heard.expected, 0, 0, 0),
            "{kind:?}: {heard:?}"
        );
    }
}

fn latency(report: &Report, kind: Kind) -> f64 {
    let found = report.latency.iter().find(|latency| latency.kind == kind && latency.hops == 0);
    found.expect("the stamp of the publisher comes through").ms.p50
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_arrives_and_is_accounted_for() {
    let config = config();
    let node = Node::start(config.clone(), None).await.expect("it starts");

    // Three who see each other.
    let report = run(&config, Scenario { members: 3, fps: 15, ..Scenario::default() }).await;
    assert_whole(&report, 3);
    let (heard, said) = (&report.heard.video, &report.said.video);
    assert!(heard.frames > 6 * 15 * 3, "three receive two each for 4 s: {heard:?}");
    assert!(said.keyframes >= 9 && heard.verified > 0 && heard.stalled == 0, "{said:?} {heard:?}");
    assert_eq!(report.joins.first_keyframe_ms.count, 3);
    assert!(latency(&report, Kind::Video) > 0.0 && latency(&report, Kind::Audio) > 0.0);
    let server = report.server.expect("its page of metrics was read");
    assert!(server.packets > 500.0 && server.cpu_us_per_packet > 0.0, "{server:?}");
    // Tiles of 360 lines: two pictures for each, of the middle layer.
    let last = report.samples.iter().rev().find(|sample| sample.steady).expect("a second of all");
    assert_eq!(last.layers, [0, 6, 0, 0]);
    assert_eq!(last.connected, 3);

    // One talks in each of two rooms, and two listen.
    let rooms = Scenario { rooms: 2, publishers: 1, subscribers: 2, camera: Camera::Off, ..Scenario::default() };
    let report = run(&config, rooms).await;
    assert_whole(&report, 6);
    assert_eq!(report.heard.video.received, 0);
    assert!(report.heard.audio.received > 4 * 150, "{:?}", report.heard.audio);

    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_interrupted_says_goodbye_and_has_its_figures() {
    let config = config();
    let node = Node::start(config.clone(), None).await.expect("it starts");
    let (all_there, there) = tokio::sync::oneshot::channel();
    let mut all_there = Some(all_there);
    let look = |sample: &Sample| {
        if sample.steady {
            all_there.take().map(|told| told.send(()));
        }
    };
    // A page of metrics that is there at the start only: what it would tell is missing, and nothing else is.
    let page = TcpListener::bind("127.0.0.1:0").expect("a port");
    let pages = vec![format!("http://{}/metrics", page.local_addr().expect("bound"))];
    std::thread::spawn(move || {
        let (mut asked, _) = page.accept().expect("it is asked");
        let _ = asked.read(&mut [0; 1024]).expect("a request");
        let text = "weir_process_cpu_seconds_total 1\n";
        write!(asked, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len())
            .expect("it reads");
    });
    let scenario = Scenario { members: 2, camera: Camera::Off, ..Scenario::default() };
    let long =
        Plan { duration: Duration::from_secs(3_600), meter: Meter { pages, ..Meter::default() }, ..plan(&config, scenario) };
    let report = drive::run(long, look, async { there.await.expect("they come") }).await.expect("figures");
    assert_eq!((report.joins.connected, report.joins.failed, report.server), (2, 0, None));
    assert!(report.heard.audio.received > 0 && report.steady_seconds > 0.0, "{report:?}");
    let metrics =
        || async { Http::default().metrics(&format!("http://{}/metrics", config.admin.listen)).await.expect("a page") };
    while !metrics().await.contains("weir_members 0\n") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_crowds_fit_into_one_room_and_one_may_leave_before_the_other() {
    let config = config();
    let node = Node::start(config.clone(), None).await.expect("it starts");
    let crowd = |identity: &str, seconds| {
        let scenario = Scenario { members: 2, identity: identity.to_owned(), fps: 15, ..Scenario::default() };
        let plan = Plan { duration: Duration::from_secs(seconds), meter: Meter::default(), ..plan(&config, scenario) };
        drive::run(plan, |_| (), std::future::pending())
    };
    let (early, late) = tokio::join!(crowd("east-", 2), crowd("west-", 6));
    for report in [early.expect("they come"), late.expect("they come")] {
        assert_eq!((report.joins.connected, report.joins.failed), (2, 0), "{:?}", report.joins.failures);
        let heard = report.heard.video;
        assert!(heard.frames > 2 * 15 * 3 && heard.stalled == 0, "nothing is waited for of who left: {heard:?}");
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_told_why() {
    let config = config();
    let node = Node::start(config.clone(), None).await.expect("it starts");
    let scenario = Scenario { members: 2, ..Scenario::default() };
    let attempt = |plan| async { drive::run(plan, |_| (), std::future::pending()).await.expect_err("it is refused") };

    let strange = [("other".to_owned(), Secret::new(SECRET.to_owned()))].into_iter().collect();
    let tokens = Tokens::Signed { keys: strange, key: "other".to_owned() };
    let said = attempt(Plan { tokens, ..plan(&config, scenario.clone()) }).await;
    assert!(said.contains("unauthorized") && said.contains("API key"), "{said}");

    let said = attempt(Plan { tokens: Tokens::Dev, ..plan(&config, scenario.clone()) }).await;
    assert!(said.contains("weir dev") && said.contains("--config"), "{said}");

    let servers = vec![format!("http://{}", config.admin.listen)];
    let said = attempt(Plan { servers, ..plan(&config, scenario.clone()) }).await;
    assert!(said.contains("404") && said.contains("http.listen"), "{said}");

    node.shutdown().await;
    let said = attempt(Plan { meter: Meter::default(), ..plan(&config, scenario) }).await;
    assert!(said.contains("can't be reached"), "{said}");
}
