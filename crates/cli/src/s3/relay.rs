//! Relays: an object to an object. Within one endpoint it copies by itself; between two, bytes pass through here in parts.

use std::sync::Arc;

use bytes::Bytes;
use pangea_s3client::{
    Algorithm, Attributes, DonePart, Guard, Head, Listed, S3Error, Sum, combine_crc64nvme, crc64nvme,
};
use tokio::task::JoinSet;

use crate::Failure;
use crate::s3::advice;
use crate::s3::carry::Carrier;
use crate::s3::name::Remote;
use crate::s3::parts::{Cut, Lane, Piece};

/// What CopyObject copies at most, by S3's rule.
const COPY_BYTES_MAX: u64 = 5 << 30;
/// Parts of larger copies, which never come here.
const COPY_PART_BYTES: u64 = 512 << 20;

fn failed(name: &Remote, error: &S3Error) -> Failure {
    advice::of(error, &name.place.alias, &name.shown())
}

/// Copies; the object's bytes.
pub(crate) async fn copy(
    carrier: &Arc<Carrier>,
    from: &Remote,
    version: Option<&str>,
    listed: Option<&Listed>,
    to: &Remote,
) -> Result<u64, Failure> {
    let same_endpoint = Arc::ptr_eq(&from.place, &to.place)
        || from.place.client.options().endpoint == to.place.client.options().endpoint;
    let known = listed.map(|listed| listed.size).filter(|size| *size <= COPY_BYTES_MAX);
    let replaces = carrier.replaces_attributes();
    if let (true, false, Some(size)) = (same_endpoint, replaces, known) {
        let etag = listed.map(|listed| listed.etag.as_str());
        at_once(carrier, (from, version, etag), to, None).await?;
        return Ok(size);
    }
    let head = from.place.client.head_with_proof(&from.bucket, &from.key, version).await;
    let head = head.map_err(|error| failed(from, &error))?;
    let attributes = merged(carrier, &head);
    let size = head.size;
    if listed.is_none() && !same_endpoint {
        carrier.reporter.expect(size);
    }
    match (same_endpoint, size <= COPY_BYTES_MAX) {
        (true, true) => {
            at_once(carrier, (from, version, Some(&head.etag)), to, replaces.then_some(&attributes)).await?
        }
        (true, false) => Relay::new(carrier, from, version, to, head, attributes).in_parts(true).await?,
        (false, _) => Relay::new(carrier, from, version, to, head, attributes).through().await?,
    }
    Ok(size)
}

async fn at_once(
    carrier: &Carrier,
    (from, version, etag): (&Remote, Option<&str>, Option<&str>),
    to: &Remote,
    attributes: Option<&Attributes>,
) -> Result<(), Failure> {
    let etag = etag.filter(|etag| !etag.is_empty());
    let _lane = carrier.lanes.enter(0).await;
    let source = (from.bucket.as_str(), from.key.as_str(), version);
    let copied = to.place.client.copy(source, etag, (&to.bucket, &to.key), attributes, &carrier.guard).await;
    copied.map_err(|error| match error.code() {
        Some("NoSuchKey" | "NoSuchVersion") => failed(from, &error),
        Some("PreconditionFailed") if !carrier.guard.absent => failed(from, &error),
        _ => failed(to, &error),
    })
}

/// The source's, with what the command line says instead.
fn merged(carrier: &Carrier, head: &Head) -> Attributes {
    let options = &carrier.transfer;
    let mut attributes = head.attributes.clone();
    // How it was stored there is no matter of here.
    attributes.class = options.storage_class.clone();
    if let Some(kind) = &options.content_type {
        attributes.content_type = Some(kind.clone());
    }
    if let Some(cache) = &options.cache_control {
        attributes.headers.retain(|(name, _)| name != "cache-control");
        attributes.headers.push(("cache-control".into(), cache.clone()));
    }
    for (name, value) in &options.meta {
        attributes.meta.retain(|(known, _)| known != name);
        attributes.meta.push((name.clone(), value.clone()));
    }
    attributes
}

/// A copy of many requests.
#[derive(Clone)]
struct Relay {
    carrier: Arc<Carrier>,
    from: Remote,
    version: Option<String>,
    to: Remote,
    head: Arc<Head>,
    attributes: Arc<Attributes>,
}

impl Relay {
    fn new(
        carrier: &Arc<Carrier>,
        from: &Remote,
        version: Option<&str>,
        to: &Remote,
        head: Head,
        attributes: Attributes,
    ) -> Self {
        Self {
            carrier: carrier.clone(),
            from: from.clone(),
            version: version.map(str::to_owned),
            to: to.clone(),
            head: Arc::new(head),
            attributes: Arc::new(attributes),
        }
    }

