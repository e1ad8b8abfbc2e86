//! Every simple command of a shell line, by a walk over all of its syntax tree.

use brush_parser::{
    Parser, ParserOptions,
    ast::{
        AndOr, AssignmentValue, Command, CommandPrefixOrSuffixItem as Item, CompoundCommand, CompoundList,
        ExtendedTestExpr, IoFileRedirectKind, IoFileRedirectTarget, IoRedirect, Pipeline, SimpleCommand,
        Word,
    },
    word::{self, ParameterExpr, WordPiece, WordPieceWithSource},
};

use super::Found;

/// Stands in a word for what is only known when the line runs. No argument can hold it.
pub(super) const UNKNOWN: char = '\0';

/// A simple command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Simple {
    /// Name and arguments, quotes removed.
    pub(super) argv: Vec<String>,
    /// What it reads.
    pub(super) stdin: Stdin,
}

/// Where a command reads from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stdin {
    /// A pipe, or whatever the line has.
    Open,
    /// A file.
    File,
    /// Text that stands in the line.
    Text(String),
}

/// The simple commands of a line, in no particular order.
pub(super) fn commands(line: &str) -> Result<Vec<Simple>, Found> {
    if line.contains(UNKNOWN) {
        return Err(Found::Syntax);
    }
    let mut walk = Walk { options: ParserOptions::default(), found: Vec::new() };
    walk.program(line)?;
    Ok(walk.found)
}

struct Walk {
    options: ParserOptions,
    found: Vec<Simple>,
}

type Walked = Result<(), Found>;

impl Walk {
    fn program(&mut self, line: &str) -> Walked {
        let program =
            Parser::new(line.as_bytes(), &self.options).parse_program().map_err(|_| Found::Syntax)?;
        program.complete_commands.iter().try_for_each(|list| self.list(list))
    }

