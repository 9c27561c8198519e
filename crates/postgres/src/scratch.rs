//! Scratch: a PostgreSQL server of one's own in a temporary directory, for tests and benchmarks only.
//!
//! Owns its processes, and the directory that goes with it. Installs Debian's package if there is none (as root), and
//! panics with the reason where it cannot: a test that needs a server must not pass without one. As root, which PostgreSQL
//! refuses to run as, everything is done as the package's user `postgres`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where Debian puts the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// What our directories are called, before the owner's process id.
const PREFIX: &str = "pangea-pg-";
/// How long a server may take to start, to stop or to be promoted.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// How a server treats its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disk {
    /// As in production: a commit is on the disk.
    Durable,
    /// Nothing is synced: quick, and good as long as the machine stays up. A killed server loses nothing.
    Quick,
}

/// A running server.
pub struct Server {
    dir: PathBuf,
    port: u16,
    disk: Disk,
    settings: Vec<String>,
}

impl Server {
    /// Starts a new, empty one.
    pub fn start(disk: Disk) -> Self {
        Self::start_with(disk, &[])
    }

    /// Starts a new, empty one with settings `name=value`.
    pub fn start_with(disk: Disk, settings: &[&str]) -> Self {
        let server = Self::place(disk, settings);
        let args = ["-D", server.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"];
        run("initdb", &args);
        server.resume();
        server
    }

    /// A standby of this one, whose every commit this one waits for from now on.
    pub fn standby(&self) -> Self {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        let standby = Self::place(self.disk, &settings);
        let from = format!("host=127.0.0.1 port={} user=postgres application_name=standby", self.port);
        run("pg_basebackup", &["-D", standby.data(), "-R", "-d", &from, "-c", "fast"]);
        standby.resume();
        self.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'");
        self.sql("SELECT pg_reload_conf()");
        wait_until("the standby is synchronous", || {
            self.sql("SELECT sync_state FROM pg_stat_replication").contains("sync")
        });
        standby
    }

    fn place(disk: Disk, settings: &[&str]) -> Self {
        install();
        static COUNT: AtomicU64 = AtomicU64::new(0);
        sweep();
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).expect("a temporary directory can be made");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("it is ours");
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(&dir).status().expect("chown starts");
            assert!(owned.success(), "the directory can be given to the user postgres");
        }
        let settings = settings.iter().map(ToString::to_string).collect();
        Self { dir, port: free_port(), disk, settings }
    }

    fn data(&self) -> &str {
        self.dir.to_str().expect("temporary directories have plain names")
    }

    /// Starts it, or starts it again after [`Server::kill`].
    pub fn resume(&self) {
        let _ = fs::remove_file(self.dir.join("postmaster.pid")); // of one that was killed, all of it
        let mut command = as_postgres("postgres");
        let port = self.port.to_string();
        command.args(["-D", self.data(), "-p", &port, "-k", self.data(), "-h", "127.0.0.1"]);
        command.args(["-c", "max_connections=200", "-c", "logging_collector=off"]);
        if self.disk == Disk::Quick {
            command.args(["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=on"]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = fs::File::create(self.dir.with_extension("log")).expect("a log can be made");
        let errors = log.try_clone().expect("a log can be shared");
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        // The thread that starts it must live as long as it: it ends with that thread, and so with this process.
        let watch = std::thread::spawn(move || command.spawn().and_then(|mut child| child.wait()));
        let until = Instant::now() + PATIENCE;
        while !self.is_ready() {
            let waits = !watch.is_finished() && Instant::now() < until;
            assert!(waits, "PostgreSQL did not start: {}", self.log());
            std::thread::sleep(POLL);
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default()
    }

    fn is_ready(&self) -> bool {
        let port = self.port.to_string();
        let asked = as_postgres("pg_isready").args(["-q", "-h", "127.0.0.1", "-p", &port]).status();
        asked.expect("pg_isready starts").success()
    }

    /// Where it is.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of its first database.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Makes another database and gives its URL.
    pub fn database(&self, name: &str) -> String {
        self.sql(&format!("CREATE DATABASE {name}"));
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs a statement in the first database; its rows.
    pub fn sql(&self, statement: &str) -> String {
        self.sql_in("postgres", statement)
    }

    /// Runs a statement in a database; its rows.
    pub fn sql_in(&self, database: &str, statement: &str) -> String {
        let port = self.port.to_string();
        let args = ["-X", "-A", "-t", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-d", database];
        let output = run("psql", &[&args[..], &["-v", "ON_ERROR_STOP=1", "-c", statement]].concat());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Kills it and all its processes at once, as a power cut would end them.
    pub fn kill(&self) {
        let pid = self.pid();
        let mut pids = children(pid);
        pids.insert(0, pid);
        signal("-KILL", &pids);
        wait_until("the server is gone", || pids.iter().all(|pid| !is_alive(*pid)));
    }

    /// Stops all its processes where they are, or lets them go on.
    pub fn freeze(&self, frozen: bool) {
        let pid = self.pid();
        let pids = [vec![pid], children(pid)].concat();
        signal(if frozen { "-STOP" } else { "-CONT" }, &pids);
    }

    /// Makes a standby the server that takes writes.
    pub fn promote(&self) {
        run("pg_ctl", &["promote", "-D", self.data(), "-w"]);
    }

    fn pid(&self) -> u32 {
        let text = fs::read_to_string(self.dir.join("postmaster.pid")).expect("the server runs");
        text.lines().next().and_then(|line| line.trim().parse().ok()).expect("its first line is a process id")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.dir.join("postmaster.pid").exists() {
            let pid = self.pid();
            if is_alive(pid) {
                let pids = [vec![pid], children(pid)].concat();
                signal("-KILL", &pids);
            }
        }
        let _ = fs::remove_dir_all(&self.dir); // what is left lies in the system's temporary directory
        let _ = fs::remove_file(self.dir.with_extension("log"));
    }
}

/// Removes what processes left behind that were ended before they could.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());
        if owner.is_some_and(|pid: u32| !is_alive(pid)) {
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path())); // or somebody else does
        }
    }
}

/// The path of a PostgreSQL program.
pub fn program(name: &str) -> PathBuf {
    let newest = newest().unwrap_or_else(|| panic!("no PostgreSQL below {VERSIONS}"));
    newest.join("bin").join(name)
}

fn newest() -> Option<PathBuf> {
    let entries = fs::read_dir(VERSIONS).ok()?;
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(version)
}

/// Installs the server unless it is there.
fn install() {
    static ONCE: Mutex<()> = Mutex::new(());
    let _one = ONCE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if newest().is_some() {
        return;
    }
    assert!(is_root(), "these tests need PostgreSQL (Debian: apt-get install postgresql)");
    let install = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command.args([
            "-q",
            "-o",
            "DPkg::Lock::Timeout=300",
            "install",
            "-y",
            "--no-install-recommends",
            "postgresql",
        ]);
        command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if !install() {
        let updated = Command::new("apt-get").args(["-q", "update"]).status();
        assert!(
            updated.is_ok_and(|status| status.success()) && install(),
            "apt-get cannot install postgresql"
        );
    }
    assert!(newest().is_some(), "postgresql is installed and yet there is none below {VERSIONS}");
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id starts");
    output.stdout.starts_with(b"0\n")
}

/// A program of PostgreSQL's, as the user that it may run as.
pub fn as_postgres(name: &str) -> Command {
    let program = program(name);
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
        command.current_dir("/").env("HOME", "/");
    }
    command.args(["--pdeathsig", "INT"]).arg(program);
    command
}

fn run(name: &str, args: &[&str]) -> Output {
    let output = as_postgres(name).args(args).stdin(Stdio::null()).output().expect("the program starts");
    assert!(output.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(Path::new(&path)).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name in brackets; Z has ended and is only waited for.
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn signal(signal: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    let sent = Command::new("kill").arg(signal).args(pids).stderr(Stdio::null()).status();
    sent.expect("kill starts"); // one that has ended meanwhile is no failure
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "{what}: not after {} s", PATIENCE.as_secs());
        std::thread::sleep(POLL);
    }
}
