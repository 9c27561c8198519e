//! multipart/form-data, as browsers write it: small fields first, then a file that streams (RFC 7578).
//!
//! Fields are held, within bounds; the file is handed on as it comes. What follows the file is looked at only for a
//! second file and for the end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use s3s::stream::ByteStream;
use s3s::{S3Error, S3Result, StdError, s3_error};

use crate::error::refused;

/// Everything before the file, and everything behind it, each.
const FIELDS_BYTES_MAX: usize = 64 << 10;
const FIELDS_MAX: usize = 100;
const PART_HEAD_BYTES_MAX: usize = 4 << 10;
/// How a second file announces itself, in lower case.
const SECOND_FILE: &[u8] = b"name=\"file\"";
/// RFC 2046: 1 to 70 characters.
const BOUNDARY_CHARS_MAX: usize = 70;

/// A form, read up to its file's first byte.
pub(crate) struct Form<S> {
    /// Names in lower case, values; the file is not among them.
    pub(crate) fields: Vec<(String, String)>,
    /// What the browser called the file.
    pub(crate) file_name: String,
    /// Its bytes.
    pub(crate) file: FileBytes<S>,
}

impl<S> Form<S> {
    /// A field's value.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn malformed(what: &'static str) -> S3Error {
    s3_error!(MalformedPOSTRequest, "The form is not well-formed multipart/form-data: {what}.")
}

/// The boundary in a Content-Type.
pub(crate) fn boundary(content_type: &str) -> S3Result<String> {
    let none = || malformed("its Content-Type names no boundary of 1 to 70 characters");
    let mut values = content_type.split(';').skip(1).filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    });
    let (Some(value), None) = (values.next(), values.next()) else { return Err(none()) };
    let printable = value.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if printable && (1..=BOUNDARY_CHARS_MAX).contains(&value.len()) { Ok(value) } else { Err(none()) }
}

/// Reads a form up to its file.
pub(crate) async fn read<S>(mut body: S, boundary: &str) -> S3Result<Form<S>>
where
    S: Stream<Item = Result<Bytes, StdError>> + Unpin,
{
    // A delimiter is the line end before it, too; the first may stand at the very start.
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let mut held = Held::new(b"\r\n");
    let mut fields: Vec<(String, String)> = Vec::new();
    skip_to(&mut body, &mut held, &delimiter, true).await?;
    loop {
        let head = part_head(&mut body, &mut held).await?;
        if head.name == "file" {
            let file = FileBytes { body, held, delimiter, ended: false, state: State::File };
            let file_name = head.file_name.unwrap_or_default();
            return Ok(Form { fields, file_name, file });
        }
        let value = skip_to(&mut body, &mut held, &delimiter, false).await?;
        let value = String::from_utf8(value.to_vec()).map_err(|_| malformed("a field is not UTF-8"))?;
        if fields.iter().any(|(known, _)| *known == head.name) {
            return Err(s3_error!(InvalidArgument, "The form has the field '{}' twice.", head.name));
        }
        fields.push((head.name, value));
        let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        if fields.len() > FIELDS_MAX || bytes > FIELDS_BYTES_MAX {
            return Err(s3_error!(
                MaxPostPreDataLengthExceededError,
                "The fields before the file may have 64 KiB in 100 fields."
            ));
        }
    }
}

/// Bytes that came and were not handed on. However small the pieces are in which they come, each byte is looked at once.
struct Held {
    bytes: BytesMut,
    /// So many were searched already for what is wanted now, in vain.
    scanned: usize,
}

impl Held {
    fn new(bytes: &[u8]) -> Self {
        Self { bytes: BytesMut::from(bytes), scanned: 0 }
    }

    /// Where `wanted` begins. Until something is taken, it must be the same every time.
    fn find(&mut self, wanted: &[u8]) -> Option<usize> {
        // The last bytes that were searched may be the start of it.
        let from = self.scanned.saturating_sub(wanted.len().saturating_sub(1));
        let found = find(self.bytes.get(from..)?, wanted);
        self.scanned = self.bytes.len();
        found.map(|at| from + at)
    }

    /// The first `count` bytes, which must be there.
    fn take(&mut self, count: usize) -> BytesMut {
        self.scanned = 0;
        self.bytes.split_to(count)
    }
}

/// Reads up to and with the next delimiter; what stood before it.
async fn skip_to<S>(body: &mut S, held: &mut Held, delimiter: &[u8], first: bool) -> S3Result<BytesMut>
where
    S: Stream<Item = Result<Bytes, StdError>> + Unpin,
{
    loop {
        if let Some(at) = held.find(delimiter) {
            if first && at != 0 {
                return Err(malformed("it does not begin with its boundary"));
            }
            let before = held.take(at);
            held.take(delimiter.len());
            return Ok(before);
        }
        more(body, held, FIELDS_BYTES_MAX).await?;
    }
}

/// Reads on; refuses where so much is held already.
async fn more<S>(body: &mut S, held: &mut Held, held_max: usize) -> S3Result<()>
where
    S: Stream<Item = Result<Bytes, StdError>> + Unpin,
{
    if held.bytes.len() > held_max {
        return Err(malformed("a part is too long, or its boundary is missing"));
    }
    match body.next().await {
        Some(Ok(bytes)) => {
            held.bytes.extend_from_slice(&bytes);
            Ok(())
        }
        // Why is recorded with the request where it matters (too slow, too short).
        Some(Err(_)) | None => Err(s3_error!(IncompleteBody, "The form ended before its file.")),
    }
}

