//! PEP 723 blocks are found where the PEP's own regular expression finds them.

use std::io::Write;
use std::process::{Command, Stdio};

use callgate_python::interpreter::Interpreter;
use callgate_python::metadata::{MetadataError, ScriptMetadata};

/// The reference implementation of PEP 723, answering one line of JSON text with one of JSON.
const REFERENCE: &str = r"
import json, re, sys
REGEX = r'(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$'
for line in sys.stdin:
    script = json.loads(line)
    matches = [m for m in re.finditer(REGEX, script) if m.group('type') == 'script']
    if len(matches) > 1:
        print(json.dumps('repeated'))
    elif not matches:
        print(json.dumps(None))
    else:
        content = ''.join(
            l[2:] if l.startswith('# ') else l[1:]
            for l in matches[0].group('content').splitlines(keepends=True)
        )
        print(json.dumps(re.findall('[abc]', content)))
";

/// All texts of up to `length` of these lines.
fn texts(lines: &[&str], length: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut from = 0;
    for _ in 0..length {
        let until = all.len();
        for index in from..until {
            for line in lines {
                all.push(format!("{}{line}\n", all[index]));
            }
        }
        from = until;
    }
    all
}

#[test]
fn the_blocks_are_those_of_the_reference_implementation() {
    // The letters a, b and c become dependencies: which ones are read tells what belonged to the block.
    let lines = [
        "# /// script",
        "# /// other",
        "# ///",
        "# dependencies = ['a']",
        "#",
        "",
        "#x",
    ];
    let texts = texts(&lines, 5);
    assert!(texts.len() > 19_000);
    let mut reference = Command::new(Interpreter::find().unwrap())
        .args(["-c", REFERENCE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = reference.stdin.take().unwrap();
    let input: String = texts
        .iter()
        .map(|text| serde_json::to_string(text).unwrap() + "\n")
        .collect();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = String::from_utf8(reference.wait_with_output().unwrap().stdout).unwrap();
    writer.join().unwrap();
    assert_eq!(output.lines().count(), texts.len());
    for (text, answer) in texts.iter().zip(output.lines()) {
        let expected: serde_json::Value = serde_json::from_str(answer).unwrap();
        match ScriptMetadata::read(text.as_bytes()) {
            Ok(None) => assert!(expected.is_null(), "{text:?}: {expected}"),
            Ok(Some(_)) => assert!(expected.is_array(), "{text:?}: {expected}"),
            Err(MetadataError::Repeated { .. }) => assert_eq!(expected, "repeated", "{text:?}"),
            // The regular expression does not see it; callgate speaks up.
            Err(MetadataError::Unclosed { line }) => {
                assert_eq!(text.lines().nth(line - 1), Some("# /// script"), "{text:?}");
                assert!(
                    !expected.is_array() || text.matches("# /// script").count() > 1,
                    "{text:?}"
                );
            }
            // Two dependencies keys, or text that is not TOML: a block, at any rate.
            Err(MetadataError::Toml { .. }) => assert!(expected.is_array(), "{text:?}: {expected}"),
            Err(other) => panic!("{text:?}: {other}"),
        }
    }
}
