//! The shell over real sockets on loopback: who may connect, what ends a connection, and that frames find their way.

use std::net::SocketAddr;

use axum::serve::ListenerExt;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message, http};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use super::*;
use crate::config::Secret;
use crate::edge::plan::Fingerprint;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A server on loopback.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    pub(super) handle: HubHandle,
    inbox: mpsc::Receiver<Command>,
    events: mpsc::Sender<(ShardId, Event)>,
}

fn keys() -> Keys {
    [("key".to_owned(), Secret::new("a secret that is long enough to be one"))].into_iter().collect()
}

pub(super) fn token(room: &str, identity: &str) -> String {
    let claims = Claims::join("key", room, identity, identity, hub_task::unix_ms() / 1000, MAX_JOIN_TTL);
    token::mint(&keys(), &claims).expect("signs")
}

pub(super) async fn serve(change: impl FnOnce(&mut SignalConfig)) -> Server {
    let fingerprint = Fingerprint { algorithm: "sha-256".into(), hash: vec![1; 32] };
    let mut config = SignalConfig {
        node: NodeId::new("node"),
        region: RegionId::new("here"),
        keys: keys(),
        max_token_ttl: MAX_JOIN_TTL,
        origins: vec!["https://meet.example".into()],
        endpoints: vec![Arc::new(MediaEndpoint { shard: ShardId(0), candidates: vec![], fingerprint })],
        cascade: None,
        drain: Duration::from_secs(3),
        ice_servers: IceServers::default(),
        limits: Limits::default(),
        peerjs: Peerjs::default(),
        dev_key: None,
    };
    change(&mut config);
    let (shard, inbox) = mpsc::channel(100_000);
    let (events, heard) = mpsc::channel(100);
    let (routes, handle) = start(config, vec![shard], heard);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a socket option"));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Server { addr, handle, inbox, events }
}

