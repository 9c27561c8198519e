//! `pangea cat`: objects or files to standard output.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::Failure;
use crate::s3::carry::Carrier;
use crate::s3::name::{Name, Remote};
use crate::s3::parts::of_file;
use crate::s3::words::{CatArgs, Transfer};
use crate::s3::{Ground, advice, download};

const READ_BYTES: usize = 1 << 20;

/// How `cat` moves bytes: it has no settings for it.
fn transfer() -> Transfer {
    Transfer {
        parallel: 8,
        part_size: 8 << 20,
        dry_run: false,
        content_type: None,
        cache_control: None,
        meta: Vec::new(),
        storage_class: None,
    }
}

/// Which bytes, before the size is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// From the first to the last, both included, or to the end.
    From(u64, Option<u64>),
    /// The last ones.
    Last(u64),
}

impl Wanted {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || Failure::new(format!("`{text}` is no range"), "write FIRST-LAST, FIRST- or -COUNT", 2);
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| wrong());
        match (first, last) {
            ("", count) => Ok(Self::Last(number(count)?)),
            (first, "") => Ok(Self::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if first <= last { Ok(Self::From(first, Some(last))) } else { Err(wrong()) }
            }
        }
    }

    /// Offset and bytes; nothing when it begins behind the end.
    pub(crate) fn within(self, size: u64) -> Option<(u64, u64)> {
        match self {
            Self::Last(count) => Some((size - count.min(size), count.min(size))),
            Self::From(first, _) if first >= size => None,
            Self::From(first, last) => {
                Some((first, last.map_or(size, |last| last.saturating_add(1).min(size)) - first))
            }
        }
    }
}

fn outside(name: &str, size: u64) -> Failure {
    Failure::new(format!("{name}: the range begins behind its end"), format!("it has {size} bytes"), 1)
}

pub(crate) async fn run(ground: &Ground, args: &CatArgs) -> Result<ExitCode, Failure> {
    let carrier = Carrier::new(ground, &transfer(), false, false)?;
    let wanted = args.range.as_deref().map(Wanted::parse).transpose()?;
    for word in &args.names {
        match Name::parse(&ground.hosts, word)? {
            Name::Stdio => copy_local(ground, std::io::stdin(), Path::new("standard input"))?,
            Name::Local(path) => cat_file(ground, &path, wanted)?,
            Name::Remote(name) => {
                let name = name.has_key("cat")?;
                cat_object(&carrier, &name, args.version_id.as_deref(), wanted).await?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn cat_object(
    carrier: &Arc<Carrier>,
    name: &Remote,
    version: Option<&str>,
    wanted: Option<Wanted>,
) -> Result<(), Failure> {
    let range = match wanted {
        None => None,
        Some(wanted) => {
            let head = name.place.client.head(&name.bucket, &name.key, version).await;
            let size = head.map_err(|error| advice::of(&error, &name.place.alias, &name.shown()))?.size;
            Some(wanted.within(size).ok_or_else(|| outside(&name.shown(), size))?)
        }
    };
    download::stdout(carrier, name, version, range).await.map(drop)
}

fn cat_file(ground: &Ground, path: &Path, wanted: Option<Wanted>) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| of_file(path, &error);
    let mut file = File::open(path).map_err(wrong)?;
    let Some(wanted) = wanted else { return copy_local(ground, file, path) };
    let size = file.metadata().map_err(wrong)?.len();
    let (offset, length) = wanted.within(size).ok_or_else(|| outside(&path.display().to_string(), size))?;
    file.seek(SeekFrom::Start(offset)).map_err(wrong)?;
    copy_local(ground, file.take(length), path)
}

fn copy_local(ground: &Ground, mut from: impl std::io::Read, path: &Path) -> Result<(), Failure> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match from.read(&mut buffer).map_err(|error| of_file(path, &error))? {
            0 => return Ok(()),
            read => ground.reporter.out(&buffer[..read]),
        }
        if ground.reporter.is_gone() {
            return Ok(());
        }
    }
}
