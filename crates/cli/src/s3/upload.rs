//! Uploads: a file, or standard input, to an object.
//!
//! Small ones are one request. Large ones are parts in parallel; the checksum of the whole is put together from those of
//! the parts and sent with the completion, so that the endpoint checks what it has put together. An upload that was cut off
//! goes on: a part that the endpoint has is taken as done if it is the file's bytes.

use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use pangea_s3client::{
    Algorithm, Attributes, DonePart, Guard, Moment, S3Error, Sum, combine_crc64nvme, crc64nvme,
};
use tokio::task::JoinSet;

use crate::Failure;
use crate::s3::advice;
use crate::s3::carry::Carrier;
use crate::s3::name::Remote;
use crate::s3::parts::{Cut, Lane, PARTS_MAX, Piece, blocking, of_file, read_piece};
use crate::s3::resume::{UploadNote, UploadState};

/// Parts of what nobody knows the size of are at least this large: 10,000 of them are 320 GB.
const STREAM_PART_BYTES_MIN: u64 = 32 << 20;

/// A part that is stored, and the sum of its bytes.
struct Stored {
    part: DonePart,
    sum: u64,
}

/// An upload under way.
#[derive(Clone)]
struct Under {
    carrier: Arc<Carrier>,
    to: Remote,
    upload: String,
    checked: bool,
}

fn failed(to: &Remote, error: &S3Error) -> Failure {
    advice::of(error, &to.place.alias, &to.shown())
}

/// Stores a file; its bytes.
pub(crate) async fn file(carrier: &Arc<Carrier>, path: &Path, to: &Remote) -> Result<u64, Failure> {
    let opened = path.to_owned();
    let open = move || File::open(&opened).and_then(|file| file.metadata().map(|meta| (file, meta)));
    let (file, meta) = blocking(open).await.map_err(|error| of_file(path, &error))?;
    if meta.is_dir() {
        return Err(of_file(path, &std::io::ErrorKind::IsADirectory.into()));
    }
    let file = Arc::new(file);
    let modified = meta.modified().ok().map(Moment::from_system);
    let attributes = carrier.attributes(&to.key, modified);
    let cut = Cut::new(meta.len(), carrier.transfer.part_size);
    if cut.count() <= 1 {
        let _lane = carrier.lanes.enter(meta.len()).await;
        let body = read_piece(&file, path, 0, cut.size as usize).await?;
        unchanged(&file, path, &meta)?;
        let (client, meter) = (&to.place.client, carrier.reporter.meter());
        let put = client.put(&to.bucket, &to.key, body, &attributes, &carrier.guard, meter).await;
        put.map_err(|error| failed(to, &error))?;
    } else {
        in_parts(carrier, (&file, path, &meta), to, &attributes, cut).await?;
    }
    Ok(meta.len())
}

/// A file that is written while it is read gives an object that never was a file.
fn unchanged(file: &File, path: &Path, before: &Metadata) -> Result<(), Failure> {
    let now = file.metadata().map_err(|error| of_file(path, &error))?;
    if now.len() == before.len() && now.modified().ok() == before.modified().ok() {
        return Ok(());
    }
    let what = format!("{}: it was changed while it was read", path.display());
    Err(Failure::new(what, "copy it again when nobody writes to it", 1))
}

async fn in_parts(
    carrier: &Arc<Carrier>,
    (file, path, meta): (&Arc<File>, &Path, &Metadata),
    to: &Remote,
    attributes: &Attributes,
    cut: Cut,
) -> Result<(), Failure> {
    let absolute = fs::canonicalize(path).map_err(|error| of_file(path, &error))?;
    let url = to.place.client.options().endpoint.url();
    let identity = format!("{url}\n{}\n{}\n{}", to.bucket, to.key, absolute.display());
    let note = carrier.state_dir.as_deref().and_then(|dir| UploadNote::open(dir, &identity));
    let (under, state, there) = begin(carrier, to, attributes, note.as_ref(), meta, cut).await?;
    if let Some(note) = &note {
        note.write(&state).map_err(|error| {
            Failure::new(
                format!("the upload cannot be remembered: {error}"),
                "make room, or set PANGEA_CONFIG_DIR",
                1,
            )
        })?;
    }
    let sent = send_file(&under, file, path, Cut { part_bytes: state.part_bytes, ..cut }, &there).await;
    let finished = match sent {
        Ok(stored) => match unchanged(file, path, meta) {
            Ok(()) => under.complete(stored).await,
            Err(failure) => {
                under.abort().await;
                Err(failure)
            }
        },
        Err(failure) => Err(failure),
    };
    match (finished, note) {
        (Ok(()), Some(note)) => {
            note.remove();
            Ok(())
        }
        // Nobody would find its parts again.
        (Err(failure), None) => {
            under.abort().await;
            Err(failure)
        }
        (finished, _) => finished,
    }
}

