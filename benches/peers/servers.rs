//! The servers that are compared, each as a process of its own: how it is configured, started and ended.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use weir::load::plan::Tokens;

use super::gateway;
use super::network::{ADDRESS, INTERFACE};
use super::support::weir::{Weir, answers};

const JANUS: &str = "janus";
/// Where packages put Janus' parts.
const LIBRARIES: [&str; 4] =
    ["/usr/lib/x86_64-linux-gnu/janus", "/usr/lib/aarch64-linux-gnu/janus", "/usr/lib/janus", "/opt/janus/lib/janus"];

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Weir,
    /// A thread for each member, as it is installed.
    Janus,
    /// Members dealt out to a thread for each core.
    JanusLoops,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Weir, Self::Janus, Self::JanusLoops];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::Janus => "Janus",
            Self::JanusLoops => "Janus, event loops",
        }
    }
}

/// A running server.
pub(crate) struct Server {
    #[expect(dead_code, reason = "it ends with this value")]
    process: Process,
    pub(crate) pid: u32,
    /// Where it can be asked by WHIP and WHEP.
    pub(crate) url: String,
    pub(crate) tokens: Tokens,
}

enum Process {
    #[expect(dead_code, reason = "it ends with this value")]
    Weir(Weir),
    Janus {
        child: Child,
        folder: PathBuf,
        gateway: tokio::task::JoinHandle<()>,
    },
}

/// What is needed and is not here.
pub(crate) fn missing() -> Option<String> {
    let found = Command::new(JANUS).arg("--help").output().is_ok() && libraries().is_some();
    (!found).then(|| {
        "Janus is missing, which weir is compared with. Debian: apt-get install --no-install-recommends janus \
         (its service need not run; the bench starts it with a configuration of its own)"
            .to_owned()
    })
}

fn libraries() -> Option<&'static str> {
    LIBRARIES.into_iter().find(|folder| std::path::Path::new(folder).join("plugins/libjanus_videoroom.so").exists())
}

impl Server {
    pub(crate) async fn start(kind: Kind) -> Result<Self, String> {
        match kind {
            Kind::Weir => Self::weir().await,
            Kind::Janus => Self::janus(None).await,
            Kind::JanusLoops => Self::janus(std::thread::available_parallelism().ok().map(usize::from)).await,
        }
    }

    async fn weir() -> Result<Self, String> {
        let weir = Weir::start(ADDRESS, &[]).await?;
        Ok(Self { pid: weir.pid(), url: weir.url.clone(), tokens: weir.tokens.clone(), process: Process::Weir(weir) })
    }

    async fn janus(event_loops: Option<usize>) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("weir-peers-{}", rand::random::<u32>()));
        let api = format!("{ADDRESS}:8088");
        write_configuration(&folder, event_loops).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut command = Command::new(JANUS);
        command.arg("-F").arg(&folder).arg("-C").arg(folder.join("janus.jcfg")).args(["-o", "-N"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| format!("janus: {error}"))?;
        let api = format!("http://{api}/janus");
        let (url, gateway) = gateway::start(&api).await?;
        let pid = child.id();
        let server = Self { pid, process: Process::Janus { child, folder, gateway }, url, tokens: Tokens::None };
        answers(&format!("{api}/info")).await.map(|()| server)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Self::Janus { child, folder, gateway } = self {
            // It waits for members that are gone when it is asked nicely.
            let _ = child.kill();
            let _ = child.wait();
            gateway.abort();
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// A Janus that does nothing beside: one plugin, one transport, no events, no log. ICE-lite, as weir is.
fn write_configuration(folder: &std::path::Path, event_loops: Option<usize>) -> std::io::Result<()> {
    let libraries = libraries().unwrap_or_default();
    let others = |kind: &str, needed: &str| {
        let listed = std::fs::read_dir(format!("{libraries}/{kind}")).into_iter().flatten().flatten();
        let names = listed.filter_map(|entry| entry.file_name().into_string().ok());
        let others: Vec<String> = names.filter(|name| name.ends_with(".so") && name != needed).collect();
        others.join(",")
    };
    let mut main = format!(
        "general: {{\n configs_folder = \"{}\"\n plugins_folder = \"{libraries}/plugins\"\n transports_folder = \
         \"{libraries}/transports\"\n debug_level = 0\n session_timeout = 0\n",
        folder.display()
    );
    if let Some(loops) = event_loops {
        let _ = writeln!(main, " event_loops = {loops}");
    }
    let _ = write!(
        main,
        "}}\nmedia: {{ ipv6 = false }}\nnat: {{\n ice_enforce_list = \"{INTERFACE}\"\n ice_lite = true\n full_trickle = false\n}}\n\
         plugins: {{ disable = \"{}\" }}\ntransports: {{ disable = \"{}\" }}\nevents: {{ broadcast = false }}\n",
        others("plugins", "libjanus_videoroom.so"),
        others("transports", "libjanus_http.so"),
    );
    let http = "general: {\n json = \"compact\"\n base_path = \"/janus\"\n http = true\n port = 8088\n https = false\n}\n";
    let room = format!(
        "room-{}: {{\n publishers = 2\n bitrate = 0\n audiolevel_event = false\n audiocodec = \"opus\"\n videocodec = \"vp8\"\n}}\n",
        gateway::ROOM
    );
    std::fs::create_dir_all(folder)?;
    for (name, text) in
        [("janus.jcfg", &main), ("janus.transport.http.jcfg", &http.to_owned()), ("janus.plugin.videoroom.jcfg", &room)]
    {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}
