//! Filters: which names, sizes and ages are meant.

use globset::{GlobBuilder, GlobMatcher};
use pangea_s3client::Moment;

use crate::Failure;
use crate::s3::words::Choice;

/// Which names are meant.
pub(crate) struct Filter {
    /// Patterns in order, each with whether it takes in.
    patterns: Vec<(Pattern, bool)>,
}

/// A glob on a name, or on its last part.
pub(crate) struct Pattern {
    glob: GlobMatcher,
    on_last_part: bool,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Result<Self, Failure> {
        let glob = GlobBuilder::new(text).literal_separator(false).backslash_escape(true).build();
        let wrong = |error: globset::Error| {
            Failure::new(
                format!("the pattern `{text}`: {}", error.kind()),
                "use * ? [a-z] {a,b}; \\ makes the next one plain",
                2,
            )
        };
        Ok(Self { glob: glob.map_err(wrong)?.compile_matcher(), on_last_part: !text.contains('/') })
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
        self.glob.is_match(name) || (self.on_last_part && self.glob.is_match(last))
    }
}

impl Filter {
    pub(crate) fn new(choice: &Choice) -> Result<Self, Failure> {
        let (mut include, mut exclude) = (choice.include.iter(), choice.exclude.iter());
        let mut patterns = Vec::new();
        for &takes_in in &choice.order {
            if let Some(text) = if takes_in { include.next() } else { exclude.next() } {
                patterns.push((Pattern::new(text)?, takes_in));
            }
        }
        Ok(Self { patterns })
    }

    /// Whether a name (relative to what was named on the command line) is meant.
    pub(crate) fn takes(&self, name: &str) -> bool {
        let first_takes_in = self.patterns.first().is_some_and(|(_, takes_in)| *takes_in);
        let decided = self.patterns.iter().rev().find(|(pattern, _)| pattern.matches(name));
        decided.map_or(!first_takes_in, |(_, takes_in)| *takes_in)
    }
}

/// Bytes: `5`, `5k`, `5KiB`, `5MB`, `1.5GiB`. Units without B are those of 1024.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; write 4096, 64k, 10MiB or 5GB");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    if let Ok(number) = number.parse::<u64>() {
        return number.checked_mul(unit).ok_or_else(wrong);
    }
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Ok((number * unit as f64) as u64)
}

/// Seconds: `30s`, `15m`, `12h`, `7d`, `4w`.
pub(crate) fn parse_age(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no age; write 30s, 15m, 12h, 7d or 4w");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).ok_or_else(wrong)
}

/// Whether something was written longer ago than `seconds`.
pub(crate) fn is_older(modified: Option<Moment>, now: Moment, seconds: u64) -> bool {
    modified.is_some_and(|modified| modified.seconds() < now.seconds().saturating_sub(seconds))
}
