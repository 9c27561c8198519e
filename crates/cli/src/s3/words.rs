//! The words of the verbs for buckets and objects.

use std::path::PathBuf;

use clap::{ArgMatches, Args as ClapArgs, Subcommand};

use crate::s3::filter::{parse_age, parse_bytes};

const NAMES: &str = "\
Names: ALIAS/BUCKET/KEY for any alias of `pangea alias list`; s3://BUCKET/KEY at the default alias; everything else is a local
path (write ./x where x is also an alias); - is standard input or output. Without an alias, `local` is a server on this machine
and `env` what the AWS_* variables say.";

const CONNECTION: &str = "Connection";
const TRANSFER: &str = "Transfer";
const CHOICE: &str = "Choice";

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Name S3 endpoints: set, make, list, remove.
    Alias(AliasArgs),
    /// Make buckets.
    #[command(after_help = NAMES)]
    Mb(MbArgs),
    /// Remove buckets.
    #[command(after_help = NAMES)]
    Rb(RbArgs),
    /// List buckets, objects, versions, unfinished uploads.
    #[command(after_help = NAMES)]
    Ls(LsArgs),
    /// Copy files and objects; in parallel, and on from where an interrupted copy ended.
    #[command(after_help = NAMES, override_usage = "pangea cp [OPTIONS] SOURCE... TARGET")]
    Cp(CpArgs),
    /// Copy, and remove each source once its copy is there.
    #[command(after_help = NAMES, override_usage = "pangea mv [OPTIONS] SOURCE... TARGET")]
    Mv(CpArgs),
    /// Make a target's content equal to a source's, copying what differs.
    #[command(after_help = NAMES)]
    Sync(SyncArgs),
    /// Remove objects, versions, unfinished uploads.
    #[command(after_help = NAMES)]
    Rm(RmArgs),
    /// Write objects to standard output.
    #[command(after_help = NAMES)]
    Cat(CatArgs),
    /// Show what is known of an object, a bucket or a file.
    #[command(after_help = NAMES)]
    Stat(StatArgs),
    /// Add up sizes.
    #[command(after_help = NAMES)]
    Du(DuArgs),
    /// Find objects and files by name, size and age.
    #[command(after_help = NAMES)]
    Find(FindArgs),
}

impl Verb {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Alias(args) => args.command.common(),
            Self::Mb(args) => &args.common,
            Self::Rb(args) => &args.common,
            Self::Ls(args) => &args.common,
            Self::Cp(args) | Self::Mv(args) => &args.common,
            Self::Sync(args) => &args.common,
            Self::Rm(args) => &args.common,
            Self::Cat(args) => &args.common,
            Self::Stat(args) => &args.common,
            Self::Du(args) => &args.common,
            Self::Find(args) => &args.common,
        }
    }
}

impl Verb {
    fn choice(&mut self) -> Option<&mut Choice> {
        match self {
            Self::Cp(args) | Self::Mv(args) => Some(&mut args.choice),
            Self::Sync(args) => Some(&mut args.choice),
            Self::Rm(args) => Some(&mut args.choice),
            Self::Du(args) => Some(&mut args.choice),
            _ => None,
        }
    }

    /// Notes in which order --include and --exclude stood, which the derived structs do not keep.
    pub(crate) fn remember_order(&mut self, words: &ArgMatches) {
        let Some(choice) = self.choice() else { return };
        let at = |name: &str| words.indices_of(name).into_iter().flatten().collect::<Vec<_>>();
        let mut order: Vec<(usize, bool)> = at("include").into_iter().map(|at| (at, true)).collect();
        order.extend(at("exclude").into_iter().map(|at| (at, false)));
        order.sort_unstable();
        choice.order = order.into_iter().map(|(_, takes_in)| takes_in).collect();
    }
}

/// What every verb takes.
#[derive(ClapArgs, Debug, Default)]
pub(crate) struct Common {
    /// For programs: one JSON object a line, errors on standard error.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print errors only.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Trust this CA or certificate (PEM), too.
    #[arg(long, value_name = "FILE", help_heading = CONNECTION, env = "PANGEA_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// Take any certificate: whoever sits between can read and change everything.
    #[arg(long, help_heading = CONNECTION)]
    pub(crate) insecure: bool,
    /// Tries of a request that fails for a while or whose connection breaks.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100), help_heading = CONNECTION)]
    pub(crate) tries: u32,
}

