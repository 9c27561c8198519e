//! Resuming: what is remembered of an upload or a download that was begun, so that the same command goes on.
//!
//! An upload is remembered in a file of its own, named after endpoint, object and file; a download beside its unfinished
//! file. Both are locked by whoever works on them. What is remembered is a hint: parts are compared with what the endpoint
//! says of them, and the whole is checked at its end.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use pangea_s3client::{Algorithm, Sum};
use serde::{Deserialize, Serialize};

/// An upload under way.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct UploadState {
    pub(crate) upload: String,
    pub(crate) size: u64,
    /// Decimal seconds.
    pub(crate) modified: String,
    pub(crate) part_bytes: u64,
    pub(crate) checked: bool,
}

/// The file of one upload; locked while this lives.
pub(crate) struct UploadNote {
    path: PathBuf,
    file: File,
}

impl UploadNote {
    /// Nothing when it cannot be written or somebody else holds it: then the upload is not remembered.
    pub(crate) fn open(dir: &Path, identity: &str) -> Option<Self> {
        fs::create_dir_all(dir).ok()?;
        let path = dir.join(format!("{}.json", Sum::of(Algorithm::Md5, identity.as_bytes())));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).ok()?;
        file.try_lock().ok()?;
        // Whoever held the lock before may have removed the file that was opened.
        path.exists().then_some(Self { path, file })
    }

    pub(crate) fn read(&self) -> Option<UploadState> {
        serde_json::from_reader(BufReader::new(&self.file)).ok()
    }

    pub(crate) fn write(&self, state: &UploadState) -> std::io::Result<()> {
        let text = serde_json::to_vec(state)?;
        self.file.set_len(0)?;
        std::os::unix::fs::FileExt::write_all_at(&self.file, &text, 0)?;
        self.file.sync_all()
    }

    /// The upload is over.
    pub(crate) fn remove(self) {
        // A note that stays names an upload that is no more, which the next one finds out.
        let _ = fs::remove_file(&self.path);
    }
}

/// What a download is of. Another one of these starts afresh.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct DownloadState {
    pub(crate) etag: String,
    pub(crate) version: Option<String>,
    pub(crate) size: u64,
    pub(crate) part_bytes: u64,
}

/// A line of JSON for the state, then one number a line for each part that lies in the unfinished file.
pub(crate) struct DownloadNote {
    path: PathBuf,
    file: Mutex<File>,
}

impl DownloadNote {
    /// Opens or begins; the parts that are there already.
    pub(crate) fn open(path: &Path, state: &DownloadState) -> std::io::Result<(Self, Vec<u32>)> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut lines = BufReader::new(&file).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let mut done = Vec::new();
        if serde_json::from_str::<DownloadState>(&first).ok().as_ref() == Some(state) {
            // The last line may be torn: then it is no number, or one that is checked with the whole.
            done =
                lines.map_while(Result::ok).filter_map(|line| line.strip_suffix(';')?.parse().ok()).collect();
        } else {
            file.set_len(0)?;
            let text = serde_json::to_string(state)?;
            file.write_all(format!("{text}\n").as_bytes())?;
        }
        Ok((Self { path: path.to_owned(), file: Mutex::new(file) }, done))
    }

    /// A part lies in the file.
    pub(crate) fn add(&self, number: u32) -> std::io::Result<()> {
        let mut file = self.file.lock().expect("writing does not panic");
        file.write_all(format!("{number};\n").as_bytes())
    }

    pub(crate) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}
