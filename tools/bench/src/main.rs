//! `pangea-bench`: our numbers, always beside a named peer's in the same run.
//!
//! Owns the subcommands' table; each subcommand is one file of its own that takes its clap arguments and runs to its end.
//! Everything is bounded in count and time.

mod bare_server;
mod ces;
mod connection;
mod drive;
mod fleet;
mod meta_postgres;
mod payload;
mod process;
mod quick_ack;
mod report;
mod s3;
mod served;
mod sigv4;
mod stats;
mod store;
mod transport;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Benchmarks against named peers.
#[derive(Parser)]
#[command(name = "pangea-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load S3 servers, interleaved, and compare them.
    S3(Box<s3::Arguments>),
    /// What a directory's drive can do: appending fdatasync, sequential write.
    Drive(drive::Arguments),
    /// Erasure code, MD5 and the pipeline around them, on one core.
    Ces(ces::Arguments),
    /// How durable a code is: a Monte Carlo of failures and repairs, beside the closed form.
    Fleet(fleet::Arguments),
    /// One drive through the store's engines, beside fio; ways to read.
    Store(store::Arguments),
    /// The engine `tcp` between nodes, beside bare tokio and rustls.
    Transport(transport::Arguments),
    /// Metadata in PostgreSQL beside pgbench, on a server of its own.
    MetaPostgres(meta_postgres::Arguments),
    /// A server that keeps nothing: the upper bound of the client and of hyper. Ends when its standard input does.
    BareServer(bare_server::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::S3(arguments) => s3::run(*arguments),
        Command::Drive(arguments) => drive::run(&arguments),
        Command::Ces(arguments) => ces::run(&arguments),
        Command::Fleet(arguments) => fleet::run(&arguments),
        Command::Store(arguments) => store::run(&arguments),
        Command::Transport(arguments) => transport::run(&arguments),
        Command::MetaPostgres(arguments) => meta_postgres::run(&arguments),
        Command::BareServer(arguments) => bare_server::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pangea-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