/// Goes on with the upload that is remembered, or begins one. With it, the parts that the endpoint has.
async fn begin(
    carrier: &Arc<Carrier>,
    to: &Remote,
    attributes: &Attributes,
    note: Option<&UploadNote>,
    meta: &Metadata,
    cut: Cut,
) -> Result<(Under, UploadState, Vec<DonePart>), Failure> {
    let modified = meta.modified().ok().map(Moment::from_system).map_or(String::new(), Moment::decimal);
    let under = |upload: &str, checked| Under {
        carrier: carrier.clone(),
        to: to.clone(),
        upload: upload.to_owned(),
        checked,
    };
    let old = note.and_then(UploadNote::read);
    if let Some(old) = old.filter(|old| old.size == cut.size && old.modified == modified) {
        // An upload that is no more is begun again.
        if let Ok(there) = to.place.client.parts(&to.bucket, &to.key, &old.upload).await {
            carrier.reporter.note(&format!("{}: going on, {} parts are there", to.shown(), there.len()));
            return Ok((under(&old.upload, old.checked), old, there));
        }
    }
    let (upload, checked) = begin_new(carrier, to, attributes).await?;
    let under = under(&upload, checked);
    let state = UploadState { upload, size: cut.size, modified, part_bytes: cut.part_bytes, checked };
    Ok((under, state, Vec::new()))
}

/// Begins an upload with a checksum of the whole, or without one where the endpoint does not know it.
async fn begin_new(
    carrier: &Carrier,
    to: &Remote,
    attributes: &Attributes,
) -> Result<(String, bool), Failure> {
    let client = &to.place.client;
    if !carrier.unchecked.load(Ordering::Relaxed) {
        match client.begin_upload(&to.bucket, &to.key, attributes, true).await {
            Ok(upload) => return Ok((upload, true)),
            Err(S3Error::Refused { status: 400 | 501, code, .. }) if !code.contains("Bucket") => {
                carrier.unchecked.store(true, Ordering::Relaxed);
            }
            Err(error) => return Err(failed(to, &error)),
        }
    }
    let begun = client.begin_upload(&to.bucket, &to.key, attributes, false).await;
    Ok((begun.map_err(|error| failed(to, &error))?, false))
}

async fn send_file(
    under: &Under,
    file: &Arc<File>,
    path: &Path,
    cut: Cut,
    there: &[DonePart],
) -> Result<Vec<Stored>, Failure> {
    let mut running = JoinSet::new();
    let mut stored = Vec::new();
    for piece in cut.pieces() {
        let lane = under.carrier.lanes.enter(piece.length as u64).await;
        while let Some(ended) = running.try_join_next() {
            stored.push(joined(ended)?);
        }
        let same = |part: &&DonePart| part.number == piece.number && part.size == piece.length as u64;
        let known = there.iter().find(same).map(|part| part.etag.clone());
        let (under, file, path) = (under.clone(), file.clone(), path.to_owned());
        running.spawn(async move {
            let body = read_piece(&file, &path, piece.offset, piece.length).await?;
            under.send(lane, piece, body, known).await
        });
    }
    while let Some(ended) = running.join_next().await {
        stored.push(joined(ended)?);
    }
    Ok(stored)
}

fn joined<T>(ended: Result<Result<T, Failure>, tokio::task::JoinError>) -> Result<T, Failure> {
    ended.unwrap_or_else(|error| Err(Failure::new(format!("internal error: {error}"), "please report it", 1)))
}

