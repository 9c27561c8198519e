//! `pangea cluster` and `pangea node`: tokens for joining; the nodes of a cluster.

use std::fmt::Write as _;
use std::process::ExitCode;

use pangea_node::control::{
    Control as _, ControlError, LayoutWish, MadeToken, NodeStatus, Status, TokenWish, WishedChange,
};
use pangea_node::remote::wait;

use crate::args::{ClusterArgs, ClusterCommand, NodeArgs, NodeCommand};
use crate::operate::{json, remote};
use crate::{Failure, print};

pub(crate) fn run(args: &ClusterArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        ClusterCommand::Init { hours, json: for_programs, admin } => {
            let made = wait(remote(admin)?.make_join_token(TokenWish { hours: *hours }))?;
            print(&if *for_programs { json(&made)? } else { token(&made, *hours) });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn token(made: &MadeToken, hours: u32) -> String {
    format!(
        "On every other machine, within {hours} hours:\n\n  \
         pangea server DIR... --node-listen HOST:PORT --join {}\n\n\
         Whoever has the token can join and read everything: keep it to yourself.\n",
        made.token
    )
}

pub(crate) fn node(args: &NodeArgs) -> Result<ExitCode, Failure> {
    match &args.command {
        NodeCommand::List { json: for_programs, admin } => {
            let status = wait(remote(admin)?.status())?;
            print(&if *for_programs { json(&status.nodes)? } else { nodes(&status.nodes) });
        }
        NodeCommand::Drain { node, force, admin } => {
            let remote = remote(admin)?;
            let status = wait(remote.status())?;
            let changes = drains(&status, node)?;
            let wish = LayoutWish { changes, apply: true, force: *force, epoch: None };
            print(&crate::layout::text(&wait(remote.change_layout(wish))?));
        }
        NodeCommand::Remove { node, admin } => {
            wait(remote(admin)?.remove_node(node.clone()))?;
            print(&format!("{node} is no member of the cluster any more\n"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Every drive of a node leaves.
fn drains(status: &Status, named: &str) -> Result<Vec<WishedChange>, Failure> {
    let fits = |node: &&NodeStatus| {
        (named.len() >= 4 && node.key.starts_with(named))
            || node.addresses.iter().any(|address| address == named)
    };
    let mut found = status.nodes.iter().filter(fits);
    let Some(node) = found.next().filter(|_| found.next().is_none()) else {
        let why = format!("there is no one node `{named}`: see `pangea node list`");
        return Err(ControlError::Refused { why }.into());
    };
    let drives = status.drives.iter().filter(|drive| drive.node == node.node && drive.state != "draining");
    let changes: Vec<WishedChange> =
        drives.map(|drive| WishedChange::Drain { drive: drive.slot.to_string() }).collect();
    if changes.is_empty() {
        let why =
            format!("node {} has no drive that holds data: `pangea node remove {}`", node.node, node.node);
        return Err(ControlError::Refused { why }.into());
    }
    Ok(changes)
}

/// One line a node.
pub(crate) fn nodes(nodes: &[NodeStatus]) -> String {
    if nodes.is_empty() {
        return "This server is on its own: started with --node-listen HOST:PORT, others can join it.\n"
            .into();
    }
    let mut out = String::new();
    for node in nodes {
        let is_elected = node.is_steward && !node.keeps_metadata;
        let marks = [
            (node.is_this, "this node"),
            (node.keeps_metadata, "keeps the metadata"),
            (is_elected, "steward"),
        ];
        let mut about: Vec<String> =
            marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark.to_owned()).collect();
        if node.rtt_us > 0 {
            about.push(format!("{:.1} ms away", node.rtt_us as f64 / 1000.0));
        }
        about.extend(node.reason.clone());
        let drives = if node.drives == 1 { "1 drive".to_owned() } else { format!("{} drives", node.drives) };
        let (id, state) = (&node.node, &node.state);
        let (place, labels) = (node.addresses.join(","), node.labels.join(" "));
        // Writing to a string does not fail.
        let _ = writeln!(out, "{id}  {state:<4}  {place:<21}  {drives:<9}  {labels}  {}", about.join(", "));
    }
    out
}
