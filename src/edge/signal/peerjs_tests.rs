//! PeerJS over real sockets on loopback: what its client asks for, and who may ask.

use super::tests::{Server, Socket, hear, say, serve};
use super::*;
use futures_util::SinkExt;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

async fn with_app(discovery: bool) -> Server {
    let key: Vec<_> = "app".parse().into_iter().collect();
    serve(|config| config.peerjs = Peerjs { discovery: if discovery { key.clone() } else { Vec::new() }, keys: key }).await
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
    // In development, where rooms are open to everybody, not even by a name that was made to point here.
    let key: Vec<_> = "app".parse().into_iter().collect();
    let peerjs = Peerjs { discovery: Vec::new(), keys: key };
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
