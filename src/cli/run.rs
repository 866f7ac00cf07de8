//! Runs a node until it is told to stop: the first SIGINT or SIGTERM asks it to finish, the second ends the process at once.
//! Used by `serve` and `dev`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::node::Node;

/// What a stop may take beyond `node.drain_ms` before the process ends regardless.
const STOP_MARGIN: Duration = Duration::from_secs(3);

/// As a shell reports a process that ended by SIGINT.
const FORCED: u8 = 130;

/// What runs until it is told to stop.
pub(super) trait Stoppable {
    /// Finishes in order.
    async fn shutdown(self);
}

impl Stoppable for Node {
    async fn shutdown(self) {
        Self::shutdown(self).await;
    }
}

/// Starts what `start` says, calls `ready` when it serves, and returns when it has stopped, which may take `drain`.
pub(super) fn until_stopped<N: Stoppable>(
    drain: Duration,
    start: impl Future<Output = anyhow::Result<N>>,
    ready: impl FnOnce(),
) -> anyhow::Result<ExitCode> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime cannot be started")?;
    let code = runtime.block_on(async {
        let mut stop = Stop::listen()?;
        let node = tokio::select! {
            node = start => node?,
            // Still starting: there is nobody to tell.
            () = stop.asked() => return Ok(ExitCode::SUCCESS),
        };
        ready();
        stop.asked().await;
        tracing::info!("stopping; a second signal ends the process at once");
        anyhow::Ok(tokio::select! {
            finished = tokio::time::timeout(drain + STOP_MARGIN, node.shutdown()) => match finished {
                Ok(()) => {
                    tracing::info!("stopped");
                    ExitCode::SUCCESS
                }
                Err(_) => {
                    tracing::error!("the node did not stop in time; ending the process");
                    ExitCode::FAILURE
                }
            },
            () = stop.asked() => {
                tracing::warn!("second signal: ending the process without waiting for members");
                ExitCode::from(FORCED)
            }
        })
    });
    // A task that is stuck must not keep the process.
    runtime.shutdown_background();
    code
}

/// Each connection is an open file, and many systems start processes with a soft limit of 1,024.
pub(super) fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, hard, "the limit of open files stays where it is");
    }
}

/// The signals that ask for a stop.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be listened for");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
