//! Members who only watch, many in one process: they join a room as browsers do, receive whatever comes, report on it so that the
//! server is content, and decode nothing. Reads one join token a line; prints what came so far, as JSON, every second.
//!
//! `cargo run --release --example crowd -- ws://HOST:PORT/v1/ws < tokens`

#![allow(clippy::indexing_slicing, clippy::unwrap_used)] // a tool of the tests: what is wrong should stop it

#[allow(dead_code)] // made for a bench, which also publishes
#[path = "../../../benches/fanout/client.rs"]
mod client;
#[allow(dead_code)] // made for tests too, which also use TCP
#[path = "../../support/client.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use weir::edge::peer::Certificate;
use weir::edge::plan::{DtlsPlan, ExtensionIds, Fingerprint, IceCredentials, IcePlan, MediaPlan};

/// What all of them had.
#[derive(Default)]
struct Came {
    members: AtomicU64,
    packets: Arc<AtomicU64>,
}

fn main() {
    let url = std::env::args().nth(1).expect("the address of the room protocol, as ws://HOST:PORT/v1/ws");
    let tokens: Vec<String> = std::io::stdin().lines().map(|line| line.expect("a token")).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(url, tokens));
}

async fn run(url: String, tokens: Vec<String>) {
    let came = Arc::new(Came::default());
    let certificate = Arc::new(Certificate::generate().expect("a certificate"));
    let members = tokens.into_iter().map(|token| watch(url.clone(), token, Arc::clone(&certificate), Arc::clone(&came)));
    for member in members {
        tokio::spawn(member);
        // Not all at once: handshakes are dear.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    loop {
        let (members, packets) = (came.members.load(Ordering::Relaxed), came.packets.load(Ordering::Relaxed));
        println!("{}", json!({ "members": members, "packets": packets }));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// One member, for good.
async fn watch(url: String, token: String, certificate: Arc<Certificate>, came: Arc<Came>) {
    let mut request = url.into_client_request().expect("an address");
    request.headers_mut().insert("sec-websocket-protocol", "weir.v1".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("the server answers");
    let hello = json!({ "id": 1, "t": "hello", "token": token, "client": "crowd/1", "opts": { "adaptive": false } });
    socket.send(Message::text(hello.to_string())).await.expect("the socket is open");
    let id: u64 = rand::random();
    let credentials = IceCredentials { ufrag: format!("{id:016x}"), pwd: format!("{id:032x}") };
    let mut ping = tokio::time::interval(Duration::from_secs(5));
    loop {
        let read = tokio::select! {
            read = socket.next() => read,
            _ = ping.tick() => {
                let _ = socket.send(Message::text(json!({ "t": "ping", "ts": 0 }).to_string())).await;
                continue;
            }
        };
        let text = match read {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(_)) => continue,
            end => panic!("the socket ended: {end:?}"),
        };
        let said: Value = serde_json::from_str(&text).expect("JSON");
        match said["t"].as_str() {
            Some("welcome") => {
                let offer = json!({ "id": 2, "t": "offer", "neg": 1, "sdp": offer(&credentials, &certificate.fingerprint()) });
                socket.send(Message::text(offer.to_string())).await.expect("the socket is open");
            }
            Some("answer") => {
                let answer = said["sdp"].as_str().expect("a description").to_owned();
                let (server, plan, fingerprint) = settled(&answer, &credentials, &certificate);
                let (certificate, came) = (Arc::clone(&certificate), Arc::clone(&came));
                tokio::spawn(async move {
                    let load = client::Load::connect(server, &plan, certificate, fingerprint).await;
                    came.members.fetch_add(1, Ordering::Relaxed);
                    load.subscribe(plan.extensions, Arc::clone(&came.packets)).await;
                });
            }
            Some("err" | "leave") => panic!("the server said {said}"),
            _ => {}
        }
    }
}

/// One place for a voice and one for a picture.
fn offer(credentials: &IceCredentials, fingerprint: &Fingerprint) -> String {
    let hash: Vec<String> = fingerprint.hash.iter().map(|byte| format!("{byte:02X}")).collect();
    let extensions = "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
                      a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n";
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n\
         a=fingerprint:{} {}\r\na=setup:active\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\n\
         a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n{extensions}\
         m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=recvonly\r\na=rtcp-mux\r\n\
         a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n\
         a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n{extensions}",
        credentials.ufrag,
        credentials.pwd,
        fingerprint.algorithm,
        hash.join(":"),
    )
}

/// Where to send, as what, and whom to expect there.
fn settled(answer: &str, ours: &IceCredentials, certificate: &Certificate) -> (SocketAddr, MediaPlan, Fingerprint) {
    let value =
        |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {answer}"));
    let candidate: Vec<&str> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"))
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|words| words[2].eq_ignore_ascii_case("udp"))
        .expect("a candidate");
    let server = SocketAddr::new(candidate[4].parse().expect("an address"), candidate[5].parse().expect("a port"));
    let (algorithm, hash) = value("a=fingerprint:").split_once(' ').expect("two words");
    let hash = hash.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect();
    let remote = Fingerprint { algorithm: algorithm.to_owned(), hash };
    let theirs = IceCredentials { ufrag: value("a=ice-ufrag:").into(), pwd: value("a=ice-pwd:").into() };
    let plan = MediaPlan {
        // As the server sees it: its own first.
        ice: IcePlan { local: theirs, remote: ours.clone() },
        dtls: DtlsPlan { we_are_client: false, fingerprints: vec![certificate.fingerprint()] },
        extensions: ExtensionIds { mid: Some(1), transport_cc: Some(3), ..ExtensionIds::default() },
        payload_types: Vec::new(),
        receive: Vec::new(),
        send: Vec::new(),
        sctp: None,
    };
    (server, plan, remote)
}
