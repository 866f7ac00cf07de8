//! Holds the shape of the code: which module may use which, which stay pure, how long a file may be, and that nothing of a
//! particular machine is checked in. Each rule is a function from a file to its violations, so that the rules themselves are
//! tested below on code that breaks them.

use std::fmt;
use std::path::Path;
use std::process::Command;

/// Modules from the ground up: a module uses those above it in this list, never one below. Modules in one row are strangers.
const LAYERS: &[&[&str]] = &[
    &["id", "impair", "net", "stun", "units"],
    &["cluster", "rtp", "turn"],
    &["config", "policy"],
    &["router"],
    &["edge", "cascade"],
    &["shard", "sim"],
    &["admin", "web"],
    &["load", "node"],
    &["cli"],
];

/// Modules that do IO, or that are told the time by the system. All others under `src` are pure.
const IO: &[&str] = &[
    "admin",
    "cascade/quic",
    "cli",
    "config",
    "edge/signal",
    "impair/relay",
    "load/drive",
    "load/exchange",
    "load/http",
    "load/plan",
    "load/server",
    "load/signal",
    "load/worker",
    "main",
    "net",
    "node",
    "shard",
    "turn/shell",
    "web",
];

/// What pure code does not name, and what to do instead.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "pure code awaits nothing: take the input as a value, return the output"),
    ("socket2", "sockets belong to shard"),
    ("quinn_udp", "sockets belong to shard"),
    ("nix::", "system calls belong to shard, admin and cli"),
    ("UdpSocket", "sockets belong to shard"),
    ("TcpStream", "sockets belong to shard and edge/signal"),
    ("TcpListener", "sockets belong to node and edge/signal"),
    ("std::fs", "files belong to config and cli"),
    ("std::env", "the environment belongs to config and cli"),
    ("std::thread", "threads belong to node"),
    ("Instant::now", "take `now: Instant` as an argument"),
    ("SystemTime::now", "take the time as an argument"),
    ("rand::rng()", "take `rng: &mut impl Rng` as an argument"),
    ("rand::random(", "take `rng: &mut impl Rng` as an argument"),
    ("rand::random::", "take `rng: &mut impl Rng` as an argument"),
];

/// The only places that know the WebRTC stack.
const WEBRTC: &[&str] = &["edge/peer", "edge/sdp"];

/// The only place that knows QUIC's implementation.
const QUIC: &[&str] = &["cascade/quic"];

/// Lines of production code in one file.
const LONGEST: usize = 600;

/// One breach of one rule.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

/// One source file, by its path below `src`.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The module's path: `edge/hub/mod.rs` is `edge/hub`.
    fn module(&self) -> &str {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        stem.strip_suffix("/mod").unwrap_or(stem)
    }

    /// Whether it is one of `modules` or below one.
    fn is_in(&self, modules: &[&str]) -> bool {
        let below = |module: &&str| {
            let rest = self.module().strip_prefix(module);
            // `edge/sdp` is also `edge/sdp_offer`: files that outgrew one are named after it.
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '_']))
        };
        modules.iter().any(below)
    }

    fn is_test(&self) -> bool {
        self.path.split('/').any(|part| matches!(part, "tests.rs" | "tests")) || self.module().ends_with("_tests")
    }

    /// Numbered lines of production code, comments cut off. Tests stand last in a file, behind `#[cfg(test)]` at its margin.
    fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let until = |line: &&str| *line != "#[cfg(test)]";
        let code = |line| str::split(line, "//").next().unwrap_or_default();
        let numbered = self.text.lines().take_while(until).map(code).enumerate();
        numbered.map(|(index, line)| (index + 1, line)).filter(|_| !self.is_test())
    }

    fn violation(&self, line: usize, rule: impl Into<String>) -> Violation {
        Violation { file: format!("src/{}", self.path), line, rule: rule.into() }
    }
}

fn opens_with_its_purpose(source: &Source) -> Vec<Violation> {
    let opens = source.text.starts_with("//! ");
    let rule = "a file opens with `//!`: what it owns, what it does not, who calls it";
    if opens { Vec::new() } else { vec![source.violation(1, rule)] }
}

fn is_not_too_long(source: &Source) -> Vec<Violation> {
    let lines = source.production().count();
    let rule = format!("{lines} lines of production code; at most {LONGEST}: split it by responsibility");
    if lines <= LONGEST { Vec::new() } else { vec![source.violation(LONGEST + 1, rule)] }
}

