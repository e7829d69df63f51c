//! The packages of the interpreter, listed and looked at again.

use serde_json::{Value, json};

use super::server::Server;

#[test]
fn packages_are_listed_and_looked_at_again() {
    let server = Server::start(&[]);
    let parse = |(status, text): (u16, String)| {
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let listed = parse(server.get("/v1/sandbox/dependencies?language=python3"));
    let dependencies = listed["data"]["dependencies"].as_array().unwrap();
    // The oracle: what the same interpreter says of itself outside.
    let told = std::process::Command::new(crate::exec::interpreter())
        .args([
            "-I",
            "-c",
            "import importlib.metadata as m; print(len({d.metadata['Name'] for d in m.distributions()}))",
        ])
        .output()
        .unwrap();
    let count: usize = String::from_utf8_lossy(&told.stdout).trim().parse().unwrap();
    assert_eq!(dependencies.len(), count, "{listed:#}");
    assert!(
        dependencies
            .iter()
            .all(|one| one["name"].is_string() && one["version"].is_string())
    );
    let again = parse(server.get("/v1/sandbox/dependencies/refresh?language=python3"));
    assert_eq!(again, listed);
    let (status, updated) = server.post("/v1/sandbox/dependencies/update", r#"{"language": "python3"}"#);
    assert_eq!(
        (status, updated),
        (200, json!({"code": 0, "message": "success", "data": {}}))
    );
    let (status, text) = server.get("/v1/sandbox/dependencies?language=nodejs");
    assert_eq!(
        (status, text.contains("unsupported language")),
        (400, true),
        "{text}"
    );
    for query in ["", "?language=", "?language=python3&language=python3"] {
        let (status, text) = server.get(&format!("/v1/sandbox/dependencies{query}"));
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{query}: {text}"));
        assert_eq!(
            (status, &answer["code"]),
            (400, &json!(-400)),
            "{query}: {answer}"
        );
    }
}
