//! The routes over a real socket, with the cascade and `weir dev` played by the test.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::cascade::status::{LinkStatus, Status};
use crate::cascade::wire::LinkMetrics;
use crate::cluster::{NodeInfo, Role};
use crate::config::Config;
use crate::edge::media::Event;
use crate::edge::negotiate::MediaEndpoint;
use crate::edge::plan::Fingerprint;
use crate::edge::signal::{self, HubHandle, SignalConfig};
use crate::id::ShardId;
use crate::shard::CascadeAsk;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

struct Admin {
    addr: SocketAddr,
    /// Keeps the node serving.
    _phase: watch::Sender<Phase>,
    nodes: watch::Sender<Vec<CascadeAccess>>,
    dev: mpsc::Receiver<DevAsk>,
    /// Says what its one shard says.
    shard: mpsc::Sender<(ShardId, Event)>,
    hub: HubHandle,
}

/// The listener of node `n1`, with the nodes of that name in its process.
async fn serve(dev: bool) -> Admin {
    let fingerprint = Fingerprint { algorithm: "sha-256".into(), hash: vec![1; 32] };
    let endpoint = Arc::new(MediaEndpoint { shard: ShardId(0), candidates: vec![], fingerprint });
    let (shard, events) = mpsc::channel(1);
    let (_, hub) = signal::start(SignalConfig::new(&Config::default(), vec![endpoint]), vec![], events);
    let (phase, phases) = watch::channel(Phase::Serving);
    let (nodes, cascade) = watch::channel(Vec::new());
    let (asks, asked) = mpsc::channel(DEV_ASKS_DEPTH);
    let state = AdminState {
        node: NodeId::new("n1"),
        region: RegionId::new("fra"),
        shards: vec![],
        hub: hub.clone(),
        turn: None,
        phase: phases,
        overview: Overview { node: Some(NodeId::new("n1")), cascade, dev: dev.then_some(asks) },
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    let service = routes(state).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    Admin { addr, _phase: phase, nodes, dev: asked, shard, hub }
}

impl Admin {
    /// A node that answers with that status and counts the drains it was asked for.
    fn add(&self, id: &str, status: Status) -> mpsc::Receiver<()> {
        let (asks, mut asked) = mpsc::channel(8);
        let (drain, drains) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Some(ask) = asked.recv().await {
                if let CascadeAsk::Status { reply } = ask {
                    reply.send(status.clone()).expect("somebody waits");
                }
            }
        });
        self.nodes.send_modify(|nodes| nodes.push(CascadeAccess { node: NodeId::new(id), asks, drain, hub: self.hub.clone() }));
        drains
    }

    async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.addr);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        let mut socket = TcpStream::connect(self.addr).await.expect("it listens");
        socket.write_all(text.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a response");
        (head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status"), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.request("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, body) = self.request("POST", path, JSON, &body.to_string()).await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }
}

fn status(id: &str) -> Status {
    let me = NodeInfo {
        id: NodeId::new(id),
        region: RegionId::new("fra"),
        role: Role::Both,
        incarnation: 7,
        draining: false,
        url: None,
        addr: None,
    };
    let link = LinkStatus {
        node: NodeId::new("n9"),
        region: RegionId::new("iad"),
        dialed: true,
        version: 2,
        up_s: 60,
        metrics: LinkMetrics { rtt_us: 91_500, loss_permille: 12, queue_ms: 4, target_kbps: 8_000, ..LinkMetrics::default() },
        clock_offset_ms: 0.5,
        packets_out: 20,
        packets_in: 10,
        bytes_out: 2_000,
        bytes_in: 1_000,
        shed: 3,
        flows_shed: 0,
    };
    Status { me: Some(me), epoch: 12, links: vec![link], ..Status::default() }
}

#[tokio::test]
async fn the_cascade_of_every_node_in_the_process_is_shown_and_who_is_silent_is_named() {
    let admin = serve(false).await;
    let _drains = (admin.add("n1", status("n1")), admin.add("n2", status("n2")));
    let gone =
        CascadeAccess { node: NodeId::new("n3"), asks: mpsc::channel(1).0, drain: mpsc::channel(1).0, hub: admin.hub.clone() };
    admin.nodes.send_modify(|nodes| nodes.push(gone));
    let (code, body) = admin.get("/v1/admin/cascade").await;
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(code, 200);
    let names: Vec<_> = body["nodes"].as_array().expect("a list").iter().map(|node| node["me"]["id"].clone()).collect();
    assert_eq!(names, ["n1", "n2"]);
    assert_eq!(body["silent"], json!(["n3"]));
    assert_eq!(body["nodes"][0]["links"][0]["rtt_us"], 91_500);
}

