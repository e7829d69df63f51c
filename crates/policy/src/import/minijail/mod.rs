//! minijail's `.policy`, as minijail0 -S reads it (minijail0(5)) and as compile_seccomp_policy does, which
//! has more: lists of actions, braces, `@default`.

mod expression;
mod tokens;

use std::collections::BTreeMap;

use callgate_abi::{Action, Arch, Syscall};

use super::{ImportError, order};
use crate::logic::{self, Any};
use crate::{Policy, Rule, names};
use expression::Words;
use tokens::{Token, statements};

/// What the lines of a file and of those that it includes say.
struct Reading<'a> {
    arch: Arch,
    include: &'a dyn Fn(&str) -> Result<String, String>,
    default: Option<Action>,
    /// By call: its lines, and where the last of them stands.
    calls: BTreeMap<Syscall, (Vec<(Any, Action)>, Place)>,
    disputed: Vec<String>,
    notes: Vec<String>,
}

#[derive(Clone)]
struct Place {
    file: Option<String>,
    line: usize,
}

impl Place {
    fn fault(&self, what: impl Into<String>) -> ImportError {
        ImportError::Line {
            file: self.file.clone(),
            line: self.line,
            what: what.into(),
        }
    }
}

pub(super) fn read(
    text: &str,
    arch: Arch,
    include: &dyn Fn(&str) -> Result<String, String>,
    notes: &mut Vec<String>,
) -> Result<Policy, ImportError> {
    let mut reading = Reading {
        arch,
        include,
        default: None,
        calls: BTreeMap::new(),
        disputed: Vec::new(),
        notes: Vec::new(),
    };
    reading.file(text, None)?;
    let mut policy = Policy::new(reading.default.unwrap_or(Action::KillProcess));
    for (call, (lines, place)) in &reading.calls {
        let name = call.name().into_owned();
        let rules = order::rules(lines, policy.default).ok_or_else(|| {
            place.fault(format!(
                "{name}: the conditions need too many rules: make them wider"
            ))
        })?;
        policy.rules.extend(
            rules
                .into_iter()
                .map(|(action, args)| Rule::new(action, [name.clone()]).when(args)),
        );
    }
    if !reading.disputed.is_empty() {
        notes.push(format!(
            "{}: `conditions; return ERRNO` is read as minijail0 -S does, which allows the call if they hold; \
             compile_seccomp_policy returns the errno then",
            reading.disputed.join(", ")
        ));
    }
    notes.append(&mut reading.notes);
    Ok(gathered(policy))
}

/// Calls with one and the same unconditional action stand in one rule.
fn gathered(mut policy: Policy) -> Policy {
    let mut open: Vec<Rule> = Vec::new();
    let (plain, conditional): (Vec<Rule>, Vec<Rule>) =
        policy.rules.into_iter().partition(|rule| rule.args.is_empty());
    for rule in plain {
        match open.iter_mut().find(|known| known.action == rule.action) {
            Some(known) => known.names.extend(rule.names),
            None => open.push(rule),
        }
    }
    policy.rules = open.into_iter().chain(conditional).collect();
    policy
}

