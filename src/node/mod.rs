//! Assembles a node from its configuration and takes it down again: sockets, shards, signaling, listeners. Owns the order of
//! both and every task; decides nothing about media or members. Called by `cli`.

mod cascade;
mod turn;

pub use cascade::{Cascade, incarnation, read_tls, read_topology};

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::admin::{self, AdminState, CascadeAccess, DevAsk, Overview, Phase};
use crate::config::{Advertised, Config};
use crate::edge::negotiate::{HostCandidate, MediaEndpoint};
use crate::edge::peer::{self, Certificate};
use crate::edge::signal::{self, HubHandle, SignalConfig};
use crate::id::{NodeId, ShardId};
use crate::rtp::clock::{Epoch, NtpTime};
use crate::shard::{self, CascadeAsk, Inbox, pipe, tcp};
use crate::units::Bitrate;
use crate::{net, web};

/// Events of all shards that may wait for signaling.
const EVENTS_DEPTH: usize = 8_192;

/// How long a new TCP connection may take to name its shard.
const FIRST_FRAME: Duration = Duration::from_secs(5);

/// TCP connections that may be about to name their shard; further ones wait in the kernel.
const UNNAMED_CONNECTIONS: usize = 512;

/// What the operator's listener shows beside the node itself.
#[derive(Debug, Default)]
pub struct Operator {
    /// All nodes of this process; without it, this one.
    pub cascade: Option<watch::Receiver<Vec<CascadeAccess>>>,
    /// In `weir dev`.
    pub dev: Option<mpsc::Sender<DevAsk>>,
    /// Where the pages of the other nodes are, which may talk to this one as its own do.
    pub siblings: Vec<String>,
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    drain: Duration,
    drainer: Drainer,
    /// Asks for a drain, from wherever.
    drained: mpsc::Sender<()>,
    shards: Vec<mpsc::Sender<Inbox>>,
    threads: Vec<shard::Handle>,
    turn: Option<crate::turn::shell::Handle>,
    /// Tells the listeners to stop.
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Makes a node take nothing new. Shared by all who may ask for that.
#[derive(Clone, Debug)]
struct Drainer {
    phase: Arc<watch::Sender<Phase>>,
    hub: HubHandle,
    links: Option<mpsc::Sender<CascadeAsk>>,
}

impl Drainer {
    /// Members are told to move to other edges, and nodes whose media goes through here look for other ways.
    async fn drain(&self) {
        self.phase.send_replace(Phase::Draining);
        self.hub.drain().await;
    }
}

impl Node {
    /// Binds every socket and starts every task; returns when the node serves.
    pub async fn start(config: Config, cascade: Option<Cascade>) -> anyhow::Result<Self> {
        Self::start_for(config, cascade, Operator::default()).await
    }