#[tokio::test]
async fn each_link_has_its_series() {
    let admin = serve(false).await;
    let _drains = admin.add("n1", status("n1"));
    let (_, page) = admin.get("/metrics").await;
    let link = "{from=\"n1\",node=\"n9\",region=\"iad\"";
    for line in [
        format!("weir_link_up{link}}} 1.0"),
        format!("weir_link_rtt_seconds{link}}} 0.0915"),
        format!("weir_link_loss_ratio{link}}} 0.012"),
        format!("weir_link_queue_seconds{link}}} 0.004"),
        format!("weir_link_target_bps{link}}} 8000000.0"),
        format!("weir_link_bytes_total{link},direction=\"in\"}} 1000"),
        format!("weir_link_bytes_total{link},direction=\"out\"}} 2000"),
        format!("weir_link_packets_total{link},direction=\"out\"}} 20"),
        format!("weir_link_shed_packets_total{link}}} 3"),
        "weir_cascade_nodes{from=\"n1\"} 0".to_owned(),
        "weir_cascade_tracks{from=\"n1\"} 0".to_owned(),
        "weir_cascade_epoch{from=\"n1\"} 12".to_owned(),
    ] {
        assert!(page.lines().any(|found| found == line), "{page}\nlacks {line}");
    }
}

#[tokio::test]
async fn a_drain_reaches_the_node_that_is_named_or_ones_own() {
    let admin = serve(false).await;
    let (mut own, mut other) = (admin.add("n1", status("n1")), admin.add("n2", status("n2")));
    assert_eq!(admin.post("/v1/admin/drain", &json!({})).await.0, 202);
    own.try_recv().expect("its own was asked");
    assert_eq!(admin.post("/v1/admin/drain?node=n2", &json!({})).await.0, 202);
    other.try_recv().expect("the other was asked");
    own.try_recv().expect_err("only once");
    let (code, body) = admin.post("/v1/admin/drain?node=n8", &json!({})).await;
    assert_eq!((code, &body["error"]["code"]), (404, &json!("no_node")));
}

#[tokio::test]
async fn a_page_of_elsewhere_changes_nothing() {
    let mut admin = serve(true).await;
    let mut drains = admin.add("n1", status("n1"));
    let foreign = [JSON.to_vec(), vec![("origin", "https://evil.example")]].concat();
    let form = [("content-type", "text/plain")];
    for (path, body) in
        [("/v1/admin/drain", "{}"), ("/v1/admin/dev/node", "{}"), ("/v1/admin/dev/path", "{}"), ("/v1/admin/nothing", "{}")]
    {
        assert_eq!(admin.request("POST", path, &foreign, body).await.0, 403, "{path}");
        assert_eq!(admin.request("POST", path, &form, body).await.0, 415, "{path}");
    }
    let remove = "/v1/admin/rooms/r/members/m00000000000001";
    assert_eq!(admin.request("DELETE", remove, &foreign[1..], "").await.0, 403);
    drains.try_recv().expect_err("nobody was drained");
    assert!(admin.dev.try_recv().is_err(), "nothing was broken");
}