impl Reading<'_> {
    fn file(&mut self, text: &str, file: Option<&str>) -> Result<(), ImportError> {
        let at = |line| Place {
            file: file.map(str::to_owned),
            line,
        };
        let statements = statements(text).map_err(|(line, what)| at(line).fault(what))?;
        for statement in statements {
            let Some(first) = statement.first() else { continue };
            let place = at(first.line);
            let mut words = Words {
                rest: &statement,
                line: first.line,
                arch: self.arch,
            };
            match first.text {
                "@include" => self.include(&statement, &place)?,
                "@frequency" => self.notes.push(format!(
                    "line {}: @frequency orders the filter and decides nothing: left out",
                    place.line
                )),
                "@denylist" => {
                    return Err(
                        place.fault("a @denylist is not read: its meaning depends on a flag of the compiler")
                    );
                }
                "@default" => {
                    words.next();
                    let action = words.action().map_err(|what| at(words.line).fault(what))?;
                    if self
                        .default
                        .replace(action)
                        .is_some_and(|before| before != action)
                    {
                        return Err(place.fault("a second @default: keep one"));
                    }
                    end(&words).map_err(|what| at(words.line).fault(what))?;
                }
                word if word.starts_with('@') => return Err(place.fault(format!("unknown statement {word}"))),
                _ => self.calls(&mut words, file)?,
            }
        }
        Ok(())
    }

    fn include(&mut self, statement: &[Token<'_>], place: &Place) -> Result<(), ImportError> {
        if place.file.is_some() {
            return Err(
                place.fault("an included file can't include another: put the @include into the first file")
            );
        }
        let [_, path] = statement else {
            return Err(place.fault("expected one path after @include"));
        };
        let text = (self.include)(path.text).map_err(|why| place.fault(why))?;
        if text.len() > crate::MAX_BYTES {
            return Err(place.fault(format!("{} is too long for a policy", path.text)));
        }
        self.file(&text, Some(path.text))
    }

    /// `name: …`, `{ name, name }: …`.
    fn calls(&mut self, words: &mut Words<'_>, file: Option<&str>) -> Result<(), ImportError> {
        let at = |line| Place {
            file: file.map(str::to_owned),
            line,
        };
        let mut calls = Vec::new();
        let braces = words.take("{");
        loop {
            calls.extend(self.call(words).map_err(|what| at(words.line).fault(what))?);
            if !braces || !words.take(",") {
                break;
            }
        }
        if braces {
            words.expect("}").map_err(|what| at(words.line).fault(what))?;
        }
        words.expect(":").map_err(|what| at(words.line).fault(what))?;
        let filter = words.filter().map_err(|what| at(words.line).fault(what))?;
        end(words).map_err(|what| at(words.line).fault(what))?;
        for call in calls {
            if filter.disputed {
                self.disputed.push(call.name().into_owned());
            }
            let (lines, place) = self
                .calls
                .entry(call)
                .or_insert_with(|| (Vec::new(), at(words.line)));
            for line in &filter.lines {
                if lines.iter().any(|(condition, _)| *condition == logic::always()) {
                    return Err(at(words.line).fault(format!(
                        "{call} already has an action for all arguments, in {}line {}: take one out",
                        place
                            .file
                            .as_ref()
                            .map(|file| format!("{file}, "))
                            .unwrap_or_default(),
                        place.line
                    )));
                }
                lines.push(line.clone());
            }
            *place = at(words.line);
        }
        Ok(())
    }

    /// A name, a number, or a name for some machines: `open[arch=x86_64]`.
    fn call(&mut self, words: &mut Words<'_>) -> Result<Option<Syscall>, String> {
        let word = words.peek();
        if word.contains('@') {
            return Err(format!(
                "{word}: groups are in minijail's constants.json: write out the calls"
            ));
        }
        if word.is_empty() || !word.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            return Err(words.unexpected("the name of a system call"));
        }
        words.next();
        let mut here = true;
        if words.take("[") {
            words.expect("arch")?;
            words.expect("=")?;
            here = false;
            loop {
                here |= words.next() == minijail_arch(self.arch);
                if !words.take(",") {
                    break;
                }
            }
            words.expect("]")?;
        }
        let call = match super::lists::number(word) {
            Some(nr) => {
                let call = Syscall::new(self.arch.abi(), nr);
                call.known_name()
                    .is_some()
                    .then_some(call)
                    .ok_or_else(|| format!("{} has no call {nr}", self.arch))?
            }
            None => {
                names::check(word).map_err(|unknown| unknown.to_string())?;
                match names::on(self.arch, word) {
                    Some(call) => call,
                    None if here => {
                        return Err(format!(
                            "{word} does not exist on {}, where minijail refuses the file",
                            self.arch
                        ));
                    }
                    None => return Ok(None),
                }
            }
        };
        if !here {
            self.notes
                .push(format!("{word} is for another machine: left out"));
        }
        Ok(here.then_some(call))
    }
}

fn end(words: &Words<'_>) -> Result<(), String> {
    match words.rest.is_empty() {
        true => Ok(()),
        false => Err(words.unexpected("nothing more in the line")),
    }
}

/// minijail's word for the machine.
fn minijail_arch(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86_64",
        Arch::Aarch64 => "arm64",
    }
}
