//! What is left of a program when the number is known: partial evaluation.
//!
//! Comparisons of the number and of the architecture are decided here; those of arguments stay, unless the path that leads to
//! them has already decided them (`arg0.high` is not asked twice).

mod graph;

use std::collections::{BTreeMap, BTreeSet};

use crate::bpf::{Alu, Op, Source, Test};
pub(crate) use graph::{Graph, Node, Place};

// struct seccomp_data (linux/seccomp.h); behind these two: the instruction pointer and the arguments.
const NR_OFFSET: usize = 0;
const ARCH_OFFSET: usize = 4;
/// How many states of one call's rules are followed before facts are given up.
const MOST_STATES: usize = 1 << 12;

/// What is known of a call before its arguments are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// The architecture word (`AUDIT_ARCH_*`).
    pub(crate) audit: u32,
    /// The number, with the bit of x32.
    pub(crate) nr: u32,
}

/// A point of the program and what is known there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    pc: usize,
    /// What the program believes to be in the accumulator.
    accumulator: Accumulator,
    /// The whole word that really is in it: a load whose value is known is left out.
    loaded: Option<usize>,
    facts: BTreeMap<usize, Fact>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Accumulator {
    /// A value that is known now; what is really loaded is another matter.
    Is(u32),
    /// The word at this offset, whole, and really.
    Word(usize),
    /// Some bits of a word, really.
    Part,
}

/// What a word of the arguments can be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fact {
    least: u32,
    most: u32,
    not: BTreeSet<u32>,
}

/// What comes after a state.
enum Step {
    Return(u32),
    Load(usize, State),
    And(u32, State),
    Test(Test, u32, State, State),
}

/// The part of the program that decides about this call, in the graph. None if the program has an
/// operation that is not understood here, or (with `facts`) if its paths are too many.
pub(crate) fn body(graph: &mut Graph, ops: &[Op], known: Known, facts: bool) -> Option<Place> {
    let start = State {
        pc: 0,
        accumulator: Accumulator::Is(0),
        loaded: None,
        facts: BTreeMap::new(),
    };
    let mut done: BTreeMap<State, Place> = BTreeMap::new();
    // Not by recursion: a rule with hundreds of conditions would exhaust the stack.
    let mut open = vec![start.clone()];
    while let Some(state) = open.last().cloned() {
        if done.len() > MOST_STATES && facts {
            return None;
        }
        let step = step(ops, known, state.clone(), facts)?;
        let nexts: Vec<&State> = match &step {
            Step::Return(_) => vec![],
            Step::Load(_, next) | Step::And(_, next) => vec![next],
            Step::Test(_, _, yes, no) => vec![yes, no],
        };
        let missing: Vec<State> = nexts
            .into_iter()
            .filter(|next| !done.contains_key(next))
            .cloned()
            .collect();
        if !missing.is_empty() {
            open.extend(missing);
            continue;
        }
        let place = match &step {
            Step::Return(answer) => graph.ret(*answer),
            Step::Load(offset, next) => graph.load(*offset, done[next]),
            Step::And(mask, next) => graph.and(*mask, done[next]),
            Step::Test(test, k, yes, no) => graph.test(*test, *k, done[yes], done[no]),
        };
        done.insert(state, place);
        open.pop();
    }
    done.get(&start).copied()
}

/// Goes on from a state to the first thing that only the running program can know.
fn step(ops: &[Op], known: Known, mut state: State, facts: bool) -> Option<Step> {
    loop {
        let op = *ops.get(state.pc)?;
        state.pc += 1;
        match op {
            Op::Return(answer) => return Some(Step::Return(answer)),
            Op::Always(skip) => state.pc += skip,
            Op::Load(NR_OFFSET) => state.accumulator = Accumulator::Is(known.nr),
            Op::Load(ARCH_OFFSET) => state.accumulator = Accumulator::Is(known.audit),
            Op::Load(offset) => {
                let value = state.facts.get(&offset).and_then(Fact::value);
                state.accumulator = value.map_or(Accumulator::Word(offset), Accumulator::Is);
                if value.is_none() && state.loaded != Some(offset) {
                    state.loaded = Some(offset);
                    return Some(Step::Load(offset, state));
                }
            }
            Op::Compute(Alu::And, Source::Constant(mask)) => match state.accumulator {
                Accumulator::Is(value) => state.accumulator = Accumulator::Is(value & mask),
                _ if mask == 0 => state.accumulator = Accumulator::Is(0),
                _ if mask == u32::MAX => {}
                _ => {
                    (state.accumulator, state.loaded) = (Accumulator::Part, None);
                    return Some(Step::And(mask, state));
                }
            },
            Op::Jump {
                test,
                source: Source::Constant(k),
                yes,
                no,
            } => {
                let word = match state.accumulator {
                    Accumulator::Is(value) => {
                        state.pc += if test.holds(value, k) { yes } else { no };
                        continue;
                    }
                    Accumulator::Word(offset) if facts => Some(offset),
                    _ => None,
                };
                let before = word.map(|offset| state.facts.get(&offset).cloned().unwrap_or(Fact::NONE));
                let ways = [(true, yes), (false, no)].map(|(held, skip)| {
                    let learned = before.as_ref().map(|fact| fact.learn(test, k, held));
                    let mut way = State {
                        pc: state.pc + skip,
                        ..state.clone()
                    };
                    if let (Some(offset), Some(fact)) = (word, learned.as_ref()) {
                        way.facts.insert(offset, fact.clone());
                    }
                    (way, learned.is_none_or(|fact| fact.is_possible()))
                });
                match ways {
                    [(way, true), (_, false)] | [(_, false), (way, true)] => state = way,
                    [(yes, _), (no, _)] => return Some(Step::Test(test, k, yes, no)),
                }
            }
            _ => return None,
        }
    }
}

impl Fact {
    const NONE: Self = Self {
        least: 0,
        most: u32::MAX,
        not: BTreeSet::new(),
    };

    /// The value, if only one is left.
    fn value(&self) -> Option<u32> {
        (self.least == self.most).then_some(self.least)
    }

    fn is_possible(&self) -> bool {
        self.least <= self.most && !self.value().is_some_and(|value| self.not.contains(&value))
    }

    /// What is known after a comparison that held, or did not. An impossible fact has `least` over `most`.
    fn learn(&self, test: Test, k: u32, held: bool) -> Self {
        let mut fact = self.clone();
        let mut within = |least: u32, most: u32| {
            fact.least = fact.least.max(least);
            fact.most = fact.most.min(most);
        };
        match (test, held) {
            (Test::Equal, true) => within(k, k),
            (Test::Equal, false) => drop(fact.not.insert(k)),
            (Test::GreaterOrEqual, true) => within(k, u32::MAX),
            (Test::Greater, false) => within(0, k),
            (Test::Greater, true) | (Test::GreaterOrEqual, false) => {
                let edge = if held { k.checked_add(1) } else { k.checked_sub(1) };
                match (edge, held) {
                    (Some(edge), true) => within(edge, u32::MAX),
                    (Some(edge), false) => within(0, edge),
                    (None, _) => within(1, 0),
                }
            }
            (Test::AnyBit, _) => {}
        }
        let (least, most) = (fact.least, fact.most);
        fact.not.retain(|value| (least..=most).contains(value));
        fact
    }
}
