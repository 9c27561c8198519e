//! The command line's words.

mod cluster;
mod dev;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

pub(crate) use cluster::{ClusterArgs, ClusterCommand, MemberArgs, NodeArgs, NodeCommand};

pub(crate) use dev::{DevArgs, DevCommand, DevStart, DevWhich};

use crate::s3::words::Verb;

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed; 2 configuration or usage; 3 drives; 4 keys; 5 metadata; 6 addresses;
7 no server answers; 8 not allowed; 9 done, but something is lost or cannot be read;
10 the cluster does not take the node.";

/// An S3 server on encrypted, erasure-coded, self-verifying shards, and a client of any S3 endpoint.
#[derive(Parser, Debug)]
#[command(name = "pangea", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Serve S3 from one or more directories, one a drive.
    Server(ServerArgs),
    /// Show everything worth knowing of a running server.
    Status(StatusArgs),
    /// Read every shard and mend what is wrong.
    Scrub(ScrubArgs),
    /// Add, empty and replace the drives of a running server.
    Drive(DriveArgs),
    /// Show, plan and change which drives hold the data.
    Layout(LayoutArgs),
    /// Let other nodes join, and make a cluster of them.
    Cluster(ClusterArgs),
    /// Show, empty and remove the nodes of a cluster.
    Node(NodeArgs),
    /// Run a whole cluster on this machine, for trying out.
    DevCluster(DevArgs),
    /// Write a bucket's data anew under another erasure code, in the background.
    Recode(RecodeArgs),
    /// Show, pause, slow down and wake background work.
    Worker(WorkerArgs),
    /// Rebuild the metadata view of a stopped server and compare it with the drives.
    Recover(RecoverArgs),
    /// Back up the metadata of a running server, and bring a backup back.
    Meta(MetaArgs),
    /// Make, list and revoke access keys.
    Key(KeyArgs),
    /// Back up, restore and rotate the master key.
    Keys(KeysArgs),
    /// Show what flags, PANGEA_* variables and the configuration file result in, and who said what.
    Config(ConfigArgs),
    /// Show what this machine offers and what a server would choose.
    Doctor(DoctorArgs),
    #[command(flatten)]
    S3(Verb),
    /// Print what makes a shell complete these commands.
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each command to a directory.
    Man(ManArgs),
}

#[derive(ClapArgs, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct ManArgs {
    /// Where to write them; without it, the main page is printed.
    pub(crate) dir: Option<PathBuf>,
}

