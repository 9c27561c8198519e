//! The key file: the ring of master keys, sealed, one copy called `keys` on each of several drives.
//!
//! Owns the format, the protectors, and the rule by which copies are written, compared and healed. It never logs and never
//! prints; what it found goes back as values. A ring only grows: old generations open what was sealed under them (audit
//! records, log files), the newest one seals.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `PANGEAKY` |
//! | 8 | 2 | format version, 1 |
//! | 10 | 1 | protector: 0 none, 1 passphrase, 2 key file |
//! | 11 | 1 | zero |
//! | 12 | 16 | cluster id |
//! | 28 | 8 | sequence: rises with every change of the ring or its protector |
//! | 36 | 16 | salt, random for every writing |
//! | 52 | 4 | Argon2id memory in KiB (passphrase; else 0) |
//! | 56 | 4 | Argon2id passes (passphrase; else 0) |
//! | 60 | 4 | Argon2id lanes (passphrase; else 0) |
//! | 64 | 4 | bytes of the body, n |
//! | 68 | n | the ring: in the clear (protector 0), else sealed by `keys::seal_small` with bytes 0..68 as associated data |
//! | 68+n | 32 | BLAKE3 of everything before |
//!
//! The ring: a u32 count, then for each generation, rising: u32 generation, u64 created (ms since 1970), 32 bytes of key.

mod copies;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use pangea_core::codec::{Malformed, Put, Reader};
use pangea_core::id::ClusterId;
use pangea_core::keys::{KEY_BYTES, MasterKey, SecretKey, open_small, seal_small};
use pangea_core::seam::{Entropy, WallMs, random};
use zeroize::Zeroizing;

use crate::config::{Secret, Unseal};

pub(crate) use copies::read_bounded;
pub use copies::{Copies, CopyState, KEY_FILE_NAME, read_copies, write_copies, write_new_file};

const MAGIC: [u8; 8] = *b"PANGEAKY";
/// The format version that is written, and the newest that is read.
pub const FORMAT_VERSION: u16 = 1;
const HEAD_BYTES: usize = 68;
const HASH_BYTES: usize = 32;
/// The most generations of a ring: one rotation a day for more than ten years.
pub const GENERATIONS_MAX: usize = 4096;
/// The largest key file.
pub const FILE_BYTES_MAX: usize = HEAD_BYTES + 32 + 4 + GENERATIONS_MAX * (12 + KEY_BYTES) + HASH_BYTES;
/// Bytes that a key file (the protector's secret) must have at least.
pub const SECRET_FILE_BYTES_MIN: usize = 32;
/// Bytes of it that are read at most.
pub const SECRET_FILE_BYTES_MAX: usize = 1 << 20;
/// OWASP's first choice for Argon2id: 19 MiB, two passes; it must run on the smallest machine that may hold the drives.
const ARGON_MEMORY_KIB: u32 = 19 * 1024;
const ARGON_PASSES: u32 = 2;
const ARGON_LANES: u32 = 1;
/// What a file may ask of this machine: 1 GiB and 64 passes.
const ARGON_MEMORY_KIB_MAX: u32 = 1 << 20;
const ARGON_PASSES_MAX: u32 = 64;
const ARGON_LANES_MAX: u32 = 16;
const PURPOSE_SECRET_FILE: &str = "pangea 2026-11 v1 key file protector";

/// What keeps a stranger who has the drives from the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Protector {
    /// Nothing but the file's mode.
    None = 0,
    /// A passphrase.
    Passphrase = 1,
    /// A file kept elsewhere.
    KeyFile = 2,
}

impl Protector {
    fn from_u8(byte: u8) -> Option<Self> {
        [Self::None, Self::Passphrase, Self::KeyFile].into_iter().find(|p| *p as u8 == byte)
    }

    /// One word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Passphrase => "passphrase",
            Self::KeyFile => "key file",
        }
    }
}

/// The secret behind a protector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unlock {
    /// None is needed.
    Nothing,
    /// A passphrase.
    Passphrase(Secret),
    /// The hash of a key file's bytes.
    KeyFile(SecretKey),
}

