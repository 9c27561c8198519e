//! Licence expressions (SPDX): `AND`, `OR`, `WITH`, parentheses, and the old `/` for `OR`.

use anyhow::{Result, bail};

/// Whether an expression can be met with allowed licences alone.
pub fn allowed(expression: &str, allow: &[String]) -> Result<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, allow };
    let met = parser.any_of()?;
    match parser.words {
        [] => Ok(met),
        rest => bail!("unexpected {rest:?}"),
    }
}

struct Parser<'a> {
    words: &'a [&'a str],
    allow: &'a [String],
}

impl Parser<'_> {
    fn take(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.words = &self.words[1..];
        }
        found
    }

    fn any_of(&mut self) -> Result<bool> {
        let mut met = self.all_of()?;
        while self.take("OR") {
            met |= self.all_of()?;
        }
        Ok(met)
    }

    fn all_of(&mut self) -> Result<bool> {
        let mut met = self.one()?;
        while self.take("AND") {
            met &= self.one()?;
        }
        Ok(met)
    }

    fn one(&mut self) -> Result<bool> {
        if self.take("(") {
            let met = self.any_of()?;
            if !self.take(")") {
                bail!("a parenthesis is not closed");
            }
            return Ok(met);
        }
        let name = match self.words {
            ["AND" | "OR" | "WITH" | ")", ..] | [] => bail!("a licence is missing"),
            [licence, "WITH", exception, ..] => format!("{licence} WITH {exception}"),
            [licence, ..] => licence.to_string(),
        };
        self.words = &self.words[name.split(' ').count()..];
        Ok(self.allow.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_or_not() {
        let allow: Vec<String> =
            ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].iter().map(ToString::to_string).collect();
        for (expression, met) in [
            ("MIT", true),
            ("GPL-2.0-only", false),
            ("MIT OR GPL-2.0-only", true),
            ("GPL-2.0-only/MIT", true),
            ("MIT AND GPL-2.0-only", false),
            ("GPL-2.0-only OR MIT AND Apache-2.0", true),
            ("(GPL-2.0-only OR MIT) AND OpenSSL", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT WITH LLVM-exception", false),
            ("mit", false),
        ] {
            assert_eq!(allowed(expression, &allow).expect(expression), met, "{expression}");
        }
        for broken in ["", "MIT OR", "(MIT", "MIT)", "AND MIT", "MIT MIT", "MIT WITH"] {
            assert!(allowed(broken, &allow).is_err(), "{broken:?}");
        }
    }
}
