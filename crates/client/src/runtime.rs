//! The runtime seam: time, tasks and CPU work, lent by the node (tokio and a bounded pool) or by the simulator.

use std::future::Future;
use std::pin::Pin;

use pangea_core::seam::MonoUs;

/// A future that the runtime polls.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A piece of CPU work: never blocks on I/O or locks.
pub type CpuJob = Box<dyn FnOnce() + Send>;

/// What the data path needs of its surroundings.
pub trait Runtime: Send + Sync {
    /// Runs a task to its end, beside the caller. `name` is for people.
    fn spawn(&self, name: &'static str, task: Task);
    /// Ready at that time of [`pangea_core::seam::Clock::mono_us`].
    fn sleep_until(&self, at: MonoUs) -> Task;
    /// Runs `job` on the bounded CPU pool; order among jobs is not promised.
    fn cpu(&self, job: CpuJob);
    /// Threads of that pool.
    fn cpu_threads(&self) -> usize {
        1
    }
}

/// Runs `job` on the CPU pool and gives its result; `None` if the pool was stopped before it ran.
pub(crate) async fn compute<T: Send + 'static>(
    runtime: &dyn Runtime,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, result) = futures_channel::oneshot::channel();
    runtime.cpu(Box::new(move || {
        // Whoever asked may have gone; then nobody wants the result.
        let _ = sender.send(job());
    }));
    result.await.ok()
}