impl Unlock {
    /// Reads what the configuration names.
    pub fn read(unseal: &Unseal) -> Result<Self, KeyError> {
        match unseal {
            Unseal::Nothing => Ok(Self::Nothing),
            Unseal::Passphrase(passphrase) => Ok(Self::Passphrase(passphrase.clone())),
            Unseal::KeyFile(path) => copies::read_secret_file(path).map(|bytes| Self::from_secret(&bytes)),
        }
    }

    /// The secret that these bytes of a key file are.
    pub fn from_secret(bytes: &[u8]) -> Self {
        Self::KeyFile(SecretKey::new(blake3::derive_key(PURPOSE_SECRET_FILE, bytes)))
    }

    /// The protector that it opens.
    pub fn protector(&self) -> Protector {
        match self {
            Self::Nothing => Protector::None,
            Self::Passphrase(_) => Protector::Passphrase,
            Self::KeyFile(_) => Protector::KeyFile,
        }
    }
}

/// One master key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Generation {
    /// 1, 2, …
    pub number: u32,
    /// When it was made; for people.
    pub created_ms: WallMs,
    /// The key.
    pub key: MasterKey,
}

/// All master keys of a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ring {
    /// Whose keys.
    pub cluster: ClusterId,
    /// Rises with every change; the copy with the highest one counts.
    pub sequence: u64,
    /// Rising, never empty.
    generations: Vec<Generation>,
}

impl Ring {
    /// A first ring with one key.
    pub fn draw(cluster: ClusterId, now_ms: WallMs, entropy: &dyn Entropy) -> Self {
        let key = MasterKey::new(random(entropy));
        Self { cluster, sequence: 1, generations: vec![Generation { number: 1, created_ms: now_ms, key }] }
    }

    /// The same with a fresh key in front, under the next sequence number; `None` when the ring is full.
    pub fn rotated(&self, now_ms: WallMs, entropy: &dyn Entropy) -> Option<Self> {
        let number = self.current().number.checked_add(1)?;
        let mut next = self.touched();
        next.generations.push(Generation {
            number,
            created_ms: now_ms,
            key: MasterKey::new(random(entropy)),
        });
        (next.generations.len() <= GENERATIONS_MAX).then_some(next)
    }

    /// The same under the next sequence number: for another protector.
    pub fn touched(&self) -> Self {
        Self { sequence: self.sequence + 1, ..self.clone() }
    }

    /// The newest key.
    pub fn current(&self) -> &Generation {
        self.generations.last().expect("a ring is never empty")
    }

    /// The key of a generation.
    pub fn key(&self, generation: u32) -> Option<&MasterKey> {
        self.generations.iter().find(|g| g.number == generation).map(|g| &g.key)
    }

    /// All generations, rising.
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Exact capacity: a growing vector would leave keys behind in freed memory.
        let mut out = Zeroizing::new(Vec::with_capacity(4 + self.generations.len() * (12 + KEY_BYTES)));
        out.put_u32(self.generations.len() as u32);
        for generation in &self.generations {
            out.put_u32(generation.number);
            out.put_u64(generation.created_ms);
            out.put_raw(generation.key.secret().expose());
        }
        out
    }

    fn decode(cluster: ClusterId, sequence: u64, body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body, "key ring");
        let count = r.count(12 + KEY_BYTES)?;
        let mut generations = Vec::with_capacity(count);
        for _ in 0..count {
            let (number, created_ms) = (r.u32()?, r.u64()?);
            generations.push(Generation { number, created_ms, key: MasterKey::new(r.array()?) });
        }
        if generations.is_empty()
            || generations.len() > GENERATIONS_MAX
            || !generations.is_sorted_by(|a, b| a.number < b.number)
        {
            return Err(r.malformed());
        }
        r.finish()?;
        Ok(Self { cluster, sequence, generations })
    }

    /// The bytes of a key file that `unlock` opens.
    pub fn seal(&self, unlock: &Unlock, entropy: &dyn Entropy) -> Result<Vec<u8>, KeyError> {
        let cost = match unlock {
            Unlock::Passphrase(_) => {
                Cost { memory_kib: ARGON_MEMORY_KIB, passes: ARGON_PASSES, lanes: ARGON_LANES }
            }
            Unlock::Nothing | Unlock::KeyFile(_) => Cost::default(),
        };
        let plain = self.encode();
        let body_len = plain.len() + if unlock.protector() == Protector::None { 0 } else { SEAL_OVERHEAD };
        let head = Head {
            protector: unlock.protector(),
            cluster: self.cluster,
            sequence: self.sequence,
            salt: random(entropy),
            cost,
            body_len,
        };
        let mut out = head.encode();
        match protector_key(unlock, &head)? {
            None => out.put_raw(&plain),
            Some(key) => {
                let sealed = seal_small(&key, random(entropy), &out, &plain);
                out.put_raw(&sealed);
            }
        }
        let hash = blake3::hash(&out);
        out.put_raw(hash.as_bytes());
        Ok(out)
    }

    /// Opens a key file.
    pub fn open(bytes: &[u8], unlock: &Unlock) -> Result<Self, KeyError> {
        let head = Head::of(bytes)?;
        let (head_bytes, body) = bytes[..bytes.len() - HASH_BYTES].split_at(HEAD_BYTES);
        let wrong = || KeyError::Locked { needs: head.protector, given: unlock.protector() };
        if head.protector == Protector::None {
            return Self::decode(head.cluster, head.sequence, body).map_err(KeyError::Malformed);
        }
        if head.protector != unlock.protector() {
            return Err(wrong());
        }
        let key = protector_key(unlock, &head)?.ok_or_else(wrong)?;
        let plain = open_small(&key, head_bytes, body).map(Zeroizing::new).map_err(|_| wrong())?;
        Self::decode(head.cluster, head.sequence, &plain).map_err(KeyError::Malformed)
    }
}

