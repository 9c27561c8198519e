//! One stripe, in and out: drives core's put and get machines over the transport.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use pangea_core::ces::{
    OpenChunk, OpenError, SealedChunk, ShardPieces, open_range_into, pieces_of, rebuild, segments_for,
};
use pangea_core::chunk::Shape;
use pangea_core::id::{ChunkId, ShardId};
use pangea_core::keys::DataKey;
use pangea_core::layout::Slot;
use pangea_core::machine::get::{self, Get, Ready};
use pangea_core::machine::put::{self, End, Put};
use pangea_core::manifest::ChunkEntry;
use pangea_core::meta::TodoRow;
use pangea_core::place::Placement;
use pangea_core::wire::Fault;

use crate::buffers::User;
use crate::client::Client;
use crate::door::ClientError;
use crate::item::ItemKey;
use crate::packer::NO_KEY;
use crate::runtime::{Task, compute};

/// How often a stripe is read that an older layout placed, before it counts as unreadable.
const READ_TRIES_MOVING: u32 = 3;

/// A stripe that was asked for, with what is needed to find and open it.
#[derive(Clone)]
pub(crate) struct Stripe {
    pub(crate) chunk: ChunkId,
    pub(crate) entry: ChunkEntry,
    pub(crate) opening: Opening,
}

/// How a range of a stripe is opened and what it gives.
#[derive(Clone)]
pub(crate) enum Opening {
    /// By the tags of its segments: plaintext.
    Segments(Arc<DataKey>),
    /// A pack, whose range is one item: the item's plaintext.
    Item(Arc<ItemKey>),
    /// A pack, whose range holds these items, each by where it starts in the range and its length: the range as it is
    /// stored, once every item in it was opened.
    Items(Arc<Vec<(Range<usize>, ItemKey)>>),
}

impl Opening {
    fn open(
        &self,
        buffers: User,
        chunk: ChunkId,
        shape: &Shape,
        pieces: &[(u32, &[u8])],
        range: Range<u32>,
    ) -> Result<Bytes, OpenError> {
        let key = if let Self::Segments(key) = self { key } else { &NO_KEY };
        let job = OpenChunk { blob: chunk.blob, chunk: chunk.chunk, shape, key };
        let payload = pieces.len() * shape.piece_bytes();
        let bytes = buffers.with_plain(payload, |buffer| open_range_into(&job, pieces, range, buffer))?;
        match self {
            Self::Segments(_) => Ok(bytes),
            Self::Item(item) => item.open(&bytes),
            Self::Items(items) => {
                for (at, item) in items.iter() {
                    item.open(bytes.get(at.clone()).ok_or(OpenError::Missing { segment: 0 })?)?;
                }
                Ok(bytes)
            }
        }
    }
}

/// Pieces that were read: shard index, where from, the first piece, the bytes.
struct Read {
    index: u8,
    slot: Slot,
    first: u8,
    bytes: Bytes,
}

/// A read's answer: shard index, who was asked, the first piece and the bytes.
type Answered = (u8, Slot, Result<(u8, Bytes), Fault>);

