//! MD5: core's streams in lockstep beside the md-5 crate, one stream after the other.

use anyhow::Result;
use md5::Digest;
use pangea_core::md5::{Md5, advance};

use super::memory::fill;
use super::rounds::{self, Candidate};
use crate::report::Report;

const STREAMS: [usize; 5] = [1, 2, 4, 8, 16];
/// What a stream has at a time: a piece of a body that is in the second-level cache when few streams run.
const STREAM_BYTES: usize = 64 * 1024;

/// Measures 1 to 16 streams.
pub fn measure(rounds: usize, report: &mut Report) -> Result<()> {
    for count in STREAMS {
        let mut inputs = vec![vec![0; STREAM_BYTES]; count];
        (0..).zip(inputs.iter_mut()).for_each(|(seed, input)| fill(input, seed));
        let mut theirs = vec![md5::Md5::new(); count];
        let mut ours = vec![Md5::new(); count];
        let mut candidates = [
            Candidate::new("pangea", || {
                let mut jobs: Vec<(&mut Md5, &[u8])> =
                    ours.iter_mut().zip(inputs.iter().map(Vec::as_slice)).collect();
                advance(&mut jobs);
                Ok(())
            }),
            Candidate::new("md-5", || {
                theirs.iter_mut().zip(&inputs).for_each(|(stream, input)| stream.update(input));
                Ok(())
            }),
        ];
        let timed = rounds::run(&mut candidates, rounds)?;
        let (case, bytes) = (format!("MD5-{count}"), count * STREAM_BYTES);
        report.add(rounds::rows(&case, &timed[0], "pangea", &[&timed[1]], bytes));
        report.add(rounds::rows(&case, &timed[1], "md-5", &[], bytes));
    }
    Ok(())
}
