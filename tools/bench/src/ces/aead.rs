//! Sealing segments with both ciphers, beside the pure-Rust crates.
//!
//! A segment is what a piece holds: 32 KiB less its tag. Both seal in place; each call seals as many segments as a full chunk
//! of 10+4 has.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use anyhow::{Context, Result, anyhow};
use chacha20poly1305::XChaCha20Poly1305;
use pangea_core::chunk::{Aead, TAG_BYTES};
use pangea_core::keys::DataKey;
use pangea_core::seal::Sealer;

use super::memory::fill;
use super::rounds::{self, Candidate};
use crate::report::Report;

const KEY: [u8; 32] = [7; 32];
const PIECE_BYTES: usize = 32 * 1024;
const PIECES: usize = 160;
const AAD: [u8; 39] = [9; 39];

/// Measures AES-256-GCM and XChaCha20-Poly1305.
pub fn measure(rounds: usize, report: &mut Report) -> Result<()> {
    let mut ours = vec![0; PIECES * PIECE_BYTES];
    fill(&mut ours, 1);
    let mut theirs = ours.clone();
    let gcm = Aes256Gcm::new(&KEY.into());
    let xchacha = XChaCha20Poly1305::new(&KEY.into());
    let suites: [(Aead, &str, &str, Seal<'_>); 2] = [
        (Aead::Aes256Gcm, "AES-256-GCM", "aes-gcm", &|payload| {
            gcm.encrypt_inout_detached(&[1; 12].into(), &AAD, payload.into()).is_ok()
        }),
        (Aead::XChaCha20Poly1305, "XCHACHA20-POLY1305", "chacha20poly1305", &|payload| {
            xchacha.encrypt_inout_detached(&[1; 24].into(), &AAD, payload.into()).is_ok()
        }),
    ];
    for (aead, name, peer, seal) in suites {
        let mut candidates = [
            Candidate::new("pangea", || {
                let sealer = Sealer::new(aead, &DataKey::new(KEY), 1).context("no pack")?;
                (0..).zip(ours.chunks_exact_mut(PIECE_BYTES)).for_each(|(segment, piece)| {
                    sealer.seal_segment(segment, &AAD, piece);
                });
                Ok(())
            }),
            Candidate::new(peer, || {
                let sealed = theirs.chunks_exact_mut(PIECE_BYTES).all(|piece| seal(&mut piece[TAG_BYTES..]));
                sealed.then_some(()).ok_or_else(|| anyhow!("{peer} seals"))
            }),
        ];
        let timed = rounds::run(&mut candidates, rounds)?;
        let (case, bytes) = (format!("SEAL-{name}"), PIECES * (PIECE_BYTES - TAG_BYTES));
        report.add(rounds::rows(&case, &timed[0], "pangea", &[&timed[1]], bytes));
        report.add(rounds::rows(&case, &timed[1], peer, &[], bytes));
    }
    Ok(())
}

/// Seals a segment in place.
type Seal<'a> = &'a dyn Fn(&mut [u8]) -> bool;