impl Client {
    /// Stores a sealed chunk; gives the todo if it is acknowledged but not whole.
    pub(crate) async fn put_stripe(
        &self,
        sealed: SealedChunk,
        placement: &Placement,
    ) -> Result<Option<TodoRow>, ClientError> {
        let mut machine = Put::new(sealed.shape.code, placement.clone(), |slot| self.is_present(slot));
        let mut sends = FuturesUnordered::new();
        let mut straggled: Option<Task> = None;
        let mut full = false;
        loop {
            while let Some(action) = machine.poll_action() {
                match action {
                    put::Action::Send { index, slot } => {
                        let (header, data) = (
                            sealed.headers[usize::from(index)].clone(),
                            sealed.shards[usize::from(index)].clone(),
                        );
                        sends.push(async move { (index, slot, self.store_shard(slot, header, data).await) });
                    }
                    put::Action::Quorum => {
                        let inner = &self.inner;
                        let patience_us = u64::from(inner.options.straggler_ms) * 1000;
                        straggled =
                            Some(inner.parts.runtime.sleep_until(inner.parts.clock.mono_us() + patience_us));
                    }
                }
            }
            match machine.end() {
                Some(End::Stored { missing, stand_ins }) => return Ok(self.todo(missing, &stand_ins)),
                Some(End::Failed { .. }) if full => return Err(ClientError::Full),
                Some(End::Failed { stored, quorum }) => {
                    let why = format!("{stored} of the {quorum} shards that a write needs were stored");
                    return Err(ClientError::Unavailable { why });
                }
                None => {}
            }
            let answered = match &mut straggled {
                None => sends.next().await,
                Some(timer) => match select(sends.next(), timer).await {
                    Either::Left((answered, _)) => answered,
                    Either::Right(((), _)) => {
                        straggled = None;
                        machine.handle(put::Event::Straggled);
                        continue;
                    }
                },
            };
            let Some((index, slot, stored)) = answered else { continue };
            full |= stored == Err(Fault::Full);
            machine.handle(match stored {
                Ok(()) => put::Event::Stored { index, slot },
                Err(_) => put::Event::Refused { index, slot },
            });
        }
    }

    fn todo(&self, missing: Vec<u8>, stand_ins: &[(u8, Slot)]) -> Option<TodoRow> {
        if missing.is_empty() && stand_ins.is_empty() {
            return None;
        }
        let drive = |slot: Slot| self.inner.layouts.drive(slot).map(|(_, drive)| drive);
        let stand_ins = stand_ins.iter().filter_map(|(index, slot)| Some((*index, drive(*slot)?))).collect();
        Some(TodoRow { missing, stand_ins, since_ms: self.inner.now_ms() })
    }

    /// A range of a chunk's plaintext.
    pub(crate) async fn get_range(&self, stripe: Stripe, range: Range<u32>) -> Result<Bytes, ClientError> {
        let mut tries = 0;
        loop {
            let read = self.try_range(stripe.clone(), range.clone()).await;
            tries += 1;
            // A shard may have moved on just before it was asked for where it came from.
            let again = tries < READ_TRIES_MOVING && self.is_moving(&stripe);
            match read {
                Err(ClientError::Unreadable { .. }) if again => {}
                read => return read,
            }
        }
    }

    fn is_moving(&self, stripe: &Stripe) -> bool {
        let entry = &stripe.entry;
        let layouts = &self.inner.layouts;
        let placement = layouts.placement(entry.layout_epoch, entry.shape.code, stripe.chunk, entry.salt);
        placement.is_some_and(|placement| placement.is_moving())
    }