    async fn through(&self) -> Result<(), Failure> {
        let size = self.head.size;
        if size > self.carrier.transfer.part_size {
            return self.in_parts(false).await;
        }
        let _lane = self.carrier.lanes.enter(size).await;
        let body = match usize::try_from(size) {
            Ok(0) | Err(_) => Bytes::new(),
            Ok(length) => self.read(0, length).await?,
        };
        let mut sum = self.head.proofs.first().map(|proof| Sum::new(proof.algorithm));
        if let Some(sum) = &mut sum {
            sum.update(&body);
        }
        self.check(sum.map(Sum::finish))?;
        let (client, meter, guard) =
            (&self.to.place.client, self.carrier.reporter.meter(), &self.carrier.guard);
        let put = client.put(&self.to.bucket, &self.to.key, body, &self.attributes, guard, meter).await;
        put.map(drop).map_err(|error| failed(&self.to, &error))
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, Failure> {
        let from = &self.from;
        let guard =
            Guard { absent: false, etag: Some(self.head.etag.clone()).filter(|etag| !etag.is_empty()) };
        let (client, meter) = (&from.place.client, pangea_s3client::Meter::silent());
        let range = (offset, length);
        let got =
            client.get_range(&from.bucket, &from.key, self.version.as_deref(), &guard, range, meter).await;
        got.map_err(|error| failed(from, &error))
    }

    fn check(&self, got: Option<String>) -> Result<(), Failure> {
        match (got, self.head.proofs.first()) {
            (Some(got), Some(proof)) if got != proof.value => {
                let (check, wanted) = (proof.algorithm.name().to_owned(), proof.value.clone());
                Err(failed(&self.from, &S3Error::Corrupt { check, wanted, got }))
            }
            _ => Ok(()),
        }
    }

    /// In parts, which the endpoint copies by itself or which pass through here.
    async fn in_parts(&self, inside: bool) -> Result<(), Failure> {
        let (client, to) = (&self.to.place.client, &self.to);
        let upload = client.begin_upload(&to.bucket, &to.key, &self.attributes, false).await;
        let upload = upload.map_err(|error| failed(to, &error))?;
        let copied = self.all_parts(&upload, inside).await;
        if copied.is_err() {
            // The first error is the one to tell; what stays, `pangea rm --incomplete` removes.
            let _ = client.abort_upload(&to.bucket, &to.key, &upload).await;
        }
        copied
    }

    async fn all_parts(&self, upload: &str, inside: bool) -> Result<(), Failure> {
        let wanted = if inside { COPY_PART_BYTES } else { self.carrier.transfer.part_size };
        let mut running = JoinSet::new();
        let mut parts: Vec<(DonePart, u64)> = Vec::new();
        for piece in Cut::new(self.head.size, wanted).pieces() {
            let lane = self.carrier.lanes.enter(if inside { 0 } else { piece.length as u64 }).await;
            while let Some(ended) = running.try_join_next() {
                parts.push(joined(ended)?);
            }
            running.spawn(self.clone().part(upload.to_owned(), piece, inside, lane));
        }
        while let Some(ended) = running.join_next().await {
            parts.push(joined(ended)?);
        }
        parts.sort_by_key(|(part, _)| part.number);
        let sum = parts.iter().fold(0, |sum, (part, next)| combine_crc64nvme(sum, *next, part.size));
        let proof =
            self.head.proofs.first().filter(|proof| !inside && proof.algorithm == Algorithm::Crc64Nvme);
        self.check(proof.map(|_| pangea_s3client::crc64nvme_text(sum)))?;
        let parts: Vec<DonePart> = parts.into_iter().map(|(part, _)| part).collect();
        let (to, guard) = (&self.to, &self.carrier.guard);
        let completed =
            to.place.client.complete_upload(&to.bucket, &to.key, upload, &parts, None, guard).await;
        completed.map(drop).map_err(|error| failed(to, &error))
    }

    async fn part(
        self,
        upload: String,
        piece: Piece,
        inside: bool,
        lane: Lane,
    ) -> Result<(DonePart, u64), Failure> {
        let (to, number, size) = (&self.to, piece.number, piece.length as u64);
        let client = &to.place.client;
        let (etag, sum) = if inside {
            let from = (self.from.bucket.as_str(), self.from.key.as_str(), self.version.as_deref());
            let range = (piece.offset, piece.offset + size - 1);
            let target = (to.bucket.as_str(), to.key.as_str());
            (client.copy_part(from, &self.head.etag, range, target, &upload, number).await, 0)
        } else {
            let body = self.read(piece.offset, piece.length).await?;
            let (sum, meter) = (crc64nvme(&body), self.carrier.reporter.meter());
            (client.upload_part(&to.bucket, &to.key, &upload, number, body, false, meter).await, sum)
        };
        drop(lane);
        Ok((DonePart { number, etag: etag.map_err(|error| failed(to, &error))?, size }, sum))
    }
}

fn joined<T>(ended: Result<Result<T, Failure>, tokio::task::JoinError>) -> Result<T, Failure> {
    ended.unwrap_or_else(|error| Err(Failure::new(format!("internal error: {error}"), "please report it", 1)))
}
