//! Forks of one template share nothing that they should not.

use std::collections::BTreeSet;

use callgate_exec::Template;
use callgate_testing::{available, root};

use crate::support::{printed, spec};

#[test]
fn forks_draw_their_own_random_numbers() {
    if !available("root", root()) {
        return;
    }
    let modules = ["random", "secrets", "uuid", "tempfile", "ssl", "multiprocessing"];
    let template = Template::start(spec(&modules)).unwrap();
    let code = "import os, random, secrets, ssl, tempfile, uuid, multiprocessing\n\
                print(random.random(), secrets.token_hex(), uuid.uuid4(), uuid.uuid1(), ssl.RAND_bytes(8).hex(), \
                tempfile.mktemp(), multiprocessing.current_process().authkey.hex(), os.getpid())\n";
    let lines: Vec<String> = (0..50).map(|_| printed(&template, code)).collect();
    for column in 0..7 {
        let values: BTreeSet<&str> = lines
            .iter()
            .map(|line| line.split_whitespace().nth(column).unwrap())
            .collect();
        assert_eq!(values.len(), 50, "column {column}: {lines:#?}");
    }
}
