//! What is handed to Compose and Kubernetes: held against their schemas, by judges that must be able to refuse.

use std::path::Path;
use std::process::{Command, Output};

use super::{commands, deploy, follow, page};
use crate::support::{available, repository, said, scratch, tool};

/// A tool of `.ci/run`'s environment for schemas.
fn judge(name: &str) -> bool {
    available(name, tool(name))
}

#[test]
fn compose_and_kubernetes_files_are_valid() {
    if judge("check-jsonschema") {
        let check = |files: &[&Path]| {
            let mut command = Command::new("check-jsonschema");
            command
                .args(["--builtin-schema", "vendor.compose-spec"])
                .args(files)
                .output()
                .unwrap()
        };
        let output = check(&[&deploy("compose.yaml"), &deploy("compose.full.yaml")]);
        assert!(output.status.success(), "{}", said(&output));
        let dir = scratch();
        let wrong = dir.path().join("compose.yaml");
        std::fs::write(
            &wrong,
            page("compose.yaml").replace("healthcheck:", "healthcheque:"),
        )
        .unwrap();
        assert!(
            !check(&[&wrong]).status.success(),
            "the judge must be able to refuse"
        );
    }
    if judge("kubernetes-validate") {
        let check = |file: &Path| {
            Command::new("kubernetes-validate")
                .arg("--strict")
                .arg(file)
                .output()
                .unwrap()
        };
        let mut checked = 0;
        for entry in std::fs::read_dir(deploy("kubernetes")).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("podmonitor.yaml") {
                continue; // not one of Kubernetes' own: held against its CRD below
            }
            let output = check(&path);
            assert!(output.status.success(), "{}", said(&output));
            checked += 1;
        }
        assert!(checked >= 5);
        let dir = scratch();
        let wrong = dir.path().join("deployment.yaml");
        for (from, to) in [
            ("readinessProbe:", "readynessProbe:"),
            ("replicas: 2", "replicas: two"),
        ] {
            std::fs::write(&wrong, page("kubernetes/deployment.yaml").replace(from, to)).unwrap();
            assert!(
                !check(&wrong).status.success(),
                "the judge must be able to refuse {to}"
            );
        }
    }
}

/// Whether a file is what a schema of ours asks for.
fn fits(schema: &str, file: &Path) -> Output {
    let schema = repository().join("tests/serve").join(schema);
    let mut command = Command::new("check-jsonschema");
    command
        .arg("--schemafile")
        .arg(schema)
        .arg(file)
        .output()
        .unwrap()
}

/// An object is what its schema asks for, and would not be with any of these changes.
fn holds(schema: &str, object: &str, changes: &[(&str, &str)], dir: &Path) {
    let file = dir.join("object.yaml");
    std::fs::write(&file, object).unwrap();
    let output = fits(schema, &file);
    assert!(output.status.success(), "{object}: {}", said(&output));
    for (from, to) in changes {
        let wrong = object.replacen(from, to, 1);
        assert_ne!(wrong, object, "{from}");
        std::fs::write(&file, wrong).unwrap();
        let output = fits(schema, &file);
        assert!(!output.status.success(), "the judge must be able to refuse {to}");
    }
}

#[test]
fn the_profiles_that_the_pages_commands_make_are_what_the_operator_takes() {
    if !judge("check-jsonschema") {
        return;
    }
    let dir = scratch();
    let dir = dir.path();
    let mut made = 0;
    for words in commands(&page("KUBERNETES.md"), "callgate policy ") {
        let object = follow(&words, dir);
        if object.is_empty() {
            continue;
        }
        let changes = [
            ("defaultAction:", "defaultActions:"),
            ("action: SCMP_ACT_ALLOW", "action: ALLOW"),
            ("v1beta1", "v1gamma"),
        ];
        holds("seccompprofile.schema.json", &object, &changes, dir);
        made += 1;
    }
    assert_eq!(made, 2, "the server's profile and the policy");
    // The patch names the file of the first.
    assert!(page("kubernetes/full.yaml").contains("localhostProfile: operator/callgate-server.json"));
}

#[test]
fn the_monitor_is_what_the_operator_takes_and_asks_as_the_server_wants_it() {
    let monitor = page("kubernetes/podmonitor.yaml");
    let deployment = page("kubernetes/deployment.yaml");
    // What it refers to is what the deployment has: port, secret and its key, label.
    for (here, there) in [
        ("- port: http\n", "- name: http\n"),
        (
            "name: callgate\n          key: api-key",
            "name: callgate\n                  key: api-key",
        ),
        (
            "matchLabels:\n      app: callgate",
            "labels:\n        app: callgate",
        ),
    ] {
        assert!(monitor.contains(here) && deployment.contains(there), "{here}");
    }
    if !judge("check-jsonschema") {
        return;
    }
    let changes = [
        ("podMetricsEndpoints:", "endpoints:"),
        ("interval: 15s", "interval: 15 s"),
        ("- port: http", "- port: 8194"),
        ("key: api-key", "keys: api-key"),
        ("monitoring.coreos.com/v1", "monitoring.coreos.com/v2"),
    ];
    holds("podmonitor.schema.json", &monitor, &changes, scratch().path());
}
