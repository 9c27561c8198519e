//! Tuning: what this machine is like just now, and what `ces::config` makes of it.
//!
//! Owns the gauge of the CPU pool. All CPU work of the data path goes through [`Metered`], so nobody else has to count. The
//! choice itself is core's; here are only its inputs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pangea_core::ces::CompressPolicy;
use pangea_core::ces::config::{Caps, CesConfig, Conditions, level};
use pangea_core::chunk::{Aead, Code};
use pangea_core::chunker::TooLong;
use pangea_core::seam::MonoUs;

use crate::client::{Client, Inner};
use crate::runtime::{CpuJob, Runtime, Task};

/// Jobs for each thread of the pool from which on it counts as fully busy: one that runs and one that waits.
const JOBS_FOR_EACH_THREAD: usize = 2;

/// A runtime whose CPU jobs are counted from the asking to the end.
pub(crate) struct Metered {
    runtime: Arc<dyn Runtime>,
    jobs: Arc<AtomicUsize>,
}

impl Metered {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, jobs: Arc<AtomicUsize>) -> Self {
        Self { runtime, jobs }
    }
}

impl Runtime for Metered {
    fn spawn(&self, name: &'static str, task: Task) {
        self.runtime.spawn(name, task);
    }

    fn sleep_until(&self, at: MonoUs) -> Task {
        self.runtime.sleep_until(at)
    }

    fn cpu(&self, job: CpuJob) {
        let counted = Counted::new(&self.jobs);
        self.runtime.cpu(Box::new(move || {
            let _counted = counted;
            job();
        }));
    }

    fn cpu_threads(&self) -> usize {
        self.runtime.cpu_threads()
    }
}

/// One job that was not done yet; also when it panics or is never run.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(jobs: &Arc<AtomicUsize>) -> Self {
        jobs.fetch_add(1, Ordering::Relaxed);
        Self(jobs.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inner {
    /// How busy the CPU pool is, in per cent.
    pub(crate) fn cpu_load(&self) -> u8 {
        load(self.cpu_jobs.load(Ordering::Relaxed), self.parts.runtime.cpu_threads())
    }

    fn caps(&self) -> Caps {
        let cores = u16::try_from(self.parts.runtime.cpu_threads()).unwrap_or(u16::MAX);
        Caps { has_aes: self.options.aead == Aead::Aes256Gcm, cores }
    }
}

impl Client {
    /// Sizes for a blob of `len` bytes that is written or read now.
    pub(crate) fn tuned(&self, code: Code, len: Option<u64>) -> Result<CesConfig, TooLong> {
        let inner = &self.inner;
        CesConfig::choose(&Conditions {
            code,
            bandwidth: None,
            latency_us: inner.read_latency.usual_us(),
            cpu_load: inner.cpu_load(),
            ram_bytes: inner.options.memory_bytes as u64,
            file_bytes: len,
            caps: inner.caps(),
        })
    }

    /// Chunks of `chunk_bytes` that a request may have in flight, `wanted_bytes` at most.
    pub(crate) fn window(&self, config: &CesConfig, chunk_bytes: u32) -> usize {
        let window = CesConfig { chunk_bytes, ..*config }.window_chunks();
        window.min(self.inner.options.window_bytes / (chunk_bytes as usize).max(1)).max(1)
    }

    /// Whether and how hard data that comes at so many bytes a second is compressed; `None`: all at once.
    pub(crate) fn compress_policy(&self, bandwidth: Option<u64>) -> CompressPolicy {
        let inner = &self.inner;
        match inner.options.compress_level {
            0 => CompressPolicy::Never,
            max => {
                let level = level(bandwidth, inner.cpu_load(), inner.caps().cores);
                CompressPolicy::Zstd { level: level.min(max) }
            }
        }
    }
}

/// The load of a pool of so many threads with so many jobs.
fn load(jobs: usize, threads: usize) -> u8 {
    (jobs.saturating_mul(100) / (threads.max(1) * JOBS_FOR_EACH_THREAD)).min(100) as u8
}

/// Bytes a second; `None` if it was too quick to tell.
pub(crate) fn bytes_a_second(bytes: usize, us: u64) -> Option<u64> {
    (bytes as u64).saturating_mul(1_000_000).checked_div(us)
}

#[cfg(test)]
mod tests {
    use super::{Counted, bytes_a_second, load};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn load_grows_with_the_queue_up_to_full() {
        assert_eq!([0, 1, 2, 4, 8, 100].map(|jobs| load(jobs, 4)), [0, 12, 25, 50, 100, 100]);
        assert_eq!([load(0, 0), load(1, 0), load(usize::MAX, 1)], [0, 50, 100]);
    }

    #[test]
    fn a_job_counts_until_it_is_gone_however_it_goes() {
        let jobs = Arc::new(AtomicUsize::new(0));
        let (run, lost) = (Counted::new(&jobs), Counted::new(&jobs));
        assert_eq!(jobs.load(Ordering::Relaxed), 2);
        let panicked = std::panic::catch_unwind(move || {
            let _run = run;
            panic!("a job that panics");
        });
        assert!(panicked.is_err());
        drop(lost);
        assert_eq!(jobs.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn rates_are_per_second() {
        assert_eq!(
            [bytes_a_second(10, 0), bytes_a_second(5, 1_000_000), bytes_a_second(5, 500_000)],
            [None, Some(5), Some(10)]
        );
    }
}
