//! A server's life: listeners, node, gateway, signals, orderly end.
//!
//! The addresses are taken first, so that a taken port costs nothing else. The first SIGTERM or SIGINT ends it in order:
//! no new connections, running requests finish (at most 30 s), workers stop, drives checkpoint, the metadata closes. The
//! second one ends it at once; nothing acknowledged is lost then either, the next start only reads more.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pangea_core::keys::derive;
use pangea_gateway::{Gateway, Journal, Options as GatewayOptions, Parts as GatewayParts};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin;
use crate::assemble::assemble;
use crate::clock::SystemClock;
use crate::config::{Options, Secret};
use crate::control::Status;
use crate::credentials::ensure_root;
use crate::doctor;
use crate::entropy::SystemEntropy;
use crate::error::StartError;
use crate::journal::RequestJournal;
use crate::node::Node;
use crate::status::render;

/// Purpose of the key that authenticates continuation tokens.
const PURPOSE_TOKENS: &str = "pangea 2026-11 v1 continuation tokens";
/// Threads for blocking work: key files and their like.
const BLOCKING_THREADS_MAX: usize = 8;
/// An idle blocking thread's life.
const BLOCKING_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long running requests may go on after the end was asked for.
const DRAIN: Duration = Duration::from_secs(30);
/// How long what is left may take to end after that.
const END: Duration = Duration::from_secs(10);

/// What a server says when it is ready.
pub struct Announcement {
    /// Whether this start made the cluster.
    pub first: bool,
    /// Where S3 is served.
    pub listen: SocketAddr,
    /// Where operators knock.
    pub admin_listen: SocketAddr,
    /// The root access key id.
    pub access_key: String,
    /// Its secret, if it was made now: it is never shown again.
    pub secret_key: Option<Secret>,
    /// SHA-256 of the certificate, where https is spoken.
    pub fingerprint: Option<String>,
    /// The node as it is.
    pub status: Status,
    /// Environment variables that look like ours and are not.
    pub unknown_variables: Vec<String>,
}

/// How a server ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// In order.
    Cleanly,
    /// A second signal cut it short.
    Cut,
}

