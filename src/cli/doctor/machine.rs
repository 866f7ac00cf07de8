//! Memory, open files, cores and clock: whether the machine holds what the configuration allows in.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, getrlimit};

use super::Finding;
use crate::config::Config;

/// What one member with its subscriptions takes, generously.
const MEMBER_BYTES: u64 = 400 * 1024;

/// What a node takes before anybody joins.
const NODE_BYTES: u64 = 64 << 20;

/// Files a node opens beside connections: sockets, pipes, the runtime's own.
const OWN_FILES: u64 = 64;

/// Nobody built this program before then; a clock that says so is wrong. 2026-01-01.
const EARLIEST: u64 = 1_767_225_600;

/// Clocks that lost their battery often come up far in the future, too. 2100-01-01.
const LATEST: u64 = 4_102_444_800;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![open_files(config)];
    findings.extend(memory(config));
    findings.push(cores(config));
    findings.push(clock(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())));
    findings
}

/// `weir serve` raises the soft limit to the hard one, so the hard one counts.
fn open_files(config: &Config) -> Finding {
    let wanted = u64::from(config.limits.connections) + OWN_FILES;
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard >= wanted => Finding::ok("open files", format!("{hard} allowed")),
        Ok((_, hard)) => Finding::warn(
            "open files",
            format!("{hard} allowed, {wanted} needed for limits.connections = {}", config.limits.connections),
            "from there on nobody else can connect",
            format!("LimitNOFILE={wanted} in the systemd unit, or ulimit -Hn {wanted}; or a lower limits.connections"),
        ),
        Err(why) => {
            Finding::warn("open files", format!("unknown: {why}"), "nobody can tell how many may connect", "see the error")
        }
    }
}

fn memory(config: &Config) -> Option<Finding> {
    let available = available_memory()?;
    let wanted = NODE_BYTES + u64::from(config.limits.members) * MEMBER_BYTES;
    let mib = |bytes: u64| bytes >> 20;
    if available >= wanted {
        return Some(Finding::ok("memory", format!("{} MiB available, {} MiB needed when full", mib(available), mib(wanted))));
    }
    let fits = available.saturating_sub(NODE_BYTES) / MEMBER_BYTES;
    let found = format!(
        "{} MiB available, up to {} MiB needed for limits.members = {}",
        mib(available),
        mib(wanted),
        config.limits.members
    );
    let breaks = "the kernel may kill the node when it is full, and every call with it";
    Some(Finding::warn("memory", found, breaks, format!("set limits.members to {fits} or so, or add memory")))
}

/// What the host has to spare, or what the container may use, whichever is less.
fn available_memory() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let host = line.split_whitespace().next()?.parse::<u64>().ok()? * 1024;
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limit = number("/sys/fs/cgroup/memory.max");
    let used = number("/sys/fs/cgroup/memory.current").unwrap_or_default();
    Some(limit.map_or(host, |limit| host.min(limit.saturating_sub(used))))
}

fn cores(config: &Config) -> Finding {
    let shards = config.media.shard_count();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if usize::from(shards) <= cores {
        return Finding::ok("cores", format!("{cores} for {shards} shards"));
    }
    Finding::warn(
        "cores",
        format!("{cores} for {shards} shards"),
        "shards wait for each other, which is heard as jitter",
        "set media.shards to 0 (one per core)",
    )
}

fn clock(unix: u64) -> Finding {
    if (EARLIEST..LATEST).contains(&unix) {
        return Finding::ok("clock", "plausible; tokens are checked against it");
    }
    Finding::fail(
        "clock",
        format!("{unix} seconds after 1970, which cannot be"),
        "every token looks expired or not yet valid, so nobody can join",
        "set the clock, and run a time service such as chrony or systemd-timesyncd",
    )
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn an_impossible_clock_is_a_failure() {
        assert_eq!(clock(0).state, State::Fail);
        assert_eq!(clock(EARLIEST + 1).state, State::Ok);
        assert_eq!(clock(u64::MAX).state, State::Fail);
    }

    #[test]
    fn more_members_than_memory_is_a_warning_that_names_the_key() {
        let mut config = Config::default();
        config.limits.members = u32::MAX;
        if let Some(finding) = memory(&config) {
            assert_eq!(finding.state, State::Warn);
            assert!(finding.mend.contains("limits.members"), "{finding:?}");
        }
        config.limits.members = 1;
        config.limits.connections = u32::MAX;
        assert_eq!(open_files(&config).state, State::Warn);
    }
}
