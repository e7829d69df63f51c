//! How a program comes to a fork: whole, whatever its length, and with a beginning that is compiled already.

use callgate_exec::Template;
use callgate_python::template::Beginning;
use callgate_testing::{available, root};

use crate::contained::contained;
use crate::support::{printed, run, spec};

#[test]
fn programs_of_every_length_arrive_whole() {
    if !available("root", root()) {
        return;
    }
    for spec in [spec(&[]), contained(&[])] {
        let template = Template::start(spec).unwrap();
        // Around what follows in the message itself (16 KiB with the name), and far above it.
        for length in [
            1, 16_300, 16_366, 16_367, 16_368, 16_369, 16_370, 16_384, 16_385, 300_000,
        ] {
            let end = "\nprint(len(text))";
            let start = "text = '";
            let filler = usize::saturating_sub(length, start.len() + 1 + end.len());
            let code = format!("{start}{}'{end}", "x".repeat(filler));
            assert_eq!(printed(&template, &code), format!("{filler}\n"), "{length}");
        }
    }
}

#[test]
fn a_beginning_that_is_known_runs_as_if_it_were_not() {
    if !available("root", root()) {
        return;
    }
    let text = "import sys\ndef greet(who):\n    print('hello', who, file=sys.stdout)\n";
    let mut known = spec(&[]);
    known.beginning = Some(Beginning {
        name: "<code>".to_owned(),
        text: text.to_owned(),
        rest: "greet\n".to_owned(),
    });
    let (known, unknown) = (
        Template::start(known).unwrap(),
        Template::start(spec(&[])).unwrap(),
    );
    let rests = [
        "greet('world')",
        "print(sorted(name for name in globals()), __name__, __file__)",
        "print(greet.__code__.co_filename, greet.__code__.co_firstlineno, greet.__module__)",
        "greet = None\nprint(greet)",
        "sys.exit(7)",
        "",
    ];
    for rest in rests {
        // The whole beginning, a part of it, and it with a line before.
        for code in [
            format!("{text}{rest}\n"),
            format!("{}{rest}\n", &text[..text.len() - 4]),
            format!("\n{text}{rest}\n"),
        ] {
            let (with, without) = (run(&known, &code), run(&unknown, &code));
            assert_eq!(
                (with.exit_code, &with.stdout, &with.stderr),
                (without.exit_code, &without.stdout, &without.stderr),
                "{code}"
            );
        }
    }
    // The rest's lines are its own.
    let outcome = run(&known, &format!("{text}\n1 / 0\n"));
    let told = outcome.stderr.unwrap();
    assert!(told.contains("File \"<code>\", line 2, in <module>"), "{told}");
    assert_eq!(outcome.exit_code, 1);
}
