//! The rows written so far, and which of them are being shown once more.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Rows that are remembered, to be known again.
const MEMORY: usize = 16 << 10; // rows
/// How far ahead a row is looked for: rows between may have changed or gone.
const AHEAD: usize = 16; // rows
/// As many known rows in a row are a repetition; fewer may be chance, such as a prompt.
const CERTAIN: usize = 6; // rows
/// As many unknown rows in a row end a repetition.
const LOST: usize = 3; // rows
const RULE: usize = 72; // columns

/// One row of a screen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Row {
    /// Without the blanks at its end.
    pub text: String,
    /// Its line goes on in the next row.
    pub wraps: bool,
}

/// Text, and the memory of its rows.
#[derive(Default)]
pub(super) struct Log {
    /// What has been written and not yet handed on.
    pub text: String,
    memory: VecDeque<u64>,
    /// The last row written goes on.
    open: bool,
    again: Again,
}

/// What is known of a repetition.
#[derive(Default)]
enum Again {
    /// There is none.
    #[default]
    No,
    /// One may begin with the next row.
    Perhaps,
    /// Rows that were known so far, too few to tell; and where the next is expected.
    Begun(Vec<Row>, usize),
    /// The next row is expected at this place of the memory; so many have been missing.
    Certain(usize, usize),
}

impl Log {
    /// The program may begin to show everything again; `repeating` says that it did so before.
    pub fn expect_again(&mut self, repeating: bool) {
        if !repeating {
            self.give_up();
        }
        self.again = Again::Perhaps;
    }

    /// Whether `row` is a repetition, and has been dealt with. `repeating` says that it follows rows which
    /// were on the screen before this was cleared.
    pub fn is_known(&mut self, row: &Row, repeating: bool) -> bool {
        let hash = hash(row);
        match std::mem::take(&mut self.again) {
            Again::No => false,
            Again::Perhaps => match self.memory.iter().position(|&known| known == hash) {
                _ if row.text.is_empty() => {
                    self.again = Again::Perhaps;
                    true
                }
                Some(at) => {
                    self.again = Again::Begun(vec![row.clone()], at + 1);
                    true
                }
                None => false,
            },
            Again::Begun(mut rows, at) => match self.ahead(at, hash) {
                Some(at) => {
                    rows.push(row.clone());
                    self.again = if rows.len() < CERTAIN {
                        Again::Begun(rows, at + 1)
                    } else {
                        Again::Certain(at + 1, 0)
                    };
                    true
                }
                // All that was ever written has come again, and now something new: no chance did that.
                None if at == self.memory.len() => false,
                None if repeating => {
                    self.again = Again::Certain(at, 1);
                    false
                }
                None => {
                    self.write_all(rows);
                    false
                }
            },
            Again::Certain(at, missing) => match self.ahead(at, hash) {
                Some(at) => {
                    self.again = Again::Certain(at + 1, 0);
                    true
                }
                None if missing + 1 < LOST => {
                    self.again = Again::Certain(at, missing + 1);
                    false
                }
                None => false,
            },
        }
    }

    /// Writes rows that are still on the screen and will scroll off it later: then they are known.
    pub fn write_early(&mut self, rows: Vec<Row>) {
        self.give_up();
        let fresh: Vec<Row> = rows;
        let before = self.memory.len();
        let count = fresh.len();
        self.write_all(fresh);
        if count > 0 {
            // Rows that the memory had to forget have moved the others down.
            self.again =
                Again::Certain((before + count).min(self.memory.len()) - count.min(self.memory.len()), 0);
        }
    }

    /// Writes `rows`.
    pub fn write_all(&mut self, rows: Vec<Row>) {
        for row in rows {
            self.write(row);
        }
    }

    /// Writes a row.
    pub fn write(&mut self, row: Row) {
        self.text.push_str(&row.text);
        if !row.wraps {
            self.text.push('\n');
        }
        self.open = row.wraps;
        self.memory.push_back(hash(&row));
        if self.memory.len() > MEMORY {
            self.memory.pop_front();
            if let Again::Begun(_, at) | Again::Certain(at, _) = &mut self.again {
                *at = at.saturating_sub(1);
            }
        }
    }

    /// Writes a rule across the text.
    pub fn rule(&mut self, title: &str) {
        self.end_line();
        let title = if title.is_empty() { String::new() } else { format!(" {title} ") };
        let right = RULE - 4 - title.chars().count();
        self.text.extend(["────", &title, &"─".repeat(right), "\n"]);
    }

    /// Nothing more comes.
    pub fn close(&mut self) {
        self.give_up();
        self.end_line();
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.open) {
            self.text.push('\n');
        }
    }

    /// What was too little for a repetition was none.
    fn give_up(&mut self) {
        if let Again::Begun(rows, _) = std::mem::take(&mut self.again) {
            self.write_all(rows);
        }
    }

    fn ahead(&self, at: usize, hash: u64) -> Option<usize> {
        let end = self.memory.len().min(at + AHEAD);
        (at..end).find(|&place| self.memory[place] == hash)
    }
}

fn hash(row: &Row) -> u64 {
    // With its fixed keys, the same on every run.
    let mut hasher = DefaultHasher::new();
    row.hash(&mut hasher);
    hasher.finish()
}
