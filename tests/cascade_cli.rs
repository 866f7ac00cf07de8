//! `weir topology` and `weir certs` as operators meet them. Runs the built binary; files only.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a command said, and whether it succeeded.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn weir(line: &str) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(line.split_whitespace())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("weir runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A directory that is gone when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-cascade-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("the temporary directory is writable");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("it is writable");
        path.display().to_string()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).expect(name)
    }

    fn certs(&self, line: &str) -> Said {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let dir = self.0.display().to_string();
        words.extend(["--dir", &dir]);
        weir(&format!("certs {}", words.join(" ")))
    }

    fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.0.join(name)).expect(name).permissions().mode() & 0o777
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_examples_pass_the_check() {
    for (file, summary) in [
        ("dev", "sound: epoch 1, a tree of 3 regions and 3 links, 0 nodes listed"),
        ("three-region-mesh", "sound: epoch 1, a mesh of 3 regions and 3 links, 0 nodes listed"),
        ("two-tier-tree", "sound: epoch 1, a tree of 3 regions and 3 links, 5 nodes listed"),
    ] {
        let said = weir(&format!("topology check cascade/{file}.toml"));
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{file}");
        assert!(said.out.contains(summary), "{}", said.out);
    }
}

#[test]
fn a_mistake_is_shown_at_its_line_and_fails_the_check() {
    let scratch = Scratch::new("mistake");
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("cascade/dev.toml")).expect("it is there");
    let file = scratch.file("bad.toml", &text.replace("[\"fra\", \"iad\"]", "[\"fra\", \"idd\"]"));
    let said = weir(&format!("topology check {file}"));
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    let line = 1 + text.lines().position(|line| line.contains("parents")).expect("sin has parents");
    let expected = format!(
        "error: region sin: its parent idd is no region\n  --> {file}:{line}:35\n   |\n{line} |   {{ id = \"sin\", parents = [\"fra\", \"idd\"]"
    );
    assert!(said.err.starts_with(&expected), "{}\n{expected}", said.err);
    assert!(said.err.contains("\n   = did you mean iad?\n") && said.err.ends_with("bad.toml: 1 error\n"), "{}", said.err);
    let said = weir(&format!("topology draw {file}"));
    assert_eq!(said.code, Some(1));
}

#[test]
fn a_replacement_needs_a_higher_epoch() {
    let scratch = Scratch::new("epoch");
    let said = weir("topology check cascade/dev.toml --replaces cascade/dev.toml");
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("epoch 1 does not grow: the document in use has 1; raise the epoch to at least 2"),
        "{}",
        said.err
    );
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("cascade/dev.toml")).expect("it is there");
    let file = scratch.file("new.toml", &text.replace("epoch = 1", "epoch = 2"));
    assert_eq!(weir(&format!("topology check {file} --replaces cascade/dev.toml")).code, Some(0));
}

#[test]
fn ways_are_explained_and_pictures_drawn() {
    let said = weir("topology show cascade/dev.toml --from sin");
    assert!(said.out.contains("sin → fra → iad  235   250 ms") && !said.out.contains("fra → sin"), "{}", said.out);
    assert!(weir("topology show cascade/dev.toml --from sni").err.contains("no region; there are fra, iad, sin"));
    let svg = weir("topology draw cascade/two-tier-tree.toml --svg -").out;
    assert!(svg.starts_with("<svg xmlns=") && svg.trim_end().ends_with("</svg>") && svg.contains("prefers-color-scheme: dark"));
}

#[test]
fn an_authority_is_made_once_and_its_key_is_its_owners_alone() {
    let scratch = Scratch::new("init");
    assert_eq!(scratch.certs("init --cluster prod").code, Some(0));
    assert_eq!((scratch.mode("ca-key.pem"), scratch.mode("ca.pem")), (0o600, 0o644));
    let key = scratch.read("ca-key.pem");
    let again = scratch.certs("init");
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("ca.pem is there") && again.err.contains("--force"), "{}", again.err);
    assert_eq!(scratch.read("ca-key.pem"), key);
    assert_eq!(scratch.certs("init --force").code, Some(0));
    assert_ne!(scratch.read("ca-key.pem"), key);
}