/// What a key file says in the clear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// What protects it.
    pub protector: Protector,
    /// Whose keys.
    pub cluster: ClusterId,
    /// See [`Ring::sequence`].
    pub sequence: u64,
    salt: [u8; 16],
    cost: Cost,
    body_len: usize,
}

/// What Argon2id costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

const SEAL_OVERHEAD: usize = pangea_core::keys::SMALL_OVERHEAD_BYTES;

impl Head {
    /// Reads and checks a whole file up to its ring.
    pub fn of(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut r = Reader::new(bytes, "key file");
        if r.array().map_err(KeyError::Malformed)? != MAGIC {
            return Err(KeyError::Malformed(r.malformed()));
        }
        let version = r.u16().map_err(KeyError::Malformed)?;
        if version > FORMAT_VERSION {
            return Err(KeyError::Newer { version });
        }
        let whole = bytes.len().checked_sub(HASH_BYTES).map(|at| bytes.split_at(at));
        let hash_fits = whole.is_some_and(|(rest, hash)| blake3::hash(rest).as_bytes() == hash);
        if version == 0 || !hash_fits {
            return Err(KeyError::Malformed(r.malformed()));
        }
        Self::decode(&mut r).map_err(KeyError::Malformed)
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let protector = Protector::from_u8(r.u8()?).ok_or(r.malformed())?;
        let zero = r.u8()?;
        let head = Self {
            protector,
            cluster: ClusterId(r.array()?),
            sequence: r.u64()?,
            salt: r.array()?,
            cost: Cost { memory_kib: r.u32()?, passes: r.u32()?, lanes: r.u32()? },
            body_len: r.u32()? as usize,
        };
        if zero != 0 || r.rest().len() != head.body_len + HASH_BYTES {
            return Err(r.malformed());
        }
        Ok(head)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + self.body_len + HASH_BYTES);
        out.put_raw(&MAGIC);
        out.put_u16(FORMAT_VERSION);
        out.put_u8(self.protector as u8);
        out.put_u8(0);
        out.put_raw(&self.cluster.0);
        out.put_u64(self.sequence);
        out.put_raw(&self.salt);
        out.put_u32(self.cost.memory_kib);
        out.put_u32(self.cost.passes);
        out.put_u32(self.cost.lanes);
        out.put_u32(u32::try_from(self.body_len).expect("rings are bounded"));
        out
    }
}

/// The key that a protector's secret gives under a file's salt.
fn protector_key(unlock: &Unlock, head: &Head) -> Result<Option<SecretKey>, KeyError> {
    match unlock {
        Unlock::Nothing => Ok(None),
        Unlock::KeyFile(secret) => {
            Ok(Some(SecretKey::new(*blake3::keyed_hash(secret.expose(), &head.salt).as_bytes())))
        }
        Unlock::Passphrase(passphrase) => stretch(passphrase, head).map(Some),
    }
}

