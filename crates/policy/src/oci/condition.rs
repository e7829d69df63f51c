//! One condition of a rule on an argument, in OCI's words.

use callgate_abi::{ArgCondition, CompareOp};
use serde::{Deserialize, Serialize};

/// One condition.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "ArgParts", into = "ArgParts")]
pub(super) struct Arg(pub(super) ArgCondition);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArgParts {
    index: u8,
    value: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_two: Option<u64>,
    op: Op,
}

#[derive(Serialize, Deserialize)]
enum Op {
    #[serde(rename = "SCMP_CMP_EQ")]
    Eq,
    #[serde(rename = "SCMP_CMP_NE")]
    Ne,
    #[serde(rename = "SCMP_CMP_LT")]
    Lt,
    #[serde(rename = "SCMP_CMP_LE")]
    Le,
    #[serde(rename = "SCMP_CMP_GE")]
    Ge,
    #[serde(rename = "SCMP_CMP_GT")]
    Gt,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEq,
}

impl TryFrom<ArgParts> for Arg {
    type Error = String;

    fn try_from(arg: ArgParts) -> Result<Self, String> {
        let two = arg.value_two.unwrap_or(0);
        let (op, value) = match arg.op {
            // OCI: `value` is the mask, `valueTwo` the datum.
            Op::MaskedEq => (CompareOp::MaskedEq(arg.value), two),
            _ if two != 0 => return Err("valueTwo belongs to SCMP_CMP_MASKED_EQ alone".into()),
            Op::Eq => (CompareOp::Eq, arg.value),
            Op::Ne => (CompareOp::Ne, arg.value),
            Op::Lt => (CompareOp::Lt, arg.value),
            Op::Le => (CompareOp::Le, arg.value),
            Op::Ge => (CompareOp::Ge, arg.value),
            Op::Gt => (CompareOp::Gt, arg.value),
        };
        ArgCondition::new(arg.index, op, value)
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

impl From<Arg> for ArgParts {
    fn from(Arg(condition): Arg) -> Self {
        let (op, value, value_two) = match condition.op() {
            CompareOp::MaskedEq(mask) => (Op::MaskedEq, mask, Some(condition.value())),
            CompareOp::Eq => (Op::Eq, condition.value(), None),
            CompareOp::Ne => (Op::Ne, condition.value(), None),
            CompareOp::Lt => (Op::Lt, condition.value(), None),
            CompareOp::Le => (Op::Le, condition.value(), None),
            CompareOp::Ge => (Op::Ge, condition.value(), None),
            CompareOp::Gt => (Op::Gt, condition.value(), None),
        };
        Self {
            index: condition.index(),
            value,
            value_two,
            op,
        }
    }
}
