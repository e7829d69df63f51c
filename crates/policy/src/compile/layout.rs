//! A graph as instructions in a row. A comparison reaches 255 instructions far, and only forward.

use callgate_abi::Instruction;

use crate::bpf::{Test, instruction};
use crate::partial::{Graph, Node, Place};

// linux/bpf_common.h
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

/// One node's instructions.
#[derive(Clone, Copy)]
struct Form {
    node: Node,
    place: Place,
    /// Whether the first, and the second, way out is a jump (or a return) of its own.
    far: [bool; 2],
}

impl Form {
    fn len(&self) -> usize {
        1 + self.far.iter().filter(|far| **far).count()
    }

    /// Where the node leads.
    fn ways(&self) -> Vec<Place> {
        match self.node {
            Node::Load(_, next) | Node::And(_, next) => vec![next],
            Node::Test(_, _, yes, no) => vec![yes, no],
            Node::Return(_) => vec![],
        }
    }
}

/// The instructions of what is reached from `root`, which come first.
pub(super) fn layout(graph: &Graph, root: Place) -> Vec<Instruction> {
    let mut forms = in_order(graph, root);
    let mut starts = vec![0; root + 1];
    // A way that has become far lengthens the program, so that others may: until none does.
    loop {
        let mut at = 0;
        for form in &forms {
            starts[form.place] = at;
            at += form.len();
        }
        let mut changed = false;
        for form in &mut forms {
            for (way, to) in form.ways().into_iter().enumerate() {
                let far = !reaches(form.node, starts[to] - starts[form.place] - 1);
                changed |= far && !form.far[way];
                form.far[way] |= far;
            }
        }
        if !changed {
            break;
        }
    }
    forms
        .iter()
        .flat_map(|form| write(graph, form, &starts))
        .collect()
}

/// All that is reached. Nodes lead to lower places only: from the highest down, each stands before all
/// that it leads to.
fn in_order(graph: &Graph, root: Place) -> Vec<Form> {
    let mut reached = vec![false; root + 1];
    reached[root] = true;
    let mut forms = Vec::new();
    for place in (0..=root).rev() {
        if reached[place] {
            let form = Form {
                node: graph.node(place),
                place,
                far: [false; 2],
            };
            form.ways().into_iter().for_each(|to| reached[to] = true);
            forms.push(form);
        }
    }
    forms
}

/// Whether a node leads over so many instructions without a jump of its own.
fn reaches(node: Node, skip: usize) -> bool {
    match node {
        Node::Test(..) => u8::try_from(skip).is_ok(),
        _ => skip == 0,
    }
}

fn write(graph: &Graph, form: &Form, starts: &[usize]) -> Vec<Instruction> {
    let at = starts[form.place];
    // Where each way out goes on from this node's first instruction: to its own jump, or straight there.
    let mut jumps = Vec::new();
    let mut skips = [0; 2];
    for (way, to) in form.ways().into_iter().enumerate() {
        if !form.far[way] {
            skips[way] = starts[to] - at - 1;
            continue;
        }
        skips[way] = jumps.len();
        let from = at + 1 + jumps.len();
        jumps.push(match graph.node(to) {
            // A return is as short as the jump to it.
            Node::Return(answer) => instruction(RETURN, 0, 0, answer),
            _ => instruction(JUMP, 0, 0, narrow(starts[to] - from - 1)),
        });
    }
    let first = match form.node {
        Node::Load(offset, _) => instruction(LOAD, 0, 0, narrow(offset)),
        Node::And(mask, _) => instruction(AND, 0, 0, mask),
        Node::Return(answer) => instruction(RETURN, 0, 0, answer),
        Node::Test(test, k, ..) => {
            let [yes, no] = skips.map(|skip| u8::try_from(skip).unwrap_or(u8::MAX));
            instruction(code(test), yes, no, k)
        }
    };
    std::iter::once(first).chain(jumps).collect()
}

/// Places in a program; one that does not fit would be over every limit.
fn narrow(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn code(test: Test) -> u16 {
    match test {
        Test::Equal => 0x15,
        Test::Greater => 0x25,
        Test::GreaterOrEqual => 0x35,
        Test::AnyBit => 0x45,
    }
}
