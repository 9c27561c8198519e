//! The executor: one thread, virtual time, and an order of events that only the seed decides.
//!
//! Owns the tasks, the timers, the clock and the trace. Whatever is ready runs in random order; when nothing is ready, time
//! jumps to the next timer. A task belongs to a *process*; killing a process drops all its tasks where they stand, which is
//! a crash at an await. Processes die three ways: [`Sim::kill`], a fuse counted in polls ([`Sim::kill_after`]), and a power
//! cut in the middle of a poll ([`Power`], counted in disk operations).
//!
//! The trace is a hash over everything that happens: the same seed gives the same trace, in every build.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use pangea_client::{CpuJob, Runtime};
use pangea_core::seam::{Clock, MonoUs, WallMs};

use crate::dice::Dice;
use crate::fault::{Fault, Faults};
use crate::invariant::{Checks, Invariant};
use crate::power::Power;
use crate::trace::{Happening, Trace};

/// Polls after which a run counts as going in circles.
pub const POLLS_MAX: u64 = 20_000_000;
/// Virtual time after which a run counts as never ending: ten days.
pub const SIMULATED_US_MAX: MonoUs = 10 * 86_400 * 1_000_000;
/// What a CPU job may cost, in microseconds.
const CPU_US_MAX: u64 = 400;
/// Wall time at the start of every run: 2026-01-01.
const EPOCH_MS: WallMs = 1_767_225_600_000;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type TaskId = u64;

/// A process of the simulated world; number 0 is the world itself and never dies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ProcessId(u32);

/// Why a run came to no end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stuck {
    /// Nothing is ready and no timer is set: somebody waits for ever.
    Deadlock {
        /// The tasks that wait, by name.
        waiting: Vec<&'static str>,
    },
    /// Too many polls.
    Circles,
    /// Too much virtual time.
    Endless,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Sim(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    seed: u64,
}

struct State {
    now_us: MonoUs,
    wall_skew_ms: i64,
    tasks: BTreeMap<TaskId, Slot>,
    ready: Vec<TaskId>,
    timers: BinaryHeap<Reverse<(MonoUs, u64)>>,
    sleepers: BTreeMap<u64, Waker>,
    next_task: TaskId,
    next_timer: u64,
    processes: BTreeMap<ProcessId, Process>,
    dice: Dice,
    trace: Trace,
    faults: Faults,
    checks: Checks,
    polls: u64,
    story: Option<Vec<String>>,
}

struct Slot {
    name: &'static str,
    process: ProcessId,
    queued: bool,
    waker: Waker,
    /// `None` while it is being polled.
    task: Option<Task>,
}

#[derive(Default)]
struct Process {
    fuse_polls: Option<u64>,
    power: Option<Arc<Power>>,
    dead: bool,
    mourners: Vec<Waker>,
}

impl Sim {
    /// The world of a seed: nothing in it yet.
    pub fn new(seed: u64) -> Self {
        let state = State {
            now_us: 1,
            wall_skew_ms: 0,
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            timers: BinaryHeap::new(),
            sleepers: BTreeMap::new(),
            next_task: 1,
            next_timer: 1,
            processes: BTreeMap::from([(ProcessId(0), Process::default())]),
            dice: Dice::new(seed, "executor"),
            trace: Trace::new(seed),
            faults: Faults::default(),
            checks: Checks::default(),
            polls: 0,
            story: None,
        };
        Self(Arc::new(Inner { state: Mutex::new(state), seed }))
    }