fn stays_pure(source: &Source) -> Vec<Violation> {
    if source.is_in(IO) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in source.production() {
        for (name, instead) in IMPURE.iter().filter(|(name, _)| line.contains(name)) {
            found.push(source.violation(number, format!("pure code names `{name}`; {instead}")));
        }
    }
    found
}

fn leaves_webrtc_to_the_peer(source: &Source) -> Vec<Violation> {
    if source.is_in(WEBRTC) {
        return Vec::new();
    }
    // A path or an import; the name alone may stand in a log filter.
    let breaks = |line: &str| {
        line.match_indices("rtc_").any(|(at, _)| {
            let (before, name) = line.split_at(at);
            let after = name.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
            !before.ends_with(|c: char| c.is_alphanumeric() || c == '_') && (after.starts_with("::") || after.starts_with(';'))
        })
    };
    let lines = source.production().filter(|(_, line)| breaks(line));
    lines
        .map(|(number, _)| source.violation(number, format!("only {} know the WebRTC stack (rtc-*)", WEBRTC.join(", "))))
        .collect()
}

fn leaves_quic_to_the_links(source: &Source) -> Vec<Violation> {
    if source.is_in(QUIC) {
        return Vec::new();
    }
    // `quinn_udp` is sockets only, and `stays_pure` says where those belong.
    let breaks = |line: &str| ["quinn::", "quinn_proto", "use quinn;"].iter().any(|name| line.contains(name));
    let lines = source.production().filter(|(_, line)| breaks(line));
    lines.map(|(number, _)| source.violation(number, format!("only {} knows quinn", QUIC.join(", ")))).collect()
}

fn arrows_point_one_way(source: &Source) -> Vec<Violation> {
    let layer = |module: &str| LAYERS.iter().position(|row| row.contains(&module));
    let own = source.module().split('/').next().unwrap_or_default();
    if matches!(own, "lib" | "main") {
        return Vec::new();
    }
    let Some(own_layer) = layer(own) else {
        return vec![
            source.violation(1, format!("`{own}` has no place among the layers; give it one in tests/architecture.rs")),
        ];
    };
    let mut found = Vec::new();
    for (number, line) in source.production() {
        for used in line.split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(used_layer) = layer(&used) else { continue };
            if used != own && used_layer >= own_layer {
                found.push(
                    source.violation(number, format!("`{own}` uses `{used}`; arrows point from cli down to id, never back")),
                );
            }
        }
    }
    found
}

/// A rule: a file's violations.
type Rule = fn(&Source) -> Vec<Violation>;

const RULES: &[Rule] = &[
    opens_with_its_purpose,
    is_not_too_long,
    stays_pure,
    leaves_webrtc_to_the_peer,
    leaves_quic_to_the_links,
    arrows_point_one_way,
];

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut waiting = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(&path).expect("src is readable").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let below = path.strip_prefix(&root).expect("it was found there").to_string_lossy().replace('\\', "/");
            sources.push(Source::new(&below, &std::fs::read_to_string(&path).expect("a source is text")));
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn assert_none(violations: &[Violation]) {
    let list: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} violations:\n{}", list.len(), list.join("\n"));
}

#[test]
fn the_code_keeps_its_shape() {
    let sources = sources();
    assert!(sources.len() > 20, "the sources were found");
    let violations: Vec<_> = sources.iter().flat_map(|source| RULES.iter().flat_map(|rule| rule(source))).collect();
    assert_none(&violations);
}

/// What a file of any kind must not hold: a path or an address that exists on one machine only. In two halves each, so that
/// this file holds none of them.
const OF_ONE_MACHINE: &[(&str, &str)] =
    &[("/wo", "rk/"), ("/ro", "ot/"), ("/ho", "me/"), ("/Us", "ers/"), ("index.crates", ".io-")];

/// Where packages may be said to come from.
const REGISTRIES: &[&str] = &[
    "https://github.com/rust-lang/crates.io-index",
    "https://registry.npmjs.org/",
    "https://pypi.org/",
    "https://files.pythonhosted.org/",
];

fn is_of_no_machine(file: &str, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut violation = |rule: String| found.push(Violation { file: file.to_owned(), line: index + 1, rule });
        for (head, tail) in OF_ONE_MACHINE {
            let path = format!("{head}{tail}");
            if line.contains(&path) {
                violation(format!("`{path}` exists on one machine only"));
            }
        }
        let words = ["\"resolved\"", "registry=", "registry+", "index-url", "extra-index-url"];
        if words.iter().any(|word| line.contains(word))
            && line.contains("://")
            && !REGISTRIES.iter().any(|known| line.contains(known))
        {
            violation("packages come from the public registries only".to_owned());
        }
    }
    found
}