impl Under {
    /// Stores one part, unless the endpoint has these bytes under the tag that is known.
    async fn send(
        self,
        lane: Lane,
        piece: Piece,
        body: Bytes,
        known: Option<String>,
    ) -> Result<Stored, Failure> {
        let (number, size, sum) = (piece.number, body.len() as u64, crc64nvme(&body));
        let meter = self.carrier.reporter.meter();
        let known = known.filter(|etag| Sum::of(Algorithm::Md5, &body) == *etag);
        let etag = match known {
            Some(etag) => {
                meter.moved(body.len());
                etag
            }
            None => {
                let (client, bucket, key) = (&self.to.place.client, &self.to.bucket, &self.to.key);
                let sent =
                    client.upload_part(bucket, key, &self.upload, number, body, self.checked, meter).await;
                sent.map_err(|error| failed(&self.to, &error))?
            }
        };
        drop(lane);
        Ok(Stored { part: DonePart { number, etag, size }, sum })
    }

    async fn complete(&self, mut stored: Vec<Stored>) -> Result<(), Failure> {
        stored.sort_by_key(|stored| stored.part.number);
        let whole = stored.iter().fold(0, |sum, next| combine_crc64nvme(sum, next.sum, next.part.size));
        let parts: Vec<DonePart> = stored.into_iter().map(|stored| stored.part).collect();
        let (client, to, sum) = (&self.to.place.client, &self.to, self.checked.then_some(whole));
        let guard = Guard { absent: self.carrier.guard.absent, etag: None };
        let completed = client.complete_upload(&to.bucket, &to.key, &self.upload, &parts, sum, &guard).await;
        completed.map(drop).map_err(|error| failed(to, &error))
    }

    /// What cannot be thrown away now, `pangea rm --incomplete` can.
    async fn abort(&self) {
        let to = &self.to;
        if let Err(error) = to.place.client.abort_upload(&to.bucket, &to.key, &self.upload).await {
            self.carrier.reporter.note(&format!("{}: its unfinished upload stays: {error}", to.shown()));
        }
    }
}

/// Stores standard input; its bytes. What is read is gone, so a broken upload cannot go on and is thrown away.
pub(crate) async fn stdin(carrier: &Arc<Carrier>, to: &Remote) -> Result<u64, Failure> {
    let attributes = carrier.attributes(&to.key, None);
    let part_bytes = carrier.transfer.part_size.max(STREAM_PART_BYTES_MIN);
    let mut lane = carrier.lanes.enter(part_bytes).await;
    let first = read_stdin(part_bytes).await?;
    if (first.len() as u64) < part_bytes {
        let (client, meter, size) = (&to.place.client, carrier.reporter.meter(), first.len() as u64);
        let put = client.put(&to.bucket, &to.key, first, &attributes, &carrier.guard, meter).await;
        return put.map(|_| size).map_err(|error| failed(to, &error));
    }
    let (upload, checked) = begin_new(carrier, to, &attributes).await?;
    let under = Under { carrier: carrier.clone(), to: to.clone(), upload, checked };
    let sent = async {
        let (mut body, mut offset, mut running, mut stored) = (first, 0, JoinSet::new(), Vec::new());
        for number in 1.. {
            if body.is_empty() {
                break;
            }
            if u64::from(number) > PARTS_MAX {
                return Err(Failure::new("standard input is too long", "name a larger --part-size", 1));
            }
            let piece = Piece { number, offset, length: body.len() };
            offset += body.len() as u64;
            carrier.reporter.expect(body.len() as u64);
            running.spawn(under.clone().send(lane, piece, body, None));
            lane = carrier.lanes.enter(part_bytes).await;
            while let Some(ended) = running.try_join_next() {
                stored.push(joined(ended)?);
            }
            body = read_stdin(part_bytes).await?;
        }
        while let Some(ended) = running.join_next().await {
            stored.push(joined(ended)?);
        }
        under.complete(stored).await.map(|()| offset)
    };
    let sent = sent.await;
    if sent.is_err() {
        under.abort().await;
    }
    sent
}

async fn read_stdin(bytes_max: u64) -> Result<Bytes, Failure> {
    let read = move || {
        let mut buffer = Vec::new();
        std::io::stdin().lock().take(bytes_max).read_to_end(&mut buffer).map(|_| Bytes::from(buffer))
    };
    blocking(read)
        .await
        .map_err(|error| Failure::new(format!("standard input: {error}"), "run the command again", 1))
}
