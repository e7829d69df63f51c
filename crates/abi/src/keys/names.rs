//! A value's name: one constant, or flags joined by `|`.

use super::tables::Table;

/// The name of a value, if the table has it.
pub(super) fn find(table: Table, value: u64) -> Option<&'static str> {
    table
        .iter()
        .find(|(_, known)| *known == value)
        .map(|(name, _)| *name)
}

/// The name of a value, or the value in hexadecimal.
pub(super) fn constant(table: Table, value: u64) -> String {
    find(table, value).map_or_else(|| format!("{value:#x}"), str::to_owned)
}

/// A base (which may be a name or missing) and flags: `O_RDWR|O_CLOEXEC|0x40000000`. A flag of several bits
/// must come before those that it contains. Nothing at all is written as 0x0.
pub(super) fn flags(base: Option<&str>, tables: &[Table], value: u64) -> String {
    let mut parts: Vec<String> = base.map(str::to_owned).into_iter().collect();
    let mut rest = value;
    for (name, bits) in tables.iter().flat_map(|table| table.iter()) {
        if rest & bits == *bits {
            parts.push((*name).to_owned());
            rest &= !bits;
        }
    }
    if rest != 0 || parts.is_empty() {
        parts.push(format!("{rest:#x}"));
    }
    parts.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table = &[("BOTH", 6), ("TWO", 2), ("FOUR", 4)];

    #[test]
    fn unknown_values_and_bits_are_hexadecimal_and_nothing_is_lost() {
        assert_eq!(constant(TABLE, 2), "TWO");
        assert_eq!(constant(TABLE, 0x2a), "0x2a");
        assert_eq!(flags(None, &[TABLE], 6), "BOTH");
        assert_eq!(flags(None, &[TABLE], 2 | 0x30), "TWO|0x30");
        assert_eq!(flags(Some("BASE"), &[TABLE], 4), "BASE|FOUR");
        assert_eq!(flags(None, &[TABLE], 0), "0x0");
        assert_eq!(flags(Some("BASE"), &[TABLE], 0), "BASE");
    }
}
