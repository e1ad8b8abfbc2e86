//! Looking for commands in a shell line.
//!
//! ```text
//!   line ──walk──▶ simple commands ──runs──▶ what each runs in turn: sudo X, xargs X, sh -c 'X', find -exec X
//!                        │                        │
//!                        └──── match patterns ◀───┘ (again, to a bounded depth)
//! ```
//!
//! Every simple command counts, wherever it stands: in pipelines and lists, subshells, functions, loops,
//! substitutions, here-documents, redirections, arithmetic. A line that cannot be judged is denied with the
//! reason: one that the parser refuses, and one in which a command's name, or a script given to a shell, is
//! only known when it runs (`$CMD x`, `eval "$x"`, `… | sh`).
//!
//! What is not seen: what a program does by itself. A script in a file, `python -c`, `make`, an editor's own
//! shell escape: none of them is a shell line.

mod runs;
mod walk;

use std::fmt;

use walk::{Simple, UNKNOWN};

/// Longest line that is judged, in bytes.
const LINE_LIMIT: usize = 64 << 10;

/// Deepest nesting of brackets and keywords that is judged. The parser recurses.
const NESTING_LIMIT: usize = 40;

/// Deepest chain of commands that run commands.
const CHAIN_LIMIT: usize = 12;

/// Simple commands that a line may come to, scripts inside it included.
const COMMAND_LIMIT: usize = 4096;

/// Stack of the thread that parses: enough for [`NESTING_LIMIT`] in a debug build.
const STACK: usize = 64 << 20; // bytes, of which only what is used is backed

/// A denied command: its name and first arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    words: Vec<String>,
}

impl Pattern {
    /// The pattern of an entry such as `git push`; `None` if it is empty.
    pub fn new(text: &str) -> Option<Pattern> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() { None } else { Some(Pattern { words }) }
    }

    /// Whether this is such a command. `git -C dir push` is a `git push`: options, and a value that one may
    /// have, are passed over. What is not known yet may be anything.
    fn matches(&self, argv: &[String]) -> bool {
        let (Some((name, given)), Some((wanted, rest))) = (argv.split_first(), self.words.split_first())
        else {
            return false;
        };
        let same = name == wanted || (!wanted.contains('/') && base(name) == wanted);
        same && follows(given, rest)
    }
}

fn follows(given: &[String], wanted: &[String]) -> bool {
    let Some((want, more)) = wanted.split_first() else { return true };
    let Some((word, rest)) = given.split_first() else { return false };
    if word == want || word.contains(UNKNOWN) {
        return follows(rest, more) || (word.contains(UNKNOWN) && follows(rest, wanted));
    }
    word.starts_with('-') && (follows(rest, wanted) || rest.get(1..).is_some_and(|r| follows(r, wanted)))
}

/// What was found in a line, and denies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A denied command.
    Command(Pattern),
    /// The line is none that the parser knows.
    Syntax,
    /// It is too long or nested too deeply to be judged.
    TooComplex,
    /// A command's name is only known when it runs.
    Name,
    /// A script that a command runs is only known then.
    Script(String),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Command(pattern) => {
                write!(f, "'{}' is not allowed in this session", pattern.words.join(" "))
            }
            Found::Syntax => f.write_str("the line cannot be parsed, so it cannot be allowed; write it plainly"),
            Found::TooComplex => {
                f.write_str("the line is too long or too deeply nested to be judged; split it up")
            }
            Found::Name => f.write_str(
                "a command in this line gets its name from an expansion, so it cannot be judged; write the name out",
            ),
            Found::Script(name) => write!(
                f,
                "'{name}' in this line runs text that is only known when it runs, so it cannot be judged; \
                 write the commands out"
            ),
        }
    }
}

/// Looks for denied commands in a line.
pub fn search(line: &str, patterns: &[Pattern]) -> Option<Found> {
    if line.len() > LINE_LIMIT || nesting(line) > NESTING_LIMIT {
        return Some(Found::TooComplex);
    }
    // The parser is recursive, and a hostile line must not overflow the stack of a worker.
    std::thread::scope(|scope| {
        let parse = || Search { patterns, left: COMMAND_LIMIT }.line(line, CHAIN_LIMIT).err();
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, parse);
        thread.map_or(Some(Found::TooComplex), |t| t.join().unwrap_or(Some(Found::Syntax)))
    })
}

struct Search<'a> {
    patterns: &'a [Pattern],
    left: usize,
}

impl Search<'_> {
    fn line(&mut self, line: &str, chain: usize) -> Result<(), Found> {
        // A script that came out of quotes was not counted with the line.
        if nesting(line) > NESTING_LIMIT {
            return Err(Found::TooComplex);
        }
        walk::commands(line)?.iter().try_for_each(|simple| self.simple(simple, chain))
    }

    fn simple(&mut self, simple: &Simple, chain: usize) -> Result<(), Found> {
        let Some((name, given)) = simple.argv.split_first() else { return Ok(()) };
        let chain = chain.checked_sub(1).ok_or(Found::TooComplex)?;
        self.left = self.left.checked_sub(1).ok_or(Found::TooComplex)?;
        let (whole, name) = (name, base(name));
        if walk::may_split(whole) || name.contains(UNKNOWN) || name == "{}" {
            return Err(Found::Name);
        }
        if let Some(pattern) = self.patterns.iter().find(|pattern| pattern.matches(&simple.argv)) {
            return Err(Found::Command(pattern.clone()));
        }
        for run in runs::of(name, given, &simple.stdin) {
            match run {
                runs::Run::Command(argv) => {
                    let inner = Simple { argv, stdin: simple.stdin.clone() };
                    self.simple(&inner, chain)?;
                }
                runs::Run::Script(script) if script.contains(UNKNOWN) => {
                    return Err(Found::Script(name.to_owned()));
                }
                runs::Run::Script(script) => self.line(&script, chain)?,
                runs::Run::Anything => return Err(Found::Script(name.to_owned())),
            }
        }
        Ok(())
    }
}

/// The last part of a path.
fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// How deeply a line nests at most, quotes ignored: more than the parser will see, never less.
fn nesting(line: &str) -> usize {
    let (mut depth, mut most, mut backquotes) = (0usize, 0usize, 0usize);
    for word in line.split_inclusive(|c: char| c.is_whitespace() || ";|&(){}`".contains(c)) {
        let mark = word.chars().next_back().unwrap_or(' ');
        match word.trim_end_matches(|c: char| c.is_whitespace() || ";|&(){}`".contains(c)) {
            "if" | "while" | "until" | "for" | "case" | "select" | "coproc" | "function" | "!" | "time" => {
                depth += 1;
            }
            "fi" | "done" | "esac" => depth = depth.saturating_sub(1),
            _ => {}
        }
        match mark {
            '(' | '{' => depth += 1,
            ')' | '}' => depth = depth.saturating_sub(1),
            // Opening and closing look alike; escaped ones nest.
            '`' => backquotes += 1,
            _ => {}
        }
        most = most.max(depth);
    }
    most + usize::from(backquotes > 0) + line.matches("\\`").count()
}

#[cfg(test)]
mod tests;
