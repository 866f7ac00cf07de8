//! Assembles a node from its configuration and takes it down again. Called by `cli`.

use crate::config::Config;

/// A running node.
#[derive(Debug)]
pub struct Node {}

impl Node {
    /// Binds every socket and starts every task; returns when the node serves.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let _ = config;
        anyhow::bail!("there is no node yet")
    }

    /// Tells the members, closes what is open and waits for every task.
    pub async fn shutdown(self) {}
}
