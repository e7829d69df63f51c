//! Which line an instruction belongs to, by the tables that CPython's code objects carry.
//!
//! The tables lie in the memory of the process and may say anything: nothing here runs longer than the table is.

use super::layout::Lines;

/// The line of the instruction at this offset in bytes.
pub(super) fn line(kind: Lines, table: &[u8], first: i32, instruction: i64) -> i32 {
    match kind {
        Lines::Steps => steps(table, first, instruction),
        Lines::Ranges => ranges(table, first, instruction),
        Lines::Locations => locations(table, first, instruction),
    }
}

fn steps(table: &[u8], first: i32, instruction: i64) -> i32 {
    let mut line = first;
    let mut at = 0;
    for step in table.chunks_exact(2) {
        at += i64::from(step[0]);
        if at > instruction {
            break;
        }
        line = line.wrapping_add(i32::from(step[1] as i8));
    }
    line
}

fn ranges(table: &[u8], first: i32, instruction: i64) -> i32 {
    /// These instructions have no line.
    const NONE: i8 = -128;
    let mut line = first;
    let mut end = 0;
    for range in table.chunks_exact(2) {
        let delta = range[1] as i8;
        end += i64::from(range[0]);
        if delta == NONE {
            continue;
        }
        line = line.wrapping_add(i32::from(delta));
        if end > instruction {
            break;
        }
    }
    line
}

fn locations(table: &[u8], first: i32, instruction: i64) -> i32 {
    let mut bytes = table.iter().copied();
    let mut line = first;
    let mut end = 0;
    while let Some(head) = bytes.next() {
        // In units of code, which have two bytes.
        end += 2 * (i64::from(head & 7) + 1);
        let delta = match head >> 3 & 15 {
            // No location; then a long form, one without columns, two lines on at the most, or a short form.
            15 => 0,
            14 => {
                let delta = signed(&mut bytes);
                // The end line, the columns.
                for _ in 0..3 {
                    unsigned(&mut bytes);
                }
                delta
            }
            13 => signed(&mut bytes),
            code @ 10..=12 => {
                bytes.next();
                bytes.next();
                i32::from(code - 10)
            }
            _ => {
                bytes.next();
                0
            }
        };
        line = line.wrapping_add(delta);
        if end > instruction {
            break;
        }
    }
    line
}

/// A number of six bits a byte, the lowest first; bit 6 says that more come.
fn unsigned(bytes: &mut impl Iterator<Item = u8>) -> u32 {
    let mut number = 0_u32;
    let mut shift = 0;
    for byte in bytes {
        number |= u32::from(byte & 63).checked_shl(shift).unwrap_or(0);
        if byte & 64 == 0 {
            break;
        }
        shift += 6;
    }
    number
}

/// The lowest bit is the sign.
fn signed(bytes: &mut impl Iterator<Item = u8>) -> i32 {
    let number = unsigned(bytes);
    let value = (number >> 1) as i32;
    if number & 1 == 0 { value } else { -value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_ends_early_or_says_nonsense_still_gives_a_line() {
        for kind in [Lines::Steps, Lines::Ranges, Lines::Locations] {
            assert_eq!(line(kind, &[], 7, 100), 7);
            for byte in 0..=255 {
                for len in 1..9 {
                    line(kind, &vec![byte; len], i32::MAX, i64::MAX);
                    line(kind, &vec![byte; len], i32::MIN, i64::MIN);
                }
            }
        }
    }

    #[test]
    fn lines_are_counted_on_and_back() {
        // From instruction 4 on one line further, from 10 on two back.
        assert_eq!(
            [0, 3, 4, 9, 10].map(|at| steps(&[4, 1, 6, 0xfe], 10, at)),
            [10, 10, 11, 11, 9]
        );
        // Four bytes on the second line, two of none, four on the first.
        assert_eq!(
            [0, 3, 6, 9].map(|at| ranges(&[4, 1, 2, 0x80, 4, 0xff], 10, at)),
            [11, 11, 10, 10]
        );
        // Two units a line further in the form without columns, one three back in the long form.
        let table = [0x80 | 13 << 3 | 1, 2, 0x80 | 14 << 3, 7, 0, 1, 1];
        assert_eq!([0, 2, 4].map(|at| locations(&table, 10, at)), [11, 11, 8]);
    }
}
