//! Whether this node can keep links to others: topology document, certificates, port. Part of `cli::doctor`.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Finding;
use crate::config::Config;
use crate::node;

/// A certificate that ends sooner than this should be renewed now.
const SOON: Duration = Duration::from_secs(2 * 86_400);

const DAY: u64 = 86_400;

pub(super) fn check(config: &Config, now: SystemTime) -> Vec<Finding> {
    if config.cascade.topology.is_empty() {
        return vec![Finding::ok("links", "none: no topology document is configured, so this node stands alone")];
    }
    vec![topology(config), certificate(config, now), port(config.cascade.listen)]
}

fn topology(config: &Config) -> Finding {
    const CHECK: &str = "topology";
    const BREAKS: &str = "the node does not start";
    let path = &config.cascade.topology;
    let topology = match node::read_topology(Path::new(path)) {
        Ok(topology) => topology,
        Err(why) => return Finding::fail(CHECK, format!("{why:#}"), BREAKS, format!("weir topology check {path} shows where")),
    };
    if topology.region(&config.node.region).is_none() {
        let found = format!("{path} has no region {}", config.node.region);
        return Finding::fail(CHECK, found, BREAKS, "correct node.region, or add the region to the document");
    }
    if config.cascade.advertise.is_empty() && !topology.nodes.iter().any(|listed| listed.id == config.node.id) {
        let found = format!("{path} does not list {}, and cascade.advertise is empty", config.node.id);
        let mend = "set cascade.advertise, or list the node in the document";
        return Finding::warn(CHECK, found, "other nodes cannot dial this one; it dials those that are listed", mend);
    }
    Finding::ok(CHECK, format!("{path}, epoch {}, {} regions", topology.epoch, topology.regions().len()))
}

fn certificate(config: &Config, now: SystemTime) -> Finding {
    const CHECK: &str = "certificate";
    let (id, region) = (&config.node.id, &config.node.region);
    let issue = format!("weir certs issue --node {id} --region {region} --dir {}", config.cascade.certs);
    let tls = match node::read_tls(Path::new(&config.cascade.certs), id) {
        Ok(tls) => tls,
        Err(why) => return Finding::fail(CHECK, format!("{why:#}"), "no other node accepts a link", issue),
    };
    let identity = tls.identity();
    if identity.node != *id || identity.region != *region {
        let found = format!("it is for {} of {}, but this node is {id} of {region}", identity.node, identity.region);
        return Finding::fail(CHECK, found, "the node does not start", issue);
    }
    match tls.expires().duration_since(now) {
        Err(_) => Finding::fail(CHECK, "it has expired", "no other node accepts a link", issue),
        Ok(left) if left < SOON => {
            let found = format!("it ends in {} hours", left.as_secs() / 3_600);
            Finding::warn(CHECK, found, "then no other node accepts a link", issue)
        }
        Ok(left) => Finding::ok(CHECK, format!("{id} of {region}, for {} more days", left.as_secs() / DAY)),
    }
}

fn port(listen: SocketAddr) -> Finding {
    const CHECK: &str = "link port";
    match UdpSocket::bind(listen) {
        Ok(_) => Finding::ok(CHECK, format!("UDP {listen} is free; the firewall must let the other nodes in")),
        Err(why) => Finding::warn(
            CHECK,
            format!("UDP {listen} cannot be bound: {why}"),
            "if it is not this node itself that holds it, no links",
            "stop what holds it (ss -ulnp tells), or set cascade.listen",
        ),
    }
}