    /// A stream of choices of its own.
    pub fn dice(&self, label: &str) -> Dice {
        Dice::new(self.0.seed, label)
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// A new process; with `power`, it dies when that is cut.
    pub fn process(&self, power: Option<Arc<Power>>) -> ProcessId {
        let mut state = self.lock();
        let id = ProcessId(state.processes.len() as u32);
        state.processes.insert(id, Process { power, ..Process::default() });
        id
    }

    /// The seams of a process.
    pub fn runtime(&self, process: ProcessId) -> SimRuntime {
        SimRuntime { sim: self.clone(), process }
    }

    /// Adds a task; dropped at once if its process is dead.
    pub fn spawn(&self, process: ProcessId, name: &'static str, task: Task) {
        let mut state = self.lock();
        if state.processes.get(&process).is_none_or(|p| p.dead) {
            drop(state);
            drop(task);
            return;
        }
        let id = state.next_task;
        state.next_task += 1;
        let waker = Waker::from(Arc::new(TaskWaker { id, sim: Arc::downgrade(&self.0) }));
        state.tasks.insert(id, Slot { name, process, queued: true, waker, task: Some(task) });
        state.ready.push(id);
    }

    /// Kills a process after so many more polls of its tasks.
    pub fn kill_after(&self, process: ProcessId, polls: u64) {
        if let Some(process) = self.lock().processes.get_mut(&process) {
            process.fuse_polls = Some(polls);
        }
    }

    /// Drops every task of a process. What it had not made durable is gone.
    pub fn kill(&self, process: ProcessId) {
        assert_ne!(process, ProcessId(0), "the world does not die");
        self.tell(|| format!("process {} dies", process.0));
        let (tasks, mourners) = {
            let mut state = self.lock();
            state.trace.add(Happening::Kill, &[u64::from(process.0)]);
            let ids: Vec<TaskId> =
                state.tasks.iter().filter(|(_, slot)| slot.process == process).map(|(id, _)| *id).collect();
            let tasks: Vec<Slot> = ids.iter().filter_map(|id| state.tasks.remove(id)).collect();
            state.ready.retain(|id| !ids.contains(id));
            let mourners = state.processes.get_mut(&process).map(|p| {
                p.dead = true;
                std::mem::take(&mut p.mourners)
            });
            (tasks, mourners.unwrap_or_default())
        };
        // Outside the lock: what the tasks hold may wake others as it goes.
        drop(tasks);
        mourners.into_iter().for_each(Waker::wake);
    }

    /// Whether a process is dead.
    pub fn is_dead(&self, process: ProcessId) -> bool {
        self.lock().processes.get(&process).is_none_or(|p| p.dead)
    }

    /// Ready when a process has died.
    pub async fn death(&self, process: ProcessId) {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            match state.processes.get_mut(&process) {
                Some(p) if !p.dead => {
                    p.mourners.push(cx.waker().clone());
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
        .await;
    }

    /// Ready after so much virtual time.
    pub async fn sleep(&self, us: u64) {
        let at = self.mono_us().saturating_add(us);
        self.sleep_until(at).await;
    }

    /// Ready at that virtual time.
    pub async fn sleep_until(&self, at: MonoUs) {
        let mut sleep = Sleep { sim: self.clone(), at, timer: None };
        std::future::poll_fn(|cx| sleep.poll(cx)).await;
    }

    /// Makes the wall clock jump.
    pub fn jump_wall(&self, by_ms: i64) {
        let mut state = self.lock();
        state.wall_skew_ms += by_ms;
        state.faults.add(Fault::ClockJump);
        state.trace.add(Happening::ClockJump, &[by_ms as u64]);
    }

    /// Notes that something happened.
    pub fn trace(&self, what: Happening, facts: &[u64]) {
        self.lock().trace.add(what, facts);
    }

    /// From now on the run is told in words, for whoever looks for a cause.
    pub fn record_story(&self) {
        self.lock().story = Some(Vec::new());
    }

    /// Adds a line to the story, if it is told.
    pub fn tell(&self, line: impl FnOnce() -> String) {
        if self.lock().story.is_none() {
            return;
        }
        let line = line();
        let mut state = self.lock();
        let now_us = state.now_us;
        state.story.iter_mut().for_each(|story| story.push(format!("{now_us:>12} {line}")));
    }

    /// The story so far.
    pub fn story(&self) -> Vec<String> {
        self.lock().story.clone().unwrap_or_default()
    }

    /// Notes that a fault was injected.
    pub fn fault(&self, fault: Fault) {
        self.tell(|| format!("fault: {fault:?}"));
        let mut state = self.lock();
        state.faults.add(fault);
        state.trace.add(Happening::Fault, &[fault as u64]);
    }

    /// The faults so far.
    pub fn faults(&self) -> Faults {
        self.lock().faults.clone()
    }

    /// Counts checks of an invariant that held. No part of the trace: looking changes nothing.
    pub fn checked(&self, invariant: Invariant, times: u64) {
        self.lock().checks.add(invariant, times);
    }

    /// How often each invariant was checked.
    pub fn checks(&self) -> Checks {
        self.lock().checks.clone()
    }

    /// The trace so far, and how many events it holds.
    pub fn trace_hash(&self) -> (u64, u64) {
        let state = self.lock();
        (state.trace.hash(), state.trace.events())
    }

    /// Tasks that live now, and the timers that are set: both must stay bounded.
    pub fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.tasks.len(), state.sleepers.len())
    }

    /// Runs `main` as a task of the world until it ends.
    pub fn run<T: Send + 'static>(&self, main: impl Future<Output = T> + Send + 'static) -> Result<T, Stuck> {
        let result = Arc::new(Mutex::new(None));
        let slot = result.clone();
        self.spawn(
            ProcessId(0),
            "main",
            Box::pin(async move {
                let value = main.await;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            }),
        );
        loop {
            if let Some(value) = result.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Ok(value);
            }
            self.step()?;
        }
    }

    /// Drops every task, so that nothing refers to anything any more.
    pub fn end(&self) {
        let tasks = std::mem::take(&mut self.lock().tasks);
        drop(tasks);
        let mut state = self.lock();
        state.ready.clear();
        state.timers.clear();
        let sleepers = std::mem::take(&mut state.sleepers);
        drop(state);
        drop(sleepers);
    }

    /// One poll, or one jump in time.
    fn step(&self) -> Result<(), Stuck> {
        let Some((id, mut task, waker)) = self.next()? else { return Ok(()) };
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        let (done, victim) = {
            let mut state = self.lock();
            let Some(slot) = state.tasks.get_mut(&id) else { return Ok(()) };
            let process = slot.process;
            let done = match polled {
                Poll::Ready(()) => state.tasks.remove(&id).map(|slot| (slot, Some(task))),
                Poll::Pending => {
                    slot.task = Some(task);
                    None
                }
            };
            (done, state.fuse_blown(process).then_some(process))
        };
        drop(done);
        if let Some(process) = victim {
            self.kill(process);
        }
        Ok(())
    }

    fn next(&self) -> Result<Option<(TaskId, Task, Waker)>, Stuck> {
        let mut state = self.lock();
        if state.ready.is_empty() {
            let woken = state.jump()?;
            drop(state);
            woken.into_iter().for_each(Waker::wake);
            return Ok(None);
        }
        state.polls += 1;
        if state.polls > POLLS_MAX {
            return Err(Stuck::Circles);
        }
        let len = state.ready.len();
        let at = if len > 1 { state.dice.index(len) } else { 0 };
        let id = state.ready.swap_remove(at);
        let now_us = state.now_us;
        state.trace.add(Happening::Poll, &[id, now_us]);
        let slot = state.tasks.get_mut(&id).expect("a dead task is not ready");
        slot.queued = false;
        let task = slot.task.take().expect("a task is polled by nobody else");
        Ok(Some((id, task, slot.waker.clone())))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of the product is caught and reported with its seed; the state is only dropped after it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Moves time to the next timer and gives back who waits for it.
    fn jump(&mut self) -> Result<Vec<Waker>, Stuck> {
        let Some(Reverse((at, _))) = self.timers.peek().copied() else {
            return Err(Stuck::Deadlock { waiting: self.tasks.values().map(|slot| slot.name).collect() });
        };
        if at > SIMULATED_US_MAX {
            return Err(Stuck::Endless);
        }
        self.now_us = self.now_us.max(at);
        let mut woken = Vec::new();
        while let Some(Reverse((due, timer))) = self.timers.peek().copied() {
            if due > self.now_us {
                break;
            }
            self.timers.pop();
            woken.extend(self.sleepers.remove(&timer));
        }
        Ok(woken)
    }

    /// Whether this poll was a process's last.
    fn fuse_blown(&mut self, id: ProcessId) -> bool {
        let Some(process) = self.processes.get_mut(&id) else { return false };
        if process.dead {
            return false;
        }
        let cut = process.power.as_ref().is_some_and(|power| power.is_cut());
        match &mut process.fuse_polls {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                cut
            }
            None => cut,
        }
    }
}