    /// As [`Self::start`], for an operator who sees more than this node.
    pub async fn start_for(config: Config, cascade: Option<Cascade>, operator: Operator) -> anyhow::Result<Self> {
        let (phase, phases) = watch::channel(Phase::Starting);
        let (stop, stopped) = watch::channel(false);
        let is_edge = config.node.role.is_edge();
        let http = if is_edge { Some(listen(config.http.listen, "http.listen").await?) } else { None };
        let admin = listen(config.admin.listen, "admin.listen").await?;
        let tcp = match config.media.tcp_port {
            port if is_edge && port != 0 => {
                Some(listen(SocketAddr::new(config.media.listen_ip, port), "media.tcp_port").await?)
            }
            _ => None,
        };
        let certificate = Arc::new(Certificate::generate().context("the DTLS certificate cannot be made")?);
        let addresses = if is_edge || config.turn.is_on() { advertised(&config)? } else { Vec::new() };
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let epoch = Epoch { instant: Instant::now(), ntp: NtpTime::from_unix(unix) };
        let (events, heard) = mpsc::channel(EVENTS_DEPTH);
        let loudest = usize::try_from(config.media.loudest).unwrap_or(usize::MAX);
        let (mut shards, mut commands) = (Vec::new(), Vec::new());
        let (mut threads, mut endpoints) = (Vec::new(), Vec::new());
        let count = if is_edge { config.media.shard_count() } else { 0 };
        let mut pipes = pipe::mesh(count + u8::from(cascade.is_some()));
        let cascade_pipes = cascade.as_ref().and_then(|_| pipes.pop());
        for (pipes, index) in pipes.into_iter().zip(0u8..) {
            let id = ShardId(index);
            let (inbox, messages) = mpsc::channel(shard::INBOX_DEPTH);
            let (command, commanded) = mpsc::channel(shard::COMMANDS_DEPTH);
            threads.push(shard::start(shard::Start {
                id,
                socket: bind_media(&config, index)?,
                certificate: Arc::clone(&certificate),
                epoch,
                pipes,
                commands: commanded,
                inbox: messages,
                events: events.clone(),
                gather: Duration::from_millis(config.media.gather_ms.into()),
                budget: Bitrate::mbps(config.media.member_budget_mbps.into()),
                loudest,
                full_percent: config.limits.busy_percent,
            })?);
            shards.push(inbox);
            commands.push(command);
            endpoints.push(Arc::new(MediaEndpoint {
                shard: id,
                candidates: candidates(&config, &addresses, index),
                fingerprint: certificate.fingerprint(),
            }));
        }
        let listed: Vec<String> =
            cascade.iter().flat_map(|cascade| &cascade.topology.nodes).filter_map(|node| node.url.clone()).collect();
        let (mut links, mut watched) = (None, None);
        if let (Some(cascade), Some(pipes)) = (cascade, cascade_pipes) {
            let (ask, asks) = mpsc::channel(shard::CASCADE_ASKS_DEPTH);
            let (command, commanded) = mpsc::channel(shard::COMMANDS_DEPTH);
            threads.push(shard::cascade::start(shard::cascade::Start {
                id: ShardId(count),
                me: cascade.me,
                topology: cascade.topology,
                tls: cascade.tls,
                socket: cascade.socket,
                via: cascade.via,
                epoch,
                loudest,
                pipes,
                commands: commanded,
                asks,
                events: events.clone(),
            })?);
            watched = cascade.watched;
            links = Some(ask);
            commands.push(command);
        }
        let mut siblings = operator.siblings;
        siblings.extend(listed);
        let (turn, ice_servers) = turn::start(&config, &addresses, &media_sockets(&config, &addresses, count))?.unzip();
        let mut signal = SignalConfig::new(&config, endpoints);
        signal.ice_servers = ice_servers.unwrap_or_default();
        signal.cascade = links.as_ref().map(|_| ShardId(count));
        signal.origins.extend(siblings.iter().cloned());
        let (rooms, hub) = signal::start(signal, commands, heard);
        let drainer = Drainer { phase: Arc::new(phase), hub: hub.clone(), links };
        let (drained, mut asked_to_drain) = mpsc::channel(1);
        let access = access(&config.node.id, &drainer, &drained);
        let state = AdminState {
            node: config.node.id.clone(),
            region: config.node.region.clone(),
            shards: shards.clone(),
            hub: hub.clone(),
            turn: turn.as_ref().map(crate::turn::shell::Handle::asks),
            phase: phases,
            overview: Overview {
                node: Some(config.node.id.clone()),
                cascade: operator.cascade.unwrap_or_else(|| watch::channel(access.into_iter().collect()).1),
                dev: operator.dev,
            },
        };
        let mut tasks = vec![serve(admin, admin::routes(state), stopped.clone())];
        if let Some(http) = http {
            let elsewhere = watch::channel(siblings.iter().flat_map(|url| connectable(url)).collect()).1;
            tasks.push(serve(http, rooms.merge(web::routes(elsewhere)), stopped.clone()));
        }
        if let Some(listener) = tcp {
            tasks.push(tokio::spawn(accept_media(listener, shards.clone(), stopped)));
        }
        if let (Some(watched), Some(links)) = (watched, &drainer.links) {
            tasks.push(tokio::spawn(cascade::watch(watched, links.clone())));
        }
        let on_request = drainer.clone();
        let mut stopping = stop.subscribe();
        tasks.push(tokio::spawn(async move {
            tokio::select! {
                asked = asked_to_drain.recv() => if asked.is_some() { on_request.drain().await },
                _ = stopping.changed() => {}
            }
        }));
        drainer.phase.send_replace(Phase::Serving);
        let drain = Duration::from_millis(config.node.drain_ms.into());
        Ok(Self { id: config.node.id, drain, drainer, drained, shards, threads, turn, stop, tasks })
    }

