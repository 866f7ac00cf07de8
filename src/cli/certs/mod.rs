//! `weir certs`: the cluster's own authority, kept in a directory of files, and the nodes' certificates that it issues.

mod files;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::ArgGroup;

use self::files::{Files, ROOT_KEY, ROOTS, Readers};
use super::say;
use crate::cascade::tls::authority::{Authority, LEAF_LIFETIME, roots_of};
use crate::cascade::tls::{Certificate, TlsError, lifetime_of};
use crate::cascade::topology::Topology;
use crate::id::{NodeId, RegionId};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A node's certificate with less of its life left than this share is named by `show`: renewals had time and did not come.
const LATE: f64 = 0.33;

/// Flags of `weir certs`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Nodes trust each other by certificates of one authority, which is two files: ca.pem, which every node needs, \
and ca-key.pem, which no node needs. A node needs ca.pem, NODE.pem and NODE-key.pem, and watches them: \
files that are replaced are taken over without a restart.

Examples:
  weir certs init --cluster prod                                  once
  weir certs issue --node fra-1 --region fra                      for each node, and again within 7 days
  weir certs issue --topology cascade/two-tier-tree.toml --force  for all nodes that a document lists
  weir certs show                                                 who has what, and until when
  weir certs rotate                                               a new authority, the old one trusted until --finish";

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make an authority
    #[command(after_help = "Example:\n  weir certs init --cluster prod")]
    Init {
        #[command(flatten)]
        dir: Dir,
        /// The cluster's name: nodes of one talk to no other
        #[arg(long, value_name = "NAME", default_value = "weir")]
        cluster: String,
        /// Replace an authority: every certificate that it has issued becomes worthless
        #[arg(long)]
        force: bool,
    },
    /// Issue a node's certificate, or those of all nodes that a topology document lists
    #[command(after_help = ISSUE_EXAMPLES, group(ArgGroup::new("who").required(true).args(["node", "topology"])))]
    Issue {
        #[command(flatten)]
        dir: Dir,
        /// The node's id
        #[arg(long, value_name = "ID", requires = "region")]
        node: Option<String>,
        /// The region it stands in
        #[arg(long, value_name = "ID", requires = "node")]
        region: Option<String>,
        /// Topology document: all nodes that it lists, instead of one
        #[arg(long, value_name = "FILE")]
        topology: Option<PathBuf>,
        /// How many days it is good for; there is no revocation list, so that a stolen key opens the door as long
        #[arg(long, value_name = "DAYS", default_value_t = LEAF_LIFETIME.as_secs() / DAY.as_secs(), value_parser = clap::value_parser!(u64).range(1..=365))]
        days: u64,
        /// Replace what is there: to renew it
        #[arg(long)]
        force: bool,
    },
    /// Show the roots and the nodes' certificates, and warn of what is wrong with them; fails if a node would be refused
    #[command(after_help = "Example:\n  weir certs show || echo 'somebody is about to be locked out'")]
    Show {
        #[command(flatten)]
        dir: Dir,
    },
    /// Replace the authority while all links go on: a new one signs, the old one stays trusted until --finish
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate {
        #[command(flatten)]
        dir: Dir,
        /// Trust the old root no more
        #[arg(long)]
        finish: bool,
        /// Drop a root though certificates of nodes hang on it
        #[arg(long)]
        force: bool,
    },
}

const ISSUE_EXAMPLES: &str = "\
Examples:
  weir certs issue --node fra-1 --region fra
  weir certs issue --node fra-1 --region fra --days 1 --force     renew it, for a day
  weir certs issue --topology cascade/two-tier-tree.toml";

const ROTATE_EXAMPLES: &str = "\
Examples:
  weir certs rotate                                               then bring ca.pem to all nodes
  weir certs issue --topology cascade/two-tier-tree.toml --force  then bring these to their nodes
  weir certs rotate --finish                                      then bring ca.pem to all nodes";

#[derive(Debug, clap::Args)]
struct Dir {
    /// Where the files are
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
}