#[tokio::test]
async fn development_breaks_paths_and_nodes_as_asked() {
    let mut admin = serve(true).await;
    let mut asked = std::mem::replace(&mut admin.dev, mpsc::channel(1).1);
    let player = tokio::spawn(async move {
        let mut heard = Vec::new();
        while let Some(ask) = asked.recv().await {
            match ask {
                DevAsk::Show { reply } => {
                    let region = DevRegion {
                        node: NodeId::new("n1"),
                        region: RegionId::new("fra"),
                        url: "http://localhost:1".into(),
                        running: true,
                    };
                    let path = DevPath { from: RegionId::new("fra"), to: RegionId::new("iad"), impairment: Default::default() };
                    reply.send(DevState { regions: vec![region], paths: vec![path] }).expect("somebody waits");
                }
                DevAsk::Path { from, to, both, impairment, reply } => {
                    heard.push(format!("{from} {to} {both} {} {}", impairment.loss, impairment.partition));
                    reply.send(Ok(())).expect("somebody waits");
                }
                DevAsk::Node { node, action, reply } => {
                    heard.push(format!("{node} {action:?}"));
                    reply.send(Err("it does not run".into())).expect("somebody waits");
                    if action == NodeAction::Drain {
                        break;
                    }
                }
            }
        }
        heard
    });
    let (_, shown) = admin.get("/v1/admin/dev").await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["regions"][0], json!({"node": "n1", "region": "fra", "url": "http://localhost:1", "running": true}));
    assert_eq!(shown["paths"][0]["impairment"]["delay_ms"], 0.0);
    let path = "/v1/admin/dev/path";
    let set = json!({"from": "fra", "to": "iad", "both": true, "impairment": {"loss": 0.25, "partition": true}});
    assert_eq!(admin.post(path, &set).await.0, 204);
    for wrong in
        [json!({"loss": 1.5}), json!({"delay_ms": -1}), json!({"jitter_ms": 1e9}), json!({"burst": -1}), json!({"los": 0})]
    {
        let set = json!({"from": "fra", "to": "iad", "impairment": wrong});
        assert_eq!(admin.post(path, &set).await.0, 400, "{wrong}");
    }
    for action in ["kill", "drain"] {
        let (code, body) = admin.post("/v1/admin/dev/node", &json!({"node": "n1", "action": action})).await;
        assert_eq!((code, &body["error"]["message"]), (409, &json!("it does not run")));
    }
    let heard = player.await.expect("the player ends");
    assert_eq!(heard, ["fra iad true 0.25 true", "n1 Kill", "n1 Drain"]);
}

#[tokio::test]
async fn who_asks_whether_to_send_newcomers_here_hears_of_too_much_to_do() {
    let admin = serve(false).await;
    assert_eq!(admin.get("/readyz").await, (200, "ready\n".to_owned()));
    for (full, answer) in [(true, (503, "busy\n".to_owned())), (false, (200, "ready\n".to_owned()))] {
        admin.shard.send((ShardId(0), Event::Full { shard: ShardId(0), full })).await.expect("the hub listens");
        while admin.get("/readyz").await != answer {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_member_that_is_not_there_has_no_statistics() {
    let admin = serve(false).await;
    for (path, wanted, code) in
        [("/v1/admin/rooms/r/members/m00000000000001", 404, "no_member"), ("/v1/admin/rooms/r/members/me", 400, "bad_member")]
    {
        let (status, body) = admin.get(path).await;
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, &body["error"]["code"]), (wanted, &json!(code)));
    }
}

#[tokio::test]
async fn outside_of_development_nothing_can_be_broken() {
    let admin = serve(false).await;
    assert_eq!(admin.get("/v1/admin/dev").await.0, 404);
    let (code, body) = admin.post("/v1/admin/dev/node", &json!({"node": "n1", "action": "kill"})).await;
    assert_eq!((code, &body["error"]["code"]), (404, &json!("not_dev")));
}

#[tokio::test]
async fn the_dashboard_and_its_files_are_at_the_root_and_errors_are_json_elsewhere() {
    let admin = serve(false).await;
    for path in ["/", "/dashboard/main.js", "/vendor/preact.js"] {
        assert_eq!(admin.get(path).await.0, 200, "{path}");
    }
    let (code, body) = admin.get("/v1/nothing").await;
    assert_eq!((code, serde_json::from_str::<Value>(&body).is_ok()), (404, true), "{body}");
}

#[test]
fn the_openapi_document_has_every_route_and_no_other() {
    let document: Value = serde_json::from_str(include_str!("openapi.json")).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let mut described: Vec<String> = Vec::new();
    for (path, methods) in paths {
        described.extend(methods.as_object().expect("methods").keys().map(|method| format!("{method} {path}")));
    }
    let routed = include_str!("mod.rs").lines().filter_map(|line| line.trim().strip_prefix(".route(\"")?.split_once("\", "));
    let mut routed: Vec<String> =
        routed.filter_map(|(path, rest)| Some(format!("{} {path}", rest.split_once('(')?.0))).collect();
    described.sort();
    routed.sort();
    assert_eq!(described, routed);
}
