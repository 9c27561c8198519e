//! `pangea completions` and `pangea man`: what the grammar says, for shells and for `man`.

use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::args::{Args, CompletionsArgs, ManArgs};
use crate::{Failure, print};

/// The completions of a shell to standard output.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "pangea", &mut script);
    print(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}

/// The manual: one page to standard output, or a page for each command to a directory.
pub(crate) fn man(args: &ManArgs) -> Result<ExitCode, Failure> {
    let wrong = |path: &Path, error: &std::io::Error| {
        Failure::new(format!("{}: {error}", path.display()), "name a directory that can be written", 1)
    };
    match &args.dir {
        None => print(&String::from_utf8_lossy(&page()?)),
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|error| wrong(dir, &error))?;
            clap_mangen::generate_to(Args::command(), dir).map_err(|error| wrong(dir, &error))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn page() -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(Args::command()).render(&mut page);
    rendered.map_err(|error| Failure::new(error.to_string(), "please report this", 1))?;
    Ok(page)
}