    /// The way to this node's links, if it keeps any.
    pub fn cascade_access(&self) -> Option<CascadeAccess> {
        access(&self.id, &self.drainer, &self.drained)
    }

    /// Takes nothing new; members are told to move to other edges, and nodes whose media goes through here look for other ways.
    pub async fn drain(&self) {
        self.drainer.drain().await;
    }

    /// Ends as if the power had gone: nobody is told.
    pub async fn kill(self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Some(links) = &self.drainer.links {
            let _ = links.send(CascadeAsk::Kill).await;
        }
        self.drainer.hub.kill().await;
        self.end_threads().await;
    }

    /// Drains, waits until everybody has moved or `node.drain_ms` is over, tells who is left, closes what is open and waits for
    /// every task.
    pub async fn shutdown(mut self) {
        // One bound for all of it: whoever stops a node counts on `node.drain_ms`, not on a multiple.
        let deadline = tokio::time::Instant::now() + self.drain;
        self.drain().await;
        if self.drainer.links.is_some() && tokio::time::timeout_at(deadline, self.deserted()).await.is_err() {
            tracing::info!("some members or nodes still depend on this node: they are left to find other ways");
        }
        if tokio::time::timeout_at(deadline, self.drainer.hub.shutdown()).await.is_err() {
            tracing::warn!("some members were not told of the stop in time");
        }
        self.stop.send_replace(true);
        if let Some(links) = &self.drainer.links {
            let _ = links.send(CascadeAsk::Stop).await;
        }
        for task in self.tasks.drain(..) {
            let abort = task.abort_handle();
            if tokio::time::timeout_at(deadline, task).await.is_err() {
                abort.abort();
            }
        }
        self.end_threads().await;
    }

    /// Returns when no member is here that could be elsewhere, and no other node gets media through here.
    async fn deserted(&self) {
        loop {
            let members = self.drainer.hub.open_sockets();
            let dependents = match &self.drainer.links {
                Some(links) => {
                    let (reply, answer) = oneshot::channel();
                    let _ = links.send(CascadeAsk::Dependents { reply }).await;
                    answer.await.unwrap_or(0)
                }
                None => 0,
            };
            if members == 0 && dependents == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn end_threads(self) {
        for shard in &self.shards {
            // A shard that has ended already needs no telling.
            let _ = shard.send(Inbox::Stop).await;
        }
        if let Some(turn) = &self.turn {
            let _ = turn.asks().send(crate::turn::shell::Ask::Stop).await;
        }
        let join = tokio::task::spawn_blocking(|| {
            self.threads.into_iter().for_each(shard::Handle::join);
            self.turn.into_iter().for_each(crate::turn::shell::Handle::join);
        });
        if join.await.is_err() {
            tracing::error!("waiting for the threads failed");
        }
    }
}

fn access(id: &NodeId, drainer: &Drainer, drained: &mpsc::Sender<()>) -> Option<CascadeAccess> {
    let asks = drainer.links.clone()?;
    Some(CascadeAccess { node: id.clone(), asks, drain: drained.clone(), hub: drainer.hub.clone() })
}

/// What a page must be let to reach at another node: the same over HTTP and WebSocket.
fn connectable(url: &str) -> [String; 2] {
    [url.to_owned(), url.replacen("http", "ws", 1)]
}

/// Binds a TCP listener; an error names the key that chose its address.
pub async fn listen(addr: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(addr).await;
    bound.with_context(|| format!("{key}: {addr} cannot be bound; is another node running? `weir doctor` tells"))
}

fn bind_media(config: &Config, index: u8) -> anyhow::Result<std::net::UdpSocket> {
    let port = config.media.udp_port.saturating_add(u16::from(index));
    let addr = SocketAddr::new(config.media.listen_ip, port);
    let bound = std::net::UdpSocket::bind(addr);
    bound.with_context(|| format!("media.udp_port: UDP {addr} cannot be bound; is another node running? `weir doctor` tells"))
}

/// Serves routes until told to stop.
pub fn serve(listener: TcpListener, routes: axum::Router, mut stopped: watch::Receiver<bool>) -> JoinHandle<()> {
    let service = routes.into_make_service_with_connect_info::<SocketAddr>();
    // Room protocol frames are small and follow each other closely: with Nagle's algorithm each second one would wait for the
    // client's delayed acknowledgement, 40 ms.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's algorithm");
        }
    });
    tokio::spawn(async move {
        let stop = async move {
            // An error means that the node is gone, which is a stop too.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stop).await {
            tracing::error!(%error, "a listener failed");
        }
    })
}

