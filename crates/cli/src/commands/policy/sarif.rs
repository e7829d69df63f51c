//! Findings as SARIF 2.1.0 (OASIS, Static Analysis Results Interchange Format).

use callgate_abi::Severity;
use callgate_policy::lint::{Finding, KINDS};
use serde_json::{Value, json};

/// The log of one run over one policy; `lines` has the line of each rule.
pub(super) fn log(findings: &[Finding], source: &str, lines: &[usize]) -> Value {
    let rules = KINDS.map(|(kind, says)| json!({"id": kind, "shortDescription": {"text": says}}));
    let results: Vec<Value> = findings
        .iter()
        .map(|finding| result(finding, source, lines))
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "callgate",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": results,
        }],
    })
}

fn result(finding: &Finding, source: &str, lines: &[usize]) -> Value {
    let level = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let call = finding
        .call
        .as_ref()
        .map(|call| format!("{call}: "))
        .unwrap_or_default();
    let cve = finding.cve.map(|cve| format!(" ({cve})")).unwrap_or_default();
    let mend = finding.mend.replace("POLICY", source);
    let line = finding
        .rule
        .and_then(|rule| lines.get(rule))
        .copied()
        .unwrap_or(1);
    let mut location = json!({
        "physicalLocation": {"artifactLocation": {"uri": uri(source)}, "region": {"startLine": line}},
    });
    if let Some(rule) = finding.rule {
        location["logicalLocations"] = json!([{"fullyQualifiedName": format!("syscalls[{rule}]")}]);
    }
    json!({
        "ruleId": finding.kind,
        "ruleIndex": KINDS.iter().position(|(kind, _)| *kind == finding.kind),
        "level": level,
        "message": {"text": format!("{call}{}{cve}; {mend}", finding.reason)},
        "locations": [location],
        "properties": finding,
    })
}

/// A path as a URI reference (RFC 3986): what is not allowed in a path is written as %XX.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}
