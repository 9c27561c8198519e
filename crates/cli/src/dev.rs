//! `pangea dev-cluster`: a cluster of real processes on one machine, and what can happen to it.
//!
//! Every node is this same binary as a server with a directory, three ports and a log of its own. `cluster.json` in the
//! cluster's directory says which process is which node, so that other commands find them.

mod lab;

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use pangea_node::control::{Control as _, ControlError, TokenWish};
use pangea_node::remote::wait;
use rustix::process::Signal;

use crate::args::{DevArgs, DevCommand, DevStart, DevWhich};
use crate::{Failure, print};
use lab::{Lab, Machine};

/// Where nodes begin, which is not numbered 0: people count from one.
const FIRST: u16 = 1;
const TOKEN_HOURS: u32 = 24;
/// A node that was paused or started needs a moment before it can be asked anything.
const WAKING: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &DevArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        None => start(&args.start),
        Some(DevCommand::Kill(which)) => each(which, "killed", |lab, machine| lab.kill(machine)),
        Some(DevCommand::Pause(which)) => {
            each(which, "paused", |lab, machine| lab.signal(machine, Signal::STOP))
        }
        Some(DevCommand::Partition(which)) => partition(which),
        Some(DevCommand::Heal(which)) => heal(which),
    }
}

fn start(args: &DevStart) -> Result<ExitCode, Failure> {
    let lab = match Lab::open(&args.dir)? {
        Some(lab) => {
            lab.machines()
                .filter(|machine| !lab.runs(machine))
                .try_for_each(|machine| lab.spawn(machine, None))?;
            lab.machines().try_for_each(|machine| lab.wait_until_ready(machine))?;
            lab
        }
        None => make(args)?,
    };
    print(&lab.announcement()?);
    lab.wait_for_interrupt()?;
    print("stopping all nodes\n");
    lab.stop()?;
    Ok(ExitCode::SUCCESS)
}

/// A new cluster: the first node alone, then the others with its token.
fn make(args: &DevStart) -> Result<Lab, Failure> {
    let lab = Lab::make(args)?;
    let first = lab.machine(FIRST)?;
    let made = lab.spawn(first, None).and_then(|()| lab.wait_until_ready(first)).and_then(|()| {
        let token = wait(lab.remote(first)?.make_join_token(TokenWish { hours: TOKEN_HOURS }))?.token;
        // One after the other: each one's layout follows that of the one before.
        lab.machines().filter(|machine| machine.number != FIRST).try_for_each(|machine| {
            lab.spawn(machine, Some(&token))?;
            lab.wait_until_ready(machine)
        })
    });
    if let Err(error) = made {
        // What runs already must not stay behind.
        let _ = lab.stop();
        return Err(error);
    }
    Ok(lab)
}

fn opened(which: &DevWhich) -> Result<Lab, Failure> {
    Lab::open(&which.dir)?.ok_or_else(|| {
        let what = format!("there is no cluster in {}", which.dir.display());
        Failure::new(what, "start one: pangea dev-cluster --nodes 5 --dir DIR", 2)
    })
}

/// Does something to every node that is meant.
fn each(
    which: &DevWhich,
    done: &str,
    act: impl Fn(&Lab, &Machine) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    let lab = opened(which)?;
    for machine in lab.meant(which)? {
        act(&lab, machine)?;
        print(&format!("node {} is {done}\n", machine.number));
    }
    Ok(ExitCode::SUCCESS)
}

fn partition(which: &DevWhich) -> Result<ExitCode, Failure> {
    let lab = opened(which)?;
    let meant: Vec<u16> = lab.meant(which)?.iter().map(|machine| machine.number).collect();
    cut(&lab, &meant, |_| true)?;
    print(&format!("cut off from all others: {meant:?}\n"));
    Ok(ExitCode::SUCCESS)
}

/// Tells every node that runs, and is meant by `who`, whom it does not hear: each of these is alone; an empty list heals everything.
fn cut(lab: &Lab, alone: &[u16], who: impl Fn(&Machine) -> bool) -> Result<(), Failure> {
    for machine in lab.machines().filter(|machine| lab.runs(machine) && who(machine)) {
        let is_alone = alone.contains(&machine.number);
        let unheard = lab
            .machines()
            .filter(|other| other.number != machine.number && (is_alone || alone.contains(&other.number)));
        let unheard: Vec<String> = unheard.map(|other| other.node_listen()).collect();
        match wait(lab.remote(machine)?.cut_off(unheard.clone())) {
            // One that is only starting is cut off from nobody.
            Err(ControlError::Unreachable { .. }) if unheard.is_empty() => {}
            other => other?,
        }
    }
    Ok(())
}

fn heal(which: &DevWhich) -> Result<ExitCode, Failure> {
    let lab = opened(which)?;
    let meant = if which.nodes.is_empty() && which.count.is_none() {
        lab.machines().collect()
    } else {
        lab.meant(which)?
    };
    let ran: Vec<u16> =
        lab.machines().filter(|machine| lab.runs(machine)).map(|machine| machine.number).collect();
    for machine in &meant {
        // One that was ending when it was looked at is started like the others.
        if !(ran.contains(&machine.number) && lab.signal(machine, Signal::CONT).is_ok()) {
            lab.spawn(machine, None)?;
            print(&format!("node {} is started\n", machine.number));
        }
    }
    // A node that hears nobody does not become ready.
    thread::sleep(WAKING);
    cut(&lab, &[], |machine| ran.contains(&machine.number))?;
    meant.iter().try_for_each(|machine| lab.wait_until_ready(machine))?;
    // Who was started meanwhile is told, too.
    cut(&lab, &[], |_| true)?;
    print("all nodes that were meant run and hear the others\n");
    Ok(ExitCode::SUCCESS)
}
