//! The same door where there is no io_uring: it does not open.

use std::convert::Infallible;
use std::io::{self, IoSlice};

use crate::{AppendError, Options, Refused};

/// Never made.
pub struct Uring(Infallible);

/// Never made.
pub struct Slot(Infallible);

impl Uring {
    /// Always [`Refused::NotLinux`].
    pub fn open(_options: Options) -> Result<Self, Refused> {
        Err(Refused::NotLinux)
    }

    /// Cannot be called.
    pub fn forget(&mut self, slot: Slot) {
        match slot.0 {}
    }

    /// Cannot be called.
    pub fn append(
        &mut self,
        _slot: &Slot,
        _memory_align: usize,
        _parts: &[IoSlice<'_>],
        _offset: u64,
    ) -> Result<(), AppendError> {
        match self.0 {}
    }

    /// Cannot be called.
    pub fn read(&mut self, _slot: &Slot, _into: &mut [u8], _offset: u64) -> io::Result<()> {
        match self.0 {}
    }
}
