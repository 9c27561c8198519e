//! What the bench can only do with `unsafe`: calling ISA-L, and asking for large pages. Only `ces` uses it.

#[cfg(feature = "peers")]
pub mod isa_l;
pub mod pages;