    async fn try_range(&self, stripe: Stripe, range: Range<u32>) -> Result<Bytes, ClientError> {
        let shape = stripe.entry.shape;
        let wanted = segments_for(&shape, range.clone());
        let placement = self
            .inner
            .layouts
            .placement(stripe.entry.layout_epoch, shape.code, stripe.chunk, stripe.entry.salt)
            .ok_or(ClientError::Unavailable { why: "the layout has no drives".into() })?;
        let asked = wanted.iter().map(|pieces| (pieces.index, pieces.pieces.clone())).collect();
        let mut machine = Get::new(shape.code, asked, |index| placement.candidates(index).collect());
        let mut reads = FuturesUnordered::new();
        let mut have: Vec<Read> = vec![];
        let mut hedge = self.hedge_timer();
        loop {
            while let Some(action) = machine.poll_action() {
                match action {
                    get::Action::Read { index, slot, pieces } => {
                        reads.push(self.read_for(&stripe, index, slot, pieces))
                    }
                    get::Action::Check { index, slot } => {
                        let good = self.is_as_sealed(&stripe, &have, index, slot).await;
                        if !good {
                            have.retain(|read| read.index != index);
                        }
                        machine.handle(get::Event::Checked { index, good });
                    }
                }
            }
            let from = match machine.ready() {
                Some(Ready::Open) => None,
                Some(Ready::Decode { from }) => Some(from),
                Some(Ready::Unreadable { found }) => {
                    self.report(&stripe, &placement, machine.reports());
                    return Err(ClientError::Unreadable {
                        chunk: stripe.chunk,
                        found,
                        needed: shape.code.k(),
                    });
                }
                None => {
                    match next_or_late(&mut reads, &mut hedge).await {
                        None => machine.handle(get::Event::Slow),
                        Some((index, slot, Ok((first, bytes)))) => {
                            have.retain(|read| read.index != index);
                            have.push(Read { index, slot, first, bytes });
                            machine.handle(get::Event::Got { index });
                        }
                        Some((index, slot, Err(fault))) => {
                            machine.handle(get::Event::Failed { index, slot, fault });
                        }
                    }
                    continue;
                }
            };
            if let Some(plain) = self.open(&stripe, &wanted, &have, from, range.clone()).await? {
                self.report(&stripe, &placement, machine.reports());
                return Ok(plain);
            }
            if machine.is_exonerated() {
                return Err(ClientError::Damaged { what: format!("chunk {} does not open", stripe.chunk) });
            }
            machine.handle(get::Event::BadTag);
        }
    }

    async fn read_for(&self, stripe: &Stripe, index: u8, slot: Slot, pieces: Range<u8>) -> Answered {
        let bytes = pieces.len() * stripe.entry.shape.piece_bytes();
        let first = pieces.start;
        let read = self.read_shard(slot, ShardId { chunk: stripe.chunk, index }, pieces).await;
        let whole =
            read.and_then(|read| if read.len() == bytes { Ok((first, read)) } else { Err(Fault::Malformed) });
        (index, slot, whole)
    }

    fn hedge_timer(&self) -> Option<Task> {
        let inner = &self.inner;
        let at = inner.parts.clock.mono_us() + inner.read_latency.hedge_us();
        Some(inner.parts.runtime.sleep_until(at))
    }

    /// Opens the range from what was read, decoding first if `from` says from which shards; `None`: a tag does not verify.
    async fn open(
        &self,
        stripe: &Stripe,
        wanted: &[ShardPieces],
        have: &[Read],
        from: Option<Vec<u8>>,
        range: Range<u32>,
    ) -> Result<Option<Bytes>, ClientError> {
        let have: Vec<(u8, u8, Bytes)> =
            have.iter().map(|read| (read.index, read.first, read.bytes.clone())).collect();
        let (chunk, shape, opening, wanted) =
            (stripe.chunk, stripe.entry.shape, stripe.opening.clone(), wanted.to_vec());
        let buffers = self.inner.buffers.user();
        let job = move || {
            let decoded = match from {
                Some(from) => decode(&shape, &wanted, &have, &from)?,
                None => vec![],
            };
            let direct = have.iter().filter(|(index, ..)| !decoded.iter().any(|(i, ..)| i == index));
            let pieces: Vec<(u32, &[u8])> = direct
                .chain(&decoded)
                .filter(|(index, ..)| *index < shape.code.k())
                .flat_map(|(index, first, bytes)| pieces_of(&shape, *index, *first, bytes))
                .collect();
            opening.open(buffers, chunk, &shape, &pieces, range).map_err(Some)
        };
        match compute(&*self.inner.parts.runtime, job).await {
            Some(Ok(plain)) => Ok(Some(plain)),
            Some(Err(Some(OpenError::BadTag { .. }))) => Ok(None),
            Some(Err(error)) => Err(ClientError::Damaged { what: format!("chunk {chunk}: {error:?}") }),
            None => Err(ClientError::Unavailable { why: "this node is stopping".into() }),
        }
    }

