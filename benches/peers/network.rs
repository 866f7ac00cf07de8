//! A network of our own: one address that is not loopback's, because libnice gathers none there, and that nobody else can reach.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Where servers listen.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Its interface.
pub(crate) const INTERFACE: &str = "host";

const INSIDE: &str = "WEIR_PEERS_INSIDE";
const SETUP: &str = "ip link set lo up && ip link add host type veth peer name away && ip addr add 10.77.0.1/24 dev host \
                     && ip link set away up && ip link set host up && exec \"$0\" \"$@\"";

/// What a network of our own needs and is not here.
pub(crate) fn missing() -> Option<String> {
    let lacks = |name: &&str| Command::new(name).arg("--version").output().is_err();
    let found = ["unshare", "ip"].iter().find(|name| lacks(name));
    found.map(|name| {
        format!("`{name}` is missing (Debian: util-linux, iproute2): servers run in a network namespace of their own")
    })
}

/// Begins this program anew inside, unless it is there. All processes in there end with it.
pub(crate) fn enter() {
    if std::env::var_os(INSIDE).is_some() {
        return;
    }
    let ourselves = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new("unshare");
    if !is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SETUP]);
    let error = command.arg(ourselves).args(std::env::args_os().skip(1)).env(INSIDE, "1").exec();
    eprintln!("peers: no network namespace can be made here ({error}); run it as root");
    std::process::exit(1);
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t")))
}
