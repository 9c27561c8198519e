//! Downloads: an object to a file, or to standard output.
//!
//! A file gets its name when it is whole and checked. Until then it has the end `.pangea-part`, and a large one a note
//! beside it of the parts that are there, so that a download that was cut off goes on, if the object is still the same.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pangea_s3client::{Guard, Head, Listed, Moment, Proof, S3Error, Sum};
use tokio::task::JoinSet;

use crate::Failure;
use crate::s3::advice;
use crate::s3::carry::{Carrier, MTIME};
use crate::s3::name::Remote;
use crate::s3::parts::{Cut, blocking, of_file};
use crate::s3::resume::{DownloadNote, DownloadState};
use crate::s3::walk::PART_END;

/// Parts that are read ahead of standard output.
const AHEAD_MAX: usize = 8;
/// What is read at once when a finished file is checked.
const CHECK_BYTES: usize = 1 << 20;

fn failed(name: &Remote, error: &S3Error) -> Failure {
    if error.code() == Some("PreconditionFailed") {
        let what = format!("{}: the object was changed while it was read", name.shown());
        return Failure::new(what, "run the same command again", 1);
    }
    advice::of(error, &name.place.alias, &name.shown())
}

/// Writes an object to a file; its bytes.
pub(crate) async fn file(
    carrier: &Arc<Carrier>,
    name: &Remote,
    version: Option<&str>,
    listed: Option<&Listed>,
    path: &Path,
) -> Result<u64, Failure> {
    if carrier.guard.absent && path.exists() {
        let what = format!("{}: it is there already", path.display());
        return Err(Failure::new(what, "leave --if-none-match out to overwrite it", 1));
    }
    if path.is_dir() {
        return Err(Failure::new(
            format!("{}: it is a directory", path.display()),
            "name a file, or end it with /",
            1,
        ));
    }
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        let dir = dir.to_owned();
        blocking(move || fs::create_dir_all(dir)).await.map_err(|error| of_file(path, &error))?;
    }
    let unfinished = Unfinished::lock(path).map_err(|error| of_file(path, &error))?;
    let head = match fetch(carrier, name, version, listed, &unfinished, path).await {
        Ok(head) => head,
        Err(failure) => {
            unfinished.forget();
            return Err(failure);
        }
    };
    let modified = head.meta(MTIME).and_then(Moment::from_decimal).or(head.modified);
    let target = path.to_owned();
    let finish = move || unfinished.finish(&target, modified);
    blocking(finish).await.map_err(|error| of_file(path, &error))?;
    Ok(head.size)
}

/// Brings an object's bytes into the unfinished file.
async fn fetch(
    carrier: &Arc<Carrier>,
    name: &Remote,
    version: Option<&str>,
    listed: Option<&Listed>,
    unfinished: &Unfinished,
    path: &Path,
) -> Result<Head, Failure> {
    let client = &name.place.client;
    let small = listed.filter(|listed| listed.size <= carrier.transfer.part_size && !listed.etag.is_empty());
    Ok(match small {
        Some(listed) => {
            let _lane = carrier.lanes.enter(listed.size).await;
            let guard = Guard { absent: false, etag: Some(listed.etag.clone()) };
            let (bytes_max, meter) = (carrier.transfer.part_size as usize, carrier.reporter.meter());
            let got = client.get(&name.bucket, &name.key, version, &guard, bytes_max, meter).await;
            let (head, body) = got.map_err(|error| failed(name, &error))?;
            let written = unfinished.file.clone();
            let write = move || written.set_len(0).and_then(|()| written.write_all_at(&body, 0));
            blocking(write).await.map_err(|error| of_file(path, &error))?;
            head
        }
        None => {
            let head = client.head_with_proof(&name.bucket, &name.key, version).await;
            let head = head.map_err(|error| failed(name, &error))?;
            if listed.is_none() {
                carrier.reporter.expect(head.size);
            }
            in_parts(carrier, name, version, &head, unfinished, path).await?;
            head
        }
    })
}

/// A file that has not got its name yet, locked.
struct Unfinished {
    path: PathBuf,
    note: PathBuf,
    file: Arc<File>,
}