impl Server {
    fn request(&self, headers: &[(&'static str, &str)]) -> http::Request<()> {
        let mut request = format!("ws://{}/v1/ws", self.addr).into_client_request().expect("a good address");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a good header"));
        }
        request
    }

    /// The status of an upgrade that was refused, or 101.
    async fn status(&self, headers: &[(&'static str, &str)]) -> u16 {
        match connect_async(self.request(headers)).await {
            Ok((_, response)) => response.status().as_u16(),
            Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
            // The client insists on the subprotocol too.
            Err(other) => panic!("{other}"),
        }
    }

    async fn connect(&self) -> Socket {
        connect_async(self.request(&[("sec-websocket-protocol", SUBPROTOCOL)])).await.expect("connects").0
    }

    pub(super) async fn join(&self, identity: &str) -> Socket {
        let mut socket = self.connect().await;
        let hello = json!({ "t": "hello", "token": token("room", identity) });
        say(&mut socket, &hello.to_string()).await;
        assert_eq!(hear(&mut socket).await["t"], "welcome");
        socket
    }

    pub(super) async fn http(&self, method: &str, path: &str, host: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).await.expect("connects");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answers");
        answer
    }
}

pub(super) async fn say(socket: &mut Socket, text: &str) {
    socket.send(Message::text(text)).await.expect("the socket is open");
}

/// The next frame; null when the socket has ended.
pub(super) async fn hear(socket: &mut Socket) -> Value {
    loop {
        match timeout(Duration::from_secs(10), socket.next()).await.expect("an answer in time") {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).expect("JSON"),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Value::Null,
            Some(Ok(other)) => panic!("{other:?}"),
        }
    }
}

/// The next frame of that type.
async fn hear_of(socket: &mut Socket, t: &str) -> Value {
    loop {
        let frame = hear(socket).await;
        assert!(!frame.is_null(), "ended before {t}");
        if frame["t"] == t {
            return frame;
        }
    }
}

#[tokio::test]
async fn only_our_pages_and_listed_origins_may_connect_and_only_for_our_protocol() {
    let server = serve(|config| config.limits.sockets = 1).await;
    let own = format!("http://{}", server.addr);
    let secure = format!("https://{}", server.addr);
    let weir = ("sec-websocket-protocol", SUBPROTOCOL);
    for (origin, status) in
        [("https://evil.example", 403), ("https://meet.example.evil.example", 403), ("null", 403), ("http://meet.example", 403)]
    {
        assert_eq!(server.status(&[weir, ("origin", origin)]).await, status, "{origin}");
    }
    for origin in [own.as_str(), &secure, "https://meet.example", "https://MEET.example"] {
        let socket = connect_async(server.request(&[weir, ("origin", origin)])).await.expect("allowed").0;
        assert_eq!(server.status(&[weir]).await, 503, "one at a time");
        drop(socket);
        while server.handle.sockets.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
    }
    let both = [("sec-websocket-protocol", "other, weir.v1")];
    let response = connect_async(server.request(&both)).await.expect("one of them is ours").1;
    assert_eq!(response.headers()["sec-websocket-protocol"], SUBPROTOCOL);
    let other = serve(|_| {}).await;
    assert_eq!(other.status(&[]).await, 400);
    assert_eq!(other.status(&[("sec-websocket-protocol", "weir.v2")]).await, 400);
}

#[tokio::test]
async fn frames_find_their_way_through_the_hub() {
    let mut server = serve(|_| {}).await;
    let mut ada = server.join("ada").await;
    let mut bob = server.join("bob").await;
    assert_eq!(hear(&mut ada).await["peer"]["identity"], "bob");
    assert!(matches!(server.inbox.recv().await, Some(Command::AddPeer { .. })));

    say(&mut bob, r#"{"id":4,"t":"chat","cid":"x","text":"<b>hi</b>"}"#).await;
    let chat = hear_of(&mut ada, "chat").await;
    assert_eq!((chat["text"].as_str(), chat["seq"].as_u64()), (Some("<b>hi</b>"), Some(3)));
    assert_eq!(hear_of(&mut bob, "ack").await["id"], 4);
    say(&mut bob, r#"{"id":5,"t":"mute","track":"t00000000000001","muted":true}"#).await;
    let err = hear_of(&mut bob, "err").await;
    assert_eq!((err["id"].as_u64(), err["code"].as_str()), (Some(5), Some("not_found")));

    let snapshot = server.handle.snapshot().await.expect("it runs");
    assert_eq!((snapshot.members, snapshot.sockets), (2, 2));
    let target = snapshot.rooms[0].members[0].id;
    assert!(server.handle.remove_member(target).await);
    assert!(!server.handle.remove_member(target).await);
    assert_eq!(hear_of(&mut ada, "leave").await["reason"], "removed");
    assert!(hear(&mut ada).await.is_null());

    // Cut without a word, and resumed.
    let pid = snapshot.rooms[0].members[1].id;
    let mut again = server.connect().await;
    let hello = json!({ "t": "hello", "token": "", "resume": { "sid": "s", "secret": "x", "last_seq": 0 } });
    say(&mut again, &hello.to_string()).await;
    assert_eq!(hear(&mut again).await["code"], "unauthorized");
    assert!(hear(&mut again).await.is_null());
    drop(bob);
    loop {
        let members = server.handle.snapshot().await.expect("it runs").rooms[0].members.clone();
        if members.len() == 1 && members[0].id == pid && members[0].away {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn frames_that_are_no_messages_are_answered_and_too_many_end_it() {
    let server = serve(|_| {}).await;
    let mut ada = server.join("ada").await;
    say(&mut ada, "{").await;
    assert_eq!(hear_of(&mut ada, "err").await["code"], "bad_message");
    ada.send(Message::binary(vec![0, 1])).await.expect("open");
    assert_eq!(hear_of(&mut ada, "err").await["code"], "bad_message");
    let long = format!(r#"{{"t":"react","emoji":"{}"}}"#, "x".repeat(256 * 1024));
    say(&mut ada, &long).await;
    assert_eq!(hear_of(&mut ada, "err").await["code"], "too_large");
    say(&mut ada, r#"{"t":"ping","ts":3.25}"#).await;
    assert_eq!(hear_of(&mut ada, "pong").await["ts"], 3.25);

    for _ in 0..50 {
        // It may be closed in the midst of it.
        let _ = ada.send(Message::text("[")).await;
    }
    assert_eq!(hear_of(&mut ada, "leave").await["reason"], "protocol");
    assert!(hear(&mut ada).await.is_null());

    let mut bob = server.join("bob").await;
    let _ = bob.send(Message::text("x".repeat(600 * 1024))).await;
    while !hear(&mut bob).await.is_null() {}
    let snapshot = server.handle.snapshot().await.expect("it runs");
    assert!(snapshot.rooms.iter().flat_map(|room| &room.members).all(|member| member.away));
}

#[tokio::test]
async fn who_does_not_read_is_let_go_and_may_resume_and_nobody_else_notices() {
    let server = serve(|config| {
        config.limits.socket_queue = 64;
        // A resume must fit into the queue.
        config.limits.ring_events = 32;
    })
    .await;
    // A socket with small buffers, so that little fits between here and there.
    let tcp = TcpSocket::new_v4().expect("a socket");
    tcp.set_recv_buffer_size(4 * 1024).expect("a size");
    let tcp = MaybeTlsStream::Plain(tcp.connect(server.addr).await.expect("connects"));
    let request = server.request(&[("sec-websocket-protocol", SUBPROTOCOL)]);
    let mut deaf = client_async(request, tcp).await.expect("connects").0;
    say(&mut deaf, &json!({ "t": "hello", "token": token("room", "deaf") }).to_string()).await;
    let welcome = hear(&mut deaf).await;

    let started = std::time::Instant::now();
    let mut talkers = Vec::new();
    let mut said = 0;
    let away = 'away: {
        for n in 0..100 {
            let mut talker = server.join(&format!("talker-{n}")).await;
            for _ in 0..20 {
                let chat = json!({ "id": 1, "t": "chat", "cid": "", "text": "x".repeat(4_000) });
                say(&mut talker, &chat.to_string()).await;
                hear_of(&mut talker, "ack").await;
                said += 1;
            }
            let snapshot = server.handle.snapshot().await.expect("it runs");
            talkers.push(talker);
            if snapshot.rooms[0].members[0].away {
                break 'away true;
            }
        }
        false
    };
    assert!(away, "still there after {said} messages");
    assert!(started.elapsed() < Duration::from_secs(10), "for its silence, not for its slowness");
    let mut last = 1;
    let leave = loop {
        let frame = hear(&mut deaf).await;
        match frame["t"].as_str() {
            Some("leave") => break Some(frame),
            Some(_) => last = frame["seq"].as_u64().filter(|seq| *seq > 0).unwrap_or(last),
            // The words may not have fitted in time.
            None => break None,
        }
    };
    if let Some(leave) = leave {
        assert_eq!((leave["reason"].as_str(), leave["action"].as_str()), (Some("too_slow"), Some("resume")));
    }
    let mut again = server.connect().await;
    let resume = json!({ "sid": welcome["sid"], "secret": welcome["secret"], "last_seq": last });
    say(&mut again, &json!({ "t": "hello", "token": "", "resume": resume }).to_string()).await;
    assert!(matches!(hear(&mut again).await["t"].as_str(), Some("resumed" | "welcome")));
    for talker in &mut talkers {
        say(talker, r#"{"t":"ping","ts":1.0}"#).await;
        hear_of(talker, "pong").await;
    }
}

#[tokio::test]
async fn a_stop_tells_everybody_and_waits_until_they_know() {
    let server = serve(|_| {}).await;
    let mut ada = server.join("ada").await;
    let mut greeting = server.connect().await;
    // So that the hub knows of it.
    say(&mut greeting, "{").await;
    hear_of(&mut greeting, "err").await;
    let stop = tokio::spawn({
        let handle = server.handle.clone();
        async move { handle.shutdown().await }
    });
    for socket in [&mut ada, &mut greeting] {
        let leave = hear_of(socket, "leave").await;
        assert_eq!((leave["reason"].as_str(), leave["action"].as_str()), (Some("shutdown"), Some("reconnect")));
        assert!(hear(socket).await.is_null());
    }
    drop((ada, greeting));
    timeout(Duration::from_secs(5), stop).await.expect("in time").expect("no panic");
    assert_eq!(server.status(&[("sec-websocket-protocol", SUBPROTOCOL)]).await, 503);
}

#[tokio::test]
async fn development_tokens_are_for_this_machine_and_for_development() {
    let server = serve(|config| config.dev_key = Some("key".into())).await;
    let (host, path) = (server.addr.to_string(), "/v1/dev/token");
    let body = r#"{"room":"r","name":"Ada"}"#;
    let answer = server.http("POST", path, &host, body).await;
    let (head, json) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let jwt = serde_json::from_str::<Value>(json).expect("JSON")["token"].as_str().expect("a token").to_owned();
    let access = token::verify(&keys(), &jwt, hub_task::unix_ms() / 1000, MAX_JOIN_TTL).expect("good");
    assert_eq!((access.room.as_str(), access.name.as_str()), ("r", "Ada"));
    // A name of the web that was made to point here.
    assert!(server.http("POST", path, "rebound.example", body).await.starts_with("HTTP/1.1 403"));
    assert!(server.http("POST", path, "localhost:1", body).await.starts_with("HTTP/1.1 200"));
    assert!(server.http("POST", path, &host, r#"{"room":"","name":"Ada"}"#).await.starts_with("HTTP/1.1 400"));
    let edges = server.http("GET", "/v1/edges", &host, "").await;
    assert!(edges.ends_with(r#"{"edges":[{"id":"node","region":"here"}]}"#), "{edges}");
    assert!(server.http("GET", "/v1/ice", &host, "").await.ends_with(r#"{"ice_servers":[]}"#));

    let other = serve(|_| {}).await;
    assert!(other.http("POST", path, &host, body).await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn turn_credentials_are_for_who_has_a_token_and_stun_for_all() {
    let server = serve(|config| {
        config.ice_servers = IceServers {
            stun: vec!["stun:192.0.2.1:3478".into()],
            turn: vec!["turn:192.0.2.1:3478?transport=udp".into()],
            credentials: Some((crate::turn::Issuer::new("secret"), Duration::from_secs(60))),
        };
    })
    .await;
    let ask = async |bearer: &str| {
        let request = format!("GET /v1/ice HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{bearer}\r\n");
        let mut stream = TcpStream::connect(server.addr).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answers");
        answer
    };
    let stranger = ask("").await;
    assert!(stranger.contains("stun:192.0.2.1:3478") && !stranger.contains("turn:"), "{stranger}");
    assert!(stranger.to_ascii_lowercase().contains("cache-control: no-store"));
    let member = ask(&format!("authorization: Bearer {}\r\n", token("room", "ada"))).await;
    assert!(member.contains("turn:192.0.2.1:3478?transport=udp") && member.contains(":ada\""), "{member}");
    for bad in ["Bearer x", "Bearer", "Basic eDp5", "Bearer "] {
        let refused = ask(&format!("authorization: {bad}\r\n")).await;
        assert!(refused.starts_with("HTTP/1.1 401") && !refused.contains("turn:"), "{bad}: {refused}");
    }
    // The room protocol hands them out by itself.
    let mut socket = server.connect().await;
    say(&mut socket, &json!({ "t": "hello", "token": token("room", "ada") }).to_string()).await;
    let welcome = hear(&mut socket).await;
    let name = welcome["ice_servers"][1]["username"].as_str().expect("a name");
    assert!(name.ends_with(":ada"), "{welcome}");
}

#[tokio::test]
async fn the_edges_of_a_cluster_are_listed_for_who_has_not_joined() {
    let server = serve(|config| config.cascade = Some(ShardId(1))).await;
    let info = |id: &str, url: &str| crate::cluster::NodeInfo {
        id: NodeId::new(id),
        region: RegionId::new("there"),
        role: crate::cluster::Role::Both,
        incarnation: 1,
        draining: false,
        url: Some(url.into()),
        addr: None,
    };
    let nodes = [info("a", "https://a.example"), info("node", "https://node.example")];
    let nodes = Arc::new(nodes.into_iter().map(|node| (node.id.clone(), node)).collect());
    let view = crate::cluster::View { me: NodeId::new("node"), nodes };
    server.events.send((ShardId(1), Event::Cluster { view })).await.expect("the hub is there");
    // A round through the hub, so that it has taken the view in.
    server.handle.snapshot().await.expect("the hub is there");
    let host = server.addr.to_string();
    let ids = async || {
        let answer = server.http("GET", "/v1/edges", &host, "").await;
        let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON");
        body["edges"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|edge| (edge["id"].to_string(), edge["url"].to_string()))
            .collect::<Vec<_>>()
    };
    let mut found = ids().await;
    for _ in 0..100 {
        if found.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        found = ids().await;
    }
    let wanted = [("node", "https://node.example"), ("a", "https://a.example")];
    assert_eq!(found, wanted.map(|(id, url)| (format!("{id:?}"), format!("{url:?}"))), "this one first");
}

#[tokio::test]
async fn whip_is_served_beside_the_sockets() {
    let offer = include_str!("../../../tests/fixtures/sdp/ffmpeg_whip.sdp");
    let mut server = serve(|_| {}).await;
    let token = token("room", "obs");
    let ask = async |method: &str, path: &str, headers: &str, body: &str| {
        let mut stream = TcpStream::connect(server.addr).await.expect("connects");
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.expect("sends");
        // One that is refused by its head may close before it has all of the body.
        let _ = stream.write_all(body.as_bytes()).await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    };
    let status = |answer: &str| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let sdp = format!("authorization: Bearer {token}\r\ncontent-type: application/sdp\r\n");
    let opened = ask("POST", "/whip/room", &sdp, offer).await;
    assert_eq!(status(&opened), "201", "{opened}");
    assert!(opened.contains("a=setup:active") && opened.contains("a=recvonly"));
    let location = opened.lines().find_map(|line| line.strip_prefix("location: ")).expect("a location").to_owned();
    assert!(location.starts_with("/whip/room/"));
    let commands: Vec<Command> = std::iter::from_fn(|| server.inbox.try_recv().ok()).collect();
    assert!(commands.iter().any(|command| matches!(command, Command::Configure { .. })));

    for (method, path, headers, body, expected) in [
        ("POST", "/whip/room", "content-type: application/sdp\r\n", offer, "401"),
        ("POST", "/whep/room", &*sdp, offer, "422"),
        ("POST", "/whip/%FF", &sdp, offer, "400"),
        ("POST", "/whip/", &sdp, offer, "404"),
        ("GET", "/whip/room", &sdp, "", "405"),
        ("OPTIONS", "/whep/room?member=ada", "", "", "204"),
        ("OPTIONS", "/whep/room", "origin: https://evil.example\r\n", "", "403"),
        ("POST", "/whip/room", &sdp, &"x".repeat(300_000), "413"),
        ("DELETE", &location, "authorization: Bearer x\r\n", "", "401"),
        ("DELETE", &location, &sdp, "", "200"),
        ("DELETE", &location, &sdp, "", "404"),
    ] {
        let answer = ask(method, path, headers, body).await;
        assert_eq!(status(&answer), expected, "{method} {path}: {answer}");
    }
    let listed = ask("OPTIONS", "/whip/room", "origin: https://meet.example\r\n", "").await;
    assert!(listed.contains("access-control-allow-origin: https://meet.example"), "{listed}");
}
