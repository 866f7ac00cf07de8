//! PeerJS over real sockets on loopback: what its client asks for, and who may ask.

use super::tests::{Server, Socket, hear, say, serve, token};
use super::*;
use crate::config::AppKey;
use futures_util::SinkExt;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

fn config_key() -> Vec<AppKey> {
    "app".parse().into_iter().collect()
}

async fn with_app(discovery: bool) -> Server {
    let key = config_key();
    let discovery = if discovery { key.clone() } else { Vec::new() };
    serve(|config| config.peerjs = Peerjs { keys: key, discovery, ..Peerjs::default() }).await
}

async fn connect(server: &Server, query: &str, origin: &str) -> Result<Socket, u16> {
    let mut request = format!("ws://{}/peerjs/peerjs?{query}", server.addr).into_client_request().expect("a good address");
    request.headers_mut().insert("origin", origin.parse().expect("a good header"));
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

async fn open(server: &Server, id: &str, token: &str) -> Socket {
    let query = format!("key=app&id={id}&token={token}&version=1.5.5");
    let mut socket = connect(server, &query, "https://meet.example").await.expect("allowed");
    assert_eq!(hear(&mut socket).await["type"], "OPEN");
    socket
}

async fn get(server: &Server, path: &str) -> String {
    server.http("GET", path, "x\r\norigin: https://meet.example", "").await
}

#[tokio::test]
async fn a_peerjs_client_finds_what_it_asks_for() {
    let server = with_app(true).await;
    for path in ["/peerjs", "/peerjs/"] {
        let about = get(&server, path).await;
        assert!(["\"name\"", "\"description\"", "\"website\""].iter().all(|field| about.contains(field)), "{about}");
    }
    let id = get(&server, "/peerjs/app/id?ts=1&version=1.5.5").await;
    assert!(id.starts_with("HTTP/1.1 200") && id.contains("access-control-allow-origin: https://meet.example"), "{id}");
    let id = id.split("\r\n\r\n").nth(1).expect("a body").to_owned();
    let (mut a, mut b) = (open(&server, &id, "1").await, open(&server, "b%20b", "2").await);
    let listed = get(&server, "/peerjs/app/peers").await;
    assert!(listed.contains(&format!("\"{id}\"")) && listed.contains("\"b b\""), "{listed}");

    say(&mut a, r#"{"type":"HEARTBEAT"}"#).await;
    say(&mut a, "{").await;
    a.send(Message::binary(vec![1, 2])).await.expect("open");
    say(&mut a, r#"{"type":"OFFER","src":"liar","dst":"b b","payload":{"sdp":1}}"#).await;
    assert_eq!(hear(&mut b).await, json!({ "type": "OFFER", "src": id, "dst": "b b", "payload": { "sdp": 1 } }));
    let mut thief = connect(&server, "key=app&id=b%20b&token=3", "https://meet.example").await.expect("allowed");
    assert_eq!(hear(&mut thief).await["type"], "ID-TAKEN");
    assert!(hear(&mut thief).await.is_null());
    let _again = open(&server, "b%20b", "2").await;
    assert!(hear(&mut b).await.is_null(), "the old socket is closed");
    let stats = server.handle.peerjs().await.expect("it runs");
    assert_eq!((stats.peers, stats.malformed, stats.delivered, stats.taken, stats.replaced), (2, 2, 1, 1, 1));
    drop(a);
    while server.handle.peerjs().await.expect("it runs").peers != 1 {
        tokio::task::yield_now().await;
    }
    server.handle.drain().await;
    let mut late = connect(&server, "key=app&id=late&token=3", "https://meet.example").await.expect("allowed");
    assert!(hear(&mut late).await.is_null());
}

#[tokio::test]
async fn who_may_not_use_peerjs_is_told_why() {
    let server = with_app(false).await;
    let status = async |path: &str| get(&server, path).await.split(' ').nth(1).unwrap_or_default().to_owned();
    assert_eq!(status("/peerjs/app/peers").await, "401");
    assert_eq!((status("/peerjs/other/peers").await, status("/peerjs/other/id").await), ("401".into(), "401".into()));
    let evil = server.http("GET", "/peerjs/app/id", "x\r\norigin: https://evil.example", "").await;
    assert!(evil.starts_with("HTTP/1.1 403"), "{evil}");
    let good = "https://meet.example";
    assert_eq!(connect(&server, "key=app&id=a&token=1", "https://evil.example").await.err(), Some(403));
    for (query, kind) in [
        ("key=other&id=a&token=1", "INVALID-KEY"),
        ("id=a&token=1", "INVALID-KEY"),
        ("key=app&token=1", "ERROR"),
        ("key=app&id=a", "ERROR"),
        ("key=app&id=a..b&token=1", "ERROR"),
    ] {
        let mut socket = connect(&server, query, good).await.expect("allowed");
        assert_eq!(hear(&mut socket).await["type"], kind, "{query}");
        assert!(hear(&mut socket).await.is_null());
    }
    // Strangers take a part of all sockets only.
    let one = serve(|config| config.peerjs = Peerjs { keys: config_key(), connections: 1, ..Peerjs::default() }).await;
    let first = open(&one, "a", "1").await;
    assert_eq!(connect(&one, "key=app&id=b&token=1", good).await.err(), Some(503));
    assert!(one.handle.sockets.available_permits() > 100);
    drop(first);
    while one.handle.peerjs().await.expect("it runs").peers > 0 {
        tokio::task::yield_now().await;
    }
    open(&one, "b", "1").await;
    // In development, where rooms are open to everybody, not even by a name that was made to point here.
    let key = config_key();
    let peerjs = Peerjs { keys: key, ..Peerjs::default() };
    let dev = serve(|config| (config.dev_key, config.peerjs) = (Some("key".into()), peerjs)).await;
    let address = format!("ws://{}/peerjs/peerjs?key=app&id=a&token=1", dev.addr);
    for (host, status) in [("x.example", 403), ("localhost", 101)] {
        let mut request = address.as_str().into_client_request().expect("a good address");
        request.headers_mut().insert("host", host.parse().expect("a good header"));
        request.headers_mut().insert("origin", format!("http://{host}").parse().expect("a good header"));
        let found = match connect_async(request).await {
            Ok((_, response)) => response.status().as_u16(),
            Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(found, status, "{host}");
    }
    // Without an app there is nothing.
    let none = serve(|_| {}).await;
    assert!(get(&none, "/peerjs/app/id").await.starts_with("HTTP/1.1 404"));
    assert_eq!(connect(&none, "key=app&id=a&token=1", good).await.err(), Some(404));
}

#[tokio::test]
async fn who_may_watch_a_room_is_told_who_is_there() {
    let server = with_app(false).await;
    let ask =
        async |path: &str, more: &str| server.http("GET", path, &format!("x\r\norigin: https://meet.example{more}"), "").await;
    let with = |room: &str| format!("\r\nauthorization: Bearer {}", token(room, "ben"));
    let _ada = server.join("ada").await;
    let told = ask("/peerjs/app/rooms/room", &with("room")).await;
    assert!(told.contains(r#"[{"id":"room-room ada","identity":"ada","name":"#), "{told}");
    assert!(told.contains("access-control-allow-origin: https://meet.example"), "{told}");
    let empty = ask("/peerjs/app/rooms/other", &with("other")).await;
    assert!(empty.ends_with("\r\n\r\n[]"), "{empty}");
    for (path, more, status) in [
        ("/peerjs/app/rooms/room", String::new(), "401"),
        ("/peerjs/app/rooms/room", "\r\nauthorization: Bearer x".into(), "401"),
        ("/peerjs/app/rooms/room", with("other"), "403"),
        ("/peerjs/strange/rooms/room", with("room"), "401"),
    ] {
        let answer = ask(path, &more).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && !answer.contains("ada"), "{path}{more}: {answer}");
    }
    let foreign =
        server.http("GET", "/peerjs/app/rooms/room", &format!("x\r\norigin: https://evil.example{}", with("room")), "").await;
    assert!(foreign.starts_with("HTTP/1.1 403"), "{foreign}");
    let preflight = server.http("OPTIONS", "/peerjs/app/rooms/room", "x\r\norigin: https://meet.example", "").await;
    assert!(
        preflight.starts_with("HTTP/1.1 204") && preflight.contains("access-control-allow-headers: Authorization"),
        "{preflight}"
    );
}

/// A client that reads too slowly, or is made to, loses what is too much; it keeps its socket, and callers hear that they failed.
#[tokio::test]
async fn a_flood_costs_its_receiver_messages_and_not_its_socket() {
    tokio::time::timeout(Duration::from_secs(60), flood()).await.expect("nobody waits forever");
}

async fn flood() {
    let server = with_app(false).await;
    let mut victim = open(&server, "victim", "1").await;
    let mut caller = open(&server, "caller", "2").await;
    let large = "x".repeat(2_000);
    for number in 0.. {
        assert!(number < 8, "what nobody reads is kept without bound");
        let mut crowd = open(&server, &format!("crowd{number}"), "3").await;
        say(&mut victim, r#"{"type":"HEARTBEAT"}"#).await;
        for _ in 0..1_900 {
            crowd.feed(text(&format!(r#"{{"type":"CANDIDATE","dst":"victim","payload":"{large}"}}"#))).await.expect("open");
        }
        crowd.flush().await.expect("open");
        say(&mut crowd, r#"{"type":"LEAVE","dst":"caller"}"#).await;
        assert_eq!(hear(&mut caller).await["type"], "LEAVE", "all of it has come");
        if server.handle.peerjs().await.expect("it runs").dropped > 0 {
            break;
        }
    }
    say(&mut caller, &format!(r#"{{"type":"OFFER","dst":"victim","payload":"{large}"}}"#)).await;
    assert_eq!(hear(&mut caller).await, json!({ "type": "EXPIRE", "src": "victim", "dst": "caller" }));
    // It reads what there is, and is reached again.
    for heard in 0.. {
        if heard % 100 == 0 {
            say(&mut caller, r#"{"type":"OFFER","dst":"victim","payload":1}"#).await;
        }
        match hear(&mut victim).await["type"].as_str() {
            Some("CANDIDATE") => {}
            Some("OFFER") => return,
            other => panic!("{other:?} after {heard}"),
        }
    }
}

fn text(text: &str) -> Message {
    Message::text(text)
}
