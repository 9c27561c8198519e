//! The words for clusters: a server's place in one, tokens, nodes.

use clap::{Args as ClapArgs, Subcommand};

use super::AdminArgs;

const CLUSTER: &str = "Cluster";

/// A server's place in a cluster.
#[derive(ClapArgs, Debug, Default)]
pub(crate) struct MemberArgs {
    /// Where other nodes of the cluster knock; without it, a server is on its own.
    #[arg(long, value_name = "HOST:PORT", help_heading = CLUSTER)]
    pub(crate) node_listen: Option<String>,
    /// Where other nodes reach this one [default: where it listens]; may be repeated, the best first.
    #[arg(long, value_name = "HOST:PORT", help_heading = CLUSTER)]
    pub(crate) advertise: Vec<String>,
    /// Become a member of the cluster that made this token (`pangea cluster init`); for empty directories.
    #[arg(long, value_name = "TOKEN", help_heading = CLUSTER)]
    pub(crate) join: Option<String>,
    /// Where the node stands: region=NAME, site=NAME, rack=NAME, host=NAME; may be repeated.
    #[arg(long, value_name = "LEVEL=NAME", help_heading = CLUSTER)]
    pub(crate) label: Vec<String>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    pub(crate) command: ClusterCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ClusterCommand {
    /// Print a token with which other nodes join; asked again, it prints another one.
    Init {
        /// How long nodes may join with it.
        #[arg(long, value_name = "HOURS", default_value_t = 24)]
        hours: u32,
        /// For programs.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(ClapArgs, Debug)]
pub(crate) struct NodeArgs {
    #[command(subcommand)]
    pub(crate) command: NodeCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum NodeCommand {
    /// All nodes, and how they are.
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Move everything off a node's drives.
    Drain {
        /// The start of its id, or its address.
        node: String,
        /// Also if less is survived than now.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Take a node without drives out of the cluster.
    Remove {
        /// The start of its id, or its address.
        node: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}