/// What verbs take that move bytes.
#[derive(ClapArgs, Debug, Clone)]
pub(crate) struct Transfer {
    /// Requests at once.
    #[arg(long, short = 'P', value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512), help_heading = TRANSFER)]
    pub(crate) parallel: u16,
    /// Bytes of a part; larger objects are moved in parts.
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = parse_bytes, help_heading = TRANSFER)]
    pub(crate) part_size: u64,
    /// Say what would be done, and do nothing.
    #[arg(long, short = 'n', help_heading = TRANSFER)]
    pub(crate) dry_run: bool,
    /// Media type of what is stored [default: by the file's extension].
    #[arg(long, value_name = "TYPE", help_heading = TRANSFER)]
    pub(crate) content_type: Option<String>,
    /// Cache-Control of what is stored.
    #[arg(long, value_name = "TEXT", help_heading = TRANSFER)]
    pub(crate) cache_control: Option<String>,
    /// User metadata of what is stored; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair, help_heading = TRANSFER)]
    pub(crate) meta: Vec<(String, String)>,
    /// Storage class of what is stored.
    #[arg(long, value_name = "CLASS", help_heading = TRANSFER)]
    pub(crate) storage_class: Option<String>,
}

/// Which of the files and objects below a name.
#[derive(ClapArgs, Debug, Clone, Default)]
pub(crate) struct Choice {
    /// Take names that match; the last --include or --exclude that matches decides.
    ///
    /// `*` matches `/`, too. A pattern without `/` is also tried on the last part of the name. If the first one is an
    /// --include, what matches none is left out.
    #[arg(long, value_name = "GLOB", help_heading = CHOICE)]
    pub(crate) include: Vec<String>,
    /// Leave names out that match.
    #[arg(long, value_name = "GLOB", help_heading = CHOICE)]
    pub(crate) exclude: Vec<String>,
    /// Where each of them stood on the command line; filled in after parsing.
    #[arg(skip)]
    pub(crate) order: Vec<bool>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct AliasArgs {
    #[command(subcommand)]
    pub(crate) command: AliasCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum AliasCommand {
    /// Set an alias. The secret is PANGEA_SECRET_KEY, or is asked for, or read from standard input.
    Set(AliasSetArgs),
    /// Make an access key at a running server of your own and set an alias for it: nothing to copy.
    Make(AliasMakeArgs),
    /// Show the aliases, without their secrets.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Forget an alias.
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        common: Common,
    },
}

impl AliasCommand {
    fn common(&self) -> &Common {
        match self {
            Self::Set(args) => &args.common,
            Self::Make(args) => &args.common,
            Self::List { common } | Self::Remove { common, .. } => common,
        }
    }
}

#[derive(ClapArgs, Debug)]
pub(crate) struct AliasSetArgs {
    /// Letters, digits, - and _.
    pub(crate) name: String,
    /// http://HOST[:PORT] or https://…
    pub(crate) url: String,
    /// The access key; without one, requests are not signed.
    pub(crate) access_key: Option<String>,
    /// The region that signatures name.
    #[arg(long, default_value = "us-east-1")]
    pub(crate) region: String,
    /// Where the bucket's name goes: auto, path or virtual.
    #[arg(long, default_value = "auto", value_parser = ["auto", "path", "virtual"])]
    pub(crate) style: String,
    /// Make it what s3:// means.
    #[arg(long)]
    pub(crate) default: bool,
    /// Store it without asking the endpoint.
    #[arg(long)]
    pub(crate) no_check: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct AliasMakeArgs {
    /// The alias.
    #[arg(default_value = "local")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) admin: crate::args::AdminArgs,
    /// What the key may do, as `pangea key create` takes it; may be repeated.
    #[arg(long, value_name = "RIGHTS:BUCKET[/PREFIX]", default_value = "all:*")]
    pub(crate) grant: Vec<String>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct MbArgs {
    /// The buckets.
    #[arg(value_name = "ALIAS/BUCKET", required = true)]
    pub(crate) names: Vec<String>,
    /// The region, if not the alias's.
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// Keep all versions of its objects.
    #[arg(long)]
    pub(crate) with_versioning: bool,
    /// A bucket that is there already, and yours, is no error.
    #[arg(long, short = 'p')]
    pub(crate) ignore_existing: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct RbArgs {
    /// The buckets.
    #[arg(value_name = "ALIAS/BUCKET", required = true)]
    pub(crate) names: Vec<String>,
    /// Remove everything in it first: objects, versions, unfinished uploads.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct LsArgs {
    /// What is listed; without it, the aliases.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Everything below, too.
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// All versions and delete markers.
    #[arg(long)]
    pub(crate) versions: bool,
    /// Uploads that were begun and not finished.
    #[arg(long, conflicts_with = "versions")]
    pub(crate) incomplete: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct CpArgs {
    /// What is copied, and where to. A target that ends with / (or is a directory or a bucket) takes sources in under
    /// their own names; with -r, a source that ends with / gives its content only.
    #[arg(value_names = ["SOURCE", "TARGET"], required = true, num_args = 2..)]
    pub(crate) names: Vec<String>,
    /// Everything below the sources.
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// Never overwrite: an object that is there is an error. Endpoints with conditional writes decide it themselves, against
    /// all racers; others are only asked before.
    #[arg(long)]
    pub(crate) if_none_match: bool,
    /// One version of the source.
    #[arg(long, value_name = "ID", conflicts_with = "recursive")]
    pub(crate) version_id: Option<String>,
    #[command(flatten)]
    pub(crate) choice: Choice,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct SyncArgs {
    /// Where from: a directory, a bucket or a prefix.
    pub(crate) source: String,
    /// Where to.
    pub(crate) target: String,
    /// Remove what the source does not have; nothing is removed after an error, nor what --exclude leaves out.
    #[arg(long)]
    pub(crate) delete: bool,
    /// Compare contents by checksum, not times.
    #[arg(long, conflicts_with = "size_only")]
    pub(crate) checksum: bool,
    /// Compare sizes only.
    #[arg(long)]
    pub(crate) size_only: bool,
    #[command(flatten)]
    pub(crate) choice: Choice,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct RmArgs {
    /// The objects.
    #[arg(value_name = "ALIAS/BUCKET/KEY", required = true)]
    pub(crate) names: Vec<String>,
    /// Everything below the names.
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// All versions and delete markers, for good.
    #[arg(long, conflicts_with = "version_id")]
    pub(crate) versions: bool,
    /// One version, for good.
    #[arg(long, value_name = "ID", conflicts_with = "recursive")]
    pub(crate) version_id: Option<String>,
    /// Unfinished uploads, and no objects.
    #[arg(long, conflicts_with_all = ["versions", "version_id"])]
    pub(crate) incomplete: bool,
    /// Needed to empty a whole bucket.
    #[arg(long)]
    pub(crate) force: bool,
    /// Say what would be removed, and remove nothing.
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) choice: Choice,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct CatArgs {
    /// The objects, or files.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// Only these bytes: FIRST-LAST, FIRST- or -COUNT (the last ones).
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
    pub(crate) range: Option<String>,
    /// One version.
    #[arg(long, value_name = "ID")]
    pub(crate) version_id: Option<String>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct StatArgs {
    /// Objects, buckets or files.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// One version.
    #[arg(long, value_name = "ID", conflicts_with = "versions")]
    pub(crate) version_id: Option<String>,
    /// All versions of the object.
    #[arg(long)]
    pub(crate) versions: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct DuArgs {
    /// What is added up.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// Levels below the name that get a line of their own.
    #[arg(long, short, value_name = "N", default_value_t = 0)]
    pub(crate) depth: usize,
    /// Count old versions, too.
    #[arg(long)]
    pub(crate) versions: bool,
    #[command(flatten)]
    pub(crate) choice: Choice,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct FindArgs {
    /// Where to look.
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// The last part of the name matches.
    #[arg(long, value_name = "GLOB")]
    pub(crate) name: Option<String>,
    /// The whole name below the place matches.
    #[arg(long, value_name = "GLOB")]
    pub(crate) path: Option<String>,
    /// More bytes than this (10MiB, 5k).
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) larger: Option<u64>,
    /// Fewer bytes than this.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) smaller: Option<u64>,
    /// Written longer ago than this (30s, 15m, 12h, 7d, 4w).
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub(crate) older: Option<u64>,
    /// Written less long ago than this.
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub(crate) newer: Option<u64>,
    /// End each name with a zero byte (for xargs -0).
    #[arg(long, conflicts_with = "json")]
    pub(crate) print0: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is NAME=VALUE")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        return Err("a name has letters, digits, -, _ and .".into());
    }
    if value.bytes().any(|byte| !(0x20..0x7f).contains(&byte)) {
        return Err("a value has printable ASCII only".into());
    }
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}
