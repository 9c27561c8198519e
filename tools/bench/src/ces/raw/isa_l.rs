//! ISA-L 2.32, built from the sources that the sys crate carries: the best code its dispatcher finds, and its AVX2 code forced.

use std::ffi::c_int;

use anyhow::{Result, ensure};
// Its build script compiles and links the library; its own bindings lack the functions of one instruction set.
use erasure_isa_l_sys as _;

const SHARDS_MAX: usize = 128;

// SAFETY: as declared in ISA-L's erasure_code.h and, for AVX2, as defined in its ec_highlevel_func.c.
unsafe extern "C" {
    fn ec_init_tables(k: c_int, rows: c_int, coefficients: *const u8, tables: *mut u8);
    fn ec_init_tables_base(k: c_int, rows: c_int, coefficients: *const u8, tables: *mut u8);
    fn ec_encode_data(
        bytes: c_int,
        k: c_int,
        rows: c_int,
        tables: *const u8,
        sources: *const *const u8,
        outs: *const *mut u8,
    );
    fn ec_encode_data_avx2(
        bytes: c_int,
        k: c_int,
        rows: c_int,
        tables: *const u8,
        sources: *const *const u8,
        outs: *const *mut u8,
    );
}

/// Rows of coefficients, ready for ISA-L.
pub struct IsaL {
    k: usize,
    rows: usize,
    tables: Vec<u8>,
    /// Its AVX2 code, whatever the CPU has.
    avx2: bool,
}

impl IsaL {
    /// Prepares rows of k coefficients.
    pub fn new(k: usize, rows: &[Vec<u8>], avx2: bool) -> Result<Self> {
        ensure!(
            k > 0 && k <= SHARDS_MAX && rows.len() <= SHARDS_MAX,
            "the bench gives ISA-L 128 shards at most"
        );
        ensure!(rows.iter().all(|row| row.len() == k), "k coefficients a row");
        ensure!(!avx2 || is_x86_feature_detected!("avx2"), "this CPU has no AVX2");
        let flat = rows.concat();
        let mut tables = vec![0; 32 * flat.len()];
        let init = if avx2 { ec_init_tables_base } else { ec_init_tables };
        // SAFETY: k × rows coefficients are given, and 32 bytes of tables for each.
        unsafe { init(k as c_int, rows.len() as c_int, flat.as_ptr(), tables.as_mut_ptr()) };
        Ok(Self { k, rows: rows.len(), tables, avx2 })
    }

    /// `outs = rows × sources`.
    pub fn run(&self, sources: &[&[u8]], outs: &mut [&mut [u8]]) -> Result<()> {
        let bytes = sources.first().map_or(0, |source| source.len());
        ensure!(sources.len() == self.k && outs.len() == self.rows, "the shards of the plan");
        ensure!(
            sources.iter().all(|s| s.len() == bytes) && outs.iter().all(|o| o.len() == bytes),
            "equally long"
        );
        let length = c_int::try_from(bytes)?;
        let (mut from, mut to) = ([std::ptr::null(); SHARDS_MAX], [std::ptr::null_mut(); SHARDS_MAX]);
        from.iter_mut().zip(sources).for_each(|(pointer, source)| *pointer = source.as_ptr());
        to.iter_mut().zip(outs).for_each(|(pointer, out)| *pointer = out.as_mut_ptr());
        let encode = if self.avx2 { ec_encode_data_avx2 } else { ec_encode_data };
        // SAFETY: k sources and as many outputs as rows, each of `bytes` bytes; the tables are those of k × rows coefficients,
        // and `new` saw that the CPU has AVX2 if it is forced.
        unsafe {
            encode(
                length,
                self.k as c_int,
                self.rows as c_int,
                self.tables.as_ptr(),
                from.as_ptr(),
                to.as_ptr(),
            );
        }
        Ok(())
    }
}
