//! Where a run's time went, as a table.

use callgate_exec::Timings;

use crate::table::{number, table, text};

/// Prints it.
pub(crate) fn print(timings: &Timings) {
    let mut table = table(&["stage", "ms", "what"]);
    let ms = |us: u64| number(format!("{:.2}", us as f64 / 1e3));
    for (name, took, what) in timings.stages() {
        table.add_row(vec![text(name), ms(took), text(what)]);
    }
    table.add_row(vec![text("total"), ms(timings.total_us), text("")]);
    anstream::eprintln!("{table}");
}
