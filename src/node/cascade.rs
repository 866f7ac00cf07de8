//! A node's part in the cascade: from its configuration to what the shard of the links needs, and the files that are watched
//! while it runs. Part of `node`.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use tokio::sync::mpsc;

use crate::cascade::tls::{Pem, Tls};
use crate::cascade::topology::{ListedNode, Topology};
use crate::cluster::NodeInfo;
use crate::config::Config;
use crate::id::NodeId;
use crate::shard::CascadeAsk;

/// How often the topology document and the certificates are looked at. Shorter takes a change over sooner.
const WATCH: Duration = Duration::from_secs(2);

/// What a node needs to keep links.
pub struct Cascade {
    pub me: NodeInfo,
    pub topology: Topology,
    pub tls: Tls,
    pub socket: UdpSocket,
    /// Where to dial some nodes instead of at their own address.
    pub via: BTreeMap<NodeId, String>,
    /// Files to watch, if it was made from files.
    pub(super) watched: Option<Watched>,
}

/// The files that a node was made from.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    topology: PathBuf,
    certs: PathBuf,
    node: NodeId,
}

impl Cascade {
    /// As configured; `None` for a node that stands alone.
    pub fn from_config(config: &Config) -> anyhow::Result<Option<Self>> {
        let settings = &config.cascade;
        if settings.topology.is_empty() {
            return Ok(None);
        }
        let topology = read_topology(Path::new(&settings.topology))?;
        let listed = topology.nodes.iter().find(|node| node.id == config.node.id);
        let me = info(config, listed);
        if let Some(listed) = listed.filter(|listed| listed.region != me.region) {
            bail!(
                "node.region is {}, but {} lists {} in region {}; correct one of them",
                me.region,
                settings.topology,
                me.id,
                listed.region
            );
        }
        anyhow::ensure!(
            topology.region(&me.region).is_some(),
            "node.region: {} is no region of {}; it has: {}",
            me.region,
            settings.topology,
            topology.regions().map(|region| region.id.to_string()).collect::<Vec<_>>().join(", ")
        );
        let certs = PathBuf::from(&settings.certs);
        let tls = read_tls(&certs, &me.id)?;
        let identity = tls.identity();
        anyhow::ensure!(
            identity.node == me.id && identity.region == me.region,
            "the certificate in {} is for node {} of region {}, but this node is {} of {}; issue one with: \
             weir certs issue --node {} --region {}",
            certs.display(),
            identity.node,
            identity.region,
            me.id,
            me.region,
            me.id,
            me.region
        );
        let socket = UdpSocket::bind(settings.listen);
        let socket = socket.with_context(|| {
            format!("cascade.listen: UDP {} cannot be bound; is another node running? `weir doctor` tells", settings.listen)
        })?;
        let watched = Some(Watched { topology: PathBuf::from(&settings.topology), certs, node: me.id.clone() });
        Ok(Some(Self { me, topology, tls, socket, via: BTreeMap::new(), watched }))
    }

    /// Without files: everything is given.
    pub fn given(me: NodeInfo, topology: Topology, tls: Tls, socket: UdpSocket, via: BTreeMap<NodeId, String>) -> Self {
        Self { me, topology, tls, socket, via, watched: None }
    }
}

/// What the node says of itself.
fn info(config: &Config, listed: Option<&ListedNode>) -> NodeInfo {
    let told = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    NodeInfo {
        id: config.node.id.clone(),
        region: config.node.region.clone(),
        role: config.node.role,
        incarnation: incarnation(),
        draining: false,
        url: told(&config.http.url).or_else(|| listed.and_then(|listed| listed.url.clone())),
        addr: told(&config.cascade.advertise).or_else(|| listed.map(|listed| listed.addr.clone())),
    }
}

/// Higher than at any start before, unless the clock was set back.
pub fn incarnation() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Reads and checks a topology document.
pub fn read_topology(path: &Path) -> anyhow::Result<Topology> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    match Topology::parse(&text) {
        Ok((topology, _)) => Ok(topology),
        Err(problems) => {
            let list: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
            bail!("{} is not sound:\n{}\n`weir topology check {}` shows where", path.display(), list.join("\n"), path.display())
        }
    }
}

/// Reads a node's certificates from a directory.
pub fn read_tls(dir: &Path, node: &NodeId) -> anyhow::Result<Tls> {
    let read = |name: String| {
        let path = dir.join(name);
        std::fs::read_to_string(&path).with_context(|| {
            format!("{} cannot be read; make one with: weir certs issue --node {node} --region REGION", path.display())
        })
    };
    let pem = Pem { ca: read("ca.pem".to_owned())?, cert: read(format!("{node}.pem"))?, key: read(format!("{node}-key.pem"))? };
    Tls::from_pem(&pem).with_context(|| format!("the certificate of {node} in {} is not sound", dir.display()))
}

/// Takes over what the operator changes, for as long as the links live.
pub(super) async fn watch(watched: Watched, asks: mpsc::Sender<CascadeAsk>) {
    let mut seen = (stamp(&watched.topology), certificates(&watched));
    loop {
        tokio::select! {
            () = tokio::time::sleep(WATCH) => {}
            () = asks.closed() => return,
        }
        let now = (stamp(&watched.topology), certificates(&watched));
        if now.0 != seen.0 {
            match read_topology(&watched.topology) {
                Ok(topology) => {
                    if asks.send(CascadeAsk::Topology(Box::new(topology))).await.is_err() {
                        return;
                    }
                }
                Err(why) => tracing::warn!("the topology document changed and is not used: {why:#}"),
            }
        }
        if now.1 != seen.1 {
            match read_tls(&watched.certs, &watched.node) {
                Ok(tls) => {
                    tracing::info!("new certificates");
                    if asks.send(CascadeAsk::Tls(Box::new(tls))).await.is_err() {
                        return;
                    }
                }
                // Half of them may be written; the other half changes them again.
                Err(why) => tracing::warn!("the certificates changed and are not used yet: {why:#}"),
            }
        }
        seen = now;
    }
}

/// When a file was written last; `None` while it can't be seen.
fn stamp(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

fn certificates(watched: &Watched) -> Vec<Option<SystemTime>> {
    let node = &watched.node;
    [String::from("ca.pem"), format!("{node}.pem"), format!("{node}-key.pem")]
        .iter()
        .map(|name| stamp(&watched.certs.join(name)))
        .collect()
}
