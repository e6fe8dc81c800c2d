//! The text of a statement: how long it is and how much is in it, which bounds how deep what is
//! made of it can be, and one query out of it. Positions are those of the text.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use veritwin_domain::LimitExceeded;

use crate::error::{Error, within};

/// Longest statement.
const QUERY_BYTES_MAX: usize = 16 * 1024;
/// Most words, numbers and signs of a statement.
const TOKENS_MAX: usize = 4_000;
/// Most of them that are neither names nor values nor commas. What is made of a statement is no
/// deeper than these.
const OPERATORS_MAX: usize = 250;
/// How deep brackets and questions stand in each other.
const DEPTH_MAX: usize = 32;
/// Longest text that is written in a statement: it may stand in every row that is made.
const LITERAL_BYTES_MAX: usize = 1024;
/// Most names of tables in a statement. A question that has a name (`WITH`) is planned wherever it
/// is named, and so are those that it names itself: of so few names no more than some hundred
/// come.
const TABLES_MAX: usize = 12;
/// Shorter literals stand in many words by chance, and tell nothing.
const TOLD_BYTES_MIN: usize = 2;

/// A statement that is short enough to be looked at.
pub(crate) struct Text<'a> {
    statement: &'a str,
    literals: Vec<String>,
}

impl<'a> Text<'a> {
    pub(crate) fn read(statement: &'a str) -> Result<Self, Error> {
        within("sql_query_bytes_max", QUERY_BYTES_MAX, statement.len())?;
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, statement).tokenize();
        let tokens = tokens.map_err(|error| {
            let place = error.location;
            let detail = "a text, a name or a comment is not closed, or a sign is none of SQL";
            let position = format!("line {}, column {}", place.line, place.column);
            Error::invalid(detail).at(Some(position))
        })?;
        let is_said = |token: &&Token| !matches!(token, Token::Whitespace(_) | Token::EOF);
        within("sql_tokens_max", TOKENS_MAX, tokens.iter().filter(is_said).count())?;
        let operators = tokens.iter().filter(is_said).filter(|token| is_operator(token)).count();
        within("sql_operators_max", OPERATORS_MAX, operators)?;
        check_groupings(&tokens)?;
        let literals: Vec<String> = tokens.into_iter().filter_map(literal).collect();
        let text = Self { statement, literals };
        within("sql_literal_bytes_max", LITERAL_BYTES_MAX, text.longest_literal())?;
        Ok(text)
    }

    /// How long the longest literal of the statement is, in bytes.
    pub(crate) fn longest_literal(&self) -> usize {
        self.literals.iter().map(String::len).max().unwrap_or(0)
    }

    /// Whether words hold a literal of the statement.
    pub(crate) fn is_told_in(&self, words: &str) -> bool {
        self.literals.iter().any(|one| one.len() >= TOLD_BYTES_MIN && words.contains(one.as_str()))
    }

    /// The one query that the statement is.
    pub(crate) fn query(&self) -> Result<ast::Statement, Error> {
        let dialect = PostgreSqlDialect {};
        let parser = Parser::new(&dialect).with_recursion_limit(DEPTH_MAX);
        let statements = parser
            .try_with_sql(self.statement)
            .and_then(|mut parser| parser.parse_statements())
            .map_err(|error| self.unreadable(&error))?;
        let mut statements = statements.into_iter();
        match (statements.next(), statements.next()) {
            (Some(query @ ast::Statement::Query(_)), None) => {
                check_tables(&query)?;
                Ok(query)
            }
            (None, _) => Err(Error::invalid("there is no statement: expected SELECT")),
            (Some(_), Some(_)) => Err(Error::invalid("one statement at a time")),
            (Some(_), None) => Err(Error::invalid(
                "only SELECT is carried out: nothing can be written, made, copied, set or explained",
            )),
        }
    }

    fn unreadable(&self, error: &ParserError) -> Error {
        let words = match error {
            ParserError::RecursionLimitExceeded => {
                let (name, max) = ("sql_depth_max", DEPTH_MAX);
                return LimitExceeded { name, max, actual: LimitExceeded::MORE }.into();
            }
            ParserError::ParserError(words) | ParserError::TokenizerError(words) => words,
        };
        let (words, position) = split_position(words);
        // What was found instead is the statement's own text, a literal perhaps.
        let expected = words.split(", found").next().unwrap_or_default();
        let detail = if expected.starts_with("Expected") && !self.is_told_in(expected) {
            expected.replacen("Expected", "expected", 1)
        } else {
            "this is not SQL that is understood here".to_owned()
        };
        Error::invalid(detail).at(position)
    }
}

/// `CUBE` makes twice as many groups with each name in it, and two of the others as many as both
/// multiplied, all of them while the statement is planned.
fn check_groupings(tokens: &[Token]) -> Result<(), Error> {
    let sets = tokens
        .iter()
        .filter(|token| is_word(token, Keyword::ROLLUP) || is_word(token, Keyword::GROUPING));
    if sets.count() > 1 || tokens.iter().any(|token| is_word(token, Keyword::CUBE)) {
        let detail = "CUBE is not offered, nor more than one of ROLLUP and GROUPING SETS";
        return Err(Error::invalid(detail));
    }
    Ok(())
}

fn is_word(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword)
}

fn check_tables(query: &ast::Statement) -> Result<(), Error> {
    let mut tables = 0usize;
    let _all: ControlFlow<()> = ast::visit_relations(query, |_| {
        tables += 1;
        ControlFlow::Continue(())
    });
    within("sql_tables_max", TABLES_MAX, tables)
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::Number(..) | Token::SingleQuotedString(_) | Token::Comma | Token::Period => false,
        _ => true,
    }
}

fn literal(token: Token) -> Option<String> {
    match token {
        Token::Number(text, _)
        | Token::SingleQuotedString(text)
        | Token::EscapedStringLiteral(text)
        | Token::UnicodeStringLiteral(text)
        | Token::NationalStringLiteral(text)
        | Token::HexStringLiteral(text) => Some(text),
        Token::DollarQuotedString(quoted) => Some(quoted.value),
        _ => None,
    }
}

/// The parser's words without the place, and the place: `... at Line: 1, Column: 8`.
fn split_position(words: &str) -> (&str, Option<String>) {
    let Some((before, place)) = words.rsplit_once(" at Line: ") else { return (words, None) };
    let Some((line, column)) = place.split_once(", Column: ") else { return (words, None) };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let column = column.trim();
    if !is_number(line) || !is_number(column) {
        return (words, None);
    }
    (before, Some(format!("line {line}, column {column}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_taken_out_of_the_words() {
        let check = |words: &str, expect: (&str, Option<&str>)| {
            let (rest, position) = split_position(words);
            assert_eq!((rest, position.as_deref()), expect);
        };
        let place = Some("line 2, column 14");
        check("Expected: ), found: x at Line: 2, Column: 14", ("Expected: ), found: x", place));
        check("no place at all", ("no place at all", None));
        check("x at Line: a, Column: b", ("x at Line: a, Column: b", None));
    }
}