/// Flags override PANGEA_* variables (PANGEA_LISTEN, ...), these the --config file.
///
/// Secrets come from the environment only: PANGEA_ROOT_ACCESS_KEY with PANGEA_ROOT_SECRET_KEY, PANGEA_KEY_PASSPHRASE,
/// PANGEA_ADMIN_TOKEN.
#[derive(ClapArgs, Debug, Default)]
pub(crate) struct ServerArgs {
    /// Directories, one a drive; made if only they themselves do not exist.
    #[arg(value_name = "DIR")]
    pub(crate) drives: Vec<String>,
    /// Where S3 is served [default: 127.0.0.1:9000].
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Where health, metrics and operators are answered [default: 127.0.0.1:9001].
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) admin_listen: Option<String>,
    /// A TOML file with these settings (admin_listen = "...").
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<String>,
    /// The erasure code of new data [default: by the number of drives].
    #[arg(long, value_name = "K+M")]
    pub(crate) erasure: Option<String>,
    /// The region that S3 signatures name [default: us-east-1].
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// A file of 32 or more bytes that seals the master key.
    #[arg(long, value_name = "PATH")]
    pub(crate) key_file: Option<String>,
    /// How drives are written: auto, uring or threads [default: auto].
    #[arg(long, value_name = "ENGINE")]
    pub(crate) io_engine: Option<String>,
    /// Days in which every shard is read once, 0 for never [default: 30].
    #[arg(long, value_name = "DAYS")]
    pub(crate) scrub_days: Option<String>,
    /// What is logged: error, warn, info (a line for every request), debug, trace, or a filter
    /// [default: info,pangea::s3=warn].
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Take BUCKET.NAME as the bucket's address, too; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) domain: Vec<String>,
    /// Speak https with a certificate of the server's own making: `self`.
    #[arg(long, value_name = "self")]
    pub(crate) tls: Option<String>,
    /// Speak https with this certificate chain (PEM; read again at SIGHUP).
    #[arg(long, value_name = "PATH")]
    pub(crate) tls_cert: Option<String>,
    /// The certificate's key (PEM).
    #[arg(long, value_name = "PATH")]
    pub(crate) tls_key: Option<String>,
    #[command(flatten)]
    pub(crate) member: MemberArgs,
    /// Keep the metadata in this database instead of on the drives: postgres://USER:PASSWORD@HOST/DATABASE (PANGEA_META
    /// keeps the password out of the list of processes).
    #[arg(long, value_name = "URL")]
    pub(crate) meta: Option<String>,
    /// How long a request waits for that database while it is away [default: 30].
    #[arg(long, value_name = "SECONDS", help_heading = LIMITS)]
    pub(crate) meta_patience: Option<String>,
    /// Write a line of JSON for every request to this file, or to standard error (-).
    #[arg(long, value_name = "FILE")]
    pub(crate) request_log: Option<String>,
    /// Open connections; more are turned away with 503 [default: 16384].
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    pub(crate) max_connections: Option<String>,
    /// Open connections of one address, 0 for any number [default: 0].
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    pub(crate) max_connections_per_address: Option<String>,
    /// Requests served at once; more wait, then get 503 SlowDown [default: 512].
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    pub(crate) max_requests: Option<String>,
    /// Requests a second of one access key, 0 for any number [default: 0].
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    pub(crate) key_rate: Option<String>,
    /// How long a request may wait for its turn [default: 5].
    #[arg(long, value_name = "SECONDS", help_heading = LIMITS)]
    pub(crate) queue_wait: Option<String>,
    /// From a request's first byte to the end of its headers [default: 10].
    #[arg(long, value_name = "SECONDS", help_heading = LIMITS)]
    pub(crate) head_timeout: Option<String>,
    /// Between two requests of a connection [default: 60].
    #[arg(long, value_name = "SECONDS", help_heading = LIMITS)]
    pub(crate) idle_timeout: Option<String>,
    /// How long a body may be as slow as it likes [default: 30].
    #[arg(long, value_name = "SECONDS", help_heading = LIMITS)]
    pub(crate) body_grace: Option<String>,
    /// Bytes a second that a body must bring after that [default: 1024].
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    pub(crate) body_rate: Option<String>,
    /// How long a client may take its answer as slowly as it likes [default: 30].
    #[arg(long, value_name = "SECONDS", help_heading = LIMITS)]
    pub(crate) answer_grace: Option<String>,
    /// Bytes a second that it must take after that [default: 1024].
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    pub(crate) answer_rate: Option<String>,
    /// Bytes of one PUT or part [default: 5368709120].
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    pub(crate) max_put_bytes: Option<String>,
}

const LIMITS: &str = "Limits";