impl Clock for Sim {
    fn mono_us(&self) -> MonoUs {
        self.lock().now_us
    }

    fn wall_ms(&self) -> WallMs {
        let state = self.lock();
        (EPOCH_MS + state.now_us / 1000).saturating_add_signed(state.wall_skew_ms)
    }
}

struct TaskWaker {
    id: TaskId,
    sim: Weak<Inner>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(inner) = self.sim.upgrade() else { return };
        let mut state = inner.lock();
        if let Some(slot) = state.tasks.get_mut(&self.id)
            && !slot.queued
        {
            slot.queued = true;
            state.ready.push(self.id);
        }
    }
}

struct Sleep {
    sim: Sim,
    at: MonoUs,
    timer: Option<u64>,
}

impl Sleep {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.sim.lock();
        if state.now_us >= self.at {
            return Poll::Ready(());
        }
        let timer = *self.timer.get_or_insert_with(|| {
            let timer = state.next_timer;
            state.next_timer += 1;
            state.timers.push(Reverse((self.at, timer)));
            timer
        });
        let before = state.sleepers.insert(timer, cx.waker().clone());
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            // The entry in the heap stays until its time comes; it wakes nobody.
            let sleeper = self.sim.lock().sleepers.remove(&timer);
            drop(sleeper);
        }
    }
}

