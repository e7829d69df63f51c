//! A stack of filters as one program: a search tree over the numbers, and for each call what is left of
//! the stack once the number is known.
//!
//! seccompiler compares the number with one call after the other; a call late in the list costs hundreds
//! of instructions. Here the stack is followed once for every number that it names ([`partial`]), and
//! what remains, mostly a return, is reached by a binary search, in some ten comparisons.

use std::collections::BTreeSet;

use callgate_abi::{Action, Arch, BPF_MAXINSNS, Filter};

use super::guard::{arch_check, head};
use super::layout;
use crate::bpf::{Op, Test, decode, instruction};
use crate::partial::{self, Graph, Known, Place};

const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;

/// The programs one after the other, where "allow" of one means "ask the next". That gives the stack's
/// answer if the more restrictive filters come first. It may be longer than the kernel takes.
fn chain(arch: Arch, filters: &[Filter]) -> Filter {
    let check = arch_check(arch);
    let pass = instruction(RETURN, 0, 0, Action::Allow.ret());
    let mut chain = Vec::new();
    for (place, filter) in filters.iter().enumerate() {
        // All jumps are relative and go forward, so leaving out the check that came before moves no target.
        let body = filter.0.strip_prefix(&check).unwrap_or(&filter.0);
        let last = place + 1 == filters.len();
        for (at, original) in body.iter().enumerate() {
            chain.push(if last || *original != pass {
                *original
            } else {
                let rest = u32::try_from(body.len() - at - 1).unwrap_or(u32::MAX);
                instruction(JUMP, 0, 0, rest)
            });
        }
    }
    if filters.is_empty() {
        chain.push(pass);
    }
    Filter(chain)
}

/// The program that answers as the stack does. `numbers` are all that the stack names; `above` is the
/// answer to all numbers over the first, if they have one of their own.
///
/// None if the stack has an instruction that seccompiler does not write.
pub(super) fn link(
    arch: Arch,
    filters: &[Filter],
    numbers: &BTreeSet<u32>,
    above: Option<(u32, Action)>,
) -> Option<Filter> {
    let ops: Vec<Op> = chain(arch, filters)
        .0
        .iter()
        .map(|instruction| decode(instruction).ok())
        .collect::<Option<_>>()?;
    let program = |facts| {
        let mut graph = Graph::default();
        let root = tree(&mut graph, arch, &ops, numbers, above, facts)?;
        let mut program = head(arch);
        program.extend(layout::layout(&graph, root));
        Some(Filter(program))
    };
    // What is learned about arguments saves comparisons; it may also split what were one path.
    let fits = |filter: &Filter| filter.0.len() <= BPF_MAXINSNS;
    match program(true).filter(fits) {
        Some(filter) => Some(filter),
        None => program(false),
    }
}

/// The search over the numbers, down to what each gets.
fn tree(
    graph: &mut Graph,
    arch: Arch,
    ops: &[Op],
    numbers: &BTreeSet<u32>,
    above: Option<(u32, Action)>,
    facts: bool,
) -> Option<Place> {
    // The stack asks only whether the number is one that it names: one other stands for all others.
    let other = (0..u32::MAX).rev().find(|nr| !numbers.contains(nr))?;
    let body = |graph: &mut Graph, nr| {
        let known = Known {
            audit: arch.audit(),
            nr,
        };
        partial::body(graph, ops, known, facts)
    };
    let rest = body(graph, other)?;
    let mut ranges: Vec<(u32, Place)> = vec![(0, rest)];
    for nr in numbers {
        let own = body(graph, *nr)?;
        ranges.push((*nr, own));
        ranges.extend(nr.checked_add(1).map(|next| (next, rest)));
    }
    if let Some((newest, action)) = above {
        let answer = graph.ret(action.ret());
        ranges.retain(|(from, _)| *from <= newest);
        ranges.extend(newest.checked_add(1).map(|first| (first, answer)));
    }
    // Of two that begin at one number the later one counts: the call's own.
    let mut merged: Vec<(u32, Place)> = Vec::new();
    for (from, place) in ranges {
        if merged.last().is_some_and(|(last, _)| *last == from) {
            merged.pop();
        }
        if merged.last().is_none_or(|(_, last)| *last != place) {
            merged.push((from, place));
        }
    }
    Some(search(graph, &merged))
}

fn search(graph: &mut Graph, ranges: &[(u32, Place)]) -> Place {
    match ranges {
        [(_, only)] => *only,
        // One number within a range.
        [(_, around), (nr, own), (next, rest)] if rest == around && nr.checked_add(1) == Some(*next) => {
            graph.test(Test::Equal, *nr, *own, *around)
        }
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let (no, yes) = (search(graph, low), search(graph, high));
            graph.test(Test::GreaterOrEqual, high[0].0, yes, no)
        }
    }
}
