//! A program as a graph without loops, in which equal parts exist once.

use std::collections::BTreeMap;

use crate::bpf::Test;

/// A node's place in its graph. What it leads to was made before it, so has a lower one.
pub(crate) type Place = usize;

/// One step, on the accumulator that the steps before it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    /// Loads the word at this offset of `struct seccomp_data`.
    Load(usize, Place),
    /// Keeps the bits of this mask.
    And(u32, Place),
    /// Compares with a constant.
    Test(Test, u32, Place, Place),
    /// Ends with this answer.
    Return(u32),
}

/// Nodes, each made once.
#[derive(Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    known: BTreeMap<Node, Place>,
}

impl Graph {
    pub(crate) fn node(&self, place: Place) -> Node {
        self.nodes[place]
    }

    pub(crate) fn ret(&mut self, answer: u32) -> Place {
        self.add(Node::Return(answer))
    }

    /// Loading is left out before what does not look at the accumulator.
    pub(crate) fn load(&mut self, offset: usize, next: Place) -> Place {
        match self.nodes[next] {
            Node::Return(_) | Node::Load(..) => next,
            _ => self.add(Node::Load(offset, next)),
        }
    }

    pub(crate) fn and(&mut self, mask: u32, next: Place) -> Place {
        match self.nodes[next] {
            Node::Return(_) | Node::Load(..) => next,
            _ => self.add(Node::And(mask, next)),
        }
    }

    /// A comparison is left out if both ways lead to the same place.
    pub(crate) fn test(&mut self, test: Test, k: u32, yes: Place, no: Place) -> Place {
        if yes == no {
            return yes;
        }
        self.add(Node::Test(test, k, yes, no))
    }

    fn add(&mut self, node: Node) -> Place {
        let nodes = &mut self.nodes;
        *self.known.entry(node).or_insert_with(|| {
            nodes.push(node);
            nodes.len() - 1
        })
    }
}
