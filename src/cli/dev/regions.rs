//! The regions of `weir dev`: a node each, a relay for each path between two of them, and what the dashboard may do to both.
//! Owns their lives; a node itself is `node`'s. Part of `cli::dev`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::SystemTime;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::admin::{self, CascadeAccess, DEV_ASKS_DEPTH, DevAsk, DevPath, DevRegion, DevState, NodeAction, Overview};
use crate::cascade::tls::Tls;
use crate::cascade::topology::{ListedNode, Topology};
use crate::cluster::NodeInfo;
use crate::config::Config;
use crate::id::{NodeId, RegionId};
use crate::impair::Impairment;
use crate::impair::relay::Relay;
use crate::node::{self, Cascade, Node, Operator};

/// What is to run.
pub(super) struct Plan {
    /// Where the dashboard is, which outlives every node.
    pub(super) dashboard: SocketAddr,
    /// One per region, in the topology's order.
    pub(super) configs: Vec<Config>,
    pub(super) topology: Topology,
    /// Of each direction between two regions that may link.
    pub(super) impairments: Vec<(RegionId, RegionId, Impairment)>,
}

/// Regions that run.
#[derive(Debug)]
pub(super) struct Regions {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    dashboard: JoinHandle<()>,
}

impl Regions {
    /// Starts every node and every path between them.
    pub(super) async fn start(plan: Plan) -> anyhow::Result<Self> {
        let (asks, asked) = mpsc::channel(DEV_ASKS_DEPTH);
        let dashboard = node::listen(plan.dashboard, "admin.listen").await?;
        let mut world = World::new(plan, asks.clone())?;
        for index in 0..world.regions.len() {
            world.start(index).await?;
        }
        let (stop, stopped) = watch::channel(false);
        let overview = Overview { node: None, cascade: world.cascade.subscribe(), dev: Some(asks) };
        let dashboard = node::serve(dashboard, admin::overview(overview), stopped.clone());
        Ok(Self { stop, task: tokio::spawn(world.run(asked, stopped)), dashboard })
    }
}

impl super::run::Stoppable for Regions {
    async fn shutdown(self) {
        self.stop.send_replace(true);
        self.dashboard.abort();
        if self.task.await.is_err() {
            tracing::error!("stopping the regions failed");
        }
    }
}

/// A region and its node, which may be down.
struct Region {
    config: Config,
    tls: Tls,
    /// Where its links are dialed; kept over a restart.
    addr: SocketAddr,
    /// Held until the node first starts, so that nobody else takes the port.
    socket: Option<UdpSocket>,
    node: Option<Node>,
}

fn listed(region: &Region) -> ListedNode {
    let settings = &region.config.node;
    ListedNode {
        id: settings.id.clone(),
        region: settings.region.clone(),
        role: settings.role,
        addr: region.addr.to_string(),
        url: Some(region.config.http.url.clone()),
    }
}

/// Everything that `weir dev` runs.
struct World {
    topology: Topology,
    regions: Vec<Region>,
    /// By who dials and who is dialed.
    relays: BTreeMap<(RegionId, RegionId), Relay>,
    asks: mpsc::Sender<DevAsk>,
    cascade: watch::Sender<Vec<CascadeAccess>>,
}

impl World {
    fn new(plan: Plan, asks: mpsc::Sender<DevAsk>) -> anyhow::Result<Self> {
        let names: Vec<(NodeId, RegionId)> =
            plan.configs.iter().map(|config| (config.node.id.clone(), config.node.region.clone())).collect();
        let all = Tls::ephemeral("dev", &names, SystemTime::now()).context("certificates for the links cannot be made")?;
        let mut regions = Vec::new();
        for (config, tls) in plan.configs.into_iter().zip(all) {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no UDP port for links is to be had")?;
            regions.push(Region { config, tls, addr: socket.local_addr()?, socket: Some(socket), node: None });
        }
        let mut relays = BTreeMap::new();
        let find = |from: &RegionId, to: &RegionId| {
            let found = plan.impairments.iter().find(|(a, b, _)| a == from && b == to);
            found.map(|(_, _, impairment)| *impairment)
        };
        for from in &regions {
            for to in &regions {
                let (dialer, dialed) = (&from.config.node, &to.config.node);
                // The lower id dials.
                let Some(there) = find(&dialer.region, &dialed.region).filter(|_| dialer.id < dialed.id) else { continue };
                let back = find(&dialed.region, &dialer.region).unwrap_or(there);
                let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let relay = Relay::start(any, to.addr, [there, back], rand::random()).context("a path cannot be started")?;
                relays.insert((dialer.region.clone(), dialed.region.clone()), relay);
            }
        }
        let mut topology = plan.topology;
        topology.nodes = regions.iter().map(listed).collect();
        Ok(Self { topology, regions, relays, asks, cascade: watch::channel(Vec::new()).0 })
    }

