//! The files of `weir certs`: reads them, and writes them so that a key is never readable for others, not even for a moment,
//! and that a node that watches them never sees half of one.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Every root that is trusted, the one that signs first.
pub(super) const ROOTS: &str = "ca.pem";

/// The key that signs.
pub(super) const ROOT_KEY: &str = "ca-key.pem";

const ENDING: &str = ".pem";
const KEY_ENDING: &str = "-key.pem";

/// Who may read a file.
#[derive(Clone, Copy)]
pub(super) enum Readers {
    /// Its owner.
    Owner,
    All,
}

/// A directory of certificates.
pub(super) struct Files {
    dir: PathBuf,
}

impl Files {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        // A link that leads nowhere is there, too.
        self.path(name).symlink_metadata().is_ok()
    }

    pub(super) fn read(&self, name: &str) -> anyhow::Result<String> {
        let path = self.path(name);
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))
    }

    /// Writes a whole file beside its place and then moves it there.
    pub(super) fn write(&self, name: &str, text: &str, readers: Readers) -> anyhow::Result<()> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.dir)
            .with_context(|| format!("{} cannot be made", self.dir.display()))?;
        let (path, beside) = (self.path(name), self.path(&format!(".{name}.{:08x}", rand::random::<u32>())));
        let mode = match readers {
            Readers::Owner => 0o600,
            Readers::All => 0o644,
        };
        let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, &path)
        });
        written
            .inspect_err(|_| drop(std::fs::remove_file(&beside)))
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Who, of those for whom there is a certificate here, by name.
    pub(super) fn nodes(&self) -> anyhow::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.dir).with_context(|| format!("{} cannot be read", self.dir.display()))?;
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name())).map(OsString::into_string);
        let of_node = |name: String| {
            let node = name.strip_suffix(ENDING)?;
            (name != ROOTS && !name.ends_with(KEY_ENDING) && !name.starts_with('.')).then(|| node.to_owned())
        };
        let mut nodes: Vec<String> = names.filter_map(Result::ok).filter_map(of_node).collect();
        nodes.sort();
        Ok(nodes)
    }

    /// Files of keys that others than their owner may read.
    pub(super) fn open_keys(&self) -> anyhow::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(&self.dir).with_context(|| format!("{} cannot be read", self.dir.display()))?;
        let is_open = |entry: &std::fs::DirEntry| {
            let is_key = entry.file_name().to_string_lossy().ends_with(KEY_ENDING);
            is_key && entry.metadata().is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
        };
        let mut open: Vec<PathBuf> = entries.filter_map(Result::ok).filter(is_open).map(|entry| entry.path()).collect();
        open.sort();
        Ok(open)
    }
}

pub(super) fn certificate(node: &str) -> String {
    format!("{node}{ENDING}")
}

pub(super) fn key(node: &str) -> String {
    format!("{node}{KEY_ENDING}")
}

/// Whether a node's files could be taken for others: those of the authority, or another node's key.
pub(super) fn is_ambiguous(node: &str) -> bool {
    [ROOTS, ROOT_KEY].contains(&certificate(node).as_str()) || certificate(node).ends_with(KEY_ENDING)
}

/// Reads a file of anywhere.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}