    fn list(&mut self, list: &CompoundList) -> Walked {
        for item in &list.0 {
            self.pipeline(&item.0.first)?;
            for next in &item.0.additional {
                match next {
                    AndOr::And(pipeline) | AndOr::Or(pipeline) => self.pipeline(pipeline)?,
                }
            }
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> Walked {
        pipeline.seq.iter().try_for_each(|command| self.command(command))
    }

    fn command(&mut self, command: &Command) -> Walked {
        match command {
            Command::Simple(simple) => self.simple(simple),
            Command::Compound(compound, redirects) => {
                self.redirects(redirects.iter().flat_map(|list| &list.0))?;
                self.compound(compound)
            }
            Command::Function(function) => {
                self.redirects(function.body.1.iter().flat_map(|list| &list.0))?;
                self.compound(&function.body.0)
            }
            Command::ExtendedTest(test, redirects) => {
                self.redirects(redirects.iter().flat_map(|list| &list.0))?;
                self.test(&test.expr)
            }
        }
    }

    /// The parser takes `( ( x ) )` for arithmetic, which a shell runs as two subshells: what stands in it
    /// counts as commands too, where it can be read as such.
    fn perhaps_subshells(&mut self, text: &str) {
        let mut inner = Walk { options: self.options.clone(), found: Vec::new() };
        if inner.program(text).is_ok() {
            let named = |simple: &Simple| simple.argv.first().is_some_and(|name| !name.contains(UNKNOWN));
            self.found.extend(inner.found.into_iter().filter(named));
        }
    }

    fn compound(&mut self, compound: &CompoundCommand) -> Walked {
        match compound {
            CompoundCommand::Arithmetic(command) => {
                self.text(&command.expr.value)?;
                self.perhaps_subshells(&command.expr.value);
                Ok(())
            }
            CompoundCommand::ArithmeticForClause(command) => {
                for expr in [&command.initializer, &command.condition, &command.updater].into_iter().flatten()
                {
                    self.text(&expr.value)?;
                }
                self.list(&command.body.list)
            }
            CompoundCommand::BraceGroup(group) => self.list(&group.list),
            CompoundCommand::Subshell(subshell) => self.list(&subshell.list),
            CompoundCommand::ForClause(command) => {
                self.words(command.values.iter().flatten())?;
                self.list(&command.body.list)
            }
            CompoundCommand::CaseClause(command) => {
                self.word(&command.value)?;
                for case in &command.cases {
                    self.words(&case.patterns)?;
                    case.cmd.iter().try_for_each(|list| self.list(list))?;
                }
                Ok(())
            }
            CompoundCommand::IfClause(command) => {
                self.list(&command.condition)?;
                self.list(&command.then)?;
                for part in command.elses.iter().flatten() {
                    part.condition.iter().try_for_each(|list| self.list(list))?;
                    self.list(&part.body)?;
                }
                Ok(())
            }
            CompoundCommand::WhileClause(command) | CompoundCommand::UntilClause(command) => {
                self.list(&command.0)?;
                self.list(&command.1.list)
            }
            CompoundCommand::Coprocess(command) => self.command(&command.body),
        }
    }

    fn test(&mut self, test: &ExtendedTestExpr) -> Walked {
        match test {
            ExtendedTestExpr::And(a, b) | ExtendedTestExpr::Or(a, b) => {
                self.test(a)?;
                self.test(b)
            }
            ExtendedTestExpr::Not(inner) | ExtendedTestExpr::Parenthesized(inner) => self.test(inner),
            ExtendedTestExpr::UnaryTest(_, word) => self.word(word).map(drop),
            ExtendedTestExpr::BinaryTest(_, a, b) => self.words([a, b]),
        }
    }

    fn simple(&mut self, simple: &SimpleCommand) -> Walked {
        let mut argv = Vec::new();
        let mut stdin = Stdin::Open;
        for item in simple.prefix.iter().flat_map(|prefix| &prefix.0) {
            self.item(item, &mut stdin)?;
        }
        if let Some(name) = &simple.word_or_name {
            argv.push(self.word(name)?);
        }
        for item in simple.suffix.iter().flat_map(|suffix| &suffix.0) {
            argv.extend(self.item(item, &mut stdin)?);
        }
        self.found.push(Simple { argv, stdin });
        Ok(())
    }

    /// Walks a part of a simple command; returns the argument that it is, if it is one.
    fn item(&mut self, item: &Item, stdin: &mut Stdin) -> Result<Option<String>, Found> {
        match item {
            Item::Word(word) => self.word(word).map(Some),
            Item::AssignmentWord(assignment, word) => match &assignment.value {
                AssignmentValue::Scalar(_) => self.word(word).map(Some),
                AssignmentValue::Array(elements) => {
                    for (key, value) in elements {
                        self.words(key.iter().chain([value]))?;
                    }
                    Ok(Some(UNKNOWN.to_string()))
                }
            },
            Item::ProcessSubstitution(_, subshell) => {
                self.list(&subshell.list)?;
                Ok(Some(UNKNOWN.to_string()))
            }
            Item::IoRedirect(redirect) => {
                if let Some(from) = self.redirect(redirect)? {
                    *stdin = from;
                }
                Ok(None)
            }
        }
    }

    fn redirects<'a>(&mut self, redirects: impl IntoIterator<Item = &'a IoRedirect>) -> Walked {
        redirects.into_iter().try_for_each(|redirect| self.redirect(redirect).map(drop))
    }

    /// Walks a redirection; returns what standard input becomes, if it does.
    fn redirect(&mut self, redirect: &IoRedirect) -> Result<Option<Stdin>, Found> {
        let is_stdin = |fd: &Option<i32>| fd.unwrap_or(0) == 0;
        match redirect {
            IoRedirect::File(fd, kind, target) => {
                let from = match target {
                    IoFileRedirectTarget::Filename(word) => {
                        // `< /dev/stdin` leads back to where it came from.
                        let file = self.word(word)?;
                        if super::runs::is_stream(&file) { Stdin::Open } else { Stdin::File }
                    }
                    IoFileRedirectTarget::Duplicate(word) => {
                        self.word(word)?;
                        Stdin::Open
                    }
                    IoFileRedirectTarget::ProcessSubstitution(_, subshell) => {
                        self.list(&subshell.list)?;
                        Stdin::Open
                    }
                    IoFileRedirectTarget::Fd(_) => Stdin::Open,
                };
                use IoFileRedirectKind::{DuplicateInput, Read, ReadAndWrite};
                let reads = matches!(kind, Read | ReadAndWrite | DuplicateInput) && is_stdin(fd);
                Ok(reads.then_some(from))
            }
            IoRedirect::HereDocument(fd, document) => {
                let text = if document.requires_expansion {
                    let pieces = word::parse_heredoc(&document.doc.value, &self.options);
                    let mut text = String::new();
                    self.pieces(&pieces.map_err(|_| Found::Syntax)?, true, &mut text)?;
                    text
                } else {
                    document.doc.value.clone()
                };
                Ok(is_stdin(fd).then_some(Stdin::Text(text)))
            }
            IoRedirect::HereString(fd, word) => {
                let text = self.word(word)?;
                Ok(is_stdin(fd).then_some(Stdin::Text(text)))
            }
            IoRedirect::OutputAndError(word, _) => self.word(word).map(|_| None),
        }
    }

    fn words<'a>(&mut self, words: impl IntoIterator<Item = &'a Word>) -> Walked {
        words.into_iter().try_for_each(|word| self.word(word).map(drop))
    }

