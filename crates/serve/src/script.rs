//! What the interpreter is given: the request's text inside a small program of ours.

use callgate_python::template::Beginning;

/// The name that the code has in tracebacks and sites.
pub(crate) const NAME: &str = "<code>";

/// The name of JavaScript, as a file in the work directory.
pub(crate) const NODE_NAME: &str = "code.js";

/// JavaScript with its preload before it, as one script: what the one declares the other sees.
pub(crate) fn node(preload: Option<&str>, code: &str) -> Vec<u8> {
    match preload {
        Some(preload) => format!("{preload}\n{code}").into_bytes(),
        None => code.as_bytes().to_vec(),
    }
}

const LAUNCHER: &str = include_str!("script.py");

/// The program that runs the preload, if there is one, and then the code; both under the filter.
pub(crate) fn python(preload: Option<&str>, code: &str) -> Vec<u8> {
    let preload = preload.map_or_else(|| "None".to_owned(), literal);
    format!("{LAUNCHER}launch({preload}, {})\n", literal(code)).into_bytes()
}

/// What each of these programs begins with.
pub(crate) fn beginning() -> Beginning {
    Beginning {
        name: NAME.to_owned(),
        text: LAUNCHER.to_owned(),
        rest: "launch(None, \"\")\n".to_owned(),
    }
}

/// A text as Python reads it back. JSON escapes a quote, a backslash and what is below U+0020, in forms that
/// are Python's as well, and nothing else.
fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_reads_back_every_text() {
        let all: String = (0..=0x2fff)
            .chain([0xfeff, 0x1f600])
            .filter_map(char::from_u32)
            .collect();
        let told = std::process::Command::new("python3")
            .args(["-I", "-c", "import ast, sys; sys.stdout.reconfigure(encoding='utf-8', newline=''); sys.stdout.write(ast.literal_eval(open(0, encoding='utf-8', newline='').read()))"])
            .stdin({
                let mut file = tempfile::tempfile().unwrap();
                std::io::Write::write_all(&mut file, literal(&all).as_bytes()).unwrap();
                std::io::Seek::rewind(&mut file).unwrap();
                file
            })
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(told.stdout).unwrap(),
            all,
            "{}",
            String::from_utf8_lossy(&told.stderr)
        );
    }
}