#[test]
fn nothing_of_one_machine_is_checked_in() {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let Some(listed) = listed.ok().filter(|output| output.status.success()) else {
        println!("not a git checkout: nothing to check");
        return;
    };
    let mut violations = Vec::new();
    for file in
        String::from_utf8_lossy(&listed.stdout).split('\0').filter(|file| !file.is_empty() && *file != "tests/architecture.rs")
    {
        // A file that is gone from the work tree, or is no text, holds no path to speak of.
        if let Ok(text) = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)) {
            violations.extend(is_of_no_machine(file, &text));
        }
    }
    assert_none(&violations);
}

#[test]
fn every_rule_catches_what_it_is_for() {
    let long = format!("//! Long.\n{}", "fn a() {}\n".repeat(LONGEST));
    let cases: &[(Rule, &str, &str, usize)] = &[
        (opens_with_its_purpose, "rtp/packet.rs", "use std::fmt;\n", 1),
        (is_not_too_long, "rtp/packet.rs", &long, LONGEST + 1),
        (stays_pure, "router/mod.rs", "//! Pure.\nuse tokio::sync::mpsc;\n", 2),
        (stays_pure, "edge/hub/mod.rs", "//! Pure.\n\nlet now = Instant::now();\n", 3),
        (leaves_webrtc_to_the_peer, "shard/mod.rs", "//! Shard.\nuse rtc_dtls::conn;\n", 2),
        (leaves_quic_to_the_links, "shard/cascade.rs", "//! Shard.\nuse quinn::Connection;\n", 2),
        (leaves_quic_to_the_links, "cascade/link/mod.rs", "//! Pure.\nuse quinn_proto::RttEstimator;\n", 2),
        (arrows_point_one_way, "rtp/packet.rs", "//! Low.\nuse crate::router::Router;\n", 2),
        (arrows_point_one_way, "edge/peer.rs", "//! Edge.\nlet x = crate::shard::Inbox::Stop;\n", 2),
        (arrows_point_one_way, "stray.rs", "//! No layer.\n", 1),
    ];
    for (rule, path, text, line) in cases {
        let found = rule(&Source::new(path, text));
        assert_eq!(found.iter().map(|violation| violation.line).collect::<Vec<_>>(), [*line], "{path}: {text:.40}");
    }
    let machine = format!("target = {}{}weir", "/wo", "rk/");
    assert_eq!(is_of_no_machine("a.toml", &machine).len(), 1);
    assert_eq!(is_of_no_machine("package-lock.json", "\"resolved\": \"http://10.0.0.1/npm/a.tgz\"").len(), 1);
}

#[test]
fn no_rule_catches_what_is_allowed() {
    for (path, text) in [
        ("rtp/packet.rs", "//! Fine.\n// Instant::now is for others; see crate::router\nuse crate::id::TrackId;\n"),
        ("rtp/packet.rs", "//! Fine.\nfn a() {}\n#[cfg(test)]\nmod tests { use crate::router; fn b() { Instant::now(); } }\n"),
        ("edge/signal.rs", "//! Shell.\nuse tokio::sync::mpsc;\nuse crate::rtp::Kind;\n"),
        ("edge/peer/dtls.rs", "//! Peer.\nuse rtc_dtls::conn;\n"),
        ("cascade/quic/mod.rs", "//! Links.\nuse quinn::Endpoint;\n"),
        ("shard/batch.rs", "//! Sockets.\nuse quinn_udp::Transmit;\n"),
        ("edge/hub/tests.rs", "//! Tests.\nlet now = Instant::now();\n"),
        ("lib.rs", "//! All.\nuse crate::cli;\n"),
        ("cli/dev.rs", "//! Filter.\nlet filter = \"warn,rtc_dtls=error\";\n"),
    ] {
        let found: Vec<_> = RULES.iter().flat_map(|rule| rule(&Source::new(path, text))).collect();
        assert_eq!(found, [], "{path}: {text}");
    }
    assert_eq!(is_of_no_machine("Cargo.lock", "source = \"registry+https://github.com/rust-lang/crates.io-index\""), []);
}
