//! `pangea server`: flags into a layer, logs to standard error, the announcement to standard output.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use pangea_node::StartError;
use pangea_node::config::{self, Layer};
use pangea_node::server::{self, Ended};
use tracing_subscriber::EnvFilter;

use crate::args::ServerArgs;
use crate::{Failure, announce, print};

/// What a shell expects of a program that a second SIGINT ended.
const CUT_SHORT: u8 = 130;

pub(crate) fn run(args: &ServerArgs) -> Result<ExitCode, Failure> {
    let options = config::load(layer(args), environment()).map_err(StartError::Config)?;
    // The protocol library logs every refused request as an error, and signatures at debug: silent unless asked for by name.
    let filter = EnvFilter::try_new(format!("s3s=off,{}", options.log)).map_err(|error| {
        Failure::new(format!("--log: {error}"), "name a level: error, warn, info, debug or trace", 2)
    })?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    log_panics();
    let ended = server::serve(options, |announcement| {
        for note in &announcement.status.notes {
            tracing::warn!("{note}");
        }
        for name in &announcement.unknown_variables {
            tracing::warn!("the environment variable {name} is not a setting of this program");
        }
        print(&announce::text(&announcement));
    })?;
    Ok(match ended {
        Ended::Cleanly => ExitCode::SUCCESS,
        Ended::Cut => ExitCode::from(CUT_SHORT),
    })
}

/// The environment; variables that are not text cannot be ours.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The flags as a layer of settings.
pub(crate) fn layer(args: &ServerArgs) -> Layer {
    Layer::flags()
        .with_list(config::DRIVES, args.drives.clone())
        .with(config::LISTEN, args.listen.clone())
        .with(config::ADMIN_LISTEN, args.admin_listen.clone())
        .with(config::CONFIG, args.config.clone())
        .with(config::ERASURE, args.erasure.clone())
        .with(config::REGION, args.region.clone())
        .with(config::KEY_FILE, args.key_file.clone())
        .with(config::IO_ENGINE, args.io_engine.clone())
        .with(config::SCRUB_DAYS, args.scrub_days.clone())
        .with(config::LOG, args.log.clone())
        .with_list(config::DOMAIN, args.domain.clone())
        .with(config::TLS, args.tls.clone())
        .with(config::TLS_CERT, args.tls_cert.clone())
        .with(config::TLS_KEY, args.tls_key.clone())
        .with(config::NODE_LISTEN, args.member.node_listen.clone())
        .with_list(config::ADVERTISE, args.member.advertise.clone())
        .with(config::JOIN, args.member.join.clone())
        .with_list(config::LABEL, args.member.label.clone())
        .with(config::META, args.meta.clone())
        .with(config::META_PATIENCE, args.meta_patience.clone())
        .with(config::REQUEST_LOG, args.request_log.clone())
        .with(config::MAX_CONNECTIONS, args.max_connections.clone())
        .with(config::MAX_CONNECTIONS_PER_ADDRESS, args.max_connections_per_address.clone())
        .with(config::MAX_REQUESTS, args.max_requests.clone())
        .with(config::KEY_RATE, args.key_rate.clone())
        .with(config::QUEUE_WAIT, args.queue_wait.clone())
        .with(config::HEAD_TIMEOUT, args.head_timeout.clone())
        .with(config::IDLE_TIMEOUT, args.idle_timeout.clone())
        .with(config::BODY_GRACE, args.body_grace.clone())
        .with(config::BODY_RATE, args.body_rate.clone())
        .with(config::ANSWER_GRACE, args.answer_grace.clone())
        .with(config::ANSWER_RATE, args.answer_rate.clone())
        .with(config::MAX_PUT_BYTES, args.max_put_bytes.clone())
}

/// A panic ends its task or thread only; it must be seen all the same.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%backtrace, "internal error, please report it: {info}");
    }));
}
