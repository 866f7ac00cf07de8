//! The program as its users meet it: what it says to mistakes, what it prints, how it starts, answers and stops. Runs the built
//! binary; loopback only.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a start, a stop or an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn weir(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(line.split_whitespace()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(name);
        }
    }
    command
}

fn output(command: &mut Command) -> (Output, String, String) {
    let output = command.output().expect("weir runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

/// A file that is gone when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("the temporary directory is writable");
        Self(path)
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A node of `weir dev`, killed when the test ends.
struct Dev {
    child: Child,
    page: String,
    admin: String,
}

impl Dev {
    fn start(flags: &str) -> Self {
        let mut child = weir(&format!("dev --single --port 0 {flags}")).stdout(Stdio::piped()).spawn().expect("weir runs");
        let mut addresses = Vec::new();
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        for line in lines.map(|line| line.expect("text")) {
            let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
            addresses.extend(address.map(|address| address.replace("localhost", "127.0.0.1")));
            if line.contains("Ctrl-C") {
                break;
            }
        }
        let [page, admin] = addresses.as_slice() else { panic!("it prints two addresses: {addresses:?}") };
        let (page, admin) = (page.clone(), admin.clone());
        Self { child, page, admin }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    fn ended(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "it did not stop");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP request: status, head in lower case, body.
fn http(address: &str, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).expect(address);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("it is read");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, head.to_lowercase(), body.to_owned())
}

#[test]
fn a_mistake_in_the_file_is_told_by_line_with_the_mend() {
    let file = Scratch::new("mistake.toml", "[media]\nudp_prot = 7000\n");
    let (output, _, err) = output(&mut weir(&format!("config check {}", file.path())));
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains(":2: no such key: media.udp_prot; did you mean media.udp_port?"), "{err}");
}

#[test]
fn what_config_prints_is_a_sound_file_that_names_every_source() {
    let (_, printed, _) = output(weir("config print --udp-port 7000").env("WEIR_LOG__FORMAT", "json"));
    assert!(printed.contains("udp_port = 7000  # flag --udp-port"), "{printed}");
    assert!(printed.contains("format = \"json\"  # environment WEIR_LOG__FORMAT"), "{printed}");
    let file = Scratch::new("printed.toml", &printed);
    let (checked, _, err) = output(&mut weir(&format!("config check {}", file.path())));
    assert!(checked.status.success(), "{err}");
}

#[test]
fn nobody_is_served_without_a_key() {
    let (output, _, err) = output(&mut weir("serve"));
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains("weir token --generate-key"), "{err}");
}

#[test]
fn a_generated_key_signs_tokens() {
    let (_, key, _) = output(&mut weir("token --generate-key"));
    let file = Scratch::new("key.toml", &key);
    let (minted, token, err) = output(&mut weir(&format!("token --config {} --room r --identity a", file.path())));
    assert!(minted.status.success(), "{err}");
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
    let secret = key.split('"').nth(1).expect("a secret in quotes");
    let (_, printed, _) = output(&mut weir(&format!("config print --config {}", file.path())));
    assert!(printed.contains("(secret)") && !printed.contains(secret), "{printed}");
    let long = format!("token --config {} --room r --identity a --ttl 1h", file.path());
    let (refused, _, err) = output(&mut weir(&long));
    assert!(!refused.status.success() && err.contains("auth.max_ttl_s"), "{err}");
}

#[test]
fn the_doctor_fails_on_what_breaks_calls_and_says_so_to_programs_too() {
    let held = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = held.local_addr().expect("bound").port();
    // No operator's listener to ask: what holds the port is not a node.
    let line = format!("doctor --json --shards 1 --udp-port {port} --set media.listen_ip=127.0.0.1 --admin-listen 127.0.0.1:0");
    let (output, json, _) = output(&mut weir(&line));
    assert_eq!(output.status.code(), Some(1));
    let findings: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let udp =
        findings.as_array().expect("a list").iter().find(|finding| finding["check"] == "udp ports").expect("it is checked");
    assert_eq!(udp["state"], "fail");
    assert!(udp["mend"].as_str().is_some_and(|mend| mend.contains("media.udp_port")), "{udp}");
}

#[test]
fn the_doctor_knows_a_node_that_runs() {
    let node = Dev::start("");
    let line = format!("doctor --json --http-listen {} --admin-listen {}", node.page, node.admin);
    let (_, json, _) = output(&mut weir(&line));
    let findings: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    for check in ["public listener", "admin listener"] {
        let finding = findings.as_array().expect("a list").iter().find(|finding| finding["check"] == check).expect(check);
        assert_eq!(finding["state"], "ok", "{finding}");
        assert!(finding["found"].as_str().is_some_and(|found| found.contains("by the node that runs")), "{finding}");
    }
}

