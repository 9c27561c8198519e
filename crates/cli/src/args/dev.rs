//! The words of `pangea dev-cluster`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

/// A whole cluster of real processes on this machine, for trying out. Without a subcommand it starts one, or the one that is
/// in DIR, and runs until it is interrupted.
#[derive(ClapArgs, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DevArgs {
    #[command(subcommand)]
    pub(crate) command: Option<DevCommand>,
    #[command(flatten)]
    pub(crate) start: DevStart,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct DevStart {
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) nodes: u16,
    /// Over how many sites they are spread.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) sites: u16,
    /// Where everything lies.
    #[arg(long, value_name = "DIR", default_value = "dev-cluster")]
    pub(crate) dir: PathBuf,
    /// Where the first node serves S3; the others on the ports behind it, operators 1000 and nodes 2000 ports above.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9100")]
    pub(crate) listen: String,
    /// The erasure code of new data [default: by the number of nodes].
    #[arg(long, value_name = "K+M")]
    pub(crate) erasure: Option<String>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct DevWhich {
    /// Where the cluster lies.
    #[arg(long, value_name = "DIR", default_value = "dev-cluster")]
    pub(crate) dir: PathBuf,
    /// So many nodes, drawn from those that run; not the one that keeps the metadata.
    #[arg(long, value_name = "N", conflicts_with = "nodes")]
    pub(crate) count: Option<usize>,
    /// These nodes, by number.
    #[arg(value_name = "NODE")]
    pub(crate) nodes: Vec<u16>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum DevCommand {
    /// Kill nodes, without a warning.
    Kill(DevWhich),
    /// Stop nodes in the middle of whatever they do.
    Pause(DevWhich),
    /// Cut nodes off from all others.
    Partition(DevWhich),
    /// Start, wake and reconnect nodes; without names: all.
    Heal(DevWhich),
}