struct PartHead {
    name: String,
    file_name: Option<String>,
}

/// Reads a part's head: the rest of the delimiter's line, header lines, an empty line.
async fn part_head<S>(body: &mut S, held: &mut Held) -> S3Result<PartHead>
where
    S: Stream<Item = Result<Bytes, StdError>> + Unpin,
{
    let end = loop {
        if held.bytes.starts_with(b"--") {
            return Err(s3_error!(InvalidArgument, "POST requires exactly one file upload per request."));
        }
        match held.find(b"\r\n\r\n") {
            Some(end) => break end,
            None => more(body, held, PART_HEAD_BYTES_MAX).await?,
        }
    };
    let head = held.take(end + 4);
    if end > PART_HEAD_BYTES_MAX {
        return Err(malformed("a part's headers are too long"));
    }
    parse_head(&head).ok_or_else(|| malformed("a part's headers cannot be read"))
}

fn parse_head(bytes: &[u8]) -> Option<PartHead> {
    let text = std::str::from_utf8(bytes).ok()?.strip_prefix("\r\n")?;
    let mut head = PartHead { name: String::new(), file_name: None };
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        if name.trim().eq_ignore_ascii_case("content-disposition") {
            let mut parameters = value.trim().strip_prefix("form-data")?;
            while let Some((name, value, rest)) = parameter(parameters) {
                match name.to_ascii_lowercase().as_str() {
                    "name" => head.name = value.to_ascii_lowercase(),
                    "filename" => head.file_name = Some(value),
                    _ => {}
                }
                parameters = rest;
            }
        }
    }
    (!head.name.is_empty()).then_some(head)
}

/// The next `; name="value"`; browsers write a quote inside as `%22`, and some tools as `\"`.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start().strip_prefix(';')?.trim_start();
    let (name, rest) = text.split_once('=')?;
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find(';').unwrap_or(rest.len());
        return Some((name, rest[..end].trim().to_owned(), &rest[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((name, value, &quoted[at + 1..])),
            '\\' if quoted[at + 1..].starts_with('"') => {
                characters.next();
                value.push('"');
            }
            c => value.push(c),
        }
    }
    None
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Before the delimiter that ends the file.
    File,
    /// Behind it, before the end of the form.
    Behind,
}

/// The bytes of a form's file.
pub(crate) struct FileBytes<S> {
    body: S,
    held: Held,
    delimiter: Vec<u8>,
    ended: bool,
    state: State,
}

impl<S> FileBytes<S> {
    /// Bytes of the file that are at hand; `None`: more must be read first.
    fn at_hand(&mut self) -> Option<Bytes> {
        if let Some(at) = self.held.find(&self.delimiter) {
            let bytes = self.held.take(at).freeze();
            self.held.take(self.delimiter.len());
            self.state = State::Behind;
            return Some(bytes);
        }
        // The last bytes may be the start of a delimiter.
        let sure = self.held.bytes.len().saturating_sub(self.delimiter.len());
        (sure > 0).then(|| self.held.take(sure).freeze())
    }

    /// Whether the end of the form is there; a second file is refused.
    fn is_over(&mut self) -> S3Result<bool> {
        let last = [&self.delimiter[..], b"--"].concat();
        let Held { bytes, scanned } = &mut self.held;
        if bytes.starts_with(b"--") {
            return Ok(true);
        }
        let fresh = |wanted: &[u8]| scanned.saturating_sub(wanted.len() - 1);
        let text = bytes[fresh(SECOND_FILE)..].to_ascii_lowercase();
        if find(&text, SECOND_FILE).is_some() {
            return Err(s3_error!(InvalidArgument, "POST requires exactly one file upload per request."));
        }
        if bytes.len() > FIELDS_BYTES_MAX {
            return Err(malformed("too much follows the file"));
        }
        let is_over = find(&bytes[fresh(&last)..], &last).is_some();
        *scanned = bytes.len();
        Ok(is_over)
    }
}

impl<S> Stream for FileBytes<S>
where
    S: Stream<Item = Result<Bytes, StdError>> + Unpin,
{
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            if this.state == State::File
                && let Some(bytes) = this.at_hand()
            {
                if bytes.is_empty() {
                    continue;
                }
                return Poll::Ready(Some(Ok(bytes)));
            }
            if this.state == State::Behind {
                match this.is_over() {
                    Ok(false) => {}
                    // What may follow the form is read with the connection, not here.
                    Ok(true) => {
                        this.ended = true;
                        continue;
                    }
                    Err(error) => {
                        this.ended = true;
                        return Poll::Ready(Some(Err(refused(error))));
                    }
                }
            }
            match Pin::new(&mut this.body).poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => this.held.bytes.extend_from_slice(&bytes),
                Poll::Ready(Some(Err(error))) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    this.ended = true;
                    let error = s3_error!(IncompleteBody, "The form ended without its last boundary.");
                    return Poll::Ready(Some(Err(refused(error))));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// How long a form's file is shows at its end only.
impl<S> ByteStream for FileBytes<S> where S: Stream<Item = Result<Bytes, StdError>> + Unpin {}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| *byte == first) {
        let at = from + at;
        if bytes.get(at..).is_some_and(|rest| rest.starts_with(wanted)) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