#[test]
fn dev_refuses_to_leave_loopback() {
    for flags in ["--http-listen 0.0.0.0:0", "--set media.listen_ip=0.0.0.0", "--admin-listen 0.0.0.0:0"] {
        let (output, _, err) = output(&mut weir(&format!("dev {flags}")));
        assert_eq!(output.status.code(), Some(1), "{flags}");
        assert!(err.contains("stays on loopback"), "{err}");
    }
}

#[test]
fn a_node_answers_its_operator_and_stops_when_asked() {
    let mut node = Dev::start("--shards 2");
    let (status, _, _) = http(&node.admin, "GET /healthz");
    assert_eq!(status, 200);
    let (status, _, body) = http(&node.admin, "GET /readyz");
    assert_eq!((status, body.trim()), (200, "ready"));

    let (status, head, metrics) = http(&node.admin, "GET /metrics");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text"), "{head}");
    for line in
        ["weir_ready 1", "weir_shard_up{shard=\"0\"} 1", "weir_shard_up{shard=\"1\"} 1", "weir_rooms 0", "weir_members 0"]
    {
        assert!(metrics.lines().any(|found| found == line), "{metrics}\nlacks {line}");
    }
    assert!(metrics.contains("weir_process_resident_memory_bytes"), "{metrics}");

    let (status, _, rooms) = http(&node.admin, "GET /v1/admin/rooms");
    let rooms: serde_json::Value = serde_json::from_str(&rooms).expect("JSON");
    assert_eq!((status, rooms["rooms"].as_array().map(Vec::len)), (200, Some(0)));
    for (request, expected) in [
        ("GET /v1/admin/rooms/none", 404),
        ("DELETE /v1/admin/rooms/none/members/m00000000000001", 404),
        ("DELETE /v1/admin/rooms/none/members/x", 400),
        ("GET /nothing", 404),
    ] {
        let (status, _, body) = http(&node.admin, request);
        let error: serde_json::Value = serde_json::from_str(&body).expect("errors are JSON");
        assert_eq!(status, expected, "{request}");
        assert!(error["error"]["message"].is_string(), "{request}: {body}");
    }

    node.signal("-INT");
    assert!(node.ended().success(), "a stop that was asked for is a success");
}

#[test]
fn a_term_signal_stops_it_too() {
    let mut node = Dev::start("");
    node.signal("-TERM");
    assert!(node.ended().success());
}

#[test]
fn a_stop_takes_no_longer_than_it_may() {
    let mut node = Dev::start("--set node.drain_ms=300");
    let mut slow = TcpStream::connect(&node.page).expect("it listens");
    slow.write_all(b"GET / HTTP/1.1\r\n").expect("it is taken");
    assert_eq!(http(&node.page, "GET /").0, 200);
    let since = Instant::now();
    node.signal("-INT");
    assert!(node.ended().success());
    assert!(since.elapsed() >= Duration::from_millis(300), "the slow one was waited for");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut node = Dev::start("--set node.drain_ms=60000");
    // Somebody who never finishes a request: a stop waits for them as long as it may.
    let mut slow = TcpStream::connect(&node.page).expect("it listens");
    slow.write_all(b"GET / HTTP/1.1\r\n").expect("it is taken");
    assert_eq!(http(&node.page, "GET /").0, 200, "by now the slow one has been accepted, too");
    node.signal("-INT");
    std::thread::park_timeout(Duration::from_millis(500));
    assert_eq!(node.child.try_wait().expect("it is ours"), None, "the first signal waits");
    node.signal("-INT");
    assert_eq!(node.ended().code(), Some(130));
}

#[test]
fn the_page_is_served_with_headers_that_keep_it_honest() {
    let node = Dev::start("");
    for path in ["/", "/room/standup"] {
        let (status, head, body) = http(&node.page, &format!("GET {path}"));
        assert_eq!(status, 200, "{path}");
        assert!(head.contains("content-type: text/html") && body.contains("<script"), "{path}: {head}");
        assert!(head.contains("content-security-policy: default-src 'self'") && !head.contains("unsafe"), "{path}: {head}");
        assert!(
            head.contains("x-content-type-options: nosniff") && head.contains("referrer-policy: no-referrer"),
            "{path}: {head}"
        );
    }
    let (status, head, _) = http(&node.page, "GET /weir.js");
    assert!(status == 200 && head.contains("content-type: text/javascript"), "{head}");
    for path in ["/../Cargo.toml", "/%2e%2e/Cargo.toml", "/nothing", "/metrics", "/v1/admin/rooms"] {
        assert_eq!(http(&node.page, &format!("GET {path}")).0, 404, "{path}");
    }
}

#[test]
fn two_nodes_of_dev_run_side_by_side() {
    let (one, two) = (Dev::start(""), Dev::start(""));
    assert_ne!(one.page, two.page);
    assert_eq!((http(&one.admin, "GET /readyz").0, http(&two.admin, "GET /readyz").0), (200, 200));
}
