//! What the bench can only do with `unsafe`: calling ISA-L, asking for large pages, and counting what is allocated. Only `ces` uses it.

pub mod counting;
#[cfg(feature = "peers")]
pub mod isa_l;
pub mod pages;