impl Dir {
    fn files(self) -> Files {
        Files::new(self.dir)
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let now = SystemTime::now();
    match args.action {
        Action::Init { dir, cluster, force } => init(&dir.files(), &cluster, force, now),
        Action::Issue { dir, node, region, topology, days, force } => {
            let nodes = match (node, region, topology) {
                (Some(node), Some(region), _) => vec![(NodeId::new(node), RegionId::new(region))],
                (_, _, Some(file)) => listed(&file)?,
                _ => anyhow::bail!("name a node with --node and --region, or a document with --topology"),
            };
            issue(&dir.files(), &nodes, DAY * u32::try_from(days)?, force, now)
        }
        Action::Show { dir } => show(&dir.files(), now),
        Action::Rotate { dir, finish, force } => rotate(&dir.files(), finish, force, now),
    }
}

fn init(files: &Files, cluster: &str, force: bool, now: SystemTime) -> anyhow::Result<ExitCode> {
    for name in [ROOTS, ROOT_KEY] {
        let path = files.path(name);
        anyhow::ensure!(
            force || !files.exists(name),
            "{} is there: `weir certs rotate` replaces an authority gently, --force at once and for good",
            path.display()
        );
    }
    let authority = Authority::new(cluster, now)?;
    files.write(ROOT_KEY, authority.key(), Readers::Owner)?;
    files.write(ROOTS, authority.root(), Readers::All)?;
    say(format_args!(
        "The authority of cluster {cluster} is made:\n  {}   for every node\n  {}   for nobody: it names nodes; keep it off them\n\n\
         Next: weir certs issue --node ID --region ID",
        files.path(ROOTS).display(),
        files.path(ROOT_KEY).display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// The authority of a directory.
fn authority(files: &Files) -> anyhow::Result<Authority> {
    anyhow::ensure!(
        files.exists(ROOTS) && files.exists(ROOT_KEY),
        "there is no authority in {}: make one with `weir certs init`, or name its directory with --dir",
        files.path("").display()
    );
    let (roots, key) = (files.read(ROOTS)?, files.read(ROOT_KEY)?);
    Authority::from_pem(&roots, &key).with_context(|| format!("{} is not sound", files.path(ROOT_KEY).display()))
}

/// Nodes of a topology document.
fn listed(file: &std::path::Path) -> anyhow::Result<Vec<(NodeId, RegionId)>> {
    let Ok((topology, _)) = Topology::parse(&files::read(file)?) else {
        anyhow::bail!("{0} is not sound: `weir topology check {0}` says why", file.display());
    };
    anyhow::ensure!(!topology.nodes.is_empty(), "{} lists no node: name one with --node and --region", file.display());
    Ok(topology.nodes.into_iter().map(|node| (node.id, node.region)).collect())
}

fn issue(
    files: &Files,
    nodes: &[(NodeId, RegionId)],
    lifetime: Duration,
    force: bool,
    now: SystemTime,
) -> anyhow::Result<ExitCode> {
    let authority = authority(files)?;
    let mut made = Vec::new();
    for (node, region) in nodes {
        let id = node.as_str();
        anyhow::ensure!(
            !files::is_ambiguous(id),
            "--node: the files of a node called {id} could be taken for the authority's or for a key: choose another name"
        );
        // Before any path is made of it.
        let leaf = authority.issue(node, region, now, lifetime)?;
        for name in [files::certificate(id), files::key(id)] {
            let path = files.path(&name);
            anyhow::ensure!(force || !files.exists(&name), "{} is there: --force replaces it", path.display());
        }
        made.push((id, leaf));
    }
    // Nothing is written unless all can be.
    for (id, leaf) in made {
        let (certificate, key) = (files::certificate(id), files::key(id));
        files.write(&key, &leaf.key, Readers::Owner)?;
        files.write(&certificate, &leaf.cert, Readers::All)?;
        let expires = Certificate::from_pem(&leaf.cert)?.expires;
        say(format_args!(
            "{id} is good until {} UTC: bring it {}, {} and {ROOTS}",
            date(expires),
            files.path(&certificate).display(),
            files.path(&key).display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(files: &Files, now: SystemTime) -> anyhow::Result<ExitCode> {
    let roots = files.read(ROOTS)?;
    let signing = files.exists(ROOT_KEY).then(|| authority(files)).transpose()?;
    let mut warnings = Vec::new();
    let mut refused = false;
    say(format_args!("{:24} {:16} {:16} {:>9}", "ROOT", "GOOD FROM", "UNTIL (UTC)", "DAYS LEFT"));
    for (index, (text, _)) in roots_of(&roots)?.iter().enumerate() {
        let (starts, expires) = lifetime_of(text)?;
        let is_signing = signing.as_ref().is_some_and(|authority| authority.root().trim() == *text);
        let what = match (is_signing, &signing) {
            (true, _) => "signs",
            (false, Some(_)) => "trusted, until --finish",
            (false, None) => "trusted",
        };
        let title = format!("{} ({what})", index + 1);
        say(format_args!("{title:24} {:16} {:16} {:>9}", date(starts), date(expires), days_left(expires, now)));
        if expires <= now {
            warnings.push(format!("root {} has expired: `weir certs rotate` makes a new one", index + 1));
        }
    }
    say(format_args!("\n{:24} {:16} {:16} {:16} {:>9}", "NODE", "REGION", "GOOD FROM", "UNTIL (UTC)", "DAYS LEFT"));
    for node in files.nodes()? {
        let found = files.read(&files::certificate(&node)).and_then(|text| Ok(Certificate::from_pem(&text)?));
        let certificate = match found {
            Ok(certificate) => certificate,
            Err(why) => {
                refused = true;
                warnings.push(format!("{node}: {why:#}"));
                continue;
            }
        };
        let (identity, expires) = (&certificate.name.identity, certificate.expires);
        say(format_args!(
            "{:24} {:16} {:16} {:16} {:>9}",
            identity.node,
            identity.region,
            date(certificate.starts),
            date(expires),
            days_left(expires, now)
        ));
        let wrong = verdict(&node, &certificate, &roots, signing.as_ref(), now);
        refused |= matches!(wrong, Some(Verdict::Refused(_)));
        warnings.extend(wrong.map(|(Verdict::Refused(what) | Verdict::Soon(what))| format!("{node}: {what}")));
    }
    warnings.extend(
        files
            .open_keys()?
            .iter()
            .map(|path| format!("{0} can be read by others than its owner: chmod 600 {0}", path.display())),
    );
    if !warnings.is_empty() {
        say("");
    }
    for warning in warnings {
        say(format_args!("warning: {warning}"));
    }
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is wrong with a node's certificate.
enum Verdict {
    /// Neighbours refuse it.
    Refused(String),
    /// They will.
    Soon(String),
}

fn verdict(
    file: &str,
    certificate: &Certificate,
    roots: &str,
    signing: Option<&Authority>,
    now: SystemTime,
) -> Option<Verdict> {
    let name = &certificate.name;
    let renew = format!("weir certs issue --node {} --region {} --force", name.identity.node, name.identity.region);
    if name.identity.node.as_str() != file {
        return Some(Verdict::Refused(format!("the file is of node {}: rename it", name.identity.node)));
    }
    if certificate.is_signed_by(roots).is_err() {
        return Some(Verdict::Refused(format!("no trusted root stands behind it: {renew}")));
    }
    if certificate.expires <= now {
        return Some(Verdict::Refused(format!("it has expired: {renew}")));
    }
    if signing.is_some_and(|authority| certificate.is_signed_by(authority.root()).is_err()) {
        return Some(Verdict::Soon(format!("it hangs on the old root: {renew}")));
    }
    let life = certificate.expires.duration_since(certificate.starts).unwrap_or_default();
    let left = certificate.expires.duration_since(now).unwrap_or_default();
    (left.as_secs_f64() < life.as_secs_f64() * LATE).then(|| Verdict::Soon(format!("it expires soon: {renew}")))
}

/// The nodes here whose certificates no root of `roots` stands behind.
fn hanging(files: &Files, roots: &str) -> anyhow::Result<Vec<String>> {
    let hangs = |node: &String| {
        let read = files.read(&files::certificate(node)).ok();
        let certificate = read.and_then(|text| Certificate::from_pem(&text).ok());
        certificate.is_some_and(|certificate| matches!(certificate.is_signed_by(roots), Err(TlsError::NotOurs(_))))
    };
    Ok(files.nodes()?.into_iter().filter(hangs).collect())
}

fn rotate(files: &Files, finish: bool, force: bool, now: SystemTime) -> anyhow::Result<ExitCode> {
    let current = authority(files)?;
    let roots = files.read(ROOTS)?;
    let are_two = roots_of(&roots)?.len() > 1;
    // Who hangs on what is dropped now would be locked out.
    let dropped = if are_two { hanging(files, current.root())? } else { Vec::new() };
    anyhow::ensure!(
        force || dropped.is_empty(),
        "certificates of {} hang on the old root, and would be refused: issue them anew with --force, bring them to their nodes, \
         and come back; or drop the root all the same with --force",
        dropped.join(", ")
    );
    if finish {
        anyhow::ensure!(are_two, "only one root is trusted: nothing to finish");
        files.write(ROOTS, current.root(), Readers::All)?;
        say(format_args!("The old root is out of {0}.\n\nNext: bring {0} to all nodes.", files.path(ROOTS).display()));
        return Ok(ExitCode::SUCCESS);
    }
    let new = Authority::new(current.cluster(), now)?;
    // The roots first: if this stops between the two, the old key still finds its root among them.
    files.write(ROOTS, &format!("{}{}", new.root(), current.root()), Readers::All)?;
    files.write(ROOT_KEY, new.key(), Readers::Owner)?;
    let old = hanging(files, new.root())?;
    let old = if old.is_empty() { "every node's certificate".to_owned() } else { old.join(", ") };
    say(format_args!(
        "A new root signs from now on; the one before stays trusted.\n\n\
         Next, in this order:\n  \
         1. bring {0} to all nodes; they take it over by themselves\n  \
         2. weir certs issue … --force for: {old}; bring these to their nodes\n  \
         3. weir certs rotate --finish, and bring {0} to all nodes again",
        files.path(ROOTS).display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// The day and the minute of a time, in UTC.
fn date(time: SystemTime) -> String {
    let unix = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = rcgen::date_time_ymd(1970, 1, 1) + unix;
    format!("{} {:02}:{:02}", time.date(), time.hour(), time.minute())
}

fn days_left(expires: SystemTime, now: SystemTime) -> String {
    match expires.duration_since(now) {
        Ok(left) => format!("{:.1}", left.as_secs_f64() / DAY.as_secs_f64()),
        Err(_) => "expired".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_at_a_glance() {
        let time = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        assert_eq!(date(time), "2027-01-15 08:00");
        assert_eq!(days_left(time, time - DAY * 3 / 2), "1.5");
        assert_eq!(days_left(time, time), "0.0");
        assert_eq!(days_left(time, time + DAY), "expired");
    }
}
