//! What the kernel says of a process, from `/proc`; nothing on systems without it.

use std::fs;

/// Clock ticks per second in `/proc/…/stat`: the kernel's interface has fixed it at 100 (`USER_HZ`) on every platform we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// One reading. What could not be read is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
    pub(crate) threads: Option<u64>,
}

impl Process {
    /// Of this process, now.
    pub(crate) fn read() -> Self {
        Self::read_of("self")
    }

    /// Of the process with this id, now. The limit of files is this process's.
    pub(crate) fn read_of(pid: &str) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Self {
            resident_bytes: field("VmRSS").map(|kib| kib * 1024),
            cpu_seconds: fs::read_to_string(format!("/proc/{pid}/stat")).ok().as_deref().and_then(cpu_seconds),
            open_fds: fs::read_dir(format!("/proc/{pid}/fd")).ok().and_then(|fds| u64::try_from(fds.count()).ok()),
            max_fds: nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
            threads: field("Threads"),
        }
    }
}

/// User and system time. The name in parentheses may hold anything, so fields are counted from its end (proc(5)).
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut ticks = rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>());
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("42"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_threads_and_files() {
        let process = Process::read();
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(process.threads.is_some_and(|threads| threads >= 1));
        assert!(process.open_fds.is_some_and(|fds| fds >= 3) && process.max_fds > process.open_fds);
    }
}