/// The IPs that browsers are told, each with the port that stands for the first shard's.
fn advertised(config: &Config) -> anyhow::Result<Vec<Advertised>> {
    let media = &config.media;
    if !media.advertise.is_empty() {
        return Ok(media.advertise.clone());
    }
    if !media.listen_ip.is_unspecified() {
        return Ok(vec![Advertised { ip: media.listen_ip, port: None }]);
    }
    let found = net::interface_addresses().context("the host's interfaces cannot be read; set media.advertise")?;
    let v4_only = media.listen_ip.is_ipv4();
    let usable = found.into_iter().filter(|ip: &IpAddr| !ip.is_loopback() && (ip.is_ipv4() || !v4_only));
    let addresses: Vec<Advertised> = usable.map(|ip| Advertised { ip, port: None }).collect();
    anyhow::ensure!(
        !addresses.is_empty(),
        "no interface has an address that browsers could reach: set media.advertise to the one they should use"
    );
    Ok(addresses)
}

/// UDP first: TCP is for networks that let nothing else through.
fn candidates(config: &Config, addresses: &[Advertised], index: u8) -> Vec<HostCandidate> {
    let media = &config.media;
    let udp = addresses.iter().map(|known| HostCandidate { addr: known.udp(media.udp_port, index), tcp: false });
    let tcp = addresses.iter().filter(|_| media.tcp_port != 0);
    let tcp = tcp.map(|known| HostCandidate { addr: SocketAddr::new(known.ip, media.tcp_port), tcp: true });
    udp.chain(tcp).collect()
}

/// Where each shard's UDP socket is, for each address that is told.
fn media_sockets(config: &Config, addresses: &[Advertised], shards: u8) -> Vec<turn::MediaSocket> {
    let media = &config.media;
    let of = |index: u8| {
        let bound = SocketAddr::new(media.listen_ip, media.udp_port.saturating_add(index.into()));
        addresses.iter().map(move |known| turn::MediaSocket { told: known.udp(media.udp_port, index), bound })
    };
    (0..shards).flat_map(of).collect()
}

/// Hands each ICE-TCP connection to the shard that its first frame names.
async fn accept_media(listener: TcpListener, shards: Vec<mpsc::Sender<Inbox>>, mut stopped: watch::Receiver<bool>) {
    let mut unnamed = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            _ = unnamed.join_next(), if !unnamed.is_empty() => {}
            accepted = listener.accept(), if unnamed.len() < UNNAMED_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let shards = shards.clone();
                    unnamed.spawn(async move {
                        // A connection that names no shard in time is dropped; nobody else notices.
                        let _ = tokio::time::timeout(FIRST_FRAME, hand_over(stream, &shards)).await;
                    });
                }
                // Out of file descriptors, most likely: let some close.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

async fn hand_over(mut stream: TcpStream, shards: &[mpsc::Sender<Inbox>]) -> Option<()> {
    let first = tcp::first_frame(&mut stream).await.ok()?;
    let shard = peer::shard_of(peer::ufrag_of(&first)?)?;
    shards.get(usize::from(shard.0))?.send(Inbox::Tcp { stream, first }).await.ok()
}
