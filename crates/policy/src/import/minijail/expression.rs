//! What stands after the colon: conditions in disjunctive normal form, actions, lists of both.

use callgate_abi::{Action, Arch, CompareOp, argument_value, errno_number};

use super::tokens::Token;
use crate::logic::{self, Any};

/// The words of one statement, taken from the front.
pub(super) struct Words<'a> {
    pub rest: &'a [Token<'a>],
    /// The line of the last one taken.
    pub line: usize,
    pub arch: Arch,
}

type Fault = String;

/// What a statement says: lines of which the first that matches decides.
pub(super) struct Filter {
    pub lines: Vec<(Any, Action)>,
    /// Whether it was `conditions; return ERRNO` without braces, which minijail's two readers differ in.
    pub disputed: bool,
}

impl<'a> Words<'a> {
    pub fn peek(&self) -> &'a str {
        self.rest.first().map_or("", |token| token.text)
    }

    pub fn next(&mut self) -> &'a str {
        let Some((first, rest)) = self.rest.split_first() else {
            return "";
        };
        (self.rest, self.line) = (rest, first.line);
        first.text
    }

    pub fn take(&mut self, word: &str) -> bool {
        let is = self.peek() == word;
        if is {
            self.next();
        }
        is
    }

    pub fn expect(&mut self, word: &str) -> Result<(), Fault> {
        match self.take(word) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("{word:?}"))),
        }
    }

    pub fn unexpected(&self, expected: &str) -> Fault {
        match self.peek() {
            "" => format!("expected {expected} at the end"),
            word => format!("expected {expected}, found {word:?}"),
        }
    }

    /// `1`, `allow`, `return EPERM`, `kill-process` …
    pub fn action(&mut self) -> Result<Action, Fault> {
        Ok(match self.peek() {
            "1" | "allow" => self.then(Action::Allow),
            "log" => self.then(Action::Log),
            "kill" | "kill-process" => self.then(Action::KillProcess),
            "kill-thread" => self.then(Action::KillThread),
            "trap" => self.then(Action::Trap),
            "trace" => self.then(Action::Trace(0)),
            "user-notify" => {
                return Err("user-notify is no action of a policy: a filter alone can't notify".to_owned());
            }
            "return" => {
                self.next();
                let word = self.next();
                let number = number(word)
                    .and_then(|value| u16::try_from(value).ok())
                    .filter(|errno| *errno <= 4095);
                let errno = number.or_else(|| errno_number(word).filter(|_| word.starts_with('E')));
                Action::Errno(
                    errno.ok_or_else(|| format!("{word:?} is no errno: expected EPERM, ENOSYS, 38 …"))?,
                )
            }
            _ => {
                return Err(
                    self.unexpected("1, allow, return ERRNO, kill, trap, log or a condition as arg0 == 1")
                );
            }
        })
    }

    fn then(&mut self, action: Action) -> Action {
        self.next();
        action
    }

    /// All after the colon.
    pub fn filter(&mut self) -> Result<Filter, Fault> {
        if self.take("{") {
            let mut lines = Vec::new();
            loop {
                lines.push(self.single()?);
                if !self.take(",") {
                    break;
                }
            }
            self.expect("}")?;
            return Ok(Filter {
                lines,
                disputed: false,
            });
        }
        if !self.peek().starts_with("arg") {
            return Ok(Filter {
                lines: vec![(logic::always(), self.action()?)],
                disputed: false,
            });
        }
        let condition = self.condition()?;
        let mut lines = vec![(condition, Action::Allow)];
        let disputed = self.take(";");
        if disputed {
            lines.push((logic::always(), self.action()?));
        }
        Ok(Filter { lines, disputed })
    }

    fn single(&mut self) -> Result<(Any, Action), Fault> {
        if !self.peek().starts_with("arg") {
            return Ok((logic::always(), self.action()?));
        }
        let condition = self.condition()?;
        let action = if self.take(";") {
            self.action()?
        } else {
            Action::Allow
        };
        Ok((condition, action))
    }

    fn condition(&mut self) -> Result<Any, Fault> {
        let many = || "the condition is too long for a filter: split it, or make it wider".to_owned();
        let mut found: Any = Vec::new();
        loop {
            let mut clause = self.atom()?;
            while self.take("&&") {
                clause = logic::both(&clause, &self.atom()?).ok_or_else(many)?;
            }
            found.extend(clause);
            if !self.take("||") {
                return Ok(found);
            }
        }
    }

    fn atom(&mut self) -> Result<Any, Fault> {
        let word = self.peek();
        let index = word
            .strip_prefix("arg")
            .and_then(|digit| digit.parse::<u8>().ok())
            .filter(|index| *index < 6);
        let index = index.ok_or_else(|| self.unexpected("arg0 to arg5"))?;
        self.next();
        let op = self.peek();
        if !["==", "!=", "<", "<=", ">", ">=", "&", "in"].contains(&op) {
            return Err(self.unexpected("==, !=, <, <=, >, >=, & or in"));
        }
        self.next();
        let value = self.value(0)?;
        let compared = |op| logic::comparison(index, op, value);
        Ok(match op {
            "==" => compared(CompareOp::Eq),
            "!=" => compared(CompareOp::Ne),
            "<" => compared(CompareOp::Lt),
            "<=" => compared(CompareOp::Le),
            ">" => compared(CompareOp::Gt),
            ">=" => compared(CompareOp::Ge),
            "&" => logic::any_bit(index, value),
            _ => logic::masked(index, !value, 0),
        })
    }

    /// Constants joined by `|`, with `~` and parentheses.
    fn value(&mut self, depth: usize) -> Result<u64, Fault> {
        if depth > 16 {
            return Err("parentheses lie more than 16 deep".to_owned());
        }
        let mut all = 0;
        loop {
            let opposite = self.take("~");
            let value = if self.take("(") {
                let inner = self.value(depth + 1)?;
                self.expect(")")?;
                inner
            } else {
                let word = self.peek();
                let named = || {
                    argument_value(self.arch.abi(), word)
                        .filter(|_| word.starts_with(|c: char| c.is_ascii_uppercase()))
                };
                let value = number(word).or_else(named).ok_or_else(|| {
                    match word.starts_with(|c: char| c.is_ascii_alphabetic()) {
                        true => format!(
                            "the constant {word} is not known here: write its number for {}",
                            self.arch
                        ),
                        false => self.unexpected("a number"),
                    }
                })?;
                self.next();
                value
            };
            all |= if opposite { !value } else { value };
            if !self.take("|") {
                return Ok(all);
            }
        }
    }
}

/// As strtol(3) reads it, over 64 bits: decimal, 0x…, 0…, negative as its two's complement.
fn number(word: &str) -> Option<u64> {
    let (digits, negative) = match word.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (word, false),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let value = match (
        digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")),
        digits.strip_prefix('0'),
    ) {
        (Some(hex), _) if hex.chars().all(|c| c.is_ascii_hexdigit()) => u64::from_str_radix(hex, 16).ok()?,
        (None, Some(octal)) if !octal.is_empty() => u64::from_str_radix(octal, 8).ok()?,
        _ => digits.parse::<u64>().ok()?,
    };
    match negative {
        true => (value <= 1 << 63).then(|| value.wrapping_neg()),
        false => Some(value),
    }
}
