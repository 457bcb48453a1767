//! The sources of this workspace as tests see them: files, lines, functions. `tests/rooms.rs` says
//! what must hold of them.
#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One source file of the workspace.
#[derive(Debug)]
pub struct Source {
    /// Its path below the workspace's root.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// A function as it stands in a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Function<'a> {
    /// Its name.
    pub name: &'a str,
    /// Lines from its signature to its closing brace.
    pub lines: usize,
    /// Parameters, the receiver not counted.
    pub parameters: usize,
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust file below `crates` and of the comparison in `bench-peer`, sorted.
pub fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&root().join("crates"), &mut sources);
    collect(&root().join("bench-peer/src"), &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn collect(directory: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).expect("a directory of the workspace").flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file of the workspace");
            let path = path.strip_prefix(root()).expect("found below the root");
            sources.push(Source { path: path.display().to_string(), text });
        }
    }
}

impl Source {
    /// The crate's folder, as in `wire`; none if it is not one of the main workspace.
    pub fn room(&self) -> &str {
        self.path
            .strip_prefix("crates/")
            .and_then(|path| path.split('/').next())
            .unwrap_or_default()
    }

    /// Whether the file holds tests only.
    pub fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("_table.rs")
    }

    /// The part before the unit tests.
    pub fn without_tests(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default()
    }

    /// Lines that are no comments.
    pub fn code_lines(&self) -> impl Iterator<Item = &str> {
        self.without_tests().lines().filter(|line| !line.trim_start().starts_with("//"))
    }

    /// The functions before the unit tests. Relies on rustfmt: a function ends at the first line
    /// that is a closing brace as far in as its first line.
    pub fn functions(&self) -> Vec<Function<'_>> {
        let lines: Vec<_> = self.without_tests().lines().collect();
        let starts = (0..lines.len()).filter_map(|start| Some((start, name_of_fn(lines[start])?)));
        let function = |(start, name): (usize, _)| {
            let indent = lines[start].len() - lines[start].trim_start().len();
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|line| {
                *line == end
                    || (line.trim_end().ends_with(';')
                        && line.starts_with(&" ".repeat(indent))
                        && line.len() > indent
                        && !line[indent..].starts_with(' ')
                        && !line.contains('{'))
                    || (line.ends_with("{}") && line.trim_start().contains("fn "))
            });
            Function {
                name,
                lines: length.map_or(1, |length| length + 1),
                parameters: parameters(&lines[start..].join("\n")),
            }
        };
        starts.map(function).collect()
    }
}

fn name_of_fn(line: &str) -> Option<&str> {
    let code = line.trim_start();
    let words = ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe "];
    let mut rest = code;
    while let Some(word) = words.iter().find(|word| rest.starts_with(**word)) {
        rest = &rest[word.len()..];
    }
    let name = rest.strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}

/// Counts the commas at the outermost level of the first parenthesis.
fn parameters(signature: &str) -> usize {
    let Some(open) = signature.find('(') else { return 0 };
    let (mut depth, mut count, mut filled, mut own) = (0_i32, 0, false, String::new());
    let mut previous = ' ';
    for c in signature[open..].chars() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            '>' if previous == '-' || previous == '=' => {}
            ')' | ']' | '}' | '>' => depth -= 1,
            ',' if depth == 1 => {
                count += usize::from(filled);
                filled = false;
                previous = c;
                continue;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth >= 1 && !c.is_whitespace() && !(depth == 1 && c == '(') {
            filled = true;
            own.push(c);
        }
        previous = c;
    }
    count += usize::from(filled);
    let receiver = ["self", "&self", "&mutself", "mutself"];
    let has_receiver = receiver.iter().any(|word| {
        own.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    });
    count - usize::from(has_receiver && count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { path: "crates/x/src/y.rs".into(), text: text.into() }
    }

    #[test]
    fn functions_are_measured_from_signature_to_brace() {
        let found = source(
            "pub fn a(x: Vec<(u8, u8)>, y: u8) -> u8 {\n    1\n}\n\nimpl X {\n    async fn b(&self) {\n    }\n}\n",
        );
        let found = found.functions();
        assert_eq!(found[0], Function { name: "a", lines: 3, parameters: 2 });
        assert_eq!(found[1], Function { name: "b", lines: 2, parameters: 0 });
    }
}
