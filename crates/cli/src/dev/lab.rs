//! The processes of a development cluster: where each lies, whether it runs, how it is started and signalled.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pangea_node::config::Secret;
use pangea_node::control::Control as _;
use pangea_node::remote::{Remote, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::args::{DevStart, DevWhich};

const STATE_FILE: &str = "cluster.json";
const PID_FILE: &str = "pid";
const LOG_FILE: &str = "log";
const OUT_FILE: &str = "announcement";
const ADMIN_PORTS_ABOVE: u16 = 1000;
const NODE_PORTS_ABOVE: u16 = 2000;
const NODES_MAX: u16 = 250;
/// How long a node may take to be ready: the first one after a power cut of all reads its log.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// How long ports may be held by a process that is ending.
const PORTS_PATIENCE: Duration = Duration::from_secs(10);
/// A process that is not there after so long ended.
const BORN_AFTER: Duration = Duration::from_secs(2);
const READY_LOOK: Duration = Duration::from_millis(50);
/// How long nodes may take to stop before they are killed.
const STOP_PATIENCE: Duration = Duration::from_secs(45);

/// One node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) number: u16,
    site: u16,
    /// Where it serves S3.
    listen: SocketAddr,
}

/// What is kept of a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct State {
    erasure: Option<String>,
    machines: Vec<Machine>,
}

/// See the module.
pub(super) struct Lab {
    dir: PathBuf,
    state: State,
}

impl Machine {
    fn above(&self, ports: u16) -> SocketAddr {
        SocketAddr::new(self.listen.ip(), self.listen.port() + ports)
    }

    /// Where other nodes reach it.
    pub(super) fn node_listen(&self) -> String {
        self.above(NODE_PORTS_ABOVE).to_string()
    }
}

fn failed(doing: &str, path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(format!("{doing} {}: {error}", path.display()), "check the directory and its permissions", 1)
}

