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

/// A proxy that speaks TLS in front of a node, as deployments have one. Its port, and its authority's certificate.
async fn proxy(to: String) -> (u16, String) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;

    let key = || KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, key()).expect("an authority");
    let own = key();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let leaf = leaf.signed_by(&own, &authority).expect("a certificate");
    let own = PrivateKeyDer::try_from(own.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let config = config.with_single_cert(vec![leaf.der().clone()], own).expect("a pair");
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, to) = (acceptor.clone(), to.clone());
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(socket).await else { return };
                let mut inside = tokio::net::TcpStream::connect(to).await.expect("the node listens");
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    (port, authority.pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_behind_tls_is_reached_if_its_authority_is_believed() {
    let config = config();
    let node = Node::start(config.clone(), None).await.expect("it starts");
    let (port, authority) = proxy(config.http.listen.to_string()).await;
    let file = std::env::temp_dir().join(format!("weir-{}-authority.pem", std::process::id()));
    std::fs::write(&file, authority).expect("the temporary directory is writable");
    let load = |more: &'static [&'static str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["load", "--key", KEY, "--url", &format!("https://localhost:{port}"), "-m", "2", "-d", "2", "--quiet"]);
        command.args(["--json", "-"]).args(more).env("WEIR_LOAD_SECRET", SECRET).stdin(std::process::Stdio::null());
        command
    };
    let told = |mut command: std::process::Command| async move {
        let output = tokio::task::spawn_blocking(move || command.output().expect("weir runs")).await.expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };

    let mut believing = load(&[]);
    believing.env("SSL_CERT_FILE", &file);
    let (well, out, err) = told(believing).await;
    assert!(well && out.contains("\"connected\": 2") || out.contains("\"connected\":2"), "{out} {err}");

    let (well, out, err) = told(load(&[])).await;
    assert!(!well && format!("{out}{err}").contains("SSL_CERT_FILE"), "{out} {err}");

    // By HTTP too: the token of a development server is asked for there, which this is not.
    let whip = format!("https://localhost:{port}/whip/{{room}}");
    let mut by_whip = std::process::Command::new(env!("CARGO_BIN_EXE_weir"));
    by_whip.args(["load", "--key", KEY, "-p", "1", "-d", "1", "--quiet", "--json", "-", "--whip", &whip]);
    by_whip.env("WEIR_LOAD_SECRET", SECRET).env("SSL_CERT_FILE", &file).stdin(std::process::Stdio::null());
    let (well, out, err) = told(by_whip).await;
    assert!(well, "{out} {err}");
    let _ = std::fs::remove_file(file);
    node.shutdown().await;
}
