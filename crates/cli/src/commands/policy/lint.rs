//! `callgate policy lint`: what is wrong or dangerous in a policy.

use callgate_abi::Severity;
use callgate_policy::lint::{Finding, lint};
use callgate_policy::rule_lines;
use serde::Serialize;

use super::sarif;
use crate::args::LintArgs;
use crate::commands::dig::paint;
use crate::failure::Failure;
use crate::terminal::{BOLD, BOLD_RED, DIM, GREEN, YELLOW, escape};
use crate::{input, output};

/// The findings as JSON.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    policy: &'a str,
    findings: Vec<Placed<'a>>,
}

/// A finding with the line of its rule.
#[derive(Serialize)]
struct Placed<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

fn placed<'a>(findings: &'a [Finding], lines: &[usize]) -> Vec<Placed<'a>> {
    let line = |finding: &Finding| finding.rule.and_then(|rule| lines.get(rule)).copied();
    findings
        .iter()
        .map(|finding| Placed {
            finding,
            line: line(finding),
        })
        .collect()
}

pub(crate) fn run(args: &LintArgs) -> Result<u8, Failure> {
    let (policy, text) = input::policy_and_text(&args.policy)?;
    let findings = lint(&policy, &args.arch.0);
    let lines = rule_lines(&text);
    if args.json {
        output::json(&Report {
            schema: "callgate.lint/1",
            policy: &args.policy,
            findings: placed(&findings, &lines),
        })?;
    } else if args.sarif {
        output::json(&sarif::log(&findings, &args.policy, &lines))?;
    } else {
        output::stdout(paint(&render(&findings, &args.policy)).as_bytes())?;
    }
    Ok(u8::from(
        findings.iter().any(|finding| finding.severity > Severity::Note),
    ))
}

fn render(findings: &[Finding], source: &str) -> String {
    let mut text = String::new();
    for finding in findings {
        let style = match finding.severity {
            Severity::Error => BOLD_RED,
            Severity::Warning => YELLOW,
            Severity::Note => BOLD,
        };
        let call = finding
            .call
            .as_deref()
            .map(|call| format!(" {call}:"))
            .unwrap_or_default();
        let cve = finding.cve.map(|cve| format!(" ({cve})")).unwrap_or_default();
        text.push_str(&format!(
            "{style}{}{style:#}[{}]{call} {}{cve}\n",
            finding.severity,
            finding.kind,
            escape(&finding.reason)
        ));
        let place = finding
            .rule
            .map_or_else(|| "the policy".to_owned(), |rule| format!("syscalls[{rule}]"));
        let arches: Vec<&str> = finding.arches.iter().map(|arch| arch.name()).collect();
        let mend = finding.mend.replace("POLICY", source);
        text.push_str(&format!(
            "{DIM}  {place} on {} → {}{DIM:#}\n",
            arches.join(", "),
            escape(&mend)
        ));
    }
    let count = |severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let (errors, warnings, notes) = (
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Note),
    );
    let style = if errors + warnings == 0 { GREEN } else { BOLD };
    text.push_str(&format!(
        "{style}{}{style:#}: {errors} errors, {warnings} warnings, {notes} notes\n",
        escape(source)
    ));
    text
}
