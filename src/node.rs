//! Assembles a node from its configuration and takes it down again: sockets, shards, signaling, listeners. Owns the order of
//! both and every task; decides nothing about media or members. Called by `cli`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::admin::{self, AdminState, Phase};
use crate::config::{Advertised, Config};
use crate::edge::negotiate::{HostCandidate, MediaEndpoint};
use crate::edge::peer::{self, Certificate};
use crate::edge::signal::{self, HubHandle, SignalConfig};
use crate::id::ShardId;
use crate::rtp::clock::{Epoch, NtpTime};
use crate::shard::{self, Inbox, pipe, tcp};
use crate::units::Bitrate;
use crate::{net, web};

/// Events of all shards that may wait for signaling.
const EVENTS_DEPTH: usize = 8_192;

/// How long a new TCP connection may take to name its shard.
const FIRST_FRAME: Duration = Duration::from_secs(5);

/// TCP connections that may be about to name their shard; further ones wait in the kernel.
const UNNAMED_CONNECTIONS: usize = 512;

/// A running node.
#[derive(Debug)]
pub struct Node {
    drain: Duration,
    phase: watch::Sender<Phase>,
    hub: HubHandle,
    shards: Vec<mpsc::Sender<Inbox>>,
    threads: Vec<shard::Handle>,
    /// Tells the listeners to stop.
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    /// Binds every socket and starts every task; returns when the node serves.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let (phase, phases) = watch::channel(Phase::Starting);
        let (stop, stopped) = watch::channel(false);
        let http = listen(config.http.listen, "http.listen").await?;
        let admin = listen(config.admin.listen, "admin.listen").await?;
        let tcp = match config.media.tcp_port {
            0 => None,
            port => Some(listen(SocketAddr::new(config.media.listen_ip, port), "media.tcp_port").await?),
        };
        let certificate = Arc::new(Certificate::generate().context("the DTLS certificate cannot be made")?);
        let addresses = advertised(&config)?;
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let epoch = Epoch { instant: Instant::now(), ntp: NtpTime::from_unix(unix) };
        let (events, heard) = mpsc::channel(EVENTS_DEPTH);
        let (mut shards, mut commands) = (Vec::new(), Vec::new());
        let (mut threads, mut endpoints) = (Vec::new(), Vec::new());
        for (pipes, index) in pipe::mesh(config.media.shard_count()).into_iter().zip(0u8..) {
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
            })?);
            shards.push(inbox);
            commands.push(command);
            endpoints.push(Arc::new(MediaEndpoint {
                shard: id,
                candidates: candidates(&config, &addresses, index),
                fingerprint: certificate.fingerprint(),
            }));
        }
        let (rooms, hub) = signal::start(SignalConfig::new(&config, endpoints), commands, heard);
        let state = AdminState {
            node: config.node.id.clone(),
            region: config.node.region.clone(),
            shards: shards.clone(),
            hub: hub.clone(),
            phase: phases,
            cascade: watch::channel(Vec::new()).1,
            dev: None,
        };
        let mut tasks = vec![
            serve(http, rooms.merge(web::routes(watch::channel(Vec::new()).1)), stopped.clone()),
            serve(admin, admin::routes(state), stopped.clone()),
        ];
        if let Some(listener) = tcp {
            tasks.push(tokio::spawn(accept_media(listener, shards.clone(), stopped)));
        }
        phase.send_replace(Phase::Serving);
        let drain = Duration::from_millis(config.node.drain_ms.into());
        Ok(Self { drain, phase, hub, shards, threads, stop, tasks })
    }

    /// Tells the members, closes what is open and waits for every task.
    pub async fn shutdown(self) {
        self.phase.send_replace(Phase::Draining);
        // One bound for all of it: whoever stops a node counts on `node.drain_ms`, not on a multiple.
        let deadline = tokio::time::Instant::now() + self.drain;
        if tokio::time::timeout_at(deadline, self.hub.shutdown()).await.is_err() {
            tracing::warn!("some members were not told of the stop in time");
        }
        self.stop.send_replace(true);
        for shard in &self.shards {
            // A shard that has ended already needs no telling.
            let _ = shard.send(Inbox::Stop).await;
        }
        for task in self.tasks {
            let abort = task.abort_handle();
            if tokio::time::timeout_at(deadline, task).await.is_err() {
                abort.abort();
            }
        }
        let join = tokio::task::spawn_blocking(|| self.threads.into_iter().for_each(shard::Handle::join));
        if join.await.is_err() {
            tracing::error!("waiting for the shards failed");
        }
    }
}

async fn listen(addr: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(addr).await;
    bound.with_context(|| format!("{key}: {addr} cannot be bound; is another node running? `weir doctor` tells"))
}

fn bind_media(config: &Config, index: u8) -> anyhow::Result<std::net::UdpSocket> {
    let port = config.media.udp_port.saturating_add(u16::from(index));
    let addr = SocketAddr::new(config.media.listen_ip, port);
    let bound = std::net::UdpSocket::bind(addr);
    bound.with_context(|| format!("media.udp_port: UDP {addr} cannot be bound; is another node running? `weir doctor` tells"))
}

fn serve(listener: TcpListener, routes: axum::Router, mut stopped: watch::Receiver<bool>) -> JoinHandle<()> {
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