impl Unfinished {
    fn lock(target: &Path) -> std::io::Result<Self> {
        let with = |end: &str| {
            let mut name = target.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        let (path, note) = (with(PART_END), with(&format!("{PART_END}.state")));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        file.try_lock().map_err(|_| std::io::Error::other("another command is writing it"))?;
        Ok(Self { path, note, file: Arc::new(file) })
    }

    /// Leaves nothing behind, unless there are parts from which to go on.
    fn forget(self) {
        if !self.note.exists() {
            // It is empty or wrong; the next try begins by overwriting it.
            let _ = fs::remove_file(&self.path);
        }
    }

    fn finish(self, target: &Path, modified: Option<Moment>) -> std::io::Result<()> {
        if let Some(time) = modified.and_then(Moment::to_system) {
            self.file.set_modified(time)?;
        }
        fs::rename(&self.path, target)
    }
}

async fn in_parts(
    carrier: &Arc<Carrier>,
    name: &Remote,
    version: Option<&str>,
    head: &Head,
    unfinished: &Unfinished,
    path: &Path,
) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| of_file(path, &error);
    let cut = Cut::new(head.size, carrier.transfer.part_size);
    let version = version.map(str::to_owned);
    let state = DownloadState {
        etag: head.etag.clone(),
        version: version.clone(),
        size: head.size,
        part_bytes: cut.part_bytes,
    };
    let (note, mut there) = DownloadNote::open(&unfinished.note, &state).map_err(wrong)?;
    if unfinished.file.metadata().map_err(wrong)?.len() != head.size {
        there.clear();
        unfinished.file.set_len(head.size).map_err(wrong)?;
    }
    if !there.is_empty() {
        carrier.reporter.note(&format!("{}: going on, {} parts are there", path.display(), there.len()));
    }
    let note = Arc::new(note);
    let mut running: JoinSet<Result<(), Failure>> = JoinSet::new();
    for piece in cut.pieces() {
        if there.contains(&piece.number) {
            carrier.reporter.meter().moved(piece.length);
            continue;
        }
        let lane = carrier.lanes.enter(piece.length as u64).await;
        while let Some(ended) = running.try_join_next() {
            ended.unwrap_or_else(|error| Err(internal(&error)))?;
        }
        let (name, version, path) = (name.clone(), version.clone(), path.to_owned());
        let guard = Guard { absent: false, etag: Some(head.etag.clone()).filter(|etag| !etag.is_empty()) };
        let (file, note, meter) = (unfinished.file.clone(), note.clone(), carrier.reporter.meter());
        running.spawn(async move {
            let (client, range) = (&name.place.client, (piece.offset, piece.length));
            let got =
                client.get_range(&name.bucket, &name.key, version.as_deref(), &guard, range, meter).await;
            let body = got.map_err(|error| failed(&name, &error))?;
            let write = move || file.write_all_at(&body, piece.offset).and_then(|()| note.add(piece.number));
            blocking(write).await.map_err(|error| of_file(&path, &error))?;
            drop(lane);
            Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap_or_else(|error| Err(internal(&error)))?;
    }
    if let Some(proof) = head.proofs.first() {
        let checked = check(&unfinished.file, proof, name).await;
        if let Err(failure) = checked {
            // Nobody knows which part is wrong: the next try begins anew.
            let _ = fs::remove_file(&unfinished.note);
            return Err(failure);
        }
    }
    if let Some(note) = Arc::into_inner(note) {
        note.remove();
    }
    Ok(())
}

fn internal(error: &tokio::task::JoinError) -> Failure {
    Failure::new(format!("internal error: {error}"), "please report it", 1)
}

/// Compares what lies on the disk with what the endpoint says of the whole.
async fn check(file: &Arc<File>, proof: &Proof, name: &Remote) -> Result<(), Failure> {
    let (file, algorithm) = (file.clone(), proof.algorithm);
    let read = move || {
        let (mut sum, mut buffer, mut at) = (Sum::new(algorithm), vec![0; CHECK_BYTES], 0);
        loop {
            match file.read_at(&mut buffer, at)? {
                0 => return Ok(sum.finish()),
                read => {
                    sum.update(&buffer[..read]);
                    at += read as u64;
                }
            }
        }
    };
    let got = blocking(read).await.map_err(|error| of_file(Path::new(&name.shown()), &error))?;
    if got == proof.value {
        return Ok(());
    }
    let (check, wanted) = (algorithm.name().to_owned(), proof.value.clone());
    Err(failed(name, &S3Error::Corrupt { check, wanted, got }))
}

/// Writes an object, or a range of it (offset and bytes), to standard output, parts ahead in parallel; its bytes. The sum of
/// a whole object is checked at its end, when its bytes are out: only the exit code can say so.
pub(crate) async fn stdout(
    carrier: &Arc<Carrier>,
    name: &Remote,
    version: Option<&str>,
    range: Option<(u64, u64)>,
) -> Result<u64, Failure> {
    let head = name.place.client.head_with_proof(&name.bucket, &name.key, version).await;
    let head = head.map_err(|error| failed(name, &error))?;
    let (start, length) = range.unwrap_or((0, head.size));
    let guard = Guard { absent: false, etag: Some(head.etag.clone()).filter(|etag| !etag.is_empty()) };
    let mut ahead = std::collections::VecDeque::new();
    let mut pieces = Cut::new(length, carrier.transfer.part_size).pieces();
    let proof = head.proofs.first().filter(|_| length == head.size);
    let mut sum = proof.map(|proof| Sum::new(proof.algorithm));
    loop {
        while ahead.len() < usize::from(carrier.transfer.parallel).min(AHEAD_MAX) {
            let Some(piece) = pieces.next() else { break };
            let (name, version, guard) = (name.clone(), version.map(str::to_owned), guard.clone());
            let meter = carrier.reporter.meter();
            ahead.push_back(tokio::spawn(async move {
                let (client, range) = (&name.place.client, (start + piece.offset, piece.length));
                let got =
                    client.get_range(&name.bucket, &name.key, version.as_deref(), &guard, range, meter).await;
                got.map_err(|error| failed(&name, &error))
            }));
        }
        let Some(next) = ahead.pop_front() else { break };
        let body = next.await.unwrap_or_else(|error| Err(internal(&error)))?;
        if let Some(sum) = &mut sum {
            sum.update(&body);
        }
        carrier.reporter.out(&body);
        if carrier.reporter.is_gone() {
            return Ok(length);
        }
    }
    match (sum.map(Sum::finish), proof) {
        (Some(got), Some(proof)) if got != proof.value => {
            let (check, wanted) = (proof.algorithm.name().to_owned(), proof.value.clone());
            Err(failed(name, &S3Error::Corrupt { check, wanted, got }))
        }
        _ => Ok(length),
    }
}