    fn text(&mut self, text: &str) -> Walked {
        self.expand(text).map(drop)
    }

    fn word(&mut self, word: &Word) -> Result<String, Found> {
        self.expand(&word.value)
    }

    /// The word without its quotes, after a walk over the commands inside it.
    fn expand(&mut self, raw: &str) -> Result<String, Found> {
        let pieces = word::parse(raw, &self.options).map_err(|_| Found::Syntax)?;
        let mut text = String::new();
        self.pieces(&pieces, false, &mut text)?;
        Ok(text)
    }

    fn pieces(&mut self, pieces: &[WordPieceWithSource], quoted: bool, out: &mut String) -> Walked {
        pieces.iter().try_for_each(|piece| self.piece(&piece.piece, quoted, out))
    }

    fn piece(&mut self, piece: &WordPiece, quoted: bool, out: &mut String) -> Walked {
        match piece {
            WordPiece::Text(text) => {
                out.push_str(text);
                let braces = text.contains('{') && (text.contains(',') || text.contains(".."));
                // `[` alone is a command; anything else with these may become other words.
                if !quoted && (text.contains(['*', '?']) || (text.contains('[') && text != "[") || braces) {
                    out.push(UNKNOWN);
                }
            }
            WordPiece::SingleQuotedText(text) => out.push_str(text),
            WordPiece::AnsiCQuotedText(text) if text.contains('\\') => out.push(UNKNOWN),
            WordPiece::AnsiCQuotedText(text) => out.push_str(text),
            WordPiece::DoubleQuotedSequence(pieces) | WordPiece::GettextDoubleQuotedSequence(pieces) => {
                self.pieces(pieces, true, out)?;
            }
            WordPiece::TildeExpansion(_) => out.push('~'),
            WordPiece::EscapeSequence(text) => {
                out.extend(text.strip_prefix('\\').unwrap_or(text).chars().filter(|c| *c != '\n'));
            }
            WordPiece::CommandSubstitution(line) | WordPiece::BackquotedCommandSubstitution(line) => {
                self.program(line)?;
                unknown(quoted, out);
            }
            WordPiece::ArithmeticExpression(expr) => {
                self.text(&expr.value)?;
                unknown(quoted, out);
            }
            WordPiece::ParameterExpansion(expr) => {
                for inner in inside(expr) {
                    self.text(inner)?;
                }
                unknown(quoted, out);
            }
        }
        Ok(())
    }
}

/// An expansion outside quotes may come to several words, so nothing of the word is known.
fn unknown(quoted: bool, out: &mut String) {
    if !quoted {
        out.clear();
        out.push_str(SPLIT);
    } else if !out.ends_with(UNKNOWN) {
        out.push(UNKNOWN);
    }
}

/// Marks a word that may become several.
const SPLIT: &str = "\0\0";

/// Whether nothing of this word is known.
pub(super) fn may_split(word: &str) -> bool {
    word.contains(SPLIT)
}

/// The words inside a parameter expansion.
fn inside(expr: &ParameterExpr) -> Vec<&str> {
    use ParameterExpr::*;
    match expr {
        UseDefaultValues { default_value: inner, .. }
        | AssignDefaultValues { default_value: inner, .. }
        | IndicateErrorIfNullOrUnset { error_message: inner, .. }
        | UseAlternativeValue { alternative_value: inner, .. }
        | RemoveSmallestSuffixPattern { pattern: inner, .. }
        | RemoveLargestSuffixPattern { pattern: inner, .. }
        | RemoveSmallestPrefixPattern { pattern: inner, .. }
        | RemoveLargestPrefixPattern { pattern: inner, .. }
        | UppercaseFirstChar { pattern: inner, .. }
        | UppercasePattern { pattern: inner, .. }
        | LowercaseFirstChar { pattern: inner, .. }
        | LowercasePattern { pattern: inner, .. } => inner.iter().map(String::as_str).collect(),
        Substring { offset, length, .. } => {
            [Some(offset), length.as_ref()].into_iter().flatten().map(|expr| expr.value.as_str()).collect()
        }
        ReplaceSubstring { pattern, replacement, .. } => {
            [Some(pattern), replacement.as_ref()].into_iter().flatten().map(String::as_str).collect()
        }
        Parameter { parameter, .. } | ParameterLength { parameter, .. } | Transform { parameter, .. } => {
            match parameter {
                word::Parameter::NamedWithIndex { index, .. } => vec![index],
                _ => Vec::new(),
            }
        }
        VariableNames { .. } | MemberKeys { .. } => Vec::new(),
    }
}
