//! Why a server does not start: each with what it is, what to do, and the exit code that scripts can tell it by.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use pangea_client::ClientError;
use pangea_meta::MetaError;
use pangea_net::NetError;

use crate::cluster::JoinError;
use crate::config::ConfigError;
use crate::database::DatabaseError;
use crate::drives::DriveError;
use crate::keyfile::KeyError;
use crate::tls::TlsError;

/// See the module.
#[derive(Debug)]
pub enum StartError {
    /// The configuration.
    Config(ConfigError),
    /// The drives.
    Drive(DriveError),
    /// The master key.
    Key(KeyError),
    /// The metadata engine.
    Meta(MetaError),
    /// The database with the metadata.
    Database(DatabaseError),
    /// The data path, while the node was put together.
    Client(ClientError),
    /// The certificate.
    Tls(TlsError),
    /// An address cannot be listened on.
    Bind {
        /// What for: `S3` or `operators`.
        purpose: &'static str,
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The port for other nodes, or the node's own key.
    Net(NetError),
    /// The cluster does not take this node.
    Join(JoinError),
    /// Where the node belongs is not clear.
    Cluster {
        /// Why, for people.
        why: String,
    },
    /// The system refused something that every process may have.
    System {
        /// What.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Drive(error) => error.fmt(f),
            Self::Key(error) => error.fmt(f),
            Self::Meta(error) => write!(f, "the metadata cannot be opened: {error}"),
            Self::Database(error) => error.fmt(f),
            Self::Client(error) => write!(f, "the node cannot be put together: {error}"),
            Self::Tls(error) => error.fmt(f),
            Self::Bind { purpose, address, source } => {
                write!(f, "cannot listen on {address} for {purpose}: {source}")
            }
            Self::Net(error) => write!(f, "the port for other nodes: {error}"),
            Self::Join(error) => error.fmt(f),
            Self::Cluster { why } => f.write_str(why),
            Self::System { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Drive(error) => Some(error),
            Self::Key(error) => Some(error),
            Self::Meta(error) => Some(error),
            Self::Database(error) => Some(error),
            Self::Client(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::Bind { source, .. } | Self::System { source, .. } => Some(source),
            Self::Net(error) => Some(error),
            Self::Join(error) => Some(error),
            Self::Cluster { .. } => None,
        }
    }
}

impl StartError {
    /// What to do about it, in one line.
    pub fn advice(&self) -> String {
        match self {
            Self::Config(error) => error.advice(),
            Self::Drive(error) => error.advice().into(),
            Self::Key(error) => error.advice().into(),
            Self::Meta(MetaError::NewerFormat { .. }) => {
                "start it with the newer pangea that wrote it".into()
            }
            Self::Meta(MetaError::Stale { found: 0, .. }) => {
                "name all directories of the cluster: the metadata is on one that is missing; if it is in a database, name \
                 that: --meta postgres://…; if it is lost, `pangea meta restore FILE DIR...` brings a backup back"
                    .into()
            }
            Self::Meta(MetaError::Stale { .. } | MetaError::LogLost { .. }) => {
                "name all directories of the cluster: a newer copy of the metadata is on one that is missing; if none is \
                 left, `pangea meta restore FILE DIR...` brings a backup back, and `pangea recover --force DIR...` goes \
                 on from the older state"
                    .into()
            }
            Self::Meta(MetaError::Gap { .. }) => {
                "name all directories of the cluster, or put the missing files back below DIR/meta; if they are gone, \
                 `pangea meta restore FILE DIR... --force` brings a backup back, or the newest DIR/meta/snapshot-*"
                    .into()
            }
            Self::Meta(_) => "name all directories of the cluster; `pangea recover DIR...` says more".into(),
            Self::Database(error) => error.advice().into(),
            Self::Client(_) => "look at the log above; `pangea recover DIR...` says more".into(),
            Self::Tls(_) => "name a certificate chain and its key in PEM, or use --tls self".into(),
            Self::Bind { purpose, source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                let flag = if *purpose == "S3" { "--listen" } else { "--admin-listen" };
                format!("stop whatever listens there, or choose another address with {flag} HOST:PORT")
            }
            Self::Bind { .. } => "choose an address of this machine that this user may listen on".into(),
            Self::Net(_) => "choose an address of this machine for --node-listen that nobody listens on".into(),
            Self::Join(_) => {
                "check that the node that made the token runs and can be reached, or make another token there: \
                 pangea cluster init"
                    .into()
            }
            Self::Cluster { .. } => {
                "see `pangea node list` on a node that runs; docs/cluster.md says what nodes need".into()
            }
            Self::System { .. } => "check the limits of this process (ulimit -a) and the kernel log".into(),
        }
    }

    /// The exit code: 2 configuration, 3 drives, 4 keys, 5 metadata, 6 addresses, 10 the cluster, 1 anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Tls(_) => 2,
            Self::Drive(_) => 3,
            Self::Key(_) => 4,
            Self::Meta(_) | Self::Database(_) => 5,
            Self::Bind { .. } | Self::Net(_) => 6,
            Self::Join(_) | Self::Cluster { .. } => 10,
            Self::Client(_) | Self::System { .. } => 1,
        }
    }
}
