//! Forks of one template share nothing that they should not.

use std::collections::BTreeSet;

use callgate_exec::{Root, Template};
use callgate_python::environment::{self, Request};
use callgate_python::metadata::ScriptMetadata;
use callgate_testing::{available, root};

use crate::support::{interpreter, printed, spec};

/// So many words of each line, each another one in every line.
fn all_differ(lines: &[String], words: usize) {
    for column in 0..words {
        let values: BTreeSet<&str> = lines
            .iter()
            .map(|line| line.split_whitespace().nth(column).unwrap())
            .collect();
        assert_eq!(values.len(), lines.len(), "column {column}: {lines:#?}");
    }
}

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
    all_differ(&lines, 7);
}

#[test]
fn numpys_generator_is_reseeded_and_its_libraries_work() {
    if !available("root", root()) {
        return;
    }
    let script = b"# /// script\n# requires-python = \">=3.9\"\n# dependencies = [\"numpy\"]\n# ///\n";
    let metadata = ScriptMetadata::read(script).unwrap().unwrap();
    let cache = environment::cache_dir().unwrap();
    let found = callgate_cache::Cache::none();
    let request = Request {
        base: interpreter(),
        metadata: Some(&metadata),
        cache: &cache,
        found: &found,
    };
    let prepared = environment::prepare(&request, &mut |_| {});
    // Its packages come from an index.
    let there = prepared.as_ref().map(drop).map_err(ToString::to_string);
    if !available("network", there) {
        return;
    }
    let python = prepared.unwrap().interpreter;
    let mut spec = spec(&["numpy", "numpy.random"]);
    spec.executable.clone_from(&python.executable);
    spec.root = Root::ForPython(Box::new(python));
    spec.beds = 3;
    let template = Template::start(spec).unwrap();
    let code = "import numpy, os\nprint(numpy.random.rand(), numpy.random.default_rng().random())\n\
                assert (numpy.eye(300) @ numpy.eye(300)).sum() == 300\n\
                assert not [name for name in os.environ if name.endswith('_NUM_THREADS')]\n";
    let lines: Vec<String> = (0..50).map(|_| printed(&template, code)).collect();
    all_differ(&lines, 2);
}

#[test]
fn runs_at_the_same_time_have_their_own_uid_name_and_scratch() {
    if !available("root", root()) {
        return;
    }
    let mut spec = spec(&[]);
    spec.beds = 4;
    let template = Template::start(spec).unwrap();
    let code = "import os, pwd, time\nopen('/tmp/mine', 'x').close(); open('/dev/shm/mine', 'x').close()\n\
                time.sleep(1)\nprint(os.getuid(), os.listdir('/tmp'), pwd.getpwuid(os.getuid()).pw_name, \
                pwd.getpwnam('sandbox').pw_uid == os.getuid(), os.listdir('/dev/shm'), os.access('/etc/passwd', os.W_OK))";
    let lines: BTreeSet<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| printed(&template, code))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert_eq!(lines.len(), 4, "{lines:?}");
    for line in lines {
        let (_, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, "['mine'] sandbox True ['mine'] False\n");
    }
}
