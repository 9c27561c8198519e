//! The operator token: configured, or made at every start and kept where only the server's user can read it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pangea_core::seam::{Entropy, random};

use crate::config::Secret;
use crate::keyfile::{KeyError, write_new_file};

/// The file on a drive that holds a made token.
pub const TOKEN_FILE_NAME: &str = "admin.token";
const TOKEN_NEW_NAME: &str = "admin.token.new";

/// Where a made token may lie now, what is preferred first: drives come and go, and one may be mounted and take nothing.
pub type Homes = Box<dyn Fn() -> Vec<PathBuf> + Send + Sync>;

/// See the module. Compared by hash, so that the time tells nothing.
pub struct Token {
    state: Mutex<State>,
    homes: Option<Homes>,
}

struct State {
    hash: blake3::Hash,
    file: Option<PathBuf>,
}

impl Token {
    /// The token that the configuration gave.
    pub fn configured(token: &Secret) -> Self {
        let state = State { hash: blake3::hash(token.expose().as_bytes()), file: None };
        Self { state: Mutex::new(state), homes: None }
    }

    /// Draws a token and keeps it in the first of these directories that takes it.
    pub fn draw(homes: Homes, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let state = State::draw_anywhere(&homes(), entropy)?;
        Ok(Self { state: Mutex::new(state), homes: Some(homes) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is it.
    pub fn accepts(&self, shown: Option<&str>) -> bool {
        // `blake3::Hash` compares in constant time.
        shown.is_some_and(|shown| blake3::hash(shown.as_bytes()) == self.state().hash)
    }

    /// Whether it was configured: then everything needs it.
    pub fn is_configured(&self) -> bool {
        self.homes.is_none()
    }

    /// Where a made token lies. If it went away with its drive, or that can no longer be read, another one is made on a drive
    /// that is here.
    pub fn file(&self, entropy: &dyn Entropy) -> Option<PathBuf> {
        let homes = self.homes.as_ref()?;
        let mut state = self.state();
        if !state.is_kept() {
            match State::draw_anywhere(&homes(), entropy) {
                Ok(drawn) => *state = drawn,
                Err(error) => tracing::warn!(%error, "the operator token cannot be kept"),
            }
        }
        state.file.clone()
    }
}

impl State {
    /// Whether an operator can read it.
    fn is_kept(&self) -> bool {
        let kept = self.file.as_ref().and_then(|file| fs::read(file).ok());
        kept.is_some_and(|kept| blake3::hash(&kept) == self.hash)
    }

    /// A drive that takes nothing is no reason not to start: the next one is tried.
    fn draw_anywhere(directories: &[PathBuf], entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let mut refused = KeyError::Io {
            doing: "keep the operator token in",
            path: PathBuf::from("."),
            source: io::ErrorKind::NotFound.into(),
        };
        for directory in directories {
            match Self::draw(directory, entropy) {
                Ok(drawn) => return Ok(drawn),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn draw(directory: &Path, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let token = hex(&random::<32>(entropy));
        let (new, file) = (directory.join(TOKEN_NEW_NAME), directory.join(TOKEN_FILE_NAME));
        match fs::remove_file(&new) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(KeyError::Io { doing: "remove", path: new, source });
            }
            _ => {}
        }
        write_new_file(&new, token.as_bytes())?;
        fs::rename(&new, &file).map_err(|source| KeyError::Io { doing: "rename", path: new, source })?;
        // The command line runs elsewhere: it needs the whole path.
        let file = file.canonicalize().unwrap_or(file);
        Ok(Self { hash: blake3::hash(token.as_bytes()), file: Some(file) })
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that lower-case or upper-case hex stands for.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
