//! A private PostgreSQL cluster for tests, from the system's binaries: in a temporary directory, on
//! a Unix socket only, removed with its last user even when the test panics.

use crate::skip::skip;
use sqlx::{Connection, Executor, PgConnection};
use std::{
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long the server may take to start. It takes a third of a second on an idle machine.
const START_MAX: Duration = Duration::from_secs(60);

/// A running cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    server: Child,
    directory: TempDir,
}

impl Cluster {
    /// Starts a cluster; `None`, visibly, where PostgreSQL is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let Some(binaries) = binaries() else {
            skip("PostgreSQL binaries absent");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        // The server refuses to run as root.
        let user = is_root().then(nobody);
        if let Some((uid, gid)) = user {
            chown(directory.path(), Some(uid), Some(gid)).unwrap();
        }
        let data = directory.path().join("data");
        let mut initdb = command(&binaries.join("initdb"), directory.path(), user);
        initdb.args(["--no-sync", "--auth=trust", "--username=weft", "--encoding=UTF8"]);
        initdb.args(["--locale=C", "--pgdata"]).arg(&data);
        assert!(initdb.status().unwrap().success(), "initdb failed");
        let mut postgres = command(&binaries.join("postgres"), directory.path(), user);
        postgres.arg("-D").arg(&data).arg("-k").arg(directory.path());
        postgres.args(["-c", "listen_addresses=", "-c", "fsync=off"]);
        // A commit that asks for a replica waits for ever. None does, unless a test wants to see it.
        postgres.args(["-c", "synchronous_standby_names=nobody", "-c", "synchronous_commit=local"]);
        let cluster = Self { server: postgres.spawn().unwrap(), directory };
        cluster.wait().await;
        Some(cluster)
    }

    /// Creates a database and gives back its URL.
    pub(crate) async fn create_database(&self, name: &str) -> String {
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        let statement = format!("CREATE DATABASE {name}");
        connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
        self.url(name)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://weft@localhost/{database}?host={}", self.directory.path().display())
    }

    async fn wait(&self) {
        let start = Instant::now();
        while let Err(error) = PgConnection::connect(&self.url("postgres")).await {
            assert!(start.elapsed() < START_MAX, "PostgreSQL does not start: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGQUIT: the server takes its workers and its shared memory along at once.
        let pid = self.server.id().to_string();
        let asked = Command::new("kill").args(["-QUIT", &pid]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

/// The directory of `initdb` and `postgres`: in the path, or where Debian puts it.
fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<_> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        directories.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let has_both = |d: &PathBuf| d.join("initdb").exists() && d.join("postgres").exists();
    directories.into_iter().find(has_both)
}

fn command(program: &Path, directory: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null());
    if let Some((uid, gid)) = user {
        command.gid(gid).uid(uid);
    }
    command
}

fn is_root() -> bool {
    id(&["-u"]) == Some(0)
}

fn nobody() -> (u32, u32) {
    let uid = id(&["-u", "nobody"]).unwrap();
    (uid, id(&["-g", "nobody"]).unwrap())
}

fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