#[test]
fn nodes_are_issued_certificates_one_by_one_or_as_a_document_lists_them() {
    let scratch = Scratch::new("issue");
    let early = scratch.certs("issue --node a --region fra");
    assert!(early.code == Some(1) && early.err.contains("weir certs init"), "{}", early.err);
    scratch.certs("init --cluster prod");
    assert_eq!(scratch.certs("issue --node fra-1 --region fra --days 3").code, Some(0));
    assert_eq!((scratch.mode("fra-1-key.pem"), scratch.mode("fra-1.pem")), (0o600, 0o644));
    let before = scratch.read("fra-1-key.pem");
    let again = scratch.certs("issue --node fra-1 --region fra");
    assert!(again.code == Some(1) && again.err.contains("--force replaces it"), "{}", again.err);
    assert_eq!(scratch.read("fra-1-key.pem"), before);
    assert_eq!(scratch.certs("issue --node fra-1 --region fra --force").code, Some(0));
    assert_ne!(scratch.read("fra-1-key.pem"), before);
    assert_eq!(scratch.certs("issue --topology cascade/two-tier-tree.toml").code, Some(0));
    let shown = scratch.certs("show");
    assert_eq!(shown.code, Some(0), "{}{}", shown.out, shown.err);
    for (node, region) in [("fra-core", "fra"), ("iad-edge", "iad"), ("mad-1", "mad")] {
        let line = shown.out.lines().find(|line| line.starts_with(node)).expect(node);
        assert_eq!((line.split_whitespace().nth(1), line.ends_with("7.0")), (Some(region), true), "{line}");
    }
    assert!(!shown.out.contains("warning"), "{}", shown.out);
    let left: Vec<_> =
        std::fs::read_dir(&scratch.0).expect("a directory").map(|entry| entry.expect("one").file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "nothing half-written stays: {left:?}");
}

#[test]
fn no_name_leads_out_of_the_directory_or_over_the_authoritys_files() {
    let scratch = Scratch::new("names");
    scratch.certs("init");
    let key = scratch.read("ca-key.pem");
    for name in ["ca", "ca-key", "x-key", "../evil", "a/b", "A", ".", "a..b"] {
        let said = scratch.certs(&format!("issue --force --node {name} --region fra"));
        assert_eq!(said.code, Some(1), "{name}");
        let said = scratch.certs(&format!("issue --force --node n --region {name}/.."));
        assert_eq!(said.code, Some(1), "{name}");
    }
    assert_eq!(scratch.read("ca-key.pem"), key);
    assert_eq!(std::fs::read_dir(&scratch.0).expect("a directory").count(), 2);
}

#[test]
fn a_rotation_locks_nobody_out() {
    let scratch = Scratch::new("rotate");
    scratch.certs("init");
    scratch.certs("issue --node a --region fra");
    scratch.certs("issue --node b --region fra");
    assert!(scratch.certs("rotate --finish").err.contains("nothing to finish"));
    let rotated = scratch.certs("rotate");
    assert!(rotated.code == Some(0) && rotated.out.contains("for: a, b;"), "{}{}", rotated.out, rotated.err);
    assert_eq!(scratch.read("ca.pem").matches("BEGIN CERTIFICATE").count(), 2);
    assert_eq!(scratch.mode("ca-key.pem"), 0o600);
    scratch.certs("issue --node a --region fra --force");
    let shown = scratch.certs("show");
    assert_eq!(shown.code, Some(0), "the old root is trusted still");
    assert!(shown.out.contains("warning: b: it hangs on the old root") && !shown.out.contains("warning: a"), "{}", shown.out);
    for line in ["rotate --finish", "rotate"] {
        let early = scratch.certs(line);
        assert!(early.code == Some(1) && early.err.contains("certificates of b hang on the old root"), "{}", early.err);
    }
    scratch.certs("issue --node b --region fra --force");
    assert_eq!(scratch.certs("rotate --finish").code, Some(0));
    assert_eq!(scratch.read("ca.pem").matches("BEGIN CERTIFICATE").count(), 1);
    assert_eq!(scratch.certs("show").code, Some(0));
}

#[test]
fn show_fails_for_a_node_that_would_be_refused_and_warns_of_open_keys() {
    let scratch = Scratch::new("show");
    scratch.certs("init");
    scratch.certs("issue --node a --region fra");
    std::fs::set_permissions(scratch.0.join("a-key.pem"), std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    let shown = scratch.certs("show");
    assert!(shown.code == Some(0) && shown.out.contains("can be read by others than its owner"), "{}", shown.out);
    std::fs::rename(scratch.0.join("a.pem"), scratch.0.join("b.pem")).expect("it is ours");
    let shown = scratch.certs("show");
    assert!(shown.code == Some(1) && shown.out.contains("warning: b: the file is of node a"), "{}", shown.out);
    scratch.certs("init --force");
    scratch.certs("issue --node a --region fra");
    std::fs::remove_file(scratch.0.join("b.pem")).expect("it is ours");
    scratch.certs("issue --node a --region fra --force");
    scratch.certs("init --force");
    let shown = scratch.certs("show");
    assert!(shown.code == Some(1) && shown.out.contains("warning: a: no trusted root stands behind it"), "{}", shown.out);
}
