//! More than a server bears: a call of six goes on while a crowd comes that is too large. Those who were there should notice little, and
//! who comes too late is told so. Both crowds are processes of their own; the six have the scheduler's favour where that may be had, so
//! that what they see is the server's doing and not the generator's.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use weir::load::http::Http;

use super::support::weir::{KEY, SECRET, Weir, binary};

/// Members of the call that is there before.
const SIX: &str = "6";
/// How long it has the server for itself.
const BEFORE: Duration = Duration::from_secs(8);
/// Rooms of so many come, so many a second.
const ROOM: &str = "20";
const RAMP: &str = "7";
/// How long all of those stay who were let in.
const STAY: &str = "15";

/// A few lines of words.
pub(crate) async fn visit(server: &Weir, rooms: u32) -> Result<String, String> {
    let comes = rooms * ROOM.parse::<u32>().unwrap();
    let whole = BEFORE.as_secs() + u64::from(comes / RAMP.parse::<u32>().unwrap()) + STAY.parse::<u64>().unwrap() + 2;
    let calm = crowd(server, &["nice", "-n", "-10"], &["-m", SIX, "--room", "calm", "--duration", &whole.to_string()])?;
    sleep(BEFORE).await;
    let rooms = rooms.to_string();
    let flood = crowd(server, &[], &["-m", ROOM, "-r", &rooms, "--room", "flood", "--ramp", RAMP, "--duration", STAY])?;
    let (http, began) = (Http::default(), Instant::now());
    let (mut busiest, mut reliefs) = (0.0_f64, 0.0_f64);
    let watch = async {
        loop {
            sleep(Duration::from_millis(500)).await;
            let Ok(page) = http.metrics(&server.metrics).await else { continue };
            let of =
                |name: &str| page.lines().find_map(|line| line.strip_prefix(name)?.rsplit(' ').next()?.parse::<f64>().ok());
            busiest = busiest.max(of("weir_shard_busy_percent{").unwrap_or(0.0));
            reliefs = reliefs.max(of("weir_relief_steps_total{").unwrap_or(0.0));
        }
    };
    let (flood, calm) = tokio::select! {
        reports = async { tokio::join!(report(flood), report(calm)) } => reports,
        () = watch => return Err("a page of metrics has no end".to_owned()),
    };
    let (flood, calm) = (flood?, calm?);
    let number = |report: &Value, path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let percent =
        |kind: &str| 100.0 * number(&calm, &format!("/heard/{kind}/lost")) / number(&calm, &format!("/heard/{kind}/expected"));
    let p99 = calm["latency"].as_array().into_iter().flatten().map(|each| number(each, "/ms/p99")).fold(0.0, f64::max);
    Ok(format!(
        "ramp: {} of {comes} let in, {} refused; the shard {busiest:.0} % busy at most, pictures made smaller {reliefs:.0} times; {:.0} s\n      the call of six from before: lost {:.3} % \
         of its voices and {:.3} % of its pictures; {} freezes, {:.1} s; p99 {p99:.0} ms",
        number(&flood, "/joins/connected"),
        number(&flood, "/joins/failed"),
        began.elapsed().as_secs_f64(),
        percent("audio"),
        percent("video"),
        number(&calm, "/heard/video/freezes"),
        number(&calm, "/heard/video/frozen_ms") / 1_000.0,
    ))
}

/// A `weir load` that may run as it likes, behind the words in front.
fn crowd(server: &Weir, front: &[&str], args: &[&str]) -> Result<Child, String> {
    let binary = binary();
    let mut words = front.iter().copied().chain([binary.as_str(), "load"]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).args(["--url", &server.url, "--key", KEY, "--quiet", "--json", "-"]).args(args);
    command.env("WEIR_LOAD_SECRET", SECRET).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().map_err(|error| format!("a crowd can't be started: {error}"))
}

async fn report(crowd: Child) -> Result<Value, String> {
    let output = tokio::task::spawn_blocking(|| crowd.wait_with_output()).await.map_err(|error| error.to_string())?;
    let output = output.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim()).map_err(|error| format!("a crowd said no JSON ({error})"))
}