/// The seams of one process: tasks, time and CPU work.
#[derive(Clone)]
pub struct SimRuntime {
    sim: Sim,
    process: ProcessId,
}

impl SimRuntime {
    /// The world.
    pub fn sim(&self) -> &Sim {
        &self.sim
    }

    /// The process that its tasks belong to.
    pub fn process(&self) -> ProcessId {
        self.process
    }
}

impl Runtime for SimRuntime {
    fn spawn(&self, name: &'static str, task: Task) {
        self.sim.spawn(self.process, name, task);
    }

    fn sleep_until(&self, at: MonoUs) -> Task {
        let sim = self.sim.clone();
        Box::pin(async move { sim.sleep_until(at).await })
    }

    fn cpu(&self, job: CpuJob) {
        let cost_us = self.sim.lock().dice.below(CPU_US_MAX);
        let sim = self.sim.clone();
        self.spawn(
            "cpu",
            Box::pin(async move {
                sim.sleep(cost_us).await;
                job();
            }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tasks that sleep, wake each other and die; the trace says in which order.
    fn story(seed: u64) -> (u64, Vec<u64>) {
        let sim = Sim::new(seed);
        let order = Arc::new(Mutex::new(Vec::new()));
        let process = sim.process(None);
        for number in 0..10_u64 {
            let (world, order) = (sim.clone(), order.clone());
            let task = async move {
                world.sleep(number % 3 * 100).await;
                order.lock().expect("one thread").push(number);
            };
            sim.spawn(process, "sleeper", Box::pin(task));
        }
        let world = sim.clone();
        sim.run(async move { world.sleep(1000).await }).expect("it ends");
        let order = order.lock().expect("one thread").clone();
        (sim.trace_hash().0, order)
    }

    #[test]
    fn the_same_seed_gives_the_same_order_and_another_seed_another() {
        assert_eq!(story(3), story(3));
        let orders: std::collections::BTreeSet<Vec<u64>> = (0..20).map(|seed| story(seed).1).collect();
        assert!(orders.len() > 10, "the seed decides: {} orders", orders.len());
        assert!(orders.iter().all(|order| order.len() == 10));
    }

    #[test]
    fn time_jumps_and_the_wall_clock_may_jump_by_itself() {
        let sim = Sim::new(1);
        let world = sim.clone();
        let (mono, wall) = sim
            .run(async move {
                let (mono, wall) = (world.mono_us(), world.wall_ms());
                world.sleep(3_600_000_000).await;
                world.jump_wall(-60_000);
                (world.mono_us() - mono, world.wall_ms() - wall)
            })
            .expect("it ends");
        assert_eq!((mono, wall), (3_600_000_000, 3_540_000));
    }

    #[test]
    fn a_killed_process_runs_no_further_and_its_death_is_seen() {
        let sim = Sim::new(1);
        let process = sim.process(None);
        let ran = Arc::new(Mutex::new(0));
        let (world, count) = (sim.clone(), ran.clone());
        let forever = async move {
            loop {
                *count.lock().expect("one thread") += 1;
                world.sleep(10).await;
            }
        };
        sim.spawn(process, "forever", Box::pin(forever));
        sim.kill_after(process, 4);
        let world = sim.clone();
        sim.run(async move { world.death(process).await }).expect("it ends");
        assert_eq!(*ran.lock().expect("one thread"), 5);
        assert!(sim.is_dead(process));
        sim.spawn(process, "late", Box::pin(async { panic!("a dead process runs nothing") }));
        let world = sim.clone();
        sim.run(async move { world.sleep(100).await }).expect("it ends");
    }

    #[test]
    fn waiting_for_ever_is_a_deadlock_with_names() {
        let sim = Sim::new(1);
        let stuck = sim.run(std::future::pending::<()>());
        assert_eq!(stuck, Err(Stuck::Deadlock { waiting: vec!["main"] }));
    }
}