fn stretch(passphrase: &Secret, head: &Head) -> Result<SecretKey, KeyError> {
    let Cost { memory_kib, passes, lanes } = head.cost;
    let excessive = Malformed { what: "key file's Argon2 cost" };
    if memory_kib > ARGON_MEMORY_KIB_MAX || passes > ARGON_PASSES_MAX || lanes > ARGON_LANES_MAX {
        return Err(KeyError::Malformed(excessive));
    }
    let params = argon2::Params::new(memory_kib, passes, lanes, Some(KEY_BYTES))
        .map_err(|_| KeyError::Malformed(excessive))?;
    let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    argon
        .hash_password_into(passphrase.expose().as_bytes(), &head.salt, &mut *key)
        .map_err(|_| KeyError::Malformed(excessive))?;
    Ok(SecretKey::new(*key))
}

/// Why the master keys cannot be had.
#[derive(Debug)]
pub enum KeyError {
    /// Not what the format says.
    Malformed(Malformed),
    /// Written by a later program.
    Newer {
        /// Its format version.
        version: u16,
    },
    /// Another secret is needed, or the one given is wrong.
    Locked {
        /// What protects the file.
        needs: Protector,
        /// What was given.
        given: Protector,
    },
    /// No drive has a readable copy.
    NoCopy {
        /// Copies that were found and what is wrong with them.
        found: Vec<String>,
    },
    /// Copies of two clusters.
    TwoClusters {
        /// One copy.
        one: PathBuf,
        /// Another.
        other: PathBuf,
    },
    /// Two copies of one sequence number with different keys.
    Fork {
        /// One copy.
        one: PathBuf,
        /// Another.
        other: PathBuf,
    },
    /// The ring is full.
    RingFull,
    /// The drives have keys that a backup does not know.
    OldBackup,
    /// A key file (the protector's secret) is too short.
    SecretTooShort {
        /// Which.
        path: PathBuf,
    },
    /// A file could not be read or written.
    Io {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Newer { version } => {
                write!(f, "the key file has format version {version}, newer than this program")
            }
            Self::Locked { needs, given: Protector::None } => {
                write!(f, "the master key is sealed by a {} and none was given", needs.name())
            }
            Self::Locked { needs, given } if needs == given => {
                write!(f, "the {} does not open the master key", given.name())
            }
            Self::Locked { needs, given } => {
                write!(f, "the master key is sealed by a {}, not by a {}", needs.name(), given.name())
            }
            Self::NoCopy { found } if found.is_empty() => write!(f, "no drive has a copy of the master key"),
            Self::NoCopy { found } => {
                write!(f, "no copy of the master key is readable ({})", found.join("; "))
            }
            Self::TwoClusters { one, other } => {
                write!(f, "{} and {} hold keys of two clusters", one.display(), other.display())
            }
            Self::Fork { one, other } => {
                write!(
                    f,
                    "{} and {} claim the same sequence with different keys",
                    one.display(),
                    other.display()
                )
            }
            Self::OldBackup => write!(f, "the drives have keys that the backup does not know: it is older"),
            Self::RingFull => write!(f, "the key ring holds as many keys as it can"),
            Self::SecretTooShort { path } => {
                write!(f, "the key file {} has fewer than {SECRET_FILE_BYTES_MIN} bytes", path.display())
            }
            Self::Io { doing, path, source } => write!(f, "{doing} {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl KeyError {
    /// What to do about it, in one line.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Locked { needs: Protector::Passphrase, .. } => {
                "set PANGEA_KEY_PASSPHRASE to the right passphrase"
            }
            Self::Locked { needs: Protector::KeyFile, .. } => "name the right file with --key-file",
            Self::Locked { .. } | Self::NoCopy { .. } | Self::Malformed(_) => {
                "restore the keys from a backup: pangea keys restore FILE DIR..."
            }
            Self::Newer { .. } => "use the newer pangea that wrote it",
            Self::TwoClusters { .. } | Self::Fork { .. } => "name only the drives of one cluster",
            Self::OldBackup => "keep the keys that are there, or use a newer backup",
            Self::RingFull => "start a new cluster and copy the data over",
            Self::SecretTooShort { .. } => "make one: head -c 32 /dev/urandom > FILE",
            Self::Io { .. } => "check that the file exists and that this user may read and write it",
        }
    }
}
