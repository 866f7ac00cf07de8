//! `weir drain`: has a running node take nothing new and waits until everybody has moved away from it. Asks its admin listener.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::say;

/// Bytes of an answer that are read at most.
const ANSWER: usize = 64 << 20;

/// How often is asked who is left.
const PACE: Duration = Duration::from_millis(250);

/// Flags of `weir drain`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The node's admin listener [admin.listen]
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// Which node, where one listener stands for several, as that of `weir dev` does
    #[arg(long, value_name = "ID")]
    node: Option<String>,
    /// How long to wait for members and other nodes to have moved, in seconds; 0 does not wait
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

const EXAMPLES: &str = "\
A draining node lets nobody new in. Its members are told to move to other edges, which they do without losing the picture, and \
nodes that get media through it find other ways first and then leave. The process goes on running: stop it when this command \
has said that nobody is left. SIGTERM does all of that at once, within node.drain_ms.

Examples:
  weir drain
  weir drain --admin 10.0.0.7:9090 --wait 300 && systemctl restart weir";

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?;
    runtime.block_on(drain(args))
}

async fn drain(args: Args) -> anyhow::Result<ExitCode> {
    let query = args.node.as_ref().map(|node| format!("?node={node}")).unwrap_or_default();
    let drained = ask(args.admin, Method::POST, &format!("/v1/admin/drain{query}")).await?;
    let node = drained.get("node").and_then(Value::as_str).unwrap_or_default().to_owned();
    say(format_args!("{node} drains"));
    let until = Instant::now() + Duration::from_secs(args.wait);
    let mut told = None;
    while Instant::now() < until {
        let left = left(args.admin, &node).await?;
        if left == (0, 0) {
            say("nobody is left: it can be stopped");
            return Ok(ExitCode::SUCCESS);
        }
        if told != Some(left) {
            say(format_args!("  {} members and {} subscriptions of other nodes are left", left.0, left.1));
            told = Some(left);
        }
        tokio::time::sleep(PACE).await;
    }
    if args.wait == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("not empty after {} s; those who are left find another way when it stops", args.wait));
    Ok(ExitCode::FAILURE)
}

/// How many members are on the node, and how many subscriptions of others it serves.
async fn left(admin: SocketAddr, node: &str) -> anyhow::Result<(u64, usize)> {
    let cascade = ask(admin, Method::GET, "/v1/admin/cascade").await?;
    let nodes = cascade.get("nodes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let of_node = nodes.iter().find(|status| status.pointer("/me/id").and_then(Value::as_str) == Some(node));
    let tracks = of_node.and_then(|status| status.get("tracks")).and_then(Value::as_array);
    let children = |track: &Value| track.get("children").and_then(Value::as_array).map_or(0, Vec::len);
    let subscriptions = tracks.map_or(0, |tracks| tracks.iter().map(children).sum());
    let members = of_node.and_then(|status| status.get("members")).and_then(Value::as_u64).unwrap_or(0);
    Ok((members, subscriptions))
}

async fn ask(admin: SocketAddr, method: Method, path: &str) -> anyhow::Result<Value> {
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{admin}{path}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::empty())?;
    let answer = client.request(request).await.with_context(|| format!("no node answers at {admin}; is --admin right?"))?;
    let status = answer.status();
    let body = axum::body::to_bytes(Body::new(answer.into_body()), ANSWER).await?;
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status != StatusCode::OK && status != StatusCode::ACCEPTED {
        let why = value.pointer("/error/message").or_else(|| value.get("message")).and_then(Value::as_str);
        bail!("{admin} answers {status}: {}", why.unwrap_or("without a reason"));
    }
    Ok(value)
}