    /// Whether the bytes that a shard gave are what its header says.
    async fn is_as_sealed(&self, stripe: &Stripe, have: &[Read], index: u8, slot: Slot) -> bool {
        let Some(read) = have.iter().find(|read| read.index == index && read.slot == slot) else {
            return false;
        };
        let Ok(header) = self.shard_header(slot, ShardId { chunk: stripe.chunk, index }).await else {
            return false;
        };
        header.shape == stripe.entry.shape && header.first_bad_piece(read.first, &read.bytes).is_none()
    }

    /// Queues repair for what was missing or bad. A bad shard is dropped by the repair, once it has found enough good ones:
    /// until then even a damaged shard may be the best there is.
    fn report(&self, stripe: &Stripe, placement: &Placement, reports: &[(u8, Slot, Fault)]) {
        let moving = placement.is_moving() || self.is_moving(stripe);
        let home = |index: u8| placement.shards().get(usize::from(index)).copied();
        let is_news = |(index, slot, fault): &&(u8, Slot, Fault)| match fault {
            Fault::Corrupt | Fault::Conflict => true,
            // What an older layout placed may not have come home yet: that is the rebalancing's to see.
            Fault::Missing => !moving && home(*index) == Some(*slot),
            _ => false,
        };
        let mut missing: Vec<u8> = reports.iter().filter(is_news).map(|(index, ..)| *index).collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return;
        }
        let (client, chunk) = (self.clone(), stripe.chunk);
        tracing::warn!(%chunk, ?missing, "shards are missing or bad; repair is queued");
        let todo = TodoRow { missing, stand_ins: vec![], since_ms: self.inner.now_ms() };
        let queue = async move {
            if let Err(error) = client.command(pangea_core::meta::Command::AddTodo { chunk, todo }).await {
                tracing::warn!(%chunk, %error, "repair could not be queued; scrub will find it");
            }
        };
        self.inner.parts.runtime.spawn("read-repair", Box::pin(queue));
    }
}

/// The next answer; `None`: the hedge timer rang first, which it does once.
async fn next_or_late<F: Future<Output = Answered>>(
    reads: &mut FuturesUnordered<F>,
    hedge: &mut Option<Task>,
) -> Option<Answered> {
    let Some(timer) = hedge else { return reads.next().await };
    match select(reads.next(), timer).await {
        Either::Left((answered, _)) => answered,
        Either::Right(((), _)) => {
            *hedge = None;
            None
        }
    }
}

/// Decodes the wanted pieces that were not read: index, first piece, bytes.
fn decode(
    shape: &Shape,
    wanted: &[ShardPieces],
    have: &[(u8, u8, Bytes)],
    from: &[u8],
) -> Result<Vec<(u8, u8, Bytes)>, Option<OpenError>> {
    let start = wanted.iter().map(|w| w.pieces.start).min().unwrap_or(0);
    let end = wanted.iter().map(|w| w.pieces.end).max().unwrap_or(0);
    let size = shape.piece_bytes();
    let column = |(index, first, bytes): &(u8, u8, Bytes)| {
        let at = usize::from(start.checked_sub(*first)?) * size;
        Some((*index, bytes.slice(at..at + usize::from(end - start) * size)))
    };
    let present: Vec<(u8, Bytes)> =
        have.iter().filter(|(index, ..)| from.contains(index)).filter_map(column).collect();
    let present: Vec<(u8, &[u8])> = present.iter().map(|(index, bytes)| (*index, &bytes[..])).collect();
    let lost: Vec<u8> = wanted.iter().map(|w| w.index).filter(|index| !from.contains(index)).collect();
    let rebuilt = rebuild(shape, start..end, &present, &lost).map_err(|_| None)?;
    Ok(rebuilt.into_iter().map(|(index, bytes)| (index, start, Bytes::from(bytes))).collect())
}
