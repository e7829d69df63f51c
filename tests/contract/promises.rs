//! `.github/SECURITY.md`: every test that it names is there.

use crate::support::{repository, sources};

#[test]
fn every_test_that_the_security_page_names_is_there() {
    let page = std::fs::read_to_string(repository().join(".github/SECURITY.md")).unwrap();
    let tests: String = ["tests", "crates/exec/tests", "crates/launch/tests"]
        .iter()
        .map(|place| sources(&repository().join(place)))
        .collect();
    // The names of tests are sentences: what stands in backquotes and has several underscores.
    let named: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.matches('_').count() >= 3 || word.ends_with("_met"))
        .collect();
    assert!(named.len() >= 40, "{}", named.len());
    for name in named {
        assert!(
            tests.contains(&format!("fn {name}()")),
            "the page names a test that is not there: {name}"
        );
    }
    // Each tier has its part, and each kind of thing that is not promised.
    for part in [
        "### full",
        "### container",
        "### unprivileged",
        "### landlock",
        "**Warm runs**",
        "Kernel bugs",
        "Side channels",
    ] {
        assert!(page.contains(part), "{part}");
    }
}