#[derive(ClapArgs, Debug)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum KeyCommand {
    /// Make an access key; its secret is shown now and never again.
    ///
    /// A grant reads RIGHTS:BUCKET[/PREFIX]. RIGHTS: read, write, list, delete, manage (making, configuring and removing
    /// buckets), several with commas, or all. BUCKET: a name, the start of names and *, * alone, or @own: the buckets that
    /// the key makes. Without a grant a key may do nothing.
    Create {
        #[command(flatten)]
        admin: AdminArgs,
        /// What the key may do; may be repeated.
        #[arg(long, value_name = "RIGHTS:BUCKET[/PREFIX]", required = true)]
        grant: Vec<String>,
        /// What it is for.
        #[arg(long, value_name = "TEXT", default_value = "")]
        description: String,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Show all access keys, without their secrets.
    List {
        #[command(flatten)]
        admin: AdminArgs,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Take access keys away, from the next request on.
    Revoke {
        #[command(flatten)]
        admin: AdminArgs,
        /// Their ids.
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
}

/// Where the server is asked.
#[derive(ClapArgs, Debug)]
pub(crate) struct AdminArgs {
    /// The server's admin address.
    #[arg(long, value_name = "URL", env = "PANGEA_ADMIN", default_value = pangea_node::remote::ADMIN_DEFAULT)]
    pub(crate) admin: String,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct ScrubArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Begin now; without it, say how the last one went and when the next one begins.
    #[arg(long)]
    pub(crate) now: bool,
    /// Wait for its end and report what it found.
    #[arg(long, requires = "now")]
    pub(crate) wait: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct DriveArgs {
    #[command(subcommand)]
    pub(crate) command: DriveCommand,
}

/// How a change is made.
#[derive(ClapArgs, Debug)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Also if less is survived afterwards, or it may not fit.
    #[arg(long)]
    pub(crate) force: bool,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum DriveCommand {
    /// Show the drives.
    List {
        #[command(flatten)]
        admin: AdminArgs,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Make an empty directory a drive; it takes data at once, and its share moves there in the background.
    Add {
        /// The directories; made if only they themselves do not exist.
        #[arg(value_name = "DIR", required = true)]
        dirs: Vec<PathBuf>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Move everything off a drive, prove it, and say when it is safe to remove.
    Drain {
        /// Its directory, slot or id.
        #[arg(value_name = "DRIVE")]
        drive: String,
        /// Return at once; `pangea status` shows how far it is.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Stop draining a drive.
    Restore {
        /// Its directory, slot or id.
        #[arg(value_name = "DRIVE")]
        drive: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Let an empty directory take over exactly what another drive holds, dead or alive.
    Replace {
        /// The old drive's directory, slot or id.
        #[arg(value_name = "OLD")]
        old: String,
        /// The new directory.
        #[arg(value_name = "NEW")]
        new: PathBuf,
        /// Return at once; `pangea status` shows how far it is.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

#[derive(ClapArgs, Debug)]
pub(crate) struct LayoutArgs {
    #[command(subcommand)]
    pub(crate) command: LayoutCommand,
}

/// Changes of the layout, all made at once.
#[derive(ClapArgs, Debug)]
pub(crate) struct WishArgs {
    /// An empty directory becomes a drive.
    #[arg(long, value_name = "DIR")]
    pub(crate) add: Vec<PathBuf>,
    /// A drive is emptied and leaves.
    #[arg(long, value_name = "DRIVE")]
    pub(crate) drain: Vec<String>,
    /// A drive that is being drained stays.
    #[arg(long, value_name = "DRIVE")]
    pub(crate) restore: Vec<String>,
    /// An empty directory takes over what a drive holds.
    #[arg(long, value_name = "DRIVE=DIR")]
    pub(crate) replace: Vec<String>,
    /// A drive's share, in GiB of capacity.
    #[arg(long, value_name = "DRIVE=GIB")]
    pub(crate) weight: Vec<String>,
    /// The erasure code of new data.
    #[arg(long, value_name = "K+M")]
    pub(crate) code: Option<String>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum LayoutCommand {
    /// Show which drives there are and what they survive.
    Show {
        #[command(flatten)]
        admin: AdminArgs,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Show what a change moves, how long it takes and what the result survives; nothing is done.
    Plan {
        #[command(flatten)]
        wish: WishArgs,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Make a change.
    Apply {
        #[command(flatten)]
        wish: WishArgs,
        #[command(flatten)]
        change: ChangeArgs,
        /// The epoch that was planned on; if the layout changed since, nothing is done.
        #[arg(long)]
        epoch: Option<u32>,
    },
}

#[derive(ClapArgs, Debug)]
pub(crate) struct RecodeArgs {
    /// The bucket.
    pub(crate) bucket: String,
    /// The code; without it, say how far a recoding is.
    #[arg(value_name = "K+M")]
    pub(crate) code: Option<String>,
    /// Wait for its end.
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct WorkerArgs {
    #[command(subcommand)]
    pub(crate) command: WorkerCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum WorkerCommand {
    /// Show all background work.
    List {
        #[command(flatten)]
        admin: AdminArgs,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Let a worker rest, also over restarts.
    Pause {
        /// Its name.
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Let a paused worker go on.
    Resume {
        /// Its name.
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Set how many bytes a worker may read and write a second.
    Limit {
        /// Its name.
        name: String,
        /// A number of bytes a second, with k, M or G; or `off`.
        #[arg(value_name = "RATE")]
        rate: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Begin a pass now.
    Run {
        /// Its name.
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(ClapArgs, Debug)]
pub(crate) struct RecoverArgs {
    /// All directories of the stopped server.
    #[arg(value_name = "DIR", required = true)]
    pub(crate) drives: Vec<PathBuf>,
    /// The file that seals the master key.
    #[arg(long, value_name = "PATH", env = "PANGEA_KEY_FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Accept metadata that is older than what the drives know of.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) compare: CompareArgs,
}

/// How metadata is compared with the drives.
#[derive(ClapArgs, Debug)]
pub(crate) struct CompareArgs {
    /// Read and check every shard, instead of only looking it up.
    #[arg(long)]
    pub(crate) deep: bool,
    /// Entries of every list in the report.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) problems: usize,
    /// A file of object keys, one a line: names what the drives know only by the hash of its key.
    #[arg(long, value_name = "FILE")]
    pub(crate) names: Option<PathBuf>,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct MetaArgs {
    #[command(subcommand)]
    pub(crate) command: MetaCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum MetaCommand {
    /// Write the metadata of a running server, as of now, to a new file.
    ///
    /// It is sealed by the master key, which is not in it: see `pangea keys backup`.
    Backup {
        #[command(flatten)]
        admin: AdminArgs,
        /// The file; it must not exist.
        file: PathBuf,
    },
    /// Bring a backup back onto the drives of a stopped server, and compare it with them.
    ///
    /// What was there is moved aside on the same drive. What was written after the backup is not in it; shards that it does
    /// not know are reported and kept until `pangea worker resume orphans`.
    Restore {
        /// The backup, or a snapshot as it lies on a drive.
        file: PathBuf,
        /// All directories of the server.
        #[arg(value_name = "DIR", required = true)]
        drives: Vec<PathBuf>,
        /// The file that seals the master key.
        #[arg(long, value_name = "PATH", env = "PANGEA_KEY_FILE")]
        key_file: Option<PathBuf>,
        /// Also if the drives know more than the backup: that is given up.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        compare: CompareArgs,
    },
}

#[derive(ClapArgs, Debug)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum KeysCommand {
    /// Write the master keys of a running server, sealed by a passphrase, to a new file.
    ///
    /// The passphrase is PANGEA_BACKUP_PASSPHRASE, or is asked for.
    Backup {
        #[command(flatten)]
        admin: AdminArgs,
        /// The file; it must not exist.
        file: PathBuf,
    },
    /// Write the master keys of a backup to the directories of a stopped server.
    ///
    /// The backup's passphrase is PANGEA_BACKUP_PASSPHRASE, or is asked for. The copies are sealed by PANGEA_KEY_PASSPHRASE
    /// or --key-file, if one is given.
    Restore {
        /// The backup.
        file: PathBuf,
        /// All directories of the server.
        #[arg(value_name = "DIR", required = true)]
        drives: Vec<PathBuf>,
        /// The file that shall seal the master key.
        #[arg(long, value_name = "PATH", env = "PANGEA_KEY_FILE")]
        key_file: Option<PathBuf>,
    },
    /// Make a new master key in a running server and rewrap what hangs on the old one.
    Rotate {
        #[command(flatten)]
        admin: AdminArgs,
        /// Seal the keys by a passphrase from now on: PANGEA_NEW_KEY_PASSPHRASE, or asked for.
        #[arg(long, conflicts_with_all = ["key_file", "no_protection"])]
        passphrase: bool,
        /// Seal the keys by this file of 32 or more bytes from now on.
        #[arg(long, value_name = "PATH", conflicts_with = "no_protection")]
        key_file: Option<PathBuf>,
        /// Keep the keys in the clear from now on, protected by the files' mode only.
        #[arg(long)]
        no_protection: bool,
        /// Keep the present master key; only what seals it changes.
        #[arg(long)]
        protector_only: bool,
    },
}

#[derive(ClapArgs, Debug)]
pub(crate) struct DoctorArgs {
    /// Directories whose sync times are measured.
    #[arg(value_name = "DIR")]
    pub(crate) drives: Vec<PathBuf>,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}