impl Lab {
    /// The cluster that lies in a directory, if one does.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>, Failure> {
        let path = dir.join(STATE_FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| failed("read", &path, &error))?,
        };
        let state = serde_json::from_slice(&bytes).map_err(|error| failed("read", &path, &error))?;
        let dir = dir.canonicalize().map_err(|error| failed("open", dir, &error))?;
        Ok(Some(Self { dir, state }))
    }

    /// Makes the directories of a new one.
    pub(super) fn make(args: &DevStart) -> Result<Self, Failure> {
        let usage = |what: String, advice: &str| Failure::new(what, advice, 2);
        if args.nodes == 0 || args.nodes > NODES_MAX {
            return Err(usage(format!("{} nodes are not possible", args.nodes), "--nodes takes 1 to 250"));
        }
        if args.sites == 0 || args.sites > args.nodes {
            let what = format!("{} nodes cannot stand in {} sites", args.nodes, args.sites);
            return Err(usage(what, "every site needs a node"));
        }
        let listen = args.listen.to_socket_addrs().ok().and_then(|mut found| found.next());
        let listen = listen.filter(|listen| listen.ip().is_loopback());
        let listen = listen.ok_or_else(|| {
            usage(
                format!("`{}` is no loopback address with a port", args.listen),
                "try --listen 127.0.0.1:9100",
            )
        })?;
        if listen.port() == 0 || listen.port().checked_add(NODE_PORTS_ABOVE + args.nodes).is_none() {
            return Err(usage(
                format!("there are not enough ports above {}", listen.port()),
                "try --listen 127.0.0.1:9100",
            ));
        }
        let machine = |at: u16| Machine {
            number: at + 1,
            site: at % args.sites + 1,
            listen: SocketAddr::new(listen.ip(), listen.port() + at),
        };
        let machines: Vec<Machine> = (0..args.nodes).map(machine).collect();
        for machine in &machines {
            for address in [machine.listen, machine.above(ADMIN_PORTS_ABOVE), machine.above(NODE_PORTS_ABOVE)]
            {
                if let Err(error) = TcpListener::bind(address) {
                    return Err(Failure::new(
                        format!("{address}: {error}"),
                        "choose other ports with --listen",
                        6,
                    ));
                }
            }
        }
        fs::create_dir_all(&args.dir).map_err(|error| failed("make", &args.dir, &error))?;
        let dir = args.dir.canonicalize().map_err(|error| failed("open", &args.dir, &error))?;
        let lab = Self { dir, state: State { erasure: args.erasure.clone(), machines } };
        for machine in &lab.state.machines {
            let home = lab.home(machine);
            fs::create_dir_all(&home).map_err(|error| failed("make", &home, &error))?;
        }
        let path = lab.dir.join(STATE_FILE);
        let text = crate::operate::json(&lab.state)?;
        fs::write(&path, text).map_err(|error| failed("write", &path, &error))?;
        Ok(lab)
    }

    /// All nodes.
    pub(super) fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.state.machines.iter()
    }

    /// A node by its number.
    pub(super) fn machine(&self, number: u16) -> Result<&Machine, Failure> {
        self.machines().find(|machine| machine.number == number).ok_or_else(|| {
            let last = self.state.machines.len();
            Failure::new(format!("there is no node {number}"), format!("nodes are numbered 1 to {last}"), 2)
        })
    }

    /// The nodes that somebody means.
    pub(super) fn meant(&self, which: &DevWhich) -> Result<Vec<&Machine>, Failure> {
        let Some(count) = which.count else {
            if which.nodes.is_empty() {
                return Err(Failure::new(
                    "no node is named",
                    "name nodes by number, or --count N of them",
                    2,
                ));
            }
            return which.nodes.iter().map(|number| self.machine(*number)).collect();
        };
        // The first node keeps the metadata: whoever means it can name it.
        let mut running: Vec<&Machine> =
            self.machines().filter(|machine| machine.number != 1 && self.runs(machine)).collect();
        if running.len() < count {
            let what = format!("only {} nodes beside the first one run", running.len());
            return Err(Failure::new(what, "ask for fewer, or heal some first", 1));
        }
        while running.len() > count {
            running.swap_remove(draw(running.len()));
        }
        Ok(running)
    }

    fn home(&self, machine: &Machine) -> PathBuf {
        self.dir.join(format!("node-{}", machine.number))
    }

    /// The process of a node, if it runs. A number that is another process's by now is not taken for it.
    fn pid(&self, machine: &Machine) -> Option<Pid> {
        let home = self.home(machine);
        let pid: i32 = fs::read_to_string(home.join(PID_FILE)).ok()?.trim().parse().ok()?;
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let names_home =
            words.split(|byte| *byte == 0).any(|word| word == drive(&home).as_os_str().as_encoded_bytes());
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let is_dead = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
        Pid::from_raw(pid).filter(|_| names_home && !is_dead)
    }

    /// Whether a node's process is there, paused or not.
    pub(super) fn runs(&self, machine: &Machine) -> bool {
        self.pid(machine).is_some()
    }

    /// A process that was killed just now may still hold its ports; whoever else does is named in the node's log.
    fn wait_for_ports(&self, machine: &Machine) {
        let all = [machine.listen, machine.above(ADMIN_PORTS_ABOVE), machine.above(NODE_PORTS_ABOVE)];
        let until = Instant::now() + PORTS_PATIENCE;
        while all.iter().any(|address| TcpListener::bind(address).is_err()) && Instant::now() < until {
            thread::sleep(READY_LOOK);
        }
    }

    /// Starts a node.
    pub(super) fn spawn(&self, machine: &Machine, token: Option<&str>) -> Result<(), Failure> {
        let home = self.home(machine);
        let io = |error: std::io::Error| failed("start the node in", &home, &error);
        let log = fs::File::options().create(true).append(true).open(home.join(LOG_FILE)).map_err(io)?;
        let out = fs::File::create(home.join(OUT_FILE)).map_err(io)?;
        self.wait_for_ports(machine);
        let mut command = Command::new(std::env::current_exe().map_err(io)?);
        command.arg("server").arg(drive(&home));
        command.args(["--listen", &machine.listen.to_string()]);
        command.args(["--admin-listen", &machine.above(ADMIN_PORTS_ABOVE).to_string()]);
        command.args(["--node-listen", &machine.node_listen()]);
        command.args(["--label", &format!("site=site-{}", machine.site)]);
        command.args(["--label", &format!("host=node-{}", machine.number)]);
        self.state.erasure.iter().for_each(|code| _ = command.args(["--erasure", code]));
        token.iter().for_each(|token| _ = command.args(["--join", token]));
        // Of its own group: an interrupt at the terminal is for whoever started all of them.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.stdin(Stdio::null()).stdout(out).stderr(log).spawn().map_err(io)?;
        fs::write(home.join(PID_FILE), child.id().to_string()).map_err(io)?;
        // Somebody must hear of its end, so that it does not stay in the table of processes.
        thread::spawn(move || {
            let mut child = child;
            let _ = child.wait();
        });
        Ok(())
    }

    /// Sends a node's process a signal.
    pub(super) fn signal(&self, machine: &Machine, signal: Signal) -> Result<(), Failure> {
        let Some(pid) = self.pid(machine) else {
            let what = format!("node {} does not run", machine.number);
            return Err(Failure::new(what, "`pangea dev-cluster heal --dir DIR` starts it", 1));
        };
        kill_process(pid, signal).map_err(|error| failed("signal the node in", &self.home(machine), &error))
    }

    /// Kills a node's process and waits until it is gone.
    pub(super) fn kill(&self, machine: &Machine) -> Result<(), Failure> {
        self.signal(machine, Signal::KILL)?;
        let until = Instant::now() + PORTS_PATIENCE;
        while self.runs(machine) && Instant::now() < until {
            thread::sleep(READY_LOOK);
        }
        Ok(())
    }

    /// The operators' door of a node.
    pub(super) fn remote(&self, machine: &Machine) -> Result<Remote, Failure> {
        let token =
            std::env::var("PANGEA_ADMIN_TOKEN").ok().filter(|token| !token.is_empty()).map(Secret::new);
        Ok(Remote::new(&format!("http://{}", machine.above(ADMIN_PORTS_ABOVE)), token)?)
    }

    /// Waits until a node serves.
    pub(super) fn wait_until_ready(&self, machine: &Machine) -> Result<(), Failure> {
        let begun = Instant::now();
        let log = self.home(machine).join(LOG_FILE);
        loop {
            if wait(self.remote(machine)?.status()).is_ok_and(|status| status.ready) {
                return Ok(());
            }
            let told = fs::read_to_string(&log).unwrap_or_default();
            let last: Vec<&str> = told.lines().rev().take(2).collect();
            let last = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
            // A process that was made just now still has its parent's name.
            if !self.runs(machine) && begun.elapsed() > BORN_AFTER {
                let what = format!("node {} ended: {last}", machine.number);
                return Err(Failure::new(what, format!("read {}", log.display()), 1));
            }
            if begun.elapsed() > READY_PATIENCE {
                let what = format!(
                    "node {} is not ready after {} s: {last}",
                    machine.number,
                    READY_PATIENCE.as_secs()
                );
                return Err(Failure::new(what, format!("read {}", log.display()), 1));
            }
            thread::sleep(READY_LOOK);
        }
    }

    /// What is said when all run: the first node's words, and where the others are.
    pub(super) fn announcement(&self) -> Result<String, Failure> {
        let first = self.home(self.machine(1)?).join(OUT_FILE);
        let mut text = fs::read_to_string(&first).map_err(|error| failed("read", &first, &error))?;
        let mut add = |line: String| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{line}");
        };
        add(format!("\n{} nodes, each with all of it:", self.state.machines.len()));
        for machine in self.machines() {
            let admin = machine.above(ADMIN_PORTS_ABOVE);
            add(format!(
                "  node {:>3}  site-{}  S3 http://{}  admin http://{admin}",
                machine.number, machine.site, machine.listen
            ));
        }
        let dir = self.dir.display();
        add(format!("\nPlay with it: pangea dev-cluster kill|pause|partition|heal --dir {dir} --count 1"));
        Ok(text)
    }

    /// Waits for an interrupt or the wish to end.
    pub(super) fn wait_for_interrupt(&self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed("wait in", &self.dir, &error))?;
        runtime.block_on(async {
            let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
            let mut terminate = terminate.map_err(|error| failed("wait in", &self.dir, &error))?;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            Ok(())
        })
    }

    /// Ends all nodes in order; those that take too long are killed.
    pub(super) fn stop(&self) -> Result<(), Failure> {
        for machine in self.machines().filter(|machine| self.runs(machine)) {
            // One that ended by itself meanwhile is what is wanted.
            let _ = self.signal(machine, Signal::CONT);
            let _ = self.signal(machine, Signal::TERM);
        }
        let until = Instant::now() + STOP_PATIENCE;
        while self.machines().any(|machine| self.runs(machine)) && Instant::now() < until {
            thread::sleep(READY_LOOK);
        }
        for machine in self.machines().filter(|machine| self.runs(machine)) {
            self.signal(machine, Signal::KILL)?;
        }
        Ok(())
    }
}

fn drive(home: &Path) -> PathBuf {
    home.join("drive")
}

/// A number below `n`; nothing hangs on how well it is drawn.
fn draw(n: usize) -> usize {
    use std::hash::{BuildHasher as _, RandomState};
    let drawn = RandomState::new().hash_one(Instant::now());
    usize::try_from(drawn % n as u64).unwrap_or(0)
}
