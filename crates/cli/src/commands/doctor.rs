//! `callgate doctor`: what this machine offers, what is missing and what that costs.

use callgate_exec::{Facility, survey};
use callgate_python::interpreter::Interpreter;
use serde::Serialize;

use crate::args::DoctorArgs;
use crate::failure::Failure;
use crate::{output, table};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    schema: &'static str,
    facilities: Vec<Facility>,
}

pub(crate) fn run(args: &DoctorArgs) -> Result<u8, Failure> {
    let mut facilities = survey();
    facilities.push(python());
    if args.json {
        output::json(&Report {
            schema: "callgate.doctor/1",
            facilities,
        })?;
        return Ok(0);
    }
    let mut table = table::table(&["", "facility", "found", "what its lack costs"]);
    for facility in &facilities {
        table.add_row([
            table::mark(facility.present),
            table::text(&facility.name),
            table::text(&facility.found),
            table::text(facility.cost.as_deref().unwrap_or_default()),
        ]);
    }
    output::stdout(format!("{table}\n").as_bytes())?;
    Ok(0)
}

fn python() -> Facility {
    let found = Interpreter::find().and_then(|path| Interpreter::inspect(&path));
    let (present, found) = match found {
        Ok(python) => (
            true,
            format!(
                "{} {} at {}",
                python.implementation,
                python.version,
                python.executable.display()
            ),
        ),
        Err(error) => (false, error.to_string()),
    };
    let cost = (!present).then(|| "Python scripts need --python PATH; other commands work".to_owned());
    Facility {
        name: "python".to_owned(),
        present,
        found,
        cost,
    }
}