/// Runs a server until it is told to end. `announce` is called once, when it is ready.
pub fn serve(options: Options, announce: impl FnOnce(Announcement)) -> Result<Ended, StartError> {
    doctor::forgo_huge_pages();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(doctor::cores())
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_keep_alive(BLOCKING_KEEP_ALIVE)
        .thread_name("pangea")
        .enable_all()
        .build()
        .map_err(|source| StartError::System { doing: "start threads", source })?;
    let ended = runtime.block_on(run(options, announce));
    match ended {
        Ok(Ended::Cut) => runtime.shutdown_background(),
        // Whatever still holds the metadata goes now, and with it the engine closes.
        _ => runtime.shutdown_timeout(END),
    }
    ended
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, StartError> {
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal, StartError> {
    signal(kind).map_err(|source| StartError::System { doing: "listen for signals", source })
}

async fn bind(purpose: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Bind { purpose, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

async fn run(mut options: Options, announce: impl FnOnce(Announcement)) -> Result<Ended, StartError> {
    let (mut signals, mut hangup) = (Signals::listen()?, listen(SignalKind::hangup())?);
    let (s3, listen) = bind("S3", options.listen).await?;
    let (admin, admin_listen) = bind("operators", options.admin_listen).await?;
    (options.listen, options.admin_listen) = (listen, admin_listen);
    let clock = Arc::new(SystemClock::new());
    let assembly = tokio::select! {
        assembly = assemble(&options, &clock) => assembly?,
        // It may have to wait for others; nothing is served yet that would have to end in order.
        name = signals.next() => {
            tracing::info!("{name}: the start is given up");
            return Ok(Ended::Cut);
        }
    };
    let first = assembly.ground.first;
    let root = ensure_root(&assembly.client, options.root.as_ref(), &clock, &SystemEntropy)
        .await
        .map_err(StartError::Client)?;
    let token_key = assembly.ground.ring.generations().first().expect("a ring is never empty").key.clone();
    let node = Arc::new(Node::start(assembly, options, clock).await?);
    node.meet().await?;
    let home = node.home().unwrap_or_default();
    let (gateway, told) = gateway(&node, &home, *derive(PURPOSE_TOKENS, &token_key).expose())?;
    let fingerprint = told.fingerprint.clone();
    let mut serving = Serving::start(&node, gateway, s3, admin)?;
    let status = node
        .report()
        .await
        .map_err(|error| StartError::Meta(pangea_meta::MetaError::Unavailable { why: error.to_string() }))?;
    let unknown_variables = node.options.unknown_variables.clone();
    let (access_key, secret_key) = (root.id, root.made);
    announce(Announcement {
        first,
        listen,
        admin_listen,
        access_key,
        secret_key,
        fingerprint,
        status,
        unknown_variables,
    });
    let name = loop {
        tokio::select! {
            name = signals.next() => break name,
            _ = hangup.recv() => told.again(&node, &home),
            ended = &mut serving.gateway => match ended {
                Ok(Err(source)) => return Err(StartError::Bind { purpose: "S3", address: listen, source }),
                _ => break "the end of the gateway",
            },
        }
    };
    tracing::info!("{name}: finishing running requests; a second signal ends at once");
    tokio::select! {
        () = serving.end(&node) => Ok(Ended::Cleanly),
        name = signals.next() => {
            tracing::warn!("{name} again: ending at once");
            Ok(Ended::Cut)
        }
    }
}

/// What of the S3 face is read or opened again at SIGHUP.
struct Told {
    /// Takes a new certificate, where https is spoken.
    speak: Option<watch::Sender<Arc<rustls::ServerConfig>>>,
    /// The certificate's fingerprint.
    fingerprint: Option<String>,
    /// The log of requests, if there is one.
    journal: Option<Arc<RequestJournal>>,
}

/// The S3 face of a node.
fn gateway(node: &Node, home: &Path, token_key: [u8; 32]) -> Result<(Gateway, Told), StartError> {
    let spoken =
        crate::tls::load(&node.options.tls, home, &node.options.limits.domains).map_err(StartError::Tls)?;
    let fingerprint = spoken.as_ref().map(|spoken| spoken.fingerprint.clone());
    let (speak, tls) = match spoken.map(|spoken| watch::channel(spoken.config)) {
        Some((speak, tls)) => (Some(speak), Some(tls)),
        None => (None, None),
    };
    let failed = |source| StartError::System { doing: "open the log of requests", source };
    let journal = node.options.request_log.as_ref().map(RequestJournal::open).transpose().map_err(failed)?;
    let gateway = Gateway::new(GatewayParts {
        client: node.client.clone(),
        credentials: node.access_keys.clone(),
        token_key,
        region: node.options.region.clone(),
        options: limits(&node.options.limits),
        journal: journal.clone().map(|journal| journal as Arc<dyn Journal>),
        tls,
    });
    Ok((gateway, Told { speak, fingerprint, journal }))
}

/// The configured limits, with the memory that this machine, or the control group we are in, has for bodies and answers.
fn limits(limits: &GatewayOptions) -> GatewayOptions {
    let budget = usize::try_from(doctor::memory_budget_here()).unwrap_or(usize::MAX);
    GatewayOptions {
        drain_timeout: DRAIN,
        body_bytes_max: limits.body_bytes_max.min(budget),
        answer_bytes_max: limits.answer_bytes_max.min(budget),
        ..limits.clone()
    }
}

impl Told {
    /// Reads the certificate again (connections that are open keep the old one, and a bad file changes nothing) and opens
    /// the log of requests anew.
    fn again(&self, node: &Node, home: &Path) {
        if let Some(journal) = &self.journal {
            journal.reopen();
        }
        let Some(speak) = &self.speak else {
            tracing::info!("SIGHUP: there is no certificate to read again");
            return;
        };
        match crate::tls::load(&node.options.tls, home, &node.options.limits.domains) {
            Ok(Some(spoken)) => {
                tracing::info!(fingerprint = spoken.fingerprint, "SIGHUP: the certificate was read again");
                speak.send_replace(spoken.config);
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "SIGHUP: the old certificate stays"),
        }
    }
}

/// The two listeners at work.
struct Serving {
    gateway: JoinHandle<std::io::Result<()>>,
    stop_gateway: watch::Sender<bool>,
    admin: JoinHandle<()>,
    stop_admin: watch::Sender<bool>,
}

impl Serving {
    fn start(
        node: &Arc<Node>,
        gateway: Gateway,
        s3: TcpListener,
        admin_listener: TcpListener,
    ) -> Result<Self, StartError> {
        let token = match &node.options.admin_token {
            Some(token) => admin::Token::configured(token),
            None => {
                let roster = node.roster.clone();
                let homes = move || roster.mounted().iter().map(|drive| drive.path.clone()).collect();
                admin::Token::draw(Box::new(homes), &SystemEntropy).map_err(StartError::Key)?
            }
        };
        let (stop_gateway, mut stopped) = watch::channel(false);
        let (stop_admin, admin_stopped) = watch::channel(false);
        let (counters, shown) = (gateway.metrics(), node.clone());
        let metrics: admin::Metrics = Arc::new(move || {
            let (counters, node) = (counters.clone(), shown.clone());
            Box::pin(async move {
                let mut out = String::new();
                counters.render(&mut out);
                match node.report().await {
                    Ok(status) => render(&status, &mut out),
                    Err(error) => tracing::warn!(%error, "the status could not be collected for the metrics"),
                }
                out
            })
        });
        let parts = admin::Parts { control: node.clone(), ready: node.ready.clone(), metrics, token };
        let admin = tokio::spawn(admin::serve(admin_listener, Arc::new(parts), admin_stopped));
        let gateway = tokio::spawn(async move {
            let stop = async {
                // A sender that is gone means the end, too.
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            gateway.serve(s3, stop).await
        });
        node.ready.store(true, Ordering::Release);
        Ok(Self { gateway, stop_gateway, admin, stop_admin })
    }

    async fn end(&mut self, node: &Node) {
        node.ready.store(false, Ordering::Release);
        self.stop_gateway.send_replace(true);
        if !self.gateway.is_finished()
            && let Ok(Err(error)) = (&mut self.gateway).await
        {
            tracing::warn!(%error, "the S3 listener failed");
        }
        node.stop().await;
        self.stop_admin.send_replace(true);
        if let Err(error) = (&mut self.admin).await {
            tracing::warn!(%error, "the admin listener failed");
        }
    }
}
