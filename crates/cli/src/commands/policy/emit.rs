//! `callgate policy emit`: writes a policy in another tool's format.

use callgate_abi::Arch;
use callgate_policy::emit::{self, Emitted};

use super::warn;
use crate::args::{EmitArgs, Format};
use crate::failure::Failure;
use crate::{input, output};

pub(super) fn run(args: &EmitArgs) -> Result<u8, Failure> {
    let policy = input::policy(&args.policy)?;
    policy.notes().iter().for_each(|note| warn(note));
    let arch = args.arch.unwrap_or(Arch::NATIVE);
    let name = args.policy.as_str();
    let whole = |text| Emitted {
        text,
        lost: Vec::new(),
    };
    let emitted = match args.format {
        Format::Bpf => {
            let bytes = emit::bpf(&policy, arch).map_err(Failure::input)?;
            output::file(&args.output, &bytes)?;
            return Ok(0);
        }
        Format::Oci => emit::oci(&policy, args.arch).map_err(Failure::input)?,
        Format::Moby => emit::moby(&policy, args.arch, name).map_err(Failure::input)?,
        Format::K8s => emit::k8s(&policy, arch, name),
        Format::Systemd => emit::systemd(&policy, arch, name),
        Format::Minijail => emit::minijail(&policy, arch, name),
        Format::Kafel => emit::kafel(&policy, arch, name),
        Format::Seccompiler => emit::seccompiler(&policy, arch).map_err(Failure::input)?,
        Format::Dify => emit::dify(&policy, arch, name),
        Format::DifyEnv => emit::dify_env(&policy, arch, name),
        Format::DifyGo => emit::dify_go(&policy, arch, name),
        Format::Names => emit::list_names(&policy, arch),
        Format::Numbers => emit::list_numbers(&policy, arch),
        Format::C => whole(emit::c(&policy, arch, name).map_err(Failure::input)?),
    };
    accepted(&emitted.lost, args)?;
    output::file(&args.output, emitted.text.as_bytes())?;
    Ok(0)
}

/// Prints what is lost; an error unless that is accepted or nothing is.
fn accepted(lost: &[String], args: &EmitArgs) -> Result<(), Failure> {
    lost.iter()
        .for_each(|lost| warn(&format!("not in this format: {lost}")));
    if lost.is_empty() || args.lossy {
        return Ok(());
    }
    let advice = "--lossy writes it all the same".to_owned();
    let things = if lost.len() == 1 {
        "one thing".to_owned()
    } else {
        format!("{} things", lost.len())
    };
    Err(
        Failure::input(format!("{}: the format can't say {things} of it", args.policy))
            .with_advice(Some(advice)),
    )
}
