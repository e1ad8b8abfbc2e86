//! What Claude Code may not do: the part of a profile's policy that the `PreToolUse` hook enforces.
//!
//! Pure: a question in, a [`Decision`] out.
//!
//! - `deny_commands` are looked for in every tool input that has a `command`, in every simple command that a
//!   real shell parser finds in it: see [`shell`] for how, and for what such a search cannot see.
//! - `deny_paths` are globs, matched against the `file_path`, `path` and `notebook_path` of tool inputs,
//!   made absolute against the session's working directory and cleaned of `.` and `..`. A glob that begins
//!   with neither `/` nor `**` counts from that directory. A directory is denied where all that lies directly
//!   in it is.
//!
//! The container, not the policy, is what holds a hostile program. The policy is what keeps a willing one
//! from doing what its operator does not want, and says so in words that the model can act on.

pub mod shell;

use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{raw, spec};
use shell::Pattern;

/// A profile's policy, compiled.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    commands: Vec<Pattern>,
    paths: GlobSet,
}

/// Why a profile's policy means nothing.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A path is no glob.
    #[error("deny_paths: '{glob}' is no glob: {problem}")]
    Glob {
        /// The path.
        glob: String,
        /// What is wrong with it.
        problem: globset::Error,
    },
    /// A command is empty.
    #[error("deny_commands: an entry is empty; write a command's name, or its name and first arguments")]
    Command,
}

/// What a hook asks.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Claude Code's name of the event.
    pub event: &'a str,
    /// The tool's input, where there is a tool.
    pub input: Option<&'a RawValue>,
    /// The directory that relative paths count from.
    pub cwd: &'a str,
}

/// What of a tool's input is judged; the rest is passed over unread. A field that stands there twice makes it
/// unreadable: nobody knows which of the two will count.
#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    command: Option<&'a RawValue>,
    #[serde(borrow)]
    file_path: Option<&'a RawValue>,
    #[serde(borrow)]
    path: Option<&'a RawValue>,
    #[serde(borrow)]
    notebook_path: Option<&'a RawValue>,
}

/// What a hook is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Go on; Claude Code's own permission rules still apply.
    Allow,
    /// Do not.
    Deny {
        /// Why, for the model to read.
        reason: String,
    },
}

impl Policy {
    /// Compiles a profile's policy.
    pub fn new(policy: &spec::Policy) -> Result<Policy, PolicyError> {
        let commands = policy.deny_commands.iter().map(|text| Pattern::new(text).ok_or(PolicyError::Command));
        let mut paths = GlobSetBuilder::new();
        for glob in &policy.deny_paths {
            let compiled = GlobBuilder::new(glob).literal_separator(true).build();
            paths.add(compiled.map_err(|problem| PolicyError::Glob { glob: glob.clone(), problem })?);
        }
        let paths = paths.build().map_err(|problem| PolicyError::Glob { glob: String::new(), problem })?;
        Ok(Policy { commands: commands.collect::<Result<_, _>>()?, paths })
    }

    /// Decides. Only questions about a tool that is about to run can be denied.
    pub fn decide(&self, question: &Question<'_>) -> Decision {
        let (true, Some(input)) =
            (matches!(question.event, "PreToolUse" | "PermissionRequest"), question.input)
        else {
            return Decision::Allow;
        };
        if !raw::is_object(input) {
            return Decision::Allow;
        }
        let denied = match serde_json::from_str::<Input<'_>>(input.get()) {
            Ok(input) => self.command(&input).or_else(|| self.path(&input, question.cwd)),
            Err(_) => Some("the tool's input cannot be read".to_owned()),
        };
        denied.map_or(Decision::Allow, |reason| Decision::Deny { reason })
    }

    fn command(&self, input: &Input<'_>) -> Option<String> {
        let line = input.command?;
        if self.commands.is_empty() {
            return None;
        }
        match raw::text(line) {
            Some(line) => shell::search(&line, &self.commands).map(|found| found.to_string()),
            None => Some("the command is not text".to_owned()),
        }
    }

    fn path(&self, input: &Input<'_>, cwd: &str) -> Option<String> {
        if self.paths.is_empty() {
            return None;
        }
        [input.file_path, input.path, input.notebook_path].into_iter().flatten().find_map(|given| {
            if !given.get().starts_with('"') {
                return None;
            }
            let Some(given) = raw::text(given) else { return Some("the path is not text".to_owned()) };
            let absolute = clean(&Path::new("/").join(cwd).join(&given));
            let denied = self.matches(&absolute)
                || absolute.strip_prefix(clean(Path::new(cwd))).is_ok_and(|below| self.matches(below));
            denied.then(|| format!("{given} is not open to tools in this session"))
        })
    }

    fn matches(&self, path: &Path) -> bool {
        // Any name would do: what is asked is whether the glob covers everything in the directory.
        self.paths.is_match(path) || self.paths.is_match(path.join("any"))
    }
}

/// The path without `.` and `..`, as if no directory were a link.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests;
