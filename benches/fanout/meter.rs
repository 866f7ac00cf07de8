//! What one thread of this process spends: CPU time by the kernel's account of the thread, instructions by `perf`.

use std::process::{Child, Command, Stdio};

/// Spent so far.
pub(crate) struct Meter {
    thread: u32,
    cpu_before: u64,
    ticks_before: (u64, u64),
    perf: Option<Child>,
}

/// Spent in all.
pub(crate) struct Cost {
    cpu_ns: u64,
    /// Share of it spent in the kernel, by the kernel's sampling.
    pub(crate) in_kernel: f64,
    user: Option<u64>,
    kernel: Option<u64>,
}

impl Cost {
    /// Microseconds, user and kernel instructions per packet.
    pub(crate) fn per(&self, packets: u64) -> (f64, Option<f64>, Option<f64>) {
        let packets = packets.max(1) as f64;
        let each = |count: Option<u64>| count.map(|count| count as f64 / packets);
        (self.cpu_ns as f64 / 1_000.0 / packets, each(self.user), each(self.kernel))
    }
}

impl Meter {
    /// Watches the thread of that name for about so many seconds.
    pub(crate) fn start(name: &str, seconds: u64) -> Self {
        let thread = thread_named(name).expect("the thread runs");
        let perf = Command::new("perf")
            .args(["stat", "-x", ",", "-e", "instructions:u,instructions:k", "-t", &thread.to_string(), "--"])
            .args(["sleep", &seconds.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        Self { thread, cpu_before: cpu_ns(thread), ticks_before: ticks(thread), perf: perf.ok() }
    }

    /// Waits for `perf`, and adds up.
    pub(crate) fn stop(self) -> Cost {
        let cpu_ns = cpu_ns(self.thread) - self.cpu_before;
        let told = self.perf.and_then(|perf| perf.wait_with_output().ok());
        let told = told.map(|output| String::from_utf8_lossy(&output.stderr).into_owned()).unwrap_or_default();
        let count = |event: &str| told.lines().find(|line| line.contains(event))?.split(',').next()?.parse().ok();
        let (user, kernel) = ticks(self.thread);
        let (user, kernel) = (user - self.ticks_before.0, kernel - self.ticks_before.1);
        let in_kernel = kernel as f64 / (user + kernel).max(1) as f64;
        Cost { cpu_ns, in_kernel, user: count("instructions:u"), kernel: count("instructions:k") }
    }
}

/// What the thread of that name has spent since it began, in nanoseconds.
pub(crate) fn cpu_ns_of(name: &str) -> u64 {
    thread_named(name).map_or(0, cpu_ns)
}

fn thread_named(name: &str) -> Option<u32> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let mut ids = tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok());
    ids.find(|id: &u32| std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).is_ok_and(|comm| comm.trim() == name))
}

/// Nanoseconds on a CPU, user and kernel together.
fn cpu_ns(thread: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// Clock ticks in user and in kernel mode.
fn ticks(thread: u32) -> (u64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    // Behind the name, which is in parentheses: state is the first field, user time the twelfth.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let field = |index: usize| fields.get(index).and_then(|text| text.parse().ok()).unwrap_or(0);
    (field(11), field(12))
}
