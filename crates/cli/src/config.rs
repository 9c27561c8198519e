//! `pangea config`: what a server would be told, and who told it. Secrets are never shown.

use std::process::ExitCode;

use pangea_node::StartError;
use pangea_node::config::{Explained, explain};

use crate::args::ConfigArgs;
use crate::operate::json;
use crate::serve::{environment, layer};
use crate::{Failure, print};

pub(crate) fn run(args: &ConfigArgs) -> Result<ExitCode, Failure> {
    let (settings, refused) = explain(layer(&args.server), environment()).map_err(StartError::Config)?;
    print(&if args.json { json(&settings)? } else { text(&settings) });
    match refused {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => Err(StartError::Config(error).into()),
    }
}

/// One line a setting: name, value, who said so.
pub(crate) fn text(settings: &[Explained]) -> String {
    let shown = |setting: &Explained| setting.value.clone().unwrap_or_else(|| "-".to_owned());
    let width = |of: &dyn Fn(&Explained) -> usize| settings.iter().map(of).max().unwrap_or(0);
    let (names, values) = (width(&|s| s.name.len()), width(&|s| shown(s).chars().count()));
    let line = |setting: &Explained| {
        format!("{:names$}  {:values$}  {}\n", setting.name, shown(setting), setting.source)
    };
    settings.iter().map(line).collect()
}