    async fn start(&mut self, index: usize) -> anyhow::Result<()> {
        let urls: Vec<String> = self.regions.iter().map(|region| region.config.http.url.clone()).collect();
        let by_region: Vec<(RegionId, NodeId)> =
            self.regions.iter().map(|region| (region.config.node.region.clone(), region.config.node.id.clone())).collect();
        let Some(region) = self.regions.get_mut(index) else { return Ok(()) };
        let socket = match region.socket.take() {
            Some(socket) => socket,
            None => UdpSocket::bind(region.addr).context("the port of its links is taken")?,
        };
        let settings = &region.config.node;
        let via = by_region.into_iter().filter_map(|(to, node)| {
            let relay = self.relays.get(&(settings.region.clone(), to))?;
            Some((node, relay.local_addr().to_string()))
        });
        let me = NodeInfo {
            id: settings.id.clone(),
            region: settings.region.clone(),
            role: settings.role,
            incarnation: node::incarnation(),
            draining: false,
            url: Some(region.config.http.url.clone()),
            addr: Some(region.addr.to_string()),
        };
        let cascade = Cascade::given(me, self.topology.clone(), region.tls.clone(), socket, via.collect());
        let operator = Operator { cascade: Some(self.cascade.subscribe()), dev: Some(self.asks.clone()), siblings: urls };
        region.node = Some(Node::start_for(region.config.clone(), Some(cascade), operator).await?);
        self.tell_who_runs();
        Ok(())
    }

    fn tell_who_runs(&self) {
        let running = self.regions.iter().filter_map(|region| region.node.as_ref()?.cascade_access());
        self.cascade.send_replace(running.collect());
    }

    async fn run(mut self, mut asks: mpsc::Receiver<DevAsk>, mut stopped: watch::Receiver<bool>) {
        loop {
            let ask = tokio::select! {
                _ = stopped.changed() => break,
                ask = asks.recv() => match ask {
                    Some(ask) => ask,
                    None => break,
                },
            };
            // Whoever asked may have gone.
            match ask {
                DevAsk::Show { reply } => drop(reply.send(self.show())),
                DevAsk::Path { from, to, both, impairment, reply } => {
                    drop(reply.send(self.impair(&from, &to, both, impairment)));
                }
                DevAsk::Node { node, action, reply } => drop(reply.send(self.act(&node, action).await)),
            }
        }
        let nodes = self.regions.into_iter().filter_map(|region| region.node);
        futures_util::future::join_all(nodes.map(Node::shutdown)).await;
    }

    fn show(&self) -> DevState {
        let regions = self.regions.iter().map(|region| DevRegion {
            node: region.config.node.id.clone(),
            region: region.config.node.region.clone(),
            url: region.config.http.url.clone(),
            running: region.node.is_some(),
        });
        let paths = self.relays.iter().flat_map(|((from, to), relay)| {
            let [there, back] = relay.impairments();
            [
                DevPath { from: from.clone(), to: to.clone(), impairment: there },
                DevPath { from: to.clone(), to: from.clone(), impairment: back },
            ]
        });
        DevState { regions: regions.collect(), paths: paths.collect() }
    }

    fn impair(&self, from: &RegionId, to: &RegionId, both: bool, impairment: Impairment) -> Result<(), String> {
        let there = self.relays.get(&(from.clone(), to.clone()));
        let back = self.relays.get(&(to.clone(), from.clone()));
        match (there, back) {
            (Some(relay), _) => {
                let [_, back] = relay.impairments();
                relay.set(impairment, if both { impairment } else { back });
            }
            (None, Some(relay)) => {
                let [there, _] = relay.impairments();
                relay.set(if both { impairment } else { there }, impairment);
            }
            (None, None) => return Err(format!("there is no path from {from} to {to}")),
        }
        Ok(())
    }

    async fn act(&mut self, id: &NodeId, action: NodeAction) -> Result<(), String> {
        let found = self.regions.iter().position(|region| region.config.node.id == *id);
        let index = found.ok_or_else(|| format!("there is no node {id}"))?;
        let Some(region) = self.regions.get_mut(index) else { return Ok(()) };
        match action {
            NodeAction::Start if region.node.is_some() => Err(format!("{id} is running")),
            NodeAction::Start => self.start(index).await.map_err(|why| format!("{why:#}")),
            NodeAction::Kill => {
                let node = region.node.take().ok_or_else(|| format!("{id} is down already"))?;
                node.kill().await;
                self.tell_who_runs();
                Ok(())
            }
            NodeAction::Drain => {
                let node = region.node.as_ref().ok_or_else(|| format!("{id} is down"))?;
                node.drain().await;
                Ok(())
            }
        }
    }
}
