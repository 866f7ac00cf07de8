//! A `weir serve` of its own process, on an address of this machine, and tokens for it. Ends with the value.

use std::net::Ipv4Addr;
use std::process::{Child, Command};
use std::time::Duration;

use axum::http::Method;
use weir::config::Secret;
use weir::load::http::Http;
use weir::load::plan::Tokens;

pub(crate) const KEY: &str = "bench";
pub(crate) const SECRET: &str = "a secret of a bench that is long enough";
/// How long a server may take to answer for the first time, where something counts what it does, too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. `WEIR_BINARY` names another than the one that cargo has built beside the bench.
pub(crate) struct Weir {
    child: Child,
    pub(crate) url: String,
    /// Its page of metrics.
    #[allow(dead_code, reason = "each bench is compiled with this file, and one of them reads it")]
    pub(crate) metrics: String,
    pub(crate) tokens: Tokens,
}

impl Weir {
    /// Starts it and waits until it answers. `more` are arguments of `weir serve`.
    pub(crate) async fn start(address: Ipv4Addr, more: &[&str]) -> Result<Self, String> {
        Self::start_by(Command::new(binary()), address, more).await
    }

    /// The same by a command that has the server's arguments after its own.
    pub(crate) async fn start_by(mut command: Command, address: Ipv4Addr, more: &[&str]) -> Result<Self, String> {
        let (listen, admin) = (format!("{address}:8080"), format!("{address}:9090"));
        command.args(["serve", "--http-listen", &listen, "--admin-listen", &admin]);
        command.args(["--advertise", &address.to_string(), "--tcp-port", "0", "--log", "warn"]).args(more);
        command.env(format!("WEIR_AUTH__KEYS__{KEY}"), SECRET);
        let child =
            command.spawn().map_err(|error| format!("{} can't be started: {error}", command.get_program().display()))?;
        let keys = [(KEY.to_owned(), Secret::new(SECRET.to_owned()))].into_iter().collect();
        let tokens = Tokens::Signed { keys, key: KEY.to_owned() };
        let server = Self { child, url: format!("http://{listen}"), metrics: format!("http://{admin}/metrics"), tokens };
        answers(&format!("{}/v1/edges", server.url)).await.map(|()| server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Which `weir` it is.
pub(crate) fn binary() -> String {
    std::env::var("WEIR_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_weir").to_owned())
}

/// Waits until something answers there.
pub(crate) async fn answers(url: &str) -> Result<(), String> {
    let http = Http::default();
    let asked = async {
        while http.ask(Method::GET, url, None, None, String::new()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| format!("{url} does not answer"))
}
