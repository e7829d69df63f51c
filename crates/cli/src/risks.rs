//! What a person should think of before opening calls.

use callgate_abi::{Risk, Severity, risk};
use comfy_table::{Cell, Color, Table};

/// The calls that a policy should not open without a thought, the worst first; calls with the same reason
/// are on one line.
pub(crate) fn table<'a>(calls: impl Iterator<Item = &'a str>) -> Option<Table> {
    let mut risks: Vec<(Risk, Vec<&str>)> = Vec::new();
    for name in calls {
        let Some(found) = risk(name) else { continue };
        match risks.iter_mut().find(|(known, _)| *known == found) {
            Some((_, names)) if names.contains(&name) => {}
            Some((_, names)) => names.push(name),
            None => risks.push((found, vec![name])),
        }
    }
    for (_, names) in &mut risks {
        names.sort_unstable();
    }
    risks.sort_by(|(a, xs), (b, ys)| b.severity.cmp(&a.severity).then(xs.cmp(ys)));
    let mut table = crate::table::table(&["risky to allow", "", "why"]);
    for (
        Risk {
            severity,
            reason,
            cve,
        },
        names,
    ) in risks
    {
        let severity = match severity {
            Severity::Error => Cell::new(severity).fg(Color::Red),
            Severity::Warning => Cell::new(severity).fg(Color::Yellow),
            Severity::Note => Cell::new(severity),
        };
        let why = cve.map_or_else(|| reason.to_owned(), |cve| format!("{reason} ({cve})"));
        table.add_row([
            crate::table::text(names.join(", ")),
            severity,
            crate::table::text(why),
        ]);
    }
    (!table.is_empty()).then_some(table)
}
