//! Served: servers that the bench starts itself, on free loopback ports and fresh directories, and stops again.
//!
//! Only our own children are stopped, each by its process id: SIGTERM first, SIGKILL when it does not end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::Watched;
use crate::sigv4::hex;

/// The region that a Garage started here signs for; its usual one.
pub const GARAGE_REGION: &str = "garage";

const STOPPING: Duration = Duration::from_secs(20);
const STOPPING_PAUSE: Duration = Duration::from_millis(20);
const LOG_BYTES_SHOWN: usize = 2000;

/// A key pair, made for one run.
#[derive(Clone)]
pub struct Credentials {
    /// In the form that Garage wants: `GK` and 24 hexadecimal digits.
    pub access_key: String,
    /// 64 hexadecimal digits.
    pub secret_key: String,
}

impl Credentials {
    /// Random ones.
    pub fn new() -> Result<Self> {
        Ok(Self { access_key: format!("GK{}", random_hex(12)?), secret_key: random_hex(32)? })
    }
}

/// A running server; dropping it stops it.
pub struct Served {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    child: Child,
    log: Option<PathBuf>,
}

impl Served {
    /// What to watch.
    pub fn watched(&self) -> Watched {
        Watched(self.child.id())
    }

    /// The end of what it printed, for the report of a failure.
    pub fn last_words(&self) -> String {
        let text = self.log.as_ref().and_then(|log| fs::read(log).ok()).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(LOG_BYTES_SHOWN)..];
        String::from_utf8_lossy(tail).into_owned()
    }

    /// `BIN server DIR`, one drive, default settings.
    pub fn pangea(binary: &Path, dir: &Path, credentials: &Credentials) -> Result<Self> {
        let (port, admin) = (free_port()?, free_port()?);
        let mut command = Command::new(binary);
        command
            .arg("server")
            .arg(fresh(dir, "pangea")?)
            .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")])
            .env("PANGEA_ROOT_ACCESS_KEY", &credentials.access_key)
            .env("PANGEA_ROOT_SECRET_KEY", &credentials.secret_key);
        Self::start(command, port, dir.join("pangea.log"))
    }

    /// A single Garage node whose acknowledgements mean what ours mean: metadata and data are synced.
    pub fn garage(
        binary: &Path,
        dir: &Path,
        credentials: &Credentials,
        bucket: &str,
        engine: &str,
    ) -> Result<Self> {
        let (port, rpc, admin) = (free_port()?, free_port()?, free_port()?);
        let name = format!("garage-{engine}");
        let data = fresh(dir, &name)?;
        let config = data.join("garage.toml");
        let text = format!(
            "metadata_dir = {meta:?}\ndata_dir = {data:?}\ndb_engine = {engine:?}\n\
             metadata_fsync = true\ndata_fsync = true\nreplication_factor = 1\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{secret}\"\n\
             [s3_api]\ns3_region = {GARAGE_REGION:?}\napi_bind_addr = \"127.0.0.1:{port}\"\n\
             [admin]\napi_bind_addr = \"127.0.0.1:{admin}\"\n",
            meta = data.join("meta"),
            data = data.join("data"),
            secret = random_hex(32)?,
        );
        fs::write(&config, text).with_context(|| format!("writing {}", config.display()))?;
        let mut command = Command::new(binary);
        command
            .arg("-c")
            .arg(&config)
            .args(["server", "--single-node", "--default-access-key", "--default-bucket"])
            .env("GARAGE_DEFAULT_ACCESS_KEY", &credentials.access_key)
            .env("GARAGE_DEFAULT_SECRET_KEY", &credentials.secret_key)
            .env("GARAGE_DEFAULT_BUCKET", bucket)
            // Otherwise it prints a line per request, which costs it CPU time.
            .env("RUST_LOG", "garage=warn");
        Self::start(command, port, dir.join(format!("{name}.log")))
    }

    /// Our own bare server, with the payloads of this run.
    pub fn bare(seed: u64) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe().context("our own binary")?)
            .args(["bare-server", "--seed", &seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the bare server")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).context("reading the bare server's address")?;
        }
        let mut served = Self { url: String::new(), child, log: None };
        let address = line.trim().strip_prefix("listening ").context("the bare server did not start")?;
        served.url = format!("http://{address}");
        Ok(served)
    }

    fn start(mut command: Command, port: u16, log: PathBuf) -> Result<Self> {
        let out = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let err = out.try_clone()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), child, log: Some(log) })
    }

    fn stop(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // The bare server ends with its standard input, the others by signal.
        drop(self.child.stdin.take());
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("a process id")?, rustix::process::Signal::TERM)?;
        let asked = Instant::now();
        while asked.elapsed() < STOPPING {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(STOPPING_PAUSE);
        }
        self.child.kill()?;
        self.child.wait()?;
        bail!("{} did not end within {STOPPING:?} and was killed", self.url)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("pangea-bench: stopping a server: {error:#}");
        }
    }
}

/// A directory that was not there before.
fn fresh(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
    Ok(path)
}

/// A port that was free a moment ago: servers take a number, not a socket.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    File::open("/dev/urandom")?.read_exact(&mut random).context("reading /dev/urandom")?;
    Ok(hex(&random))
}
